from __future__ import annotations

import numpy as np
from scipy.stats import chisquare

from spatialfm.train.channels import draw_channels


def draws(how, n, nuclear=(), times=2000):
    return [draw_channels(how, n, nuclear, np.random.default_rng([1, k])) for k in range(times)]


def test_all_channels_stay_in_their_order():
    assert draw_channels("all", 4, [], np.random.default_rng(0)).tolist() == [0, 1, 2, 3]


def test_a_nuclear_stain_and_two_others_each_as_likely():
    found = draws("nuclear", 6, [2])
    assert all(one[0] == 2 and len(set(one)) == 3 for one in found)
    counts = np.bincount(np.concatenate([one[1:] for one in found]), minlength=6)
    assert counts[2] == 0
    assert chisquare(np.delete(counts, 2)).pvalue > 1e-3


def test_of_two_nuclear_stains_one_is_drawn_and_never_as_another():
    found = draws("nuclear", 5, [0, 3])
    assert all(not {0, 3} & set(one[1:].tolist()) for one in found)
    assert chisquare(np.bincount([one[0] for one in found])[[0, 3]]).pvalue > 1e-3


def test_three_quarters_to_all_channels_are_kept():
    """Of 40 channels ceil(40 f), f uniform from 0.75 to 1: 31 to 40, each with probability 1/10."""
    sizes, counts = np.unique([len(one) for one in draws("share", 40)], return_counts=True)
    assert sizes.tolist() == list(range(31, 41))
    assert chisquare(counts).pvalue > 1e-3


def test_each_channel_is_kept_as_often_and_comes_first_as_often():
    found = draws("share", 8)
    assert all(len(set(one.tolist())) == len(one) for one in found)
    assert chisquare(np.bincount([one[0] for one in found], minlength=8)).pvalue > 1e-3
    # 7 or 8 of 8, so that a channel is missing in half of the draws times an eighth
    missing = np.bincount([(set(range(8)) - set(one.tolist())).pop() for one in found if len(one) == 7], minlength=8)
    assert chisquare(missing).pvalue > 1e-3
    assert abs(missing.sum() / len(found) - 0.5) < 0.05


def test_hierarchical_draws_the_number_first():
    found = draws("hierarchical", 5)
    sizes = np.bincount([len(one) for one in found], minlength=6)
    assert sizes[0] == 0
    assert chisquare(sizes[1:]).pvalue > 1e-3
    pairs = [tuple(sorted(one.tolist())) for one in found if len(one) == 2]
    _, counts = np.unique(pairs, axis=0, return_counts=True)
    assert len(counts) == 10
    assert chisquare(counts).pvalue > 1e-3
