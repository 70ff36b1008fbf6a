"""Images on disk: levels that are means, the same bytes for the same pixels, and nothing half written."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from spatialfm._errors import RunError
from spatialfm.embed.paint.pyramid import level_shapes, open_pyramid, write_pyramid


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def pixels():
    return np.random.default_rng(0).normal(size=(2, 1101, 700)).astype(np.float32)


def write(path, pixels, dtype="float32", **options):
    def read(channel, box):
        return pixels[channel, box[0] : box[1], box[2] : box[3]]

    write_pyramid(path, pixels.shape, dtype, read, **options)


def test_levels_are_means_of_four_pixels(tmp_path, pixels):
    write(tmp_path / "one", pixels)
    levels = open_pyramid(tmp_path / "one", "one")
    assert (
        [level.shape for level in levels]
        == level_shapes(pixels.shape)
        == [(2, 1101, 700), (2, 550, 350), (2, 275, 175)]
    )
    np.testing.assert_array_equal(levels[0].compute(), pixels)
    expected = pixels.astype(np.float64)
    for level in levels[1:]:
        height, width = (size // 2 * 2 for size in expected.shape[1:])
        expected = expected[:, :height, :width].reshape(2, height // 2, 2, width // 2, 2).mean((2, 4))
        np.testing.assert_allclose(level.compute(), expected, atol=1e-6)


def test_the_same_pixels_give_the_same_bytes(tmp_path, pixels):
    for name in ("one", "two"):
        write(tmp_path / name, pixels)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two") != {}


def test_a_chunk_that_is_lost_is_nan_and_a_black_one_is_not(tmp_path):
    write(tmp_path / "one", np.zeros((1, 20, 20), np.float32))
    (level,) = open_pyramid(tmp_path / "one", "one")
    assert (level.compute() == 0).all()
    shutil.rmtree(tmp_path / "one" / "0" / "c")
    assert np.isnan(open_pyramid(tmp_path / "one", "again")[0].compute()).all()


def test_nothing_is_there_before_all_is(tmp_path, pixels):
    def read(channel, box):
        assert not (tmp_path / "one").exists()
        if channel == 1:
            raise OSError(28, "No space left on device")
        return pixels[channel, box[0] : box[1], box[2] : box[3]]

    with pytest.raises(RunError, match="No space left on device.*repeat the same call"):
        write_pyramid(tmp_path / "one", pixels.shape, "float32", read)
    assert not list(tmp_path.iterdir())
