"""When two names are spelled differently and read alike."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

from ._errors import TableError

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


def check_label_names(labels: pd.Series, argument: str = "label_key") -> None:
    """Refuse labels of cells that read alike, which would be two types, and missing ones that became text.

    Raises
    ------
    TableError
        If two labels differ in case or spaces alone, or one is what a missing value becomes as text.
    """
    read: dict[str, object] = {}
    column = f'adata.obs["{labels.name}"]'
    for name in labels.dropna().unique():
        first = read.setdefault(as_read(name), name)
        if as_read(name) in NO_NAME:
            n = int((labels == name).sum())
            raise TableError(
                f"obs[{labels.name!r}] ({argument}=) reads {name!r} in {n} of {len(labels)} cells, which would be a "
                f"type. If these have no label: {column} = {column}.astype(object).replace({name!r}, None)"
                "; if it is a type, rename it."
            )
        if str(first) != str(name):
            raise TableError(
                f"obs[{labels.name!r}] ({argument}=) spells {str(first)!r} and {str(name)!r}, which read alike and "
                f"would be two types. If they are one: {column} = {column}.astype(object).replace({name!r}, {first!r})"
                "; otherwise rename one."
            )
