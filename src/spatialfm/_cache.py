"""Results of a pass over all pixels or cells, kept so that no run need make it again.

An image is known by all its pixels, so what is kept stays true and may be used by any run. Each file holds a seal, a
digest of what it is and of every array in it: what was truncated, emptied, changed or brought from elsewhere has no
seal that fits, and is made again.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from . import _disk
from ._identity import fingerprint
from ._logging import logger
from ._settings import settings

Arrays = dict[str, np.ndarray]
SEAL = "seal"
_said: set[str] = set()  # folders reported as not writable
_older: set[str] = set()  # reported to hold files of an earlier version
_swept: set[str] = set()


def remembered(kind: str, identity: Mapping[str, object], compute: Callable[[], Arrays]) -> Arrays:
    """Arrays from ``settings.cache_dir / "statistics"``, or computed and written there.

    Parameters
    ----------
    kind
        What they are.
    identity
        All that decides them, besides the version of the recipe.
    compute
        Makes them.
    """
    run = fingerprint({**identity, "kind": kind})
    path = settings.cache_dir / "statistics" / f"{kind}-{run[:32]}.npz"
    arrays = kept_arrays(path, run)
    if arrays is None:
        arrays = compute()
        keep_arrays(path, run, arrays)
    return arrays


def kept_arrays(path: Path, what: str) -> Arrays | None:
    """Arrays of a file that `keep_arrays` wrote; None where there is none, or not as it was written.

    Parameters
    ----------
    path
        File.
    what
        What decides the arrays, as text; one of another is not taken.
    """
    try:
        with np.load(path) as file:
            arrays = dict(file)
        if SEAL not in arrays:
            folder = str(path.parent)
            if folder not in _older:  # once per session: there is a file of each sample
                logger.warning("%s has files of an earlier version, which are made again, once", folder)
                _older.add(folder)
            return None
        if str(arrays.pop(SEAL)) == _seal(what, arrays):
            return arrays
        why = "not as this version wrote it"
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Exception as error:  # numpy and zipfile raise any error for damaged bytes, or a folder
        why = f"{type(error).__name__}: {error}"
    logger.warning("%s cannot be used and is made again (%s)", path, why)
    return None


def keep_arrays(path: Path, what: str, arrays: Arrays) -> None:
    """Write arrays with their seal; if that fails, warn once per folder: a run does not need them."""
    kept = {name: np.asarray(values) for name, values in arrays.items()}
    content = io.BytesIO()  # whole before it is written: what zipfile does of a full disk is hard to foresee
    sealed: dict[str, Any] = {**kept, SEAL: np.array(_seal(what, kept))}
    np.savez_compressed(content, **sealed)
    folder = str(path.parent)
    try:
        _disk.write_bytes(path, content.getvalue())
    except OSError as error:
        if folder not in _said:
            logger.warning("%s cannot be written (%s): what is found out is not kept", folder, error)
            _said.add(folder)
        return
    _said.discard(folder)
    if folder not in _swept:  # once per session: the folder may hold many files
        _disk.sweep(path.parent)
        _swept.add(folder)


def _seal(what: str, arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(what.encode())
    for name, values in sorted(arrays.items()):
        digest.update(f"\0{name} {values.dtype.str} {values.shape} ".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
