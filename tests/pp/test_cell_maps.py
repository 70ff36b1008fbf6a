"""Numbers of cells below their labels."""

from __future__ import annotations

import dask.array as da
import numpy as np
import spatialdata as sd
from spatialdata.models import Labels2DModel
from spatialdata.transformations import Scale, get_transformation

from spatialfm.pp.cell_maps import painted_cells


def test_each_pixel_has_the_numbers_of_its_cell():
    labels = np.array([[0, 7, 7, 3], [3, 3, 9, 0]], np.int32)
    element = Labels2DModel.parse(
        da.from_array(labels, chunks=(1, 3)), dims=("y", "x"), transformations={"s": Scale([0.5, 0.5], axes=("x", "y"))}
    )
    sdata = sd.SpatialData(labels={"cells_s": element})
    values = np.array([[1.0, 10.0], [2.0, 20.0]])
    image = painted_cells(sdata, "cells_s", np.array([7, 3]), values, ["all", "CD3"])
    nan = np.nan
    expected = np.array([[nan, 1, 1, 2], [2, 2, nan, nan]])
    np.testing.assert_array_equal(image.values, [expected, expected * 10])
    of_text = painted_cells(sdata, "cells_s", np.array(["7", "3"], object), values, ["all", "CD3"])
    np.testing.assert_array_equal(of_text.values, image.values)  # as tables of other packages have them
    assert image.coords["c"].values.tolist() == ["all", "CD3"]
    assert isinstance(image.data, da.Array)
    assert list(get_transformation(image, get_all=True)) == ["s"]
    sdata.images["map"] = image
