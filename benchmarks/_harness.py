"""What every benchmark shares: its arguments, its tables, and how they come into a page of the docs.

A script prints its tables with `head` and `row` (or `table`). With ``--write docs/benchmarks.md`` those that the page
holds are put there, too: each stands behind a line ``<!-- table: niches.py -->``, or with a part of the script,
``<!-- table: patients.py crc -->``, and is known by its header; two of one header come in their order. A page may leave
out columns of a table. Tables of parts that were not run stay as they are, as does all text.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import subprocess
import sys
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_PRINTED: list[tuple[str, list[list[str]]]] = []  # part of the script, and the rows of a table, the header first
_PART = [""]


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Arguments of a benchmark, with ``--write``."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--write", type=Path, metavar="PAGE", help="put the tables into this page of the docs, too")
    return made


def quiet() -> None:
    """No bars, no information, no warnings between the tables."""
    import spatialfm as sfm

    warnings.simplefilter("ignore")
    logging.disable(logging.INFO)
    sfm.settings.progress, sfm.settings.verbosity = False, 0


def part(name: str) -> None:
    """The tables that follow belong to this part of the script."""
    _PART[0] = name


def titled(title: str, *names: str) -> None:
    """Begin a table below a title."""
    print(f"\n### {title}")
    head(*names)


def head(*names: str) -> None:
    """Begin a table."""
    print()
    _PRINTED.append((_PART[0], []))
    row(*names)
    print("| " + " | ".join(["---"] * len(names)) + " |", flush=True)


def row(*cells: object) -> None:
    """A row of the table that was begun last."""
    texts = [str(cell) for cell in cells]
    _PRINTED[-1][1].append(texts)
    print(line(texts), flush=True)


def table(rows: Iterable[Mapping[str, object]]) -> None:
    """A whole table, of rows with the same keys."""
    for number, one in enumerate(rows):
        if number == 0:
            head(*one)
        row(*one.values())


def line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def p_text(p: float) -> str:
    return "below 0.001" if p < 0.001 else f"{p:.3f}"


def interval(low: float, high: float, digits: int = 2) -> str:
    """``0.12 to 0.34``."""
    return f"{low:.{digits}f} to {high:.{digits}f}"


def less(differences: pd.DataFrame, first: str, second: str) -> dict[str, float] | None:
    """Macro F1 of `first` less that of `second`, interval and p, whichever way ``uns[...]["differences"]`` has them."""
    for one, other, sign in ((first, second, 1), (second, first, -1)):
        pair = (differences["score"] == "f1") & (differences["first"] == one) & (differences["second"] == other)
        if pair.any():
            row = differences[pair].iloc[0]
            low, high = sorted((sign * row["low"], sign * row["high"]))
            return {"difference": sign * row["difference"], "low": low, "high": high, "p_value": row["p_value"]}
    return None


def printed_last(*command: str, **options) -> dict:
    """What a Python process of its own prints last, as JSON: memory that others have taken does not count in it."""
    done = subprocess.run([sys.executable, *command], check=True, capture_output=True, text=True, **options)
    return json.loads(done.stdout.strip().splitlines()[-1])


def peak() -> int:
    """Bytes that this process took at most so far."""
    import resource  # not on Windows, where tables are put into pages, too

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def finish(args: argparse.Namespace) -> None:
    """Write the tables into the page that was asked for."""
    if args.write:
        text = args.write.read_text(encoding="utf-8")
        args.write.write_text(written(text, Path(sys.argv[0]).name, _PRINTED), encoding="utf-8")


MARKER = re.compile(r"^<!-- table: (?P<script>\S+?)(?: (?P<part>\S+))? -->\n(?P<table>(?:\|.*\n)+)", re.MULTILINE)


def cells_of(text: str) -> list[str]:
    """Cells of a line of a table."""
    return [cell.strip() for cell in text.strip().removeprefix("|").removesuffix("|").split("|")]


def rows_of(page: Path | None, name: str) -> list[list[str]]:
    """Rows of the table that a page has behind a line ``<!-- table: name -->``, to be measured no second time."""
    text = page.read_text(encoding="utf-8") if page is not None else ""
    lines = text.partition(f"<!-- table: {name} -->\n")[2].partition("\n\n")[0].splitlines()
    return [cells_of(one) for one in lines[2:]]


def written(text: str, script: str, printed: Sequence[tuple[str, list[list[str]]]]) -> str:
    """The page with the tables of a script in place of those that it holds.

    Raises
    ------
    ValueError
        If a table of a part that was run is not among what was printed, or nothing printed belongs into the page.
    """
    waiting = defaultdict(list)
    for name, rows in printed:
        waiting[name].append(rows)
    put = []

    def replaced(found: re.Match) -> str:
        name, header = found["part"] or "", cells_of(found["table"].splitlines()[0])
        if found["script"] != script or name not in waiting:
            return found[0]
        fitting = [rows for rows in waiting[name] if set(header) <= set(rows[0])]
        if not fitting:
            raise ValueError(f"{script} printed no (further) table with the header {line(header)}")
        whole = min(fitting, key=lambda rows: rows[0] != header)  # the first of this very header, or of more columns
        waiting[name] = [rows for rows in waiting[name] if rows is not whole]
        put.append(header)
        columns = [whole[0].index(column) for column in header]
        rows = [[cells[column] for column in columns] for cells in whole[1:]]
        lines = [line(header), line(["---"] * len(header)), *map(line, rows)]
        return found[0].replace(found["table"], "\n".join(lines) + "\n")

    page = MARKER.sub(replaced, text)
    if not put:
        raise ValueError(f"The page has no table of {script}: none behind a line <!-- table: {script} -->.")
    return page
