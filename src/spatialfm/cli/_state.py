"""What is finished: a small file beside the results holds, for each stage, all that decided them.

A stage is done again if one of these differs: its settings, the content of a file that it read, the stages that it
builds on, the version of the package, a file that it wrote. Everything else is left alone.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .. import _disk
from .._errors import InputFileError, SpatialfmError, listed
from .._identity import RECIPE
from .._version import __version__

STATE = "state.json"
STORE_NOTE = "zarr.json"  # of a zarr store: the file that lists all its elements
_SHOWN = 3

Stamp = dict[str, Any]


@dataclass
class Record:
    """What a finished stage was made from.

    Attributes
    ----------
    settings
        All its settings, as JSON holds them.
    inputs, outputs
        Stamp of each file that it read or wrote, by its path; outputs below the folder of results.
    after
        What identified each stage that it builds on; of reading, where clinical values do not matter, the rest.
    version
        Of the package, and of the numbers that it makes.
    findings, notes, seconds, finished
        For people.
    but_clinical, but_patients
        Of reading: what was read, but for clinical values, and but for the names of patients too; None where it cannot
        be told.
    """

    settings: dict[str, Any]
    inputs: dict[str, Stamp]
    outputs: dict[str, Stamp]
    after: dict[str, str]
    version: str
    findings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    finished: str = ""
    but_clinical: str | None = None
    but_patients: str | None = None

    @property
    def identity(self) -> str:
        """What stages that build on it depend on: all that decided its results, and the results."""
        decided = [self.settings, contents(self.inputs), contents(self.outputs), self.after, self.version]
        return hashlib.sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()

    def identity_for(self, *, clinical: bool, patients: bool) -> str:
        """What a stage depends on that looks at clinical values, or at the names of patients, or at neither."""
        part = self.but_clinical if patients else self.but_patients
        return self.identity if clinical or part is None else part


def version() -> str:
    """The package's version, with that of its numbers."""
    return f"{__version__} (numbers {RECIPE})"


