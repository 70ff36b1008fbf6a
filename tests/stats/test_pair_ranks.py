"""Ranks of partners by counting all draws of candidates, and against scipy's hypergeometric distribution."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from spatialfm.stats.pair_ranks import Ranks, beaten, hypergeometric, scores


def spaces(seed: int = 0, n: int = 7) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 3)), rng.normal(size=(n, 3))


def cosines(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    unit = [values / np.linalg.norm(values, axis=1, keepdims=True) for values in (one, two)]
    return unit[0] @ unit[1].T


@pytest.mark.parametrize("n_candidates", [2, 4, 7])
def test_recall_is_the_mean_over_all_draws_of_candidates(n_candidates):
    one, two = spaces()
    similar, n = cosines(one, two), 7
    right = np.zeros(n_candidates)
    for row in range(n):
        others = [other for other in range(n) if other != row]
        draws = list(combinations(others, n_candidates - 1))
        ranks = [sum(similar[row, other] > similar[row, row] for other in draw) for draw in draws]
        right += np.array([np.mean([rank < k for rank in ranks]) for k in range(1, n_candidates + 1)])
    found = beaten(one, two, np.zeros(n, int))
    np.testing.assert_allclose(found.ranks(n_candidates).curve(), right / n, atol=1e-12)


def test_the_distribution_is_that_of_scipy():
    better = np.arange(0, 301, 20)
    for j, mass in enumerate(hypergeometric(300, better, 63)):
        np.testing.assert_allclose(mass, stats.hypergeom.pmf(j, 300, better, 63), atol=1e-11)


def test_all_candidates_give_the_ranks_themselves():
    one, two = spaces(3, 40)
    similar = cosines(one, two)
    ranks = (similar > np.diag(similar)[:, None]).sum(axis=1) + 1
    found = scores(beaten(one, two, np.arange(40) % 4), None)
    assert found.recall(5)["value"] == pytest.approx(np.mean(ranks <= 5))
    assert found.median_rank()["value"] == np.sort(ranks)[19]  # the smallest that half of 40 reach


def test_a_space_that_tells_nothing_scores_chance_whatever_the_order():
    same = np.ones((50, 4))
    found = scores(beaten(same, same, np.arange(50) % 5), 20)
    for k in (1, 5, 10, 20):
        assert found.recall(k)["value"] == pytest.approx(k / 20)
        assert found.recall(k)["chance"] == pytest.approx(k / 20)
    assert found.median_rank() == {"value": 10.0, "chance": 10.0, "low": 10.0, "high": 10.0}


def test_unrelated_spaces_score_chance_on_average():
    values = [scores(beaten(*spaces(seed, 60), np.zeros(60, int)), 16).recall(4)["value"] for seed in range(60)]
    assert abs(np.mean(values) - 4 / 16) < 4 * np.std(values) / np.sqrt(60)


def test_candidates_of_the_own_group_alone():
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1, 2], [5, 8, 3])
    one, two = rng.normal(size=(16, 3)), rng.normal(size=(16, 3))
    share = beaten(one, two, group, within=True).ranks(None).curve()[0]
    right = np.concatenate(
        [
            cosines(one[group == code], two[group == code]).argmax(axis=1) == np.arange((group == code).sum())
            for code in range(3)
        ]
    )
    assert share == pytest.approx(right.mean())
    chance = beaten(one, two, group, within=True).ranks(4).chance()
    np.testing.assert_allclose(chance[0], (5 / 4 + 8 / 4 + 3 / 3) / 16)


@pytest.mark.parametrize("within", [False, True])
def test_leaving_a_group_out_is_scoring_without_it(within):
    rng = np.random.default_rng(1)
    group = rng.integers(0, 4, 60)
    one, two = rng.normal(size=(60, 3)), rng.normal(size=(60, 3))
    keep = group != 2
    rest = np.unique(group[keep], return_inverse=True)[1]
    np.testing.assert_allclose(
        beaten(one, two, group, within=within).ranks(8, without=2).curve(),
        beaten(one[keep], two[keep], rest, within=within).ranks(8).curve(),
    )


def test_the_interval_is_the_jackknife():
    rng = np.random.default_rng(2)
    group = np.repeat(np.arange(6), 15)
    one = rng.normal(size=(90, 4))
    two = one + rng.normal(size=(90, 4))
    left = []
    for code in range(6):
        keep = group != code
        rest = np.unique(group[keep], return_inverse=True)[1]
        left.append(beaten(one[keep], two[keep], rest).ranks(10).curve()[0])
    half = stats.t.ppf(0.975, 5) * np.sqrt(5 / 6 * ((left - np.mean(left)) ** 2).sum())
    found = scores(beaten(one, two, group), 10).recall(1)
    assert (found["low"], found["high"]) == pytest.approx((found["value"] - half, found["value"] + half))


def test_one_group_has_no_interval_and_a_lonely_row_no_rank():
    one, two = spaces()
    found = scores(beaten(one, two, np.zeros(7, int)), 4)
    assert np.isnan(found.recall(1)["low"])
    assert np.isnan(found.median_rank()["high"])
    alone = beaten(one, two, np.array([0, 0, 0, 0, 0, 0, 1]), within=True).ranks(4)
    assert isinstance(alone, Ranks)
    assert len(alone.above) == 6
