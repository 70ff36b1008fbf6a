"""Finished blocks: whole or not there."""

from __future__ import annotations

import errno
import os
import shutil

import numpy as np
import pytest

from spatialfm._errors import RunError
from spatialfm._identity import fingerprint
from spatialfm.embed.run.store import BlockLost, BlockStore


def test_what_is_written_is_read_by_the_next_run(tmp_path):
    rows = np.random.default_rng(0).random((4, 3)).astype(np.float32)
    BlockStore(tmp_path, "abc").write(7, rows=rows)
    again = BlockStore(tmp_path, "abc")
    assert again.has(7)
    assert not again.has(6)
    np.testing.assert_array_equal(again.read(7, "rows"), rows)
    assert not BlockStore(tmp_path, "another").has(7)
    assert not BlockStore(tmp_path, "abc", resume=False).has(7)


def test_a_full_disk_leaves_no_half_block(tmp_path, monkeypatch):
    store = BlockStore(tmp_path, "abc")
    store.write(0, rows=np.zeros(3))

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(RunError, match=r"Cannot write block 1 .*No space left.*repeat the same call"):
        store.write(1, rows=np.zeros(3))
    assert [path.name for path in store.path.iterdir()] == ["block_000000"]


def test_a_folder_that_was_removed_and_cannot_be_made_again_ends_the_run_with_the_reason(tmp_path, monkeypatch):
    store = BlockStore(tmp_path / "runs", "abc")
    shutil.rmtree(tmp_path / "runs")

    def read_only(*args):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "mkdir", read_only)
    with pytest.raises(RunError, match=r"Cannot write block 1 .*Read-only file system.*repeat the same call") as error:
        store.write(1, rows=np.zeros(3))
    assert not isinstance(error.value, BlockLost)  # which the same call would try again


def test_an_unwritable_folder_is_refused(tmp_path):
    (tmp_path / "runs").write_text("a file where the folder should be")
    with pytest.raises(RunError, match=r"cache_dir"):
        BlockStore(tmp_path / "runs", "abc")


def test_fingerprint_depends_on_every_value_and_not_on_their_order():
    base = {"model": "a", "labels": np.arange(3), "notes": {"x": [1.0]}}
    assert fingerprint(base) == fingerprint(dict(reversed(base.items())))
    changed = [{**base, "model": "b"}, {**base, "labels": np.arange(1, 4)}, {**base, "notes": {"x": [1.5]}}]
    changed.append({**base, "labels": np.arange(3).astype(np.int32)})
    assert len({fingerprint(value) for value in [base, *changed]}) == 5
