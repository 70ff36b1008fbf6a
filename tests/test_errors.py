"""Words of messages."""

from __future__ import annotations

import pickle
import warnings

import pytest

from spatialfm import _errors
from spatialfm._errors import SpatialfmError, SpatialfmWarning, counted, listed, repeated_names, warn


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


def test_repeated_names_are_found_without_comparing_all_with_all():
    """A header of 100,000 names: comparing each with all others would take minutes."""
    assert repeated_names(["CD8", "CD3", "CD8", "CD4", "CD3", "CD8"]) == ["CD8", "CD3"]
    assert repeated_names(str(number) for number in [*range(100_000), 7]) == ["7"]
    assert repeated_names([]) == []
