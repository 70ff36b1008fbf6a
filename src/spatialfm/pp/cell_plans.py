"""What is measured of each sample, and what is refused or reported before anything is measured."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .._errors import ElementError, PanelError, TableError, repeated_names, warn
from .._errors import listed as _listed
from .._keys import cell_name
from .._wording import takes
from .arrays import channel_names, drawn_kind
from .assemble import CellPlan, MeasuredCells
from .drawn_findings import without_pixel
from .elements import SampleElements, labels_to_system, pixel_size, scale_advice
from .fixed_labels import FixedLabels, plan_fix
from .joins import counted, listed
from .label_findings import NO_NUMBERS
from .labels import OnPieces, inspect_labels, report_labels

if TYPE_CHECKING:
    from spatialdata import SpatialData


def plan_tables(
    sdata: SpatialData, pairs: list[SampleElements], on_pieces: OnPieces, on_giants: str
) -> tuple[list[CellPlan], list[FixedLabels]]:
    """What to measure, and the labels that are to be written for it."""
    for pair in pairs:
        _check_channels(sdata, pair)
        _check_kind(sdata, pair, on_pieces)
    checked = [inspect_labels(sdata, pair.sample, pair.labels, pair) for pair in pairs]
    report_labels(sdata, checked, on_pieces, on_giants)
    plans, fixed = [], []
    for pair, check in zip(pairs, checked, strict=True):
        new = plan_fix(sdata, check, True, NO_NUMBERS) if on_pieces == "split" else None
        to_system = labels_to_system(sdata, pair)
        unit = "pixel" if pixel_size(sdata, pair) is None else "µm"
        scan = check.pieces.by_label() if new is None else new.scan
        if new is not None:
            fixed.append(new)
            pair = replace(pair, labels=new.name)
        plans.append(CellPlan(pair, channel_names(sdata, pair.image), to_system, unit, scan, drawn=check.drawn))
    return plans, fixed


def _check_kind(sdata: SpatialData, pair: SampleElements, on_pieces: OnPieces) -> None:
    kind = drawn_kind(sdata, str(pair.labels))
    if kind in ("points", "table"):
        raise ElementError(
            f"Cells of sample {pair.sample!r} are the points of {pair.labels!r}, which have no pixels to measure. "
            "sfm.tl.embed_cells(sdata) embeds what is around them; to measure discs, make circles of them: "
            "spatialdata.models.ShapesModel.parse(<array of x, y>, geometry=0, radius=<radius>, transformations=...)."
        )
    if kind is not None and on_pieces == "split":
        raise ElementError(
            f"on_pieces='split' numbers the pieces of a label image, and {pair.labels!r} holds an outline for each "
            "cell. Leave on_pieces= out."
        )


def _check_channels(sdata: SpatialData, pair: SampleElements) -> None:
    channels = channel_names(sdata, pair.image)
    if repeated := repeated_names(channels):
        raise PanelError(
            f"Image {pair.image!r} has more than one channel {repeated[0]!r}. Rename them, for example with "
            f"sdata.set_channel_names({pair.image!r}, names), with {counted(len(channels), 'name')}."
        )


def report_plans(plans: list[CellPlan], drop: bool) -> None:
    """Refuse or report samples without cells and drawn cells without a pixel; report those without a pixel size."""
    lost = [text for plan in plans if plan.drawn is not None and (text := without_pixel(plan.drawn, plan.scan.ids))]
    if lost and not drop:
        raise TableError(f'{"; ".join(lost)}. Correct them, or leave them out with on_missing="drop".')
    if lost:
        warn(f"Cells are left out: {'; '.join(lost)}.")
    if empty := [plan.pair for plan in plans if not plan.scan.ids.size]:
        message = (
            f"{counted(len(empty), 'labels element holds', 'labels elements hold')} no cell, only 0: "
            f"{listed(pair.labels for pair in empty)} (sample {listed(pair.sample for pair in empty)})."
        )
        if not drop:
            by_hand = 'make the table first: sfm.pp.cell_table(sdata, on_missing="drop").'
            remedy = 'pass on_missing="drop".' if takes("on_missing") else by_hand
            raise TableError(f"{message} Leave them out with samples=[...], or {remedy}")
        warn(f"{message} They have no row in the table.")
    if unitless := [plan.pair for plan in plans if plan.unit == "pixel"]:
        drawn = any(plan.drawn is not None and plan.pair == unitless[0] for plan in plans)
        warn(
            f"No pixel size is known for {counted(len(unitless), 'image')} "
            f"({listed(pair.image for pair in unitless)}): areas, lengths and centroids are in pixels. "
            f"{scale_advice(unitless, drawn=drawn)}"
        )


def report_masks(plans: list[CellPlan], measured: list[MeasuredCells], table: str) -> None:
    """Warn of channels whose mean in each cell is the cell's number: the mask, saved as a channel."""
    masks = [
        (name, f"{name!r} of image {plan.pair.image!r}")
        for plan, part in zip(plans, measured, strict=True)
        for name, mean in zip(plan.channels, part.mean.T, strict=True)
        if mean.size >= 10 and (mean == plan.scan.ids[part.kept]).all()
    ]
    if masks:
        warn(
            f"{counted(len(masks), 'channel is', 'channels are')} the label image itself and no marker: "
            f"{_listed(sorted(where for _, where in masks), 5, quoted=False)}. Columns of other markers alone: "
            f"{table}[:, ~{table}.var_names.isin({sorted({name for name, _ in masks})})]; "
            "sfm.tl.embed_cells(..., markers=[...]) takes those that you name."
        )


def report_left_out(plans: list[CellPlan], measured: list[MeasuredCells]) -> None:
    """One warning for all samples of which cells have no pixel."""
    out = [np.setdiff1d(np.arange(plan.scan.ids.size), part.kept) for plan, part in zip(plans, measured, strict=True)]
    sentences = [outside(plan, rows) for plan, rows in zip(plans, out, strict=True) if rows.size]
    if sentences:
        warn(f"Cells are left out: {_listed(sentences, 5, quoted=False)}.")


def outside(plan: CellPlan, rows: np.ndarray) -> str:
    """Which cells have no pixel of the image, for a message."""
    ids = plan.scan.ids[rows]
    names = listed(cell_name(plan.pair.sample, label) for label in ids)
    return (
        f"{counted(ids.size, 'cell')} of labels {plan.pair.labels!r} with no pixel of image {plan.pair.image!r}, "
        f"outside of it or smaller than a pixel: {names}"
    )
