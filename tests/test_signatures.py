"""Annotations, read as rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest

from spatialfm._arguments import (
    Array,
    Choice,
    Either,
    File,
    Fixed,
    Flag,
    Function,
    Instance,
    Many,
    Nothing,
    Number,
    Rule,
    Table,
    Text,
)
from spatialfm._ranges import at_least
from spatialfm._signatures import names_of, rules_of

Words = Literal["b", "c"]


class Own:
    """A class of this module."""


def asked(
    data: Sequence[float],
    names: Sequence[str],
    word: Literal["a"] = "a",
    alias: Words = "b",
    pair: tuple[str, str] = ("a", "b"),
    mixed: tuple[str, bool] = ("a", True),
    many: tuple[str, ...] = (),
    flag: bool = False,
    table: Mapping[str, bool] | None = None,
    path: str | PathLike | None = None,
    other: str | Path = "",
    maybe: str | None = None,
    call: Callable[[int], int] = abs,
    array: np.ndarray | None = None,
    anything: Any = None,
    own: Own | None = None,
    title: str = "x",
    text: str = "x",
    word_of: str = "x",
    unknown: Nowhere = None,  # noqa: F821
    *rest: int,
    **more: int,
) -> None:
    """Of this test."""


RULES = rules_of(asked)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("data", Many(Rule())),  # data, which the function checks itself
        ("names", Many(Text(False))),
        ("word", Choice(("a",))),
        ("alias", Choice(("b", "c"))),
        ("pair", Many(Text(False), 2)),
        ("mixed", Fixed((Text(False), Flag()))),
        ("many", Many(Text(False))),
        ("flag", Flag()),
        ("table", Either((Table(Text(False), Flag()), Nothing()))),
        ("path", Either((File(), Nothing()))),  # a path is a string too
        ("other", File()),
        ("maybe", Either((Text(False), Nothing()))),
        ("call", Function()),
        ("array", Either((Array(), Nothing()))),
        ("anything", Rule()),
        ("own", Either((Instance("Own", __name__), Nothing()))),
        ("title", Text(True)),
        ("text", Text(True)),
        ("word_of", Text(False)),
        ("unknown", Rule()),
    ],
)
def test_an_annotation_is_one_rule(name, expected):
    assert RULES[name] == expected


def test_names_that_stand_for_many_have_no_rule():
    assert "rest" not in RULES
    assert "more" not in RULES


def test_numbers_are_whole_or_not_and_the_range_of_the_annotation_goes_first():
    def counted(
        n: int = 1, share: float = 0.5, most: Annotated[int | None, at_least(8)] = None, rates: Sequence[float] = ()
    ) -> None: ...

    rules = rules_of(counted)
    assert rules["n"].whole
    assert not rules["share"].whole
    number, nothing = rules["most"].options
    assert nothing == Nothing()
    assert number.range == at_least(8)
    assert 8 in number.range
    assert 7 not in number.range
    assert isinstance(rules["rates"].of, Number)
    assert not rules["rates"].of.whole


def test_what_a_module_defines():
    names = names_of("spatialfm._record")
    assert names["AnnData"] == ("anndata", "AnnData")
    assert names["UNS"] == ("spatialfm._keys", "UNS")
    assert names_of("no_such_module_of_anyone") == {}
