"""Patients divided at random: folds, test parts and draws, with each stratum spread evenly."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def stratified_draws(
    codes: np.ndarray, test_size: float, n_draws: int, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Training and test cases of random splits; each class has its share, and at least one case, on either side."""
    counts = np.bincount(codes)
    sizes = np.clip(np.round(counts * test_size).astype(int), 1, counts - 1)
    for _ in range(n_draws):
        test = draw_of_each(codes, sizes, rng)
        yield np.setdiff1d(np.arange(len(codes)), test), test


def support_draws(
    codes: np.ndarray, n_support: int, n_draws: int, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Support cases, so many of each class, and all others."""
    for _ in range(n_draws):
        support = draw_of_each(codes, np.full(codes.max() + 1, n_support), rng)
        yield support, np.setdiff1d(np.arange(len(codes)), support)


def stratified_folds(
    strata: np.ndarray, n_folds: int, rng: np.random.Generator, *, random_start: bool = False
) -> np.ndarray:
    """Fold of each case: sizes of folds, and numbers of each stratum in them, differ by one at most.

    `random_start`: over many repeats no fold is larger than another; otherwise the first ones are.
    """
    order = rng.permutation(len(strata))
    order = order[np.argsort(strata[order], kind="stable")]
    start = rng.integers(n_folds) if random_start else 0
    fold = np.empty(len(strata), int)
    fold[order] = (np.arange(len(strata)) + start) % n_folds
    return fold


def held_out_part(strata: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Cases of a validation part: its share of each stratum, at least one, unless none would be left to train on."""
    _, codes, counts = np.unique(strata, return_inverse=True, return_counts=True)
    sizes = np.minimum(np.maximum(np.round(counts * share).astype(int), 1), counts - 1)
    return draw_of_each(codes, sizes, rng)


def draw_of_each(codes: np.ndarray, sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """So many cases of each class, at random, in order."""
    parts = [rng.choice(np.flatnonzero(codes == code), size, replace=False) for code, size in enumerate(sizes)]
    return np.sort(np.concatenate(parts))


def quantile_strata(values: np.ndarray, n_strata: int) -> np.ndarray:
    """Strata of equal size in the order of numbers."""
    rank = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return rank * n_strata // len(values)


def fold_masks(strata: np.ndarray, n_folds: int, n_repeats: int, rng: np.random.Generator) -> np.ndarray:
    """Masks ``(n_folds * n_repeats, n)`` of test patients, each stratum spread evenly over the folds."""
    folds = [stratified_folds(strata, n_folds, rng, random_start=True) for _ in range(n_repeats)]
    return np.concatenate([fold == np.arange(n_folds)[:, None] for fold in folds])


def three_parts(n: int, test_size: float, validation_size: float, rng: np.random.Generator) -> np.ndarray:
    """Part of each case: 0 to train on, 1 to stop on, 2 to test on; each at least one.

    `validation_size` is a share of what is not tested.

    Examples
    --------
    >>> np.bincount(three_parts(10, 0.2, 0.25, np.random.default_rng(0))).tolist()
    [6, 2, 2]
    """
    n_test = min(max(round(n * test_size), 1), n - 2)
    n_validation = min(max(round((n - n_test) * validation_size), 1), n - n_test - 1)
    part = np.zeros(n, int)
    order = rng.permutation(n)
    part[order[:n_test]] = 2
    part[order[n_test : n_test + n_validation]] = 1
    return part
