"""Tables in text files as people have them: any encoding, separator and decimal sign; names stay what they are."""

from __future__ import annotations

import codecs
import csv
import gc
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from .._errors import InputFileError, listed, repeated_names, warn
from .table_columns import converted, has_decimal_commas

TABLE_SUFFIXES = (".csv", ".tsv", ".tab", ".txt")
SPREADSHEET_SUFFIXES = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")
HEAD = 50  # lines that tell how a table is cut
LONGEST_CELL = 2**17  # characters; that of the csv module is lifted for the whole process where scipy reads ARFF
FIRST_BYTES = 2**18  # read of a file of which a few lines are wanted
_END = "\0end"  # no text that is read holds a zero

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins like UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SEPARATORS = ",;\t|"
_BREAKS = re.compile("[\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029]")  # what splitlines parts, beside line feeds
_BLANKS = " \t\r\x0b\x0c\x1c\x1d\x1e\x1f"  # of one byte, beside the line feed


def read_text(path: Path, n_lines: int | None = None) -> str:
    """Text of a file in UTF-8, UTF-16 or UTF-32, otherwise in Windows-1252, with a warning.

    Parameters
    ----------
    n_lines
        Lines that are wanted; None for all. Of a long file no more is read than they take.

    Raises
    ------
    InputFileError
        If it is a spreadsheet or no text.
    """
    if path.suffix.lower() in SPREADSHEET_SUFFIXES:
        raise InputFileError(
            f"'{path}' is a spreadsheet. Save it as 'CSV UTF-8', or pass a DataFrame: pandas.read_excel({str(path)!r}, "
            "dtype={<column of identifiers>: str}), which needs the package openpyxl."
        )
    if n_lines is not None:
        return _first_lines(path, n_lines)
    return _decoded(path.read_bytes(), path)


def _first_lines(path: Path, n: int) -> str:
    """Lines at the beginning of a file, each with its end; as many bytes are read as they take."""
    size = FIRST_BYTES
    while True:
        with path.open("rb") as file:
            raw = file.read(size)
            whole = not file.read(1)
        lines = io.StringIO(_decoded(raw, path, whole=whole), newline="").readlines()
        if whole or len(lines) > n:  # the last one may be cut
            return "".join(lines[:n])
        size *= 4


def _decoded(raw: bytes, path: Path, *, whole: bool = True) -> str:
    """Text of the bytes of a file, or of its beginning, which may end within a letter."""
    encoding = next((name for bom, name in _BOMS if raw.startswith(bom)), None) or _utf16_without_mark(raw) or "utf-8"
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(raw, final=whole)
    except UnicodeDecodeError:
        if encoding != "utf-8":
            raise InputFileError(
                f"'{path}' begins like {encoding} text but is damaged. Save it again as UTF-8."
            ) from None
        text = raw.decode("cp1252", errors="replace")
        odd = [word for word in re.split(r"[\s,;|\"]+", text) if not word.isascii()]
        if "\ufffd" not in text and "\0" not in text:
            warn(
                f"'{path}' is not UTF-8 and was read as Windows-1252 (Western Europe): it has {listed(odd[:3])}. "
                "Save it as UTF-8 if that is not right."
            )
    if "\0" in text or "\ufffd" in text:
        raise InputFileError(
            f"'{path}' is not a text file. Save the table as text: in a spreadsheet program, as 'CSV UTF-8'."
        )
    return text.lstrip("\ufeff")


def read_table(path: Path, identifiers: Iterable[str] = (), *, n_lines: int | None = None) -> pd.DataFrame:
    """Table of a text file with a header.

    Separator and decimal sign are found in the file. Columns become numbers or truth values only where every value is
    one; whole numbers with leading zeros stay text (``"007"``).

    Parameters
    ----------
    path
        File (``.csv``, ``.tsv``, ``.tab``, ``.txt``).
    identifiers
        Columns that always stay text: ``"001"``, ``"1.0"`` and ``"NA"`` are names there, and only empty
        cells are missing.
    n_lines
        Lines that are read; None for all.

    Raises
    ------
    InputFileError
        If the file is missing, a spreadsheet, or not text; if it has no header, two columns of one name, rows that
        are longer than the header, or a double quote that is not closed.

    Warns
    -----
    SpatialfmWarning
        If the encoding was guessed, a column of numbers stays text because some of its values are not numbers, or a
        cell holds what may be whole rows.
    """
    header, cells, separator = parse_columns(_text_of(path, n_lines), path)
    keep = [i for i, name in enumerate(header) if name or any(cells[i])]  # spreadsheets leave empty ones
    names = [header[i] or f"Unnamed: {i}" for i in keep]
    if twice := repeated_names(names):
        where = [i + 1 for i in keep if header[i] == twice[0]]
        raise InputFileError(
            f"'{path}' has {len(where)} columns named {twice[0]!r} (columns {listed(where, quoted=False)}). Rename "
            "all but one."
        )
    identifiers = set(identifiers)
    columns = {name: cells[i] for name, i in zip(names, keep, strict=True)}
    dots_are_thousands = separator != "," and any(map(has_decimal_commas, columns.values()))
    frame, mixed = {}, {}
    for name, values in columns.items():
        if name in identifiers:
            frame[name] = pd.Series([value or None for value in values], dtype=object)
        else:
            frame[name], reason = converted(values, separator, dots_are_thousands)
            if reason:
                mixed[name] = reason
    if mixed:
        shown = "; ".join(f"{name!r} ({reason})" for name, reason in list(mixed.items())[:5])
        more = f" and {len(mixed) - 5} more" if len(mixed) > 5 else ""
        warn(
            f"Columns of '{path}' that look like numbers are kept as text: {shown}{more}. "
            "If they are numbers, write them with a decimal point, and leave what is missing empty."
        )
    return pd.DataFrame(frame, columns=names)


