"""Which channels of a window a step sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

Draw = Literal["all", "nuclear", "share", "hierarchical"]
LEAST = 0.75  # share of the channels that VirTues keeps at least
N_OTHERS = 2  # markers beside the nuclear stain, of KRONOS


def draw_channels(how: Draw, n: int, nuclear: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """Indices of the channels that are kept.

    Parameters
    ----------
    how
        ``"all"``, in their order; ``"nuclear"``: a nuclear stain and two others (KRONOS, Online Methods);
        ``"share"``: ``ceil(f * n)`` with ``f`` uniform from 0.75 to 1, in random order (VirTues, as released);
        ``"hierarchical"``: first how many, from 1 to ``n``, then which (Bao et al. 2024, ChannelViT).
    n
        Channels that there are.
    nuclear
        Indices of those that stain nuclei; of several, one is drawn.
    rng
        All that is random.

    Examples
    --------
    >>> draw_channels("nuclear", 5, [3], np.random.default_rng(0)).tolist()[0]
    3
    """
    if how == "all":
        return np.arange(n)
    if how == "nuclear":
        stain = nuclear[int(rng.integers(len(nuclear)))]
        others = [channel for channel in range(n) if channel not in nuclear]
        places = rng.choice(len(others), N_OTHERS, replace=False)
        return np.array([stain, *(others[place] for place in places.tolist())])
    if how == "share":
        kept = int(np.ceil(rng.uniform(LEAST, 1) * n))
    else:
        kept = int(rng.integers(1, n + 1))
    return rng.permutation(n)[:kept]
