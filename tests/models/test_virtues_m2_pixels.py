"""Pixels of VirTues-M2 against whole images that numpy and scipy prepared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import correlate1d

from spatialfm.models import virtues_m2


@dataclass(frozen=True)
class Whole:
    image: np.ndarray
    ratio: float = 1.0
    intensity_max: float = 1.0
    fingerprint: str = "m2"

    @property
    def channels(self):
        return tuple(range(len(self.image)))

    @property
    def shape(self):
        return self.image.shape[1:]

    def pixels(self, y0, y1, x0, x1):
        out = np.zeros((len(self.image), y1 - y0, x1 - x0), np.float32)
        ya, yb, xa, xb = max(y0, 0), min(y1, self.shape[0]), max(x0, 0), min(x1, self.shape[1])
        out[:, ya - y0 : yb - y0, xa - x0 : xb - x0] = self.image[:, ya:yb, xa:xb]
        return out


class Everywhere:
    identity = "all"

    def find(self):
        return np.ones((40, 30), bool), 1


def test_pixels_are_clipped_scaled_and_blurred():
    image = np.random.default_rng(0).gamma(1, 50, (2, 40, 30)).astype(np.float32)
    image[1] = 0
    prepared = virtues_m2.VIRTUES_M2.recipe.preparation.prepare(Whole(image), Everywhere())
    top = np.percentile(image[0], 99)
    kernel = np.exp(-0.5 * np.array([-1.0, 0, 1]) ** 2)
    expected = np.clip(image[0], 0, top) / top
    for axis in (0, 1):
        expected = correlate1d(expected, kernel / kernel.sum(), axis=axis, mode="mirror")
    found = prepared.pixels(0, 40, 0, 30)
    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-6)
    assert (found[1] == 0).all()
    np.testing.assert_allclose(prepared.pixels(7, 19, 3, 11)[0], expected[7:19, 3:11], rtol=1e-4, atol=1e-6)
    assert prepared.preparation[0] == "scaled"
