"""Intervals: how many cells of unseen patients they hold, and quantiles by hand."""

from __future__ import annotations

import numpy as np
import pytest

from spatialfm._errors import TableError
from spatialfm.learn.conformal import threshold
from spatialfm.learn.intervals import covered_when_left_out, fit_widths


def patients(rng, n_patients, spread=0.5):
    """Predictions and residuals of 5 to 200 cells of each; patients differ in how far they are off."""
    predicted, residuals, groups = [], [], []
    for patient in range(n_patients):
        n = int(rng.choice([5, 40, 200]))
        level = rng.uniform(0, 1, n)
        predicted.append(level)
        residuals.append(np.exp(spread * rng.normal()) * (0.2 + level) * rng.standard_t(5, n))
        groups.append(np.full(n, patient))
    return np.concatenate(residuals), np.concatenate(predicted), np.concatenate(groups)


def covered_in_new(widths, rng, n=40):
    residuals, predicted, groups = patients(rng, n)
    inside = np.abs(residuals) <= widths.of(predicted)
    return inside, predicted, groups


@pytest.mark.parametrize("n_patients", [8, 25])
def test_new_patients_are_covered_as_often_as_stated(n_patients):
    rng = np.random.default_rng(0)
    found, naive = [], []
    for _ in range(150):
        residuals, predicted, groups = patients(rng, n_patients)
        widths = fit_widths(residuals, predicted, groups, 0.9)
        inside, _, of = covered_in_new(widths, rng, 10)
        found.append(np.mean([inside[of == one].mean() for one in range(10)]))
        naive.append(widths.left_out.mean())
    assert np.mean(found) == pytest.approx(0.9, abs=0.02)
    assert np.mean(naive) == pytest.approx(0.9, abs=0.01)


def test_a_promise_is_kept_and_covers_more_by_one_over_the_patients():
    rng = np.random.default_rng(1)
    found = []
    for _ in range(150):
        residuals, predicted, groups = patients(rng, 12)
        widths = fit_widths(residuals, predicted, groups, 0.9, guarantee=True)
        assert widths.half[0] == pytest.approx(threshold(np.abs(residuals), groups, 0.9))
        inside, _, of = covered_in_new(widths, rng, 10)
        found.append(np.mean([inside[of == one].mean() for one in range(10)]))
    assert 0.9 < np.mean(found) < 0.9 + 1 / 12 + 0.01


def test_levels_cover_bright_and_dim_cells_alike():
    rng = np.random.default_rng(2)
    of_bright = {1: [], 4: []}
    for _ in range(30):
        residuals, predicted, groups = patients(rng, 25)
        for n_levels, covered in of_bright.items():
            widths = fit_widths(residuals, predicted, groups, 0.9, n_levels)
            assert len(widths.half) == n_levels
            assert n_levels == 1 or widths.half[-1] > widths.half[0]
            inside, level, _ = covered_in_new(widths, rng)
            covered.append(inside[level > 0.75].mean())
    assert np.mean(of_bright[4]) == pytest.approx(0.9, abs=0.02)
    assert np.mean(of_bright[1]) < 0.86


def test_levels_hold_as_many_cells_patients_weighing_alike():
    predicted = np.r_[np.linspace(0, 1, 1000), np.linspace(2, 3, 10)]
    groups = np.r_[np.zeros(1000, int), np.ones(10, int)]
    with pytest.raises(TableError, match=r"Level 1 of 2 has cells of 1 patient; each level needs 2"):
        fit_widths(predicted, predicted, groups, 0.5, 2)
    both = np.r_[predicted, predicted], np.r_[groups, 2 + groups]
    widths = fit_widths(both[0], *both, 0.5, 2)
    assert 1 < widths.edges[0] <= 2
    # cells that are all predicted alike are of one level
    assert len(fit_widths(np.arange(6.0), np.zeros(6), np.arange(6) % 2, 0.5, 3).half) == 1


def test_who_is_left_out_is_covered_by_a_quantile_of_the_others():
    rng = np.random.default_rng(3)
    sizes = np.sort(rng.gamma(1, size=60).round(1))  # with ties
    codes = rng.permutation(np.repeat([0, 1, 2, 3], [5, 10, 15, 30]))
    found = covered_when_left_out(sizes, codes, np.array([0.3, 0.9, 1.0]))
    for code in range(4):
        others, own = sizes[codes != code], sizes[codes == code]
        weights = 1 / (3 * np.bincount(codes)[codes[codes != code]])
        for column, quantile in enumerate([0.3, 0.9, 1.0]):
            limit = others[np.flatnonzero(np.cumsum(weights) >= quantile - 1e-9)[0]]
            assert found[code, column] == pytest.approx((own <= limit).mean())


def test_widths_are_those_of_the_level_of_a_prediction():
    residuals, predicted, groups = patients(np.random.default_rng(4), 20)
    widths = fit_widths(residuals, predicted, groups, 0.8, 2)
    edge = widths.edges[0]
    found = widths.of(np.array([edge - 1e-9, edge, -5.0, np.nan]))
    assert found[:3].tolist() == widths.half[[0, 1, 0]].tolist()
    assert np.isnan(found[3])
    assert widths.n_patients.tolist() == [
        len(np.unique(groups[rows])) for rows in (predicted < edge, predicted >= edge)
    ]


def test_too_few_patients_are_refused():
    one = np.arange(9.0)
    with pytest.raises(TableError, match=r"1 patient has cells to calibrate on"):
        fit_widths(one, one, np.zeros(9), 0.9)
    with pytest.raises(TableError, match=r"coverage=0.9 for a new patient needs 9"):
        fit_widths(one, one, np.arange(9) % 3, 0.9, guarantee=True)
    # one of two patients is off by far more than the other
    with pytest.raises(TableError, match=r"covers 50% of the cells of a patient, on average over 2 patients"):
        fit_widths(np.r_[np.ones(5), np.full(5, 9.0)], np.zeros(10), np.repeat([0, 1], 5), 0.9)
