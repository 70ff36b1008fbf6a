from __future__ import annotations

import logging
import warnings

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from sklearn.metrics import adjusted_rand_score

import spatialfm as sfm
from spatialfm._errors import ArgumentError, SpatialfmWarning, SurvivalError, TableError

HAZARD = np.array([0.05, 0.4, 0.1, 0.8])  # of the four planted kinds of tissue
SIZES = [40, 30, 20, 10]


@pytest.fixture
def patients() -> AnnData:
    """100 patients with one of four tissues, whose hazards differ."""
    rng = np.random.default_rng(0)
    kind = np.repeat(np.arange(4), SIZES)[rng.permutation(100)]
    fractions = np.stack([rng.dirichlet(1 + 60 * np.eye(4)[k]) for k in kind])
    time = rng.exponential(1 / HAZARD[kind])
    obs = pd.DataFrame({"time": time, "event": time < 15, "kind": kind}, index=[f"P{i}" for i in range(100)])
    obs["time"] = obs["time"].clip(upper=15)
    return AnnData(X=fractions, obs=obs, layers={"clr": np.log(fractions + 1e-3)})


@pytest.mark.parametrize("layer", [None, "clr"])
def test_finds_planted_groups_by_size(patients, layer):
    sfm.tl.stratify(patients, 4, layer=layer)
    groups = patients.obs["risk_group"]
    assert adjusted_rand_score(groups, patients.obs["kind"]) == 1
    assert groups.cat.categories.tolist() == ["1", "2", "3", "4"]
    assert not groups.cat.ordered
    assert groups.value_counts()[["1", "2", "3", "4"]].tolist() == SIZES
    record = patients.uns["risk_group"]
    assert record["groups"]["n"].tolist() == SIZES
    assert record["params"]["outcome_decides"] == "nothing"
    assert not record["params"]["uses_outcome"]
    values = patients.X if layer is None else patients.layers[layer]
    for code, name in enumerate("1234"):
        np.testing.assert_allclose(record["centers"][code], values[groups == name].mean(axis=0))


def test_outcome_orders_but_does_not_move(patients, caplog):
    without = sfm.tl.stratify(patients, 4, copy=True)
    with caplog.at_level(logging.INFO, logger="spatialfm"):
        sfm.tl.stratify(patients, 4, time_key="time", event_key="event")
    groups = patients.obs["risk_group"]
    assert adjusted_rand_score(groups, without) == 1
    assert groups.cat.ordered
    assert groups.cat.categories.tolist() == ["risk 1", "risk 2", "risk 3", "risk 4"]
    by_risk = patients.obs.groupby("kind")["risk_group"].first()
    assert by_risk[np.argsort(HAZARD)].tolist() == ["risk 1", "risk 2", "risk 3", "risk 4"]
    assert "valid as it is" in caplog.text
    assert "holds by construction" in caplog.text
    record = patients.uns["risk_group"]
    assert record["params"]["outcome_decides"] == "order"
    assert record["params"]["uses_outcome"]
    ratio = record["groups"]["observed"] / record["groups"]["expected"]
    assert ratio.is_monotonic_increasing
    assert record["groups"]["observed"].sum() == patients.obs["event"].sum()
    # the names change nothing in the test
    patients.obs["unnamed"] = without
    named, unnamed = (sfm.tl.logrank(patients, key, copy=True) for key in ("risk_group", "unnamed"))
    assert named["statistic"] == pytest.approx(unnamed["statistic"])
    assert not named["optimistic"]


def test_two_groups_are_low_and_high(patients):
    two = patients[patients.obs["kind"].isin([0, 1])].copy()
    sfm.tl.stratify(two, 2, time_key="time", event_key="event")
    assert (two.obs["risk_group"] == np.where(two.obs["kind"] == 1, "high", "low")).all()


def test_merging_is_called_optimistic(patients, caplog):
    with pytest.warns(SpatialfmWarning, match=r"outcome decided which clusters were merged.*optimistic.*cross_fit="):
        sfm.tl.stratify(patients, 4, merge_into=2, time_key="time", event_key="event")
    groups = patients.obs["risk_group"]
    assert (groups == np.where(np.isin(patients.obs["kind"], [1, 3]), "high", "low")).all()
    with caplog.at_level(logging.INFO, logger="spatialfm"):
        sfm.tl.logrank(patients, "risk_group", on_selected="mark")
    assert patients.uns["logrank"]["optimistic"]
    assert "optimistic" in caplog.text


