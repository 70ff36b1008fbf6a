"""Messages in the words of the function that was called."""

from __future__ import annotations

import pytest

from spatialfm._errors import TableError
from spatialfm._wording import called, within, worded

MPP = {"mpp": ("elements", "mpp")}


def test_outside_of_any_call_a_message_stays():
    assert worded("Pass mpp=0.5.") == "Pass mpp=0.5."


@pytest.mark.parametrize(
    ("arguments", "message", "expected"),
    [
        (["elements"], "Pass mpp=0.5.", 'Pass elements={"mpp": 0.5}.'),
        (["elements", "mpp"], "Pass mpp=0.5.", "Pass mpp=0.5."),  # an argument of its own
        (["elements"], "Pass stride=4.", "Pass stride=4."),  # of nobody
        (["elements"], "Use sfm.pp.cells(mpp=1), or mpp=2.", 'Use sfm.pp.cells(mpp=1), or elements={"mpp": 2}.'),
        (["elements"], "Use f(g(x), mpp=1) (or mpp=2)", 'Use f(g(x), mpp=1) (or elements={"mpp": 2})'),
        (["elements"], "where mpp==1", "where mpp==1"),
        (["elements"], "Pass mpp= of the image.", 'Pass elements={"mpp": ...} of the image.'),
        (["elements"], "Pass mpp=[0.5, 1], or none.", 'Pass elements={"mpp": [0.5, 1]}, or none.'),
    ],
)
def test_a_field_is_named_within_its_argument(arguments, message, expected):
    with called(arguments, MPP):
        assert worded(message) == expected
    assert worded(message) == message


def test_the_words_are_those_of_the_function_that_the_user_called():
    with called(["elements"], MPP), called(["mpp"], {}):
        assert worded("Pass mpp=1.") == 'Pass elements={"mpp": 1}.'


def test_fields_of_fields():
    with within({"markers": ("inputs", "panel.markers")}):
        assert worded("Pass markers=['CD3'].") == "Pass markers=['CD3']."  # nothing was called
    with called(["inputs"], MPP):
        with within({"markers": ("inputs", "panel.markers")}):
            assert worded("Pass markers=['CD3'].") == 'Pass inputs={"panel": {"markers": [\'CD3\']}}.'
            assert worded("Pass mpp=1.") == 'Pass elements={"mpp": 1}.'
        assert worded("Pass markers=['CD3'].") == "Pass markers=['CD3']."


def test_errors_that_were_made_elsewhere_are_worded_as_they_pass_and_others_are_not():
    ours, other = TableError("Pass mpp=1."), ValueError("Pass mpp=1.")
    with pytest.raises(TableError, match=r'^Pass elements=\{"mpp": 1\}\.$'), called(["elements"], MPP):
        raise ours
    with pytest.raises(ValueError, match=r"^Pass mpp=1\.$"), called(["elements"], MPP):
        raise other
