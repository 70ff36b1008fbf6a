from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.stats import chi2
from sksurv.compare import compare_survival

import spatialfm as sfm
from spatialfm._errors import SurvivalError
from spatialfm.cohort.outcome import observed_expected
from spatialfm.tl.survival.logrank import holm


def structured(obs: pd.DataFrame) -> np.ndarray:
    return np.array(list(zip(obs["event"] == 1, obs["time"], strict=True)), dtype=[("event", bool), ("time", float)])


def test_freireich(leukemia):
    """Chi-squared 16.79, expected 19.25 and 10.75 (R's survdiff; Kleinbaum and Klein, chapter 2)."""
    sfm.tl.logrank(leukemia, "arm")
    result = leukemia.uns["logrank"]
    assert round(result["statistic"], 2) == 16.79
    assert result["p_value"] == pytest.approx(chi2.sf(result["statistic"], 1))
    assert (result["dof"], result["n"], result["events"]) == (1, 42, 30)
    assert result["groups"].loc["6-MP", ["n", "observed"]].tolist() == [21, 9]
    assert result["groups"]["expected"].round(2).to_dict() == {"placebo": 10.75, "6-MP": 19.25}
    assert not result["optimistic"]


@pytest.mark.parametrize("key", ["fin", "prio_group"])
def test_equals_scikit_survival(rossi, key):
    rossi.obs["prio_group"] = pd.cut(rossi.obs["prio"], [-1, 0, 2, 5, 99], labels=["0", "1-2", "3-5", "6+"])
    result = sfm.tl.logrank(rossi, key, copy=True)
    statistic, p_value, table, _ = compare_survival(
        structured(rossi.obs), rossi.obs[key].astype(str), return_stats=True
    )
    assert result["statistic"] == pytest.approx(statistic, rel=1e-10)
    assert result["p_value"] == pytest.approx(p_value, rel=1e-8)
    assert result["dof"] == rossi.obs[key].nunique() - 1
    expected = table["expected"].rename(index=str)
    np.testing.assert_allclose(result["groups"]["expected"], expected.loc[result["groups"].index])
    assert not rossi.uns


def test_pairs(rossi):
    rossi.obs["prio_group"] = pd.cut(rossi.obs["prio"], [-1, 1, 4, 99], labels=["few", "some", "many"])
    table = sfm.tl.logrank(rossi, "prio_group", pairwise=True, copy=True)["pairwise"]
    assert table[["group_a", "group_b"]].to_numpy().tolist() == [["few", "some"], ["few", "many"], ["some", "many"]]
    for row in table.itertuples():
        obs = rossi.obs[rossi.obs["prio_group"].isin([row.group_a, row.group_b])]
        statistic, p_value = compare_survival(structured(obs), obs["prio_group"].astype(str))
        assert (row.statistic, row.p_value) == pytest.approx((statistic, p_value))
    np.testing.assert_allclose(table["p_adjusted"], holm(table["p_value"].to_numpy()))


def test_holm_by_hand():
    """Wright 1992: p-values 0.01, 0.04, 0.03 become 0.03, 0.06, 0.06."""
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03])), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(holm(np.array([0.6, 0.9])), [1, 1])


def test_expected_events_in_plain_loops():
    rng = np.random.default_rng(0)
    time, event, codes = rng.integers(1, 12, 60).astype(float), rng.random(60) < 0.6, rng.integers(0, 3, 60)
    expected = np.zeros(3)
    for t in np.unique(time[event]):
        at_risk = time >= t
        for group in range(3):
            expected[group] += (event & (time == t)).sum() * (at_risk & (codes == group)).sum() / at_risk.sum()
    observed, ours = observed_expected(time, event, codes, 3)
    np.testing.assert_allclose(ours, expected)
    assert ours.sum() == pytest.approx(event.sum())
    assert observed.tolist() == [event[codes == group].sum() for group in range(3)]


