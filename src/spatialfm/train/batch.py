"""What a step of training is given: windows of tissue, and the random numbers that belong to each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class WindowSample:
    """One window as a step sees it.

    Attributes
    ----------
    pixels
        ``(M, H, W)``, normalised as the model's recipe says, float32.
    markers
        Ids ``(M,)`` or embeddings ``(M, d)`` of the markers, as `Encoder.forward` takes them; None: the model has none.
    names
        Names of the ``M`` markers.
    window
        Number of the window in its dataset, which its two parts count anew where it is split.
    place
        Source, sample, and first row and column of the window, which are the same in any part of a dataset.
    """

    pixels: Tensor
    markers: Tensor | None
    names: tuple[str, ...]
    window: int
    place: tuple[str, str, int, int] | None = None


def random_of(seed: int, step: int, place: int, purpose: int = 0) -> np.random.Generator:
    """The random numbers of one window in one step.

    They depend on nothing else: a resumed run, other workers and other processes draw the same ones.

    Parameters
    ----------
    seed
        Seed of the run.
    step
        Number of the step, from 0.
    place
        Place of the window in the whole batch of that step, over all processes.
    purpose
        Tells apart what is drawn by different parts: 0 the windows, 1 their channels and augmentation, 2 the objective.
    """
    numbers = (seed, step, place, purpose)
    if min(numbers) >= 0 and max(numbers) < 2**32:  # as from a list, whose numbers numpy brings to this form one by one
        return np.random.Generator(np.random.PCG64(np.array(numbers, np.uint32)))
    return np.random.default_rng(numbers)
