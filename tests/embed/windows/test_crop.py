"""Which pixels a cell's window holds, against crops written out by hand: the model here returns its window."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from spatialdata.transformations import Scale, set_transformation
from stand_in import StandIn, card_of

import spatialfm as sfm
from spatialfm._errors import ArgumentError, ModelError, SpatialfmWarning, TableError
from spatialfm.models.encoder import EncoderOutput


class Windows(StandIn):
    """The window itself, row by row."""

    card = card_of("windows", mpp=0.5, recipe=sfm.Recipe(window=8, background="keep"), outputs=("patch",))

    def look(self, pixels):
        return {"patch": pixels[:, 0].flatten(1)}


@pytest.fixture
def numbered():
    """Image whose every pixel has its own value: row 100 + column."""
    y, x = np.mgrid[:40, :50]
    return (100.0 * y + x).astype(np.float32)[None]


def labels_of(*boxes):
    labels = np.zeros((40, 50), np.int32)
    for label, (y0, y1, x0, x1) in enumerate(boxes, start=1):
        labels[y0:y1, x0:x1] = label
    return labels


def windows_of(sdata, side, recipe=None, **arguments):
    recipe = {"window": side} | (recipe or {})
    rows = sfm.tl.embed_cells(sdata, Windows(), recipe=recipe, copy=True, **arguments).obsm["X_windows"]
    return rows.reshape(-1, side, side)


def crop(image, row, column, side):
    """Rows ``[row - side // 2, ...)`` of an image that is zero beyond its border: the pixel stands at side // 2."""
    padded = np.pad(image[0], side)
    top, left = row - side // 2 + side, column - side // 2 + side
    return padded[top : top + side, left : left + side]


# rows 10..12 have their centroid at 11 (fraction 0); 10..13 at 11.5: rounded up to 12; one pixel is its own centroid
@pytest.mark.parametrize("side", [8, 7, 16])
@pytest.mark.parametrize(
    ("box", "centre"),
    [
        ((10, 13, 20, 23), (11, 21)),
        ((10, 14, 20, 24), (12, 22)),
        ((10, 13, 20, 24), (11, 22)),
        ((17, 18, 30, 31), (17, 30)),
        ((0, 1, 0, 1), (0, 0)),  # corners: zeros beyond the image
        ((39, 40, 49, 50), (39, 49)),
        ((0, 3, 44, 50), (1, 47)),
    ],
)
def test_the_window_begins_half_its_side_before_the_rounded_centroid(make_sdata, numbered, box, centre, side):
    sdata = make_sdata({"a": (numbered, labels_of(box))}, ["x"])
    np.testing.assert_array_equal(windows_of(sdata, side)[0], crop(numbered, *centre, side))


def test_fractions_on_both_sides_of_a_half(make_sdata, numbered):
    """An L of pixels: mean row 10.4 is row 10, 10.6 is row 11; truncated centres take row 10 for both."""
    labels = np.zeros((40, 50), np.int32)
    labels[10, 5:8], labels[11, 5:7] = 1, 1  # mean row 10.4, mean column 5.8
    labels[10, 20:22], labels[11, 20:23] = 2, 2  # mean row 10.6, mean column 20.8
    sdata = make_sdata({"a": (numbered, labels)}, ["x"])
    found = windows_of(sdata, 8)
    np.testing.assert_array_equal(found[0], crop(numbered, 10, 6, 8))
    np.testing.assert_array_equal(found[1], crop(numbered, 11, 21, 8))
    table = sfm.pp.cell_table(sdata)
    sdata["table"].obs["row"], sdata["table"].obs["col"] = [10, 10], [5, 20]
    assert table is None
    found = windows_of(sdata, 8, recipe={"centers": ("col", "row")})
    np.testing.assert_array_equal(found[0], crop(numbered, 10, 5, 8))
    np.testing.assert_array_equal(found[1], crop(numbered, 10, 20, 8))


@pytest.mark.parametrize("mpp", [1.0, 0.25])
def test_windows_of_resampled_images(make_sdata, numbered, mpp):
    """The window is that of the pixel of the resampled image that holds the centre."""
    sdata = make_sdata({"a": (numbered, labels_of((10, 13, 20, 24), (25, 27, 8, 9)))}, ["x"], mpp=mpp)
    ratio = 0.5 / mpp  # image pixels a model pixel
    sfm.pp.cell_table(sdata)
    sdata["table"].obs["x"], sdata["table"].obs["y"] = [21, 8], [11, 26]

    # the ramp stays a ramp: a model pixel at row r has the value at image row (r + 0.5) * ratio - 0.5
    def middle(window, side=8):
        return window[side // 2, side // 2]

    def value(row, column):
        place = [(np.floor((index + 0.5) / ratio) + 0.5) * ratio - 0.5 for index in (row, column)]
        return 100 * place[0] + place[1]

    found = windows_of(sdata, 8)
    np.testing.assert_allclose([middle(part) for part in found], [value(11, 21.5), value(25.5, 8)], rtol=1e-5)
    given = windows_of(sdata, 8, recipe={"centers": ("x", "y")})
    np.testing.assert_allclose([middle(part) for part in given], [value(11, 21), value(26, 8)], rtol=1e-5)


def test_centres_do_not_move_by_what_a_transformation_rounds(make_sdata, numbered):
    """Centroids that lie exactly between two pixels, at a pixel size that no binary number has."""
    boxes = [(row, row + 2, column, column + 2) for row in range(1, 37, 4) for column in range(1, 45, 4)]
    sdata = make_sdata({"a": (numbered, labels_of(*boxes))}, ["x"], mpp=0.5)
    for scale in (0.5, 0.4999999, 0.377 * 1.3):
        for element in ("image_a", "cells_a"):
            set_transformation(sdata[element], {"a": Scale([scale, scale], axes=("x", "y"))}, set_all=True)
        found = windows_of(sdata, 8)
        for window, (row, _, column, _) in zip(found, boxes, strict=True):
            np.testing.assert_array_equal(window, crop(numbered, row + 1, column + 1, 8))


def test_a_model_that_takes_any_window_is_given_the_whole_cell(make_sdata, numbered):
    class Whole(Windows):
        card = dataclasses.replace(Windows.card, recipe=Windows.card.recipe.replace(window=None))

    boxes = [(4, 12, 5, 13), (20, 21, 10, 26)]  # 8 x 8 pixels, of which a window of 8 around row 8 holds all
    sdata = make_sdata({"a": (numbered, labels_of(*boxes))}, ["x"])
    seen = []

    class Masks(Whole):
        card = dataclasses.replace(Whole.card, needs_mask=True)

        def forward(self, pixels, markers=None, *, mask=None):
            seen.extend(zip(mask.sum((1, 2)).tolist(), [mask.shape[-1]] * len(mask), strict=True))
            return EncoderOutput(patch=torch.zeros(len(pixels), 1))

    table = sfm.tl.embed_cells(sdata, Masks(), run={"batch_size": 1}, copy=True)
    assert sorted(seen) == [(16, 16), (64, 8)]
    assert sfm.get.record(table, "X_windows")["n_cells_truncated"] == 0
    assert sfm.get.record(table, "X_windows")["centers"] == "centroid"
    cut = sfm.tl.embed_cells(sdata, Windows(), recipe={"window": 8}, copy=True)
    assert sfm.get.record(cut, "X_windows")["n_cells_truncated"] == 1


def test_given_centres_are_recorded_and_checked(make_sdata, numbered):
    sdata = make_sdata({"a": (numbered, labels_of((10, 13, 20, 24), (25, 28, 8, 10), (30, 33, 40, 44)))}, ["x"])
    sfm.pp.cell_table(sdata)
    obs = sdata["table"].obs
    obs["x"], obs["y"] = [21, 8, 41], [11, 26, 31]
    table = sfm.tl.embed_cells(sdata, Windows(), recipe={"centers": ("x", "y")}, copy=True)
    assert sfm.get.record(table, "X_windows")["centers"] == ["x", "y"]
    with pytest.raises(TableError, match=r"3 of 3 centres.*Pass the columns of x and of y, in this order"):
        windows_of(sdata, 8, recipe={"centers": ("y", "x")})
    obs["x"] = [21, 8, 20]
    with pytest.warns(SpatialfmWarning, match=r"1 of 3 centres in recipe=.*: \('x', 'y'\). outside of the box .*a_3"):
        windows_of(sdata, 8, recipe={"centers": ("x", "y")})
    obs["x"] = [21, 8, 60]
    with (
        pytest.warns(SpatialfmWarning, match=r"1 of 3 centres"),
        pytest.raises(TableError, match=r"1 cell outside of the image \(a_3\)"),
    ):
        windows_of(sdata, 8, recipe={"centers": ("x", "y")})
    obs["x"] = [21, np.nan, 41]
    with pytest.raises(TableError, match=r"1 cell has no centre in recipe=..centers.: \('x', 'y'\).: a_2"):
        windows_of(sdata, 8, recipe={"centers": ("x", "y")})
    with pytest.raises(TableError, match="No column 'X' in table 'table'"):
        windows_of(sdata, 8, recipe={"centers": ("X", "y")})
    with pytest.raises(ArgumentError, match="centers must be 2 strings"):
        windows_of(sdata, 8, recipe={"centers": "x"})
    obs["x"] = ["a", "b", "c"]
    with pytest.raises(TableError, match="do not hold numbers"):
        windows_of(sdata, 8, recipe={"centers": ("x", "y")})


def test_tiles_take_no_centres(make_sdata, numbered):
    sdata = make_sdata({"a": (numbered, labels_of((10, 13, 20, 24)))}, ["CD3"], mpp=1.0)
    encoder = sfm.models.load("virtues", weights="random")
    with pytest.raises(ModelError, match=r"'centers' belongs to mode 'crop'"):
        sfm.tl.embed_cells(sdata, encoder, recipe={"centers": ("x", "y")}, panel={"embeddings": {"CD3": np.ones(640)}})
