"""Niches of simulated tissue: the shares that were asked for."""

from __future__ import annotations

import numpy as np
import pytest

from spatialfm.datasets._simulate_fields import AGGREGATE, STROMA, TUMOR, VESSEL, _depth, draw_fields, smooth_noise


@pytest.mark.parametrize("tumor", [0.2, 0.5])
def test_niches_take_their_share_of_the_area(tumor):
    shares = np.zeros(4)
    shares[[TUMOR, AGGREGATE, VESSEL]] = tumor, 0.15, 0.1
    shares[STROMA] = 1 - shares.sum()
    fields = draw_fields(300.0, shares, np.random.default_rng(0))
    found = np.bincount(fields.niche.ravel(), minlength=4) / fields.niche.size
    assert found[TUMOR] == pytest.approx(tumor, abs=0.02)
    assert found[AGGREGATE] == pytest.approx(0.15, abs=0.02)


def test_noise_is_standardised_and_smooth():
    noise = smooth_noise((100, 100), 4.0, np.random.default_rng(0))
    assert noise.mean() == pytest.approx(0, abs=1e-5)
    assert noise.std() == pytest.approx(1, abs=1e-5)
    assert np.abs(np.diff(noise, axis=0)).mean() < 0.3


def test_depth_is_the_signed_distance_to_the_border():
    mask = np.zeros((1, 10), bool)
    mask[0, 3:7] = True
    step = _depth(mask)[0, 3] * 2  # half a step inside
    np.testing.assert_allclose(_depth(mask)[0] / step, [-2.5, -1.5, -0.5, 0.5, 1.5, 1.5, 0.5, -0.5, -1.5, -2.5])
    assert (_depth(np.zeros((3, 3), bool)) < 0).all()
    assert (_depth(np.ones((3, 3), bool)) > 0).all()