@pytest.mark.slow
def test_merging_is_optimistic_indeed():
    """On cohorts without any effect, naming keeps the level of the test and merging does not."""
    small = {"order": 0, "merged": 0}
    for seed in range(20):
        rng = np.random.default_rng(seed)
        time = rng.exponential(10, 80)
        obs = pd.DataFrame({"time": time, "event": 1}, index=[f"P{i}" for i in range(80)])
        cohort = AnnData(X=rng.dirichlet(np.ones(4), 80), obs=obs)
        outcome = {"time_key": "time", "event_key": "event"}
        sfm.tl.stratify(cohort, 2, key_added="order", **outcome)
        with pytest.warns(SpatialfmWarning, match="optimistic"):
            sfm.tl.stratify(cohort, 8, merge_into=2, key_added="merged", **outcome)
        for key in small:
            small[key] += sfm.tl.logrank(cohort, key, on_selected="mark", copy=True)["p_value"] < 0.05
    assert small["order"] <= 4  # 99.7 % of binomial(20, 0.05)
    assert small["merged"] >= 8


def test_deterministic_and_copy_writes_nothing(patients):
    one = sfm.tl.stratify(patients, 3, copy=True)
    pd.testing.assert_series_equal(one, sfm.tl.stratify(patients, 3, copy=True))
    assert "risk_group" not in patients.obs
    assert not patients.uns
    assert one.name == "risk_group"


def test_patients_without_outcome_are_grouped_all_the_same(patients):
    patients.obs.loc[patients.obs_names[:5], "time"] = np.nan
    with pytest.raises(SurvivalError, match="5 of 100 rows have no value in 'time': 'P0'.*on_missing=\"drop\""):
        sfm.tl.stratify(patients, 4, time_key="time", event_key="event")
    assert not patients.uns
    sfm.tl.stratify(patients, 4, time_key="time", event_key="event", on_missing="drop")
    assert patients.obs["risk_group"].notna().all()
    assert patients.uns["risk_group"]["groups"]["n"].sum() == 100
    assert patients.uns["risk_group"]["groups"]["expected"].sum() == pytest.approx(patients.obs["event"][5:].sum())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_groups": 1}, ArgumentError, r"n_groups=1.*at least 2"),
        ({"layer": "log"}, TableError, r"No layer 'log' \(layer=\); found 'clr'"),
        ({"n_groups": 101}, TableError, r"100 different compositions cannot make 101 groups"),
        ({"time_key": "time"}, SurvivalError, r"both of time_key= and event_key="),
        ({"n_groups": 4, "merge_into": 2}, SurvivalError, r"merge_into=2 needs time_key= and event_key="),
        ({"time_key": "time", "event_key": "event", "merge_into": 2}, SurvivalError, r"less than n_groups=2"),
        ({"time_key": "os", "event_key": "event"}, SurvivalError, r"No column 'os' in obs"),
    ],
)
def test_refusals(patients, arguments, error, message):
    with pytest.raises(error, match=message):
        sfm.tl.stratify(patients, **arguments)
    assert "risk_group" not in patients.obs
    assert not patients.uns


def test_refuses_missing_values_and_repeated_patients(patients):
    patients.obs["patient"] = ["A", "A", *map(str, range(98))]
    sfm.tl.stratify(patients, 2, copy=True)  # without outcome, samples may be grouped
    with pytest.raises(SurvivalError, match="100 rows hold 99 patients"):
        sfm.tl.stratify(patients, 2, time_key="time", event_key="event")
    patients.X[3, 0] = np.nan
    with pytest.raises(TableError, match=r"1 row has missing or infinite values in X: 'P3'"):
        sfm.tl.stratify(patients, 2)


def test_refuses_groups_without_follow_up(patients):
    patients.obs.loc[patients.obs["kind"] == 3, "time"] = np.nan
    with pytest.raises(SurvivalError, match="1 of 4 groups have no follow-up that reaches an event"):
        sfm.tl.stratify(patients, 4, time_key="time", event_key="event", on_missing="drop")
    assert not patients.uns


