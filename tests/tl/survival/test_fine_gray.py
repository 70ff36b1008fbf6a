from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from competing import cohort

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning, SurvivalError
from spatialfm.stats.fine_gray import expand
from spatialfm.tl.survival.fine_gray import larger_variance


def test_expansion_by_hand():
    """Death at 2; censored at 3 of 3 at risk without event; G is 2/3 from there on, for who died already."""
    time, cause = np.array([1.0, 2, 3, 4, 5]), np.array([1, 2, 0, 1, 1])
    rows = expand(time, cause, 1)
    mine = rows.patient == 1
    assert rows.start[mine].tolist() == [-np.inf, 2, 3]
    assert rows.stop[mine].tolist() == [2, 3, 5]
    np.testing.assert_allclose(rows.weight[mine], [1, 1, 2 / 3])
    assert rows.event.sum() == 3
    assert (rows.weight[~mine] == 1).all()


def test_fine_gray_finds_the_planted_subdistribution_hazard():
    """Fine and Gray's own simulation: F1 = 1 - (1 - p (1 - exp(-t)))^exp(b x), whose log hazard ratio is b."""
    found = []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        x = rng.integers(0, 2, 400).astype(float)
        ratio = np.exp(0.7 * x)
        ever = 1 - (1 - 0.4) ** ratio
        u = rng.random(400)
        first = u < ever
        share = 1 - (1 - np.minimum(u, ever - 1e-9)) ** (1 / ratio)  # p (1 - exp(-t))
        time = np.where(first, -np.log(1 - share / 0.4), rng.exponential(np.exp(-x), 400))
        limit = rng.uniform(0.2, 3, 400)
        obs = pd.DataFrame({"time": np.minimum(time, limit), "x": x})
        obs["event"] = np.where(time > limit, 0, np.where(first, 1, 2))
        obs.index = obs.index.astype(str)
        row = sfm.tl.fine_gray(AnnData(obs=obs), "x", event_value=1, copy=True)["table"].loc["x"]
        found.append([row["coef"], np.log(row["ci_low"]) <= 0.7 <= np.log(row["ci_high"])])
    coef, covers = np.array(found).T
    assert coef.mean() == pytest.approx(0.7, abs=3 * 0.2 / 5)
    assert covers.sum() >= 20


def test_the_larger_of_two_standard_errors():
    robust = np.array([[4.0, 1.0], [1.0, 9.0]])
    wider = larger_variance(np.diag([16.0, 1.0]), robust)
    np.testing.assert_allclose(wider, [[16, 2], [2, 9]])  # the first twice as wide, correlations kept


@pytest.mark.slow
def test_level_of_fine_gray_with_a_skewed_covariate():
    """Robust errors alone miss the few patients who have much of it."""
    ours, sandwich = [], []
    for seed in range(120):
        rng = np.random.default_rng(seed)
        one, two, limit = rng.exponential(size=60), rng.exponential(size=60), rng.uniform(0, 3, 60)
        time = np.minimum(np.minimum(one, two), limit)
        obs = pd.DataFrame({"time": time, "x": np.exp(1.5 * rng.normal(size=60))})
        obs["event"] = np.where(time == limit, 0, np.where(one < two, 1, 2))
        samples = AnnData(obs=obs.set_axis([f"P{i}" for i in range(60)]))
        table, plain = (
            sfm.tl.fine_gray(samples, "x", event_value=1, se=se, copy=True)["table"] for se in ("larger", "sandwich")
        )
        ours.append(table["p_value"].iloc[0] < 0.05)
        sandwich.append(plain["p_value"].iloc[0] < 0.05)
    assert np.mean(ours) < 0.11  # 120 cohorts: 0.05 and three errors
    assert np.mean(sandwich) > 0.11


