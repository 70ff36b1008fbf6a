"""Parts of nested evaluation: folds, steps and concordance within folds."""

from __future__ import annotations

import numpy as np
import pytest

from spatialfm.learn.survival_nested import event_folds, partition_seeds, step_values


@pytest.mark.parametrize(("n", "n_events", "n_folds"), [(50, 10, 5), (23, 7, 3)])
def test_folds_share_patients_and_events_alike(n, n_events, n_folds):
    event = np.arange(n) < n_events
    folds = event_folds(event, n_folds, np.random.default_rng(0))
    for mine in (folds, folds[event]):
        counts = np.bincount(mine, minlength=n_folds)
        assert counts.max() - counts.min() <= 1


def test_a_step_function_holds_from_each_step_on():
    steps, values = np.array([1.0, 3.0]), np.array([[0.8, 0.5], [0.9, 0.1]])
    found = step_values(steps, values, np.array([0.5, 1.0, 2.9, 3.0, 9.0]), 1.0)
    np.testing.assert_array_equal(found, [[1, 0.8, 0.8, 0.5, 0.5], [1, 0.9, 0.9, 0.1, 0.1]])


def test_partitions_have_seeds_of_their_own():
    seeds = partition_seeds(3, 5)
    assert len(set(seeds)) == 5
    assert seeds == partition_seeds(3, 5)
    assert partition_seeds(3, 2) == seeds[:2]
