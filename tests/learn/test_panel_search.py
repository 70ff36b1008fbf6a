"""The search, on scores that were set; exchanges and groups of markers."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from spatialfm.learn.panel_search import redundancy_groups, roles, search_panels


class Told:
    """A panel whose scores are told for sets of markers; 0 of all others."""

    def __init__(self, n: int, scores: dict[str, float]) -> None:
        self.n_markers = n
        self._scores = {frozenset(map(int, name)): value for name, value in scores.items()}
        self._inside: set[int] = set()

    def score(self) -> float:
        return self._scores.get(frozenset(self._inside), 0.0)

    def if_toggled(self) -> np.ndarray:
        return np.array([self._scores.get(frozenset(self._inside ^ {one}), 0.0) for one in range(self.n_markers)])

    def toggle(self, marker: int) -> None:
        self._inside ^= {marker}


TRAP = {"0": 0.5, "1": 0.4, "2": 0.4, "01": 0.6, "02": 0.55, "12": 0.8, "012": 0.85, "123": 0.9, "013": 0.7}


def test_a_marker_that_others_made_useless_leaves():
    found = search_panels(Told(4, TRAP), 3)
    assert {size: sorted(one.markers) for size, one in found.items()} == {1: [0], 2: [1, 2], 3: [1, 2, 3]}
    assert [found[size].score for size in (1, 2, 3)] == [0.5, 0.8, 0.9]


def test_what_is_kept_never_leaves():
    found = search_panels(Told(4, TRAP), 3, keep=[0])
    assert {size: sorted(one.markers) for size, one in found.items()} == {1: [0], 2: [0, 1], 3: [0, 1, 2]}


def test_a_cheap_marker_enters_before_a_better_one_that_costs_more():
    scores = {"0": 0.5, "1": 0.4, "01": 0.6}
    assert search_panels(Told(2, scores), 1)[1].markers == (0,)
    dear = search_panels(Told(2, scores), 2, costs=np.array([2.0, 1.0]))
    assert (dear[1].markers, dear[1].cost, dear[2].cost) == ((1,), 1.0, 3.0)


def test_a_smaller_panel_that_is_dearer_does_not_replace_another():
    costs = np.array([1.0, 1.0, 5.0, 1.0])
    scores = TRAP | {"0": 0.9}
    assert sorted(search_panels(Told(4, scores), 3, costs=costs)[2].markers) == [0, 1]


def test_markers_that_help_nothing_enter_the_least_harmful_first():
    found = search_panels(Told(3, {"0": 0.5, "01": 0.2, "02": 0.4, "012": 0.1}), 3)
    assert found[2].markers == (0, 2)


@pytest.mark.parametrize("seed", range(5))
def test_every_panel_is_scored_as_it_is_and_never_worse_than_plain_forward_selection(seed):
    rng = np.random.default_rng(seed)
    names = ["".join(map(str, one)) for size in range(1, 6) for one in combinations(range(5), size)]
    scores = dict(zip(names, rng.random(len(names)), strict=True))
    found = search_panels(Told(5, scores), 5)
    inside: set[int] = set()
    for size in range(1, 6):
        text = "".join(map(str, sorted(found[size].markers)))
        assert len(text) == size
        assert found[size].score == scores[text]
    first = max(range(5), key=lambda one: scores[str(one)])
    inside = {first}
    second = max((one for one in range(5) if one != first), key=lambda one: scores["".join(sorted(f"{first}{one}"))])
    inside |= {second}
    assert found[2].score >= scores["".join(map(str, sorted(inside)))]


def test_roles_of_markers():
    panel = Told(4, TRAP)
    for marker in (1, 2):
        panel.toggle(marker)
    found = roles(panel, [1, 2])
    assert found[1].loss == pytest.approx(0.8 - 0.4)
    assert (found[1].substitute, found[1].loss_with_substitute) == (0, pytest.approx(0.8 - 0.55))
    assert panel.score() == 0.8  # as before
    panel.toggle(1)
    panel.toggle(2)
    full = Told(2, {"01": 1.0, "0": 0.4, "1": 0.3})
    full.toggle(0), full.toggle(1)
    assert roles(full, [0, 1], keep=[0]).keys() == {1}
    assert roles(full, [0, 1])[1].substitute is None


def test_groups_are_of_cells_and_not_of_patients():
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(6), 200)
    a, b = rng.normal(size=(2, 1200))
    between = 5 * rng.normal(size=6)[patient]  # the same patients are bright in columns that say nothing of each other
    values = np.column_stack([a, b + between, -a + 0.3 * rng.normal(size=1200), rng.normal(size=1200) + between])
    assert redundancy_groups(values, patient, 0.7).tolist() == [1, 2, 1, 3]
    assert redundancy_groups(values[:, :1], patient, 0.7).tolist() == [1]
    constant = np.column_stack([a, np.ones(1200)])
    assert redundancy_groups(constant, patient, 0.5).tolist() == [1, 2]
