"""Samples that are near, by distances of point clouds that are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm._errors import ClinicalError, TableError
from spatialfm.stats.transport import lower_bound, wasserstein


@pytest.fixture
def cells():
    """Five samples of the same cloud, moved along one axis; two samples of patient p."""
    cloud = np.random.default_rng(0).normal(size=(40, 3))
    shifts = {"a": 0.0, "b": 0.5, "c": 3.0, "d": 1.0, "e": 7.0}
    values = np.concatenate([cloud + [shift, 0, 0] for shift in shifts.values()])
    obs = pd.DataFrame({"sample": np.repeat(list(shifts), 40), "patient": np.repeat(["p", "p", "q", "r", "s"], 40)})
    return AnnData(obs=obs.set_axis([f"c{i}" for i in range(200)]), obsm={"X_e": values})


def test_a_cloud_that_is_moved_is_as_far_as_it_was_moved(cells):
    hits = sfm.tl.search_samples(cells, "a", k=3, use_rep="X_e")
    assert hits["sample"].tolist() == ["d", "c", "e"]
    np.testing.assert_allclose(hits["distance"], [1, 3, 7], rtol=1e-5)
    assert hits["patient"].tolist() == ["r", "q", "s"]
    near = sfm.tl.search_samples(cells, "a", k=2, use_rep="X_e", exclude=None)
    assert near["sample"].tolist() == ["b", "d"]


def test_bounds_spare_distances_and_are_never_above_them(cells):
    hits = sfm.tl.search_samples(cells, "a", k=1, use_rep="X_e")
    assert hits.attrs["n_compared"] < 3
    rng = np.random.default_rng(1)
    for _ in range(10):
        one, two = rng.normal(size=(15, 4)), rng.normal(size=(20, 4)) * rng.uniform(0.5, 2, 4)
        assert lower_bound(one, two) <= wasserstein(one, two) + 1e-9
    line = rng.normal(size=(12, 1))
    assert wasserstein(line, line + 2) == pytest.approx(2)
    assert lower_bound(line, line + 2) == pytest.approx(2)


def test_what_cannot_be_searched(cells):
    with pytest.raises(TableError, match="No sample 'z'"):
        sfm.tl.search_samples(cells, "z", use_rep="X_e")
    with pytest.raises(TableError, match="All samples are of 'p'"):
        sfm.tl.search_samples(cells[cells.obs["patient"] == "p"], "a", use_rep="X_e")
    two = cells.copy()
    two.obs["patient"] = np.where(np.arange(200) == 0, "x", two.obs["patient"])
    with pytest.raises(ClinicalError, match="1 sample belongs to more than one patient"):
        sfm.tl.search_samples(two, "c", use_rep="X_e")
