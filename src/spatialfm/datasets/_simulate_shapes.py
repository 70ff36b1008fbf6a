"""From centres to pixels: outlines of cells, their nuclei, membranes and contacts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from skimage.measure import label as connected_components

from ._simulate_fields import smooth_noise
from ._simulate_panel import SPREAD_LIMIT
from ._simulate_tissue import Tissue

MIN_AREA = 6.0  # µm²: what the image's edge leaves of a cell, below which it is not counted as a cell
_RUFFLE = 0.7  # µm, how far outlines wander
_RUFFLE_SCALE = 2.0  # µm
_MEMBRANE = 0.7  # µm
CONTACT = 2.0  # µm within which another cell's light spills over
# nucleus relative to the cell, by type (order of TYPES): longer and shorter semi-axis
_NUCLEUS = np.array(
    [
        [0.66, 0.66],
        [0.80, 0.80],
        [0.80, 0.80],
        [0.80, 0.80],
        [0.80, 0.80],
        [0.52, 0.58],
        [0.52, 0.60],
        [0.70, 0.66],
        [0.50, 0.72],
        [0.58, 0.80],
    ]
)


@dataclass(frozen=True)
class Shapes:
    """Pixels of one sample.

    Attributes
    ----------
    labels
        ``(h, w)`` int32; cell ``i`` of the tissue has label ``i + 1``, 0 is background.
    nucleus, membrane
        ``(h, w)`` boolean; both are inside their cell.
    other, other_distance
        ``(h, w)`` label of the nearest other cell within `CONTACT` µm (0: none), and µm to it.
    """

    labels: np.ndarray
    nucleus: np.ndarray
    membrane: np.ndarray
    other: np.ndarray
    other_distance: np.ndarray


def draw_shapes(
    tissue: Tissue, size: int, mpp: float, margin: float, rng: np.random.Generator
) -> tuple[Tissue, Shapes]:
    """Draw the cells that an image of `size` pixels sees of a tissue that is `margin` µm wider on each side.

    Returns
    -------
    The cells that have at least `MIN_AREA` in the image, in the order of their labels, with coordinates of the image;
    and their pixels.
    """
    tissue = _shifted(tissue, -margin)
    owner, depth = _owners(tissue, size, mpp, rng)
    owner = _largest_parts(owner)
    area = np.bincount(owner.ravel(), minlength=len(tissue.xy) + 1)[1:] * mpp**2
    cells = np.flatnonzero(area >= MIN_AREA)
    new_label = np.zeros(len(tissue.xy) + 1, np.int32)
    new_label[cells + 1] = np.arange(1, len(cells) + 1)
    labels = new_label[owner]
    edge, other, other_distance = contacts(labels, CONTACT / mpp)
    membrane = (labels > 0) & (edge <= max(1.0, _MEMBRANE / mpp))
    nucleus = (labels > 0) & (depth < 1) & (edge > 1.5)
    return tissue.keep(cells), Shapes(labels, nucleus, membrane & ~nucleus, other, other_distance * mpp)


def centroids(labels: np.ndarray, n: int, mpp: float) -> np.ndarray:
    """Centroids (x, y) in µm ``(n, 2)`` of labels 1 to `n`."""
    y, x = np.nonzero(labels)
    owner = labels[y, x]
    count = np.bincount(owner, minlength=n + 1)[1:]
    return np.column_stack([(np.bincount(owner, axis + 0.5, n + 1)[1:] / count) * mpp for axis in (x, y)])


def contacts(labels: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Neighbours of each pixel of a cell.

    Parameters
    ----------
    labels
        ``(h, w)`` label image.
    reach
        Pixels to look around.

    Returns
    -------
    edge
        ``(h, w)`` pixels to the nearest pixel that is not of the same cell (infinite: none within reach).
    other, other_distance
        ``(h, w)`` label of the nearest other cell (0: none within reach), and pixels to it (infinite: none).
    """
    r = int(np.ceil(reach))
    dy, dx = np.mgrid[-r : r + 1, -r : r + 1].reshape(2, -1)
    distance = np.hypot(dy, dx)
    order = np.lexsort((dx, dy, distance))
    order = order[(distance[order] > 0) & (distance[order] <= max(reach, 1))]
    # beyond the image nothing is known: the outermost pixels repeat
    padded = np.pad(labels, r, mode="edge")
    h, w = labels.shape
    edge = np.full((h, w), np.inf, np.float32)
    other, other_distance = np.zeros_like(labels), np.full((h, w), np.inf, np.float32)
    inside = labels > 0
    for i in order:
        seen = padded[r + dy[i] : r + dy[i] + h, r + dx[i] : r + dx[i] + w]
        differs = inside & (seen != labels)
        np.copyto(edge, distance[i], where=differs & (edge == np.inf))
        first = differs & (seen > 0) & (other == 0)
        np.copyto(other, seen, where=first)
        np.copyto(other_distance, distance[i], where=first)
    return edge, other, other_distance


