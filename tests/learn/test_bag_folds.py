"""Networks that are cross-validated: who is held out, what is a mean over seeds, and tables by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from spatialfm.cohort.cases import Cases
from spatialfm.learn.bag_folds import BagTraining, Held, _over_seeds, _shares_table, cross_validate, record_of
from spatialfm.learn.bag_tasks import NumberTask, SurvivalTask
from spatialfm.learn.bag_training import BagRecipe

BAR = SimpleNamespace(update=lambda: None)


@pytest.fixture
def cases():
    """Nine patients with two cells each."""
    codes = np.repeat(np.arange(9), 2)
    return Cases(np.arange(18), codes, codes, [f"p{i}" for i in range(9)], pd.DataFrame(), "patient", "patient", 0)


def plan(**kwargs) -> BagTraining:
    recipe = BagRecipe(head="bcos", max_epochs=2, learning_rate=0.1)
    return BagTraining(recipe, "patient", 3, 2, 0.3, 0, torch.device("cpu"), **kwargs)


@pytest.fixture
def values():
    return np.random.default_rng(0).normal(size=(18, 3)).astype(np.float32)


@pytest.fixture
def task():
    rng = np.random.default_rng(1)
    return SurvivalTask(rng.exponential(size=9), np.arange(9) % 3 > 0)


def test_each_case_is_predicted_once_by_the_mean_over_seeds(values, cases, task):
    held = cross_validate(values, cases, task, plan(gradients=True), BAR)
    assert sorted(np.bincount(held.fold)) == [3, 3, 3]
    assert plan().n_networks == len(held.runs) == 6
    assert all(run["n_train"] + run["n_validation"] + run["n_test"] == 9 for run in held.runs)
    for fold in range(3):
        of_fold = [run["predicted"][held.fold == fold] for run in held.runs if run["fold"] == fold]
        np.testing.assert_allclose(held.predicted[held.fold == fold], np.mean(of_fold, axis=0))
    # shares of the columns and the intercept add up to the output, which is what is predicted
    np.testing.assert_allclose(held.columns[:, 0, :-1].sum(axis=1), held.columns[:, 0, -1], atol=1e-5)
    np.testing.assert_allclose(held.columns[:, 0, -1], held.predicted[:, 0], atol=1e-5)
    np.testing.assert_allclose(
        np.bincount(cases.codes, held.contribution[:, 0]), held.columns[:, 0, :-2].sum(axis=1), atol=1e-5
    )
    np.testing.assert_allclose(np.bincount(cases.codes, held.attention) / 2, 1, atol=1e-5)


def test_nothing_of_a_held_out_case_moves_the_others_or_the_threshold(values, cases, task):
    """Its own cells and its own outcome are changed; whoever shares its fold is predicted as before."""
    before = cross_validate(values, cases, task, plan(), BAR)
    other = values.copy()
    other[cases.codes == 4] += 50
    after = cross_validate(other, cases, task, plan(), BAR)
    fold = before.fold[4]
    same = (before.fold == fold) & (np.arange(9) != 4)
    np.testing.assert_array_equal(before.predicted[same], after.predicted[same])
    assert before.thresholds[fold] == after.thresholds[fold]
    assert (before.predicted[before.fold != fold] != after.predicted[before.fold != fold]).any()


def test_shuffles_need_no_shares(values, cases, task):
    held = cross_validate(values, cases, task, plan(), BAR, alone=True)
    assert held.columns is None
    assert held.contribution is None
    assert held.thresholds is None


def test_scores_of_a_fold_are_means_over_its_seeds():
    runs = [{"fold": 0, "mae": 1.0}, {"fold": 0, "mae": 3.0}, {"fold": 1, "mae": 10.0}]
    assert _over_seeds(runs, ["mae"])["mae"].tolist() == [2, 10]


def test_columns_of_one_name_are_one_share():
    shares = np.array([[[1.0, 2.0, 4.0, 8.0, 15.0]]])
    table = _shares_table(shares, pd.Index(["p0"], name="patient"), ["risk"], ["CD3", "CD8", "CD3"])
    assert table.iloc[0].to_dict() == {
        "patient": "p0", "output": "risk", "CD3": 5, "CD8": 2, "intercept": 8, "total": 15,
    }  # fmt: skip


def test_the_record_of_numbers_by_hand(cases):
    task = NumberTask(np.arange(9.0), 1)
    fold = np.repeat([0, 1, 2], 3)
    predicted = np.arange(9.0)[:, None] + np.repeat([0.5, 1.0, 3.0], 3)[:, None]
    runs = [{"fold": f, "seed": 0, "predicted": predicted} for f in range(3)]
    runs = [run | task.scores(predicted[fold == run["fold"]], np.flatnonzero(fold == run["fold"])) for run in runs]
    record = record_of(Held(fold, predicted, np.zeros(18), runs), cases, task, np.array([0.2, 1.5, 0.1]), [])
    summary = record["summary"].set_index("score")
    assert summary.loc["mae", "mean"] == pytest.approx((0.5 + 1 + 3) / 3)
    # one shuffle of three does as well as a correlation of 1, and the observed one counts as one of four
    assert summary.loc["pearson", "p_value"] == pytest.approx(2 / 4)
    assert record["patients"]["n"].tolist() == [2] * 9
    assert "predicted" not in record["folds"]


def test_risk_groups_are_by_the_median_of_their_own_fold(cases):
    task = SurvivalTask(np.arange(1.0, 10), np.ones(9, bool))
    fold, risk = np.repeat([0, 1, 2], 3), np.array([0, 1, 2, 0, 1, 2, 0, 1, 2.0])[:, None]
    runs = [{"fold": f, "seed": 0, "predicted": risk, "concordance": 0.5} for f in range(3)]
    held = Held(fold, risk, np.zeros(18), runs, thresholds=np.array([0.5, 1.0, 5.0]))
    groups = record_of(held, cases, task, np.zeros(0), [])["patients"]["risk_group"].tolist()
    assert groups == ["low", "high", "high", "low", "low", "high", "low", "low", "low"]
