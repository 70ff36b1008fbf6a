"""What is odd about a label image, from its pieces: rules on arrays, and the sentences of the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .._errors import listed
from .joins import counted
from .pieces import Pieces

CELL_SIZED = 0.25  # of the median cell: a piece of at least this size is a separate cell, a smaller one a fragment
MANY_REPEATED = 0.001  # share of numbers used for several cells that is more than a few bad ones
MANY_CUT = 0.05  # share of numbers whose pieces of cell size are side by side
MANY_FRAGMENTED = 0.5  # share of numbers in pieces that no segmentation has
MARK = 5  # times the median cell, from which on the largest number of a data type marks something else
GIANT = 20  # times the median cell
GIANT_UM2 = 10_000.0  # a disc of 113 µm
LARGE_SHARE = 0.1  # of the image
CRUMB = 2  # pixels
MANY_CRUMBS = 0.05
FEW = 5  # with fewer cells the median is not a reliable size of a cell
_SMALL_IMAGE = 2**16  # pixels: in a smaller crop one cell may well fill a tenth


@dataclass(frozen=True)
class Finding:
    """One kind of oddity in one label image.

    Attributes
    ----------
    kind
        Its name, as `check_labels` lists it.
    severity
        ``"error"`` (the cells would be wrong), ``"warning"`` (some may be), ``"note"``.
    n, of
        How many numbers (or pixels) it concerns, of how many.
    numbers
        The numbers concerned.
    text
        What it is, as the end of a sentence that starts with the labels' name.
    """

    kind: str
    severity: str
    n: int
    of: int
    numbers: np.ndarray
    text: str


NO_NUMBERS = np.empty(0, dtype=np.int64)


def find_oddities(
    pieces: Pieces, shape: tuple[int, int], dtype: np.dtype, pixel_area: float | None = None
) -> list[Finding]:
    """All findings in a label image, the worst first.

    Parameters
    ----------
    pieces
        Pieces of the image.
    shape, dtype
        Of the image.
    pixel_area
        µm² of a pixel; None if unknown.
    """
    dtype = np.dtype(dtype)
    findings = [
        *_of_kind(pieces, dtype, pixel_area),
        *_of_pieces(pieces, dtype),
        *_of_size(pieces, shape, pixel_area, dtype),
    ]
    if any(finding.kind == "repeated" for finding in findings):  # whose message covers it, with what to do
        findings = [finding for finding in findings if finding.kind != "binary" or dtype.kind not in "iu"]
    elif dtype.kind in "iu" and pieces.first.size == np.iinfo(dtype).max == pieces.ids[-1]:
        text = f"uses every number that {dtype.name} holds ({pieces.first.size:,}): further cells would be lost in it"
        findings.append(Finding("overflow", "warning", 0, pieces.first.size, NO_NUMBERS, text))
    return worst_first(findings)


def worst_first(findings: Sequence[Finding]) -> list[Finding]:
    """Errors before warnings before notes."""
    return sorted(findings, key=lambda finding: ("error", "warning", "note").index(finding.severity))


def _of_kind(pieces: Pieces, dtype: np.dtype, pixel_area: float | None) -> list[Finding]:
    """Pixels that are not label ids."""
    findings = []
    if dtype.kind == "b":
        text = "is a yes/no mask, which does not tell cells apart"
        findings.append(
            Finding("binary", "error", pieces.first.size, pieces.first.size, pieces.ids[pieces.first], text)
        )
    if dtype.kind == "f":
        n = pieces.n_fractional
        if n:
            text = f"has {counted(n, 'pixel')} that {'is not a whole number' if n == 1 else 'are not whole numbers'}"
            findings.append(Finding("fractional", "error", n, pieces.n_pixels, NO_NUMBERS, text))
        exact_below = 2 ** (np.finfo(dtype).nmant + 1)
        rounded = np.unique(pieces.ids[np.abs(pieces.ids) >= exact_below])
        if rounded.size:
            text = f"has numbers of {exact_below:,} and more, which {dtype.name} cannot tell apart ({shown(rounded)})"
            findings.append(Finding("rounded", "error", rounded.size, pieces.first.size, rounded, text))
        if not findings:
            text = f"is stored as {dtype.name}, but labels are integers"
            findings.append(Finding("float", "error", pieces.first.size, pieces.first.size, NO_NUMBERS, text))
    negative = np.unique(pieces.ids[pieces.ids < 0])
    if negative.size:
        text = f"has negative numbers ({shown(negative)}); labels run from 0 (background) upwards"
        if negative.size > 1 and dtype.kind == "i" and negative[0] == np.iinfo(dtype).min:
            text += f", and there may have been more cells than {dtype.name} has numbers"
        findings.append(Finding("negative", "error", negative.size, pieces.first.size, negative, text))
    if pieces.first.size == 1 and dtype.kind in "iu" and int(pieces.ids[0]) == np.iinfo(dtype).max:
        text = f"holds only 0 and {pieces.ids[0]}, as a mask of where cells are, not of which pixel is whose"
        severity = "warning" if _is_one_cell(pieces, pixel_area) else "error"
        findings.append(Finding("binary", severity, 1, 1, pieces.ids[pieces.first], text))
    if not pieces.ids.size and not findings:
        findings.append(Finding("empty", "warning", 0, 0, NO_NUMBERS, "contains no cell, only 0"))
    return findings


def _is_one_cell(pieces: Pieces, pixel_area: float | None) -> bool:
    """Whether the only number may be that of a single cell: in one piece but for crumbs, and not as large as tissue."""
    area = np.asarray(pieces.area)
    if (area > CRUMB).sum() > 1:
        return False
    if pixel_area is not None:
        return bool(area.max() * pixel_area <= GIANT_UM2)
    return bool(area.max() <= LARGE_SHARE * pieces.n_pixels or pieces.n_pixels < _SMALL_IMAGE)


def _is_mark(pieces: Pieces, dtype: np.dtype) -> bool:
    """Whether the largest number of the data type is far above all others, in a place where no single cell can be."""
    ids = pieces.ids[pieces.first]
    if dtype.kind not in "iu" or ids.size < 2 or ids[-1] != np.iinfo(dtype).max or 2 * ids[-2] >= ids[-1]:
        return False
    area = pieces.area[pieces.first[-1] :]
    return area.size > 2 or bool(area.sum() > MARK * np.median(pieces.area[pieces.first[:-1]]))


def _of_pieces(pieces: Pieces, dtype: np.dtype) -> list[Finding]:
    """Numbers that have several pieces."""
    first = pieces.first
    n = first.size
    count = np.diff(np.r_[first, pieces.ids.size])
    if not (count > 1).any():
        return []
    typical = _cell_area(pieces)
    number = np.repeat(np.arange(n), count)
    is_first = np.zeros(pieces.ids.size, bool)
    is_first[first] = True
    cell_sized = (pieces.area >= CELL_SIZED * typical) & ~is_first
    far = cell_sized & (_gap(pieces.box, pieces.box[first][number]) > max(2 * np.sqrt(typical / np.pi), 3))
    repeated, cut = np.zeros(n, bool), np.zeros(n, bool)
    repeated[number[far]] = True
    cut[number[cell_sized]] = True
    cut &= ~repeated
    if _is_mark(pieces, dtype):
        repeated[-1] = cut[-1] = False
        cell_sized[first[-1] :] = False
        count[-1] = 1
    fragmented = (count > 1) & ~repeated & ~cut
    ids = pieces.ids[first]
    full = dtype.kind in "iu" and int(ids[-1]) == np.iinfo(dtype).max and not _is_mark(pieces, dtype)
    n_cells = n + int(cell_sized.sum())
    findings = []
    if repeated.any() or cut.any():
        odd = repeated | cut
        several = counted(int(odd.sum()), "number")
        if full or repeated.mean() > MANY_REPEATED or odd.mean() > MANY_CUT:
            text = (
                f"uses {several} of {n:,} for several cells: {counted(n_cells, 'piece')} of the size of a cell "
                f"({_with_pieces(ids[odd], count[odd])})"
            )
            if full and n > 1:
                text += f". {ids[-1]} is the largest number that {dtype.name} holds: there were more cells than numbers"
            elif n == 1:
                text += f". A mask of 0 and {ids[0]} marks where cells are, not which pixel belongs to which cell"
            findings.append(Finding("repeated", "error", int(odd.sum()), n, ids[odd], text))
            if full and n > 1 and odd.sum() > 1:  # began again, instead of staying at the last number
                text = f"began again after {ids[-1]}: cells that had the number {ids[-1] + 1} are background in it now"
                findings.append(Finding("overflow", "warning", 0, n, NO_NUMBERS, text))
        else:
            text = f"has {several} of {n:,} in pieces of the size of a cell ({_with_pieces(ids[odd], count[odd])})"
            findings.append(Finding("cut", "warning", int(odd.sum()), n, ids[odd], text))
    if fragmented.any():
        many = n >= 2 * FEW and fragmented.mean() > MANY_FRAGMENTED
        text = (
            f"has {counted(int(fragmented.sum()), 'number')} of {n:,} with small fragments apart from the cell "
            f"({_with_pieces(ids[fragmented], count[fragmented])})"
        )
        if many:
            text += ". No segmentation looks like this: was it resized with interpolation, or compressed with loss?"
        severity = "error" if many else "warning"
        findings.append(Finding("fragments", severity, int(fragmented.sum()), n, ids[fragmented], text))
    return findings


def _cell_area(pieces: Pieces) -> float:
    """Median cell: of the largest pieces of all numbers, or of all pieces where there are next to no numbers."""
    if pieces.first.size >= FEW:
        return float(np.median(pieces.area[pieces.first]))
    whole = pieces.area > CRUMB
    return float(np.median(pieces.area[whole] if whole.any() else pieces.area))


def _of_size(pieces: Pieces, shape: tuple[int, int], pixel_area: float | None, dtype: np.dtype) -> list[Finding]:
    """Cells too large or too small to be one."""
    first = pieces.first
    n = first.size
    if not n:
        return []
    ids, area = pieces.ids[first], np.add.reduceat(pieces.area, first)
    largest = pieces.area[first]  # many cells of one number are not a giant
    share = largest / pieces.n_pixels
    box = np.stack([np.minimum.reduceat(pieces.box, first), np.maximum.reduceat(pieces.box, first)])
    low, high = box[0][:, [0, 2]], box[1][:, [1, 3]]
    on_all_borders = ((low == 0) & (high == shape)).all(axis=1)
    large = share > LARGE_SHARE
    if n >= FEW:
        giant = largest > GIANT * np.median(area)
    else:
        giant = large & (pieces.n_pixels >= _SMALL_IMAGE)
    # what reaches all four borders around others is not a cell, however small the crop
    background = large & (on_all_borders & (n >= 2) | giant & (n >= FEW))
    background &= ids >= 0  # negative numbers are refused as such
    if pixel_area is not None:
        giant |= largest * pixel_area > GIANT_UM2
    findings = []
    if _is_mark(pieces, dtype) and not background[-1]:
        giant[-1] = False
        n_pieces = pieces.ids.size - first[-1]
        text = (
            f"has the number {ids[-1]}, the largest that {dtype.name} holds, in {counted(n_pieces, 'piece')} of "
            f"{area[-1]:,} pixels, where all others are up to {ids[-2]:,}. It is the background, or means that no cell "
            "is there"
        )
        findings.append(Finding("background", "error", 1, n, ids[-1:], text))
    giant &= ~background
    for odd, kind, severity in ((background, "background", "error"), (giant, "giant", "warning")):
        if odd.any():
            sizes = [_size(*row, pixel_area) for row in zip(ids[odd], largest[odd], share[odd], strict=True)]
            text = f"has {counted(int(odd.sum()), 'cell')} too large for one: {listed(sizes, 5, quoted=False)}"
            if n >= FEW:
                text += f"; the median cell has {np.median(area):,.0f} pixels"
            if kind == "background":
                text += f". It is the background, or tissue{'' if pieces.n_background else ' (no pixel is 0)'}"
            findings.append(Finding(kind, severity, int(odd.sum()), n, ids[odd], text))
    crumb = area <= CRUMB
    if crumb.any():
        severity = "warning" if n >= 2 * FEW and crumb.mean() > MANY_CRUMBS else "note"
        text = f"has {counted(int(crumb.sum()), 'cell')} of {n:,} of {CRUMB} pixels or less ({shown(ids[crumb])})"
        findings.append(Finding("crumbs", severity, int(crumb.sum()), n, ids[crumb], text))
    return findings


def median_area(pieces: Pieces) -> float:
    """Median pixels of a cell; NaN where there is none."""
    first = pieces.first
    return float(np.median(np.add.reduceat(pieces.area, first))) if first.size else float("nan")


def shown(numbers: Sequence | np.ndarray) -> str:
    """The first few numbers, for a message."""
    return listed(np.asarray(numbers).tolist(), 5, quoted=False)


def _gap(box: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Pixels between two boxes along the axis that keeps them further apart; 0 where they overlap."""
    below = np.maximum(box[:, [0, 2]], other[:, [0, 2]]) - np.minimum(box[:, [1, 3]], other[:, [1, 3]])
    return np.maximum(below, 0).max(axis=1)


def _with_pieces(ids: np.ndarray, count: np.ndarray) -> str:
    return listed([f"{number}: {n} pieces" for number, n in zip(ids, count, strict=True)], 5, quoted=False)


def _size(number: int, area: int, share: float, pixel_area: float | None) -> str:
    um2 = "" if pixel_area is None else f" = {area * pixel_area:,.0f} µm²"
    return f"{number} ({area:,} pixels{um2}, {share:.1%} of the image)"
