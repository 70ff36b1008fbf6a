from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sksurv.nonparametric import kaplan_meier_estimator

import spatialfm as sfm
from spatialfm._errors import SurvivalError


def test_freireich_by_hand(leukemia):
    """Survival under 6-MP as printed in Kleinbaum and Klein, Survival Analysis, table of chapter 2."""
    sfm.tl.kaplan_meier(leukemia, "arm")
    table = leukemia.uns["kaplan_meier"]["table"]
    treated = table[(table["group"] == "6-MP") & (table["events"] > 0)].set_index("time")
    assert treated["at_risk"].to_dict() == {6: 21, 7: 17, 10: 15, 13: 12, 16: 11, 22: 7, 23: 6}
    assert treated["survival"].round(4).tolist() == [0.8571, 0.8067, 0.7529, 0.6902, 0.6275, 0.5378, 0.4482]
    groups = leukemia.uns["kaplan_meier"]["groups"]
    assert groups.loc["6-MP", ["n", "events", "median"]].tolist() == [21, 9, 23]
    assert groups.loc["placebo", ["n", "events", "median"]].tolist() == [21, 21, 8]
    # R: survfit(Surv(time, event) ~ arm, conf.type = "log-log")
    assert groups.loc["placebo", ["median_ci_low", "median_ci_high"]].tolist() == [4, 11]
    assert groups.loc["6-MP", "median_ci_low"] == 13
    assert np.isnan(groups.loc["6-MP", "median_ci_high"])


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_equals_scikit_survival(rossi, alpha):
    sfm.tl.kaplan_meier(rossi, "fin", alpha=alpha)
    result = rossi.uns["kaplan_meier"]
    assert result["params"]["alpha"] == alpha
    for group, curve in result["table"].groupby("group"):
        rows = rossi.obs[rossi.obs["fin"].astype(str) == group]
        time, survival, interval = kaplan_meier_estimator(
            rows["event"] == 1, rows["time"], conf_level=1 - alpha, conf_type="log-log"
        )
        curve = curve[curve["time"] > 0]
        np.testing.assert_array_equal(curve["time"], time)
        np.testing.assert_allclose(curve["survival"], survival, atol=1e-12)
        np.testing.assert_allclose(curve[["ci_low", "ci_high"]].T, interval, atol=1e-10)
        counted = [(rows["time"] >= t).sum() for t in time]
        np.testing.assert_array_equal(curve["at_risk"], counted)


def test_without_groups_and_time_zero():
    from anndata import AnnData

    obs = pd.DataFrame(
        {"time": [0, 0, 1, 2, 3, 3], "event": [True, False, True, False, True, True]}, index=list("abcdef")
    )
    result = sfm.tl.kaplan_meier(AnnData(obs=obs), copy=True)
    table = result["table"]
    np.testing.assert_allclose(table["survival"], [5 / 6, 5 / 8, 5 / 8, 0])
    assert table["at_risk"].tolist() == [6, 4, 3, 2]
    assert table["censored"].tolist() == [1, 0, 1, 0]
    assert table.loc[3, ["ci_low", "ci_high"]].isna().all()
    assert result["groups"].index.tolist() == ["all"]
    assert result["groups"].loc["all", "median"] == 3


def test_median_at_exactly_one_half():
    from anndata import AnnData

    obs = pd.DataFrame({"time": range(1, 7), "event": 1}, index=list("abcdef"))
    result = sfm.tl.kaplan_meier(AnnData(obs=obs), copy=True)  # 5/6 * 4/5 * 3/4 * ... leaves rounding behind
    assert result["groups"].loc["all", "median"] == 3.5  # R: halfway between 3, where 1/2 is reached, and 4


def test_intervals_stay_between_0_and_1(leukemia):
    for interval in ("plain", "log"):
        table = sfm.tl.kaplan_meier(leukemia, "arm", interval=interval, alpha=0.001, copy=True)["table"]
        limits = table.loc[table["survival"] > 0, ["ci_low", "ci_high"]]
        assert limits.min().min() >= 0
        assert limits.max().max() == 1
    assert leukemia.uns == {}


