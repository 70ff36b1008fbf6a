"""Names of the columns of a representation, and shares added up by them."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from spatialfm.cohort.column_names import column_names, summed_by_name


@pytest.fixture
def adata():
    made = AnnData(np.zeros((3, 2)), var=pd.DataFrame(index=["CD3", "CD8"]))
    made.obsm["X_table"] = pd.DataFrame({"a": [0.0] * 3, "b": [1.0] * 3}, index=made.obs_names)
    made.obsm["X_net"], made.obsm["X_wide"] = np.zeros((3, 4)), np.zeros((3, 201))
    return made


def test_names(adata):
    assert column_names(adata, "X", 2) == ["CD3", "CD8"]
    assert column_names(adata, "X_table", 2) == ["a", "b"]
    assert column_names(adata, "X_net", 4) == ["column 1", "column 2", "column 3", "column 4"]
    assert set(column_names(adata, "X_wide", 201)) == {"X_wide"}


@pytest.mark.parametrize("write", [list, json.dumps])
def test_columns_of_a_marker_have_its_name(adata, write):
    note = {"output": "marker", "markers": write(["CD3", "CD20"]), "embedding_dim": 2, "n_components": 0}
    adata.uns["spatialfm"] = {"X_net": note}
    assert column_names(adata, "X_net", 4) == ["CD3", "CD3", "CD20", "CD20"]
    adata.uns["spatialfm"] = {"X_net": note | {"n_components": 4}}  # reduced: columns belong to no marker
    assert column_names(adata, "X_net", 4)[0] == "column 1"
    adata.uns["spatialfm"] = {"X_net": {"feature_names": write(["w", "x", "y", "z"])}}
    assert column_names(adata, "X_net", 4) == ["w", "x", "y", "z"]


def test_sums():
    shares = np.arange(12.0).reshape(2, 2, 3)
    summed, names = summed_by_name(shares, ["b", "a", "b"])
    assert names == ["b", "a"]
    np.testing.assert_array_equal(summed[..., 0], shares[..., 0] + shares[..., 2])
    np.testing.assert_array_equal(summed[..., 1], shares[..., 1])
