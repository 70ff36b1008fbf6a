"""What looks alike: an index of cells, tiles or samples, and its nearest rows for a query."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from ..._errors import TableError, warn
from ..._keys import PATIENT_KEY
from ..._logging import logger
from ..._preparation import STANDARDIZED, column_scale, preparation
from ..._public import public
from ..._record import first_difference
from ...cohort.checks import check_anndata, listed, obs_column, order_of_names
from ...cohort.comparability import how_made, tell_another_scale
from ...cohort.patient_names import as_text, check_across, suggestion
from ...cohort.representation import representation
from ...learn.search_index import N_MEASURED, Index, nearest, with_graph
from ...learn.search_others import as_numbers, nearest_of_others, recall_of, rows_of_index
from ...metrics._row_order import check_row_order

if TYPE_CHECKING:
    from anndata import AnnData

EXACT_UP_TO = 50_000  # rows that are compared one by one; of more, a graph is searched
LOW = 0.9  # recall below which hits are worth a warning


@public(all_threads=True)
def build_index(
    adata: AnnData,
    use_rep: str,
    *,
    metric: Literal["l2", "cosine"] = "l2",
    center: bool = True,
    approximate: bool | Literal["auto"] = "auto",
    method: Literal["pynndescent", "usearch"] = "pynndescent",
    patient_key: str | None = PATIENT_KEY,
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
        same numbers; embeddings are used as their model's card states, fractions of compositions as they are.
    metric
        ``"l2"`` (KRONOS, *Image retrieval*) or ``"cosine"``.
    center
        Whether the mean of all rows is subtracted first, from queries too. It matters for ``"cosine"`` alone.
    approximate
        Whether a graph is searched.
    method
        Library that makes the graph: ``"pynndescent"``, or ``"usearch"`` (HNSW, made in a third of the time), which is
        an extra: ``pip install 'spatialfm[search]'``.
    patient_key
        Column of ``obs`` with the patient of each row (the usual one need not be there): a search then leaves the rows
        of the query's own patient out. None: patients are not kept.
    random_state
        Seed of pynndescent, and of the rows that recall is measured on.

    Returns
    -------
    An index, to pass to `spatialfm.tl.search`; ``index.save(path)`` keeps it, and ``sfm.tl.Index.load(path)``
    reads it.

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
    >>> hits[["query_patient", "hit_patient"]].drop_duplicates().values.tolist()
    [['P001', 'P002']]
    """
    check_anndata(adata, "build_index")
    if not adata.obs_names.is_unique:
        repeated = adata.obs_names[adata.obs_names.duplicated()]
        raise TableError(
            f"obs_names repeat ({listed(repeated, 3)}): hits could not be distinguished. Make them unique."
        )
    patients = _patients_of(adata, patient_key)
    values = representation(adata, use_rep).astype(np.float32)
    middle = (
        values.mean(axis=0, dtype=np.float64).astype(np.float32) if center else np.zeros(values.shape[1], np.float32)
    )
    how = preparation(adata, use_rep)
    scale = column_scale(values, how)[1]
    index = Index(
        _prepare(values, middle, metric, scale), adata.obs_names.to_numpy(str), middle, metric, use_rep,
        made=how_made(adata, use_rep), scale=scale, preparation=how, patients=patients,
        moments=np.stack(column_scale(values, STANDARDIZED)),
    )  # fmt: skip
    if approximate is True or (approximate == "auto" and adata.n_obs > EXACT_UP_TO):
        index = with_graph(index, method, random_state)
        logger.info("a graph of %d rows by %s: recall %.3f of the 10 nearest", adata.n_obs, method, index.recall)
    return index


