"""Images in which each cell has its surprise, and what they are called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..._errors import ElementError
from ..._keys import CELLS_PREFIX, INSTANCE_KEY, REGION_KEY
from ...cohort.checks import listed
from ...cohort.representation import named_columns
from ...pp.cell_maps import painted_cells
from ...pp.predicted import add_predicted

if TYPE_CHECKING:
    from anndata import AnnData


def map_names(data: Any, adata: AnnData, key: str) -> dict[str, str]:
    """Name of the map of each labels element that the table annotates."""
    if not hasattr(data, "labels"):
        raise ElementError("maps=True paints labels. Pass the SpatialData, or maps=False.")
    regions = [str(one) for one in pd.unique(adata.obs[_key(adata, "region_key", REGION_KEY)])]
    if lacking := [name for name in regions if name not in data.labels]:
        raise ElementError(
            f"No labels element {lacking[0]!r} in sdata, whose cells the table holds; found {listed(data.labels)}. "
            "Pass maps=False."
        )
    names = {region: f"{key}_{region.removeprefix(CELLS_PREFIX)}" for region in regions}
    own = earlier_maps(adata, key)
    if taken := [name for name in names.values() if name in data and name not in own]:
        raise ElementError(f"sdata has an element {taken[0]!r} already. Pass another key_added=.")
    return names


def earlier_maps(adata: AnnData, key: str) -> list[str]:
    """Images that an earlier call under this key has written."""
    record = adata.uns.get(key)
    return named_columns(record.get("params", {}).get("maps", "")) if isinstance(record, Mapping) else []


def paint_maps(
    data: Any, adata: AnnData, targets: Mapping[str, str], z: np.ndarray, markers: list[str], key: str
) -> None:
    """The surprise of each cell by all markers, and by each, below its labels."""
    values = np.column_stack([adata.obs[key].to_numpy(dtype=np.float32), z])
    for region, name in targets.items():
        rows = (adata.obs[_key(adata, "region_key", REGION_KEY)].astype(str) == region).to_numpy()
        instances = adata.obs[_key(adata, "instance_key", INSTANCE_KEY)].to_numpy()[rows]
        image = painted_cells(data, region, instances, values[rows], ["all", *markers])
        about = {"method": "surprise", "key": key}
        sample = region.removeprefix(CELLS_PREFIX)
        add_predicted(data, name, image, of=region, sample=sample, holds="surprise", record=about)


def _key(adata: AnnData, which: str, default: str) -> str:
    return str(adata.uns.get("spatialdata_attrs", {}).get(which, default))
