"""A signal at each step of what a run does to the disk: the same call then ends with the same bytes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CASES = [
    (kind, where, name, memory)
    for kind in ("crop", "tile", "grid")
    for where in ("removal", "anywhere")
    for name in ("SIGKILL", "SIGTERM", "SIGINT")
    for memory in ("memory", "disk")
    if (kind == "crop" or name == "SIGKILL") and (where == "anywhere" or memory == "memory")
]


def steps(tmp_path, kind, where, name, memory):
    """Steps at which a process died; see `crash.py`, which raises where rows differ or something is left behind."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("crash.py")), str(tmp_path), memory],
        input=f"{kind} {where} {name}\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=1500,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return int(done.stdout)


@pytest.mark.slow
def test_killed_at_each_step_of_the_removal(tmp_path):
    # two blocks of two files and the note at least: unlinked one by one, once the run is renamed
    assert steps(tmp_path, "crop", "removal", "SIGKILL", "memory") >= 8


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "where", "name", "memory"), CASES)
def test_a_signal_at_each_step(tmp_path, kind, where, name, memory):
    assert steps(tmp_path, kind, where, name, memory) >= (8 if where == "removal" else 25)


@pytest.mark.slow
def test_killed_at_each_step_of_the_statistics(tmp_path):
    """While the markers' mean and deviation are taken and written: none of a part of the pixels is ever believed."""
    assert steps(tmp_path, "cohort", "statistics", "SIGKILL", "memory") >= 5
