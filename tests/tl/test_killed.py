"""A run that is killed outright goes on where it was, and ends with the same bytes."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest

import spatialfm as sfm

PATIENCE = 1800  # s, also on a machine that does other work
SCRIPT = """
import sys, numpy as np, torch
torch.set_num_threads(1)
import spatialfm as sfm
from spatialfm.embed.windows.crop import CropJob
CropJob.block_side = 24
store, cache, out = sys.argv[1:]
sfm.settings.cache_dir, sfm.settings.progress, sfm.settings.verbosity = cache, False, 2
import spatialdata as sd
sdata = sd.read_zarr(store)
print("ready", flush=True)
sfm.tl.embed_cells(sdata, "kronos", weights="random", markers=["DAPI", "CD3"], run={"batch_size": 4})
np.save(out, sdata["table"].obsm["X_kronos"])
"""


def start(store, cache, out):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(store), str(cache), str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_killed_at_twenty_moments(tmp_path):
    sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=2, image_size=160, random_state=0, difficulty="easy")
    sfm.pp.cell_table(sdata)
    sdata.write(tmp_path / "cohort.zarr")
    undisturbed = start(tmp_path / "cohort.zarr", tmp_path / "a", tmp_path / "whole.npy")
    _, log = undisturbed.communicate(timeout=PATIENCE)
    assert undisturbed.returncode == 0, log
    whole = np.load(tmp_path / "whole.npy")
    rng, kills, resumed = np.random.default_rng(0), 0, 0
    while kills < 20:
        run = start(tmp_path / "cohort.zarr", tmp_path / "b", tmp_path / "again.npy")
        assert run.stdout.readline().strip() == "ready"
        time.sleep(rng.uniform(0, 3))
        if run.poll() is not None:  # it came to its end: begin another
            assert run.returncode == 0, run.stderr.read()
            np.testing.assert_array_equal(np.load(tmp_path / "again.npy"), whole)
            continue
        run.kill()
        _, log = run.communicate()
        kills, resumed = kills + 1, resumed + ("resuming:" in log)
    last = start(tmp_path / "cohort.zarr", tmp_path / "b", tmp_path / "again.npy")
    _, log = last.communicate(timeout=PATIENCE)
    assert last.returncode == 0, log
    np.testing.assert_array_equal(np.load(tmp_path / "again.npy"), whole)
    assert resumed > 0
    assert not list((tmp_path / "b").rglob("block_*"))  # a finished run leaves nothing behind
