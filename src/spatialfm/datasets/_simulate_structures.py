"""What glows in a section without any stain: collagen fibres and red blood cells; and fields of view, stitched."""

from __future__ import annotations

import numpy as np

from ._simulate_fields import NicheFields, smooth_noise
from ._simulate_panel import MARKERS

_FIBRE_SCALE = 5.0  # µm over which fibres turn
_FIBRE_WIDTH = 0.12  # of the standard deviation of the field whose level lines they are
_RED_CELL = 3.4  # µm, radius
_PER_UM2 = 0.012  # red cells per µm² of a vessel's lumen
_FIELD_OF_VIEW = 60.0  # µm; small, so that small images have seams, too
# tissue glows most in blue and least in the infrared; channels take turns
_SPECTRUM = (1.5, 1.2, 0.8, 0.5)


def spectrum(n_markers: int) -> np.ndarray:
    """Share ``(M,)`` of the light of unstained structures that each channel sees; about 1 on average."""
    return np.resize(_SPECTRUM, len(MARKERS))[:n_markers]


def structures(
    layout: NicheFields,
    size: int,
    mpp: float,
    margin: float,
    collagen: float,
    red_cells: float,
    rng: np.random.Generator,
) -> np.ndarray | None:
    """Light ``(size, size)`` of fibres and red blood cells, in units of a marker's background; None: there is none."""
    fibre_rng, red_rng = rng.spawn(2)
    light = np.zeros((size, size), np.float32)
    if collagen:
        light += collagen * layout.glow(size, mpp, margin) * fibres(size, mpp, fibre_rng)
    if red_cells:
        light += red_cells * red_blood_cells(layout, size, mpp, margin, red_rng)
    return light if collagen or red_cells else None


def fibres(size: int, mpp: float, rng: np.random.Generator) -> np.ndarray:
    """Wavy fibres ``(size, size)``, 0 to 1: level lines of a smooth random field, in bundles."""
    noise = smooth_noise((size, size), _FIBRE_SCALE / mpp, rng)
    levels = [np.exp(-(((noise - level) / _FIBRE_WIDTH) ** 2)) for level in (-0.8, -0.4, 0.0, 0.4, 0.8)]
    return np.max(levels, axis=0).astype(np.float32)


def red_blood_cells(layout: NicheFields, size: int, mpp: float, margin: float, rng: np.random.Generator) -> np.ndarray:
    """Red blood cells ``(size, size)`` in the lumina of vessels, 0 to 1, paler in their middle."""
    x, y, radius = layout.lumen.T
    # discs of one vessel are a µm apart, so that each stands for a strip of the lumen
    n = rng.poisson(_PER_UM2 * 2 * radius * np.minimum(2 * radius, 1.5))
    cx = np.repeat(x, n) + rng.uniform(-1, 1, n.sum()) * np.repeat(radius, n) * 0.7 - margin
    cy = np.repeat(y, n) + rng.uniform(-1, 1, n.sum()) * np.repeat(radius, n) * 0.7 - margin
    at = (np.arange(size) + 0.5) * mpp
    out = np.zeros((size, size), np.float32)
    for one_x, one_y in zip(cx, cy, strict=True):
        columns, rows = (np.flatnonzero(np.abs(at - centre) < _RED_CELL) for centre in (one_x, one_y))
        if len(columns) and len(rows):
            box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
            distance = np.hypot(at[box[1]][None, :] - one_x, at[box[0]][:, None] - one_y) / _RED_CELL
            disc = np.where(distance < 1, 0.6 + 0.4 * distance, 0)
            out[box] = np.maximum(out[box], disc)
    return out


def stitched(size: int, mpp: float, stitching: float, rng: np.random.Generator) -> np.ndarray:
    """Light ``(size, size)`` of fields of view that differ: its log has the standard deviation `stitching`.

    The grid begins anywhere, as a sample lies anywhere on the grid of its slide.
    """
    start = rng.uniform(0, _FIELD_OF_VIEW, 2)
    at = (np.arange(size) + 0.5) * mpp
    row, column = (((at + offset) // _FIELD_OF_VIEW).astype(int) for offset in start)
    gain = np.exp(stitching * rng.standard_normal((row.max() + 1, column.max() + 1)))
    return gain[np.ix_(row, column)].astype(np.float32)
