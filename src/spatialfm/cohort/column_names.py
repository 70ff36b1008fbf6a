"""What the columns of a representation belong to: markers, features, or no more than their number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._keys import UNS
from .._storable import named_table
from .intensities import listed_in_record

if TYPE_CHECKING:
    from anndata import AnnData

MOST_NUMBERED = 200
TAKEN = ("n", "intercept", "logit", "total", "output", "patient", "sample")  # columns beside shares in a table


def column_names(adata: AnnData, use_rep: str, width: int) -> list[str]:
    """Name of each column of ``obsm[use_rep]``, or of ``X``.

    Columns of a marker-wise embedding have the name of their marker, each as often as it has columns; those of a table
    and of a model with named features their own; all others are called ``column 1`` and so on, or, of more than 200,
    all by the name of the representation, as a single one of them means nothing.
    """
    if use_rep == "X":
        return [str(name) for name in adata.var_names]
    if isinstance(adata.obsm[use_rep], pd.DataFrame):
        return [str(name) for name in named_table(adata, use_rep).columns]
    notes = adata.uns.get(UNS, {}).get(use_rep)
    if isinstance(notes, Mapping) and not notes.get("n_components"):
        features = listed_in_record(notes.get("feature_names")) or []
        if len(features) == width:
            return [str(name) for name in features]
        markers = listed_in_record(notes.get("markers")) or []
        each = int(notes.get("embedding_dim") or 0)
        if notes.get("output") == "marker" and len(markers) * each == width:
            return [str(marker) for marker in markers for _ in range(each)]
    if width > MOST_NUMBERED:
        return [use_rep] * width
    return [f"column {number}" for number in range(1, width + 1)]


def summed_by_name(shares: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Shares ``(..., columns)`` added up over the columns of one name, in the order in which names come.

    Names that tables of shares have for other columns are marked: ``"total (column)"``.

    Examples
    --------
    >>> summed_by_name(np.array([[1.0, 2.0, 4.0]]), ["CD3", "CD3", "CD8"])
    (array([[3., 4.]]), ['CD3', 'CD8'])
    """
    names = [f"{name} (column)" if name in TAKEN else name for name in names]
    once = list(dict.fromkeys(names))
    if len(once) == len(names):
        return shares, once
    place = {name: number for number, name in enumerate(once)}
    total = np.zeros((*shares.shape[:-1], len(once)), shares.dtype)
    for column, name in enumerate(names):
        total[..., place[name]] += shares[..., column]
    return total, once
