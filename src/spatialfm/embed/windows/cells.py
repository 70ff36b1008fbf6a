"""The cells of a run: rows of the table joined to labels of the images."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..._errors import ElementError, TableError, counted, listed, warn
from ..._keys import TABLE, UNS, cell_name
from ..._logging import logger
from ..._types import present
from ..._wording import takes
from ...pp.annotated import annotated_cells
from ...pp.arrays import AxisAffine, drawn_kind, holds_cells, image_array, table_call
from ...pp.drawn_cells import numbers_of_rows, rows_of_sample
from ...pp.elements import SampleElements, labels_to_image
from ...pp.labels import CheckedLabels, inspect_labels, report_labels
from ...pp.measure import rows_of
from ...pp.pieces import LabelScan
from .places import say_places

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData


@dataclass(frozen=True)
class Cells:
    """Cells of all samples, sample by sample, in the order of the table.

    Attributes
    ----------
    rows
        Row in the table, ``(n,)``.
    sample
        Number of the sample, ``(n,)``.
    labels
        Label in the label image, ``(n,)``, int64.
    centers
        Where the cell's window is centred (y, x): its centroid, or what the user gave; in image pixels ``(n, 2)``, of
        which pixel ``i`` covers ``[i, i + 1)``.
    boxes
        Edges of the cell (y0, y1, x0, x1), in image pixels, ``(n, 4)``.
    kinds
        What holds the cells of each sample, where it is not a label image: ``"polygons"``, ``"circles"``, ``"points"``.
    """

    rows: np.ndarray
    sample: np.ndarray
    labels: np.ndarray
    centers: np.ndarray
    boxes: np.ndarray
    kinds: Mapping[str, str] = field(default_factory=dict)

    @property
    def of_points(self) -> bool:
        """Whether cells have a place and no outline."""
        return "points" in self.kinds.values()


def find_cells(
    sdata: SpatialData,
    pairs: Sequence[SampleElements],
    table: AnnData,
    table_name: str,
    on_missing: Literal["raise", "drop"],
    centers: tuple[str, str] | None = None,
    on_pieces: Literal["raise", "keep"] = "raise",
) -> Cells:
    """Join the table to the label images.

    Parameters
    ----------
    centers
        Columns of ``table.obs`` with x and y of each cell in pixel indices of its image; None: centroids.
    on_pieces
        Whether numbers that are used for several cells are refused; they are kept if `cell_table` was called so.

    Raises
    ------
    ElementError
        If labels are not what they seem, see `spatialfm.pp.check_labels`.
    TableError
        If rows have no label, labels no row, or cells are outside of the image, and `on_missing` is ``"raise"``; if
        `centers` are not pixel indices of the cells.
    """
    given = None if centers is None else given_centers(table, table_name, centers)
    regions, instances = annotated_cells(table, table_name, sdata)
    of_pairs = [_rows_of(sdata, table, regions, pair, table_name) for pair in pairs]
    checked = [inspect_labels(sdata, pair.sample, present(pair.labels, "labels"), pair) for pair in pairs]
    _report_labels(sdata, table, checked, on_pieces)
    parts, no_label, no_row, outside, beside = [], [], [], [], []
    for number, (pair, rows, check) in enumerate(zip(pairs, of_pairs, checked, strict=True)):
        if not len(rows):
            continue
        scan, ids = check.pieces.by_label(), instances[rows]
        place = rows_of(scan.ids, ids)
        has_row = place >= 0
        no_label += [cell_name(pair.sample, name) for name in _names_of(table, rows[~has_row])]
        alone = np.setdiff1d(scan.ids, ids)
        no_row += [
            cell_name(pair.sample, label) for label in (alone if check.drawn is None else check.drawn.ids_of(alone))
        ]
        rows, ids, place = rows[has_row], ids[has_row], place[has_row]
        names = ids if check.drawn is None else check.drawn.ids_of(ids)
        where, boxes = _in_image_pixels(scan.take(place), labels_to_image(sdata, pair))
        if check.drawn is not None and check.drawn.kind == "points":
            where = check.drawn.centers_of(ids)
        if given is not None:
            where = given[rows]
            apart = ((where < boxes[:, [0, 2]]) | (where > boxes[:, [1, 3]])).any(axis=1)
            beside += [cell_name(pair.sample, label) for label in names[apart]]
        height, width = image_array(sdata, pair.image).shape[-2:]
        inside = np.all((where >= 0) & (where < (height, width)), axis=1)
        outside += [cell_name(pair.sample, label) for label in names[~inside]]
        parts.append((rows[inside], np.full(inside.sum(), number), ids[inside], where[inside], boxes[inside]))
    if beside and centers is not None:
        _report_beside(beside, sum(len(part[0]) for part in parts) + len(outside), centers)
    _report(sdata, table_name, no_label, no_row, outside, on_missing)
    kinds = {check.sample: check.drawn.kind for check in checked if check.drawn is not None}
    _check_kinds(kinds, len(pairs))
    row, sample, label, center, box = (np.concatenate(column) for column in zip(*parts, strict=True))
    cells = Cells(row, sample, label, center, box, kinds)
    if not len(cells.rows):
        raise TableError(
            f"No row of table {table_name!r} has a label. Make another, {table_call(sdata)}, and pass its "
            "name as table_name=."
        )
    in_parts = [pairs[int(part[1][0])].sample for part in parts if len(part[1])]
    say_places(table, table_name, in_parts, *([part[at] for part in parts if len(part[1])] for at in (0, 3)))
    return cells


def _check_kinds(kinds: Mapping[str, str], n_samples: int) -> None:
    """Refuse points next to cells with an outline: a window around a point is masked to nothing."""
    points = [sample for sample, kind in kinds.items() if kind == "points"]
    if points and len(points) < n_samples:
        raise ElementError(
            f"Cells of {listed(points, 5)} are points and those of the other samples have outlines: their rows would "
            "mean different things. Embed each with samples=[...], under a name of its own."
        )


def _names_of(table: AnnData, rows: np.ndarray) -> list[str]:
    """How the table names these cells in the column of its instances, otherwise in its index."""
    column = (table.uns.get("spatialdata_attrs") or {}).get("instance_key")
    names = table.obs[column] if column in table.obs else table.obs_names.to_series()
    return [str(name) for name in names.iloc[rows]]


def _rows_of(
    sdata: SpatialData, table: AnnData, regions: np.ndarray, pair: SampleElements, table_name: str
) -> np.ndarray:
    """Rows of the sample's cells; none if its labels have no cell, as in a field without tissue."""
    if pair.labels == table_name:
        return rows_of_sample(table.obs, pair.sample)
    rows = np.flatnonzero(regions == pair.labels)
    if not len(rows) and holds_cells(sdata, present(pair.labels, "labels")):
        raise ElementError(
            f"Table {table_name!r} annotates {listed(sorted(set(regions)), 5, quoted=False)}, not labels "
            f"{pair.labels!r} of sample {pair.sample!r}. Make a second table, of all samples, {table_call(sdata)}, "
            "and pass its name as table_name=, or correct labels= or samples=."
            + _same_ids(sdata, table, regions, pair, table_name)
        )
    return rows


