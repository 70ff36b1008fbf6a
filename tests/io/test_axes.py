"""Which axis is the channel: of every order of three lengths, and the names of planes along several axes."""

from __future__ import annotations

import pytest

from spatialfm._errors import InputFileError
from spatialfm.io._axes import assign_axes, plane_names, plane_words
from spatialfm.io._layout import Dim


def dims(letters, lengths):
    sources = {3: "nyx", 2: "yx"}[len(lengths)]
    return [Dim(*fields) for fields in zip(letters, lengths, sources, strict=True)]


@pytest.fixture(autouse=True)
def _fields():
    """The order of the fields that `dims` relies on."""
    assert list(Dim.__dataclass_fields__)[:3] == ["letter", "length", "source"]


def channel_of(lengths, n_names=None, letters="QQQ", axes=None):
    found = assign_axes(dims(letters, lengths), axes, n_names, "'a.tif'")
    return {"n": "first", "x": "last"}[found["c"]]


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [((5, 70, 90), "first"), ((70, 90, 3), "last"), ((34, 70, 90), "first"), ((35, 70, 90), None), ((70, 90, 35), None),
     ((80, 70, 90), None), ((1, 3, 3), "first")],
)  # fmt: skip
def test_without_a_word_it_is_the_axis_less_than_half_as_long(lengths, expected):
    if expected is None:
        with pytest.raises(InputFileError, match="Which axis of 'a.tif' holds the channels"):
            channel_of(lengths)
    else:
        assert channel_of(lengths) == expected


def test_names_and_words_go_before_lengths():
    assert channel_of((60, 70, 90), n_names=90) == "last"
    assert channel_of((60, 70, 90), n_names=60) == "first"
    with pytest.raises(InputFileError, match="Which axis"):
        channel_of((60, 70, 60), n_names=60)
    assert channel_of((5, 70, 90), axes="yxc") == "last"
    assert channel_of((80, 70, 90), letters="CYX") == "first"
    with pytest.raises(InputFileError, match="axes='xyc' does not fit"):
        channel_of((5, 70, 90), axes="xyc")


def test_a_plane_has_no_channel():
    assert assign_axes(dims("YX", (70, 90)), None, None, "f") == {"c": None, "y": "y", "x": "x"}


def test_stacks_are_kept_where_that_is_said():
    stack = dims("QYX", (4, 70, 90))
    with pytest.raises(InputFileError, match="stack of 4 Z planes"):
        assign_axes(stack, None, None, "f", [("Z", 4)])
    assert assign_axes(stack, "zyx", None, "f", [("Z", 4)])["y"] == "y"
    with pytest.raises(InputFileError, match='Pass axes="tcyx" to keep all 4 planes'):
        assign_axes(stack, None, None, "f", [("T", 2), ("C", 2)])


def test_planes_are_named_the_last_axis_runs_fastest():
    assert plane_names(["a", "b"], [("C", 2), ("Z", 2)], "czyx") == ["z1_a", "z2_a", "z1_b", "z2_b"]
    assert plane_names(["a"], [("T", 2), ("C", 2)], None) is None  # not as many names as channels
    assert plane_names(["a", "b"], [("C", 2)], None) is None  # nothing to add
    assert plane_words([("T", 2), ("C", 3)]) == ["tcyx"]
    assert set(plane_words([("Q", 2), ("I", 3)])) == {"tcyx", "ctyx", "czyx", "zcyx"}
