"""A model, an objective and windows that are small enough to train in a test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from torch import nn

from spatialfm._errors import InputFileError
from spatialfm._ranges import at_least
from spatialfm.models import Encoder, EncoderOutput, ModelCard, Weights
from spatialfm.train.batch import WindowSample, random_of
from spatialfm.train.checkpoint import Checkpoints
from spatialfm.train.fabric import new_fabric
from spatialfm.train.loop import train
from spatialfm.train.objectives import Group, Objective, Schedule, Term
from spatialfm.train.trainer import TrainingPlan

SIDE, MARKERS = 8, ("DAPI", "CD3", "CD8")
CARD = ModelCard(
    name="tiny", family="tiny", title="A line through the pixels", license="BSD-3-Clause", commercial=True,
    gated=False, reference="-", trained_on="nothing", embedding_dim=6, needs_weights=False,
)  # fmt: skip


class TinyEncoder(Encoder):
    """One layer and dropout, which draws from torch's random numbers."""

    def __init__(self, dropout=0.2):
        super().__init__()
        self.card, self.weights, self.options = CARD, Weights("random (untrained)"), {}
        self.layer = nn.Linear(len(MARKERS) * SIDE * SIDE, 6)
        self.dropout = nn.Dropout(dropout)

    def forward(self, pixels, markers=None, *, mask=None, outputs=None):
        return EncoderOutput(patch=self.dropout(self.layer(pixels.flatten(1))))


class Shaken:
    """Views: pixels with noise of their own."""

    def __call__(self, window: WindowSample, rng: np.random.Generator) -> torch.Tensor:
        return window.pixels + 0.01 * torch.from_numpy(rng.standard_normal(window.pixels.shape, dtype=np.float32))


class TinyObjective(Objective):
    """The mean square of the pixels that are above zero is to be told from the embedding."""

    name = "tiny"

    def __init__(self, dropout=0.2, seed=0, lr=0.02, clip=1.0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.encoder, self.head = TinyEncoder(dropout), nn.Linear(6, len(MARKERS))
        self.register_buffer("moved", torch.zeros(()))  # what a teacher would be
        self.lr, self.clip = lr, clip

    def views(self):
        return Shaken()

    def forward(self, views: Sequence[Any]) -> dict[str, Term]:
        pixels = torch.stack(list(views))
        guess = self.head(self.encoder(pixels).patch)
        truth, known = pixels.mean((-2, -1)), pixels[:, :, 0, 0] > 0  # as many as happen to be known
        return {
            "known": Term((((guess - truth) ** 2) * known).sum(), known.sum()),
            "size": Term((guess**2).sum(), guess.numel(), weight=0.1),
        }

    def groups(self) -> list[Group]:
        named = dict(self.named_parameters())
        decayed = {name: one for name, one in named.items() if one.ndim > 1}
        return [Group(decayed), Group({k: v for k, v in named.items() if k not in decayed}, decay=False)]

    def schedule(self, step: int, n_steps: int) -> Schedule:
        lr = self.lr * (1 - step / n_steps)
        return Schedule(lr, 0.01, lr, {"momentum": 0.9 + 0.1 * step / n_steps})

    def after_step(self, schedule: Schedule) -> None:
        self.moved += schedule.extra["momentum"] * self.head.bias.detach().sum()

    @property
    def clip_norm(self):
        return self.clip


class TinyWindows:
    """Sixteen windows; `broken` cannot be read, `fatal` ends the process that reads it, `empty` are not a number."""

    def __init__(self, batch_size=4, n=16, broken=None, fatal=None, empty=None):
        self.batch_size, self.n, self.broken, self.fatal, self.empty = batch_size, n, broken, fatal, empty

    def indices(self, step: int) -> np.ndarray:
        return np.random.default_rng([step, 1]).permutation(self.n)[: self.batch_size]

    def sample(self, index: int, rng: np.random.Generator) -> WindowSample:
        if index == self.broken:
            raise InputFileError(f"Chunk {index} of 'image_a' is truncated.")
        if index == self.fatal:
            import os

            os._exit(9)
        pixels = np.random.default_rng(index).standard_normal((len(MARKERS), SIDE, SIDE), dtype=np.float32)
        pixels[1] = 0.5
        if index == self.empty:
            pixels[0, 0, 0] = np.nan
        return WindowSample(torch.from_numpy(np.rot90(pixels, rng.integers(4), (1, 2)).copy()), None, MARKERS, index)

    def describe(self, index: int) -> str:
        return f"image_a at {index}"


class Heard:
    """Keeps what the loop says; `at` is called with each step."""

    def __init__(self, at=None):
        self.rows, self.checks, self.at = {}, {}, at

    def resume(self, step):
        self.rows = {known: row for known, row in self.rows.items() if known <= step}
        return step not in self.checks

    def step(self, step, row):
        self.rows[step] = row
        if self.at:
            self.at(step)

    def check(self, step, seen):
        self.checks[step] = seen


def run_tiny(folder: Path, objective=None, data=None, heard=None, fabric=None, **plan):
    """Train, and give objective, what was heard, and what was seen."""
    objective, heard = objective or TinyObjective(), heard or Heard()
    settled = TrainingPlan(**({"n_steps": 12, "batch_size": 4, "checkpoint_every": 3, "check_every": 5} | plan))
    fabric = fabric or new_fabric(accelerator="cpu")
    seen = train(fabric, objective, data or TinyWindows(), settled, Checkpoints(Path(folder) / "checkpoints"), heard)
    return objective, heard, seen


def weights_of(objective) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in objective.state_dict().items()}


def sample_views(data, step, seed=0):
    """What the workers make of a step."""
    return [
        Shaken()(data.sample(int(index), random_of(seed, step, place, 1)), random_of(seed, step, place, 2))
        for place, index in enumerate(data.indices(step))
    ]


class MeanOfPixels(Objective):
    """The mean of each marker is to be told from the embedding of the window: trains any encoder with `patch`."""

    def __init__(self, encoder: Encoder, *, learning_rate: Annotated[float, at_least(0)] = 1e-3):
        super().__init__()
        self.encoder, self.head, self.learning_rate = encoder, nn.Linear(encoder.card.embedding_dim, 1), learning_rate

    def views(self):
        return lambda window, rng: window

    def forward(self, views: Sequence[WindowSample]) -> dict[str, Term]:
        patches = torch.cat([self.encoder(view.pixels[None], view.markers).patch for view in views])
        means = torch.stack([view.pixels.mean() for view in views])
        return {"mean": Term(((self.head(patches)[:, 0] - means) ** 2).sum(), len(views))}

    def groups(self) -> list[Group]:
        return [Group(dict(self.named_parameters()))]

    def schedule(self, step: int, n_steps: int) -> Schedule:
        return Schedule(self.learning_rate, 0.0, self.learning_rate)


def register_mean_of_pixels() -> str:
    """Its name in the registry."""
    from spatialfm.train.objectives import register_objective

    register_objective("mean-of-pixels")(MeanOfPixels)
    return "mean-of-pixels"
