"""The log-rank test and its weights against lifelines, and its permutation by hand."""

from __future__ import annotations

import numpy as np
import pytest
from lifelines.statistics import logrank_test, multivariate_logrank_test

from spatialfm.stats.logrank import (
    LogrankTest,
    arrangements,
    chi_squared,
    in_blocks,
    least_expected,
    logrank_parts,
    trend_statistic,
)


@pytest.fixture
def cohort():
    rng = np.random.default_rng(0)
    return rng.integers(1, 12, 60).astype(float), rng.random(60) < 0.7, np.arange(60) % 3


def test_several_groups_are_those_of_lifelines(cohort):
    time, event, codes = cohort
    statistic, p, freedom = chi_squared(logrank_parts(time, event, codes))
    theirs = multivariate_logrank_test(time, codes, event)
    assert (statistic, p) == pytest.approx((theirs.test_statistic, theirs.p_value), rel=1e-8)
    assert freedom == 2


@pytest.mark.parametrize(
    ("weights", "theirs"),
    [("gehan", {"weightings": "wilcoxon"}), ("tarone-ware", {"weightings": "tarone-ware"}),
     ("peto", {"weightings": "peto"}), ((0.5, 1.0), {"weightings": "fleming-harrington", "p": 0.5, "q": 1.0})],
)  # fmt: skip
def test_weights_are_those_of_lifelines(cohort, weights, theirs):
    time, event, codes = cohort
    two = codes < 2
    time, event, codes = time[two], event[two], codes[two]
    found = chi_squared(LogrankTest(time, event, weights=weights).parts(codes))[0]
    expected = logrank_test(time[codes == 0], time[codes == 1], event[codes == 0], event[codes == 1], **theirs)
    assert found == pytest.approx(expected.test_statistic, rel=1e-6)


def test_strata_add_up_and_late_entry_leaves_out(cohort):
    time, event, codes = cohort
    strata = np.arange(60) // 30
    whole = logrank_parts(time, event, codes, strata)
    parts = [logrank_parts(time[strata == s], event[strata == s], codes[strata == s]) for s in (0, 1)]
    np.testing.assert_allclose(whole.expected, sum(part.expected for part in parts))
    np.testing.assert_allclose(whole.covariance, sum(part.covariance for part in parts))
    # the third enters when the first dies: one of two at risk then, one of two at 5
    late = LogrankTest(np.array([2.0, 5.0, 7.0]), np.array([1, 1, 0], bool), entry=np.array([0.0, 0.0, 2.0]))
    np.testing.assert_allclose(late.parts(np.array([0, 1, 1])).expected, [0.5, 0.5 + 1.0])


def test_trend_of_two_groups_is_the_test_itself(cohort):
    time, event, codes = cohort
    two = logrank_parts(time, event, (codes > 0).astype(int))
    value, sign = trend_statistic(two)
    assert value == pytest.approx(chi_squared(two)[0])
    assert sign == np.sign(two.observed[1] - two.expected[1])
    assert least_expected(two, np.bincount(codes > 0)) == pytest.approx(two.expected.min())


def test_all_ways_are_dealt_and_strata_keep_their_numbers():
    codes, rng = np.array([0, 0, 1, 1]), np.random.default_rng(0)
    dealt, exact = arrangements(codes, np.zeros(4, int), 10, rng)
    assert exact
    assert sorted(map(tuple, dealt.tolist())) == [
        (0, 0, 1, 1), (0, 1, 0, 1), (0, 1, 1, 0), (1, 0, 0, 1), (1, 0, 1, 0), (1, 1, 0, 0)
    ]  # fmt: skip
    strata = np.array([0, 0, 0, 1, 1, 1])
    codes = np.array([0, 1, 1, 0, 0, 1])
    drawn = np.concatenate([part for part, _ in in_blocks(codes, strata, 50, rng)])
    assert drawn.shape == (50, 6)
    assert (drawn[:, :3].sum(axis=1) == 2).all()
    assert (drawn[:, 3:].sum(axis=1) == 1).all()


def test_nothing_to_compare():
    assert chi_squared(logrank_parts(np.arange(4.0), np.zeros(4, bool), np.array([0, 0, 1, 1]))) == (0.0, 1.0, 0)
