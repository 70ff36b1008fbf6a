from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.stats import kstest

import spatialfm as sfm
from spatialfm._errors import SurvivalError
from spatialfm.stats.cut_points import candidates, lausen_schumacher, permuted_maxima
from spatialfm.stats.logrank import logrank_parts
from spatialfm.stats.risk_table import martingale_residuals


def cohort(seed: int, effect: float = 0.0, n: int = 80) -> AnnData:
    """A hazard that is `exp(effect)` times as high above 0.6; a fifth of the patients censored."""
    rng = np.random.default_rng(seed)
    value = rng.uniform(0, 1, n)
    time, censored = rng.exponential(np.where(value > 0.6, np.exp(-effect), 1)), rng.exponential(4, n)
    obs = pd.DataFrame({"time": np.minimum(time, censored), "event": time <= censored, "value": value})
    obs.index = [f"P{i}" for i in range(n)]
    return AnnData(obs=obs)


def test_every_cut_by_hand():
    """Statistic of each cut: observed less expected events above it, over the standard deviation of all orders."""
    samples = cohort(0)
    time, event, value = samples.obs["time"].to_numpy().round(1), samples.obs["event"].to_numpy(), samples.obs["value"]
    found = candidates(value.to_numpy(), martingale_residuals(time, event), 0.2)
    assert found.n_low.tolist() == list(range(16, 65))
    rng = np.random.default_rng(0)
    for i in (0, 20, 48):
        high = (value.to_numpy() > found.cuts[i]).astype(int)
        assert high.sum() == 80 - found.n_low[i]
        parts = logrank_parts(time, event, high)
        drawn = []
        for _ in range(2000):
            order = rng.permutation(80)
            hazard = martingale_residuals(time, event)[order]
            drawn.append(hazard[high == 1].sum())
        excess = parts.observed[1] - parts.expected[1]
        assert np.std(drawn) * found.statistic[i] == pytest.approx(excess, rel=0.06)


def test_planted_cut_is_found():
    samples = cohort(1, effect=2.0, n=250)
    sfm.tl.cut_point(samples, "value", n_permutations=999)
    result = samples.uns["value_group"]
    assert result["cut"] == pytest.approx(0.6, abs=0.03)
    assert result["higher_risk"] == "high"
    assert result["p_value"] == 0.001
    assert result["naive_p_value"] < result["p_value_lausen_schumacher"] < 1e-4
    groups = samples.obs["value_group"]
    assert groups.cat.ordered
    assert ((samples.obs["value"] > result["cut"]) == (groups == "high")).all()
    assert (result["n_low"], result["n_high"]) == tuple(groups.value_counts()[["low", "high"]])
    sfm.tl.logrank(samples, "value_group", on_selected="mark")
    assert samples.uns["logrank"]["optimistic"]
    assert samples.uns["logrank"]["p_value"] == pytest.approx(result["naive_p_value"])
    samples.obs["value"] = -samples.obs["value"]
    flipped = sfm.tl.cut_point(samples, "value", n_permutations=100, copy=True)
    assert flipped["cut"] == pytest.approx(-result["cut"])
    assert flipped["higher_risk"] == "low"
    assert flipped["statistic"] == pytest.approx(result["statistic"])


@pytest.mark.parametrize("n", [40, pytest.param(200, marks=pytest.mark.slow)])
def test_null_cohorts(n):
    """Without an effect corrected p-values are uniform, and naive ones below 0.05 in a third of the cohorts."""
    results = [sfm.tl.cut_point(cohort(seed), "value", n_permutations=100, copy=True) for seed in range(n)]
    p_values = np.array([result["p_value"] for result in results])
    assert kstest(p_values, "uniform").pvalue > 0.05
    assert (p_values < 0.05).mean() <= 0.1
    assert (np.array([result["p_value_lausen_schumacher"] for result in results]) < 0.05).mean() <= 0.1
    assert (np.array([result["naive_p_value"] for result in results]) < 0.05).mean() > 0.2


