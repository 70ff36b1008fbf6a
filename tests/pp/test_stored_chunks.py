"""Files below an array: which are there, which are cut short, which have gone since."""

from __future__ import annotations

import shutil
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import zarr

from spatialfm._errors import InputFileError, RunError
from spatialfm.pp.stored_chunks import check_readable, stored_chunks, zarr_folder


@pytest.fixture
def array(tmp_path):
    """Two channels of 4 x 6 in chunks of 1 x 2 x 3; the second channel's lower left chunk is all zeros."""
    values = np.ones((2, 4, 6), np.uint16)
    values[1, 2:, :3] = 0
    made = zarr.create_array(
        str(tmp_path / "a.zarr"), shape=values.shape, chunks=(1, 2, 3), dtype=values.dtype, fill_value=0,
        compressors=zarr.codecs.BloscCodec(), config={"write_empty_chunks": False},
    )  # fmt: skip
    made[:] = values
    return da.from_zarr(str(tmp_path / "a.zarr"))


def test_missing_files_are_those_of_zeros(array):
    chunks = stored_chunks(array)
    assert chunks.grid == (2, 2, 2)
    expected = np.zeros((2, 2, 2), bool)
    expected[1, 1, 0] = True
    np.testing.assert_array_equal(chunks.missing, expected)
    assert chunks.exists


def test_axes_of_one_are_left_out(tmp_path):
    made = zarr.create_array(
        str(tmp_path / "b.zarr"), shape=(1, 2, 1, 4, 6), chunks=(1, 1, 1, 2, 3), dtype="u1", fill_value=0
    )
    made[:, 1] = 1
    chunks = stored_chunks(da.from_zarr(str(tmp_path / "b.zarr"))[0, :, 0])
    assert chunks.shape == (2, 4, 6)
    assert chunks.sizes == (1, 2, 3)
    assert chunks.missing[0].all()
    assert not chunks.missing[1].any()


def test_arrays_of_no_store_or_of_two_have_no_files(array):
    assert stored_chunks(da.zeros((4, 6))) is None
    assert stored_chunks(np.zeros((4, 6))) is None
    assert stored_chunks(array[:, :2]) is None  # another shape
    assert zarr_folder(np.zeros(3)) is None


def test_a_file_that_is_cut_short_is_refused(array, tmp_path):
    assert check_readable(array, "Image 'i'").grid == (2, 2, 2)
    chunk = next(path for path in (tmp_path / "a.zarr").rglob("*") if path.is_file() and path.suffix != ".json")
    size = chunk.stat().st_size
    chunk.write_bytes(chunk.read_bytes()[:-2])
    with pytest.raises(InputFileError, match=rf"1 file in '.*' is cut short \('.*' has {size - 2} of {size} bytes\)"):
        check_readable(array, "Image 'i'")
    chunk.write_bytes(b"123")  # shorter than the header
    with pytest.raises(InputFileError, match="has 3 of 16 bytes"):
        check_readable(array, "Image 'i'")


def test_a_store_that_is_gone_is_refused(array, tmp_path):
    shutil.rmtree(tmp_path / "a.zarr")
    with pytest.raises(InputFileError, match="Image 'i' was read from '.*a.zarr/?', which is gone"):
        check_readable(array, "Image 'i'")


def test_what_goes_while_it_is_read_is_noticed_in_its_window_alone(array):
    chunks = stored_chunks(array)
    chunks.look()
    (Path(chunks.folder) / chunks._key((0, 1, 1))).unlink()
    chunks.check_still_there("image_s", (0, 2, 0, 6))
    chunks.check_still_there("image_s", (2, 4, 3, 6), channels=[1])
    with pytest.raises(RunError, match="Pixels of 'image_s' .* were removed while they were read"):
        chunks.check_still_there("image_s", (1, 3, 2, 4), channels=[0])
