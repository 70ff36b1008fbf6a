"""Blocks as tasks of a `dask.distributed` client: the job travels once a worker, workers write to the shared store.

The job is in the run's folder while the run goes on, not in the memory of the cluster: it outlives every worker, and
those that join late find it. Tasks are numbers of blocks.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import cloudpickle
import torch

from ... import _disk
from ..._errors import ModelError, RunError, SpatialfmError, counted
from ..._logging import logger
from ..._settings import settings
from ..._version import __version__
from ...models.encoder import resolve_device
from ..pixels.reader import SampleReader
from .block import Block
from .engine import Job, encode_block, read_block
from .store import BlockLost, BlockStore

if TYPE_CHECKING:
    from distributed import Client, Future

MAX_PIXELS = 2**28  # bytes of images in memory that may be sent to every worker
PATIENCE = 30.0  # seconds without news after which the cluster is asked whether it has workers
FOLDER_DELAY = 60.0  # seconds that a network folder may take to show what another machine wrote
_LOOK_EVERY = 0.2

_encoding = threading.Lock()  # one block at a time uses the processors or the GPU of a worker ...
_inside = threading.BoundedSemaphore(2)  # ... while the next one is read; more would only fill its memory
_moving = threading.Lock()
_here: dict[str, _Order] = {}  # the run at hand in this process, on its device


@dataclass
class _Order:
    """What a worker needs of a run."""

    job: Job
    blocks: Sequence[Block]
    run: str
    batch_size: int  # halved where the worker's memory does not suffice
    device: str | None
    names: Sequence[str] | None = None  # as of `BlockStore`


def check_client(client: Client, folder: Path) -> None:
    """Refuse what is not a client, and workers that cannot take part.

    Raises
    ------
    ModelError
        If it is not a synchronous, running client.
    RunError
        If a worker has no spatialfm, or another version of it, or does not see the folder where blocks are kept.
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
    probe = Path(folder).absolute() / _disk.name_beside()
    probe.touch()
    try:
        answers = client.run(_make_look(), str(probe), on_error="return")
    finally:
        probe.unlink(missing_ok=True)
    for worker, answer in answers.items():
        if isinstance(answer, OSError):  # lost at this moment: it takes no block
            continue
        seen, version = answer if isinstance(answer, tuple) else (False, f"{type(answer).__name__}: {answer}")
        if version != __version__:
            raise RunError(
                f"Worker {worker} has spatialfm {version}, this process {__version__}. Install the same version in the "
                "environment of all workers."
            )
        if not seen:
            raise RunError(
                f"Worker {worker} does not see {folder}, where finished blocks are kept. Set sfm.settings.cache_dir to "
                "a folder that this process and all workers share."
            )
    if not answers:
        logger.info("the cluster has no worker yet: blocks wait for the first one")


def _make_look() -> Callable[[str], tuple[bool, str]]:
    # a function within a function is sent by value: it runs where spatialfm is not installed, and imports no torch
    def look(path: str) -> tuple[bool, str]:
        import os

        try:
            from spatialfm._version import __version__ as version
        except ImportError as error:
            version = f"not: {error}"
        return os.path.exists(path), version

    return look


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
    """Encode blocks on the workers of a cluster; every one is in the store at the end.

    Parameters
    ----------
    client
        A `dask.distributed.Client`.
    job, blocks, todo, store
        The run, and the numbers of the blocks that are not finished.
    batch_size
        Windows a batch on each worker.
    device
        Device of each worker; None: ``settings.device`` of this process, or the best that the worker has.
    done
        Called with the number of each block that is finished.

    Raises
    ------
    RunError
        If images are in memory and large, if a block cannot be read or encoded, if its workers died several times, or
        if the cluster is gone. What is finished is kept.
    """
    if not todo:
        return
    _refuse_pixels_in_memory(job)
    device = device or str(settings.device)
    path = store.path.absolute()
    if not path.is_dir():
        store.come_back()
    # `replace` leaves what was computed on the way (a compiled encoder) behind
    order = _Order(replace(job), blocks, str(path), batch_size, None if device == "auto" else device, store.names)
    with _laid_down(order, path) as (file, digest):
        futures = {
            client.submit(_encode, file, digest, number, pure=False, key=f"spatialfm-{uuid.uuid4().hex}"): number
            for number in todo
        }
        try:
            for future in _as_finished(client, list(futures)):
                number = futures[future]
                try:
                    _check_result(future, number, job, blocks[number])
                except RunError as error:
                    if path.is_dir() and Path(file).exists():
                        raise
                    raise BlockLost(f"{path} was removed while workers wrote to it.") from error
                done(number)
        finally:
            if client.status == "running":
                with suppress(Exception):  # what went wrong before this is what the user must read
                    client.cancel([future for future in futures if not future.done()], force=True)
                    client.run(_make_forget(), file, on_error="ignore")
    _wait_for(store, todo)


