"""Matrices as arrays, whatever a table holds them as."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ._errors import TableError

if TYPE_CHECKING:
    from anndata import AnnData


def dense(values: Any) -> np.ndarray:
    """A matrix as an array in memory: sparse ones are filled, lazy ones computed, those of backed tables read.

    Examples
    --------
    >>> from scipy.sparse import csr_matrix
    >>> dense(csr_matrix([[0, 2], [1, 0]])).tolist()
    [[0, 2], [1, 0]]
    """
    values = values.compute() if hasattr(values, "compute") else values
    values = values.to_memory() if hasattr(values, "to_memory") else values  # sparse, of a table that stays on disk
    return values.toarray() if hasattr(values, "toarray") else np.asarray(values)


def column_of_x(table: AnnData, name: str, layer: str | None = None) -> np.ndarray:
    """A column of ``X``, or of a layer, by its name in ``var``: ``(n,)``.

    Raises
    ------
    TableError
        If several columns have that name.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from anndata import AnnData
    >>> column_of_x(AnnData(np.array([[0, 2], [1, 0]]), var=pd.DataFrame(index=["CD3", "CD8"])), "CD8").tolist()
    [2, 0]
    """
    place = table.var_names.get_loc(name)
    if not isinstance(place, int):
        raise TableError(f"{name!r} is the name of several columns of X: which one is meant? Rename them in var.")
    values = table.X if layer is None else table.layers[layer]
    return dense(values[:, place : place + 1]).ravel()
