"""Mean and standard deviation of every marker over the tissue of a cohort, read block by block."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tqdm.auto import tqdm

from .._settings import settings
from .reader import SampleReader, regions


def cohort_statistics(
    readers: Sequence[SampleReader], *, tissue_of: Sequence[SampleReader] | None = None, block: int = 1024
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each marker over the tissue pixels of all samples.

    Tissue is found per image (`tissue_mask`). All samples count by their pixels.

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
    n_markers = len(readers[0].channels)
    count, mean, squares = 0, np.zeros(n_markers), np.zeros(n_markers)
    pairs = list(zip(readers, tissue_of or readers, strict=True))
    for reader, of in tqdm(pairs, desc="marker statistics", unit="image", disable=not settings.progress):
        tissue, step = tissue_mask(of, block=block)
        for y0, y1, x0, x1 in regions(reader.shape, block):
            inside = tissue[np.ix_(np.arange(y0, y1) // step, np.arange(x0, x1) // step)]
            values = reader.pixels(y0, y1, x0, x1)[:, inside].astype(np.float64)
            if not (n := values.shape[1]):
                continue
            # Chan et al. 1979: merging means and squared deviations loses no digits, sums of squares do
            m = values.mean(axis=1)
            delta, total = m - mean, count + n
            squares += ((values - m[:, None]) ** 2).sum(axis=1) + delta**2 * count * n / total
            mean += delta * n / total
            count = total
    return mean, np.sqrt(squares / max(count, 1))


def tissue_mask(reader: SampleReader, *, block: int = 1024, side: int = 512) -> tuple[np.ndarray, int]:
    """Where there is tissue: Otsu's threshold on the mean of all markers, holes filled.

    The published recipe (VirTues, Methods, preprocessing) thresholds and fills the image; here it is done on an image
    averaged down to at most `side` pixels, on which every marker counts alike whatever its brightness.

    Returns
    -------
    Boolean mask on the averaged image, and how many model pixels one of its pixels spans. All True where the image
    is constant.
    """
    from scipy.ndimage import binary_fill_holes
    from skimage.filters import threshold_otsu

    height, width = reader.shape
    step = max(1, -(-max(height, width) // side))
    # blocks begin at multiples of `step`, so that no averaged pixel is cut by a block
    block = max(1, block // step) * step
    small = np.zeros((len(reader.channels), -(-height // step), -(-width // step)))
    for y0, y1, x0, x1 in regions(reader.shape, block):
        values = reader.pixels(y0, y1, x0, x1).astype(np.float64)
        sums = np.add.reduceat(
            np.add.reduceat(values, np.arange(0, y1 - y0, step), axis=1), np.arange(0, x1 - x0, step), 2
        )
        rows, columns = (np.minimum(step, end - np.arange(start, end, step)) for start, end in ((y0, y1), (x0, x1)))
        small[:, y0 // step : -(-y1 // step), x0 // step : -(-x1 // step)] = sums / np.outer(rows, columns)
    scale = small.mean(axis=(1, 2))
    signal = np.log1p(small[scale > 0] / scale[scale > 0, None, None]).mean(axis=0) if (scale > 0).any() else small[0]
    if np.ptp(signal) == 0:
        return np.ones(signal.shape, bool), step
    return binary_fill_holes(signal > threshold_otsu(signal)), step
