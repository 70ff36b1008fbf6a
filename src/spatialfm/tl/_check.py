"""Refusals that several tools share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._errors import SpatialfmError, TableError
from .._errors import listed as _listed

if TYPE_CHECKING:
    from anndata import AnnData


def listed(names: Iterable[object], limit: int = 6) -> str:
    """``'a', 'b' and 3 more``: names for a message."""
    return _listed(names, limit)


def check_anndata(adata: AnnData, what: str) -> None:
    """Refuse anything but an AnnData; name the table where a SpatialData was passed."""
    from anndata import AnnData

    if isinstance(adata, AnnData):
        return
    if hasattr(adata, "tables"):
        raise TableError(f"{what} takes an AnnData, not a SpatialData; pass one of its tables: sdata['<table>'].")
    raise TableError(f"{what} takes an AnnData, not {type(adata).__name__}.")


def obs_column(
    adata: AnnData,
    key: str,
    argument: str,
    *,
    rows: str = "cells",
    error: type[SpatialfmError] = TableError,
    allow_missing: bool = False,
) -> pd.Series:
    """Column of obs; an absent one, or one with missing values, is refused by name."""
    if key not in adata.obs:
        raise error(f"No column {key!r} in obs ({argument}=); found {listed(adata.obs.columns, 12)}.")
    column = adata.obs[key]
    missing = column.isna()
    if missing.any() and not allow_missing:
        raise error(
            f"{int(missing.sum())} of {len(column)} {rows} have no value in obs[{key!r}] ({argument}=), first "
            f"{listed(column.index[missing], 3)}. Fill them, or leave them out: "
            f'adata[adata.obs["{key}"].notna()].copy().'
        )
    return column


def codes_of(column: pd.Series) -> tuple[np.ndarray, list[str]]:
    """Integer codes and names of the categories; unused ones are kept, others come in sorted order."""
    if not isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype("category")
    return column.cat.codes.to_numpy(), [str(name) for name in column.cat.categories]


def codes_by_appearance(column: pd.Series) -> tuple[np.ndarray, list[str]]:
    """Integer codes and names of the values that occur, in the order in which they do."""
    codes, names = pd.factorize(np.asarray(column.astype(object)))
    return codes, [str(name) for name in names]
