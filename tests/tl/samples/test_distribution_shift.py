"""Shifts between time points."""

from __future__ import annotations

from math import comb

import anndata as ad
import numpy as np
import ot
import pandas as pd
import pytest
from anndata import AnnData
from scipy import stats

import spatialfm as sfm
from spatialfm._errors import ArgumentError, ClinicalError, SpatialfmWarning, TableError
from spatialfm.stats.transport import entropic_plan, squared_distance
from spatialfm.tl.samples.distribution_shift import mean_squared_distance, summarise

TIMES = ["before", "after"]
ARGUMENTS = {"use_rep": "X_model", "time_key": "time_point", "time_points": TIMES}


def cohort(n_patients=8, n_cells=120, delta=0.0, n_columns=3, seed=0, times=TIMES):
    """Gaussian cells; those of responders (the second half) move by `delta` at each time point after the first."""
    rng = np.random.default_rng(seed)
    names = [f"P{i:02d}" for i in range(n_patients)]
    obs = pd.DataFrame([(name, time) for name in names for time in times], columns=["patient", "time_point"])
    obs["response"] = np.where(obs["patient"].isin(names[n_patients // 2 :]), "responder", "non-responder")
    obs["sample"] = obs["patient"] + "_" + obs["time_point"]
    obs = obs.loc[obs.index.repeat(n_cells)].reset_index(drop=True)
    obs.index = obs.index.astype(str)
    latent = rng.normal(size=(len(obs), n_columns))
    latent += 3 * rng.normal(size=(n_patients, n_columns))[np.repeat(np.arange(n_patients), len(times) * n_cells)]
    moved = (obs["response"] == "responder") * delta * obs["time_point"].map(times.index)
    latent[:, 0] += moved
    return AnnData(obs=obs, obsm={"X_model": latent})


def shifts(cells, **arguments):
    # time: so wide, a plan takes few steps; small ones have tests of their own above
    return sfm.tl.distribution_shift(cells, **{**ARGUMENTS, "epsilon": 0.05, **arguments}, copy=True)


def test_small_epsilon_gives_the_exact_distance():
    rng = np.random.default_rng(0)
    for n_columns in (1, 2, 20):
        one, two = rng.normal(size=(80, n_columns)), rng.normal(size=(60, n_columns)) + 0.5
        cost = ot.dist(one, two)
        exact = ot.emd2(ot.unif(80), ot.unif(60), cost)
        value, error = squared_distance(one, two, 1e-3 * cost.mean(), debiased=False, max_iter=20_000, tol=1e-4)
        assert error < 2e-4
        assert value == pytest.approx(exact, rel=5e-3)


@pytest.mark.parametrize("reg", [0.3, 1.0, 5.0])
def test_cost_and_objective_are_those_of_sinkhorn_in_the_log_domain(reg):
    rng = np.random.default_rng(1)
    cost = ot.dist(rng.normal(size=(40, 3)), rng.normal(size=(50, 3)) + 1)
    a, b = ot.unif(40), ot.unif(50)
    plan = ot.bregman.sinkhorn_log(a, b, cost, reg, numItermax=50_000, stopThr=1e-12)
    found = entropic_plan(cost, reg, max_iter=50_000, tol=1e-10)
    assert found.cost == pytest.approx((plan * cost).sum(), rel=1e-7)
    assert found.objective == pytest.approx((plan * cost).sum() + reg * (plan * np.log(plan * 2000)).sum(), rel=1e-7)


def test_sinkhorn_divergence_is_that_of_pot_and_0_between_equal_sets():
    rng = np.random.default_rng(2)
    one, two = rng.normal(size=(40, 2)), rng.normal(size=(40, 2)) + [1, 0]
    found, _ = squared_distance(one, two, 1.0, debiased=True, max_iter=50_000, tol=1e-10)
    parts = {}
    for name, (x, y) in {"xy": (one, two), "xx": (one, one), "yy": (two, two)}.items():
        plan = ot.bregman.sinkhorn_log(ot.unif(40), ot.unif(40), ot.dist(x, y), 1.0, numItermax=50_000, stopThr=1e-12)
        parts[name] = (plan * ot.dist(x, y)).sum() + (plan * np.log(plan * 1600)).sum()
    assert found == pytest.approx(parts["xy"] - (parts["xx"] + parts["yy"]) / 2, rel=1e-6)
    assert squared_distance(one, one, 1.0, debiased=True, max_iter=50_000, tol=1e-8)[0] == pytest.approx(0, abs=1e-9)
    assert squared_distance(one, one, 1.0, debiased=False, max_iter=50_000, tol=1e-8)[0] > 0.3


def test_a_translation_of_the_same_points_costs_its_square():
    points = np.random.default_rng(3).normal(size=(70, 5))
    value, _ = squared_distance(points, points + [0, 2, 0, 0, 0], 1e-4, debiased=False, max_iter=20_000, tol=1e-5)
    assert value == pytest.approx(4.0, rel=1e-3)


def test_gaussians_have_the_distance_of_the_closed_form():
    # W2^2 = |m1 - m2|^2 + sum of (s1 - s2)^2 for axis-parallel Gaussians; the null distance takes the sampling away
    rng, rows = np.random.default_rng(4), []
    spread = np.array([2.0, 1.0])
    for time, draw in (("before", rng.normal(size=(600, 2))), ("after", rng.normal(size=(600, 2)) * spread + [3, 0])):
        rows.append(AnnData(obs=pd.DataFrame({"time_point": time}, index=[f"{time}{i}" for i in range(600)])))
        rows[-1].obsm["X_model"] = draw
    cells = ad.concat(rows)
    cells.obs["patient"] = "P"
    table = shifts(cells, library_key=None, n_cells=200)["table"]
    assert table["distance"].item() == pytest.approx(np.sqrt(9 + 1), rel=0.05)
    assert table["shift"].item() == pytest.approx(np.sqrt(9 + 1), rel=0.05)
    assert table["converged"].item()


def test_many_columns_need_the_null_distance():
    table = shifts(cohort(delta=3.0, n_columns=30, n_cells=200), group_key="response")["table"]
    still, moved = (table[table["group"] == name] for name in ("non-responder", "responder"))
    assert (still["distance"] > 5).all()  # distance of draws from the same distribution
    assert still["shift"].abs().median() < 0.7
    assert moved["shift"].median() == pytest.approx(3.0, rel=0.15)


def test_a_shift_planted_in_responders_is_found_with_the_right_tests():
    cells = cohort(n_patients=12, delta=1.5)
    sfm.tl.distribution_shift(cells, **ARGUMENTS, group_key="response", n_repeats=3)
    record = cells.uns["distribution_shift"]
    table, comparison = record["table"], record["comparison"].set_index("measure")
    assert list(comparison.index) == ["distance", "null_distance", "shift"]
    for measure in ("distance", "shift"):
        one, two = (table.loc[table["group"] == name, measure] for name in ("non-responder", "responder"))
        found = comparison.loc[measure]
        # all responders above all others: of all ways to form the groups, two say as much
        assert found["effect"] == pytest.approx(1.0)
        assert found["p_value"] == pytest.approx(2 / comb(12, len(one)))
        assert found["difference"] == pytest.approx(two.median() - one.median())
        assert (found["group_1"], found["group_2"]) == ("non-responder", "responder")
    assert comparison.loc["null_distance", "p_value"] > 0.05
    assert record["params"]["cost_scale"] == pytest.approx(mean_squared_distance(cells.obsm["X_model"]))
    assert table["n_drawn"].unique().tolist() == [60]


@pytest.mark.slow
def test_without_a_shift_groups_do_not_differ_more_often_than_chance():
    p = [
        shifts(
            cohort(n_patients=10, n_cells=20, n_columns=2, seed=seed), group_key="response", min_cells=10, n_repeats=2,
            epsilon=0.05,
        )["comparison"].set_index("measure").loc["shift", "p_value"]
        for seed in range(40)
    ]  # fmt: skip
    assert np.mean(np.array(p) < 0.05) <= 0.15
    assert 0.35 < np.mean(p) < 0.68


@pytest.mark.slow
def test_the_simulator_with_cells_killed_in_responders():
    cells = sfm.datasets.simulate_cells(16, n_samples=2, cells_per_patient=400, effect_of="CD8 T", random_state=0)
    cells.obs["time_point"] = np.where(cells.obs["sample"].astype(str).str.endswith("_1"), *TIMES)
    rng = np.random.default_rng(0)
    hit = (cells.obs["time_point"] == "after") & (cells.obs["response"] == "responder") & (cells.obs["type"] == "Tumor")
    cells = cells[~(hit & (rng.random(cells.n_obs) < 0.9)).to_numpy()].copy()
    cells.obsm["X_model"] = cells.obsm["X_latent"]
    found = shifts(cells, group_key="response", min_cells=60, n_repeats=3)["comparison"].set_index("measure")
    assert found.loc["shift", "p_value"] < 0.05
    assert found.loc["shift", "effect"] > 0.5


def test_standard_errors_are_those_of_the_mean_over_draws():
    cost, null = np.array([4.0, 4.4, 3.8]), np.array([1.0, 1.1, 0.9])
    found = summarise(cost, null)
    assert found["distance"] == pytest.approx(np.sqrt(cost).mean())
    assert found["distance_se"] == pytest.approx(stats.sem(np.sqrt(cost)))
    assert found["shift"] == pytest.approx(np.sqrt((cost - null).mean()))
    assert found["shift_se"] == pytest.approx(stats.sem(cost - null) / (2 * found["shift"]))
    assert summarise(null, null + 0.01)["shift"] < 0  # nearer than halves of one time point


@pytest.mark.slow
def test_the_error_says_how_far_other_draws_move_the_distance():
    cells = cohort(n_patients=2, n_cells=600, delta=1.0)
    runs = [shifts(cells, n_cells=60, random_state=seed)["table"] for seed in range(12)]
    spread = np.array([run["distance"] for run in runs]).std(axis=0, ddof=1)
    stated = np.array([run["distance_se"] for run in runs]).mean(axis=0)
    np.testing.assert_array_less(spread / stated, 1.9)
    np.testing.assert_array_less(stated / spread, 1.9)


def test_epsilon_does_not_depend_on_the_units():
    cells = cohort(delta=1.0, n_patients=2)
    small = shifts(cells, epsilon=0.05, n_repeats=2)["table"]
    cells.obsm["X_model"] = 1000 * cells.obsm["X_model"]
    large = shifts(cells, epsilon=0.05, n_repeats=2)["table"]
    np.testing.assert_allclose(large["distance"], 1000 * small["distance"], rtol=1e-6)
    absolute = shifts(cells, epsilon=0.05 * 1e6, scale_cost=False, n_repeats=2)
    assert absolute["params"]["cost_scale"] == 1.0


def test_pairs_order_and_reference_of_three_time_points():
    cells = cohort(n_patients=6, delta=1.0, times=["1 before", "2 on", "3 after"])
    record = shifts(cells, time_points=None, group_key="response", n_repeats=2)
    pairs = list(record["table"][["time_1", "time_2"]].drop_duplicates().itertuples(index=False, name=None))
    assert pairs == [("1 before", "2 on"), ("1 before", "3 after"), ("2 on", "3 after")]
    assert len(record["comparison"]) == 9
    p = record["comparison"].set_index("measure").loc["shift"]
    np.testing.assert_allclose(p["q_value"], stats.false_discovery_control(p["p_value"]))
    alone = shifts(cells, time_points=None, reference="2 on", n_repeats=2)
    assert alone["table"]["time_1"].unique().tolist() == ["2 on"]
    assert "comparison" not in alone
    cells.obs["time_point"] = (
        cells.obs["time_point"].astype("category").cat.reorder_categories(["3 after", "2 on", "1 before"])
    )
    assert shifts(cells, time_points=None, n_repeats=2)["table"]["time_1"].iloc[0] == "3 after"


def test_patients_that_lack_a_time_point_are_refused_or_left_out():
    cells = cohort(n_patients=8, delta=1.0)
    cells = cells[~((cells.obs["patient"] == "P03") & (cells.obs["time_point"] == "after"))].copy()
    few = np.flatnonzero((cells.obs["patient"] == "P05") & (cells.obs["time_point"] == "before"))[30:]
    cells = cells[np.setdiff1d(np.arange(cells.n_obs), few)].copy()
    with pytest.raises(
        TableError, match=r"2 of 8 patients .*P03 \(0 at after\).*P05 \(30 at before\).*on_missing=\"drop\""
    ):
        sfm.tl.distribution_shift(cells, **ARGUMENTS, group_key="response")
    assert "distribution_shift" not in cells.uns
    table = shifts(cells, on_missing="drop", n_repeats=2)["table"]
    assert sorted(table["patient"]) == ["P00", "P01", "P02", "P04", "P06", "P07"]


def test_what_cannot_be_compared_is_refused_and_nothing_is_written():
    cells = cohort()
    obs = cells.obs
    cells.obs["one"] = "same"
    cells.obs["two groups"] = np.where((obs["patient"] == "P01") & (obs["time_point"] == "after"), "x", obs["response"])
    cells.obs["few"] = np.where(obs["patient"].isin(["P00", "P01"]), "a", "b")
    cells.obs["gap"] = obs["response"].where(obs["patient"] != "P02", None)
    cells.obs["shared"] = obs["patient"]
    cells.obs["patients mixed"] = np.where(obs["sample"] == "P00_after", "P01", obs["patient"])
    cells.obsm["X_nan"] = np.where(np.arange(cells.n_obs)[:, None] == 5, np.nan, cells.obsm["X_model"])
    cells.obsm["X_flat"] = np.ones((cells.n_obs, 2))
    for arguments, error, message in [
        ({"time_points": ["before"]}, TableError, r"1 time point \('before'\); a shift needs two"),
        ({"time_key": "one", "time_points": None}, TableError, "a shift needs two"),
        ({"time_points": ["before", "later"]}, TableError, "No cell has 'later'"),
        ({"time_points": ["before", "before"]}, TableError, "twice"),
        ({"reference": "later"}, TableError, "reference='later' is not a time point; found 'before', 'after'"),
        ({"time_key": "when"}, TableError, "No column 'when'"),
        ({"use_rep": "X_umap"}, TableError, "No 'X_umap' in obsm"),
        ({"use_rep": "X_nan"}, TableError, "1 of 1920 rows of 'X_nan' hold NaN"),
        ({"use_rep": "X_flat"}, TableError, "All rows of 'X_flat' are equal"),
        ({"group_key": "one"}, TableError, "holds one group of patients"),
        ({"group_key": "two groups"}, ClinicalError, "1 patient has more than one value .*'P01'"),
        ({"group_key": "few"}, TableError, "Fewer than 3 patients in a group .*a: 2.*b: 6"),
        ({"group_key": "gap"}, TableError, "1 of 8 patients have no value .*'P02'.*on_missing"),
        ({"library_key": "shared"}, ClinicalError, r"8 samples have more than one value in obs\['time_point'\]"),
        ({"patient_key": "patients mixed", "library_key": "patient"}, ClinicalError, "first 'P00': 'P00', 'P01'"),
        ({"min_cells": 500}, TableError, "8 of 8 patients have fewer than min_cells=500"),
        ({"min_cells": 500, "on_missing": "drop"}, TableError, "No patient has min_cells=500"),
        ({"on_missing": "skip"}, ArgumentError, "on_missing='skip'"),
        ({"epsilon": 0}, ArgumentError, "epsilon=0.*above 0"),
        ({"n_repeats": 1}, TableError, "no standard error"),
        ({"n_cells": 1}, TableError, "n_cells=1"),
        ({"min_cells": 2}, TableError, "min_cells=2"),
        ({"max_iter": 0}, ArgumentError, "max_iter=0"),
    ]:
        with pytest.raises(error, match=message):
            sfm.tl.distribution_shift(cells, **{**ARGUMENTS, **arguments})
    assert not cells.uns
    assert len(shifts(cells, group_key="gap", on_missing="drop", n_repeats=2)["table"]) == 7


def test_no_convergence_is_told_with_patient_and_fix():
    cells = cohort(n_patients=2)
    with pytest.warns(
        SpatialfmWarning, match=r"2 of 2 patients in max_iter=1 .*P00 \(before to after: .*larger epsilon"
    ):
        table = shifts(cells, epsilon=1e-5, max_iter=1, n_repeats=2)["table"]
    assert not table["converged"].any()
    assert np.isfinite(table["distance"]).all()


def test_the_same_seed_gives_the_same_table_and_it_can_be_saved(tmp_path):
    cells = cohort(n_patients=6, n_cells=100, delta=1.0)
    one, two = (shifts(cells, group_key="response", n_repeats=2) for _ in range(2))
    pd.testing.assert_frame_equal(one["table"], two["table"])
    pd.testing.assert_frame_equal(one["comparison"], two["comparison"])
    assert not shifts(cells, n_repeats=2, random_state=1)["table"]["distance"].equals(one["table"]["distance"])
    sfm.tl.distribution_shift(cells, **ARGUMENTS, epsilon=0.05, group_key="response", n_repeats=2)
    cells.write_h5ad(tmp_path / "cells.h5ad")  # tests/test_round_trip.py reads it from every kind of store
    record = ad.read_h5ad(tmp_path / "cells.h5ad").uns["distribution_shift"]
    np.testing.assert_allclose(record["table"]["shift"], one["table"]["shift"])
    assert list(record["params"]["time_points"]) == TIMES


def test_the_order_of_rows_changes_nothing():
    rng = np.random.default_rng(5)
    obs = pd.DataFrame(
        {
            "patient": np.repeat([f"P{i}" for i in (3, 0, 2, 1)], 120),
            "time_point": np.tile(np.repeat(["a", "b"], 60), 4),
        },
        index=[f"c{i}" for i in rng.permutation(480)],
    )
    obs["sample"] = obs["patient"] + obs["time_point"]
    cells = ad.AnnData(obs=obs, obsm={"X_model": rng.normal(size=(480, 3))})
    options = {
        "use_rep": "X_model",
        "time_key": "time_point",
        "n_cells": 20,
        "n_repeats": 2,
        "min_cells": 10,
        "copy": True,
    }
    one = sfm.tl.distribution_shift(cells, **options)["table"].set_index("patient")
    other = sfm.tl.distribution_shift(cells[rng.permutation(480)].copy(), **options)["table"].set_index("patient")
    pd.testing.assert_frame_equal(one, other.loc[one.index])
