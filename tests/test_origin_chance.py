"""Numbers of ways, by counting them."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from spatialfm._origin_chance import is_function, log_binomial, log_maps, log_separable, log_ways, of_groups, of_numbers


@pytest.mark.parametrize("counts", [(3,), (2, 3), (1, 1, 4), (2, 2, 2)])
def test_ways_to_deal_groups_out(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    assert np.exp(log_ways(np.array(counts))) == pytest.approx(len(set(permutations(labels.tolist()))))


@pytest.mark.parametrize(("n", "k"), [(1, 1), (4, 2), (5, 3), (6, 4)])
def test_maps_onto_names(n, k):
    onto = sum(len(set(one)) == k for one in product(range(k), repeat=n))
    assert np.exp(log_maps(n, k)) == pytest.approx(onto)


def test_of_many_names_the_number_is_a_bound_from_above():
    assert log_maps(50, 3) >= log_maps(40, 3)
    assert log_maps(41, 2) == pytest.approx(np.log(2.0**41 - 2), abs=1e-9)
    assert log_maps(2, 3) == -np.inf


def test_binomials():
    np.testing.assert_allclose(np.exp(log_binomial(5, np.arange(6))), [1, 5, 10, 10, 5, 1])


def test_planes_through_points_of_a_line_are_cuts():
    """n points on a line: n - 1 cuts between them and none, either side up."""
    for n in range(2, 7):
        assert np.exp(log_separable(n, 1)) == pytest.approx(2 * n)
    assert np.exp(log_separable(4, 3)) == pytest.approx(16)  # in space every division


def test_evidence_of_groups_that_were_renamed_and_merged():
    made = np.repeat([0.0, 1.0, 2.0], 4)
    renamed, merged = (made + 1) % 3, np.minimum(made, 1)
    assert of_groups(made, renamed) == pytest.approx(log_ways(np.array([4, 4, 4])) - np.log(6))
    assert of_groups(made, merged) == pytest.approx(log_ways(np.array([4, 8])) - np.log(6))
    assert of_groups(made, made, same_names=True) > of_groups(made, made)
    assert of_groups(made, np.arange(12.0)) == -np.inf
    assert of_groups(made, np.zeros(12)) == -np.inf


def test_evidence_of_numbers_that_were_cut_or_ranked():
    made = np.random.default_rng(0).permutation(np.arange(20.0))
    cut = (made > 11).astype(float)
    assert of_numbers(made, cut, 10) == pytest.approx(log_ways(np.array([12, 8])) - np.log(2))
    assert of_numbers(made, made**3, 10) == pytest.approx(log_ways(np.ones(20)) - np.log(2))
    assert of_numbers(made, np.random.default_rng(1).permutation(20).astype(float), 10) == -np.inf
    ends = (np.abs(made - 9.5) > 6).astype(float)  # two pieces of one level
    assert 0 < of_numbers(made, ends, 10) < of_numbers(made, cut, 10)


def test_a_function_has_one_value_for_each_of_its_argument():
    assert is_function(np.array([1.0, 2, 1]), np.array([5.0, 6, 5]))
    assert not is_function(np.array([1.0, 2, 1]), np.array([5.0, 6, 7]))
