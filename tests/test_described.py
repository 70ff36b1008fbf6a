"""Frozen records: they check themselves, compare by value, and say how they depart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from spatialfm._described import Described, html_table
from spatialfm._errors import ArgumentError


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Small(Described):
    """A record of this test."""

    width: int = 3
    name: str = "x"
    values: np.ndarray | None = None


def test_fields_are_checked_against_their_annotations():
    assert Small(width=np.int64(4)).width == 4
    with pytest.raises(ArgumentError, match="width"):
        Small(width="4")


def test_a_dict_changes_the_base_and_a_record_takes_its_place():
    base = Small(width=7)
    assert Small.of(None) == Small()
    assert Small.of(None, base) is base
    changed = Small.of({"name": "y"}, base)
    assert (changed.width, changed.name) == (7, "y")
    assert Small.of(Small(name="z"), base) == Small(name="z")


def test_an_unknown_field_is_answered_with_the_one_that_was_meant():
    with pytest.raises(ArgumentError, match=r"Small has no field 'widht'\..*width"):
        Small.of({"widht": 4})


def test_arrays_are_compared_by_value_and_numbers_by_kind():
    one, other = Small(values=np.array([1.0, 2])), Small(values=np.array([1.0, 2]))
    assert one == other
    assert hash(one) == hash(other)
    assert one != Small(values=np.array([1.0, 3]))
    assert one != Small()
    assert Small() != "Small()"


def test_what_is_said_is_what_differs():
    assert Small().changed() == {}
    assert repr(Small()) == "Small()"
    assert repr(Small(width=4)) == "Small(width=4)"
    assert str(Small(width=4)).splitlines()[:2] == ["Small", "  width   4"]


def test_markup_in_a_name_is_text():
    assert "<td style='text-align:left'>&lt;b&gt;</td>" in html_table("t", {"a": "<b>"})
