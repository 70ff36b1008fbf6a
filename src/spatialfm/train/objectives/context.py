"""SToFM's two objectives on pieces of tissue: masked cells, and the distances of cells that were moved.

Zhao et al. 2025, ICML, arXiv:2507.11588, and its released code; the weights of the two in their sum are not published.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial.distance import cdist
from torch import Tensor, nn

from ..._errors import ArgumentError
from ..._ranges import above, at_least, between
from ..._tissue_tokens import CELL, FAR, FIRST, HIDDEN
from ...learn.context_slices import Piece, distances, settled
from ...models.context import ContextEncoder
from ...models.stofm import Heads, initialise
from ..batch import WindowSample
from .masked import Warmed
from .objective import Schedule, Term

NO_PIXELS = torch.zeros(0, 1)
WIDTHS = 5.0  # how far cells are moved, in mean distances of cells


@dataclass(frozen=True)
class ContextSample(WindowSample):
    """A piece of tissue, which has no pixels."""

    pixels: Tensor = field(default_factory=lambda: NO_PIXELS)
    markers: Tensor | None = None
    names: tuple[str, ...] = ()
    window: int = 0
    piece: Piece = field(default=None)  # type: ignore[assignment]  # the fields before it have defaults


@dataclass(frozen=True)
class ContextView:
    """A piece with what is hidden of it.

    Attributes
    ----------
    tokens, types, distances
        ``(N, d)``, ``(N,)``, ``(N, N)``, as the network takes them.
    cells
        Rows of the cells that are to be predicted.
    targets
        ``(len(cells), d)``, their embeddings.
    pairs
        ``(N, N)``, true distances of the pairs that are to be predicted; -100 for others. None: of none.
    """

    tokens: Tensor
    types: Tensor
    distances: Tensor
    cells: Tensor
    targets: Tensor
    pairs: Tensor | None


@dataclass(frozen=True)
class ContextViews:
    """Hides cells and moves others, each a share that is changed and a share that is predicted as it is.

    Where no distance is asked for, no cell is moved: it would be in the wrong place for nothing. With `jitter` each
    piece is seen as if it were stained otherwise, and what is predicted stays as it was measured.
    """

    changed: float
    kept: float
    n_neighbors: int
    value: float = HIDDEN
    moves: bool = True
    jitter: float = 0.0

    def __call__(self, sample: ContextSample, rng: np.random.Generator) -> ContextView:
        """A piece with cells hidden and cells moved."""
        piece = sample.piece
        of_cells = np.flatnonzero(piece.types == CELL)
        n_changed, n_kept = (int(share * len(of_cells)) for share in (self.changed, self.kept))
        masked, moved = (rng.permutation(of_cells)[: n_changed + n_kept] for _ in range(2))
        tokens = jittered(piece, self.jitter, rng) if self.jitter else piece.tokens.copy()
        tokens[masked[:n_changed]] = self.value
        known = distances(piece.xy, piece.types, self.n_neighbors)
        seen, asked = known, None
        if self.moves:
            seen, asked = moved_distances(known, piece, moved[:n_changed], rng), pair_labels(known, piece.types, moved)
        return ContextView(
            _tensor(tokens), _tensor(piece.types), _tensor(seen), _tensor(masked), _tensor(piece.tokens[masked]),
            None if asked is None else _tensor(asked),
        )  # fmt: skip


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values))


def jittered(piece: Piece, size: float, rng: np.random.Generator) -> np.ndarray:
    """Tokens ``(N, d)`` as another stain might show them: a gain and a shift for each column of the whole piece.

    The logarithm of the gain, around the mean of the cells, and the shift, in standard deviations of the cells, are
    normal with deviation `size`. Virtual cells are means of cells, and change as these do; the first token stays.
    """
    cells = piece.tokens[piece.types == CELL]
    mean, spread = cells.mean(0, dtype=np.float64), cells.std(0, dtype=np.float64)
    gain, shift = np.exp(size * rng.normal(size=len(mean))), size * rng.normal(size=len(mean)) * spread
    seen = (piece.tokens - mean) * gain + mean + shift
    seen[piece.types == FIRST] = piece.tokens[piece.types == FIRST]
    return seen.astype(np.float32)


def pair_labels(known: np.ndarray, types: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Distances ``(N, N)`` of pairs of two cells, one of them in `rows`, where they are known; otherwise -100."""
    cell = types == CELL
    chosen = np.zeros(len(types), bool)
    chosen[rows] = True
    is_pair = (chosen[:, None] | chosen[None]) & cell[:, None] & cell[None] & (known != FAR)
    np.fill_diagonal(is_pair, False)
    return np.where(is_pair, known, np.float32(HIDDEN))


