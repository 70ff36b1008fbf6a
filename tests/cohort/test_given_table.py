"""The table of what was given, and the markers that all of its cells have."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import spatialdata as sd

from spatialfm._errors import PanelError, SpatialfmWarning, TableError
from spatialfm.cohort.given_table import given_table, measured_markers


@pytest.fixture
def cells() -> ad.AnnData:
    values = np.arange(12.0).reshape(3, 4)
    values[0, 3] = np.nan
    return ad.AnnData(values, var=pd.DataFrame(index=["a", "b", "c", "d"]), layers={"raw": values + 1})


def test_a_table_is_found_where_it_is(cells):
    assert given_table(cells, "table", "it") is cells
    sdata = sd.SpatialData(tables={"cells": cells})
    assert given_table(sdata, "cells", "it") is sdata.tables["cells"]
    with pytest.raises(TableError, match=r"No table 'table' in sdata \(table_name=\); found 'cells'"):
        given_table(sdata, "table", "it")
    with pytest.raises(TableError, match="no store can hold"):
        given_table(cells, "table", "it", "a/b")
    with pytest.raises(TableError, match="it was given a table without rows"):
        given_table(cells[:0], "table", "it")


def test_markers_that_all_cells_have(cells):
    with pytest.warns(SpatialfmWarning, match="left out: 'd'"):
        names, values = measured_markers(cells, None, None)
    assert names == ["a", "b", "c"]
    assert values.tolist() == [[0, 1, 2], [4, 5, 6], [8, 9, 10]]
    names, values = measured_markers(cells, ["c", "a"], "raw")
    assert (names, values.tolist()) == (["c", "a"], [[3, 1], [7, 5], [11, 9]])


def test_refusals(cells):
    with pytest.raises(PanelError, match="'d' was not measured in 1 cell"):
        measured_markers(cells, ["a", "d"], None)
    with pytest.raises(PanelError, match="at least 3 are needed"):
        measured_markers(cells, ["a", "b"], None, least=3)
    with pytest.raises(PanelError, match="No marker 'e'"):
        measured_markers(cells, "e", None)
    cells.uns["spatialfm"] = {"X_imputed": {"imputed": ["e"]}}
    with pytest.raises(PanelError, match=r"Marker 'e' \(markers=\) was imputed, in obsm\['X_imputed'\]"):
        measured_markers(cells, "e", None)
    cells.var_names = ["a", "a", "c", "d"]
    with pytest.raises(PanelError, match="var_names_make_unique"):
        measured_markers(cells, None, None)
    cells.var_names = ["a", "b", "c", "d"]
    cells.X[1, 1] = -np.inf
    with pytest.raises(TableError, match="Values of 'b' are infinite"):
        measured_markers(cells, ["a", "b"], None)
