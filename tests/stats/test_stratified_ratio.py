"""Ratios of risks against statsmodels and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from spatialfm.stats.stratified_ratio import exact_p, mantel_haenszel, poisson_ratio

TABLES = np.array([[[12, 20], [5, 30]], [[8, 4], [6, 9]], [[0, 3], [2, 7]]])


def test_mantel_haenszel_by_hand():
    top = sum(a * (c + d) / (a + b + c + d) for (a, b), (c, d) in TABLES)
    bottom = sum(c * (a + b) / (a + b + c + d) for (a, b), (c, d) in TABLES)
    ratio, low, high = mantel_haenszel(TABLES)
    assert ratio == pytest.approx(top / bottom)
    assert low < ratio < high
    assert np.sqrt(low * high) == pytest.approx(ratio)
    # one stratum: Katz
    (a, b), (c, d) = TABLES[0]
    error = np.sqrt(1 / a - 1 / (a + b) + 1 / c - 1 / (c + d))
    expected = np.log((a / (a + b)) / (c / (c + d))) + 1.959964 * error * np.array([0, -1, 1])
    np.testing.assert_allclose(np.log(mantel_haenszel(TABLES[:1])), expected, rtol=1e-6)


def test_no_events_on_a_side():
    assert mantel_haenszel(np.array([[[0, 5], [3, 2]]]))[0] == 0.0
    assert mantel_haenszel(np.array([[[3, 5], [0, 2]]]))[0] == np.inf
    assert np.isnan(mantel_haenszel(np.array([[[0, 5], [0, 2]]]))[0])


def test_exact_test_of_one_stratum_is_fishers_and_of_two_sums_their_tables():
    for table in TABLES[:2]:
        assert exact_p(table[None]) == pytest.approx(stats.fisher_exact(table).pvalue, abs=1e-10)
    chances = {}
    tables = TABLES[:2]
    for i in range(40):
        for j in range(40):
            p = 1.0
            for count, ((a, b), (c, d)) in zip((i, j), tables, strict=True):
                p *= stats.hypergeom.pmf(count, a + b + c + d, a + b, a + c)
            chances[i + j] = chances.get(i + j, 0.0) + p
    seen = chances[int(tables[:, 0, 0].sum())]
    assert exact_p(tables) == pytest.approx(sum(p for p in chances.values() if p <= seen * (1 + 1e-7)), abs=1e-10)


def test_poisson_regression_is_that_of_statsmodels_with_hc2_errors():
    rng = np.random.default_rng(0)
    age, side = rng.normal(size=120), np.repeat([0.0, 1.0], 60)
    event = (rng.random(120) < np.clip(0.2 * np.exp(0.6 * side + 0.3 * age), 0, 0.95)).astype(float)
    design = np.column_stack([np.ones(120), side, age])
    ratio, low, high = poisson_ratio(event, design, 1)
    fit = sm.GLM(event, design, family=sm.families.Poisson()).fit(tol=1e-12)
    assert ratio == pytest.approx(np.exp(fit.params[1]), rel=1e-6)
    root = np.sqrt(fit.fittedvalues)[:, None] * design
    bread = np.linalg.inv(root.T @ root)
    leverage = np.einsum("ij,jk,ik->i", root, bread, root)
    meat = (design * ((event - fit.fittedvalues) ** 2 / (1 - leverage))[:, None]).T @ design
    error = np.sqrt((bread @ meat @ bread)[1, 1])
    assert np.log(high / ratio) == pytest.approx(stats.t.ppf(0.975, 117) * error, rel=1e-5)
    assert np.log(ratio / low) == pytest.approx(np.log(high / ratio), rel=1e-9)
    assert np.isnan(poisson_ratio(side, design, 1)).all()
