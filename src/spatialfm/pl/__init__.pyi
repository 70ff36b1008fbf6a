# Made by `make stubs` from the signatures: change those.
from ._style import style as style
from anndata import AnnData
from collections.abc import Mapping
from collections.abc import Sequence
from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np
from os import PathLike
import pandas as pd
from spatialdata import SpatialData
from typing import Any
from typing import Literal
from typing import overload
from ._figure import Palette

__all__ = [
    "annotation_scores",
    "attention",
    "calibration",
    "cell_gallery",
    "cells",
    "cluster_tree",
    "compare_composition",
    "compare_enrichment",
    "composition",
    "concordance",
    "contributions",
    "cumulative_incidence",
    "decision_curve",
    "forest",
    "kaplan_meier",
    "label_report",
    "marker_attention",
    "neighborhood_contrast",
    "panel_curve",
    "positivity",
    "power",
    "reconstruction",
    "reconstruction_scores",
    "sample_scores",
    "search_results",
    "segmentation",
    "shift",
    "signature_scores",
    "signatures",
    "style",
    "surprise",
    "survival_auc",
    "tile_map",
    "tissue",
]

@overload
def annotation_scores(
    adata: AnnData, *, key: str = 'annotation',
    score: Literal['f1', 'recall', 'average_precision', 'auroc', 'calibration_error', 'calibration_error_debiased'] = 'f1',
    title: str | None = None, figsize: tuple[float, float] | None = None, ax: Axes | None = None,
    show: bool | None = None, save: str | PathLike | None = None, return_fig: Literal[False] | None = None
) -> Axes | None: ...
@overload
def annotation_scores(
    adata: AnnData, *, key: str = 'annotation',
    score: Literal['f1', 'recall', 'average_precision', 'auroc', 'calibration_error', 'calibration_error_debiased'] = 'f1',
    title: str | None = None, figsize: tuple[float, float] | None = None, ax: Axes | None = None,
    show: bool | None = None, save: str | PathLike | None = None, return_fig: Literal[True]
) -> Figure: ...
@overload
def annotation_scores(
    adata: AnnData, *, key: str = 'annotation',
    score: Literal['f1', 'recall', 'average_precision', 'auroc', 'calibration_error', 'calibration_error_debiased'] = 'f1',
    title: str | None = None, figsize: tuple[float, float] | None = None, ax: Axes | None = None,
    show: bool | None = None, save: str | PathLike | None = None, return_fig: bool | None
) -> Axes | Figure | None: ...

@overload
def attention(
    adata: AnnData, sample: str | None = None, *, key: str = 'mil',
    values: Literal['attention', 'gradient', 'contribution'] = 'attention', output: str | None = None,
    cluster_key: str | None = None, min_cells: int = 5, limit: float | None = None, palette: Palette = None,
    library_key: str = 'sample', spatial_key: str = 'spatial', title: str | None = None,
    figsize: tuple[float, float] | None = None, ax: Axes | tuple[Axes, Axes] | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: Literal[False] | None = None
) -> Axes | tuple[Axes, Axes] | None: ...
@overload
def attention(
    adata: AnnData, sample: str | None = None, *, key: str = 'mil',
    values: Literal['attention', 'gradient', 'contribution'] = 'attention', output: str | None = None,
    cluster_key: str | None = None, min_cells: int = 5, limit: float | None = None, palette: Palette = None,
    library_key: str = 'sample', spatial_key: str = 'spatial', title: str | None = None,
    figsize: tuple[float, float] | None = None, ax: Axes | tuple[Axes, Axes] | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: Literal[True]
) -> Figure: ...
@overload
def attention(
    adata: AnnData, sample: str | None = None, *, key: str = 'mil',
    values: Literal['attention', 'gradient', 'contribution'] = 'attention', output: str | None = None,
    cluster_key: str | None = None, min_cells: int = 5, limit: float | None = None, palette: Palette = None,
    library_key: str = 'sample', spatial_key: str = 'spatial', title: str | None = None,
    figsize: tuple[float, float] | None = None, ax: Axes | tuple[Axes, Axes] | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: bool | None
) -> Axes | tuple[Axes, Axes] | Figure | None: ...

@overload
def calibration(
    patients: AnnData, *, key: str = 'cox_predicted', times: float | Sequence[float] | None = None,
    smooth: bool = True, time_unit: str | None = None, palette: Palette = None, title: str | None = None,
    figsize: tuple[float, float] = (4.6, 5.0), ax: Axes | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: Literal[False] | None = None
) -> Axes | None: ...
@overload
def calibration(
    patients: AnnData, *, key: str = 'cox_predicted', times: float | Sequence[float] | None = None,
    smooth: bool = True, time_unit: str | None = None, palette: Palette = None, title: str | None = None,
    figsize: tuple[float, float] = (4.6, 5.0), ax: Axes | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: Literal[True]
) -> Figure: ...
@overload
def calibration(
    patients: AnnData, *, key: str = 'cox_predicted', times: float | Sequence[float] | None = None,
    smooth: bool = True, time_unit: str | None = None, palette: Palette = None, title: str | None = None,
    figsize: tuple[float, float] = (4.6, 5.0), ax: Axes | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: bool | None
) -> Axes | Figure | None: ...

