"""Clusters by size and by risk, by hand."""

from __future__ import annotations

import numpy as np

from spatialfm.learn.risk_groups import kmeans_by_size, merge_by_risk, trend_z


def test_the_largest_cluster_is_the_first_and_of_equal_ones_the_one_that_appears_first():
    values = np.array([[5.0], [0.0], [9.0], [0.1], [5.1], [0.2], [9.1]])
    assert kmeans_by_size(values, 3).tolist() == [1, 0, 2, 0, 1, 0, 2]
    weights = np.array([1.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0])
    assert kmeans_by_size(values, 3, weights=weights).tolist() == [1, 0, 2, 0, 1, 0, 2]


def test_merge_by_risk_by_hand():
    observed, expected = np.array([4, 1, 9, 2]), np.array([4.0, 4.0, 3.0, 5.0])  # ratios 1, 0.25, 3, 0.4
    assert merge_by_risk(observed, expected, 4).tolist() == [2, 0, 3, 1]
    assert merge_by_risk(observed, expected, 2).tolist() == [1, 0, 1, 0]


def test_a_trend_of_two_groups_is_the_log_rank_statistic():
    """Two at risk, then one of the group that lives longer: O - E = -1/2 with variance 1/4, then 0."""
    assert trend_z(np.array([1.0, 2.0]), np.array([True, True]), np.array([0, 1])) == -1.0
    assert trend_z(np.array([1.0, 2.0]), np.array([True, True]), np.array([0, 0])) == 0.0
