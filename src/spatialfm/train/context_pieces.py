"""Pieces of slices that a model of cells in context is trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._errors import counted
from .._identity import fingerprint
from .._keys import PATIENT_KEY, SAMPLE_KEY
from .._tissue_tokens import CELL, FAR
from ..learn.context_slices import FEWEST, Piece, Slice, Slicing, cut, distances
from ..models.context import Columns, ContextEncoder
from .drawn import DrawnWindows, spread_out
from .monitor import spread_of
from .objectives.context import ContextSample

if TYPE_CHECKING:
    import torch

    from ..learn.context_cells import ContextCells

LOOKED_AT = 4  # pieces whose vectors are compared at each check
COMPARED = 256  # cells of these
REACH = 0.95  # share of the known distances that the Gaussians cover before training


class ContextPieces:
    """Pieces, for a loop of training.

    Parameters
    ----------
    tissues
        Slices.
    names, patients
        Name and patient of each; a patient is not needed where nothing is held out.
    n_neighbors
        Tokens that a cell knows its distance to.

    Attributes
    ----------
    table
        One row per piece that is trained on: ``source``, ``sample``, ``patient``, ``cells``, and ``slice`` and
        ``part``, its numbers. Pieces of fewer than 50 cells, at the edges of a slice, are left out.
    n_left_out
        Cells of these.
    """

    strata = None

    def __init__(
        self, tissues: Sequence[Slice], names: Sequence[str], patients: Sequence[str | None], n_neighbors: int
    ) -> None:
        self.tissues, self.n_neighbors = list(tissues), n_neighbors
        rows = [
            (names[number], patients[number], len(part), number, place)
            for number, tissue in enumerate(tissues)
            for place, part in enumerate(tissue.parts)
        ]
        table = pd.DataFrame(rows, columns=[SAMPLE_KEY, PATIENT_KEY, "cells", "slice", "part"])
        table.insert(0, "source", "adata")
        enough = table["cells"] >= FEWEST
        self.n_left_out = int(table.loc[~enough, "cells"].sum())
        self.table = table[enough].reset_index(drop=True)

    def __len__(self) -> int:
        return len(self.table)

    def sample(self, index: int, rng: np.random.Generator, *, augment: bool = True) -> ContextSample:
        """One piece; nothing of it is random before the objective hides some of it."""
        row = self.table.iloc[index]
        return ContextSample(window=index, piece=self.tissues[row["slice"]].piece(row["part"]))

    def looked_at(self) -> Iterator[tuple[Piece, np.ndarray]]:
        """A few pieces, the same ones in every call, each with the distances that its tokens know."""
        for index in spread_out(len(self), LOOKED_AT):
            piece = self.sample(index, np.random.default_rng(0)).piece
            yield piece, distances(piece.xy, piece.types, self.n_neighbors)

    def known_distances(self) -> np.ndarray:
        """Distances of cells that are known in some pieces."""
        of_pieces = []
        for piece, known in self.looked_at():
            of_cells = known[np.ix_(piece.types == CELL, piece.types == CELL)]
            of_pieces.append(of_cells[(of_cells != FAR) & (of_cells > 0)])
        return np.concatenate(of_pieces)

    def reach(self) -> float:
        """Distance up to which Gaussians are spread before training."""
        return float(np.quantile(self.known_distances(), REACH))

    def parts(self) -> dict[str, str]:
        """Digests of what a step sees, by what it is about."""
        contents = {
            "embeddings": [tissue.values for tissue in self.tissues],
            "coordinates": [tissue.xy for tissue in self.tissues],
            "virtual cells": [tissue.virtual for tissue in self.tissues],
            "samples": self.table[SAMPLE_KEY].tolist(),
        }
        return {name: fingerprint({name: value}) for name, value in contents.items()}


def cut_slices(
    cells: ContextCells, chosen: Sequence[int], prepared: np.ndarray, how: Slicing, random_state: int
) -> list[Slice]:
    """Slices of the cells whose numbers are chosen, in that order; `prepared` are the embeddings of all cells."""
    rows = [mine for _, mine in cells.rows()]
    return [cut(cells.xy[rows[place]], prepared[rows[place]], how, random_state) for place in chosen]


def columns_of(values: np.ndarray) -> Columns:
    """Mean and standard deviation of columns; one that is constant is left as wide as it is."""
    mean, std = values.mean(0, dtype=np.float64), values.std(0, dtype=np.float64)
    return Columns(mean, np.where(std > 1e-6 * max(1e-12, float(std.max())), std, 1.0))


@dataclass(frozen=True)
class DrawnPieces(DrawnWindows):
    """Pieces drawn at random for each step."""

    windows: ContextPieces  # type: ignore[assignment]  # of which it asks the same

    def describe(self, index: int) -> str:
        """Slice and cells of a piece."""
        row = self.windows.table.iloc[index]
        return f"{counted(row['cells'], 'cell')} of {row[SAMPLE_KEY]!r}"


class ContextSpread:
    """A check: how far the vectors of some cells are from being the same.

    Parameters
    ----------
    context
        The model that is trained.
    pieces
        Pieces, some of which are looked at.
    device
        Where it is.
    """

    def __init__(self, context: ContextEncoder, pieces: ContextPieces, device: torch.device) -> None:
        self.context, self.pieces, self.device = context, pieces, device

    def __call__(self, step: int) -> dict[str, float]:
        """Effective rank and spread."""
        network, of_pieces = self.context.network, []
        before = network.training
        network.eval()
        for piece, known in self.pieces.looked_at():
            of_pieces.append(self.context.encode(piece.tokens, piece.types, known, self.device)[piece.types == CELL])
        network.train(before)
        vectors = np.concatenate(of_pieces)
        rank, spread = spread_of(vectors[spread_out(len(vectors), COMPARED)])
        return {"effective_rank": rank, "spread": spread}
