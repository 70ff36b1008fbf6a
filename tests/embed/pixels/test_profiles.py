"""Profiles of pixels against the steps of Pixie written out on whole images, however these are cut."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from spatialfm._errors import PanelError
from spatialfm.embed.pixels import profiles as module
from spatialfm.embed.pixels.profiles import ceiling_of, profiles_of, some_pixels

MARKERS = ["CD3", "CD20", "CD68"]


def reader_of(image: np.ndarray) -> SimpleNamespace:
    def pixels(y0, y1, x0, x1):
        assert y0 >= 0
        assert x0 >= 0
        return image[:, y0:y1, x0:x1].copy()

    return SimpleNamespace(shape=image.shape[1:], pixels=pixels, channels=range(len(image)), name="image_a")


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    made = [rng.gamma(0.6, 1, (3, 70, 55)).astype(np.float32), 4 * rng.gamma(0.6, 1, (3, 41, 83)).astype(np.float32)]
    for image in made:
        image[:, :9, :10] = 0  # dark, and less than a twentieth
    made[1][2] = 0  # a marker that is nowhere in one image
    return made


@pytest.fixture(scope="module")
def written_out(images):
    """As the authors have it: float64, whole images."""
    scale = [
        np.mean([np.quantile(image[marker][image[marker] > 0], 0.99) for image in images if image[marker].any()])
        for marker in range(3)
    ]
    scaled = [image / np.array(scale)[:, None, None] for image in images]
    least = np.mean([np.quantile(image.sum(axis=0), 0.05) for image in scaled])
    shares, counting = [], []
    for image in scaled:
        blurred = np.stack([gaussian_filter(plane, 2) for plane in image])
        total = blurred.sum(axis=0)
        counting.append((total > least) & (blurred != 0).any(axis=0))
        shares.append((blurred / np.where(total > 0, total, 1))[:, counting[-1]].T)
    tops = [
        [np.quantile(part[:, marker][part[:, marker] > 0], 0.999) for part in shares if part[:, marker].any()]
        for marker in range(3)
    ]
    return SimpleNamespace(scale=scale, least=least, shares=shares, counting=counting, top=[np.mean(t) for t in tops])


@pytest.mark.parametrize("side", [512, 16])
def test_profiles_are_those_of_whole_images(images, written_out, side, monkeypatch):
    monkeypatch.setattr(module, "SIDE", side)
    profiles = profiles_of([reader_of(image) for image in images], MARKERS, 2.0)
    np.testing.assert_allclose(profiles.scale, written_out.scale, rtol=1e-6)
    assert profiles.least == pytest.approx(written_out.least, rel=1e-5)
    for number, expected in enumerate(written_out.shares):
        counting = np.zeros(images[number].shape[1:], bool)
        values = np.zeros((*counting.shape, 3))
        for (y0, y1, x0, x1), counts, part in profiles.blocks(number):
            counting[y0:y1, x0:x1] = counts
            values[y0:y1, x0:x1][counts] = part
        np.testing.assert_array_equal(counting, written_out.counting[number])
        np.testing.assert_allclose(values[counting], expected, rtol=1e-4, atol=1e-6)
    ceiling, sizes = ceiling_of(profiles)
    np.testing.assert_allclose(ceiling, written_out.top, rtol=1e-4)
    assert sizes.tolist() == [int(counts.sum()) for counts in written_out.counting]


def test_some_pixels_are_the_same_however_images_are_cut(images, monkeypatch):
    readers = [reader_of(image) for image in images]
    drawn = {}
    for side in (512, 16):
        monkeypatch.setattr(module, "SIDE", side)
        drawn[side] = some_pixels(profiles_of(readers, MARKERS, 2.0), 0.1, 5)
    one, other = (part[np.lexsort(part.T)] for part in drawn.values())
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    n_all = sum(ceiling_of(profiles_of(readers, MARKERS, 2.0))[1])
    assert abs(len(one) - 0.1 * n_all) < 4 * np.sqrt(0.09 * n_all)
    assert len(some_pixels(profiles_of(readers, MARKERS, 2.0), 1.0, 5)) == n_all
    again = some_pixels(profiles_of(readers, MARKERS, 2.0), 0.1, 6)
    assert len(again) != len(one) or not np.allclose(again[np.lexsort(again.T)], one)


def test_refusals(images):
    dark = images[0].copy()
    dark[1] = 0
    with pytest.raises(PanelError, match=r"Marker 'CD20' is 0 in all images\. Leave it out"):
        profiles_of([reader_of(dark)], MARKERS, 2.0)
