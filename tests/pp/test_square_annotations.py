"""Classes of tokens by the shapes and pixels that cover them."""

from __future__ import annotations

import dask.array as da
import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import spatialdata as sd
from shapely import box
from spatialdata.models import Image2DModel, Labels2DModel, ShapesModel
from spatialdata.transformations import Identity, Scale

from spatialfm._errors import ElementError, TableError
from spatialfm.pp.elements import SampleElements
from spatialfm.pp.square_annotations import annotate_tokens, check_classes, shares_of_shapes

PAIR = SampleElements("s", "image_s", None, "s")
BOXES = np.array([[0.0, 0, 4, 4], [4, 0, 8, 4], [8, 0, 12, 4], [12, 0, 16, 4]])  # x0, y0, x1, y1


def sdata_of(shapes, names):
    frame = ShapesModel.parse(gpd.GeoDataFrame({"kind": names}, geometry=shapes), transformations={"s": Identity()})
    image = Image2DModel.parse(np.zeros((1, 8, 20)), dims=("c", "y", "x"), transformations={"s": Identity()})
    return sd.SpatialData(images={"image_s": image}, shapes={"regions": frame})


def test_shares_are_areas():
    triangle = box(0, 0, 2, 2).intersection(box(0, 0, 1, 2))
    np.testing.assert_allclose(
        shares_of_shapes([triangle, box(2, 0, 5, 4)], BOXES), [[2 / 16, 8 / 16], [0, 4 / 16], [0, 0], [0, 0]]
    )


@pytest.mark.parametrize(("min_cover", "expected"), [(0.5, ["a", "b", None, None]), (0.51, [None, "b", None, None])])
def test_the_class_that_covers_enough(min_cover, expected):
    sdata = sdata_of([box(0, 0, 2, 4), box(4, 0, 8, 4), box(8, 0, 9, 4)], ["a", "b", "a"])
    assert annotate_tokens(sdata, PAIR, "regions", "kind", BOXES, min_cover).tolist() == expected


def test_two_classes_that_cover_alike_are_none_and_shapes_of_one_class_add_up():
    sdata = sdata_of([box(0, 0, 2, 4), box(2, 0, 4, 4), box(4, 0, 6, 4), box(6, 0, 7, 4)], ["a", "b", "a", "a"])
    assert annotate_tokens(sdata, PAIR, "regions", "kind", BOXES, 0.5).tolist() == [None, "a", None, None]
    merged = annotate_tokens(sdata, PAIR, "regions", "kind", BOXES, 0.5, {"b": "a"})
    assert merged.tolist() == ["a", "a", None, None]


def test_pixels_of_labels_in_their_own_scale():
    labels = np.zeros((4, 10), np.int32)
    labels[:2, :2], labels[:2, 2:3], labels[:2, 3:4] = 1, 2, 3  # pixels of 2 units
    element = Labels2DModel.parse(
        da.from_array(labels), dims=("y", "x"), transformations={"s": Scale([2, 2], axes=("x", "y"))}
    )
    sdata = sdata_of([box(0, 0, 1, 1)], ["x"])
    sdata.labels["classes"] = element
    found = annotate_tokens(sdata, PAIR, "classes", "", BOXES, 0.5, {1: "a", 2: "b", 3: "c"})
    assert found.tolist() == ["a", None, None, None]  # half b and half c is neither
    assert annotate_tokens(sdata, PAIR, "classes", "", BOXES, 0.5, {1: "a", 2: "b", 3: "b"}).tolist()[1] == "b"


def test_what_cannot_be_used():
    beside = sdata_of([box(100, 100, 101, 101)], ["a"])
    with pytest.raises(ElementError, match="cover no token"):
        annotate_tokens(beside, PAIR, "regions", "kind", BOXES, 0.5)
    with pytest.raises(TableError, match="No column 'other'"):
        annotate_tokens(beside, PAIR, "regions", "other", BOXES, 0.5)
    check_classes(pd.Series(["a", "a", "b", "b", None]), 2)
    with pytest.raises(TableError, match="Class 'b' covers 1 token"):
        check_classes(pd.Series(["a", "a", "b"]), 2)
    with pytest.raises(TableError, match="hold 1 class"):
        check_classes(pd.Series(["a", "a"]), 1)
