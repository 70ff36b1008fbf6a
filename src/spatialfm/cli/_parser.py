"""Arguments of commands: what they may be is seen before any work, and a typo is answered with what was meant."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from .._arguments import shown
from .._errors import ModelError
from .._ranges import range_of


class Parser(argparse.ArgumentParser):
    """A parser that answers unknown commands and options with the one that was probably meant."""

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """As argparse does; options that there are not are answered with the nearest one."""
        known, rest = self.parse_known_args(args, namespace)
        if rest:
            parser = self._of_command(getattr(known, "command", None))
            parser.error(f"unrecognized arguments: {' '.join(rest)}{parser.hint(rest[0])}")
        return known

    def _of_command(self, name: str | None) -> Parser:
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction) and name in action.choices:
                return action.choices[name]
        return self

    def hint(self, option: str) -> str:
        """``. Did you mean '--out'?``, or nothing."""
        return meant(option.partition("=")[0], [name for action in self._actions for name in action.option_strings])

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            names = [str(name) for name in action.choices]
            what = "command" if isinstance(action, argparse._SubParsersAction) else "value"
            raise argparse.ArgumentError(
                action if what == "value" else None,
                f"no {what} {shown(value)}{meant(str(value), names) or '; there are ' + ', '.join(names)}",
            )

    def error(self, message: str) -> NoReturn:
        """The message alone: the usage of a command with many options is in its ``--help``."""
        self.exit(2, f"{self.prog}: error: {message}\nSee '{self.prog} --help'.\n")


def meant(name: str, known: Sequence[str]) -> str:
    """``. Did you mean 'niches'?``, or nothing where no name is near.

    Examples
    --------
    >>> meant("--modle", ["--model", "--out"]), meant("x", ["niches"])
    (". Did you mean '--model'?", '')
    """
    lower = {one.lower(): one for one in known}
    close = get_close_matches(name.lower(), list(lower), n=1, cutoff=0.6)
    return f". Did you mean {lower[close[0]]!r}?" if close else ""


def add_command(commands: Any, name: str, run: Any, *, summary: str, description: str, example: str) -> Parser:
    """A command with what all have: a summary, a description, an example, ``--quiet``."""
    parser: Parser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=_Formatter,
    )
    parser.add_argument("--quiet", action="store_true", help="warnings and errors only")
    parser.set_defaults(run=run)
    return parser


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Examples keep their lines; a description is filled as other text is."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith("example"):
            return super()._fill_text(text, width, indent)
        return argparse.HelpFormatter._fill_text(self, text, width, indent)


def whole(text: str, name: str, low: int) -> int:
    """A whole number that the functions behind it take, which is seen here before any work."""
    try:
        number = int(text)
    except ValueError:  # also of thousands of digits
        number = None
    allowed = range_of(name, whole=True)
    if number is None or number not in allowed or number < low:
        high = int(allowed.high)
        raise argparse.ArgumentTypeError(f"{shown(text)} is not a whole number from {low} to {high:,}")
    return number


def seed(text: str) -> int:
    """A seed of random numbers."""
    return whole(text, "random_state", 0)


def some_text(text: str) -> str:
    """A text that says something."""
    if not text.strip() or "\0" in text:
        raise argparse.ArgumentTypeError("it is empty" if not text.strip() else "it holds a null byte")
    return text


def folder(text: str) -> Path:
    """A folder, or a place for one."""
    path = Path(some_text(text))
    if path.exists() and not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is a file. Pass a folder; it is made where it does not exist")
    return path


def model(text: str) -> str:
    """Name of a model that there is."""
    from ..models import card

    try:
        return card(some_text(text)).name
    except ModelError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
