"""Laziness: opening decodes nothing, a window only what is below it, and arrays travel to threads and processes."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import dask
import numpy as np
import pytest
import tifffile

import spatialfm as sfm
from spatialfm._errors import InputFileError
from spatialfm.io._layout import open_tiff
from spatialfm.io._reader import plan_chunks


@pytest.fixture
def tiled(tmp_path):
    """2 channels of 3000 x 2500 pixels in 256-pixel tiles."""
    y, x = np.mgrid[:3000, :2500]
    pixels = np.stack([y * 7 + x, y + x * 11]).astype(np.uint16)
    path = tmp_path / "big.tif"
    tifffile.imwrite(path, pixels, tile=(256, 256), compression="zlib", compressionargs={"level": 1})
    return path, pixels


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zlib", "rowsperstrip": 8},
        {"compression": "zlib", "tile": (32, 32)},
        {"imagej": True},
        {"photometric": "minisblack", "planarconfig": "separate", "compression": "zlib"},
    ],
)
def test_opening_reads_no_pixel(tmp_path, pixels, mask, count_decoding, options):
    tifffile.imwrite(tmp_path / "a.tif", pixels, **options)
    tifffile.imwrite(tmp_path / "mask.tif", mask, compression="zlib")
    sdata = sfm.io.read_tiff(tmp_path / "a.tif", tmp_path / "mask.tif", mpp=1, channel_names=list("abcde"))
    assert count_decoding == {"segments": 0, "raw": 0}
    np.testing.assert_array_equal(sdata.images["image_a"].values, pixels)
    assert sum(count_decoding.values()) > 0


def test_opening_works_though_the_pixels_are_garbage(tmp_path, pixels):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, compression="zlib", rowsperstrip=8)
    with tifffile.TiffFile(path) as tif:
        segments = [s for page in tif.pages for s in zip(page.dataoffsets, page.databytecounts, strict=True)]
    with open(path, "r+b") as file:
        for offset, count in segments:
            file.seek(offset)
            file.write(b"\xff" * count)
    sdata = sfm.io.read_tiff(path, mpp=1, channel_names=list("abcde"))
    assert sdata.images["image_a"].shape == pixels.shape
    with pytest.raises(Exception):  # noqa: B017 - whatever the codec says
        sdata.images["image_a"].values  # noqa: B018


def test_a_window_decodes_only_the_tiles_below_it(tiled, count_decoding):
    path, pixels = tiled
    array = sfm.io.read_tiff(path, mpp=1, channel_names=["a", "b"]).images["image_big"].data
    n_tiles = 2 * 12 * 10
    window = array[1, 1500:1564, 1200:1264].compute()
    np.testing.assert_array_equal(window, pixels[1, 1500:1564, 1200:1264])
    # rows 1280 to 1791 and columns 1024 to 1279 hold it: 64 x 64 pixels across one border of tiles
    assert count_decoding["segments"] == 2
    assert array.compute(scheduler="threads").shape == pixels.shape
    # blocks cut no tile: nothing is decoded twice
    assert count_decoding["segments"] == 2 + n_tiles


def test_a_window_of_an_uncompressed_image_is_read_without_the_rest(tmp_path, count_decoding):
    pixels = np.arange(2600 * 2600, dtype=np.uint32).reshape(2600, 2600)
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    array = sfm.io.read_tiff(tmp_path / "a.tif", mpp=1, channel_names=["a"]).images["image_a"].data
    assert array.chunksize == (1, 1024, 1024)
    np.testing.assert_array_equal(array[0, 2000:2100, 5:9].compute(), pixels[2000:2100, 5:9])
    assert count_decoding["segments"] == 0
    assert 1 <= count_decoding["raw"] <= 2


def test_threads_and_one_thread_agree(tiled):
    path, pixels = tiled
    array = sfm.io.read_tiff(path, mpp=1, channel_names=["a", "b"]).images["image_big"].data
    with dask.config.set(scheduler="threads", num_workers=8):
        np.testing.assert_array_equal(array.compute(), pixels)
    with dask.config.set(scheduler="synchronous"):
        np.testing.assert_array_equal(array[:, ::50].compute(), pixels[:, ::50])


def test_arrays_are_small_pickles_that_another_process_reads(tiled, tmp_path):
    path, pixels = tiled
    array = sfm.io.read_tiff(path, mpp=1, channel_names=["a", "b"]).images["image_big"].data
    text = pickle.dumps(array[:, 100:110, 200:210])
    assert len(text) < 20_000
    (tmp_path / "array.pickle").write_bytes(text)
    code = f"import pickle; print(int(pickle.load(open({str(tmp_path / 'array.pickle')!r}, 'rb')).sum().compute()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == int(pixels[:, 100:110, 200:210].sum())


def test_a_file_that_changed_is_refused(tmp_path, pixels):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels)
    image = sfm.io.read_tiff(path, mpp=1, channel_names=list("abcde")).images["image_a"]
    tifffile.imwrite(path, pixels[:, :-1])
    with pytest.raises(InputFileError, match=r"a\.tif' changed since it was opened. Read it again"):
        image.data.compute()
    path.unlink()
    with pytest.raises(InputFileError, match=r"a\.tif' is gone"):
        image.data.compute()


def test_empty_segments_are_the_background(tmp_path):
    path = tmp_path / "a.tif"
    pixels = np.zeros((2, 64, 64), np.uint8)
    pixels[0, :32, :32] = 7
    tiles = [pixels[0, :32, :32], None, None, None] + [None] * 4
    tifffile.imwrite(path, iter(tiles), shape=pixels.shape, dtype=pixels.dtype, tile=(32, 32), compression="zlib")
    with tifffile.TiffFile(path) as tif:
        assert 0 in tif.pages[0].databytecounts
    image = sfm.io.read_tiff(path, mpp=1, channel_names=["a", "b"]).images["image_a"]
    np.testing.assert_array_equal(image.values, pixels)


@pytest.mark.parametrize(
    ("shape", "options", "expected"),
    [
        ((2, 2048, 2048), {}, (1, 2048, 2048)),
        ((1, 3000, 2100), {"tile": (240, 512)}, (1, 1200, 1024)),
        ((1, 3000, 2100), {"compression": "zlib", "rowsperstrip": 100}, (1, 400, 2100)),
        ((1, 3000, 2100), {"compression": "zlib", "rowsperstrip": 3000}, (1, 3000, 2100)),
    ],
)
def test_blocks_cut_no_segment(tmp_path, shape, options, expected):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros(shape, np.uint8), **options)
    level = open_tiff(tmp_path / "a.tif").levels[0]
    assert plan_chunks(level, ("n", "h", "w"), shape) == expected


@pytest.fixture
def two_files(tmp_path, pixels):
    """An OME set: the first file holds two planes of four and tells where the others are."""
    names = ["one.ome.tif", "two.ome.tif"]
    ids = [f"urn:uuid:{number}" for number in ("a" * 8, "b" * 8)]
    height, width = pixels.shape[1:]
    places = "".join(
        f'<TiffData FirstC="{c}" IFD="{c % 2}" PlaneCount="1">'
        f'<UUID FileName="{names[c // 2]}">{ids[c // 2]}</UUID></TiffData>'
        for c in range(4)
    )
    channels = "".join(f'<Channel ID="Channel:0:{c}" Name="m{c}" SamplesPerPixel="1"/>' for c in range(4))
    for number, name in enumerate(names):
        ome = (
            f'<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{ids[number]}">'
            f'<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="{pixels.dtype}" SizeX="{width}" '
            f'SizeY="{height}" SizeC="4" SizeZ="1" SizeT="1" PhysicalSizeX="0.5" PhysicalSizeY="0.5">{channels}{places}'
            "</Pixels></Image></OME>"
        )
        with tifffile.TiffWriter(tmp_path / name) as tif:
            for plane in range(2):
                tif.write(
                    pixels[2 * number + plane],
                    description=ome if plane == 0 else None,
                    metadata=None,
                    contiguous=False,
                    photometric="minisblack",
                )
    return tmp_path / names[0], tmp_path / names[1]


def overwritten(path, plane, values, *, keep_time):
    before = path.stat()
    memory = tifffile.memmap(path, page=plane, mode="r+")
    memory[:] = values
    memory.flush()
    del memory
    if keep_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("keep_time", [False, True])
def test_a_member_of_a_set_that_changed_is_refused_until_it_is_read_again(two_files, pixels, keep_time):
    first, second = two_files
    image = sfm.io.read_tiff(first).images[f"image_{first.name.split('.')[0]}"].data
    np.testing.assert_array_equal(image.compute(), pixels[:4])
    overwritten(second, 1, pixels[0], keep_time=keep_time)
    np.testing.assert_array_equal(image[:2].compute(), pixels[:2])
    with pytest.raises(InputFileError, match=r"two\.ome\.tif' changed since it was opened. Read it again"):
        image[3].compute()
    again = sfm.io.read_tiff(first).images["image_one"].data
    np.testing.assert_array_equal(again.compute(), pixels[[0, 1, 2, 0]])
    with pytest.raises(InputFileError, match="changed since it was opened"):
        image[2:].compute()  # the one that was opened before stays refused
    second.unlink()
    with pytest.raises(InputFileError, match=r"two\.ome\.tif' is gone"):
        again.compute()


@pytest.mark.parametrize("keep_time", [False, True])
def test_a_file_of_a_folder_that_changed_is_refused(tmp_path, pixels, keep_time):
    folder = tmp_path / "markers"
    folder.mkdir()
    for number, name in enumerate(("CD3", "CD8", "DAPI")):
        tifffile.imwrite(folder / f"{name}.tif", pixels[number])
    image = sfm.io.read_tiff(folder, mpp=1).images["image_markers"].data
    overwritten(folder / "CD8.tif", 0, pixels[4], keep_time=keep_time)
    np.testing.assert_array_equal(image[0].compute(), pixels[0])
    with pytest.raises(InputFileError, match=r"CD8\.tif' changed since it was opened"):
        image.compute()
