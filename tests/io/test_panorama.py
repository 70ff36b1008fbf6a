"""Pictures of the slide in the coordinate systems of acquisitions, whose y points down where the slide's points up."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from spatialfm.io._imc_samples import ImcSample
from spatialfm.io._mcd_file import Acquisition, Picture
from spatialfm.io._panorama import _is_flat, _own, _transformations

# a picture of 100 x 50 pixels of 2 µm, whose top left corner is at (1000, 900) on the slide
PICTURE = Picture(1, "", 0, 10, ((1000, 900), (1200, 900), (1000, 800)), slide=0)


def sample(corners, slide=0, name="s") -> ImcSample:
    one = Acquisition(1, "", (), (), (1, 1, 1), None, 0, 1, corners, slide=slide)
    return ImcSample(name, 1, "", Path("a.mcd"), acquisition=one)


def place(transformation, x, y):
    return transformation.to_affine_matrix(("x", "y"), ("x", "y")) @ [x, y, 1]


def test_a_pixel_of_the_picture_is_where_the_acquisition_has_it():
    """An acquisition of 40 x 20 µm whose top left is 60 µm right and 30 below the picture's."""
    found = _transformations(PICTURE, [sample(((1060, 870), (1100, 870), (1060, 850)))], 100, 50)
    # the pixel (30, 15) is the acquisition's corner, and (50, 25) is 40 µm right and 20 down of it
    np.testing.assert_allclose(place(found["s"], 30, 15)[:2], [0, 0], atol=1e-6)
    np.testing.assert_allclose(place(found["s"], 50, 25)[:2], [40, 20], atol=1e-6)


def test_an_acquisition_that_is_turned_turns_the_picture():
    """Its x runs down the slide, and its y to the left."""
    found = _transformations(PICTURE, [sample(((1100, 870), (1100, 830), (1060, 870)))], 100, 50)
    np.testing.assert_allclose(place(found["s"], 50, 15)[:2], [0, 0], atol=1e-6)
    np.testing.assert_allclose(place(found["s"], 50, 25)[:2], [20, 0], atol=1e-6)
    np.testing.assert_allclose(place(found["s"], 40, 15)[:2], [0, 20], atol=1e-6)


@pytest.mark.parametrize(
    "other",
    [
        sample(((2000, 870), (2040, 870), (2000, 850))),  # elsewhere on the slide
        sample(((1060, 870), (1100, 870), (1060, 850)), slide=1),  # on another slide
        sample(((1060, 870), (1060, 870), (1060, 850))),  # without a size
        sample(None),
        ImcSample("s", None, "", Path("a.txt")),
    ],
)
def test_acquisitions_that_are_not_in_the_picture_have_none(other):
    assert _transformations(PICTURE, [other], 100, 50) == {}


def test_a_picture_without_acquisitions_is_in_um_of_its_own():
    found = _own("panorama_a", PICTURE, 100)
    np.testing.assert_allclose(np.diag(found["panorama_a"].to_affine_matrix(("x", "y"), ("x", "y"))), [2, 2, 1])
    assert _own("panorama_a", SimpleNamespace(corners=None), 100) == {}


def test_corners_on_a_line_span_nothing():
    assert not _is_flat(((0, 0), (1, 1), (2, 2)))
    assert _is_flat(((0, 0), (1, 0), (0, -1)))