def test_result_is_written_and_read_back(patients, tmp_path):
    from anndata import read_h5ad, read_zarr

    patients.var_names = ["CD4/CD8 T", "B", "tumor", "NK"]
    sfm.tl.stratify(patients, 2, time_key="time", event_key="event")
    patients.write_h5ad(tmp_path / "p.h5ad")
    patients.write_zarr(tmp_path / "p.zarr")
    for back in (read_h5ad(tmp_path / "p.h5ad"), read_zarr(tmp_path / "p.zarr")):
        assert back.obs["risk_group"].cat.categories.tolist() == ["low", "high"]
        assert back.uns["risk_group"]["params"]["outcome_decides"] == "order"
        np.testing.assert_array_equal(back.uns["risk_group"]["centers"], patients.uns["risk_group"]["centers"])


def test_cross_fitted_groups_do_not_know_the_patients_own_outcome():
    """Whatever became of a patient, the patient's group is the same; merged on all, it is not for some."""
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({"time": rng.exponential(size=40), "event": 1}, index=[f"P{i}" for i in range(40)])
    samples = AnnData(X=rng.dirichlet(np.ones(5), 40), obs=obs)
    options = {"merge_into": 2, "time_key": "time", "event_key": "event", "copy": True}

    def groups(folds):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return sfm.tl.stratify(samples, 4, cross_fit=folds, **options)

    before = {folds: groups(folds) for folds in (None, 5)}
    changed = {None: 0, 5: 0}
    for i in range(0, 40, 5):
        kept = samples.obs["time"].copy()
        samples.obs.iloc[i, 0] = 50.0 if kept.iloc[i] < 1 else 0.001
        for folds in changed:
            changed[folds] += groups(folds).iloc[i] != before[folds].iloc[i]
        samples.obs["time"] = kept
    assert changed[5] == 0
    assert changed[None] > 0


def test_cross_fitted_groups_carry_a_planted_risk(patients):
    from lifelines.statistics import logrank_test

    options = {"merge_into": 2, "cross_fit": 5, "time_key": "time", "event_key": "event"}
    sfm.tl.stratify(patients, 4, **options)
    high = (patients.obs["risk_group"] == "high").to_numpy()
    one, two = patients.obs[high], patients.obs[~high]
    assert logrank_test(one["time"], two["time"], one["event"], two["event"]).p_value < 1e-4
    assert patients.uns["risk_group"]["params"]["outcome_decides"] == "others' partition"


def test_cross_fit_refusals():
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({"time": rng.exponential(size=12), "event": 1}, index=[f"P{i}" for i in range(12)])
    samples = AnnData(X=rng.dirichlet(np.ones(5), 12), obs=obs)
    with pytest.raises(SurvivalError, match="without merge_into="):
        sfm.tl.stratify(samples, 3, cross_fit=3, time_key="time", event_key="event")
    options = {"merge_into": 2, "time_key": "time", "event_key": "event"}
    with pytest.raises(ArgumentError, match="cross_fit=1.*at least 2"):
        sfm.tl.stratify(samples, 3, cross_fit=1, **options)
    with pytest.raises(SurvivalError, match="leave too few for n_groups=4"):
        sfm.tl.stratify(samples, 4, cross_fit=2, **options)


@pytest.mark.slow
def test_permutations_keep_the_level_where_the_logrank_test_does_not():
    """Cross-fitted groups on cohorts without any effect: outcomes of each fold make the groups of the others."""
    rng = np.random.default_rng(0)
    found = {"logrank": 0, "permutations": 0}
    for seed in range(40):
        obs = pd.DataFrame({"time": rng.exponential(size=60), "event": 1}, index=[f"P{i}" for i in range(60)])
        samples = AnnData(X=rng.dirichlet(np.ones(3), 60), obs=obs)
        keys = {"time_key": "time", "event_key": "event"}
        sfm.tl.stratify(samples, 4, merge_into=2, cross_fit=5, n_permutations=39, random_state=seed, **keys)
        test = sfm.tl.logrank(samples, "risk_group", on_selected="mark", copy=True, **keys)
        assert test["optimistic"]
        found["logrank"] += test["p_value"] < 0.05
        found["permutations"] += samples.uns["risk_group"]["test"]["p_value"] <= 0.05
    assert found["logrank"] > found["permutations"]
    assert found["permutations"] <= 6  # 99.7 % of binomial(40, 0.05)