@public(all_threads=True)
def search(
    index: Index,
    query: AnnData | np.ndarray,
    k: int = 10,
    *,
    use_rep: str | None = None,
    exclude: pd.Series | Sequence[str] | Literal["patient"] | None = "patient",
    exclude_of: pd.Series | Sequence[str] | None = None,
    patient_key: str | None = PATIENT_KEY,
) -> pd.DataFrame:
    """The nearest rows of an index for each row of a query, in other patients.

    A patient's tissue is most like itself: hits of the query's own patient show how well patients are recognised, and
    little of what their tissue has in common. They are left out unless asked for.

    Parameters
    ----------
    index
        From `spatialfm.tl.build_index`.
    query
        Table with the same representation, or an array ``(n, columns)``.
    k
        Hits a query.
    use_rep
        Key of the query's ``obsm`` (default: that of the index). Another one is taken where `spatialfm.tl.align`
        brought both into one space: cells are found by their other modality (with ``exclude=None``, themselves too).
        An index by ``"cosine"`` is then made with ``center=False``.
    exclude
        ``"patient"``: hits of the query's own patient are left out, if index and query have patients. Or the groups
        of the query rows, for example ``query.obs["slide"]``: hits of the query's own group are left out. None: nothing
        is, and a row of the index finds itself first.
    exclude_of
        Groups of the rows of the index, for example ``adata.obs["slide"]``, where `exclude` gives those of the query
        rows.
    patient_key
        Column of the query's ``obs`` with the patient. None, or an array: patients are not known.

    Returns
    -------
    One row per hit, the nearest first: ``query``, ``rank`` from 1 on, ``hit``, ``distance`` (of ``"cosine"``: 1 minus
    the cosine) and, where patients are known, ``query_patient`` and ``hit_patient``. Fewer than `k` where the index
    holds no more. ``attrs["recall"]``: share of the true hits that were found; of an index with a graph it is measured
    on 200 of the queries, by comparing them with all rows of other groups.

    Raises
    ------
    TableError
        If the query has another number of columns, or was embedded otherwise, or groups do not fit or are of the same
        rows in another order, or patients are spelled otherwise than in the index.

    Warns
    -----
    SpatialfmWarning
        If the patient of queries that are rows of the index is not known, the graph found less than 90 % of the nearest
        rows of other groups, an index by cosine was centered by another representation than the query's, or the columns
        of the query are in another unit than those of the index.

    Notes
    -----
    Of an index with a graph, queries for which it finds too few rows of other groups go to graphs of the rows outside
    of their group (up to 2,000 such queries are compared with all rows). These are made in the call, so that it takes
    as long as the index once more where one patient holds most of the rows, and several times as long where all
    patients are apart.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=3, cells_per_patient=50, random_state=0)
    >>> index = sfm.tl.build_index(cells, "X_latent")
    >>> hits = sfm.tl.search(index, cells, k=5)
    >>> bool((hits["hit_patient"] == hits["query_patient"]).any())
    False
    """
    values, names = _query(index, query, use_rep)
    n = len(index.names)
    patients = None if isinstance(query, np.ndarray) else _patients_of(query, patient_key)
    own, group_of = _groups(index, names, patients, exclude, exclude_of, is_table=not isinstance(query, np.ndarray))
    if own is None:
        places, distances = nearest(index, values, min(k, n))
        recall = index.recall
    else:
        if len(own) != len(values) or len(group_of) != n:
            raise TableError(f"exclude= has {len(own)} of {len(values)} rows, exclude_of= {len(group_of)} of {n}.")
        own, group_of = as_numbers(own, group_of)
        order = order_of_names(names) if index.graph is not None else np.arange(len(names))
        rows = rows_of_index(index, values, names) if index.graph is not None else None
        places, distances = nearest_of_others(index, values, own, group_of, k, order, rows)
        recall = _recall(index, values, own, group_of, distances, order)
    hits = _hits(index, names, patients, places, distances)
    hits.attrs["recall"] = recall
    return hits


def _patients_of(adata: AnnData, patient_key: str | None) -> np.ndarray | None:
    """Patient of each row as text; None where there is no column of the usual name."""
    if patient_key is None or (patient_key == PATIENT_KEY and PATIENT_KEY not in adata.obs):
        if hint := suggestion(adata, patient_key, "patient_key"):
            warn(f"No column {PATIENT_KEY!r} in obs (patient_key=), so that patients are not known.{hint}")
        return None
    return as_text(obs_column(adata, patient_key, "patient_key", rows="rows"))


