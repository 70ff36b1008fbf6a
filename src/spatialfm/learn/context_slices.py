"""Slices of tissue cut into pieces of about a thousand cells, as a model of cells in context takes them.

Zhao et al. 2025 (SToFM), ICML, arXiv:2507.11588, and its released code. Lengths are in units: of a slice's own size, a
hundredth of the diagonal of its bounding box.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, Literal

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from .._errors import ArgumentError, TableError
from .._public import meant, taken
from .._ranges import above, at_least, between
from .._signatures import rules_of
from .._tissue_tokens import CELL, FAR, FIRST, VIRTUAL
from .leiden import leiden, neighbour_graph

FEWEST = 50  # cells of a slice: as many as the neighbours that distances are known of
DIAGONAL = 100.0  # units
CLUSTERED_BY = 10  # neighbours in the graph that virtual cells are found on
UNTIL_STABLE = -1


@dataclass(frozen=True, kw_only=True)
class Slicing:
    """How a slice becomes pieces: with the weights, all that decides the numbers.

    Attributes
    ----------
    n_cells
        Cells of a piece, about.
    frame
        ``"box"``, as published: squares along the axes of the coordinates, and a square with twice as many cells or
        more is cut by the order of the rows. ``"axes"``: along the principal axes of the slice, by place, so that
        nothing depends on how a slice lay on the glass, nor on the order of its cells.
    unit
        Length of a unit, in that of the coordinates (µm); the same in all slices. None, as published: a hundredth of
        the diagonal of the slice, so that a distance means something else in a core and in a section.
    n_neighbors
        Tokens, itself included, that a cell knows its distance to.
    resolution
        Of the Leiden clustering whose means are the virtual cells.
    alpha
        Weight of places beside embeddings in that clustering.
    """

    n_cells: Annotated[int, at_least(50)] = 1000
    frame: Literal["box", "axes"] = "box"
    unit: Annotated[float, above(0)] | None = None
    n_neighbors: Annotated[int, at_least(2)] = 50
    resolution: Annotated[float, above(0)] = 1.0
    alpha: Annotated[float, between(0, 1)] = 0.2

    def __post_init__(self) -> None:
        for name, value in taken("slicing", asdict(self), rules_of(type(self))).items():
            object.__setattr__(self, name, value)  # frozen


def slicing_of(trained: Mapping[str, Any], asked: Mapping[str, Any] | None) -> Slicing:
    """How a model was trained, or as published, with the fields that depart from it.

    Raises
    ------
    ArgumentError
        If there is no such field, or it cannot have that value.
    """
    names = [one.name for one in fields(Slicing)]
    if unknown := [name for name in asked or {} if name not in names]:
        raise ArgumentError(f"slicing= has {unknown[0]!r}. {meant(unknown[0], names)}")
    return Slicing(**{**trained, **(asked or {})})


@dataclass(frozen=True)
class Piece:
    """One piece: the first token at the middle of the slice, the virtual cells of the whole slice, the cells.

    Attributes
    ----------
    tokens
        Embeddings ``(N, d)``, float32.
    types
        ``(N,)``: 1 the first token, 2 a virtual cell, 0 a cell.
    xy
        Places ``(N, 2)``.
    """

    tokens: np.ndarray
    types: np.ndarray
    xy: np.ndarray


@dataclass(frozen=True)
class Slice:
    """A slice, ready to be taken piece by piece.

    Attributes
    ----------
    xy, values
        Places ``(n, 2)`` in units and embeddings ``(n, d)`` of its cells.
    virtual_xy, virtual
        The same of its virtual cells.
    parts
        Rows of the cells of each piece; each cell is in one.
    n_at_edge
        Cells on the far edge that belong to no square by the published comparison and were kept.
    """

    xy: np.ndarray
    values: np.ndarray
    virtual_xy: np.ndarray
    virtual: np.ndarray
    parts: list[np.ndarray]
    n_at_edge: int

    def piece(self, number: int) -> Piece:
        """One piece."""
        rows, n_virtual = self.parts[number], len(self.virtual)
        first = np.zeros((1, self.values.shape[1]), np.float32)
        types = np.full(1 + n_virtual + len(rows), CELL)
        types[0], types[1 : 1 + n_virtual] = FIRST, VIRTUAL
        return Piece(
            tokens=np.concatenate([first, self.virtual, self.values[rows]]),
            types=types,
            xy=np.concatenate([np.zeros((1, 2)), self.virtual_xy, self.xy[rows]]),
        )


def cut(xy: np.ndarray, values: np.ndarray, slicing: Slicing, random_state: int = 0) -> Slice:
    """A slice of places ``(n, 2)`` and embeddings ``(n, d)``, cut as asked for."""
    placed = in_units(xy, slicing)
    values = np.ascontiguousarray(values, np.float32)
    clusters = clusters_of(placed, values, slicing, random_state)
    sizes = np.bincount(clusters)[:, None]
    means: list[Any] = []
    for part in (placed, values.astype(np.float64)):
        columns = [np.bincount(clusters, weights=part[:, place]) for place in range(part.shape[1])]
        means.append(np.stack(columns, axis=1) / sizes)
    parts, n_at_edge = pieces(placed, slicing.n_cells, by_place=slicing.frame == "axes")
    return Slice(placed, values, means[0], means[1].astype(np.float32), parts, n_at_edge)


def in_units(xy: np.ndarray, slicing: Slicing) -> np.ndarray:
    """Places in units, the middle of the bounding box at the origin.

    Examples
    --------
    >>> in_units(np.array([[1.0, 1.0], [4.0, 5.0]]), Slicing())
    array([[-30., -40.],
           [ 30.,  40.]])
    """
    if slicing.frame == "axes":
        xy = along_axes(xy)
    low, high = xy.min(0), xy.max(0)
    size = np.sqrt(((high - low) ** 2).sum())
    if not size > 0:
        raise TableError("All cells of a slice have one place. Pass spatial_key= of their coordinates.")
    centred = xy - (low + high) / 2
    return centred / slicing.unit if slicing.unit is not None else centred / size * DIAGONAL


def spacing(places: Sequence[np.ndarray]) -> float:
    """Median distance of a cell to the nearest other one of its slice.

    Examples
    --------
    >>> spacing([np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 5.0]]), np.array([[0.0, 0.0], [0.0, 1.0]])])
    1.0
    """
    return float(np.median(np.concatenate([cKDTree(xy).query(xy, k=2)[0][:, 1] for xy in places])))


def along_axes(xy: np.ndarray) -> np.ndarray:
    """Places turned so that the longest axis is the first, with its longer tail towards higher values.

    A slice that was turned gives the same; one that was mirrored gives its mirror image.
    """
    centred = xy - xy.mean(0)
    first = np.linalg.eigh(centred.T @ centred)[1][:, 1]
    first = first if ((centred @ first) ** 3).sum() >= 0 else -first
    return centred @ np.stack([first, [-first[1], first[0]]], axis=1)


def pieces(xy: np.ndarray, n_cells: int, *, by_place: bool = False) -> tuple[list[np.ndarray], int]:
    """Rows of each piece, and the number of cells that would be in none.

    Squares of a side that would hold `n_cells` if all were as dense, half-open; one with twice as many cells or more is
    cut into parts of as many, by the order of rows, or with `by_place` from left to right. By rounding, a cell on the
    far edge can be in no square of the published comparison: it is kept in the last one.
    """
    n = len(xy)
    if n <= n_cells:
        return [np.arange(n)], 0
    low = xy.min(0)
    lengths = xy.max(0) - low
    side = np.sqrt(lengths[0] * lengths[1] / (n // n_cells + 1))
    if not side > 0:
        raise TableError(
            f"The {n:,} cells of a slice lie on a line, so that no square holds {n_cells:,} of them. Look at its "
            "coordinates (spatial_key=), or pass slicing={'n_cells': <as many as there are>}."
        )
    counts = int(lengths[0] / side) + 1, int(lengths[1] // side) + 1
    places, outside = [], np.zeros(n, bool)
    for axis, count in enumerate(counts):
        edges = low[axis] + np.arange(count + 1) * side
        place = np.searchsorted(edges, xy[:, axis], side="right") - 1
        outside |= place >= count
        places.append(np.minimum(place, count - 1))
    square = places[0] * counts[1] + places[1]
    order = np.lexsort((xy[:, 1], xy[:, 0], square)) if by_place else np.argsort(square, kind="stable")
    changes = np.flatnonzero(np.diff(square[order])) + 1
    parts = []
    for rows in np.split(order, changes):
        parts += np.array_split(rows, max(1, len(rows) // n_cells))
    return parts, int(outside.sum())


def clusters_of(xy: np.ndarray, values: np.ndarray, slicing: Slicing, random_state: int) -> np.ndarray:
    """Cluster of each cell, whose means are the virtual cells.

    Leiden on the graph of 10 neighbours of ``alpha * xy + (1 - alpha) * pca``, places and the first two principal
    components of the embeddings, each over its largest norm. The two are added, as in the released code, not put side
    by side. Cells are taken in the order of their places, so that that of the rows does not matter.
    """
    from sklearn.decomposition import PCA

    order = np.lexsort((values[:, 0], xy[:, 1], xy[:, 0]))
    components = np.zeros((len(values), 2))
    two = min(2, values.shape[1])
    components[:, :two] = PCA(two, random_state=0).fit_transform(values[order].astype(np.float64))
    mixed = slicing.alpha * _over_norm(xy[order]) + (1 - slicing.alpha) * _over_norm(components)
    graph = neighbour_graph(mixed, CLUSTERED_BY, random_state)
    clusters = np.empty(len(values), int)
    clusters[order] = leiden(graph, slicing.resolution, random_state, UNTIL_STABLE)
    return clusters


def _over_norm(points: np.ndarray) -> np.ndarray:
    largest = np.sqrt((points**2).sum(1).max())
    return points / largest if largest > 0 else points


def distances(xy: np.ndarray, types: np.ndarray, n_neighbors: int = 50) -> np.ndarray:
    """Distances ``(N, N)``, float32, as far as a piece knows them.

    Known are those of a token to its nearest (`n_neighbors` with itself) in either direction, and all of virtual cells;
    others are 100, as are those of cells at the same place. The first token has 0 to all, which adds nothing to
    attention, and each token to itself.
    """
    n = len(xy)
    near = min(n_neighbors, n - 1)
    known = np.zeros((n, n), np.float32)
    away, which = cKDTree(xy).query(xy, k=np.arange(1, near + 1))
    np.put_along_axis(known, which, away.astype(np.float32), axis=1)
    virtual = types == VIRTUAL
    exact = cdist(xy[virtual], xy)
    known[virtual], known[:, virtual] = exact, exact.T
    known[known == 0] = FAR
    return settled(known)


def settled(known: np.ndarray) -> np.ndarray:
    """Distances with the first token at 0 and each to itself, known in both directions where one knows them."""
    known[0], known[:, 0] = 0.0, 0.0
    other = known.T
    one_way = (known == FAR) & (other != FAR)
    settled = np.where(one_way, other, known)
    np.fill_diagonal(settled, 0.0)
    return settled
