"""Positions of a table against the cells' own labels."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning


@pytest.mark.parametrize("unit", [0.5, 2.0])
def test_tiles_say_that_positions_are_in_another_unit(unit):
    """Half of the size, and of twice the size: the label of a tile would be that of cells that lie elsewhere."""
    sdata = sfm.datasets.simulate_cohort(n_patients=2, n_samples=1, image_size=128, difficulty="easy")
    sfm.pp.cell_table(sdata)
    table = sdata["table"]
    table.obs["half"] = np.where(np.arange(table.n_obs) % 2, "a", "b")
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialfmWarning)
        right = sfm.tl.embed_tiles(sdata, "mean-intensity", size=32, cluster_key="half", copy=True)
    assert right.obs["n_cells"].sum() > 0
    table.obsm["spatial"] = table.obsm["spatial"] * unit
    with pytest.warns(SpatialfmWarning, match=r"most cells of 2 samples are not where.*\d+ of \d+.*another unit"):
        sfm.tl.embed_tiles(sdata, "mean-intensity", size=32, cluster_key="half", copy=True)