def _shifted(tissue: Tissue, offset: float) -> Tissue:
    moved = tissue.keep(np.ones(len(tissue.xy), bool))
    moved.xy[...] += offset
    return moved


def _owners(tissue: Tissue, size: int, mpp: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Owner of each pixel (0: none), and its depth in the owner's nucleus (below 1: inside).

    A pixel belongs to the cell within whose outline it is deepest: distances are measured in each cell's own
    ellipse, so that long cells reach far and big ones push small ones aside, and no cell grows beyond its size.
    """
    n = len(tissue.xy)
    at = (np.arange(size) + 0.5) * mpp
    pixels = np.stack(np.meshgrid(at, at), axis=-1)
    shape, sigma = (size, size), _RUFFLE_SCALE / mpp
    noise = np.stack([smooth_noise(shape, sigma, rng) for _ in range(2)], axis=-1)
    ruffled = pixels + _RUFFLE * np.clip(noise, -SPREAD_LIMIT, SPREAD_LIMIT)
    best, cell = np.full(shape, 1, np.float32), np.full(shape, -1, np.int64)
    # the box that an outline cannot leave, however it ruffles and lobes
    reach = tissue.axes.max(axis=1) * (1 + tissue.lobes) + _RUFFLE * SPREAD_LIMIT
    low = np.clip(np.floor((tissue.xy - reach[:, None]) / mpp), 0, size).astype(int)
    high = np.clip(np.ceil((tissue.xy + reach[:, None]) / mpp), 0, size).astype(int)
    for i in range(n):
        box = slice(low[i, 1], high[i, 1]), slice(low[i, 0], high[i, 0])
        u, v = _own_axes(ruffled[box] - tissue.xy[i], tissue, i)
        distance = np.hypot(u, v) + 1e-6
        cos, sin = u / distance, v / distance
        # cos(3 turn + phase), spelled out: trigonometry of every pixel is slow
        lobes = np.cos(tissue.phase[i]) * (4 * cos**2 - 3) * cos - np.sin(tissue.phase[i]) * (3 - 4 * sin**2) * sin
        distance /= 1 + tissue.lobes[i] * lobes
        closer = distance < best[box]
        best[box][closer], cell[box][closer] = distance[closer], i

    # nuclei sit a little off the centre and are smoother than their cell
    shift = rng.uniform(-0.12, 0.12, (n, 2)) * tissue.axes
    offset = 0.4 * ruffled + 0.6 * pixels - (tissue.xy + shift)[cell]
    u, v = _own_axes(offset, tissue, cell)
    nucleus = _NUCLEUS[tissue.type[cell]]
    return (cell + 1).astype(np.int32), np.hypot(u / nucleus[..., 0], v / nucleus[..., 1])


def _own_axes(offset: np.ndarray, tissue: Tissue, cell: np.ndarray | int) -> tuple[np.ndarray, np.ndarray]:
    """Offsets ``(..., 2)`` from a cell, or from one each, in units of the cell's semi-axes."""
    cos, sin = np.cos(tissue.angle)[cell], np.sin(tissue.angle)[cell]
    axes = tissue.axes[cell]
    x, y = offset[..., 0], offset[..., 1]
    return (x * cos + y * sin) / axes[..., 0], (y * cos - x * sin) / axes[..., 1]


def _largest_parts(owner: np.ndarray) -> np.ndarray:
    """Keep the largest connected part of each cell."""
    parts = connected_components(owner, connectivity=1, background=0)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    index = np.arange(1, len(sizes))
    of_cell = np.zeros(len(sizes), np.int64)
    of_cell[parts.ravel()] = owner.ravel()
    largest = np.zeros(len(sizes), bool)
    order = index[np.lexsort((index, -sizes[index], of_cell[index]))]
    largest[order[np.r_[True, np.diff(of_cell[order]) > 0]]] = True
    return np.where(largest[parts], owner, 0)
