"""What a call of `pretrain` asks for, checked and settled before the first step."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from .._errors import ArgumentError, ModelError, RunError
from .._identity import fingerprint
from .._logging import logger
from .._public import meant
from ..models import Encoder, load, new_encoder
from ..models.encoder import MarkerEntry
from ..models.family import family_of, published_objective, shape_of
from ..models.preparation import code_of
from .call import window_arguments
from .data import Windows
from .drawn import DrawnWindows
from .fabric import on_first, random_numbers_apart
from .objectives import Objective, new_objective
from .pace import Pace, Told
from .run_folder import Identity, RunFolder
from .sampling import check_batch_size, steps_of_epoch
from .steps import batches_of, default_workers, shared_cores
from .trainer import Trainer, TrainingPlan

if TYPE_CHECKING:
    from lightning_fabric import Fabric

TIMED_STEPS = 4
ESTIMATES = "estimates"  # of the number of steps, in the record of a run
SECONDS_BETWEEN_CHECKPOINTS = 600.0
SHORT = 200  # characters of a setting; of longer ones the digest is kept


@dataclass(frozen=True)
class Length:
    """How long a run is: one of three is not None."""

    epochs: float | None = None
    steps: int | None = None
    minutes: float | None = None

    def check(self) -> None:
        """Refuse none and several.

        Raises
        ------
        ArgumentError
            If not one is said.
        """
        said = [name for name in ("epochs", "steps", "minutes") if getattr(self, name) is not None]
        if len(said) != 1:
            what = f"{' and '.join(f'{name}=' for name in said)} are given" if said else "none is given"
            raise ArgumentError(
                f"The length of a run is one of epochs=, steps= and minutes=; {what}. Pass one of them."
            )

    def n_steps(self, n_windows: int, batch_size: int) -> int | None:
        """Steps; None: it depends on the speed."""
        if self.epochs is not None:
            return max(1, round(self.epochs * steps_of_epoch(n_windows, batch_size)))
        return self.steps


@dataclass(frozen=True)
class Asked:
    """Arguments of `spatialfm.train.pretrain` that decide the numbers of a run."""

    model: str | Encoder
    weights: str | PathLike | None
    shape: Mapping[str, Any]
    objective: str | Objective | None
    options: Mapping[str, Any]
    windows: Mapping[str, Any]
    length: Length
    batch_size: int
    validation: float | Sequence[str] | None
    patient_key: str
    precision: str
    strategy: str
    random_state: int

    def check(self) -> None:
        """Refuse what contradicts itself, before anything is read.

        Raises
        ------
        ArgumentError, ModelError
            If the length is not one of three, a shape and weights are both said, or windows have no such argument.
        """
        self.length.check()
        if unknown := [name for name in self.windows if name not in window_arguments()]:
            raise ArgumentError(
                f"windows= has {unknown[0]!r}, which is not an argument of Windows. "
                f"{meant(unknown[0], window_arguments())}"
            )
        if self.shape and (self.weights is not None or not isinstance(self.model, str)):
            what = "weights=" if self.weights is not None else "a loaded encoder"
            raise ArgumentError(f"shape= is for random weights; {what} has a shape. Leave one of them out.")
        if self.weights is not None and not isinstance(self.model, str):
            raise ArgumentError("weights= belongs to a model by name. Leave it out where an encoder is passed.")
        if isinstance(self.objective, Objective) and self.model not in (
            self.objective.encoder,
            self.objective.encoder.card.name,
        ):
            raise ArgumentError(
                f"objective= holds an encoder of {self.objective.encoder.card.name!r}, and model= is another one. Pass "
                "model=objective.encoder."
            )

    def encoder(self) -> Encoder:
        """The encoder at the start of the run."""
        if isinstance(self.objective, Objective):
            return self.objective.encoder
        if not isinstance(self.model, str):
            return copy.deepcopy(self.model).train().requires_grad_(True)
        if self.weights is None:
            return new_encoder(self.model, random_state=self.random_state, **self.shape)
        options = dict(family_of(self.model).training)
        return load(self.model, weights=self.weights, **options).train().requires_grad_(True)

    def data(self, sources: Any, encoder: Encoder) -> tuple[Windows, Windows | None]:
        """Windows to train on, and those of patients that are held out.

        Raises
        ------
        ArgumentError, ModelError, PanelError, ClinicalError
            As `Windows` does, or if windows are of another model.
        RunError
            If a batch is larger than the data.
        """
        if isinstance(sources, Windows):
            if self.windows:
                raise ArgumentError("windows= makes Windows of images; sources= has them already. Leave it out.")
            if sources.settings.model != encoder.card.name:
                raise ArgumentError(
                    f"sources= are windows as {sources.settings.model!r} takes them, and model= is "
                    f"{encoder.card.name!r}. Make them with sfm.train.Windows(sdata, {encoder.card.name!r})."
                )
            windows = sources
        else:
            windows = Windows(sources, encoder, **{"patient_key": self.patient_key, **self.windows})
        held_out = None
        if self.validation is not None:
            windows, held_out = windows.split(self.validation, self.random_state)
        check_batch_size(len(windows), self.batch_size)
        return windows, held_out

    def learner(self, encoder: Encoder, windows: Windows) -> Objective:
        """The objective, whose encoder knows the markers of the windows.

        Raises
        ------
        ArgumentError, ModelError
            If there is none for this encoder, or markers would have no single mean.
        """
        if encoder.n_marker_ids:
            encoder.vocabulary = vocabulary_with(encoder, windows)
        if isinstance(self.objective, Objective):
            return self._begun(new_objective(self.objective, **self.options), windows)
        name = self.objective or published_objective(encoder.card)
        if name is None:
            raise ArgumentError(
                f"{encoder.card.name} was published without an objective. Pass objective='masked' or 'distill'."
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.random_state)  # heads begin at random
            return self._begun(new_objective(name, encoder, **self.options), windows)

    @staticmethod
    def _begun(objective: Objective, windows: Windows) -> Objective:
        objective.begin(windows)
        return objective


def vocabulary_with(encoder: Encoder, windows: Windows) -> tuple[MarkerEntry, ...]:
    """The markers that an encoder knows, those of the windows with the means and deviations that they are scaled by.

    Raises
    ------
    ModelError
        If a marker has several means, of which the published table holds one.
    """
    table = windows.markers
    if (several := table.index[table["mean"].isna()]).size:
        raise ModelError(
            f"Marker {several[0]!r} has a mean for each data set, and {encoder.card.name} keeps one for each marker. "
            "Leave dataset_key= out of windows=."
        )
    known = {entry.name: entry for entry in encoder.vocabulary}
    known |= {
        str(name): MarkerEntry(str(name), int(row["id"]), float(row["mean"]), float(row["std"]))
        for name, row in table.iterrows()
    }
    return tuple(sorted(known.values(), key=lambda entry: entry.id))


def identity_of(asked: Asked, learner: Objective, windows: Windows) -> Identity:
    """All that decides the numbers of a run, by the names of arguments."""
    parameters = {
        "model": learner.encoder.card.name,
        "weights": _digest(learner),
        "shape": dict(asked.shape) or _shape_of(asked, learner.encoder),
        "objective": learner.name or type(learner).__name__,
        "options": settings_of(asked.objective) if isinstance(asked.objective, Objective) else dict(asked.options),
        "epochs": asked.length.epochs,
        "steps": asked.length.steps,
        "minutes": asked.length.minutes,
        "batch_size": asked.batch_size,
        "validation": asked.validation if isinstance(asked.validation, float | None) else list(asked.validation),
        "precision": asked.precision,
        "strategy": "fsdp" if asked.strategy == "fsdp" else "auto",  # checkpoints of the other are of another form
        "random_state": asked.random_state,
    }
    own = {"objective": type(learner), "encoder": type(learner.encoder)}
    code = {
        f"the code of the {what}": fingerprint({"code": code_of(kind)})[:12]
        for what, kind in own.items()
        if kind.__module__.partition(".")[0] != __name__.partition(".")[0]
    }
    return Identity(json.loads(json.dumps(parameters, default=_told)), windows.parts(), code)


def _shape_of(asked: Asked, encoder: Encoder) -> dict[str, Any]:
    """Shape and options of an encoder that was given: heads and strides are in no weight. Of one by name: nothing."""
    if isinstance(asked.model, str) and asked.weights is None and not isinstance(asked.objective, Objective):
        return {}
    return shape_of(encoder) | dict(encoder.options)


def settings_of(objective: Objective) -> dict[str, Any]:
    """What an objective that was given was made with, as far as its attributes tell; what is long, by a digest."""
    told = {}
    for name, value in vars(objective).items():
        if not name.startswith("_") and name not in ("training", "batch_size"):
            plain = _plain(value)
            is_short = len(json.dumps(plain)) < SHORT
            told[name] = plain if is_short else fingerprint({name: plain})
    return told


def _plain(value: Any) -> Any:
    """A value in types of JSON; what is neither number, text, table nor made of these, by its type alone."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, pd.DataFrame):
        return _told(value)
    if isinstance(value, np.ndarray | np.generic | torch.Tensor):
        return fingerprint({"values": value})
    return type(value).__name__


