"""Columns of text as what all of their values are: numbers, truth values, or text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from .._errors import listed

_MISSING = frozenset(
    ["", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"]
    + ["NULL", "NaN", "None", "n/a", "nan", "null"]  # as pandas has them
)
_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?inf", re.IGNORECASE)
_COMMA_NUMBER = re.compile(r"[+-]?[0-9]+,[0-9]+([eE][+-]?[0-9]+)?")
_THOUSANDS = {",": re.compile(r"[+-]?[0-9]{1,3}(,[0-9]{3})+"), ".": re.compile(r"[+-]?[0-9]{1,3}(\.[0-9]{3})+")}
_ZERO_LED = re.compile(r"0[0-9]+")
_TRUTH = {"true": True, "false": False}
_EXACT_DIGITS = 15  # whole numbers with more cannot all be distinguished once a missing value makes them floats
_ZERO_FIRST = re.compile(r"^0[0-9]", re.MULTILINE)
_LETTERS = b"0123456789+-.eE"  # of numbers, but for "inf"
_FEW = 0.5  # share of different values, up to which each is looked at once


def is_missing(value: object) -> bool:
    """Whether a cell is empty or holds ``NA``, ``nan``, ``None`` and the like."""
    return value is None or str(value) in _MISSING


def has_decimal_commas(values: Sequence[str]) -> bool:
    """Whether a value is a number with a decimal comma.

    Examples
    --------
    >>> has_decimal_commas(["a", "0,5"]), has_decimal_commas(["a,b", "0.5"])
    (True, False)
    """
    if "," not in "".join(values):
        return False
    return any(_COMMA_NUMBER.fullmatch(value) for value in set(values))


def converted(values: Sequence[str], separator: str, dots_are_thousands: bool) -> tuple[pd.Series, str]:
    """A column as what all its values are, and why a column that looks like numbers stays text.

    Parameters
    ----------
    values
        Cells of the column, bare; those of `is_missing` are missing.
    separator
        Of the table.
    dots_are_thousands
        Whether the table has decimal commas elsewhere, so that a dot may part thousands.

    Examples
    --------
    >>> converted(["1", "", "2.5"], ",", False)[0].tolist()
    [1.0, nan, 2.5]
    >>> converted(["007", "12"], ",", False)[0].tolist()
    ['007', '12']
    """
    if (numbers := _plain_numbers(values, dots_are_thousands)) is not None:
        return pd.Series(numbers), ""
    counts = Counter(values)
    if len(counts) > _FEW * len(values):
        return _convert(values, counts, separator, dots_are_thousands)
    once = list(counts)
    column, reason = _convert(once, counts, separator, dots_are_thousands)
    place = {value: number for number, value in enumerate(once)}
    return column.take([place[value] for value in values]).reset_index(drop=True), reason


def _plain_numbers(values: Sequence[str], dots_are_thousands: bool) -> np.ndarray | None:
    """Numbers of a column in which nothing but numbers and empty cells can be; None where that is to be looked at."""
    joined = "".join(values)
    if not joined.isascii() or joined.encode().translate(None, _LETTERS):
        return None
    whole = not any(letter in joined for letter in ".eE")
    if whole and (_ZERO_FIRST.search("\n".join(values)) or not joined):
        return None
    if whole and max(map(len, values)) > _EXACT_DIGITS or "." in joined and dots_are_thousands:
        return None
    try:
        if whole and all(values):
            return np.fromiter(map(int, values), np.int64, len(values))
        there = values if all(values) else [value or "nan" for value in values]
        numbers = np.fromiter(map(float, there), np.float64, len(values))
    except ValueError:
        return None
    return None if np.isinf(numbers).any() else numbers


def _floats(text: pd.Series, decimal: str = ".") -> tuple[pd.Series, str]:
    """Numbers of a column that is nothing else; those of more than 64 bits, which are mostly slips, leave it text."""
    numbers = [np.nan if value is None else float(value.replace(decimal, ".")) for value in text]
    for value, number in zip(text, numbers, strict=True):
        if np.isinf(number) and "inf" not in value.lower():
            return text, f"{value[:20]!r} is larger than any number that a computer has"
    return pd.Series(numbers, index=text.index), ""


def _convert(
    values: Sequence[str], counts: Counter[str], separator: str, dots_are_thousands: bool
) -> tuple[pd.Series, str]:
    """The same, each value by itself; `counts` has how often each is in the column."""
    present = [value for value in values if value not in _MISSING]
    text = pd.Series([None if value in _MISSING else value for value in values], dtype=object)
    if not present:
        return pd.Series(np.nan, index=text.index), ""
    if all(value.lower() in _TRUTH for value in present):
        truth = text.map(lambda value: _TRUTH[value.lower()], na_action="ignore")
        return truth.astype(bool if len(present) == len(values) else object), ""
    if any(_ZERO_LED.fullmatch(value) for value in present) and all(_INTEGER.fullmatch(value) for value in present):
        return text, ""
    if all(_INTEGER.fullmatch(value) for value in present):
        if any(len(value.lstrip("+-")) > _EXACT_DIGITS for value in present):
            return text, ""
        return pd.to_numeric(text), ""
    for sign, pattern in _THOUSANDS.items():
        decimal_comma = sign == "," and separator == ";"
        if all(pattern.fullmatch(value) or _INTEGER.fullmatch(value) for value in present):
            if (sign == "," and not decimal_comma) or (sign == "." and dots_are_thousands):
                example = next(value for value in present if sign in value)
                return text, f"{example!r}: is {sign!r} a decimal sign or does it part thousands?"
    if all(_NUMBER.fullmatch(value) for value in present):
        return _floats(text)
    if all(_NUMBER.fullmatch(value) or _COMMA_NUMBER.fullmatch(value) for value in present):
        if any("." in value for value in present):
            return text, "decimal points and commas in one column"
        return _floats(text, ",")
    odd = [value for value in present if not (_NUMBER.fullmatch(value) or _COMMA_NUMBER.fullmatch(value))]
    n_present, n_odd = (sum(counts[value] for value in set(some)) for some in (present, odd))
    is_nearly = n_odd < n_present / 2
    return text, f"{listed(dict.fromkeys(odd), 3)} among {n_present - n_odd} numbers" if is_nearly else ""
