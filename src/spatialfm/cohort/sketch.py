"""A part of the cells in place of all, where there are too many to cluster: drawn evenly, and what it leaves uncertain.

Clusters of a sketch are found as those of all cells would be; the other cells take the cluster of most of their nearest
sketched ones. Two numbers show how far that can be trusted. Each sketched cell is treated as one that is not, and takes
the cluster of its neighbours: how often is that its own? And a second sketch of other cells is clustered: does it find
the same clusters as the first gives to its cells?
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from .._errors import TableError, counted
from .._keys import PATIENT_KEY, SAMPLE_KEY
from ..stats.depth import depth_within
from ..stats.nearest import neighbor_graph

if TYPE_CHECKING:
    from anndata import AnnData

SKETCH_FROM = 200_000  # cells from which only a sketch is clustered
SKETCH = 50_000  # cells of it
LEAST = 100
N_VOTES = 15  # nearest sketched cells that vote on the cluster of another
EXACT_UP_TO = 20_000  # sketched cells that all are compared
BLOCK = 200_000  # cells that are looked up at once

Size = int | Literal["auto"] | None


@dataclass(frozen=True)
class Sketch:
    """Rows that are clustered, and as many others to compare with; in the order of their names."""

    rows: np.ndarray
    others: np.ndarray  # fewer where there are not as many
    how: str  # how they were drawn, in words

    @property
    def comparable(self) -> bool:
        """Whether the others are enough to be clustered as the sketch is."""
        return 2 * len(self.others) >= len(self.rows)


def sketch_size(sketch: Size, n_cells: int) -> int | None:
    """Cells that are clustered; None: all of them.

    Raises
    ------
    TableError
        If it is not such a number.
    """
    if sketch is None:
        return None
    if sketch == "auto":
        return SKETCH if n_cells > SKETCH_FROM else None
    if isinstance(sketch, bool | str) or sketch < LEAST:
        raise TableError(f'sketch={sketch!r} is too few. Pass {LEAST} cells or more, "auto", or None for all cells.')
    return int(sketch) if n_cells > sketch else None


def groups_of(adata: AnnData) -> tuple[np.ndarray | None, str]:
    """Numbers of the patients, otherwise samples, from which a sketch is drawn evenly, and their name, or None."""
    for key, unit in ((PATIENT_KEY, "patient"), (SAMPLE_KEY, "sample")):
        if key in adata.obs and not adata.obs[key].isna().any():
            return adata.obs[key].astype("category").cat.codes.to_numpy().astype(int), unit
    return None, ""


def drawn_evenly(order: np.ndarray, groups: np.ndarray | None, unit: str, size: int, random_state: int) -> Sketch:
    """At most `size` rows, as many of each group or all that it has, and as many others.

    Parameters
    ----------
    order
        Rows in the order of their names.
    groups
        ``(rows,)`` number of the group; None: rows are drawn whatever they belong to.

    Raises
    ------
    TableError
        If there are more groups than rows to draw.
    """
    rng = np.random.default_rng((random_state, 8))
    groups = np.zeros(len(order), int) if groups is None else groups
    shuffled = rng.permutation(len(order))
    shuffled = shuffled[np.argsort(groups[order][shuffled], kind="stable")]
    n = np.bincount(groups)
    depth = depth_within(n[n > 0], size)
    if not depth:
        raise TableError(f"sketch={size} is not one cell of each of {counted(int((n > 0).sum()), unit)}. Pass more.")
    starts = np.concatenate([[0], np.cumsum(n)])
    place = np.arange(len(order)) - starts[groups[order][shuffled]]
    rows, others = (order[np.sort(shuffled[(place >= i * depth) & (place < (i + 1) * depth)])] for i in (0, 1))
    how = f"{depth:,} of each of {counted(int((n > 0).sum()), unit)}" if unit else "drawn at random"
    if unit and (n[n > 0] < depth).any():
        how += ", or all that it has"
    return Sketch(rows, others, how)


class Nearest:
    """The nearest of some rows, for any others; an index of pynndescent where they are many."""

    def __init__(self, values: np.ndarray, n_neighbors: int, random_state: int) -> None:
        self.n = len(values)
        if self.n <= EXACT_UP_TO:
            from sklearn.neighbors import NearestNeighbors

            index = NearestNeighbors(n_neighbors=min(n_neighbors, self.n)).fit(values)
            self._query = lambda others, k: index.kneighbors(others, k, return_distance=False)
        else:
            index = neighbor_graph(values, max(30, n_neighbors), random_state)
            self._query = lambda others, k: index.query(others, k=k)[0]

    def votes(self, others: np.ndarray, codes: np.ndarray, k: int, itself: np.ndarray | None = None) -> np.ndarray:
        """Cluster ``(resolutions, others)`` of most of the `k` nearest rows.

        Parameters
        ----------
        codes
            ``(resolutions, rows)``.
        itself
            Row that each of the others is, and that has no vote.
        """
        out = np.empty((len(codes), len(others)), codes.dtype)
        more = int(itself is not None)
        k = min(k, self.n - more)
        for start in range(0, len(others), BLOCK):
            part = slice(start, start + BLOCK)
            neighbours = self._query(others[part], k + more)
            if itself is not None:
                last = np.argsort(neighbours == itself[part, None], axis=1, kind="stable")[:, :k]
                neighbours = np.take_along_axis(neighbours, last, 1)
            for row, column in zip(out, codes, strict=True):
                row[part] = most_frequent(column[neighbours])
        return out

    def means(self, others: np.ndarray, column: np.ndarray, k: int) -> np.ndarray:
        """Mean ``(others,)`` of a number of the `k` nearest rows."""
        blocks = [others[start : start + BLOCK] for start in range(0, len(others), BLOCK)]
        return np.concatenate([column[self._query(block, min(k, self.n))].mean(axis=1) for block in blocks])


def most_frequent(codes: np.ndarray) -> np.ndarray:
    """Most frequent code of each row; of equally frequent ones, that of the nearest."""
    n, k = codes.shape
    if k > 32:  # pairs would take too much memory; of equally frequent ones the least
        return np.array([np.bincount(row).argmax() for row in codes])
    votes = (codes[:, :, None] == codes[:, None, :]).sum(axis=2)
    return codes[np.arange(n), votes.argmax(axis=1)]
