"""Scores compared on the same patients, against scikit-survival and patients left out by hand."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sksurv.metrics import concordance_index_censored

import spatialfm as sfm
from spatialfm._errors import SurvivalError
from spatialfm.stats.concordance import concordances


@pytest.fixture
def patients() -> ad.AnnData:
    """40 patients with ties of times and of scores, half of them censored."""
    rng = np.random.default_rng(4)
    risk = rng.normal(size=40)
    obs = pd.DataFrame(
        {
            "time": np.ceil(10 * rng.exponential(np.exp(-risk))),
            "event": rng.random(40) < 0.5,
            "fine": risk + 0.5 * rng.normal(size=40),
            "coarse": np.round(risk + rng.normal(size=40)),
        },
        index=[f"P{i}" for i in range(40)],
    )
    return ad.AnnData(obs=obs)


def c_index(table: pd.DataFrame, score: str) -> float:
    return concordance_index_censored(table["event"].to_numpy(bool), table["time"], table[score])[0]


def test_concordances_are_those_of_scikit_survival_also_without_each_patient(patients):
    obs = patients.obs
    scores = obs[["fine", "coarse"]].to_numpy(float)
    found = concordances(obs["time"].to_numpy(float), obs["event"].to_numpy(bool), scores)
    for j, name in enumerate(["fine", "coarse"]):
        assert found.value[j] == pytest.approx(c_index(obs, name), abs=1e-12)
        for i in (0, 7, 39):
            assert found.left_out[i, j] == pytest.approx(c_index(obs.drop(obs.index[i]), name), abs=1e-12)


def test_difference_error_and_p_value_by_leaving_out_patients(patients):
    obs = patients.obs
    result = sfm.tl.compare_concordance(patients, ["fine", "coarse"], copy=True)
    row = result["table"].iloc[0]
    without = [obs.drop(name) for name in obs.index]
    differences = np.array([c_index(rest, "coarse") - c_index(rest, "fine") for rest in without])
    se = np.sqrt(39 / 40 * ((differences - differences.mean()) ** 2).sum())
    difference = c_index(obs, "coarse") - c_index(obs, "fine")
    freedom = int(obs["event"].sum()) - 1
    assert row["difference"] == pytest.approx(difference)
    assert row["se"] == pytest.approx(se)
    assert row["p_value"] == pytest.approx(2 * stats.t.sf(abs(difference) / se, freedom))
    assert row["ci_high"] - row["difference"] == pytest.approx(stats.t.ppf(0.975, freedom) * se)
    assert result["scores"].loc["fine", "c_index"] == pytest.approx(c_index(obs, "fine"))


def test_scores_in_the_same_order_do_not_differ(patients):
    patients.obs["twice"] = 2 * patients.obs["fine"] + 1
    row = sfm.tl.compare_concordance(patients, ["fine", "twice"], copy=True)["table"].iloc[0]
    assert row[["difference", "se", "p_value"]].tolist() == [0, 0, 1]


def test_three_scores_are_compared_in_pairs_with_q_values(patients):
    patients.obs["third"] = -patients.obs["fine"]
    sfm.tl.compare_concordance(patients, ["fine", "coarse", "third"])
    table = patients.uns["compare_concordance"]["table"]
    assert list(zip(table["score_1"], table["score_2"], strict=True)) == [
        ("fine", "coarse"), ("fine", "third"), ("coarse", "third")
    ]  # fmt: skip
    expected = stats.false_discovery_control(table["p_value"])
    np.testing.assert_allclose(table["q_value"], expected)


@pytest.mark.parametrize("scores", [["fine"], ["fine", "fine"]])
def test_one_score_is_refused(patients, scores):
    with pytest.raises(SurvivalError, match=r"sfm\.tl\.concordance"):
        sfm.tl.compare_concordance(patients, scores)


def test_text_and_infinite_scores_are_named(patients):
    patients.obs["grade"] = pd.Categorical(["low", "high"] * 20)
    with pytest.raises(SurvivalError, match="'grade' is text"):
        sfm.tl.compare_concordance(patients, ["fine", "grade"])
    patients.obs["odd"] = np.inf
    with pytest.raises(SurvivalError, match="'odd' is infinite"):
        sfm.tl.compare_concordance(patients, ["fine", "odd"])
    assert "compare_concordance" not in patients.uns


def test_a_score_that_the_outcome_made_is_refused(patients):
    rng = np.random.default_rng(0)
    patients = ad.AnnData(rng.normal(size=(40, 3)), obs=patients.obs)
    sfm.tl.coxnet(patients, n_folds=2, n_inner_folds=2, n_alphas=5, n_bootstrap=100)
    with pytest.raises(SurvivalError, match="coxnet"):
        sfm.tl.compare_concordance(patients, ["fine", "coxnet"])
    assert sfm.tl.compare_concordance(patients, ["fine", "coxnet"], on_selected="mark", copy=True)["optimistic"]
