"""Cumulative incidence of several events, and Gray's test."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from competing import cohort

import spatialfm as sfm
from spatialfm._errors import SurvivalError
from spatialfm.stats.competing_risks import gray_test


def test_incidence_by_hand():
    """5 patients: F1 is 1/5 at 1; death at 2 leaves S = 3/5; at 3 another 3/5 * 1/3. Alone, 1 - KM."""
    obs = pd.DataFrame({"time": [1.0, 2, 3, 4, 5], "event": [1, 2, 1, 0, 0]}, index=list("abcde"))
    table = sfm.tl.cumulative_incidence(AnnData(obs=obs), copy=True)["table"]
    first = table.query("event == '1'")
    np.testing.assert_allclose(first["incidence"], [0, 0.2, 0.2, 0.4, 0.4, 0.4])
    np.testing.assert_allclose(table.query("event == '2'")["incidence"], [0, 0, 0.2, 0.2, 0.2, 0.2])
    assert first["at_risk"].tolist() == [5, 5, 4, 3, 2, 1]
    assert first["other_events"].tolist() == [0, 0, 1, 0, 0, 0]
    alone = obs.assign(event=[1, 0, 1, 0, 0])
    curve = sfm.tl.cumulative_incidence(AnnData(obs=alone), copy=True)["table"]["incidence"]
    np.testing.assert_allclose(curve, 1 - sfm.tl.kaplan_meier(AnnData(obs=alone), copy=True)["table"]["survival"])


def test_incidence_equals_scikit_survival():
    from sksurv.nonparametric import cumulative_incidence_competing_risks

    samples = cohort()
    table = sfm.tl.cumulative_incidence(samples, copy=True)["table"]
    times, curves, limits = cumulative_incidence_competing_risks(
        samples.obs["event"].to_numpy(), samples.obs["time"].to_numpy(), conf_type="log-log", var_type="Aalen"
    )
    for cause in (1, 2):
        mine = table.query("event == @cause.__str__()").set_index("time").loc[times]
        np.testing.assert_allclose(mine["incidence"], curves[cause])
        known = mine["incidence"].to_numpy() > 0
        np.testing.assert_allclose(mine["ci_low"][known], limits[cause, 0][known], rtol=0.02, atol=2e-3)  # ties
        np.testing.assert_allclose(mine["ci_high"][known], limits[cause, 1][known], rtol=0.02, atol=2e-3)


def test_words_events_and_their_order():
    samples = cohort()
    numbers = sfm.tl.cumulative_incidence(samples, "arm", copy=True)
    words = sfm.tl.cumulative_incidence(samples, "arm", event_key="what", censored_value="alive", copy=True)
    assert words["groups"]["event"].unique().tolist() == ["death", "relapse"]
    relapse = words["tests"].set_index("event").loc["relapse"]
    assert relapse["statistic"] == pytest.approx(numbers["tests"]["statistic"].iloc[0])
    alone = sfm.tl.cumulative_incidence(samples, event_value=1, copy=True)["groups"]
    assert alone["event"].tolist() == ["1", "other events"]
    both = sfm.tl.cumulative_incidence(samples, event_value=[1, 2], copy=True)["table"]
    overall = sfm.tl.kaplan_meier(samples, event_value=[1, 2], copy=True)["table"]
    np.testing.assert_allclose(both["incidence"], 1 - overall["survival"])


def test_late_entry_equals_no_entry_at_zero():
    samples = cohort()
    samples.obs["entry"] = 0.0
    late = sfm.tl.cumulative_incidence(samples, "arm", entry_key="entry", copy=True)
    now = sfm.tl.cumulative_incidence(samples, "arm", copy=True)
    pd.testing.assert_frame_equal(late["table"].drop(columns="entered"), now["table"])
    assert "tests" not in late


def test_gray_of_a_small_group_is_permuted():
    """3 of 11: statistics of all 165 ways."""
    from itertools import combinations

    samples = cohort(11, few=3)
    samples.obs["event"] = [1, 2, 1, 0, 1, 1, 2, 1, 0, 1, 1]
    result = sfm.tl.cumulative_incidence(samples, "arm", copy=True)["tests"].iloc[0]
    time, cause = samples.obs["time"].to_numpy(), samples.obs["event"].to_numpy()
    every = [
        gray_test(time, cause, np.isin(np.arange(11), chosen).astype(int))[0] for chosen in combinations(range(11), 3)
    ]
    assert result["test"] == "permutation, all 165 arrangements"
    assert result["p_value"] == pytest.approx(np.mean([value >= result["statistic"] - 1e-9 for value in every]))


def test_gray_without_competing_events_is_close_to_logrank():
    """One cause alone: the statistic weighs as the log-rank test does."""
    samples = cohort(200)
    samples.obs["event"] = (samples.obs["event"] > 0).astype(int)
    gray = sfm.tl.cumulative_incidence(samples, "arm", copy=True)["tests"].iloc[0]
    assert gray["statistic"] == pytest.approx(sfm.tl.logrank(samples, "arm", copy=True)["statistic"], rel=0.05)


def confounded(seed: int, few: int = 40, n: int = 80) -> AnnData:
    """Fine and Gray's model of age, which also drives the group; the group itself does nothing."""
    rng = np.random.default_rng(seed)
    age = rng.normal(size=n)
    arm = np.zeros(n, int)
    arm[np.argsort(1.5 * age + rng.logistic(size=n))[-few:]] = 1
    ratio = np.exp(0.8 * age)
    share = 1 - 0.5**ratio
    one = rng.random(n) < share
    own = -np.log(1 - 2 * (1 - (1 - rng.random(n) * share) ** (1 / ratio)))  # F1 = 1 - (1 - (1 - exp(-t)) / 2)^ratio
    time, limit = np.where(one, own, rng.exponential(size=n)), rng.uniform(0, 4, n)
    cause = np.where(limit < time, 0, np.where(one, 1, 2))
    obs = pd.DataFrame({"time": np.minimum(time, limit), "event": cause, "age": age, "arm": arm})
    return AnnData(obs=obs.set_axis([f"P{i}" for i in range(n)]))


