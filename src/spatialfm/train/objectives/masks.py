"""Which tokens a network does not see: those of iBOT, in rectangles (Bao et al. 2022, arXiv:2106.08254, as in DINOv2).

Those of VirTues' masked autoencoder are drawn where whole images are predicted, too: `spatialfm.embed.paint.masks`.
"""

from __future__ import annotations

import math

import numpy as np


def draw_blocks(
    shape: tuple[int, int],
    n_hidden: int,
    rng: np.random.Generator,
    *,
    n_least: int = 4,
    share_most: float = 0.5,
    aspect: float = 0.3,
    n_tries: int = 10,
) -> np.ndarray:
    """Hidden positions of a grid, as rectangles that may overlap.

    Parameters
    ----------
    shape
        ``(h, w)``.
    n_hidden
        How many to hide; there may be fewer where a rectangle finds no place in `n_tries`.
    rng
        All that is random.
    n_least, share_most
        Area of a rectangle: at least so many positions, at most that share of the grid and what is left to hide.
    aspect
        Height over width is log-uniform from this to one over this.
    n_tries
        How often a rectangle is drawn anew that does not fit.

    Returns
    -------
    Booleans ``(h, w)``.

    Examples
    --------
    >>> int(draw_blocks((14, 14), 60, np.random.default_rng(0)).sum()) <= 60
    True
    """
    hidden = np.zeros(shape, dtype=bool)
    while (left := n_hidden - int(np.count_nonzero(hidden))) > 0:
        most = min(left, share_most * hidden.size)
        for _ in range(n_tries):
            area = n_least + (most - n_least) * rng.random()
            ratio = math.exp(math.log(aspect) * (1 - 2 * rng.random()))
            height, width = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if not (height < shape[0] and width < shape[1]):
                continue
            top, first = int(rng.integers(shape[0] - height + 1)), int(rng.integers(shape[1] - width + 1))
            place = hidden[top : top + height, first : first + width]
            if 0 < place.size - int(np.count_nonzero(place)) <= most:
                place[:] = True
                break
        else:
            break
    return hidden
