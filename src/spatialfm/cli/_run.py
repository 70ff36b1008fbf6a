"""Stages in their order: which have to be done and why, doing them, and remembering what was done."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import _disk
from .._errors import RunError, SpatialfmError, listed, warn
from ._analysis import Analysis
from ._but_clinical import but_clinical
from ._config import CONFIG, refuse, takes_a_file
from ._screen import Screen
from ._state import Record, Stamp, State, as_json, contents, is_same, now, stamp_of, version
from ._without_images import READER
from .read import brings_cells, open_cohort, sources

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from ._stage import Stage


@dataclass(frozen=True)
class Step:
    """A stage in a plan; `why` it has to be done, None where it is finished."""

    stage: Stage
    why: str | None

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {"name": self.stage.name, "state": "finished" if self.why is None else "to do", "why": self.why}


def plan(analysis: Analysis, state: State, redo: Sequence[str] = ()) -> list[Step]:
    """All stages, with what has to be done; those in `redo` for no other reason."""
    steps: list[Step] = []
    waiting: set[str] = set()
    stays = (False, False)  # without the names of patients, and with them
    for name, stage in analysis.stages.items():
        looks = _looks_at(analysis, stage)
        needs = _needs(analysis, stage)
        why = "asked for" if name in redo else state.why(name, _decisive(analysis, name), needs, **looks)
        if name == "read" and why is not None and name not in redo:
            stays = _what_stays(analysis, state)
        untouched = not looks["clinical"] and stays[looks["patients"]]
        again = [need for need in needs if need in waiting and not (need == "read" and untouched)]
        if why is None and again:
            why = f"builds on {listed(again, 3)}"
        if why is not None:
            waiting.add(name)
        steps.append(Step(stage, why))
    return steps


def run_stages(
    analysis: Analysis,
    screen: Screen,
    *,
    only: str | None = None,
    dry_run: bool = False,
    redo: Sequence[str] = (),
    accept: Sequence[str] = (),
) -> None:
    """Do what has to be done, of all stages or of one.

    Raises
    ------
    SpatialfmError
        Before anything is written, where settings, files or results that are there do not allow it; or from a stage.
    KeyboardInterrupt
        If it was stopped, with the command that goes on.
    """
    check_folder(analysis.out)
    analysis.redo = set(redo)
    if dry_run:
        steps = _chosen(plan(analysis, State(analysis.out), redo), only)
        _tell_plan(steps, screen)
        screen.document({"command": screen.command, "status": "planned", "out": str(analysis.out),
                         "stages": [step.document() for step in steps], "notes": screen.notes})  # fmt: skip
        return
    with _held(analysis.out):
        state = State(analysis.out)
        for name in (one for one in accept if one in state.records):
            state.accept(name)
        for name in (one for one in state.records if one not in redo):
            state.check_untouched(name)
        steps = plan(analysis, state, redo)  # nothing is forgotten before all has been checked
        if state.renewed:
            state.write()
        _check_before(analysis, steps, only, screen)
        _disk.write_bytes(analysis.out / CONFIG, analysis.config.text().encode())
        done = _do(analysis, state, _chosen(steps, only), screen)
    later = [step.stage.name for step in plan(analysis, state) if step.why is not None]
    if only is not None and later:
        screen.say(f"\nStages to do: {listed(later, 8, quoted=False)} ('spatialfm run {analysis.out}' does them).")
    screen.document({"command": screen.command, "status": "done", "out": str(analysis.out), "stages": done,
                     "notes": screen.notes})  # fmt: skip


def _do(analysis: Analysis, state: State, steps: Sequence[Step], screen: Screen) -> list[dict[str, Any]]:
    documents = []
    for number, step in enumerate(steps, 1):
        title = f"[{number}/{len(steps)}] {step.stage.name}"
        if step.why is None:
            record = state.records[step.stage.name]
            screen.say(f"{title}: finished on {record.finished}")
        else:
            screen.say(f"{title}: {step.stage.summary} ({step.why})")
            record = _done(analysis, state, step.stage, screen)
            if step.stage.name == "read":
                _check_foreseen(analysis, state, steps)
            for line in record.findings:
                screen.say(f"  {line}")
            screen.say(f"  {record.seconds:.1f} s")
        documents.append(
            {
                "name": step.stage.name,
                "state": "finished before" if step.why is None else "done",
                "why": step.why,
                "seconds": record.seconds,
                "findings": record.findings,
                "notes": record.notes,
                "files": [str(analysis.out / name) for name in record.outputs],
            }
        )
    if any(step.why is not None for step in steps):
        screen.say(f"\nResults in {analysis.out.resolve()}")
    else:
        screen.say("Everything is finished; nothing was done.")
    return documents


def _done(analysis: Analysis, state: State, stage: Stage, screen: Screen) -> Record:
    """Do one stage and remember it; what it read is taken down before it reads it."""
    settings = analysis.settings(stage.name)
    looks = _looks_at(analysis, stage)
    after = {name: state.records[name].identity_for(**looks) for name in _needs(analysis, stage)}
    before = state.records.get(stage.name)
    state.forget(stage.name)
    analysis.files, began = [], time.perf_counter()
    try:
        with screen.noting() as notes:
            known = {} if before is None else before.inputs
            inputs, rest = _what_is_read(analysis, stage, known, tell=True)
            analysis.stamps = inputs
            done = stage.run(analysis, **settings)
    except SpatialfmError as error:
        raise SpatialfmError(f"stage {stage.name!r}: {error}{in_settings(str(error), stage)}") from error
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped in stage {stage.name!r}; what was finished is kept, and 'spatialfm run {analysis.out}' goes on"
        ) from None
    record = Record(
        settings=as_json(_decisive(analysis, stage.name)),
        inputs=inputs,
        outputs={name: stamp_of(analysis.out / name) for name in analysis.files},
        after=after,
        version=version(),
        findings=done.findings,
        notes=notes,
        seconds=round(time.perf_counter() - began, 1),
        finished=now(),
        but_clinical=rest[1],
        but_patients=rest[0],
    )
    state.remember(stage.name, record)
    return record


def _decisive(analysis: Analysis, name: str) -> dict[str, Any]:
    """What decides the results of a stage besides files: its settings and the seed; of reading, also what is read."""
    settings = analysis.settings(name)
    if analysis.stages[name].seeded:
        settings["random_state"] = analysis.random_state
    if name == "read":
        settings["cohort"] = str(analysis.config.cohort.resolve())
    return settings


def _needs(analysis: Analysis, stage: Stage) -> list[str]:
    """Stages whose results it reads; one that looks at clinical values or patients reads them from the store."""
    return list(dict.fromkeys([*(["read"] if any(_looks_at(analysis, stage).values()) else []), *stage.needs]))


def _looks_at(analysis: Analysis, stage: Stage) -> dict[str, bool]:
    """Whether a stage looks at clinical values, and at the names of patients."""
    return {"clinical": stage.looks_at_clinical(analysis.settings(stage.name)), "patients": stage.patients}


def _what_is_read(
    analysis: Analysis, stage: Stage, known: Mapping[str, Stamp], *, tell: bool = False
) -> tuple[dict[str, Stamp], tuple[str | None, str | None]]:
    """Stamps of the files that a stage reads, `known` ones where they hold, and of reading what is not clinical.

    The latter without the names of patients, and with them.

    With `tell`, images that are copies of each other are named.
    """
    settings = analysis.settings(stage.name)
    opened = stage.name == "read" and settings["reader"] != READER  # which names its two files itself
    sdata = open_cohort(analysis, settings) if opened else None
    inputs = {}
    for path in _inputs(analysis, stage, settings, sdata):
        stamp = known.get(str(path))
        inputs[str(path)] = stamp if stamp is not None and is_same(path, stamp) else stamp_of(path)
    if tell and sdata is not None:
        say_copies({path: inputs[path] for path in map(str, map(Path, sources(sdata, ("image",)))) if path in inputs})
    if sdata is None or brings_cells(settings["reader"], sdata):
        return inputs, (None, None)
    decided = as_json(_decisive(analysis, stage.name))
    without, with_them = (but_clinical(decided, sdata, inputs, patients=one) for one in (False, True))
    return inputs, (without, with_them)


def say_copies(images: Mapping[str, Stamp]) -> None:
    """Warn of images that are one under several names, such as that of a sample which was saved as another's."""
    paths_of: dict[str, list[str]] = {}
    for path, content in contents(images).items():
        if content != "absent":
            paths_of.setdefault(json.dumps(content, sort_keys=True), []).append(path)
    if copies := [paths for paths in paths_of.values() if len(paths) > 1]:
        more = f" (and {len(copies) - 1} more such images)" if len(copies) > 1 else ""
        warn(
            f"Images {listed(copies[0], 4)} have the same content{more}: the tissue of one sample counts as that of "
            "another, too. Correct the files if they should be different."
        )


