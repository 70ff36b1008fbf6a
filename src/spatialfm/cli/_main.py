"""The program ``spatialfm``: which command, how its errors are told, and what it returns to the shell."""

from __future__ import annotations

import _thread
import argparse
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from .._errors import SpatialfmError
from .._settings import settings
from . import check, demo, init, markers, models, run, train
from ._commands import add_stage, given_in
from ._parser import Parser
from ._screen import Screen
from ._stages import STAGES

BEFORE, AFTER = (
    (init, check, run),
    (train, demo, models, markers),
)  # commands besides those of stages, as --help lists them

REFUSED, STOPPED = 1, 130
AGAIN = 0.05  # seconds after which a signal that was lost comes again
FOREIGN = {"ome_zarr.reader": logging.ERROR, "spatialdata._logging": logging.WARNING}
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
    argv = sys.argv[1:] if argv is None else argv
    args = _parser(argv).parse_args(argv)
    screen = Screen(args.command, quiet=args.quiet, as_json=getattr(args, "json", False))
    try:
        with _settings_of_a_program(), _terminated_as_interrupted():
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
    except Exception:
        traceback.print_exc()
        screen.refuse(
            "this is an error of the program, not of your files. Please report it with the lines above. What was "
            "finished is kept."
        )
        return REFUSED


@contextmanager
def _settings_of_a_program() -> Iterator[None]:
    """Bars where somebody looks; of the logs, warnings, as commands say themselves how they go on."""
    before = settings.progress, settings.verbosity
    # ome_zarr warns of every label image that is read without its picture; squidpy speaks through spatialdata's logger.
    # Filters, as levels are set anew when these packages are imported
    quiet = [(logging.getLogger(name), _from(level)) for name, level in FOREIGN.items()]
    settings.progress = settings.progress and sys.stderr.isatty()
    if "SPATIALFM_VERBOSITY" not in os.environ:
        settings.verbosity = min(settings.verbosity, 1)
    for logger, enough in quiet:
        logger.addFilter(enough)
    try:
        yield
    finally:
        settings.progress, settings.verbosity = before
        for logger, enough in quiet:
            logger.removeFilter(enough)


def _from(level: int) -> Callable[[logging.LogRecord], bool]:
    return lambda record: record.levelno >= level


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Schedulers of clusters end a job with SIGTERM: what Ctrl-C would leave in order, it leaves in order.

    A signal that comes while Python clears an object away raises its error where nobody can catch it: it comes again.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    def tell(lost: sys.UnraisableHookArgs) -> None:
        if not issubclass(lost.exc_type, KeyboardInterrupt):
            hook(lost)
            return
        later = threading.Timer(AGAIN, _thread.interrupt_main, [signal.SIGTERM])
        later.daemon = True
        later.start()

    before, hook = signal.signal(signal.SIGTERM, stop), sys.unraisablehook
    sys.unraisablehook = tell
    try:
        yield
    finally:
        sys.unraisablehook = hook
        signal.signal(signal.SIGTERM, before)


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """All commands; of stages, the settings of the one that is asked for, as they are read off functions to import."""
    from .._version import __version__

    parser = Parser(
        prog="spatialfm",
        description="Spatial-proteomics foundation models for SpatialData and scverse.",
        epilog=EXIT_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"spatialfm {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for module in BEFORE:
        module.add(commands)
    for stage in STAGES.values():
        add_stage(commands, stage, given_in(argv) if stage.name in argv else None)
    for module in AFTER:
        module.add(commands)
    return parser
