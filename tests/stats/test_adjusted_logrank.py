"""Log-rank test at equal covariates: against scikit-survival, statsmodels and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2
from sksurv.compare import compare_survival

from spatialfm.stats.adjusted_logrank import AdjustedLogrank
from spatialfm.stats.fine_gray import expand
from spatialfm.stats.logrank import LogrankTest, chi_squared, trend_statistic


def cohort(n: int = 60, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Times without ties, events, three groups that follow the first of two covariates, two strata."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    codes = np.digitize(x[:, 0] + rng.normal(size=n), [-0.5, 0.7])
    time, limit = rng.exponential(np.exp(-x[:, 0])), rng.exponential(2, n)
    return np.minimum(time, limit), time <= limit, codes, x, rng.integers(0, 2, n)


def test_without_covariates_it_is_the_logrank_test():
    time, event, codes, _, strata = cohort()
    test = AdjustedLogrank(np.zeros((60, 0)), time, event)
    seen = np.array(list(zip(event, time, strict=True)), dtype=[("event", bool), ("time", float)])
    statistic, p_value, table, covariance = compare_survival(seen, codes, return_stats=True)
    parts = test.parts(codes)
    assert chi_squared(parts) == pytest.approx((statistic, p_value, 2))
    np.testing.assert_allclose(parts.expected, table["expected"])
    np.testing.assert_allclose(parts.covariance, covariance)
    stratified = chi_squared(AdjustedLogrank(np.zeros((60, 0)), time, event, strata).parts(codes))
    assert stratified == pytest.approx(chi_squared(LogrankTest(time, event, strata).parts(codes)))


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize("ties", [False, True])
def test_statistic_is_the_score_of_statsmodels_at_the_covariates_own_fit(late, stratified, ties):
    from statsmodels.duration.hazard_regression import PHReg

    time, event, codes, x, strata = cohort()
    time = np.ceil(5 * time) if ties else time
    strata = strata if stratified else None
    entry = np.random.default_rng(1).uniform(0, 0.9, 60) * time if late else None
    parts = AdjustedLogrank(x, time, event, strata, entry).parts(codes)
    options = {"status": event.astype(float), "ties": "efron", "strata": strata, "entry": entry}
    params = np.append([0.0, 0.0], PHReg(time, x, **options).fit(disp=0).params)
    full = PHReg(time, np.column_stack([np.eye(3)[codes][:, 1:], x]), **options)
    score, information = full.score(params), -full.hessian(params)
    np.testing.assert_allclose(parts.difference[1:], score[:2], atol=1e-6)
    statistic = score @ np.linalg.solve(information, score)
    assert chi_squared(parts) == pytest.approx((statistic, chi2.sf(statistic, 2), 2), rel=1e-4)
    assert parts.expected.sum() == pytest.approx(event.sum())
    rise = PHReg(time, np.column_stack([codes, x]), **options)
    score, information = rise.score(params[1:]), -rise.hessian(params[1:])
    found, direction = trend_statistic(parts)
    assert found == pytest.approx(score @ np.linalg.solve(information, score), rel=1e-4)
    assert direction == np.sign(score[0])


def test_without_covariates_dealing_residuals_is_dealing_groups():
    """Statistics under both are drawn from the same ones: of all 15 ways to choose 2 of 6 patients."""
    time, event, codes = np.arange(1.0, 7), np.array([1, 1, 0, 1, 1, 1], bool), np.array([0, 1, 0, 0, 1, 0])
    every, _, exact = LogrankTest(time, event).permuted(codes, 999, np.random.default_rng(0))
    drawn, rises, exact_too = AdjustedLogrank(np.zeros((6, 0)), time, event).permuted(
        codes, 3_000, np.random.default_rng(0)
    )
    assert exact
    assert not exact_too
    np.testing.assert_allclose(np.unique(drawn.round(8)), np.unique(every.round(8)))
    np.testing.assert_allclose(rises, drawn)  # of two groups
    for value in np.unique(every.round(8)):
        assert np.mean(abs(drawn - value) < 1e-7) == pytest.approx(np.mean(abs(every - value) < 1e-7), abs=0.03)


def test_residuals_stay_within_their_stratum_and_blocks_of_memory_do_not_matter(monkeypatch):
    time, event, codes, x, strata = cohort(30)
    test = AdjustedLogrank(x, time, event, strata)
    orders = next(test._orders(50, 3, np.random.default_rng(0)))
    assert (strata[orders] == strata).all()
    whole = test.permuted(codes, 60, np.random.default_rng(0))[0]
    monkeypatch.setattr("spatialfm.stats.adjusted_logrank.AT_ONCE", 30 * 3 * 7)
    assert test.permuted(codes, 60, np.random.default_rng(0))[0].shape == whole.shape


def test_incidences_in_plain_loops():
    """Score of a group at the covariate's own fit, with the risk sets and weights of the subdistribution."""
    rng = np.random.default_rng(3)
    time, limit, cause = rng.exponential(size=50), rng.exponential(2, 50), rng.integers(1, 3, 50)
    cause, time = np.where(limit < time, 0, cause), np.minimum(time, limit)
    codes, x = rng.integers(0, 2, 50), rng.normal(size=(50, 1))
    pieces = expand(time, cause, 1)
    test = AdjustedLogrank(x, pieces.stop, pieces.event, entry=pieces.start, pieces=pieces)

    def uncensored(t: float) -> float:  # Kaplan-Meier of not being censored, just before
        left = 1.0
        for at in np.sort(time[(cause == 0) & (time < t)]):
            left *= 1 - 1 / (time >= at).sum()
        return left

    def score(beta: float, values: np.ndarray, other: np.ndarray) -> tuple[float, float]:
        total = information = 0.0
        for t in np.sort(time[cause == 1]):
            weight = np.array([
                1.0 if time[i] >= t else uncensored(t) / uncensored(time[i]) if cause[i] == 2 else 0.0
                for i in range(50)
            ]) * np.exp(beta * x[:, 0])  # fmt: skip
            weight /= weight.sum()
            total += values[(time == t) & (cause == 1)].sum() - weight @ values
            information += weight @ (values * other) - (weight @ values) * (weight @ other)
        return total, information

    low, high = -3.0, 3.0
    for _ in range(60):  # the covariate's own fit, by bisection
        beta = (low + high) / 2
        low, high = (beta, high) if score(beta, x[:, 0], x[:, 0])[0] > 0 else (low, beta)
    u, v = score(beta, codes.astype(float), codes.astype(float))
    _, with_x = score(beta, codes.astype(float), x[:, 0])
    v -= with_x**2 / score(beta, x[:, 0], x[:, 0])[1]
    parts = test.parts(codes)
    assert parts.difference[1] == pytest.approx(u, abs=1e-6)
    assert chi_squared(parts)[0] == pytest.approx(u**2 / v, rel=1e-6)


def test_covariates_that_repeat_others_or_are_the_strata_change_nothing():
    time, event, codes, x, strata = cohort()
    once = chi_squared(AdjustedLogrank(x, time, event, strata).parts(codes))
    more = np.column_stack([np.ones(60), x, x @ [[2.0], [1.0]], strata])
    assert chi_squared(AdjustedLogrank(more, time, event, strata).parts(codes)) == pytest.approx(once)
