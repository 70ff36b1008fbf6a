"""Channel names as users have them: lists, text files with one name per line, tables with one row per channel."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from .._errors import InputFileError, PanelError, counted, listed, repeated_names
from ..pp.table_columns import is_missing
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

# of the columns of names, those that hold them where another column numbers the channels or names their metals
_FIRST_COLUMNS = ("name", "markername", "channelname", "marker")
_CHANNEL_COLUMNS = ("channel", "channels")
TRUE_WORDS = frozenset(["1", "1.0", "true", "t", "yes", "y"])
FALSE_WORDS = frozenset(["0", "0.0", "false", "f", "no", "n"])


class PanelNames(list[str]):
    """Names of all channels in the file's order, of which a panel leaves some out."""

    def __init__(self, names: Iterable[str], left_out: Iterable[int] = ()) -> None:
        super().__init__(names)
        self.left_out = tuple(left_out)  # positions

    @property
    def places(self) -> list[int]:
        """Positions of the channels that stay."""
        return [i for i in range(len(self)) if i not in self.left_out]

    @property
    def kept(self) -> list[str]:
        """Names of the channels that stay."""
        return [self[i] for i in self.places]


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
    if isinstance(given, str) and len(parts := _parts(given)) > 1 and not Path(given).expanduser().exists():
        raise PanelError(
            f"channel_names={given!r} is one text with {len(parts)} names. Pass a list: channel_names={parts}."
        )
    if isinstance(given, str | PathLike):
        return read_names(Path(given).expanduser())
    if hasattr(given, "columns"):  # a DataFrame: to walk over it would give its column names
        columns = {str(name): given.iloc[:, i].tolist() for i, name in enumerate(given.columns)}
        return _names_in(columns, "the table in channel_names", "channel_names")
    if isinstance(given, set | frozenset):
        raise PanelError("channel_names is a set, which has no order. Pass a list in the file's order.")
    names = _checked(list(given), "channel_names")
    if len(names) == 1 and len(parts := _parts(names[0])) > 1:
        raise PanelError(
            f"channel_names={names} is one name with {counted(len(parts) - 1, 'comma')}. If these are several names, "
            f"pass channel_names={parts}."
        )
    return names


def read_names(path: Path) -> PanelNames:
    """Channel names of a file: one per line (``#`` begins a remark), or the column of names of a table.

    Columns ``keep`` and ``remove`` of a table say which channels are left out.
    """
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
        lines = [line for line in lines if line and not line.startswith("#")]
        _refuse_lists(lines, path)
        names = [_unquoted(line) for line in lines]
        if names and _is_name_column(names[0]):
            names = names[1:]
        return PanelNames(_checked(names, f"'{path}'"))
    header, rows, _ = parse_cells(text, path)
    if not rows and any(map(_is_name_column, header)):
        raise PanelError(f"'{path}' has a header ({listed(header)}) and no name below it. Add a row for each channel.")
    if not rows and len(header) > 1:
        raise PanelError(
            f"'{path}' has {len(header)} names in one line: a header, or a list? Write one name per line, or pass "
            f"channel_names={header}."
        )
    if not rows:
        return PanelNames(_checked(header, f"'{path}'"))
    if len(header) == 1 and not _is_name_column(header[0]):
        return PanelNames(_checked([header[0], *(row[0] for row in rows)], f"'{path}'"))
    if twice := repeated_names(filter(None, header)):
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


def _parts(text: str) -> list[str]:
    """Names in one text, parted by commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _refuse_lists(lines: Sequence[str], path: Path) -> None:
    """Refuse a text file with several names in a line: each line would become one name."""
    held = [line for line in lines if _unquoted(line) == line.rstrip(",;").rstrip() and len(_parts(line)) > 1]
    if held:
        names = _parts(held[0]) if len(lines) == 1 else []
        fix = (
            f"Write one name per line, or pass channel_names={names}."
            if names
            else "If it is a table, call it .csv and give it a header; a name that has a comma is written in quotes."
        )
        raise PanelError(f"'{path}' has commas in {counted(len(held), 'line')}, such as {held[0][:60]!r}. {fix}")


def _left_out(columns: Mapping[str, list], what: str) -> list[int]:
    """Positions of the channels that ``keep`` or ``remove`` leave out.

    Raises
    ------
    PanelError
        If a cell is neither true nor false, or nothing is left.
    """
    kept, n = {}, len(next(iter(columns.values()), []))
    for name, values in columns.items():
        word = name.strip().lower()
        if word not in ("keep", "remove"):
            continue
        texts = ["" if is_missing(value) or value != value else str(value).strip().lower() for value in values]
        empty_is = "" if word == "keep" and any(texts) else "1" if word == "keep" else "0"
        texts = [text or empty_is for text in texts]
        if odd := [i for i, text in enumerate(texts) if text not in TRUE_WORDS | FALSE_WORDS]:
            raise PanelError(
                f"{what} has {str(values[odd[0]])!r} in column {name!r} for channel {odd[0]} (counted from 0), which "
                "is neither 1 nor 0 (TRUE nor FALSE). Correct it."
            )
        kept[word] = [(text in TRUE_WORDS) == (word == "keep") for text in texts]
    out = [i for i in range(n) if not all(column[i] for column in kept.values())]
    if n and len(out) == n:
        raise PanelError(f"{what} leaves out all of its channels. Correct its column {listed(kept)}.")
    return out


def _names_in(columns: Mapping[str, list], what: str, call: str) -> PanelNames:
    name_columns = {name: values for name, values in columns.items() if _is_name_column(name)}
    words = {name: re.sub(r"[^a-z]", "", name.lower()) for name in name_columns}
    if any(word in _FIRST_COLUMNS for word in words.values()):
        name_columns = {name: one for name, one in name_columns.items() if words[name] not in _CHANNEL_COLUMNS}
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
    out = _left_out(columns, what)
    names = [f"left out {i}" if i in out else name for i, name in enumerate(name_columns[first])]
    return PanelNames(_checked(names, f"column {first!r} of {what}"), out)


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
