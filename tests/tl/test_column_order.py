"""Columns of one table in another order: what is drawn at random by the place of a column would be another draw."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm.learn.expression_probe import ProbeRecipe, fit_predict
from spatialfm.tl.signatures.transfer_signatures import _forest

KEYS = {"time_key": "time", "event_key": "event"}


@pytest.fixture(scope="module")
def tables():
    """Cells of twelve patients, and the same with the columns of their embedding in another order."""
    cells = sfm.datasets.simulate_cells(n_patients=12, cells_per_patient=30, random_state=0)
    names = cells.obs["patient"].astype(str)
    cells.obs["arm"] = np.where(names.isin(names.unique()[::2]), "a", "b")
    turned = cells.copy()
    order = np.random.default_rng(1).permutation(cells.obsm["X_latent"].shape[1])
    turned.obsm["X_latent"] = cells.obsm["X_latent"][:, order].copy()
    return cells, turned, order


@pytest.mark.filterwarnings("ignore::spatialfm._errors.SpatialfmWarning")
@pytest.mark.parametrize("head", ["attention", "transformer", "bcos"])
def test_bags(tables, head):
    cells, turned, order = tables
    options = {"label_key": "arm", "use_rep": "X_latent", "n_folds": 2, "n_seeds": 1, "max_epochs": 2, "copy": True}
    one, other = (sfm.tl.mil(table, head=head, hidden=4, n_heads=1, **options) for table in (cells, turned))
    pd.testing.assert_frame_equal(one["patients"], other["patients"])
    pd.testing.assert_series_equal(one["attention"], other["attention"])
    if head == "bcos":  # the share of a column is told under its place in the table
        shares = [record["contributions"].select_dtypes("number").to_numpy() for record in (one, other)]
        np.testing.assert_array_equal(shares[0][:, order], shares[1][:, : len(order)])


def test_forests_that_carry_signatures_over(tables):
    cells, turned, _ = tables
    inside = (cells.obs["type"] == cells.obs["type"].iloc[0]).to_numpy()
    options = {"n_trees": 5, "max_depth": 3, "n_jobs": 1, "random_state": 0}
    one, other = (
        _forest(table.obsm["X_latent"], inside, **options).predict_proba(table.obsm["X_latent"])
        for table in (cells, turned)
    )
    np.testing.assert_array_equal(one, other)


def test_survival_forests():
    rng, n = np.random.default_rng(0), 40
    values, names = rng.normal(size=(n, 9)), [f"P{i}" for i in range(n)]
    obs = pd.DataFrame({"patient": names, "time": rng.exponential(10, n), "event": 1}, index=names)
    risks = []
    for order in (np.arange(9), rng.permutation(9)):
        patients = AnnData(values[:, order].copy(), obs=obs.copy(), var=pd.DataFrame(index=[f"v{i}" for i in order]))
        options = {"n_folds": 2, "n_bootstrap": 100, "n_trees": 10, "n_importance": 0, "copy": True}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            risks.append(sfm.tl.survival_forest(patients, use_rep="X", **KEYS, **options)["predictions"]["risk"])
    pd.testing.assert_series_equal(*risks)


@pytest.mark.filterwarnings("ignore::spatialfm._errors.SpatialfmWarning")
def test_heads_that_align(tables):
    options = {"n_components": 3, "max_epochs": 2, "patience": 2, "copy": True}
    one, other = (sfm.tl.align(table, "X_latent", "X", **options) for table in tables[:2])
    pd.testing.assert_frame_equal(one["training"], other["training"])
    np.testing.assert_allclose(one["a"], other["a"], atol=1e-5)  # the sum of a projection is rounded in its own order


@pytest.mark.filterwarnings("ignore::spatialfm._errors.SpatialfmWarning")
def test_heads_that_align_rows_of_one_name(tables):
    cells = tables[0].copy()
    cells.obs_names = ["cell"] * cells.n_obs
    order = np.random.default_rng(2).permutation(cells.n_obs)
    options = {"n_components": 3, "max_epochs": 2, "patience": 2, "copy": True}
    one, other = (sfm.tl.align(table, "X_latent", "X", **options) for table in (cells, cells[order].copy()))
    np.testing.assert_array_equal(one["a"][order], other["a"])


def test_forests_that_predict_expression():
    rng = np.random.default_rng(0)
    values, order, groups = rng.integers(0, 4, (60, 8)).astype(float), rng.permutation(8), np.repeat(np.arange(6), 10)
    targets = values[:, :2] + rng.normal(size=(60, 2))  # whole numbers: cuts of several columns are equally good
    recipe = ProbeRecipe("forest", None, 1.0, 5)
    one, other = (
        fit_predict(columns[:40], targets[:40], groups[:40], columns[40:], recipe, seed=0, n_jobs=1).values
        for columns in (values, values[:, order])
    )
    np.testing.assert_array_equal(one, other)
