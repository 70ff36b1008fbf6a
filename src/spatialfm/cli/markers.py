"""``spatialfm markers``: how channel names are read."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ._parser import add_command, some_text
from ._screen import Screen


def add(commands: Any) -> None:
    """The command and its options."""
    parser = add_command(
        commands,
        "markers",
        run,
        summary="how channel names are read",
        description="Shows the marker of each channel name.",
        example="spatialfm markers CD8a 'anti-CD3' DAPI",
    )
    parser.add_argument(
        "names",
        nargs="+",
        type=some_text,
        metavar="NAME",
        help="channel names, a TIFF, a text file with one name per line, or a table of the panel",
    )


def run(args: argparse.Namespace, screen: Screen) -> None:
    """A table with one row per channel."""
    from ..pp import match_markers

    table = match_markers(channel_names_of(args.names))
    screen.show(table.to_string(index=False, na_rep="-"))


def channel_names_of(given: Sequence[str]) -> list[str]:
    """The names themselves, or those in a file."""
    if len(given) > 1 or not Path(given[0]).is_file():
        return list(given)
    path = Path(given[0])
    if path.suffix.lower() in {".tif", ".tiff", ".qptiff"}:
        from ..io import read_tiff
        from ..pp.arrays import channel_names

        sdata = read_tiff(path)
        return channel_names(sdata, next(iter(sdata.images)))
    from ..io._panel_file import read_names

    return read_names(path).kept
