"""What was learned from one cohort, used on another one whose columns are in another unit: said, not computed alone."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning


@pytest.fixture(scope="module")
def cohorts():
    source, target = (sfm.datasets.simulate_cells(4, cells_per_patient=60, random_state=seed) for seed in (0, 1))
    target.obs_names = "other " + target.obs_names
    target.obs["patient"] = "other " + target.obs["patient"].astype(str)
    sfm.tl.cell_states(source, 5, use_rep="X_latent", standardize=False)
    source.obsm["signatures"] = (
        source.obs["type"].astype(str).to_frame("RS1") == source.obs["type"].astype(str).mode()[0]
    )
    return source, target


CALLS = {
    "cell_states": lambda source, target: sfm.tl.cell_states(target, use_rep="X_latent", source=source, copy=True),
    "transfer_labels": lambda source, target: sfm.tl.transfer_labels(
        source, target, "type", use_rep="X_latent", method="linear", copy=True
    ),
    "transfer_signatures": lambda source, target: sfm.tl.transfer_signatures(
        source, target, use_rep="X_latent", n_trees=3, copy=True
    ),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    ("change", "told"),
    [(lambda values: values * 100, True), (lambda values: values + 500, True), (lambda values: values * 3, False)],
)
def test_columns_in_another_unit_are_told(cohorts, name, change, told):
    source, target = cohorts[0], cohorts[1].copy()
    target.obsm["X_latent"] = change(np.asarray(target.obsm["X_latent"], np.float64))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        CALLS[name](source, target)
    found = [one for one in said if issubclass(one.category, SpatialfmWarning) and "another unit" in str(one.message)]
    assert len(found) == int(told)
