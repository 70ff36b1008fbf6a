"""Real processes: the same call at once, a disk that is full or read-only, a store that is being replaced."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import spatialdata as sd

import spatialfm as sfm

EMBED = """
import sys, warnings
warnings.simplefilter("ignore")
import numpy as np, torch
torch.set_num_threads(1)
import spatialdata as sd
import spatialfm as sfm
from spatialfm.embed.windows.crop import CropJob
CropJob.block_side = 32
store, cache, out, resume, disk = sys.argv[1:]
sfm.settings.cache_dir, sfm.settings.progress = cache, False
sfm.settings.result_memory = 16 if disk == "disk" else "1 GiB"
sdata = sd.read_zarr(store)
print("ready", flush=True)
sys.stdin.readline()
run = {"batch_size": 2, "resume": resume == "resume"}
sfm.tl.embed_cells(sdata, "kronos", weights="random", markers=["DAPI", "CD3"], run=run)
np.save(out, np.asarray(sdata["table"].obsm["X_kronos"]))
"""


@pytest.fixture
def store(tmp_path):
    sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=128, random_state=0, difficulty="easy")
    sfm.pp.cell_table(sdata)
    sdata.write(tmp_path / "cohort.zarr")
    return tmp_path / "cohort.zarr"


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-c", EMBED, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("disk", ["memory", "disk"])
@pytest.mark.parametrize("resume", ["resume", "anew"])
def test_the_same_call_at_once(store, tmp_path, resume, disk):
    alone = start(store, tmp_path / "alone", tmp_path / "alone.npy", "resume", "memory")
    together = [start(store, tmp_path / "cache", tmp_path / f"{at}.npy", resume, disk) for at in range(3)]
    for process in [alone, *together]:
        assert process.stdout.readline().strip() == "ready"
    for process in [alone, *together]:
        process.stdin.write("\n")
        process.stdin.flush()
    logs = [process.communicate(timeout=300)[1] for process in [alone, *together]]
    assert [process.returncode for process in [alone, *together]] == [0] * 4, logs
    for at in range(3):
        np.testing.assert_array_equal(np.load(tmp_path / f"{at}.npy"), np.load(tmp_path / "alone.npy"))
    assert not list((tmp_path / "cache" / "runs").iterdir())
    if resume == "resume" and disk == "memory":
        assert any("the same call is at work (process " in log for log in logs[1:])


IN_TMPFS = """
set -e
mount -t tmpfs -o size=20m tmpfs "$1"
exec "$2" -c "$3" "$1" "$4"
"""
FULL = """
import subprocess, sys, warnings
warnings.simplefilter("ignore")
from pathlib import Path
import numpy as np
import spatialfm as sfm
folder, out = map(Path, sys.argv[1:])
sfm.settings.progress = False
sfm.settings.cache_dir = Path(out) / "elsewhere"
sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=96, random_state=0, difficulty="easy")
sfm.pp.cell_table(sdata)

def rows():
    return np.asarray(sfm.tl.embed_cells(sdata, "mean-intensity", copy=True).obsm["X_mean_intensity"])

def refused(call, what):
    try:
        call()
    except sfm._errors.RunError as error:
        assert what in str(error), error
    else:
        raise AssertionError(f"{what} was not refused")

def fill(left):
    ballast = folder / "ballast"
    try:
        with ballast.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
    except OSError:
        pass
    size = ballast.stat().st_size - left
    with ballast.open("r+b") as file:
        file.truncate(size)
    return ballast

expected = rows()
sfm.settings.cache_dir = folder / "cache"
for memory in (2**30, 16):
    sfm.settings.result_memory = memory
    for left in (0, 12288, 49152):
        ballast = fill(left)
        try:
            got = rows()
        except sfm._errors.RunError as error:
            assert "No space left on device" in str(error) and "repeat the same call" in str(error), error
            print("full", left)
        else:
            np.testing.assert_array_equal(got, expected)
        ballast.unlink()
        np.testing.assert_array_equal(rows(), expected)
        subprocess.run(["rm", "-rf", str(folder / "cache")], check=True)
sfm.settings.result_memory = 2**30
cells = sfm.tl.embed_cells(sdata, "mean-intensity", copy=True)
index = sfm.tl.build_index(cells, "X_mean_intensity")
index.save(folder / "index.npz")
before = (folder / "index.npz").read_bytes()
sfm.io.write(sdata, folder / "cohort.zarr")
ballast = fill(0)
refused(lambda: index.save(folder / "index.npz"), "Cannot write the index")
refused(lambda: sfm.io.write(sdata, folder / "cohort.zarr", overwrite=True), "Cannot write store")
assert sorted(path.name for path in folder.iterdir() if path.name != "cache") == ["ballast", "cohort.zarr", "index.npz"]
assert (folder / "index.npz").read_bytes() == before
ballast.unlink()
import spatialdata as sd
assert sd.read_zarr(folder / "cohort.zarr")["table"].n_obs == cells.n_obs
# read-only
subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
sfm.settings.cache_dir = folder / "cache"
refused(rows, "Read-only file system")
print("done")
"""


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode != 0,
    reason="no name spaces to mount a small disk in",
)
def test_a_disk_of_20_mb_that_is_full_and_then_read_only(tmp_path):
    (tmp_path / "disk").mkdir()
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", IN_TMPFS, "sh", tmp_path / "disk", sys.executable, FULL, tmp_path],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    *full, last = done.stdout.split("\n")[:-1]
    assert last == "done"
    assert len(full) >= 2


REPLACED = """
import os, signal, sys, warnings
warnings.simplefilter("ignore")
import spatialdata as sd
import spatialfm as sfm
from spatialfm.io import _write
path, step, exchange = sys.argv[1], int(sys.argv[2]), sys.argv[3]
if exchange == "renamed":
    _write._exchanged = lambda one, two: False
