"""What of images and masks in the folder of results is what the stage would write again, and so stays.

Beside a store there is a ledger: of each element a digest of all that it was made from, and the state of its files. An
element whose digest would be the same, and whose files are as they were written, stays.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import _disk
from .._errors import SpatialfmWarning
from .._identity import fingerprint
from .._version import version_of
from ._analysis import STAGES, Analysis
from ._state import Stamp, contents, is_same, stamp_of, version

if TYPE_CHECKING:
    from spatialdata import SpatialData

LIBRARIES = ("spatialdata", "zarr", "ome-zarr")  # that write a store
Elements = dict[str, str]  # of each element, what it is made from


class Ledger:
    """What the elements of a store were made from.

    Parameters
    ----------
    analysis
        In whose folder the store is.
    stage
        That makes it.
    store
        Name of the store.
    """

    def __init__(self, analysis: Analysis, stage: str, store: str) -> None:
        self.path, self.store = analysis.out / STAGES / f"{stage}_kept.json", analysis.out / store
        self.files: dict[str, Stamp] = {}
        self._elements: dict[str, tuple[str, str, list[str]]] = {}
        try:
            content = json.loads(self.path.read_bytes())
            self._elements = {
                name: (str(made), str(state), list(map(str, said)))
                for name, (made, state, said) in content["elements"].items()
            }
            self.files = dict(content["files"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # nothing is kept
            pass

    def made_of(self, name: str) -> str | None:
        """What an element was made from and is, if its files are as they were written."""
        made, state, _ = self._elements.get(name, ("", "", []))
        return fingerprint({"made": made, "state": state}) if made and state == self._state(name) else None

    def same(self, elements: Mapping[str, str]) -> set[str]:
        """Elements that are there as they would be made."""
        known = {name for name, made in elements.items() if self._elements.get(name, ("",))[0] == made}
        return {name for name in known if self.made_of(name) is not None}

    def only(self, names: Collection[str]) -> None:
        """Forget all other elements, before they are made anew."""
        self._elements = {name: one for name, one in self._elements.items() if name in names}
        self._write()

    def said_of(self, name: str) -> list[str]:
        """Warnings of when an element was made."""
        return self._elements[name][2]

    def write(
        self,
        elements: Mapping[str, str],
        files: Mapping[str, Stamp] | None = None,
        said: Mapping[str, list[str]] | None = None,
    ) -> None:
        """Take down what the elements were made from, and what was warned of, once they are there."""
        said = said or {}
        self._elements = {name: (made, self._state(name), said.get(name, [])) for name, made in elements.items()}
        self.files = dict(files or {})
        self._write()

    def _write(self) -> None:
        content = {"elements": self._elements, "files": self.files}
        _disk.write_bytes(self.path, json.dumps(content, indent=1, ensure_ascii=False).encode())

    def _state(self, name: str) -> str:
        """Sizes and times of all files of an element; empty where there is none."""
        folder = next((one for kind in ("images", "labels") if (one := self.store / kind / name).is_dir()), None)
        if folder is None:
            return ""
        files = sorted(os.path.join(at, file) for at, _, names in os.walk(folder) for file in names)
        stats = [(os.path.relpath(file, folder), os.stat(file)) for file in files]
        states = [(name, one.st_size, one.st_mtime_ns) for name, one in stats]
        return hashlib.sha256(json.dumps(states).encode()).hexdigest()


@contextmanager
def heard() -> Iterator[list[str]]:
    """Our warnings of this block, which are shown as ever."""
    texts: list[str] = []
    show = warnings.showwarning

    def note(message: Warning | str, *args: Any, **options: Any) -> None:
        if isinstance(message, SpatialfmWarning):
            texts.append(str(message))
        show(message, *args, **options)

    warnings.showwarning = note
    try:
        yield texts
    finally:
        warnings.showwarning = show


def elements_of(sdata: SpatialData, files: dict[str, Stamp]) -> Elements:
    """What images and labels are made from as a reader opened them; those of which it is not known are left out.

    Parameters
    ----------
    files
        Stamps of files that are known; others are added.
    """
    from spatialdata.transformations import get_transformation

    from ..embed.pixels.content import made_from

    elements: Elements = {}
    for kind in ("images", "labels"):
        for name, element in getattr(sdata, kind).items():
            scales = getattr(element, "leaves", None)  # of a pyramid
            levels = [element] if scales is None else [next(iter(one.ds.values())) for one in scales]
            parts = [made_from(level.data) for level in levels]
            if any(part is None for part in parts):
                continue
            paths = sorted({path for part in parts if part is not None for path in part[1]})
            elements[name] = fingerprint(
                {
                    "version": [version(), [version_of(name) for name in LIBRARIES]],
                    "arrays": [part[0] for part in parts if part is not None],
                    "shapes": [[level.dims, level.shape, str(level.dtype), str(level.chunks)] for level in levels],
                    "channels": [[str(one) for one in level.coords.get("c", [])] for level in levels],
                    "coordinates": repr(get_transformation(element, get_all=True)),
                    "files": contents(_stamps(paths, files)),
                }
            )
    return elements


def _stamps(paths: Iterable[str], known: dict[str, Stamp]) -> dict[str, Stamp]:
    for path in paths:
        if path not in known or not is_same(Path(path), known[path]):
            known[path] = stamp_of(Path(path))
    return {path: known[path] for path in paths}
