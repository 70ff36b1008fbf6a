"""What looks alike: an index of cells, tiles or samples, and its nearest rows for a query."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from .._errors import SpatialfmError, TableError
from .._keys import UNS
from .._logging import logger
from .._preparation import column_scale, preparation
from .._public import public
from ..get import basis
from ..get import record as read_record
from ._check import check_anndata, listed
from ._representation import representation
from ._transfer_labels import SAME

if TYPE_CHECKING:
    from anndata import AnnData

EXACT_UP_TO = 50_000  # rows that are compared one by one; of more, a graph is searched
WIDER = (5, 50)  # times k that a graph is asked for when hits of the own group are left out, before all are compared
N_MEASURED = 200  # queries that the recall of the graph is measured on


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
        How the representation was made, where that is known: a query that was made otherwise is refused.
    scale
        What columns were divided by ``(columns,)``; queries are, too.
    preparation
        In words, what was done to the columns before.
    """

    values: np.ndarray
    names: np.ndarray
    center: np.ndarray
    metric: str
    use_rep: str
    recall: float = 1.0
    method: str = "exact"
    made: dict[str, object] = field(default_factory=dict, compare=False, repr=False)
    graph: object = field(default=None, compare=False, repr=False)
    scale: np.ndarray | float = 1.0
    preparation: str = ""

    def save(self, path: str | Path) -> None:
        """Write to a file (``.npz``), beside and renamed; the graph of an approximate index is made anew on loading."""
        path = Path(path)
        note = {"metric": self.metric, "use_rep": self.use_rep, "method": self.method, "made": self.made}
        note["preparation"] = self.preparation
        partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
        try:
            with partial.open("wb") as file:
                np.savez(
                    file,
                    values=self.values,
                    names=np.asarray(self.names, dtype=str),
                    center=self.center,
                    scale=self.scale,
                    note=np.array(json.dumps(note)),
                )
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | Path) -> Index:
        """Read what `save` wrote."""
        try:
            with np.load(path) as file:
                note, arrays = json.loads(str(file["note"])), {name: file[name] for name in file.files}
        except (ValueError, KeyError, OSError) as error:
            raise TableError(f"{path} is no index: {error}. Write one with index.save(path).") from error
        index = cls(
            arrays["values"], arrays["names"], arrays["center"], note["metric"], note["use_rep"],
            made=note.get("made", {}), scale=arrays.get("scale", 1.0), preparation=note.get("preparation", ""),
        )  # fmt: skip
        # files of earlier versions say only whether there was a graph
        method = note.get("method") or ("pynndescent" if note["approximate"] else "exact")
        return index if method == "exact" else _with_graph(index, method, 0)


@public
def build_index(
    adata: AnnData,
    use_rep: str,
    *,
    metric: Literal["l2", "cosine"] = "l2",
    center: bool = True,
    approximate: bool | Literal["auto"] = "auto",
    method: Literal["pynndescent", "usearch"] = "pynndescent",
    random_state: int = 0,
) -> Index:
    """Make an index of the rows of a table: cells, tiles, or samples.

    Up to 50,000 rows a search compares all, and is exact. Beyond, a graph of near neighbours is searched, and the
    share of true neighbours that it finds is measured on 200 rows and kept as ``index.recall``.

    Parameters
    ----------
    adata
        Table; its rows are found by ``obs_names``.
    use_rep
        Key of ``obsm`` or ``"X"``. Measured features (``"X"``, ``"X_mean_intensity"``) are standardised, queries by the
        same numbers; embeddings are taken as their model's card says, fractions of compositions as they are.
    metric
        ``"l2"`` (KRONOS, *Image retrieval*) or ``"cosine"``.
    center
        Whether the mean of all rows is subtracted first, from queries too. It matters for ``"cosine"`` alone.
    approximate
        Whether a graph is searched.
    method
        Library that makes the graph: ``"pynndescent"``, or ``"usearch"`` (HNSW, made in a third of the time), which is
        an extra: ``pip install 'spatialfm[search]'``.
    random_state
        Seed of pynndescent, and of the rows that recall is measured on.

    Returns
    -------
    An index, to pass to `spatialfm.tl.search`; ``index.save(path)`` and ``Index.load(path)`` keep it.

    Raises
    ------
    TableError
        If names repeat, or the representation is missing or holds NaN.
    SpatialfmError
        If usearch is asked for and not installed.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=2, cells_per_patient=100, random_state=0)
    >>> index = sfm.tl.build_index(cells, "X_latent")
    >>> hits = sfm.tl.search(index, cells[:1], k=3)
    >>> hits["hit"].iloc[0] == cells.obs_names[0]
    True
    """
    check_anndata(adata, "build_index")
    if metric not in ("l2", "cosine"):
        raise TableError(f"metric={metric!r} is neither 'l2' nor 'cosine'.")
    if method not in _GRAPHS:
        raise TableError(f"method={method!r} is neither 'pynndescent' nor 'usearch'.")
    if not adata.obs_names.is_unique:
        repeated = adata.obs_names[adata.obs_names.duplicated()]
        raise TableError(f"obs_names repeat ({listed(repeated, 3)}): hits could not be told apart. Make them unique.")
    if not adata.n_obs:
        raise TableError("The table has no rows to search in.")
    values = representation(adata, use_rep).astype(np.float32)
    middle = (
        values.mean(axis=0, dtype=np.float64).astype(np.float32) if center else np.zeros(values.shape[1], np.float32)
    )
    how = preparation(adata, use_rep)
    scale = column_scale(values, how)[1]
    index = Index(
        _prepare(values, middle, metric, scale), adata.obs_names.to_numpy(str), middle, metric, use_rep,
        made=_made(adata, use_rep), scale=scale, preparation=how,
    )  # fmt: skip
    if approximate is True or (approximate == "auto" and adata.n_obs > EXACT_UP_TO):
        index = _with_graph(index, method, random_state)
        logger.info("a graph of %d rows by %s: recall %.3f of the 10 nearest", adata.n_obs, method, index.recall)
    return index


