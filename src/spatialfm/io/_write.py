"""A SpatialData to disk, whole or not at all."""

from __future__ import annotations

import os
import shutil
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from .._errors import InputFileError, said_once
from .._public import public

if TYPE_CHECKING:
    from spatialdata import SpatialData

_ZARR_FILES = ("zarr.json", ".zgroup")


@public
def write(sdata: SpatialData, path: str | PathLike, overwrite: bool = False) -> Path:
    """Write a SpatialData to a zarr store.

    The store is written beside its place and put there when it is complete: what stops on the way (no space, Ctrl-C)
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

    Examples
    --------
    >>> import tempfile, spatialdata as sd, spatialfm as sfm
    >>> path = sfm.io.write(sd.SpatialData(attrs={"study": "demo"}), tempfile.mkdtemp() + "/cohort.zarr")
    >>> sd.read_zarr(path).attrs["study"]
    'demo'
    """
    target = Path(path).expanduser().absolute()
    _check_target(target, overwrite)
    partial = target.with_name(f"{target.name}.partial-{os.getpid()}")
    before = sdata.path
    _remove(partial)
    try:
        with said_once():  # a hint of the store, otherwise printed for every element
            sdata.write(partial)
        _put(partial, target)
    except BaseException:
        sdata.path = before
        _remove(partial)
        raise
    sdata.path = target
    return target


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
    # a folder cannot be replaced in one step, so that the old one steps aside and comes back if the new one fails
    old = target.with_name(f"{target.name}.old-{os.getpid()}")
    _remove(old)
    os.replace(target, old)
    try:
        os.replace(partial, target)
    except BaseException:
        os.replace(old, target)
        raise
    _remove(old)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