@overload
def cell_gallery(
    sdata: SpatialData, cells: Sequence[str] | None = None, *, channels: str | Sequence[str] | Sequence[Sequence[str]],
    annotation_key: str | None = None, types: Sequence[str] | None = None, n: int = 4, n_columns: int = 8,
    size: float = 30.0, percentiles: tuple[float, float] = (1.0, 99.5),
    channel_colors: Sequence[str] = ('#00C8FF', '#FF30FF', '#FFE000'), table_name: str = 'table',
    scale_bar: bool = True, title: str | None = None, figsize: tuple[float, float] | None = None,
    show: bool | None = None, save: str | PathLike | None = None, return_fig: Literal[False] | None = None
) -> np.ndarray | None: ...
@overload
def cell_gallery(
    sdata: SpatialData, cells: Sequence[str] | None = None, *, channels: str | Sequence[str] | Sequence[Sequence[str]],
    annotation_key: str | None = None, types: Sequence[str] | None = None, n: int = 4, n_columns: int = 8,
    size: float = 30.0, percentiles: tuple[float, float] = (1.0, 99.5),
    channel_colors: Sequence[str] = ('#00C8FF', '#FF30FF', '#FFE000'), table_name: str = 'table',
    scale_bar: bool = True, title: str | None = None, figsize: tuple[float, float] | None = None,
    show: bool | None = None, save: str | PathLike | None = None, return_fig: Literal[True]
) -> Figure: ...
@overload
def cell_gallery(
    sdata: SpatialData, cells: Sequence[str] | None = None, *, channels: str | Sequence[str] | Sequence[Sequence[str]],
    annotation_key: str | None = None, types: Sequence[str] | None = None, n: int = 4, n_columns: int = 8,
    size: float = 30.0, percentiles: tuple[float, float] = (1.0, 99.5),
    channel_colors: Sequence[str] = ('#00C8FF', '#FF30FF', '#FFE000'), table_name: str = 'table',
    scale_bar: bool = True, title: str | None = None, figsize: tuple[float, float] | None = None,
    show: bool | None = None, save: str | PathLike | None = None, return_fig: bool | None
) -> np.ndarray | Figure | None: ...

@overload
def cells(
    sdata: SpatialData, sample: str, *, color: str | None = None, channels: str | Sequence[str] | None = None,
    fill: bool | None = None, crop: tuple[float, float, float, float] | None = None,
    percentiles: tuple[float, float] = (1.0, 99.7), channel_colors: Sequence[str] = ('#00C8FF', '#FF30FF', '#FFE000'),
    palette: Palette = None, cmap: str = 'viridis', image: str | None = None, labels: str | None = None,
    table_name: str = 'table', scale_bar: bool = True, max_pixels: int = 1500, title: str | None = None,
    figsize: tuple[float, float] | None = None, ax: Axes | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: Literal[False] | None = None
) -> Axes | None: ...
@overload
def cells(
    sdata: SpatialData, sample: str, *, color: str | None = None, channels: str | Sequence[str] | None = None,
    fill: bool | None = None, crop: tuple[float, float, float, float] | None = None,
    percentiles: tuple[float, float] = (1.0, 99.7), channel_colors: Sequence[str] = ('#00C8FF', '#FF30FF', '#FFE000'),
    palette: Palette = None, cmap: str = 'viridis', image: str | None = None, labels: str | None = None,
    table_name: str = 'table', scale_bar: bool = True, max_pixels: int = 1500, title: str | None = None,
    figsize: tuple[float, float] | None = None, ax: Axes | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: Literal[True]
) -> Figure: ...
@overload
def cells(
    sdata: SpatialData, sample: str, *, color: str | None = None, channels: str | Sequence[str] | None = None,
    fill: bool | None = None, crop: tuple[float, float, float, float] | None = None,
    percentiles: tuple[float, float] = (1.0, 99.7), channel_colors: Sequence[str] = ('#00C8FF', '#FF30FF', '#FFE000'),
    palette: Palette = None, cmap: str = 'viridis', image: str | None = None, labels: str | None = None,
    table_name: str = 'table', scale_bar: bool = True, max_pixels: int = 1500, title: str | None = None,
    figsize: tuple[float, float] | None = None, ax: Axes | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: bool | None
) -> Axes | Figure | None: ...

@overload
def cluster_tree(
    adata: AnnData, *, key: str = 'leiden_sweep', min_share: float = 0.1, title: str | None = None,
    figsize: tuple[float, float] | None = None, ax: Axes | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: Literal[False] | None = None
) -> Axes | None: ...
@overload
def cluster_tree(
    adata: AnnData, *, key: str = 'leiden_sweep', min_share: float = 0.1, title: str | None = None,
    figsize: tuple[float, float] | None = None, ax: Axes | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: Literal[True]
) -> Figure: ...
@overload
def cluster_tree(
    adata: AnnData, *, key: str = 'leiden_sweep', min_share: float = 0.1, title: str | None = None,
    figsize: tuple[float, float] | None = None, ax: Axes | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: bool | None
) -> Axes | Figure | None: ...

