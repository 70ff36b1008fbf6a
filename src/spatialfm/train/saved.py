"""What a run leaves: its encoder, and a card of what it was made of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._errors import ModelError, counted
from .._keys import PATIENT_KEY
from ..models.adapter import as_json
from .cell_probe import CellProbe, ProbeCells, reading_of
from .drawn import DrawnWindows, Validation, fixed_windows
from .monitor import Check, Collapse

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from ..models.encoder import Encoder
    from .checkpoint import Checkpoints
    from .data import Windows
    from .loop import Seen
    from .objectives import Objective
    from .trainer import TrainingPlan

FIXED_WINDOWS = 32
OF_SHARDED = "objective."  # begins the names of a checkpoint of shared-out parameters


def checks_of(
    fabric: Fabric,
    learner: Objective,
    windows: Windows,
    held_out: Windows | None,
    cells: ProbeCells | None,
    plan: TrainingPlan,
) -> list[Check]:
    """What is looked at every so often: collapse, and, where there is something to look at, validation and cells."""
    looked_at = windows if held_out is None else held_out
    checks: list[Check] = [Collapse(learner.result, fixed_windows(looked_at, plan.seed, FIXED_WINDOWS))]
    if held_out is not None:
        checks.append(Validation(fabric, learner, DrawnWindows(held_out, plan.seed, plan.batch_size)))
    if cells is not None:
        reading = reading_of(windows, cells)
        checks.append(CellProbe(learner.result, cells, active=fabric.is_global_zero, reading=reading))
    return checks


def whole_result(learner: Objective, blank: Objective | None, checkpoints: Checkpoints) -> Encoder:
    """The encoder that is saved; of parameters that are shared out, from the last checkpoint, which has all."""
    if blank is not None:
        newest = checkpoints.newest()
        state = {} if newest is None else checkpoints.read(newest)["objective"]
        blank.load_state_dict({name.removeprefix(OF_SHARDED): value for name, value in state.items()})
        learner = blank
    return learner.result().cpu().eval().requires_grad_(False)


def card_of_run(
    record: Mapping[str, Any], windows: Windows, seen: Seen, plan: TrainingPlan, license: str | None
) -> dict[str, Any]:
    """What is said of a run beside its weights, in types of JSON."""
    table = windows.table
    patients = table[PATIENT_KEY].dropna().nunique()
    images = table[["source", "sample"]].drop_duplicates()
    of_patients = f" of {counted(patients, 'patient')}" if patients else ""
    card: dict[str, Any] = {
        "trained_on": f"{counted(len(images), 'image')}{of_patients}",
        "training": {
            "data": [
                {"source": str(name), "samples": sorted(part["sample"].unique()), "windows": len(part)}
                for name, part in table.groupby("source", sort=True)
            ],
            "fingerprint": windows.fingerprint(),
            "windows": len(table),
            "windows_by_stratum": _by_stratum(windows),
            "windows_drawn_by_marker": {name: n for name, (n, _) in sorted(seen.items())},
            "windows_without_signal_by_marker": {name: k for name, (_, k) in sorted(seen.items()) if k},
            "parameters": dict(record["parameters"]),
            "window_settings": as_json(windows.settings.parts()),
            "steps": plan.taken,
            "versions": dict(record["versions"]),
        },
    }
    return card | ({} if license is None else {"license": license})


def _by_stratum(windows: Windows) -> dict[str, int]:
    names = list(windows.settings.strata)
    if not names:
        return {}
    return {
        ", ".join(map(str, key if isinstance(key, tuple) else (key,))): len(part)
        for key, part in windows.table.groupby(names, sort=True)
    }


def as_loaded(encoder: Encoder, folder: Path) -> Encoder:
    """The encoder as `load` gives it; as it is where its model reads no folders of ours."""
    from ..models import load
    from ..models.family import family_of

    try:
        family_of(encoder.card.name)
    except ModelError:
        return encoder
    return load(encoder.card.name, weights=folder)
