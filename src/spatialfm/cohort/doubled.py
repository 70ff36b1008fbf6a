"""Cells that are in a table twice, as two samples of one name are once their tables were joined."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._dense import dense
from .._errors import listed, warn
from .._keys import INSTANCE_KEY, REGION_KEY, SPATIAL

if TYPE_CHECKING:
    from anndata import AnnData

MOST = 0.5  # of the cells of a sample; of a published table up to 0.13 lie on another one


def say_doubled(adata: AnnData, codes: np.ndarray, names: list[str], key: str) -> None:
    """Warn of samples that hold the same cell twice, by its region and number.

    Two cohorts whose samples have the same names look like one after `anndata.concat`: their cells would be neighbours
    of each other, and be counted together. Of cells without numbers their places tell it, where a sample was joined
    to itself.

    Parameters
    ----------
    codes, names
        Sample of each cell, and what the samples are called.
    key
        Column of the samples.
    """
    annotation = adata.uns.get("spatialdata_attrs") or {}
    number = annotation.get("instance_key", INSTANCE_KEY)
    region = annotation.get("region_key", REGION_KEY)
    if number not in adata.obs or adata.obs[number].isna().any():
        return _say_same_places(adata, codes, names)
    others = [name for name in (region, "fov") if name in adata.obs]  # numbers begin anew in each
    cells = pd.DataFrame({"sample": codes, "number": adata.obs[number].to_numpy()})
    for name in others:
        cells[f"of {name}"] = pd.factorize(adata.obs[name])[0]
    twice = cells.duplicated().to_numpy()
    if not twice.any():
        return
    samples = [names[code] for code in np.unique(codes[twice])]
    warn(
        f"{int(twice.sum())} cells have the sample and the number (obs[{number!r}]) of another cell, in "
        f"{listed(samples)}: two samples of one name were joined, or one sample twice. They count as one sample. Name "
        f'samples apart before tables are joined: adata.obs["{key}"] = "<cohort>_" + adata.obs["{key}"].astype(str).'
    )


def _say_same_places(adata: AnnData, codes: np.ndarray, names: list[str]) -> None:
    """Warn of samples in which most cells lie exactly on another one; a few do where fields of view overlap."""
    if SPATIAL not in adata.obsm:
        return
    places = pd.DataFrame(np.asarray(dense(adata.obsm[SPATIAL]))).assign(sample=codes)
    known = places.notna().all(axis=1).to_numpy()
    alone = ~places[known].duplicated(keep=False)
    share, several = (
        1 - alone.groupby(codes[known]).mean(),
        places[known].drop_duplicates().groupby("sample").size() > 1,
    )
    if not (doubled := share[(share > MOST) & several.reindex(share.index)]).size:
        return
    warn(
        f"{doubled.iloc[0]:.0%} of the cells of {names[doubled.index[0]]!r} lie exactly on another one (so in "
        f"{len(doubled)} of {len(names)} samples), as if it was joined to itself: each counts twice, and is its own "
        "neighbour. Leave one of the two out."
    )
