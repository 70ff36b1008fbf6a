"""Batches brought to one scale."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning, TableError
from spatialfm._keys import layer_names
from spatialfm.cohort.fitted import fitted_on_all
from spatialfm.cohort.representation import prepared


@pytest.fixture
def cells():
    """Two slides of 200 and 300 cells; the second is three times brighter, and shifted."""
    rng = np.random.default_rng(0)
    slide = np.repeat(["a", "b"], [200, 300])
    latent = rng.gamma(2.0, size=(500, 3))
    values = np.where(slide[:, None] == "b", 3 * latent + 10, latent)
    obs = pd.DataFrame({"slide": slide, "tissue": rng.choice(["x", "y"], 500)}, index=[f"c{i}" for i in range(500)])
    adata = ad.AnnData(values.astype(np.float32), obs=obs, var=pd.DataFrame(index=["A", "B", "C"]))
    adata.obsm["X_model"] = values.astype(np.float32)
    adata.uns["latent"] = latent
    return adata


def test_zscores_are_those_of_each_batch(cells):
    sfm.pp.standardize(cells, use_rep="X_model", batch_key="slide")
    got = cells.obsm["X_model_standardized"]
    assert got.dtype == np.float32
    for name in "ab":
        rows = (cells.obs["slide"] == name).to_numpy()
        np.testing.assert_allclose(
            got[rows], stats.zscore(cells.obsm["X_model"][rows].astype(float), axis=0), atol=1e-5
        )
    np.testing.assert_array_equal(cells.obsm["X_model"], cells.X)  # what it is made of stays


def test_robust_scales_are_those_of_scipy_and_ranks_those_of_a_normal_distribution(cells):
    robust = sfm.pp.standardize(cells, use_rep="X_model", batch_key="slide", method="robust", copy=True)
    rank = sfm.pp.standardize(cells, use_rep="X_model", batch_key="slide", method="rank", copy=True)
    rows = (cells.obs["slide"] == "b").to_numpy()
    part = cells.obsm["X_model"][rows].astype(float)
    spread = stats.median_abs_deviation(part, axis=0, scale="normal")
    np.testing.assert_allclose(robust[rows], (part - np.median(part, axis=0)) / spread, rtol=2e-4, atol=1e-5)
    np.testing.assert_allclose(np.sort(rank[rows][:, 0]), stats.norm.ppf((np.arange(300) + 0.5) / 300), atol=1e-6)
    np.testing.assert_array_equal(np.argsort(rank[rows], axis=0), np.argsort(part, axis=0))


def test_a_marker_that_a_batch_lacks_stays_missing(cells):
    cells.X[:200, 1] = np.nan
    cells.X[7, 0] = np.nan
    sfm.pp.standardize(cells, batch_key="slide")
    got = cells.layers["standardized"]
    assert np.isnan(got[:200, 1]).all()
    assert np.isnan(got).sum() == 201
    np.testing.assert_allclose(np.nanmean(got[:200, 0]), 0, atol=1e-6)
    np.testing.assert_allclose(np.nanstd(got[:200, 0]), 1, rtol=1e-5)


def test_what_is_constant_in_a_batch_becomes_zero_with_a_word(cells):
    cells.obsm["X_model"][:200, 2] = 4.2
    with pytest.warns(SpatialfmWarning, match=r"Constant within a batch, and 0 there now: a \(1 column\)"):
        got = sfm.pp.standardize(cells, use_rep="X_model", batch_key="slide", copy=True)
    np.testing.assert_array_equal(got[:200, 2], 0)


def test_combat_keeps_what_a_covariate_explains_and_removes_the_batch():
    """scanpy's own coding of categories returns columns with five times their spread here, or fails."""
    rng = np.random.default_rng(1)
    slide, tissue = np.repeat([0, 1], [200, 300]), rng.integers(0, 2, 500)
    values = rng.normal(size=(500, 30)) + 2.0 * tissue[:, None] + 5.0 * slide[:, None]
    obs = pd.DataFrame({"slide": slide.astype(str), "tissue": np.array(["x", "y"])[tissue]})
    adata = ad.AnnData(values, obs=obs.set_axis([f"c{i}" for i in range(500)]))
    got = sfm.pp.standardize(adata, batch_key="slide", method="combat", covariates="tissue", copy=True)
    for kind in (0, 1):
        of_kind = tissue == kind
        change = got[of_kind & (slide == 1)].mean(axis=0) - got[of_kind & (slide == 0)].mean(axis=0)
        assert np.abs(change).max() < 0.35  # was 5
    effect = got[tissue == 1].mean(axis=0) - got[tissue == 0].mean(axis=0)
    np.testing.assert_allclose(effect.mean(), 2.0, atol=0.05)
    np.testing.assert_allclose(got[tissue == 1].std(axis=0).mean(), 1.0, atol=0.05)


