"""Patients of a table of cells, and which of their cells are drawn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm._errors import ClinicalError, SpatialfmWarning, SurvivalError, TableError
from spatialfm.cohort.signature_patients import drawn, read_patients, remembered_value


def cells(counts=(3, 4, 5, 6), **columns):
    patient = np.repeat([f"p{i:02}" for i in range(len(counts))], counts)
    columns = {name: np.repeat(values, counts) for name, values in columns.items()}
    return AnnData(obs=pd.DataFrame({"patient": patient, **columns}, index=[f"c{i}" for i in range(len(patient))]))


def read(adata, outcome, positive=None, event_value=None, n_folds=2, on_missing="raise"):
    return read_patients(adata, "patient", None, outcome, positive, event_value, n_folds, on_missing)


@pytest.mark.parametrize(
    ("values", "positive", "expected"),
    [([0, 1, 1, 0], None, "0110"), ([True, False, True, False], None, "1010"),
     (["no", "yes", "no", "yes"], "yes", "0101"),
     (["no", "yes", "no", "yes"], "no", "1010"), ([1, 2, 1, 2], 2, "0101")],
)  # fmt: skip
def test_two_outcomes(values, positive, expected):
    found = read(cells(arm=values), "arm", positive)
    assert found.outcome.y.tolist() == [one == "1" for one in expected]
    assert found.n_cells.tolist() == [3, 4, 5, 6]
    np.testing.assert_array_equal(found.codes, np.repeat(np.arange(4), [3, 4, 5, 6]))


def test_survival_and_patients_without_outcome():
    adata = cells((2, 2, 2, 2, 2), time=[1.0, 2, 3, np.nan, 5], event=[1, 0, 1, 1, 1])
    with pytest.raises(TableError, match="1 of 5 patients have no value in 'time', 'event': 'p03'"):
        read(adata, ("time", "event"))
    found = read(adata, ("time", "event"), on_missing="drop")
    assert found.outcome.time.tolist() == [1, 2, 3, 5]
    assert found.rows.tolist() == [0, 1, 2, 3, 4, 5, 8, 9]
    assert found.codes.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    with pytest.raises(SurvivalError, match="No event"):
        read(cells((2, 2), time=[1.0, 2], event=[0, 0]), ("time", "event"))


def test_refusals():
    with pytest.raises(TableError, match="Which of 'no', 'yes'.*is the response"):
        read(cells(arm=["no", "yes", "no", "yes"]), "arm")
    with pytest.raises(TableError, match="has 3 values among the patients"):
        read(cells(arm=[1, 2, 3, 1]), "arm", 1)
    with pytest.raises(TableError, match="1 patients of the rarer outcome"):
        read(cells(arm=[1, 0, 0, 0]), "arm")
    adata = cells(arm=[1, 0, 0, 1])
    adata.obs.iloc[0, 1] = 0
    with pytest.raises(ClinicalError, match="1 patient has more than one value"):
        read(adata, "arm")


@pytest.mark.filterwarnings("ignore::spatialfm._errors.SpatialfmWarning")
def test_equally_many_cells_or_all():
    arm = np.repeat([0, 1], 10)
    adata = cells(np.where(arm == 0, 60, 200), arm=arm)
    patients = read(adata, "arm")
    even = drawn(patients, "even", ["arm"], 0, None, adata.obs_names)
    assert np.bincount(even.patients.codes).tolist() == [60] * 20
    whole = drawn(patients, "all", ["arm"], 0, None, adata.obs_names)
    assert len(whole.part) == adata.n_obs
    assert whole.in_proportion
    assert whole.depth["depth_associated"]
    few = drawn(patients, "even", ["arm"], 0, 400, adata.obs_names)
    assert np.bincount(few.patients.codes).tolist() == [20] * 20
    with pytest.warns(SpatialfmWarning, match="Numbers of cells per patient go with"):
        drawn(patients, "all", ["arm"], 0, None, adata.obs_names)


def test_the_response_is_not_a_relapse_unless_it_is_said():
    adata = cells(relapse=[0, 1, 1, 0], status=["progressor", "stable", "stable", "progressor"])
    with pytest.raises(TableError, match=r"'relapse'\] reads as an adverse.*Pass positive='0'.*or positive='1'"):
        read(adata, "relapse")
    assert read(adata, "relapse", "0").outcome.y.tolist() == [True, False, False, True]
    for outcome, positive in (("relapse", "1"), ("status", "progressor")):
        with pytest.warns(SpatialfmWarning, match="reads as adverse"):
            read(adata, outcome, positive)


def test_the_value_of_the_event_is_as_the_table_remembers():
    adata = cells(time=[1.0, 2, 3, 4], alive=[0, 1, 0, 1])
    sfm.pp.set_outcome(adata, time_key="time", event_key="alive", event_value=0)
    assert remembered_value(adata, ("time", "alive"), None) == [0]
    assert remembered_value(adata, ("time", "alive"), "1") == "1"
    assert remembered_value(adata, ("other", "alive"), None) is None
    assert remembered_value(adata, "alive", None) is None
