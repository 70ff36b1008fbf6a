"""The figure of a segmentation: each outline in the colour of its flag."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from geopandas import GeoDataFrame
from matplotlib.colors import to_rgb
from shapely import box
from spatialdata.models import ShapesModel
from spatialdata.transformations import Identity

import spatialfm as sfm
from spatialfm._errors import ElementError, PanelError, TableError
from spatialfm.pl._segmentation import FLAGS


@pytest.fixture
def sdata(make_sdata):
    """Three squares of 10 µm in an image of 40 x 60 µm, a nuclear stain that is brighter below."""
    labels = np.zeros((80, 120), np.int32)
    for number, left in ((3, 10), (4, 50), (9, 90)):
        labels[20:40, left : left + 20] = number
    image = np.full((2, 80, 120), 50, np.uint8)
    image[1, 40:] = 200
    sdata = make_sdata({"a": (image, labels)}, ["CD3", "DAPI"])
    yield sdata
    plt.close("all")


def quality(**flags):
    return pd.DataFrame({"sample": "a", "labels": "cells_a", "cell_id": [3, 4, 9]} | flags)


def outlines(ax):
    """Colour of each cell's outline, from the pixels that are drawn."""
    drawn = np.asarray(ax.get_images()[1].get_array())
    times = drawn.shape[0] // 80  # pixels of the figure to one of the image
    return [tuple(np.round(drawn[20 * times, column * times, :3], 3)) for column in (15, 55, 95)]


def expected(*names):
    return [tuple(np.round(to_rgb("white" if name is None else FLAGS[name][1]), 3)) for name in names]


def test_outlines_alone_are_white_over_the_stain(sdata):
    ax = sfm.pl.segmentation(sdata, "a", show=False)
    assert outlines(ax) == expected(None, None, None)
    drawn = np.asarray(ax.get_images()[1].get_array())
    times = drawn.shape[0] // 80
    assert not drawn[30 * times, 60 * times, 3]  # inside of a cell the stain is seen
    stain = np.asarray(ax.get_images()[0].get_array())
    assert not stain[0].any()
    assert np.allclose(stain[-1, 0], to_rgb("#4F83FF"))
    assert ax.get_title(loc="left") == "a"
    assert ax.get_xlim() == (0, 60)


def test_a_flag_gives_its_colour_and_the_first_of_several_counts(sdata):
    frame = quality(no_nucleus=[True, True, False], merged=[False, True, False], at_border=[False, False, True])
    ax = sfm.pl.segmentation(sdata, "a", frame, show=False)
    assert outlines(ax) == expected("no_nucleus", "merged", None)
    assert ax.get_title(loc="left") == "a: 2 of 3 cells flagged"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["merged", "no nucleus found", "none of these"]
    ax = sfm.pl.segmentation(sdata, "a", frame, flags=["at_border"], show=False)
    assert outlines(ax) == expected(None, None, "at_border")
    ax = sfm.pl.segmentation(sdata, "a", frame, palette={"merged": "#010203"}, show=False)
    assert outlines(ax)[1] == tuple(np.round(to_rgb("#010203"), 3))


@pytest.mark.parametrize("ids", [[0, 1, 2], ["x-1", "y-1", "z-1"]])
def test_outlines_of_polygons_are_found_by_their_ids(sdata, ids):
    squares = GeoDataFrame(geometry=[box(left, 10, left + 10, 20) for left in (5, 25, 45)], index=ids)  # µm
    sdata["drawn_a"] = ShapesModel.parse(squares, transformations={"a": Identity()})
    frame = quality(no_nucleus=[False, True, False]).assign(labels="drawn_a", cell_id=ids)
    ax = sfm.pl.segmentation(sdata, "a", frame, labels="drawn_a", show=False)
    assert outlines(ax) == expected(None, "no_nucleus", None)


def test_flags_that_are_not_known_count_as_none(sdata):
    ax = sfm.pl.segmentation(sdata, "a", quality(no_nucleus=[np.nan] * 3), show=False)
    assert outlines(ax) == expected(None, None, None)


def test_membranes_are_grey_and_a_part_can_be_drawn(sdata, tmp_path):
    sdata["image_a"].data[0, :, 60:] = 250
    ax = sfm.pl.segmentation(sdata, "a", membrane="CD3", crop=(0, 0, 40, 20), save=tmp_path / "a.png", show=False)
    stain = np.asarray(ax.get_images()[0].get_array())
    assert np.allclose(stain[0, -1], to_rgb("#6F6F6F"))
    assert not stain[0, 0].any()
    assert ax.get_xlim() == (0, 40)
    assert (tmp_path / "a.png").stat().st_size > 0


def test_what_cannot_be_drawn_is_refused(sdata):
    with pytest.raises(PanelError, match=r"No channel 'CD8' in image 'image_a' \(membrane=\)"):
        sfm.pl.segmentation(sdata, "a", membrane=["CD8"])
    with pytest.raises(TableError, match=r"no column 'cell_id'.*by='cell'"):
        sfm.pl.segmentation(sdata, "a", quality().drop(columns="cell_id"))
    with pytest.raises(TableError, match=r"no flag 'merged' \(flags=\); it has 'cut'"):
        sfm.pl.segmentation(sdata, "a", quality(cut=[True] * 3), flags=["merged"])
    with pytest.raises(TableError, match=r"no row of labels 'cells_a' .*it is of 'other'"):
        sfm.pl.segmentation(sdata, "a", quality().assign(labels="other"))
    with pytest.raises(ElementError, match=r"No sample 'z'"):
        sfm.pl.segmentation(sdata, "z")
    sdata["image_a"] = sdata["image_a"].assign_coords(c=["CD3", "CD8"])
    with pytest.raises(PanelError, match=r"No nuclear stain is recognised.*Pass nuclear="):
        sfm.pl.segmentation(sdata, "a")
