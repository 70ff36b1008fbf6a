"""Tables in text files as people have them: any encoding, separator and decimal sign; names stay what they are."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from .._errors import InputFileError, listed, warn

TABLE_SUFFIXES = (".csv", ".tsv", ".tab", ".txt")
SPREADSHEET_SUFFIXES = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")
HEAD = 50  # lines that tell how a table is cut
LONGEST_CELL = 2**17  # characters; that of the csv module is lifted for the whole process where scipy reads ARFF

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins like UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SEPARATORS = ",;\t|"
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


def read_text(path: Path) -> str:
    """Text of a file in UTF-8, UTF-16 or UTF-32, otherwise in Windows-1252, with a warning.

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
    raw = path.read_bytes()
    encoding = next((name for bom, name in _BOMS if raw.startswith(bom)), None) or _utf16_without_mark(raw) or "utf-8"
    try:
        text = raw.decode(encoding)
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
    header, rows, separator = read_cells(path, n_lines)
    keep = [i for i, name in enumerate(header) if name or any(row[i] for row in rows)]  # spreadsheets leave empty ones
    names = [header[i] or f"Unnamed: {i}" for i in keep]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        where = [i + 1 for i in keep if header[i] == twice[0]]
        raise InputFileError(
            f"'{path}' has {len(where)} columns named {twice[0]!r} (columns {listed(where, quoted=False)}). Rename "
            "all but one."
        )
    identifiers = set(identifiers)
    columns = {name: [row[i] for row in rows] for name, i in zip(names, keep, strict=True)}
    dots_are_thousands = separator != "," and any(
        _COMMA_NUMBER.fullmatch(v) for column in columns.values() for v in column
    )
    frame, mixed = {}, {}
    for name, values in columns.items():
        if name in identifiers:
            frame[name] = pd.Series([value or None for value in values], dtype=object)
        else:
            frame[name], reason = _convert(values, separator, dots_are_thousands)
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


def read_cells(path: Path, n_lines: int | None = None) -> tuple[list[str], list[list[str]], str]:
    """Header, rows and separator of a text file, all cells as text without surrounding blanks.

    Lines before the header that begin with ``#``, and rows whose only cell does, are remarks.

    Parameters
    ----------
    n_lines
        Lines that are looked at; None for all.
    """
    if not path.is_file():
        raise InputFileError(f"No file '{path}'. Check the path; relative ones start at '{Path.cwd()}'.")
    text = read_text(path)
    if n_lines is not None:
        text = "".join(itertools.islice(io.StringIO(text, newline=""), n_lines))
    return parse_cells(text, path)


def read_header(path: Path) -> list[str]:
    """Names of the columns of a text file, by its first lines."""
    return [name for name in read_cells(path, HEAD)[0] if name]


def parse_cells(text: str, path: Path) -> tuple[list[str], list[list[str]], str]:
    """What `read_cells` gives, of a text; `path` is for messages."""
    separator = None
    if match := re.match(r"\s*\"?sep=(.)\"?[^\S\r\n]*(?:\r\n|\r|\n)", text):  # Excel's own first line
        separator, text = match[1], text[match.end() :]
    remarks, text = _remarks(text)
    separator = separator or _find_separator(text)
    remarks = [line for line in remarks if not re.match(r"\s*#[#\s]", line)]
    if len(remarks) == 1 and _n_cells(remarks[0], separator) == _n_cells(text, separator):
        text = remarks[0] + text  # a header that begins with #, as in #sample
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


def is_missing(value: object) -> bool:
    """Whether a cell is empty or holds ``NA``, ``nan``, ``None`` and the like."""
    return value is None or str(value) in _MISSING


def _utf16_without_mark(raw: bytes) -> str | None:
    """UTF-16 that lost its mark: every second byte of Western text is zero."""
    sample = np.frombuffer(raw[: len(raw[:4000]) // 2 * 2], dtype=np.uint8)
    if not sample.size or not (sample == 0).any():
        return None
    even, odd = (sample[0::2] == 0).mean(), (sample[1::2] == 0).mean()
    return "utf-16-le" if odd > 0.7 and even < 0.1 else "utf-16-be" if even > 0.7 and odd < 0.1 else None


def _remarks(text: str) -> tuple[list[str], str]:
    """Lines before the header that begin with ``#``, and the rest; a text of such lines only has no remark."""
    lines = io.StringIO(text, newline="").readlines()
    n = next((i for i, line in enumerate(lines) if line.strip() and not line.lstrip('" \t').startswith("#")), 0)
    return [line for line in lines[:n] if line.strip()], "".join(lines[n:])


def _cut(text: str, separator: str, path: Path) -> list[list[str]]:
    """Cells of each row; refused where a double quote is not closed, which hides all rows behind it."""
    end, cells, begins = "\0end", [], 1  # no text that is read holds a zero
    lines = csv.reader(io.StringIO(f"{text}\n{end}", newline=""), delimiter=separator)
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
    if cells[-1] != [end]:
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
    lines = [line for line in text.splitlines()[:200] if line.strip()][:50]
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


def _floats(text: pd.Series, decimal: str = ".") -> tuple[pd.Series, str]:
    """Numbers of a column that is nothing else; those of more than 64 bits, which are mostly slips, leave it text."""
    numbers = [np.nan if value is None else float(value.replace(decimal, ".")) for value in text]
    for value, number in zip(text, numbers, strict=True):
        if np.isinf(number) and "inf" not in value.lower():
            return text, f"{value[:20]!r} is larger than any number that a computer has"
    return pd.Series(numbers, index=text.index), ""


def _convert(values: Sequence[str], separator: str, dots_are_thousands: bool) -> tuple[pd.Series, str]:
    """A column as what all its values are, and why a column that looks like numbers stays text."""
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
    is_nearly = len(odd) < len(present) / 2
    return text, f"{listed(dict.fromkeys(odd), 3)} among {len(present) - len(odd)} numbers" if is_nearly else ""
