"""Parts of the demo, on tables that are made up."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd

from spatialfm import _demo


def test_clusters_are_named_by_the_markers_that_stand_out():
    rng = np.random.default_rng(0)
    markers = ["CD3", "CD8", "CD4", "FOXP3", "CD20", "CD68", "Cytokeratin", "aSMA", "CD31"]
    high = {"Tumor": [6], "CD8 T": [0, 1], "Treg": [0, 2, 3], "B": [4], "Other": []}
    planted = np.repeat(list(high), 60)
    values = rng.gamma(5, 20, (len(planted), len(markers)))
    for row, name in enumerate(planted):
        values[row, high[name]] *= 12
    obs = pd.DataFrame({"slide": "S1", "leiden": planted}, index=[f"c{i}" for i in range(len(planted))])
    adata = ad.AnnData(values.astype(np.float32), obs=obs, var=pd.DataFrame(index=markers))
    assert list(_demo.name_clusters(adata, "leiden")) == list(planted)


def test_standardising_within_slides_removes_what_differs_between_them():
    rng = np.random.default_rng(0)
    cells = rng.normal(size=(200, 3))
    slides = pd.Series(np.repeat(["S1", "S2"], 100))
    stained = np.where((slides == "S2").to_numpy()[:, None], 5 * cells + 7, cells)
    expected = np.concatenate([(part - part.mean(0)) / part.std(0) for part in (cells[:100], cells[100:])])
    np.testing.assert_allclose(_demo.per_slide(stained, slides), expected, atol=1e-5)


def test_true_cells_are_those_with_the_largest_overlap():
    import spatialfm as sfm

    sdata = sfm.datasets.simulate_cohort(1, n_samples=1, image_size=128, random_state=0)
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
