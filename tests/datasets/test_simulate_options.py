"""Arguments of simulated cohorts, and their streams of random numbers."""

from __future__ import annotations

import numpy as np
import pytest

from spatialfm._errors import SpatialfmError
from spatialfm.datasets._simulate_options import check_artifacts, check_image, check_integer, check_number, generator


def test_streams_of_subjects_are_apart_and_the_same_again():
    def draw(*key):
        return generator(*key).random(4).tolist()

    assert draw(0, "tissue", 1, 2) == draw(0, "tissue", 1, 2)
    keys = [(0, "tissue", 1, 2), (0, "tissue", 2, 1), (0, "shape", 1, 2), (1, "tissue", 1, 2), (0, "tissue", 1)]
    assert len({tuple(draw(*key)) for key in keys}) == len(keys)


@pytest.mark.parametrize(
    ("size", "mpp", "fine"), [(64, 0.5, True), (63, 1.0, False), (64, 0.49, False), (320, 0.1, True)]
)
def test_an_image_has_room_for_tissue(size, mpp, fine):
    if fine:
        assert check_image(size, mpp) == (size, mpp)
    else:
        with pytest.raises(SpatialfmError, match="is not valid|too small for tissue"):
            check_image(size, mpp)


def test_numbers_that_are_none():
    assert check_integer("n", np.int64(3), 1) == 3
    assert check_number("x", 1, 0, 1) == 1.0
    for value in (True, 0, 2.0, "3"):
        with pytest.raises(SpatialfmError, match="n=.* is not valid"):
            check_integer("n", value, 1)
    for value in (True, 1.01, np.nan, np.inf):
        with pytest.raises(SpatialfmError, match="from 0 to 1"):
            check_number("x", value, 0, 1)
    assert check_artifacts(["saturation", "fold"]) == ("fold", "saturation")
    assert check_artifacts(None) == ()
    with pytest.raises(SpatialfmError, match="names 'dust'"):
        check_artifacts("dust")
