"""The one loop that trains: steps, their losses over all processes, checkpoints."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Protocol

import torch

from .._errors import RunError, listed
from .._progress import progress_bar
from .checkpoint import Checkpoints, save_state
from .fabric import on_first, random_numbers_apart
from .interrupt import Stop, answered_between_steps
from .objectives.objective import Objective, Schedule
from .steps import Made, WindowSource, batches_of, shared_cores
from .trainer import Stepped, Trainer, TrainingPlan

if TYPE_CHECKING:
    from lightning_fabric import Fabric

ENDLESS = 2**62  # steps of a run whose length is still open
Seen = dict[str, tuple[int, int]]  # windows of each marker, and how many of them were constant


class Watch(Protocol):
    """Who is told how a run goes."""

    def resume(self, step: int) -> bool:
        """A run begins, or goes on, after so many steps; whether a check that is due there is still to be done."""

    def step(self, step: int, row: dict[str, float]) -> None:
        """A step is done."""

    def check(self, step: int, seen: Seen) -> None:
        """So many steps are done, and a check is due; asked of all processes."""


def train(
    fabric: Fabric, objective: Objective, data: WindowSource, plan: TrainingPlan, checkpoints: Checkpoints, watch: Watch
) -> Seen:
    """Train until the last step, from the newest checkpoint where there is one.

    Parameters
    ----------
    fabric
        Launched.
    objective
        What is trained; it is changed, and left in evaluation mode.
    data
        Where the windows of a step come from.
    plan
        How long.
    checkpoints
        Of this run.
    watch
        Who is told how it goes.

    Returns
    -------
    Windows that were drawn of each marker, and how many of them were constant.

    Raises
    ------
    RunError
        If a window cannot be read, a loss is not a number, or a checkpoint cannot be written. What checkpoints hold is
        kept, and the same call goes on from there.
    KeyboardInterrupt
        On Ctrl-C or SIGTERM, after the step at hand and its checkpoint.
    """
    run = _Running(Trainer(fabric, objective, plan), data, checkpoints, watch)
    with random_numbers_apart(fabric), shared_cores(plan.workers, plan.processes):
        run.restore()
        try:
            run.steps()
        except RunError as error:
            raise RunError(run.kept(str(error))) from error
    objective.eval()
    return run.all_seen()


class _Running:
    """One run: steps, and what is done between them.

    Parameters
    ----------
    trainer, data, checkpoints, watch
        As in `train`.
    """

    def __init__(self, trainer: Trainer, data: WindowSource, checkpoints: Checkpoints, watch: Watch) -> None:
        self.trainer, self.data, self.checkpoints, self.watch = trainer, data, checkpoints, watch
        self.fabric, self.plan = trainer.fabric, trainer.plan
        self.done = self.saved = 0
        self.saved_at = time.monotonic()
        self.seen: Seen = {}  # of this process, and of all before the newest checkpoint in the first one
        self.unchecked = True

    def restore(self) -> None:
        """Go on from the newest checkpoint."""
        newest = on_first(self.fabric, self.checkpoints.newest)
        spent = 0.0
        if newest is not None:
            state = self.checkpoints.read(newest)
            self.trainer.restore(state)
            spent = float(state.get("seconds", 0.0))
            self.done = self.saved = newest
            if self.fabric.is_global_zero:
                self.seen = {name: (int(n), int(constant)) for name, (n, constant) in state["seen"].items()}
        if self.plan.pace is not None:
            self.plan.pace.begin(spent)
        unchecked = self.watch.resume(self.done)
        self.unchecked = on_first(self.fabric, lambda: unchecked)  # the first process has the tables

    def steps(self) -> None:
        """All steps that are left."""
        plan, fabric = self.plan, self.fabric
        if self.unchecked and self._to_check():  # one of a run that was killed between a checkpoint and its check
            self._check(self.all_seen())
        ahead = plan.length(self.done) if plan.pace is None else ENDLESS
        batches = batches_of(
            self.data,
            self.trainer.objective.views(),
            plan.seed,
            range(self.done, ahead),
            workers=plan.workers,
            rank=fabric.global_rank,
            world=fabric.world_size,
        )
        began = time.perf_counter()
        hidden = not fabric.is_global_zero
        with (
            answered_between_steps() as stop,
            progress_bar(total=plan.length(self.done), initial=self.done, unit="step", hidden=hidden) as bar,
            closing(batches),  # of workers that read ahead, none is left behind
        ):
            while self.done < plan.length(self.done) and (batch := self._next(batches)) is not None:
                stepped = self._step(*batch, stop)
                ended = time.perf_counter()
                self.watch.step(self.done, _row(stepped, plan.batch_size / (ended - began)))
                began = ended
                bar.update()
                bar.set_postfix(loss=f"{stepped.loss:.4g}", refresh=False)
                self._between(stepped.votes)
                bar.total = plan.length(self.done)

    def _next(self, batches: Iterator[tuple[int, list[Made]]]) -> tuple[int, list[Made]] | None:
        """The next batch; where it cannot be read, the steps before it are saved first."""
        try:
            return next(batches, None)
        except RunError:
            if self.fabric.world_size == 1 and self.done > self.saved:
                self.save()
            raise

    def _step(self, step: int, made: list[Made], stop: Stop) -> Stepped:
        try:
            stepped = self.trainer.step(step, made, [stop.asked, self._due(step + 1), self._to_estimate(step + 1)])
        except RunError as error:
            windows = listed([f"{one.index} ({self.data.describe(one.index)})" for one in made], quoted=False)
            raise RunError(
                f"At step {step:,} {error}. The step was not taken. The windows of its batch: {windows}. Look at "
                "these, or train with a lower learning rate"
            ) from error
        self.done = step + 1
        for one in made:
            for name, constant in zip(one.names, one.constant, strict=True):
                n, n_constant = self.seen.get(name, (0, 0))
                self.seen[name] = (n + 1, n_constant + constant)
        return stepped

    def _between(self, votes: list[bool]) -> None:
        """Checks and checkpoints that are due, and an end that was asked for."""
        stop, due, estimate = votes
        pace = self.plan.pace
        if estimate and pace is not None:
            if self.fabric.is_global_zero:
                pace.estimate(self.done)
            pace.told = self.fabric.broadcast(pace.told, 0)
        last = self.done == self.plan.length(self.done)
        if due or stop or last:
            self.save()
        if self._to_check():
            self._check(self.all_seen())
        if stop and not last:
            raise KeyboardInterrupt(
                f"Stopped after step {self.done:,} of {self.plan.length(self.done):,}. The same call goes on from "
                "there."
            )

    def _check(self, seen: Seen) -> None:
        self.watch.check(self.done, seen)
        self.trainer.objective.train()  # which a check may have set to evaluation

    def _to_check(self) -> bool:
        return self.done % self.plan.check_every == 0 or self.done == self.plan.length(self.done)

    def _to_estimate(self, step: int) -> bool:
        pace = self.plan.pace
        return pace is not None and self.fabric.is_global_zero and pace.due(step)

    def _due(self, step: int) -> bool:
        every = self.plan.checkpoint_every
        if every is not None:
            return step % every == 0
        return time.monotonic() - self.saved_at > self.plan.checkpoint_seconds

    def save(self) -> None:
        """Write a checkpoint, all processes together."""
        state = self.trainer.state() | {
            "step": self.done,
            "seen": {name: list(counts) for name, counts in self.all_seen().items()},
        }
        if self.plan.pace is not None:
            state["seconds"] = self.plan.pace.spent
        on_first(self.fabric, lambda: self.checkpoints.write(self.done, partial(save_state, state)))
        self.saved, self.saved_at = self.done, time.monotonic()

    def all_seen(self) -> Seen:
        """Windows of each marker, of all processes."""
        if self.fabric.world_size == 1:
            return dict(self.seen)
        parts: list[Seen] = [{} for _ in range(self.fabric.world_size)]
        torch.distributed.all_gather_object(parts, self.seen)
        merged: Seen = {}
        for part in parts:
            for name, (n, constant) in part.items():
                before = merged.get(name, (0, 0))
                merged[name] = (before[0] + n, before[1] + constant)
        return merged

    def kept(self, problem: str) -> str:
        """A problem, and what is kept of the run."""
        where = f"'{self.checkpoints.folder}'"
        if "is kept" in problem or "There is none before it" in problem:
            return problem
        if not self.saved:
            return f"{problem}. No checkpoint was written before."
        return f"{problem}. The checkpoint after step {self.saved:,} is kept in {where}: the same call goes on from it."


def _row(stepped: Stepped, speed: float) -> dict[str, float]:
    """What is written of a step."""
    values: Schedule = stepped.schedule
    return {
        "loss": stepped.loss,
        **{f"loss_{name}": value for name, value in stepped.terms.items()},
        "lr": values.lr,
        "weight_decay": values.weight_decay,
        **values.extra,
        "gradient_norm": stepped.gradient_norm,
        "windows_per_second": speed,
    }
