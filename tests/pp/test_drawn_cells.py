"""Polygons, circles and points as label images, against shapely and scikit-image at full size."""

from __future__ import annotations

import pickle

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
import spatialdata as sd
from elsewhere import outlines, painted
from skimage.draw import disk, polygon2mask
from spatialdata.models import Image2DModel, PointsModel, ShapesModel
from spatialdata.transformations import Affine, Identity, Scale, Sequence, Translation

from spatialfm._errors import CoordinateError, ElementError, TableError
from spatialfm.pp.drawn_cells import BLOCK, DrawnCells, drawn_cells, numbers_of, numbers_of_rows
from spatialfm.pp.elements import match_elements

SIZE = 96


def sdata_of(shapes, index=None, *, of_shapes=None, of_image=None, size=SIZE, **columns) -> sd.SpatialData:
    frame = gpd.GeoDataFrame({"geometry": list(shapes), **columns}, index=index)
    image = Image2DModel.parse(
        np.zeros((1, size, size), np.uint8), dims=("c", "y", "x"), transformations={"a": of_image or Identity()}
    )
    model = ShapesModel.parse(frame, transformations={"a": of_shapes or Identity()})
    return sd.SpatialData(images={"image_a": image}, shapes={"cells": model})


def drawn_of(sdata: sd.SpatialData, name: str = "cells") -> DrawnCells:
    (pair,) = match_elements(sdata, labels=name)
    return drawn_cells(sdata, pair)


def raster(sdata: sd.SpatialData) -> np.ndarray:
    return drawn_of(sdata).lazy().compute()


@pytest.mark.parametrize("seed", range(3))
def test_polygons_are_those_of_shapely(seed):
    cells = outlines(25, seed=seed)
    assert np.array_equal(raster(sdata_of(cells)), painted(cells))


@pytest.mark.parametrize("seed", range(3))
def test_a_polygon_is_that_of_scikit_image(seed):
    """Pixel centres are whole numbers there."""
    cell = outlines(4, seed=seed)[1]
    corners = np.array(cell.exterior.coords)[:, ::-1] - 0.5
    assert np.array_equal(raster(sdata_of([cell])) == 1, polygon2mask((SIZE, SIZE), corners))


def test_holes_several_parts_and_crossing_lines():
    ring = shapely.Point(40, 40).buffer(20).difference(shapely.Point(41, 39).buffer(8))
    parts = shapely.MultiPolygon([shapely.box(70.2, 3.1, 80.7, 12.4), shapely.box(84.3, 3.1, 90.6, 9.9)])
    bow = shapely.Polygon([(5, 70), (25, 90), (25, 70), (5, 90)])  # crosses itself: two triangles by the even-odd rule
    found = raster(sdata_of([ring, parts, bow]))
    triangles = shapely.MultiPolygon(
        [shapely.Polygon([(5, 70), (15, 80), (5, 90)]), shapely.Polygon([(25, 70), (15, 80), (25, 90)])]
    )
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    assert np.array_equal(found == 1, shapely.contains_xy(ring, x, y))
    assert np.array_equal(found == 2, shapely.contains_xy(parts, x, y))
    sure = shapely.distance(shapely.points(x, y), bow.exterior) > 1e-9
    assert np.array_equal((found == 3)[sure], shapely.contains_xy(triangles, x, y)[sure])


def test_a_common_edge_leaves_out_no_pixel_and_gives_none_twice():
    """Corners on pixel centres, as contours of masks have them, where shapely's inside has no pixel of the border."""
    corners = np.arange(0.5, SIZE, 10)
    squares = [shapely.box(x, y, x + 10, y + 10) for y in corners[:-1] for x in corners[:-1]]
    halves = [half for box in squares for half in _halves(box)]
    drawn = drawn_of(sdata_of(halves))
    found = drawn.lazy().compute()
    y, x = np.mgrid[:SIZE, :SIZE]
    assert np.array_equal(found > 0, (y < 90) & (x < 90))
    assert drawn.counts.sum() == 90 * 90
    of_square = (found - 1) // 2
    assert all((of_square[found > 0] == k).sum() == 100 for k in range(len(squares)))


