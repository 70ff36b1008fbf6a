"""What changes with the steps of a run."""

from __future__ import annotations

import math


def warm_cosine(step: int, n_steps: int, n_warmup: int, first: float, peak: float, last: float) -> float:
    """A value that rises linearly over the warm-up, and then falls along half a cosine.

    The last step of the warm-up has the peak, as in DINOv2's training code. Beyond the run, the value is the last one.

    Examples
    --------
    >>> [warm_cosine(step, 6, 3, 0.0, 1.0, 0.0) for step in (0, 1, 2, 3, 6)]
    [0.0, 0.5, 1.0, 1.0, 0.0]
    """
    if step >= n_steps:
        return last
    if step < n_warmup:
        return first + (peak - first) * (step / (n_warmup - 1) if n_warmup > 1 else 1.0)
    return last + 0.5 * (peak - last) * (1 + math.cos(math.pi * (step - n_warmup) / (n_steps - n_warmup)))


def warm_cosine_from_zero(step: int, n_steps: int, n_warmup: int, peak: float) -> float:
    """A learning rate that rises from 0, reaches its peak behind the warm-up, and falls along half a cosine to 0.

    As the schedule ``cosine`` of `transformers`, with which VirTues was trained.

    Examples
    --------
    >>> [round(warm_cosine_from_zero(step, 4, 2, 1.0), 6) for step in (0, 1, 2, 3)]
    [0.0, 0.5, 1.0, 0.5]
    """
    if step < n_warmup:
        return peak * step / n_warmup
    progress = (step - n_warmup) / max(1, n_steps - n_warmup)
    return peak * max(0.0, 0.5 * (1 + math.cos(math.pi * progress)))