def test_covariates_hold_the_level_where_age_drives_group_and_incidence():
    p_values = []
    for seed in range(60):
        result = sfm.tl.cumulative_incidence(
            confounded(seed), "arm", event_value=1, covariates="age", n_permutations=999, copy=True
        )
        test = result["tests"].iloc[0]
        p_values.append([test["p_value"], test["p_value_unadjusted"]])
        assert test["permuted"]
    adjusted, plain = (np.array(p_values) <= 0.05).sum(axis=0)
    assert adjusted <= 8  # binomial(60, 0.05) is above with probability 0.3 %
    assert plain >= 15


def test_small_groups_are_dealt_again_at_equal_covariates():
    samples = confounded(1, few=5, n=30)
    test = sfm.tl.cumulative_incidence(samples, "arm", covariates="age", n_permutations=999, copy=True)["tests"]
    assert test["permuted"].all()
    assert set(test["test"]) == {"permutation of residuals, random 999 arrangements"}


def test_covariates_leave_the_curves_and_the_test_without_them():
    samples = cohort(120)
    plain = sfm.tl.cumulative_incidence(samples, "arm", copy=True)
    equal = sfm.tl.cumulative_incidence(samples, "arm", covariates="x", copy=True)
    pd.testing.assert_frame_equal(plain["table"], equal["table"])
    assert not equal["tests"]["permuted"].iloc[0]
    assert equal["tests"]["p_value_unadjusted"].tolist() == plain["tests"]["p_value"].tolist()
    # noise takes little away: Wald's test of the group at equal x
    wald = sfm.tl.fine_gray(samples, ["arm", "x"], event_value=1, se="sandwich", copy=True)["table"].iloc[0]
    assert equal["tests"]["p_value"].iloc[0] == pytest.approx(wald["p_value"], rel=0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"group_key": None, "covariates": "x"}, r"are of Gray's test, which needs group_key="),
        ({"covariates": "x", "entry_key": "time"}, r"takes no entry_key="),
        ({"covariates": "x", "strata": "what"}, r"has no strata. Name them in covariates="),
        ({"covariates": "arm"}, r"'arm' is both group_key= and covariates="),
    ],
)
def test_refusals_of_covariates(arguments, message):
    with pytest.raises(SurvivalError, match=message):
        sfm.tl.cumulative_incidence(cohort(), **({"group_key": "arm"} | arguments))
