"""One step of training: the loss over all processes, its gradient, and the change of weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import AdamW

from .._errors import ModelError, RunError, listed
from .objectives.objective import Objective, Schedule, Term
from .pace import Pace
from .sharded import is_sharded, restore_sharded, sharded_state
from .steps import Made, moved

if TYPE_CHECKING:
    from lightning_fabric import Fabric

TORCH = 3  # purpose of random numbers that torch draws within a step, such as those of drop path


@dataclass(frozen=True)
class TrainingPlan:
    """How long, and how often what is done.

    Attributes
    ----------
    n_steps
        Steps of the whole run, by which schedules go.
    batch_size
        Windows of a step, over all processes.
    seed
        Of everything that is random.
    workers
        Processes that read windows, for each that trains.
    processes
        Processes that train on this machine.
    checkpoint_every, checkpoint_seconds
        Steps between checkpoints, or None: seconds.
    check_every
        Steps between checks.
    pace
        Of a run whose length is said in minutes: its steps as they are estimated anew; None: they are fixed.
    """

    n_steps: int
    batch_size: int
    seed: int = 0
    workers: int = 0
    processes: int = 1
    checkpoint_every: int | None = None
    checkpoint_seconds: float = 600.0
    check_every: int = 100
    pace: Pace | None = None

    def length(self, done: int) -> int:
        """Steps of the whole run, as far as they are known after so many."""
        return self.n_steps if self.pace is None else self.pace.n_steps(done)

    @property
    def taken(self) -> int:
        """Steps of a run that has ended."""
        return self.n_steps if self.pace is None else self.pace.told[-1][1]


class Stepped(NamedTuple):
    """What a step gave: loss and terms over all processes, norm of the gradient, what was voted for, its schedule."""

    loss: float
    terms: dict[str, float]
    gradient_norm: float
    votes: list[bool]
    schedule: Schedule


class _Batch:
    """Views that pass through Fabric, which would look into lists and dataclasses."""

    def __init__(self, views: Sequence[Any], votes: Sequence[bool]) -> None:
        self.views, self.votes = views, votes


class _Loss(nn.Module):
    """The loss of a batch, of which this process has a part."""

    def __init__(self, objective: Objective, world: int) -> None:
        super().__init__()
        self.objective, self.world = objective, world

    def forward(self, batch: _Batch) -> tuple[Tensor, Tensor, Tensor, Tensor, list[str]]:
        return loss_of(self.objective(batch.views), self.world, batch.votes)


def loss_of(
    terms: dict[str, Term], world: int = 1, votes: Sequence[bool] = ()
) -> tuple[Tensor, Tensor, Tensor, Tensor, list[str]]:
    """Loss of this process, whose gradients averaged over processes are those of the whole batch.

    Parameters
    ----------
    terms
        Of this process; all processes have terms of the same names and weights.
    world
        Number of processes.
    votes
        Questions that are answered yes where one process says so.

    Returns
    -------
    Loss of this process; loss over all processes; means of the terms over all processes; number of yes to each vote;
    names of the terms.
    """
    names = sorted(terms)
    device = terms[names[0]].total.device
    exact = torch.float32 if device.type == "mps" else torch.float64
    totals = torch.stack([terms[name].total.detach().to(exact) for name in names])
    counts = torch.stack([torch.as_tensor(terms[name].count, dtype=exact, device=device) for name in names])
    shared = torch.cat([totals, counts, torch.tensor([float(vote) for vote in votes], dtype=exact, device=device)])
    if world > 1:
        torch.distributed.all_reduce(shared)
    total, count, yes = shared.split([len(names), len(names), len(votes)])
    share = torch.where(count > 0, 1 / count.clamp(min=1e-30), 0.0)  # of a term of no values: nothing
    weights = torch.tensor([terms[name].weight for name in names], dtype=exact, device=device)
    factors = weights * share * world
    losses = [terms[name].total * factors[place].to(terms[name].total.dtype) for place, name in enumerate(names)]
    return torch.stack(losses).sum(), (weights * share * total).sum(), total * share, yes, names


class Trainer:
    """An objective on its devices, with its optimizer.

    Parameters
    ----------
    fabric
        Launched.
    objective
        What is trained; it is changed.
    plan
        Of the run.
    """

    def __init__(self, fabric: Fabric, objective: Objective, plan: TrainingPlan) -> None:
        self.fabric, self.objective, self.plan = fabric, objective, plan
        objective.batch_size = plan.batch_size
        objective.train()
        # asked for before parameters are shared out, which makes a line of each matrix: groups may go by their shape
        groups, parts = objective.groups(), objective.clip_parts()
        names = {id(one): name for name, one in objective.named_parameters()}
        self.module: Any = fabric.setup_module(_Loss(objective, fabric.world_size))
        now = dict(objective.named_parameters())
        self.groups = [
            replace(group, parameters={name: now[names[id(one)]] for name, one in group.parameters.items()})
            for group in groups
        ]
        self.parts = [[now[names[id(one)]] for one in part] for part in parts]
        _check_groups(objective, {id(one) for group in self.groups for one in group.parameters.values()})
        parameters = [{"params": list(group.parameters.values()), "lr": 0.0} for group in self.groups]
        # in one call for all weights, as on a GPU; the fused kernel of CPUs rounds by the number of threads
        optimizer = AdamW(parameters, foreach=True if fabric.device.type == "cpu" else None)
        self.optimizer: Any = fabric.setup_optimizers(optimizer)

    def schedule(self, step: int) -> Schedule:
        """Values of a step."""
        return self.objective.schedule(step, self.plan.length(step))

    def step(self, step: int, made: Sequence[Made], votes: Sequence[bool] = ()) -> Stepped:
        """One step.

        Raises
        ------
        RunError
            If the loss or its gradient is not a number: the weights are not changed by it.
        """
        values = self.schedule(step)
        for group, target in zip(self.groups, self.optimizer.param_groups, strict=True):
            target["lr"] = (values.last_layer_lr if group.last_layer else values.lr) * group.lr_scale
            target["weight_decay"] = values.weight_decay if group.decay else 0.0
        self.objective.before_step(values)
        torch.manual_seed(seed_of_step(self.plan.seed, step, self.fabric.global_rank))
        views = [moved(one.views, self.fabric.device) for one in made]
        loss, whole, means, yes, names = self.module(_Batch(views, votes))
        terms, whole = dict(zip(names, means.tolist(), strict=True)), float(whole)
        if not math.isfinite(whole):
            raise RunError(f"the loss is {whole} ({_in_words(terms)})")
        self.fabric.backward(loss)
        norm = self._clipped()
        if not math.isfinite(norm) and self.fabric.strategy.precision.precision != "16-mixed":  # which skips such steps
            self.optimizer.zero_grad(set_to_none=True)
            raise RunError(f"the gradient has the norm {norm}, at a loss of {whole:.4g} ({_in_words(terms)})")
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.objective.after_step(values)
        return Stepped(whole, terms, norm, [bool(vote) for vote in yes.tolist()], values)

    def _clipped(self) -> float:
        """Norm of the whole gradient before its parts are clipped."""
        largest = math.inf if self.objective.clip_norm is None else self.objective.clip_norm
        if is_sharded(self.fabric):  # norms of shared-out parameters are Fabric's to add up
            norm = self.fabric.clip_gradients(self.module, self.optimizer, max_norm=largest, error_if_nonfinite=False)
            return math.nan if norm is None else float(norm)
        self.fabric.strategy.precision.unscale_gradients(self.optimizer)
        norms = [nn.utils.clip_grad_norm_(part, largest, error_if_nonfinite=False) for part in self.parts]
        return float(torch.linalg.vector_norm(torch.stack(norms)))

    def state(self) -> dict[str, Any]:
        """All that a checkpoint needs; asked for by all processes together."""
        if is_sharded(self.fabric):
            state = sharded_state(self.module, self.optimizer)
        else:
            state = {"objective": self.objective.state_dict(), "optimizer": self.optimizer.state_dict()}
        return state | {"precision": self.fabric.strategy.precision.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        if is_sharded(self.fabric):
            restore_sharded(self.module, self.optimizer, state)
        else:
            self.objective.load_state_dict(state["objective"])
            self.optimizer.load_state_dict(state["optimizer"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])


def seed_of_step(seed: int, step: int, rank: int) -> int:
    """Seed of what torch draws in a step, of a process: independent of what was drawn before."""
    return int(np.random.SeedSequence([seed, step, rank, TORCH]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _check_groups(objective: Objective, grouped: set[int]) -> None:
    """Refuse an objective that would leave parameters as they are, without a word."""
    names = [name for name, one in objective.named_parameters() if one.requires_grad and id(one) not in grouped]
    if names:
        raise ModelError(
            f"Objective {objective.name!r} names {listed(names, 4)} in no group, so that they would never change. Add "
            "them to groups(), or set requires_grad to False."
        )


def _in_words(terms: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in terms.items())
