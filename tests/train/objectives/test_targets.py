from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from spatialfm._errors import ArgumentError, SpatialfmWarning
from spatialfm.train.batch import WindowSample
from spatialfm.train.objectives.targets import targets_of

TABLE = pd.DataFrame(
    {
        "sample": ["a", "b", "c", "d"],
        "region": pd.Categorical(["tumour", None, "stroma", "tumour"]),
        "grade": [1, 3, 2, 3],
        "score": [1.0, np.nan, 3.0, 8.0],
        "same": [2.0, 2.0, 2.0, np.nan],
        "text": ["x", "y", "z", "x"],
        "one": ["x", "x", None, "x"],
    }
)


def window(sample: str, y: int = 0, x: int = 0, source: str = "s") -> WindowSample:
    return WindowSample(torch.zeros(1, 4, 4), None, ("m",), 0, (source, sample, y, x))


def test_targets_of_samples():
    targets = targets_of(TABLE, ["region", "grade"], ["score"])
    assert targets.classes == {"region": ("stroma", "tumour"), "grade": ("1", "2", "3")}
    mean, std = 4.0, np.std([1, 3, 8])
    for sample, codes, value in (("a", [1, 0], 1.0), ("b", [-1, 2], np.nan), ("c", [0, 1], 3.0), ("d", [1, 2], 8.0)):
        found = targets.of(window(sample, y=50))
        assert found[0].tolist() == codes
        np.testing.assert_allclose(found[1], [(value - mean) / std])
    np.testing.assert_allclose(targets.class_weights(0), [3 / 2, 3 / 4])
    np.testing.assert_allclose(targets.class_weights(1), [4 / 3, 4 / 3, 2 / 3])


def test_targets_of_windows_go_by_their_place():
    table = pd.DataFrame({"source": ["s", "s", "t"], "sample": "a", "y": [0, 8, 0], "x": 4, "v": [1.0, 2.0, 3.0]})
    targets = targets_of(table, [], ["v"])
    values = [targets.of(window("a", *place))[1][0] for place in ((0, 4, "s"), (8, 4, "s"), (0, 4, "t"))]
    assert values == sorted(values)
    assert len(set(values)) == 3
    with pytest.raises(ArgumentError, match=r"no row for the window of source 't', sample 'a', y 8, x 4"):
        targets.of(window("a", 8, 4, "t"))
    with pytest.raises(ArgumentError, match="these windows state none"):
        targets.of(WindowSample(torch.zeros(1, 4, 4), None, ("m",), 0))


@pytest.mark.parametrize(
    ("labels", "numbers", "message"),
    [
        (["grades"], [], "has no column 'grades'"),
        (["one"], [], r"Label 'one' has 1 class: 'x'"),
        ([], ["same"], "fewer than two different numbers"),
        ([], ["text"], "holds what is not a number"),
        (["grade"], ["grade"], "in labels= and in numbers="),
        ([], [], "Nothing is to be predicted"),
    ],
)
def test_tables_that_cannot_be(labels, numbers, message):
    with pytest.raises(ArgumentError, match=message):
        targets_of(TABLE, labels, numbers)


def test_rows_that_contradict_each_other():
    with pytest.raises(ArgumentError, match="two rows of 'a'"):
        targets_of(pd.concat([TABLE, TABLE.iloc[:1]]), ["region"], [])
    with pytest.raises(ArgumentError, match="one of the columns 'y' and 'x'"):
        targets_of(TABLE.assign(y=0), ["region"], [])
    with pytest.raises(ArgumentError, match="has no column 'sample'"):
        targets_of(TABLE.drop(columns="sample"), ["region"], [])


@pytest.mark.parametrize(("names", "message"), [
    (["T cell", "t cell ", "B cell", "B cell"], "spells 'T cell' and 't cell ', which read alike and would be two"),
    (["x", "y", "nan", "x"], "reads 'nan', as a missing value does"),
])  # fmt: skip
def test_two_spellings_of_a_label_are_not_two_classes(names, message):
    with pytest.raises(ArgumentError, match=f"Label 'text' of targets= {message}"):
        targets_of(TABLE.assign(text=names), ["text"], [])


def test_what_no_window_has_that_is_trained_on_is_told_before_the_first_step():
    targets = targets_of(TABLE, ["grade", "region"], ["score"])
    windows = pd.DataFrame({"source": "s", "sample": ["a", "b", "c"], "y": 0, "x": 0})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        targets.on(windows)
    with pytest.warns(SpatialfmWarning, match="trained on has '2' of label 'grade': nothing is learned of that"):
        targets_of(TABLE, ["grade"], ["score"]).on(windows.assign(sample=["a", "b", "d"]))
    with pytest.raises(ArgumentError, match="Label 'region' has no two classes.*without are 'stroma'"):
        targets.on(windows.assign(sample=["a", "b", "d"]))
    with pytest.raises(ArgumentError, match="targets= has no row for the window of sample 'e'"):
        targets.on(windows.assign(sample=["a", "c", "e"]))
