"""Rasters on an image lie where it lies, whatever its transformations."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from spatialdata.transformations import Affine, Identity, Scale, get_transformation, set_transformation

from spatialfm.pp.elements import SampleElements
from spatialfm.pp.maps import labels_element, multiscale_image, scaled_transformations


@pytest.fixture
def sdata(make_sdata):
    sdata = make_sdata(s=(np.zeros((1, 8, 8), np.uint8), np.zeros((8, 8), np.int32)))
    turned = Affine([[0, 2.0, 5], [-1, 0, 7], [0, 0, 1]], ("x", "y"), ("x", "y"))
    systems = {"s": Scale([0.5, 0.25], ("x", "y")), "plain": Identity(), "turned": turned}
    set_transformation(sdata["image_s"], systems, set_all=True)
    return sdata


@pytest.mark.parametrize("system", ["s", "plain", "turned"])
def test_a_pixel_of_a_raster_lies_on_the_pixels_that_it_spans(sdata, system):
    axes = ("x", "y")
    image = get_transformation(sdata["image_s"], system).to_affine_matrix(axes, axes)
    raster = scaled_transformations(sdata, "image_s", 4)[system].to_affine_matrix(axes, axes)
    np.testing.assert_allclose(raster @ [1, 2, 1], image @ [4, 8, 1])


@pytest.mark.parametrize(("largest", "dtype"), [(255, np.uint8), (256, np.uint16)])
def test_values_have_the_smallest_type_that_holds_the_largest(sdata, largest, dtype):
    pair = SampleElements("s", "image_s", None, "s")
    element = labels_element(sdata, pair, np.array([[0, 1], [2, 3]]), 4, largest)
    assert element.dtype == dtype
    assert element.values.tolist() == [[0, 1], [2, 3]]


def test_smaller_levels_lie_on_the_largest():
    levels = [da.zeros((1, n, n + 2), chunks=4) for n in (8, 4)]
    tree = multiscale_image(levels, ["A"], {"s": Scale([0.5, 0.5], ("x", "y"))})
    assert tree["scale1"]["y"].values.tolist() == [1, 3, 5, 7]  # centres of pixels of two
    np.testing.assert_allclose(tree["scale1"]["x"].values[:2], [10 / 12, 30 / 12])
    matrix = get_transformation(tree, "s").to_affine_matrix(("x", "y"), ("x", "y"))
    np.testing.assert_allclose(np.diag(matrix), [0.5, 0.5, 1])
