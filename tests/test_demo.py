"""Parts of the demo, on tables that are made up."""

from __future__ import annotations

import numpy as np

from spatialfm import _demo


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
