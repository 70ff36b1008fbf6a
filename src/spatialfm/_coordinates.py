"""Places of cells: the one reader of coordinates for tools and figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._dense import dense
from ._errors import TableError, listed
from ._keys import SPATIAL

if TYPE_CHECKING:
    from anndata import AnnData


def coordinates(adata: AnnData, key: str = SPATIAL, *, finite: bool = True) -> np.ndarray:
    """``obsm[key]`` as numbers, ``(n, 2)`` or more; `finite` refuses cells without a place.

    Raises
    ------
    TableError
        If there is none, it is not a table of at least two columns of numbers, or cells have no place.
    """
    if key not in adata.obsm:
        raise TableError(
            f"No coordinates {key!r} in obsm (spatial_key=); found {listed(adata.obsm)}. "
            "sfm.pp.cell_table(sdata) makes a table that has them."
        )
    values = dense(adata.obsm[key])
    try:
        if values.dtype.kind in "USc":
            raise TypeError
        numbers = values.astype(np.float64)
    except (TypeError, ValueError):
        raise TableError(f"obsm[{key!r}] holds {values.dtype}, not coordinates x and y.") from None
    if numbers.ndim != 2 or numbers.shape[1] < 2:
        raise TableError(f"obsm[{key!r}] has the shape {numbers.shape}; coordinates have two columns, x and y.")
    bad = ~np.isfinite(numbers).all(axis=1)
    if finite and bad.any():
        raise TableError(
            f"{int(bad.sum())} of {adata.n_obs} cells have no finite coordinate in obsm[{key!r}], first "
            f"{listed(adata.obs_names[bad], 3)}. Leave them out before this call."
        )
    return numbers
