"""Where an image holds tissue, and how much of a square of it does."""

from __future__ import annotations

import numpy as np

from .cache import remembered
from .reader import SampleReader, regions

SIDE = 512  # largest side of the averaged image that tissue is found on


def find_tissue(reader: SampleReader) -> tuple[np.ndarray, int]:
    """`tissue_mask` of an image, found once a run."""

    def compute() -> dict[str, np.ndarray]:
        mask, step = tissue_mask(reader)
        return {"mask": mask, "step": np.array(step)}

    found = remembered("tissue", {"image": reader.fingerprint, "side": SIDE}, compute)
    return found["mask"], int(found["step"])


def tissue_mask(reader: SampleReader, *, block: int = 1024, side: int = SIDE) -> tuple[np.ndarray, int]:
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
        place = (slice(y0 // step, -(-y1 // step)), slice(x0 // step, -(-x1 // step)))
        rows, columns = np.arange(0, y1 - y0, step), np.arange(0, x1 - x0, step)
        n_pixels = np.outer(np.diff(rows, append=y1 - y0), np.diff(columns, append=x1 - x0))
        for averaged, values in zip(small, reader.pixels(y0, y1, x0, x1), strict=True):
            averaged[place] = np.add.reduceat(np.add.reduceat(values, rows, axis=0), columns, axis=1) / n_pixels
    scale = small.mean(axis=(1, 2))
    signal = np.log1p(small[scale > 0] / scale[scale > 0, None, None]).mean(axis=0) if (scale > 0).any() else small[0]
    if np.ptp(signal) == 0:
        return np.ones(signal.shape, bool), step
    return binary_fill_holes(signal > threshold_otsu(signal)), step


def share_of_tissue(mask: np.ndarray, step: int, shape: tuple[int, int], corners: np.ndarray, size: int) -> np.ndarray:
    """Share ``(n,)`` of each square that is tissue; what lies outside of the image is none.

    Parameters
    ----------
    mask, step
        As `tissue_mask` returns them: a pixel of the mask spans ``step x step`` pixels of the image.
    shape
        Height and width of the image.
    corners, size
        First row and column of each square ``(n, 2)``, and their side.
    """
    total = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.int64)
    total[1:, 1:] = mask.cumsum(axis=0, dtype=np.int64).cumsum(axis=1)
    padded = np.pad(mask, ((0, 1), (0, 1)))  # an edge of the image may be the edge of a mask pixel
    total = np.pad(total, ((0, 1), (0, 1)), mode="edge")

    def tissue_above_left(y: np.ndarray, x: np.ndarray) -> np.ndarray:
        (row, down), (column, right) = np.divmod(y, step), np.divmod(x, step)
        down, right = down / step, right / step
        here = total[row, column]
        below, beside = total[row + 1, column] - here, total[row, column + 1] - here
        return here + down * below + right * beside + down * right * padded[row, column]

    low = np.clip(corners, 0, shape)
    high = np.clip(corners + size, 0, shape)
    (y0, x0), (y1, x1) = low.T, high.T
    inside = (
        tissue_above_left(y1, x1) - tissue_above_left(y0, x1) - tissue_above_left(y1, x0) + tissue_above_left(y0, x0)
    )
    return inside * step**2 / size**2
