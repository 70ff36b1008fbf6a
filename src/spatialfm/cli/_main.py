"""The program ``spatialfm``: which command, how its errors are told, and what it returns to the shell."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from .._errors import SpatialfmError
from .._settings import settings
from . import demo, markers, models
from ._parser import Parser
from ._screen import Screen

COMMANDS = (demo, models, markers)

REFUSED, STOPPED = 1, 130
EXIT_STATUS = """exit status:
  0    done
  1    the input was refused, or a file could not be read or written; the message says which
  2    the command line was not understood
  130  stopped (Ctrl-C, or SIGTERM)"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv
        Arguments without the program's name (default: those of the process).

    Returns
    -------
    Exit status: 0, or 1 where the command refused its input or could not write; 130 where it was stopped. Arguments
    that the command line cannot have end the process with 2, as argparse does.

    Examples
    --------
    >>> from spatialfm.cli import main
    >>> main(["markers", "CD8a", "DAPI"])  # doctest: +ELLIPSIS
    channel  status  marker ...
    """
    args = _parser().parse_args(argv)
    settings.progress = settings.progress and sys.stderr.isatty()
    if args.quiet:
        settings.verbosity = 1
    screen = Screen(args.command, quiet=args.quiet, as_json=getattr(args, "json", False))
    try:
        with _terminated_as_interrupted():
            return args.run(args, screen) or 0
    except SpatialfmError as error:
        screen.refuse(str(error))
        return REFUSED
    except OSError as error:  # of the folder, or of a disk that is full
        place = f"{error.filename!r}: " if error.filename else ""
        screen.refuse(f"{place}{error.strerror or error}. Pass another path.")
        return REFUSED
    except KeyboardInterrupt as stopped:
        screen.refuse(str(stopped) or "stopped", status="stopped")
        return STOPPED


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Schedulers of clusters end a job with SIGTERM: what Ctrl-C would leave in order, it leaves in order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _parser() -> argparse.ArgumentParser:
    from .._version import __version__

    parser = Parser(
        prog="spatialfm",
        description="Spatial-proteomics foundation models for SpatialData and scverse.",
        epilog=EXIT_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"spatialfm {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for module in COMMANDS:
        module.add(commands)
    return parser