def moved_distances(known: np.ndarray, piece: Piece, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Distances after some cells were moved by noise: theirs are exact to all tokens, from where they are now."""
    places = piece.xy[piece.types == CELL]
    area = float(np.prod(places.max(0) - places.min(0)))
    xy = piece.xy.copy()
    xy[rows] += rng.normal(size=(len(rows), 2)) * (WIDTHS * math.sqrt(area / len(places)))
    seen = known.copy()
    now = cdist(xy[rows], xy)
    seen[rows], seen[:, rows] = now, now.T
    return settled(seen)


def masked_cells(predicted: Tensor, targets: Tensor) -> Tensor:
    """One minus the cosine between prediction and embedding of each cell, ``(n,)``."""
    return 1 - F.cosine_similarity(predicted, targets, dim=-1)


def pair_distances(predicted: Tensor, labels: Tensor) -> Tensor:
    """Squared errors of predicted distances, ``(n,)``."""
    return (predicted - labels).square()


class Context(Warmed):
    """Masked cells and pair distances.

    Parameters
    ----------
    context
        The model.
    n_neighbors
        Tokens that a cell knows its distance to.
    random_state
        Seed of heads that the weights do not bring along.
    cells, pairs
        Weight of each of the two in the sum. Pairs may be left out (0), and then no cell is moved; without masked cells
        nothing would train what the last layer makes of a cell, which is the embedding.
    changed, kept
        Share of the cells that are hidden (moved), and share that is predicted although it is as it was.
    mask
        What stands in for a hidden cell: ``"mean"``, 0 in all columns, the mean of standardised ones; or
        ``"published"``, -100. Such a token is some hundred times as long as a cell, so that hidden cells look at each
        other alone until that is unlearned, which short runs do not reach. Default: ``"published"`` for weights whose
        embeddings are taken as they are, which are the authors'.
    jitter
        How differently a piece is stained each time that it is seen, not published: see `jittered`. 0: as measured.
    learning_rate, weight_decay, warmup, clip
        Learning rate at its peak, weight decay (of neither biases nor norms), share of the steps over which the rate
        rises, largest norm of the gradient.
    """

    name = "context"

    def __init__(
        self,
        context: ContextEncoder,
        n_neighbors: int,
        random_state: int = 0,
        *,
        cells: Annotated[float, above(0)] = 1.0,
        pairs: Annotated[float, at_least(0)] = 0.01,
        changed: Annotated[float, between(0, 1)] = 0.12,
        kept: Annotated[float, between(0, 1)] = 0.03,
        mask: Literal["mean", "published"] | None = None,
        jitter: Annotated[float, at_least(0)] = 0.0,
        learning_rate: Annotated[float, above(0)] = 1e-3,
        weight_decay: Annotated[float, at_least(0)] = 0.01,
        warmup: Annotated[float, between(0, 1)] = 0.1,
        clip: Annotated[float, above(0)] = 1.0,
    ) -> None:
        super().__init__()
        if not 0 < changed + kept <= 1:
            raise ArgumentError(f"options= hides changed={changed} and kept={kept} of the cells; pass shares up to 1.")
        self.context = context
        self.network = context.network.requires_grad_(True)
        self.heads = _heads(context, random_state)
        self.weights_of = {"cells": float(cells), "pairs": float(pairs)}
        self.heads.pair_head.requires_grad_(pairs > 0)
        self.hidden, self.n_neighbors = (float(changed), float(kept)), n_neighbors
        mask = ("published" if context.columns is None else "mean") if mask is None else mask
        self.value = HIDDEN if mask == "published" else 0.0
        self.jitter = float(jitter)
        self.learning_rate, self.weight_decay, self.warmup, self.clip = learning_rate, weight_decay, warmup, clip
        self.narrowest = float(self.network.gaussian.stds.weight.detach().abs().min())

    def views(self) -> Any:
        """Hides and moves cells."""
        return ContextViews(*self.hidden, self.n_neighbors, self.value, self.weights_of["pairs"] > 0, self.jitter)

    def forward(self, views: Sequence[ContextView]) -> dict[str, Term]:
        """Both losses of a batch; pieces go through the network one by one, nothing is padded."""
        sums: dict[str, list[Tensor]] = {"cells": [], "pairs": []}
        counts = {"cells": 0, "pairs": 0}
        for one in views:
            tokens, pairs = self.network(one.tokens[None], one.types[None], one.distances[None])
            lost = {"cells": masked_cells(self.heads.lm_head(tokens[0, one.cells]), one.targets)}
            if one.pairs is not None:
                is_pair = one.pairs != HIDDEN
                lost["pairs"] = pair_distances(self.heads.pair_head(pairs[0][is_pair])[:, 0], one.pairs[is_pair])
            for name, values in lost.items():
                sums[name].append(values.float().sum())
                counts[name] += len(values)
        return {
            name: Term(torch.stack(sums[name]).sum(), counts[name], weight)
            for name, weight in self.weights_of.items()
            if weight
        }

    def clip_parts(self) -> list[list[nn.Parameter]]:
        """The Gaussians of distances, and all else.

        The gradient of a Gaussian goes by its width to the power of -2. Clipped with the others, that of one narrow
        Gaussian leaves nothing of theirs.
        """
        of_distances = list(self.network.gaussian.parameters())
        apart = {id(one) for one in of_distances}
        return [of_distances, [one for part in super().clip_parts() for one in part if id(one) not in apart]]

    def after_step(self, schedule: Schedule) -> None:
        """No Gaussian becomes narrower than the narrowest was: it would go on to 0, where its gradient has no end."""
        with torch.no_grad():
            widths = self.network.gaussian.stds.weight
            widths.copy_(torch.where(widths < 0, -1.0, 1.0) * widths.abs().clamp(min=self.narrowest))

    def trained(self) -> ContextEncoder:
        """The model with its heads, in evaluation mode and without gradients."""
        self.context.network = self.network.cpu().eval().requires_grad_(False)
        self.context.heads = {name: one.detach().cpu() for name, one in self.heads.state_dict().items()}
        return self.context


def _heads(context: ContextEncoder, random_state: int) -> Heads:
    """Heads of the weights, or new ones where there are none for this width of embeddings."""
    heads = Heads(context.network.config)
    shapes = {name: tuple(one.shape) for name, one in heads.state_dict().items()}
    if shapes == {name: tuple(one.shape) for name, one in context.heads.items()}:
        heads.load_state_dict(context.heads)
    else:
        initialise(heads, random_state)
    return heads.requires_grad_(True)
