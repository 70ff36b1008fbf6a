"""What a pass over all pixels of an image has told, kept so that a run that was stopped need not make it again.

Images are told apart by a sample of their pixels. That is enough between a stop and its resumption, not for ever: what
a run has used is forgotten when it ends.
"""

from __future__ import annotations

import os
import uuid
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from .._logging import logger
from .._settings import settings
from .store import fingerprint

VERSION = 2  # of the numbers; to be raised when the way that they are computed changes

Arrays = dict[str, np.ndarray]
_used: set[Path] = set()


def remembered(kind: str, identity: Mapping[str, object], compute: Callable[[], Arrays]) -> Arrays:
    """Arrays from ``settings.cache_dir / "statistics"``, or computed and written there.

    Parameters
    ----------
    kind
        What they are.
    identity
        All that decides them.
    compute
        Makes them.
    """
    run = fingerprint({**identity, "kind": kind, "version": VERSION})
    path = settings.cache_dir / "statistics" / f"{kind}-{run[:32]}.npz"
    _used.add(path)
    try:
        with np.load(path) as file:
            return dict(file)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        logger.warning("%s cannot be read and is made anew: %s", path, error)
    arrays = compute()
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            np.savez_compressed(file, **arrays)
        os.replace(partial, path)
    except OSError as error:  # a run can do without
        partial.unlink(missing_ok=True)
        logger.warning("%s cannot be written: %s", path, error)
    return arrays


def forget() -> None:
    """Remove what this process has used: the run that needed it is finished."""
    while _used:
        _used.pop().unlink(missing_ok=True)