def read_text_cells(path: Path, n_lines: int | None = None) -> tuple[list[str], list[list[str]], str]:
    """Header, rows and separator of a text file, all cells as text without surrounding blanks.

    Lines before the header that begin with ``#``, and rows whose only cell does, are remarks.

    Parameters
    ----------
    n_lines
        Lines that are looked at; None for all.
    """
    return parse_cells(_text_of(path, n_lines), path)


def _text_of(path: Path, n_lines: int | None) -> str:
    if not path.is_file():
        raise InputFileError(f"No file '{path}'. Check the path; relative ones start at '{Path.cwd()}'.")
    return read_text(path, n_lines)


def read_header(path: Path) -> list[str]:
    """Names of the columns of a text file, by its first lines."""
    return [name for name in read_text_cells(path, HEAD)[0] if name]


def parse_cells(text: str, path: Path) -> tuple[list[str], list[list[str]], str]:
    """What `read_text_cells` gives, of a text; `path` is for messages."""
    return _table_of(*_prepared(text), path)


def parse_columns(text: str, path: Path) -> tuple[list[str], list[Sequence[str]], str]:
    """The same, by columns: header, cells of each of its columns, and separator.

    Tables whose rows are all as long as the header are parted as a whole, which takes a fraction of the time.
    """
    text, separator = _prepared(text)
    with _uncollected():
        even = _even_columns(text, separator)
    if even is not None:
        return (*even, separator)
    header, rows, separator = _table_of(text, separator, path)
    return header, [[row[i] for row in rows] for i in range(len(header))], separator


def _even_columns(text: str, separator: str) -> tuple[list[str], list[Sequence[str]]] | None:
    """Header and columns of a table without anything to decide or refuse; None where row by row has to be looked at."""
    lines = csv.reader(io.StringIO(f"{text}\n{_END}", newline=""), delimiter=separator)
    try:
        rows = list(lines)
    except csv.Error:
        return None
    if rows.pop() != [_END] or lines.line_num != len(rows) + 1 or ('"' in text and _BREAKS.search(text)):
        return None  # a cell holds more than one line
    rows = rows if all(rows) else [row for row in rows if row]
    if len(rows) < 2 or len(rows[0]) < 2 or set(map(len, rows)) != {len(rows[0])}:
        return None
    header = [_bare(cell) for cell in rows[0]]
    columns = list(zip(*rows[1:], strict=True))
    if not text.isascii() or any(blank in text for blank in _BLANKS):
        columns = [bare_cells(column) for column in columns]
    if csv.field_size_limit() > LONGEST_CELL and max(max(map(len, column)) for column in columns) > LONGEST_CELL:
        return None
    if not header[-1] or not all(columns[0]) or "#" in text and any(cell[0] == "#" for cell in columns[0]):
        return None  # a column or rows that may be empty, or remarks
    return header, columns


