from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.stats import chi2, f, norm, t
from sksurv.linear_model import CoxPHSurvivalAnalysis

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning, SurvivalError

# the tests that are about something else use rossi, whose hazards are not proportional in age
pytestmark = pytest.mark.filterwarnings("ignore:The hazards of")

ROSSI = ["fin", "age", "race", "wexp", "mar", "paro", "prio"]


def test_freireich(leukemia):
    """Efron's estimate of the log hazard ratio is -1.572 (R: coxph(Surv(time, event) ~ arm), se 0.4124)."""
    sfm.tl.cox(leukemia, "arm", distribution="normal")
    row = leukemia.uns["cox"]["table"].loc["arm[6-MP]"]
    assert row[["covariate", "level", "reference"]].tolist() == ["arm", "6-MP", "placebo"]
    assert round(row["coef"], 3) == -1.572
    assert round(row["se"], 4) == 0.4124
    assert round(row["hazard_ratio"], 4) == 0.2076
    assert (round(row["ci_low"], 4), round(row["ci_high"], 4)) == (0.0925, 0.4659)
    result = leukemia.uns["cox"]
    assert (result["n"], result["events"], result["events_per_term"]) == (42, 30, 30)
    assert round(result["lr_statistic"], 2) == 16.35
    assert result["concordance"] == pytest.approx(0.69, abs=0.005)


def test_few_patients_have_students_distribution(leukemia, rossi):
    """Errors of R times the root of n / (n - p), and n - p - 1 degrees of freedom, as in a linear regression."""
    normal = sfm.tl.cox(leukemia, "arm", distribution="normal", copy=True)
    found = sfm.tl.cox(leukemia, "arm", copy=True)
    before, row = normal["table"].iloc[0], found["table"].iloc[0]
    assert (normal["distribution"], found["distribution"]) == ("normal", "t")
    assert (normal["degrees_of_freedom"], found["degrees_of_freedom"]) == (np.inf, 40)
    assert row["coef"] == before["coef"]
    assert row["se"] == pytest.approx(before["se"] * np.sqrt(42 / 41))
    assert row["p_value"] == pytest.approx(2 * t.sf(abs(row["coef"] / row["se"]), 40))
    reach = t.ppf(0.975, 40) * row["se"]
    np.testing.assert_allclose(
        np.log(row[["ci_low", "ci_high"]].astype(float)), row["coef"] + np.array([-1, 1]) * reach
    )
    assert found["wald_p_value"] == pytest.approx(row["p_value"])
    assert found["lr_p_value"] == pytest.approx(f.sf(normal["lr_statistic"], 1, 40))
    for covariates, few in (("age", False), (ROSSI + ["x", "y", "z", "u", "v"], True)):  # 114 events of 432
        for name in "xyzuv":
            rossi.obs[name] = np.random.default_rng(ord(name)).normal(size=432)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = sfm.tl.cox(rossi, covariates, copy=True)
        assert (result["distribution"] == "t") == few
    with pytest.raises(SurvivalError, match=r"it follows from cluster_se="):
        sfm.tl.cox(rossi, "age", se_cluster_key="race", distribution="normal")


