from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.stats import norm

import spatialfm as sfm
from spatialfm._errors import SurvivalError


def test_area_equals_lifelines(leukemia):
    from lifelines import KaplanMeierFitter
    from lifelines.utils import restricted_mean_survival_time

    result = sfm.tl.rmst(leukemia, "arm", horizon=20, copy=True)
    for arm, row in result["groups"].iterrows():
        obs = leukemia.obs[leukemia.obs["arm"] == arm]
        fitter = KaplanMeierFitter().fit(obs["time"], obs["event"])
        assert row["rmst"] == pytest.approx(restricted_mean_survival_time(fitter, t=20))
        assert row["events"] == ((obs["event"] == 1) & (obs["time"] <= 20)).sum()
    one, two = result["groups"].loc["placebo"], result["groups"].loc["6-MP"]
    row = result["differences"].iloc[0]
    assert row["difference"] == pytest.approx(two["rmst"] - one["rmst"])
    se = np.sqrt(one["se"] ** 2 + two["se"] ** 2)
    assert row["test"] == "normal"
    assert row["p_value"] == pytest.approx(2 * norm.sf(row["difference"] / se))
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(
        (row["difference"] - 1.959964 * se, row["difference"] + 1.959964 * se), rel=1e-5
    )
    assert row["ratio"] == pytest.approx(two["rmst"] / one["rmst"])


def test_standard_error_by_hand():
    """4 patients, deaths at 1 and 2: areas behind are 3/4 + 2/2 and 2/2; Greenwood's terms 1/12 and 1/6."""
    obs = pd.DataFrame({"time": [1.0, 2, 4, 4], "event": [1, 1, 0, 0]}, index=list("abcd"))
    row = sfm.tl.rmst(AnnData(obs=obs), horizon=4, copy=True)["groups"].iloc[0]
    assert row["rmst"] == pytest.approx(1 + 0.75 + 1)
    assert row["se"] == pytest.approx(np.sqrt(1.75**2 / 12 + 1 / 6))


def test_a_small_group_is_permuted():
    """Written out: every way to choose 3 of 9, each difference by its own standard error."""
    from itertools import combinations

    rng = np.random.default_rng(0)
    obs = pd.DataFrame(
        {"time": rng.exponential(5, 9), "event": [True] * 8 + [False]}, index=[f"P{i}" for i in range(9)]
    )
    obs["arm"] = ["b"] * 3 + ["a"] * 6
    horizon = float(obs.groupby("arm")["time"].max().min())
    row = sfm.tl.rmst(AnnData(obs=obs), "arm", copy=True)["differences"].iloc[0]

    def mean(part: pd.DataFrame) -> tuple[float, float]:
        part, s, last, area, steps = part.sort_values("time"), 1.0, 0.0, 0.0, []
        for i, one in enumerate(part.itertuples()):
            until = min(one.time, horizon)
            area += s * (until - last)
            last = until
            if one.event and one.time <= horizon:
                n = len(part) - i
                steps.append((area, n))
                s *= 1 - 1 / n
        area += s * (horizon - last)
        return area, sum((area - at) ** 2 / (n * (n - 1)) for at, n in steps if n > 1)

    every = []
    for chosen in combinations(range(9), 3):
        mine = np.isin(np.arange(9), chosen)
        (b, vb), (a, va) = mean(obs[mine]), mean(obs[~mine])
        every.append((b - a) / np.sqrt(va + vb) if va + vb > 0 else 0.0)
    assert row["test"] == "permutation, all 84 arrangements"
    assert row["p_value"] == pytest.approx(np.mean(np.abs(every) >= abs(every[0]) - 1e-9))
    reach = np.quantile(np.abs(every), 0.95, method="higher")
    assert row["ci_high"] - row["difference"] == pytest.approx(reach * row["se"])


