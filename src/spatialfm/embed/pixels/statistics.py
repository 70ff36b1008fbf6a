"""Mean and standard deviation of every marker over the tissue of a cohort, read block by block."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from ..._cache import remembered
from ..._progress import progress_bar
from ..._squares import squares_of
from ...models.preparation import PreparedPixels
from ...pp.tissue_masks import tissue_below
from .reader import SampleReader
from .tissue import find_tissue, tissue_identity

ROUNDING = 1e-6


def cohort_statistics(
    readers: Sequence[SampleReader | PreparedPixels],
    *,
    tissue_of: Sequence[SampleReader] | None = None,
    block: int = 1024,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each marker over the tissue pixels of all samples.

    Tissue is found per image (`find_tissue`). All samples count by their pixels. What an image contributes is
    remembered until the run ends: one that was stopped does not read all pixels again.

    Parameters
    ----------
    readers
        One a sample, with the same markers in the same order.
    tissue_of
        Readers on which tissue is found, where that is not to be done on the values themselves.
    block
        Side of the region that is read at a time, in model pixels.

    Returns
    -------
    Mean and population standard deviation, float64 ``(M,)``, of pixels scaled by each reader's `intensity_max`.
    """
    return merged(moments_of_images(readers, tissue_of=tissue_of, block=block))[1:]


def moments_of_images(
    readers: Sequence[SampleReader | PreparedPixels],
    *,
    tissue_of: Sequence[SampleReader] | None = None,
    block: int = 1024,
) -> list[dict[str, np.ndarray]]:
    """What `image_moments` gives of each image in turn; the arguments are those of `cohort_statistics`."""
    parts = []
    of_tissue: Sequence[Any] = tissue_of or readers
    pairs = list(zip(readers, of_tissue, strict=True))
    for reader, tissue_reader in progress_bar(pairs, desc="marker statistics", unit="image"):
        preparation = getattr(reader, "preparation", "")
        identity = {
            "image": reader.fingerprint,
            "tissue": [tissue_reader.fingerprint, tissue_identity(tissue_reader)],
            "prepared": preparation,
        }
        parts.append(remembered("moments", identity, partial(image_moments, reader, tissue_reader, block)))
    return parts


def merged(parts: Sequence[dict[str, np.ndarray]]) -> tuple[int, np.ndarray, np.ndarray]:
    """Number of pixels, mean and population standard deviation ``(M,)`` of some images together."""
    count, mean, squares = 0, *np.zeros((2, len(parts[0]["mean"])))
    for part in parts:
        # Chan et al. 1979: merging means and squared deviations loses no digits, sums of squares do
        n, delta, total = int(part["count"]), part["mean"] - mean, count + int(part["count"])
        if n:
            squares += part["squares"] + delta**2 * count * n / total
            mean += delta * n / total
            count = total
    std = np.sqrt(np.maximum(squares, 0) / max(count, 1))
    std[std <= ROUNDING * np.abs(mean)] = 0  # of a constant, what single precision leaves, of either sign
    return count, mean, std


def image_moments(reader: SampleReader | PreparedPixels, tissue_of: SampleReader, block: int) -> dict[str, np.ndarray]:
    """Number of tissue pixels of one image, and each marker's mean and sum of squared deviations over them."""
    tissue, step = find_tissue(tissue_of)
    n_markers = len(reader.channels)
    count, mean, squares = 0, np.zeros(n_markers), np.zeros(n_markers)
    for y0, y1, x0, x1 in squares_of(reader.shape, block):
        inside = tissue_below(tissue, step, (y0, y1), (x0, x1))
        if not (n := int(inside.sum())):
            continue
        total, mask = count + n, torch.from_numpy(inside)
        for marker, values in enumerate(reader.pixels(y0, y1, x0, x1)):
            values = torch.from_numpy(values)  # torch, as it does this on all cores
            m = _sum(values * mask) / n
            delta = m - mean[marker]
            # of deviations around a float32: (x - m)² around the mean itself would lose digits where m is large
            center = float(np.float32(m))
            deviations = (values - center).mul_(mask).square_()
            squares[marker] += _sum(deviations) - n * (m - center) ** 2 + delta**2 * count * n / total
            mean[marker] += delta * n / total
        count = total
    return {"count": np.array(count), "mean": mean, "squares": squares}


def _sum(values: torch.Tensor) -> float:
    """Each row in float32, the rows in float64: half the memory traffic, and as many digits as the pixels have."""
    return float(values.sum(dim=1).double().sum())
