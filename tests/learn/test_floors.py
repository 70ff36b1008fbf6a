"""Floors of reconstruction by hand and with scikit-learn; scores only of what was hidden."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.linear_model import LinearRegression

from spatialfm._errors import TableError
from spatialfm.learn.floors import (
    HiddenRows,
    at_most,
    evaluated,
    floors,
    patient_folds,
    score_patients,
    split_of,
    summarise,
)

NAMES = list("abcd")


@pytest.fixture(scope="module")
def rows():
    """Six patients with 40 pixels of four markers; a is the sum of the others, d is noise."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(240, 4))
    values[:, 0] = values[:, 1] + 0.5 * values[:, 2] + 0.3 * rng.normal(size=240)
    return HiddenRows(values, np.repeat([f"P{i}" for i in range(6)], 40))


@pytest.fixture(scope="module")
def masked(rows):
    rng = np.random.default_rng(1)
    hidden = rng.random(rows.measured.shape) < 0.5
    visible = np.repeat(rng.normal(size=(6, 4)), 40, axis=0)
    return HiddenRows(rows.measured, rows.patients, hidden, visible)


def test_each_patient_is_judged_once_by_a_fit_to_others(rows):
    folds = patient_folds(rows.patients, 4, 0)
    assert np.sort(np.concatenate([test for _, test in folds])).tolist() == list(range(240))
    for train, test in folds:
        assert not set(rows.patients[train]) & set(rows.patients[test])
    assert len(patient_folds(rows.patients, 10, 0)) == 6


def test_floors_of_a_marker_that_is_hidden_as_a_whole(rows):
    folds = patient_folds(rows.patients, 3, 0)
    found = dict(floors(rows, [0], "marker", ["mean", "correlated", "linear"], folds))
    x, y = rows.measured[:, 1:], rows.measured[:, 0]
    for train, test in folds:
        np.testing.assert_allclose(found["mean"][test, 0], y[train].mean())
        slope = np.polyfit(x[train, 0], y[train], 1)
        np.testing.assert_allclose(found["correlated"][test, 0], np.polyval(slope, x[test, 0]))
        plain = LinearRegression().fit(x[train], y[train]).predict(x[test])
        np.testing.assert_allclose(found["linear"][test, 0], plain, atol=0.05)


def test_floors_see_no_more_than_the_model(masked):
    """What is hidden of other markers may be anything: it moves no prediction."""
    folds = patient_folds(masked.patients, 3, 0)
    found = dict(floors(masked, [0, 2], "independent", ["mean", "correlated", "linear"], folds))
    np.testing.assert_array_equal(found["mean"], masked.visible[:, [0, 2]])
    values = masked.measured.copy()
    values[:, [1, 3]] = np.where(masked.hidden[:, [1, 3]], 99.0, values[:, [1, 3]])
    other = dict(floors(HiddenRows(values, *(masked.patients, masked.hidden, masked.visible)), [0, 2], "independent",
                        ["correlated", "linear"], folds))  # fmt: skip
    for name, expected in other.items():
        np.testing.assert_array_equal(found[name], expected)


def test_where_all_channels_are_hidden_floors_see_what_is_around(rows):
    """Pixels are a combination of means around; those that are visible count in no fit."""
    rng = np.random.default_rng(3)
    around = rng.normal(size=rows.measured.shape)
    measured = np.column_stack([around @ [1.0, 0.5, 0.0, -2.0], *rng.normal(size=(3, 240))])
    hidden = np.repeat(rng.random((240, 1)) < 0.6, 4, axis=1)
    measured[~hidden[:, 0], 0] = 50.0
    folds = patient_folds(rows.patients, 3, 0)
    seen = HiddenRows(measured, rows.patients, hidden, np.zeros_like(around), around)
    found = dict(floors(seen, [0], "niche", ["mean", "correlated", "linear", "knn"], folds))
    assert list(found) == ["mean", "linear"]
    assert (found["mean"] == 0).all()
    np.testing.assert_allclose(found["linear"][hidden[:, 0], 0], measured[hidden[:, 0], 0], atol=1e-3)


def test_regression_also_sees_its_own_marker_around(masked):
    """Where tokens are hidden by channel: the marker is what is seen of another one, and its own around."""
    folds = patient_folds(masked.patients, 3, 0)
    around, measured = np.random.default_rng(4).normal(size=masked.measured.shape), masked.measured.copy()
    other = np.where(masked.hidden[:, 1], around[:, 1], measured[:, 1])
    measured[:, 0] = np.where(masked.hidden[:, 0], 2 * other + 3 * around[:, 0], 50.0)
    seen = HiddenRows(measured, masked.patients, masked.hidden, masked.visible, around)
    found = dict(floors(seen, [0], "independent", ["linear"], folds))["linear"][:, 0]
    hidden = masked.hidden[:, 0]
    np.testing.assert_allclose(found[hidden], measured[hidden, 0], atol=1e-3)


