"""Images that tests are given, as the library makes them."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from spatial_image import to_spatial_image
from spatial_images import faster


@pytest.mark.parametrize(
    ("array", "dims", "options"),
    [
        (np.arange(24).reshape(2, 3, 4), ("c", "y", "x"), {"c_coords": ["DAPI", "CD3"]}),
        (np.arange(24.0).reshape(2, 3, 4), ("c", "y", "x"), {}),
        (da.ones((3, 4, 5), chunks=(1, 2, 2), dtype=np.uint8), ("c", "y", "x"), {"c_coords": np.array([4, 5, 6])}),
        (da.zeros((6, 4), chunks=2, dtype=np.int32), ("y", "x"), {}),
        (np.zeros((3, 4, 5)), ("c", "y", "x"), {"rgb": True}),
        (xr.DataArray(np.zeros((6, 4)), dims=("y", "x"), attrs={"a": 1}), ("y", "x"), {}),
    ],
    ids=["named", "numbered", "lazy", "labels", "colours", "named dimensions"],
)
def test_an_image_is_the_one_of_the_library(array, dims, options):
    one, expected = faster(to_spatial_image)(array, dims=dims, **options), to_spatial_image(array, dims=dims, **options)
    xr.testing.assert_identical(one, expected)
    assert type(one) is type(expected)
    assert type(one.data) is type(expected.data)
    assert one.chunks == expected.chunks
    for dim in dims:
        assert one[dim].dtype == expected[dim].dtype
        assert one[dim].attrs == expected[dim].attrs
