"""Checkpoints: whole or not there, damaged ones passed over; a process that is killed anywhere loses nothing."""

from __future__ import annotations

import resource
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from tiny_training import run_tiny, weights_of

from spatialfm._errors import RunError, SpatialfmWarning
from spatialfm.train.checkpoint import Checkpoints, save_state


def written(folder, *steps):
    kept = Checkpoints(folder)
    for step in steps:
        kept.write(step, partial(save_state, {"step": step, "weight": torch.full((100,), float(step))}))
    return kept


def test_the_last_two_are_kept_and_read(tmp_path):
    kept = written(tmp_path, 3, 6, 9)
    assert kept.steps() == [6, 9]
    assert kept.newest() == 9
    assert kept.read(9)["weight"].tolist() == [9.0] * 100
    assert Checkpoints(tmp_path / "none").newest() is None


@pytest.mark.parametrize("damage", ["a bit", "the end", "the hash", "gone"])
def test_a_damaged_one_is_passed_over_with_a_warning(tmp_path, damage):
    kept = written(tmp_path, 3, 6)
    state = kept.path(6) / "state.pt"
    if damage == "a bit":
        content = bytearray(state.read_bytes())
        content[len(content) // 2] ^= 1
        state.write_bytes(content)
    elif damage == "the end":
        state.write_bytes(state.read_bytes()[:-10])
    elif damage == "the hash":
        (kept.path(6) / "checksum.json").write_text("{")
    else:
        state.unlink()
    with pytest.warns(SpatialfmWarning, match="step-00000006.*passed over"):
        assert kept.newest() == 3


def test_all_damaged_is_an_error_and_no_new_beginning(tmp_path):
    kept = written(tmp_path, 3)
    (kept.path(3) / "state.pt").write_bytes(b"")
    with pytest.warns(SpatialfmWarning), pytest.raises(RunError, match="All checkpoints in .* are damaged: step 3"):
        kept.newest()


def test_a_full_disk_keeps_the_one_before_and_leaves_nothing_beside(tmp_path):
    kept = written(tmp_path, 3)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)  # no file may grow beyond: writing fails as on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(RunError, match="after step 6 could not be written.*File too large.*after step 3 is kept"):
            kept.write(6, partial(save_state, {"weight": torch.zeros(100_000)}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [one.name for one in tmp_path.iterdir()] == ["step-00000003"]
    assert kept.newest() == 3


SCRIPT = """
import os, signal, sys, time
sys.path.insert(0, {tests!r})
from pathlib import Path
import torch
from spatialfm.train.checkpoint import Checkpoints
from tiny_training import run_tiny

torch.set_num_threads(1)  # those of a pool would not be in a child
rng, kept = np.random.default_rng(0), Checkpoints(Path({folder!r}) / "checkpoints")
for _ in range({n_kills}):
    before = kept.steps()
    if not (child := os.fork()):
        run_tiny({folder!r}, n_steps={n_steps}, checkpoint_every=3, check_every=10_000)
        os._exit(0)
    while kept.steps() == before and os.waitpid(child, os.WNOHANG) == (0, 0):
        time.sleep(0.001)
    time.sleep(rng.uniform(0, 0.03))  # one checkpoint or two: while one is written, renamed or removed, or in between
    os.kill(child, signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    print(kept.newest(), flush=True)
"""


@pytest.mark.slow  # 36 processes, one after the other
def test_killed_at_any_moment_and_called_again_it_ends_with_the_same_bits(tmp_path):
    n_steps, folder = 1200, tmp_path / "killed"
    whole, _, _ = run_tiny(tmp_path / "whole", n_steps=n_steps, checkpoint_every=10_000, check_every=10_000)
    script = SCRIPT.format(tests=str(Path(__file__).parents[1]), folder=str(folder), n_kills=36, n_steps=n_steps)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    killed_at = [int(one) for one in done.stdout.split()]
    assert len(killed_at) == 36
    assert killed_at == sorted(killed_at)
    assert 0 < killed_at[0] < killed_at[-1]
    again, _, _ = run_tiny(folder, n_steps=n_steps, checkpoint_every=3, check_every=10_000)
    assert weights_of(again) == weights_of(whole)
    assert not [one for one in (folder / "checkpoints").iterdir() if one.name.startswith(".")]
