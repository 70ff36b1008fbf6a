"""Choices against their definitions, written out by brute force."""

from __future__ import annotations

import numpy as np
import pytest

from spatialfm.learn.label_choice import Coreset, Margin, Quota, TypiClust, choose


def blobs(sizes, distance=10.0, seed=0):
    rng = np.random.default_rng(seed)
    centers = distance * np.eye(len(sizes))
    codes = np.repeat(np.arange(len(sizes)), sizes)
    return rng.normal(size=(len(codes), len(sizes))) + centers[codes], codes


def chosen_rows(strategy, n, n_rows, labelled=(), groups=None):
    found = choose([strategy], Quota(groups, np.array(labelled, int), n_rows, n), n)
    return [row for row, _, _ in found]


def test_coreset_is_the_farthest_row_from_all_labels_each_time():
    values = np.random.default_rng(1).normal(size=(60, 4))
    labelled = [3, 17]
    have = list(labelled)
    for row in chosen_rows(Coreset(values, np.array(labelled)), 8, 60, labelled):
        distance = np.linalg.norm(values[:, None] - values[have], axis=2).min(axis=1)
        assert row == distance.argmax()
        have.append(row)


def test_coreset_without_labels_begins_in_the_middle():
    values = np.array([[0.0, 0], [10, 0], [4.9, 0.1], [0, 1]])
    assert chosen_rows(Coreset(values, np.zeros(0, int)), 2, 4)[0] == 2


def test_a_score_of_the_coreset_is_its_distance():
    values = np.array([[0.0], [3.0], [10.0]])
    quota = Quota(None, np.array([0]), 3, 2)
    assert choose([Coreset(values, np.array([0]))], quota, 2) == [(2, "coreset", 10.0), (1, "coreset", 3.0)]


def test_typiclust_takes_each_cluster_once_and_its_most_typical_row():
    values, codes = blobs([120, 60, 30, 20])
    rows = chosen_rows(TypiClust(values, np.zeros(0, int), 4, 0), 4, len(values))
    assert codes[rows].tolist() == [0, 1, 2, 3]  # the largest first
    for row in rows:
        of = values[codes == codes[row]]
        k = min(20, len(of) // 2)
        mean = np.sort(np.linalg.norm(of[:, None] - of, axis=2), axis=1)[:, 1 : k + 1].mean(axis=1)
        assert np.allclose(of[mean.argmin()], values[row])


def test_typiclust_leaves_clusters_that_have_a_label():
    values, codes = blobs([50, 50, 50])
    labelled = np.array([0, 1])  # both of the first
    rows = chosen_rows(TypiClust(values, labelled, 1, 0), 1, len(values), labelled)
    assert codes[rows[0]] != 0


def test_margin_begins_with_the_most_uncertain_and_goes_on_with_what_differs():
    values = np.array([[0.0], [0.1], [0.2], [9.0], [5.0]])
    margin = np.array([0.01, 0.02, 0.03, 0.04, 0.9])
    assert chosen_rows(Margin(values, margin, 2), 2, 5) == [0, 3]


def test_margin_looks_at_ten_for_each():
    margin = np.linspace(0, 1, 100)
    values = np.arange(100.0)[:, None]
    assert chosen_rows(Margin(values, margin, 2), 2, 100) == [0, 19]


def test_groups_give_as_many_each_and_more_where_one_has_no_more():
    values = np.random.default_rng(2).normal(size=(40, 3))
    groups = np.repeat([0, 1, 2, 3], 10)
    rows = chosen_rows(Coreset(values, np.zeros(0, int)), 8, 40, groups=groups)
    assert np.bincount(groups[rows]).tolist() == [2, 2, 2, 2]
    groups = np.r_[np.zeros(38, int), [1, 2]]
    rows = chosen_rows(Coreset(values, np.zeros(0, int)), 9, 40, groups=groups)
    assert np.bincount(groups[rows]).tolist() == [7, 1, 1]


def test_strategies_take_turns_and_no_row_twice():
    values, _ = blobs([40, 40])
    margin = np.random.default_rng(0).random(80)
    none = np.zeros(0, int)
    found = choose(
        [TypiClust(values, none, 9, 0), Coreset(values, none), Margin(values, margin, 9)], Quota(None, none, 80, 9), 9
    )
    assert [name for _, name, _ in found] == ["typiclust", "coreset", "margin"] * 3
    assert len({row for row, _, _ in found}) == 9


@pytest.mark.parametrize("strategy", [Coreset, TypiClust, Margin])
def test_fewer_rows_than_asked_for(strategy):
    values, none = np.arange(4.0)[:, None], np.zeros(0, int)
    made = {Coreset: lambda: Coreset(values, none), TypiClust: lambda: TypiClust(values, none, 9, 0)}
    one = made.get(strategy, lambda: Margin(values, values[:, 0], 9))()
    assert sorted(chosen_rows(one, 9, 4)) == [0, 1, 2, 3]
