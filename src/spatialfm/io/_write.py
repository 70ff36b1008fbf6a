"""A SpatialData to disk, whole or not at all."""

from __future__ import annotations

import ctypes
import os
import platform
import re
from collections.abc import Collection
from contextlib import AbstractContextManager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from .. import _disk
from .._errors import InputFileError, RunError, said_once
from .._logging import logger
from .._public import public
from ..pp.plain_names import make_plain

if TYPE_CHECKING:
    from spatialdata import SpatialData

_ZARR_FILES = ("zarr.json", ".zgroup")
KEPT = ("images", "labels")  # kinds of elements that are moved from one store to the next


@public
def write(sdata: SpatialData, path: str | PathLike, overwrite: bool = False) -> Path:
    """Write a SpatialData to a zarr store.

    The store is written next to its final place and moved there when it is complete: an interruption (no space, Ctrl-C)
    leaves the old store as it was. A store may replace the one that the SpatialData was read from.

    Parameters
    ----------
    sdata
        What is written; its `path` becomes the new store, as with `SpatialData.write`.
    path
        Folder of the store, usually ``<name>.zarr``.
    overwrite
        Whether a store that is there is replaced. Anything else that is there never is.

    Returns
    -------
    Path
        Of the store.

    Raises
    ------
    InputFileError
        If something is there that is not to be replaced, or the folder to write into does not exist.
    RunError
        If it cannot be written, such as on a full disk.

    Examples
    --------
    >>> import tempfile, spatialdata as sd, spatialfm as sfm
    >>> path = sfm.io.write(sd.SpatialData(attrs={"study": "demo"}), tempfile.mkdtemp() + "/cohort.zarr")
    >>> sd.read_zarr(path).attrs["study"]
    'demo'
    """
    target = Path(path).expanduser().absolute()
    _clean_after_the_dead(target)
    _check_target(target, overwrite)
    return write_around(sdata, target, ())


def write_around(sdata: SpatialData, target: Path, kept: Collection[str]) -> Path:
    """Write a SpatialData in place of a store, from which images and labels that are the same are moved.

    They are moved once all others are written, and back if that fails.

    Parameters
    ----------
    kept
        Names of images and labels that the store at `target` holds as `sdata` does.
    """
    partial, moved = target.with_name(_disk.name_beside()), list[tuple[Path, Path]]()
    before = sdata.path
    make_plain(sdata)
    rest = _without(sdata, kept) if kept else sdata
    try:
        with said_once(), _all_chunks():  # a hint of the store, otherwise printed for every element
            rest.write(partial)
        if kept:
            _move_elements(sdata, target, partial, kept, moved)
        _put(partial, target)
    except BaseException as error:
        sdata.path = before
        for old, new in moved:
            if os.path.lexists(new) and not os.path.lexists(old):  # where the stores were not exchanged yet
                os.replace(new, old)
        _disk.discard(partial)
        if isinstance(error, OSError):
            raise RunError(
                f"Cannot write store '{target}': {error.strerror or error}. What was there is as it was: make room, "
                "or pass another path."
            ) from error
        raise
    sdata.path = target
    return target


def _without(sdata: SpatialData, names: Collection[str]) -> SpatialData:
    import spatialdata as sd

    kinds = {kind: dict(getattr(sdata, kind)) for kind in ("images", "labels", "points", "shapes", "tables")}
    for kind in KEPT:
        kinds[kind] = {name: element for name, element in kinds[kind].items() if name not in names}
    return sd.SpatialData(**kinds, attrs=sdata.attrs)


def _move_elements(
    sdata: SpatialData, target: Path, partial: Path, names: Collection[str], moved: list[tuple[Path, Path]]
) -> None:
    """Move elements from the old store into the new one, and list them there as SpatialData does."""
    import zarr

    for kind in KEPT:
        group = zarr.open_group(partial / kind, mode="a")
        if kind == "labels":
            group.attrs["ome"] = {"labels": list(sdata.labels)}
        for name in [one for one in getattr(sdata, kind) if one in names]:
            os.replace(target / kind / name, partial / kind / name)
            moved.append((target / kind / name, partial / kind / name))
        if not len(getattr(sdata, kind)):
            _disk.discard(partial / kind)
    zarr.consolidate_metadata(str(partial))


def _all_chunks() -> AbstractContextManager:
    """Chunks of zeros are written too: one that is not there later was lost."""
    import zarr

    return zarr.config.set({"array.write_empty_chunks": True})


def _check_target(target: Path, overwrite: bool) -> None:
    if not target.parent.is_dir():
        raise InputFileError(f"No folder '{target.parent}' to write '{target.name}' into. Make it first.")
    if not target.exists():
        return
    if not target.is_dir() or not any((target / name).is_file() for name in _ZARR_FILES):
        raise InputFileError(f"'{target}' is there and is not a zarr store. Pass another path.")
    if not overwrite:
        raise InputFileError(
            f"Store '{target}' is there already. Pass another path, or overwrite=True to replace it "
            "with all that is in it."
        )


def _put(partial: Path, target: Path) -> None:
    if not target.exists():
        os.replace(partial, target)
        return
    if _exchanged(partial, target):
        _disk.discard(partial)
        return
    # a folder cannot be replaced in one step, so that the old one steps aside and comes back if the new one fails
    old = target.with_name(f"{target.name}.old-{platform.node()}-{os.getpid()}")
    _disk.discard(old)
    os.replace(target, old)
    try:
        os.replace(partial, target)
    except BaseException:
        os.replace(old, target)
        raise
    _disk.discard(old)


def _exchanged(one: Path, two: Path) -> bool:
    """Exchange two folders in one step, where the system can (Linux): at no moment there is none."""
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        return libc.renameat2(here, os.fsencode(one), here, os.fsencode(two), exchange) == 0
    except (OSError, AttributeError, TypeError):
        return False


def _clean_after_the_dead(target: Path) -> None:
    """Put back a store that stepped aside for one that a killed process did not put there; remove what it left."""
    _disk.sweep(target.parent)
    name = re.compile(re.escape(f"{target.name}.old-{platform.node()}-") + r"(\d{1,10})")
    for old in target.parent.iterdir() if target.parent.is_dir() else ():
        if (match := name.fullmatch(old.name)) and not _disk.runs(int(match[1])):
            if os.path.lexists(target):
                _disk.discard(old)
            else:
                os.replace(old, target)
                logger.warning("'%s' was being replaced when its process ended: the old store is back", target)