def as_json(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they are after a way through JSON."""
    return json.loads(json.dumps(dict(settings), default=str))


class State:
    """The file with the records of all stages.

    Parameters
    ----------
    out
        Folder of results.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.records: dict[str, Record] = {}
        self.renewed = False  # whether files were compared whose times are others now, which need not be done again
        self.stale: dict[str, list[str]] = {}  # files of a stage that was forgotten, until it is done again
        self._read()

    @property
    def path(self) -> Path:
        """The file."""
        return self.out / STATE

    def _read(self) -> None:
        if not self.path.exists():
            return
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            self.records = {name: Record(**record) for name, record in content["stages"].items()}
            self.stale = {name: list(paths) for name, paths in content.get("stale", {}).items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputFileError(
                f"'{self.path}' is not a record of finished stages ({error}). Move the folder away, or pass another "
                "--out, and run again."
            ) from error

    def write(self) -> None:
        """Put the records in place, whole."""
        stages = {name: asdict(one) for name, one in self.records.items()}
        content = {"spatialfm": __version__, "stages": stages, "stale": self.stale}
        _disk.write_bytes(self.path, json.dumps(content, indent=1, ensure_ascii=False).encode())

    def why(
        self,
        name: str,
        settings: Mapping[str, Any],
        needs: Iterable[str],
        *,
        clinical: bool = True,
        patients: bool = True,
    ) -> str | None:
        """Why a stage has to be done, or None where it is finished.

        Stages in `needs` are finished, or were found to need doing before; `clinical`, `patients`: whether it looks at
        clinical values, and at the names of patients.
        """
        record = self.records.get(name)
        if record is None:
            return "not done yet"
        if record.version != version():
            return f"made by version {record.version}, this is {version()}"
        if changes := changed_settings(record.settings, as_json(settings)):
            return "; ".join(changes[:_SHOWN]) + (f"; {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else "")
        if gone := [path for path in record.outputs if not (self.out / path).exists()]:
            return f"{listed(gone, 2)} is not there any more"
        if other := [path for path, stamp in record.inputs.items() if not is_same(Path(path), stamp)]:
            return f"{listed(other, 2)} changed"
        self.renewed |= any([renew(Path(path), stamp) for path, stamp in record.inputs.items()])
        for stage in needs:
            before = self.records.get(stage)
            if before is None or record.after.get(stage) != before.identity_for(clinical=clinical, patients=patients):
                return f"stage {stage!r} was done again"
        return None

    def check_untouched(self, name: str) -> None:
        """Refuse to write over, or to build on, results that somebody changed by hand.

        Raises
        ------
        SpatialfmError
            With what to do.
        """
        outputs = self.records[name].outputs
        self.renewed |= any([_renewed_if_same(self.out / path, stamp) for path, stamp in outputs.items()])
        touched = [
            path
            for path, stamp in outputs.items()
            if (self.out / path).exists() and not is_same(self.out / path, stamp)
        ]
        if touched:
            raise SpatialfmError(
                f"{listed(touched, 3)} in '{self.out}' changed after stage {name!r} had written it. To go on with it "
                f"as it is now, pass --accept {name} (stages that build on it are done again); to make it anew, pass "
                f"--redo {name}."
            )

    def accept(self, name: str) -> None:
        """Take the results of a stage as they are now."""
        record, before = self.records[name], self.records[name].outputs
        record.outputs = {path: stamp_of(self.out / path) for path in record.outputs if (self.out / path).exists()}
        if record.but_clinical is not None and contents(record.outputs) != contents(before):
            record.but_clinical = record.but_patients = (
                record.identity
            )  # what was read is not what the files say any more
        self.write()

    def forget(self, name: str) -> None:
        """A stage counts as not done; its files stay until it is done again."""
        record = self.records.pop(name, None)
        if record is not None:
            self.stale[name] = sorted({*self.stale.get(name, []), *record.outputs})
            self.write()

    def remember(self, name: str, record: Record) -> None:
        """A stage is done: what it wrote earlier and not now, such as a table that was not asked for, goes."""
        self.records[name] = record
        for path in self.stale.pop(name, []):
            if path not in record.outputs:
                _disk.discard(self.out / path)
        self.write()


def changed_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """``n_niches is 8, was 10`` for each setting that differs."""
    return [
        f"{name} is {json.dumps(now.get(name))}, was {json.dumps(before.get(name))}"
        for name in dict.fromkeys([*now, *before])
        if before.get(name) != now.get(name)
    ]


def stamp_of(path: Path) -> Stamp:
    """What a file, a store or a folder is known by: size, times of the last change, and SHA-256 of the content."""
    if path.is_dir() and (path / STORE_NOTE).is_file():
        return {"store": stamp_of(path / STORE_NOTE)}
    if path.is_dir():
        return {"folder": {one.relative_to(path).as_posix(): stamp_of(one) for one in _files(path)}}
    if not path.exists():
        return {"absent": True}
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    return {**_quick(path), "sha256": content}


def is_same(path: Path, stamp: Stamp) -> bool:
    """Whether a file is what it was: of one size and times it is believed; otherwise its content decides.

    A time can be set by whoever copies a file; when the system itself saw the last change cannot.
    """
    if not path.exists():
        return "absent" in stamp
    if "store" in stamp:
        return is_same(path / STORE_NOTE, stamp["store"])
    if "folder" in stamp:
        return (
            path.is_dir()
            and {one.relative_to(path).as_posix() for one in _files(path)} == set(stamp["folder"])
            and all(is_same(path / name, one) for name, one in stamp["folder"].items())
        )
    if path.is_dir() or "absent" in stamp:
        return False
    now = _quick(path)
    if now["size"] != stamp["size"]:
        return False
    return now == {name: stamp.get(name) for name in now} or stamp_of(path)["sha256"] == stamp["sha256"]


def _renewed_if_same(path: Path, stamp: Stamp) -> bool:
    return is_same(path, stamp) and renew(path, stamp)


def _files(folder: Path) -> list[Path]:
    return sorted(one for one in folder.rglob("*") if one.is_file() and not one.name.startswith("."))


def _quick(path: Path) -> Stamp:
    status = path.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "ctime_ns": status.st_ctime_ns}


def renew(path: Path, stamp: Stamp) -> bool:
    """Take down the times of a file that was compared and is the same; whether they were others."""
    if "store" in stamp:
        return renew(path / STORE_NOTE, stamp["store"])
    if "folder" in stamp:
        return any([renew(path / name, one) for name, one in stamp["folder"].items()])
    if "sha256" not in stamp or not path.is_file():
        return False
    times = _quick(path)
    is_new = times != {name: stamp.get(name) for name in times}
    stamp.update(times)
    return is_new


def contents(stamps: Mapping[str, Stamp]) -> dict[str, Any]:
    """Stamps without times, so that a copied or touched file is the same one."""

    def content(stamp: Stamp) -> Any:
        if "store" in stamp:
            return content(stamp["store"])
        if "folder" in stamp:
            return {name: content(one) for name, one in stamp["folder"].items()}
        return stamp.get("sha256", "absent")

    return {path: content(stamp) for path, stamp in stamps.items()}


def now() -> str:
    """Local time, for people."""
    return time.strftime("%Y-%m-%d %H:%M:%S")
