"""Scores of folds against scikit-learn, scipy and lifelines, and their interval by the formula."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from lifelines.statistics import logrank_test
from scipy.stats import pearsonr, t, ttest_ind
from sklearn.metrics import average_precision_score, f1_score, r2_score, roc_auc_score

from spatialfm.learn.bag_statistics import class_statistics, number_statistics, over_folds, survival_statistics


def test_scores_of_classes():
    rng = np.random.default_rng(0)
    codes, fold = rng.integers(0, 3, 60), np.repeat([0, 1], 30)
    probability = rng.dirichlet(np.ones(3), 60)
    table = class_statistics(codes, ["a", "b", "c"], probability, fold).set_index(["class", "fold"])
    assert len(table) == 6
    for k, name in enumerate("abc"):
        for number in (0, 1):
            part = fold == number
            truth, score = codes[part] == k, probability[part, k]
            row = table.loc[(name, number)]
            assert row["n"] == truth.sum()
            assert row["auroc"] == pytest.approx(roc_auc_score(truth, score))
            assert row["average_precision"] == pytest.approx(average_precision_score(truth, score))
            assert row["f1"] == pytest.approx(f1_score(truth, probability[part].argmax(1) == k))
            assert row["p_value"] == pytest.approx(ttest_ind(score[truth], score[~truth]).pvalue)


def test_a_class_that_a_fold_lacks_has_no_score_there():
    table = class_statistics(np.array([0, 0, 1, 0]), ["a", "b"], np.full((4, 2), 0.5), np.array([0, 0, 1, 1]))
    row = table[(table["class"] == "b") & (table["fold"] == 0)].iloc[0]
    assert row["n"] == 0
    assert row[["auroc", "average_precision", "p_value"]].isna().all()


def test_scores_of_numbers():
    rng = np.random.default_rng(1)
    truth, fold = rng.normal(size=40), np.repeat([3, 5], 20)
    predicted = truth + rng.normal(size=40)
    table = number_statistics(truth, predicted, fold).set_index("fold")
    for number in (3, 5):
        one, two = truth[fold == number], predicted[fold == number]
        assert table.loc[number, "r2"] == pytest.approx(r2_score(one, two))
        assert table.loc[number, "pearson"] == pytest.approx(pearsonr(one, two)[0])
        assert table.loc[number, "mae"] == pytest.approx(np.abs(one - two).mean())
        assert table.loc[number, "rmse"] == pytest.approx(np.sqrt(((one - two) ** 2).mean()))


def test_groups_of_risk_are_those_above_the_threshold_of_the_fold():
    rng = np.random.default_rng(2)
    time, event, risk = rng.exponential(10, 60), rng.random(60) < 0.7, rng.normal(size=60)
    fold, threshold = np.repeat([0, 1], 30), np.array([0.2, -0.4])
    table = survival_statistics(time, event, risk, fold, threshold).set_index("fold")
    for number in (0, 1):
        part = fold == number
        high = risk[part] > threshold[number]
        test = logrank_test(time[part][high], time[part][~high], event[part][high], event[part][~high])
        assert table.loc[number, "n_high"] == high.sum()
        assert table.loc[number, "events"] == event[part].sum()
        assert table.loc[number, "p_value"] == pytest.approx(test.p_value)
    alone = survival_statistics(time, event, risk, fold, np.array([99.0, 99.0]))  # nobody is above
    assert alone["n_high"].tolist() == [0, 0]
    assert alone["p_value"].isna().all()


def test_the_interval_over_folds_is_students():
    folds = pd.DataFrame(
        {"class": ["a", "a", "a", "b"], "fold": [0, 1, 2, 0], "n": [4, 5, 6, 7], "auroc": [0.6, 0.7, 0.95, 0.5]}
    )
    table = over_folds(folds)
    values = np.array([0.6, 0.7, 0.95])
    low, high = t(2, values.mean(), values.std(ddof=1) / np.sqrt(3)).interval(0.95)
    assert table.loc["a", ["auroc", "auroc_low", "auroc_high"]].tolist() == pytest.approx([values.mean(), low, high])
    assert table["n"].tolist() == [15, 7]
    assert table.loc["b", "auroc"] == 0.5
    assert np.isnan(table.loc["b", "auroc_low"])  # of one fold
