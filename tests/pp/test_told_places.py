"""Places that a joined table states: which disagree with those of the labels, in any unit and from any corner."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning
from spatialfm.pp.told_places import explained

SIDE, PITCH = 6, 10


@pytest.fixture
def sdata(make_sdata):
    """Thirty squares in an order that does not follow their places, numbered 1, 2, ..."""
    labels = np.zeros((50, 60), np.int32)
    cells = np.random.default_rng(0).permutation(30)
    for number, place in enumerate(cells, start=1):
        y, x = PITCH * (place // 6) + 2, PITCH * (place % 6) + 2
        labels[y : y + SIDE, x : x + SIDE] = number
    image = np.random.default_rng(1).integers(1, 9, (1, 50, 60)).astype(np.uint8)
    return make_sdata(a=(image, labels))


def told(sdata, **columns):
    """A table of the cells with their places in pixels, from the label image."""
    labels = sdata["cells_a"].values
    middle = np.array([np.argwhere(labels == number).mean(axis=0) for number in range(1, 31)])
    frame = pd.DataFrame({"sample": "a", "cell_id": np.arange(1, 31), "y": middle[:, 0], "x": middle[:, 1]})
    return frame.assign(**columns)


@pytest.mark.parametrize("way", ["pixels", "slide", "turned", "row-and-column"])
def test_the_same_places_in_any_unit_are_no_finding(sdata, way):
    cells = told(sdata)
    x, y = cells["x"], cells["y"]
    if way == "slide":
        cells["x"], cells["y"] = 13_000 + 0.25 * x, 21_000 - 0.25 * y
    elif way == "turned":
        cells["x"], cells["y"] = 0.8 * x - 0.6 * y, 0.6 * x + 0.8 * y
    elif way == "row-and-column":
        cells["x"], cells["y"] = y, x
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialfmWarning)
        sfm.pp.cell_table(sdata, cells=cells, morphology=False)


@pytest.mark.parametrize("names", [("x", "y"), ("Cell X Position", "Cell Y Position"), ("centroid-1", "centroid-0")])
def test_rows_of_other_cells_are_told(sdata, names):
    cells = told(sdata).rename(columns=dict(zip(("x", "y"), names, strict=True)))
    cells["cell_id"] = np.roll(cells["cell_id"], 1)  # the same numbers, each of the cell before
    with pytest.warns(SpatialfmWarning, match=r"place the cells of 'a' elsewhere than the labels.*joined by number"):
        sfm.pp.cell_table(sdata, cells=cells, morphology=False)


def test_what_is_no_place_is_not_compared(sdata):
    cells = told(sdata, x="left", y="top")
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialfmWarning)
        sfm.pp.cell_table(sdata, cells=cells, morphology=False)


def test_the_share_that_an_affine_map_explains():
    rng = np.random.default_rng(2)
    places = rng.normal(size=(200, 2))
    assert explained(places @ [[2.0, 1.0], [0.5, -3.0]] + 7, places) == pytest.approx(1)
    noisy = places + rng.normal(size=places.shape)  # of the variance of each, half is that of the place
    assert explained(noisy, places) == pytest.approx(0.5, abs=0.1)
    assert explained(rng.normal(size=(200, 2)), places) < 0.1
    assert explained(places[:9], places[:9]) is None
    assert explained(np.full((20, 2), np.nan), places[:20]) is None
    assert explained(places[:20] * [1, 0], places[:20]) is None