def test_missing_outcomes(leukemia):
    leukemia.obs.loc["P03", "time"] = np.nan
    leukemia.obs["event"] = leukemia.obs["event"].astype(object)
    leukemia.obs.loc["P30", "event"] = None
    leukemia.obs["arm"] = leukemia.obs["arm"].cat.set_categories(["placebo", "6-MP"])
    leukemia.obs.loc["P10", "arm"] = np.nan
    with pytest.raises(
        SurvivalError, match=r"3 rows have no value|3 of 42 rows have no value in 'time', 'event', 'group'"
    ):
        sfm.tl.kaplan_meier(leukemia, "arm")
    assert not leukemia.uns
    sfm.tl.kaplan_meier(leukemia, "arm", on_missing="drop")
    result = leukemia.uns["kaplan_meier"]
    assert result["params"]["n_dropped"] == 3
    assert result["groups"]["n"].to_dict() == {"placebo": 20, "6-MP": 19}


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({"time": [-1.0] + [2.0] * 41}, {}, r"1 row of obs\['time'\] .* negative or infinite time: 'P00 \(-1\)'"),
        (
            {"time": [np.inf] + [2.0] * 41},
            {},
            r"'P00 \(inf\)'.*patients\[patients.obs\[\"time\"\].between\(0, 1e300\)\]",
        ),
        ({"time": ["x"] * 42}, {}, r"obs\['time'\] \(time_key=\) holds .* not numbers, in 42 rows: 'x'"),
        (
            {"event": ["dead"] * 20 + ["alive"] * 22},
            {},
            r"holds 'alive' \(22\), 'dead' \(20\).* Pass event_value=<that value>",
        ),
        ({"event": [2] + [0] * 41}, {}, r"obs\['event'\] \(event_key=\) holds 0 \(41\), 2 \(1\)"),
        ({"event": 0}, {}, r"No event among 42 rows.*1, or event_value=, encodes the event"),
        ({}, {"time_key": "os"}, r"No column 'os' in obs \(time_key=\); found 'time', 'event'"),
        ({}, {"event_key": "dead"}, r"No column 'dead' in obs \(event_key=\)"),
        ({}, {"group_key": "treatment"}, r"No column 'treatment' in obs \(group_key=\)"),
        (
            {"patient": ["A", "A"] + [f"P{i}" for i in range(40)]},
            {},
            r"42 rows hold 41 patients.*'A' several times.*tl.composition",
        ),
        ({"patient": [None] + [f"P{i}" for i in range(41)]}, {}, r"1 row has no patient.*patient_key=None"),
        (
            {"score": np.linspace(0, 1, 42)},
            {"group_key": "score"},
            r"42 different numbers, which are not groups.*cut_point",
        ),
    ],
)
def test_refusals(leukemia, change, arguments, message):
    for key, value in change.items():
        leukemia.obs[key] = value
    with pytest.raises(SurvivalError, match=message):
        sfm.tl.kaplan_meier(leukemia, **arguments)
    assert not leukemia.uns


def test_patient_column_is_the_users_to_name(leukemia):
    leukemia.obs["patient"] = "A"
    sfm.tl.kaplan_meier(leukemia, patient_key=None)
    leukemia.obs["case"] = ["x", "x", *map(str, range(40))]
    with pytest.raises(SurvivalError, match=r"obs\['case'\].*patient_key=\"case\""):
        sfm.tl.kaplan_meier(leukemia, patient_key="case")


def test_result_is_written_and_read_back(leukemia, tmp_path):
    from anndata import read_h5ad, read_zarr

    sfm.tl.kaplan_meier(leukemia, "arm")
    sfm.tl.logrank(leukemia, "arm", pairwise=True)
    sfm.tl.cox(leukemia, "arm")
    sfm.tl.concordance(leukemia, "time", n_bootstrap=100)
    leukemia.write_h5ad(tmp_path / "p.h5ad")
    leukemia.write_zarr(tmp_path / "p.zarr")
    for back in (read_h5ad(tmp_path / "p.h5ad"), read_zarr(tmp_path / "p.zarr")):
        table = back.uns["kaplan_meier"]["table"]
        expected = leukemia.uns["kaplan_meier"]["table"]
        np.testing.assert_array_equal(table["survival"], expected["survival"])
        assert table["group"].tolist() == expected["group"].tolist()
        assert back.uns["cox"]["table"].loc["arm[6-MP]", "reference"] == "placebo"
        assert back.uns["logrank"]["p_value"] == leukemia.uns["logrank"]["p_value"]
        assert not back.uns["logrank"]["optimistic"]
