"""Folds of labelled cells, and which cells without a label a fold may see."""

from __future__ import annotations

import numpy as np
import pytest

from spatialfm._errors import TableError
from spatialfm.learn.heads.folds import (
    Fold,
    Groups,
    Places,
    groups_of_quadrants,
    make_folds,
    seen_by_patient,
    seen_by_place,
)


def test_patients_stay_on_one_side_and_each_is_tested_once():
    patients = np.repeat(["a", "b", "c", "d", "e", "f"], 4)
    names = np.tile(["T", "B"], 12)
    folds = make_folds(Groups(patients, "patient"), names, 3, 0)
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(24))
    for fold in folds:
        assert not set(patients[fold.train]) & set(patients[fold.test])
        assert len(fold.train) + len(fold.test) == 24


@pytest.mark.parametrize("n_folds", [1, 4])
def test_more_folds_than_patients_are_refused(n_folds):
    groups = Groups(np.repeat(["a", "b", "c"], 2), "donor")
    with pytest.raises(TableError, match=rf"3 different values of obs\['donor'\] .* cannot make {n_folds} folds"):
        make_folds(groups, np.tile(["T", "B"], 3), n_folds, 0)


def test_a_class_without_training_cells_is_held_out_but_not_scored():
    """Patient c alone has mast cells: they can only be missed."""
    patients = np.repeat(["a", "b", "c"], 3)
    names = np.array(["T", "B", "T", "T", "B", "B", "T", "B", "mast"])
    with pytest.warns(UserWarning, match="least populated class"):
        folds = make_folds(Groups(patients, "patient"), names, 3, 0)
    fold = next(one for one in folds if 8 in one.held_out)
    assert sorted(fold.held_out) == [6, 7, 8]
    assert sorted(fold.test) == [6, 7]


def test_a_fold_with_one_class_to_train_on_is_refused():
    with pytest.raises(TableError, match="fewer than two classes"):
        make_folds(Groups(np.array(["a", "a", "b", "b"]), "patient"), np.array(["T", "T", "B", "B"]), 2, 0)


def test_cells_near_a_tested_quadrant_are_not_trained_on():
    """A line of cells through four quadrants; of those at the borders none is within 3 of a tested one."""
    side = np.array([0.0, 4, 8, 12, 16, 20])
    x, y = (one.ravel() for one in np.meshgrid(side, side))
    places = Places(np.column_stack([x, y]), np.full(36, "image"), 5.0)
    groups = groups_of_quadrants(places)
    assert len(np.unique(groups.of)) == 4
    folds = make_folds(groups, np.tile(["T", "B"], 18), 10, 0)  # at most as many as there are quadrants
    assert len(folds) == 4
    for fold in folds:
        apart = np.linalg.norm(places.positions[fold.train][:, None] - places.positions[fold.held_out], axis=2)
        assert apart.min() >= 5
        assert 0 < len(fold.train) < 27  # some of the 27 cells of other quadrants are too near


def test_cells_of_unknown_or_held_out_patients_are_not_seen():
    groups = Groups(np.array(["a", "a", "b", "c"]), "patient")
    fold = Fold(np.array([0, 1, 3]), np.array([], int), np.array([2]))  # nothing of b can be scored
    others = np.array(["a", None, "b", "new", np.nan, "c"], dtype=object)
    assert seen_by_patient(others, groups, fold).tolist() == [0, 3, 5]


def test_cells_in_or_near_a_held_out_quadrant_are_not_seen():
    """Labelled cells at the corners of a square of 20, whose middle is at 10; the one at (0, 0) is held out."""
    own = Places(np.array([[0.0, 0], [20, 0], [0, 20], [20, 20]]), np.full(4, "image"), 9.0)
    groups = groups_of_quadrants(own)
    fold = Fold(np.array([1, 2, 3]), np.array([0]), np.array([0]))
    positions = np.array([[2.0, 2], [8, 1], [13, 1], [19, 19], [np.nan, 3], [1, 19]])
    others = Places(positions, np.array(["image"] * 5 + [None], dtype=object), 9.0)
    assert seen_by_place(others, groups, fold).tolist() == [2, 3]
    near = Places(np.array([[10.5, 1], [19, 19]]), np.full(2, "image"), 9.0)
    wide = Groups(groups.of, groups.key, Places(own.positions, own.samples, 11.0))
    assert seen_by_place(near, wide, fold).tolist() == [1]
