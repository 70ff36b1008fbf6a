"""Channel names as users have them: lists, text files with one name per line, tables with one row per channel."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from .._errors import InputFileError, PanelError, listed
from ..pp.tables import parse_cells, read_text

if TYPE_CHECKING:
    import pandas as pd

_NAME_COLUMNS = frozenset(
    ["name", "names", "channel", "channels", "channelname", "channelnames", "marker", "markers", "markername"]
    + ["markernames", "target", "targets", "targetname", "antibody", "antigen", "protein", "proteinname", "biomarker"]
)

_NUMBER_COLUMNS = frozenset(
    ["", "number", "no", "nr", "index", "idx", "order", "position", "page", "plane", "channel", "ch", "channelnumber"]
    + ["channelno", "channelindex", "channelid", "channelorder", "chnumber", "id"]
)


def given_channel_names(
    given: Sequence[str] | Mapping[str | int, str] | pd.DataFrame | str | PathLike | None,
) -> list[str] | dict[str | int, str] | None:
    """Meaning of the argument `channel_names`: names of all channels, or new names of some; None if not given.

    Raises
    ------
    PanelError
        If a name is missing, or a table has no column of names or several that differ.
    InputFileError
        If a path is not a text file.
    """
    if given is None:
        return None
    if isinstance(given, Mapping):
        return {key: str(name).strip() for key, name in given.items()}
    if isinstance(given, str | PathLike):
        return read_names(Path(given).expanduser())
    if hasattr(given, "columns"):  # a DataFrame: to walk over it would give its column names
        columns = {str(name): given.iloc[:, i].tolist() for i, name in enumerate(given.columns)}
        return _names_in(columns, "the table in channel_names", "channel_names")
    if isinstance(given, set | frozenset):
        raise PanelError("channel_names is a set, which has no order. Pass a list in the file's order.")
    return _checked(list(given), "channel_names")


def read_names(path: Path) -> list[str]:
    """Channel names of a file: one a line (``#`` begins a remark), or the column of names of a table."""
    if not path.is_file():
        raise InputFileError(
            f"channel_names={str(path)!r} is not a file. Pass a list of names, a text file with one name per line, or "
            "a table with a column of names."
        )
    text = read_text(path)
    if text.lstrip()[:1] in ("{", "[", "<"):
        raise PanelError(
            f"'{path}' is not a list of channel names: it begins with {text.lstrip()[:12]!r}, as JSON or XML does. "
            "Pass the names as a list, as a text file with one name per line, or as a table with a column of names."
        )
    if path.suffix.lower() not in (".csv", ".tsv", ".tab") and not _is_table(text, path):
        lines = [line.strip() for line in text.splitlines()]
        names = [_unquoted(line) for line in lines if line and not line.startswith("#")]
        if names and _is_name_column(names[0]):
            names = names[1:]
        return _checked(names, f"'{path}'")
    header, rows, _ = parse_cells(text, path)
    if not rows:  # all names in one line
        return _checked(header, f"'{path}'")
    if len(header) == 1 and not _is_name_column(header[0]):
        return _checked([header[0], *(row[0] for row in rows)], f"'{path}'")
    if twice := [name for name in header if name and header.count(name) > 1]:
        raise PanelError(f"'{path}' has two columns called {twice[0]!r}. Rename one.")
    columns = {name: [row[i] for row in rows] for i, name in enumerate(header)}
    return _names_in(columns, f"'{path}'", f"pandas.read_csv({str(path)!r}, sep=None, engine='python')")


def _unquoted(line: str) -> str:
    """A name without the quotes and separators that programs leave around it."""
    line = line.rstrip(",;").rstrip()
    return line[1:-1].strip() if len(line) > 1 and line[0] == line[-1] and line[0] in "\"'" else line


def _is_table(text: str, path: Path) -> bool:
    """Whether a file that is not called a table is one: its first line is a header with a column of names."""
    if not text.strip():
        return False
    header, _, _ = parse_cells(text, path)
    return len(header) > 1 and (any(map(_is_name_column, header)) or "\t" in text.partition("\n")[0])


def _is_name_column(name: str) -> bool:
    return re.sub(r"[^a-z]", "", str(name).lower()) in _NAME_COLUMNS


def _names_in(columns: Mapping[str, list], what: str, call: str) -> list[str]:
    name_columns = {name: values for name, values in columns.items() if _is_name_column(name)}
    if not name_columns:
        raise PanelError(
            f"None of the columns of {what} has a usual name of a column of channel names ({listed(columns)}). "
            f"Choose one: channel_names={call}[<column>]; or, if its first row is not a header, add one, such as "
            f"{', '.join(['number', 'name', 'other', 'more'][: max(len(columns), 1)])}."
        )
    first = next(iter(name_columns))
    if any([str(a) for a in values] != [str(b) for b in name_columns[first]] for values in name_columns.values()):
        shown = ", ".join(f"{name!r} ({listed(values[:3], quoted=False)} ...)" for name, values in name_columns.items())
        calls = " or ".join(f"channel_names={call}[{name!r}]" for name in name_columns)
        raise PanelError(f"Which column of {what} names the channels: {shown}? Pass {calls}.")
    if number := next((name for name, values in columns.items() if _is_other_order(name, values)), None):
        raise PanelError(
            f"The rows of {what} are in another order than its column {number!r} states "
            f"({listed(columns[number][:4], quoted=False)} ...). Which is that of the channels in the file? Pass "
            f"channel_names={call}.sort_values({number!r})[{first!r}] for the numbers', or "
            f"channel_names={call}[{first!r}] for the rows'."
        )
    return _checked(name_columns[first], f"column {first!r} of {what}")


def _is_other_order(name: str, values: list) -> bool:
    """Whether a column numbers the channels, from 0 or 1, in another order than that of the rows."""
    if re.sub(r"[^a-z]", "", name.lower()) not in _NUMBER_COLUMNS:
        return False
    try:
        numbers = [int(float(value)) for value in values]
    except (TypeError, ValueError, OverflowError):
        return False
    low = min(numbers, default=0)
    return low in (0, 1) and numbers != sorted(numbers) and sorted(numbers) == list(range(low, low + len(numbers)))


def _checked(names: list, what: str) -> list[str]:
    texts = ["" if name is None or name != name else str(name).strip() for name in names]  # NaN is not itself
    if not texts:
        raise PanelError(f"{what} contains no name. Pass one for each channel, in the file's order.")
    if empty := [i for i, text in enumerate(texts) if not text]:
        raise PanelError(
            f"{what} has no name for channel {listed(empty, quoted=False)} (counted from 0). "
            "Give every channel a name, in the file's order."
        )
    return texts