def _told(value: Any) -> str:
    """What an option is known by that JSON cannot hold; a table by all of its values, which its text leaves out."""
    return hashlib.sha256(value.to_csv().encode()).hexdigest() if isinstance(value, pd.DataFrame) else str(value)


def _digest(module: nn.Module) -> str:
    """SHA-256 of all weights that a run begins with."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(name.encode() + str(tuple(tensor.shape)).encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def plan_of(
    fabric: Fabric,
    asked: Asked,
    learner: Objective,
    windows: Windows,
    folder: RunFolder,
    record: dict[str, Any],
    *,
    nodes: int,
    workers: int | None,
    check_every: int,
    checkpoint_every: int | None,
) -> TrainingPlan:
    """The plan of a run; where speed decides its number of steps, they and later estimates are kept in the folder.

    Raises
    ------
    ArgumentError
        If there are more processes than windows in a step.
    """
    if asked.batch_size < fabric.world_size:
        raise ArgumentError(
            f"batch_size={asked.batch_size} is shared out to {fabric.world_size} processes, some of which would have "
            "no window. Pass a larger batch_size=, or fewer devices= and nodes=."
        )
    processes = max(1, fabric.world_size // nodes)
    plan = TrainingPlan(
        n_steps=asked.length.n_steps(len(windows), asked.batch_size) or record.get("n_steps", 0),
        batch_size=asked.batch_size,
        seed=asked.random_state,
        workers=default_workers(processes) if workers is None else workers,
        processes=processes,
        checkpoint_every=checkpoint_every,
        checkpoint_seconds=SECONDS_BETWEEN_CHECKPOINTS,
        check_every=check_every,
    )
    if not plan.n_steps:
        seconds = seconds_of_a_step(fabric, learner, DrawnWindows(windows, asked.random_state, asked.batch_size), plan)
        n_steps = max(1, math.floor(60 * (asked.length.minutes or 0) / seconds))
        logger.info("%.2f s a step: %s minutes are about %s steps", seconds, asked.length.minutes, f"{n_steps:,}")
        plan = replace(plan, n_steps=fabric.broadcast(n_steps, 0))
    if "n_steps" not in record:
        record["n_steps"] = plan.n_steps
        on_first(fabric, partial(folder.write, record))
    return plan if asked.length.minutes is None else replace(plan, pace=_pace(asked.length.minutes, folder, record))


def _pace(minutes: float, folder: RunFolder, record: dict[str, Any]) -> Pace:
    """The steps of a run of so many minutes, whose estimates are kept in its folder."""

    def keep(told: Told) -> None:
        folder.write(record | {"n_steps": told[-1][1], ESTIMATES: told})

    return Pace(60 * minutes, record.get(ESTIMATES, [(0, record["n_steps"], 0.0)]), keep)


def seconds_of_a_step(fabric: Fabric, learner: Objective, drawn: DrawnWindows, plan: TrainingPlan) -> float:
    """Seconds of a step, by the fastest of a few that a copy takes.

    Raises
    ------
    RunError
        If there is no step.
    """
    trainer = Trainer(fabric, copy.deepcopy(learner), replace(plan, n_steps=1000))
    ended: list[float] = []
    with random_numbers_apart(fabric), shared_cores(plan.workers, plan.processes):
        batches = batches_of(
            drawn, learner.views(), plan.seed, range(TIMED_STEPS), workers=plan.workers, rank=fabric.global_rank,
            world=fabric.world_size,
        )  # fmt: skip
        for step, made in batches:
            trainer.step(step, made)
            ended.append(time.perf_counter())
    if len(ended) < 2:
        raise RunError("No step could be timed: a mistake in spatialfm, please report it.")
    return (ended[-1] - ended[0]) / (len(ended) - 1)
