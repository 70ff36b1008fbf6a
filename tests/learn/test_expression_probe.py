"""The probe of the HEST-Benchmark, against scikit-learn's pipeline and against loops."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from spatialfm.learn.expression_probe import PENALTIES, ProbeRecipe, chosen_penalty, column_pearson, fit_predict


def data(seed: int = 0, n: int = 90, noise: float = 1.0, means=(0, 1, 2, 3)):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 12)) * np.arange(1, 13) + 5
    y = x @ rng.normal(size=(12, 4)) / 10 + noise * rng.normal(size=(n, 4)) + np.array(means)
    return x, y, np.repeat(np.arange(6), n // 6)


@pytest.mark.parametrize(("pca", "n_components"), [(5, 5), (256, 12), (None, 12)])
def test_ridge_is_that_of_the_benchmark(pca, n_components):
    x, y, groups = data()
    found = fit_predict(x[:60], y[:60], groups[:60], x[60:], ProbeRecipe("ridge", pca, "published", 70), 0)
    steps = [StandardScaler()] + ([PCA(n_components, random_state=1)] if pca else [])
    features = make_pipeline(*steps).fit(x[:60])
    alpha = 100 / (n_components * 4)
    ridge = Ridge(alpha=alpha, solver="lsqr", fit_intercept=False, max_iter=1000, tol=1e-10)
    right = ridge.fit(features.transform(x[:60]), y[:60]).predict(features.transform(x[60:]))
    np.testing.assert_allclose(found.values - y[:60].mean(axis=0), right, atol=1e-4)  # of an sd of 2
    for column in range(4):
        assert column_pearson(y[60:], found.values)[column] == pytest.approx(
            stats.pearsonr(y[60:, column], right[:, column])[0], abs=1e-5
        )
    assert (found.alpha, found.n_components) == (pytest.approx(alpha), n_components)


def test_coefficients_are_found_however_large_the_mean_of_a_target_is():
    x, y, groups = data(means=(0, 10, 1e3, 1e6))
    found = fit_predict(x[:60], y[:60], groups[:60], x[60:], ProbeRecipe("ridge", None, 3.0, 70), 0)
    scaler = StandardScaler().fit(x[:60])
    right = Ridge(alpha=3.0).fit(scaler.transform(x[:60]), y[:60]).predict(scaler.transform(x[60:]))
    np.testing.assert_allclose(found.values - y.mean(axis=0), right - y.mean(axis=0), atol=1e-4)


def test_the_forest_is_scikit_learns():
    x, y, groups = data()
    found = fit_predict(x[:60], y[:60], groups[:60], x[60:], ProbeRecipe("forest", 5, "published", 10), 3)
    features = make_pipeline(StandardScaler(), PCA(5, random_state=1)).fit(x[:60])
    order = np.argsort(features.transform(x[:1])[0])  # columns by the first row, wherever they stand
    forest = RandomForestRegressor(10, random_state=3).fit(features.transform(x[:60])[:, order], y[:60])
    np.testing.assert_allclose(found.values, forest.predict(features.transform(x[60:])[:, order]))
    assert np.isnan(found.alpha)
    one = fit_predict(x[:60], y[:60, :1], groups[:60], x[60:], ProbeRecipe("forest", 5, "published", 10), 3)
    assert one.values.shape == (30, 1)


@pytest.mark.parametrize(("noise", "seed"), [(0.3, 0), (3.0, 1), (30.0, 2)])
def test_the_penalty_is_the_one_that_does_best_in_patients_held_out(noise, seed):
    x, y, groups = data(seed, noise=noise)
    z = (y - y.mean(axis=0)) / y.std(axis=0)
    lost = []
    for penalty in PENALTIES:
        errors = 0.0
        for fit, test in GroupKFold(5).split(x, groups=groups):
            assert not set(groups[fit]) & set(groups[test])
            errors += ((Ridge(alpha=penalty).fit(x[fit], z[fit]).predict(x[test]) - z[test]) ** 2).sum()
        lost.append(errors)
    assert chosen_penalty(x, y, groups) == PENALTIES[int(np.argmin(lost))]


def test_nothing_is_taken_from_the_rows_that_are_predicted():
    x, y, groups = data()
    recipe = ProbeRecipe("ridge", 5, "cv", 70)
    alone = fit_predict(x[:60], y[:60], groups[:60], x[60:61], recipe, 0).values
    others = np.concatenate([x[60:61], 1000 + x[61:]])
    np.testing.assert_allclose(fit_predict(x[:60], y[:60], groups[:60], others, recipe, 0).values[:1], alone)


def test_correlation_of_what_does_not_vary():
    truth = np.column_stack([np.arange(5.0), np.full(5, 0.1), np.arange(5.0)])
    predicted = np.column_stack([np.full(5, 0.1 + 0.2), np.arange(5.0), -3 * np.arange(5.0) + 1])
    assert column_pearson(truth, predicted)[[0, 2]].tolist() == [0.0, pytest.approx(-1)]
    assert np.isnan(column_pearson(truth, predicted)[1])