def _refuse_pixels_in_memory(job: Job) -> None:
    """Images that are numpy arrays would travel with the job; those of a store are read where they are needed."""
    sizes = {reader.name: _pickled_size(reader) for reader in job.readers}
    largest, total = max(sizes, key=sizes.__getitem__), sum(sizes.values())
    if total > MAX_PIXELS:
        raise RunError(
            f"{counted(len(sizes), 'image is', 'images are')} in memory, the largest {largest!r}, and every worker "
            f"would be sent their {total / 1e6:.0f} MB. Write the data and read it back: "
            "sdata.write('/shared/cohort.zarr'); sdata = spatialdata.read_zarr('/shared/cohort.zarr')."
        )


def _pickled_size(reader: SampleReader) -> int:
    buffers: list = []  # of arrays, which are counted without being copied
    try:
        pickled = cloudpickle.dumps((reader.image, reader.labels), protocol=5, buffer_callback=buffers.append)
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        raise RunError(
            f"Image {reader.name!r} cannot be sent to workers: {error}. Write the data and read it back: "
            "sdata.write('/shared/cohort.zarr'); sdata = spatialdata.read_zarr('/shared/cohort.zarr')."
        ) from error
    return len(pickled) + sum(buffer.raw().nbytes for buffer in buffers)