@overload
def compare_composition(
    patients: AnnData, *, key: str = 'compare_composition', kind: Literal['dots', 'effect', 'reference'] = 'dots',
    types: Sequence[str] | None = None, sort: bool = True, palette: Palette = None, title: str | None = None,
    figsize: tuple[float, float] | None = None, ax: Axes | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: Literal[False] | None = None
) -> Axes | None: ...
@overload
def compare_composition(
    patients: AnnData, *, key: str = 'compare_composition', kind: Literal['dots', 'effect', 'reference'] = 'dots',
    types: Sequence[str] | None = None, sort: bool = True, palette: Palette = None, title: str | None = None,
    figsize: tuple[float, float] | None = None, ax: Axes | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: Literal[True]
) -> Figure: ...
@overload
def compare_composition(
    patients: AnnData, *, key: str = 'compare_composition', kind: Literal['dots', 'effect', 'reference'] = 'dots',
    types: Sequence[str] | None = None, sort: bool = True, palette: Palette = None, title: str | None = None,
    figsize: tuple[float, float] | None = None, ax: Axes | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: bool | None
) -> Axes | Figure | None: ...

@overload
def compare_enrichment(
    adata: AnnData, *, key: str = 'compare_enrichment', groups: tuple[str, str] | None = None,
    title: str | None = None, figsize: tuple[float, float] | None = None, ax: Axes | None = None,
    show: bool | None = None, save: str | PathLike | None = None, return_fig: Literal[False] | None = None
) -> Axes | None: ...
@overload
def compare_enrichment(
    adata: AnnData, *, key: str = 'compare_enrichment', groups: tuple[str, str] | None = None,
    title: str | None = None, figsize: tuple[float, float] | None = None, ax: Axes | None = None,
    show: bool | None = None, save: str | PathLike | None = None, return_fig: Literal[True]
) -> Figure: ...
@overload
def compare_enrichment(
    adata: AnnData, *, key: str = 'compare_enrichment', groups: tuple[str, str] | None = None,
    title: str | None = None, figsize: tuple[float, float] | None = None, ax: Axes | None = None,
    show: bool | None = None, save: str | PathLike | None = None, return_fig: bool | None
) -> Axes | Figure | None: ...

@overload
def composition(
    patients: AnnData, *, group_key: str | None = None, kind: Literal['bar', 'heatmap'] = 'bar',
    layer: str | None = None, sort_by: str | None = None, palette: Palette = None, title: str | None = None,
    figsize: tuple[float, float] | None = None, ax: Axes | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: Literal[False] | None = None
) -> Axes | None: ...
@overload
def composition(
    patients: AnnData, *, group_key: str | None = None, kind: Literal['bar', 'heatmap'] = 'bar',
    layer: str | None = None, sort_by: str | None = None, palette: Palette = None, title: str | None = None,
    figsize: tuple[float, float] | None = None, ax: Axes | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: Literal[True]
) -> Figure: ...
@overload
def composition(
    patients: AnnData, *, group_key: str | None = None, kind: Literal['bar', 'heatmap'] = 'bar',
    layer: str | None = None, sort_by: str | None = None, palette: Palette = None, title: str | None = None,
    figsize: tuple[float, float] | None = None, ax: Axes | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: bool | None
) -> Axes | Figure | None: ...

@overload
def concordance(
    patients: AnnData, *, key: str = 'compare_concordance', title: str | None = None,
    figsize: tuple[float, float] | None = None, ax: Sequence[Axes] | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: Literal[False] | None = None
) -> np.ndarray | None: ...
@overload
def concordance(
    patients: AnnData, *, key: str = 'compare_concordance', title: str | None = None,
    figsize: tuple[float, float] | None = None, ax: Sequence[Axes] | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: Literal[True]
) -> Figure: ...
@overload
def concordance(
    patients: AnnData, *, key: str = 'compare_concordance', title: str | None = None,
    figsize: tuple[float, float] | None = None, ax: Sequence[Axes] | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: bool | None
) -> np.ndarray | Figure | None: ...

@overload
def contributions(
    adata: AnnData, key: str, *, cell: str | None = None, patient: str | None = None, output: str | None = None,
    n_markers: int = 12, sort: bool = True, limit: float | None = None, title: str | None = None,
    figsize: tuple[float, float] | None = None, ax: Axes | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: Literal[False] | None = None
) -> Axes | None: ...
@overload
def contributions(
    adata: AnnData, key: str, *, cell: str | None = None, patient: str | None = None, output: str | None = None,
    n_markers: int = 12, sort: bool = True, limit: float | None = None, title: str | None = None,
    figsize: tuple[float, float] | None = None, ax: Axes | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: Literal[True]
) -> Figure: ...
@overload
def contributions(
    adata: AnnData, key: str, *, cell: str | None = None, patient: str | None = None, output: str | None = None,
    n_markers: int = 12, sort: bool = True, limit: float | None = None, title: str | None = None,
    figsize: tuple[float, float] | None = None, ax: Axes | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: bool | None
) -> Axes | Figure | None: ...

