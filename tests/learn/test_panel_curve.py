"""The curve is of patients who had no part in the panels: who sees whom, and its numbers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from spatialfm.learn.panel_curve import (
    HeldOutPanels,
    Search,
    curve_table,
    judge_beside,
    judge_panels,
    kept_first,
    mean_interval,
)


class Watched:
    """A task that notes which patients a panel is searched in, and which it is scored on."""

    def __init__(self, n_markers: int) -> None:
        self.n_markers, self.searched, self.scored = n_markers, [], []

    def panel(self, patients, fold):
        self.searched.append(set(patients))
        return Sums(self.n_markers)

    def scores(self, train, test, panel):
        self.scored.append((set(train), set(test), tuple(panel)))
        return np.asarray(test, float) + sum(panel)


class Sums:
    """The marker of the highest number is the best."""

    def __init__(self, n_markers: int) -> None:
        self.n_markers, self._inside = n_markers, np.zeros(n_markers, bool)

    def score(self) -> float:
        return float(np.flatnonzero(self._inside).sum())

    def if_toggled(self) -> np.ndarray:
        return self.score() + np.where(self._inside, -1, 1) * np.arange(self.n_markers)

    def toggle(self, marker: int) -> None:
        self._inside[marker] = ~self._inside[marker]


def search(**fields) -> Search:
    told = {"n_markers": 3, "keep": (1,), "costs": np.ones(5), "n_folds": 3, "n_random": 2, "random_state": 0}
    return Search(**told | fields)


def test_no_patient_is_scored_on_a_panel_that_it_chose():
    task, variance = Watched(5), np.tile([1.0, 5, 2, 4, 3], (7, 1))
    judged = judge_panels(task, 7, variance, search())
    assert len(task.searched) == 3
    for searched in task.searched:
        tests = [test for train, test, _ in task.scored if train == searched]
        assert tests
        assert all(test == set(range(7)) - searched for test in tests)
    assert {frozenset(train) for train, _, _ in task.scored} == {frozenset(one) for one in task.searched}
    patients = np.arange(7.0)
    np.testing.assert_allclose(judged.chosen, [patients + 1, patients + 5, patients + 8])  # 1, then 4, then 3
    np.testing.assert_allclose(judged.variance, [patients + 1, patients + 4, patients + 8])  # 1, then 3, then 4
    np.testing.assert_allclose(judged.whole, patients + 10)
    np.testing.assert_allclose(judged.times, [[0, 1, 0, 0, 0], [0, 1, 0, 0, 1], [0, 1, 0, 1, 1]])
    assert np.isfinite(judged.random).all()


def test_the_order_by_variance_is_of_training_patients():
    variance = np.ones((6, 5))
    variance[:, 4] = 2
    held = search().folds(6)
    variance[held == 0, 0] = 1000  # in one fold alone
    task = Watched(5)
    judged = judge_panels(task, 6, variance, search(n_random=0, n_markers=2))
    by_variance = judged.variance[1] - np.arange(6)
    assert (by_variance[held == 0] == 5).all()  # marker 4 beside 1: what its own patients say was not seen
    assert (by_variance[held != 0] == 1).all()


def test_two_tasks_are_scored_on_what_the_other_chooses():
    class Opposite(Watched):
        """The marker of the lowest number is the best, and scores ten times as much."""

        def panel(self, patients, fold):
            return Fewest(self.n_markers)

        def scores(self, train, test, panel):
            return 10 * super().scores(train, test, panel)

    class Fewest(Sums):
        def score(self) -> float:
            return -super().score()

        def if_toggled(self) -> np.ndarray:
            return self.score() - np.where(self._inside, -1, 1) * np.arange(self.n_markers)

    same, theirs = judge_beside(Watched(5), Opposite(5), 6, search())
    patients = np.arange(6.0)
    # the first chooses 1, then 4, then 3; the other 1, then 0, then 2
    np.testing.assert_allclose(same, [10 * (patients + total) for total in (1, 5, 8)])
    np.testing.assert_allclose(theirs, [patients + total for total in (1, 1, 3)])


def test_the_table():
    chosen = np.array([[0.2, 0.4, 0.3], [0.6, 0.8, 0.7]])
    random = np.stack([chosen - 0.2, chosen - 0.1])
    table = curve_table(HeldOutPanels(chosen, chosen - 0.05, random, np.ones(3), np.zeros((2, 4))), [1, 2])
    low, high = stats.t.interval(0.95, 2, chosen[1].mean(), stats.sem(chosen[1]))
    assert table.loc[1, ["score", "ci_low", "ci_high"]].tolist() == pytest.approx([0.7, low, min(high, 1)])
    assert table.loc[0, ["random", "variance", "gain_over_random"]].tolist() == pytest.approx([0.15, 0.25, 0.15])
    assert table.loc[0, ["random_low", "random_high"]].tolist() == pytest.approx([0.1025, 0.1975])
    assert table.loc[0, ["gain_over_random_low", "gain_over_variance_high"]].tolist() == pytest.approx([0.15, 0.05])
    none = curve_table(HeldOutPanels(chosen, chosen, np.zeros((0, 2, 3)), np.ones(3), np.zeros((2, 4))), [1, 2])
    assert none["random"].isna().all()
    assert none["gain_over_random"].isna().all()


def test_intervals_are_students():
    values = np.random.default_rng(0).normal(size=(2, 9))
    expected = np.array([stats.t.interval(0.9, 8, one.mean(), stats.sem(one)) for one in values])
    np.testing.assert_allclose(np.transpose(mean_interval(values, 0.9)), expected)


def test_folds_of_training_parts_differ_and_repeat():
    assert kept_first(np.array([2, 0, 1]), [1]) == [1, 2, 0]
    one = search()
    assert (one.folds(9) == search().folds(9)).all()
    assert any((one.folds(9) != one.folds(9, number)).any() for number in (1, 2))
    assert sorted(np.bincount(one.folds(7))) == [2, 2, 3]
    assert one.folds(2).max() == 1  # fewer patients than folds
    assert one.sizes == [1, 2, 3]
    assert search(keep=()).sizes == [1, 2, 3]