def test_level_under_the_null():
    """With no difference, p is below 0.05 in about 5 % of cohorts."""
    from spatialfm.tl.survival.logrank import logrank_test

    rng = np.random.default_rng(0)
    small = 0
    for _ in range(120):
        time, censored = rng.exponential(10, 60), rng.exponential(15, 60)
        small += logrank_test(np.minimum(time, censored), time <= censored, rng.permutation(60) % 2)[1] < 0.05
    assert 1 <= small <= 13  # 99.5 % of binomial(120, 0.05)


def test_stratified_equals_sums_over_strata(rossi):
    """Observed and expected events and their variance add up over strata."""
    rossi.obs["wexp"] = rossi.obs["wexp"].map({0: "no", 1: "yes"})
    result = sfm.tl.logrank(rossi, "fin", strata=["wexp", "race"], copy=True)
    excess = variance = 0.0
    for _, obs in rossi.obs.groupby(["wexp", "race"]):
        _, _, table, covariance = compare_survival(structured(obs), obs["fin"].astype(str), return_stats=True)
        excess += table["statistic"].iloc[1]
        variance += covariance[1, 1]
    assert result["statistic"] == pytest.approx(excess**2 / variance, rel=1e-10)
    assert result["params"]["strata"].tolist() == ["wexp", "race"]
    one = sfm.tl.logrank(rossi, "fin", strata="wexp", pairwise=True, copy=True)
    assert one["pairwise"]["statistic"].iloc[0] == pytest.approx(one["statistic"], rel=1e-10)


def test_trend_of_two_groups_is_the_test_itself(rossi):
    result = sfm.tl.logrank(rossi, "fin", trend=True, copy=True)
    assert result["trend"]["statistic"] == pytest.approx(result["statistic"], rel=1e-10)
    assert result["trend"]["direction"] == -1  # financial aid helps
    rossi.obs["fin"] = 1 - rossi.obs["fin"]
    assert sfm.tl.logrank(rossi, "fin", trend=True, copy=True)["trend"]["direction"] == 1


def dose_cohort(rng: np.random.Generator, slope: float, confounded: bool = False) -> AnnData:
    """Hazard that rises by `slope` from each of four doses to the next; a confounder that strata remove."""
    dose = rng.integers(0, 4, 160)
    center = (rng.random(160) < 0.15 + 0.7 * (dose > 1)).astype(int) if confounded else rng.integers(0, 2, 160)
    time = rng.exponential(np.exp(-slope * dose - (1.5 * center if confounded else 0)))
    obs = pd.DataFrame({"time": time, "event": 1, "dose": dose, "center": center.astype(str)})
    obs.index = obs.index.astype(str)
    return AnnData(obs=obs)


def test_trend_finds_what_it_should():
    """Under the null 5 % below 0.05; under a planted trend more often than the test of any difference."""
    found = {}
    for slope in (0.0, 0.18):
        results = [
            sfm.tl.logrank(dose_cohort(np.random.default_rng(seed), slope), "dose", trend=True, copy=True)
            for seed in range(60)
        ]
        found["any", slope] = sum(result["p_value"] < 0.05 for result in results)
        found["trend", slope] = sum(result["trend"]["p_value"] < 0.05 for result in results)
    assert found["trend", 0.0] <= 8  # binomial(60, 0.05) is above with probability 0.3 %
    assert found["trend", 0.18] > found["any", 0.18] + 5


def test_strata_remove_a_confounder():
    """A center where patients die sooner, and where high doses are common: no effect within centers."""
    p_values = []
    for seed in range(40):
        samples = dose_cohort(np.random.default_rng(seed), 0.0, confounded=True)
        plain = sfm.tl.logrank(samples, "dose", trend=True, copy=True)
        stratified = sfm.tl.logrank(samples, "dose", strata="center", trend=True, copy=True)
        p_values.append([plain["trend"]["p_value"], stratified["trend"]["p_value"]])
    plain, stratified = (np.array(p_values) < 0.05).sum(axis=0)
    assert plain >= 36
    assert stratified <= 7


