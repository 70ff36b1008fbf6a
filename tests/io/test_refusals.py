"""Wrong input is refused with what, where and the fix, and leaves nothing behind."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
import tifffile

import spatialfm as sfm
from spatialfm._errors import ArgumentError, InputFileError, PanelError, PixelSizeError, SpatialfmWarning

NAMES = ["DAPI", "CD3", "CD8", "CD20", "Ki67"]


@pytest.fixture(autouse=True)
def _nothing_is_written(tmp_path, monkeypatch):
    """Whatever a test made itself is there before `read_tiff` is called: see `refused`."""
    monkeypatch.chdir(tmp_path)


def listing(folder):
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")}


@pytest.fixture
def refused(tmp_path):
    """Call `read_tiff`, which must raise with a message that holds all `parts`, and change no file."""

    def call(error, parts, *args, **options):
        before = listing(tmp_path)
        with pytest.raises(error) as caught:
            sfm.io.read_tiff(*args, **options)
        message = str(caught.value)
        for part in parts:
            assert part in message, message
        assert listing(tmp_path) == before
        return message

    return call


def test_missing_file(refused, tmp_path, ome):
    refused(InputFileError, ["No file", "core9.tif", "Check the path", str(tmp_path)], "core9.tif")
    refused(InputFileError, ["No file", "mask9.tif", "Check the path"], ome, "mask9.tif")


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"\x89PNG\r\n\x1a\n....", ["is not a TIFF file", "PNG", "Pass a TIFF"]),
        (b"", ["is empty (0 bytes)", "Copy or export it again"]),
        (b"I", ["is not a TIFF file"]),
        (b"II*\0\x10\0\0\0", ["truncated", "Copy or export it again"]),
        (b"II*\0\0\0\0\0", ["Copy or export it again"]),
    ],
)
def test_not_a_tiff(refused, tmp_path, content, parts):
    (tmp_path / "a.tif").write_bytes(content)
    refused(InputFileError, ["a.tif", *parts], tmp_path / "a.tif")


CUT = {
    "contiguous": {},
    "pages": {"metadata": None, "compression": "zlib"},
    "strips": {"compression": "zlib", "rowsperstrip": 8},
    "tiles": {"tile": (32, 32), "compression": "zlib"},
    "ImageJ": {"imagej": True},
    "ImageJ, one page": {"imagej": True, "truncate": True},
    "BigTIFF": {"bigtiff": True, "compression": "zlib"},
    "OME": {"ome": True, "compression": "zlib", "metadata": {"axes": "CYX"}},
    "pyramid": {},
}


@pytest.mark.parametrize("how", CUT)
def test_truncated_anywhere(refused, tmp_path, how):
    noise = np.random.default_rng(0).integers(0, 65535, (5, 48, 64)).astype(np.uint16)
    path, cut = tmp_path / "whole.tif", tmp_path / "cut.tif"
    if how == "pyramid":
        with tifffile.TiffWriter(path) as tif:
            tif.write(noise, subifds=1, tile=(16, 16), compression="zlib")
            tif.write(noise[:, ::2, ::2], subfiletype=1, tile=(16, 16), compression="zlib")
    else:
        tifffile.imwrite(path, noise, **CUT[how])
    content = path.read_bytes()
    with tifffile.TiffFile(path) as tif:
        pages = [page for level in tif.series[0].levels for page in level.pages]
        last = max(page.dataoffsets[-1] + page.databytecounts[-1] for page in pages)
    lengths = {int(n) for n in np.linspace(8, last - 1, 40)}
    for length in sorted(lengths):
        cut.write_bytes(content[:length])
        message = refused(InputFileError, ["cut.tif", "opy or export it again"], cut, mpp=1)
        assert re.search("truncated|damaged", message)


def test_truncated_mask_and_folder(refused, tmp_path, ome, mask_file, pixels):
    content = mask_file.read_bytes()
    mask_file.write_bytes(content[:-100])
    refused(InputFileError, ["core1_mask.tif", "truncated", "Copy or export it again"], ome, mask_file)
    folder = tmp_path / "core"
    folder.mkdir()
    tifffile.imwrite(folder / "a.tif", pixels[0])
    (folder / "b.tif").write_bytes((folder / "a.tif").read_bytes()[:-100])
    refused(InputFileError, ["b.tif", "truncated"], folder)


def test_image_and_mask_of_different_size(refused, tmp_path, ome, mask):
    tifffile.imwrite(tmp_path / "m.tif", mask[:-1])
    refused(InputFileError, ["69 x 90", "70 x 90", "m.tif", "core1.ome.tif", "mask of this image"], ome, "m.tif")
    tifffile.imwrite(tmp_path / "m.tif", mask.T)
    refused(InputFileError, ["90 x 70", "70 x 90", "look transposed"], ome, "m.tif")


def test_labels_that_are_no_labels(refused, tmp_path, ome, mask, pixels):
    path = tmp_path / "m.tif"
    tifffile.imwrite(path, mask.astype("f4"))
    refused(InputFileError, ["m.tif", "float32", "whole numbers", "cast_labels=True"], ome, path)
    broken = mask.astype("f4")
    broken[3, 4], broken[5, 5], broken[6, 6] = 1.5, np.nan, -2
    tifffile.imwrite(path, broken)
    refused(InputFileError, ["m.tif", "3 pixels are not whole numbers"], ome, path, cast_labels=True)
    broken = mask.astype("f4")
    broken[3, 4] = 2**24
    tifffile.imwrite(path, broken)
    refused(InputFileError, ["16,777,216", "Save the mask as integers"], ome, path, cast_labels=True)
    tifffile.imwrite(path, mask > 0)
    refused(InputFileError, ["yes/no mask", "skimage.measure.label"], ome, path)
    tifffile.imwrite(path, np.stack([mask, mask]))
    refused(InputFileError, ["2 planes (0, 1)", "one plane", "labels_plane=<number>"], ome, path)
    refused(InputFileError, ["are a folder", "one TIFF file"], ome, tmp_path)


def test_channel_names_not_as_many_as_channels(refused, tmp_path, ome):
    refused(PanelError, ["4 names", "5 channels", "core1.ome.tif"], ome, channel_names=NAMES[:4])
    refused(PanelError, ["renames 'CD99'", "'DAPI'"], ome, channel_names={"CD99": "MIC2"})
    refused(PanelError, ["renames 5"], ome, channel_names={5: "MIC2"})
    refused(InputFileError, ["'panel.txt' is not a file", "text file"], ome, channel_names="panel.txt")
    refused(PanelError, ["no name for channel 1"], ome, channel_names=["a", "", "b", "c", "d"])


def test_duplicate_channel_names(refused, tmp_path, pixels):
    path = tmp_path / "cycles.ome.tif"
    names = ["DAPI", "CD3", "DAPI", "CD8", "CD3"]
    tifffile.imwrite(path, pixels, metadata={"axes": "CYX", "Channel": {"Name": names}})
    parts = ["'DAPI' at positions [0, 2]", "'CD3' at positions [1, 4]", "channel_names={2: 'DAPI_2', 4: 'CD3_2'}"]
    refused(PanelError, [*parts, "cycles.ome.tif"], path)
    sdata = sfm.io.read_tiff(path, channel_names={2: "DAPI_2", 4: "CD3_2"}, mpp=1)  # the fix works
    assert list(sdata.images["image_cycles"].coords["c"].values) == ["DAPI", "CD3", "DAPI_2", "CD8", "CD3_2"]
    refused(PanelError, ["renames 'DAPI'", "positions [0, 2]", "by position"], path, channel_names={"DAPI": "x"})
    refused(PanelError, ["duplicates: 'a' at positions [0, 1]", "a unique name"], path, channel_names=list("aabcd"))
    # what the user renamed already is kept in what is proposed
    refused(PanelError, ["channel_names={1: 'CD3e', 2: 'DAPI_2'}"], path, channel_names={1: "CD3e"})
    sfm.io.read_tiff(path, channel_names={1: "CD3e", 2: "DAPI_2"}, mpp=1)


def test_folders(refused, tmp_path, pixels):
    folder = tmp_path / "core"
    folder.mkdir()
    (folder / "notes.txt").write_text("")
    refused(InputFileError, ["contains no TIFF", "core", "one TIFF per marker"], folder)
    tifffile.imwrite(folder / "a.tif", pixels[0])
    tifffile.imwrite(folder / "b.tif", pixels[0, 1:])
    refused(InputFileError, ["size", "'b.tif' has (69, 90)", "'a.tif' has (70, 90)", "Keep only"], folder)
    tifffile.imwrite(folder / "b.tif", pixels[0].astype("u1"))
    refused(InputFileError, ["pixel type", "uint8", "uint16"], folder)
    tifffile.imwrite(folder / "b.tif", pixels)
    refused(InputFileError, ["b.tif", "5 channels", "one TIFF per marker"], folder)
    (folder / "b.tif").unlink()
    tifffile.imwrite(folder / "a.ome.tif", pixels[0])
    refused(PanelError, ["'a' at positions [0, 1]"], folder)


@pytest.mark.parametrize(
    ("shape", "options", "parts"),
    [
        ((5, 70, 90), {"imagej": True, "metadata": {"axes": "ZYX"}}, ["a stack of 5 Z planes", 'axes="zyx"']),
        ((5, 70, 90), {"imagej": True, "metadata": {"axes": "TYX"}}, ["5 time points or cycles", 'axes="tyx"']),
        ((2, 5, 70, 90), {"imagej": True, "metadata": {"axes": "ZCYX"}}, ["2 Z planes x 5 channels", 'axes="zcyx"']),
        ((4, 70, 90, 3), {"photometric": "rgb"}, ["4 axes", "(4, 70, 90, 3)"]),
    ],
)
def test_stacks(refused, tmp_path, shape, options, parts):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros(shape, np.uint8), **options)
    refused(InputFileError, ["a.tif", *parts], tmp_path / "a.tif")


def test_a_stack_whose_planes_are_channels(tmp_path, pixels):
    tifffile.imwrite(tmp_path / "a.tif", pixels, imagej=True, metadata={"axes": "ZYX"})
    sdata = sfm.io.read_tiff(tmp_path / "a.tif", axes="cyx", channel_names=NAMES, mpp=1)
    np.testing.assert_array_equal(sdata.images["image_a"].values, pixels)


def test_several_images_in_one_file(refused, tmp_path, pixels):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tif:
        tif.write(pixels)
        tif.write(pixels[:, :60, :60])
    refused(InputFileError, ["2 images", "series=0", "series=1", "(5, 60, 60)"], path)
    refused(InputFileError, ["no series 2", "series=1", "Correct series="], path, series=2)


def test_complex_pixels(refused, tmp_path, pixels):
    tifffile.imwrite(tmp_path / "a.tif", pixels[0].astype("c8"))
    refused(InputFileError, ["complex64", "Save it as integers or floats"], tmp_path / "a.tif")


def test_compression_that_needs_another_package(refused, tmp_path, pixels, monkeypatch):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, compression="zstd")

    class Known(dict):
        def __missing__(self, key):
            raise KeyError(f"{key} requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile.TIFF, "DECOMPRESSORS", Known())
    refused(InputFileError, ["a.tif", "ZSTD", "pip install 'spatialfm[imagecodecs]'"], path)


def test_no_pixel_size_anywhere(tmp_path, pixels):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels)
    with pytest.warns(SpatialfmWarning, match=r"No pixel size.*a\.tif.*1 µm per pixel is assumed.*Pass mpp=") as caught:
        sdata = sfm.io.read_tiff(path, channel_names=NAMES)
    assert caught[0].filename == __file__
    assert sdata.attrs["spatialfm"]["samples"]["a"]["mpp"] == 1
    assert sdata.attrs["spatialfm"]["samples"]["a"]["mpp_source"] == "assumed"
    tifffile.imwrite(path, pixels, resolution=(72, 72), resolutionunit="INCH")
    with pytest.warns(SpatialfmWarning, match="72 dots per inch, which is not plausible"):
        sdata = sfm.io.read_tiff(path, channel_names=NAMES)
    assert sdata.attrs["spatialfm"]["samples"]["a"]["mpp_source"] == "assumed"


def test_metadata_and_argument_contradict(ome):
    with pytest.warns(SpatialfmWarning, match=r"contradicts.*core1.*0\.5 µm by OME-XML.*mpp=0\.25.*given is used"):
        sdata = sfm.io.read_tiff(ome, mpp=0.25)
    record = sdata.attrs["spatialfm"]["samples"]["core1"]
    assert (record["mpp"], record["mpp_source"]) == (0.25, "argument")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sfm.io.read_tiff(ome, mpp=0.502)  # the same, rounded


def test_pixel_sizes_that_are_none(refused, tmp_path, ome, pixels):
    for wrong in (0, -1, float("nan")):
        refused(ArgumentError, [f"mpp={wrong}", "above 0"], ome, mpp=wrong)
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, pixels, metadata={"axes": "CYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.6})
    refused(PixelSizeError, ["a.ome.tif", "not square (0.5 x 0.6 µm", "Resample"], path, channel_names=NAMES)


def test_channels_without_names(tmp_path, pixels):
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    with pytest.warns(SpatialfmWarning, match=r"No channel names.*a\.tif.*channel_0 to channel_4.*Pass channel_names="):
        sdata = sfm.io.read_tiff(tmp_path / "a.tif", mpp=1)
    assert list(sdata.images["image_a"].coords["c"].values) == [f"channel_{i}" for i in range(5)]


@pytest.mark.parametrize("compression", ["zlib", "lzw", "zstd"])
@pytest.mark.parametrize("tile", [None, (32, 32)])
def test_pixels_that_cannot_be_decoded_are_named(tmp_path, compression, tile):
    pixels = np.random.default_rng(0).integers(0, 500, (2, 64, 64)).astype(np.uint16)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, compression=compression, tile=tile, photometric="minisblack", metadata=None)
    with tifffile.TiffFile(path) as tif:
        at, n = tif.pages[1].dataoffsets[0], tif.pages[1].databytecounts[0]
    raw = bytearray(path.read_bytes())
    raw[at : at + n] = b"\xff" * n
    path.write_bytes(bytes(raw))
    sdata = sfm.io.read_tiff(path, mpp=0.5, channel_names=["a", "b"])
    np.testing.assert_array_equal(sdata["image_a"].data[0].compute(), pixels[0])
    what = "strip" if tile is None else "tile"
    with pytest.raises(InputFileError, match=f"a.tif' is damaged: {what} 0 of a page, .* at byte {at:,}, cannot be"):
        sdata["image_a"].data[1].compute()


def test_arguments_that_are_no_path(tmp_path):
    pixels = np.zeros((2, 8, 9), np.uint8)
    with pytest.raises(TypeError, match=r"image must be a .*path.*Image2DModel\.parse"):
        sfm.io.read_tiff(pixels)
    tifffile.imwrite(tmp_path / "a[1].tif", pixels, photometric="minisblack")
    with pytest.raises(TypeError, match=r"labels must be a .*path.*Labels2DModel\.parse"):
        sfm.io.read_tiff(tmp_path / "a[1].tif", pixels[0])
    with pytest.raises(InputFileError, match=r"patterns are not expanded.*read_cohort"):
        sfm.io.read_tiff(f"{tmp_path}/*.tif")
    assert list(sfm.io.read_tiff(tmp_path / "a[1].tif", mpp=1, channel_names=["a", "b"]).images) == ["image_a_1"]
