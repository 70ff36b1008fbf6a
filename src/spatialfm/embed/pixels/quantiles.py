"""Exact quantiles of more values than are to be held at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

_BINS = 2**16


def streamed_quantiles(
    parts: Callable[[], Iterable[np.ndarray]], n_rows: int, q: float, *, positive: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Quantile of each row of values that come in parts, and how many values it is of.

    Numbers that are not negative are in the order of their bits, so that the upper 16 bits of all values, counted, name
    the bins of the two values next to the quantile, and the lower 16 bits of those bins, counted, the values.

    Parameters
    ----------
    parts
        Gives the parts, float32 ``(n_rows, n)``, not negative, as often as it is called; it is called twice.
    n_rows
        Number of rows.
    q
        Between two values as `numpy.quantile` has it.
    positive
        Whether values that are 0 do not count.

    Returns
    -------
    Float64 ``(n_rows,)``, NaN where no value counts, and int64 ``(n_rows,)``.

    Examples
    --------
    >>> parts = [np.array([[3.0, 1.0]], np.float32), np.array([[0.0, 2.0]], np.float32)]
    >>> streamed_quantiles(lambda: parts, 1, 0.5)
    (array([1.5]), array([4]))
    >>> streamed_quantiles(lambda: parts, 1, 0.5, positive=True)
    (array([2.]), array([3]))
    """
    upper = np.zeros((n_rows, _BINS), np.int64)
    for part in parts():
        for row, bits in enumerate(_bits(part)):
            upper[row] += np.bincount(_counting(bits, positive) >> 16, minlength=_BINS)
    counts, below = upper.sum(axis=1), upper.cumsum(axis=1)
    position = np.maximum(counts - 1, 0) * q
    ranks = np.stack([np.floor(position), np.ceil(position)], axis=1).astype(np.int64)
    bins = np.stack([np.searchsorted(row, rank, side="right") for row, rank in zip(below, ranks, strict=True)])
    bins = np.minimum(bins, _BINS - 1)

    lower = np.zeros((n_rows, 2, _BINS), np.int64)
    for part in parts():
        for row, bits in enumerate(_bits(part)):
            counting = _counting(bits, positive)
            for i, wanted in enumerate(bins[row]):
                lower[row, i] += np.bincount(counting[counting >> 16 == wanted] & (_BINS - 1), minlength=_BINS)
    values = np.full((n_rows, 2), np.nan)
    for row in map(int, np.flatnonzero(counts)):
        for i, wanted in enumerate(bins[row]):
            rest = ranks[row, i] - (below[row, wanted] - upper[row, wanted])
            low = int(np.searchsorted(lower[row, i].cumsum(), rest, side="right"))
            values[row, i] = np.array([int(wanted) * _BINS + low], np.uint32).view(np.float32)[0]
    share = position - np.floor(position)
    return values[:, 0] + (values[:, 1] - values[:, 0]) * share, counts


def _bits(part: np.ndarray) -> np.ndarray:
    """Bits of the values; those of -0 would be the largest of all."""
    return np.abs(np.ascontiguousarray(part, np.float32)).view(np.uint32)


def _counting(bits: np.ndarray, positive: bool) -> np.ndarray:
    return bits[bits > 0] if positive else bits
