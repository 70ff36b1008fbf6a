"""A file as it was when it was opened."""

from __future__ import annotations

import os

import pytest

from spatialfm._errors import InputFileError
from spatialfm.io._state import FileState, file_state


def test_a_file_that_changed_or_is_gone_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(b"1234")
    state = file_state(path)
    assert state.size == 4
    state.check_same()
    os.utime(path, ns=(state.mtime_ns + 10**9, state.mtime_ns + 10**9))
    with pytest.raises(InputFileError, match="changed since it was opened"):
        state.check_same()
    path.unlink()
    with pytest.raises(InputFileError, match="is gone; its pixels were to be read now"):
        state.check_same()


def test_another_content_of_the_same_size_and_time_is_seen(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(b"1234")
    state = file_state(path)
    path.write_bytes(b"4321")
    os.utime(path, ns=(state.mtime_ns, state.mtime_ns))
    now = FileState.of(path.resolve())
    assert (now.size, now.mtime_ns) == (state.size, state.mtime_ns)
    with pytest.raises(InputFileError, match="changed"):
        state.check_same()


def test_what_is_no_file_with_content(tmp_path):
    with pytest.raises(InputFileError, match="No file"):
        file_state(tmp_path / "a.tif")
    with pytest.raises(InputFileError, match="is not a file"):
        file_state(tmp_path)
    (tmp_path / "b.tif").touch()
    with pytest.raises(InputFileError, match=r"is empty \(0 bytes\)"):
        file_state(tmp_path / "b.tif")
