"""From measured samples to one AnnData: the assembling half of `cell_table`."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from anndata import AnnData
from spatialdata.models import TableModel

from .._errors import ClinicalError, TableError
from .._keys import (
    AREA,
    INSTANCE_KEY,
    NUMBER_KEY,
    REGION_KEY,
    SAMPLE_KEY,
    SPATIAL,
    TABLE,
    UNS,
    cell_name,
    quantile_layer,
)
from .arrays import AxisAffine
from .drawn_cells import DrawnCells
from .elements import SampleElements
from .joins import add_columns, counted, listed
from .pieces import LabelScan


@dataclass(frozen=True)
class CellPlan:
    """One sample: where to look, and which cells to measure."""

    pair: SampleElements
    channels: list[str]
    to_system: AxisAffine  # from label pixels to µm
    unit: str  # "µm", or "pixel" if the pixel size is unknown
    scan: LabelScan
    rows: np.ndarray | None = None  # rows of cells= that belong to the cells of the scan
    drawn: DrawnCells | None = None  # where shapes are measured

    def ids(self, numbers: np.ndarray) -> np.ndarray:
        """How the element names the cells of these label numbers."""
        return numbers if self.drawn is None else self.drawn.ids_of(numbers)


@dataclass(frozen=True)
class MeasuredCells:
    """What was measured of one sample: the cells that have pixels, and one array a kind of number."""

    kept: np.ndarray  # rows of the scan
    mean: np.ndarray
    quantiles: np.ndarray | None
    shapes: dict[str, np.ndarray]

    def times(self, factor: float) -> MeasuredCells:
        """The same with intensities in another unit."""
        if factor == 1:
            return self
        quantiles = None if self.quantiles is None else self.quantiles * factor
        return replace(self, mean=self.mean * factor, quantiles=quantiles)


def assemble(plans: list[CellPlan], measured: list[MeasuredCells], quantiles: list[float]) -> AnnData:
    """The table without columns from other sources; checks that there is a cell at all."""
    markers = list(dict.fromkeys(name for plan in plans for name in plan.channels))
    n = sum(part.kept.size for part in measured)
    if not n:
        raise TableError(f"No cell in {counted(len(plans), 'sample')}; there is no table to write. Check the labels.")
    mean = np.full((n, len(markers)), np.nan, dtype=np.float32)
    layers = {quantile_layer(q): np.full_like(mean, np.nan) for q in quantiles}
    frames, centroids, start = [], [], 0
    for plan, part in zip(plans, measured, strict=True):
        rows = slice(start, start + part.kept.size)
        columns = [markers.index(name) for name in plan.channels]
        mean[rows, columns] = part.mean
        for i, layer in enumerate(layers.values()):
            layer[rows, columns] = part.quantiles[:, i]
        frames.append(_obs(plan, part))
        y, x = plan.scan.centroid[part.kept].T + 0.5
        centroids.append(np.stack(plan.to_system(y, x)[::-1], axis=1))
        start = rows.stop
    obs = _together([frame for frame in frames if len(frame)])
    for column in (REGION_KEY, SAMPLE_KEY):
        obs[column] = pd.Categorical(obs[column], categories=pd.unique(obs[column]))
    adata = AnnData(mean, obs=obs, var=pd.DataFrame(index=pd.Index(markers)), layers=layers)
    adata.obsm[SPATIAL] = np.concatenate(centroids)
    adata.uns[UNS] = {TABLE: _record(plans, measured, markers, quantiles)}
    return adata


def _together(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Rows of all samples; ids are numbers in all of them, or text in all."""
    text = [frame[INSTANCE_KEY].dtype == object for frame in frames]
    if any(text) and not all(text):
        names = [str(frame[REGION_KEY].iloc[0]) for frame, is_text in zip(frames, text, strict=True) if is_text]
        raise TableError(
            f"Cells of {listed(names, 5)} have text as ids and those of the others have numbers, which one column of a "
            "table cannot hold. Make a table of each with samples=[...]."
        )
    obs = pd.concat(frames)
    if NUMBER_KEY in obs and obs[NUMBER_KEY].isna().any():  # of samples whose ids are label numbers themselves
        obs[NUMBER_KEY] = obs[NUMBER_KEY].fillna(obs[INSTANCE_KEY]).astype(np.int64)
    return obs


def _obs(plan: CellPlan, part: MeasuredCells) -> pd.DataFrame:
    scan = plan.scan.take(part.kept)
    ids = plan.ids(scan.ids)
    renamed = plan.drawn is not None and plan.drawn.renamed
    return pd.DataFrame(
        {
            REGION_KEY: plan.pair.labels,
            INSTANCE_KEY: ids,
            SAMPLE_KEY: plan.pair.sample,
            **({NUMBER_KEY: scan.ids} if renamed else {}),
            AREA: scan.area * plan.to_system.scale_y * plan.to_system.scale_x,
            **part.shapes,
        },
        index=[cell_name(plan.pair.sample, one) for one in ids],
    )


def with_columns(
    obs: pd.DataFrame,
    plans: list[CellPlan],
    measured: list[MeasuredCells],
    cells: pd.DataFrame | None,
    clinical: pd.DataFrame | None,
) -> pd.DataFrame:
    """`obs` with the columns of known cells (without their keys) and of samples added to the measured columns."""
    if cells is not None:
        rows = np.concatenate([plan.rows[part.kept] for plan, part in zip(plans, measured, strict=True)])
        new = only_used(cells.iloc[rows].set_axis(obs.index, axis=0))
        remedy = "Drop or rename it first: cells.rename(columns={...})."
        obs = add_columns(obs, new, "cells=", remedy, TableError)
    if clinical is not None:
        new = only_used(clinical.loc[obs[SAMPLE_KEY].astype(str)].set_axis(obs.index, axis=0))
        remedy = "Rename it in sdata['samples'].obs."
        obs = add_columns(obs, new, "sdata['samples']", remedy, ClinicalError)
    return obs


def only_used(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame, with those categories of each column that occur in it."""
    categorical = frame.select_dtypes("category").columns
    return frame.assign(**{name: frame[name].cat.remove_unused_categories() for name in categorical})


def _record(
    plans: list[CellPlan], measured: list[MeasuredCells], markers: list[str], quantiles: list[float]
) -> dict[str, str]:
    from .._version import __version__

    elements = {
        plan.pair.sample: {
            "image": plan.pair.image,
            "labels": plan.pair.labels,
            "coordinate_system": plan.pair.coordinate_system,
            "unit": plan.unit,
            "labels_pixel_size": [plan.to_system.scale_y, plan.to_system.scale_x],
            "n_cells": int(part.kept.size),
            **({} if plan.drawn is None else {"kind": plan.drawn.kind, "numbers": plan.drawn.numbering}),
        }
        for plan, part in zip(plans, measured, strict=True)
    }
    lacking = {plan.pair.sample: [m for m in markers if m not in set(plan.channels)] for plan in plans}
    return {
        "statistic": "mean",
        "quantiles": json.dumps(quantiles),
        "samples": json.dumps(elements, ensure_ascii=False),
        "markers_missing": json.dumps(
            {sample: names for sample, names in lacking.items() if names}, ensure_ascii=False
        ),
        "spatialfm_version": __version__,
    }


def as_table(adata: AnnData) -> AnnData:
    """The AnnData as a table of a SpatialData, annotating the label elements."""
    return TableModel.parse(
        adata,
        region=list(adata.obs[REGION_KEY].cat.categories),
        region_key=REGION_KEY,
        instance_key=INSTANCE_KEY,
    )
