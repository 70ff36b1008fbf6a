"""What a pass over all pixels of an image has told, kept so that no run need make it again.

An image is known by all its pixels, so what is kept stays true and may be used by any run.
"""

from __future__ import annotations

import os
import uuid
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress

import numpy as np

from .._logging import logger
from .._settings import settings
from .store import fingerprint

Arrays = dict[str, np.ndarray]


def remembered(kind: str, identity: Mapping[str, object], compute: Callable[[], Arrays]) -> Arrays:
    """Arrays from ``settings.cache_dir / "statistics"``, or computed and written there.

    Parameters
    ----------
    kind
        What they are.
    identity
        All that decides them, beside the version of the recipe.
    compute
        Makes them.
    """
    run = fingerprint({**identity, "kind": kind})
    path = settings.cache_dir / "statistics" / f"{kind}-{run[:32]}.npz"
    try:
        with np.load(path) as file:
            return dict(file)
    except (FileNotFoundError, NotADirectoryError):
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
        with suppress(OSError):
            partial.unlink()
        logger.warning("%s cannot be written: %s", path, error)
    return arrays