def _what_stays(analysis: Analysis, state: State) -> tuple[bool, bool]:
    """Whether reading is due for nothing but clinical values and names of patients, and for nothing but the former."""
    record = state.records.get("read")
    if record is None or any(not (analysis.out / one).exists() for one in record.outputs):
        return False, False
    try:
        now_read = _what_is_read(analysis, analysis.stages["read"], record.inputs)[1]
    except SpatialfmError:  # which is told where the files are read
        return False, False
    without, with_them = (
        before is not None and before == one
        for before, one in zip((record.but_patients, record.but_clinical), now_read, strict=True)
    )
    return without, with_them


def _check_foreseen(analysis: Analysis, state: State, steps: Sequence[Step]) -> None:
    """Refuse to go on where files changed between the plan and reading them, so that more is due than was planned.

    Raises
    ------
    RunError
        With what to do.
    """
    for step in steps:
        stage = step.stage
        if step.why is None and "read" in _needs(analysis, stage):
            if state.why(stage.name, _decisive(analysis, stage.name), ["read"], **_looks_at(analysis, stage)):
                raise RunError("Files of the cohort changed while they were read. Run the same command again.")


def _inputs(
    analysis: Analysis, stage: Stage, settings: Mapping[str, Any], sdata: SpatialData | None = None
) -> list[Path]:
    options = stage.options(settings)
    paths = [
        Path(value)
        for name, value in settings.items()
        if isinstance(value, str) and name in options and takes_a_file(options[name].rule) and Path(value).exists()
    ]
    if stage.name == "read":
        paths.append(analysis.config.cohort.resolve())
        if sdata is not None:
            paths += [Path(one) for one in sources(sdata)]
    return list(dict.fromkeys(paths))


