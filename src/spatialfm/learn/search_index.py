"""An index of rows: what is kept of them, its file, and the graphs that are searched in place of all rows."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from .. import _disk
from .._errors import RunError, TableError
from .._optional import need
from .._public import public
from ..stats.nearest import neighbor_graph

N_MEASURED = 200  # queries that the recall of the graph is measured on
LEAF, MOST_COLUMNS = 64, 16  # rows of a leaf, and columns, of the tree by which rows are put in order
MOST_ROWS = 2**24  # up to which float32 holds each whole number


@dataclass(frozen=True)
class Index:
    """Rows to search in; made by `spatialfm.tl.build_index`.

    Attributes
    ----------
    values
        ``(n, columns)``, float32, centred and scaled as the metric wants it.
    names
        Name of each row.
    center
        What was subtracted, ``(columns,)``.
    metric, use_rep
        ``"l2"`` or ``"cosine"``; the representation.
    recall
        Share of the 10 true nearest rows that the graph finds; 1 where rows are compared one by one.
    method
        ``"exact"``, or the library whose graph is searched.
    made
        How the representation was made, where that is known (`cohort.comparability.how_made`): a query that was made
        otherwise is refused.
    graph
        What the library searches in; None where rows are compared one by one.
    scale
        What columns were divided by ``(columns,)``; queries are, too.
    preparation
        In words, what was done to the columns before.
    patients
        Patient of each row, if the table has them; hits of the query's own patient are left out by it.
    moments
        Mean and standard deviation of the columns as they came, ``(2, columns)``: a query in another unit is told by
        them. None in files of earlier versions.
    """

    values: np.ndarray
    names: np.ndarray
    center: np.ndarray
    metric: str
    use_rep: str
    recall: float = 1.0
    method: str = "exact"
    made: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    graph: object = field(default=None, compare=False, repr=False)
    scale: np.ndarray | float = 1.0
    preparation: str = ""
    patients: np.ndarray | None = None
    moments: np.ndarray | None = None

    @public
    def save(self, path: str | PathLike) -> None:
        """Write to a file and put it in place; a graph of an approximate index is built again on loading.

        Parameters
        ----------
        path
            File, ``.npz``.
        """
        path = Path(path)
        if path.is_dir():
            raise RunError(
                f"Cannot write the index to {path}: it is a folder. Pass a file in it, {path / 'index.npz'}."
            )
        note = {"metric": self.metric, "use_rep": self.use_rep, "method": self.method, "made": self.made}
        note["preparation"] = self.preparation
        arrays = {"values": self.values, "names": np.asarray(self.names, dtype=str), "center": self.center}
        arrays |= {"scale": np.asarray(self.scale), "note": np.array(json.dumps(note))}
        if self.patients is not None:
            arrays["patients"] = np.asarray(self.patients, dtype=str)
        if self.moments is not None:
            arrays["moments"] = self.moments
        try:
            with _disk.written_beside(path) as partial, partial.open("wb") as file:
                np.savez(file, **arrays, seal=np.array(_seal(arrays)))
        except (OSError, ValueError) as error:  # zipfile makes a ValueError of a disk that is full
            raise RunError(
                f"Cannot write the index to {path}: {getattr(error, 'strerror', None) or error}. What was there is as "
                "it was: make room, or pass another path."
            ) from error

    @classmethod
    @public
    def load(cls, path: str | PathLike) -> Index:
        """Read what `save` wrote.

        Parameters
        ----------
        path
            The file.

        Raises
        ------
        TableError
            If it is not an index, or not as it was written.
        """
        try:
            with np.load(path) as file:
                arrays = dict(file)
            seal = arrays.pop("seal", None)  # files of earlier versions have none
            if seal is not None and str(seal) != _seal(arrays):
                raise ValueError("it is not as it was written")
            note = json.loads(str(arrays["note"]))
            index = cls(
                arrays["values"], arrays["names"], arrays["center"], note["metric"], note["use_rep"],
                made=note.get("made", {}), scale=arrays.get("scale", 1.0), preparation=note.get("preparation", ""),
                patients=arrays.get("patients"), moments=arrays.get("moments"),
            )  # fmt: skip
            # files of earlier versions record only whether there was a graph
            method = note.get("method") or ("pynndescent" if note["approximate"] else "exact")
            if index.values.shape != (len(index.names), len(index.center)) or not np.isfinite(index.values).all():
                raise ValueError("its arrays do not fit each other")
        except Exception as error:  # numpy, zipfile and json raise any error for other files
            # numpy's own advice on such a file is to run the code in it
            reason = "it is not an archive of arrays" if "pickle" in str(error) else str(error) or type(error).__name__
            raise TableError(f"{path} is not an index: {reason}. Write one with index.save(path).") from error
        return index if method == "exact" else with_graph(index, method, 0)


def _seal(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, values in sorted(arrays.items()):
        digest.update(f"{name} {values.dtype.str} {values.shape} ".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def nearest(index: Index, values: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The nearest rows of an index: places and distances ``(n, k)``."""
    if index.graph is not None:
        # near queries go the same way through the graph: one after the other, they find it in the processor's cache
        order = order_in_space(values)
        places, distances = np.empty((len(values), k), np.int64), np.empty((len(values), k), np.float32)
        places[order], distances[order] = index.graph.query(values[order], k=k)
    else:
        from sklearn.neighbors import NearestNeighbors

        distances, places = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(index.values).kneighbors(values)
    return places, _as_asked(index, distances)


