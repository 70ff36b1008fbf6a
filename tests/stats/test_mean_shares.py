"""Mean shares of groups, against scipy's and statsmodels' tests of linearised shares, shuffles and set truths."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from spatialfm.stats.group_tests import labels, placements, two_groups
from spatialfm.stats.mean_shares import carriers, odds_p


def linearised(shares: np.ndarray) -> np.ndarray:
    """Values whose mean is the logit of the mean share, and whose spread is that of its delta method."""
    mean = shares.mean()
    return np.log(mean / (1 - mean)) + (shares - mean) / (mean * (1 - mean))


def rare(rng: np.random.Generator, sizes=(10, 30), spread=(20.0, 200.0), share=0.01, n=400) -> np.ndarray:
    """Beta-distributed shares of one mean, which scatter more in the first group."""
    parts = [rng.beta(a * share, a * (1 - share), (k, n)) for k, a in zip(sizes, spread, strict=True)]
    return np.concatenate(parts)


def called(shares, sizes, n_permutations=299) -> float:
    codes = np.repeat(np.arange(len(sizes)), sizes)
    rng, member = np.random.default_rng(0), None
    if min(sizes) < 15:
        member = labels(codes, n_permutations, rng)[0][:, None] == np.arange(len(sizes))[:, None]
    return float((odds_p(shares, codes, member) < 0.05).mean())


def test_two_groups_are_welchs_test_of_linearised_shares():
    rng = np.random.default_rng(0)
    one, two = rng.beta(3, 20, 18), rng.beta(2, 30, 25)
    t = stats.ttest_ind(linearised(one), linearised(two), equal_var=False).statistic
    parts = [linearised(part).var(ddof=1) / len(part) for part in (one, two)]
    counted = [(len(x) - 1) * (x.sum() ** 2 / (x**2).sum() / len(x)) ** 0.75 for x in (one, two)]
    freedom = sum(parts) ** 2 / sum(v**2 / k for v, k in zip(parts, counted, strict=True))
    shares, codes = np.r_[one, two][:, None], np.repeat([0, 1], [18, 25])
    assert odds_p(shares, codes)[0] == pytest.approx(2 * stats.t.sf(abs(t), freedom))
    assert odds_p(1 - shares, codes)[0] == pytest.approx(odds_p(shares, codes)[0])  # a type and all others are one


def test_several_groups_are_welchs_analysis_of_variance_of_linearised_shares():
    from statsmodels.stats.oneway import anova_oneway

    from spatialfm.stats.mean_shares import _welch

    rng, codes = np.random.default_rng(1), np.repeat([0, 1, 2], [6, 10, 15])
    shares = rng.beta(2, 20, 31)
    linear = np.concatenate([linearised(shares[codes == i]) for i in range(3)])
    theirs = anova_oneway(linear, codes, use_var="unequal").statistic
    member = np.stack([codes == i for i in range(3)]).astype(float)[None]
    assert _welch(shares[:, None], member)[0][0, 0] == pytest.approx(theirs)


def test_shuffled_labels_are_all_ways():
    rng, codes = np.random.default_rng(2), np.repeat([0, 1], [4, 5])
    shares = rng.beta(2, 20, 9)
    shares[4:] *= 3
    statistics = []
    for chosen in combinations(range(9), 5):
        second = np.isin(np.arange(9), chosen)
        one, two = linearised(shares[~second]), linearised(shares[second])
        statistics.append(abs(stats.ttest_ind(one, two, equal_var=False).statistic))
    one, two = linearised(shares[:4]), linearised(shares[4:])
    observed = abs(stats.ttest_ind(one, two, equal_var=False).statistic)
    share = np.mean(np.array(statistics) >= observed * (1 - 1e-9))
    ways, exact = labels(codes, 99, rng)
    plain, shuffled = (
        odds_p(shares[:, None], codes)[0],
        odds_p(shares[:, None], codes, ways[:, None] == [[0], [1]], exact),
    )
    assert shuffled[0] == pytest.approx(max(share, plain))


def test_absent_constant_and_apart():
    codes = np.repeat([0, 1], 16)
    shares = np.zeros((32, 5))
    shares[16:, 1] = 0.01 * np.random.default_rng(0).uniform(0.5, 1.5, 16)  # only in the second group
    shares[31, 2] = 0.3  # one patient has all
    shares[:, 3] = 0.2  # all have the same
    shares[:, 4] = np.where(codes, 0.2, 0.1)  # no spread within groups
    p = odds_p(shares, codes, least=1e-8)
    assert p[[0, 3]].tolist() == [1.0, 1.0]
    assert p[1] == pytest.approx(1e-8) or p[1] < 1e-6
    assert p[2] > 0.2
    assert p[4] == 1e-8


def test_carriers():
    assert carriers(np.full((7, 1), 0.02))[0] == pytest.approx(7)
    assert carriers(np.array([[0.9], [1.0], [1.0], [1.0]]))[0] == pytest.approx(1)  # all others are the rarer
    assert carriers(np.zeros((4, 1)))[0] == 0
    assert carriers(np.array([[0.3], [0.1], [0.0]]))[0] == pytest.approx(0.16 / 0.1)


@pytest.mark.parametrize("sizes", [(10, 30), (30, 10), (10, 10), (5, 20), (16, 40)])
@pytest.mark.parametrize("share", [0.01, 0.03, 0.2])
def test_rare_types_that_scatter_differently_are_no_difference(sizes, share):
    shares, codes = rare(np.random.default_rng(0), sizes, share=share), np.repeat([0, 1], sizes)
    found = two_groups(placements(shares), shares, codes, 299, np.random.default_rng(0), shares=True)
    assert (found["p_value"] < 0.05).mean() < 0.09  # 400 tests; measured 0.02 to 0.085
    assert (found["p_means"] < 0.05).mean() < 0.1
    if share == 0.01 and sizes in ((10, 30), (5, 20)):
        values = rare(np.random.default_rng(0), sizes, share=share)
        welch = stats.ttest_ind(values[: sizes[0]], values[sizes[0] :], equal_var=False).pvalue
        assert (welch < 0.05).mean() > 0.15


def test_three_groups_that_scatter_differently():
    sizes = (10, 12, 30)
    shares = rare(np.random.default_rng(0), sizes, (20.0, 20.0, 200.0), n=200)
    assert called(shares, sizes) < 0.1


def test_a_difference_is_found_as_by_welch():
    sizes = (16, 16)
    shares = rare(np.random.default_rng(0), sizes, (200.0, 200.0), share=0.03)
    shares[16:] *= 2
    welch = (stats.ttest_ind(shares[:16], shares[16:], equal_var=False).pvalue < 0.05).mean()
    assert called(shares, sizes) > welch - 0.02 > 0.7
