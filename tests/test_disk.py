"""Files put in place whole: whatever is in the way, and whatever was left behind."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

import pytest

from spatialfm import _disk


def test_a_file_takes_the_place_of_what_is_there(tmp_path):
    path = tmp_path / "deep" / "a.bin"
    _disk.write_bytes(path, b"one")
    _disk.write_bytes(path, b"two")
    assert path.read_bytes() == b"two"
    assert [one.name for one in path.parent.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("there", ["full folder", "empty folder", "nothing"])
def test_a_folder_takes_any_place(tmp_path, there):
    path = tmp_path / "a"
    if there != "nothing":
        path.mkdir()
        if there == "full folder":
            (path / "old").touch()
    with _disk.written_beside(path) as partial:
        partial.mkdir()
        (partial / "new").touch()
    assert [one.name for one in path.iterdir()] == ["new"]
    assert [one.name for one in tmp_path.iterdir()] == ["a"]


def test_an_error_leaves_the_old_and_nothing_beside(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")

    def fail():
        with _disk.written_beside(path) as partial:
            partial.write_text("new")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        fail()
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_what_another_process_put_there_may_stay(tmp_path):
    path = tmp_path / "a"
    with _disk.written_beside(path, unless=path.exists) as partial:
        partial.write_text("mine")
        path.write_text("theirs")
    assert path.read_text() == "theirs"


def test_of_a_link_the_link_goes(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    _disk.discard(tmp_path / "link")
    _disk.discard(tmp_path / "absent")
    assert (tmp_path / "real" / "file").exists()
    assert not (tmp_path / "link").exists()


@pytest.fixture
def dead() -> int:
    """Number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_the_dead_left_is_swept_and_nothing_else(tmp_path, dead):
    host = platform.node()
    kept = [f".{host}-{os.getpid()}-aa.partial", f".elsewhere-{dead}-aa.partial", "data.npz", ".hidden"]
    gone = [f".{host}-{dead}-aa.partial", "." + "a" * 32 + ".removed"]
    for name in (*kept, *gone):
        (tmp_path / name).touch()
    _disk.sweep(tmp_path)
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted(kept)
    _disk.sweep(tmp_path / "absent")


def test_who_holds_a_folder_is_known_as_long_as_it_lives(tmp_path, dead):
    folder = tmp_path / "run"
    one, two = _disk.Hold(folder), _disk.Hold(folder)
    one.take()
    two.take()
    assert [other.path for other in one.others()] == [str(two.path)]
    two.release()
    assert one.others() == []
    mark = json.loads(one.path.read_text())
    for changes in ({"pid": dead}, {"started": "another boot 1"}):
        stale = _disk.Hold(folder)
        stale.path.write_text(json.dumps(mark | changes))
        assert one.others() == []
        assert not stale.path.exists()
    elsewhere = _disk.Hold(folder)
    elsewhere.path.write_text(json.dumps(mark | {"pid": dead, "host": "elsewhere"}))
    assert len(one.others()) == 1  # of other machines nobody knows


def test_processes_that_run():
    assert _disk.runs(os.getpid())
    assert not _disk.runs(2**40)