seen, put = [0], _write._put

def counted(call):
    def step_of(*args, **options):
        if seen[0] == step:
            os.kill(os.getpid(), signal.SIGKILL)
        seen[0] += 1
        return call(*args, **options)
    return step_of

def watched(partial, target):
    for name in ("replace", "unlink", "rmdir"):
        setattr(os, name, counted(getattr(os, name)))
    _write._exchanged = counted(_write._exchanged)
    put(partial, target)

_write._put = watched
sfm.io.write(sd.SpatialData(attrs={"study": "new"}), path, overwrite=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["exchanged", "renamed"])
def test_killed_at_each_step_of_replacing_a_store(tmp_path, how):
    path = tmp_path / "out" / "core.zarr"
    path.parent.mkdir()
    sfm.io.write(sd.SpatialData(attrs={"study": "old"}), path)
    for step in range(40):
        arguments = [sys.executable, "-c", REPLACED, str(path), str(step), how]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        if how == "exchanged":
            assert sd.read_zarr(path).attrs["study"] in ("old", "new")  # there is one at any moment
        sfm.io.write(sd.SpatialData(attrs={"study": "last"}), path, overwrite=True)
        assert [one.name for one in path.parent.iterdir()] == ["core.zarr"]
        assert sd.read_zarr(path).attrs["study"] == "last"
    assert 2 <= step < 40


def test_a_store_that_stepped_aside_comes_back(tmp_path):
    import platform

    path = tmp_path / "core.zarr"
    sfm.io.write(sd.SpatialData(attrs={"study": "old"}), path)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    os.rename(path, tmp_path / f"core.zarr.old-{platform.node()}-{dead.pid}")
    with pytest.raises(sfm._errors.InputFileError, match="is there already"):
        sfm.io.write(sd.SpatialData(), path)
    assert sd.read_zarr(path).attrs["study"] == "old"


HOLDING = """
import sys
from pathlib import Path
from spatialfm import _disk
_disk.Hold(Path(sys.argv[1])).take()
print("held", flush=True)
sys.stdin.readline()
"""


def test_a_process_that_is_suspended_holds_on(tmp_path, monkeypatch):
    """However long, by whatever clock; when it is killed in its sleep, what it held is cleared."""
    import time

    from spatialfm import _disk

    folder = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline().strip() == "held"
    os.kill(process.pid, signal.SIGSTOP)
    now = time.time
    for years in (0, 10, -10):
        monkeypatch.setattr(time, "time", lambda years=years: now() + years * 365 * 86400)
        (mark,) = tmp_path.glob(".*.holder-*.json")
        os.utime(mark, (1, 1))
        _disk.sweep(tmp_path)
        assert [holder.pid for holder in _disk.holders(folder)] == [process.pid]
    process.kill()
    process.wait()
    assert not _disk.holders(folder)
    assert not list(tmp_path.glob(".*.holder-*.json"))


@pytest.mark.slow
@pytest.mark.parametrize("disk", ["memory", "disk"])
def test_a_run_that_is_suspended_goes_on_where_another_has_finished_it(store, tmp_path, disk):
    """Stopped in mid-run; the same call is made, ends, and leaves the blocks to it; it wakes and ends with the same."""
    import time

    cache = tmp_path / "cache"
    asleep = start(store, cache, tmp_path / "asleep.npy", "resume", disk)
    assert asleep.stdout.readline().strip() == "ready"
    asleep.stdin.write("\n")
    asleep.stdin.flush()
    while not list(cache.glob("runs/*/block_*")):
        assert asleep.poll() is None, asleep.stderr.read()
        time.sleep(0.01)
    os.kill(asleep.pid, signal.SIGSTOP)
    awake = start(store, cache, tmp_path / "awake.npy", "resume", disk)
    _, log = awake.communicate("\n", timeout=600)
    assert awake.returncode == 0, log
    assert f"the same call is at work (process {asleep.pid} " in log
    assert list(cache.glob("runs/*/block_*"))  # of the one that sleeps
    os.kill(asleep.pid, signal.SIGCONT)
    _, log = asleep.communicate(timeout=600)
    assert asleep.returncode == 0, log
    np.testing.assert_array_equal(np.load(tmp_path / "asleep.npy"), np.load(tmp_path / "awake.npy"))
    assert not list((cache / "runs").iterdir())
