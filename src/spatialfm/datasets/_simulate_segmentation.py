"""Imperfect segmentation: the label image that a user has, made from the true one."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

_MAX_LOSS = 0.4  # share of its pixels that a cell may lose to its neighbours
_MIN_PART = 0.25  # share of the cell that the smaller part of a split has at least


def segment(
    labels: np.ndarray,
    *,
    merge_rate: float,
    split_rate: float,
    miss_rate: float,
    dilation: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, dict[str, int]]:
    """Make the errors of a segmentation.

    Parameters
    ----------
    labels
        ``(h, w)`` true labels 1 to n.
    merge_rate, split_rate, miss_rate
        Expected shares of cells that are fused with a touching one, cut in two, and not found. No cell has two of
        these errors.
    dilation
        Pixels by which outlines are too far out: all cells into the background, and a third of them into their
        neighbours as well.

    Returns
    -------
    labels
        ``(h, w)`` int32, labels 1 to m in an order of their own.
    counts
        ``true_cells``, ``merges`` (pairs), ``splits``, ``missed``, ``segmented_cells``.
    """
    n = int(labels.max())
    out = labels.astype(np.int32)
    spared = np.ones(n + 1, bool)
    spared[0] = False
    missed = 1 + np.flatnonzero(rng.random(n) < miss_rate)
    spared[missed] = False
    merged = _pairs_to_merge(labels, spared, rng.binomial(n, merge_rate / 2) if n else 0, rng)
    spared[merged.ravel()] = False
    wanted = np.flatnonzero(spared & (rng.random(n + 1) < split_rate))

    out[np.isin(out, missed)] = 0
    for keeper, other in merged:
        out[out == other] = keeper
    splits = 0
    boxes = ndimage.find_objects(labels)
    for cell in wanted:
        half = _half(labels[boxes[cell - 1]] == cell)
        if half is not None:
            splits += 1
            out[boxes[cell - 1]][half] = n + splits
    out = _dilated(out, dilation, rng)
    out = _relabeled(out)
    counts = {
        "true_cells": n,
        "merges": len(merged),
        "splits": splits,
        "missed": len(missed),
        "segmented_cells": int(out.max()),
    }
    return out, counts


def touching_pairs(labels: np.ndarray) -> np.ndarray:
    """Pairs of labels ``(p, 2)`` that share a pixel edge, each once, the smaller first."""
    horizontal = np.column_stack([labels[:, :-1].ravel(), labels[:, 1:].ravel()])
    vertical = np.column_stack([labels[:-1].ravel(), labels[1:].ravel()])
    pairs = np.concatenate([horizontal, vertical])
    pairs = pairs[(pairs[:, 0] != pairs[:, 1]) & (pairs > 0).all(axis=1)]
    return np.unique(np.sort(pairs, axis=1), axis=0)


def _pairs_to_merge(labels, spared: np.ndarray, wanted: int, rng: np.random.Generator) -> np.ndarray:
    pairs = touching_pairs(labels)
    taken, chosen = ~spared, []
    for first, second in pairs[rng.permutation(len(pairs))]:
        if len(chosen) == wanted:
            break
        if not taken[first] and not taken[second]:
            taken[[first, second]] = True
            chosen.append((first, second))
    return np.array(chosen, int).reshape(-1, 2)


def _half(mask: np.ndarray) -> np.ndarray | None:
    """One half of a cell, cut across its longer axis; None where that leaves a sliver or more than two parts."""
    y, x = np.nonzero(mask)
    offset = np.column_stack([y - y.mean(), x - x.mean()])
    _, vectors = np.linalg.eigh(offset.T @ offset)
    side = offset @ vectors[:, 1] > 0
    if not _MIN_PART <= side.mean() <= 1 - _MIN_PART:
        return None
    half = np.zeros_like(mask)
    half[y[side], x[side]] = True
    if ndimage.label(half)[1] > 1 or ndimage.label(mask & ~half)[1] > 1:
        return None
    return half


def _dilated(labels: np.ndarray, dilation: int, rng: np.random.Generator) -> np.ndarray:
    n = int(labels.max())
    grows = rng.random(n + 1) < 1 / 3
    grows[0] = False
    before = np.bincount(labels.ravel(), minlength=n + 1)
    for _ in range(dilation):
        around = np.pad(labels, 1, mode="edge")
        grown = labels.copy()
        for view in (around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:]):
            taken = (view > 0) & ((grown == 0) | (grows[view] & ~grows[grown] & (grown == labels)))
            grown = np.where(taken, view, grown)
        after = np.bincount(grown.ravel(), minlength=n + 1)
        robbed = after < (1 - _MAX_LOSS) * before
        labels = np.where(robbed[labels] & (labels > 0), labels, grown)
    return labels


def _relabeled(labels: np.ndarray) -> np.ndarray:
    """Labels 1 to m, numbered from the top as segmentation programs do."""
    values, first = np.unique(labels, return_index=True)
    values, first = values[values > 0], first[values > 0]
    new = np.zeros(int(labels.max()) + 1, np.int32)
    new[values[np.argsort(first)]] = np.arange(1, len(values) + 1)
    return new[labels]
