"""Positions of a table against the places of its labels, whose truth is painted."""

from __future__ import annotations

import numpy as np
import pytest
from elsewhere import steinbock_like

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning
from spatialfm.embed.windows.places import reading_of

RNG = np.random.default_rng(3)
CENTERS = RNG.random((60, 2)) * [900, 1400]  # y, x


@pytest.mark.parametrize(
    ("positions", "reading"),
    [
        (CENTERS[:, ::-1], ""),
        (CENTERS[:, ::-1] * 0.5 + [300, -20], ""),  # another unit and another origin
        (CENTERS[:, ::-1] + RNG.normal(0, 5, (60, 2)), ""),  # centres of nuclei
        (CENTERS, "exchanged"),
        (CENTERS * 0.325 + 8, "exchanged"),
        (CENTERS[:, ::-1] * [1, -1] + [0, 900], "mirrored"),
        (RNG.random((60, 2)), "elsewhere"),
    ],
)
def test_readings(positions, reading):
    assert reading_of(positions, CENTERS) == reading


def test_too_little_to_tell():
    assert reading_of(CENTERS[:4], CENTERS[:4]) == ""
    line = np.column_stack([np.arange(30), np.arange(30)])
    assert reading_of(line, line) == ""  # x is y
    flat = np.column_stack([np.zeros(30), np.arange(30)])
    assert reading_of(flat, flat) == ""
    missing = np.where(np.arange(60)[:, None] < 57, np.nan, CENTERS)
    assert reading_of(missing, CENTERS) == ""


def centroids(sdata):
    """Centroids y, x of the rows of `steinbock_like`, by counting pixels."""
    obs = sdata["table"].obs
    found = []
    for region, cell in zip(obs["region"], obs["cell_id"], strict=True):
        found.append(np.argwhere(sdata[region].values == cell).mean(axis=0))
    return np.array(found)


def test_embedding_says_that_y_is_before_x():
    sdata = steinbock_like()
    right = centroids(sdata)[:, ::-1]
    sdata["table"].obsm["spatial"] = right[:, ::-1].copy()
    with pytest.warns(SpatialfmWarning, match="holds y before x. The cells are embedded") as said:
        sfm.tl.embed_cells(sdata, model="classical")
    code = next(str(one.message) for one in said if "y before x" in str(one.message)).split("Exchange them: ")[1]
    exec(code.rstrip("."), {"sdata": sdata, "numpy": np})
    np.testing.assert_array_equal(sdata["table"].obsm["spatial"], right)


def test_right_positions_are_not_spoken_of(recwarn):
    sdata = steinbock_like()
    sdata["table"].obsm["spatial"] = centroids(sdata)[:, ::-1]
    sfm.tl.embed_cells(sdata, model="classical")
    assert not [one for one in recwarn if "obsm['spatial']" in str(one.message)]


def test_one_sample_of_two_is_named():
    sdata = steinbock_like()
    places = centroids(sdata)[:, ::-1].copy()
    second = (sdata["table"].obs["region"] == "Patient1_002_deepcell_labels").to_numpy()
    places[second] = places[second][:, ::-1]
    sdata["table"].obsm["spatial"] = places
    with pytest.warns(SpatialfmWarning, match=r"y before x in 1 sample \('Patient1_002_image'\)\..*in these rows"):
        sfm.tl.embed_cells(sdata, model="classical")