@overload
def cumulative_incidence(
    patients: AnnData, *, key: str = 'cumulative_incidence', event_value: str | None = None,
    time_unit: str | None = None, interval: bool = True, at_risk: bool = True, palette: Palette = None,
    title: str | None = None, figsize: tuple[float, float] | None = None, ax: Axes | None = None,
    show: bool | None = None, save: str | PathLike | None = None, return_fig: Literal[False] | None = None
) -> Axes | None: ...
@overload
def cumulative_incidence(
    patients: AnnData, *, key: str = 'cumulative_incidence', event_value: str | None = None,
    time_unit: str | None = None, interval: bool = True, at_risk: bool = True, palette: Palette = None,
    title: str | None = None, figsize: tuple[float, float] | None = None, ax: Axes | None = None,
    show: bool | None = None, save: str | PathLike | None = None, return_fig: Literal[True]
) -> Figure: ...
@overload
def cumulative_incidence(
    patients: AnnData, *, key: str = 'cumulative_incidence', event_value: str | None = None,
    time_unit: str | None = None, interval: bool = True, at_risk: bool = True, palette: Palette = None,
    title: str | None = None, figsize: tuple[float, float] | None = None, ax: Axes | None = None,
    show: bool | None = None, save: str | PathLike | None = None, return_fig: bool | None
) -> Axes | Figure | None: ...

@overload
def decision_curve(
    patients: AnnData, keys: str | Sequence[str] | Mapping[str, str] = 'cox_predicted', *, interval: bool = True,
    time_unit: str | None = None, palette: Palette = None, title: str | None = None,
    figsize: tuple[float, float] = (5.2, 4.2), ax: Axes | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: Literal[False] | None = None
) -> Axes | None: ...
@overload
def decision_curve(
    patients: AnnData, keys: str | Sequence[str] | Mapping[str, str] = 'cox_predicted', *, interval: bool = True,
    time_unit: str | None = None, palette: Palette = None, title: str | None = None,
    figsize: tuple[float, float] = (5.2, 4.2), ax: Axes | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: Literal[True]
) -> Figure: ...
@overload
def decision_curve(
    patients: AnnData, keys: str | Sequence[str] | Mapping[str, str] = 'cox_predicted', *, interval: bool = True,
    time_unit: str | None = None, palette: Palette = None, title: str | None = None,
    figsize: tuple[float, float] = (5.2, 4.2), ax: Axes | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: bool | None
) -> Axes | Figure | None: ...

@overload
def forest(
    patients: AnnData, *, key: str = 'cox', xlim: tuple[float, float] | None = None, title: str | None = None,
    figsize: tuple[float, float] | None = None, ax: Axes | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: Literal[False] | None = None
) -> Axes | None: ...
@overload
def forest(
    patients: AnnData, *, key: str = 'cox', xlim: tuple[float, float] | None = None, title: str | None = None,
    figsize: tuple[float, float] | None = None, ax: Axes | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: Literal[True]
) -> Figure: ...
@overload
def forest(
    patients: AnnData, *, key: str = 'cox', xlim: tuple[float, float] | None = None, title: str | None = None,
    figsize: tuple[float, float] | None = None, ax: Axes | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: bool | None
) -> Axes | Figure | None: ...

@overload
def kaplan_meier(
    patients: AnnData, *, key: str = 'kaplan_meier', logrank_key: str = 'logrank', rmst_key: str = 'rmst',
    time_unit: str | None = None, interval: bool = True, censor_marks: bool = True, at_risk: bool = True,
    palette: Palette = None, title: str | None = None, figsize: tuple[float, float] | None = None,
    ax: Axes | None = None, show: bool | None = None, save: str | PathLike | None = None,
    return_fig: Literal[False] | None = None
) -> Axes | None: ...
@overload
def kaplan_meier(
    patients: AnnData, *, key: str = 'kaplan_meier', logrank_key: str = 'logrank', rmst_key: str = 'rmst',
    time_unit: str | None = None, interval: bool = True, censor_marks: bool = True, at_risk: bool = True,
    palette: Palette = None, title: str | None = None, figsize: tuple[float, float] | None = None,
    ax: Axes | None = None, show: bool | None = None, save: str | PathLike | None = None, return_fig: Literal[True]
) -> Figure: ...
@overload
def kaplan_meier(
    patients: AnnData, *, key: str = 'kaplan_meier', logrank_key: str = 'logrank', rmst_key: str = 'rmst',
    time_unit: str | None = None, interval: bool = True, censor_marks: bool = True, at_risk: bool = True,
    palette: Palette = None, title: str | None = None, figsize: tuple[float, float] | None = None,
    ax: Axes | None = None, show: bool | None = None, save: str | PathLike | None = None, return_fig: bool | None
) -> Axes | Figure | None: ...

@overload
def label_report(
    adata: AnnData, *, key: str = 'label_report', title: str | None = None, figsize: tuple[float, float] | None = None,
    ax: Sequence[Axes] | None = None, show: bool | None = None, save: str | PathLike | None = None,
    return_fig: Literal[False] | None = None
) -> np.ndarray | None: ...
@overload
def label_report(
    adata: AnnData, *, key: str = 'label_report', title: str | None = None, figsize: tuple[float, float] | None = None,
    ax: Sequence[Axes] | None = None, show: bool | None = None, save: str | PathLike | None = None,
    return_fig: Literal[True]
) -> Figure: ...
@overload
def label_report(
    adata: AnnData, *, key: str = 'label_report', title: str | None = None, figsize: tuple[float, float] | None = None,
    ax: Sequence[Axes] | None = None, show: bool | None = None, save: str | PathLike | None = None,
    return_fig: bool | None
) -> np.ndarray | Figure | None: ...

