"""What the frozen records that a user writes have in common: they check themselves, print themselves, and depart.

Fields are checked against their annotations as the arguments of public functions are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from html import escape
from typing import Any, ClassVar, TypeVar

import numpy as np

from ._arguments import Rule, shown
from ._errors import ArgumentError
from ._public import meant, taken
from ._signatures import rules_of

Self = TypeVar("Self", bound="Described")


_RULES: dict[type, dict[str, Rule]] = {}  # of each class, read once


class Described:
    """Base of frozen dataclasses whose fields a user may name in a dict instead."""

    __dataclass_fields__: ClassVar[dict[str, Any]]  # what makes those that derive from it dataclasses

    def __post_init__(self) -> None:
        given = {one.name: getattr(self, one.name) for one in fields(self)}
        for name, value in taken(type(self).__name__, given, _rules(type(self))).items():
            object.__setattr__(self, name, value)  # frozen

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names of the fields."""
        return tuple(one.name for one in fields(cls))

    @classmethod
    def of(cls: type[Self], value: Self | Mapping[str, Any] | None, base: Self | None = None) -> Self:
        """What an argument means: a record as it is, a dict as changes to `base`, None as `base` itself.

        Raises
        ------
        ArgumentError
            If the dict has a key that is not a field, or a value that a field cannot have.
        """
        base = cls() if base is None else base
        if isinstance(value, cls):
            return value
        return base.replace(**value) if isinstance(value, Mapping) else base

    def replace(self: Self, **changes: Any) -> Self:
        """The same with other values of some fields.

        Raises
        ------
        ArgumentError
            If there is no such field, or it cannot have that value.
        """
        for name in changes:
            if name not in self.names():
                raise ArgumentError(f"{type(self).__name__} has no field {name!r}. {meant(str(name), self.names())}")
        return type(self)(**{name: getattr(self, name) for name in self.names()} | changes)

    def changed(self) -> dict[str, object]:
        """Fields that differ from their defaults."""
        defaults = {one.name: one.default for one in fields(self)}
        values = {name: getattr(self, name) for name in self.names()}
        return {name: value for name, value in values.items() if not _same(value, defaults[name])}

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(_same(getattr(self, name), getattr(other, name)) for name in self.names())

    def __hash__(self) -> int:
        return hash((type(self), repr(self)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={_text(value)}' for name, value in self.changed().items())})"

    def __str__(self) -> str:
        width = max(map(len, self.names()))
        lines = [f"  {name:{width}}  {_text(getattr(self, name))}" for name in self.names()]
        return "\n".join([type(self).__name__, *lines])

    def _repr_html_(self) -> str:
        return html_table(type(self).__name__, {name: _text(getattr(self, name)) for name in self.names()})


def html_table(title: str, rows: Mapping[str, object]) -> str:
    """Names and values as a table of a notebook."""
    body = "".join(
        f"<tr><th style='text-align:left'>{escape(str(name))}</th>"
        f"<td style='text-align:left'>{escape(str(value))}</td></tr>"
        for name, value in rows.items()
    )
    return f"<table><caption>{escape(title)}</caption>{body}</table>"


def _rules(kind: type) -> dict[str, Rule]:
    if kind not in _RULES:
        _RULES[kind] = rules_of(kind)
    return _RULES[kind]


def _text(value: object) -> str:
    return repr(value) if is_dataclass(value) and not isinstance(value, type) else shown(value)


def _same(one: object, other: object) -> bool:
    if one is other:
        return True
    if hasattr(one, "shape") or hasattr(other, "shape"):
        return type(one) is type(other) and np.array_equal(np.asarray(one), np.asarray(other))
    return type(one) is type(other) and bool(one == other)
