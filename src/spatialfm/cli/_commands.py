"""Commands of stages: their options are the stage's settings."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from .._arguments import Either, Flag, Many, Nothing, Rule, Table
from ._analysis import Analysis
from ._config import OUT, read_config
from ._parser import Parser, add_command, folder, meant, some_text
from ._run import run_stages
from ._screen import Screen
from ._stage import Option, Stage
from ._stages import STAGES
from ._yaml import value_of

READER_OPTION = "--reader"
SET = "set_"  # prefix of what options of settings are called among the arguments


def given_in(argv: Sequence[str]) -> dict[str, str]:
    """The reader that a command line names, whose settings are options of ``spatialfm read``."""
    readers = [
        text.partition("=")[2] or following
        for text, following in zip(argv, [*argv[1:], ""], strict=True)
        if text.partition("=")[0] == READER_OPTION
    ]
    return {"reader": readers[-1]} if readers else {}


def add_stage(commands: Any, stage: Stage, given: Mapping[str, Any] | None) -> None:
    """The command of one stage, with the settings that go with the given ones; None: without any."""
    parser = add_command(
        commands,
        stage.name,
        partial(_run_stage, stage),
        summary=stage.summary,
        description=stage.description,
        example=stage.example,
    )
    add_source(parser, default=None if stage.name == "read" else OUT)
    add_common(parser)
    group = parser.add_argument_group("settings of this stage (kept in config.yaml in the folder of results)")
    options = {} if given is None else stage.options(given)
    parser.set_defaults(options=options)
    for option in options.values():
        _add_option(group, option)


def add_source(parser: Parser, default: str | None) -> None:
    """The positional argument of all that work on an analysis."""
    parser.add_argument(
        "source",
        type=some_text,
        nargs=None if default is None else "?",
        default=default,
        metavar="SOURCE",
        help="cohort table, settings file (.yaml), or folder of results" + (f"; default: {default}" if default else ""),
    )


def add_common(parser: Parser) -> None:
    """Options of all that do stages."""
    parser.add_argument("--out", type=folder, metavar="DIR", help=f"folder of results; default: {OUT}")
    parser.add_argument("--dry-run", action="store_true", help="only say what has to be done, and why")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output, for programs")
    parser.add_argument(
        "--redo", type=_stage_name, action="append", default=[], metavar="STAGE", help="do a finished stage again"
    )
    parser.add_argument(
        "--accept",
        type=_stage_name,
        action="append",
        default=[],
        metavar="STAGE",
        help="go on with results of a stage that were changed by hand",
    )


def analysis_of(args: argparse.Namespace, screen: Screen, changes: Mapping[tuple[str, ...], Any]) -> Analysis:
    """The analysis that the arguments mean, with all its settings checked."""
    with screen.noting():  # columns of the cohort table are looked at
        return Analysis(read_config(Path(args.source), STAGES, out=args.out, changes=changes), STAGES)


def do(args: argparse.Namespace, screen: Screen, analysis: Analysis, only: str | None) -> None:
    """Do stages as the arguments ask."""
    run_stages(analysis, screen, only=only, dry_run=args.dry_run, redo=args.redo, accept=args.accept)


def _run_stage(stage: Stage, args: argparse.Namespace, screen: Screen) -> None:
    options = args.options
    changes: dict[tuple[str, ...], Any] = {
        (stage.name, name): _typed(options[name], given)
        for name in options
        if (given := getattr(args, SET + name, None)) is not None
    }
    do(args, screen, analysis_of(args, screen, changes), stage.name)


def _add_option(group: Any, option: Option) -> None:
    kinds = _kinds(option.rule)
    if kinds and all(isinstance(one, Table) for one in kinds):
        return  # a mapping has its place in the settings file
    default = "" if option.default in (None, ()) else f" Default: {option.default}."
    text = (option.help + ("" if "Default" in option.help else default)).replace("%", "%%")
    named: dict[str, Any] = {"dest": SET + option.name, "default": None, "help": text}
    if any(isinstance(one, Flag) for one in kinds) and len(kinds) == 1:
        group.add_argument(option.flag, action=argparse.BooleanOptionalAction, **named)
        return
    many = any(isinstance(one, Many) for one in kinds)
    group.add_argument(
        option.flag,
        nargs="+" if many else None,
        metavar=option.name.rpartition("_")[2].upper(),
        action=_Checked,
        option=option,
        **named,
    )


class _Checked(argparse.Action):
    """Refuses what the setting cannot be, before any work."""

    def __init__(self, *args: Any, option: Option, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.option = option

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        texts = values if isinstance(values, list) else [values]
        if any(not text.strip() or "\0" in text for text in texts):
            raise argparse.ArgumentError(self, "it is empty, or holds a null byte")
        if problem := self.option.problem(_typed(self.option, values)):
            raise argparse.ArgumentError(self, problem)
        setattr(namespace, self.dest, values)


def _typed(option: Option, given: Any) -> Any:
    """Texts of the command line as a value that fits the setting."""
    if isinstance(given, bool):
        return given
    if isinstance(given, list):
        alone = len(given) == 1
        candidates = [*([_typed(option, given[0])] if alone else []), [value_of(text) for text in given], given]
    else:
        candidates = [value_of(given), given]
    return next((one for one in candidates if option.fits(one)), candidates[-1])


def _kinds(rule: Rule) -> list[Rule]:
    options = rule.options if isinstance(rule, Either) else (rule,)
    return [
        kind for one in options for kind in ([one] if one is rule else _kinds(one)) if not isinstance(kind, Nothing)
    ]


def _stage_name(text: str) -> str:
    if text not in STAGES:
        raise argparse.ArgumentTypeError(
            f"no stage {text!r}{meant(text, list(STAGES)) or '; there are ' + ', '.join(STAGES)}"
        )
    return text