def test_refusals_of_strata_and_trend(leukemia):
    leukemia.obs["half"] = ["a"] * 21 + ["b"] * 21
    for arguments, message in [
        ({"strata": "arm"}, r"'arm' is both group_key= and strata="),
        ({"strata": "half"}, r"At no event were patients of two groups.*in one stratum of 'half'.*Merge"),
        ({"strata": "site"}, r"No column 'site' in obs \(strata=\)"),
        ({"trend": True}, r"groups of obs\['arm'\] have no order.*ordered=True"),
    ]:
        with pytest.raises(SurvivalError, match=message):
            sfm.tl.logrank(leukemia, "arm", **arguments)
    leukemia.obs["site"] = [None, "x"] * 21
    with pytest.raises(SurvivalError, match=r"21 of 42 rows have no value in 'site'"):
        sfm.tl.logrank(leukemia, "arm", strata="site")
    assert not leukemia.uns


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({"arm": "6-MP"}, {}, r"Only one group in obs\['arm'\] \('6-MP'\)"),
        ({}, {"group_key": "group"}, r"No column 'group' in obs \(group_key=\)"),
        ({"event": 0}, {}, r"No event among 42 rows"),
        ({"patient": "A"}, {}, r"42 rows hold 1 patient .*sfm.tl.composition\(cells, ..., patient_key=\"patient\"\)"),
        ({"time": -1.0}, {}, r"42 rows of obs.*negative or infinite time"),
    ],
)
def test_refusals(leukemia, change, arguments, message):
    for key, value in change.items():
        leukemia.obs[key] = value
    with pytest.raises(SurvivalError, match=message):
        sfm.tl.logrank(leukemia, **{"group_key": "arm", **arguments})
    assert not leukemia.uns


def test_missing_groups_are_counted(leukemia):
    leukemia.obs.loc[["P00", "P21"], "arm"] = np.nan
    with pytest.raises(SurvivalError, match=r"2 of 42 rows have no value in 'group'"):
        sfm.tl.logrank(leukemia, "arm")
    sfm.tl.logrank(leukemia, "arm", on_missing="drop")
    assert leukemia.uns["logrank"]["n"] == 40
    assert leukemia.uns["logrank"]["params"]["n_dropped"] == 2


def small(n_few: int = 3, n_many: int = 6, seed: int = 0, **columns) -> AnnData:
    rng = np.random.default_rng(seed)
    n = n_few + n_many
    obs = pd.DataFrame({"time": rng.exponential(5, n), "event": rng.random(n) < 0.8, **columns})
    obs["arm"] = ["few"] * n_few + ["many"] * n_many
    return AnnData(obs=obs.set_axis([f"P{i}" for i in range(n)]))


def test_a_small_group_is_tested_by_all_arrangements():
    """Statistics of scikit-survival for each of the 84 ways to choose 3 of 9 patients."""
    from itertools import combinations

    samples = small()
    outcome, statistics = structured(samples.obs), {}
    for chosen in combinations(range(9), 3):
        statistics[chosen] = compare_survival(outcome, np.isin(np.arange(9), chosen).astype(str))[0]
    expected = np.mean([value >= statistics[0, 1, 2] - 1e-9 for value in statistics.values()])
    result = sfm.tl.logrank(samples, "arm", pairwise=True, trend=False, copy=True)
    assert result["p_value"] == pytest.approx(expected)
    assert result["test"] == "permutation, all 84 arrangements"
    assert result["p_value_chi_squared"] == pytest.approx(chi2.sf(result["statistic"], 1))
    assert result["pairwise"]["p_value"].tolist() == [result["p_value"]]
    forced = sfm.tl.logrank(samples, "arm", method="chi-squared", copy=True)
    assert (forced["test"], forced["p_value"]) == ("chi-squared", result["p_value_chi_squared"])


@pytest.mark.parametrize(("few", "events", "permuted"), [(19, 0.9, True), (20, 0.9, False), (60, 0.05, True)])
def test_when_groups_are_permuted(few, events, permuted):
    """Below 20 patients, or below 5 expected events, as 120 patients with 6 events have."""
    samples = small(few, 60)
    samples.obs["event"] = np.random.default_rng(1).permutation(len(samples)) < events * len(samples)
    result = sfm.tl.logrank(samples, "arm", copy=True)
    assert result["test"].startswith("permutation" if permuted else "chi-squared")
    expected_of_least = result["groups"]["expected"].min()
    assert permuted == (few < 20 or expected_of_least < 5)