def test_ties_and_permutations_keep_the_cuts():
    """Equal values are never parted; each permuted maximum is the statistic of a cohort with shuffled outcomes."""
    samples = cohort(2)
    value = samples.obs["value"].round(1).to_numpy()
    scores = martingale_residuals(samples.obs["time"].to_numpy(), samples.obs["event"].to_numpy())
    found = candidates(value, scores, 0.1)
    assert set(found.n_low) <= {int((value <= v).sum()) for v in np.unique(value)}
    maxima = permuted_maxima(scores, found.n_low, 50, np.random.default_rng(0))
    drawn = np.random.default_rng(0).permuted(np.tile(scores, (50, 1)), axis=1)
    for maximum, row in zip(maxima, drawn, strict=True):
        shuffled = np.empty(80)
        shuffled[found.order] = row
        assert maximum == pytest.approx(np.abs(candidates(value, shuffled, 0.1).statistic).max())


def test_seed_layers_and_missing():
    samples = cohort(3)
    one, same = (sfm.tl.cut_point(samples, "value", n_permutations=200, copy=True) for _ in range(2))
    assert one["p_value"] == same["p_value"]
    assert list(samples.obs) == ["time", "event", "value"]
    phenotypes = AnnData(samples.obs[["value"]].to_numpy(), obs=samples.obs[["time", "event"]])
    phenotypes.var_names, phenotypes.layers["double"] = ["T"], phenotypes.X * 2
    doubled = sfm.tl.cut_point(phenotypes, "T", layer="double", n_permutations=200, copy=True)
    assert doubled["cut"] == pytest.approx(2 * one["cut"])
    assert doubled["p_value"] == one["p_value"]
    samples.obs.loc["P3", "value"] = np.nan
    with pytest.raises(SurvivalError, match=r"1 of 80 rows have no value in 'value': 'P3'"):
        sfm.tl.cut_point(samples, "value")
    sfm.tl.cut_point(samples, "value", on_missing="drop", n_permutations=100, key_added="cut")
    assert samples.obs.index[samples.obs["cut"].isna()].tolist() == ["P3"]
    assert (samples.uns["cut"]["n"], samples.uns["cut"]["params"]["n_dropped"]) == (79, 1)


def test_result_is_written_and_read_back(tmp_path):
    from anndata import read_h5ad

    samples = cohort(0)
    sfm.tl.cut_point(samples, "value", n_permutations=100)
    samples.write_h5ad(tmp_path / "p.h5ad")
    back = read_h5ad(tmp_path / "p.h5ad")
    assert back.uns["value_group"]["p_value"] == samples.uns["value_group"]["p_value"]
    assert sfm.tl.logrank(back, "value_group", on_selected="mark", copy=True)["optimistic"]


def test_lausen_schumacher_is_a_p_value():
    assert lausen_schumacher(0.5, 0.1) == 1
    assert lausen_schumacher(50, 0.1) == 0
    values = [lausen_schumacher(b, 0.2) for b in np.linspace(1, 6, 50)]
    assert (np.diff(values) <= 0).all()
    assert max(values) <= 1


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({}, {"min_share": 0.5}, r"min_share=0.5 .* below 0.5.*means nothing without its correction"),
        ({}, {"n_permutations": 0}, r"n_permutations=0: .*100 or more"),
        ({"value": 1.0}, {}, r"No cut of 'value' leaves 20 % of 80 patients on both sides; it has 1 distinct values"),
        ({"value": np.r_[np.zeros(79), 1.0]}, {}, r"it has 2 distinct values. Pass a smaller min_share="),
        ({"value": "high"}, {}, r"'value' \(score_key=\) holds .* cannot be cut.*tl.logrank"),
        ({"value": np.inf}, {}, r"'value' \(score_key=\) holds infinite values"),
        ({}, {"score_key": "other"}, r"No column 'other' in obs and no such name in var \(score_key=\)"),
        ({"event": 0}, {}, r"No event among 80 rows"),
        ({"time": -1.0}, {}, r"80 rows of obs.*negative or infinite time"),
        ({"patient": "A"}, {}, r"80 rows hold 1 patient "),
    ],
)
def test_refusals(change, arguments, message):
    samples = cohort(0)
    for key, value in change.items():
        samples.obs[key] = value
    before = list(samples.obs)
    with pytest.raises(SurvivalError, match=message):
        sfm.tl.cut_point(samples, **{"score_key": "value", **arguments})
    assert not samples.uns
    assert list(samples.obs) == before