def test_the_horizon_is_said_and_held(leukemia):
    assert sfm.tl.rmst(leukemia, "arm", copy=True)["horizon"] == 23  # all of placebo have relapsed by then
    assert sfm.tl.rmst(leukemia, "arm", horizon=30, copy=True)["horizon"] == 30
    with pytest.raises(SurvivalError, match=r"horizon=36 is beyond the follow-up of '6-MP' \(until 35\).*horizon=35"):
        sfm.tl.rmst(leukemia, "arm", horizon=36)
    with pytest.raises(SurvivalError, match=r"n_permutations=5"):
        sfm.tl.rmst(leukemia, "arm", n_permutations=5)
    assert not leukemia.uns


def test_means_stand_in_the_figure_of_the_same_patients(leukemia):
    sfm.tl.kaplan_meier(leukemia, "arm")
    sfm.tl.rmst(leukemia, "arm", horizon=20)
    row = leukemia.uns["rmst"]["differences"].iloc[0]
    ax = sfm.pl.kaplan_meier(leukemia, time_unit="weeks", show=False)
    title = ax.get_legend().get_title().get_text()
    assert title.startswith("mean up to 20 weeks: 8.")
    assert " (placebo), " in title
    assert f"6-MP less placebo: {row['difference']:.3g} (95 % interval" in title
    assert any(list(line.get_xdata()) == [20, 20] for line in ax.lines)
    leukemia.obs["time"] += 1
    sfm.tl.kaplan_meier(leukemia, "arm")
    title = sfm.pl.kaplan_meier(leukemia, show=False).get_legend().get_title().get_text()
    assert "mean" not in title


def test_numbers_at_risk_with_late_entry(leukemia):
    leukemia.obs["entry"] = np.where(np.arange(42) % 2 == 0, 0.0, leukemia.obs["time"] / 2)
    sfm.tl.kaplan_meier(leukemia, entry_key="entry")
    from spatialfm.pl._kaplan_meier import at_risk_at

    times = np.array([0.0, 3, 5.25, 10, 34])
    entry, time = leukemia.obs["entry"].to_numpy(), leukemia.obs["time"].to_numpy()
    expected = [int((entry == 0).sum()), *(int(((entry < t) & (time >= t)).sum()) for t in times[1:])]
    assert at_risk_at(leukemia.uns["kaplan_meier"]["table"], times).tolist() == expected


def test_no_interval_without_width_where_nobody_had_the_event(recwarn):
    """Five patients alive at 2 do not state that all others are; a group that all died at 0 has no ratio."""
    obs = pd.DataFrame({"time": [3.0, 4, 5, 6, 7, 3, 4, 5, 6, 7], "event": 1, "arm": list("aaaaabbbbb")})
    obs = obs.set_axis([f"P{i}" for i in range(10)])
    result = sfm.tl.rmst(AnnData(obs=obs), "arm", horizon=2, copy=True)
    assert result["groups"]["rmst"].tolist() == [2, 2]
    assert result["groups"][["ci_low", "ci_high"]].isna().all(axis=None)
    row = result["differences"].iloc[0]
    assert (row["difference"], row["p_value"]) == (0, 1)
    assert row[["ci_low", "ci_high", "ratio_ci_low", "ratio_ci_high"]].isna().all()
    aged = AnnData(obs=obs.assign(age=[50.0, 61, 55, 70, 48, 66, 52, 59, 73, 45]))
    adjusted = sfm.tl.rmst(aged, "arm", horizon=2, covariates="age", copy=True)["differences"].iloc[0]
    assert (adjusted["difference"], adjusted["p_value"]) == (pytest.approx(0, abs=1e-9), 1)
    assert adjusted[["ci_low", "ci_high"]].isna().all()
    dead = sfm.tl.rmst(AnnData(obs=obs.assign(time=[0.0] * 5 + [1, 2, 3, 4, 5])), "arm", horizon=3, copy=True)
    assert np.isnan(dead["differences"].loc[0, "ratio"])
    assert not [w for w in recwarn if issubclass(w.category, RuntimeWarning)]
