"""Names of maps, and that each cell has its own number below its labels."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import spatialdata as sd
from spatialdata.models import Labels2DModel, TableModel

from spatialfm._errors import ElementError
from spatialfm.pp.elements import sample_images
from spatialfm.tl.imputation.surprise_maps import map_names, paint_maps

LABELS = np.array([[0, 3, 3], [7, 7, 0]], np.uint8)


@pytest.fixture
def data():
    obs = pd.DataFrame({"region": pd.Categorical(["cells_a", "cells_b", "cells_a"]), "cell_id": [7, 3, 3]})
    obs["surprise"] = [1.0, 2.0, 3.0]
    obs.index = ["x", "y", "z"]
    table = ad.AnnData(np.zeros((3, 1)), obs=obs)
    table.uns[TableModel.ATTRS_KEY] = {
        "region": ["cells_a", "cells_b"], "region_key": "region", "instance_key": "cell_id",
    }  # fmt: skip
    labels = {f"cells_{name}": Labels2DModel.parse(LABELS) for name in "ab"}
    return sd.SpatialData(labels=labels), table


def test_each_labels_element_has_a_map_of_its_name(data):
    sdata, table = data
    assert map_names(sdata, table, "surprise") == {"cells_a": "surprise_a", "cells_b": "surprise_b"}
    with pytest.raises(ElementError, match="maps=True paints labels"):
        map_names(table, table, "surprise")
    del sdata.labels["cells_b"]
    with pytest.raises(ElementError, match="No labels element 'cells_b' in sdata"):
        map_names(sdata, table, "surprise")


def test_an_element_of_another_is_not_written_over_and_an_earlier_map_is(data):
    sdata, table = data
    sdata.labels["surprise_a"] = sdata.labels["cells_a"]
    with pytest.raises(ElementError, match="sdata has an element 'surprise_a' already"):
        map_names(sdata, table, "surprise")
    table.uns["surprise"] = {"params": {"maps": '["surprise_a"]'}}
    assert map_names(sdata, table, "surprise")["cells_a"] == "surprise_a"


def test_cells_have_their_own_numbers_by_all_markers_and_by_each(data):
    sdata, table = data
    z = np.array([[10.0], [20.0], [30.0]])
    paint_maps(sdata, table, {"cells_a": "surprise_a", "cells_b": "surprise_b"}, z, ["CD3"], "surprise")
    found = np.asarray(sdata.images["surprise_a"])
    np.testing.assert_array_equal(found[0], [[np.nan, 3, 3], [1, 1, np.nan]])
    np.testing.assert_array_equal(found[1], [[np.nan, 30, 30], [10, 10, np.nan]])
    assert np.asarray(sdata.images["surprise_b"])[0, 0, 1] == 2
    assert sample_images(sdata) == []  # maps are no samples
