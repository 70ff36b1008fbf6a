from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2
from sksurv.compare import compare_survival

import spatialfm as sfm
from spatialfm._errors import SurvivalError
from spatialfm.tl._logrank import holm
from spatialfm.tl._outcome import observed_expected


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
    from spatialfm.tl._logrank import logrank_test

    rng = np.random.default_rng(0)
    small = 0
    for _ in range(120):
        time, censored = rng.exponential(10, 60), rng.exponential(15, 60)
        small += logrank_test(np.minimum(time, censored), time <= censored, rng.permutation(60) % 2)[1] < 0.05
    assert 1 <= small <= 13  # 99.5 % of binomial(120, 0.05)


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({"arm": "6-MP"}, {}, r"Only one group in obs\['arm'\] \('6-MP'\)"),
        ({}, {"group_key": "group"}, r"No column 'group' in obs \(group_key=\)"),
        ({"event": 0}, {}, r"No event among 42 rows"),
        ({"patient": "A"}, {}, r"42 rows hold 1 patients.*sfm.tl.composition\(cells, ..., patient_key=\"patient\"\)"),
        ({"time": -1.0}, {}, r"42 rows have a negative or infinite time"),
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