def test_outcomes_without_order_have_no_cut():
    """The statistic of each cut was 0/0, and its p-value the least there is."""
    obs = pd.DataFrame({"time": 3.0, "event": 1, "x": np.arange(20.0)}, index=[f"P{i}" for i in range(20)])
    with pytest.raises(SurvivalError, match="no cut can divide"):
        sfm.tl.cut_point(AnnData(obs=obs), "x")


def test_a_cut_between_huge_numbers_is_finite(recwarn):
    obs = pd.DataFrame({"time": np.arange(1.0, 11), "event": 1, "x": [-1.7e308, 1.7e308] * 5})
    result = sfm.tl.cut_point(AnnData(obs=obs.set_axis([f"P{i}" for i in range(10)])), "x", copy=True)
    assert result["cut"] == 0
    assert not len(recwarn)


def aged(seed: int, n: int = 60, effect: float = 0.0) -> AnnData:
    """Age drives value and death; the hazard is `exp(effect)` times as high above 0.3. Stages, sites, late entries."""
    rng = np.random.default_rng(seed)
    age = rng.normal(size=n)
    value = age + rng.normal(size=n)
    time, censored = rng.exponential(np.exp(-age - effect * (value > 0.3))), rng.exponential(3, n)
    obs = pd.DataFrame({"time": np.minimum(time, censored), "event": time <= censored, "value": value, "age": age})
    obs["stage"], obs["site"] = rng.choice(["I", "II", "III"], n), rng.choice(["s", "t"], n)
    obs["entry"] = obs["time"] * rng.uniform(0, 0.8, n)
    obs.index = [f"P{i}" for i in range(n)]
    return AnnData(obs=obs)


@pytest.mark.parametrize("entry_key", [None, "entry"])
def test_at_equal_covariates_the_cut_is_the_logrank_tests(entry_key):
    """Its p-value without correction that of its groups, its statistic the root of chi-squared; no cut has a larger."""
    patients, covariates = aged(0), ["age", "stage"]
    options = {"entry_key": entry_key, "n_permutations": 200}
    result = sfm.tl.cut_point(patients, "value", covariates=covariates, copy=True, **options)
    plain = sfm.tl.cut_point(patients, "value", copy=True, **options)
    assert result["p_value_unadjusted"] == plain["p_value"]
    assert list(result["params"]["covariates"]) == covariates
    assert result["cut"] in set(result["candidates"]["cut"])
    rows = result["candidates"].set_index("cut")["statistic"]
    assert abs(rows[result["cut"]]) == rows.abs().max() == result["statistic"]
    for cut in [result["cut"], *rows.index[::7]]:
        patients.obs["side"] = pd.cut(patients.obs["value"], [-np.inf, cut, np.inf], labels=["low", "high"])
        test = sfm.tl.logrank(
            patients, "side", covariates=covariates, entry_key=entry_key, method="chi-squared", on_selected="mark",
            copy=True,
        )  # fmt: skip
        assert rows[cut] ** 2 == pytest.approx(test["statistic"], rel=1e-5, abs=1e-8)
        if cut == result["cut"]:
            assert result["naive_p_value"] == pytest.approx(test["p_value"], rel=1e-5)
            more = test["groups"]["observed"] > test["groups"]["expected"]
            assert result["higher_risk"] == ("high" if more["high"] else "low")


def test_the_statistic_is_near_the_likelihood_of_lifelines():
    """Of a large cohort the score test of a side and the likelihood ratio of lifelines agree."""
    from lifelines import CoxPHFitter

    patients = aged(5, n=400, effect=0.7)
    result = sfm.tl.cut_point(patients, "value", covariates="age", n_permutations=100, copy=True)
    table = patients.obs[["time", "event", "age"]].astype(float)
    table["side"] = (patients.obs["value"] > result["cut"]).astype(float)
    full, null = (CoxPHFitter().fit(one, "time", "event") for one in (table, table.drop(columns="side")))
    ratio = 2 * (full.log_likelihood_ - null.log_likelihood_)
    assert result["statistic"] ** 2 == pytest.approx(ratio, rel=0.03)


