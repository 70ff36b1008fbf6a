"""A table of cells that are points: one row per point, in µm, without markers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import spatialdata as sd
from spatialdata.models import Image2DModel, PointsModel
from spatialdata.transformations import Scale

from spatialfm._errors import TableError
from spatialfm.pp.elements import SampleElements
from spatialfm.pp.points_table import are_points, table_of_points


def cohort(**ids) -> sd.SpatialData:
    """Two points in an image of half µm for each sample, at (x, y) = (2, 6) and (3, 1) pixels."""
    sdata = sd.SpatialData()
    for sample, names in ids.items():
        scale = {sample: Scale([0.5, 0.5], ("x", "y"))}
        sdata.images[f"image_{sample}"] = Image2DModel.parse(np.zeros((1, 8, 8)), c_coords=["A"], transformations=scale)
        frame = pd.DataFrame({"x": [2.0, 3.0], "y": [6.0, 1.0]}, index=names)
        sdata.points[f"cells_{sample}"] = PointsModel.parse(frame, transformations=scale)
    return sdata


def pairs(sdata):
    names = [name.removeprefix("image_") for name in sdata.images]
    return [SampleElements(name, f"image_{name}", f"cells_{name}", name) for name in names]


def test_rows_are_points_in_um():
    sdata = cohort(a=[4, 7], b=[1, 2])
    assert are_points(sdata, pairs(sdata))
    table = table_of_points(sdata, pairs(sdata))
    np.testing.assert_allclose(table.obsm["spatial"], [[1, 3], [1.5, 0.5]] * 2)
    assert table.shape == (4, 0)
    assert list(table.obs_names) == ["a_4", "a_7", "b_1", "b_2"]
    assert table.obs["cell_id"].tolist() == [4, 7, 1, 2]
    assert table.obs["sample"].tolist() == ["a", "a", "b", "b"]
    assert table.uns["spatialdata_attrs"]["region"] == ["cells_a", "cells_b"]


def test_ids_of_two_kinds_are_refused():
    sdata = cohort(a=[4, 7], b=["k", "l"])
    with pytest.raises(TableError, match="text in some samples and numbers in others"):
        table_of_points(sdata, pairs(sdata))


def test_no_sample_is_no_points():
    assert not are_points(cohort(a=[1, 2]), [])
