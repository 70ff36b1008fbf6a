"""Signatures that were found in a part of the cells: members among the others, and how far the part can be trusted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from .._errors import warn
from ..cohort.sketch import Nearest, Sketch
from .signature_clusters import Clusters


def members(
    clusters: Clusters, chosen: list[int], whole: np.ndarray, part: np.ndarray, n_assign: int, nearest: Nearest | None
) -> np.ndarray:
    """Cells of the chosen clusters ``(cells, signatures)``; of those that were not drawn, by their nearest cells."""
    inside = np.zeros((len(whole), len(chosen)), bool)
    inside[part] = np.column_stack([clusters.members(cluster) for cluster in chosen]) if chosen else False
    if nearest is not None and chosen:
        rest = np.delete(np.arange(len(whole)), part)
        inside[rest] = given(clusters, chosen, nearest, whole[rest], n_assign)
    return inside


def given(
    clusters: Clusters,
    chosen: list[int],
    nearest: Nearest,
    values: np.ndarray,
    n_assign: int,
    itself: np.ndarray | None = None,
) -> np.ndarray:
    """Whether cells ``(cells, signatures)`` go to the chosen clusters by most of their nearest drawn cells."""
    levels, place = np.unique(clusters.resolution[chosen], return_inverse=True)
    codes = nearest.votes(values, clusters.codes[levels], n_assign, itself)
    return codes[place].T == clusters.code[chosen]


def sketch_errors(
    clusters: Clusters,
    chosen: list[int],
    names: Sequence[str],
    whole: np.ndarray,
    sketch: Sketch,
    second: np.ndarray | None,
    n_assign: int,
    nearest: Nearest,
) -> pd.DataFrame:
    """One row per signature: errors by its cells' neighbours, and by a second sketch ``(resolutions, cells)``.

    ``found``: share of its sketched cells that go to it by their neighbours; ``right``: share of the sketched cells
    that go to it which are its own; ``overlap``: of the cells of the second sketch that go to it, and those of the
    cluster found there that is most like it, the share of what both have in what either has.
    """
    inside = np.column_stack([clusters.members(cluster) for cluster in chosen])
    again = given(clusters, chosen, nearest, whole[sketch.rows], n_assign, np.arange(len(sketch.rows)))
    both = (inside & again).sum(axis=0)
    table = pd.DataFrame(index=pd.Index(names, name="signature"))
    table["found"] = both / np.maximum(inside.sum(axis=0), 1)
    table["right"] = both / np.maximum(again.sum(axis=0), 1)
    table["overlap"] = np.nan
    if second is not None:
        assigned = given(clusters, chosen, nearest, whole[sketch.others], n_assign)
        table["overlap"] = [best_overlap(column, second) for column in assigned.T]
    return table


def best_overlap(inside: np.ndarray, codes: np.ndarray) -> float:
    """Largest overlap (Jaccard) of some cells with a cluster of any resolution.

    Examples
    --------
    >>> import numpy as np
    >>> best_overlap(np.array([True, True, False, False]), np.array([[0, 0, 0, 1], [0, 1, 2, 2]]))
    0.6666666666666666
    """
    best = 0.0
    for column in codes:
        sizes = np.bincount(column)
        shared = np.bincount(column[inside], minlength=len(sizes))
        best = max(best, float((shared / np.maximum(sizes + inside.sum() - shared, 1)).max()))
    return best


def tell(sketch: Sketch, n_cells: int, errors: pd.DataFrame) -> None:
    """Warn that a sketch was searched, and what it costs."""
    found_again, overlap = errors["found"], errors["overlap"]
    second = f"clusters of a second sketch overlap with them by {overlap.min():.2f} to {overlap.max():.2f}"
    warn(
        f"Signatures were sought in a sketch of {len(sketch.rows):,} of {n_cells:,} cells ({sketch.how}), and the "
        f"score as published was made of as many. By their neighbours {100 * found_again.min():.0f} to "
        f"{100 * found_again.max():.0f} % of the cells of signatures are known again; "
        f"{second if overlap.notna().all() else 'there are too few other cells for a second sketch'}. Pass sketch=None "
        "to cluster all cells."
    )
