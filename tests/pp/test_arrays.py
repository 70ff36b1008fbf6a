"""Maps between two pixel grids, and elements as arrays."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import spatialdata as sd
from spatialdata.models import Image2DModel, Labels2DModel

from spatialfm._errors import CoordinateError, ElementError
from spatialfm.pp.arrays import AxisAffine, channel_names, image_array, labels_array, labels_at, table_call

ONE, TWO = AxisAffine(2.0, 0.5, 3.0, -1.0), AxisAffine(0.25, 4.0, 10.0, 20.0)


def test_maps_are_applied_inverted_and_chained():
    y, x = np.array([0.0, 1, 5]), np.array([2.0, 4, 8])
    np.testing.assert_allclose(ONE(y, x), [[3, 5, 13], [0, 1, 3]])
    np.testing.assert_allclose(ONE.inverse()(*ONE(y, x)), [y, x])
    np.testing.assert_allclose(ONE.then(TWO)(y, x), TWO(*ONE(y, x)))
    assert ONE.then(ONE.inverse()).is_identity


@pytest.mark.parametrize(
    ("map_", "same"),
    [(AxisAffine(), True), (AxisAffine(1 + 1e-8), True), (AxisAffine(1 + 1e-6), False),
     (AxisAffine(offset_x=0.0005), True), (AxisAffine(offset_x=0.01), False)],
)  # fmt: skip
def test_a_thousandth_of_a_pixel_is_no_difference(map_, same):
    assert map_.is_identity is same


@pytest.fixture
def sdata():
    image = Image2DModel.parse(np.arange(24.0).reshape(4, 3, 2), dims=("y", "x", "c"), c_coords=["a", "b"])
    labels = Labels2DModel.parse(np.arange(12).reshape(4, 3), dims=("y", "x"))
    pyramid = Image2DModel.parse(np.ones((1, 8, 8)), dims=("c", "y", "x"), scale_factors=[2])
    return sd.SpatialData(images={"i": image, "p": pyramid}, labels={"l": labels})


def test_elements_in_the_order_of_their_axes_and_at_full_resolution(sdata):
    assert image_array(sdata, "i").shape == (2, 4, 3)
    np.testing.assert_array_equal(image_array(sdata, "i").values[1], np.arange(24).reshape(4, 3, 2)[..., 1])
    assert image_array(sdata, "p").shape == (1, 8, 8)
    assert labels_array(sdata, "l").shape == (4, 3)
    assert channel_names(sdata, "i") == ["a", "b"]
    assert table_call(sdata, "overwrite=True") == "sfm.pp.cell_table(sdata, overwrite=True)"


def test_what_is_not_there_or_was_cut_by_indexing(sdata):
    with pytest.raises(ElementError, match="No image element 'l' in sdata .it is a labels element."):
        image_array(sdata, "l")
    sdata.images["cut"] = sdata["i"].assign_coords(y=np.arange(4) + 0.5, x=np.arange(3) + 0.5).isel(y=slice(1, None))
    with pytest.raises(CoordinateError, match="was cut or turned by indexing"):
        image_array(sdata, "cut")


def test_labels_at_pixels_and_outside():
    labels = da.from_array(np.array([[0, 1, 1], [2, 2, 40_000]], np.uint16), chunks=(1, 2))
    y, x = np.array([0, 0, 1, 1, -1, 0, 2, 1]), np.array([0, 2, 0, 2, 0, -1, 0, 3])
    np.testing.assert_array_equal(labels_at(labels, y, x), [0, 1, 2, 40_000, -1, -1, -1, -1])
    assert labels_at(labels, y[:0], x[:0]).shape == (0,)
