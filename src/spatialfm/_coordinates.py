"""Places of cells: the one reader of coordinates for tools and figures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ._dense import dense
from ._errors import TableError, listed
from ._keys import REGION_KEY, SAMPLE_KEY, SPATIAL

if TYPE_CHECKING:
    from anndata import AnnData


def coordinates(adata: AnnData, key: str = SPATIAL, *, finite: bool = True) -> np.ndarray:
    """``obsm[key]`` as numbers, ``(n, 2)`` or more; `finite` refuses cells without a place.

    Raises
    ------
    TableError
        If there is none, it is not a table of at least two columns of numbers, cells have no place, or columns of
        `obs` say that it holds y before x.
    """
    numbers = given_coordinates(adata, key)
    bad = ~np.isfinite(numbers).all(axis=1)
    if finite and bad.any():
        raise TableError(
            f"{int(bad.sum())} of {adata.n_obs} cells have no finite coordinate in obsm[{key!r}], first "
            f"{listed(adata.obs_names[bad], 3)}. Leave them out before this call."
        )
    if swapped := _columns_of_y_and_x(adata.obs, numbers):
        raise TableError(
            f"obsm[{key!r}] holds y before x: its first column is obs[{swapped[0]!r}] and its second "
            f"obs[{swapped[1]!r}]. Exchange them: {exchange_code('adata', key)}."
        )
    return numbers


def given_coordinates(adata: AnnData, key: str = SPATIAL) -> np.ndarray:
    """``obsm[key]`` as numbers, whichever of its columns is x.

    Raises
    ------
    TableError
        If there is none, or it is not a table of at least two columns of numbers.
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
    return numbers


def exchange_code(table: str, key: str = SPATIAL) -> str:
    """Code that puts x before y in the coordinates of a table."""
    return f"{table}.obsm[{key!r}] = numpy.asarray({table}.obsm[{key!r}])[:, [1, 0]]"


def column_of_several(adata: AnnData) -> str | None:
    """Column of `obs` by which the cells are of several samples, where nobody named one; None where they are of one.

    The usual columns of samples and regions count, and the one that a table of a SpatialData names in its ``uns``, such
    as ``fov_labels``: cells of two images have coordinates that say nothing about their distance.
    """
    annotation = adata.uns.get("spatialdata_attrs") or {}
    for key in (SAMPLE_KEY, REGION_KEY, annotation.get("region_key")):
        if key in adata.obs and adata.obs[key].nunique() > 1:
            return str(key)
    return None


def name_of_x(name: str) -> str | None:
    """Name of the column of x beside one of y: ``centroid-1`` of ``centroid-0``, ``X_centroid`` of ``Y_centroid``."""
    if re.fullmatch(r"(?i)(weighted_)?centroid[-_.]?0", name):
        return name[:-1] + "1"
    parts = re.split(r"([^A-Za-z]+|(?<=[a-z])(?=[A-Z]))", name)  # words, and what parts them
    at = [i for i, part in enumerate(parts) if part in ("y", "Y")]
    if len(at) != 1:
        return None
    parts[at[0]] = "x" if parts[at[0]] == "y" else "X"
    return "".join(part or "" for part in parts)


def pairs_of_y_and_x(obs: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Columns of numbers that their names call y and x."""
    for name in obs.columns:
        other = name_of_x(str(name))
        if other in obs.columns and all(pd.api.types.is_numeric_dtype(obs[one]) for one in (name, other)):
            yield str(name), str(other)


def _columns_of_y_and_x(obs: pd.DataFrame, numbers: np.ndarray) -> tuple[str, str] | None:
    """Columns of y and of x, by their names, that are the first and the second coordinate."""
    for y, x in pairs_of_y_and_x(obs):
        pair = obs[[y, x]].to_numpy(np.float64, na_value=np.nan)
        first = numbers[:, :2]
        if np.allclose(pair, first, rtol=1e-5, equal_nan=True) and not np.allclose(
            pair[:, ::-1], first, rtol=1e-5, equal_nan=True
        ):
            return y, x
    return None