def test_fine_gray_is_written_and_drawn():
    samples = cohort()
    sfm.tl.fine_gray(samples, ["arm", "x"], event_key="what", event_value="relapse", censored_value="alive")
    result = samples.uns["fine_gray"]
    assert (result["events"], result["other_events"]) == tuple((samples.obs["event"] == k).sum() for k in (1, 2))
    ax = sfm.pl.forest(samples, key="fine_gray", show=False)
    assert ax.get_xlabel().startswith("Subdistribution hazard ratio")
    assert ax.get_title(loc="left") == f"80 patients, {result['events']} events, {result['other_events']} competing"


def test_warnings():
    samples = cohort()
    for name in "pqrs":
        samples.obs[name] = np.random.default_rng(ord(name)).normal(size=80)
    with pytest.warns(SpatialfmWarning, match=r"of interest for 5 terms"):
        sfm.tl.fine_gray(samples, ["x", *"pqrs"], event_value=2)
    samples.obs["event"] = (samples.obs["event"] == 1).astype(int)
    with pytest.warns(SpatialfmWarning, match=r"No row has another event.*sfm.tl.cox"):
        sfm.tl.fine_gray(samples, "x", event_value=1)
    samples = cohort()
    with pytest.warns(SpatialfmWarning, match=r"'death \(19\)', 'alive \(13\)'.*sfm.tl.cumulative_incidence"):
        sfm.tl.kaplan_meier(samples, event_key="what", event_value="relapse")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"event_key": "what"},
            r"'relapse \(\d+\)'.*Which of them means that no event was seen\? Pass censored_value=",
        ),
        ({"event_key": "what", "censored_value": "lost"}, r"event_value='lost' is not a value"),
        ({"event_value": 7}, r"event_value=7 is not a value of obs\['event'\]"),
        ({"event_value": 0}, r"event_value=0 also means censored"),
        ({"censored_value": [0, 1, 2]}, r"No event in obs\['event'\]: all rows are"),
        ({"group_key": "arm", "strata": "arm"}, r"'arm' is both group_key= and strata="),
        ({"strata": "arm"}, r"needs group_key="),
        ({"entry_key": "time"}, r"never observed"),
    ],
)
def test_refusals(arguments, message):
    samples = cohort()
    with pytest.raises(SurvivalError, match=message):
        sfm.tl.cumulative_incidence(samples, **arguments)
    assert not samples.uns


@pytest.mark.parametrize(
    ("function", "arguments"),
    [("coxnet", []), ("survival_forest", [])],
)
def test_late_entry_is_refused_by_name(function, arguments):
    with pytest.raises(
        TypeError, match=rf"{function}\(\) does not handle late entry \(left truncation\).*sfm.tl.kaplan_meier"
    ):
        getattr(sfm.tl, function)(cohort(), *arguments, entry_key="entry")


def test_separation_and_gaps_are_named():
    samples = cohort()
    samples.obs["sure"] = (samples.obs["event"] == 1).astype(float)
    with pytest.raises(SurvivalError, match=r"of 'sure' went farthest\): leave it out\.$"):
        sfm.tl.fine_gray(samples, "sure", event_value=1)
    samples.obs["event"] = samples.obs["event"].astype(float)
    samples.obs.loc["P3", "event"] = np.nan
    with pytest.raises(SurvivalError, match=r"1 of 80 rows have no value in 'event': 'P3'"):
        sfm.tl.cumulative_incidence(samples)
    groups = sfm.tl.cumulative_incidence(samples, on_missing="drop", copy=True)["groups"]
    assert groups["event"].tolist() == ["1", "2"]
    assert groups["n"].tolist() == [79, 79]


def test_nobody_censored():
    """The message says how to state it; without censoring the incidence is the share of patients."""
    obs = pd.DataFrame({"time": np.arange(1.0, 11), "event": [1, 2] * 5}, index=[f"P{i}" for i in range(10)])
    with pytest.raises(SurvivalError, match=r"censored_value=\[\]"):
        sfm.tl.cumulative_incidence(AnnData(obs=obs))
    table = sfm.tl.cumulative_incidence(AnnData(obs=obs), censored_value=[], copy=True)["table"]
    assert table.groupby("event")["incidence"].max().to_dict() == {"1": pytest.approx(0.5), "2": pytest.approx(0.5)}
    assert table["censored"].sum() == 0
