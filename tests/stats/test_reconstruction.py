"""Scores of predicted values against scipy, scikit-learn and scikit-image; intervals against how often they hold."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from skimage.metrics import structural_similarity as similarity
from sklearn.metrics import f1_score, mean_squared_error

from spatialfm.stats.reconstruction import over_patients, pearson, scores, structural_similarity


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    measured = rng.gamma(2, size=200).round(1)  # with ties
    return measured, measured + rng.normal(size=200)


def test_scores_are_those_of_other_packages(pair):
    measured, predicted = pair
    found = scores(measured, predicted, 2.0)
    assert found["r"] == pytest.approx(stats.pearsonr(measured, predicted).statistic)
    assert found["spearman"] == pytest.approx(stats.spearmanr(measured, predicted).statistic)
    assert found["mse"] == pytest.approx(mean_squared_error(measured, predicted))
    assert found["f1"] == pytest.approx(f1_score(measured > 2, predicted > 2))


def test_each_value_may_have_a_threshold_of_its_own(pair):
    measured, predicted = pair
    limits = np.where(np.arange(200) % 2, 1.0, 3.0)
    assert scores(measured, predicted, limits)["f1"] == pytest.approx(f1_score(measured > limits, predicted > limits))


def test_what_has_no_score_is_nan():
    flat = scores(np.full(5, 0.3), np.arange(5.0), 10.0)
    assert np.isnan([flat["r"], flat["spearman"], flat["f1"]]).all()
    assert flat["mse"] == pytest.approx(np.mean((0.3 - np.arange(5)) ** 2))
    assert np.isnan(list(scores(np.zeros(0), np.zeros(0), 0.0).values())).all()
    assert np.isnan(pearson(np.array([0.0, 1.0]), np.array([0.0, 2.0])))  # of two values it is always 1
    assert np.isnan(pearson(1e6 + np.zeros(9), np.arange(9.0)))


def test_structural_similarity_is_that_of_images_cut_at_a_percentile():
    rng = np.random.default_rng(1)
    measured = rng.gamma(2, size=(40, 50))
    predicted = measured + 0.5 * rng.normal(size=(40, 50))
    assert structural_similarity(measured, measured) == pytest.approx(1)
    low, high = measured.min(), np.percentile(measured, 99.9)
    one, two = np.clip(measured, low, high), np.clip(predicted, low, high)
    assert structural_similarity(measured, predicted) == pytest.approx(similarity(one, two, data_range=high - low))
    hot = measured.copy()
    hot[3, 3] = 1e6
    assert structural_similarity(hot, predicted) == pytest.approx(structural_similarity(measured, predicted), abs=0.02)
    assert np.isnan(structural_similarity(np.ones((9, 9)), np.ones((9, 9))))
    assert np.isnan(structural_similarity(measured[:5], predicted[:5]))


@pytest.mark.parametrize("n", [5, 20])
def test_intervals_hold_the_mean_of_other_patients(n):
    """Of few patients too, of whom plain percentiles hold it less often than stated."""
    rng = np.random.default_rng(2)
    held, plain = [], []
    for _ in range(500):
        values = rng.normal(0.6, 0.1, n)
        mean, low, high = over_patients(values, 400, rng)
        assert mean == pytest.approx(values.mean())
        held.append(low <= 0.6 <= high)
        draws = rng.choice(values, (400, n)).mean(axis=1)
        plain.append(np.quantile(draws, 0.025) <= 0.6 <= np.quantile(draws, 0.975))
    assert 0.92 <= np.mean(held) <= 0.98
    assert np.mean(plain) < np.mean(held) - 0.01


def test_patients_without_a_score_are_left_out():
    rng = np.random.default_rng(0)
    assert over_patients(np.array([0.5, np.nan, 0.7]), 100, rng)[0] == pytest.approx(0.6)
    assert np.isnan(over_patients(np.array([np.nan]), 100, rng)).all()
    mean, low, high = over_patients(np.array([0.5, np.nan]), 100, rng)
    assert (mean, np.isnan(low), np.isnan(high)) == (0.5, True, True)
    assert np.isnan(over_patients(np.array([0.5, 0.6]), 0, rng)[1:]).all()
