"""Numbers of cells and means of markers by category, as they are shown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._dense import dense
from .source import Source

if TYPE_CHECKING:
    from anndata import AnnData


def sizes(source: Source, key: str) -> pd.DataFrame:
    """Cells, share of all cells, and samples and patients that have some, of each category."""
    obs = source.cells.obs
    column = as_text(obs[key])
    counts = column.value_counts(sort=False)
    frame = pd.DataFrame({"cells": counts.astype(int), "share": counts / counts.sum()})
    for name, unit in ((source.keys.library, "samples"), (source.keys.patient, "patients")):
        if name in obs:
            of_cells = obs[name].astype(str).where(obs[name].notna())
            pairs = pd.DataFrame({"a": column.to_numpy(), "b": of_cells.to_numpy()}).dropna()
            frame[unit] = pairs.drop_duplicates().groupby("a").size().reindex(frame.index, fill_value=0).astype(int)
    return frame


def marker_means(cells: AnnData, key: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Mean of each marker in each category, in its units, and in standard deviations above the mean of all cells.

    Cells without a value of a marker (NaN) do not count for it; those without category count for all cells alone. Of a
    table without values (X), there are no markers.
    """
    column = as_text(cells.obs[key])
    codes, names = column.cat.codes.to_numpy(), list(column.cat.categories)
    markers = [] if cells.X is None else [str(name) for name in cells.var_names]
    means, scores = np.full((2, len(names), len(markers)), np.nan)
    for place in range(len(markers)):  # one at a time: a copy of millions of cells is never made
        values = _values(cells, place)
        finite = np.isfinite(values)
        inside = finite & (codes >= 0)
        n = np.bincount(codes[inside], minlength=len(names))
        with np.errstate(invalid="ignore", divide="ignore"):
            means[:, place] = np.bincount(codes[inside], weights=values[inside], minlength=len(names)) / n
        spread = values[finite].std() if finite.any() else 0.0
        if spread > 0:
            scores[:, place] = (means[:, place] - values[finite].mean()) / spread
    return pd.DataFrame(means, names, markers), pd.DataFrame(scores, names, markers)


def _values(cells: AnnData, place: int) -> np.ndarray:
    return np.asarray(dense(cells.X[:, place]), dtype=np.float64).ravel()


def texts(value: object) -> list[str]:
    """One text of a record or several as a list, without empty ones.

    Examples
    --------
    >>> import numpy as np
    >>> texts("age"), texts(np.array(["age", ""])), texts(None), texts("")
    (['age'], ['age'], [], [])
    """
    if isinstance(value, str):
        return [value] if value else []
    return [str(one) for one in value if str(one)] if isinstance(value, Iterable) else []


def as_text(column: pd.Series) -> pd.Series:
    """Categories as text, in their order; without those that no cell has."""
    column = column.astype("category").cat.remove_unused_categories()
    return column.cat.rename_categories([str(name) for name in column.cat.categories])
