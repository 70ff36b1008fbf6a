"""What fine-tuning minimises: a linear layer reads labels, or numbers, from the embeddings of cells."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..learn.bcos import BcosHead
from ..models.encoder import Encoder
from .batch import WindowSample
from .cells import CellEncoding, CellSample
from .objectives import Group, Objective, Schedule, Term
from .objectives.schedules import warm_cosine

WARM_UP = 0.1  # share of the steps
CLIP = 1.0


@dataclass(frozen=True)
class CellTargets:
    """What is known of each cell.

    Attributes
    ----------
    values
        ``(n,)`` numbers of classes, or ``(n, k)`` numbers to predict, NaN where one is not known; by the number of the
        window.
    classes
        Names of the classes; empty where numbers are predicted.
    columns
        Names of what is predicted.
    """

    values: np.ndarray
    classes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Outputs of the linear layer."""
        return len(self.classes) or len(self.columns)


@dataclass(frozen=True)
class Rates:
    """How fast it learns.

    Attributes
    ----------
    encoder, head
        Highest learning rate of the encoder and of the linear layer.
    weight_decay
        Of matrices.
    """

    encoder: float
    head: float
    weight_decay: float = 0.01


def as_read(window: WindowSample, rng: np.random.Generator) -> WindowSample:
    """A window as it was read."""
    return window


def head_of(kind: str, width: int, n_outputs: int) -> nn.Module:
    """What reads targets from embeddings, always with the same weights at the start."""
    if kind == "bcos":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return BcosHead(width, n_outputs)
    head = nn.Linear(width, n_outputs)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


class OfCells(Objective):
    """Base of the objectives on windows of cells: their views, schedule and clipping."""

    rates: Rates

    def views(self):  # type: ignore[no-untyped-def]  # as in the base
        """Windows as they were read; what is random of them is drawn where they are."""
        return as_read

    def schedule(self, step: int, n_steps: int) -> Schedule:
        """A rise over a tenth of the steps, then a cosine to zero."""
        warm = max(1, round(WARM_UP * n_steps))
        lr = warm_cosine(step, n_steps, warm, self.rates.encoder / warm, self.rates.encoder, 0.0)
        return Schedule(lr, self.rates.weight_decay, lr)

    @property
    def clip_norm(self) -> float:
        """Largest norm of the gradient."""
        return CLIP


class CellObjective(OfCells):
    """Labels by cross-entropy, numbers by squared error, of the embedding that `spatialfm.tl.embed_cells` would write.

    Columns are brought to mean 0 and standard deviation 1 by those of the model before training, and divided by the
    root of their number, so that a learning rate means the same for 100 columns and for 10,000.

    Parameters
    ----------
    encoder
        Whose parameters that want gradients are trained.
    encoding
        How windows become embeddings.
    targets
        What is known of the cells.
    center, spread
        ``(columns,)``, mean and standard deviation of the embeddings before training.
    rates
        Learning rates, which rise over a tenth of the steps and fall along a cosine to zero.
    head
        ``"linear"``, a linear layer that begins at zero, or ``"bcos"``, B-cos units.
    """

    name = "cells"

    def __init__(
        self,
        encoder: Encoder,
        encoding: CellEncoding,
        targets: CellTargets,
        center: Tensor,
        spread: Tensor,
        rates: Rates,
        head: str = "linear",
    ) -> None:
        super().__init__()
        self.encoder, self.encoding, self.targets, self.rates = encoder, encoding, targets, rates
        self.head = head_of(head, len(center), targets.width)
        self.register_buffer("center", center.float())
        self.register_buffer("scale", 1 / (spread.float().clamp_min(1e-6) * math.sqrt(len(center))))
        kind = torch.long if targets.classes else torch.float32
        self.register_buffer("known", torch.as_tensor(targets.values, dtype=kind), persistent=False)

    center: Tensor
    scale: Tensor
    known: Tensor

    def predicted(self, samples: Sequence[CellSample]) -> Tensor:
        """Logits ``(B, classes)``, or numbers ``(B, k)``."""
        return self.head((self.encoding(self.encoder, samples) - self.center) * self.scale)

    def forward(self, views: Sequence[CellSample]) -> dict[str, Term]:
        """Cross-entropy of a batch, or squared error over all numbers that are known."""
        out, known = self.predicted(views), self._known(views)
        if self.targets.classes:
            return {"label": Term(F.cross_entropy(out, known, reduction="sum"), len(views))}
        there = torch.isfinite(known)
        wrong = torch.where(there, out - known.nan_to_num(), 0.0)
        return {"target": Term(wrong.square().sum(), there.sum())}

    def validate(self, views: Sequence[CellSample]) -> dict[str, Term]:
        """Loss and hits of each class, or squared error of each number."""
        out, known = self.predicted(views), self._known(views)
        terms: dict[str, Term] = {}
        if not self.targets.classes:
            for place, name in enumerate(self.targets.columns):
                there = torch.isfinite(known[:, place])
                wrong = (out[there, place] - known[there, place]).square()
                terms[f"loss of {name}"] = Term(wrong.sum(), int(there.sum()))
            return terms
        losses, hits = F.cross_entropy(out, known, reduction="none"), (out.argmax(1) == known).float()
        for number, name in enumerate(self.targets.classes):
            of_class = known == number
            terms[f"loss of {name}"] = Term(losses[of_class].sum(), int(of_class.sum()))
            terms[f"hits of {name}"] = Term(hits[of_class].sum(), int(of_class.sum()))
        return terms

    def scores(self, means: Mapping[str, float]) -> dict[str, float]:
        """Means over classes, or over what is predicted: ``loss``, and of classes ``balanced_accuracy``."""
        by_name = {"loss": [value for name, value in means.items() if name.startswith("loss of ")]}
        if self.targets.classes:
            by_name["balanced_accuracy"] = [value for name, value in means.items() if name.startswith("hits of ")]
        return {name: float(np.mean(values)) for name, values in by_name.items()}

    def groups(self) -> list[Group]:
        """What is trained of the encoder, and the linear layer with its own rate."""
        trained = {f"encoder.{name}": one for name, one in self.encoder.named_parameters() if one.requires_grad}
        matrices = {name: one for name, one in trained.items() if one.ndim > 1}
        others = {name: one for name, one in trained.items() if one.ndim <= 1}
        head = {f"head.{name}": one for name, one in self.head.named_parameters()}
        # weights of B-cos units have norm one whatever their length: there is nothing to decay
        decayed = {name: one for name, one in head.items() if name == "head.weight"}
        faster = self.rates.head / self.rates.encoder
        groups = [
            Group(matrices),
            Group(others, decay=False),
            Group(decayed, lr_scale=faster),
            Group({name: one for name, one in head.items() if name not in decayed}, lr_scale=faster, decay=False),
        ]
        return [group for group in groups if group.parameters]

    def _known(self, views: Sequence[CellSample]) -> Tensor:
        return self.known[torch.tensor([one.window for one in views], device=self.known.device)]
