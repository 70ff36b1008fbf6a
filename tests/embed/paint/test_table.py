"""Means of predicted images in a table: which rows they are of, and how the table names a marker."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning
from spatialfm.embed.call import request_of
from spatialfm.embed.inputs import prepare_inputs
from spatialfm.embed.paint.table import cells_of, names_in_table, table_means, without_labels, write_means
from spatialfm.pp.elements import match_elements


@pytest.fixture
def cohort(make_sdata):
    labels = np.zeros((16, 16), np.int32)
    labels[2:5, 2:5], labels[9:13, 8:12] = 7, 3
    samples = {name: (np.zeros((1, 16, 16), np.uint8), labels) for name in "ab"}
    return make_sdata(samples, ["CD3"]), labels


def test_rows_of_samples_that_are_not_there_are_missing(cohort):
    from stand_in import Painter

    sdata, labels = cohort
    sfm.pp.cell_table(sdata)
    pairs = [one for one in match_elements(sdata) if one.sample == "b"]
    inputs = prepare_inputs(sdata, without_labels(pairs), Painter(), request_of(Painter()), tiles=True)
    table, cells = cells_of(sdata, pairs, "table", "raise", None)
    pixels = np.random.default_rng(0).random((2, 16, 16)).astype(np.float32)
    found = table_means(
        sdata, pairs, inputs.raw, table, cells, lambda one, box, c: pixels[c, box[0] : box[1], box[2] : box[3]],
        ["CD8", "CD20"],
    )  # fmt: skip
    assert found.loc[["a_3", "a_7"]].isna().all().all()
    for label in (3, 7):
        np.testing.assert_allclose(found.loc[f"b_{label}"], pixels[:, labels == label].mean(axis=1), rtol=1e-5)


def test_samples_without_cells_have_no_table(cohort):
    pairs = without_labels(match_elements(cohort[0]))
    assert cells_of(cohort[0], pairs, "table", "raise", None) is None


def test_a_marker_has_the_name_that_the_table_has_for_it():
    table = ad.AnnData(np.zeros((1, 3)), var=pd.DataFrame(index=["CD279", "CD3", "mine"]))
    found = names_in_table(table, [["CD3e", "CD279"], ["CD3", "PDCD1"]], ["CD3", "PD-1"], {"CD8": "mine", "CD4": "no"})
    assert found == {"CD3": "CD3", "PD-1": "CD279", "CD8": "mine", "CD4": "CD4"}


def test_intervals_of_earlier_means_go(cohort):
    table = ad.AnnData(np.zeros((2, 0)), obs=pd.DataFrame(index=["x", "y"]))
    table.obsm["X_imputed_lower"] = np.zeros((2, 1))
    write_means(table, "X_imputed", pd.DataFrame({"CD8": [1.0, 2.0]}, index=["x", "y"]), {"method": "model"})
    assert "X_imputed_lower" not in table.obsm
    assert sfm.get.record(table, "X_imputed")["method"] == "model"


def test_rows_of_other_samples_stay_only_where_they_were_made_in_the_same_way():
    def written(*calls):
        table = ad.AnnData(np.zeros((3, 0)), obs=pd.DataFrame(index=["x", "y", "z"]))
        for name, values, rows, changes in calls:
            frame = pd.DataFrame({name: values}, index=table.obs_names)
            record = {"method": "model", "imputed": [name], "normalization_mean": [1.0], "seconds": values[0]}
            write_means(table, "X_imputed", frame, record | changes, np.array(rows))
        values = table.obsm["X_imputed"].iloc[:, 0].tolist()
        return [None if np.isnan(value) else value for value in values], sfm.get.record(table, "X_imputed")

    first, nan = ("CD8", [1.0, 2.0, 9.0], [0, 1], {"mpp_used": {"a": 0.5}}), np.nan
    values, record = written(first, ("CD8", [nan, nan, 3.0], [2], {"mpp_used": {"b": 0.6}}))
    assert values == [1, 2, 3]
    assert record["mpp_used"] == {"a": 0.5, "b": 0.6}
    assert written(first, ("CD8", [nan, 5.0, 3.0], [1, 2], {}))[0] == [1, 5, 3]
    assert written(first)[0] == [1, 2, None]
    for name, change in (("CD8", {"normalization_mean": [2.0]}), ("CD8", {"method": "knn"}), ("CD4", {})):
        with pytest.warns(SpatialfmWarning, match="2 cells of samples that were not asked for .*have none now"):
            assert written(first, (name, [nan, nan, 3.0], [2], change))[0] == [None, None, 3]
    with pytest.warns(SpatialfmWarning, match=r"1 cell .*\(another normalization_mean in the record"):
        written(first, ("CD8", [nan, 5.0, 3.0], [1, 2], {"normalization_mean": [2.0]}))
