"""Words of messages."""

from __future__ import annotations

import pickle
import warnings

import pytest

from spatialfm import _errors
from spatialfm._errors import SpatialfmError, SpatialfmWarning, counted, listed, warn


@pytest.mark.parametrize(("n", "text"), [(0, "0 cells"), (1, "1 cell"), (2, "2 cells"), (1234, "1,234 cells")])
def test_numbers_agree_with_their_word(n, text):
    assert counted(n, "cell") == text


def test_words_of_their_own_plural():
    assert (counted(1, "class", "classes"), counted(3, "class", "classes")) == ("1 class", "3 classes")


def test_names_up_to_a_limit():
    assert listed(["a", "b"]) == "'a', 'b'"
    assert listed(["a", "b"], quoted=False) == "a, b"
    assert "3 more" in listed("abcde", 2)
    assert listed("abcde", 2).startswith("'a', 'b'")


def test_all_errors_are_caught_as_one_and_travel_between_processes():
    kinds = [one for one in vars(_errors).values() if isinstance(one, type) and issubclass(one, SpatialfmError)]
    assert len(kinds) > 8
    for kind in kinds:
        error = pickle.loads(pickle.dumps(kind("what is wrong")))
        assert type(error) is kind
        assert str(error) == "what is wrong"


def test_a_warning_points_to_the_users_line():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn("look here")
    (one,) = caught
    assert one.category is SpatialfmWarning
    assert one.filename == __file__
