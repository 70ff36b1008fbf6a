"""What is expected from other markers, and errors by level: against regressions and distributions that were set."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor

from spatialfm.learn.imputers import N_NEIGHBORS
from spatialfm.learn.panel_moments import PENALTY
from spatialfm.learn.surprise import (
    FLOOR,
    Errors,
    Usual,
    brightness,
    deviation,
    errors_of,
    expected_of_others,
    usual_of,
)


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(5), [40, 60, 50, 70, 30])
    return rng.normal(size=(250, 2)) @ rng.normal(size=(2, 4)) + 0.5 * rng.normal(size=(250, 4)) + 3, patient


def test_others_are_expected_by_the_whole_reference(cells):
    values, patient = cells
    reference = patient < 4
    linear = expected_of_others("linear", values, patient, reference, n_folds=2)
    nearest = expected_of_others("knn", values, patient, reference, n_folds=2)
    counts = np.bincount(patient)[:4]  # patients of 50 cells and more weigh alike
    weight = (np.array([40, 50, 50, 50]) / 190 / counts)[patient[reference]]
    center = weight @ values[reference]
    scale = np.sqrt(weight @ (values[reference] - center) ** 2)
    z = (values - center) / scale
    for marker in range(4):
        others = [one for one in range(4) if one != marker]
        fit = Ridge(alpha=PENALTY, fit_intercept=False)
        fit.fit(z[reference][:, others], z[reference, marker], sample_weight=weight)
        expected = fit.predict(z[~reference][:, others]) * scale[marker] + center[marker]
        np.testing.assert_allclose(linear[~reference, marker], expected, atol=1e-9)
        x = (values - values[reference].mean(axis=0)) / values[reference].std(axis=0)
        fit = KNeighborsRegressor(N_NEIGHBORS).fit(x[reference][:, others], values[reference, marker])
        np.testing.assert_allclose(nearest[~reference, marker], fit.predict(x[~reference][:, others]), atol=1e-9)


@pytest.mark.parametrize("method", ["linear", "knn"])
def test_a_patient_of_the_reference_is_expected_without_its_own_cells(cells, method):
    values, patient = cells
    reference = np.ones(250, bool)
    before = expected_of_others(method, values, patient, reference, n_folds=5)
    changed = values.copy()
    changed[patient == 2, 1] += 50  # nothing else of it changes
    after = expected_of_others(method, changed, patient, reference, n_folds=5)
    np.testing.assert_allclose(after[patient == 2, 1], before[patient == 2, 1])
    assert not np.allclose(after[patient == 3, 1], before[patient == 3, 1])


def test_errors_grow_with_the_level_and_patients_weigh_alike():
    rng = np.random.default_rng(1)
    expected = rng.uniform(0, 10, (20_000, 1))
    residual = 1.0 + (0.5 + 0.2 * expected) * rng.normal(size=expected.shape)
    errors = errors_of(residual, expected, np.repeat([0, 1], 10_000))
    assert errors.level.shape == (10, 1)
    np.testing.assert_allclose(errors.scale[:, 0], 0.5 + 0.2 * errors.level[:, 0], rtol=0.08)
    np.testing.assert_allclose(errors.center, 1.0, atol=0.12)
    z = errors.standardised(residual, expected)
    assert np.quantile(z, [0.159, 0.841]) == pytest.approx([-1, 1], abs=0.05)
    many, few = rng.normal(0, 1, 900), rng.normal(100, 1, 90)
    order = rng.permutation(990)
    both = errors_of(np.r_[many, few][order, None], np.zeros((990, 1)), np.repeat([0, 1], [900, 90])[order])
    assert both.scale.max() > 20  # half of the patients, though a tenth of the cells, is elsewhere


def test_a_patient_of_one_cell_does_not_rule():
    rng = np.random.default_rng(2)
    values = rng.normal(size=(1201, 3))
    values[:, 1] += values[:, 0]
    values[-1] = 3, -3, 0
    patient = np.r_[np.repeat(np.arange(4), 300), 4]
    expected = expected_of_others("linear", values, patient, patient < 5, n_folds=5)
    residual = values - expected
    slopes = np.polyfit(values[:-1, 1], expected[:-1, 0], 1)  # Cov / Var = 1 / 2, and a little less with the penalty
    assert slopes[0] == pytest.approx(0.5, abs=0.06)
    errors = errors_of(residual, expected, patient)
    np.testing.assert_allclose(errors.center, 0, atol=0.35)
    np.testing.assert_allclose(errors.scale[:, 0], np.sqrt(0.5), rtol=0.25)


def test_a_level_without_error_has_a_part_of_that_of_all_cells():
    residual = np.r_[np.zeros(100), np.random.default_rng(0).normal(size=100)][:, None]
    errors = errors_of(residual, np.arange(200.0)[:, None], np.zeros(200, int))
    whole = errors_of(residual, np.zeros((200, 1)), np.zeros(200, int))
    assert len(errors.level) == 4
    assert (errors.scale > 0).all()
    assert errors.scale[0, 0] == errors.scale[1, 0] < 0.3 * errors.scale[3, 0]
    assert np.isfinite(whole.standardised(residual, np.zeros((200, 1)))).all()


def test_between_levels_errors_are_interpolated_and_beyond_them_constant():
    errors = Errors(np.array([[0.0], [10.0]]), np.array([[0.0], [1.0]]), np.array([[1.0], [3.0]]))
    z = errors.standardised(np.array([[4.5], [2.0], [7.0]]), np.array([[5.0], [-3.0], [30.0]]))
    np.testing.assert_allclose(z.ravel(), [2.0, 2.0, 2.0])


def test_levels_do_not_hang_on_the_order_of_rows_where_much_is_expected_alike():
    """A dark marker: of most cells exactly 0 is expected, and levels part within these."""
    rng = np.random.default_rng(0)
    expected = np.maximum(rng.normal(size=(600, 1)), 0)
    residual, patient = rng.gamma(1, size=(600, 1)), np.repeat([0, 1, 2], [20, 280, 300])
    order = rng.permutation(600)
    one, other = errors_of(residual, expected, patient), errors_of(residual[order], expected[order], patient[order])
    for name in ("level", "center", "scale"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-12)


def test_one_marker_and_all_markers_are_two_sides():
    z = np.array([[9.0, 0, 0, 0], [1, 1, 1, 1], [2, -2, 2, -2]])
    np.testing.assert_allclose(deviation(z), [4.5, 1, 2])
    rms, shift = np.array([4.5, 1, 1]), np.array([0.75, 1, -1])
    np.testing.assert_allclose(Usual(2.0, 0.5).exceeded(rms, shift), [2.25, 2, 0.5])  # darker: by its markers alone


def test_brightness_is_that_of_all_markers_within_a_sample():
    """By hand: medians 2 and 20, spreads 1 and 10 median deviations; the second sample is five times as bright."""
    x = np.array([[1.0, 10], [2, 20], [3, 30], [2, 90], [100, 20]])
    away = (x - [2, 20]) / (1.4826 * np.array([1.0, 10]))
    expected = np.clip(away, -3, 3).mean(axis=1)
    found = brightness(np.vstack([x, 5 * x[::-1]]), np.repeat(["a", "b"], 5))
    np.testing.assert_allclose(found, np.r_[expected, expected[::-1]])
    assert found[3] == pytest.approx(1.5)  # one marker counts 3 at most, however bright
    dark = brightness(np.zeros((4, 2)), np.zeros(4, int))
    assert (dark == 0).all()


def test_what_is_usual_is_of_patients_who_weigh_alike():
    rng = np.random.default_rng(0)
    z, patient = rng.normal(size=(3000, 3)), np.repeat([0, 1], [2900, 100])
    z[patient == 1] *= 3
    rms, shift = deviation(z), z.mean(axis=1)
    found = usual_of(rms, shift, patient)
    for value, one in ((found.rms, rms), (found.shift, shift)):
        assert np.mean([(one[patient == code] <= value).mean() for code in (0, 1)]) == pytest.approx(0.95, abs=0.01)
    few = usual_of(rms[2899:], shift[2899:], np.r_[0, np.repeat(1, 100)])  # a patient of one cell hardly counts
    assert few.rms == pytest.approx(np.quantile(rms[2900:], 0.95), rel=0.05)


def test_a_level_without_errors_has_a_share_of_the_whole_width():
    """Half of the cells are as expected, the others off by normal errors: 68 % of all are within the 0.36 of these."""
    rng = np.random.default_rng(0)
    expected = np.repeat([[0.0], [1.0]], 10_000, axis=0)
    residual = rng.normal(size=(20_000, 1)) * expected
    errors = errors_of(residual, expected, np.arange(20_000) // 1000)
    whole = norm.ppf((1 + (0.6827 - 0.5) / 0.5) / 2)
    first, last = errors.scale[0, 0], errors.scale[-1, 0]
    assert first == pytest.approx(FLOOR * whole, rel=0.05)
    assert last == pytest.approx(1, rel=0.05)
