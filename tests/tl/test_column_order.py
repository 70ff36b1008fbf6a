"""Columns of one table in another order: what is drawn at random by the place of a column would be another draw."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix
from scipy.stats import spearmanr

import spatialfm as sfm
from spatialfm._errors import SurvivalError
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


def in_other_orders(n: int = 120) -> tuple[AnnData, AnnData, np.ndarray]:
    """Cells whose type one of six columns tells, another cohort with its columns turned round, and its types.

    The first twenty cells have nothing in any column, one column is there twice, and one is the same everywhere.
    """
    rng = np.random.default_rng(3)
    tables, names = [], list("abcdef")
    for order in (names, names[::-1]):
        inside = rng.integers(0, 2, n).astype(bool)
        values = pd.DataFrame(rng.normal(size=(n, 6)), columns=names)
        values["e"] = values["d"]
        values["f"] = 1.0
        values["b"] += np.where(inside, 6.0, -6.0)
        values[:20] = np.where(values.columns == "b", values[:20], 0.0)
        obs = pd.DataFrame({"type": np.where(inside, "B", "T"), "patient": [f"P{i % 6}" for i in range(n)]})
        cells = AnnData(values[order].to_numpy(), obs=obs.set_axis([f"c{i}" for i in range(n)]))
        cells.var_names = order
        cells.obsm["signatures"] = pd.DataFrame({"S": inside}, index=cells.obs_names)
        tables.append(cells)
    return *tables, inside


@pytest.mark.filterwarnings("ignore::spatialfm._errors.SpatialfmWarning")
@pytest.mark.parametrize("sparse", [False, True])
def test_what_was_fitted_is_applied_to_columns_of_the_same_name(sparse):
    source, target, inside = in_other_orders()
    if sparse:
        source.X, target.X = csr_matrix(source.X), csr_matrix(target.X)
    said = sfm.tl.transfer_signatures(source, target, use_rep="X", n_trees=20, copy=True)["S"]
    assert ((said > 0.5) == inside).all()
    for method in ("forest", "knn"):
        labels = sfm.tl.transfer_labels(source, target, "type", use_rep="X", method=method, copy=True)
        assert (labels.iloc[:, 0].astype(str) == target.obs["type"]).mean() > 0.95


@pytest.mark.parametrize("method", ["forest", "knn", "trees", "bcos", "ensemble"])
def test_cells_without_label_are_judged_by_the_column_that_tells(method):
    """Training rows are others than those that are judged, and both begin with other values."""
    source, _, _ = in_other_orders()
    truth = source.obs["type"].to_numpy(str)
    source.obs["known"] = pd.Categorical(np.where(np.arange(120) % 3 == 0, truth, None))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sfm.tl.annotate(source, "known", use_rep="X", method=method, key_added="said")
    assert (source.obs["said"].astype(str) == truth).mean() > 0.95


def test_a_forest_of_another_cohort_finds_its_columns():
    rng, names = np.random.default_rng(5), list("abcde")
    cohorts = []
    for name, order in (("A", names), ("B", names[::-1])):
        values = pd.DataFrame(rng.normal(size=(80, 5)), columns=names)
        values.iloc[0] = 0.0
        values["e"] = values["d"]
        obs = pd.DataFrame({"time": np.exp(-2 * values["c"].to_numpy()), "event": 1})
        table = AnnData(values[order].to_numpy(), obs=obs.set_axis([f"{name}{i:02d}" for i in range(80)]))
        table.var_names = order
        cohorts.append(table)
    source, target = cohorts
    options = {"n_folds": 2, "n_inner_folds": 2, "n_repeats": 1, "n_bootstrap": 100, "n_trees": 20, "n_importance": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sfm.tl.survival_forest(source, use_rep="X", min_samples_leaf=5, **KEYS, **options)
        said = sfm.tl.predict_survival(source, target, key="survival_forest", n_bootstrap=100, copy=True)
    risk = said["predictions"]["risk"].to_numpy()
    assert spearmanr(risk, target[:, "c"].X.ravel())[0] > 0.9
    with pytest.raises(SurvivalError, match="not what the forest"):  # grown again, it would be of other columns
        sfm.tl.predict_survival(source[:, names[::-1]].copy(), target, key="survival_forest", copy=True)


def test_expression_is_predicted_from_the_column_that_tells():
    rng = np.random.default_rng(6)
    values = rng.normal(size=(90, 5))
    values[0] = values[60] = 0.0
    recipe = ProbeRecipe("forest", None, 1.0, 20)
    found = fit_predict(values[:60], values[:60, 2:3], np.arange(60) % 6, values[60:], recipe, seed=0).values
    assert spearmanr(found[:, 0], values[60:, 2])[0] > 0.9
