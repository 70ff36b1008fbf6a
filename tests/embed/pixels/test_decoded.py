"""Pixels held in memory: the same as those of the image, each chunk decoded once, and never more than allowed."""

import pickle

import dask.array as da
import numpy as np
import pytest

from spatialfm.embed.pixels.decoded import Decoded
from spatialfm.embed.pixels.reader import SampleReader
from spatialfm.pp.arrays import AxisAffine
from spatialfm.pp.measure import loaded

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 60_000, (3, 1_300, 1_700)).astype(np.uint16)


class Counted:
    """An array that counts how often each of its chunks is read."""

    def __init__(self, values, chunk=512):
        self.values, self.shape, self.dtype, self.ndim, self.read = values, values.shape, values.dtype, 3, []
        self.lazy = da.from_array(self, chunks=(1, chunk, chunk), name=False, inline_array=True, asarray=False)

    def __getitem__(self, index):
        part = self.values[index]
        if part.size:  # dask asks for an empty one to see its type
            self.read.append(tuple(span.start for span in index))
        return part


BOXES = [(0, 600, 0, 600), (500, 1100, 400, 1700), (1, 2, 0, 1700), (511, 513, 511, 513), (1023, 1300, 1698, 1700)]


@pytest.mark.parametrize("chunks", [512, 300, 2000, ((5, 700, 595), (1000, 1, 699))])
@pytest.mark.parametrize("limit", [3_000_000, 2**28])
def test_a_region_holds_the_pixels_of_the_image(image, chunks, limit):
    chunks = (2, *chunks) if isinstance(chunks, tuple) else (2, chunks, chunks)
    decoded, lazy = Decoded(limit), da.from_array(image, chunks=chunks)
    for channels in ((0, 1, 2), (2, 0)):
        for y0, y1, x0, x1 in BOXES * 2:
            found = decoded.region(lazy, channels, (y0, y1, x0, x1), loaded)
            np.testing.assert_array_equal(found, image[list(channels), y0:y1, x0:x1])
            assert found.dtype == image.dtype
            assert decoded.held <= limit


def test_every_chunk_is_decoded_once(image):
    counted, decoded = Counted(image), Decoded()
    for y0, y1, x0, x1 in BOXES * 2:
        decoded.region(counted.lazy, range(3), (y0, y1, x0, x1), loaded)
    assert len(counted.read) == len(set(counted.read)) == 3 * 3 * 4
    assert decoded.held == image.nbytes


def test_what_was_used_last_is_kept(image):
    counted, decoded = Counted(image[:1]), Decoded(limit=3 * 512 * 512 * 2)
    corner, right, below = (0, 9, 0, 9), (0, 9, 600, 609), (600, 609, 0, 9)
    for box in (corner, right, below, corner, (600, 609, 600, 609)):  # the last takes the place of `right`
        decoded.region(counted.lazy, (0,), box, loaded)
    before = len(counted.read)
    decoded.region(counted.lazy, (0,), corner, loaded)
    assert len(counted.read) == before
    decoded.region(counted.lazy, (0,), right, loaded)
    assert len(counted.read) == before + 1


def test_a_row_of_regions_decodes_each_chunk_once_where_two_columns_fit(image):
    """Regions of 1,024 pixels with a rim, as windows need it, over chunks of 512: a row of them shares its columns."""
    image = np.zeros((1, 1_100, 6_200), np.uint8)
    counted, decoded = Counted(image), Decoded(limit=6 * 512 * 512)
    for start in range(0, 6_000, 1_000):
        decoded.region(counted.lazy, (0,), (20, 1_090, start, start + 1_070), loaded)
    assert len(counted.read) == len(set(counted.read)) == 3 * 12


def test_images_and_channels_are_not_mixed_up(image):
    decoded, one, two = Decoded(), da.from_array(image, chunks=512), da.from_array(image + 1, chunks=512)
    box = (0, 20, 0, 20)
    np.testing.assert_array_equal(decoded.region(one, (0,), box, loaded), image[:1, :20, :20])
    np.testing.assert_array_equal(decoded.region(one, (1,), box, loaded), image[1:2, :20, :20])
    np.testing.assert_array_equal(decoded.region(two, (0,), box, loaded), image[:1, :20, :20] + 1)


def test_what_a_check_refuses_is_not_kept(image):
    """Chunks that are removed while they are read come as zeros, which no later block may be given."""
    gone = [True]

    def check(box):
        if gone[0]:
            raise FileNotFoundError(box)

    decoded, box, lazy = Decoded(), (500, 520, 0, 20), da.from_array(image, chunks=512)
    with pytest.raises(FileNotFoundError, match=r"\(0, 1024, 0, 512\)"):  # all that was read, not all that was asked
        decoded.region(lazy, (0,), box, loaded, check)
    assert decoded.held == 0
    gone[0] = False
    np.testing.assert_array_equal(decoded.region(lazy, (0,), box, loaded, check), image[:1, 500:520, :20])


def test_no_more_is_kept_than_is_counted(image):
    """A view of two channels out of three, or of one chunk out of nine, would keep all of them."""
    decoded = Decoded()
    decoded.region(da.from_array(image, chunks=(3, 512, 512)), (0, 1), (0, 1300, 0, 1700), loaded)
    owners = [part if part.base is None else part.base for part in decoded._parts.values()]
    assert sum(owner.nbytes for owner in owners) == decoded.held == image[:2].nbytes


def test_images_of_the_same_name_are_not_mixed_up(image):
    one, two = (da.from_array(values, chunks=512, name="image") for values in (image, image + 1))
    decoded, box = Decoded(), (0, 20, 0, 20)
    decoded.region(one, (0,), box, loaded)
    np.testing.assert_array_equal(decoded.region(two, (0,), box, loaded), image[:1, :20, :20] + 1)


def test_changing_a_region_changes_no_other(image):
    decoded, lazy, box = Decoded(), da.from_array(image, chunks=512), (0, 600, 0, 600)
    decoded.region(lazy, range(3), box, loaded)[:] = 0
    np.testing.assert_array_equal(decoded.region(lazy, range(3), box, loaded), image[:, :600, :600])


def test_no_pixels_travel_to_a_worker(image):
    decoded = Decoded(limit=12_345_678)
    decoded.region(da.from_array(image[:, :512, :512], chunks=512), range(3), (0, 9, 0, 9), loaded)
    assert decoded.held
    there = pickle.loads(pickle.dumps(decoded))
    assert (there.held, there.limit) == (0, 12_345_678)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64, np.float32, np.float64])
def test_scaling_rounds_to_single_precision_first(dtype):
    """Whatever the type, a pixel is ``float32(pixel) / float32(intensity_max)``, one rounding after the other."""
    values = np.random.default_rng(1).integers(0, 250 if dtype == np.uint8 else 60_000, (2, 30, 40)).astype(dtype)
    if np.dtype(dtype).itemsize == 8:
        values += dtype(2**24 + 1)  # odd numbers above 2^24 do not exist in single precision
    reader = SampleReader(
        "a", "", da.from_array(values, chunks=16), da.zeros((30, 40), dtype=np.uint8),
        (1, 0), ("b", "a"), 65535.0, 1.0, AxisAffine(),
    )  # fmt: skip
    expected = values[[1, 0], 2:20, 3:33].astype(np.float32) / np.float32(65535)
    np.testing.assert_array_equal(reader.pixels(2, 20, 3, 33), expected)
