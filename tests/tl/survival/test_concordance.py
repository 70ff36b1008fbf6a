from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from sksurv.metrics import concordance_index_censored

import spatialfm as sfm
from spatialfm._errors import SurvivalError
from spatialfm.stats.concordance import bootstrap_c_index


def c_by_hand(time, event, score):
    """All pairs in plain loops, after Harrell's definition."""
    right = pairs = 0.0
    for i in range(len(time)):
        for j in range(len(time)):
            if event[i] and (time[i] < time[j] or (time[i] == time[j] and not event[j])):
                pairs += 1
                right += 1.0 if score[i] > score[j] else 0.5 if score[i] == score[j] else 0.0
    return right / pairs, pairs


@pytest.fixture
def scored() -> AnnData:
    rng = np.random.default_rng(0)
    score = rng.normal(size=80).round(1)
    time = np.ceil(rng.exponential(10 / np.exp(0.8 * score)))  # ties in both
    obs = pd.DataFrame(
        {"time": time, "event": rng.random(80) < 0.7, "score": score}, index=[f"P{i}" for i in range(80)]
    )
    return AnnData(obs=obs)


def test_value_by_hand_and_direction(scored):
    sfm.tl.concordance(scored, "score", n_bootstrap=200)
    result = scored.uns["concordance"]
    by_hand, pairs = c_by_hand(*(scored.obs[key].to_numpy() for key in ("time", "event", "score")))
    assert result["c_index"] == pytest.approx(by_hand)
    assert result["n_pairs"] == pairs
    assert result["c_index"] > 0.6
    assert result["ci_low"] < result["c_index"] < result["ci_high"]
    scored.obs["protective"] = -scored.obs["score"]
    flipped = sfm.tl.concordance(scored, "protective", n_bootstrap=200, copy=True)
    assert flipped["c_index"] == pytest.approx(1 - by_hand)


def test_bootstrap_equals_resampling_with_scikit_survival(scored):
    time, event, score = (scored.obs[key].to_numpy() for key in ("time", "event", "score"))
    ours = bootstrap_c_index(time, event, score, 50, np.random.default_rng(3))
    counts = np.random.default_rng(3).multinomial(80, np.full(80, 1 / 80), size=50)
    for value, count in zip(ours, counts, strict=True):
        rows = np.repeat(np.arange(80), count)
        assert value == pytest.approx(concordance_index_censored(event[rows], time[rows], score[rows])[0])


def test_seed(scored):
    one = sfm.tl.concordance(scored, "score", n_bootstrap=200, copy=True)
    same = sfm.tl.concordance(scored, "score", n_bootstrap=200, copy=True)
    other = sfm.tl.concordance(scored, "score", n_bootstrap=200, random_state=1, copy=True)
    assert one == same
    assert one["ci_low"] != other["ci_low"]
    assert not scored.uns


def test_interval_covers_the_truth():
    """With a useless score, 0.5 is inside the 95 % interval about 95 % of the time."""
    inside = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        obs = pd.DataFrame(
            {"time": rng.exponential(10, 60), "event": rng.random(60) < 0.7, "score": rng.normal(size=60)}
        )
        obs.index = obs.index.astype(str)
        result = sfm.tl.concordance(AnnData(obs=obs), "score", n_bootstrap=200, copy=True)
        inside += result["ci_low"] <= 0.5 <= result["ci_high"]
    assert inside >= 51


def test_ordered_groups_and_phenotypes_as_scores(scored):
    scored.obs["group"] = pd.Categorical(
        np.where(scored.obs["score"] > 0, "high", "low"), ["low", "high"], ordered=True
    )
    by_group = sfm.tl.concordance(scored, "group", n_bootstrap=100, copy=True)["c_index"]
    numbers = (scored.obs["score"] > 0).to_numpy(float)
    assert by_group == pytest.approx(c_by_hand(*(scored.obs[key].to_numpy() for key in ("time", "event")), numbers)[0])
    phenotypes = AnnData(X=scored.obs[["score"]].to_numpy(), obs=scored.obs[["time", "event"]])
    phenotypes.var_names = ["tumor"]
    straight = sfm.tl.concordance(scored, "score", n_bootstrap=100, copy=True)["c_index"]
    assert sfm.tl.concordance(phenotypes, "tumor", n_bootstrap=100, copy=True)["c_index"] == straight


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({}, {"score_key": "risk"}, r"No column 'risk' in obs and no such name in var \(score_key=\)"),
        ({"score": "high"}, {}, r"'score' \(score_key=\) holds .* no order"),
        ({"score": np.nan}, {}, r"80 of 80 rows have no value in 'score'"),
        ({}, {"n_bootstrap": 5}, r"n_bootstrap=5 gives no interval"),
        ({"time": 5.0, "event": 1}, {}, r"No two patients are comparable"),
        ({"event": 0}, {}, r"No event among 80 rows"),
        ({"patient": "A"}, {}, r"80 rows hold 1 patient "),
    ],
)
def test_refusals(scored, change, arguments, message):
    for key, value in change.items():
        scored.obs[key] = value
    with pytest.raises(SurvivalError, match=message):
        sfm.tl.concordance(scored, **{"score_key": "score", **arguments})
    assert not scored.uns


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_the_scale_of_a_score_does_not_matter(scored, scale):
    """scikit-survival takes scores closer than 1e-8 for tied: on a small scale all are, and c is 0.5."""
    c, pairs = c_by_hand(*(scored.obs[key].to_numpy() for key in ("time", "event", "score")))
    scored.obs["score"] *= scale
    scored.obs["other"] = np.arange(scored.n_obs) * scale
    result = sfm.tl.concordance(scored, "score", n_bootstrap=100, copy=True)
    assert (result["c_index"], result["n_pairs"]) == (pytest.approx(c), pairs)
    assert result["ci_low"] < c < result["ci_high"]
    compared = sfm.tl.compare_concordance(scored, ["other", "score"], copy=True)
    assert compared["scores"].loc["score", "c_index"] == pytest.approx(c)


def test_scores_that_differ_by_rounding_are_tied():
    obs = pd.DataFrame({"time": [1, 2, 3], "event": 1, "score": [0.1 + 0.2, 0.3, 0.1]}, index=list("abc"))
    result = sfm.tl.concordance(AnnData(obs=obs), "score", n_bootstrap=100, copy=True)
    assert result["c_index"] == pytest.approx(2.5 / 3)


def test_no_interval_without_width_where_all_pairs_are_right():
    time = np.arange(1.0, 11)
    obs = pd.DataFrame({"time": time, "event": 1, "good": -time, "none": 1.0}, index=[f"P{i}" for i in range(10)])
    samples = AnnData(obs=obs)
    result = sfm.tl.concordance(samples, "good", copy=True)
    assert result["c_index"] == 1
    assert np.isnan([result["ci_low"], result["ci_high"]]).all()
    compared = sfm.tl.compare_concordance(samples, ["good", "none"], copy=True)
    assert compared["scores"].loc["good", ["ci_low", "ci_high"]].isna().all()
    assert compared["table"].loc[0, "difference"] == -0.5
    assert compared["table"].loc[0, ["se", "ci_low", "ci_high", "p_value"]].isna().all()
