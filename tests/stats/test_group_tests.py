"""Groups compared by ranks and means, against scipy, R's published example, written-out shuffles and set truths."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest
from scipy import stats

from spatialfm.stats.group_tests import placements, ranks_of, several_groups, two_groups, wilson

PAIN = np.array([1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 2, 4, 1, 1, 3, 3, 4, 3, 1, 2, 3, 1, 1, 5, 4], dtype=float)


def answer(values, codes, n_permutations=999, seed=0):
    values = np.asarray(values, dtype=float).reshape(len(codes), -1)
    rng = np.random.default_rng(seed)
    groups = several_groups if max(codes) > 1 else two_groups
    return groups(placements(values), values, np.asarray(codes), n_permutations, rng)


def brunner_munzel(one, two):
    found = stats.brunnermunzel(one, two)
    return abs(found.statistic)


def welch_t(one, two):
    return abs(stats.ttest_ind(one, two, equal_var=False).statistic)


def permuted(one, two, statistic) -> float:
    """Share of all ways to form the groups whose statistic is as large, written out."""
    pooled, n_2 = np.concatenate([one, two]), len(two)
    values = []
    with np.errstate(all="ignore"):
        for chosen in combinations(range(len(pooled)), n_2):
            second = np.isin(np.arange(len(pooled)), chosen)
            values.append(statistic(pooled[~second], pooled[second]))
        observed = statistic(np.asarray(one), np.asarray(two))
    values = np.nan_to_num(np.array(values), nan=0.0, posinf=np.inf)
    return float((values >= observed * (1 - 1e-9)).mean())


def test_large_groups_are_scipys_brunner_munzel_and_welch():
    rng = np.random.default_rng(0)
    values, codes = np.round(rng.gamma(2, size=(60, 3)), 1), np.repeat([0, 1], [20, 40])  # with ties
    found = answer(values, codes)
    one, two = values[:20], values[20:]
    pairs = list(zip(one.T, two.T, strict=True))
    np.testing.assert_allclose(found["p_ranks"], [stats.brunnermunzel(a, b).pvalue for a, b in pairs])
    np.testing.assert_allclose(found["p_means"], stats.ttest_ind(one, two, equal_var=False).pvalue)
    np.testing.assert_allclose(found["p_value"], np.maximum(found["p_ranks"], found["p_means"]))
    effect = [2 * stats.mannwhitneyu(b, a).statistic / 800 - 1 for a, b in pairs]
    np.testing.assert_allclose(found["effect"], effect)


def test_the_example_of_brunner_and_munzel():
    # Brunner and Munzel 2000; R's lawstat::brunner.munzel.test gives 0.788961
    assert (answer(PAIN, np.repeat([0, 1], [14, 11]))["effect"][0] + 1) / 2 == pytest.approx(0.788961, abs=1e-6)


def test_small_groups_go_through_all_ways():
    rng = np.random.default_rng(1)
    for n_1, n_2 in ((4, 4), (3, 6)):
        values = rng.normal(size=n_1 + n_2)
        values[n_1:] += 0.7
        found = answer(values, np.repeat([0, 1], [n_1, n_2]))
        assert found["p_ranks"][0] == pytest.approx(permuted(values[:n_1], values[n_1:], brunner_munzel))
        assert found["p_means"][0] == pytest.approx(permuted(values[:n_1], values[n_1:], welch_t))
    apart = answer([1, 2, 3, 4, 11, 12, 13, 14], np.repeat([0, 1], 4))
    assert apart["p_value"][0] == pytest.approx(2 / comb(8, 4))
    assert answer(np.arange(40.0), np.repeat([0, 1], 20))["p_ranks"][0] == pytest.approx(2 / comb(40, 20))


def test_ties_and_constants():
    same = answer(np.ones(10), np.repeat([0, 1], 5))
    assert (same["effect"][0], same["p_value"][0]) == (0.0, 1.0)
    assert answer(np.ones(40), np.repeat([0, 1], 20))["p_value"][0] == 1.0
    rare = np.zeros(12)
    rare[11] = 3  # one patient has any
    assert answer(rare, np.repeat([0, 1], 6))["p_value"][0] == 1.0
    assert answer(np.repeat([1.0, 2.0], 20), np.repeat([0, 1], 20))["p_value"][0] < 1e-9  # constant, and apart


def test_several_groups_of_two_are_two_groups():
    values, codes = np.random.default_rng(0).normal(size=(13, 4)), np.repeat([0, 1], [6, 7])
    rng = np.random.default_rng(0)
    several = several_groups(placements(values), values, codes, 99, rng)
    for name in ("p_ranks", "p_means"):
        np.testing.assert_allclose(several[name], two_groups(placements(values), values, codes, 99, rng)[name])


def test_the_effect_of_several_groups_is_epsilon_squared_of_kruskal():
    values, codes = np.random.default_rng(0).normal(size=(24, 1)), np.tile([0, 1, 2], 8)
    values[codes == 2] += 2
    found = answer(values, codes)
    h = stats.kruskal(*(values[codes == i, 0] for i in range(3))).statistic
    assert found["effect"][0] == pytest.approx(h / 23)  # Tomczak and Tomczak 2014
    assert found["p_value"][0] < 0.01


def test_the_means_of_several_groups_are_welchs_analysis_of_variance():
    from statsmodels.stats.oneway import anova_oneway

    from spatialfm.stats.group_tests import _welch

    values, codes = np.random.default_rng(3).normal(size=(30, 2)), np.repeat([0, 1, 2], [5, 10, 15])
    values = (values - values.mean(axis=0)) / values.std(axis=0)
    member = np.stack([codes == i for i in range(3)]).astype(float)[None]
    theirs = [anova_oneway(column, codes, use_var="unequal").statistic for column in values.T]
    np.testing.assert_allclose(_welch(values, member)[0], theirs)


def test_ranks_differ_by_the_rank_biserial():
    values, codes = np.random.default_rng(0).integers(0, 5, (20, 3)), np.repeat([0, 1], 10)
    ranks = ranks_of(placements(values))
    found = answer(values, codes)
    np.testing.assert_allclose(ranks[codes == 1].mean(axis=0) - ranks[codes == 0].mean(axis=0), found["effect"])
    np.testing.assert_allclose(ranks, (2 * stats.rankdata(values, axis=0) - 1) / 20)


@pytest.mark.parametrize(("n_1", "n_2", "sd_1", "sd_2"), [(10, 30, 3, 0.5), (8, 8, 1, 4), (16, 40, 4, 0.5)])
def test_unequal_spread_is_no_difference(n_1, n_2, sd_1, sd_2):
    rng, codes = np.random.default_rng(0), np.repeat([0, 1], [n_1, n_2])
    values = rng.normal(size=(n_1 + n_2, 400)) * np.where(codes == 0, sd_1, sd_2)[:, None]
    found = answer(values, codes, 499)
    for name in ("p_ranks", "p_means"):
        assert (found[name] < 0.05).mean() < 0.085  # 400 tests: 0.05 and three errors
    assert (found["p_value"] < 0.05).mean() < 0.07
    pooled = stats.mannwhitneyu(values[codes == 0], values[codes == 1]).pvalue
    assert (pooled < 0.05).mean() > 0.09 or (n_1, n_2) == (8, 8)


def test_several_groups_of_unequal_spread():
    rng, codes = np.random.default_rng(0), np.repeat([0, 1, 2], [8, 12, 24])
    values = rng.normal(size=(44, 150)) * np.array([3.0, 1.0, 0.5])[codes][:, None]
    found = answer(values, codes, 299)
    assert 0.01 < (found["p_value"] < 0.05).mean() < 0.1
    kruskal = [stats.kruskal(*(column[codes == i] for i in range(3))).pvalue for column in values.T]
    assert np.mean(np.array(kruskal) < 0.05) > (found["p_value"] < 0.05).mean()


@pytest.mark.parametrize(
    ("n_1", "n_2", "apart", "sd_1"), [(4, 4, 0, 1), (5, 5, 2, 1), (10, 30, 3, 6), (10, 10, 3.5, 1), (8, 8, 2, 0.1)]
)
def test_the_interval_of_the_effect_covers_and_has_a_width(n_1, n_2, apart, sd_1):
    rng, codes = np.random.default_rng(0), np.repeat([0, 1], [n_1, n_2])
    values = rng.normal(size=(n_1 + n_2, 300)) * np.where(codes == 0, sd_1, 1)[:, None] + apart * codes[:, None]
    truth = 2 * stats.norm.cdf(apart / np.hypot(sd_1, 1)) - 1
    found = answer(values, codes, 1 if comb(n_1 + n_2, n_2) > 10_000 else 99)
    covers = (found["effect_low"] <= truth) & (truth <= found["effect_high"])
    assert covers.mean() > 0.925
    assert (found["effect_high"] - found["effect_low"]).min() > 0.05
    assert (found["effect_low"] >= -1).all()
    assert (found["effect_high"] <= 1).all()


def test_wilsons_interval_of_independent_patients_is_statsmodels():
    from statsmodels.stats.proportion import proportion_confint

    # one group is a line that the other's patients are above or below: a share of these, with its variance
    theta, n = 0.7, 50
    added = 0.25 / n
    variance = (theta * (1 - theta) + added) / n - added / n
    expected = proportion_confint(35, 50, method="wilson")
    assert wilson(theta, variance, n, quantile=stats.norm.ppf(0.975)) == pytest.approx(expected)
