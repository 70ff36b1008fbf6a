"""What processes that read windows do before their first one."""

from __future__ import annotations

import os

import dask
import torch
from torch.utils.data import get_worker_info

_settled: set[int] = set()  # processes; a fork inherits those of its parent, and has another number


def settle_worker() -> None:
    """In a worker of a `torch.utils.data.DataLoader`, compute with one thread: there are as many workers as cores.

    Pixels are read by the calling thread alone, as threads of the parent do not live on in a fork.
    """
    if get_worker_info() is None or os.getpid() in _settled:
        return
    torch.set_num_threads(1)
    dask.config.set(scheduler="synchronous")
    _settled.add(os.getpid())