def test_random_arrangements_keep_strata_and_the_seed():
    """One stratum of one group only: its rows stay, and the other stratum's 10 choose 4 ways are what is left."""
    from itertools import combinations

    samples = small(8, 12, seed=3)
    samples.obs["center"] = ["x"] * 4 + ["y"] * 4 + ["y"] * 6 + ["z"] * 6
    result = sfm.tl.logrank(samples, "arm", strata="center", copy=True)
    obs = samples.obs[samples.obs["center"] == "y"]
    every = [
        compare_survival(structured(obs), np.isin(np.arange(10), chosen).astype(str))[0]
        for chosen in combinations(range(10), 4)
    ]
    exact = np.mean([value >= result["statistic"] - 1e-9 for value in every])
    assert result["p_value"] == pytest.approx(exact, abs=4 * np.sqrt(0.25 / 9999))
    assert result["test"] == "permutation, random 9,999 arrangements"
    assert sfm.tl.logrank(samples, "arm", strata="center", copy=True)["p_value"] == result["p_value"]


def test_small_groups_of_three_and_their_trend():
    samples = small(4, 8)
    samples.obs["dose"] = [0, 0, 1, 1, 2, 2, 0, 1, 2, 0, 1, 2]
    result = sfm.tl.logrank(samples, "dose", pairwise=True, trend=True, copy=True)
    assert result["dof"] == 2
    assert result["trend"]["test"] == result["test"] == "permutation, random 9,999 arrangements"
    assert result["pairwise"]["test"].tolist() == ["permutation, all 70 arrangements"] * 3
    assert 1 / 10_000 <= result["p_value"] <= 1


@pytest.mark.parametrize(
    ("weights", "theirs"),
    [
        ("gehan", {"weightings": "wilcoxon"}),
        ("tarone-ware", {"weightings": "tarone-ware"}),
        ("peto", {"weightings": "peto"}),
        ((1, 0), {"weightings": "fleming-harrington", "p": 1, "q": 0}),
        ((0, 1), {"weightings": "fleming-harrington", "p": 0, "q": 1}),
        ((0.5, 2), {"weightings": "fleming-harrington", "p": 0.5, "q": 2}),
    ],
)
def test_weights_equal_lifelines(rossi, weights, theirs):
    from lifelines.statistics import multivariate_logrank_test

    rossi.obs["prio_group"] = pd.cut(rossi.obs["prio"], [-1, 1, 4, 99], labels=["few", "some", "many"])
    result = sfm.tl.logrank(rossi, "prio_group", weights=weights, copy=True)
    other = multivariate_logrank_test(rossi.obs["time"], rossi.obs["prio_group"], rossi.obs["event"], **theirs)
    assert result["statistic"] == pytest.approx(other.test_statistic, rel=1e-8)
    assert result["p_value"] == pytest.approx(other.p_value, rel=1e-6)
    plain = sfm.tl.logrank(rossi, "prio_group", copy=True)["groups"]
    np.testing.assert_allclose(result["groups"]["expected"], plain["expected"])


