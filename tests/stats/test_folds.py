"""Patients divided at random: sizes of folds and parts, whatever the seed."""

from __future__ import annotations

import numpy as np
import pytest

from spatialfm.stats.folds import (
    draw_of_each,
    fold_masks,
    held_out_part,
    quantile_strata,
    stratified_draws,
    stratified_folds,
    support_draws,
    three_parts,
)


def test_draws_hold_out_a_share_of_each_class():
    codes = np.repeat([0, 1, 2], [50, 10, 2])
    draws = list(stratified_draws(codes, 0.2, 200, np.random.default_rng(0)))
    assert all(np.bincount(codes[test]).tolist() == [10, 2, 1] for _, test in draws)
    assert all(sorted([*train, *test]) == list(range(62)) for train, test in draws)
    times = np.bincount(np.concatenate([test for _, test in draws]), minlength=62)
    np.testing.assert_allclose(times[:60], 40, atol=25)  # 200 draws of a fifth: sd 5.7
    again = list(stratified_draws(codes, 0.2, 200, np.random.default_rng(0)))
    assert all((one[1] == two[1]).all() for one, two in zip(draws, again, strict=True))


def test_support_has_so_many_of_each_class():
    codes = np.tile([0, 1, 1], 7)
    for support, rest in support_draws(codes, 5, 30, np.random.default_rng(0)):
        assert np.bincount(codes[support]).tolist() == [5, 5]
        assert sorted([*support, *rest]) == list(range(21))


@pytest.mark.parametrize("counts", [(20, 20), (31, 7), (5, 5, 6), (40, 1)])
def test_folds_are_even_in_size_and_strata(counts):
    strata = np.repeat(np.arange(len(counts)), counts)
    fold = stratified_folds(strata, 5, np.random.default_rng(1))
    assert np.ptp(np.bincount(fold, minlength=5)) <= 1
    for stratum in range(len(counts)):
        assert np.ptp(np.bincount(fold[strata == stratum], minlength=5)) <= 1
    assert (fold != stratified_folds(strata, 5, np.random.default_rng(2))).any()


def test_a_validation_part_leaves_one_of_each_stratum():
    strata = np.repeat([3, 5, 9], [20, 2, 1])
    part = held_out_part(strata, 0.2, np.random.default_rng(0))
    assert np.bincount(strata[part], minlength=10)[[3, 5, 9]].tolist() == [4, 1, 0]
    assert draw_of_each(np.zeros(3, int), np.array([3]), np.random.default_rng(0)).tolist() == [0, 1, 2]


def test_quantile_strata_are_in_order_and_even():
    values = np.random.default_rng(0).standard_normal(23)
    strata = quantile_strata(values, 4)
    assert np.ptp(np.bincount(strata)) <= 1
    assert (np.diff(strata[np.argsort(values)]) >= 0).all()
    assert quantile_strata(np.ones(8), 4).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_masks_are_folds_repeated_and_none_is_always_the_larger_one():
    """Of 7 patients in 3 folds one has three; over many repeats each of the folds does, a third of the time."""
    masks = fold_masks(np.zeros(7, int), 3, 300, np.random.default_rng(0)).reshape(300, 3, 7)
    assert (masks.sum(axis=1) == 1).all()
    sizes = masks.sum(axis=2)
    assert (np.sort(sizes, axis=1) == [2, 2, 3]).all()
    assert (np.abs((sizes == 3).mean(axis=0) - 1 / 3) < 0.1).all()


@pytest.mark.parametrize(("n", "sizes"), [(3, [1, 1, 1]), (4, [2, 1, 1]), (10, [6, 2, 2]), (100, [64, 16, 20])])
def test_three_parts_hold_at_least_one_each(n, sizes):
    part = three_parts(n, 0.2, 0.2, np.random.default_rng(0))
    assert np.bincount(part).tolist() == sizes
    assert np.bincount(three_parts(3, 0.9, 0.9, np.random.default_rng(0))).tolist() == [1, 1, 1]
