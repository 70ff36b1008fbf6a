"""``spatialfm run``: all stages in their order, going on where it stopped."""

from __future__ import annotations

import argparse
from typing import Any

from .._errors import SpatialfmError
from ._commands import add_common, add_source, analysis_of, do
from ._parser import add_command
from ._screen import Screen
from ._yaml import value_of


def add(commands: Any) -> None:
    """The command and its options."""
    parser = add_command(
        commands,
        "run",
        run,
        summary="all stages from files to report, going on where it stopped",
        description="Reads a cohort, segments where there is no mask, embeds every cell, finds phenotypes and niches, "
        "compares the survival of patients and writes a report. A stage that is finished is not done again unless its "
        "settings, its files, a stage before it or the version of this program changed. Stopped, the same command goes "
        "on where it was.",
        example="spatialfm init cohort.csv > config.yaml\n  spatialfm run config.yaml",
    )
    add_source(parser, default=None)
    add_common(parser)
    parser.add_argument(
        "--set",
        dest="changes",
        action="append",
        default=[],
        metavar="STAGE.SETTING=VALUE",
        help="one setting, before what the file says, such as niches.n_niches=8",
    )


def run(args: argparse.Namespace, screen: Screen) -> None:
    """All stages."""
    do(args, screen, analysis_of(args, screen, dict(map(_change, args.changes))), None)


def _change(text: str) -> tuple[tuple[str, ...], Any]:
    key, sign, value = text.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    if not sign or not all(path) or len(path) > 2:
        raise SpatialfmError(f"--set {text!r} is not STAGE.SETTING=VALUE, such as niches.n_niches=8.")
    return path, value_of(value)
