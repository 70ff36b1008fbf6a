"""Names of the columns of a representation, and shares added up by them."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm
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


def test_columns_named_like_those_beside_shares_are_kept_apart():
    rng = np.random.default_rng(0)
    names = ["output", "intercept", "total", "n", "CD3"]
    obs = pd.DataFrame({"patient": np.repeat([f"p{i}" for i in range(8)], 6), "sample": np.repeat(np.arange(8), 6)})
    obs["group"] = np.where(obs["sample"] % 2, "a", "b")
    obs["sample"], obs["type"] = obs["sample"].astype(str), np.tile(["x", "y"], 24)
    cells = AnnData(rng.normal(size=(48, 5)), obs=obs.set_axis([f"c{i}" for i in range(48)]))
    cells.var_names = names
    record = sfm.tl.mil(
        cells, use_rep="X", label_key="group", head="bcos", n_folds=2, n_seeds=1, max_epochs=2, copy=True
    )
    marked = [f"{name} (column)" for name in names[:4]]
    shares = record["contributions"]
    assert [name for name in shares if name in marked] == marked
    np.testing.assert_allclose(shares[[*marked, "CD3", "intercept"]].sum(axis=1), shares["total"], atol=1e-5)
    sfm.tl.annotate(cells, "type", use_rep="X", method="bcos")
    table = cells.obsm["type_predicted_contribution"]
    assert table.columns.tolist() == [*marked, "CD3", "intercept"]
    np.testing.assert_allclose(table.sum(axis=1), cells.obs["type_predicted_logit"], atol=1e-8)
