"""Floors of imputation against scikit-learn, refits from scratch and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from spatialfm._errors import ArgumentError, TableError
from spatialfm.learn import imputers as module
from spatialfm.learn.imputers import METHODS, PENALTIES, drawn_evenly, fit_imputer, predict_left_out


@pytest.fixture(scope="module")
def rows():
    """60 cells of 6 patients, 5 markers on unlike scales, two targets: one linear in them, one mostly noise."""
    rng = np.random.default_rng(0)
    scales, centers = np.array([1, 10, 0.1, 3, 100]), np.array([0, 5, -1, 2, 1000])
    x = rng.normal(size=(60, 5)) * scales + centers
    patients = np.repeat(np.arange(6), 10)
    shift = rng.normal(size=6)[patients]
    weights = np.array([1.0, -0.3, 4.0, 0.0, 0.02])
    targets = np.column_stack([x @ weights + 0.3 * rng.normal(size=60) + shift, rng.normal(size=60) + 0.1 * x[:, 0]])
    return x, targets, patients


def test_the_mean_is_that_of_the_training_rows(rows):
    x, targets, _ = rows
    expected = np.broadcast_to(targets.mean(axis=0), (4, 2))
    np.testing.assert_allclose(fit_imputer("mean", x, targets).predict(x[:4]), expected)


@pytest.mark.parametrize("sign", [1, -1])
def test_correlated_is_the_line_through_the_strongest_marker(rows, sign):
    x, targets, _ = rows
    y = np.column_stack([sign * (0.5 * x[:, 4] + 7), -x[:, 1]]) + np.random.default_rng(1).normal(size=(60, 2))
    found = fit_imputer("correlated", x, y)
    for place, marker in enumerate([4, 1]):
        expected = np.polyval(np.polyfit(x[:, marker], y[:, place], 1), x[:9, marker])
        np.testing.assert_allclose(found.predict(x[:9])[:, place], expected, rtol=1e-9)
    assert (found.coefficients != 0).sum(axis=0).tolist() == [1, 1]


def test_linear_without_patients_is_ridge_with_the_penalty_of_leave_one_out(rows):
    x, targets, _ = rows
    alphas = 60 * np.array(PENALTIES)
    z = StandardScaler().fit_transform(x)
    expected = RidgeCV(alphas=alphas, alpha_per_target=True, store_cv_results=True).fit(z, targets)
    found = fit_imputer("linear", x, targets)
    np.testing.assert_allclose(found.penalty, expected.alpha_)
    assert len(set(found.penalty)) == 2  # the noise is penalised more
    new = x[::-1] * 1.1
    np.testing.assert_allclose(
        found.predict(new), expected.predict((new - x.mean(axis=0)) / x.std(axis=0)), rtol=1e-7, atol=1e-7
    )
    losses = module._errors_of_rows(z, targets - targets.mean(axis=0), alphas)
    np.testing.assert_allclose(losses, expected.cv_results_.mean(axis=0).T, rtol=1e-6)


def test_linear_with_patients_leaves_out_whole_patients(rows):
    """Against as many refits as there are patients and penalties."""
    x, targets, patients = rows
    z = StandardScaler().fit_transform(x)
    penalties = 60 * np.array(PENALTIES)
    expected = []
    for penalty in penalties:
        held_out = cross_val_predict(Ridge(alpha=penalty), z, targets, groups=patients, cv=LeaveOneGroupOut())
        expected.append(((targets - held_out) ** 2).mean(axis=0))
    y = targets - targets.mean(axis=0)
    np.testing.assert_allclose(module._errors_of_groups(z, y, patients, penalties), expected, rtol=1e-8)
    found = fit_imputer("linear", x, targets, np.array(list("fedcba"))[patients])
    np.testing.assert_allclose(found.penalty, penalties[np.argmin(expected, axis=0)])


def test_leaving_out_patients_penalises_what_differs_between_them():
    """A column that tells patients apart predicts within them and fails on the next one."""
    rng = np.random.default_rng(3)
    patients = np.repeat(np.arange(5), 40)
    level = np.array([3.0, -1.0, 0.5, 2.0, -4.0])[patients]
    x = np.column_stack([level + 0.01 * rng.normal(size=200), rng.normal(size=200)])
    y = np.array([1.0, 2.0, -3.0, 0.0, 0.5])[patients][:, None] + x[:, 1:]
    assert fit_imputer("linear", x, y, patients).penalty[0] > fit_imputer("linear", x, y).penalty[0]


def test_nearest_rows_are_those_of_scikit_learn(rows):
    x, targets, patients = rows
    expected = make_pipeline(StandardScaler(), KNeighborsRegressor(10)).fit(x, targets)
    found = fit_imputer("knn", x, targets, patients)
    np.testing.assert_allclose(found.predict(x[:20] + 0.1), expected.predict(x[:20] + 0.1))
    assert found.predict(x[:0]).shape == (0, 2)


def test_nearest_rows_of_many_are_drawn_evenly_from_patients(rows, monkeypatch):
    x, targets, _ = rows
    monkeypatch.setattr(module, "MAX_ROWS", 20)
    patients = np.repeat([0, 1, 2], [50, 6, 4])
    found = fit_imputer("knn", x, targets, patients)
    assert found.neighbors.n_samples_fit_ == 20
    kept = patients[drawn_evenly(patients, 20, 0)]
    assert np.bincount(kept).tolist() == [10, 6, 4]
    assert drawn_evenly(patients, 20, 0).tolist() != drawn_evenly(patients, 20, 1).tolist()
    np.testing.assert_array_equal(found.predict(x[:5]), fit_imputer("knn", x, targets, patients).predict(x[:5]))


@pytest.mark.parametrize("method", METHODS)
def test_patients_are_predicted_by_a_fit_to_others(rows, method):
    x, targets, patients = rows
    found = predict_left_out(method, x, targets, patients)
    for patient in range(6):
        own = patients == patient
        expected = fit_imputer(method, x[~own], targets[~own], patients[~own]).predict(x[own])
        np.testing.assert_allclose(found[own], expected)
    with pytest.raises(TableError, match="Rows are of one patient"):
        predict_left_out(method, x, targets, np.zeros(60))


@pytest.mark.parametrize("method", METHODS)
def test_units_of_the_inputs_do_not_matter(rows, method):
    x, targets, patients = rows
    plain = fit_imputer(method, x, targets, patients).predict(x)
    scaled = fit_imputer(method, x * 1000 + 5, targets, patients).predict(x * 1000 + 5)
    np.testing.assert_allclose(plain, scaled, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_constant_columns_and_targets_are_no_trouble(rows, method):
    x, targets, patients = rows
    x, targets = x.copy(), targets.copy()
    x[:, 2], targets[:, 0] = 0.1 + 0.2, 4.0
    found = fit_imputer(method, x, targets, patients).predict(x + 1e-3)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[:, 0], 4.0)


@pytest.mark.parametrize("method", METHODS)
def test_without_a_marker_that_is_seen_the_mean_is_left(rows, method):
    _, targets, patients = rows
    found = fit_imputer(method, np.zeros((60, 0)), targets, patients)
    np.testing.assert_allclose(found.predict(np.zeros((2, 0))), np.broadcast_to(targets.mean(axis=0), (2, 2)))


def test_what_cannot_be_fitted_is_refused(rows):
    x, targets, patients = rows
    with pytest.raises(ArgumentError, match="'linear'"):
        fit_imputer("liner", x, targets)
    with pytest.raises(TableError, match="60 rows, targets 59"):
        fit_imputer("linear", x, targets[1:])
    with pytest.raises(TableError, match="groups 59"):
        fit_imputer("linear", x, targets, patients[1:])
    with pytest.raises(TableError, match="2 rows or more and was given 1"):
        fit_imputer("linear", x[:1], targets[:1])
    with pytest.raises(TableError, match="x has 1 dimension;"):
        fit_imputer("linear", x[:, 0], targets)
    holed = x.copy()
    holed[3, 1] = np.nan
    with pytest.raises(TableError, match="1 row of x hold"):
        fit_imputer("mean", holed, targets)
    with pytest.raises(TableError, match=r"fitted on 5 columns and x has 4"):
        fit_imputer("knn", x, targets).predict(x[:, 1:])
    with pytest.raises(TableError, match="not finite"):
        fit_imputer("linear", x, targets).predict(holed)
