"""Where images come from: SpatialData objects, stores on disk, or folders of stores."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import spatialdata as sd

from .._errors import ArgumentTypeError, InputFileError
from .._instead import instead_of

if TYPE_CHECKING:
    from spatialdata import SpatialData

Source: TypeAlias = "SpatialData | str | os.PathLike[str]"
_STORE = ("zarr.json", ".zgroup", ".zattrs")  # one of these is in a store


@dataclass(frozen=True)
class Opened:
    """One object with images.

    Attributes
    ----------
    source
        Name of the item of the sources that it is from; stores of one folder have one.
    where
        Its path, or words for an object in memory: for messages.
    sdata
        The object.
    """

    source: str
    where: str
    sdata: SpatialData


def open_sources(sources: Source | Sequence[Source]) -> list[Opened]:
    """All objects of the sources, in their order; stores of a folder by name.

    Raises
    ------
    ArgumentTypeError
        If an item is neither an object nor a path.
    InputFileError
        If a path does not exist, a folder holds no store, or a store cannot be opened.
    """
    is_one = isinstance(sources, (sd.SpatialData, str, os.PathLike))
    items: list[Source] = [sources] if is_one else list(sources)  # type: ignore[arg-type]
    if not items:
        raise ArgumentTypeError("sources= is empty. Pass a SpatialData, the path of a store, or a folder of stores.")
    taken: set[str] = set()
    opened: list[Opened] = []
    for number, item in enumerate(items):
        if isinstance(item, sd.SpatialData):
            where = f"sources[{number}]" if item.path is None else str(item.path)
            opened.append(Opened(_new_name(f"source{number}", taken), where, item))
        elif isinstance(item, (str, os.PathLike)):
            path = Path(item).expanduser()
            name = _new_name(path.name.removesuffix(".zarr"), taken)
            opened += [Opened(name, str(store), _read(store)) for store in _stores(path)]
        else:
            raise ArgumentTypeError(
                f"sources[{number}] is {type(item).__name__}; expected SpatialData, or a path. "
                f"{instead_of(item, 'SpatialData')}".strip()
            )
    return opened


def _new_name(name: str, taken: set[str]) -> str:
    """A name that no other item has: two folders of one name get numbers."""
    free = next(one for n in itertools.count(1) if (one := name if n == 1 else f"{name}_{n}") not in taken)
    taken.add(free)
    return free


def _stores(path: Path) -> list[Path]:
    if not path.is_dir():
        raise InputFileError(f"No store or folder {str(path)!r}. Pass the path of a SpatialData store (.zarr).")
    if _is_store(path):
        return [path]
    stores = sorted(child for child in path.iterdir() if child.is_dir() and _is_store(child))
    if not stores:
        raise InputFileError(
            f"Folder {str(path)!r} holds no store: none of its folders has {_STORE[0]} or {_STORE[1]}. Write images "
            "with sdata.write(path)."
        )
    return stores


def _is_store(path: Path) -> bool:
    return any((path / name).is_file() for name in _STORE)


def _read(store: Path) -> SpatialData:
    try:
        return sd.read_zarr(store)
    except Exception as error:  # zarr and spatialdata raise any error for damaged stores
        raise InputFileError(f"Store {str(store)!r} cannot be opened ({type(error).__name__}: {error}).") from error
