"""What a method may see: all rows on one scale, their neighbours, and which of them are labelled."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from ..search_index import Index, nearest

N_COMPONENTS = 50  # principal components in which neighbours and means are looked for
FITTED_TO = 50_000  # rows that components are found on: more of them turn no axis
N_NEIGHBORS = 15
MAX_NODES = 20_000  # of a graph; of more rows, so many stand for all: they are compared one by one, without an index


class Scaler(Protocol):
    """Brings columns to one scale: `spatialfm.learn.probe.column_scaler`, or scikit-learn's."""

    def transform(self, values: np.ndarray) -> np.ndarray:
        """``(n, columns)`` in and out."""


@dataclass(frozen=True)
class VisibleCells:
    """All rows that a method may see, those with a label among them.

    Attributes
    ----------
    values
        ``(n, columns)``, complete.
    scaler
        Fitted to all rows that may be seen.
    groups
        Patient of each row ``(n,)``, or None.
    labelled
        Rows that have a label, also those that are held out for a while: they are always nodes of the graph.
    random_state
        Seed of all that is drawn.
    order
        All rows in the order of their names, so that what is drawn does not depend on the order of the table; None: as
        they stand.
    """

    values: np.ndarray
    scaler: Scaler
    groups: np.ndarray | None = None
    labelled: np.ndarray | None = None
    random_state: int = 0
    order: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.values)

    def groups_of(self, rows: np.ndarray) -> np.ndarray | None:
        """Patients of some rows."""
        return None if self.groups is None else self.groups[rows]

    def drawn(self, most: int, among: np.ndarray | None = None) -> np.ndarray:
        """At most so many rows, in their order, drawn at random among those that are True in ``(n,)`` bool."""
        rows = np.arange(len(self)) if self.order is None else self.order
        rows = rows if among is None else rows[among[rows]]
        if len(rows) > most:
            rows = np.random.default_rng(self.random_state).choice(rows, most, replace=False)
        return np.sort(rows)

    @cached_property
    def scaled(self) -> np.ndarray:
        """The values on one scale."""
        return self.scaler.transform(self.values)

    @cached_property
    def _axes(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean ``(columns,)`` and axes ``(columns, components)`` of the principal components."""
        values = self.scaled[self.drawn(FITTED_TO)].astype(np.float64)
        mean = values.mean(axis=0)
        variance, axes = np.linalg.eigh(np.cov(values.T).reshape(values.shape[1], -1))
        largest = np.argsort(variance)[::-1][:N_COMPONENTS]
        largest = (
            largest[variance[largest] > 1e-10 * max(variance.max(), 1e-300)] if variance.max() > 0 else largest[:1]
        )
        axes = axes[:, largest]
        return mean, axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])

    def project(self, scaled: np.ndarray) -> np.ndarray:
        """Principal components ``(m, components)``, float32, of rows on the common scale."""
        mean, axes = self._axes
        return ((scaled - mean) @ axes).astype(np.float32)

    @cached_property
    def components(self) -> np.ndarray:
        """Principal components of all rows, ``(n, components)``."""
        return self.project(self.scaled)

    @cached_property
    def nodes(self) -> np.ndarray:
        """Rows of the graph, in order: all, or the labelled ones and so many others, drawn at random."""
        if len(self) <= MAX_NODES:
            return np.arange(len(self))
        is_node = np.zeros(len(self), bool)
        if self.labelled is not None:
            is_node[self.labelled] = True
        is_node[self.drawn(max(MAX_NODES - int(is_node.sum()), 0), ~is_node)] = True
        return np.flatnonzero(is_node)

    @cached_property
    def index(self) -> Index:
        """Where the nodes that are nearest to any row are looked up, in the principal components."""
        return index_of(self.components[self.nodes])

    @cached_property
    def neighbors(self) -> tuple[np.ndarray, np.ndarray]:
        """The nearest other nodes of each node: their places among the nodes, and distances, the nearest first."""
        return nearest_others(self.index, N_NEIGHBORS)


def index_of(values: np.ndarray) -> Index:
    """Rows to search in, one by one."""
    values = np.ascontiguousarray(values, dtype=np.float32)
    return Index(values, np.arange(len(values)), np.zeros(values.shape[1], np.float32), "l2", "")


def class_means(values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Mean ``(classes, columns)`` of the rows of each class, from 0 on, of which there is one at least.

    Sums are float64: those of float32 stop growing at 16.8 million ones.
    """
    return np.stack([values[codes == code].mean(axis=0, dtype=np.float64) for code in range(int(codes.max()) + 1)])


def nearest_others(index: Index, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The nearest other rows of each row of an index: places and distances ``(n, min(k, n - 1))``."""
    n = len(index.values)
    k = min(k, n - 1)
    places, distances = nearest(index, index.values, k + 1)
    # the row itself is first but for ties
    itself = places == np.arange(n)[:, None]
    order = np.argsort(np.where(itself, 1, 0), axis=1, kind="stable")[:, :k]
    return np.take_along_axis(places, order, 1), np.take_along_axis(distances, order, 1)
