"""The command line: ``spatialfm demo``, ``spatialfm models``, ``spatialfm markers``."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from ._arguments import shown
from ._errors import ModelError, SpatialfmError, SpatialfmWarning
from ._logging import logger
from ._ranges import range_of
from ._settings import settings

FEWEST_PATIENTS = 8  # of the demo: fewer have no survival curves


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
    try:
        args.run(args)
    except SpatialfmError as error:
        print(f"spatialfm {args.command}: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # of the folder, or of a disk that is full
        place = f"{error.filename!r}: " if error.filename else ""
        print(f"spatialfm {args.command}: {place}{error.strerror or error}. Pass another path.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    from ._version import __version__

    parser = argparse.ArgumentParser(
        prog="spatialfm", description="Spatial-proteomics foundation models for SpatialData and scverse."
    )
    parser.add_argument("--version", action="version", version=f"spatialfm {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    demo = commands.add_parser(
        "demo",
        help="images to survival on the built-in cohort",
        description="Simulates a cohort of multiplexed tissue images with known truth and takes it from images and "
        "masks to phenotypes, neighborhoods and survival. Leaves a SpatialData store, tables and figures.",
    )
    demo.add_argument("--out", type=_folder, default=Path("demo_output"), metavar="DIR", help="default: %(default)s")
    demo.add_argument("--patients", type=_patients, default=24, metavar="N", help="default: %(default)s")
    demo.add_argument(
        "--model", type=_model, default="classical", metavar="NAME", help="see 'spatialfm models'; default: %(default)s"
    )
    demo.add_argument("--weights", type=_text, metavar="PATH", help="file, folder or hub id of the model's weights")
    demo.add_argument("--seed", type=_seed, default=0, metavar="INT", help="default: %(default)s")
    demo.set_defaults(run=_demo)

    models = commands.add_parser("models", help="the models there are")
    models.set_defaults(run=_models)

    markers = commands.add_parser(
        "markers",
        help="how channel names are read",
        description="Shows the marker of each channel name.",
    )
    markers.add_argument(
        "names",
        nargs="+",
        type=_text,
        metavar="NAME",
        help="channel names, a TIFF, a text file with one name per line, or a table of the panel",
    )
    markers.set_defaults(run=_markers)
    for command in (demo, models, markers):
        command.add_argument("--quiet", action="store_true", help="warnings and errors only")
    return parser


def _whole(text: str, name: str, low: int) -> int:
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


def _patients(text: str) -> int:
    return _whole(text, "n_patients", FEWEST_PATIENTS)


def _seed(text: str) -> int:
    return _whole(text, "random_state", 0)


def _text(text: str) -> str:
    if not text.strip() or "\0" in text:
        raise argparse.ArgumentTypeError("it is empty" if not text.strip() else "it holds a null byte")
    return text


def _folder(text: str) -> Path:
    path = Path(_text(text))
    if path.exists() and not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is a file. Pass a folder; it is made where it does not exist")
    return path


def _model(text: str) -> str:
    from .models import card

    try:
        return card(_text(text)).name
    except ModelError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _demo(args: argparse.Namespace) -> None:
    from ._demo import run_demo

    with warnings.catch_warnings():
        warnings.showwarning = _Notes()
        run_demo(
            args.out,
            n_patients=args.patients,
            model=args.model,
            weights=args.weights,
            random_state=args.seed,
            say=lambda text: print(text, flush=True),
        )


class _Notes:
    """Prints each of our warnings once and short; those of other packages are for developers and go to the log."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def __call__(self, message: Warning, *_: object, **__: object) -> None:
        text = str(message)
        if text in self.seen:
            return
        self.seen.add(text)
        if isinstance(message, SpatialfmWarning):
            print(f"  note: {text}")
        else:
            logger.debug("%s: %s", type(message).__name__, text)


def _models(args: argparse.Namespace) -> None:
    from .models import list_models

    table = list_models()
    columns = ["parameters", "license", "commercial", "gated", "outputs", "mpp", "window"]
    print(table[columns].to_string(na_rep="-"))
    print()
    for name, reference in table["reference"].items():
        print(f"{name}: {reference}")


def _markers(args: argparse.Namespace) -> None:
    from .pp import match_markers

    table = match_markers(_channel_names(args.names))
    print(table.to_string(index=False, na_rep="-"))


def _channel_names(given: Sequence[str]) -> list[str]:
    """The names themselves, or those in a file."""
    if len(given) > 1 or not Path(given[0]).is_file():
        return list(given)
    path = Path(given[0])
    if path.suffix.lower() in {".tif", ".tiff", ".qptiff"}:
        from .io import read_tiff
        from .pp.arrays import channel_names

        sdata = read_tiff(path)
        return channel_names(sdata, next(iter(sdata.images)))
    from .io._panel_file import read_names

    return read_names(path)


if __name__ == "__main__":
    raise SystemExit(main())
