"""Parts of the demo, on tables that are made up."""

from __future__ import annotations

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from spatialfm import _demo
from spatialfm._demo_figures import phenotype_markers


def test_true_cells_are_those_with_the_largest_overlap():
    import spatialfm as sfm

    sdata = sfm.datasets.simulate_cohort(1, n_samples=1, image_size=128, random_state=0, difficulty="easy")
    sfm.pp.cell_table(sdata)
    adata = sdata["table"]
    truth = _demo.true_rows(sdata, adata)
    segmented = np.asarray(sdata.labels["cells_P001_1"].data)
    true = np.asarray(sdata.labels["true_cells_P001_1"].data)
    rows = sdata["truth"].obs.set_index("cell_id")
    for name, label in zip(adata.obs_names, adata.obs["cell_id"], strict=True):
        inside = true[(segmented == label) & (true > 0)]
        labels, counts = np.unique(inside, return_counts=True)
        best = labels[counts == counts.max()]  # a tie may go either way
        assert truth.loc[name, "type"] in set(rows.loc[best, "type"])


def test_the_figure_of_few_phenotypes_and_markers_has_room_for_its_names():
    obs = pd.DataFrame({"type": ["Macrophage of type 1", "B"] * 2}, index=list("abcd"))
    table = ad.AnnData(np.zeros((4, 2)), obs=obs, var=pd.DataFrame(index=["Cytokeratin", "HLA-DR"]))
    table.layers["z"] = np.arange(8.0).reshape(4, 2)
    figure = phenotype_markers(table, "type", {"Macrophage of type 1": "red", "B": "blue"})
    figure.canvas.draw()
    main, bar = figure.axes
    box, texts = figure.bbox, [*main.get_xticklabels(), *main.get_yticklabels(), bar.yaxis.label, main.title]
    places = [text.get_window_extent() for text in texts]
    assert all(box.x0 <= one.x0 and one.x1 <= box.x1 and box.y0 <= one.y0 and one.y1 <= box.y1 for one in places)
    assert not any(one.overlaps(other) for i, one in enumerate(places) for other in places[:i])
    plt.close(figure)
