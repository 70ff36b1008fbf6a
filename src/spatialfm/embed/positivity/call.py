"""Probabilities of markers for the cells of a table, from the images of a SpatialData."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._errors import ElementError
from ...models.nimbus import load_nimbus
from ...models.nimbus_tiles import Augmentation
from ...pp.elements import match_elements
from ...pp.measure import rows_of
from ...pp.missing_chunks import report_missing_chunks
from ..call import Elements, Run
from ..session import check_run, where_of
from ..windows.cells import find_cells
from .run import check_markers, plan_probabilities, run_probabilities

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData


def image_probabilities(
    sdata: SpatialData,
    table: AnnData,
    table_name: str,
    markers: Sequence[str],
    *,
    weights: str | PathLike | None,
    augmentation: Augmentation,
    magnification: float | None,
    normalizers: Mapping[str, float] | None,
    elements: Elements | Mapping[str, Any] | None,
    run: Run | Mapping[str, Any] | None,
    random_state: int,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Mean probability of each cell ``(n, markers)``, and notes for the record.

    NaN where an image lacks a marker, and for rows that have no label, which are named in the log.

    Raises
    ------
    ElementError
        If cells are points, which have no interior.
    """
    chosen, how = Elements.of(elements), Run.of(run)
    pairs = match_elements(sdata, chosen.image, chosen.labels, table_name=table_name)
    given = check_markers(sdata, pairs, markers, normalizers or {})
    devices = check_run(how)
    network = load_nimbus(weights).to(devices[0])
    pairs = report_missing_chunks(sdata, pairs)
    cells = find_cells(sdata, pairs, table, table_name, "drop", on_pieces=chosen.on_pieces)
    if cells.of_points:
        raise ElementError("Cells are points without outline, and the network needs interiors. Pass labels or shapes.")
    plan = plan_probabilities(
        sdata,
        pairs,
        markers,
        network,
        augmentation=augmentation,
        magnification=magnification,
        mpp=chosen.mpp,
        normalizers=given,
        compile=how.compile,
        random_state=random_state,
    )
    means, seconds = run_probabilities(plan, how, devices)
    probability = np.full((table.n_obs, len(markers)), np.nan)
    for (sample, marker), of_image in zip(plan.places, means, strict=True):
        own = np.flatnonzero(cells.sample == sample)
        place = rows_of(of_image["label"], cells.labels[own])
        probability[cells.rows[own[place >= 0]], marker] = of_image["mean"][place[place >= 0]]
    return probability, plan.notes | {"device": where_of(how, devices), "seconds": round(seconds, 3)}