@pytest.mark.slow
def test_level_of_small_regressions():
    """30 patients, 5 terms without effect, some 19 events: the normal distribution calls too many."""
    ours, normal, overall = [], [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        time, censored, x = rng.exponential(size=30), rng.uniform(0, 3, 30), rng.normal(size=(30, 5))
        obs = pd.DataFrame(x, columns=list("abcde")).assign(time=np.minimum(time, censored), event=time <= censored)
        samples = AnnData(obs=obs.set_axis([f"P{i}" for i in range(30)]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = sfm.tl.cox(samples, list("abcde"), test_proportional_hazards=False, copy=True)
        ours.append((result["table"]["p_value"] < 0.05).mean())
        plain = result["table"]["coef"] / (result["table"]["se"] * np.sqrt(25 / 30))
        normal.append((2 * norm.sf(plain.abs()) < 0.05).mean())
        overall.append(result["lr_p_value"] < 0.05)
    assert 0.03 < np.mean(ours) < 0.065  # 1,500 tests; measured 0.04 to 0.05
    assert np.mean(normal) > 0.065
    assert np.mean(overall) < 0.08


def test_rossi_as_printed(rossi):
    """Coefficients and standard errors of Fox and Weisberg, Cox Regression for Survival Data in R, section 3."""
    result = sfm.tl.cox(rossi, ROSSI, copy=True)
    table = result["table"]
    assert table["coef"].round(3).tolist() == [-0.379, -0.057, 0.314, -0.150, -0.434, -0.085, 0.091]
    assert table["se"].round(3).tolist() == [0.191, 0.022, 0.308, 0.212, 0.382, 0.196, 0.029]
    assert round(result["lr_statistic"], 2) == 33.27
    assert round(result["concordance"], 2) == 0.64
    assert not rossi.uns


def test_equals_scikit_survival(rossi):
    outcome = np.array(
        list(zip(rossi.obs["event"] == 1, rossi.obs["time"], strict=True)), dtype=[("event", bool), ("time", float)]
    )
    other = CoxPHSurvivalAnalysis(ties="efron", tol=1e-12).fit(rossi.obs[ROSSI].astype(float), outcome)
    table = sfm.tl.cox(rossi, ROSSI, copy=True)["table"]
    np.testing.assert_allclose(table["coef"], other.coef_, rtol=1e-5)


def test_reference_and_standardising(leukemia, rossi):
    flipped = sfm.tl.cox(leukemia, "arm", reference={"arm": "6-MP"}, copy=True)["table"]
    straight = sfm.tl.cox(leukemia, "arm", copy=True)["table"]
    assert flipped.index.tolist() == ["arm[placebo]"]
    assert flipped["coef"].iloc[0] == pytest.approx(-straight["coef"].iloc[0], rel=1e-6)
    raw = sfm.tl.cox(rossi, ["age", "prio"], copy=True)["table"]
    scaled = sfm.tl.cox(rossi, ["age", "prio"], standardize=True, copy=True)["table"]
    np.testing.assert_allclose(scaled["coef"], raw["coef"] * rossi.obs[["age", "prio"]].std(), rtol=1e-6)
    np.testing.assert_allclose(scaled["p_value"], raw["p_value"], rtol=1e-4)


def test_phenotypes_in_var_and_layers(rossi):
    samples = AnnData(X=rossi.obs[["age", "prio"]].to_numpy(float), obs=rossi.obs[["time", "event"]])
    samples.var_names = ["age", "prio"]
    samples.layers["double"] = samples.X * 2
    expected = sfm.tl.cox(rossi, ["age", "prio"], copy=True)["table"]
    np.testing.assert_allclose(sfm.tl.cox(samples, ["age", "prio"], copy=True)["table"]["coef"], expected["coef"])
    doubled = sfm.tl.cox(samples, ["age", "prio"], layer="double", copy=True)["table"]
    np.testing.assert_allclose(doubled["coef"], expected["coef"] / 2, rtol=1e-6)


def test_strata_equal_a_sum_of_partial_likelihoods(rossi):
    """With strata, the score of the fitted coefficient, summed over strata by hand, is zero (Breslow without ties)."""
    rng = np.random.default_rng(0)
    rossi.obs["time"] = rossi.obs["time"] + rng.uniform(0, 0.5, rossi.n_obs)  # no ties: Efron and Breslow agree
    result = sfm.tl.cox(rossi, "prio", strata="fin", copy=True)
    beta, score = result["table"]["coef"].iloc[0], 0.0
    for _, group in rossi.obs.groupby("fin"):
        for row in group[group["event"] == 1].itertuples():
            at_risk = group[group["time"] >= row.time]["prio"]
            weight = np.exp(beta * at_risk)
            score += row.prio - (weight * at_risk).sum() / weight.sum()
    assert score == pytest.approx(0, abs=1e-3)
    assert result["params"]["strata"].tolist() == ["fin"]
    assert "ph_p_value" in result["table"]


def crossing(n: int, seed: int) -> AnnData:
    """Hazard that x raises at first and lowers later."""
    rng = np.random.default_rng(seed)
    x = np.repeat([0.0, 1.0], n // 2)
    early, late = rng.exponential(1 / np.where(x == 1, 0.6, 0.15)), 3 + rng.exponential(1 / np.where(x == 1, 0.1, 1.0))
    time = np.where(early < 3, early, late)
    return AnnData(obs=pd.DataFrame({"time": time, "event": 1, "x": x}, index=[f"P{i}" for i in range(n)]))


def test_proportional_hazards_test_is_a_score_test(rossi):
    """Derivatives of a partial likelihood with ``(beta + theta * g(t)) * age``, by differences, in plain loops."""
    rng = np.random.default_rng(0)
    rossi.obs["time"] = rossi.obs["time"] + rng.uniform(0, 0.5, rossi.n_obs)  # no ties
    row = sfm.tl.cox(rossi, "age", copy=True)["table"].loc["age"]
    obs = rossi.obs.sort_values("time")
    age, event = obs["age"].to_numpy(float), obs["event"].to_numpy() == 1
    survival = np.cumprod(np.where(event, 1 - 1 / np.arange(len(age), 0, -1), 1))
    g = 1 - np.r_[1, survival[:-1]]
    g = g - g[event].mean()

    def likelihood(beta: float, theta: float) -> float:
        slopes = beta + theta * g
        return sum(slopes[i] * age[i] - np.log(np.exp(slopes[i] * age[i:]).sum()) for i in np.flatnonzero(event))

    h, b = 1e-3, row["coef"]
    score = (likelihood(b, h) - likelihood(b, -h)) / (2 * h)
    centre = likelihood(b, 0)
    i_bb = -(likelihood(b + h, 0) - 2 * centre + likelihood(b - h, 0)) / h**2
    i_tt = -(likelihood(b, h) - 2 * centre + likelihood(b, -h)) / h**2
    i_bt = -(likelihood(b + h, h) - likelihood(b + h, -h) - likelihood(b - h, h) + likelihood(b - h, -h)) / (4 * h**2)
    statistic = score**2 / (i_tt - i_bt**2 / i_bb)
    assert row["ph_p_value"] == pytest.approx(chi2.sf(statistic, 1), rel=1e-3)


def test_proportional_hazards_test_does_not_depend_on_the_order_of_rows(rossi):
    shuffled = rossi[np.random.default_rng(0).permutation(rossi.n_obs)].copy()
    tables = [sfm.tl.cox(samples, ROSSI, copy=True)["table"] for samples in (rossi, shuffled)]  # with many ties
    np.testing.assert_allclose(tables[0]["ph_p_value"], tables[1]["ph_p_value"], rtol=1e-6)


def test_crossing_hazards_are_warned_of():
    samples = crossing(200, 0)
    with pytest.warns(SpatialfmWarning, match=r"hazards of 'x' are not proportional.*strata="):
        sfm.tl.cox(samples, "x")
    assert samples.uns["cox"]["table"].loc["x", "ph_p_value"] < 1e-4
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialfmWarning)
        result = sfm.tl.cox(samples, "x", test_proportional_hazards=False, copy=True)
    assert "ph_p_value" not in result["table"]


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_equals_statsmodels(rossi, ties):
    from statsmodels.duration.hazard_regression import PHReg

    x = rossi.obs[ROSSI].astype(float)
    other = PHReg(rossi.obs["time"], x.drop(columns="race"), rossi.obs["event"], strata=rossi.obs["race"], ties=ties)
    other = other.fit(disp=0)
    names = [name for name in ROSSI if name != "race"]
    result = sfm.tl.cox(rossi, names, strata="race", ties=ties, copy=True)
    np.testing.assert_allclose(result["table"]["coef"], other.params, rtol=1e-4)
    np.testing.assert_allclose(result["table"]["se"], other.bse, rtol=1e-4)
    assert result["log_likelihood"] == pytest.approx(other.llf, rel=1e-8)


def test_repeated_rows_need_clusters(rossi):
    """Each patient twice: naive errors shrink by the square root of 2, clustered ones do not change at all."""
    rossi.obs["patient"] = rossi.obs_names
    robust = {"ties": "breslow", "se_cluster_key": "patient", "cluster_se": "sandwich", "copy": True}
    single = sfm.tl.cox(rossi, ["age", "prio"], **robust)
    twice = AnnData(obs=pd.concat([rossi.obs, rossi.obs], ignore_index=True).set_axis([f"R{i}" for i in range(864)]))
    with pytest.raises(SurvivalError, match=r"864 rows hold 432 patients"):
        sfm.tl.cox(twice, ["age", "prio"])
    assert not twice.uns
    result = sfm.tl.cox(twice, ["age", "prio"], **robust)
    assert (result["n"], result["n_clusters"]) == (864, 432)
    np.testing.assert_allclose(result["table"]["se"], single["table"]["se"], rtol=1e-8)
    np.testing.assert_allclose(result["table"]["se_naive"], single["table"]["se_naive"] / np.sqrt(2), rtol=1e-8)
    np.testing.assert_allclose(result["wald_statistic"], single["wald_statistic"], rtol=1e-8)
    row = result["table"].loc["age"]
    assert row["p_value"] == pytest.approx(2 * norm.sf(abs(row["coef"] / row["se"])))


def test_few_clusters_are_warned_of(rossi):
    rossi.obs["sixth"] = np.arange(432) % 6
    with pytest.warns(SpatialfmWarning, match=r"6 clusters: with fewer than 30, their standard errors are rough"):
        sfm.tl.cox(rossi, "age", se_cluster_key="sixth")
    rossi.obs["many"] = np.where(np.arange(432) < 200, 0, np.arange(432))
    with pytest.warns(SpatialfmWarning, match=r"One cluster has 200 rows of 432"):
        sfm.tl.cox(rossi, "age", se_cluster_key="many")
    assert "one cluster has 46% of the rows" in rossi.uns["cox"]["doubts"]


def test_few_rows_of_a_level_are_warned_of(rossi):
    rossi.obs["arm"] = ["b"] * 5 + ["a"] * 427
    with pytest.warns(SpatialfmWarning, match=r"'arm\[b\] \(5\)': a level of 5 rows or fewer.*sfm.tl.logrank permutes"):
        sfm.tl.cox(rossi, "arm")


def test_jackknife_by_leaving_clusters_out(rossi):
    """Whole regressions without each of 12 clusters; one Newton step from all is close to them."""
    rossi.obs["twelfth"] = np.arange(432) % 12
    result = sfm.tl.cox(rossi, ["age", "prio"], se_cluster_key="twelfth", copy=True)
    coef, away = result["table"]["coef"].to_numpy(), []
    for one in range(12):
        rest = rossi[rossi.obs["twelfth"] != one].copy()
        away.append(sfm.tl.cox(rest, ["age", "prio"], copy=True)["table"]["coef"].to_numpy() - coef)
    away = np.array(away)
    covariance = 11 / 12 * away.T @ away
    np.testing.assert_allclose(result["table"]["se"], np.sqrt(np.diag(covariance)), rtol=0.02)
    row = result["table"].loc["age"]
    assert row["p_value"] == pytest.approx(2 * t.sf(abs(row["coef"] / row["se"]), 11))
    assert np.log(row["ci_high"]) == pytest.approx(row["coef"] + t.isf(0.025, 11) * row["se"])
    wald = coef @ np.linalg.solve(covariance, coef) / 2
    assert result["wald_p_value"] == pytest.approx(f.sf(wald, 2, 11), rel=0.2)
    assert result["se_method"] == "jackknife"


def test_a_term_of_one_cluster_is_refused(rossi):
    rossi.obs["site"] = np.arange(432) % 10
    rossi.obs["rare"] = (rossi.obs["site"] == 3) & (np.arange(432) > 200)
    rossi.obs["rare"] = rossi.obs["rare"].astype(float)
    with pytest.raises(SurvivalError, match=r"Without one of the clusters.*'rare'.*cluster_se=\"sandwich\""):
        sfm.tl.cox(rossi, ["age", "rare"], se_cluster_key="site")
    assert not rossi.uns
    sfm.tl.cox(rossi, ["age", "rare"], se_cluster_key="site", cluster_se="sandwich")


def test_late_entry_equals_split_follow_up(rossi):
    """A patient's follow-up cut in two rows, of which the second enters late, is the same patient; statsmodels."""
    from statsmodels.duration.hazard_regression import PHReg

    rossi.obs["entry"] = 0.0
    whole = sfm.tl.cox(rossi, ["age", "prio"], entry_key="entry", copy=True)
    assert whole["table"].equals(sfm.tl.cox(rossi, ["age", "prio"], copy=True)["table"])
    early = rossi.obs.assign(
        time=np.minimum(rossi.obs["time"], 10), event=rossi.obs["event"] * (rossi.obs["time"] <= 10)
    )
    late = rossi.obs[rossi.obs["time"] > 10].assign(entry=10.0)
    both = pd.concat([early, late], ignore_index=True)
    both.index = both.index.astype(str)
    split = sfm.tl.cox(AnnData(obs=both), ["age", "prio"], entry_key="entry", patient_key=None, copy=True)
    np.testing.assert_allclose(split["table"][["coef", "se"]], whole["table"][["coef", "se"]], rtol=1e-8)
    late = late[np.arange(len(late)) % 2 == 0]
    result = sfm.tl.cox(AnnData(obs=late), ["age", "prio"], entry_key="entry", ties="breslow", copy=True)
    other = PHReg(late["time"], late[["age", "prio"]].astype(float), late["event"], entry=late["entry"], ties="breslow")
    np.testing.assert_allclose(result["table"]["coef"], other.fit(disp=0).params, rtol=1e-4)


@pytest.mark.slow
def test_clustered_level():
    """Six rows per patient that share covariate and frailty: 5 % of p-values are below 0.05, of naive ones far more."""
    small, naive = 0, 0
    for seed in range(80):
        rng = np.random.default_rng(seed)
        patient = np.repeat(np.arange(50), 6)
        x, frailty = rng.normal(size=50)[patient], rng.gamma(1, 1, 50)[patient]
        time, censored = rng.exponential(1 / frailty), rng.exponential(2, 300)
        obs = pd.DataFrame({"time": np.minimum(time, censored), "event": time <= censored, "x": x, "patient": patient})
        obs.index = obs.index.astype(str)
        row = sfm.tl.cox(AnnData(obs=obs), "x", se_cluster_key="patient", patient_key=None, copy=True)["table"].loc["x"]
        small += row["p_value"] < 0.05
        naive += 2 * norm.sf(abs(row["coef"] / row["se_naive"])) < 0.05
    assert 1 <= small <= 12  # binomial(80, 0.05) is above with probability 0.03 %; robust errors are a little short
    assert naive >= 20


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({}, {"se_cluster_key": "site"}, r"No column 'site' in obs \(se_cluster_key=\)"),
        ({"site": "a"}, {"se_cluster_key": "site"}, r"1 cluster in obs\['site'\].*strata=\"site\""),
        (
            {"site": ["a", "b"] * 21, "patient": [f"P{i // 2}" for i in range(42)]},
            {"se_cluster_key": "site"},
            r"21 patients are in several clusters of obs\['site'\].*se_cluster_key=\"patient\"",
        ),
        ({"site": [None, "b"] * 21}, {"se_cluster_key": "site"}, r"21 of 42 rows have no value in 'site': 'P00'"),
        ({"score": np.linspace(0, 1, 42)}, {"strata": "score"}, r"42 different numbers, which are not strata"),
        ({"x": [1.0] * 9 + [0.0] * 12 + [1.0] * 21}, {"covariates": "x"}, r"did not converge.*penalizer= above 0"),
    ],
)
def test_refusals_of_ties_clusters_and_separation(leukemia, change, arguments, message):
    for key, value in change.items():
        leukemia.obs[key] = value
    with pytest.raises(SurvivalError, match=message):
        sfm.tl.cox(leukemia, **{"covariates": "arm", **arguments})
    assert not leukemia.uns


def test_a_level_without_an_event_is_named(rossi):
    """Where nobody of a level has the event, its coefficient has no end."""
    rossi.obs["site"] = np.where(rossi.obs["event"] == 1, "A", np.where(np.arange(rossi.n_obs) % 40 == 0, "B", "A"))
    with pytest.raises(SurvivalError, match=r"a level of it that few rows have, .*of 'site\[?.*B.* went farthest"):
        sfm.tl.cox(rossi, ["age", "site"])


def test_few_events_are_warned_of(leukemia):
    leukemia.obs["wbc"] = np.random.default_rng(0).normal(size=42)
    leukemia.obs["age"] = np.random.default_rng(1).normal(size=42)
    leukemia.obs["sex"] = ["f", "m"] * 21
    with pytest.warns(SpatialfmWarning, match=r"30 events for 4 terms: with fewer than 10 events per term.*penalizer"):
        sfm.tl.cox(leukemia, ["arm", "wbc", "age", "sex"])


def test_level_and_power():
    """A planted hazard ratio of 2 is inside the interval about 95 % of the time."""
    inside = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=120)
        time, censored = rng.exponential(10 / 2**x), rng.exponential(20, 120)
        obs = pd.DataFrame({"time": np.minimum(time, censored), "event": time <= censored, "x": x})
        obs.index = obs.index.astype(str)
        row = sfm.tl.cox(AnnData(obs=obs), "x", test_proportional_hazards=False, copy=True)["table"].loc["x"]
        inside += row["ci_low"] <= 2 <= row["ci_high"]
    assert inside >= 52  # binomial(60, 0.95) is below with probability 0.3 %


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({}, {"covariates": []}, r"No covariates"),
        ({}, {"covariates": "age"}, r"No column 'age' in obs and no such name in var \(covariates=\)"),
        ({}, {"covariates": ["arm", "arm"]}, r"'arm' appears twice"),
        ({}, {"strata": "arm"}, r"'arm' appears twice among covariates= and strata="),
        ({}, {"strata": "site"}, r"No column 'site' in obs \(strata=\)"),
        ({}, {"reference": {"arm": "none"}}, r"Covariate 'arm' has no level 'none'.*'placebo', '6-MP'"),
        ({}, {"reference": {"stage": "1"}}, r"reference= names 'stage', but the covariates are 'arm'"),
        ({"x": 1.0}, {"covariates": "x"}, r"'x' are constant"),
        ({"x": "a"}, {"covariates": "x"}, r"Covariate 'x' has one level \('a'\)"),
        ({"x": np.inf}, {"covariates": "x"}, r"'x' holds infinite values"),
        ({"time": -1.0}, {}, r"42 rows of obs.*negative or infinite time"),
        ({"event": 0}, {}, r"No event among 42 rows"),
        ({"patient": "A"}, {}, r"42 rows hold 1 patient "),
    ],
)
def test_refusals(leukemia, change, arguments, message):
    for key, value in change.items():
        leukemia.obs[key] = value
    with pytest.raises(SurvivalError, match=message):
        sfm.tl.cox(leukemia, **{"covariates": "arm", **arguments})
    assert not leukemia.uns


