"""Intervals and tests of a Cox regression, by the formulas and by the distributions of scipy."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2, f, norm, t

from spatialfm._errors import SurvivalError
from spatialfm.cohort.cox_table import coefficient_table, concordance_of, summary, variance_of

TERMS = pd.DataFrame(index=["a", "b"])
COVARIANCE = np.array([[0.04, 0.01], [0.01, 0.25]])


def fitted(**changes):
    made = {"variance": COVARIANCE, "robust_variance": None, "jackknife_variance": None, "coef": np.array([0.3, -0.9])}
    made |= {"dof": 2.0, "log_likelihood": -100.0, "null_log_likelihood": -104.0, "score_statistic": 7.5}
    return SimpleNamespace(**made | changes)


def test_ratios_and_intervals_are_those_of_the_normal_distribution():
    table = coefficient_table(np.array([0.3, -0.9]), COVARIANCE, TERMS, 0.1)
    assert table["se"].tolist() == pytest.approx([0.2, 0.5])
    assert table["hazard_ratio"].tolist() == pytest.approx([np.exp(0.3), np.exp(-0.9)])
    low, high = norm(0.3, 0.2).interval(0.9)
    assert (table.loc["a", "ci_low"], table.loc["a", "ci_high"]) == pytest.approx((np.exp(low), np.exp(high)))
    assert table["z"].tolist() == pytest.approx([1.5, -1.8])
    assert table["p_value"].tolist() == pytest.approx([2 * norm.cdf(-1.5), 2 * norm.cdf(-1.8)])


def test_with_degrees_of_freedom_they_are_those_of_student():
    table = coefficient_table(np.array([0.3, -0.9]), COVARIANCE, TERMS, 0.05, dof=7)
    low, high = t(7, 0.3, 0.2).interval(0.95)
    assert (table.loc["a", "ci_low"], table.loc["a", "ci_high"]) == pytest.approx((np.exp(low), np.exp(high)))
    assert table["p_value"].tolist() == pytest.approx([2 * t(7).cdf(-1.5), 2 * t(7).cdf(-1.8)])


@pytest.mark.parametrize(
    ("n", "events", "distribution", "dof"),
    [
        (200, 60, "auto", None),
        (99, 60, "auto", 96),  # few rows
        (200, 19, "auto", 197),  # fewer than ten events a term
        (50, 10, "normal", None),
        (200, 60, "t", 197),
    ],
)
def test_few_rows_or_events_take_student_and_a_larger_variance(n, events, distribution, dof):
    variance, found = variance_of(fitted(), n, events, None, None, TERMS, distribution)
    assert found == dof
    np.testing.assert_allclose(variance, COVARIANCE * (1 if dof is None else n / (n - 2)))


def test_of_clusters_the_jackknife_has_one_degree_less_than_clusters():
    clusters = np.repeat(np.arange(9), 5)
    jackknife = variance_of(fitted(jackknife_variance=2 * COVARIANCE), 45, 30, clusters, "site", TERMS, "auto")
    np.testing.assert_array_equal(jackknife[0], 2 * COVARIANCE)
    assert jackknife[1] == 8
    robust = variance_of(fitted(robust_variance=3 * COVARIANCE), 45, 30, clusters, "site", TERMS, "auto")
    np.testing.assert_array_equal(robust[0], 3 * COVARIANCE)
    assert robust[1] is None
    with pytest.raises(SurvivalError, match="Without one of the clusters of obs\\['site'\\] there is no event"):
        variance_of(fitted(jackknife_variance=np.full((2, 2), np.nan)), 45, 30, clusters, "site", TERMS, "auto")


def outcome(time, event):
    return SimpleNamespace(time=np.array(time, float), event=np.array(event, bool), entry=None)


def test_tests_of_all_terms():
    made = outcome([1, 2, 3, 4], [1, 1, 0, 1])
    found = summary(fitted(), COVARIANCE, None, made, 2)
    coef = np.array([0.3, -0.9])
    wald = coef @ np.linalg.inv(COVARIANCE) @ coef
    for name, statistic in (("lr", 8.0), ("score", 7.5), ("wald", wald)):
        assert found[f"{name}_statistic"] == pytest.approx(statistic)
        assert found[f"{name}_p_value"] == pytest.approx(chi2(2).sf(statistic))
    assert (found["n"], found["events"], found["events_per_term"]) == (4, 3, 1.5)
    few = summary(fitted(), COVARIANCE, 11, made, 2)
    assert few["wald_p_value"] == pytest.approx(f(2, 11).sf(wald / 2))
    clustered = summary(fitted(robust_variance=COVARIANCE), COVARIANCE, None, made, 2)
    assert np.isnan([clustered["lr_statistic"], clustered["score_statistic"]]).all()  # rows are not independent
    assert np.isfinite(clustered["wald_statistic"])


def test_concordance_compares_within_strata_alone():
    """Right within each stratum; patients of the second die later in spite of their higher risk."""
    made = outcome([1, 2, 3, 10, 20, 30], [1] * 6)
    risk = np.array([3.0, 2, 1, 9, 8, 7])
    assert concordance_of(risk, made, np.array([0, 0, 0, 1, 1, 1])) == 1
    assert concordance_of(risk, made, None) == pytest.approx(6 / 15)
    assert np.isnan(concordance_of(risk, outcome([1, 2, 3, 10, 20, 30], [0] * 6), None))
