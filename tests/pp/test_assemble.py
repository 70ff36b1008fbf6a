"""One table of measured samples, laid out by hand: markers of other samples are missing, places are in µm."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from spatialfm._errors import ClinicalError, TableError
from spatialfm._keys import layer_names
from spatialfm.pp.arrays import AxisAffine
from spatialfm.pp.assemble import CellPlan, MeasuredCells, as_table, assemble, with_columns
from spatialfm.pp.elements import SampleElements
from spatialfm.pp.pieces import LabelScan


def plan(sample, channels, ids, rows=None) -> CellPlan:
    n = len(ids)
    scan = LabelScan(np.array(ids), np.arange(1, n + 1) * 10, np.arange(2.0 * n).reshape(n, 2), np.zeros((n, 4), int))
    to_system = AxisAffine(0.5, 0.25, 100.0, 200.0)
    pair = SampleElements(sample, f"image_{sample}", f"cells_{sample}", sample)
    return CellPlan(pair, channels, to_system, "µm", scan, rows)


def measured(kept, n_channels, quantiles=None, start=0.0) -> MeasuredCells:
    mean = start + np.arange(len(kept) * n_channels, dtype=np.float32).reshape(len(kept), n_channels)
    return MeasuredCells(np.array(kept), mean, quantiles, {"eccentricity": np.linspace(0, 1, len(kept))})


@pytest.fixture
def two():
    plans = [
        plan("s1", ["CD3", "DAPI"], [4, 5, 9], np.array([2, 0, 1])),
        plan("s2", ["DAPI", "CD20"], [1], np.array([3])),
    ]
    return plans, [measured([0, 2], 2), measured([0], 2, start=50)]


def test_markers_of_one_sample_are_missing_in_the_other(two):
    adata = assemble(*two, [])
    assert list(adata.var_names) == ["CD3", "DAPI", "CD20"]
    np.testing.assert_array_equal(adata.X, [[0, 1, np.nan], [2, 3, np.nan], [np.nan, 50, 51]])
    assert list(adata.obs_names) == ["s1_4", "s1_9", "s2_1"]
    record = adata.uns["spatialfm"]["table"]
    assert json.loads(record["markers_missing"]) == {"s1": ["CD20"], "s2": ["CD3"]}
    assert json.loads(record["samples"])["s1"]["n_cells"] == 2


def test_areas_and_places_are_in_units_of_the_system(two):
    adata = assemble(*two, [])
    # pixels of 0.5 x 0.25: areas of 10 and 30 pixels, and of 10
    assert adata.obs["area"].tolist() == [1.25, 3.75, 1.25]
    # the centre of pixel (y, x) is at y + 0.5; x comes first
    np.testing.assert_allclose(
        adata.obsm["spatial"], [[200 + 1.5 / 4, 100 + 0.5 / 2], [200 + 5.5 / 4, 100 + 4.5 / 2], [200 + 1.5 / 4, 100.25]]
    )


def test_quantiles_are_layers_in_the_order_asked_for():
    quantiles = np.array([[[1.0, 2.0], [3.0, 4.0]]])  # one cell, two quantiles, two channels
    part = MeasuredCells(np.array([0]), np.zeros((1, 2)), quantiles, {})
    adata = assemble([plan("s", ["A", "B"], [1])], [part.times(2.0)], [0.1, 0.9])
    assert layer_names(adata) == ["q10", "q90"]
    assert adata.layers["q90"].tolist() == [[6, 8]]
    assert part.times(1) is part


def test_no_cell_at_all_is_refused():
    with pytest.raises(TableError, match="No cell in 1 sample"):
        assemble([plan("s", ["A"], [1])], [measured([], 1)], [])


def test_columns_of_known_cells_stand_with_the_cells_that_were_kept(two):
    adata = assemble(*two, [])
    cells = pd.DataFrame({"type": pd.Categorical(["T", "B", "NK", "B", "mast"])})
    obs = with_columns(adata.obs, *two, cells, None)
    # rows of cells= are 2, 0, 1 of the first sample, of which 0 and 2 were kept
    assert obs["type"].tolist() == ["NK", "B", "B"]
    assert list(obs["type"].cat.categories) == ["B", "NK"]


def test_clinical_columns_are_those_of_the_sample(two):
    adata = assemble(*two, [])
    clinical = pd.DataFrame({"stage": ["III", "I"]}, index=["s2", "s1"])
    assert with_columns(adata.obs, *two, None, clinical)["stage"].tolist() == ["I", "I", "III"]
    with pytest.raises(ClinicalError, match="area"):
        with_columns(adata.obs, *two, None, pd.DataFrame({"area": [1, 2]}, index=["s1", "s2"]))


def test_the_table_annotates_its_elements(two):
    table = as_table(assemble(*two, []))
    assert table.uns["spatialdata_attrs"] == {
        "region": ["cells_s1", "cells_s2"], "region_key": "region", "instance_key": "cell_id",
    }  # fmt: skip
