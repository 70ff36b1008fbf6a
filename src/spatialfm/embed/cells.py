"""The cells of a run: rows of the table joined to labels of the images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from .._errors import ElementError, TableError, listed
from .._keys import cell_name
from .._logging import logger
from ..pp.elements import AxisAffine, SampleElements, image_array, labels_array, labels_to_image
from ..pp.measure import LabelScan, rows_of, scan_labels

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
        Centroid (y, x) in image pixels, ``(n, 2)``.
    extents
        Side of the smallest square around the centroid that holds the cell, in image pixels, ``(n,)``.
    """

    rows: np.ndarray
    sample: np.ndarray
    labels: np.ndarray
    centers: np.ndarray
    extents: np.ndarray


def find_cells(
    sdata: SpatialData,
    pairs: Sequence[SampleElements],
    table: AnnData,
    table_name: str,
    on_missing: Literal["raise", "drop"],
) -> Cells:
    """Join the table to the label images.

    Raises
    ------
    TableError
        If rows have no label, labels no row, or cells lie outside of the image, and `on_missing` is ``"raise"``.
    """
    attrs = table.uns.get("spatialdata_attrs")
    if attrs is None:
        raise ElementError(f"Table {table_name!r} annotates no element. Make it with sfm.pp.cell_table(sdata).")
    regions = table.obs[attrs["region_key"]].astype(str).to_numpy()
    instances = table.obs[attrs["instance_key"]].to_numpy()
    parts, no_label, no_row, outside = [], [], [], []
    for number, pair in enumerate(pairs):
        rows = np.flatnonzero(regions == pair.labels)
        if not len(rows):
            annotated = listed(sorted(set(regions)), 5, quoted=False)
            raise ElementError(
                f"Table {table_name!r} annotates {annotated}, not labels {pair.labels!r} of sample "
                f"{pair.sample!r}. Make a table of all samples with sfm.pp.cell_table(sdata, overwrite=True), or "
                "mend samples=."
            )
        labels = labels_array(sdata, pair.labels)
        if not np.issubdtype(labels.dtype, np.integer):
            raise ElementError(
                f"Labels {pair.labels!r} hold {labels.dtype}, not integers. Convert them with .astype('uint32')."
            )
        scan = scan_labels(labels.data)
        ids = instances[rows].astype(np.int64)
        place = rows_of(scan.ids, ids)
        found = place >= 0
        no_label += [cell_name(pair.sample, label) for label in ids[~found]]
        no_row += [cell_name(pair.sample, label) for label in np.setdiff1d(scan.ids, ids)]
        rows, ids, place = rows[found], ids[found], place[found]
        centers, extents = _in_image_pixels(scan.take(place), labels_to_image(sdata, pair))
        height, width = image_array(sdata, pair.image).shape[-2:]
        inside = np.all((centers >= 0) & (centers < (height, width)), axis=1)
        outside += [cell_name(pair.sample, label) for label in ids[~inside]]
        parts.append((rows[inside], np.full(inside.sum(), number), ids[inside], centers[inside], extents[inside]))
    _report(table_name, no_label, no_row, outside, on_missing)
    cells = Cells(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    if not len(cells.rows):
        raise TableError(f"No row of table {table_name!r} has a label. Make it anew with sfm.pp.cell_table(sdata).")
    return cells


def _in_image_pixels(scan: LabelScan, to_image: AxisAffine) -> tuple[np.ndarray, np.ndarray]:
    y, x = to_image(*(scan.centroid + 0.5).T)  # the centre of pixel 0 is 0.5
    y0, y1, x0, x1 = scan.box.T
    (top, left), (bottom, right) = to_image(y0, x0), to_image(y1, x1)
    reach = np.max([y - top, bottom - y, x - left, right - x], axis=0)
    return np.stack([y, x], axis=1), 2 * np.ceil(reach) + 1  # one more: the window's start is rounded


def _report(table_name: str, no_label: list[str], no_row: list[str], outside: list[str], on_missing: str) -> None:
    findings = []
    if no_label:
        findings.append(
            f"{len(no_label)} row(s) of table {table_name!r} without label ({listed(no_label, 5, quoted=False)})"
        )
    if no_row:
        findings.append(f"{len(no_row)} label(s) without row ({listed(no_row, 5, quoted=False)})")
    if outside:
        findings.append(f"{len(outside)} cell(s) outside of their image ({listed(outside, 5, quoted=False)})")
    if not findings:
        return
    message = "; ".join(findings)
    if on_missing == "raise":
        raise TableError(
            f"Cells and labels do not match: {message}. Mend them, or pass on_missing='drop' to embed only cells "
            "that have "
            "both (rows without pixels then leave the table)."
        )
    logger.warning("left out: %s", message)
