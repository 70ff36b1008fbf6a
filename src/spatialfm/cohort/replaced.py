"""What an earlier call has left under a key, removed before the next one writes there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from .._keys import UNS
from .._storable import COLUMNS, is_ours

if TYPE_CHECKING:
    from anndata import AnnData

# written together with `key` by one function or another: columns of obs, entries of obsm
OBS = ("confidence", "margin", "entropy", "novelty", "fold", "attention", "set_size", "logit")
OBSM = ("probability", "set", "z", "gradient", "contribution")


def remove_earlier(adata: AnnData, key: str, labels: pd.Series | pd.Categorical | None = None) -> None:
    """Remove what belongs to a key and would be read as part of what is written there next.

    Columns and tables go if ``uns[key]`` records that a function of this package wrote the key; colours go where the
    categories are others.

    Parameters
    ----------
    adata
        Table.
    key
        Key that will be written.
    labels
        What ``obs[key]`` will be, if it is categories.
    """
    if key in adata.uns and is_ours(adata, key):
        for name in [f"{key}_{name}" for name in OBS if f"{key}_{name}" in adata.obs]:
            del adata.obs[name]
        for name in [f"{key}_{name}" for name in OBSM if f"{key}_{name}" in adata.obsm]:
            del adata.obsm[name]
            adata.uns.get(UNS, {}).pop(f"{name}{COLUMNS}", None)
    if labels is not None and f"{key}_colors" in adata.uns and _categories(adata.obs.get(key)) != _categories(labels):
        del adata.uns[f"{key}_colors"]


def _categories(labels: pd.Series | pd.Categorical | None) -> list[str]:
    return [] if labels is None else list(map(str, pd.Categorical(labels).categories))