@overload
def marker_attention(
    adata: AnnData, *, marker: str | None = None, sample: str | None = None, key: str = 'marker_attention',
    sort: bool = True, limit: float | None = None, library_key: str = 'sample', spatial_key: str = 'spatial',
    title: str | None = None, figsize: tuple[float, float] | None = None, ax: Axes | None = None,
    show: bool | None = None, save: str | PathLike | None = None, return_fig: Literal[False] | None = None
) -> Axes | None: ...
@overload
def marker_attention(
    adata: AnnData, *, marker: str | None = None, sample: str | None = None, key: str = 'marker_attention',
    sort: bool = True, limit: float | None = None, library_key: str = 'sample', spatial_key: str = 'spatial',
    title: str | None = None, figsize: tuple[float, float] | None = None, ax: Axes | None = None,
    show: bool | None = None, save: str | PathLike | None = None, return_fig: Literal[True]
) -> Figure: ...
@overload
def marker_attention(
    adata: AnnData, *, marker: str | None = None, sample: str | None = None, key: str = 'marker_attention',
    sort: bool = True, limit: float | None = None, library_key: str = 'sample', spatial_key: str = 'spatial',
    title: str | None = None, figsize: tuple[float, float] | None = None, ax: Axes | None = None,
    show: bool | None = None, save: str | PathLike | None = None, return_fig: bool | None
) -> Axes | Figure | None: ...

@overload
def neighborhood_contrast(
    adata: AnnData, *, key: str = 'neighborhood_contrast', n_types: int | None = 5, title: str | None = None,
    figsize: tuple[float, float] | None = None, ax: Axes | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: Literal[False] | None = None
) -> Axes | None: ...
@overload
def neighborhood_contrast(
    adata: AnnData, *, key: str = 'neighborhood_contrast', n_types: int | None = 5, title: str | None = None,
    figsize: tuple[float, float] | None = None, ax: Axes | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: Literal[True]
) -> Figure: ...
@overload
def neighborhood_contrast(
    adata: AnnData, *, key: str = 'neighborhood_contrast', n_types: int | None = 5, title: str | None = None,
    figsize: tuple[float, float] | None = None, ax: Axes | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: bool | None
) -> Axes | Figure | None: ...

@overload
def panel_curve(
    adata: AnnData, *, key: str = 'panel', title: str | None = None, figsize: tuple[float, float] | None = None,
    ax: Axes | None = None, show: bool | None = None, save: str | PathLike | None = None,
    return_fig: Literal[False] | None = None
) -> Axes | None: ...
@overload
def panel_curve(
    adata: AnnData, *, key: str = 'panel', title: str | None = None, figsize: tuple[float, float] | None = None,
    ax: Axes | None = None, show: bool | None = None, save: str | PathLike | None = None, return_fig: Literal[True]
) -> Figure: ...
@overload
def panel_curve(
    adata: AnnData, *, key: str = 'panel', title: str | None = None, figsize: tuple[float, float] | None = None,
    ax: Axes | None = None, show: bool | None = None, save: str | PathLike | None = None, return_fig: bool | None
) -> Axes | Figure | None: ...

@overload
def positivity(
    adata: AnnData, marker: str, *, samples: str | Sequence[str] | None = None, key: str = 'positive', bins: int = 50,
    title: str | None = None, figsize: tuple[float, float] | None = None, ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None, save: str | PathLike | None = None, return_fig: Literal[False] | None = None
) -> np.ndarray | None: ...
@overload
def positivity(
    adata: AnnData, marker: str, *, samples: str | Sequence[str] | None = None, key: str = 'positive', bins: int = 50,
    title: str | None = None, figsize: tuple[float, float] | None = None, ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None, save: str | PathLike | None = None, return_fig: Literal[True]
) -> Figure: ...
@overload
def positivity(
    adata: AnnData, marker: str, *, samples: str | Sequence[str] | None = None, key: str = 'positive', bins: int = 50,
    title: str | None = None, figsize: tuple[float, float] | None = None, ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None, save: str | PathLike | None = None, return_fig: bool | None
) -> np.ndarray | Figure | None: ...

@overload
def power(
    patients: AnnData, *, key: str = 'power', title: str | None = None, figsize: tuple[float, float] | None = None,
    ax: Axes | None = None, show: bool | None = None, save: str | PathLike | None = None,
    return_fig: Literal[False] | None = None
) -> Axes | None: ...
@overload
def power(
    patients: AnnData, *, key: str = 'power', title: str | None = None, figsize: tuple[float, float] | None = None,
    ax: Axes | None = None, show: bool | None = None, save: str | PathLike | None = None, return_fig: Literal[True]
) -> Figure: ...
@overload
def power(
    patients: AnnData, *, key: str = 'power', title: str | None = None, figsize: tuple[float, float] | None = None,
    ax: Axes | None = None, show: bool | None = None, save: str | PathLike | None = None, return_fig: bool | None
) -> Axes | Figure | None: ...

