"""Cells of a label image, and the connected pieces that they are made of, from one pass block by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .measure import Box, loaded, plan_blocks


@dataclass(frozen=True)
class LabelScan:
    """Results of one pass over a label image, one row per label.

    Attributes
    ----------
    ids
        ``(n,)`` label ids, ascending.
    area
        ``(n,)`` number of pixels.
    centroid
        ``(n, 2)`` mean index ``(y, x)`` of the pixels.
    box
        ``(n, 4)`` bounding boxes.
    """

    ids: np.ndarray
    area: np.ndarray
    centroid: np.ndarray
    box: np.ndarray

    def take(self, rows: np.ndarray) -> LabelScan:
        """The same for some of the labels."""
        return LabelScan(self.ids[rows], self.area[rows], self.centroid[rows], self.box[rows])


@dataclass(frozen=True)
class Pieces:
    """Connected pieces of a label image: pixels of one number that touch by side or corner. One row per piece.

    Rows ascend by number, and within a number fall by area, the upper left one first where areas are equal.

    Attributes
    ----------
    ids
        ``(n,)`` numbers, int64; several rows may have the same.
    area, total, box
        Pixels ``(n,)``, sum of their indices ``(n, 2)``, bounding boxes ``(n, 4)``.
    blocks, starts, piece_of
        Blocks of the image; number of parts before each of them; the row of every part of every block. A part is what
        of a piece is in one block.
    n_pixels, n_background
        Pixels of the image, and how many of them are 0.
    n_fractional
        Pixels that are not whole numbers (of labels stored as floats); they count as background.
    """

    ids: np.ndarray
    area: np.ndarray
    total: np.ndarray
    box: np.ndarray
    blocks: tuple[Box, ...]
    starts: np.ndarray
    piece_of: np.ndarray
    n_pixels: int
    n_background: int
    n_fractional: int = 0

    @property
    def first(self) -> np.ndarray:
        """Row of the largest piece of every number."""
        return np.flatnonzero(np.r_[True, self.ids[1:] != self.ids[:-1]][: self.ids.size])

    def by_label(self) -> LabelScan:
        """All pieces of a number together.

        Raises
        ------
        ValueError
            If a number is negative.
        """
        if self.ids.size and self.ids[0] < 0:
            raise ValueError(f"label {self.ids[0]} is negative")
        return grouped(self.ids, self.area, self.total, self.box)


def grouped(ids: np.ndarray, area: np.ndarray, total: np.ndarray, box: np.ndarray) -> LabelScan:
    """Cells from pieces: those of one number together. Pieces are given as in `Pieces`, in any order."""
    if not ids.size:
        return LabelScan(ids, area, np.empty((0, 2)), box)
    order = np.argsort(ids, kind="stable")
    ids, area, total, box = ids[order], area[order], total[order], box[order]
    first = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]])
    area, total = np.add.reduceat(area, first), np.add.reduceat(total, first)
    low, high = np.minimum.reduceat(box, first), np.maximum.reduceat(box, first)
    box = np.stack([low[:, 0], high[:, 1], low[:, 2], high[:, 3]], axis=1)
    return LabelScan(ids[first], area, total / area[:, None], box)


@dataclass(frozen=True)
class _Parts:
    """Parts of one block: number, pixels, sum of indices and box of each, and their places at the block's edges."""

    ids: np.ndarray
    area: np.ndarray
    total: np.ndarray
    box: np.ndarray
    edges: dict[str, tuple[np.ndarray, np.ndarray]]  # numbers and parts (from 1, 0 = none) along each side
    n_background: int
    n_fractional: int


def scan_labels(labels) -> LabelScan:
    """Ids, areas, centroids and boxes of a label image ``(y, x)``; 0 is background.

    Raises
    ------
    ValueError
        If a label is negative or does not fit into int64.
    """
    return scan_pieces(labels).by_label()


def scan_pieces(labels) -> Pieces:
    """The connected pieces of a label image ``(y, x)``: neighbours by side or corner that have the same number.

    Blocks are read one by one, and parts that touch across their borders are joined: the result does not depend on
    the blocks, and memory not on the size of the image.

    Raises
    ------
    ValueError
        If a label does not fit into int64.
    """
    blocks = plan_blocks(labels)
    parts: list[_Parts] = []
    links: list[np.ndarray] = []
    starts: list[int] = []
    n = 0
    above = None
    for row in _rows(blocks):
        top, bottom, left = [], [], None
        for y0, y1, x0, x1 in row:
            part = _parts(loaded(labels[y0:y1, x0:x1]), (y0, x0))
            edges = {
                side: (numbers, np.where(local > 0, local - 1 + n, -1)) for side, (numbers, local) in part.edges.items()
            }
            if left is not None:
                links.append(_touching(left, edges["left"]))
            left = edges["right"]
            top.append(edges["top"])
            bottom.append(edges["bottom"])
            starts.append(n)
            parts.append(part)
            n += part.ids.size
        if above is not None:
            links.append(_touching(above, _joined(top)))
        above = _joined(bottom)
    return _merge_parts(parts, links, blocks, np.array(starts, dtype=np.int64), n)


