"""Labels of overlapping tiles as one label image: an object seen by several tiles is matched, and comes from one.

No object ends at the border of a tile. Each tile is segmented with a margin around its core, so that neighbours see
the same strip twice. Objects of two tiles are the same one if they cover the same pixels of that strip (intersection
over union above 0.5, which no second object can have). Of the same object, the tile that sees it whole and furthest
from its own border draws it; an object larger than the margin, which no tile sees whole, is drawn by all of them. An
object without a match belongs to the tile whose core its centre is in, and counts for nothing elsewhere.

Tiles are read from where they are kept, a few at a time: memory grows with the number of objects, not of pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .._squares import squares_of

Box = tuple[int, int, int, int]
SAME = 0.5  # intersection over union in what both tiles see, above which two objects are one
ROUNDING = 1e-9
_FREE = 0.5  # share of its pixels that no other object has, above which an object is drawn
_KEPT_TILES = 6  # in memory while neighbours are matched


@dataclass(frozen=True)
class StitchGrid:
    """Tiles of an image: cores that cover it once, and what each sees around its core.

    Attributes
    ----------
    shape
        Of the image.
    side
        Of a core, in pixels.
    margin
        Pixels around a core, at least; two margins and a period are at most `side`, so that only neighbours overlap.
    period
        Pixels from one start of a tile to the next that a network sees alike. One that pools by powers of two gives a
        pixel other numbers if its tile starts elsewhere between two steps of the pooling: starts are whole numbers of
        periods, rounded down to a pixel.
    """

    shape: tuple[int, int]
    side: int
    margin: int
    period: float = 1.0

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        return -(-self.shape[0] // self.side), -(-self.shape[1] // self.side)

    def cores(self) -> list[Box]:
        """Cores row by row."""
        return list(squares_of(self.shape, self.side))

    def outer(self, core: Box) -> Box:
        """A core with its margin, inside of the image."""
        y0, y1, x0, x1 = core
        height, width = self.shape
        return (self._start(y0), min(y1 + self.margin, height), self._start(x0), min(x1 + self.margin, width))

    def _start(self, core: int) -> int:
        at = max(core - self.margin, 0)
        # a product that should be whole may lie a rounding below it
        return int(np.floor(np.floor(at / self.period + ROUNDING) * self.period + ROUNDING))

    def neighbours(self) -> Iterator[tuple[int, int]]:
        """Pairs of tiles that overlap, each once."""
        rows, columns = self.size
        for row in range(rows):
            for column in range(columns):
                for down, right in ((0, 1), (1, -1), (1, 0), (1, 1)):
                    if row + down < rows and 0 <= column + right < columns:
                        yield row * columns + column, (row + down) * columns + column + right


@dataclass(frozen=True)
class Objects:
    """Objects 1 to n of one tile, in pixels of the image.

    Attributes
    ----------
    box
        ``(n, 4)`` bounding boxes.
    centre
        ``(n, 2)`` mean of the pixels.
    area
        ``(n,)`` pixels.
    """

    box: np.ndarray
    centre: np.ndarray
    area: np.ndarray


def numbered(labels: np.ndarray) -> np.ndarray:
    """Labels as 1 to n without gaps, uint32, in the order of their numbers."""
    values, index = np.unique(labels, return_inverse=True)
    first = int(values.size > 0 and values[0] == 0)
    return (index.reshape(labels.shape) + 1 - first).astype(np.uint32)


def objects_of(labels: np.ndarray, origin: tuple[int, int]) -> Objects:
    """Objects of a tile whose upper left pixel is `origin`; labels are 1 to n without gaps."""
    from .shape_kernels import measure_parts

    n = int(labels.max(initial=0))
    if not n:
        return Objects(np.empty((0, 4), np.int64), np.empty((0, 2)), np.empty(0, np.int64))
    _, area, total, box = measure_parts(labels.astype(np.int64), n)
    return Objects(box + np.repeat(np.asarray(origin), 2), total / area[:, None] + origin, area)


def stitch(grid: StitchGrid, read: Callable[[int], np.ndarray], out, min_area: float = 0) -> int:
    """Draw the objects of all tiles into one label image.

    Parameters
    ----------
    grid
        Tiles.
    read
        Labels of a tile, 1 to n without gaps, of the size of its outer box.
    out
        ``(y, x)`` zeros that can be sliced and assigned to: an array in memory or a store.
    min_area
        Objects with fewer pixels are left out.

    Returns
    -------
    Number of objects, which are numbered 1 to that.
    """
    cached_tile = lru_cache(_KEPT_TILES)(read)
    cores = grid.cores()
    tiles = []
    for index, core in enumerate(cores):
        outer = grid.outer(core)
        tiles.append(objects_of(cached_tile(index), (outer[0], outer[2])))
    start = np.cumsum([0, *(len(tile.area) for tile in tiles)])
    links = [
        same_objects(cached_tile(one), cached_tile(other), grid.outer(cores[one]), grid.outer(cores[other]))
        + start[[one, other]]
        for one, other in grid.neighbours()
    ]
    draws, group = _drawn(grid, cores, tiles, start, links)
    number = np.zeros(start[-1], np.int64)  # by group, given when it is drawn first
    last = 0
    for index, core in enumerate(cores):
        here = slice(start[index], start[index + 1])
        chosen = draws[here] & ((tiles[index].area >= min_area) | (number[group[here]] > 0))
        if chosen.any():
            last = _draw(cached_tile(index), tiles[index], grid.outer(core), chosen, group[here], number, last, out)
    return last


def same_objects(one: np.ndarray, other: np.ndarray, box: Box, other_box: Box) -> np.ndarray:
    """Pairs ``(n, 2)`` of objects (from 0) of two tiles that are one object, in the pixels that both tiles have."""
    y0, y1 = max(box[0], other_box[0]), min(box[1], other_box[1])
    x0, x1 = max(box[2], other_box[2]), min(box[3], other_box[3])
    if y0 >= y1 or x0 >= x1:
        return np.empty((0, 2), np.int64)
    a = one[y0 - box[0] : y1 - box[0], x0 - box[2] : x1 - box[2]].ravel().astype(np.int64)
    b = other[y0 - other_box[0] : y1 - other_box[0], x0 - other_box[2] : x1 - other_box[2]].ravel().astype(np.int64)
    first, second, shared = overlaps(a, b)
    union = np.bincount(a)[first] + np.bincount(b)[second] - shared
    same = shared > SAME * union
    return np.stack([first[same], second[same]], axis=1) - 1


def overlaps(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels of two images that share pixels, and how many: three arrays of one length; 0 is left out."""
    both = np.flatnonzero((one.ravel() > 0) & (other.ravel() > 0))
    a, b = (values.ravel()[both].astype(np.int64) for values in (one, other))
    width = int(b.max(initial=0)) + 1
    pairs, shared = np.unique(a * width + b, return_counts=True)
    return pairs // width, pairs % width, shared