def neighbors_of_rows(index: Index) -> tuple[np.ndarray, np.ndarray] | None:
    """The nearest rows of each row of the index and their distances, where its graph keeps them from when it was made.

    Of a million rows each question to a graph misses the processor's cache, and what is kept needs no question.
    """
    graph = getattr(index.graph, "neighbor_graph", None)
    return None if graph is None else (graph[0], _as_asked(index, graph[1]))


def _as_asked(index: Index, distances: np.ndarray) -> np.ndarray:
    # of vectors of length one, half the squared distance is one minus the cosine
    return distances**2 / 2 if index.metric == "cosine" else distances


class _UsearchGraph:
    """An HNSW graph of usearch that is asked as pynndescent's is."""

    def __init__(self, values: np.ndarray) -> None:
        need("usearch", 'method="usearch"', 'Or pass method="pynndescent".')
        from usearch.index import Index as Graph

        self.graph = Graph(ndim=values.shape[1], metric="l2sq", dtype="f32", expansion_search=128)
        # with several threads the graph would depend on which of them was first
        self.graph.add(np.arange(len(values), dtype=np.uint64), values, threads=1)

    def query(self, values: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Places ``(n, k)`` and distances; -1 and NaN where fewer were reached."""
        matches = self.graph.search(values, k)
        keys, squares = np.atleast_2d(matches.keys), np.atleast_2d(matches.distances)
        places, distances = np.full((len(values), k), -1), np.full((len(values), k), np.nan, np.float32)
        counts = np.atleast_1d(getattr(matches, "counts", keys.shape[1]))
        reached = np.arange(keys.shape[1]) < counts[:, None]
        places[:, : keys.shape[1]][reached] = keys[reached].astype(np.int64)
        distances[:, : keys.shape[1]][reached] = np.sqrt(np.maximum(squares[reached], 0))
        return places, distances


class _PynndescentGraph:
    """A graph of pynndescent, made of the rows leaf by leaf of a tree.

    Rows that are near in space are then near in memory, and whoever is compared is more often in the processor's cache.
    """

    def __init__(self, values: np.ndarray, random_state: int) -> None:
        if len(values) > MOST_ROWS:
            raise TableError(
                f"pynndescent tells {MOST_ROWS:,} rows apart (it has their numbers as float32), and there are "
                f'{len(values):,}. Pass method="usearch".'
            )
        order = self.order = order_in_space(values)
        self.graph = neighbor_graph(values[order], 30, random_state)
        places, distances = self._as_in_table(*self.graph.neighbor_graph)
        self.neighbor_graph = np.empty_like(places), np.empty_like(distances)
        self.neighbor_graph[0][order], self.neighbor_graph[1][order] = places, distances
        self.graph.compress_index()  # makes it ready to be asked, without the neighbours, which are kept here

    def query(self, values: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Places ``(n, k)`` and distances; -1 and NaN where fewer were reached."""
        return self._as_in_table(*self.graph.query(values, k=k))

    def _as_in_table(self, places: np.ndarray, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        reached = np.isfinite(distances)  # pynndescent gives any place where there is none
        return np.where(reached, self.order[places], -1), np.where(reached, distances, np.nan).astype(np.float32)


def order_in_space(values: np.ndarray) -> np.ndarray:
    """Rows ``(n,)`` so that near ones follow each other: leaf by leaf of a tree of the columns that vary most.

    Examples
    --------
    >>> order = order_in_space(np.tile([[5.0], [-5.0]], (100, 1)))
    >>> bool((order[:100] % 2 == 1).all())
    True
    """
    from scipy.spatial import KDTree

    widest = np.sort(np.argsort(-values.var(axis=0), kind="stable")[:MOST_COLUMNS])
    return KDTree(values[:, widest], leafsize=LEAF).indices.astype(np.int32)


GRAPHS = {"pynndescent": _PynndescentGraph, "usearch": lambda values, random_state: _UsearchGraph(values)}


def with_graph(index: Index, method: str, random_state: int) -> Index:
    """The index with a graph to search, and the recall that was measured on a part of its rows."""
    from dataclasses import replace

    graph = GRAPHS[method](index.values, random_state)
    some = np.random.default_rng(random_state).choice(len(index.values), min(N_MEASURED, len(index.values)), False)
    k = min(10, len(index.values))
    exact, _ = nearest(index, index.values[some], k)
    approximate = graph.query(index.values[some], k=k)[0]
    hits = [len(np.intersect1d(one, two)) / k for one, two in zip(exact, approximate, strict=True)]
    return replace(index, graph=graph, method=method, recall=float(np.mean(hits)))
