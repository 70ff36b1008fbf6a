"""``spatialfm init``: a settings file for a cohort, with every setting explained."""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._errors import SpatialfmError
from ._config import OUT
from ._outcome_columns import values_to_choose
from ._parser import add_command, some_text
from ._screen import Screen
from ._stage import Stage
from ._stages import STAGES
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
    ("survival", "event_key"): ("event", "osevent", "osstatus", "status", "vitalstatus", "death", "dead", "died",
                                "deceased", "pfsevent"),  # not "censored", whose 1 is not an event
}  # fmt: skip


def add(commands: Any) -> None:
    """The command and its options."""
    parser = add_command(
        commands,
        "init",
        run,
        summary="a settings file for a cohort, with every setting explained",
        description="Prints a settings file for 'spatialfm run': what it guesses from the columns of the cohort table "
        "is set, everything else is there as a comment with its default.",
        example="spatialfm init cohort.csv > config.yaml",
    )
    parser.add_argument("cohort", type=some_text, metavar="COHORT", help="table with one row per sample")
    parser.add_argument(
        "--out", type=some_text, default=OUT, metavar="DIR", help="folder of results; default: %(default)s"
    )


def run(args: argparse.Namespace, screen: Screen) -> None:
    """Print the file."""
    path = Path(args.cohort)
    if not path.exists():
        raise SpatialfmError(f"There is no file {args.cohort!r}. Pass the table with one row per sample.")
    table: pd.DataFrame | None = None
    if path.is_file():
        from ..io._cohort_table import load_table

        table = load_table(path, [], [])[0].rename(columns=str)
    screen.show("\n".join(_lines(path, args.out, table)))


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


def _lines(path: Path, out: str, table: pd.DataFrame | None) -> Iterator[str]:
    columns = [] if table is None else list(table.columns)
    yield "# Settings of an analysis: 'spatialfm check' says whether they are right, 'spatialfm run' does it."
    yield "# A line that begins with # is a comment: remove the # to set what it says."
    yield dump({"cohort": str(path), "out": out, "random_state": 0}).rstrip()
    if columns:
        yield ""
        yield from _comment(f"Columns of {path.name}: {', '.join(columns)}", "")
    said: dict[tuple[str, str], Any] = dict(guessed(columns))
    if columns and ("read", "labels_column") not in said and "labels" not in columns:
        said["segment", "method"] = "watershed"
    if table is None and (reader := reader_of_folder(path)) is not None:
        said["read", "reader"] = reader
    open_values = [] if table is None else values_to_choose(table, said.get(("survival", "event_key"), "event"))
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
            by = "folder" if key == "reader" else "columns"
            yield f"  {dump({key: said[key]}).rstrip()}  # guessed from the {by}"
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
