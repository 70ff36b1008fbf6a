"""Samples of several patients whose cells lie over each other are refused wherever neighbours are sought."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm._errors import TableError
from spatialfm.cohort.overlaid import check_overlaid

CALLS = {
    "composition": lambda cells: sfm.tl.neighborhood_composition(cells, "type", n_neighbors=5),
    "by radius": lambda cells: sfm.tl.neighborhood_composition(cells, "type", radius=30.0),
    "smoothing": lambda cells: sfm.tl.annotate(cells, "type", use_rep="X", method="knn", smoothing=0.5),
    "contrast": lambda cells: sfm.tl.neighborhood_contrast(cells, "type", cell_type="a", within="state", n_neighbors=5),
    "context": lambda cells: sfm.train.pretrain_context(cells, use_rep="X", out="never", steps=1),
}


def numbered(apart: float) -> AnnData:
    """Two patients with a sample "1" each, whose places begin `apart` µm from each other."""
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({"patient": np.repeat(["p", "q"], 80), "sample": "1", "state": rng.random(160) < 0.5})
    obs["type"] = pd.Categorical(np.where(rng.random(160) < 0.5, "a", "b"))
    obs.index = [f"c{i}" for i in range(160)]
    xy = rng.uniform(0, 100, (160, 2)) + np.repeat([[0.0, 0.0], [apart, 0.0]], 80, axis=0)
    return AnnData(rng.random((160, 3), dtype=np.float32), obs=obs, obsm={"spatial": xy})


@pytest.mark.parametrize("name", CALLS)
def test_cells_of_two_patients_are_no_neighbours(name):
    cells = numbered(0.0)
    with pytest.raises(TableError, match="lie over each other.*name them apart"):
        CALLS[name](cells)
    assert list(cells.obsm) == ["spatial"]


def test_patients_side_by_side_on_a_slide_are_a_sample():
    cells = numbered(100.0)  # they touch
    check_overlaid(cells, cells.obsm["spatial"], np.zeros(160, int), "sample")
    cells.obs["patient"] = pd.Series(np.where(np.arange(160) < 80, "p", None), index=cells.obs_names)  # some without
    cells.obsm["spatial"][80:, 0] -= 100
    check_overlaid(cells, cells.obsm["spatial"], np.zeros(160, int), "sample")


def test_names_that_are_apart_pass_and_the_message_counts():
    cells = numbered(0.0)
    with pytest.raises(
        TableError, match=r"obs\['sample'\] = '1' are of 2 patients \('p', 'q'\).*nearest cell of \d\d%"
    ):
        check_overlaid(cells, cells.obsm["spatial"], np.zeros(160, int), "sample")
    check_overlaid(cells, cells.obsm["spatial"], np.repeat([0, 1], 80), "sample")
    del cells.obs["sample"]
    with pytest.raises(TableError, match='All cells are of 2 patients .*Pass library_key="patient"'):
        sfm.tl.neighborhood_composition(cells, "type", n_neighbors=5)
    sfm.tl.neighborhood_composition(cells, "type", n_neighbors=5, library_key="patient")
