"""Masks whose file has lost numbers are refused whichever codec lost them; the same codecs without loss are read."""

import numpy as np
import pytest
import tifffile

import spatialfm as sfm
from spatialfm._errors import InputFileError
from spatialfm.io._layout import open_tiff
from spatialfm.io._lossy import lossy_codec

imagecodecs = pytest.importorskip("imagecodecs")
pytestmark = pytest.mark.filterwarnings("ignore:No channel names in the metadata")

NUMBERS = np.random.default_rng(0).integers(0, 200, (4, 4)).repeat(16, 0).repeat(16, 1)
ARGUMENTS = {
    "JPEG": ("jpeg", np.uint8, {"level": 80}, {"level": 100, "lossless": True}),
    "JPEG, 12 bits": ("jpeg", np.uint16, {"bitspersample": 12}, {"bitspersample": 16, "lossless": True}),
    "JPEG 2000": ("jpeg2000", np.uint16, {"level": 30}, {"reversible": True}),
    "WebP": ("webp", np.uint8, {"level": 50, "lossless": False}, {"lossless": True}),
    "LERC": ("lerc", np.uint16, {"level": 7.25}, {"level": 0}),
}


def written(path, codec, dtype, arguments):
    numbers = NUMBERS.astype(dtype)
    if codec == "webp":  # colours alone
        numbers = np.stack([numbers, 0 * numbers, 0 * numbers], axis=-1)
    options = {"photometric": "rgb"} if codec == "webp" else {}
    if codec == "jpeg":  # tifffile writes 8 bits with loss alone
        data = imagecodecs.jpeg8_encode(numbers, **arguments)
        tifffile.imwrite(path, iter([data]), shape=numbers.shape, dtype=dtype, compression="jpeg", metadata=None,
                         photometric="minisblack", rowsperstrip=64)  # fmt: skip
    else:
        tifffile.imwrite(path, numbers, compression=codec, compressionargs=arguments, metadata=None, **options)
    return path


@pytest.mark.parametrize("name", ARGUMENTS)
def test_codecs_with_loss_are_told_from_the_same_without(tmp_path, name):
    codec, dtype, lossy, lossless = ARGUMENTS[name]
    assert lossy_codec(open_tiff(written(tmp_path / "a.tif", codec, dtype, lossy)).levels[0]) == name.split(",")[0]
    path = written(tmp_path / "b.tif", codec, dtype, lossless)
    assert not lossy_codec(open_tiff(path).levels[0])
    read = tifffile.imread(path)
    np.testing.assert_array_equal(read[..., 0] if codec == "webp" else read, NUMBERS)  # it is as the file says


@pytest.mark.parametrize(("version", "at"), [(2, 34), (3, 38), (4, 42), (5, 42), (6, 50)])
def test_error_of_lerc_in_each_version(tmp_path, version, at):
    data = imagecodecs.lerc_encode(NUMBERS.astype(np.uint16), level=3, version=version)
    assert np.frombuffer(data[at : at + 8], "<f8")[0] == 3
    options = {"shape": NUMBERS.shape, "dtype": np.uint16, "rowsperstrip": 64, "metadata": None}
    tifffile.imwrite(tmp_path / "a.tif", iter([data]), compression="lerc", photometric="minisblack", **options)
    assert lossy_codec(open_tiff(tmp_path / "a.tif").levels[0]) == "LERC"


@pytest.mark.parametrize("name", ["JPEG, 12 bits", "JPEG 2000", "LERC"])
def test_a_mask_that_has_lost_numbers_is_refused_and_one_that_has_not_is_read(tmp_path, name):
    codec, dtype, lossy, lossless = ARGUMENTS[name]
    tifffile.imwrite(tmp_path / "image.tif", np.zeros((64, 64), np.uint16), metadata=None)
    mask = written(tmp_path / "m.tif", codec, dtype, lossy)
    with pytest.raises(InputFileError, match=f"m.tif' are compressed as {name.split(',')[0]}, which changes numbers"):
        sfm.io.read_tiff(tmp_path / "image.tif", mask, mpp=1.0)
    mask = written(tmp_path / "n.tif", codec, dtype, lossless)
    sdata = sfm.io.read_tiff(tmp_path / "image.tif", mask, mpp=1.0)
    np.testing.assert_array_equal(sdata["cells_image"].values, NUMBERS)


def test_codecs_that_never_lose(tmp_path):
    for compression in (None, "zlib", "lzw", "zstd"):
        tifffile.imwrite(tmp_path / "a.tif", NUMBERS.astype(np.uint16), compression=compression, metadata=None)
        assert not lossy_codec(open_tiff(tmp_path / "a.tif").levels[0])
