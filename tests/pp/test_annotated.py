"""Which cell each row of a table is, on small tables."""

from __future__ import annotations

import anndata as ad
import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import spatialdata as sd
from shapely import box
from spatialdata.models import Labels2DModel, ShapesModel, TableModel

from spatialfm._errors import TableError
from spatialfm.pp.annotated import annotated_cells, is_of_points, rows_of_cells


def table(regions, ids, **columns) -> ad.AnnData:
    obs = pd.DataFrame({"region": pd.Categorical(regions), "cell_id": ids, **columns})
    obs.index = [f"c{i}" for i in range(len(obs))]
    made = ad.AnnData(np.zeros((len(obs), 1)), obs=obs)
    attrs = {"region": sorted(set(regions)), "region_key": "region", "instance_key": "cell_id"}
    made.uns[TableModel.ATTRS_KEY] = attrs
    return made


def test_elements_and_numbers_are_those_of_the_table():
    regions, ids = annotated_cells(table(["b", "a", "b"], [7, 7, 3.0]), "table")
    assert regions.tolist() == ["b", "a", "b"]
    assert ids.tolist() == [7, 7, 3]
    assert ids.dtype == np.int64


def test_a_cell_with_two_rows_is_refused_and_one_number_in_two_elements_is_not():
    with pytest.raises(TableError, match="has 1 row more than one for the same cell: b: 7"):
        annotated_cells(table(["b", "a", "b"], [7, 7, 7]), "table")
    with pytest.raises(TableError, match="has 1 row more than one for the same cell: a: 03"):
        annotated_cells(table(["a", "a"], ["3", "03"]), "table")


def test_numbers_that_are_not_whole_are_refused():
    with pytest.raises(TableError, match="'cell_id' of table 'cells'"):
        annotated_cells(table(["a", "a"], [1.0, 2.5]), "cells")


def test_a_table_that_names_no_cells_is_refused():
    bare = table(["a"], [1])
    del bare.uns[TableModel.ATTRS_KEY]
    with pytest.raises(TableError, match="'cells' annotates no element"):
        annotated_cells(bare, "cells")
    lost = table(["a"], [1])
    del lost.obs["cell_id"]
    with pytest.raises(TableError, match="column 'cell_id' names its cells, but obs has 'region'"):
        annotated_cells(lost, "cells")


@pytest.fixture
def drawn():
    """Two outlines with text as ids, beside a mask."""
    shapes = gpd.GeoDataFrame({"geometry": [box(0, 0, 3, 3), box(4, 0, 8, 4)]}, index=["k-1", "k-2"])
    return sd.SpatialData(
        labels={"mask": Labels2DModel.parse(np.zeros((9, 9), np.uint8))}, shapes={"outlines": ShapesModel.parse(shapes)}
    )


def test_ids_of_shapes_are_numbers_of_the_image_that_they_are_drawn_as(drawn):
    _, ids = annotated_cells(table(["outlines"] * 3, ["k-2", "absent", "other"]), "table", drawn)
    assert ids.tolist() == [2, -1, -1]


def test_ids_of_shapes_in_a_table_of_a_mask_name_the_shapes(drawn):
    with pytest.raises(TableError, match="The ids are those of shapes 'outlines'"):
        annotated_cells(table(["mask"] * 2, ["k-2", "k-1"]), "table", drawn)


def test_rows_of_a_table_with_positions_alone_are_numbered(drawn):
    points = table(["gone"] * 2, [5, 9])
    assert not is_of_points(drawn, points)
    points.obsm["spatial"] = np.zeros((2, 2))
    assert is_of_points(drawn, points)
    regions, ids = annotated_cells(points, "cells", drawn)
    assert regions.tolist() == ["cells"] * 2
    assert ids.tolist() == [1, 2]
    there = table(["mask"] * 2, [5, 9])
    there.obsm["spatial"] = np.zeros((2, 2))
    assert not is_of_points(drawn, there)


def test_cells_are_found_in_the_order_of_their_names():
    cells = table(["a"] * 3, [1, 2, 3])
    assert rows_of_cells(cells, ["c2", "c0"]).tolist() == [2, 0]
    with pytest.raises(TableError, match=r"1 of 2 cells \(cells=\) are not in obs_names"):
        rows_of_cells(cells, ["c2", "x"])
    with pytest.raises(TableError, match="0 of 0 cells"):
        rows_of_cells(cells, [])
    cells.obs_names = ["c0", "c1", "c1"]
    with pytest.raises(TableError, match="or there several times"):
        rows_of_cells(cells, ["c0"])
