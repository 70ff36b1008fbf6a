"""Arguments of public functions, checked against their signatures before any work.

What an argument may be is read from its annotation, as text: ``Literal`` gives the choices, ``int | None`` the types,
`_ranges` the limits that a type cannot express. Nothing is imported for it; AnnData and its like are recognised by the
names of their classes. `Rule.take` gives the value as the function wants it: Python's numbers for those of numpy, a
list for an Index.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence, Set, ValuesView
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from itertools import islice
from numbers import Integral, Real
from typing import Any

from ._instead import instead_of
from ._ranges import ANY_WHOLE, LARGEST, Range

SHOWN = 60  # characters of a value in a message


class Refused(Exception):
    """A value that does not fit; with a hint, which may be empty."""

    def __init__(self, hint: str = "", *, is_type: bool = True) -> None:
        super().__init__(hint)
        self.hint, self.is_type = hint, is_type


@dataclass(frozen=True)
class Rule:
    """What a value may be; this one, anything."""

    def words(self) -> list[str]:
        """The alternatives, for a message."""
        return ["anything"]

    def take(self, value: Any) -> Any:
        """The value for the function, or `Refused`."""
        return value


@dataclass(frozen=True)
class Nothing(Rule):
    def words(self) -> list[str]:
        return ["None"]

    def take(self, value: Any) -> Any:
        if value is not None:
            raise Refused
        return value


@dataclass(frozen=True)
class Text(Rule):
    empty: bool = False  # whether "" is one

    def words(self) -> list[str]:
        return ["a string"]

    def take(self, value: Any) -> Any:
        if not isinstance(value, str):
            raise Refused
        if not value and not self.empty:
            raise Refused("It is empty.", is_type=False)
        return value if type(value) is str else str(value)


@dataclass(frozen=True)
class File(Rule):
    def words(self) -> list[str]:
        return ["a path"]

    def take(self, value: Any) -> Any:
        if not isinstance(value, str | os.PathLike):
            pixels = len(getattr(value, "shape", ())) > 1 and not hasattr(value, "columns")
            raise Refused("Image2DModel.parse or Labels2DModel.parse make elements of arrays." if pixels else "")
        if not os.fspath(value) or "\0" in os.fsdecode(value):
            raise Refused(is_type=False)
        return value


@dataclass(frozen=True)
class Flag(Rule):
    def words(self) -> list[str]:
        return ["True or False"]

    def take(self, value: Any) -> Any:
        if not is_flag(value):
            raise Refused
        return bool(value)


@dataclass(frozen=True)
class Number(Rule):
    whole: bool
    range: Range

    def words(self) -> list[str]:
        return [self.range.words(whole=self.whole)]

    def take(self, value: Any) -> Any:
        if isinstance(value, Decimal) and not value.is_snan():  # an exact number, which Python counts to no other kind
            value = int(value) if value.is_finite() and value == int(value) and self.whole else float(value)
        if not is_number(value):
            raise Refused
        if self.whole and not isinstance(value, Integral):
            rounded = value in ANY_WHOLE and value == int(value) and int(value) in self.range
            raise Refused(f"Pass {int(value)}." if rounded else "")
        if value not in self.range:
            hint = f"The largest is {LARGEST:,}." if self.range.high == LARGEST < value else ""
            raise Refused(hint, is_type=False)
        if hasattr(value, "item"):
            return value.item()
        return value if isinstance(value, int | float) else int(value) if self.whole else float(value)  # a Fraction


@dataclass(frozen=True)
class Choice(Rule):
    values: tuple[Any, ...]

    def words(self) -> list[str]:
        return [repr(value) for value in self.values]

    def take(self, value: Any) -> Any:
        for one in self.values:
            if is_flag(one) == is_flag(value) and isinstance(value, type(one)) and value == one:
                return one
        names = [one for one in self.values if isinstance(one, str)]
        close = get_close_matches(value.lower(), names, n=1, cutoff=0.6) if isinstance(value, str) else []
        raise Refused(f"Did you mean {close[0]!r}?" if close else "", is_type=not isinstance(value, str))


@dataclass(frozen=True)
class Instance(Rule):
    """An object of a class, known by the name of the class and of its package."""

    name: str
    module: str  # dask.distributed re-exports what is distributed's

    def words(self) -> list[str]:
        package = {"pandas": "pandas ", "matplotlib": "matplotlib "}.get(self.module.partition(".")[0], "")
        article = "" if self.name == "Axes" else "an " if (package + self.name)[0] in "AEIOUaeiou" else "a "
        return [f"{article}{package}{self.name}"]

    def take(self, value: Any) -> Any:
        if not is_instance(value, self.name, *self.module.split(".")):
            raise Refused(instead_of(value, self.name))
        return value


@dataclass(frozen=True)
class Array(Rule):
    def words(self) -> list[str]:
        return ["an array"]

    def take(self, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return value
        shape = getattr(value, "shape", ())
        if not hasattr(value, "__array__") or not shape or (len(shape) == 1 and hasattr(value, "index")):
            raise Refused  # a Series is a column, not a table of numbers
        return value


@dataclass(frozen=True)
class Function(Rule):
    def words(self) -> list[str]:
        return ["a function"]

    def take(self, value: Any) -> Any:
        if not callable(value):
            raise Refused
        return value


@dataclass(frozen=True)
class Many(Rule):
    """A list, or what is as good as one: a tuple, an Index, a Series, an array of one dimension, the keys of a dict."""

    of: Rule
    length: int | None = None

    def words(self) -> list[str]:
        what = _plural(self.of)
        return [f"a list of {what}" if self.length is None else f"{self.length} {what}"]

    def take(self, value: Any) -> Any:
        if isinstance(value, str | bytes | bytearray | Mapping):
            alone = self.length is None and isinstance(value, str) and _fits(self.of, value)
            raise Refused(f"Pass [{shown(value)}]." if alone else "")
        if isinstance(value, set | frozenset):
            raise Refused("A set has no order: pass sorted(...).")
        if isinstance(value, Iterator):
            raise Refused("It can be walked over once only: pass list(...).")
        listed = isinstance(value, list | tuple)
        if not listed and not isinstance(value, Sequence | Set | ValuesView) and len(getattr(value, "shape", ())) != 1:
            raise Refused
        if type(self.of) is Rule:
            return list(value) if isinstance(value, ValuesView) else value
        items = list(value)
        if self.length is not None and len(items) != self.length:
            raise Refused(f"There are {len(items)}.", is_type=False)
        taken = [take_item(self.of, place, item) for place, item in enumerate(items)]
        return tuple(taken) if isinstance(value, tuple) else taken


@dataclass(frozen=True)
class Fixed(Rule):
    """A tuple of as many items as it has rules."""

    of: tuple[Rule, ...]

    def words(self) -> list[str]:
        return [f"{len(self.of)} values ({'; '.join(either(one.words()) for one in self.of)})"]

    def take(self, value: Any) -> Any:
        Many(Rule()).take(value)
        items = list(value)
        if len(items) != len(self.of):
            raise Refused(f"There are {len(items)}.", is_type=False)
        return tuple(
            take_item(rule, place, item) for place, (rule, item) in enumerate(zip(self.of, items, strict=True))
        )


@dataclass(frozen=True)
class Table(Rule):
    """A mapping; a dict, or anything with keys and values."""

    keys: Rule
    values: Rule

    def words(self) -> list[str]:
        if type(self.keys) is type(self.values) is Rule:
            return ["a dict"]
        return [f"a dict of {_plural(self.keys)} to {_plural(self.values).replace(' or None', ' (or None)')}"]

    def take(self, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise Refused
        taken = {}
        for key, item in value.items():
            try:
                name = self.keys.take(key)
            except Refused as refusal:
                raise Refused(
                    f"Its key {shown(key)} is not {either(self.keys.words())}. {refusal.hint}".strip()
                ) from None
            try:
                taken[name] = self.values.take(item)
            except Refused as refusal:
                words = either(self.values.words())
                raise Refused(f"{shown(item)} for {shown(key)} is not {words}. {refusal.hint}".strip()) from None
        return taken if isinstance(value, dict) else value


@dataclass(frozen=True)
class Either(Rule):
    options: tuple[Rule, ...]

    def words(self) -> list[str]:
        return [word for one in self.options for word in one.words()]

    def take(self, value: Any) -> Any:
        hints: list[str] = []
        is_type = True
        for one in self.options:
            try:
                return one.take(value)
            except Refused as refusal:
                hints, is_type = [*hints, refusal.hint], is_type and refusal.is_type
        if self._several(value):  # what is wrong is that they are several, and no item of them
            hints.sort(key=lambda hint: hint.startswith("Item "))
        raise Refused(next(filter(None, hints), ""), is_type=is_type)

    def _several(self, value: Any) -> bool:
        """Whether each item of a list could stand for it."""
        items = value if isinstance(value, list | tuple) else ()
        return bool(items) and all(any(_fits(one, item) for one in self.options) for item in items)


def take_item(rule: Rule, place: int, item: Any) -> Any:
    """One item of a list, with its place in the message."""
    try:
        return rule.take(item)
    except Refused as refusal:
        raise Refused(f"Item {place} is {shown(item)}. {refusal.hint}".strip(), is_type=refusal.is_type) from None


def _fits(rule: Rule, value: Any) -> bool:
    try:
        rule.take(value)
    except Refused:
        return False
    return True


def _plural(rule: Rule) -> str:
    """``strings``, ``numbers above 0``: words for several values of a rule."""
    if isinstance(rule, Either):
        return either([_plural(one) for one in rule.options])
    if isinstance(rule, Number):
        noun, _, rest = rule.words()[0].removeprefix("a ").partition("number")
        return f"{noun}numbers{rest}"
    kinds = {Text: "strings", Flag: "True or False", File: "paths", Rule: "values", Nothing: "None"}
    return kinds.get(type(rule), "") or either(rule.words()).removeprefix("an ").removeprefix("a ")


def scalar(value: Any) -> Any:
    """What an array of no dimension holds, as reductions and xarray give it."""
    is_array = type(value).__module__ == "numpy" and type(value).__name__ == "ndarray"
    return value.item() if is_array and value.ndim == 0 else value


def is_flag(value: Any) -> bool:
    """Python's or numpy's truth value."""
    return isinstance(value, bool) or (type(value).__module__ == "numpy" and type(value).__name__ in ("bool", "bool_"))


def is_number(value: Any) -> bool:
    """Python's, numpy's or any other real number, and no truth value."""
    return isinstance(value, Real) and not is_flag(value)


def is_instance(value: object, name: str, *package: str) -> bool:
    """Whether a value is of a class of this name from one of these packages, or of one derived from it."""
    return any(one.__name__ == name and one.__module__.partition(".")[0] in package for one in type(value).__mro__)


def either(words: Sequence[str]) -> str:
    """``a, b or None``."""
    words = list(dict.fromkeys(words))
    if "None" in words and len(words) > 2:
        rest = [word for word in words if word != "None"]
        return f"{', '.join(rest[:-1])} or {rest[-1]}, or None"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def shown(value: Any) -> str:
    """A value in a message: as it is written where that is short, otherwise what it is.

    Examples
    --------
    >>> shown("a"), shown([1, 2, 3, 4, 5]), shown(object()), shown(10**30)
    ("'a'", '[1, 2, 3, 4, ...]', 'an object', 'a number of about 31 digits')
    """
    if isinstance(value, bool | None):
        return repr(value)
    if isinstance(value, Real) and not hasattr(value, "shape"):
        if isinstance(value, int) and value.bit_length() > 64:
            return f"a number of about {int(value.bit_length() * 0.30103) + 1} digits"
        return repr(value)
    if isinstance(value, Real) or is_flag(value):  # numpy's
        return repr(value.item())
    if isinstance(value, str | bytes):
        text = repr(value[:SHOWN])
        return text if len(value) <= SHOWN else f"{text[:-1]}...{text[-1]}"
    if type(value) in (list, tuple, set, frozenset, dict):
        return _container(value)
    if isinstance(value, os.PathLike):
        return repr(os.fspath(value))
    name = getattr(type(value), "__name__", "object")
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return f"{'an' if name[:1] in 'AEIOUaeiou' else 'a'} {name}"


def _container(value: Collection[Any]) -> str:
    if isinstance(value, dict):
        inner = [f"{shown(key)}: {shown(item)}" for key, item in islice(value.items(), 4)]
    else:
        inner = [shown(item) for item in islice(value, 4)]
    text = ", ".join(inner) + (", ..." if len(value) > 4 else "")
    left, right = ("[", "]") if isinstance(value, list) else ("(", ")") if isinstance(value, tuple) else ("{", "}")
    return f"{left}{text}{',' if isinstance(value, tuple) and len(value) == 1 else ''}{right}"
