"""Polygons and positions as elements, and which of them leave the image."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
from shapely import box
from spatialdata.transformations import get_transformation

from spatialfm.io._drawn import beyond_image, outside_of_image, points_element, shapes_element


def cells(*boxes):
    return gpd.GeoDataFrame({"geometry": [box(*one) for one in boxes]}, index=[f"c{i}" for i in range(len(boxes))])


def test_polygons_are_in_pixels_and_points_in_um():
    shapes = shapes_element(cells((0, 0, 2, 2)), "s", 0.5)
    matrix = get_transformation(shapes, "s").to_affine_matrix(("x", "y"), ("x", "y"))
    assert np.diag(matrix).tolist() == [0.5, 0.5, 1]
    points = points_element(np.array([7, 3]), np.array([[1.0, 2], [3, 4]]), "s").compute()
    assert points.loc[3, ["x", "y"]].tolist() == [3, 4]
    assert points.loc[7, ["x", "y"]].tolist() == [1, 2]


@pytest.mark.parametrize("at", [(-1.5, 0, 3, 3), (0, -1.5, 3, 3), (0, 0, 21.5, 3), (0, 0, 3, 11.5)])
def test_a_polygon_may_leave_the_image_by_a_pixel_and_no_more(at):
    text = outside_of_image(cells((0, 0, 20, 10), at), (10, 20), "cells of 'a'")
    assert text.startswith("1 polygon of 2 of cells of 'a' reach out of it")
    assert "(first: 'c1')" in text
    inside = [np.sign(one) if one < 0 else min(one, limit) for one, limit in zip(at, (21, 11, 21, 11), strict=True)]
    assert outside_of_image(cells((0, 0, 20, 10), inside), (10, 20), "") == ""


def test_positions_in_um_are_held_against_the_image_in_um():
    shape, mpp = (10, 20), 0.5  # 10 x 5 µm
    assert beyond_image(np.array([[10.5, 5.5], [-0.5, 0]]), shape, mpp) == ""
    assert beyond_image(np.array([[10.8, 0]]), shape, mpp).startswith("1 cell of 1 outside")  # more than a pixel
    text = beyond_image(np.array([[3.0, 3], [19, 9]]), shape, mpp)
    assert text.startswith("1 cell of 2 outside of the image, which is 10.0 x 5.0 µm")
    assert text.endswith("All would be inside if they were pixels.")
    assert "if they were pixels" not in beyond_image(np.array([[300.0, 3]]), shape, mpp)
