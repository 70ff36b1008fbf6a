"""Numbers of cells and means of markers by category, as they are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

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
            pairs = pd.DataFrame({"a": column.to_numpy(), "b": obs[name].astype(str).to_numpy()}).dropna()
            frame[unit] = pairs.drop_duplicates().groupby("a").size().reindex(frame.index, fill_value=0).astype(int)
    return frame


def marker_means(cells: AnnData, key: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Mean of each marker in each category, in its units, and in standard deviations above the mean of all cells."""
    values = cells.X.toarray() if hasattr(cells.X, "toarray") else np.asarray(cells.X)
    frame = pd.DataFrame(values.astype(np.float64), columns=cells.var_names.astype(str))
    groups = as_text(cells.obs[key]).reset_index(drop=True)
    means = frame.groupby(groups, observed=False, sort=False).mean().reindex(groups.cat.categories)
    spread = frame.std(ddof=0)
    return means, (means - frame.mean()) / spread.where(spread > 0)


def as_text(column: pd.Series) -> pd.Series:
    """Categories as text, in their order; without those that no cell has."""
    column = column.astype("category").cat.remove_unused_categories()
    return column.cat.rename_categories([str(name) for name in column.cat.categories])
