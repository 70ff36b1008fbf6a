"""Which tokens of a tile a masked autoencoder does not see (VirTues, Wenckstern et al. 2026, as released)."""

from __future__ import annotations

import hashlib
import math

import numpy as np

MODES = ("independent", "niche", "marker")


def draw_mask(
    mode: str, shape: tuple[int, int, int], ratio: tuple[float, float], rng: np.random.Generator
) -> np.ndarray:
    """Hidden tokens of one window.

    Parameters
    ----------
    mode
        ``"independent"``: each channel has a share of its own, and ``ceil(share * positions)`` of its tokens are
        hidden; ``"niche"``: one share, and the same positions in all channels; ``"marker"``: all tokens of one channel.
    shape
        ``(M, h, w)``.
    ratio
        Smallest and largest share, which is uniform between them.
    rng
        All that is random.

    Returns
    -------
    Booleans ``(M, h, w)``, True where hidden.

    Examples
    --------
    >>> draw_mask("niche", (2, 4, 4), (0.5, 0.5), np.random.default_rng(0)).sum((1, 2))
    array([8, 8])
    """
    n_channels, height, width = shape
    n = height * width
    hidden = np.zeros((n_channels, n), dtype=bool)
    if mode == "marker":
        hidden[rng.integers(n_channels)] = True
    elif mode == "niche":
        hidden[:, _positions(n, ratio, rng)] = True
    else:
        for channel in hidden:
            channel[_positions(n, ratio, rng)] = True
    return hidden.reshape(shape)


def generator_of(random_state: int, image: str, y: int, x: int) -> np.random.Generator:
    """All that is random of the tile of an image at a place: whatever else a run does, and in whatever order.

    Examples
    --------
    >>> one, again, other = (generator_of(0, "image_a", 0, x).random() for x in (128, 128, 256))
    >>> one == again, one == other
    (True, False)
    """
    name = int.from_bytes(hashlib.sha256(image.encode()).digest()[:8], "big")
    return np.random.default_rng([random_state, name, y, x])


def _positions(n: int, ratio: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(n)[: math.ceil(rng.uniform(*ratio) * n)]
