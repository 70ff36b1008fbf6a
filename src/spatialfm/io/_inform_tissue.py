"""The map of tissue categories that inForm exports, compared with the category of each cell."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .._keys import REGIONS, TABLE
from ._elements import labels_element
from ._inform_maps import tissue_map

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from ._cell_frame import CellFrame
    from ._elements import ReadSample
    from ._inform_maps import InformMaps

CATEGORY = "Tissue Category"
_SHARE = 0.9  # of the cells that are where the map has their category; those at borders may not be


def with_tissue(read: ReadSample, maps: InformMaps | None, frame: CellFrame) -> ReadSample:
    """The sample with its map, as labels ``regions_<sample>``; without it, and with a note, where cells contradict it.

    What number stands for which category is stated by the order of the names alone, so that the cells decide.
    """
    tissue = None if maps is None else tissue_map(maps)
    if tissue is None or maps is None:
        return read
    mpp = read.record["mpp"]
    if CATEGORY in frame.obs and len(frame.ids):
        known = frame.obs[CATEGORY].notna().to_numpy()
        x, y = np.clip((frame.xy[known] / mpp).astype(int), 0, np.array(tissue.shape[::-1]) - 1).T
        names = np.array(["", *maps.categories], dtype=object)
        there = names[tissue.compute()[y, x]]
        same = (there == frame.obs[CATEGORY][known].astype(str).str.strip().to_numpy()).mean() if known.any() else 1.0
        if same < _SHARE:
            text = f"{same:.0%} of the cells are where it has their category"
            return replace(read, notes=[*read.notes, ("tissue_left_out", maps.path, text)])
    element = labels_element(tissue, read.sample, mpp)
    return replace(
        read,
        labels={**read.labels, f"{REGIONS}_{read.sample}": element},
        record={**read.record, "tissue_categories": list(maps.categories)},
    )


def record_tissue(sdata: SpatialData, read: list[ReadSample]) -> None:
    """Say what the numbers of the maps mean."""
    from ..pp.class_maps import record_map

    for one in read:
        if names := one.record.get("tissue_categories"):
            record_map(sdata, f"{REGIONS}_{one.sample}", table=TABLE, key=CATEGORY.replace(" ", "_"), names=names)
