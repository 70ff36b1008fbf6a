"""Whatever happens to finished blocks: they are encoded again, and no row is wrong."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from stand_in import Sums

import spatialfm as sfm
from spatialfm._errors import RunError
from spatialfm.embed.result import finish as results
from spatialfm.embed.run import store
from spatialfm.embed.run.store import BlockStore
from spatialfm.embed.windows.crop import CropJob


@pytest.fixture
def sdata(make_sdata, blobs, monkeypatch):
    monkeypatch.setattr(CropJob, "block_side", 50)
    sdata = make_sdata({"a": blobs(0, n_channels=2, side=140)}, ["DAPI", "CD3"])
    sfm.pp.cell_table(sdata)
    return sdata


def embed(sdata, before=lambda n: None, run=(), **options):
    """Rows, and the windows that were encoded."""
    encoder = Sums(before)
    rows = sfm.tl.embed_cells(sdata, encoder, run={"batch_size": 1, **dict(run)}, copy=True, **options).obsm["X_sums"]
    return np.asarray(rows), encoder.n_windows


def runs():
    return sfm.settings.cache_dir / "runs"


def stop_at(n_windows):
    def before(n):
        if n == n_windows:
            raise KeyboardInterrupt

    return before


@pytest.fixture
def stopped(sdata):
    """Rows of an undisturbed run, and the folders of the blocks that a stopped one has left."""
    whole, n_windows = embed(sdata)
    with pytest.raises(KeyboardInterrupt):
        embed(sdata, stop_at(n_windows - 1))
    (folder,) = (path for path in runs().iterdir() if path.is_dir())
    return whole, sorted(folder.glob("block_*"))


COUNTED = []


@pytest.fixture
def n_untouched(stopped, sdata):
    """Windows that are left of a stopped run of which no block is damaged, counted once."""
    if not COUNTED:
        whole, blocks = stopped
        COUNTED.append(embed_after(sdata, blocks[0].parent, lambda: None)[1])
        shutil.rmtree(runs())
        with pytest.raises(KeyboardInterrupt):
            embed(sdata, stop_at(len(whole) - 1))
    return COUNTED[0]


def rewrite(path, change):
    path.write_bytes(change(path.read_bytes()))


def note(block, change):
    said = json.loads((block / "block.json").read_bytes())
    change(said)
    (block / "block.json").write_text(json.dumps(said))


def swapped(block, other):
    shutil.rmtree(block)
    shutil.copytree(other, block)


def folder_for_file(path):
    path.unlink()
    path.mkdir()


def file_for_folder(path):
    shutil.rmtree(path)
    path.write_bytes(b"no folder")


def flipped(content):
    return content[:-1] + bytes([content[-1] ^ 1])


FAULTS = {
    "truncated": lambda block, other: rewrite(block / "marker.npy", lambda content: content[:-5]),
    "emptied": lambda block, other: rewrite(block / "marker.npy", lambda content: b""),
    "of noise": lambda block, other: rewrite(block / "marker.npy", lambda content: os.urandom(len(content))),
    "one bit": lambda block, other: rewrite(block / "marker.npy", flipped),
    "longer": lambda block, other: rewrite(block / "marker.npy", lambda content: content + b"x"),
    "gone": lambda block, other: (block / "marker.npy").unlink(),
    "of another shape": lambda block, other: np.save(block / "marker.npy", np.zeros((1, 2), np.float32)),
    "of other columns": lambda block, other: np.save(
        block / "marker.npy", np.load(block / "marker.npy")[:, :1].repeat(3, 1)
    ),
    "of another type": lambda block, other: np.save(block / "marker.npy", np.load(block / "marker.npy").view(np.int32)),
    "of NaN": lambda block, other: np.save(block / "marker.npy", np.load(block / "marker.npy") * np.nan),
    "a folder": lambda block, other: folder_for_file(block / "marker.npy"),
    "a file": lambda block, other: file_for_folder(block),
    "an empty folder": lambda block, other: (shutil.rmtree(block), block.mkdir()),
    "a link to nowhere": lambda block, other: (shutil.rmtree(block), block.symlink_to("nowhere")),
    "another block": swapped,
    "another block's array": lambda block, other: shutil.copy(other / "marker.npy", block / "marker.npy"),
    "a block of another run": lambda block, other: note(block, lambda said: said.update(run="0" * 24)),
    "no note": lambda block, other: (block / "block.json").unlink(),  # as earlier versions wrote it
    "note emptied": lambda block, other: (block / "block.json").write_bytes(b""),
    "note truncated": lambda block, other: rewrite(block / "block.json", lambda content: content[:-9]),
    "note of noise": lambda block, other: (block / "block.json").write_bytes(b"\xff\xfe\x00"),
    "note a list": lambda block, other: (block / "block.json").write_text("[]"),
    "note a folder": lambda block, other: folder_for_file(block / "block.json"),
    "note without checksums": lambda block, other: note(block, lambda said: said["arrays"]["marker.npy"].pop("crc32")),
    "note without arrays": lambda block, other: note(block, lambda said: said.update(arrays={})),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_block_is_encoded_again_and_no_other(stopped, sdata, n_untouched, fault):
    whole, blocks = stopped
    n_rows = len(np.load(blocks[1] / "marker.npy"))
    rows, n_windows = embed_after(sdata, blocks[0].parent, lambda: FAULTS[fault](blocks[1], blocks[0]))
    np.testing.assert_array_equal(rows, whole)
    assert n_windows == n_untouched + n_rows
    assert not list(runs().iterdir())


def embed_after(sdata, folder, fault):
    assert folder.is_dir()
    fault()
    return embed(sdata)


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("place", ["a file", "a link to nowhere", "torn", "empty"])
def test_a_damaged_run_is_made_anew(stopped, sdata, place, resume):
    whole, blocks = stopped
    run = blocks[0].parent
    if place == "torn":  # as an earlier version left it, which was killed while it removed the run
        for block in blocks:
            (block / "marker.npy").unlink()
    else:
        shutil.rmtree(run)
        {"a file": run.touch, "empty": run.mkdir, "a link to nowhere": lambda: run.symlink_to("nowhere")}[place]()
    rows, n_windows = embed(sdata, run={"resume": resume})
    np.testing.assert_array_equal(rows, whole)
    assert n_windows == len(whole)
    assert not list(runs().iterdir())


@pytest.mark.parametrize("what", ["the cache", "the run", "a block", "its hold"])
def test_what_is_removed_in_mid_run_is_encoded_again(sdata, what):
    whole, n = embed(sdata)

    def before(at):
        if at == n - 1:
            (run,) = (path for path in runs().iterdir() if path.is_dir())
            gone = {"the cache": sfm.settings.cache_dir, "the run": run, "a block": sorted(run.glob("block_*"))[0]}
            if what == "its hold":
                next(runs().glob(".*.holder-*.json")).unlink()
            else:
                shutil.rmtree(gone[what], ignore_errors=True)  # the last block is being written meanwhile

    rows, n_windows = embed(sdata, before)
    np.testing.assert_array_equal(rows, whole)
    assert n_windows == n if what == "its hold" else n_windows > n
    assert not list(runs().iterdir())


@pytest.mark.parametrize("what", ["the cache", "the run", "the block"])
def test_what_is_removed_between_two_steps_of_a_write_is_encoded_again(sdata, what, monkeypatch):
    """Two writes in a row are hit, as a removal of many files goes on for a while."""
    whole, n = embed(sdata)
    left = [2]

    def save(path, values):
        saved = original(path, values)
        if left[0]:
            left[0] -= 1
            gone = {"the cache": sfm.settings.cache_dir, "the run": path.parent.parent, "the block": path.parent}
            shutil.rmtree(gone[what])
        return saved

    original = store._save
    monkeypatch.setattr(store, "_save", save)
    rows, n_windows = embed(sdata)
    np.testing.assert_array_equal(rows, whole)
    assert left == [0]
    assert n_windows > n
    assert not list(runs().iterdir())


def test_an_embedding_that_is_removed_while_it_is_written_is_written_again(sdata, monkeypatch):
    whole, n = embed(sdata)
    sfm.settings.result_memory = 16
    removed = []

    def bring_to_disk(folder):
        if not removed:
            removed.append(folder)
            shutil.rmtree(folder.parent)
        original(folder)

    original = results._bring_to_disk
    monkeypatch.setattr(results, "_bring_to_disk", bring_to_disk)
    rows, n_windows = embed(sdata)
    np.testing.assert_array_equal(rows, whole)
    assert removed
    assert n_windows == n  # the blocks were there


def test_a_run_whose_blocks_are_always_taken_away_ends_with_an_error(sdata, monkeypatch):
    def read(self, block, name):
        shutil.rmtree(self.path)
        return original(self, block, name)

    original = BlockStore.read
    monkeypatch.setattr(BlockStore, "read", read)
    with pytest.raises(RunError, match=r"Block 0 is gone from .*runs.*Repeat the same call"):
        embed(sdata)
    monkeypatch.undo()
    monkeypatch.setattr(CropJob, "block_side", 50)
    assert embed(sdata)[1]


def test_times_of_the_future_and_of_long_ago_change_nothing(stopped, sdata, monkeypatch):
    """A clock that was set back, or on."""
    import time

    whole, blocks = stopped
    for at, path in enumerate(sorted(sfm.settings.cache_dir.rglob("*"))):
        os.utime(path, (4e9, 4e9) if at % 2 else (1, 1), follow_symlinks=False)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - 10 * 365 * 86400)
    rows, n_windows = embed(sdata)
    np.testing.assert_array_equal(rows, whole)
    assert n_windows < len(whole)  # the blocks were used


def test_a_cache_behind_a_link_and_on_another_file_system(sdata, tmp_path):
    whole, n = embed(sdata)
    elsewhere = tmp_path / "elsewhere"
    if os.path.isdir("/dev/shm"):
        import tempfile

        elsewhere = type(tmp_path)(tempfile.mkdtemp(dir="/dev/shm"))
    elsewhere.mkdir(exist_ok=True)
    try:
        sfm.settings.cache_dir = tmp_path / "link"
        (tmp_path / "link").symlink_to(elsewhere)
        sfm.settings.result_memory = 16
        with pytest.raises(KeyboardInterrupt):
            embed(sdata, stop_at(n - 1))
        rows, n_windows = embed(sdata)
        np.testing.assert_array_equal(rows, whole)
        assert n_windows < n
        assert not embed(sdata)[1]  # what is finished is there
    finally:
        shutil.rmtree(elsewhere)


def test_the_same_rows_under_any_name(make_sdata, blobs):
    image, labels = blobs(0, n_channels=2, side=90)
    names = ["a", "Zelle mit Umlaut äöü 细胞", "x" * 180, "A.b-c_d 1"]
    expected = embed(make_sdata({"a": (image, labels)}, ["DAPI", "CD3"]))[0]
    for name in names:
        try:
            sdata = make_sdata({name: (image, labels)}, ["DAPI", "CD3"])
        except (ValueError, TypeError):  # spatialdata takes no such name
            continue
        for memory in (2**30, 16):
            sfm.settings.result_memory = memory
            np.testing.assert_array_equal(embed(sdata)[0], expected)
