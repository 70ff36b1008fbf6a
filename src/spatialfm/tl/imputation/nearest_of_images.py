"""Markers of images by nearest cells: predicted in the cell table, and painted below the labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._errors import ArgumentError, counted
from ..._keys import INSTANCE_KEY, REGION_KEY
from ..._logging import logger
from ...cohort.given_table import given_table
from ...pp.cell_maps import painted_cells
from ...pp.predicted import add_predicted, predicted_name, remove_predicted
from .floors import impute_cells

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

    from ...embed.call import Elements
    from ...pp.elements import SampleElements

OF_CELLS = "cells"  # what such an image holds: one number per cell, so that no pixel of it is compared with one


def impute_cells_of_images(
    sdata: SpatialData,
    markers: Sequence[str],
    source: Any,
    *,
    samples: Sequence[str] | None,
    panel: object,
    elements: Elements,
    table_name: str,
    key_added: str,
    space: str,
    **told: Any,
) -> None:
    """Predict markers of the cells of a SpatialData, and write an image of each sample in which cells have them.

    Raises
    ------
    ArgumentError, PanelError, ElementError, TableError
        Before anything is written.
    """
    from ...embed.paint.elements import check_image_names
    from ...embed.planned import table_of
    from ...pp.elements import match_elements

    if panel is not None:
        raise ArgumentError(
            "method='knn' reads the cell table, not channels. Leave panel= out, and choose the columns of the table."
        )
    pairs = match_elements(sdata, elements.image, elements.labels, samples=samples, table_name=table_name)
    check_image_names(sdata, [pair.sample for pair in pairs], key_added)
    every = pairs if samples is None else match_elements(sdata, elements.image, elements.labels, table_name=table_name)
    table = table_of(sdata, table_name, every, "raise", elements.on_pieces, None)
    known = source if source is None or hasattr(source, "obs") else given_table(source, table_name, "source=")
    if known is sdata.tables.get(table_name):
        known = None
    asked = np.concatenate([_rows(table, pair) for pair in pairs])
    impute_cells(table, list(markers), known, "knn", key=f"X_{key_added}", space=space, asked=asked, **told)
    sdata.tables[table_name] = table
    frame = table.obsm[f"X_{key_added}"]
    n = 0
    for pair in pairs:
        name, rows = predicted_name(pair.sample, key_added), _rows(table, pair)
        remove_predicted(sdata, name)  # of an earlier call
        values = frame.to_numpy(dtype=np.float32)[rows]
        if not np.isfinite(values).any():
            continue  # all of its cells were measured
        instances = table.obs[_key(table, "instance_key", INSTANCE_KEY)].to_numpy()[rows]
        image = painted_cells(sdata, str(pair.labels), instances, values, list(frame.columns))
        about = {"space": space, "method": "knn", "imputed": list(frame.columns)}
        add_predicted(sdata, name, image, of=pair.image, sample=pair.sample, holds=OF_CELLS, record=about)
        n += 1
    logger.info("%s: %s of %s", key_added, counted(len(markers), "marker"), counted(n, "image"))


def _rows(table: AnnData, pair: SampleElements) -> np.ndarray:
    region = table.obs[_key(table, "region_key", REGION_KEY)].astype(str)
    return np.flatnonzero((region == str(pair.labels)).to_numpy())


def _key(table: AnnData, which: str, default: str) -> str:
    return str(table.uns.get("spatialdata_attrs", {}).get(which, default))