@public
def search(
    index: Index,
    query: AnnData | np.ndarray,
    k: int = 10,
    *,
    exclude: Sequence[str] | None = None,
    exclude_of: Sequence[str] | None = None,
) -> pd.DataFrame:
    """The nearest rows of an index for each row of a query.

    Parameters
    ----------
    index
        From `spatialfm.tl.build_index`.
    query
        Table with the same representation, or an array ``(n, columns)``.
    k
        Hits a query.
    exclude, exclude_of
        Group of each query row and of each row of the index, for example ``query.obs["patient"]`` and
        ``adata.obs["patient"]``: hits of the query's own group are left out (only queries for which a graph finds too
        few others are compared with all rows). Without, a row that is in the index itself finds itself first.

    Returns
    -------
    One row a hit, the nearest first: ``query``, ``rank`` from 1 on, ``hit``, ``distance`` (of ``"cosine"``: 1 minus the
    cosine). Fewer than `k` where the index holds no more.

    Raises
    ------
    TableError
        If the query has another number of columns, or was embedded otherwise, or groups do not fit.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=3, cells_per_patient=50, random_state=0)
    >>> index = sfm.tl.build_index(cells, "X_latent")
    >>> patient = cells.obs["patient"]
    >>> hits = sfm.tl.search(index, cells, k=5, exclude=patient, exclude_of=patient)
    >>> bool((patient[hits["hit"]].to_numpy() == patient[hits["query"]].to_numpy()).any())
    False
    """
    values, names = _query(index, query)
    if k < 1:
        raise TableError(f"k={k} finds nothing. Pass 1 or more.")
    n = len(index.names)
    if (exclude is None) != (exclude_of is None):
        raise TableError("exclude= and exclude_of= belong together: groups of the query, and of the index.")
    if exclude is None:
        places, distances = _nearest(index, values, min(k, n))
    else:
        own, of = np.asarray(exclude).astype(str), np.asarray(exclude_of).astype(str)
        if len(own) != len(values) or len(of) != n:
            raise TableError(f"exclude= has {len(own)} of {len(values)} rows, exclude_of= {len(of)} of {n}.")
        places, distances = _nearest_of_others(index, values, own, of, k)
    found = places >= 0
    rows, ranks = np.nonzero(found)
    return pd.DataFrame(
        {
            "query": names[rows],
            "rank": ranks + 1,
            "hit": index.names[places[found]],
            "distance": distances[found],
        }
    )


def _prepare(values: np.ndarray, center: np.ndarray, metric: str, scale: np.ndarray | float = 1.0) -> np.ndarray:
    values = (values - center) / scale
    if metric == "cosine":
        norms = np.linalg.norm(values, axis=1, keepdims=True)
        values = values / np.where(norms > 0, norms, 1)
    return np.ascontiguousarray(values, dtype=np.float32)