def _same_ids(sdata: SpatialData, table: AnnData, regions: np.ndarray, pair: SampleElements, table_name: str) -> str:
    """How the table is told to annotate an element whose cells have the same ids, as circles and boundaries have."""
    attrs, name = table.uns.get("spatialdata_attrs") or {}, present(pair.labels, "labels")
    if len(set(regions)) != 1 or drawn_kind(sdata, name) not in ("shapes", "points"):
        return ""
    numbers = numbers_of_rows(sdata, name, table.obs[attrs["instance_key"]], "of the table")
    if (numbers < 0).any():
        return ""
    return (
        f" Its rows have the ids of {name!r}: to let it annotate these, sdata[{table_name!r}].obs"
        f"[{attrs['region_key']!r}] = {name!r}; sdata.set_table_annotates_spatialelement({table_name!r}, {name!r})."
    )


def _report_labels(sdata: SpatialData, table: AnnData, checked: list[CheckedLabels], on_pieces: str) -> None:
    """Refuse labels that are not what they seem, unless they were measured as they are on purpose.

    What is only odd was reported when the table was made.
    """
    record = table.uns.get(UNS, {}).get(TABLE, {})
    known = {sample["labels"] for sample in json.loads(record.get("samples", "{}")).values()}
    on_giants = record.get("on_giants", "raise") if known else "raise"
    errors_only = [
        replace(check, findings=[finding for finding in check.findings if finding.severity == "error"])
        if check.labels in known
        else check
        for check in checked
    ]
    report_labels(sdata, errors_only, "keep" if record.get("on_pieces") == "keep" else on_pieces, on_giants)


