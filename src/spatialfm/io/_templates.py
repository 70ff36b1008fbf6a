"""Paths made of the columns of a table: ``"{slide}.ome.tiff"``."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from string import Formatter

import pandas as pd

from .._errors import ArgumentError, ClinicalError, SpatialfmWarning, listed
from ..pp.joins import text_keys
from ..pp.table_columns import is_missing
from ..pp.tables import read_table


@dataclass(frozen=True)
class PathSource:
    """Where the paths of one kind come from: a column, or a template."""

    said: str  # as messages call it
    texts: tuple[object, ...]  # one per row; empty or missing for none


@dataclass(frozen=True)
class PathTemplate:
    """Text between the braces and before them, and the columns in them."""

    argument: str
    text: str
    parts: tuple[tuple[str, str | None], ...]  # text, then the column behind it

    @property
    def columns(self) -> list[str]:
        """Columns that the braces name, each once."""
        return list(dict.fromkeys(column for _, column in self.parts if column is not None))

    def filled(self, texts: pd.DataFrame) -> PathSource:
        """The path of each row; none where a column that it needs is empty."""
        paths = []
        for row in texts.to_dict("records"):
            whole = all(row[column] for column in self.columns)
            paths.append(
                "".join(text + (row[column] if column else "") for text, column in self.parts) if whole else ""
            )
        return PathSource(f"{self.argument}={self.text!r}", tuple(paths))


def parse_template(argument: str, text: str) -> PathTemplate:
    """The parts of a template.

    Raises
    ------
    ArgumentError
        If braces are open or empty, say how to write a value, or if there are none: then a column may be meant.
    """
    try:
        parsed = list(Formatter().parse(text))
    except ValueError as error:
        raise ArgumentError(
            f"{argument}={text!r} is not a template: {error}. Name a column in braces, as {{slide}}; a brace of the "
            "path itself is written twice."
        ) from None
    odd = next(
        (name for _, name, spec, conversion in parsed if name is not None and (not name or spec or conversion)), None
    )
    if odd is not None:
        raise ArgumentError(
            f"{argument}={text!r}: braces hold the name of a column and nothing else, as {{slide}}. Text is taken as "
            "it is in the table, with leading zeros."
        )
    if all(name is None for _, name, _, _ in parsed):
        raise ArgumentError(
            f"{argument}={text!r} names no column in braces, so that all samples would have one file. A column with "
            f"whole paths is {argument}_column={text!r}."
        )
    return PathTemplate(argument, text, tuple((literal, name) for literal, name, _, _ in parsed))


def check_columns(templates: Sequence[PathTemplate], columns: Sequence[str]) -> None:
    """Refuse templates with columns that the table does not have, all at once."""
    problems = []
    for template in templates:
        for name in template.columns:
            if name not in columns:
                near = difflib.get_close_matches(name, [str(column) for column in columns], n=1)
                problems.append(
                    f"{{{name}}} of {template.argument}=" + (f" (did you mean {{{near[0]}}}?)" if near else "")
                )
    if problems:
        raise ClinicalError(
            f"The cohort table has no column for {listed(problems, 12, quoted=False)}; it has {listed(columns, 12)}."
        )


def text_columns(
    table: pd.DataFrame | str | PathLike, frame: pd.DataFrame, columns: Sequence[str], names: Sequence[str]
) -> pd.DataFrame:
    """Columns as text, as the file has them (``007``); of a frame, whole numbers without decimals. ``None`` for none.

    Parameters
    ----------
    table
        What the user passed.
    frame
        The same as it was read.
    columns
        Columns that are wanted.
    names
        Columns with names of samples or patients, of which none means a missing value but an empty one.
    """
    if not columns:
        return pd.DataFrame(index=range(len(frame)))
    if isinstance(table, pd.DataFrame):
        texts = {name: text_keys(frame[name], repr(name), ClinicalError)[0] for name in columns}
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SpatialfmWarning)  # said when the table was read
            texts = dict(read_table(Path(table).expanduser(), columns)[list(columns)].items())
    missing: Mapping[str, pd.Series] = {
        name: values.isna() | ((name not in names) & values.map(is_missing)) for name, values in texts.items()
    }
    return pd.DataFrame(
        {name: values.where(~missing[name].to_numpy(dtype=bool), None).to_numpy() for name, values in texts.items()},
        columns=list(columns), dtype=object,
    )  # fmt: skip
