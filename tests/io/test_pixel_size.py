"""Lengths in µm."""

from __future__ import annotations

import pytest

from spatialfm._errors import PixelSizeError
from spatialfm.io._pixel_size import PRINT_UNITS, PixelSize, clean, micrometers, positive_mpp, um_per_unit


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0.5, "µm", 0.5),
        (0.5, "\u03bcm", 0.5),
        ("0.5", " Micron ", 0.5),
        (325, "nm", 0.325),
        (3250, "Å", 0.325),
        (0.0005, "mm", 0.5),
        (5e-5, "cm", 0.5),
        (5e-7, "m", 0.5),
        (500_000, "pm", 0.5),
        (1 / 25400, "inch", 1.0),
        (2 / 25400, "in", 2.0),
        (1, "pixel", None),
        ("x", "µm", None),
        (None, "µm", None),
        (0, "µm", None),
        (-1, "µm", None),
        (float("inf"), "µm", None),
    ],
)
def test_lengths(value, unit, expected):
    found = micrometers(value, unit)
    assert found == (expected if expected is None else pytest.approx(expected, rel=1e-8))


def test_units_that_printers_use_are_known_and_of_a_length():
    assert all(um_per_unit(unit) >= 10_000 for unit in PRINT_UNITS)
    assert um_per_unit("furlong") is None


@pytest.mark.parametrize(("side", "plausible"), [(0.04, False), (0.05, True), (0.5, True), (10.0, True), (10.6, False)])
def test_light_microscopes_have_pixels_from_a_twentieth_to_ten_um(side, plausible):
    assert PixelSize(side, 0.5, "field").is_plausible is plausible
    assert PixelSize(0.5, side, "field").is_plausible is plausible


def test_noise_of_single_precision_goes():
    assert clean(1e4 / 20112.0000001) == clean(1e4 / 20112)
    assert clean(0.32500000001) == 0.325


@pytest.mark.parametrize("wrong", [-1, 0, float("nan"), float("inf")])
def test_a_size_that_is_given_is_one(wrong):
    assert positive_mpp(None) is None
    assert positive_mpp(0.25) == 0.25
    with pytest.raises(PixelSizeError, match=f"mpp={wrong} is not a pixel size"):
        positive_mpp(wrong)
