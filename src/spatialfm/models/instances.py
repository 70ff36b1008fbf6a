"""Objects from what a network says of each pixel, as InstanSeg has them.

Goldsborough et al. 2024, arXiv:2408.15954. A pixel points to the middle of its object (two offsets), and has a depth in
it and a spread. Peaks of the depth are seeds. A small network is asked of each pixel in a square around a seed whether
it is of the seed's object; what hangs together with the seed is a candidate. Candidates that cover each other are one
object. Names of thresholds and their values are those with which VirTues calls the published code; written anew.

Offsets are compared between a pixel and a seed, never in coordinates of an image, so that an object is the same
wherever the image was cut.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .._compiled import compiled

SPAN = 64 / 256  # units of the offsets that a pixel is long, in a large image
REACH = 8.0  # units that offsets can be apart
DEEP = 15.0  # logits that are a depth of 1
_AT_ONCE = 256  # candidates that are looked at together


@dataclass(frozen=True)
class InstanceRule:
    """Thresholds.

    Attributes
    ----------
    seed
        Depth above which a peak is a seed.
    distance
        Pixels around a seed among which it is the deepest.
    window
        Side of the square around a seed in which its object lies, in pixels; even.
    mask
        Probability from which on a pixel is of a candidate.
    overlap
        Intersection over union above which two candidates are one object.
    smallest
        Objects of so many pixels, or fewer, are left out.
    """

    seed: float = 0.5
    distance: int = 4
    window: int = 64
    mask: float = 0.53
    overlap: float = 0.5
    smallest: int = 10


RELEASED = InstanceRule()


def find_instances(
    logits: Tensor,
    classifier: Callable[[Tensor], Tensor],
    rule: InstanceRule = RELEASED,
    *,
    shape: tuple[int, int] | None = None,
) -> np.ndarray:
    """Objects of an image.

    Parameters
    ----------
    logits
        ``(3 + S, H, W)``: offset along the columns and along the rows, S spreads, depth.
    classifier
        From ``(..., 2 + S)``, the differences of the offsets of a pixel and a seed and the spreads of the pixel, to the
        logit ``(..., 1)`` that the pixel is of the seed's object.
    rule
        Thresholds.
    shape
        Height and width of the image that `logits` are a part of (default: their own). The published code divides the
        side of an image into units by one pixel too few, so that a unit depends on the image: by 0.8 % at 128 pixels.

    Returns
    -------
    ``(H, W)`` int32, 0 for none. An object has the number of the first of its candidates, from 1, so that numbers have
    gaps.
    """
    height, width = logits.shape[-2:]
    depth = logits[-1] / DEEP + 0.5
    seeds = find_seeds(depth, rule)
    out = np.zeros((height, width), np.int32)
    side = min(rule.window, height, width) // 2 * 2
    if not len(seeds) or not side:
        return out
    rows, columns = shape or (height, width)
    steps = torch.tensor([SPAN * size / max(size - 1, 1) for size in (columns, rows)], device=logits.device)
    offsets = (torch.sigmoid(logits[:2]) - 0.5) * REACH
    parts = [_candidates(offsets, logits[2:-1], steps, part, side, classifier, rule) for part in seeds.split(_AT_ONCE)]
    counts = [0, *np.cumsum([len(part) for part in seeds.split(_AT_ONCE)])]
    number = np.concatenate([own + start for (own, _, _), start in zip(parts, counts, strict=False)])
    pixel, probability = (np.concatenate([part[place] for part in parts]) for place in (1, 2))
    group, area = merged(number, pixel, len(seeds), rule.overlap)
    order = np.lexsort([number, -probability, pixel])
    first = order[np.r_[True, np.diff(pixel[order]) > 0][: len(order)]]
    large = area[group] > rule.smallest
    out.ravel()[pixel[first]] = np.where(large, group + 1, 0)[number[first]]
    return out


def find_seeds(depth: Tensor, rule: InstanceRule = RELEASED) -> Tensor:
    """Peaks ``(n, 2)`` of a map ``(H, W)``, row by row; of equal neighbours the first."""
    around, width = rule.distance, depth.shape[-1]
    highest, place = F.max_pool2d(depth[None, None], 2 * around + 1, 1, around, return_indices=True)
    own = torch.arange(depth.numel(), device=depth.device).reshape(place.shape)
    peaks = ((place == own) & (highest > rule.seed)).flatten().nonzero().flatten()
    return torch.stack([peaks // width, peaks % width], dim=1)


def _candidates(
    offsets: Tensor,
    spread: Tensor,
    steps: Tensor,
    seeds: Tensor,
    side: int,
    classifier: Callable[[Tensor], Tensor],
    rule: InstanceRule,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number of the seed, place in the image and probability of each pixel of the candidates of some seeds."""
    height, width = offsets.shape[-2:]
    limits = torch.tensor([height, width], device=seeds.device) - side // 2
    start = torch.minimum(seeds.clamp(min=side // 2), limits) - side // 2
    inside = torch.arange(side, device=seeds.device)
    y, x = (start[:, 0, None] + inside)[:, :, None], (start[:, 1, None] + inside)[:, None, :]
    apart = offsets[:, y, x] - offsets[:, seeds[:, 0], seeds[:, 1]][:, :, None, None]
    away = torch.stack(torch.broadcast_tensors(x - seeds[:, 1, None, None], y - seeds[:, 0, None, None]))
    apart = apart + steps[:, None, None, None] * away
    logit = classifier(torch.cat([apart, spread[:, y, x]]).movedim(0, -1))[..., 0]
    probability = torch.sigmoid(logit).cpu().numpy()
    kinds = kind_of_pixels(probability >= rule.mask, (seeds - start).cpu().numpy())
    # in the published code a hole gets the threshold of probabilities as its logit
    probability[kinds == HOLE] = torch.sigmoid(torch.tensor(rule.mask)).item()
    number, row, column = np.nonzero(kinds)
    first = start.cpu().numpy()[number]
    return number, (first[:, 0] + row) * width + first[:, 1] + column, probability[number, row, column]


HOLE = 2  # background that a candidate encloses


@compiled
def kind_of_pixels(above: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """What hangs together with a seed: 1, holes in it: 2, the rest: 0.

    Parameters
    ----------
    above
        ``(n, h, w)`` bool: pixels that may be of each candidate.
    seeds
        ``(n, 2)``; the candidate begins at the seed and its eight neighbours.

    Holes are pieces of background (eight neighbours) that lie within three pixels of the candidate.
    """
    n, height, width = above.shape
    kinds = np.zeros((n, height, width), np.uint8)
    stack = np.empty((height * width, 2), np.int64)
    seen = np.empty((height, width), np.bool_)
    for i in range(n):
        top = 0
        for y in range(max(seeds[i, 0] - 1, 0), min(seeds[i, 0] + 2, height)):
            for x in range(max(seeds[i, 1] - 1, 0), min(seeds[i, 1] + 2, width)):
                if above[i, y, x] and kinds[i, y, x] == 0:
                    kinds[i, y, x] = 1
                    stack[top, 0], stack[top, 1] = y, x
                    top += 1
        while top:
            top -= 1
            y0, x0 = stack[top]
            for y in range(max(y0 - 1, 0), min(y0 + 2, height)):
                for x in range(max(x0 - 1, 0), min(x0 + 2, width)):
                    if above[i, y, x] and kinds[i, y, x] == 0:
                        kinds[i, y, x] = 1
                        stack[top, 0], stack[top, 1] = y, x
                        top += 1
        # background that is reached from what is far from the candidate
        seen[:] = False
        for y0 in range(height):
            for x0 in range(width):
                if seen[y0, x0] or kinds[i, y0, x0]:
                    continue
                if _is_near(kinds[i], y0, x0):
                    continue
                seen[y0, x0] = True
                stack[0, 0], stack[0, 1] = y0, x0
                top = 1
                while top:
                    top -= 1
                    y1, x1 = stack[top]
                    for y in range(max(y1 - 1, 0), min(y1 + 2, height)):
                        for x in range(max(x1 - 1, 0), min(x1 + 2, width)):
                            if not seen[y, x] and kinds[i, y, x] == 0:
                                seen[y, x] = True
                                stack[top, 0], stack[top, 1] = y, x
                                top += 1
        for y in range(height):
            for x in range(width):
                if kinds[i, y, x] == 0 and not seen[y, x]:
                    kinds[i, y, x] = 2
    return kinds


@compiled
def _is_near(kinds: np.ndarray, row: int, column: int) -> bool:
    """Whether a pixel lies within three of the candidate's."""
    for y in range(max(row - 3, 0), min(row + 4, kinds.shape[0])):
        for x in range(max(column - 3, 0), min(column + 4, kinds.shape[1])):
            if kinds[y, x] == 1:
                return True
    return False


def merged(number: np.ndarray, pixel: np.ndarray, n: int, overlap: float) -> tuple[np.ndarray, np.ndarray]:
    """The first candidate ``(n,)`` of the group that each belongs to, and the pixels ``(n,)`` of each.

    Parameters
    ----------
    number, pixel
        Candidate and place of each pixel of all candidates.
    n
        Candidates.
    overlap
        Intersection over union above which two are of one group.
    """
    area = np.bincount(number, minlength=n)
    order = np.lexsort([number, pixel])
    number, pixel = number[order].astype(np.int64), pixel[order]
    keys, apart = [np.empty(0, np.int64)], 1
    while (same := pixel[apart:] == pixel[:-apart]).any():  # of a pixel, each candidate with each that follows
        keys.append(number[:-apart][same] * n + number[apart:][same])
        apart += 1
    pairs, shared = np.unique(np.concatenate(keys), return_counts=True)
    one, other = pairs // n, pairs % n
    close = shared > overlap * (area[one] + area[other] - shared)
    one, other, group = one[close], other[close], np.arange(n)
    while True:
        lowest = np.minimum(group[one], group[other])
        before = group.copy()
        np.minimum.at(group, one, lowest)
        np.minimum.at(group, other, lowest)
        if (group == before).all():
            return group, area