@overload
def reconstruction(
    sdata: SpatialData, marker: str, *, samples: str | Sequence[str] | None = None, key: str = 'reconstructed',
    title: str | None = None, figsize: tuple[float, float] | None = None, ax: Sequence[Axes] | None = None,
    show: bool | None = None, save: str | PathLike | None = None, return_fig: Literal[False] | None = None
) -> np.ndarray | None: ...
@overload
def reconstruction(
    sdata: SpatialData, marker: str, *, samples: str | Sequence[str] | None = None, key: str = 'reconstructed',
    title: str | None = None, figsize: tuple[float, float] | None = None, ax: Sequence[Axes] | None = None,
    show: bool | None = None, save: str | PathLike | None = None, return_fig: Literal[True]
) -> Figure: ...
@overload
def reconstruction(
    sdata: SpatialData, marker: str, *, samples: str | Sequence[str] | None = None, key: str = 'reconstructed',
    title: str | None = None, figsize: tuple[float, float] | None = None, ax: Sequence[Axes] | None = None,
    show: bool | None = None, save: str | PathLike | None = None, return_fig: bool | None
) -> np.ndarray | Figure | None: ...

@overload
def reconstruction_scores(
    adata: AnnData, *, key: str = 'reconstruction', score: Literal['r', 'spearman', 'mse', 'f1'] = 'r',
    markers: str | Sequence[str] | None = None, method: str | None = None, title: str | None = None,
    figsize: tuple[float, float] | None = None, ax: Axes | Sequence[Axes] | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: Literal[False] | None = None
) -> np.ndarray | None: ...
@overload
def reconstruction_scores(
    adata: AnnData, *, key: str = 'reconstruction', score: Literal['r', 'spearman', 'mse', 'f1'] = 'r',
    markers: str | Sequence[str] | None = None, method: str | None = None, title: str | None = None,
    figsize: tuple[float, float] | None = None, ax: Axes | Sequence[Axes] | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: Literal[True]
) -> Figure: ...
@overload
def reconstruction_scores(
    adata: AnnData, *, key: str = 'reconstruction', score: Literal['r', 'spearman', 'mse', 'f1'] = 'r',
    markers: str | Sequence[str] | None = None, method: str | None = None, title: str | None = None,
    figsize: tuple[float, float] | None = None, ax: Axes | Sequence[Axes] | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: bool | None
) -> np.ndarray | Figure | None: ...

@overload
def sample_scores(
    adata: AnnData, *, key: str = 'classify_samples',
    score: Literal['auroc', 'average_precision', 'f1', 'f1_macro', 'balanced_accuracy'] = 'auroc',
    title: str | None = None, figsize: tuple[float, float] | None = None, ax: Axes | None = None,
    show: bool | None = None, save: str | PathLike | None = None, return_fig: Literal[False] | None = None
) -> Axes | None: ...
@overload
def sample_scores(
    adata: AnnData, *, key: str = 'classify_samples',
    score: Literal['auroc', 'average_precision', 'f1', 'f1_macro', 'balanced_accuracy'] = 'auroc',
    title: str | None = None, figsize: tuple[float, float] | None = None, ax: Axes | None = None,
    show: bool | None = None, save: str | PathLike | None = None, return_fig: Literal[True]
) -> Figure: ...
@overload
def sample_scores(
    adata: AnnData, *, key: str = 'classify_samples',
    score: Literal['auroc', 'average_precision', 'f1', 'f1_macro', 'balanced_accuracy'] = 'auroc',
    title: str | None = None, figsize: tuple[float, float] | None = None, ax: Axes | None = None,
    show: bool | None = None, save: str | PathLike | None = None, return_fig: bool | None
) -> Axes | Figure | None: ...

@overload
def search_results(
    hits: pd.DataFrame, sdata: SpatialData, *, channels: str | Sequence[str], query_sdata: SpatialData | None = None,
    queries: Sequence[str] | None = None, k: int = 5, label_key: str | None = None, size: float | None = None,
    outline: bool = True, percentiles: tuple[float, float] = (1.0, 99.7),
    channel_colors: Sequence[str] = ('#00C8FF', '#FF30FF', '#FFE000'), table_name: str = 'table',
    query_table_name: str | None = None, max_pixels: int = 300, title: str | None = None,
    figsize: tuple[float, float] | None = None, show: bool | None = None, save: str | PathLike | None = None,
    return_fig: Literal[False] | None = None
) -> np.ndarray | None: ...
@overload
def search_results(
    hits: pd.DataFrame, sdata: SpatialData, *, channels: str | Sequence[str], query_sdata: SpatialData | None = None,
    queries: Sequence[str] | None = None, k: int = 5, label_key: str | None = None, size: float | None = None,
    outline: bool = True, percentiles: tuple[float, float] = (1.0, 99.7),
    channel_colors: Sequence[str] = ('#00C8FF', '#FF30FF', '#FFE000'), table_name: str = 'table',
    query_table_name: str | None = None, max_pixels: int = 300, title: str | None = None,
    figsize: tuple[float, float] | None = None, show: bool | None = None, save: str | PathLike | None = None,
    return_fig: Literal[True]
) -> Figure: ...
@overload
def search_results(
    hits: pd.DataFrame, sdata: SpatialData, *, channels: str | Sequence[str], query_sdata: SpatialData | None = None,
    queries: Sequence[str] | None = None, k: int = 5, label_key: str | None = None, size: float | None = None,
    outline: bool = True, percentiles: tuple[float, float] = (1.0, 99.7),
    channel_colors: Sequence[str] = ('#00C8FF', '#FF30FF', '#FFE000'), table_name: str = 'table',
    query_table_name: str | None = None, max_pixels: int = 300, title: str | None = None,
    figsize: tuple[float, float] | None = None, show: bool | None = None, save: str | PathLike | None = None,
    return_fig: bool | None
) -> np.ndarray | Figure | None: ...

