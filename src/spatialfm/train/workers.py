"""What processes that read windows do before their first one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import dask
import torch
from torch.utils.data import get_worker_info

from ..pp.measure import one_thread

_settled: set[int] = set()  # processes; a fork inherits those of its parent, and has another number


def settle_worker() -> None:
    """In a worker of a `torch.utils.data.DataLoader`, compute with one thread: there are as many workers as cores."""
    if get_worker_info() is None or os.getpid() in _settled:
        return
    torch.set_num_threads(1)
    dask.config.set(scheduler="synchronous")
    _settled.add(os.getpid())


@contextmanager
def read_in_place() -> Iterator[None]:
    """In a worker, pixels are read by the calling thread alone: the pool of threads of the parent is dead there."""
    if get_worker_info() is None:
        yield
        return
    with one_thread():
        yield