def test_late_entry_in_plain_loops():
    rng = np.random.default_rng(0)
    entry, n = rng.integers(0, 8, 80).astype(float), 80
    obs = pd.DataFrame({"entry": entry, "time": entry + rng.integers(1, 9, n), "event": rng.random(n) < 0.7})
    obs["arm"] = np.where(rng.random(n) < 0.4, "a", "b")
    samples = AnnData(obs=obs.set_axis([f"P{i}" for i in range(n)]))
    result = sfm.tl.logrank(samples, "arm", entry_key="entry", copy=True)
    excess = variance = 0.0
    for t in np.unique(obs["time"][obs["event"]]):
        at_risk = obs[(obs["entry"] < t) & (obs["time"] >= t)]
        n, d, share = len(at_risk), (at_risk["event"] & (at_risk["time"] == t)).sum(), (at_risk["arm"] == "b").mean()
        excess += (at_risk["event"] & (at_risk["time"] == t) & (at_risk["arm"] == "b")).sum() - d * share
        variance += d * (n - d) / max(n - 1, 1) * share * (1 - share)
    assert result["statistic"] == pytest.approx(excess**2 / variance)
    assert result["params"]["entry_key"] == "entry"
    samples.obs["entry"] = 0.0
    assert sfm.tl.logrank(samples, "arm", entry_key="entry", copy=True)["statistic"] == pytest.approx(
        sfm.tl.logrank(samples, "arm", copy=True)["statistic"]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": "wilcoxon"}, r"weights='wilcoxon' is not known. Pass 'logrank', 'gehan'"),
        ({"weights": (0, -1)}, r"not a pair of numbers"),
        ({"n_permutations": 10}, r"n_permutations=10 cannot show small p-values"),
        ({"entry_key": "start"}, r"No column 'start' in obs \(entry_key=\)"),
        (
            {"entry_key": "time"},
            r"9 rows of obs\['time'\] \(entry_key=\) not before obs",
        ),
    ],
)
def test_refusals_of_tests(arguments, message):
    samples = small()
    with pytest.raises(SurvivalError, match=message):
        sfm.tl.logrank(samples, "arm", **arguments)
    assert not samples.uns


@pytest.mark.parametrize("method", ["chi-squared", "permutation"])
def test_the_scale_of_weights_does_not_matter(leukemia, method):
    """S^40 (1 - S)^40 is below 1e-24 everywhere; written out with the Kaplan-Meier estimate of all."""
    time, event = (leukemia.obs[key].to_numpy(float) for key in ("time", "event"))
    one, survival, u, v = leukemia.obs["arm"].to_numpy() == "6-MP", 1.0, 0.0, 0.0
    for t in np.unique(time[event == 1]):
        risk, dead = time >= t, (time == t) & (event == 1)
        n, d, n1 = risk.sum(), dead.sum(), (risk & one).sum()
        weight = (4 * survival * (1 - survival)) ** 40
        u += weight * ((dead & one).sum() - d * n1 / n)
        v += weight**2 * d * n1 / n * (1 - n1 / n) * (n - d) / max(n - 1, 1)
        survival *= 1 - d / n
    result = sfm.tl.logrank(leukemia, "arm", weights=(40, 40), method=method, n_permutations=999, copy=True)
    assert result["statistic"] == pytest.approx(u**2 / v)
    assert 0.001 < result["p_value"] < 0.2


def confounded(seed: int, sizes: tuple[int, ...] = (20, 20), beta: float = 1.0) -> AnnData:
    """Age drives the hazard and who is in which group; the groups themselves do nothing."""
    rng = np.random.default_rng(seed)
    n = sum(sizes)
    age = rng.normal(size=n)
    codes = np.empty(n, int)
    codes[np.argsort(1.5 * age + rng.logistic(size=n))] = np.repeat(np.arange(len(sizes)), sizes)
    time, limit = rng.exponential(np.exp(-beta * age)), rng.uniform(0, 3, n)
    obs = pd.DataFrame({"time": np.minimum(time, limit), "event": time <= limit, "age": age, "arm": codes})
    obs["stage"] = pd.cut(age, [-9, -0.5, 0.5, 9], labels=["I", "II", "III"])
    obs["site"] = np.arange(n) % 2
    return AnnData(obs=obs.set_axis([f"P{i}" for i in range(n)]))


@pytest.mark.parametrize("sizes", [(20, 20), (30, 4)])
def test_covariates_hold_the_level_where_age_drives_group_and_death(sizes):
    p_values = []
    for seed in range(60):
        result = sfm.tl.logrank(confounded(seed, sizes), "arm", covariates="age", n_permutations=999, copy=True)
        p_values.append([result["p_value"], result["p_value_unadjusted"]])
        assert result["permuted"]
    adjusted, plain = (np.array(p_values) <= 0.05).sum(axis=0)
    assert adjusted <= 8  # binomial(60, 0.05) is above with probability 0.3 %
    assert plain >= 15