def test_permutations_find_a_planted_risk(patients):
    keys = {"time_key": "time", "event_key": "event"}
    for options in ({}, {"merge_into": 2}, {"merge_into": 2, "cross_fit": 5}):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sfm.tl.stratify(patients, 4, n_permutations=99, **options, **keys)
        test = patients.uns["risk_group"]["test"]
        assert test["p_value"] == 0.01
        trend = sfm.tl.logrank(patients, "risk_group", trend=True, on_selected="mark", copy=True, **keys)["trend"]
        assert test["statistic"] ** 2 == pytest.approx(trend["statistic"])
        assert np.sign(test["statistic"]) == trend["direction"] == 1
    with pytest.raises(SurvivalError, match="n_permutations=9 needs time_key="):
        sfm.tl.stratify(patients, 4, n_permutations=9)


def aged(seed: int, n: int = 60, effect: float = 0.0) -> AnnData:
    """Age drives composition and death; much of the third type multiplies the hazard by `exp(effect)`."""
    rng = np.random.default_rng(seed)
    age, much = rng.normal(size=n), rng.random(n) < 0.4
    logits = 0.4 * rng.normal(size=(n, 4)) + np.outer(age, [1.5, -1.5, 0, 0])
    logits[:, 2] += 1.5 * much
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    time, censored = rng.exponential(np.exp(-1.5 * age - effect * much)), rng.exponential(4, n)
    obs = pd.DataFrame({"time": np.minimum(time, censored), "event": time <= censored, "age": age})
    return AnnData(shares, obs=obs.set_axis([f"P{i}" for i in range(n)]), var=pd.DataFrame(index=list("ABCD")))


SEEN = {"time_key": "time", "event_key": "event"}


@pytest.mark.filterwarnings("ignore::spatialfm._errors.SpatialfmWarning")
@pytest.mark.parametrize("cross_fit", [None, 4])
def test_groups_at_equal_age(cross_fit):
    """Groups are those without the covariate; the test is the trend of tl.logrank at equal age."""
    patients, plan = aged(0), {"n_groups": 4, "merge_into": 2, "cross_fit": cross_fit, "n_permutations": 99}
    sfm.tl.stratify(patients, **plan, **SEEN)
    before, unadjusted = patients.obs["risk_group"].copy(), patients.uns["risk_group"]["test"]
    sfm.tl.stratify(patients, **plan, **SEEN, covariates="age")
    assert (patients.obs["risk_group"] == before).all()
    record = patients.uns["risk_group"]
    assert list(record["params"]["covariates"]) == ["age"]
    assert record["test"]["p_value_unadjusted"] == unadjusted["p_value"]
    test = sfm.tl.logrank(patients, "risk_group", covariates="age", method="chi-squared", on_selected="mark", copy=True)
    assert record["test"]["statistic"] ** 2 == pytest.approx(test["statistic"])


@pytest.mark.filterwarnings("ignore::spatialfm._errors.SpatialfmWarning")
def test_age_that_drives_tissue_and_death_is_not_found_at_equal_age():
    tests = []
    for seed in range(8):
        patients = aged(seed, 50)
        sfm.tl.stratify(patients, 4, merge_into=2, n_permutations=39, covariates="age", **SEEN)
        tests.append(patients.uns["risk_group"]["test"])
    null = pd.DataFrame(tests)
    assert (null["p_value_unadjusted"] <= 0.05).sum() >= 5
    assert (null["p_value"] <= 0.05).sum() <= 2  # more in 1 of 170 such tests


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"covariates": "age"}, r"covariates=\['age'\] are what groups are tested at, and n_permutations=0 tests none"),
        ({"covariates": "age", "use_outcome": False}, r"covariates=\['age'\] needs time_key= and event_key="),
        ({"covariates": "same", "n_permutations": 99}, r"Covariates 'same' are constant"),
        ({"covariates": "told", "n_permutations": 99}, r"obs\['told'\] tells which group of obs\['risk_group'\]"),
        ({"covariates": "some", "n_permutations": 99}, r"have no value in 'some': 'P0'"),
    ],
)
def test_covariates_that_groups_cannot_be_tested_at(arguments, message):
    patients = aged(0)
    groups = sfm.tl.stratify(patients, 2, use_outcome=False, copy=True)
    patients.obs["same"], patients.obs["told"] = 1.0, groups.to_numpy()
    patients.obs["some"] = np.r_[np.nan, np.ones(59)]
    seen = {} if arguments.get("use_outcome") is False else SEEN
    with pytest.raises(SurvivalError, match=message):
        sfm.tl.stratify(patients, 2, **arguments, **seen)
    assert "risk_group" not in patients.obs
    assert "risk_group" not in patients.uns