def given_centers(table: AnnData, table_name: str, columns: tuple[str, str]) -> np.ndarray:
    """Centres (y, x) from columns of x and y in pixel indices, ``(n_obs, 2)``; pixel ``i`` covers ``[i, i + 1)``.

    Raises
    ------
    TableError
        If there are no such columns, or they do not hold numbers.
    """
    if isinstance(columns, str) or len(columns) != 2:
        raise TableError(f"centers={columns!r} must be two columns of obs, of x and of y: centers=('x', 'y').")
    if missing := [name for name in columns if name not in table.obs]:
        columns_text = listed(list(map(str, table.obs)), 20, quoted=False)
        raise TableError(f"No column {missing[0]!r} in table {table_name!r} (centers=); it has {columns_text}.")
    try:
        x, y = (table.obs[name].to_numpy(dtype=float) for name in columns)
    except (TypeError, ValueError) as error:
        raise TableError(f"Columns {tuple(columns)!r} (centers=) do not hold numbers: {error}.") from error
    wrong = ~(np.isfinite(x) & np.isfinite(y))
    if wrong.any():
        names = listed(list(table.obs_names[wrong]), 5, quoted=False)
        n = counted(int(wrong.sum()), "cell has", "cells have")
        raise TableError(f"{n} no centre in centers={tuple(columns)!r}: {names}.")
    return np.stack([y, x], axis=1) + 0.5


def _report_beside(beside: list[str], n_cells: int, columns: tuple[str, str]) -> None:
    """Centres in µm, of another image, or with x and y exchanged are outside of their cells."""
    message = (
        f"{len(beside):,} of {counted(n_cells, 'centre')} in centers={tuple(columns)!r} outside of the box around the "
        f"cell ({listed(beside, 5, quoted=False)})"
    )
    if 2 * len(beside) > n_cells:
        raise TableError(
            f"{message}. Pass the columns of x and of y, in this order, in pixel indices of the image (not in µm)."
        )
    warn(f"{message}: their windows may hold other cells.")


def _in_image_pixels(scan: LabelScan, to_image: AxisAffine) -> tuple[np.ndarray, np.ndarray]:
    y, x = to_image(*(scan.centroid + 0.5).T)  # the centre of pixel 0 is 0.5
    y0, y1, x0, x1 = scan.box.T
    (top, left), (bottom, right) = to_image(y0, x0), to_image(y1, x1)
    return np.stack([y, x], axis=1), np.stack([top, bottom, left, right], axis=1)


def _report(
    sdata: SpatialData, table_name: str, no_label: list[str], no_row: list[str], outside: list[str], on_missing: str
) -> None:
    findings = []
    if no_label:
        findings.append(
            f"{counted(len(no_label), 'row')} of table {table_name!r} without label "
            f"({listed(no_label, 5, quoted=False)})"
        )
    if no_row:
        findings.append(f"{counted(len(no_row), 'label')} without row ({listed(no_row, 5, quoted=False)})")
    if outside:
        findings.append(f"{counted(len(outside), 'cell')} outside of the image ({listed(outside, 5, quoted=False)})")
    if not findings:
        return
    message = "; ".join(findings)
    if on_missing == "raise":
        raise TableError(
            f"Cells and labels do not match: {message}. Make a second table, of these labels, {table_call(sdata)}, "
            "and pass its name as table_name="
            + (
                "; or pass on_missing='drop' to embed the cells that have both: rows without pixels then leave the "
                "table, with all that is known of them (copy=True leaves it as it is)."
                if takes("on_missing")
                else "."
            )
        )
    logger.warning("left out: %s", message)
