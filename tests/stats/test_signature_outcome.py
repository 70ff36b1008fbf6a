"""The fast formulas of the search for signatures, against scikit-learn, lifelines, scikit-survival and statsmodels."""

import numpy as np
import pytest

from spatialfm.stats.folds import fold_masks
from spatialfm.stats.signature_outcome import Binary, Survival, multivariate, univariate


@pytest.fixture
def binary():
    rng = np.random.default_rng(0)
    ranks = rng.integers(0, 4, (60, 9))
    return ranks, Binary(rng.random(60) < 1 / (1 + np.exp(1.5 - ranks[:, 0])))


@pytest.fixture
def survival():
    rng = np.random.default_rng(1)
    ranks = rng.integers(0, 4, (70, 7))
    time = np.ceil(rng.exponential(np.exp(-0.5 * ranks[:, 0])) * 12)  # with ties
    return ranks, Survival(time, rng.random(70) < 0.7)


def test_univariate_auroc_is_that_of_scikit_learn(binary):
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    ranks, outcome = binary
    tests = fold_masks(outcome.strata, 4, 3, np.random.default_rng(0))
    expected = np.empty((len(tests), ranks.shape[1]))
    for i, test in enumerate(tests):
        for k in range(ranks.shape[1]):
            model = LogisticRegression().fit(ranks[~test][:, [k]], outcome.y[~test])
            expected[i, k] = roc_auc_score(outcome.y[test], model.decision_function(ranks[test][:, [k]]))
    np.testing.assert_allclose(univariate(outcome, ranks, tests), expected, atol=1e-12)


def test_multivariate_auroc_is_that_of_scikit_learn(binary):
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    ranks, outcome = binary
    tests = fold_masks(outcome.strata, 4, 5, np.random.default_rng(0))
    found = outcome.fit(ranks[:, :4], ~tests)
    scores = multivariate(outcome, ranks[:, :4], tests)
    for i, test in enumerate(tests):
        model = LogisticRegression(tol=1e-10, max_iter=1000).fit(ranks[~test, :4], outcome.y[~test])
        np.testing.assert_allclose(found[i], model.coef_[0], atol=1e-5)
        assert scores[i] == pytest.approx(roc_auc_score(outcome.y[test], model.decision_function(ranks[test, :4])))


def test_score_test_of_binary_is_that_of_a_logistic_model(binary):
    """The score test equals n/(n-1) times Pearson's r squared, up to that factor that it carries itself."""
    from scipy import stats

    ranks, outcome = binary
    n = len(ranks)
    for k, p in enumerate(outcome.test(ranks)):
        r = stats.pearsonr(ranks[:, k], outcome.y).statistic
        assert p == pytest.approx(stats.chi2.sf((n - 1) * r**2, 1), rel=1e-9)


def test_risk_ratio_against_scipy(binary):
    from scipy.stats.contingency import relative_risk

    ranks, outcome = binary
    high = ranks > 1
    ratio, low, up = outcome.ratio(high)
    for k in range(ranks.shape[1]):
        a, c = int(outcome.y[high[:, k]].sum()), int(outcome.y[~high[:, k]].sum())
        expected = relative_risk(a, int(high[:, k].sum()), c, int((~high[:, k]).sum()))
        interval = expected.confidence_interval(0.95)
        np.testing.assert_allclose([ratio[k], low[k], up[k]], [expected.relative_risk, *interval], rtol=1e-9)
    none = Binary(np.arange(6) < 2).ratio(np.array([[1, 1, 0, 0, 0, 0]], bool).T)
    assert np.isfinite(np.concatenate(none)).all()
    assert none[0][0] == pytest.approx((2 + 1 / 3) / 3 / ((1 / 3) / 5))
    # one of 40 responds; of the three with the cluster nobody: no cluster of response
    rare = Binary(np.arange(40) == 39).ratio((np.arange(40) < 3)[:, None])
    assert rare[0][0] < 1


def test_concordance_is_that_of_scikit_survival(survival):
    from sksurv.metrics import concordance_index_censored

    ranks, outcome = survival
    tests = fold_masks(outcome.strata, 3, 2, np.random.default_rng(0))
    found = outcome.discrimination(ranks, tests)
    for i, test in enumerate(tests):
        for k in range(ranks.shape[1]):
            expected = concordance_index_censored(outcome.event[test], outcome.time[test], ranks[test, k].astype(float))
            assert found[i, k] == pytest.approx(expected[0], abs=1e-6)
    assert outcome.discrimination_of(ranks[:, 0]) == pytest.approx(
        concordance_index_censored(outcome.event, outcome.time, ranks[:, 0].astype(float))[0]
    )


def test_sign_of_the_univariate_slope_is_that_of_cox_regression(survival):
    import pandas as pd
    from lifelines import CoxPHFitter

    ranks, outcome = survival
    tests = fold_masks(outcome.strata, 3, 1, np.random.default_rng(0))
    gradient = outcome.residuals(~tests) @ ranks
    for i, test in enumerate(tests):
        for k in range(ranks.shape[1]):
            table = pd.DataFrame({"x": ranks[~test, k], "t": outcome.time[~test], "e": outcome.event[~test]})
            slope = CoxPHFitter().fit(table, "t", "e").params_["x"]
            assert np.sign(gradient[i, k]) == np.sign(slope) or abs(slope) < 0.02  # ties: Efron there, Breslow here


def test_cox_regression_is_that_of_scikit_survival(survival):
    from sksurv.linear_model import CoxPHSurvivalAnalysis
    from sksurv.util import Surv

    ranks, outcome = survival
    tests = fold_masks(outcome.strata, 4, 2, np.random.default_rng(0))
    found = outcome.fit(ranks[:, :3], ~tests)
    for i, test in enumerate(tests):
        truth = Surv.from_arrays(outcome.event[~test], outcome.time[~test])
        # there the likelihood is divided by the number of patients, here it is not
        model = CoxPHSurvivalAnalysis(alpha=1.0, ties="breslow", tol=1e-14, n_iter=500).fit(
            ranks[~test, :3].astype(float), truth
        )
        np.testing.assert_allclose(found[i], model.coef_, atol=2e-4)


def test_score_test_of_survival_is_the_log_rank_test(survival):
    from lifelines.statistics import logrank_test

    ranks, outcome = survival
    high = (ranks > 1).astype(int)
    # without ties, as the log-rank test's variance is hypergeometric where there are some
    untied = Survival(outcome.time + np.random.default_rng(2).random(len(high)) / 2, outcome.event)
    for k, p in enumerate(untied.test(high)):
        mine = high[:, k] == 1
        expected = logrank_test(untied.time[mine], untied.time[~mine], untied.event[mine], untied.event[~mine])
        assert p == pytest.approx(expected.p_value, rel=1e-9)


def test_events_over_expected_are_those_of_the_log_rank_test(survival):
    from spatialfm.cohort.outcome import observed_expected

    ranks, outcome = survival
    high = ranks > 1
    ratio = outcome.ratio(high)[0]
    for k in range(ranks.shape[1]):
        observed, expected = observed_expected(outcome.time, outcome.event, high[:, k].astype(int), 2)
        assert ratio[k] == pytest.approx((observed[1] / expected[1]) / (observed[0] / expected[0]))


def test_folds_hold_every_patient_once_and_spread_the_rare():
    strata = np.arange(30) < 8
    tests = fold_masks(strata, 4, 3, np.random.default_rng(0)).reshape(3, 4, 30)
    assert (tests.sum(axis=1) == 1).all()
    assert (tests[:, :, strata].sum(axis=2) == 2).all()
