"""The windows of a run, kept beside its weights: a run that goes on must see the same ones."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from .. import _disk
from .._errors import RunError, listed
from .checkpoint import writing

TABLE_FILE, PARTS_FILE = "windows.parquet", "windows.json"


def keep_windows(folder: str | os.PathLike[str], table: pd.DataFrame, parts: Mapping[str, str]) -> None:
    """Write the table and what decides it, or compare with what an earlier call has written.

    Parameters
    ----------
    folder
        Folder of the run.
    table
        One row per window.
    parts
        Digest of each part of what a step sees.

    Raises
    ------
    RunError
        If the folder has other windows; the message names the parts that differ. If its files cannot be read.
    """
    place = Path(folder).expanduser()
    if (place / PARTS_FILE).exists():
        _compare(place, parts)
        return
    content = io.BytesIO()
    table.to_parquet(content)
    with writing(place):
        _disk.write_bytes(place / TABLE_FILE, content.getvalue())
        _disk.write_bytes(place / PARTS_FILE, json.dumps(dict(parts), indent=1).encode())


def _compare(place: Path, parts: Mapping[str, str]) -> None:
    try:
        then = {str(name): str(value) for name, value in json.loads((place / PARTS_FILE).read_bytes()).items()}
    except (OSError, ValueError, AttributeError) as error:
        raise RunError(
            f"{str(place / PARTS_FILE)!r} cannot be read ({error}): whether this run sees the same windows cannot be "
            "told. Restore the file, or pass another folder."
        ) from error
    differing = sorted(name for name in {*then, *parts} if then.get(name) != parts.get(name))
    if differing:
        raise RunError(
            f"The run in {str(place)!r} was of other windows: what differs is {listed(differing, 12, quoted=False)}. "
            "Pass what it was begun with, or another folder."
        )
