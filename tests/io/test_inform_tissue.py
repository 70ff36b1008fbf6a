"""The map of tissue categories, held against the category of each cell."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pandas as pd
import pytest

from spatialfm.io._cell_frame import CellFrame
from spatialfm.io._elements import ReadSample
from spatialfm.io._inform_maps import TISSUE, InformMaps
from spatialfm.io._inform_tissue import with_tissue

MAP = np.zeros((4, 10), np.uint8)
MAP[:, 5:] = 1
MAP[3] = 255
MAPS = InformMaps((da.from_array(MAP),), "a.tif", names=(TISSUE,), categories=("Tumor", "Stroma"))
READ = ReadSample("s", {}, {}, (), {"mpp": 0.5})


def cells(*categories, x=None) -> CellFrame:
    n = len(categories)
    xy = np.column_stack([np.linspace(0, 4.9, n) if x is None else x, np.full(n, 0.2)])
    obs = pd.DataFrame({"Tissue Category": categories})
    return CellFrame("s", np.arange(1, n + 1), xy, pd.DataFrame(index=obs.index), obs)


def test_categories_are_numbered_from_one_in_the_order_of_their_names():
    found = with_tissue(READ, MAPS, cells(*["Tumor"] * 10, *["Stroma"] * 10))
    expected = np.where(MAP == 255, 0, MAP + 1)
    np.testing.assert_array_equal(found.labels["regions_s"], expected)
    assert found.record["tissue_categories"] == ["Tumor", "Stroma"]


@pytest.mark.parametrize(("n_wrong", "kept"), [(2, True), (3, False)])
def test_one_cell_of_ten_may_be_elsewhere(n_wrong, kept):
    categories = ["Tumor"] * 10 + ["Stroma"] * 10
    for i in range(n_wrong):
        categories[i] = "Stroma"
    found = with_tissue(READ, MAPS, cells(*categories))
    assert ("regions_s" in found.labels) == kept
    if not kept:
        assert found.notes == [("tissue_left_out", "a.tif", "85% of the cells are where it has their category")]


def test_cells_without_a_category_say_nothing_and_those_outside_are_at_the_edge():
    found = with_tissue(READ, MAPS, cells("Tumor", None, "Stroma", x=[-3.0, 4.0, 99.0]))
    assert "regions_s" in found.labels


def test_without_a_map_or_names_nothing_changes():
    assert with_tissue(READ, None, cells("Tumor")) is READ
    unnamed = InformMaps(MAPS.planes, "a.tif", names=(TISSUE,))
    assert with_tissue(READ, unnamed, cells("Tumor")) is READ
