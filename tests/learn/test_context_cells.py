"""Cells of slices: what is refused before a model reads them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from spatialfm._errors import ClinicalError, TableError
from spatialfm.learn.context_cells import context_cells, patients_of_slices


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    obs = pd.DataFrame(
        {"sample": ["a"] * 60 + ["b"] * 50, "patient": ["p"] * 60 + ["q"] * 50}, index=[f"c{i}" for i in range(110)]
    )
    return AnnData(obs=obs, obsm={"X_e": rng.normal(size=(110, 4)), "spatial": rng.uniform(0, 99, (110, 3))})


def test_slices(table):
    cells = context_cells(table, "X_e")
    assert [(name, len(rows)) for name, rows in cells.rows()] == [("a", 60), ("b", 50)]
    assert cells.xy.shape == (110, 2)
    assert patients_of_slices(table, cells, "patient") == ["p", "q"]
    del table.obs["sample"], table.obs["patient"]
    assert context_cells(table, "X_e").names == ["all cells"]


def test_too_few_cells_are_refused_with_what_leaves_them_out(table):
    few = table[:100].copy()
    with pytest.raises(
        TableError, match=r"1 of 2 slices has fewer than 50 cells.*'b \(40 cells\)'.*Leave them out: adata\["
    ) as error:
        context_cells(few, "X_e")
    adata = few  # noqa: F841  the message's own code
    left = eval(str(error.value).partition("Leave them out: ")[2].rstrip("."))
    assert context_cells(left, "X_e").names == ["a"]
    with pytest.raises(TableError, match="1 of 1 slice has fewer than 50 cells.*Take slices with more"):
        context_cells(table[:20].copy(), "X_e")


def test_an_embedding_that_says_nothing_is_refused(table):
    table.obsm["X_e"][:] = table.obsm["X_e"][0]
    with pytest.raises(TableError, match=r"All cells have the same row of 'X_e'"):
        context_cells(table, "X_e")
    table.obsm["X_e"][5, 2] += 1
    context_cells(table, "X_e")


def test_what_is_missing_is_refused(table):
    with pytest.raises(TableError, match=r"No 'X_f' in obsm \(use_rep=\)"):
        context_cells(table, "X_f")
    with pytest.raises(TableError, match=r"No coordinates 'places' in obsm \(spatial_key=\)"):
        context_cells(table, "X_e", spatial_key="places")
    with pytest.raises(TableError, match=r"No column 'slice' in obs \(library_key=\)"):
        context_cells(table, "X_e", "slice")
    with pytest.raises(TableError, match=r"2 samples in obs\['sample'\].*library_key=\"sample\""):
        context_cells(table, "X_e", None)
    for key, where in (
        ("X_e", "1 of 110 rows of 'X_e' hold NaN"),
        ("spatial", "1 of 110 cells have no finite coordinate"),
    ):
        other = table.copy()
        other.obsm[key][3, 1] = np.nan
        with pytest.raises(TableError, match=where):
            context_cells(other, "X_e")


def test_a_slice_is_of_one_patient(table):
    table.obs.loc["c0", "patient"] = "q"
    with pytest.raises(ClinicalError, match="'a' to 'p', 'q'|'a' to 'q', 'p'"):
        patients_of_slices(table, context_cells(table, "X_e"), "patient")
    with pytest.raises(ClinicalError, match=r"No column 'person' in obs \(patient_key=\)"):
        patients_of_slices(table, context_cells(table, "X_e"), "person")