def _query(index: Index, query: AnnData | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(query, np.ndarray):
        values, names = np.atleast_2d(query), np.arange(len(np.atleast_2d(query))).astype(str)
    else:
        check_anndata(query, "search")
        values, names = representation(query, index.use_rep), query.obs_names.to_numpy(str)
    if values.shape[1] != len(index.center):
        raise TableError(
            f"The query has {values.shape[1]} columns, the index {len(index.center)} ({index.use_rep!r}). Embed both "
            "in the same way."
        )
    if not isinstance(query, np.ndarray):
        _check_made(index, _made(query, index.use_rep))
    return _prepare(values.astype(np.float32), index.center, index.metric, index.scale), names


def _made(adata: AnnData, use_rep: str) -> dict[str, object]:
    """What two tables must have in common for their columns to mean the same; empty where it is not known."""
    if use_rep == "X":
        return {"columns": [str(name) for name in adata.var_names]}
    if use_rep not in adata.uns.get(UNS, {}):
        return {}
    record = read_record(adata, use_rep)
    # named columns are of the cell's own pixels: a larger window for larger cells changes nothing in them
    named = bool(record.get("feature_names")) and record.get("mode") == "crop"
    made = {name: str(record.get(name)) for name in SAME if name != "window" or not named}
    made["columns"] = [str(name) for name in record.get("feature_names") or record.get("markers") or ()]
    if record.get("n_components"):
        made["basis"] = hashlib.sha256(basis(adata, use_rep)["components"].astype("<f4").tobytes()).hexdigest()[:16]
    return made


def _check_made(index: Index, made: dict[str, object]) -> None:
    if not made or not index.made or made == index.made:
        return
    name = next(name for name in {**index.made, **made} if index.made.get(name) != made.get(name))
    how = "sfm.tl.embed_cells(..., stats=sfm.get.record(...), basis=sfm.get.basis(...)) carries both over"
    raise TableError(
        f"{index.use_rep!r} was made differently in the query: {name} is {_short(made.get(name))}, in the index "
        f"{_short(index.made.get(name))}. "
        + ("Bring both to the same columns." if index.use_rep == "X" else f"Embed both in the same way ({how}).")
    )


def _short(value: object) -> str:
    return listed(value, 4) if isinstance(value, list) else repr(value)


def _nearest(index: Index, values: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    if index.graph is not None:
        places, distances = index.graph.query(values, k=k)
    else:
        from sklearn.neighbors import NearestNeighbors

        distances, places = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(index.values).kneighbors(values)
    # of vectors of length one, half the squared distance is one minus the cosine
    return places, distances**2 / 2 if index.metric == "cosine" else distances


def _nearest_of_others(
    index: Index, values: np.ndarray, own: np.ndarray, of: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    places, distances = np.full((len(values), k), -1), np.full((len(values), k), np.nan)
    left = np.arange(len(values))  # queries without k hits so far
    for width in WIDER if index.graph is not None else ():
        if len(left) and width * k < len(index.names):
            near, far = _nearest(index, values[left], width * k)
            other = (near >= 0) & (of[near] != own[left, None])
            first = np.argsort(~other, axis=1, kind="stable")[:, :k]  # hits of others, in their order
            done = other.sum(axis=1) >= k
            places[left[done]] = np.take_along_axis(near, first, 1)[done]
            distances[left[done]] = np.take_along_axis(far, first, 1)[done]
            left = left[~done]
    for group in np.unique(own[left]):
        mine, others = left[own[left] == group], np.flatnonzero(of != group)
        if not len(others):
            continue
        part = Index(index.values[others], index.names[others], index.center, index.metric, index.use_rep)
        found, far = _nearest(part, values[mine], min(k, len(others)))
        places[mine, : found.shape[1]], distances[mine, : found.shape[1]] = others[found], far
    return places, distances


class _UsearchGraph:
    """An HNSW graph of usearch that is asked as pynndescent's is."""

    def __init__(self, values: np.ndarray) -> None:
        try:
            from usearch.index import Index as Graph
        except ImportError as error:
            raise SpatialfmError(
                'method="usearch" needs usearch: pip install \'spatialfm[search]\'. Or pass method="pynndescent".'
            ) from error
        self.graph = Graph(ndim=values.shape[1], metric="l2sq", dtype="f32", expansion_search=128)
        # with several threads the graph would depend on which of them was first
        self.graph.add(np.arange(len(values), dtype=np.uint64), values, threads=1)

    def query(self, values: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Places ``(n, k)`` and distances; -1 and NaN where fewer were reached."""
        found = self.graph.search(values, k)
        keys, squares = np.atleast_2d(found.keys), np.atleast_2d(found.distances)
        places, distances = np.full((len(values), k), -1), np.full((len(values), k), np.nan, np.float32)
        counts = np.atleast_1d(getattr(found, "counts", keys.shape[1]))
        reached = np.arange(keys.shape[1]) < counts[:, None]
        places[:, : keys.shape[1]][reached] = keys[reached].astype(np.int64)
        distances[:, : keys.shape[1]][reached] = np.sqrt(np.maximum(squares[reached], 0))
        return places, distances


def _pynndescent_graph(values: np.ndarray, random_state: int) -> object:
    from pynndescent import NNDescent

    graph = NNDescent(values, metric="euclidean", n_neighbors=30, random_state=random_state)
    graph.prepare()
    return graph


_GRAPHS = {"pynndescent": _pynndescent_graph, "usearch": lambda values, random_state: _UsearchGraph(values)}


def _with_graph(index: Index, method: str, random_state: int) -> Index:
    from dataclasses import replace

    graph = _GRAPHS[method](index.values, random_state)
    some = np.random.default_rng(random_state).choice(len(index.values), min(N_MEASURED, len(index.values)), False)
    k = min(10, len(index.values))
    exact, _ = _nearest(index, index.values[some], k)
    found = graph.query(index.values[some], k=k)[0]
    hits = [len(np.intersect1d(one, two)) / k for one, two in zip(exact, found, strict=True)]
    return replace(index, graph=graph, method=method, recall=float(np.mean(hits)))
