"""Run a call in processes that die at a given step of what they do to the disk; started by `test_faults_signals.py`.

Each line of standard input is a case ``<kind> <where> <signal>``; each line of standard output the number of steps at
which a process died, after which the same call was made again and gave the same bytes.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import traceback
from pathlib import Path

import dask.threaded
import numpy as np
import torch

import spatialfm as sfm
from spatialfm.embed.pixels.reader import SampleReader
from spatialfm.embed.run.store import BlockStore
from spatialfm.embed.windows.crop import CropJob
from spatialfm.embed.windows.tiles import TileJob

STEPS = ("mkdir", "replace", "rename", "unlink", "remove", "rmdir", "fsync")
CALLS = {
    "crop": lambda sdata: sfm.tl.embed_cells(sdata, "mean-intensity", copy=True).obsm["X_mean_intensity"],
    "cohort": lambda sdata: sfm.tl.embed_cells(
        sdata, "kronos", weights="random", recipe={"statistics": "cohort"}, copy=True
    ).obsm["X_kronos"],
    "tile": lambda sdata: sfm.tl.embed_cells(
        sdata,
        "kronos",
        weights="random",
        recipe={"mode": "tile", "window": 16, "stride": 16, "padding": 0},
        outputs="patch",
        copy=True,
    ).obsm["X_kronos"],
    "grid": lambda sdata: sfm.tl.embed_tiles(
        sdata, "mean-intensity", size=16, recipe={"tissue": "all"}, copy=True
    ).obsm["X_mean_intensity"],
}


def die_at(step: int, where: str, number: int) -> None:
    """Send this process a signal before its `step`-th call of one of `STEPS`; of "removal", once that has begun.

    Of "statistics": before each read of pixels, and each of `STEPS`, until the first block is encoded.
    """
    seen = [0, where != "removal"]
    remove = BlockStore.remove

    def removal(self):
        seen[1] = True
        remove(self)

    BlockStore.remove = removal

    def counted(call):
        def step_of(*args, **options):
            if seen[1]:
                if seen[0] == step:
                    os.kill(os.getpid(), number)
                seen[0] += 1
            return call(*args, **options)

        return step_of

    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))
    if where == "statistics":
        encode = CropJob.encode_block

        def encoded(*args, **options):
            seen[1] = False
            return encode(*args, **options)

        SampleReader.pixels, CropJob.encode_block = counted(SampleReader.pixels), encoded


def in_child(work) -> int:
    """What `work` ended with in its own process: 0, or minus the signal."""
    if not (pid := os.fork()):
        code, dask.threaded.default_pool = 1, None  # its threads are not in the child
        try:
            work()
            code = 0
        except KeyboardInterrupt:
            code = 2
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    status = os.waitpid(pid, 0)[1]
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def case(kind: str, where: str, number: int, folder: Path) -> int:
    """Steps at which a process died."""
    sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=64, random_state=0, difficulty="easy")
    sfm.pp.cell_table(sdata)
    out = folder / "rows.npy"

    def embed():
        np.save(out, np.asarray(CALLS[kind](sdata)))

    sfm.settings.cache_dir = folder / "undisturbed"
    assert in_child(embed) == 0
    expected = np.load(out)
    sfm.settings.cache_dir = folder / "cache"
    for step in range(400):
        out.unlink()

        def disturbed(step=step):
            die_at(step, where, number)
            embed()

        ended = in_child(disturbed)
        if ended == 0:  # it came to its end before that step
            return step
        assert ended == (2 if number == signal.SIGINT else -number), (step, ended)
        assert in_child(embed) == 0, step
        np.testing.assert_array_equal(np.load(out), expected)
        left = [path for path in sfm.settings.cache_dir.rglob("*") if path.name.startswith((".", "block_"))]
        assert not left, (step, left)
        shutil.rmtree(sfm.settings.cache_dir / "embeddings", ignore_errors=True)
        shutil.rmtree(sfm.settings.cache_dir / "runs")
        if where == "statistics":
            shutil.rmtree(sfm.settings.cache_dir / "statistics")
    raise AssertionError("more steps than were tried")


if __name__ == "__main__":
    torch.set_num_threads(1)
    sfm.settings.progress, sfm.settings.verbosity = False, 0
    CropJob.block_side = TileJob.block_side = 32
    if sys.argv[2] == "disk":
        sfm.settings.result_memory = 16
    for at, line in enumerate(sys.stdin):
        kind, where, name = line.split()
        sys.stdout.write(f"{case(kind, where, getattr(signal, name), Path(sys.argv[1]) / str(at))}\n")
        sys.stdout.flush()
