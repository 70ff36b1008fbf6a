"""What is known of windows, predicted from their embeddings: labels, numbers, intensities of markers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..._errors import ArgumentError, ModelError
from ..._ranges import above, at_least, between
from ...models.encoder import Encoder
from ..batch import WindowSample
from .correlation import added, correlations, moments
from .masked import alike, scaled_groups
from .objective import Group, Objective, Schedule, Term, Views
from .registry import register_objective
from .schedules import warm_cosine
from .targets import UNKNOWN, Targets, targets_of

if TYPE_CHECKING:
    from ..data import Windows

Output = Literal["patch", "marker", "summary", "token"]


@dataclass(frozen=True)
class KnownWindow:
    """A window, numbers of the classes of its labels (-1: not known), and its numbers (NaN: not known)."""

    pixels: Tensor
    markers: Tensor | None
    names: tuple[str, ...]
    codes: Tensor
    values: Tensor


@dataclass(frozen=True)
class KnownViews:
    """Finds the targets of a window."""

    targets: Targets | None

    def __call__(self, window: WindowSample, rng: np.random.Generator) -> KnownWindow:
        """Window and targets."""
        codes, values = (np.zeros(0, int), np.zeros(0)) if self.targets is None else self.targets.of(window)
        return KnownWindow(
            window.pixels, window.markers, window.names, torch.tensor(codes), torch.tensor(values, dtype=torch.float32)
        )


@register_objective("supervised")
class Supervised(Objective):
    """Labels by cross-entropy, numbers by squared error, from the embedding of a window; several of each.

    Each target has a linear head of its own. Numbers are brought to mean 0 and deviation 1, so that they weigh the
    same; by the rows of the table that `pretrain` trains on, as classes are weighed. What is not known of a window is
    left out of the mean. Weights of the encoder that the embedding does not depend on, such as those of a decoder, are
    not trained.

    Validation reports for each label ``balanced_accuracy/<label>``, and for each number and marker Pearson's
    correlation.

    Parameters
    ----------
    encoder
        Any encoder with parameters.
    targets
        Table with one row per sample (column ``sample``, and ``source`` where samples of several sources have one
        name), or one per window (``y`` and ``x`` besides), such as ``windows.table`` with further columns.
    labels, numbers
        Columns of it to classify, and to predict as numbers.
    intensities
        Whether the mean pixel of each marker of the window is predicted from that marker's embedding; this needs no
        table.
    output
        Output that is the embedding: its mean over markers and positions. Default: that of the model's card.
    balanced
        Whether all classes of a label weigh the same, however often they occur.
    learning_rate, head_learning_rate
        Learning rates at their peak, of the encoder and of the heads.
    weight_decay, warmup, clip
        Weight decay (of neither biases nor norms), share of the steps over which rates rise, largest norm of the
        gradient.
    random_state
        Seed of the heads.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        targets: pd.DataFrame | None = None,
        labels: Sequence[str] = (),
        numbers: Sequence[str] = (),
        intensities: bool = False,
        output: Output | None = None,
        balanced: bool = True,
        learning_rate: Annotated[float, above(0)] = 1e-4,
        head_learning_rate: Annotated[float, above(0)] = 1e-3,
        weight_decay: Annotated[float, at_least(0)] = 0.05,
        warmup: Annotated[float, between(0, 1)] = 0.1,
        clip: Annotated[float, above(0)] = 1.0,
        random_state: int = 0,
    ) -> None:
        super().__init__()
        if targets is None and (labels or numbers or not intensities):
            raise ArgumentError("targets= must be a table where labels= or numbers= are predicted.")
        self.encoder, self.output = encoder, _output(encoder, output, intensities)
        self.targets = None if targets is None else targets_of(targets, tuple(labels), tuple(numbers))
        self.intensities, self.learning_rate, self.head_learning_rate = intensities, learning_rate, head_learning_rate
        self.weight_decay, self.warmup, self.clip = weight_decay, warmup, clip
        width = self._settle()
        known = self.targets
        sizes = {} if known is None else {f"label/{name}": len(names) for name, names in known.classes.items()}
        sizes |= {} if known is None else {f"number/{name}": 1 for name in known.columns}
        sizes |= {"intensity": 1} if intensities else {}
        self.names = tuple(sizes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(random_state)
            self.heads = nn.ModuleList(nn.Linear(width, size) for size in sizes.values())
        self.balanced = balanced
        self._weigh()

    def begin(self, windows: Windows) -> None:
        """Classes weigh the same, and numbers have mean 0 and deviation 1, over what is trained on alone."""
        if self.targets is not None:
            self.targets = self.targets.on(windows.table)
            self._weigh()

    def _weigh(self) -> None:
        known = self.targets
        for place, names in enumerate(known.classes.values() if known is not None else ()):
            weights = known.class_weights(place) if self.balanced and known is not None else np.ones(len(names))
            self.register_buffer(f"class_weights_{place}", torch.tensor(weights, dtype=torch.float32))

    def views(self) -> Views:
        """Finds targets."""
        return KnownViews(self.targets)

    def forward(self, views: Sequence[KnownWindow]) -> dict[str, Term]:
        """Cross-entropy of each label, squared error of each number, over the windows where they are known."""
        terms: dict[str, Term] = {}
        for members in alike(views):
            for name, (out, wanted) in self._predicted(members).items():
                terms = added(terms, {name: self._error(name, out, wanted)})
        return terms

    def validate(self, views: Sequence[KnownWindow]) -> dict[str, Term]:
        """The loss, hits of each class, and moments of what is predicted as numbers."""
        with torch.no_grad():
            terms = self.forward(views)
            for members in alike(views):
                for name, (out, wanted) in self._predicted(members).items():
                    terms = added(terms, self._judged(name, out, wanted, members))
        return terms

    def scores(self, means: Mapping[str, float]) -> dict[str, float]:
        """The loss, balanced accuracies and correlations."""
        scores = {name: value for name, value in means.items() if name in self.names}
        for name in self.names:
            if hits := [value for key, value in means.items() if key.startswith(f"hits/{name}/")]:
                scores[f"balanced_accuracy/{name.removeprefix('label/')}"] = sum(hits) / len(hits)
        return scores | {f"pearson/{name}": r for name, r in sorted(correlations(means).items())}

    def groups(self) -> list[Group]:
        """The encoder, and the heads with their own rate; biases and norms without decay."""
        return scaled_groups(self, "heads.", self.head_learning_rate / self.learning_rate)

    def schedule(self, step: int, n_steps: int) -> Schedule:
        """A rate that rises linearly and falls along a cosine to 0."""
        lr = warm_cosine(step, n_steps, math.ceil(self.warmup * n_steps), 0.0, self.learning_rate, 0.0)
        return Schedule(lr, self.weight_decay, lr)

    @property
    def clip_norm(self) -> float | None:
        """Of all weights together."""
        return self.clip

    def embedding(self, pixels: Tensor, markers: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Embeddings of windows ``(B, D)``, and of their markers ``(B, M, D)`` where these are asked for."""
        wanted = (self.output, "marker") if self.intensities else (self.output,)
        out = self.encoder(pixels, markers, outputs=tuple(dict.fromkeys(wanted)))
        value = getattr(out, self.output)
        return value.flatten(1, -2).mean(1) if value.ndim > 2 else value, out.marker if self.intensities else None

    def _settle(self) -> int:
        """Width of the embedding; parameters that it does not depend on are set aside."""
        encoder = self.encoder
        parameters = [one for one in encoder.parameters() if one.requires_grad]
        if not parameters:
            raise ModelError(f"Model {encoder.card.name!r} has no parameters to train. Choose another one.")
        side = 2 * encoder.card.patch_size if encoder.card.patch_size else encoder.card.recipe.window or 64
        markers: Tensor | None = torch.zeros(3, dtype=torch.long)
        if encoder.card.marker_vocabulary == "protein embedding":
            markers = torch.zeros(3, int(getattr(encoder, "marker_dim", 0)), device=encoder.device)
        value, of_markers = self.embedding(torch.zeros(2, 3, side, side, device=encoder.device), markers)
        total = value.sum() + (0.0 if of_markers is None else of_markers.sum())
        for parameter, gradient in zip(
            parameters, torch.autograd.grad(total, parameters, allow_unused=True), strict=True
        ):
            parameter.requires_grad_(gradient is not None)
        return value.shape[-1]

    def _predicted(self, members: Sequence[KnownWindow]) -> dict[str, tuple[Tensor, Tensor]]:
        """What the heads give and what is wanted, by target."""
        device = self.encoder.device
        pixels = torch.stack([one.pixels for one in members]).to(device)
        given = [one.markers for one in members if one.markers is not None]
        embedding, of_markers = self.embedding(pixels, torch.stack(given).to(device) if given else None)
        codes = torch.stack([one.codes for one in members]).to(device)
        values = torch.stack([one.values for one in members]).to(device)
        wanted = [*codes.unbind(1), *values.unbind(1)]
        predicted = {}
        for name, head, target in zip(self.names, self.heads, [*wanted, None][: len(self.names)], strict=True):
            if name == "intensity" and of_markers is not None:
                predicted[name] = head(of_markers)[..., 0].float(), pixels.mean((-2, -1))
            elif target is not None:
                out = head(embedding).float()
                predicted[name] = (out if name.startswith("label/") else out[:, 0]), target
        return predicted

    def _error(self, name: str, out: Tensor, wanted: Tensor) -> Term:
        if name.startswith("label/"):
            weights = getattr(self, f"class_weights_{self.names.index(name)}")
            total = F.cross_entropy(out, wanted, weights, ignore_index=UNKNOWN, reduction="sum")
            return Term(total, int((wanted != UNKNOWN).sum()))
        there = wanted.isfinite()
        return Term((out - torch.where(there, wanted, out)).square().sum(), int(there.sum()))

    def _judged(self, name: str, out: Tensor, wanted: Tensor, members: Sequence[KnownWindow]) -> dict[str, Term]:
        if name.startswith("label/"):
            hits = (out.argmax(1) == wanted).float()
            return {
                f"hits/{name}/{code}": Term(hits[wanted == code].sum(), int((wanted == code).sum()), 0.0)
                for code in wanted.unique().tolist()
                if code != UNKNOWN
            }
        if name != "intensity":
            there = wanted.isfinite()
            return moments(name.removeprefix("number/"), out[there], wanted[there])
        terms: dict[str, Term] = {}
        for row, member in enumerate(members):
            for place, marker in enumerate(member.names):
                terms = added(terms, moments(f"intensity/{marker}", out[row, place], wanted[row, place]))
        return terms


def _output(encoder: Encoder, output: str | None, intensities: bool) -> str:
    name = encoder.card.default_output if output is None else output
    for needed in (name, "marker") if intensities else (name,):
        if needed not in encoder.card.outputs or needed == "attention":
            raise ModelError(f"Model {encoder.card.name!r} has no output {needed!r}; it has {encoder.card.outputs}.")
    return name