def number_parts(block: np.ndarray) -> tuple[np.ndarray, int]:
    """Parts of a block, numbered from 1 in the order of their first pixels, and how many there are."""
    from skimage.measure import label

    return label(whole(block)[0], background=0, connectivity=2, return_num=True)


def whole(block: np.ndarray) -> tuple[np.ndarray, int]:
    """A block as integers, and how many of its pixels were not whole numbers; these become 0.

    Raises
    ------
    ValueError
        If a number does not fit into int64.
    """
    if block.dtype.kind == "b":
        return block.view(np.uint8), 0
    wrong = 0
    if block.dtype.kind == "f":
        fine = np.isfinite(block) & (block == np.floor(block)) & (np.abs(block) < 2.0**53)
        wrong = int(block.size - np.count_nonzero(fine))
        block = np.where(fine, block, 0).astype(np.int64)
    elif block.dtype == np.uint64 and block.size and block.max() > np.iinfo(np.int64).max:
        raise ValueError(f"label {block.max()} does not fit into a 64-bit integer")
    return block, wrong


def _parts(block: np.ndarray, origin: tuple[int, int]) -> _Parts:
    from .shape_kernels import measure_parts

    block, n_fractional = whole(block)
    local, n = number_parts(block)
    sides = {"top": np.s_[0], "bottom": np.s_[-1], "left": np.s_[:, 0], "right": np.s_[:, -1]}
    edges = {side: (block[at].astype(np.int64), local[at].astype(np.int64)) for side, at in sides.items()}
    first, area, total, box = measure_parts(local, n)
    ids = block.ravel()[first].astype(np.int64)
    total += area[:, None] * np.asarray(origin)
    box += np.repeat(np.asarray(origin), 2)
    return _Parts(ids, area, total, box, edges, int(block.size - area.sum()) - n_fractional, n_fractional)


def _rows(blocks: Sequence[Box]) -> Iterator[list[Box]]:
    """Blocks row by row."""
    for y0 in dict.fromkeys(block[0] for block in blocks):
        yield [block for block in blocks if block[0] == y0]


def _joined(edges: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    numbers, parts = zip(*edges, strict=True)
    return np.concatenate(numbers), np.concatenate(parts)


def _touching(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Pairs of parts on both sides of a border whose pixels touch by side or corner and have the same number."""
    size = one[0].size
    pairs = []
    for shift in (-1, 0, 1):
        a, b = slice(max(shift, 0), size + min(shift, 0)), slice(max(-shift, 0), size + min(-shift, 0))
        same = (one[0][a] == other[0][b]) & (one[1][a] >= 0)
        pairs.append(np.stack([one[1][a][same], other[1][b][same]], axis=1))
    return np.unique(np.concatenate(pairs), axis=0)


def _merge_parts(
    parts: Sequence[_Parts], links: Sequence[np.ndarray], blocks: Sequence[Box], starts: np.ndarray, n: int
) -> Pieces:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs = np.concatenate([np.empty((0, 2), np.int64), *links])
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    n_pieces, piece = connected_components(graph, directed=False) if n else (0, np.empty(0, np.int64))
    ids, area = np.zeros(n_pieces, np.int64), np.zeros(n_pieces, np.int64)
    total = np.zeros((n_pieces, 2), np.int64)
    low, high = np.full((n_pieces, 4), np.iinfo(np.int64).max), np.full((n_pieces, 4), -1)
    if n:
        ids[piece] = np.concatenate([part.ids for part in parts])
        np.add.at(area, piece, np.concatenate([part.area for part in parts]))
        np.add.at(total, piece, np.concatenate([part.total for part in parts]))
        box = np.concatenate([part.box for part in parts])
        np.minimum.at(low, piece, box)
        np.maximum.at(high, piece, box)
    box = np.stack([low[:, 0], high[:, 1], low[:, 2], high[:, 3]], axis=1)
    order = np.lexsort([box[:, 2], box[:, 0], -area, ids])
    rank = np.empty(n_pieces, np.int64)
    rank[order] = np.arange(n_pieces)
    return Pieces(
        ids=ids[order],
        area=area[order],
        total=total[order],
        box=box[order],
        blocks=tuple(blocks),
        starts=starts,
        piece_of=rank[piece],
        n_pixels=sum((y1 - y0) * (x1 - x0) for y0, y1, x0, x1 in blocks),
        n_background=sum(part.n_background for part in parts),
        n_fractional=sum(part.n_fractional for part in parts),
    )
