"""Meaning of ``tissue=`` for each image, and what is refused."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
from shapely import Point, box
from spatialdata.models import Labels2DModel, ShapesModel
from spatialdata.transformations import Scale, set_transformation

from spatialfm._errors import ElementError, PixelSizeError
from spatialfm.pp.elements import SampleElements
from spatialfm.pp.tissue_sources import own_element, sources_of_images

PAIR = SampleElements("s", "image_s", "cells_s", "s")


@pytest.fixture
def sdata(make_sdata):
    labels = np.zeros((8, 12), np.int32)
    labels[2:4, 2:4] = 1
    return make_sdata(s=(np.zeros((1, 8, 12), np.uint8), labels), mpp=0.5)


def add(sdata, name, mask, mpp):
    scale = {"s": Scale([mpp, mpp], ("x", "y"))}
    sdata.labels[name] = Labels2DModel.parse(np.asarray(mask, np.uint8), dims=("y", "x"), transformations=scale)


def source(sdata, tissue, **kwargs):
    (found,) = sources_of_images(sdata, [PAIR], tissue, **kwargs)
    return found


def test_words_are_kept_with_pixel_size_and_cells(sdata):
    found = source(sdata, "auto")
    assert (found.kind, found.size) == ("auto", 0.5)
    assert found.cells((0, 8, 0, 12)).sum() == 4
    assert source(sdata, "all").kind == "all"


def test_the_samples_own_element_is_taken_for_auto_alone(sdata):
    assert own_element(sdata, "s") is None
    mask = np.zeros((8, 12))
    mask[:, 6:] = 1
    add(sdata, "tissue_s", mask, 0.5)
    assert own_element(sdata, "s") == "tissue_s"
    np.testing.assert_array_equal(source(sdata, "auto").given(), mask > 0)
    assert source(sdata, "auto", elements=False).kind == "auto"
    assert source(sdata, "all").kind == "all"


def test_a_coarse_element_is_kept_as_it_was_drawn(sdata):
    mask = [[0, 1, 0], [1, 0, 0]]
    add(sdata, "coarse", mask, 2.0)  # each of its pixels spans four of the image's
    found = source(sdata, "coarse")
    assert (found.kind, found.step, found.name) == ("given", 4, "labels 'coarse'")
    assert found.given().tolist() == [[False, True, False], [True, False, False]]
    assert source(sdata, {"s": "coarse"}).given().tolist() == found.given().tolist()
    add(sdata, "coarse_s", mask, 2.0)
    assert source(sdata, "coarse_{sample}").name == "labels 'coarse_s'"


def test_a_mask_of_the_image_is_taken_and_others_are_refused(sdata):
    mask = np.zeros((8, 12), bool)
    mask[1, 2] = True
    np.testing.assert_array_equal(source(sdata, mask).given(), mask)
    with pytest.raises(ElementError, match="has 12 x 8 pixels, image 'image_s' has 8 x 12"):
        source(sdata, mask.T)
    with pytest.raises(ElementError, match="is 2-D float64"):
        source(sdata, mask.astype(float))
    with pytest.raises(ElementError, match="contains no tissue in image 'image_s'"):
        source(sdata, ~mask & mask)
    with pytest.raises(ElementError, match="is not a mask"):
        source(sdata, np.zeros(3, bool))


def test_shapes_hold_the_pixels_whose_centres_are_inside(sdata):
    scale = {"s": Scale([0.5, 0.5], ("x", "y"))}
    frame = gpd.GeoDataFrame({"geometry": [box(2, 1, 5.4, 3.6)]})
    sdata.shapes["drawn"] = ShapesModel.parse(frame, transformations=scale)
    expected = np.zeros((8, 12), bool)
    expected[1:4, 2:5] = True  # centres at 1.5, 2.5, 3.5 and 2.5, 3.5, 4.5
    np.testing.assert_array_equal(source(sdata, "drawn").given(), expected)
    disc = gpd.GeoDataFrame({"geometry": [Point(6, 4)], "radius": [2.0]})
    sdata.shapes["disc"] = ShapesModel.parse(disc, transformations=scale)
    y, x = np.mgrid[:8, :12] + 0.5
    np.testing.assert_array_equal(source(sdata, "disc").given(), np.hypot(y - 4, x - 6) < 2)


def test_an_element_that_leaves_part_of_the_image_uncovered_is_refused(sdata):
    add(sdata, "half", np.ones((8, 6)), 0.5)
    with pytest.raises(ElementError, match=r"Labels 'half' \(tissue=\) cover 50% of image 'image_s'"):
        source(sdata, "half")


def test_the_own_element_of_an_image_that_was_cut_is_refused(sdata):
    add(sdata, "tissue_s", np.ones((8, 20)), 0.5)
    with pytest.raises(ElementError, match="Labels 'tissue_s' are not of image 'image_s' .* as it is now"):
        source(sdata, "auto")


def test_samples_and_elements_that_are_not_there_are_refused(sdata):
    with pytest.raises(ElementError, match="names sample 'x', but the samples are 's'"):
        source(sdata, {"x": "all"})
    with pytest.raises(ElementError, match="does not cover 1 sample: 's'"):
        source(sdata, {})
    with pytest.raises(ElementError, match="No labels or shapes element 'absent'"):
        source(sdata, "absent")


@pytest.mark.parametrize("size", [0.0005, 500.0])  # 0.5 µm in mm and in nm
def test_tissue_is_not_looked_for_in_another_unit(sdata, size):
    for name in ("image_s", "cells_s"):
        set_transformation(sdata[name], Scale([size, size], ("x", "y")), "s")
    message = rf"{size:g} µm per pixel of image 'image_s' cannot be: is coordinate system 's' in another unit than µm\?"
    with pytest.raises(PixelSizeError, match=message):
        source(sdata, "auto")
    assert source(sdata, "all").kind == "all"  # which needs no size
    add(sdata, "tissue_s", np.ones((8, 12)), size)
    assert source(sdata, "auto").kind == "given"
