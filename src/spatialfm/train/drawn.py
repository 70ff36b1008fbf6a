"""The windows of a run, as its loop asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from .batch import WindowSample, random_of
from .fabric import random_numbers_apart
from .objectives.objective import Objective, Term
from .sampling import draw
from .steps import CHANNELS, VIEWS, batches_of, moved
from .trainer import seed_of_step

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from .cells import CellWindows
    from .data import Windows

MOST_WINDOWS = 256  # of a validation, spread over all that are held out


@dataclass(frozen=True)
class DrawnWindows:
    """Windows drawn at random for each step, see `spatialfm.train.sampling.draw`."""

    windows: Windows | CellWindows
    seed: int
    batch_size: int

    def indices(self, step: int) -> np.ndarray:
        """Numbers of the windows of a step."""
        return draw(self.windows, self.seed, step, self.batch_size)

    def sample(self, index: int, rng: np.random.Generator) -> WindowSample:
        """One window as a step sees it."""
        return self.windows.sample(index, rng)

    def describe(self, index: int) -> str:
        """Image and place of a window."""
        row = self.windows.table.iloc[index]
        return f"{row['sample']!r} of {row['source']}, rows from {row['y']}, columns from {row['x']}"


@dataclass(frozen=True)
class HeldOut:
    """The same windows, crops and channels each time, unchanged otherwise."""

    drawn: DrawnWindows
    chosen: tuple[int, ...]

    def indices(self, step: int) -> Sequence[int] | np.ndarray:
        """Numbers of the windows of a batch."""
        size = self.drawn.batch_size
        return self.chosen[step * size : (step + 1) * size]

    def sample(self, index: int, rng: np.random.Generator) -> WindowSample:
        """One window; its randomness comes from its number, whatever batch it is in."""
        return self.drawn.windows.sample(index, random_of(self.drawn.seed, 0, index, CHANNELS), augment=False)

    def describe(self, index: int) -> str:
        """Image and place of a window."""
        return self.drawn.describe(index)


class Validation:
    """A check: the objective's scores of windows of patients that are not trained on.

    Parameters
    ----------
    fabric, objective
        Of the run.
    drawn
        The windows that are held out.
    """

    def __init__(self, fabric: Fabric, objective: Objective, drawn: DrawnWindows) -> None:
        self.fabric, self.objective = fabric, objective
        chosen = spread_out(len(drawn.windows), MOST_WINDOWS)
        rest = len(chosen) % drawn.batch_size
        if objective.of_batch and rest < fabric.world_size:
            # terms of a whole batch are worked out by all processes together: one without windows would be waited for
            chosen = chosen[: len(chosen) - rest]
        self.held_out = HeldOut(drawn, tuple(chosen))

    def __call__(self, step: int) -> dict[str, float]:
        """Scores by name."""
        seed, rank = self.held_out.drawn.seed, self.fabric.global_rank
        n_batches = -(-len(self.held_out.chosen) // self.held_out.drawn.batch_size)
        sums: dict[str, np.ndarray] = {}
        self.objective.eval()
        with random_numbers_apart(self.fabric):
            torch.manual_seed(seed_of_step(seed, 0, rank))
            for _, made in batches_of(self.held_out, self.objective.views(), seed, range(n_batches), rank=rank,
                                      world=self.fabric.world_size):  # fmt: skip
                if not made:  # fewer windows than processes
                    continue
                with torch.no_grad(), self.fabric.autocast():
                    terms = self.objective.validate([moved(one.views, self.fabric.device) for one in made])
                for name, term in terms.items():
                    sums[name] = sums.get(name, np.zeros(2)) + _numbers(term)
        self.objective.train()
        sums = _over_processes(sums, self.fabric.world_size)
        if not sums:
            return {}
        scores = self.objective.scores({name: float(total / n) for name, (total, n) in sums.items() if n > 0})
        return {f"validation_{name}": float(value) for name, value in scores.items()}


def _numbers(term: Term) -> np.ndarray:
    return np.array([float(term.total), float(term.count)])


def _over_processes(sums: dict[str, np.ndarray], world: int) -> dict[str, np.ndarray]:
    if world == 1:
        return sums
    parts: list[dict[str, np.ndarray]] = [{} for _ in range(world)]
    torch.distributed.all_gather_object(parts, sums)
    merged: dict[str, np.ndarray] = {}
    for part in parts:
        for name, numbers in part.items():
            merged[name] = merged.get(name, np.zeros(2)) + numbers
    return merged


def spread_out(n: int, most: int) -> list[int]:
    """Numbers below `n`, at most so many, evenly apart.

    Examples
    --------
    >>> spread_out(10, 4), spread_out(3, 4)
    ([0, 3, 6, 9], [0, 1, 2])
    """
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int)).tolist()


def fixed_windows(windows: Windows, seed: int, most: int) -> list[WindowSample]:
    """Some windows with all of their channels, in the size that a step sees, always the same."""
    return [
        windows.sample(index, random_of(seed, 0, index, VIEWS), channels=False, augment=False)
        for index in spread_out(len(windows), most)
    ]