def _drawn(
    grid: StitchGrid, cores: list[Box], tiles: list[Objects], start: np.ndarray, links: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Which objects of all tiles are drawn ``(n,)``, and the group ``(n,)`` of each: what is one object."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = int(start[-1])
    tile = np.repeat(np.arange(len(tiles)), np.diff(start))
    pairs = np.concatenate([np.empty((0, 2), np.int64), *links])
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    group = connected_components(graph, directed=False)[1] if n else np.empty(0, np.int64)
    _, place, times = np.unique(group * len(tiles) + tile, return_inverse=True, return_counts=True)
    torn = np.isin(group, group[times[place] > 1])  # two objects of one tile cannot be one: each counts for itself
    group = np.unique(np.where(torn, n + np.arange(n), group), return_inverse=True)[1]
    depth = np.concatenate([np.empty(0), *(_depth(grid, *one) for one in zip(cores, tiles, strict=True))])
    owned = np.concatenate([np.empty(0, bool), *(_inside(*one) for one in zip(cores, tiles, strict=True))])
    size = np.bincount(group, minlength=n)
    order = np.lexsort([tile, -depth, group])
    best = np.zeros(n, bool)
    best[order[np.flatnonzero(np.r_[True, np.diff(group[order]) > 0][:n])]] = True
    whole = np.zeros(n, bool)
    np.logical_or.at(whole, group, depth > 0)
    return (size[group] == 1) & owned | (size[group] > 1) & (best | ~whole[group]), group


def _depth(grid: StitchGrid, core: Box, tile: Objects) -> np.ndarray:
    """Pixels between each object and the nearest border of its tile within the image; 0: it may be cut there."""
    outer = grid.outer(core)
    depth = np.full(len(tile.area), float(max(grid.shape)) + 1)
    ends = (0, grid.shape[0], 0, grid.shape[1])
    for side, (at, end) in enumerate(zip(outer, ends, strict=True)):
        if at != end:
            depth = np.minimum(depth, np.abs(tile.box[:, side] - at))
    return depth


def _inside(core: Box, tile: Objects) -> np.ndarray:
    y, x = (tile.centre + 0.5).T  # the centre of a pixel is half a pixel from its corner
    return (y >= core[0]) & (y < core[1]) & (x >= core[2]) & (x < core[3])


def _draw(
    labels: np.ndarray,
    tile: Objects,
    box: Box,
    chosen: np.ndarray,
    group: np.ndarray,
    number: np.ndarray,
    last: int,
    out,
) -> int:
    """Draw the chosen objects of a tile where nothing is yet; the last number that was given."""
    place = (slice(box[0], box[1]), slice(box[2], box[3]))
    there = np.asarray(out[place])
    new = np.r_[False, chosen][labels]
    free = new & (there == 0)
    n = len(chosen) + 1
    before, after = (np.bincount(labels[mask], minlength=n)[1:] for mask in (new, free))
    drawn = chosen & ((after > _FREE * before) | (number[group] > 0))
    fresh = np.flatnonzero(drawn & (number[group] == 0))
    number[group[fresh]] = last + 1 + np.arange(fresh.size)
    free &= np.r_[False, drawn][labels]
    for index in np.flatnonzero(drawn & (after < before) & (after > 0)):
        y0, y1, x0, x1 = tile.box[index] - np.array([box[0], box[0], box[2], box[2]])
        window = (slice(y0, y1), slice(x0, x1))
        free[window] &= ~_crumbs(free[window] & (labels[window] == index + 1))
    there[free] = np.r_[0, number[group]][labels[free]]
    out[place] = there
    return last + fresh.size


def _crumbs(left: np.ndarray) -> np.ndarray:
    """Of what is left of an object after others were drawn, all but the largest piece."""
    from scipy.ndimage import label

    pieces, n = label(left, np.ones((3, 3)))
    if n < 2:
        return np.zeros_like(left)
    return left & (pieces != np.bincount(pieces.ravel())[1:].argmax() + 1)