class _Digested:
    """A file whose SHA-256 is taken as it is written."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.sha256 = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        return self.file.write(data)


@contextmanager
def _laid_down(order: _Order, folder: Path) -> Iterator[tuple[str, str]]:
    """The order as a file that all workers read, and its SHA-256."""
    path = folder / f".job-{uuid.uuid4().hex}.pickle"
    try:
        try:
            with path.open("wb") as file:
                digested = _Digested(file)
                cloudpickle.dump(order, digested, protocol=5)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RunError(
                f"Cannot write the job to {folder}: {error.strerror}. Finished blocks are kept: make room and repeat "
                "the same call."
            ) from error
        except (TypeError, AttributeError, pickle.PicklingError) as error:
            raise RunError(
                f"{order.job.encoder.card.name} cannot be sent to workers: {error}. Leave client= out to run here."
            ) from error
        yield str(path), digested.sha256.hexdigest()
    finally:
        path.unlink(missing_ok=True)


def _as_finished(client: Client, futures: Sequence[Future]) -> Iterator[Future]:
    """Futures as they come to an end; warns when no worker is left for them."""
    finished: queue.SimpleQueue[Future] = queue.SimpleQueue()
    for future in futures:
        future.add_done_callback(finished.put)
    left, warned = len(futures), False
    while left:
        try:
            yield finished.get(timeout=PATIENCE)
            left, warned = left - 1, False
        except queue.Empty:
            if client.status != "running":
                raise RunError(
                    f"The connection to the cluster is {client.status}, and {counted(left, 'block is', 'blocks are')} "
                    "not done. Finished blocks are kept: start a cluster and repeat the same call."
                ) from None
            if not warned and not client.nthreads():
                logger.warning("the cluster has no worker: %s for one", counted(left, "block waits", "blocks wait"))
                warned = True


def _check_result(future: Future, number: int, job: Job, block: Block) -> None:
    """Raise the error of a task as one that names the image and the block."""
    from concurrent.futures import CancelledError

    from distributed import KilledWorker

    where = (
        f"Block {number} (image {job.readers[block.sample].name!r}, rows {block.y0} to {block.y1}, columns {block.x0} "
        f"to {block.x1})"
    )
    try:
        future.result()
    except SpatialfmError:
        raise
    except KilledWorker as error:
        raise RunError(
            f"{where}: its workers died again and again: {error} Finished blocks are kept: give workers more memory "
            "or lower sfm.settings.batch_memory, and repeat the same call."
        ) from error
    except CancelledError as error:
        raise RunError(
            f"{where} was cancelled: {error}. Finished blocks are kept: repeat the same call with a running cluster."
        ) from error
    except Exception as error:
        raise RunError(
            f"{where} failed on its worker: {type(error).__name__}: {error}. Finished blocks are kept: correct it and "
            "repeat the same call."
        ) from error


def _wait_for(store: BlockStore, numbers: Sequence[int]) -> None:
    """Blocks that other machines wrote may appear late on a network folder."""
    looks = 0  # counted, not timed: a machine that slept meanwhile has not looked
    while missing := [number for number in numbers if not store.has(number)]:
        if not store.path.is_dir():
            raise BlockLost(f"{store.path} was removed while workers wrote to it.")
        looks += 1
        if looks > FOLDER_DELAY / _LOOK_EVERY:
            raise RunError(
                f"{counted(len(missing), 'block')} (the first: {missing[0]}) written by workers cannot be seen in "
                f"{store.path}. Set sfm.settings.cache_dir to a folder that this process and all workers share, and "
                "repeat the same call."
            )
        time.sleep(_LOOK_EVERY)
        os.listdir(store.path)  # makes a network folder be listed again


def _encode(file: str, digest: str, number: int) -> None:
    """On a worker: encode one block and write it. Nothing travels back."""
    with _inside:
        order = _on_device(file, digest)
        store, job, block = BlockStore.at(Path(order.run), order.names), order.job, order.blocks[number]
        if store.has(number):  # given out again after its worker was lost
            return
        pixels, labels = read_block(job, block)
        with _encoding, _all_threads():
            arrays, order.batch_size = encode_block(job, block, pixels, labels, order.batch_size)
        store.write(number, **arrays)


@contextmanager
def _all_threads() -> Iterator[None]:
    """Blocks are encoded one by one, so that each takes all threads of the worker; dask starts torch with one."""
    from distributed import get_worker

    before = torch.get_num_threads()
    torch.set_num_threads(max(1, get_worker().state.nthreads))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _on_device(file: str, digest: str) -> _Order:
    with _moving:
        if file not in _here:
            _here.clear()  # the encoder of an earlier run leaves the GPU
            order = _read_order(Path(file), digest)
            order.job = order.job.to(resolve_device(order.device))
            _here[file] = order
        return _here[file]


def _read_order(path: Path, digest: str) -> _Order:
    from distributed import get_worker

    try:
        data = path.read_bytes()
    except OSError as error:
        raise RunError(
            f"Worker {get_worker().address} does not see the job in {path.parent}: {error.strerror}. Set "
            "sfm.settings.cache_dir to a folder that all workers share."
        ) from error
    # a pickle can do anything: only the one that the caller wrote is read
    if hashlib.sha256(data).hexdigest() != digest:
        raise RunError(f"{path} is not what this run wrote there. Repeat the same call.")
    return cloudpickle.loads(data)


def _make_forget() -> Callable[[str], None]:
    # by value, as above: workers that did no block need not import torch for this
    def forget(file: str) -> None:
        import sys

        module = sys.modules.get("spatialfm.embed.run.distributed")
        if module is not None:
            module._here.pop(file, None)

    return forget
