"""Entropic transport against the exact plan of a line, and distances that are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from spatialfm.stats.transport import entropic_plan, moved_points, squared_distance

HOW = {"max_iter": 20_000, "tol": 1e-9}


def test_at_a_small_weight_the_cost_is_that_of_sorted_points():
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=12), rng.normal(3, 2, size=12)
    plan = entropic_plan(np.abs(one[:, None] - two), 1e-3, **HOW)
    assert plan.cost == pytest.approx(wasserstein_distance(one, two), abs=1e-3)
    assert plan.error < 1e-4


def test_at_a_large_weight_points_are_moved_as_if_independent():
    one, two = np.array([0.0, 1.0]), np.array([2.0, 4.0])
    cost = (one[:, None] - two) ** 2
    assert entropic_plan(cost, 1e6, **HOW).cost == pytest.approx(cost.mean(), rel=1e-4)


def test_a_shift_is_its_square_and_a_set_has_no_distance_to_itself():
    points = np.random.default_rng(1).normal(size=(30, 3))
    shifted = points + np.array([2.0, 0.0, 1.0])
    value, error = squared_distance(points, shifted, 0.05, debiased=True, **HOW)
    assert value == pytest.approx(5.0, abs=1e-3)
    assert error < 1e-3
    assert squared_distance(points, points, 0.05, debiased=True, **HOW)[0] == pytest.approx(0.0, abs=1e-9)
    assert squared_distance(points, points, 0.5, debiased=False, **HOW)[0] > 0.01  # what the entropy costs


def test_points_of_a_reference_are_moved_to_the_mean_of_their_share():
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(5, 2))
    points = np.repeat(reference + [10, 0], 3, axis=0) + np.tile([[-0.01, 0], [0, 0], [0.01, 0]], (5, 1))
    np.testing.assert_allclose(moved_points(points, reference), reference + [10, 0], atol=1e-8)
    np.testing.assert_allclose(moved_points(rng.permutation(points), reference), reference + [10, 0], atol=1e-8)
    assert np.allclose(moved_points(points, reference).mean(axis=0), points.mean(axis=0))  # mass is kept
