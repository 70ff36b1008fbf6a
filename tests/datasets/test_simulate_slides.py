"""Batch effects of slides: what is scaled by the argument, and how light falls off."""

from __future__ import annotations

import numpy as np
import pytest

from spatialfm.datasets._simulate_slides import Slide, draw_slide, illumination


def test_no_batch_effect_is_none():
    slide = draw_slide(0, 0, 0.0)
    assert (slide.gain == 1).all()
    assert (slide.background == 1).all()
    assert (illumination(slide, 32) == 1).all()


@pytest.mark.parametrize("effect", [0.5, 1.0, 2.0])
def test_effects_grow_with_the_argument(effect):
    one, scaled = draw_slide(3, 0, 1.0), draw_slide(3, 0, effect)
    np.testing.assert_allclose(np.log(scaled.gain), effect * np.log(one.gain))
    np.testing.assert_allclose(np.log(scaled.background), effect * np.log(one.background))
    assert scaled.falloff == pytest.approx(min(effect * one.falloff, 0.8))


def test_slides_differ_and_are_the_same_again():
    assert not np.allclose(draw_slide(0, 0, 1.0).gain, draw_slide(1, 0, 1.0).gain)
    np.testing.assert_array_equal(draw_slide(0, 5, 1.0).gain, draw_slide(0, 5, 1.0).gain)
    logs = np.concatenate([np.log(draw_slide(i, 0, 1.0).gain) for i in range(100)])
    assert logs.std() == pytest.approx(0.25, abs=0.02)
    assert abs(logs.mean()) < 0.01


def test_light_falls_off_with_the_squared_distance():
    light = illumination(Slide(np.ones(1), np.ones(1), 0.4, (0.5, 0.5)), 4)
    at = np.array([0.125, 0.375, 0.625, 0.875]) - 0.5
    np.testing.assert_allclose(light, 1 - 0.4 * (at[:, None] ** 2 + at[None, :] ** 2), rtol=1e-6)
    assert illumination(Slide(np.ones(1), np.ones(1), 9.0, (0.0, 0.0)), 8).min() == pytest.approx(0.1)
