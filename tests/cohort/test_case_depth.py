"""Equally many cells of each case where their numbers go with the outcome."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from spatialfm._errors import SpatialfmWarning, TableError
from spatialfm.cohort.case_depth import class_cases, draw_of_cases, number_cases, survival_cases
from spatialfm.cohort.cases import read_cases


def cells(counts, **columns):
    patient = np.repeat([f"p{i:02}" for i in range(len(counts))], counts)
    obs = pd.DataFrame({"patient": patient, "arm": "x"}, index=[f"c{i}" for i in range(len(patient))])
    adata = AnnData(obs=obs.assign(**{name: np.repeat(values, counts) for name, values in columns.items()}))
    key = next(iter(columns), "arm")
    return adata, read_cases(adata, {key: "label_key"}, patient_key="patient", library_key=None, on_missing="raise")


@pytest.mark.parametrize("depth", [1, 3, 5, 50])
def test_at_most_so_many_rows_of_each(depth):
    adata, cases = cells([3, 5, 9])
    kept = draw_of_cases(cases, adata.obs_names[cases.rows], depth, 0)
    assert np.bincount(cases.codes[kept]).tolist() == [min(depth, n) for n in (3, 5, 9)]
    assert (np.diff(kept) > 0).all()


def test_the_same_rows_in_whatever_order_the_table_has_them():
    adata, cases = cells([3, 5, 9])
    kept = set(adata.obs_names[cases.rows][draw_of_cases(cases, adata.obs_names[cases.rows], 2, 0)])
    turned = adata[::-1].copy()
    again = read_cases(turned, {"arm": "label_key"}, patient_key="patient", library_key=None, on_missing="raise")
    names = turned.obs_names[again.rows]
    assert set(names[draw_of_cases(again, names, 2, 0)]) == kept


def test_classes_of_different_depth_are_made_equal_and_others_left():
    codes = np.repeat([0, 1], 6)
    adata, cases = cells(np.where(codes == 0, 100, 400) + np.arange(12), arm=codes)
    with pytest.warns(SpatialfmWarning, match="Numbers of cells per patient go with"):
        drawn, found = class_cases(adata, cases, codes, ["a", "b"], "arm", "auto", 0)
    assert np.bincount(drawn.codes).tolist() == [100] * 12
    assert found["depth_associated"]
    assert found["cells_per_patient"] == 100
    adata, cases = cells([100, 400] * 6, arm=codes)
    drawn, found = class_cases(adata, cases, codes, ["a", "b"], "arm", "auto", 0)
    assert len(drawn.rows) == adata.n_obs
    assert found["cells_per_patient"] == 0


def test_numbers_and_survival():
    n = np.arange(60, 84)
    adata, cases = cells(n, age=n * 1.0)
    with pytest.warns(SpatialfmWarning, match="Spearman's 1.00"):
        drawn, found = number_cases(adata, cases, n * 1.0, "age", "auto", 0)
    assert np.bincount(drawn.codes).tolist() == [60] * 24
    assert found["depth_value"] == pytest.approx(1.0)
    with pytest.warns(SpatialfmWarning, match="go with"):
        drawn, _ = survival_cases(adata, cases, n * 1.0, np.ones(24, bool), ["t", "e"], "auto", 0)
    assert np.bincount(drawn.codes).max() == 60


def test_of_a_table_of_patients_no_cells_are_drawn():
    adata, cases = cells([1] * 6, arm=np.repeat([0, 1], 3))
    with pytest.raises(TableError, match="rows of this table are not cells"):
        class_cases(adata, cases, np.repeat([0, 1], 3), ["a", "b"], "arm", "even", 0)
