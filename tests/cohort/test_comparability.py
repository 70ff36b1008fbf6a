"""Which columns of two tables mean the same, and which rows are the same cells."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from spatialfm._errors import TableError
from spatialfm.cohort.comparability import how_made, same_rows, shared_columns

RECORD = {
    "model": "kronos", "weights_sha256": "a", "model_options": "{}", "normalization": "marker statistics",
    "output": "marker", "mode": "crop", "window": 64, "background": "zero", "embedding_dim": 2,
    "markers": json.dumps(["CD3", "CD8"]), "mpp_used": json.dumps({"s": 0.5}), "n_components": "",
}  # fmt: skip


def table(width=4, **changes):
    adata = AnnData(np.zeros((3, 2)), var=pd.DataFrame(index=["CD3", "CD8"]), obsm={"X_e": np.zeros((3, width))})
    adata.uns["spatialfm"] = {"X_e": RECORD | changes}
    return adata


def test_markers_are_joined_by_name():
    other = table(6, markers=json.dumps(["CD20", "CD8", "CD3"]))
    one, two = shared_columns(table(), other, "X_e")
    assert (one.tolist(), two.tolist()) == ([0, 1, 2, 3], [4, 5, 2, 3])
    swapped = AnnData(np.zeros((1, 3)), var=pd.DataFrame(index=["x", "CD8", "CD3"]))
    one, two = shared_columns(table(), swapped, "X")
    assert (one.tolist(), two.tolist()) == ([0, 1], [2, 1])


@pytest.mark.parametrize("name", ["model", "weights_sha256", "normalization", "output", "mode", "window", "background"])
def test_what_was_made_differently_is_refused_by_name(name):
    with pytest.raises(TableError, match=f"was made differently in the two tables: {name} is"):
        shared_columns(table(), table(**{name: "other"}), "X_e")


def test_named_columns_are_joined_whatever_the_window():
    one = table(2, feature_names=json.dumps(["area", "CD3_mean"]))
    two = table(3, feature_names=json.dumps(["CD3_mean", "CD8_mean", "area"]), window=80)
    mine, theirs = shared_columns(one, two, "X_e")
    assert (mine.tolist(), theirs.tolist()) == ([0, 1], [2, 0])


def test_one_vector_a_cell_needs_the_same_panel():
    one = table(output="patch")
    assert shared_columns(one, table(output="patch", markers=json.dumps(["CD8", "CD3"])), "X_e")[0].tolist() == [
        0,
        1,
        2,
        3,
    ]
    with pytest.raises(TableError, match="different panels.*'CD20', 'CD3'"):
        shared_columns(one, table(output="patch", markers=json.dumps(["CD20", "CD8"])), "X_e")


@pytest.mark.parametrize("same", [True, False])
def test_components_are_those_of_one_basis(same):
    one, two = table(2, n_components=2), table(2, n_components=2)
    for adata, number in ((one, 1.0), (two, 1.0 if same else 2.0)):
        adata.uns["spatialfm"]["X_e_basis"] = {"mean": np.zeros(4), "components": np.full((2, 4), number)}
    if same:
        assert shared_columns(one, two, "X_e")[1].tolist() == [0, 1]
    else:
        with pytest.raises(TableError, match="was reduced on each cohort separately"):
            shared_columns(one, two, "X_e")


@pytest.mark.parametrize(("mpp", "said"), [(0.54, False), (0.56, True)])
def test_another_resolution_is_said(recwarn, mpp, said):
    shared_columns(table(), table(mpp_used=json.dumps({"s": mpp})), "X_e")
    assert any("µm per pixel in the source" in str(one.message) for one in recwarn) is said


def test_tables_without_a_record():
    one, two = table(), table()
    del one.uns["spatialfm"], two.uns["spatialfm"]
    assert shared_columns(one, two, "X_e")[0].tolist() == [0, 1, 2, 3]
    with pytest.raises(TableError, match="of the source has no record"):
        shared_columns(one, table(), "X_e")
    with pytest.raises(TableError, match="share no marker of X"):
        shared_columns(one, AnnData(np.zeros((1, 1)), var=pd.DataFrame(index=["z"])), "X")


def test_rows_of_the_same_values_are_the_same_cells():
    values = np.random.default_rng(0).random((5, 3))
    others = np.vstack([values[2], values[4] + 1e-9, values[0]])
    assert same_rows(values, others).tolist() == [True, False, True]
    repeated = np.vstack([values, values[:1]])
    assert same_rows(repeated, others).tolist() == [True, False, False]  # rows that repeat are not a fingerprint


def test_the_order_of_markers_counts_where_columns_are_theirs():
    def made(output: str, markers: list[str]) -> dict[str, str]:
        table = AnnData(obsm={"X_model": np.zeros((3, 4))})
        table.uns["spatialfm"] = {"X_model": {"model": "a", "output": output, "markers": json.dumps(markers)}}
        return how_made(table, "X_model")

    assert made("cell", ["CD3", "CD4"]) == made("cell", ["CD4", "CD3"]) != made("cell", ["CD3"])
    assert made("marker", ["CD3", "CD4"]) != made("marker", ["CD4", "CD3"])
    assert how_made(AnnData(obsm={"X_model": np.zeros((3, 4))}), "X_model") == {}


def in_context(**changes) -> AnnData:
    record = {"model": "stofm", "weights_sha256": "a", "n_cells": 1000, "frame": "box", "unit": "", "n_neighbors": 50}
    adata = AnnData(np.zeros((3, 2)), obsm={"X_context": np.zeros((3, 4))})
    adata.uns["spatialfm"] = {"X_context": record | {"resolution": 1.0, "alpha": 0.2} | changes}
    return adata


def test_cells_in_context_are_comparable_where_their_slices_were_cut_alike():
    one, two = shared_columns(in_context(), in_context(), "X_context")
    assert one.tolist() == two.tolist() == [0, 1, 2, 3]
    assert how_made(in_context(), "X_context") == how_made(in_context(), "X_context")
    for name, value in {"n_cells": 200, "frame": "axes", "unit": 10.0, "n_neighbors": 10, "alpha": 0.5}.items():
        other = in_context(**{name: value})
        with pytest.raises(TableError, match=f"{name} is .*embed_context"):
            shared_columns(in_context(), other, "X_context")
        assert how_made(other, "X_context") != how_made(in_context(), "X_context")


def framed(names, rows=3):
    values = np.arange(rows * len(names), dtype=float).reshape(rows, -1)
    adata = AnnData(obs=pd.DataFrame(index=[f"c{i}" for i in range(rows)]))
    adata.obsm["X_t"] = pd.DataFrame(values, index=adata.obs_names, columns=names)
    return adata


def test_columns_of_tables_in_obsm_are_joined_by_name():
    one, two = framed(["a", "b", "c"]), framed(["c", "d", "a"])
    mine, theirs = shared_columns(one, two, "X_t")
    assert (mine.tolist(), theirs.tolist()) == ([0, 2], [2, 0])
    assert how_made(one, "X_t") == {"columns": json.dumps(["a", "b", "c"])}
    assert shared_columns(framed(["a", "a"]), framed(["a", "a"]), "X_t")[0].tolist() == [0, 1]
    with pytest.raises(TableError, match="of the source have names that repeat"):
        shared_columns(framed(["a", "a", "b"]), one, "X_t")
    two.obsm["X_t"] = two.obsm["X_t"].to_numpy()
    assert how_made(two, "X_t") == {}
    with pytest.raises(TableError, match="have names in the source alone"):
        shared_columns(one, two, "X_t")


def test_names_in_obsm_count_where_there_is_a_record_too():
    one, two = table(2, feature_names=json.dumps(["x", "y"])), table(2, feature_names=json.dumps(["x", "y"]))
    for adata, names in ((one, ["x", "y"]), (two, ["y", "x"])):  # columns were exchanged, the record was not
        adata.obsm["X_e"] = pd.DataFrame(adata.obsm["X_e"], index=adata.obs_names, columns=names)
    assert shared_columns(one, two, "X_e")[1].tolist() == [1, 0]
    assert how_made(one, "X_e")["columns"] != how_made(two, "X_e")["columns"]
