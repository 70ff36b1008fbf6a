"""Blocks as tasks of a `dask.distributed` client: the job travels once a worker, workers write to the shared store."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from .._errors import ModelError, RunError
from .._logging import logger
from ..models.encoder import resolve_device
from .engine import Block, Job, encode_block, read_block
from .store import BlockStore

if TYPE_CHECKING:
    from distributed import Client

MAX_PIXELS = 2**28  # bytes of images in memory that may be sent to every worker

_encoding = threading.Lock()  # one block at a time uses the processors or the GPU of a worker ...
_inside = threading.BoundedSemaphore(2)  # ... while the next one is read; more would only fill its memory
_moving = threading.Lock()
_here: dict[str, Job] = {}  # the job of the run at hand on this worker's device


def check_client(client: Client, folder: Path) -> None:
    """Refuse what is no client, and workers that do not see the folder where blocks are kept.

    Raises
    ------
    ModelError
        If it is not a synchronous, running client.
    RunError
        If a worker cannot see the folder.
    """
    from distributed import Client

    if not isinstance(client, Client):
        raise ModelError(
            f"client= is a {type(client).__name__}, not a dask.distributed.Client. Pass Client(cluster), or leave it "
            "out to run here."
        )
    if client.asynchronous or client.status != "running":
        state = "asynchronous" if client.asynchronous else client.status
        raise ModelError(f"client= is {state}. Pass a running, synchronous dask.distributed.Client.")
    probe = Path(folder) / f".seen-{uuid.uuid4().hex}"
    probe.touch()
    try:
        seen = client.run(os.path.exists, str(probe))
    finally:
        probe.unlink(missing_ok=True)
    if blind := [worker for worker, there in seen.items() if not there]:
        raise RunError(
            f"Worker {blind[0]} does not see {folder}, where finished blocks are kept. Set sfm.settings.cache_dir to a "
            "folder that this process and all workers share."
        )
    if not seen:
        logger.info("the cluster has no worker yet: blocks wait for the first one")


def run_on_client(
    client: Client,
    job: Job,
    blocks: Sequence[Block],
    todo: Sequence[int],
    store: BlockStore,
    *,
    batch_size: int,
    device: str | None,
    done: Callable[[int], object],
) -> None:
    """Encode blocks on the workers of a cluster; every one is in the store when it is reported.

    Parameters
    ----------
    client
        A `dask.distributed.Client`.
    job, blocks, todo, store
        The run, and the numbers of the blocks that are not finished.
    batch_size
        Windows a batch on each worker.
    device
        Device of each worker; None: the best that it has.
    done
        Called with the number of each block that is finished.

    Raises
    ------
    RunError
        If a block cannot be read or encoded, or its workers died several times. What is finished is kept.
    """
    from distributed import KilledWorker, as_completed

    _refuse_pixels_in_memory(job)
    run = str(store.path)
    shared = client.scatter(replace(job), broadcast=True, hash=False)
    futures = {
        client.submit(
            _encode, shared, blocks[number], number, run, batch_size, device, pure=False, retries=0, key=f"{_name()}"
        ): number
        for number in todo
    }
    try:
        for future in as_completed(list(futures)):
            number = futures[future]
            try:
                future.result()
            except KilledWorker as error:
                name = job.readers[blocks[number].sample].name
                raise RunError(
                    f"Block {number} (image {name!r}): its workers died again and again: {error}. Finished blocks are "
                    "kept: give workers more memory or lower sfm.settings.batch_memory, and repeat the same call."
                ) from error
            done(number)
    finally:
        client.cancel(list(futures), force=True)


def _name() -> str:
    return f"spatialfm-{uuid.uuid4().hex}"


def _refuse_pixels_in_memory(job: Job) -> None:
    """Images that are numpy arrays would travel with the job; those of a store are read where they are needed."""
    import cloudpickle

    for reader in job.readers:
        size = len(cloudpickle.dumps((reader.image, reader.labels)))
        if size > MAX_PIXELS:
            raise RunError(
                f"Image {reader.name!r} is in memory, and every worker would be sent its {size / 1e6:.0f} MB. Write "
                "the data and read it back: sdata.write('cohort.zarr'); sdata = spatialdata.read_zarr('cohort.zarr')."
            )


def _encode(job: Job, block: Block, number: int, run: str, batch_size: int, device: str | None) -> int:
    """On a worker: encode one block and write it. Only its number travels back."""
    store = BlockStore.at(Path(run))
    if store.has(number):  # given out again after its worker was lost
        return number
    with _inside:
        job = _on_device(job, run, device)
        pixels, labels = read_block(job, block)
        with _encoding:
            arrays, _ = encode_block(job, block, pixels, labels, batch_size)
        store.write(number, **arrays)
    return number


def _on_device(job: Job, run: str, device: str | None) -> Job:
    from distributed import get_worker

    with _moving:
        if run not in _here:
            _here.clear()  # the encoder of an earlier run leaves the GPU
            # blocks are encoded one by one: each takes all threads that the worker has
            torch.set_num_threads(max(1, get_worker().state.nthreads))
            _here[run] = job.to(resolve_device(device))
        return _here[run]
