"""Blocks on a cluster: the same numbers, workers that die, clients and workers that are refused."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import cloudpickle
import dask.array as da
import numpy as np
import pytest
import spatialdata as sd
from distributed import Client, LocalCluster, get_task_stream
from stand_in import Sums

import spatialfm as sfm
from spatialfm._errors import ModelError, RunError, SpatialfmWarning
from spatialfm.embed.paint.job import PaintJob
from spatialfm.embed.run import distributed as module
from spatialfm.embed.run.distributed import check_client
from spatialfm.embed.windows.crop import CropJob
from spatialfm.embed.windows.tiles import TileJob

CHANNELS = ["DAPI", "CD3"]
for name in (__name__, "stand_in"):  # workers cannot import a test
    cloudpickle.register_pickle_by_value(sys.modules[name])


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def cluster_here():
    """A worker in this process, which has imported everything."""
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
        yield cluster


@pytest.fixture
def client_here(cluster_here):
    with Client(cluster_here) as client:
        yield client


@pytest.fixture(scope="module")
def kronos():
    return sfm.models.load("kronos", weights="random")


@pytest.fixture
def client(cluster):
    with Client(cluster) as client:
        client.wait_for_workers(2, timeout=60)
        yield client


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("images") / "cohort.zarr"


@pytest.fixture
def small(make_sdata, blobs, store):
    """Two images, written once and read back."""
    if store.exists():
        return sd.read_zarr(store)
    sdata = make_sdata({"a": blobs(0, n_channels=2, side=100), "b": blobs(1, n_channels=2, side=80)}, CHANNELS)
    sfm.pp.cell_table(sdata)
    sdata.write(store)
    return sd.read_zarr(store)


@pytest.fixture
def many_blocks(monkeypatch):
    for job in (CropJob, TileJob):
        monkeypatch.setattr(job, "block_side", 30)


def finished_blocks() -> list[Path]:
    return list((sfm.settings.cache_dir / "runs").glob("*/block_*"))


def left_behind() -> list[Path]:
    # a block that a worker had at hand when the run stopped may still be on its way to the store: no job may
    return list((sfm.settings.cache_dir / "runs").rglob(".job-*"))


@pytest.mark.slow  # processes that import everything
@pytest.mark.parametrize(
    "options",
    [
        {"run": {"batch_size": 2}},
        {"recipe": {"mode": "tile", "window": 32, "stride": 16, "padding": 16}, "outputs": "patch"},
    ],
)
def test_two_workers_give_what_this_process_gives(client, small, kronos, monkeypatch, options):
    arguments = {"markers": CHANNELS, "copy": True} | options
    here = sfm.tl.embed_cells(small, kronos, **arguments).obsm["X_kronos"]
    for job in (CropJob, TileJob):
        monkeypatch.setattr(job, "block_side", 40)
    with get_task_stream(client=client) as stream:
        table = sfm.tl.embed_cells(small, kronos, **arguments | {"run": {**options.get("run", {}), "client": client}})
    there = table.obsm["X_kronos"]
    assert sfm.get.record(table, "X_kronos")["device"] == f"{sfm.settings.device} of each worker"
    assert np.linalg.norm(there - here) <= 1e-5 * np.linalg.norm(here)
    np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-5)
    ours = [task for task in stream.data if str(task["key"]).startswith("spatialfm-")]
    assert len(ours) >= 8
    assert len({task["worker"] for task in ours}) == 2
    assert not finished_blocks()
    assert not left_behind()
    assert not any(client.run(held).values()), "workers keep the encoder of a run that is over"


def held():
    return len(sys.modules["spatialfm.embed.run.distributed"]._here)


def planned(sdata):
    """The job of a run and its block side."""
    from spatialfm.embed.call import request_of
    from spatialfm.embed.inputs import prepare_inputs
    from spatialfm.embed.plan import plan_cells
    from spatialfm.embed.windows.cells import find_cells
    from spatialfm.pp.elements import match_elements

    pairs = match_elements(sdata, None, None)
    cells = find_cells(sdata, pairs, sdata["table"], "table", "raise")
    encoder = Sums()
    return plan_cells(prepare_inputs(sdata, pairs, encoder, request_of(encoder)), cells).job, CropJob.block_side


class Drive:
    """An image that only this process can read until it is fixed."""

    def __init__(self, image, fixed):
        self.image, self.fixed, self.home = image, fixed, os.getpid()
        self.shape, self.dtype, self.ndim = image.shape, image.dtype, image.ndim

    def __getitem__(self, key):
        if os.getpid() != self.home and not self.fixed.exists():
            raise OSError(5, "Input/output error")
        return self.image[key]


@pytest.mark.slow  # processes that import everything
def test_a_read_error_names_the_image_and_keeps_what_is_finished(client, small, many_blocks, tmp_path):
    image = small["image_b"].data.compute()
    small.images["image_b"].data = da.from_array(
        Drive(image, tmp_path / "fixed"), chunks=(1, 64, 64), asarray=False, name="drive"
    )
    here = sfm.tl.embed_cells(small, Sums(), copy=True).obsm["X_sums"]
    with pytest.raises(RunError, match=r"image 'image_b'.*Input/output error.*Finished blocks are kept"):
        sfm.tl.embed_cells(small, Sums(), run={"client": client})
    assert "X_sums" not in small["table"].obsm
    kept = {path: path.stat().st_ino for path in finished_blocks()}
    assert len(kept) >= 2
    assert not left_behind()
    (tmp_path / "fixed").touch()
    with get_task_stream(client=client) as stream:
        there = sfm.tl.embed_cells(small, Sums(), run={"client": client}, copy=True).obsm["X_sums"]
    np.testing.assert_allclose(there, here, rtol=1e-5)
    n_blocks = len(CropJob.plan(*planned(small)))
    assert 0 < len([task for task in stream.data if str(task["key"]).startswith("spatialfm-")]) <= n_blocks - len(kept)


def test_what_fails_in_the_model_names_image_and_block(client_here, small, many_blocks):
    def before(n):
        raise ZeroDivisionError("no such luck")

    with pytest.raises(RunError, match=r"Block \d+ \(image 'image_[ab]', rows .*ZeroDivisionError: no such luck"):
        sfm.tl.embed_cells(small, Sums(before), run={"client": client_here})
    with pytest.raises(ModelError, match=r"Device 'quantum' cannot be used.*run=..devices.: 'cpu'"):
        sfm.tl.embed_cells(small, Sums(), run={"client": client_here, "devices": "quantum"})
    sfm.settings.device = "quantum"  # what this session set holds for its workers
    with pytest.raises(ModelError, match=r"Device 'quantum' cannot be used"):
        sfm.tl.embed_cells(small, Sums(), run={"client": client_here})
    assert not left_behind()


def test_replaced_pixels_are_told_here(client_here, make_sdata, blobs, many_blocks):
    image, labels = blobs(0, n_channels=2, side=80)
    image = image.astype(np.float32)
    sdata = make_sdata({"a": (image, labels)}, CHANNELS)
    sfm.pp.cell_table(sdata)
    bad = image.copy()
    bad[1, 40, 40] = np.nan
    sdata.images["image_a"] = make_sdata({"a": (bad, labels)}, CHANNELS)["image_a"]
    said = r"NaN or infinite in 1 image: 'image_a' \(channel 'CD3': 1 pixel\): they count as 0"
    with pytest.warns(SpatialfmWarning, match=said):
        here = sfm.tl.embed_cells(sdata, Sums(), copy=True, recipe={"on_nan": "zero"}).obsm["X_sums"]
    with pytest.warns(SpatialfmWarning, match=said):
        there = sfm.tl.embed_cells(
            sdata, Sums(), copy=True, recipe={"on_nan": "zero"}, run={"client": client_here}
        ).obsm["X_sums"]
    np.testing.assert_allclose(there, here, rtol=1e-5)


def test_images_in_memory_are_not_sent_to_every_worker(client_here, make_sdata, blobs, monkeypatch):
    sdata = make_sdata({"a": blobs(0, n_channels=2), "b": blobs(1, n_channels=2, side=200)}, CHANNELS)
    monkeypatch.setattr(module, "MAX_PIXELS", 100_000)
    with pytest.raises(RunError, match=r"are in memory, the largest 'image_b',.*MB\. Write .*sdata\.write.*read_zarr"):
        sfm.tl.embed_cells(sdata, Sums(), run={"client": client_here})
    assert not sdata.tables
    assert not finished_blocks()


def test_what_cannot_be_sent_is_refused(client_here, small):
    lock = threading.Lock()
    with pytest.raises(RunError, match=r"sums cannot be sent to workers: .*lock.*Leave run=..client.: .... out"):
        sfm.tl.embed_cells(small, Sums(lambda n: lock.locked()), run={"client": client_here})
    image = Drive(small["image_a"].data.compute(), None)
    image.lock = lock
    small.images["image_a"].data = da.from_array(image, chunks=64, asarray=False, name="locked")
    with pytest.raises(RunError, match=r"Image 'image_a' cannot be sent to workers: .*lock.*sdata\.write"):
        sfm.tl.embed_cells(small, Sums(), run={"client": client_here})
    assert not left_behind()


class Unread:
    """Pixels that nobody may touch."""

    def __init__(self, shape, dtype):
        self.shape, self.dtype, self.ndim = shape, np.dtype(dtype), len(shape)

    def __getitem__(self, key):
        raise AssertionError("an image was read before the client was checked")


def test_a_wrong_client_is_refused_before_anything_is_read(cluster_here, client_here, small, tmp_path, monkeypatch):
    for name in ("image_a", "image_b"):
        unread = Unread(small[name].shape, small[name].dtype)
        small.images[name].data = da.from_array(unread, chunks=64, asarray=False, name=f"unread-{name}")

    def refused(kind, message, client, **run):
        with pytest.raises(kind, match=message):
            sfm.tl.embed_cells(small, Sums(), run={"client": client, **run})

    refused(
        ModelError,
        r"run=..client.: .... is a LocalCluster, not a dask\.distributed\.Client\. Pass Client\(cluster\)",
        cluster_here,
    )
    closed = Client(cluster_here)
    closed.close()
    refused(ModelError, r"run=..client.: .... is closed\. Pass a running, synchronous", closed)
    refused(ModelError, r"run=..devices.: .... is one device of each worker", client_here, devices=["cpu", "cpu"])

    async def asynchronous():
        async with Client(cluster_here.scheduler_address, asynchronous=True) as inside:
            refused(ModelError, r"run=..client.: .... is asynchronous\. Pass a running, synchronous", inside)

    asyncio.run(asynchronous())

    def answers(answer):
        return lambda *args, **kwargs: {"tcp://10.0.0.7:1234": answer}

    monkeypatch.setattr(client_here, "run", answers((False, sfm.__version__)))
    refused(RunError, r"Worker tcp://10\.0\.0\.7:1234 does not see .*runs.*sfm\.settings\.cache_dir", client_here)
    monkeypatch.setattr(client_here, "run", answers((True, "0.0.1")))
    refused(RunError, r"Worker tcp://10\.0\.0\.7:1234 has spatialfm 0\.0\.1, this process .*Install", client_here)
    monkeypatch.setattr(client_here, "run", answers(TypeError("another Python")))
    refused(RunError, r"Worker tcp://10.*TypeError: another Python.*Install the same version", client_here)
    monkeypatch.setattr(client_here, "run", answers(OSError("gone")))
    check_client(client_here, tmp_path)  # a worker that was lost at this moment is not a reason to refuse
    monkeypatch.undo()
    check_client(client_here, tmp_path)
    assert not list(tmp_path.glob(".seen-*"))
    assert "X_sums" not in small["table"].obsm
    assert not finished_blocks()


@pytest.mark.slow  # processes that import everything
def test_a_worker_without_the_folder_or_the_package_is_found(client, tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()

    def elsewhere(dask_worker):  # what a worker that mounts another disk under this name would see
        import os

        dask_worker._exists, os.path.exists = os.path.exists, lambda path: False

    def without(dask_worker):
        import sys

        dask_worker._package = {name: sys.modules.get(name) for name in ("spatialfm", "spatialfm._version")}
        sys.modules.update(dict.fromkeys(dask_worker._package))

    def fix(dask_worker):
        import os
        import sys

        os.path.exists = getattr(dask_worker, "_exists", os.path.exists)
        for name, loaded in getattr(dask_worker, "_package", {}).items():
            sys.modules.pop(name, None)
            if loaded is not None:
                sys.modules[name] = loaded

    address = sorted(client.nthreads())[1]
    try:
        client.run(elsewhere, workers=[address])
        with pytest.raises(RunError, match=rf"Worker {address} does not see .*home"):
            check_client(client, folder)
        client.run(fix, workers=[address])
        client.run(without, workers=[address])
        with pytest.raises(RunError, match=rf"Worker {address} has spatialfm not: .*Install the same version"):
            check_client(client, folder)
    finally:
        client.run(fix, workers=[address])
    check_client(client, folder)


def when(happened, act):
    """A thread that acts as soon as something has happened, or after half a minute."""

    def watch():
        until = time.monotonic() + 30
        while not happened() and time.monotonic() < until:
            time.sleep(0.05)
        act()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_blocks_wait_for_workers_and_a_cluster_that_ends_is_an_error(small, many_blocks, monkeypatch, caplog):
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    here = sfm.tl.embed_cells(small, Sums(), copy=True).obsm["X_sums"]
    with (
        LocalCluster(n_workers=0, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
        caplog.at_level(logging.INFO, logger="spatialfm"),
    ):
        later = when(lambda: "blocks wait for one" in caplog.text, lambda: cluster.scale(1))
        there = sfm.tl.embed_cells(small, Sums(), copy=True, run={"client": client}).obsm["X_sums"]
        later.join()
        np.testing.assert_allclose(there, here, rtol=1e-5)
        assert "no worker yet" in caplog.text
        assert caplog.text.count("blocks wait for one") == 1
        ender = when(finished_blocks, client.close)
        with pytest.raises(RunError, match=r"Finished blocks are kept"):
            sfm.tl.embed_cells(small, Sums(lambda n: time.sleep(0.3)), run={"client": client})
        ender.join()
    assert "X_sums" not in small["table"].obsm
    assert not left_behind()


@pytest.mark.slow  # processes that import everything
def test_only_what_this_process_wrote_is_unpickled(client, small, many_blocks, monkeypatch):
    class Fire:
        def __reduce__(self):
            return os._exit, (1,)

    original = module.cloudpickle.dump

    def dump(order, file, **options):
        original(order, file, **options)
        file.file.seek(0)
        file.file.truncate()
        file.file.write(cloudpickle.dumps(Fire()))

    monkeypatch.setattr(module.cloudpickle, "dump", dump)
    with pytest.raises(RunError, match=r"is not what this run wrote"):
        sfm.tl.embed_cells(small, Sums(), run={"client": client})


def test_a_run_folder_that_is_removed_while_workers_write_is_made_again(
    client_here, small, many_blocks, tmp_path, caplog
):
    """Blocks and the job itself are gone, and workers may not make the folder: this process does, and begins again."""
    here = sfm.tl.embed_cells(small, Sums(), copy=True).obsm["X_sums"]
    starts, runs = tmp_path / "starts", sfm.settings.cache_dir / "runs"
    starts.mkdir()

    def before(n):
        (starts / uuid.uuid4().hex).touch()
        if len(list(starts.iterdir())) >= 4:
            with suppress(FileExistsError):  # one worker does it, once
                (tmp_path / "removed").mkdir()
                next(path for path in runs.iterdir() if path.is_dir()).rename(tmp_path / "removed" / "run")

    there = sfm.tl.embed_cells(small, Sums(before), copy=True, run={"client": client_here}).obsm["X_sums"]
    np.testing.assert_allclose(there, here, rtol=1e-5)
    assert len(list(starts.iterdir())) > len(CropJob.plan(*planned(small)))
    assert "was removed while workers wrote to it. Trying again now." in caplog.text
    assert not list(runs.iterdir())


def test_a_machine_that_slept_looks_again_before_it_gives_up(tmp_path, monkeypatch):
    """Time that passes while nobody looks is not a reason: a block that is there after an hour of sleep is found."""
    from spatialfm.embed.run.store import BlockStore

    with BlockStore(tmp_path, "a" * 64) as store:
        clock = [0.0]

        def sleep(seconds):
            clock[0] += 3600
            store.write(0, rows=np.zeros(3))

        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=sleep))
        module._wait_for(store, [0])
        with pytest.raises(RunError, match="1 block .the first: 7. written by workers cannot be seen"):
            module._wait_for(store, [0, 7])


def test_whole_images_are_predicted_on_a_cluster_to_the_same_bytes(client_here, make_sdata, blobs, store, monkeypatch):
    monkeypatch.setattr(PaintJob, "block_side", 128)
    sdata = make_sdata({"a": blobs(0, n_channels=3, side=200)}, ["CD3", "CD20", "CD68"], mpp=1.0)
    tiny = sfm.models.new_encoder("virtues", dim=8, heads=1, depth=2, decoder_depth=1)
    statistics = {"CD3": (3.0, 1.0), "CD20": (3.0, 1.0), "CD68": (3.0, 1.0)}
    images = {}
    for name, run in (("here", {"resume": False}), ("there", {"client": client_here, "resume": False})):
        options = run | {"batch_size": 2}
        sfm.tl.impute_markers(sdata, tiny, markers=["CD4"], recipe={"statistics": statistics}, run=options)
        images[name] = sdata["image_a_imputed"].values.copy()
    np.testing.assert_array_equal(images["here"], images["there"])
    assert images["here"].std() > 0
    assert not finished_blocks()


# what dies takes seconds to come back and to import everything again
@pytest.mark.slow
def test_a_worker_that_is_killed_midway_costs_nothing_but_time(client, small, many_blocks, tmp_path):
    here = sfm.tl.embed_cells(small, Sums(), copy=True).obsm["X_sums"]
    starts, killed = tmp_path / "starts", tmp_path / "killed"
    starts.mkdir()

    def before(n):
        (starts / f"{os.getpid()}-{uuid.uuid4().hex}").touch()
        time.sleep(0.05)
        if len(list(starts.glob(f"{os.getpid()}-*"))) == 3:  # in the midst of its third block, and only once
            try:
                killed.touch(exist_ok=False)
            except FileExistsError:
                return
            killed.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)

    pids = set(client.run(os.getpid).values())
    there = sfm.tl.embed_cells(small, Sums(before), copy=True, run={"client": client}).obsm["X_sums"]
    np.testing.assert_allclose(there, here, rtol=1e-5)
    assert int(killed.read_text()) in pids
    n_blocks = len(CropJob.plan(*planned(small)))
    assert len(list(starts.iterdir())) > n_blocks > 4  # the block at hand was done again
    assert not left_behind()


@pytest.mark.slow
def test_a_block_that_kills_every_worker_ends_the_run(cluster, client, small, many_blocks, monkeypatch):
    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 0)

    def before(n):
        os._exit(1)

    with pytest.raises(
        RunError, match=r"Block \d+ \(image 'image_[ab]', rows.*its workers died.*settings\.batch_memory"
    ):
        sfm.tl.embed_cells(small, Sums(before), run={"client": client})
    assert "X_sums" not in small["table"].obsm
    assert not left_behind()