def _halves(box):
    x0, y0, x1, y1 = box.bounds
    return [shapely.Polygon([(x0, y0), (x1, y0), (x1, y1)]), shapely.Polygon([(x0, y0), (x1, y1), (x0, y1)])]


def test_circles_are_those_of_scikit_image():
    centers, radii = np.array([[20.3, 30.8], [70.1, 50.2], [3.0, 90.4]]), np.array([7.7, 12.4, 9.1])
    found = raster(sdata_of(shapely.points(centers), radius=radii))
    for number, ((x, y), radius) in enumerate(zip(centers, radii, strict=True), 1):
        expected = np.zeros((SIZE, SIZE), bool)
        expected[disk((y - 0.5, x - 0.5), radius, shape=(SIZE, SIZE))] = True
        assert np.array_equal(found == number, expected)


def test_transformations_are_followed_of_any_kind():
    """Shapes may be turned and stretched in the system of the image; a circle is then an ellipse."""
    turn = np.array([[1.5, -0.6, 40.0], [0.4, 0.9, 12.0], [0, 0, 1]])
    placed = Affine(turn, input_axes=("x", "y"), output_axes=("x", "y"))
    of_image = Sequence([Scale([0.5, 0.5], axes=("x", "y")), Translation([10, 2], axes=("x", "y"))])
    cells = [shapely.box(-8.2, 20.1, 4.3, 31.7), shapely.Point(8.1, 9.3).buffer(5.2, quad_segs=2)]
    to_pixels = np.linalg.inv(of_image.to_affine_matrix(("x", "y"), ("x", "y"))) @ turn
    moved = [shapely.affinity.affine_transform(one, [*to_pixels[:2, :2].ravel(), *to_pixels[:2, 2]]) for one in cells]
    assert np.array_equal(raster(sdata_of(cells, of_shapes=placed, of_image=of_image)), painted(moved))
    disc = sdata_of(shapely.points([[3.0, 17.0]]), of_shapes=placed, of_image=of_image, radius=[9.0])
    ellipse = shapely.affinity.affine_transform(
        shapely.Point(3, 17).buffer(9, quad_segs=4000), [*to_pixels[:2, :2].ravel(), *to_pixels[:2, 2]]
    )
    assert np.array_equal(raster(disc), painted([ellipse]))


def test_blocks_are_filled_when_they_are_asked_for(monkeypatch):
    monkeypatch.setattr("spatialfm.pp.drawn_cells.BLOCK", 40)
    cells = outlines(25)
    drawn = drawn_of(sdata_of(cells))
    lazy = drawn.lazy()
    assert lazy.chunks == ((40, 40, 16), (40, 40, 16))
    filled = []
    monkeypatch.setattr(DrawnCells, "block", lambda self, *box: filled.append(box) or self._filled(*box)[0])
    assert np.array_equal(lazy[:30, 50:70].compute(), painted(cells)[:30, 50:70])
    assert filled == [(0, 40, 40, 80)]
    assert np.array_equal(lazy.compute(), painted(cells))
    assert BLOCK == 1024


def test_the_same_cells_have_the_same_name_for_dask_and_others_another():
    cells = outlines()
    one, same, other = (drawn_of(sdata_of(some)) for some in (cells, cells, cells[::-1]))
    assert one.lazy().name == same.lazy().name != other.lazy().name
    assert np.array_equal(pickle.loads(pickle.dumps(one)).lazy().compute(), one.lazy().compute())


