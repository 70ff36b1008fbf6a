"""Early stopping: what was best on held-out patients is kept, and a run ends when it has not become better for long."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from .. import _disk
from .checkpoint import writing
from .monitor import Monitor

if TYPE_CHECKING:
    from .loop import Seen

BEST, SCORE = "best.safetensors", "validation_loss"


class Enough(Exception):
    """A run has not become better for as many checks as were asked for: not an error."""


class EarlyStopping:
    """Watches a run: keeps the best state, and ends the run with `Enough`.

    The file of the best state says of which step it is and how good it was, so that a run that was killed goes on with
    what it had found. The checkpoint of a step is written before its check: the best step is never after the newest
    checkpoint.

    Parameters
    ----------
    monitor
        Writes the tables of the run; its checks give `SCORE`, of which less is better.
    state
        Gives the tensors to keep.
    patience
        Checks without a better one after which the run ends.
    """

    def __init__(self, monitor: Monitor, state: Callable[[], Mapping[str, Tensor]], patience: int) -> None:
        self.monitor, self.state, self.patience = monitor, state, patience
        self.path = monitor.folder / BEST
        self.best, self.at = math.inf, 0

    def resume(self, step: int) -> bool:
        """Go on with the best that was found before; whether the state after so many steps is still to be judged."""
        unchecked = self.monitor.resume(step)
        if self.path.is_file() and step:
            self.best, self.at = read_score(self.path)
        if unchecked or not step or self._score(step) < self.best:  # killed before its row, or before it was kept
            return True
        if self._since() >= self.patience:
            raise Enough
        return False

    def step(self, step: int, row: dict[str, float]) -> None:
        """Write the row of a step."""
        self.monitor.step(step, row)

    def check(self, step: int, seen: Seen) -> None:
        """Score, keep the best, and end the run where it is time."""
        self.monitor.check(step, seen)
        score = self._score(step)
        if score < self.best:
            self.best, self.at = score, step
            write_best(self.path, self.state(), score, step)
        elif self._since() >= self.patience:
            raise Enough

    def _score(self, step: int) -> float:
        rows = self.monitor.checked.rows
        return rows[-1].get(SCORE, math.inf) if rows and rows[-1]["step"] == step else math.inf

    def _since(self) -> int:
        return sum(row["step"] > self.at for row in self.monitor.checked.rows)


def write_best(path: Path, tensors: Mapping[str, Tensor], score: float, step: int) -> None:
    """Write the best state with its score."""
    from safetensors.torch import save

    notes = {"score": json.dumps(score), "step": json.dumps(step)}
    content = save({name: one.detach().cpu().contiguous() for name, one in tensors.items()}, metadata=notes)
    with writing(path.parent):
        _disk.write_bytes(path, content)


def read_score(path: Path) -> tuple[float, int]:
    """Score and step of the best state."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        notes = file.metadata()
    return float(json.loads(notes["score"])), int(json.loads(notes["step"]))