@contextmanager
def _uncollected() -> Iterator[None]:
    """No search for garbage while a million rows are made: they hold text alone, and looking takes most of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def bare_cells(cells: Sequence[str]) -> Sequence[str]:
    """Cells without blanks around them.

    Examples
    --------
    >>> bare_cells([" a b", "c"])
    ['a b', 'c']
    """
    joined = "".join(cells)
    if joined.isascii() and not any(blank in joined for blank in (*_BLANKS, "\n")):
        return cells
    bare = {cell: _bare(cell) for cell in set(cells)}
    return [bare[cell] for cell in cells]


def _prepared(text: str) -> tuple[str, str]:
    """Text without remarks above its header, and its separator."""
    separator = None
    if match := re.match(r"\s*\"?sep=(.)\"?[^\S\r\n]*(?:\r\n|\r|\n)", text):  # Excel's own first line
        separator, text = match[1], text[match.end() :]
    remarks, text = _remarks(text)
    separator = separator or _find_separator(text)
    remarks = [line for line in remarks if not re.match(r"\s*#[#\s]", line)]
    if len(remarks) == 1 and _n_cells(remarks[0], separator) == _n_cells(text, separator):
        text = remarks[0] + text  # a header that begins with #, as in #sample
    return text, separator


def _table_of(text: str, separator: str, path: Path) -> tuple[list[str], list[list[str]], str]:
    """Header, rows and separator of a prepared text, looked at row by row."""
    cells = _cut(text, separator, path)
    cells = [line for line in cells if any(line)]
    if cells and len(cells[0]) > 1:
        cells = [cells[0], *(line for line in cells[1:] if not line[0].startswith("#") or any(line[1:]))]
    if not cells:
        raise InputFileError(f"'{path}' is empty. Save the table again, with a header.")
    header, rows = cells[0], cells[1:]
    while header and not header[-1] and not any(len(row) >= len(header) and row[len(header) - 1] for row in rows):
        header.pop()
    widths = [max((i + 1 for i, cell in enumerate(row) if cell), default=0) for row in rows]
    if (
        rows
        and all(len(row) == len(header) + 1 for row in rows)
        and all(row[0] for row in rows)
        and max(widths) > len(header)
    ):
        header.insert(0, "")  # as R writes row names
    if long := [i for i, width in enumerate(widths) if width > len(header)]:
        raise InputFileError(
            f"Row {long[0] + 1} of '{path}' has {widths[long[0]]} cells, but the header has {len(header)}"
            + (f", as {len(long) - 1} more rows" if len(long) > 1 else "")
            + f" (separator {separator!r}). Put text that holds the separator in double quotes."
        )
    width = len(header)
    return header, [(row + [""] * width)[:width] for row in rows], separator


def _utf16_without_mark(raw: bytes) -> str | None:
    """UTF-16 that lost its mark: every second byte of Western text is zero."""
    sample = np.frombuffer(raw[: len(raw[:4000]) // 2 * 2], dtype=np.uint8)
    if not sample.size or not (sample == 0).any():
        return None
    even, odd = (sample[0::2] == 0).mean(), (sample[1::2] == 0).mean()
    return "utf-16-le" if odd > 0.7 and even < 0.1 else "utf-16-be" if even > 0.7 and odd < 0.1 else None


def _remarks(text: str) -> tuple[list[str], str]:
    """Lines before the header that begin with ``#``, and the rest; a text of such lines only has no remark."""
    above = []
    for line in io.StringIO(text, newline=""):
        if line.strip() and not line.lstrip('" \t').startswith("#"):
            return [one for one in above if one.strip()], text[sum(map(len, above)) :]
        above.append(line)
    return [], text


def _cut(text: str, separator: str, path: Path) -> list[list[str]]:
    """Cells of each row; refused where a double quote is not closed, which hides all rows behind it."""
    cells, begins = [], 1
    lines = csv.reader(io.StringIO(f"{text}\n{_END}", newline=""), delimiter=separator)
    try:
        for line in lines:
            if max(map(len, line), default=0) > LONGEST_CELL:
                raise csv.Error(f"a cell has more than {LONGEST_CELL:,} characters")
            cells.append(line)
            begins, before = lines.line_num + 1, begins
    except csv.Error as error:
        raise InputFileError(
            f"'{path}' cannot be parted into cells from line {begins:,} below the remarks on: {error}. Is a double "
            "quote not closed there? Correct it, or save the table again."
        ) from None
    if cells[-1] != [_END]:
        raise InputFileError(
            f"A double quote of line {before:,} of '{path}' (remarks above the header not counted) is not closed, so "
            "that all rows behind it would be one cell. Close it, or take it away."
        )
    width = len(next((line for line in cells if line), []))
    held = [i for i, line in enumerate(cells) if any(_holds_a_row(cell, separator, width) for cell in line)]
    if held:
        warn(
            f"A cell in row {held[0]} of '{path}' has line breaks and, between them, as many {separator!r} as a row "
            "has. If a double quote is missing there, rows are lost: look at the file. If not, all is well."
        )
    return [[_bare(cell) for cell in line] for line in cells[:-1]]


def _holds_a_row(cell: str, separator: str, width: int) -> bool:
    lines = cell.splitlines()
    return len(lines) > 1 < width and any(line.count(separator) >= width - 1 for line in lines[1:])


def _n_cells(text: str, separator: str) -> int:
    first = text.lstrip().partition("\n")[0]
    try:
        return len(next(csv.reader([first], delimiter=separator), []))
    except csv.Error:
        return 0


def _find_separator(text: str) -> str:
    """The sign that cuts the header and most rows into equally many cells, more than one."""
    lines = text[:FIRST_BYTES].splitlines()
    lines = lines[:200] if len(lines) > 200 else text.splitlines()[:200]
    lines = [line for line in lines if line.strip()][:50]
    best, score = ",", (0.0, 0)
    for separator in _SEPARATORS:
        try:
            widths = [len(cells) for cells in csv.reader(lines, delimiter=separator) if any(cells)]
        except csv.Error:
            continue
        if not widths or widths[0] < 2:
            continue
        evenness = (sum(width == widths[0] for width in widths) / len(widths), widths[0])
        if evenness > score:
            best, score = separator, evenness
    return best


def _bare(cell: str) -> str:
    return cell.strip().strip("\u200b\ufeff").strip()