def test_refuses_collinear_fractions(rossi):
    rng = np.random.default_rng(0)
    rossi.obs[["a", "b", "c"]] = rng.dirichlet([1, 1, 1], rossi.n_obs)
    with pytest.raises(SurvivalError, match=r"3 terms 'a', 'b', 'c' are collinear.*add up to 1.*Leave one out"):
        sfm.tl.cox(rossi, ["a", "b", "c"])
    assert not rossi.uns
    assert len(sfm.tl.cox(rossi, ["a", "b", "c"], penalizer=0.1, copy=True)["table"]) == 3


def test_missing_covariates_are_counted(rossi):
    rossi.obs["age"] = rossi.obs["age"].astype(float)
    rossi.obs.loc[["3", "8"], "age"] = np.nan
    with pytest.raises(SurvivalError, match=r"2 of 432 rows have no value in 'age': '3', '8'.*on_missing=\"drop\""):
        sfm.tl.cox(rossi, ["age", "fin"])
    sfm.tl.cox(rossi, ["age", "fin"], on_missing="drop")
    expected = sfm.tl.cox(rossi[rossi.obs["age"].notna()].copy(), ["age", "fin"], copy=True)
    assert rossi.uns["cox"]["params"]["n_dropped"] == 2
    pd.testing.assert_frame_equal(rossi.uns["cox"]["table"], expected["table"])
