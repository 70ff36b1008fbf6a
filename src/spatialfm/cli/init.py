"""``spatialfm init``: a settings file for a cohort, with every setting explained."""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._errors import SpatialfmError
from ._cell_guesses import ROWS, guessed_settings, places
from ._config import OUT
from ._outcome_columns import values_to_choose
from ._parser import add_command, some_text
from ._screen import Screen
from ._stage import Stage
from ._stages import STAGES
from ._without_images import NEED_IMAGES, NO_IMAGES, READER
from ._yaml import dump
from .read import reader_of_folder

if TYPE_CHECKING:
    import pandas as pd

WIDTH = 100
# usual names of columns, as they are written without case, spaces and signs
USUAL = {
    ("read", "library_key"): ("sample", "sampleid", "samplename", "core", "coreid", "roi", "roiid", "imageid", "slide"),
    ("read", "patient_key"): ("patient", "patientid", "patientno", "patientnumber", "case", "caseid", "caseno",
                              "casenumber", "subject", "subjectid", "subjectno", "donor", "donorid"),
    ("read", "image_column"): ("image", "imagepath", "imagefile", "file", "filename", "path", "tiff", "tif"),
    ("read", "labels_column"): ("labels", "mask", "maskpath", "maskfile", "segmentation", "cells", "cellmask"),
    ("read", "mpp_column"): ("mpp", "pixelsize", "pixelsizeum", "umperpixel", "micronsperpixel"),
    ("survival", "time_key"): ("time", "os", "ostime", "osmonths", "osdays", "survivaltime", "survivalmonths",
                               "survivaldays", "followup", "followupmonths", "followupdays", "pfs", "pfsmonths"),
    ("survival", "event_key"): ("event", "osevent", "osstatus", "status", "vitalstatus", "survivalstatus",
                                "survivalevent", "death", "dead", "died", "deceased",
                                "pfsevent"),  # not "censored", whose 1 is not an event
}  # fmt: skip


def add(commands: Any) -> None:
    """The command and its options."""
    parser = add_command(
        commands,
        "init",
        run,
        summary="a settings file for a cohort, with every setting explained",
        description="Prints a settings file for 'spatialfm run': what it guesses from the columns of the cohort table "
        "is set, everything else is there as a comment with its default. A table with columns of x and y and one row "
        "per cell is taken for a cohort without images.",
        example="spatialfm init cohort.csv > config.yaml\n"
        "  spatialfm init cells.csv --clinical patients.csv > config.yaml",
    )
    parser.add_argument("cohort", type=some_text, metavar="COHORT", help="table with one row per sample, or per cell")
    parser.add_argument(
        "--clinical",
        type=some_text,
        metavar="FILE",
        help="table with one row per patient or sample, beside a table of cells or an instrument's folder",
    )
    parser.add_argument(
        "--out", type=some_text, default=OUT, metavar="DIR", help="folder of results; default: %(default)s"
    )


def run(args: argparse.Namespace, screen: Screen) -> None:
    """Print the file."""
    path = Path(args.cohort)
    if not path.exists():
        raise SpatialfmError(f"There is no file {args.cohort!r}. Pass the table with one row per sample.")
    with screen.noting(to_stderr=True):  # standard output is the file
        _print(path, args, screen)


def _print(path: Path, args: argparse.Namespace, screen: Screen) -> None:
    from ..io._cohort_table import load_table

    clinical = None if args.clinical is None else load_table(args.clinical, [], [])[0].rename(columns=str)
    table = head_of(path) if path.is_file() else None
    if table is not None and is_of_cells(table):
        screen.show("\n".join(_lines_of_cells(path, args, table, clinical)))
        return
    if table is not None:
        if clinical is not None:
            raise SpatialfmError(
                f"{args.cohort!r} has one row per sample, and clinical columns stand in it. Leave --clinical out."
            )
        table = load_table(path, [], [])[0].rename(columns=str)
    screen.show("\n".join(_lines(path, args, table, clinical)))


def head_of(path: Path) -> pd.DataFrame:
    """First rows of a table of samples or cells."""
    from ..io._cell_columns import cells_frame
    from ..pp.tables import TABLE_SUFFIXES, read_table

    if path.suffix.lower() in TABLE_SUFFIXES:
        table = read_table(path, n_lines=ROWS)
        if not len(table):
            raise SpatialfmError(f"'{path}' has no rows. Pass a table with one row per sample, or per cell.")
        return table.rename(columns=str)
    return cells_frame(path, [])[0].head(ROWS).rename(columns=str)


def is_of_cells(table: pd.DataFrame) -> bool:
    """Whether rows are cells: there are positions, and no image of each row."""
    columns = list(table.columns)
    if places(columns) is None:
        return False
    image = "image" if "image" in columns else guessed(columns).get(("read", "image_column"))
    return image is None or bool(table[image].duplicated().any())


