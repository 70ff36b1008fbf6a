"""Cells of a table against the label image that they are said to be in: the same ids, in the same places."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .._errors import SpatialfmError, TableError, counted, listed
from ..pp.pieces import LabelScan, scan_labels
from ._cell_frame import missing_ids, problems_of

if TYPE_CHECKING:
    import dask.array as da

    from ._cell_frame import CellFrame
    from ._elements import ReadSample

_SLACK = 2.0  # pixels by which a position may be outside of the box around its cell
_SHARE = 0.05  # of the cells that may be, as concave ones are


def held_against(read: ReadSample, frame: CellFrame, labels: da.Array, file: str) -> ReadSample:
    """The sample, with a note of the cells of its mask `file` that have no row.

    Raises
    ------
    TableError
        If table and mask are not of the same cells.
    """
    wrong, rest = check_in_labels(frame, labels, read.record["mpp"])
    if wrong:
        raise TableError(wrong.removeprefix(f"sample {frame.sample!r}: "))  # who opens all samples names this one
    return replace(read, notes=[*read.notes, ("cells_without_row", file, rest)]) if rest else read


def check_in_labels(frame: CellFrame, labels: da.Array, mpp: float) -> tuple[str, str]:
    """What is wrong with a table and its mask, and what of the mask is not in the table; the mask is read once.

    Parameters
    ----------
    frame
        Cells of one sample, with positions in µm from the corner of the labels on.
    labels
        Label image ``(y, x)``.
    mpp
        µm per pixel of it.

    Returns
    -------
    Two sentences, empty where there is nothing to say: why they are not of the same cells, and which cells have no row.
    """
    if problems := problems_of(frame):
        return "; ".join(problems), ""
    try:
        scan = scan_labels(labels)
    except SpatialfmError:  # of the file
        raise
    except ValueError as error:
        return f"sample {frame.sample!r}: {error}, so that the labels are not a mask of cells", ""
    if text := missing_ids(frame, scan.ids):
        return f"{text}. Are they of another image?", ""
    if text := _elsewhere(frame, scan, mpp):
        return text, ""
    rest = np.setdiff1d(scan.ids, frame.ids)
    return "", f"{counted(rest.size, 'cell')}: {listed(rest, 5, quoted=False)}" if rest.size else ""


def _elsewhere(frame: CellFrame, scan: LabelScan, mpp: float) -> str:
    if not frame.ids.size:
        return ""
    rows = np.searchsorted(scan.ids, frame.ids)
    box = scan.box[rows].astype(float)
    far = ~_inside(frame.xy / mpp, box)
    if far.mean() <= _SHARE:
        return ""
    hint = "Are they of another image, or a mask that was numbered anew?"
    if _inside(frame.xy, box).mean() > 1 - _SHARE:
        hint = "They fit as pixels: the table has pixels where µm are said."
    elif _inside(frame.xy / mpp**2, box).mean() > 1 - _SHARE:
        hint = "They fit as µm: the table has µm where pixels are said."
    i = int(np.flatnonzero(far)[0])
    at, (y0, y1, x0, x1) = frame.xy[i], box[i] * mpp
    return (
        f"sample {frame.sample!r}: {counted(int(far.sum()), 'cell')} of {far.size:,} are not where the mask has them "
        f"(cell {frame.ids[i]}: x {at[0]:.1f} and y {at[1]:.1f} µm, but {x0:.1f} to {x1:.1f} and {y0:.1f} to {y1:.1f} "
        f"in the mask). {hint}"
    )


def _inside(xy: np.ndarray, box: np.ndarray) -> np.ndarray:
    x, y = xy.T
    y0, y1, x0, x1 = box.T
    return (x >= x0 - _SLACK) & (x <= x1 + _SLACK) & (y >= y0 - _SLACK) & (y <= y1 + _SLACK)
