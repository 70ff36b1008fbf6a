"""Nearest rows of other groups (patients), without comparing all with all.

What the graph of the index keeps of its own rows is looked up first, then the graph is asked. Where it finds too few
others, since one group holds most rows or groups are apart, the rows outside of a group are taken from a tree of
groups: two least nodes are joined again and again (as in Huffman's code), and what is outside of a group is the
siblings on its way to the root. A row is in as many nodes as its group is deep, about the logarithm of the number of
groups at most, so that graphs of the nodes grow as n log n.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from .search_index import GRAPHS, N_MEASURED, Index, nearest, neighbors_of_rows, order_in_space

WIDER = (5, 50)  # times k that the graph of all rows is asked for
MOST = 0.5  # share of the rows from which the graph of all is not asked: nearly all it would find is of the own group
FEW = 2_000  # queries, or rows, up to which all are compared
PAIRS = 10**9  # of rows and queries, up to which comparing takes less time than a graph
GOOD = 0.95  # recall from which groups are not asked one by one
N_NEAR, N_MARKS = 2, 32  # groups that are asked one by one, and rows of each by which they are chosen
N_QUERIES = 5_000  # that are compared with these at once
N_ASKED = 50_000  # that the graph of all rows is asked at once
BLOCK = 2_000  # rows that are compared at once where recall is measured: their distances stay in the cache
TIE = 1e-5  # relative difference of distances that is rounding


def nearest_of_others(
    index: Index,
    values: np.ndarray,
    own: np.ndarray,
    group_of: np.ndarray,
    k: int,
    order: np.ndarray,
    rows: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Places ``(queries, k)`` and distances of the nearest rows of other groups; -1 and NaN where there are no more.

    Parameters
    ----------
    own, of
        ``(queries,)``, ``(rows,)``: numbers of groups.
    order
        Queries in the order of their names, of which some are drawn to measure recall on.
    rows
        ``(queries,)``: the row of the index of each query, -1 if it is not one of them.
    """
    places, distances = np.full((len(values), k), -1), np.full((len(values), k), np.nan)

    def keep(asked: np.ndarray, near: np.ndarray, far: np.ndarray) -> np.ndarray:
        """Hits of the queries for which there are `k` of other groups, and which queries these are."""
        other = (near >= 0) & (group_of[near] != own[asked, None])
        counts = other.cumsum(axis=1, dtype=np.int32)
        enough = counts[:, -1] >= k
        first = other & (counts <= k) & enough[:, None]  # k hits of others of each row, in their order
        places[asked[enough]] = near[first].reshape(-1, k)
        distances[asked[enough]] = far[first].reshape(-1, k)
        return enough

    left = np.arange(len(values))  # queries without k hits so far
    neighbors = neighbors_of_rows(index) if rows is not None else None
    if neighbors is not None:
        done = np.zeros(len(values), bool)
        for part in np.array_split(np.flatnonzero(rows >= 0), max(len(values) // N_ASKED, 1)):
            done[part] = keep(part, neighbors[0][rows[part]], neighbors[1][rows[part]])
        left = left[~done]
    width_of = np.bincount(group_of, minlength=max(own.max(initial=0), group_of.max(initial=0)) + 1) / len(group_of)
    for width in (1, *WIDER) if index.graph is not None else ():
        asked = left[width_of[own[left]] <= (MOST if width > 1 else 0)]  # new patients find no row of their own
        if not len(asked) or width * k >= len(group_of):
            continue
        done = np.zeros(len(values), bool)
        asked = asked[order_in_space(values[asked])]  # parts hold queries that are near each other
        for part in np.split(asked, np.arange(N_ASKED, len(asked), N_ASKED)):
            done[part] = keep(part, *nearest(index, values[part], width * k))
        left = left[~done[left]]
    if index.graph is None or len(left) <= FEW:
        parts = ((np.flatnonzero(group_of != group), left[own[left] == group]) for group in np.unique(own[left]))
        _look_up(index, values, parts, places, distances)
        return places, distances
    parts = ((rows, left[asked]) for rows, asked in outside(own[left], group_of))
    _look_up(index, values, parts, places, distances)
    if recall_of(index, values, own, group_of, distances, order[np.isin(order, left)]) < GOOD:
        # a graph of several groups that are apart is entered in one of them, and not always in the nearest
        near = nearest_groups(index.values, values[left], own[left], group_of)
        asked = _by_group(near.ravel() + 1, int(group_of.max()) + 2)[1:]
        parts = (
            (np.flatnonzero(group_of == group), left[queries // near.shape[1]]) for group, queries in enumerate(asked)
        )
        _look_up(index, values, parts, places, distances)
    return places, distances


def _look_up(
    index: Index,
    values: np.ndarray,
    parts: Iterable[tuple[np.ndarray, np.ndarray]],
    places: np.ndarray,
    distances: np.ndarray,
) -> None:
    """Put the nearest of some rows among what some queries have found, for each pair of both."""
    for rows, queries in parts:
        if len(rows) and len(queries):
            neighbours, far = _nearest_of(index, rows, values[queries], min(places.shape[1], len(rows)))
            places[queries], distances[queries] = _nearer(places[queries], distances[queries], neighbours, far)


def outside(own: np.ndarray, group_of: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of rows and queries, in which each query meets each row of another group once, and none of its own."""
    n = max(own.max(initial=0), group_of.max(initial=0)) + 1
    rows, queries = _by_group(group_of, n), _by_group(own, n)
    heap = [(len(rows[i]), i, [i]) for i in range(n) if len(rows[i]) or len(queries[i])]
    heapq.heapify(heap)
    number = n
    while len(heap) > 1:
        (size, _, one), (other, _, two) = heapq.heappop(heap), heapq.heappop(heap)
        for row_side, query_side in ((one, two), (two, one)):
            pair = tuple(
                np.sort(np.concatenate(part))
                for part in ([rows[i] for i in row_side], [queries[i] for i in query_side])
            )
            if len(pair[0]) and len(pair[1]):
                yield pair
        heapq.heappush(heap, (size + other, number, one + two))
        number += 1


def nearest_groups(rows: np.ndarray, values: np.ndarray, own: np.ndarray, group_of: np.ndarray) -> np.ndarray:
    """The other groups nearest to each query ``(queries, N_NEAR)``, by a few rows of each; -1 where there are fewer."""
    places = _by_group(group_of, int(group_of.max(initial=0)) + 1)
    groups = np.array([group for group, members in enumerate(places) if len(members)])
    rng = np.random.default_rng(0)
    marks = [rng.choice(places[group], min(N_MARKS, len(places[group])), replace=False) for group in groups]
    starts = np.concatenate([[0], np.cumsum([len(one) for one in marks])[:-1]])
    marks = rows[np.concatenate(marks)]
    closest = np.full((len(values), N_NEAR), -1)
    n_near = min(N_NEAR, len(groups))
    for start in range(0, len(values), N_QUERIES):
        part = slice(start, start + N_QUERIES)
        squares = np.minimum.reduceat((marks**2).sum(1) - 2 * values[part] @ marks.T, starts, axis=1)
        squares[own[part, None] == groups] = np.inf
        first = np.argpartition(squares, n_near - 1, axis=1)[:, :n_near]
        known = np.isfinite(np.take_along_axis(squares, first, 1))
        closest[part, :n_near] = np.where(known, groups[first], -1)
    return closest


def _by_group(groups: np.ndarray, n: int) -> list[np.ndarray]:
    """Places of each group."""
    return np.split(np.argsort(groups, kind="stable"), np.cumsum(np.bincount(groups, minlength=n))[:-1])


def _nearest_of(index: Index, rows: np.ndarray, values: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Nearest among some rows of an index: compared if that is quick, otherwise by a graph of these rows."""
    part = replace(index, values=index.values[rows], names=rows, graph=None, patients=None)
    if index.graph is not None and min(len(rows), len(values)) > FEW and len(rows) * len(values) > PAIRS:
        part = replace(part, graph=GRAPHS[index.method](part.values, 0))
    neighbours, far = nearest(part, values, k)
    return np.where(neighbours >= 0, rows[neighbours], -1), far


def _nearer(
    places: np.ndarray, distances: np.ndarray, new_places: np.ndarray, far: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest of what was known and what was found, as many as were asked for."""
    k = places.shape[1]
    known = (new_places[:, :, None] == places[:, None, :]).any(axis=2)
    new_places = np.where(known, -1, new_places)
    places, distances = np.hstack([places, new_places]), np.hstack([distances, far])
    order = np.argsort(np.where(places >= 0, distances, np.inf), axis=1, kind="stable")[:, :k]
    return np.take_along_axis(places, order, 1), np.take_along_axis(distances, order, 1)


def recall_of(
    index: Index, values: np.ndarray, own: np.ndarray, group_of: np.ndarray, distances: np.ndarray, order: np.ndarray
) -> float:
    """Share of the true nearest rows of other groups that were found, on queries drawn in that order.

    A hit counts where it is no farther than the last of the true ones: rows at the same distance are as good.
    """
    some = order[np.sort(np.random.default_rng(0).choice(len(order), min(N_MEASURED, len(order)), replace=False))]
    queries, k = values[some].astype(float), distances.shape[1]
    lengths, own = (queries**2).sum(1)[:, None], own[some, None]
    best = np.full((len(some), k), np.inf)
    for start in range(0, len(group_of), BLOCK):
        rows = index.values[start : start + BLOCK].astype(float)
        squares = queries @ (-2 * rows.T)
        squares += (rows**2).sum(1)
        squares += lengths
        squares[own == group_of[start : start + BLOCK]] = np.inf
        nearer = (squares < best[:, -1:]).any(axis=0)  # few of the later rows are, and only these are sorted
        best = np.sort(np.hstack([best, squares[:, nearer]]), axis=1)[:, :k]
    true = np.sqrt(np.maximum(best, 0))
    true = true**2 / 2 if index.metric == "cosine" else true
    known = np.isfinite(true)
    last = np.where(known, true, 0).max(axis=1, keepdims=True)
    scale = float(np.abs(queries).max(initial=1.0))
    hit = distances[some] <= last * (1 + TIE) + TIE * scale
    return float((hit & known).sum() / max(known.sum(), 1))


def rows_of_index(index: Index, values: np.ndarray, names: np.ndarray) -> np.ndarray:
    """``(queries,)``: the row of the index with the same name and the same values; -1 where there is none."""
    if np.array_equal(index.names, names):
        rows = np.arange(len(names))
    else:
        rows = pd.Index(index.names).get_indexer(names)
    known = rows >= 0
    known[known] = (index.values[rows[known]] == values[known]).all(axis=1)
    return np.where(known, rows, -1)


def as_numbers(own: np.ndarray, group_of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers in place of names of groups, which are slow to compare by the million."""
    codes = pd.factorize(np.concatenate([own, group_of]))[0].astype(np.int32)  # looked up at random, thirty a row
    return codes[: len(own)], codes[len(own) :]
