"""What every public function does first."""

from __future__ import annotations

from typing import Literal

import pytest

from spatialfm._errors import ArgumentError, ArgumentTypeError
from spatialfm._public import meant, public


@public
def example(values: list, n_folds: int = 5, *, alpha: float = 0.05, kind: Literal["one", "two"] = "one") -> tuple:
    """A function with an argument of each kind."""
    return values, n_folds, alpha, kind


@public
def open_one(model: str, **options: object) -> dict:
    """A function that passes keywords on."""
    return {"model": model, **options}


def test_what_fits_goes_through():
    assert example([1], 3, alpha=0.1, kind="two") == ([1], 3, 0.1, "two")
    assert example.arguments == ["values", "n_folds", "alpha", "kind"]
    assert open_one("a", zoom=2) == {"model": "a", "zoom": 2}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_fold": 3}, TypeError, r"example\(\) has no argument 'n_fold'. Did you mean 'n_folds'\?"),
        ({"zoom": 3}, TypeError, "There are: values, n_folds, alpha, kind."),
        ({"n_folds": 1}, ArgumentError, r"example\(n_folds=1\): n_folds must be a whole number of at least 2"),
        ({"n_folds": 2.5}, ArgumentTypeError, "n_folds must be a whole number"),
        ({"alpha": 1.0}, ArgumentError, "alpha must be a number above 0 and below 1"),
        ({"kind": "three"}, ArgumentError, "kind must be 'one' or 'two'"),
        ({"kind": None}, ArgumentError, "kind must be"),
    ],
)
def test_what_does_not_is_named_with_what_would(arguments, error, message):
    with pytest.raises(error, match=message):
        example([1], **arguments)


def test_values_without_a_name_that_it_does_not_take_are_answered_with_the_names():
    message = (
        r"example\(\) takes 2 of its values without a name \(values, n_folds\), and was given 3. .*: alpha=, kind=\."
    )
    with pytest.raises(TypeError, match=message):
        example([1], 3, 0.1)


def test_arguments_in_a_dict_are_told_to_be_given_alone():
    with pytest.raises(TypeError, match=r"no argument 'how'. Pass what is in it by itself: alpha=0.1, kind='one'\."):
        example([1], how={"alpha": 0.1, "kind": "one"})
    with pytest.raises(TypeError, match="There are: values"):
        example([1], how={"beta": 0.1})


def test_positional_values_are_held_against_the_same_rules():
    with pytest.raises(ArgumentError, match=r"n_folds=0"):
        example([1], 0)
    with pytest.raises(TypeError):
        example([1], 3, 0.1)


def test_the_nearest_name():
    assert meant("marker", ["markers", "mapping"]) == "Did you mean 'markers'?"
    assert meant("x", []) == "There are: none."