def test_at_equal_covariates_it_is_the_score_test_of_statsmodels(rossi):
    from statsmodels.duration.hazard_regression import PHReg

    result = sfm.tl.logrank(rossi, "fin", covariates=["age", "prio"], strata="race", pairwise=True, copy=True)
    obs = rossi.obs
    options = {"status": obs["event"].to_numpy(float), "ties": "efron", "strata": obs["race"].to_numpy()}
    time, x = obs["time"].to_numpy(float), obs[["age", "prio"]].to_numpy(float)
    params = np.append(0.0, PHReg(time, x, **options).fit(disp=0).params)
    full = PHReg(time, np.column_stack([obs["fin"], x]), **options)
    score = full.score(params)
    statistic = score @ np.linalg.solve(-full.hessian(params), score)
    assert result["statistic"] == pytest.approx(statistic, rel=1e-4)
    assert result["p_value"] == pytest.approx(chi2.sf(statistic, 1), rel=1e-3)
    assert (result["test"], result["dof"], result["permuted"]) == ("chi-squared", 1, False)
    plain = sfm.tl.logrank(rossi, "fin", strata="race", copy=True)
    assert result["p_value_unadjusted"] == plain["p_value"]
    assert "p_value_unadjusted" not in plain
    assert result["pairwise"]["p_value"].tolist() == pytest.approx([result["p_value"]])
    assert result["params"]["covariates"].tolist() == ["age", "prio"]
    assert plain["params"]["covariates"].tolist() == []


def test_small_groups_are_dealt_again_at_equal_covariates():
    samples = confounded(0, (30, 4))
    result = sfm.tl.logrank(samples, "arm", covariates=["age", "stage"], n_permutations=999, copy=True)
    assert result["test"] == "permutation of residuals, random 999 arrangements"
    again = sfm.tl.logrank(samples[::-1].copy(), "arm", covariates=["age", "stage"], n_permutations=999, copy=True)
    assert again["p_value"] == result["p_value"]
    three = sfm.tl.logrank(
        confounded(1, (20, 20, 20)), "arm", covariates="stage", pairwise=True, trend=True, n_permutations=999, copy=True
    )
    assert three["dof"] == 2
    assert len(three["pairwise"]) == 3
    assert three["trend"]["test"] == three["test"]


def test_covariates_may_be_fractions_and_missing_ones_are_refused_or_dropped():
    samples = confounded(2)
    fractions = AnnData(samples.obs[["age"]].to_numpy().copy(), obs=samples.obs, var=pd.DataFrame(index=["T cell"]))
    one = sfm.tl.logrank(fractions, "arm", covariates="T cell", copy=True)
    assert one["p_value"] == pytest.approx(sfm.tl.logrank(samples, "arm", covariates="age", copy=True)["p_value"])
    samples.obs.loc["P0", "age"] = np.nan
    with pytest.raises(SurvivalError, match="1 of 40 rows have no value in 'age'"):
        sfm.tl.logrank(samples, "arm", covariates="age")
    dropped = sfm.tl.logrank(samples, "arm", covariates="age", on_missing="drop", copy=True)
    assert (dropped["n"], dropped["params"]["n_dropped"]) == (39, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"covariates": "arm"}, r"'arm' is both group_key= and covariates="),
        ({"covariates": "site", "strata": "site"}, r"'site' is named in strata= and covariates="),
        (
            {"covariates": "age", "weights": "peto"},
            r'weights= other than "logrank" are of the test without covariates=',
        ),
        ({"covariates": "same"}, r"obs\['same'\] tells which group of obs\['arm'\] a row is in"),
        ({"covariates": "constant"}, r"Covariates 'constant' are constant in these rows"),
        ({"covariates": ["age", "months"]}, r"are collinear"),
        ({"covariates": "nowhere"}, r"No column 'nowhere' in obs and no such name in var \(covariates=\)"),
    ],
)
def test_refusals_of_covariates(arguments, message):
    samples = confounded(0)
    samples.obs["same"], samples.obs["constant"] = samples.obs["arm"].map({0: "x", 1: "y"}), 1.0
    samples.obs["months"] = 12 * samples.obs["age"]
    with pytest.raises(SurvivalError, match=message):
        sfm.tl.logrank(samples, "arm", **arguments)
    assert not samples.uns
