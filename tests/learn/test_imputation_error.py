"""The error of an imputed marker by patient, from scipy and scikit-learn, and tables that are laid out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from spatialfm.learn.imputation_error import (
    CheckedCells,
    IntervalRequest,
    PatientRanks,
    by_patient,
    calibrated,
    levels_of,
    shift_of,
    tables_of,
    with_interval,
)
from spatialfm.learn.intervals import Widths

ASKED = IntervalRequest(0.8, 1, False, 100, 99, 0)


@pytest.fixture
def known():
    """Five patients of 12 cells, the last with 9 alone."""
    rng = np.random.default_rng(0)
    patients = np.repeat(["a", "b", "c", "d", "e"], [12, 12, 12, 12, 9])
    measured = rng.gamma(2, size=len(patients))
    return CheckedCells(measured, measured + rng.normal(0, 0.3, len(patients)), patients, np.full(len(patients), 1.5))


@pytest.fixture
def widths():
    return Widths(np.array([1.0]), np.array([0.5, 0.7]), np.array([0.8, 0.9]), np.array([5, 4]), np.linspace(0.6, 1, 5))


def test_scores_of_a_patient_are_those_of_its_own_cells(known, widths):
    table = by_patient(known, widths).set_index("patient")
    own = known.patients == "b"
    measured, predicted = known.measured[own], known.predicted[own]
    assert table.loc["b", "r"] == pytest.approx(stats.pearsonr(measured, predicted)[0])
    assert table.loc["b", "spearman"] == pytest.approx(stats.spearmanr(measured, predicted)[0])
    assert table.loc["b", "mse"] == pytest.approx(((measured - predicted) ** 2).mean())
    assert table.loc["b", "f1"] == pytest.approx(f1_score(measured > 1.5, predicted > 1.5))
    assert table["coverage"].tolist() == widths.left_out.tolist()


def test_nine_cells_are_too_few_and_counted_all_the_same(known, widths):
    row = by_patient(known, widths).set_index("patient").loc["e"]
    assert row["n_cells"] == 9
    assert row[["r", "spearman", "mse", "f1"]].isna().all()


def test_an_unknown_threshold_leaves_the_other_scores(known, widths):
    threshold = known.threshold.copy()
    threshold[0] = np.nan
    row = by_patient(CheckedCells(known.measured, known.predicted, known.patients, threshold), widths).iloc[0]
    assert np.isnan(row["f1"])
    assert np.isfinite(row["mse"])


def test_a_patient_with_stained_cells_is_not_new(known):
    ranks = PatientRanks(
        np.array(["a", "b", "c", "d", "e", "x"]), np.array([[0.1], [0.2], [0.3], [0.4], [0.5], [9]]), ("CD3",)
    )
    found = calibrated(known, np.array(["a", "x", "x"]), ranks, ASKED)
    assert found.new["patient"].tolist() == ["x"]
    # the furthest of six: itself and five known ones
    assert found.new["p_value"].tolist() == [pytest.approx(1 / 6)]
    assert found.summary["n_new_patients"] == 1
    assert found.summary["shift_in"] == "CD3"
    assert found.summary["mse"] == pytest.approx(np.nanmean(found.patients["mse"]))


def test_without_new_patients_or_common_markers_there_is_no_test(known):
    ranks = PatientRanks(np.array(["a", "x"]), np.zeros((2, 0)), ())
    assert shift_of(ranks, np.array(["a"]), np.array([]), ASKED) is None
    assert shift_of(ranks, np.array(["a"]), np.array(["x"]), ASKED) is None
    found = calibrated(known, np.array(["x"]), ranks, ASKED)
    assert np.isnan(found.summary["shift_p"])
    assert found.new["furthest"].tolist() == [""]


def test_levels_reach_from_minus_to_plus_infinity(widths):
    table = levels_of(widths)
    assert table["from"].tolist() == [-np.inf, 1.0]
    assert table["to"].tolist() == [1.0, np.inf]
    assert table["half_width"].tolist() == [0.5, 0.7]


def test_intervals_stay_within_the_limits_of_a_score():
    rng = np.random.default_rng(0)
    r = with_interval("r_pixel", np.array([-0.9, -1.0, -0.95, -1.0]), 200, rng)
    assert r["r_pixel_low"] >= -1
    assert r["r_pixel"] == pytest.approx(-0.9625)
    mse = with_interval("mse", np.array([5.0, 9.0, 7.0]), 200, rng)
    assert mse["mse_high"] > 1  # no share: it has no upper limit


def test_markers_are_rows_of_the_summary(known):
    ranks = PatientRanks(np.array(["a"]), np.zeros((1, 0)), ())
    one = calibrated(known, np.array([]), ranks, ASKED)
    tables = tables_of({"CD8/a": one, "CD4": one})
    assert list(tables["summary"].index) == ["CD8/a", "CD4"]
    assert tables["patients"]["marker"].tolist() == ["CD8/a"] * 5 + ["CD4"] * 5