@overload
def segmentation(
    sdata: SpatialData, sample: str, quality: pd.DataFrame | None = None, *, nuclear: str | None = None,
    membrane: str | Sequence[str] | None = None, flags: Sequence[str] | None = None,
    crop: tuple[float, float, float, float] | None = None, percentiles: tuple[float, float] = (1.0, 99.7),
    image: str | None = None, labels: str | None = None, palette: Mapping[str, str] | None = None,
    scale_bar: bool = True, max_pixels: int = 1500, title: str | None = None,
    figsize: tuple[float, float] | None = None, ax: Axes | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: Literal[False] | None = None
) -> Axes | None: ...
@overload
def segmentation(
    sdata: SpatialData, sample: str, quality: pd.DataFrame | None = None, *, nuclear: str | None = None,
    membrane: str | Sequence[str] | None = None, flags: Sequence[str] | None = None,
    crop: tuple[float, float, float, float] | None = None, percentiles: tuple[float, float] = (1.0, 99.7),
    image: str | None = None, labels: str | None = None, palette: Mapping[str, str] | None = None,
    scale_bar: bool = True, max_pixels: int = 1500, title: str | None = None,
    figsize: tuple[float, float] | None = None, ax: Axes | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: Literal[True]
) -> Figure: ...
@overload
def segmentation(
    sdata: SpatialData, sample: str, quality: pd.DataFrame | None = None, *, nuclear: str | None = None,
    membrane: str | Sequence[str] | None = None, flags: Sequence[str] | None = None,
    crop: tuple[float, float, float, float] | None = None, percentiles: tuple[float, float] = (1.0, 99.7),
    image: str | None = None, labels: str | None = None, palette: Mapping[str, str] | None = None,
    scale_bar: bool = True, max_pixels: int = 1500, title: str | None = None,
    figsize: tuple[float, float] | None = None, ax: Axes | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: bool | None
) -> Axes | Figure | None: ...

@overload
def shift(
    adata: AnnData, *, key: str = 'distribution_shift', use_rep: str = 'X_umap',
    measure: Literal['distance', 'shift'] = 'distance', palette: Palette = None, max_cells: int = 30000,
    title: str | None = None, figsize: tuple[float, float] | None = None, ax: Sequence[Axes] | None = None,
    show: bool | None = None, save: str | PathLike | None = None, return_fig: Literal[False] | None = None
) -> np.ndarray | None: ...
@overload
def shift(
    adata: AnnData, *, key: str = 'distribution_shift', use_rep: str = 'X_umap',
    measure: Literal['distance', 'shift'] = 'distance', palette: Palette = None, max_cells: int = 30000,
    title: str | None = None, figsize: tuple[float, float] | None = None, ax: Sequence[Axes] | None = None,
    show: bool | None = None, save: str | PathLike | None = None, return_fig: Literal[True]
) -> Figure: ...
@overload
def shift(
    adata: AnnData, *, key: str = 'distribution_shift', use_rep: str = 'X_umap',
    measure: Literal['distance', 'shift'] = 'distance', palette: Palette = None, max_cells: int = 30000,
    title: str | None = None, figsize: tuple[float, float] | None = None, ax: Sequence[Axes] | None = None,
    show: bool | None = None, save: str | PathLike | None = None, return_fig: bool | None
) -> np.ndarray | Figure | None: ...

@overload
def signatures(
    adata: AnnData, *, key: str = 'signatures', alpha: float = 0.05, title: str | None = None,
    figsize: tuple[float, float] = (5.2, 3.8), ax: Axes | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: Literal[False] | None = None
) -> Axes | None: ...
@overload
def signatures(
    adata: AnnData, *, key: str = 'signatures', alpha: float = 0.05, title: str | None = None,
    figsize: tuple[float, float] = (5.2, 3.8), ax: Axes | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: Literal[True]
) -> Figure: ...
@overload
def signatures(
    adata: AnnData, *, key: str = 'signatures', alpha: float = 0.05, title: str | None = None,
    figsize: tuple[float, float] = (5.2, 3.8), ax: Axes | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: bool | None
) -> Axes | Figure | None: ...

@overload
def signature_scores(
    adata: AnnData, *, key: str = 'signatures', title: str | None = None, figsize: tuple[float, float] = (5.2, 2.8),
    ax: Axes | None = None, show: bool | None = None, save: str | PathLike | None = None,
    return_fig: Literal[False] | None = None
) -> Axes | None: ...
@overload
def signature_scores(
    adata: AnnData, *, key: str = 'signatures', title: str | None = None, figsize: tuple[float, float] = (5.2, 2.8),
    ax: Axes | None = None, show: bool | None = None, save: str | PathLike | None = None, return_fig: Literal[True]
) -> Figure: ...
@overload
def signature_scores(
    adata: AnnData, *, key: str = 'signatures', title: str | None = None, figsize: tuple[float, float] = (5.2, 2.8),
    ax: Axes | None = None, show: bool | None = None, save: str | PathLike | None = None, return_fig: bool | None
) -> Axes | Figure | None: ...

