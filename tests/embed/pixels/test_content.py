"""Digests of arrays: of all values, whatever the chunks, and remembered only where files cannot have changed unseen."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import tracemalloc

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr

import spatialfm as sfm
from spatialfm.embed.pixels import content
from spatialfm.embed.pixels.content import content_digest


def pixels_of(seed=0, shape=(3, 60, 50)):
    return np.random.default_rng(seed).integers(0, 999, shape).astype(np.uint16)


def zarr_array(path, pixels, chunks=(1, 20, 50)):
    array = zarr.create_array(store=str(path), shape=pixels.shape, chunks=chunks, dtype=pixels.dtype)
    array[:] = pixels
    return array


def kept():
    folder = sfm.settings.cache_dir / "digests"
    return sorted(folder.iterdir()) if folder.exists() else []


@pytest.fixture
def at_rest(tmp_path, monkeypatch):
    """A cache of its own, and files that count as being at rest at once."""
    monkeypatch.setattr(sfm.settings, "_cache_dir", tmp_path / "cache")
    monkeypatch.setattr(content, "AT_REST", -60.0)


@pytest.fixture
def reads(monkeypatch):
    """Bytes that were read for digests."""
    counted = [0]
    inner = content.loaded

    def counting(part):
        values = inner(part)
        counted[0] += values.nbytes
        return values

    return counted, counting


def test_a_digest_is_that_of_the_planes_row_by_row():
    pixels = pixels_of()
    whole = hashlib.sha256(b"<u2 60 50 2 True")
    for plane in (2, 0):
        whole.update(hashlib.sha256(pixels[plane].tobytes()).digest())
    assert content_digest(da.from_array(pixels, chunks=(1, 7, 9)), [2, 0]) == whole.hexdigest()


@pytest.mark.parametrize("chunks", [(1, 7, 9), (3, 60, 50), (2, 11, 50), ((1, 2), (50, 10), (1, 49))])
@pytest.mark.parametrize("limit", [1, 5000, 2**27])
def test_chunks_and_bands_do_not_matter(chunks, limit, monkeypatch):
    pixels = pixels_of()
    expected = content_digest(pixels)
    monkeypatch.setattr(content, "BAND_BYTES", limit)
    assert content_digest(da.from_array(pixels, chunks=chunks)) == expected


def test_shape_and_type_count():
    digests = {
        content_digest(np.zeros(shape, dtype))
        for shape, dtype in [((4, 6), "u2"), ((6, 4), "u2"), ((1, 4, 6), "u2"), ((4, 6), "i2"), ((2, 2, 6), "u2")]
    }
    assert len(digests) == 5


def test_memory_stays_flat(monkeypatch):
    monkeypatch.setattr(content, "BAND_BYTES", 2**20)
    array = da.zeros((2, 8000, 1000), chunks=(1, 500, 500), dtype=np.uint16) + np.uint16(1)
    tracemalloc.start()
    content_digest(array)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < array.nbytes / 4  # 32 MB in one piece


def test_an_array_in_memory_is_read_each_time(at_rest, tmp_path):
    pixels = pixels_of()
    array = da.from_array(pixels, chunks=(1, 20, 50))
    first = content_digest(array)
    assert not kept()
    pixels[1, 30, 30] += 1  # behind dask, whose name of the array stays
    again = da.from_array(pixels, chunks=(1, 20, 50), name=array.name)
    assert content_digest(again) != first


def sources(tmp_path, pixels):
    """Arrays from files, each with what writes other pixels into the same files."""
    array = zarr_array(tmp_path / "a.zarr", pixels)
    yield da.from_zarr(str(tmp_path / "a.zarr")), lambda new: array.__setitem__(slice(None), new)
    tifffile.imwrite(tmp_path / "a.tif", pixels)

    def tiff():
        return sfm.io.read_tiff(tmp_path / "a.tif", mpp=1, channel_names=list("abc")).images["image_a"].data

    yield tiff, lambda new: tifffile.imwrite(tmp_path / "a.tif", new)


@pytest.mark.parametrize("which", [0, 1], ids=["zarr", "tiff"])
def test_a_digest_of_files_is_taken_once_and_again_when_they_change(which, at_rest, reads, tmp_path):
    pixels = pixels_of()
    opened, write = list(sources(tmp_path, pixels))[which]
    array = opened() if callable(opened) else opened
    counted, load = reads
    first = content_digest(array, load=load)
    assert first == content_digest(pixels)
    assert counted[0] == pixels.nbytes
    assert content_digest(array, load=load) == first
    assert counted[0] == pixels.nbytes  # nothing was read again
    assert content_digest(array, [0], load=load) != first  # other channels have a digest of their own
    new = pixels.copy()
    new[2, 59, 49] += 1
    write(new)
    array = opened() if callable(opened) else opened
    assert content_digest(array) == content_digest(new) != first


def test_a_change_that_keeps_size_and_time_is_seen(at_rest, tmp_path):
    pixels = pixels_of()
    zarr_array(tmp_path / "a.zarr", pixels)
    array = da.from_zarr(str(tmp_path / "a.zarr"))
    first = content_digest(array)
    chunk = tmp_path / "a.zarr" / "c" / "0" / "0" / "0"
    before = chunk.stat()
    new = pixels.copy()
    new[0, :20] = pixels[0, 20:40]
    zarr_array(tmp_path / "b.zarr", new)
    shutil.copyfile(tmp_path / "b.zarr" / "c" / "0" / "0" / "0", chunk)
    os.utime(chunk, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert content_digest(array) == content_digest(new) != first


def test_files_that_were_written_just_now_are_not_remembered(tmp_path, monkeypatch):
    monkeypatch.setattr(sfm.settings, "_cache_dir", tmp_path / "cache")
    zarr_array(tmp_path / "a.zarr", pixels_of())
    content_digest(da.from_zarr(str(tmp_path / "a.zarr")))
    assert not kept()  # a clock of coarse steps would not tell the next change
    later = time.time() + content.AT_REST + 1
    monkeypatch.setattr(content.time, "time", lambda: later)
    content_digest(da.from_zarr(str(tmp_path / "a.zarr")))
    assert len(kept()) == 1


def test_values_that_may_come_from_elsewhere_are_read_each_time(at_rest, tmp_path):
    pixels = pixels_of()
    zarr_array(tmp_path / "a.zarr", pixels)
    stored = da.from_zarr(str(tmp_path / "a.zarr"))
    other = pixels.copy()
    for array in (
        stored + 1,
        da.where(stored > 3, stored, other),
        da.map_blocks(lambda part: part + other[0, 0, 0], stored),
    ):
        content_digest(array)
    assert not kept()
    content_digest(stored[:, 5:, 3:].rechunk((3, 10, 10)))  # these change no value
    assert len(kept()) == 1
    mixed = da.concatenate([stored, da.from_array(other)])
    first = content_digest(mixed)
    other[0, 0, 0] += 1
    assert content_digest(da.concatenate([stored, da.from_array(other)])) != first


def test_another_part_of_the_same_files_is_another_array(at_rest, tmp_path):
    pixels = pixels_of()
    zarr_array(tmp_path / "a.zarr", pixels)
    stored = da.from_zarr(str(tmp_path / "a.zarr"))
    for part in (stored[:, :40], stored[:, 20:], stored[[1, 0, 2]], stored[:, ::-1]):
        values = part.compute()
        assert content_digest(part) == content_digest(values)
        assert content_digest(part) == content_digest(values)  # the one that is kept


@pytest.mark.parametrize("broken", [b"", b"\xff\xfe", b"0" * 63, b"z" * 64, b"0" * 64, b"0" * 64 + b" " + b"0" * 32])
def test_a_damaged_note_is_not_believed(broken, at_rest, tmp_path):
    zarr_array(tmp_path / "a.zarr", pixels_of())
    array = da.from_zarr(str(tmp_path / "a.zarr"))
    first = content_digest(array)
    kept()[0].write_bytes(broken)
    assert content_digest(array) == first
    assert kept()[0].read_text().split()[0] == first


def test_a_cache_that_cannot_be_written_does_no_harm(at_rest, tmp_path):
    (tmp_path / "cache").touch()
    zarr_array(tmp_path / "a.zarr", pixels_of())
    assert content_digest(da.from_zarr(str(tmp_path / "a.zarr"))) == content_digest(pixels_of())
