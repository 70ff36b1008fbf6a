"""What was learned from one cohort, used on another one whose columns are in another unit: said, not computed alone."""

from __future__ import annotations

import tempfile
import warnings

import anndata
import numpy as np
import pytest

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning


@pytest.fixture(scope="module")
def cohorts():
    source, target = (sfm.datasets.simulate_cells(4, cells_per_patient=60, random_state=seed) for seed in (0, 1))
    target.obs_names = "other " + target.obs_names
    for name in ("patient", "sample"):
        target.obs[name] = "other " + target.obs[name].astype(str)
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
    "search": lambda source, target: sfm.tl.search(sfm.tl.build_index(source, "X_latent"), target, 3),
    "search by cosine": lambda source, target: sfm.tl.search(
        sfm.tl.build_index(source, "X_latent", metric="cosine"), np.asarray(target.obsm["X_latent"]), 3
    ),
    "search of a file": lambda source, target: sfm.tl.search(_written(source), target, 3),
    "annotate": lambda source, target: _annotated(source, target),
    "annotate without samples": lambda source, target: _annotated(source, target, library_key=None, patient_key=None),
}


def _written(source):
    with tempfile.TemporaryDirectory() as folder:
        sfm.tl.build_index(source, "X_latent").save(f"{folder}/index.npz")
        return sfm.tl.Index.load(f"{folder}/index.npz")


def _annotated(source, target, **options):
    both = anndata.concat([source, target])
    both.obs["known"] = both.obs["type"].astype(object).where(~both.obs_names.str.startswith("other "))
    options = {"method": "nearest_mean", "by_sample": False, "calibrate": False, "copy": True, **options}
    return sfm.tl.annotate(both, "known", use_rep="X_latent", **options)


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


@pytest.mark.parametrize(
    ("change", "told"), [(lambda row: row + 500, True), (lambda row: row * 1000, True), (lambda row: row, False)]
)
def test_one_row_in_another_unit_is_told(cohorts, change, told):
    source, row = cohorts[0], np.asarray(cohorts[1].obsm["X_latent"], np.float64)[:1]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        sfm.tl.search(sfm.tl.build_index(source, "X_latent"), change(row), 3)
    assert any("another unit" in str(one.message) for one in said) == told


def test_rows_that_are_alike_are_not_taken_for_another_unit(cohorts):
    source, row = cohorts[0], np.asarray(cohorts[1].obsm["X_latent"], np.float64)[:1]
    alike = row + np.random.default_rng(0).normal(scale=1e-3, size=(10, row.shape[1]))
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialfmWarning)
        sfm.tl.search(sfm.tl.build_index(source, "X_latent"), alike, 3)


def test_only_samples_without_labels_in_another_unit_are_named(cohorts):
    source, target = cohorts[0], cohorts[1].copy()
    names = target.obs["sample"].unique()
    values = np.asarray(target.obsm["X_latent"]).copy()
    values[(target.obs["sample"] == names[1]).to_numpy()] *= 100
    target.obsm["X_latent"] = values
    with pytest.warns(SpatialfmWarning, match=f"of '{names[1]}' differs") as said:
        _annotated(source, target)
    assert not any(repr(str(name)) in str(one.message) for one in said for name in names if name != names[1])