@overload
def surprise(
    adata: AnnData, *, sample: str | None = None, marker: str | None = None, key: str = 'surprise',
    spatial_key: str = 'spatial', limit: float | None = None, title: str | None = None,
    figsize: tuple[float, float] | None = None, ax: Axes | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: Literal[False] | None = None
) -> Axes | None: ...
@overload
def surprise(
    adata: AnnData, *, sample: str | None = None, marker: str | None = None, key: str = 'surprise',
    spatial_key: str = 'spatial', limit: float | None = None, title: str | None = None,
    figsize: tuple[float, float] | None = None, ax: Axes | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: Literal[True]
) -> Figure: ...
@overload
def surprise(
    adata: AnnData, *, sample: str | None = None, marker: str | None = None, key: str = 'surprise',
    spatial_key: str = 'spatial', limit: float | None = None, title: str | None = None,
    figsize: tuple[float, float] | None = None, ax: Axes | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: bool | None
) -> Axes | Figure | None: ...

@overload
def survival_auc(
    scores: AnnData | Mapping[str, Any], keys: str | Sequence[str] | Mapping[str, str] = 'coxnet', *,
    interval: bool = True, at_risk: bool = True, time_unit: str | None = None, palette: Palette = None,
    title: str | None = None, figsize: tuple[float, float] = (5.0, 4.4), ax: Axes | None = None,
    show: bool | None = None, save: str | PathLike | None = None, return_fig: Literal[False] | None = None
) -> Axes | None: ...
@overload
def survival_auc(
    scores: AnnData | Mapping[str, Any], keys: str | Sequence[str] | Mapping[str, str] = 'coxnet', *,
    interval: bool = True, at_risk: bool = True, time_unit: str | None = None, palette: Palette = None,
    title: str | None = None, figsize: tuple[float, float] = (5.0, 4.4), ax: Axes | None = None,
    show: bool | None = None, save: str | PathLike | None = None, return_fig: Literal[True]
) -> Figure: ...
@overload
def survival_auc(
    scores: AnnData | Mapping[str, Any], keys: str | Sequence[str] | Mapping[str, str] = 'coxnet', *,
    interval: bool = True, at_risk: bool = True, time_unit: str | None = None, palette: Palette = None,
    title: str | None = None, figsize: tuple[float, float] = (5.0, 4.4), ax: Axes | None = None,
    show: bool | None = None, save: str | PathLike | None = None, return_fig: bool | None
) -> Axes | Figure | None: ...

@overload
def tile_map(
    sdata: SpatialData, sample: str, color: str, *, palette: Palette = None, cmap: str = 'viridis',
    table_name: str = 'tiles', title: str | None = None, figsize: tuple[float, float] | None = None,
    ax: Axes | None = None, show: bool | None = None, save: str | PathLike | None = None,
    return_fig: Literal[False] | None = None
) -> Axes | None: ...
@overload
def tile_map(
    sdata: SpatialData, sample: str, color: str, *, palette: Palette = None, cmap: str = 'viridis',
    table_name: str = 'tiles', title: str | None = None, figsize: tuple[float, float] | None = None,
    ax: Axes | None = None, show: bool | None = None, save: str | PathLike | None = None, return_fig: Literal[True]
) -> Figure: ...
@overload
def tile_map(
    sdata: SpatialData, sample: str, color: str, *, palette: Palette = None, cmap: str = 'viridis',
    table_name: str = 'tiles', title: str | None = None, figsize: tuple[float, float] | None = None,
    ax: Axes | None = None, show: bool | None = None, save: str | PathLike | None = None, return_fig: bool | None
) -> Axes | Figure | None: ...

@overload
def tissue(
    sdata: SpatialData, samples: str | Sequence[str] | None = None, *, channels: str | Sequence[str] | None = None,
    image: str | Sequence[str] | Mapping[str, str] | None = None, max_pixels: int = 800,
    figsize: tuple[float, float] | None = None, ax: Axes | Sequence[Axes] | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: Literal[False] | None = None
) -> np.ndarray | None: ...
@overload
def tissue(
    sdata: SpatialData, samples: str | Sequence[str] | None = None, *, channels: str | Sequence[str] | None = None,
    image: str | Sequence[str] | Mapping[str, str] | None = None, max_pixels: int = 800,
    figsize: tuple[float, float] | None = None, ax: Axes | Sequence[Axes] | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: Literal[True]
) -> Figure: ...
@overload
def tissue(
    sdata: SpatialData, samples: str | Sequence[str] | None = None, *, channels: str | Sequence[str] | None = None,
    image: str | Sequence[str] | Mapping[str, str] | None = None, max_pixels: int = 800,
    figsize: tuple[float, float] | None = None, ax: Axes | Sequence[Axes] | None = None, show: bool | None = None,
    save: str | PathLike | None = None, return_fig: bool | None
) -> np.ndarray | Figure | None: ...