def check_folder(out: Path) -> None:
    """Refuse a folder with other files than ours, which would be written among.

    Raises
    ------
    SpatialfmError
        With what is there.
    """
    if (out / "state.json").exists() or not out.exists():
        return
    other = sorted(one.name for one in out.iterdir() if not one.name.startswith(".") and one.name != CONFIG)
    if other:
        raise SpatialfmError(
            f"Folder '{out}' already holds {listed(other, 4)}, and nothing says that an analysis wrote it. Pass "
            "another --out, or set 'out' in the settings."
        )


def _check_before(analysis: Analysis, steps: Sequence[Step], only: str | None, screen: Screen) -> None:
    """Whatever can be known to fail fails now, not after hours."""
    waiting = {step.stage.name: step.why for step in steps if step.why is not None}
    if only is not None:
        needs = [name for name in _needs(analysis, analysis.stages[only]) if name in waiting]
        if needs:
            raise SpatialfmError(
                f"Stage {needs[0]!r} comes first: {waiting[needs[0]]}. Run 'spatialfm {needs[0]} {analysis.out}', or "
                f"'spatialfm run {analysis.out}' for all."
            )
    todo = [name for name in waiting if only in (None, name)]
    if todo:
        with screen.noting():
            sdata = images_of(analysis, from_files="read" in waiting, masks_made_here="segment" not in waiting)
            refuse(check_before(analysis, todo, sdata), analysis.config.cohort)


def check_before(analysis: Analysis, names: Sequence[str], sdata: SpatialData) -> list[str]:
    """Problems of settings that show once the images are known: markers, masks, weights."""
    stages = [analysis.stages[name] for name in names]
    return [
        problem + in_settings(problem, stage)
        for stage in stages
        if stage.before is not None
        for problem in stage.before(analysis.settings(stage.name), sdata)
    ]


def images_of(analysis: Analysis, *, from_files: bool, masks_made_here: bool = False) -> SpatialData:
    """The images, from the store of an earlier run or from the files of the cohort.

    Raises
    ------
    SpatialfmError
        Whatever the reader refuses, with the settings that decide it.
    """
    if not from_files:
        return analysis.images(masks_made_here=masks_made_here)
    try:
        return open_cohort(analysis, analysis.settings("read"))
    except SpatialfmError as error:
        stage = analysis.stages["read"]
        raise SpatialfmError(f"stage 'read': {error}{in_settings(str(error), stage)}") from error


def in_settings(message: str, stage: Stage) -> str:
    """How to say in the settings what a message proposes as an argument of a function."""
    options = stage.options({})
    named = dict.fromkeys(name for name in re.findall(r"(?<![\w.])([a-z_]+)=", message) if name in options)
    if not named:
        return ""
    said = ", ".join(f"{stage.name}.{name}" for name in named)
    return (
        f"\n  (In the settings: {said}; as an option of 'spatialfm {stage.name}': {options[next(iter(named))].flag}.)"
    )


def _chosen(steps: Sequence[Step], only: str | None) -> list[Step]:
    return [step for step in steps if only is None or step.stage.name == only]


def _tell_plan(steps: Sequence[Step], screen: Screen) -> None:
    for step in steps:
        screen.show(f"{step.stage.name:10} {'finished' if step.why is None else 'to do: ' + step.why}")


@contextmanager
def _held(out: Path) -> Iterator[None]:
    """The folder of results for this process alone.

    Raises
    ------
    SpatialfmError
        If another process works in it.
    """
    is_new = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    hold = _disk.Hold(out / "analysis")
    hold.take()
    try:
        if others := hold.others():
            raise SpatialfmError(f"'{out}' is in use by {others[0]}. Wait for it, or pass another --out.")
        for folder in (out, *(one for one in out.iterdir() if one.is_dir() and one.suffix != ".zarr")):
            _disk.sweep(folder)
        yield
    finally:
        hold.release()
        if is_new and not any(out.iterdir()):  # refused before anything was written
            out.rmdir()