def test_combat_without_covariates_is_that_of_scanpy(cells):
    import scanpy as sc

    got = sfm.pp.standardize(cells, batch_key="slide", method="combat", copy=True)
    table = ad.AnnData(np.asarray(cells.X, dtype=np.float64), obs=cells.obs[["slide"]].astype("category"))
    np.testing.assert_allclose(got, sc.pp.combat(table, key="slide", inplace=False), rtol=1e-5, atol=1e-5)
    apart = [abs(np.subtract(*(x[(cells.obs["slide"] == one).to_numpy()].mean(axis=0) for one in "ab"))).max()
             for x in (np.asarray(cells.X), got)]  # fmt: skip
    assert apart[1] < 0.1 * apart[0]


def test_covariates_that_are_the_batch_are_refused(cells):
    cells.obs["site"] = cells.obs["slide"].map({"a": "here", "b": "there"})
    with pytest.raises(TableError, match="determine each other"):
        sfm.pp.standardize(cells, batch_key="slide", method="combat", covariates="site")


def test_harmony_mixes_batches_and_keeps_what_they_share():
    rng = np.random.default_rng(0)
    kind, slide = np.tile([0, 1], 300), np.repeat([0, 1], 300)
    values = rng.normal(size=(600, 10))
    values[:, 0] += 8 * kind
    values[:, 1] += 3 * slide
    obs = pd.DataFrame({"slide": slide.astype(str)}, index=[f"c{i}" for i in range(600)])
    adata = ad.AnnData(obs=obs, obsm={"X_model": values})
    got = sfm.pp.standardize(adata, use_rep="X_model", batch_key="slide", method="harmony", copy=True)
    mean = {(s, k): got[(slide == s) & (kind == k)].mean(axis=0) for s in (0, 1) for k in (0, 1)}
    assert max(np.linalg.norm(mean[1, k] - mean[0, k]) for k in (0, 1)) < 1.0  # was 3
    assert abs(got[kind == 1, 0].mean() - got[kind == 0, 0].mean()) > 6


def test_the_record_tells_how_and_tools_take_the_columns_as_they_are(cells):
    cells.uns["spatialfm"] = {
        "X_model": {"model": "classical", "feature_names": '["A", "B", "C"]'},
        "table": {"unit": "µm"},
    }
    sfm.pp.standardize(cells, use_rep="X_model", batch_key="slide")
    record = sfm.get.record(cells, "X_model_standardized")
    assert record["model"] == "classical"
    assert record["standardized_of"] == "X_model"
    assert record["standardized_by"] == {
        "method": "zscore", "batch_key": "slide", "batches": {"a": 200, "b": 300}, "covariates": [],
    }  # fmt: skip
    assert cells.uns["spatialfm"]["table"] == {"unit": "µm"}
    values, how = prepared(cells, "X_model_standardized")
    np.testing.assert_array_equal(values, cells.obsm["X_model_standardized"])
    assert how == "as embedded, columns standardized"
    assert "scales of the batches" in fitted_on_all(cells, "X_model_standardized")


def test_without_a_batch_all_cells_are_one(cells):
    got = sfm.pp.standardize(cells, use_rep="X_model", copy=True)
    np.testing.assert_allclose(got, stats.zscore(cells.obsm["X_model"].astype(float), axis=0), atol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch_key": "run"}, r"No column 'run' in obs \(batch_key=\)"),
        ({"use_rep": "X_other"}, "No 'X_other' in obsm"),
        ({"use_rep": "X_model", "layer": "x"}, "Pass one of them"),
        ({"method": "loess"}, "method must be 'zscore', 'robust'"),
        ({"covariates": "tissue", "batch_key": "slide"}, "Leave them out"),
        ({"method": "combat"}, "needs two batches or more"),
        ({"batch_key": "single"}, "1 batch has a single cell"),
        ({"batch_key": "partly"}, "3 cells have no value"),
    ],
)
def test_what_cannot_be_standardized_is_refused_and_nothing_is_written(cells, wrong, message):
    cells.obs["single"] = ["alone", *["others"] * 499]
    cells.obs["partly"] = [None] * 3 + ["a"] * 497
    with pytest.raises(ValueError, match=message) as caught:
        sfm.pp.standardize(cells, **wrong)
    assert isinstance(caught.value, TableError) or "method" in wrong
    assert layer_names(cells) == []
    assert list(cells.obsm) == ["X_model"]


def test_missing_values_are_refused_where_the_method_has_no_place_for_them(cells):
    cells.X[0, 0] = np.nan
    with pytest.raises(TableError, match="takes no missing values, and 1 column has some"):
        sfm.pp.standardize(cells, batch_key="slide", method="combat")


def test_small_batches_are_named(cells):
    cells.obs["slide"] = ["tiny"] * 5 + ["rest"] * 495
    with pytest.warns(SpatialfmWarning, match=r"mostly chance: tiny \(5\)"):
        sfm.pp.standardize(cells, use_rep="X_model", batch_key="slide")
