"""Crops of a window, as self-distillation compares them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..batch import WindowSample
from .masks import draw_blocks

_TRIES = 10
_ASPECT = 3 / 4  # width over height is log-uniform from this to one over this
_LOG_ASPECT = math.log(_ASPECT)
_SMALL = 64  # pixels; products of larger matrices take longer than torch's resampling, and several threads


@dataclass(frozen=True)
class CroppedWindow:
    """Crops of one window, and what is random about how the student sees them.

    Attributes
    ----------
    crops
        ``(2, M, G, G)``, the global ones.
    local
        ``(n, M, L, L)``, the local ones.
    markers
        Those of the window.
    hidden
        ``(2, h * w)``, positions of the global crops that the student does not see.
    gains
        ``(2 + n, depth, 2)``, what multiplies each branch of each block for each crop (drop path).
    """

    crops: Tensor
    local: Tensor
    markers: Tensor | None
    hidden: Tensor
    gains: Tensor


@dataclass(frozen=True, kw_only=True)
class CropViews:
    """Cuts crops, and draws masks and gains; all of a window comes from its own random numbers.

    Attributes
    ----------
    patch_size, depth
        Of the encoder.
    global_size, local_size, n_local
        Sides in pixels, and number of local crops.
    global_scale, local_scale
        Smallest and largest area of a crop over that of the window.
    masked_share
        Share of the global crops of which positions are hidden.
    mask_ratio
        Smallest and largest share of the positions that are hidden then.
    drop_path
        Share of the branches that are left out.
    """

    patch_size: int
    depth: int
    global_size: int
    local_size: int
    n_local: int
    global_scale: tuple[float, float]
    local_scale: tuple[float, float]
    masked_share: float
    mask_ratio: tuple[float, float]
    drop_path: float

    def __call__(self, window: WindowSample, rng: np.random.Generator) -> CroppedWindow:
        """Crops of a window."""
        crops = random_crops(window.pixels, 2, self.global_size, self.global_scale, rng)
        local = random_crops(window.pixels, self.n_local, self.local_size, self.local_scale, rng)
        side = self.global_size // self.patch_size
        hidden = np.zeros((2, side, side), dtype=bool)
        for one in hidden:
            if rng.random() < self.masked_share:
                low, high = self.mask_ratio
                one[:] = draw_blocks((side, side), int(side * side * (low + (high - low) * rng.random())), rng)
        kept = rng.random((2 + self.n_local, self.depth, 2)) >= self.drop_path
        return CroppedWindow(
            crops,
            local,
            window.markers,
            torch.from_numpy(hidden).flatten(1),
            torch.from_numpy(kept.astype(np.float32) / (1 - self.drop_path)),
        )


def random_crops(pixels: Tensor, n: int, size: int, scale: tuple[float, float], rng: np.random.Generator) -> Tensor:
    """Parts of random area and shape, resized bicubically, and each flipped or not.

    Parameters
    ----------
    pixels
        ``(M, H, W)``, on the CPU.
    n
        How many.
    size
        Side of the results in pixels.
    scale
        Smallest and largest area of a part over that of the pixels.
    rng
        All that is random.

    Returns
    -------
    ``(n, M, size, size)``.
    """
    whole = pixels.numpy()  # cut and flipped by numpy, which takes a tenth of torch's time for so little
    made = np.empty((n, len(pixels), size, size), whole.dtype)
    for one in made:
        top, first, height, width = crop_box((int(pixels.shape[1]), int(pixels.shape[2])), scale, rng)
        part = resized(whole[:, top : top + height, first : first + width], size)
        one[:] = part[..., ::-1] if rng.random() < 0.5 else part
    return torch.from_numpy(made)


def resized(part: np.ndarray, size: int) -> np.ndarray:
    """Pixels ``(M, h, w)`` as ``(M, size, size)``: bicubic with antialiasing, as torch does it.

    Small parts are multiplied by the weights of torch's resampling, which torch makes anew for each part. Which way is
    taken depends on the sides alone, and products as small are not shared out to threads: bits are the same with any
    number of them.
    """
    height, width = part.shape[1:]
    if (height, width) == (size, size):
        return part
    if max(height, width, size) <= _SMALL and part.dtype == np.float32:
        return _weights(height, size) @ (part @ _weights(width, size).T)
    return _resampled(torch.from_numpy(part[None]), (size, size))[0].numpy()


@lru_cache(maxsize=256)
def _weights(n: int, size: int) -> np.ndarray:
    """Weights ``(size, n)`` of `n` pixels in each of `size`: what becomes of one bright pixel among dark ones."""
    return _resampled(torch.eye(n)[None, None], (size, n))[0, 0].numpy()


def _resampled(pixels: Tensor, shape: tuple[int, int]) -> Tensor:
    return F.interpolate(pixels, shape, mode="bicubic", antialias=True, align_corners=False)


def crop_box(shape: tuple[int, int], scale: tuple[float, float], rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Top, left, height and width of a part: area uniform in `scale`, aspect log-uniform from 3/4 to 4/3.

    Where none of ten draws fits, the largest part in the centre with an allowed aspect is taken.
    """
    height, width = shape
    for _ in range(_TRIES):
        area = height * width * (scale[0] + (scale[1] - scale[0]) * rng.random())
        aspect = math.exp(_LOG_ASPECT * (1 - 2 * rng.random()))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
    w = min(width, round(height / _ASPECT))
    h = min(height, round(width / _ASPECT))
    return (height - h) // 2, (width - w) // 2, h, w
