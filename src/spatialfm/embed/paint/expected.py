"""What a model expects of each marker of each cell from everything else, beside what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import torch

from ..._cache import remembered
from ..._keys import TABLE
from ...models.encoder import Encoder
from ..call import Elements, Run, image_elements, request_of
from ..inputs import prepare_inputs
from ..planned import table_of
from ..session import check_run
from ..windows.cells import find_cells
from .blend import Overlap, Painting
from .cells import means_of_cells
from .job import PaintJob
from .plan import check_decoder, find_targets, plan_paint
from .run import with_painting

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from ...models.recipe import Recipe
    from ..call import Panel
    from ..inputs import Inputs
    from ..perturbed import Perturbation
    from ..windows.cells import Cells


def expected_means(
    sdata: SpatialData,
    encoder: Encoder,
    *,
    elements: Elements | Mapping[str, Any] | None = None,
    recipe: Recipe | Mapping[str, Any] | None = None,
    panel: Panel | Mapping[str, Any] | None = None,
    run: Run | Mapping[str, Any] | None = None,
    markers: Sequence[str] | None = None,
    samples: Sequence[str] | None = None,
    table_name: str = TABLE,
    on_missing: Literal["raise", "drop"] = "raise",
    stride: int | None = None,
    overlap: Overlap = "mean",
    change: Perturbation | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measured and expected mean of each marker over each cell, in standardised space.

    What is expected of a marker is predicted with all of its tokens hidden and all other markers seen, one pass over
    the tiles per marker (VirTues, *Masked reconstructions*, marker-wise). Measured are the pixels that the model would
    have seen.

    Parameters
    ----------
    sdata
        Images and their cells.
    encoder
        Model with a decoder.
    elements, recipe, panel, run
        As in `spatialfm.tl.embed_cells`.
    markers
        Markers of the panel that are looked at (default: all of it); others are seen.
    samples, table_name, on_missing
        As in `spatialfm.tl.embed_cells`.
    stride, overlap
        Distance of the tiles (default: their side), and how those that overlap are combined.
    change
        Pixels are changed as they are read, and nothing else.

    Returns
    -------
    Two tables, one row per cell (of the table, less those left out), one column per marker. The cell table is written
    into `sdata` where there is none.

    Raises
    ------
    ModelError
        If the model has no decoder.
    ElementError, CoordinateError, PixelSizeError, PanelError, TableError
        Before any tile is encoded.
    RunError
        If reading, predicting or writing fails on the way; finished blocks are kept.
    """
    from ...pp.elements import match_elements
    from ...pp.missing_chunks import report_missing_chunks

    check_decoder(encoder)
    meant = Elements.of(elements)
    pairs = match_elements(sdata, meant.image, meant.labels, samples=samples, table_name=table_name)
    how = Run.of(run)
    devices = check_run(how)
    encoder = encoder.to(devices[0])
    image_elements(None, recipe)  # refuses fields that are about windows of cells
    request = request_of(encoder, panel=panel, recipe=recipe, run=how, elements=meant, cells=False)
    pairs = report_missing_chunks(sdata, pairs)
    table = table_of(sdata, table_name, pairs, on_missing, meant.on_pieces, request.recipe.intensity_max)
    cells = find_cells(sdata, pairs, table, table_name, on_missing, None, meant.on_pieces)
    inputs = prepare_inputs(sdata, pairs, encoder, request, tiles=True)
    inputs = inputs if change is None else change(inputs, cells)
    targets = find_targets(inputs, markers)
    plan = plan_paint(inputs, targets, mode="marker", stride=stride)
    n = len(targets.markers)

    def compute() -> dict[str, np.ndarray]:
        def use(painting: Painting) -> np.ndarray:
            return means_beside(painting, inputs, cells, painting.job.targets)

        return {"means": with_painting(plan, how, devices, use, overlap=overlap)[0]}

    identity = {"run": plan.identity, "overlap": overlap, "cells": cells.labels, "sample": cells.sample}
    means = remembered("expected", identity, compute)["means"]
    if table_name not in sdata.tables:
        sdata.tables[table_name] = table
    names, rows = pd.Index(targets.markers, dtype=object), table.obs_names[cells.rows]
    return pd.DataFrame(means[:, :n], rows, names), pd.DataFrame(means[:, n:], rows, names)


def means_beside(painting: Painting, inputs: Inputs, cells: Cells, measured: Sequence[int]) -> np.ndarray:
    """Means over cells of some markers as measured, by their places, and behind them of the targets as predicted."""
    n = len(measured)
    seen_in = lru_cache(maxsize=1)(partial(measured_pixels, painting.job))  # all channels are read at once

    def read(number: int, box: tuple[int, int, int, int], channels: list[int]) -> np.ndarray:
        seen = seen_in(number, box)[[measured[channel] for channel in channels if channel < n]]
        expected = [channel - n for channel in channels if channel >= n]
        return np.concatenate([seen, *([painting.region(number, box, expected)] if expected else [])])

    return means_of_cells(inputs.raw, inputs.ratios, cells, read, n + len(painting.job.targets))


def measured_pixels(job: PaintJob, number: int, box: tuple[int, int, int, int]) -> np.ndarray:
    """Pixels ``(M, h, w)`` of a box as the model would see them."""
    pixels = torch.from_numpy(job.readers[number].pixels(*box))[None].to(job.encoder.device)
    with torch.inference_mode():
        return job.normalized(pixels)[0].float().cpu().numpy()