def _groups(
    index: Index,
    names: np.ndarray,
    patients: np.ndarray | None,
    exclude: Sequence[str] | pd.Series | str | None,
    exclude_of: Sequence[str] | pd.Series | None,
    *,
    is_table: bool,
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Groups of queries and of rows of the index that must not meet; None where all may."""
    if isinstance(exclude, str):
        if exclude != "patient" or exclude_of is not None:
            raise TableError(
                f"exclude={exclude!r} is neither 'patient' nor the groups of the query (with exclude_of=, those of the "
                "index). Pass for example exclude=query.obs['slide'], exclude_of=adata.obs['slide']."
            )
        if patients is not None and index.patients is not None:
            check_across(patients, index.patients, "Patients of the query")
            return patients, index.patients
        if is_table and np.isin(names, index.names).any():
            whose = "index" if index.patients is None else "query"
            warn(
                f"Patients of the {whose} are not known: rows that are in the index find themselves and cells of "
                "their own patient. Pass patient_key= to sfm.tl.build_index and sfm.tl.search, or exclude=None if this "
                "is meant."
            )
        return None, None
    if (exclude is None) != (exclude_of is None):
        raise TableError("exclude= and exclude_of= belong together: groups of the query, and of the index.")
    if exclude is None:
        return None, None
    check_row_order(TableError, query=pd.Index(names), exclude=exclude)
    check_row_order(TableError, index=pd.Index(index.names), exclude_of=exclude_of)
    own, group_of = as_text(exclude), as_text(exclude_of)
    check_across(own, group_of, "Groups of exclude=")
    return own, group_of


def _recall(
    index: Index, values: np.ndarray, own: np.ndarray, group_of: np.ndarray, distances: np.ndarray, order: np.ndarray
) -> float:
    """Share of the true hits of other groups that were found; reported if it is less than all."""
    if index.graph is None:
        return 1.0
    recall = recall_of(index, values, own, group_of, distances, order)
    logger.info("recall %.3f of the nearest rows of other groups, by comparing %d queries with all", recall, N_MEASURED)
    if recall < LOW:
        warn(
            f"Only {100 * recall:.0f} % of the nearest rows of other groups were found by the graphs of "
            f"{index.method}. sfm.tl.build_index(..., approximate=False) compares all rows."
        )
    return recall


def _hits(
    index: Index, names: np.ndarray, patients: np.ndarray | None, places: np.ndarray, distances: np.ndarray
) -> pd.DataFrame:
    is_hit = places >= 0
    n_hits, ranks = is_hit.sum(axis=1), np.broadcast_to(np.arange(1, places.shape[1] + 1), places.shape)
    # millions of hits: memory that the system hands out anew takes as long as what is put into it
    complete = is_hit.all()
    at, distance, rank = (one.ravel() if complete else one[is_hit] for one in (places, distances, ranks))
    # each name is one object, however often it is hit: separate text for each of millions of hits takes gigabytes.
    # Hits touch these at random: where rows look for each other there is one set, which fits the cache longer
    own = names.astype(object)
    hit_names = own if np.array_equal(names, index.names) else index.names.astype(object)
    columns = {"query": own.repeat(n_hits), "rank": rank, "hit": hit_names[at], "distance": distance}
    if patients is not None and index.patients is not None:
        codes, levels = _coded(patients)
        columns["query_patient"] = levels[codes].repeat(n_hits)
        codes, levels = _coded(index.patients)
        columns["hit_patient"] = levels[codes[at]]
    # a copy would touch each object again, and of millions of names most are outside of the processor's cache
    return pd.DataFrame(columns, copy=False)


def _coded(names: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A number of each row, and the names as objects, one each: small numbers are read faster than pointers."""
    codes, levels = pd.factorize(names)
    return codes.astype(np.int32), levels.astype(object)


def _prepare(values: np.ndarray, center: np.ndarray, metric: str, scale: np.ndarray | float = 1.0) -> np.ndarray:
    values = (values - center) / scale
    if metric == "cosine":
        norms = np.linalg.norm(values, axis=1, keepdims=True)
        values = values / np.where(norms > 0, norms, 1)
    return np.ascontiguousarray(values, dtype=np.float32)


def _query(index: Index, query: AnnData | np.ndarray, use_rep: str | None) -> tuple[np.ndarray, np.ndarray]:
    use_rep = use_rep or index.use_rep
    if isinstance(query, np.ndarray):
        values, names = np.atleast_2d(query), np.arange(len(np.atleast_2d(query))).astype(str)
    else:
        check_anndata(query, "search")
        values, names = representation(query, use_rep), query.obs_names.to_numpy(str)
    if values.shape[1] != len(index.center):
        raise TableError(
            f"The query has {values.shape[1]} columns, the index {len(index.center)} ({index.use_rep!r}). Embed both "
            "in the same way."
        )
    if not isinstance(query, np.ndarray):
        making = how_made(query, use_rep)
        if use_rep != index.use_rep and not making.get("output") == index.made.get("output") == "aligned":
            raise TableError(
                f"{use_rep!r} is not in the space of the index ({index.use_rep!r}): cells are found by another "
                "representation where sfm.tl.align(adata, rep_a, rep_b) brought both into one."
            )
        _check_made(index, making)
        if use_rep != index.use_rep and index.metric == "cosine" and index.center.any():
            warn(
                f"The index was centered by the mean of {index.use_rep!r}, and {use_rep!r} has another: the nearest by "
                "cosine are not those of the space that both share. sfm.tl.build_index(..., center=False) keeps to it."
            )
    # two modalities in one space are apart without being in other units
    if use_rep == index.use_rep and index.moments is not None and len(values):
        tell_another_scale(values, *index.moments, f"{use_rep!r} (use_rep=) of the query")
    return _prepare(values.astype(np.float32), index.center, index.metric, index.scale), names


def _check_made(index: Index, making: dict[str, str]) -> None:
    if not making or not index.made:
        return
    if not isinstance(index.made.get("columns", ""), str):
        raise TableError(
            f"The index is of a file of an earlier version, which tells in another form how {index.use_rep!r} was "
            "made: whether the query was made alike cannot be said. Build it again with sfm.tl.build_index, or pass "
            "the query as an array if it is known to be."
        )
    if (differs := first_difference(index.made, making)) is None:
        return
    name, there, here = differs
    if making.get("output") == index.made.get("output") == "aligned":
        raise TableError(
            f"{index.use_rep!r} is of another training of sfm.tl.align than the query: their columns do not mean the "
            "same. Search in the table that was aligned with the query."
        )
    how = "sfm.tl.embed_cells(..., recipe=sfm.get.recipe(...), reduce={'basis': sfm.get.basis(...)}) carries both over"
    raise TableError(
        f"{index.use_rep!r} was made differently in the query: {name} is {_short(name, here)}, in the index "
        f"{_short(name, there)}. "
        + ("Bring both to the same columns." if "model" not in making else f"Embed both in the same way ({how}).")
    )


def _short(name: str, value: str | None) -> str:
    return listed(json.loads(value), 4) if name == "columns" and value else repr(value)
