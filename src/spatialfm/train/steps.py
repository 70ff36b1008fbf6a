"""The windows of each step, made into views by processes that read ahead."""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from .._errors import RunError, SpatialfmError
from .batch import WindowSample, random_of
from .block import ArraysApart, in_one_block
from .objectives.objective import Views

CHANNELS, VIEWS = 1, 2  # purposes of random numbers, see `random_of`
FEW_CORES, MOST_WORKERS = 4, 8


class WindowSource(Protocol):
    """Where the windows of a step come from; it can be pickled."""

    def indices(self, step: int) -> Sequence[int] | np.ndarray:
        """Numbers of the windows of a step, over all processes: a pure function of the step."""

    def sample(self, index: int, rng: np.random.Generator) -> WindowSample:
        """One window, with what is random of it drawn from `rng`."""

    def describe(self, index: int) -> str:
        """A window in the words of a message: its sample and place."""


@dataclass(frozen=True)
class Made:
    """What a worker made of one window.

    Attributes
    ----------
    index
        Number of the window.
    views
        What the objective takes.
    names, constant
        Markers of the window, and which of them have one value in all of its pixels.
    problem
        Why it could not be made.
    """

    index: int
    views: Any = None
    names: tuple[str, ...] = ()
    constant: tuple[bool, ...] = ()
    problem: str = ""


class _MadeWindows(Dataset):
    """Windows by step, place in the batch and number."""

    def __init__(self, data: WindowSource, make: Views, seed: int) -> None:
        self.data, self.make, self.seed = data, make, seed

    def __getitem__(self, key: tuple[int, int, int]) -> Made:
        step, place, index = key
        try:
            sample = self.data.sample(index, random_of(self.seed, step, place, CHANNELS))
            views = self.make(sample, random_of(self.seed, step, place, VIEWS))
        except (SpatialfmError, OSError, ValueError, RuntimeError, KeyError) as error:
            return Made(index, problem=f"{type(error).__name__}: {error}")
        pixels = sample.pixels.numpy()
        flat = pixels.reshape(len(pixels), math.prod(pixels.shape[1:]))  # pieces of a table have none
        constant = tuple((flat == flat[:, :1]).all(axis=1).tolist())
        return Made(index, views, sample.names, constant)


class _Places(Sampler):
    """For each step, the places of one process: every `world`-th."""

    def __init__(self, data: WindowSource, steps: range, rank: int, world: int) -> None:
        self.data, self.steps, self.rank, self.world = data, steps, rank, world

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[tuple[int, int, int]]]:
        for step in self.steps:
            drawn = [int(index) for index in self.data.indices(step)]
            yield [(step, place, drawn[place]) for place in range(self.rank, len(drawn), self.world)]


def batches_of(
    data: WindowSource, make: Views, seed: int, steps: range, *, workers: int = 0, rank: int = 0, world: int = 1
) -> Generator[tuple[int, list[Made]], None, None]:
    """Steps with what workers made of their windows.

    Raises
    ------
    RunError
        If a window cannot be read, or a worker dies. What came before is not lost: it was given already.
    """
    loader: DataLoader = DataLoader(
        _MadeWindows(data, make, seed),
        batch_sampler=_Places(data, steps, rank, world),
        num_workers=workers,
        collate_fn=in_one_block if workers else list,
        worker_init_fn=_as_worker,
        prefetch_factor=2 if workers else None,
    )
    batches = iter(loader)
    with _deaths_seen_when_asked(batches, workers):
        for step in steps:
            try:
                given = next(batches)
                batch: list[Made] = given.unpacked() if isinstance(given, ArraysApart) else given
            except (RuntimeError, OSError, EOFError) as error:
                # a worker that was killed, by a lack of memory for example: torch's word for it, or a broken connection
                if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
                    raise
                raise RunError(
                    f"A process that reads windows ended unexpectedly at step {step:,}: {error}. If memory is short, "
                    "pass fewer workers=, or a smaller batch_size="
                ) from error
            if failed := [one for one in batch if one.problem]:
                first = failed[0]
                raise RunError(
                    f"Window {first.index} ({data.describe(first.index)}) could not be read at step {step:,}: "
                    f"{first.problem}"
                )
            yield step, batch


@contextmanager
def _deaths_seen_when_asked(batches: Any, workers: int) -> Iterator[None]:
    """A dead worker is noticed when its windows are asked for, not by a signal in the middle of a step.

    Torch answers the signal with an error wherever the process happens to be, such as between two weights.
    """
    if not workers or not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        # a dead one would stay on torch's list, and the next signal would end what runs then
        batches._shutdown_workers()
        signal.signal(signal.SIGCHLD, before)


def _as_worker(_: int) -> None:
    """One thread each: the cores belong to the network; Ctrl-C is answered by the process that trains."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers(processes: int = 1) -> int:
    """Reading processes of one of so many training processes of a machine."""
    own = cores() // max(1, processes)
    return 0 if own < FEW_CORES else min(MOST_WORKERS, own // 4)


@contextmanager
def shared_cores(workers: int, processes: int = 1) -> Iterator[None]:
    """Threads of torch, so that they, the workers and the other processes of a machine together fill the cores once."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(before, max(1, cores() // max(1, processes) - workers)))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def moved(value: Any, device: torch.device) -> Any:
    """Views on a device: tensors in lists, tuples, dicts and dataclasses; they are made on the CPU."""
    if device.type == "cpu":
        return value
    if isinstance(value, Tensor):
        return value.to(device)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{one.name: moved(getattr(value, one.name), device) for one in fields(value)})
    if isinstance(value, dict):
        return {key: moved(item, device) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(moved(item, device) for item in value))
    if isinstance(value, list | tuple):
        return type(value)(moved(item, device) for item in value)
    return value
