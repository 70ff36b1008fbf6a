"""Scores, intervals and tests of predictions against scikit-learn, scipy and statsmodels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from lifelines.utils import concordance_index
from scipy import stats
from sklearn import metrics

from spatialfm.learn.case_scores import (
    auroc,
    class_scores,
    cox_test_within,
    interval,
    number_scores,
    rank_test_within,
    summarize,
    survival_scores,
    times_shared,
)
from spatialfm.stats.power import cox_score_p


@pytest.fixture
def predictions():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 40)
    p = np.clip(0.3 * truth + rng.random(40).round(1) * 0.7, 0.01, 0.99)
    return truth, np.column_stack([1 - p, p])


@pytest.mark.parametrize("positive", [0, 1])
def test_two_classes(predictions, positive):
    truth, p = predictions
    found = class_scores(truth, p, positive)
    mine, said = truth == positive, p.argmax(axis=1)
    assert found["auroc"] == pytest.approx(metrics.roc_auc_score(mine, p[:, positive]))
    assert found["average_precision"] == pytest.approx(metrics.average_precision_score(mine, p[:, positive]))
    assert found["f1"] == pytest.approx(metrics.f1_score(mine, said == positive))
    assert found["f1_macro"] == pytest.approx(metrics.f1_score(truth, said, average="macro"))
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(truth, said))
    assert auroc(truth, p, positive) == pytest.approx(found["auroc"])
    assert np.isnan(auroc(np.zeros(40), p, 1))


def test_numbers_and_survival():
    rng = np.random.default_rng(1)
    truth, predicted = rng.normal(size=30), rng.normal(size=30)
    found = number_scores(truth, predicted)
    assert found["pearson"] == pytest.approx(np.corrcoef(truth, predicted)[0, 1])
    assert found["spearman"] == pytest.approx(stats.spearmanr(truth, predicted)[0])
    assert found["r2"] == pytest.approx(metrics.r2_score(truth, predicted))
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(truth, predicted))
    assert np.isnan(number_scores(truth, np.zeros(30))["pearson"])
    time, event = rng.random(30), rng.random(30) < 0.5
    expected = concordance_index(time, -predicted, event)
    assert survival_scores(time, event, predicted)["concordance"] == pytest.approx(expected)
    assert np.isnan(survival_scores(time, np.zeros(30, bool), predicted)["concordance"])


def test_rank_test_of_one_fold_is_wilcoxons(predictions):
    truth, p = predictions
    expected = stats.mannwhitneyu(p[truth == 1, 1], p[truth == 0, 1], use_continuity=False, method="asymptotic").pvalue
    assert rank_test_within(p[:, 1], truth == 1, np.zeros(40)) == pytest.approx(expected, rel=1e-6)
    z = stats.norm.isf(expected / 2)
    wider = rank_test_within(p[:, 1], truth == 1, np.zeros(40), 4.0)
    assert wider == pytest.approx(2 * stats.norm.sf(z / 2), rel=1e-6)


def test_folds_of_other_scales_are_compared_within(predictions):
    truth, p = predictions
    fold = np.arange(40) % 2
    assert rank_test_within(p[:, 1], truth == 1, fold) == pytest.approx(
        rank_test_within(p[:, 1] + 10 * fold, truth == 1, fold)
    )
    assert times_shared(fold) == 3.0
    assert np.isnan(rank_test_within(p[:, 1], np.zeros(40, bool), fold))


def test_coxs_test_of_one_fold_without_ties_is_the_score_test():
    rng = np.random.default_rng(2)
    time, event, risk = rng.permutation(30) + 1.0, rng.random(30) < 0.7, rng.normal(size=30)
    assert cox_test_within(time, event, risk, np.zeros(30)) == pytest.approx(cox_score_p(risk, time, event), rel=1e-8)


def test_intervals_are_students_and_scores_stay_within_their_range():
    values = np.array([0.6, 0.8, 0.7])
    half = stats.t.ppf(0.975, 2) * values.std(ddof=1) * np.sqrt(0.4)
    assert interval(values, 0.4, "pearson") == pytest.approx((0.7 - half, 0.7 + half))
    assert interval(np.array([0.9, 1.0, 0.95]), 5.0, "auroc")[1] == 1.0
    assert np.isnan(interval(values[:1], 1.0, "auroc")).all()
    runs = pd.DataFrame({"rep": list("aab"), "auroc": [0.6, 0.8, 0.5]})
    found = summarize(runs, ["rep"], ["auroc"], 0.25)
    assert found["mean"].tolist() == pytest.approx([0.7, 0.5])
    widened = interval(np.array([0.6, 0.8]), 1 / 2 + 2 * 0.25, "auroc")
    assert (found["low"][0], found["high"][0]) == pytest.approx(widened)
