"""Maps of classes: squares painted onto a raster, their outlines smoothed, and the element that holds them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .._errors import ElementError
from .._keys import ATTRS, MAPS
from .._storable import default_key

if TYPE_CHECKING:
    from spatialdata import SpatialData


STRIP = 4096  # rows of a map that are painted at a time


def natural_step(side: float, spacing: float) -> float:
    """Size of a pixel that shows squares as they are, and the border between two that overlap.

    Borders are half way between two centres: on a multiple of `spacing` where a square spans an odd number of them,
    half way between two multiples otherwise.

    Examples
    --------
    >>> natural_step(32, 32), natural_step(48, 16), natural_step(32, 16)
    (32, 16, 8.0)
    """
    ratio = side / spacing
    odd = round(ratio) % 2 == 1 and abs(ratio - round(ratio)) < 1e-6
    return spacing if odd else spacing / 2


def owners(corners: np.ndarray, side: float, step: float, shape: tuple[int, int]) -> np.ndarray:
    """Number of the square (from 1 on) whose centre is nearest, of those that hold the middle of a pixel; 0: none.

    Parameters
    ----------
    corners, side
        First row and column of each square ``(n, 2)``, and their side, in pixels of an image.
    step
        Side of a pixel of the result, in pixels of the image.
    shape
        Height and width of the image.

    Examples
    --------
    >>> owners(np.array([[0, 0], [0, 4]]), 8, 4, (4, 16)).tolist()
    [[1, 1, 2, 0]]
    """
    height, width = (max(1, math.ceil(length / step - 1e-6)) for length in shape)
    out = np.zeros((height, width), np.int32)
    # pixels whose middle is in the square: from the first on, at most `reach` of them
    first = np.ceil(corners / step - 0.5 - 1e-6).astype(np.int64)
    last = np.ceil((corners + side) / step - 0.5 - 1e-6).astype(np.int64)
    centers = (corners + side / 2) / step - 0.5
    reach = int((last - first).max(initial=0))
    for top in range(0, height, STRIP):
        bottom = min(top + STRIP, height)
        near = np.flatnonzero((first[:, 0] < bottom) & (last[:, 0] > top))
        best = np.full((bottom - top) * width, np.inf)
        owner = np.zeros((bottom - top) * width, np.int32)
        for down in range(reach):
            for right in range(reach):
                y, x = first[near, 0] + down, first[near, 1] + right
                valid = (y >= top) & (y < bottom) & (y < last[near, 0])
                valid &= (x >= 0) & (x < width) & (x < last[near, 1])
                square, y, x = near[valid], y[valid], x[valid]
                place = (y - top) * width + x
                distance = (y - centers[square, 0]) ** 2 + (x - centers[square, 1]) ** 2
                np.minimum.at(best, place, distance)
                won = np.flatnonzero(distance <= best[place])[::-1]  # of equals the first is written last
                owner[place[won]] = square[won] + 1
        out[top:bottom] = owner.reshape(bottom - top, width)
    return out


def smooth_classes(
    classes: np.ndarray, n_classes: int, opening: float, closing: float, spacing: tuple[float, float]
) -> np.ndarray:
    """Open and close every class of a map; none gains or loses a pixel of the map as a whole.

    Each class is opened (what is narrower than twice the radius goes) and closed (holes and gaps narrower than that
    are filled) as a separate mask. A pixel that one class claims is its; one that several claim, or none, goes to the
    commonest class around it.

    Parameters
    ----------
    classes
        ``(h, w)``: 0 where there is nothing, ``i + 1`` class ``i``.
    opening, closing
        Radii, in the units of `spacing`; 0: not done.
    spacing
        Height and width of a pixel.
    """
    from scipy.ndimage import gaussian_filter

    if not (opening > 0 or closing > 0) or not classes.any():
        return classes
    # beyond the map it goes on as at its edge: outlines that end there are not corners
    pad = [math.ceil(2 * max(opening, closing) / step) for step in spacing]
    padded = np.pad(classes, [(pad[0],) * 2, (pad[1],) * 2], mode="edge")
    sigma = [max(max(opening, closing) / step, 0.5) for step in spacing]
    # one class at a time: all of a large map at once would not fit into memory
    best, smooth = np.full(padded.shape, -1.0, np.float32), np.zeros(padded.shape, classes.dtype)
    for number in range(1, n_classes + 1):
        mask = padded == number
        if not mask.any():
            continue
        score = gaussian_filter(mask.astype(np.float32), sigma)
        mask = _dilated(_eroded(mask, opening, spacing), opening, spacing)
        score[_eroded(_dilated(mask, closing, spacing), closing, spacing)] += 2  # a claim goes before any share
        won = score > best
        best[won], smooth[won] = score[won], number
    smooth[padded == 0] = 0
    return smooth[pad[0] : pad[0] + classes.shape[0], pad[1] : pad[1] + classes.shape[1]]


def _eroded(mask: np.ndarray, radius: float, spacing: tuple[float, float]) -> np.ndarray:
    from scipy.ndimage import distance_transform_edt

    if radius <= 0 or mask.all() or not mask.any():
        return mask
    return distance_transform_edt(mask, sampling=spacing) > radius * (1 + 1e-9)


def _dilated(mask: np.ndarray, radius: float, spacing: tuple[float, float]) -> np.ndarray:
    return ~_eroded(~mask, radius, spacing)


def check_names(sdata: SpatialData, elements: Sequence[str], argument: str, ours: Sequence[str] = ()) -> None:
    """Refuse names that other elements have: names are unique in a SpatialData, and masks are not painted over.

    Parameters
    ----------
    ours
        Labels elements that may be written again, besides those that `record_map` has.
    """
    for name in elements:
        if name != default_key(name):
            raise ElementError(
                f"The labels element {name!r} cannot be written: names hold letters, digits, '_', '-' and '.'. Pass "
                f"another {argument}=."
            )
    ours = {*ours, *sdata.attrs.get(ATTRS, {}).get(MAPS, {})}
    for kind in ("images", "labels", "shapes", "points", "tables"):
        taken = [name for name in elements if name in getattr(sdata, kind) and (kind != "labels" or name not in ours)]
        if taken:
            raise ElementError(
                f"The labels element {taken[0]!r} cannot be written: sdata.{kind} holds one of that name. Pass another "
                f"{argument}=."
            )


def record_map(
    sdata: SpatialData, element: str, *, table: str, key: str, names: Sequence[str], colors: Sequence[str] | None = None
) -> None:
    """Say in ``sdata.attrs`` what the pixel values of a map mean; attrs of the element itself would not be stored."""
    maps = sdata.attrs.setdefault(ATTRS, {}).setdefault(MAPS, {})
    maps[element] = {"table": table, "key": key, "categories": [str(name) for name in names]}
    if colors is not None and len(colors) == len(names):
        maps[element]["colors"] = [str(color) for color in colors]
