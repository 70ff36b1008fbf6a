"""Ranges of arguments: as intervals, and in words."""

from __future__ import annotations

import math

import pytest

from spatialfm._ranges import BEGINNINGS, LARGEST, RANGES, Range, above, at_least, between, inside, range_of


@pytest.mark.parametrize(
    ("allowed", "inner", "outer"),
    [
        (at_least(1), [1, 2, LARGEST], [0, -1, LARGEST + 1, math.nan]),
        (at_least(0.5), [0.5, 1e300], [0.4, math.inf, math.nan]),
        (above(0), [1e-300, 5], [0, -1, math.inf]),
        (between(0, 1), [0, 0.5, 1], [-1e-9, 1.0001, math.nan]),
        (inside(0, 1), [0.5, 1e-9], [0, 1]),
        (Range(0, 1, open_high=True), [0, 0.99], [1]),
        (Range(-5, 5, never=0), [-5, 5, 1], [0, 6]),
        (Range(), [0, -1e300], [math.inf, -math.inf, math.nan]),
    ],
)
def test_numbers_inside_and_outside(allowed, inner, outer):
    assert all(value in allowed for value in inner)
    assert not any(value in allowed for value in outer)


@pytest.mark.parametrize(
    ("allowed", "whole", "text"),
    [
        (between(0, 1), False, "a number from 0 to 1"),
        (inside(0, 1), False, "a number above 0 and below 1"),
        (at_least(2), True, "a whole number of at least 2"),
        (Range(), False, "a finite number"),
        (Range(-LARGEST, LARGEST, never=0), True, "a whole number other than 0"),
        (Range(0, 1, open_low=True), False, "a number above 0 and up to 1"),
    ],
)
def test_words(allowed, whole, text):
    assert allowed.words(whole=whole) == text


def test_a_default_is_always_allowed():
    assert 0 in range_of("n_shuffles", whole=True, default=0)
    assert 0 not in range_of("n_shuffles", whole=True)
    assert -1 in range_of("k", whole=True, default=-1)
    assert 0 in range_of("k", whole=True, default=-1)
    assert range_of("k", whole=True, default=None) == range_of("k", whole=True)
    assert range_of("k", whole=True, default=True) == range_of("k", whole=True)


def test_a_name_that_is_listed_nowhere_takes_all_numbers():
    assert -3 in range_of("shift", whole=True)
    assert -3.5 in range_of("shift", whole=False)
    assert 0.5 in range_of("n_share", whole=False)  # beginnings are of whole numbers
    assert all(name.endswith("_") for name in BEGINNINGS)
    assert all(one.low <= one.high for one in RANGES.values())