def test_a_marker_that_some_patients_lack_is_predicted_and_not_taken():
    rng = np.random.default_rng(2)
    values = rng.normal(size=(120, 3))
    values[:40, 2] = np.nan
    rows = HiddenRows(values, np.repeat(list("pqr"), 40))
    folds = patient_folds(rows.patients, 3, 0)
    found = dict(floors(rows, [0, 2], "marker", ["linear"], folds))["linear"]
    assert np.isfinite(found).all()
    table = evaluated(rows, ["a", "b", "c"], ["a", "c"], "marker", "cell", folds, ["linear"]).set_index(
        ["patient", "marker"]
    )
    assert table.loc[("p", "c"), "n"] == 0
    assert np.isnan(table.loc[("p", "c"), "r"])
    assert np.isfinite(table.loc[("q", "c"), "r"])


def test_scores_are_of_hidden_values_by_patient(masked):
    predicted = masked.measured[:, [0, 3]] + 0.1
    wrong = np.where(masked.hidden[:, [0, 3]], predicted, -5.0)  # what was visible does not count
    table = score_patients(masked, ["a", "d"], [0, 3], wrong, np.arange(240) < 80)
    assert table["patient"].tolist() == ["P0", "P0", "P1", "P1"]
    np.testing.assert_allclose(table["r"], 1)
    np.testing.assert_allclose(table["mse"], 0.01)
    assert table["n"].tolist() == [masked.hidden[:40, 0].sum(), masked.hidden[:40, 3].sum(),
                                   masked.hidden[40:80, 0].sum(), masked.hidden[40:80, 3].sum()]  # fmt: skip
    few = HiddenRows(masked.measured, masked.patients, np.arange(960).reshape(240, 4) % 40 == 0, masked.visible)
    assert np.isnan(score_patients(few, ["a"], [0], predicted, np.arange(240) < 40)["r"]).all()


def test_a_prediction_that_is_the_same_everywhere_calls_nothing(rows):
    table = score_patients(rows, ["a"], [0], np.full((240, 1), 9.0), np.ones(240, bool))
    assert table["f1"].isna().all()
    assert table["mse"].notna().all()


def test_summaries_are_means_over_patients_and_over_markers():
    patients = pd.DataFrame(
        {
            "patient": list("pqpq"), "marker": list("aabb"), "mode": "marker", "unit": "cell", "method": "linear",
            "r": [0.2, 0.4, 0.6, np.nan], "spearman": 0.5, "mse": 1.0, "f1": np.nan,
        }
    )  # fmt: skip
    table = summarise(patients, 200, 0).set_index(["marker", "score"])
    assert table.loc[("a", "r"), "mean"] == pytest.approx(0.3)
    assert table.loc[("b", "r"), ["mean", "n_patients"]].tolist() == [0.6, 1]
    assert table.loc[("all", "r"), "mean"] == pytest.approx((0.4 + 0.4) / 2)
    assert np.isnan(table.loc[("a", "f1"), "mean"])
    assert table.loc[("a", "r"), "high"] <= 1  # of two patients, Student's would be 1.57
    assert table.index.get_level_values(0).unique().tolist() == ["all", "a", "b"]


def test_the_model_is_scored_on_the_same_rows(rows):
    split = split_of(rows.patients, ["P1", "P4"], 4, 0)
    assert len(split) == 1
    table = evaluated(rows, NAMES, ["a"], "marker", "cell", split, ["linear"], model=rows.measured[:, [1]])
    assert sorted(set(table["patient"])) == ["P1", "P4"]
    own = rows.patients == "P4"
    expected = stats.pearsonr(rows.measured[own, 0], rows.measured[own, 1]).statistic
    assert table.query("method == 'model' and patient == 'P4'")["r"].item() == pytest.approx(expected)
    np.testing.assert_allclose(
        table.query("method == 'linear'")["r"],
        [
            stats.pearsonr(rows.measured[rows.patients == name, 0], LinearRegression().fit(
                rows.measured[split[0][0], 1:], rows.measured[split[0][0], 0]
            ).predict(rows.measured[rows.patients == name, 1:])).statistic
            for name in ("P1", "P4")
        ],
        atol=0.01,
    )  # fmt: skip


def test_who_cannot_be_judged_is_refused(rows):
    with pytest.raises(TableError, match=r"All cells are of one patient \('P0'\)"):
        split_of(rows.patients[:40], None, 4, 0)
    with pytest.raises(TableError, match=r"No patient 'P9' \(test_patients=\)"):
        split_of(rows.patients, ["P9"], 4, 0)
    with pytest.raises(TableError, match="none is left to fit"):
        split_of(rows.patients, [f"P{i}" for i in range(6)], 4, 0)


def test_rows_are_drawn_by_patient():
    patients = np.repeat(["a", "b"], [5, 50])
    drawn = at_most(patients, 10, 0)
    assert np.unique(patients[drawn], return_counts=True)[1].tolist() == [5, 10]
    assert (np.diff(drawn) > 0).all()
