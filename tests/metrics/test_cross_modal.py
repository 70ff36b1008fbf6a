"""Scores of finding a row by its other modality, where the truth is planted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning, TableError


def table(noise: float = 0.5, n_patients: int = 5, n: int = 40, stain: float = 0.0, seed: int = 0) -> AnnData:
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(n_patients), n)
    hidden = rng.normal(size=(len(patient), 6))
    shift = stain * rng.normal(size=(n_patients, 6))[patient]
    names = [f"c{i}" for i in range(len(patient))]
    views = {f"X_{name}": hidden + noise * rng.normal(size=hidden.shape) + shift for name in "ab"}
    return AnnData(obs=pd.DataFrame({"patient": patient.astype(str)}, index=names), obsm=views)


def value(found: pd.DataFrame, measure: str, column: str = "value") -> float:
    return float(found.loc[found["measure"] == measure, column].iloc[0])


def test_planted_partners_are_found_far_above_chance():
    found = sfm.metrics.cross_modal(table(), "X_a", "X_b")
    assert found["query"].tolist() == ["X_a"] * 4 + ["X_b"] * 4
    assert found["measure"].tolist() == ["R@1", "R@5", "R@10", "median rank"] * 2
    assert value(found, "R@1", "chance") == 1 / 64
    assert value(found, "R@5", "chance") == pytest.approx(0.078125)  # the chance that is published with 64
    assert value(found, "R@1", "low") > 10 / 64
    assert value(found, "median rank", "chance") == 32
    assert value(found, "median rank", "high") < 6
    assert set(found["n_patients"]) == {5}
    assert set(found["n_candidates"]) == {64}


def test_partners_that_were_swapped_score_chance():
    cells = table(n=100)
    swapped = []
    for patient in range(5):
        swapped.append(patient * 100 + np.random.default_rng(patient).permutation(100))
    cells.obsm["X_b"] = cells.obsm["X_b"][np.concatenate(swapped)]
    found = sfm.metrics.cross_modal(cells, "X_a", "X_b", k=[10])
    assert (found["low"] <= found["chance"]).all()
    assert (found["chance"] <= found["high"]).all()


def test_recognising_the_patient_is_told_from_recognising_the_cell():
    cells = table(noise=20.0, stain=100.0)
    all_rows = sfm.metrics.cross_modal(cells, "X_a", "X_b", k=[10])
    with pytest.warns(SpatialfmWarning, match="5 patients have fewer than 64 rows"):
        own = sfm.metrics.cross_modal(cells, "X_a", "X_b", k=[10], among="patient")
    assert value(all_rows, "R@10") > 0.5  # a fifth of the candidates is of the patient
    assert value(own, "R@10", "low") <= 10 / 40 <= value(own, "R@10", "high")
    assert value(own, "R@10", "chance") == 10 / 40


def test_neither_order_nor_scale_nor_seed_changes_a_number():
    cells = table()
    found = sfm.metrics.cross_modal(cells, "X_a", "X_b")
    order = np.random.default_rng(1).permutation(cells.n_obs)
    pd.testing.assert_frame_equal(sfm.metrics.cross_modal(cells[order].copy(), "X_a", "X_b"), found)
    cells.obsm["X_b"] = 7 * cells.obsm["X_b"]
    pd.testing.assert_frame_equal(sfm.metrics.cross_modal(cells, "X_a", "X_b", random_state=3), found)


def test_of_many_rows_a_part_is_compared():
    cells = table()
    found = sfm.metrics.cross_modal(cells, "X_a", "X_b", max_rows=50, n_candidates=None)
    assert set(found["n"]) == {50}
    assert set(found["n_candidates"]) == {50}
    order = np.random.default_rng(1).permutation(cells.n_obs)
    again = sfm.metrics.cross_modal(cells[order].copy(), "X_a", "X_b", max_rows=50, n_candidates=None)
    pd.testing.assert_frame_equal(again, found)


def test_only_test_patients_count_where_a_record_names_them():
    cells = table()
    cells.obs["split"] = np.where(cells.obs["patient"].isin(["3", "4"]), "test", "train")
    cells.uns["spatialfm"] = {"X_a": {"split_key": "split"}, "X_b": {"split_key": "split"}}
    found = sfm.metrics.cross_modal(cells, "X_a", "X_b")
    pd.testing.assert_frame_equal(
        found, sfm.metrics.cross_modal(cells[cells.obs["split"] == "test"].copy(), "X_a", "X_b")
    )
    assert set(found["n"]) == {80}
    with pytest.warns(SpatialfmWarning, match="120 of 200 rows are of patients that 'X_a' was trained on"):
        assert set(sfm.metrics.cross_modal(cells, "X_a", "X_b", held_out=False)["n"]) == {200}
    with pytest.raises(TableError, match="No row is of a test patient"):
        sfm.metrics.cross_modal(cells[:40].copy(), "X_a", "X_b")
    del cells.obs["split"]
    with pytest.raises(TableError, match="that column is gone"):
        sfm.metrics.cross_modal(cells, "X_a", "X_b")


def test_one_patient_has_no_interval():
    found = sfm.metrics.cross_modal(table(n_patients=1), "X_a", "X_b")
    assert found[["low", "high"]].isna().all(axis=None)


def test_a_patient_with_one_row_is_not_counted_within_patients():
    cells = table()
    with_one = cells[np.r_[0:120, 120, 160:200]].copy()
    without = cells[np.r_[0:120, 160:200]].copy()
    with pytest.warns(SpatialfmWarning, match="1 patient has one row, no candidates, and is not counted"):
        found = sfm.metrics.cross_modal(with_one, "X_a", "X_b", among="patient", n_candidates=20)
    expected = sfm.metrics.cross_modal(without, "X_a", "X_b", among="patient", n_candidates=20)
    pd.testing.assert_frame_equal(found, expected)
    assert set(found["n"]) == {160}
    assert set(found["n_patients"]) == {4}


def test_an_interval_needs_candidates_without_each_patient():
    cells = table(n_patients=2)[np.r_[0:40, 40]].copy()  # without the first patient there is a single row
    found = sfm.metrics.cross_modal(cells, "X_a", "X_b")
    assert found[["low", "high"]].isna().all(axis=None)
    assert found["value"].notna().all()


def test_refusals():
    cells = table()
    cells.obsm["X_wide"] = np.ones((200, 9))
    cells.obsm["X_nan"] = np.where(np.arange(200)[:, None] == 3, np.nan, cells.obsm["X_a"])
    with pytest.raises(TableError, match=r"6 columns and 'X_wide' has 9: .*sfm.tl.align\(adata, 'X_a', 'X_wide'\)"):
        sfm.metrics.cross_modal(cells, "X_a", "X_wide")
    with pytest.raises(TableError, match=r"'X_nan' \(rep_b=\) holds NaN"):
        sfm.metrics.cross_modal(cells, "X_a", "X_nan")
    with pytest.raises(TableError, match="No 'X_c' in obsm"):
        sfm.metrics.cross_modal(cells, "X_a", "X_c")
    cells.obsm["X_text"] = pd.DataFrame({"name": ["a"] * 200}, index=cells.obs_names)
    with pytest.raises(TableError, match=r"'X_text' \(rep_a=\) holds object, not numbers"):
        sfm.metrics.cross_modal(cells, "X_text", "X_b")
    with pytest.raises(TableError, match="a table without rows"):
        sfm.metrics.cross_modal(cells[:0].copy(), "X_a", "X_b")
    with pytest.raises(TableError, match="No column 'donor'"):
        sfm.metrics.cross_modal(cells, "X_a", "X_b", patient_key="donor")
    with pytest.raises(TableError, match="asks for no hits"):
        sfm.metrics.cross_modal(cells, "X_a", "X_b", k=[])
    with pytest.raises(TableError, match="the partner alone"):
        sfm.metrics.cross_modal(cells, "X_a", "X_b", n_candidates=1)
    samples = cells[::40].copy()
    with pytest.raises(TableError, match="another one to be confused with"):
        sfm.metrics.cross_modal(samples, "X_a", "X_b", among="patient")
    cells.obs["patient"] = cells.obs["patient"].astype(str).replace({"1": " 0"})
    with pytest.raises(TableError, match="several ways"):
        sfm.metrics.cross_modal(cells, "X_a", "X_b")
    cells.obs["patient"] = cells.obs["patient"].where(cells.obs["patient"] != "4")
    with pytest.raises(TableError, match="40 of 200 rows have no value"):
        sfm.metrics.cross_modal(cells, "X_a", "X_b")


def test_samples_of_one_patient_are_told_where_they_count_as_patients():
    cells = sfm.datasets.simulate_cells(n_patients=3, n_samples=2, cells_per_patient=40, random_state=0)
    cells.obsm["X_b"] = cells.obsm["X_latent"] + 0.1
    with pytest.warns(SpatialfmWarning, match="patient_key='sample', of which 6 are of patients"):
        sfm.metrics.cross_modal(cells, "X_latent", "X_b", patient_key="sample")
