"""Which windows a step sees: a pure function of the seed and the number of the step."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np

from .._errors import RunError, counted
from .batch import random_of

EPOCHS = (0, 0, 1)  # a fifth number, which `random_of` does not have: no step draws what the order of an epoch is of


class Drawable(Protocol):
    """What is drawn from."""

    @property
    def strata(self) -> Sequence[np.ndarray] | None:
        """Numbers of the windows of each stratum; None: there are none."""

    def __len__(self) -> int: ...


def draw(windows: Drawable, seed: int, step: int, batch_size: int) -> np.ndarray:
    """Numbers of the windows of a step, ``(batch_size,)``.

    With strata, each place takes a stratum uniformly, then one of its windows uniformly (KRONOS, Online Methods), so
    that a window may come twice. Without, windows come in epochs of ``len(windows) // batch_size`` steps, each in a
    random order of its own: within an epoch none comes twice, and those that do not fill a batch are left out of it.

    Parameters
    ----------
    windows
        `spatialfm.train.Windows`, or anything with a length and `strata`.
    seed
        Seed of the run.
    step
        Number of the step, from 0.
    batch_size
        Windows of a step, over all processes.

    Raises
    ------
    RunError
        If a batch is larger than the data.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> class Ten:
    ...     strata = None
    ...     def __len__(self):
    ...         return 10
    >>> sorted(np.concatenate([draw(Ten(), 0, step, 5) for step in (0, 1)]).tolist())
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """
    check_batch_size(len(windows), batch_size)
    if windows.strata is not None:
        return np.array([_from_strata(windows.strata, random_of(seed, step, place)) for place in range(batch_size)])
    epoch, place = divmod(step, steps_of_epoch(len(windows), batch_size))
    return _order(seed, epoch, len(windows))[place * batch_size : (place + 1) * batch_size].copy()


def steps_of_epoch(n_windows: int, batch_size: int) -> int:
    """Steps in which as many windows are drawn as there are, as far as these fill whole batches."""
    return n_windows // batch_size


def check_batch_size(n_windows: int, batch_size: int) -> None:
    """Refuse a batch that is larger than the data.

    Raises
    ------
    RunError
        If it is.
    """
    if not 1 <= batch_size <= n_windows:
        raise RunError(
            f"batch_size={batch_size}, and there {'is' if n_windows == 1 else 'are'} {counted(n_windows, 'window')}. "
            "Pass a smaller batch_size=, a smaller stride= or min_tissue=, or more images."
        )


def _from_strata(strata: Sequence[np.ndarray], rng: np.random.Generator) -> int:
    members = strata[int(rng.integers(len(strata)))]
    return int(members[int(rng.integers(len(members)))])


@lru_cache(maxsize=2)  # the steps of an epoch ask for the same order
def _order(seed: int, epoch: int, n_windows: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch, *EPOCHS]).permutation(n_windows)
