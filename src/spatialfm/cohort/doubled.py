"""Cells that are in a table twice, as two samples of one name are once their tables were joined."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._errors import listed, warn
from .._keys import INSTANCE_KEY, REGION_KEY

if TYPE_CHECKING:
    from anndata import AnnData


def say_doubled(adata: AnnData, codes: np.ndarray, names: list[str], key: str) -> None:
    """Warn of samples that hold the same cell twice, by its region and number.

    Two cohorts whose samples have the same names look like one after `anndata.concat`: their cells would be neighbours
    of each other, and be counted together.

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
        return
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
