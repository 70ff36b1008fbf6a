"""A survival model judged by folds: a model that is known, and concordance from scikit-survival."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from sksurv.metrics import concordance_index_censored

from spatialfm.learn.survival_judge import judge
from spatialfm.learn.survival_nested import FittedSurvival, Model, SurvivalCases

OPTIONS = {"n_folds": 3, "n_inner_folds": 2, "n_repeats": 2, "n_jobs": 1, "random_state": 0}


class FirstColumn(FittedSurvival):
    """Risk is the first column."""

    def risk(self, x):
        return x[:, 0].copy()

    def survival(self, x, times):
        return np.exp(-np.exp(x[:, :1]) * times)

    def explain(self, test):
        return np.array([1.0, 0.0])


class Known(Model):
    """Nothing is learned."""

    def choose(self, train, folds):
        return {"inner_score": 0.5}

    def fit(self, train, chosen):
        return FirstColumn()


@pytest.fixture
def cohort():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 2))
    rows = np.delete(np.arange(32), [4, 7])  # two patients have no outcome
    return SurvivalCases(x, rng.exponential(np.exp(-x[:, 0])), rng.random(30) < 0.7, ["a", "b"], rows, 2)


@pytest.fixture
def patients():
    return ad.AnnData(obs=pd.DataFrame(index=[f"p{i}" for i in range(32)]))


def test_predictions_stand_with_their_patients(cohort, patients):
    result, final = judge("coxnet", Known(), cohort, patients, 0, 100, OPTIONS)
    table = result["predictions"]
    np.testing.assert_allclose(table["risk"].to_numpy()[cohort.rows], cohort.x[:, 0])
    assert table.loc[["p4", "p7"], "risk"].isna().all()
    assert table.loc[["p4", "p7"], "fold"].tolist() == [-1, -1]
    assert table["fold"].to_numpy()[cohort.rows].min() == 0
    assert isinstance(final, FirstColumn)
    assert "p_value" not in result


def test_the_optimistic_score_is_over_all_pairs(cohort, patients):
    result, _ = judge("coxnet", Known(), cohort, patients, 0, 100, OPTIONS)
    expected = concordance_index_censored(cohort.event, cohort.time, cohort.x[:, 0])[0]
    assert result["optimistic_harrell"] == pytest.approx(expected)
    folds = result["folds"]
    assert folds["partition"].tolist() == [0] * 3 + [1] * 3
    assert folds.groupby("partition")["n"].sum().tolist() == [30, 30]
    assert folds.groupby("partition")["events"].sum().tolist() == [cohort.event.sum()] * 2


def test_a_permutation_counts_the_one_that_was_seen(cohort, patients):
    result, _ = judge("coxnet", Known(), cohort, patients, 3, 100, OPTIONS)
    assert result["p_value"] in (1 / 4, 2 / 4, 3 / 4, 1)


def test_the_record_holds_scale_and_patients_in_their_order(cohort, patients):
    result, _ = judge("survival_forest", Known(), cohort, patients, 0, 100, OPTIONS)
    record = result["model"]
    assert record["kind"] == "survival_forest"
    assert record["names"].tolist() == [f"p{i}" for i in cohort.rows]
    np.testing.assert_allclose(record["scale"]["sd"], cohort.x.std(axis=0))
    np.testing.assert_allclose(record["risk"], cohort.x[:, 0])