def test_ids_of_any_kind_are_numbered():
    cells = outlines(4)
    for index, numbers in (
        ([40, 7, 9, 3_000_000_000], [40, 7, 9, 3_000_000_000]),
        ([0, 1, 2, 3], [1, 2, 3, 4]),
        ([-1, 4, 5, 6], [1, 2, 3, 4]),
        (["a-1", "b-1", "c-1", "7"], [1, 2, 3, 4]),
        ([1.0, 2.0, 3.5, 4.0], [1, 2, 3, 4]),
    ):
        drawn = drawn_of(sdata_of(cells, index))
        assert drawn.numbers.tolist() == numbers
        assert drawn.renamed == (index != numbers)
        assert sorted(np.unique(drawn.lazy().compute())) == [0, *sorted(numbers)]
        assert [str(one) for one in drawn.ids_of(np.array(numbers[::-1]))] == [str(one) for one in index[::-1]]
    assert numbers_of(np.empty(0, np.int64)).size == 0


def test_rows_of_a_table_find_their_cell():
    sdata = sdata_of(outlines(4), ["7", "a", "b", "c"])
    found = numbers_of_rows(sdata, "cells", pd.Series(["c", "x", "7"], dtype="category"), "'id'")
    assert found.tolist() == [4, -1, 1]
    whole = sdata_of(outlines(4), [7, 8, 20, 30])
    for rows in (pd.Series([20.0, 7.0]), pd.Series(["20", "7"]), pd.Series([20, 7])):
        assert numbers_of_rows(whole, "cells", rows, "'id'").tolist() == [20, 7]
    with pytest.raises(TableError, match="not whole"):
        numbers_of_rows(whole, "cells", pd.Series([20.5]), "'id'")


def test_points_have_the_pixel_that_holds_them():
    sdata = sdata_of(outlines(4))
    xy = np.array([[0.0, 0.0], [95.99, 3.2], [10.5, 20.5], [10.9, 20.1], [96.0, 5.0], [-0.1, 5.0]])
    sdata.points["p"] = PointsModel.parse(xy, transformations={"a": Identity()})
    drawn = drawn_of(sdata, "p")
    found = drawn.lazy().compute()
    assert (found[0, 0], found[3, 95], found[20, 10]) == (1, 2, 3)  # the fourth is in the pixel of the third
    assert np.count_nonzero(found) == 3
    assert drawn.outside.tolist() == [False] * 4 + [True] * 2
    assert drawn.counts.tolist() == [1, 1, 1, 1, 0, 0]
    assert np.allclose(drawn.centers, xy[:, ::-1])


def test_what_has_no_outline_or_is_elsewhere_takes_no_pixel():
    nothing = [
        shapely.Polygon(),
        shapely.box(200, 0, 220, 20),
        shapely.box(10, 10, 10.2, 10.3),
        shapely.box(-5, -5, 4, 3),
    ]
    drawn = drawn_of(sdata_of(nothing, ["empty", "outside", "tiny", "corner"]))
    assert drawn.empty.tolist() == [True, False, False, False]
    assert drawn.outside.tolist() == [False, True, False, False]
    assert drawn.counts.tolist() == [0, 0, 0, 12]
    assert np.unique(drawn.lazy().compute()).tolist() == [0, 4]


def test_refusals():
    with pytest.raises(ElementError, match=r"names 1 cell twice in its index: 'a'"):
        raster(sdata_of(outlines(4), ["a", "b", "a", "c"]))
    flat = Affine(np.array([[1.0, 1, 0], [1, 1, 0], [0, 0, 1]]), input_axes=("x", "y"), output_axes=("x", "y"))
    with pytest.raises(CoordinateError, match="flattened by its transformation"):
        raster(sdata_of(outlines(4), of_shapes=flat))
    lines = sdata_of(outlines(4), list("abcd"))
    lines.shapes["cells"].geometry = [shapely.LineString([(0, 0), (1, 1)]), *outlines(4)[1:]]
    with pytest.raises(ElementError, match=r"1 geometry that enclose no area \(LineString\): 'a'"):
        raster(lines)
