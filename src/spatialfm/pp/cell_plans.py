"""What is measured of each sample, and what is refused or reported before anything is measured."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .._errors import PanelError, TableError, warn
from .arrays import channel_names
from .assemble import CellPlan
from .elements import SampleElements, axis_affine, pixel_size, scale_advice
from .fix_labels import FixedLabels, plan_fix
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
    checked = [inspect_labels(sdata, pair.sample, pair.labels, pair) for pair in pairs]
    report_labels(sdata, checked, on_pieces, on_giants)
    plans, fixed = [], []
    for pair, check in zip(pairs, checked, strict=True):
        new = plan_fix(sdata, check, True, NO_NUMBERS) if on_pieces == "split" else None
        to_system = axis_affine(sdata.labels[pair.labels], pair.labels, pair.coordinate_system)
        unit = "pixel" if pixel_size(sdata, pair) is None else "µm"
        scan = check.pieces.by_label() if new is None else new.scan
        if new is not None:
            fixed.append(new)
            pair = replace(pair, labels=new.name)
        plans.append(CellPlan(pair, channel_names(sdata, pair.image), to_system, unit, scan))
    return plans, fixed


def _check_channels(sdata: SpatialData, pair: SampleElements) -> None:
    channels = channel_names(sdata, pair.image)
    if repeated := [name for name in dict.fromkeys(channels) if channels.count(name) > 1]:
        raise PanelError(
            f"Image {pair.image!r} has more than one channel {repeated[0]!r}. Rename them, for example with "
            f"sdata.set_channel_names({pair.image!r}, names), with {counted(len(channels), 'name')}."
        )


def report_plans(plans: list[CellPlan], drop: bool) -> None:
    """Refuse or report samples without cells, and report those without a pixel size."""
    if empty := [plan.pair for plan in plans if not plan.scan.ids.size]:
        message = (
            f"{counted(len(empty), 'labels element holds', 'labels elements hold')} no cell, only 0: "
            f"{listed(pair.labels for pair in empty)} (sample {listed(pair.sample for pair in empty)})."
        )
        if not drop:
            raise TableError(f'{message} Leave them out with samples=[...], or pass on_missing="drop".')
        warn(f"{message} They have no row in the table.")
    if unitless := [plan.pair for plan in plans if plan.unit == "pixel"]:
        warn(
            f"No pixel size is known for {counted(len(unitless), 'image')} "
            f"({listed(pair.image for pair in unitless)}): areas, lengths and centroids are in pixels. "
            f"{scale_advice(unitless)}"
        )
