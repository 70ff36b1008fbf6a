"""Every sample opened in turn, and one error for all that could not be."""

from __future__ import annotations

import pytest

from spatialfm._errors import InputFileError, PanelError, SpatialfmError
from spatialfm.io._each import open_each, read_each


def fail(error):
    def opener():
        raise error

    return opener


def test_what_can_be_opened_is_opened_in_order():
    seen = []
    openers = [("a", lambda: seen.append("a") or 1), ("b", fail(InputFileError("cut"))), ("c", lambda: 3)]
    read, errors = open_each(openers)
    assert read == [1, 3]
    assert [(sample, str(error)) for sample, error in errors] == [("b", "cut")]
    assert seen == ["a"]
    assert read_each(openers[::2]) == [1, 3]


def test_errors_of_one_kind_are_of_that_kind_and_others_of_the_common_one():
    with pytest.raises(PanelError, match="(?s)2 problems.*sample 'a': one.*sample 'b': two"):
        read_each([("a", fail(PanelError("one"))), ("b", fail(PanelError("two")))])
    with pytest.raises(SpatialfmError) as error:
        read_each([("a", fail(PanelError("one"))), ("b", fail(InputFileError("two")))])
    assert type(error.value) is SpatialfmError


def test_errors_of_the_program_are_not_collected():
    with pytest.raises(ZeroDivisionError):
        read_each([("a", lambda: 1 / 0)])
