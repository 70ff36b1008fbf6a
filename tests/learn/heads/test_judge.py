"""Methods scored on the same folds: the floors by hand, separable cells, and what a fold may see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import f1_score

from spatialfm.learn.heads.blocks import ColumnBlock
from spatialfm.learn.heads.folds import Fold
from spatialfm.learn.heads.judge import Judged, Markers, _places, judge
from spatialfm.learn.heads.options import Options

OPTIONS = Options(C=1.0, calibrate=False)


@pytest.fixture
def task():
    """Two types of 12 and 6 cells, far apart in two columns."""
    names = np.array(["T"] * 12 + ["B"] * 6)
    values = np.random.default_rng(0).normal(size=(18, 2)) + 20 * (names == "B")[:, None]
    return Judged(
        names, ["T", "B"], {"X_model": values}, {"X_model": [ColumnBlock("X_model", 2)]}, {"X_model": np.zeros((0, 2))},
        np.repeat(["a", "b", "c"], 6), lambda fold: np.zeros(0, int), ["linear"], [None], 2, False, "",
    )  # fmt: skip


@pytest.fixture
def folds():
    test = np.array([0, 1, 2, 12, 13])
    return [Fold(np.setdiff1d(np.arange(18), test), test, test)]


def of(table, head, use_rep, name="macro"):
    return table[(table["head"] == head) & (table["use_rep"] == use_rep) & (table["class"] == name)]


def test_types_that_lie_apart_are_told_apart(task, folds):
    table = judge(task, folds, OPTIONS)
    row = of(table, "linear", "X_model").iloc[0]
    assert row["f1"] == row["auroc"] == 1
    assert (row["n_train"], row["asked"], row["C"]) == (13, "all", 1.0)


def test_the_floor_says_the_most_frequent_type_of_the_training_part(task, folds):
    table = judge(task, folds, OPTIONS)
    truth = task.names[folds[0].test]
    expected = f1_score(truth, np.full(5, "T"), average="macro", zero_division=0)
    row = of(table, "majority", "none").iloc[0]
    assert row["f1"] == pytest.approx(expected)
    assert row["auroc"] == 0.5
    # 9 of 13 training cells are T, 3 of 5 tested ones
    assert row["calibration_error"] == pytest.approx(9 / 13 - 3 / 5)
    assert row["calibration_error_debiased"] < 0  # five shares lie 0.17 off by chance, in the mean


def test_sizes_are_drawn_as_often_as_asked_and_all_cells_once(task, folds):
    table = judge(replace(task, sizes=[2, None]), folds, OPTIONS)
    macro = of(table, "linear", "X_model")
    assert macro["asked"].tolist() == ["2", "2", "all"]
    assert macro["draw"].tolist() == [0, 1, 0]
    assert macro["n_train"].tolist() == [2, 2, 13]


def test_cells_of_the_test_part_do_not_move_the_scale(task, folds):
    """An inductive method standardises by the training part: a tested cell far out changes no other's probability."""
    far = task.values["X_model"].copy()
    far[0] = 1e6
    one = judge(task, folds, OPTIONS)
    two = judge(replace(task, values={"X_model": far}), folds, OPTIONS)
    recalls = [[of(table, "linear", "X_model", name)["recall"].iloc[0] for name in "TB"] for table in (one, two)]
    assert recalls[0] == [1, 1]
    assert recalls[1] == [pytest.approx(2 / 3), 1]  # that cell alone is taken for the other type


def test_markers_of_types_are_scored_without_labels(task, folds):
    values = np.column_stack([task.names == "T", task.names == "B"]) * 5.0
    values += np.random.default_rng(1).normal(size=values.shape) * 0.1
    markers = Markers("X", ["B", "T"], np.array([[-1, 1], [1, -1]]), values, np.zeros((0, 2)))
    table = judge(replace(task, markers=markers), folds, OPTIONS)
    row = of(table, "signatures", "X").iloc[0]
    assert row["f1"] == 1
    assert np.isnan(row["C"])


def test_places_of_names_in_classes_of_any_order():
    assert _places(np.array(["T", "B", "NK", "T"]), ["T", "NK", "B"]).tolist() == [0, 2, 1, 0]