def test_age_that_drives_value_and_death_is_not_found_at_equal_age(caplog):
    """Without effect most are called without the covariate; with a hazard ratio of 8 beside age it is found."""
    caplog.set_level("INFO", logger="spatialfm")
    plan = {"covariates": "age", "n_permutations": 100, "copy": True}
    results = pd.DataFrame([sfm.tl.cut_point(aged(seed, 50), "value", **plan) for seed in range(10)])
    assert (results["p_value_unadjusted"] <= 0.05).sum() >= 6
    assert (results["p_value"] <= 0.05).sum() <= 3  # more in 1 of 1,000 such tests
    assert "at equal age: p = " in caplog.text
    assert sfm.tl.cut_point(aged(0, 100, 2.1), "value", **plan)["p_value"] == pytest.approx(1 / 101)


def test_sites_that_differ_are_not_found_at_equal_age_within_them():
    """Events are drawn anew within sites: what a site has of both value and death is in the drawn outcomes, too."""
    p_values = []
    for seed in range(8):
        patients = aged(seed, 50)
        there = (patients.obs["site"] == "s").to_numpy()
        patients.obs["value"] += 3 * there
        patients.obs["time"] *= np.where(there, 0.1, 1)
        plan = {"covariates": "age", "n_permutations": 100, "copy": True}
        within, across = (sfm.tl.cut_point(patients, "value", **plan, block_key=key) for key in ("site", None))
        assert within["cut"] == across["cut"]
        assert within["p_value_lausen_schumacher"] == across["p_value_lausen_schumacher"]
        p_values.append((within["p_value"], across["p_value"]))
    within, across = (np.array(p_values) <= 0.05).sum(axis=0)
    assert across >= 5
    assert within <= 3


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({}, {"covariates": "value"}, r"'value' is both score_key= and covariates="),
        ({"age": 1.0}, {"covariates": "age"}, r"Covariates 'age' are constant"),
        ({"age": np.r_[np.nan, np.arange(59.0)]}, {"covariates": "age"}, r"1 of 60 rows have no value in 'age': 'P0'"),
        ({}, {"covariates": ["age", "double"]}, r"are collinear"),
        ({}, {"covariates": "told"}, r"'told' \(covariates=\) tells who is above and who below the cut of 'value' at"),
        ({}, {"covariates": "other"}, r"No column 'other' in obs and no such name in var \(covariates=\)"),
    ],
)
def test_covariates_that_cannot_be_used(change, arguments, message):
    patients = aged(0)
    patients.obs["double"] = 2 * patients.obs["age"]
    patients.obs["told"] = np.where(patients.obs["value"] > patients.obs["value"].median(), "old", "young")
    for key, value in change.items():
        patients.obs[key] = value
    before = list(patients.obs)
    with pytest.raises(SurvivalError, match=message):
        sfm.tl.cut_point(patients, "value", n_permutations=100, **arguments)
    assert not patients.uns
    assert list(patients.obs) == before


def test_rows_without_a_covariate_are_left_out_and_a_changed_covariate_is_told(tmp_path):
    patients = aged(0)
    patients.obs.loc["P3", "age"] = np.nan
    sfm.tl.cut_point(patients, "value", covariates="age", on_missing="drop", n_permutations=100)
    record = patients.uns["value_group"]
    assert (record["n"], record["params"]["n_dropped"]) == (59, 1)
    assert patients.obs.index[patients.obs["value_group"].isna()].tolist() == ["P3"]
    patients.write_h5ad(tmp_path / "p.h5ad")
    from anndata import read_h5ad

    assert read_h5ad(tmp_path / "p.h5ad").uns["value_group"]["params"]["covariates"].tolist() == ["age"]
