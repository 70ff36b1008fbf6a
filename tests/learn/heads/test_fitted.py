"""Probabilities in blocks and at a temperature, and what is held out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax as softmax_of_scipy
from sklearn.preprocessing import StandardScaler

from spatialfm.learn.heads import fitted as module
from spatialfm.learn.heads.cells import VisibleCells
from spatialfm.learn.heads.fitted import RuleFitted, held_out_probability, softmax
from spatialfm.learn.temperature import Calibration


def test_softmax_is_that_of_scipy_and_does_not_overflow():
    scores = np.random.default_rng(0).normal(scale=30, size=(20, 4)) + 1e4
    np.testing.assert_allclose(softmax(scores), softmax_of_scipy(scores, axis=1), rtol=1e-12)


class First:
    """Odds of two classes that are the first column, on the common scale; rows are not known beforehand."""

    def of_values(self, scaled):
        return softmax(np.column_stack([scaled[:, 0], np.zeros(len(scaled))]))

    def of_rows(self, rows):
        return None


def made(n, **options):
    values = np.random.default_rng(1).normal(3, 2, size=(n, 2))
    return values, RuleFitted(["a", "b"], VisibleCells(values, StandardScaler().fit(values)), First(), **options)


def test_values_are_scaled_and_blocks_are_put_together(monkeypatch):
    values, rule = made(23)
    z = (values[:, 0] - values[:, 0].mean()) / values[:, 0].std()
    expected = 1 / (1 + np.exp(-z))
    whole = rule.predict_proba(values)
    np.testing.assert_allclose(whole[:, 0], expected, rtol=1e-5)
    monkeypatch.setattr(module, "BLOCK", 5)
    np.testing.assert_array_equal(rule.predict_proba(values), whole)
    np.testing.assert_allclose(rule.predict_seen(np.array([7, 2])), whole[[7, 2]], rtol=1e-5)
    assert rule.predict_seen().shape == (23, 2)


def test_a_temperature_divides_the_logarithms_of_the_odds():
    values, rule = made(30, calibration=Calibration(temperature=2.0))
    z = (values[:, 0] - values[:, 0].mean()) / values[:, 0].std()
    np.testing.assert_allclose(rule.predict_proba(values)[:, 0], 1 / (1 + np.exp(-z / 2)), rtol=1e-5)


def test_no_row_is_predicted_by_a_fit_that_had_its_label():
    rows, codes = np.arange(100, 160), np.arange(60) % 2
    fits = []

    class Counts:
        def __init__(self, train):
            self.train = train

        def predict_seen(self, asked):
            assert not np.isin(asked, self.train).any()
            return np.full((len(asked), 2), 0.5)

    def fit(train, of_train):
        assert (of_train == codes[train - 100]).all()
        fits.append(train)
        return Counts(train)

    probability, places = held_out_probability(fit, rows, codes, None, 0)
    assert len(fits) >= 2
    assert sorted(places.tolist()) == list(range(60))
    assert probability.shape == (60, 2)
    assert probability == pytest.approx(0.5)