def guessed(columns: Sequence[str]) -> dict[tuple[str, str], str]:
    """Columns that are probably meant, where they do not have the default name; one that two may be is not guessed."""
    guesses = {}
    plain = {name: "".join(letter for letter in name.lower() if letter.isalnum()) for name in columns}
    for key, usual in USUAL.items():
        if usual[0] in columns:
            continue
        hits = [name for name in columns if plain[name] in usual]
        if len(hits) == 1:
            guesses[key] = hits[0]
    return guesses


def _begin(path: Path, out: str, tables: Mapping[str, pd.DataFrame | None]) -> Iterator[str]:
    yield "# Settings of an analysis: 'spatialfm check' says whether they are right, 'spatialfm run' does it."
    yield "# A line that begins with # is a comment: remove the # to set what it says."
    yield dump({"cohort": str(path), "out": out, "random_state": 0}).rstrip()
    for name, table in tables.items():
        if table is not None:
            yield ""
            yield from _comment(f"Columns of {name}: {', '.join(table.columns)}", "")


def _lines_of_cells(
    path: Path, args: argparse.Namespace, cells: pd.DataFrame, clinical: pd.DataFrame | None
) -> Iterator[str]:
    """Settings for a table of cells; stages that need images, or markers that there are not, are left out."""
    yield from _begin(path, args.out, {path.name: cells, Path(args.clinical or "").name: clinical})
    reading = {"reader": READER, **guessed_settings(cells, clinical)}
    if args.clinical is not None:
        reading["clinical"] = args.clinical
    said: dict[tuple[str, str], Any] = {("read", key): value for key, value in reading.items()}
    outcome = cells if clinical is None else clinical
    said |= {key: name for key, name in guessed(list(outcome.columns)).items() if key[0] == "survival"}
    open_values = values_to_choose(outcome, said.get(("survival", "event_key"), "event"))
    left_out = dict.fromkeys(NEED_IMAGES, NO_IMAGES)
    if "markers" not in reading:
        left_out["signatures"] = "it searches groups of cells by their markers, and no column is known as one"
    for name, stage in STAGES.items():
        yield ""
        if name in left_out:
            yield from _comment(f"{name}: left out, as {left_out[name]}.", "")
            continue
        yield f"{name}:  # {stage.summary}"
        of_stage = {key: value for (of, key), value in said.items() if of == name}
        yield from _section(stage, of_stage, {"event_value": open_values} if name == "survival" else {})


def _lines(
    path: Path, args: argparse.Namespace, table: pd.DataFrame | None, clinical: pd.DataFrame | None
) -> Iterator[str]:
    columns = [] if table is None else list(table.columns)
    yield from _begin(path, args.out, {path.name: table, Path(args.clinical or "").name: clinical})
    said: dict[tuple[str, str], Any] = dict(guessed(columns))
    if columns and ("read", "labels_column") not in said and "labels" not in columns:
        said["segment", "method"] = "watershed"
    if table is None and (reader := reader_of_folder(path)) is not None:
        said["read", "reader"] = reader
    if clinical is not None:
        said["read", "clinical"] = args.clinical
        said |= {key: name for key, name in guessed(list(clinical.columns)).items() if key[0] == "survival"}
    outcome = table if clinical is None else clinical
    open_values = [] if outcome is None else values_to_choose(outcome, said.get(("survival", "event_key"), "event"))
    for name, stage in STAGES.items():
        yield ""
        yield f"{name}:  # {stage.summary}"
        of_stage = {key: value for (of, key), value in said.items() if of == name}
        yield from _section(stage, of_stage, {"event_value": open_values} if name == "survival" else {})


def _section(stage: Stage, said: Mapping[str, Any], to_choose: Mapping[str, Sequence[Any]]) -> Iterator[str]:
    """Settings of a stage; of those in `to_choose`, a comment for each value, of which the user takes one."""
    for key, option in stage.options(said).items():
        yield from _comment(option.help, "  ")
        if key in said:
            by = "folder" if key == "reader" and said[key] != READER else "columns"
            yield f"  {_one_line(key, said[key])}" + ("" if key == "clinical" else f"  # guessed from the {by}")
        elif to_choose.get(key):
            yield "  # The table has these values; remove the # before the one that means the event:"
            yield from (f"  # {_one_line(key, value)}" for value in to_choose[key])
        else:
            yield f"  # {_one_line(key, option.default)}"


def _one_line(key: str, value: Any) -> str:
    """A setting in one line, as only the first line would be a comment."""
    if isinstance(value, tuple | list):
        return f"{key}: {json.dumps(list(value))}"
    return dump({key: value}).rstrip()


def _comment(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ") if text else []
