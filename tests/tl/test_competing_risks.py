from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning, SurvivalError
from spatialfm.stats.competing_risks import gray_test
from spatialfm.stats.fine_gray import expand
from spatialfm.tl.survival.fine_gray import larger_variance

WORDS = {0: "alive", 1: "relapse", 2: "death"}


def cohort(n: int = 80, seed: int = 0, few: int | None = None) -> AnnData:
    """Two events with hazards 1 and 0.5, the first doubled in group b; x is noise."""
    rng = np.random.default_rng(seed)
    arm = np.arange(n) < (n // 2 if few is None else few)
    one, two, limit = rng.exponential(1 / (1 + arm)), rng.exponential(2, n), rng.uniform(0, 3, n)
    time = np.minimum(np.minimum(one, two), limit)
    cause = np.where(limit <= np.minimum(one, two), 0, np.where(one < two, 1, 2))
    obs = pd.DataFrame({"time": time.round(2) + 0.01, "event": cause, "x": rng.normal(size=n)})
    obs["arm"] = np.where(arm, "b", "a")
    obs["what"] = obs["event"].map(WORDS)
    return AnnData(obs=obs.set_axis([f"P{i}" for i in range(n)]))


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
        ({"event_key": "what", "censored_value": "lost"}, r"event_value='lost' is no value"),
        ({"event_value": 7}, r"event_value=7 is no value of obs\['event'\]"),
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
        TypeError, match=rf"{function}\(\) knows no late entry \(left truncation\).*sfm.tl.kaplan_meier"
    ):
        getattr(sfm.tl, function)(cohort(), *arguments, entry_key="entry")


@pytest.mark.parametrize("event", [None, "relapse"])
def test_figure(event):
    samples = cohort()
    sfm.tl.cumulative_incidence(samples, "arm", event_key="what", censored_value="alive")
    ax = sfm.pl.cumulative_incidence(samples, event_value=event, time_unit="years", show=False)
    tests = samples.uns["cumulative_incidence"]["tests"].set_index("event")["p_value"]
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    title = ax.get_legend().get_title().get_text()
    if event is None:
        assert len(labels) == 4
        assert labels[0].startswith("a: death (n = 40, ")
        assert title.startswith("death: Gray p = ")
    else:
        assert [label.split(" (")[0] for label in labels] == ["a", "b"]
        assert title == f"Gray {sfm.pl._kaplan_meier.format_p(tests['relapse'])}"
    lines = [line for line in ax.lines if len(line.get_xdata()) > 5]
    table = samples.uns["cumulative_incidence"]["table"]
    shown = table[(table["event"] == (event or "death")) & (table["group"] == "a")]
    np.testing.assert_allclose(lines[0].get_ydata(), shown["incidence"])


def test_figure_refuses_other_events():
    from spatialfm._errors import TableError

    samples = cohort()
    with pytest.raises(TableError, match="No curves of cumulative incidence"):
        sfm.pl.cumulative_incidence(samples, show=False)
    sfm.tl.cumulative_incidence(samples)
    with pytest.raises(TableError, match=r"No curves of 'relapse' \(event_value=\).*'1', '2'"):
        sfm.pl.cumulative_incidence(samples, event_value="relapse", show=False)
    samples.obs["event"] = 1
    with pytest.raises(TableError, match=r"changed since"):
        sfm.pl.cumulative_incidence(samples, show=False)


def test_separation_and_gaps_are_named():
    samples = cohort()
    samples.obs["sure"] = (samples.obs["event"] == 1).astype(float)
    with pytest.raises(SurvivalError, match=r"finite coefficient: leave it out\.$"):
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
