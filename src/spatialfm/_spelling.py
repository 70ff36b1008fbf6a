"""When two names are spelled differently and read alike."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ._errors import SpatialfmError, TableError, counted, warn

if TYPE_CHECKING:
    import pandas as pd

Name = TypeVar("Name")

TEXT_OF_MISSING = frozenset({"", "nan", "<na>", "nat"})  # what a missing value becomes as text, and nothing else is
NO_NAME = TEXT_OF_MISSING | {"none", "null"}  # of a patient or a type, which nobody calls so
DOUBTFUL = frozenset({"na", "n/a", "unknown", "missing", "not available", "-", "?"})  # may be meant for a missing value


def as_read(name: object) -> str:
    r"""A name as it is read: without case, signs that cannot be seen, and spaces that do not part words.

    Examples
    --------
    >>> as_read(" T\u200b  Cell"), as_read("t cell")
    ('t cell', 't cell')
    """
    text = unicodedata.normalize("NFKC", str(name)).replace("\ufeff", "").replace("\u200b", "")
    return " ".join(text.split()).casefold()


def by_reading(names: Iterable[Name], read: Callable[[Name], str] = as_read) -> dict[str, list[Name]]:
    """Names by how they are read, in their order; several of one reading are spellings of one name.

    Examples
    --------
    >>> by_reading(["a", "B", "A "])
    {'a': ['a', 'A '], 'b': ['B']}
    """
    names_of: dict[str, list[Name]] = {}
    for name in names:
        names_of.setdefault(read(name), []).append(name)
    return names_of


def order_of_names(names: Iterable[object]) -> np.ndarray:
    """Places of the names in their order: what is drawn from rows so ordered is independent of the order of the table.

    Examples
    --------
    >>> order_of_names(["b", "c", "a"])
    array([2, 0, 1])
    """
    return np.argsort(np.asarray(names, dtype=str), kind="stable")


def check_label_names(labels: pd.Series, argument: str = "label_key") -> None:
    """Refuse labels of cells that read alike, which would be two types, and missing ones that became text.

    Raises
    ------
    TableError
        If two labels differ in case or spaces alone, or one is what a missing value becomes as text.
    """
    column = f'adata.obs["{labels.name}"]'
    name, first = faulty_label(labels.dropna().unique())
    if first is not None:
        raise TableError(
            f"obs[{labels.name!r}] ({argument}=) spells {str(first)!r} and {str(name)!r}, which read alike and "
            f"would be two types. If they are one: {column} = {column}.astype(object).replace({name!r}, {first!r})"
            "; otherwise rename one."
        )
    if name is not None:
        n = int((labels == name).sum())
        raise TableError(
            f"obs[{labels.name!r}] ({argument}=) reads {name!r} in {n} of {len(labels)} cells, which would be a "
            f"type. If these have no label: {column} = {column}.astype(object).replace({name!r}, None)"
            "; if it is a type, rename it."
        )


def faulty_label(labels: Iterable[Name]) -> tuple[Name | None, Name | None]:
    """The first label that names no type, or reads like one before it, and which that is; two None if all are right.

    Examples
    --------
    >>> faulty_label(["B", "nan"]), faulty_label(["B", "b "]), faulty_label(["B", "T"])
    (('nan', None), ('b ', 'B'), (None, None))
    """
    for reading, names in by_reading(labels).items():
        if reading in NO_NAME:
            return names[0], None
        if others := [other for other in names if str(other) != str(names[0])]:
            return others[0], names[0]
    return None, None


def check_spelling(
    names: pd.Series, argument: str, error: type[SpatialfmError] = TableError, table: str = "adata.obs"
) -> None:
    """Refuse names that read alike, which would count as several; warn of those that may be one.

    Parameters
    ----------
    names
        Of patients or samples; its name is that of the column.
    argument
        What names the column.
    error
        What is raised.
    table
        How the user writes the table that has the column.

    Raises
    ------
    SpatialfmError
        If two names differ in case, spaces, or in being number or text; or if missing values became text.

    Warns
    -----
    SpatialfmWarning
        If two names differ in separators and leading zeros alone, as ``"P-1"`` and ``"P01"`` do.
    """
    alike = by_reading(names.dropna().unique(), name_read)
    what = {"patient_key": "patient", "library_key": "sample"}.get(argument, "name")
    column = f'{table}["{names.name}"]'
    for read, same in alike.items():
        if read in NO_NAME:
            raise error(
                f"obs[{names.name!r}] ({argument}=) reads {same[0]!r} where it has no {what}: as text that is one "
                f"{what} more. Make them missing: {column} = {column}.astype(object).replace({same[0]!r}, None)."
            )
    twice = [same for same in alike.values() if len(same) > 1]
    if twice:
        changes = {str(other): str(_kept(same)) for same in twice for other in same if str(other) != str(_kept(same))}
        some = dict(list(changes.items())[:6])
        remedy = f"{column} = {column}.astype(str)" + (f".replace({some})" if some else "")
        raise error(
            f"obs[{names.name!r}] ({argument}=) spells {counted(len(twice), what)} in several ways, first "
            f"{' and '.join(repr(_plain(name)) for name in twice[0])}, each of which would count as a {what}. If they "
            f"mean the same, write them alike: {remedy}{' (and so on)' if len(changes) > 6 else ''}; otherwise "
            "rename one."
        )
    if doubtful := [name for read, (name, *_) in alike.items() if read in DOUBTFUL]:
        warn(f"obs[{names.name!r}] ({argument}=) holds {doubtful[0]!r}, which counts as one {what}.")
    loose = by_reading(alike, _loosely)
    if near := [[alike[read][0] for read in same] for same in loose.values() if len(same) > 1]:
        warn(
            f"obs[{names.name!r}] ({argument}=) holds {' and '.join(repr(_plain(name)) for name in near[0])}, which "
            f"count as different {what}s{'' if len(near) == 1 else f', and {len(near) - 1} more such'}. If they mean "
            "the same, write them alike."
        )


def name_read(name: object) -> str:
    """A name as it is read: 1, "1", 1.0 and " 1.0" are one."""
    return re.sub(r"^([+-]?\d+)\.0+$", r"\1", as_read(name))


def _loosely(read: str) -> str:
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"[\s_./-]+", "", read)) if not _is_decimal(read) else read


def _is_decimal(read: str) -> bool:
    """Whether a separator is part of a number, or between numbers, where ``1-11`` is not ``11-1``."""
    return re.search(r"\d[\s_./-]+\d", read) is not None


def _kept(same: list[object]) -> object:
    """The spelling that has no spaces and no decimals."""
    return min(same, key=lambda name: (str(name) != str(name).strip(), len(str(name)), str(name)))


def _plain(name: object) -> object:
    return name.item() if isinstance(name, np.generic) else name


def words_in(name: object) -> set[str]:
    """Words of a column's name, or of a value, in small letters.

    Examples
    --------
    >>> sorted(words_in("OS_months")), sorted(words_in("vitalStatus2"))
    (['months', 'os'], ['status', 'vital'])
    """
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", str(name)).lower()
    return {word for word in re.split(r"[^a-z]+", parted) if word}
