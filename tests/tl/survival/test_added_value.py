"""Features next to clinical covariates, against lifelines and a bootstrap written out."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter
from scipy.stats import chi2
from sksurv.metrics import concordance_index_censored

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning, SurvivalError


@pytest.fixture
def patients() -> ad.AnnData:
    """90 patients whose hazard is of age and of one cell type; a third is censored."""
    rng = np.random.default_rng(2)
    age, share = rng.normal(size=90), rng.random(90)
    time = rng.exponential(np.exp(-0.5 * age - 1.5 * share))
    obs = pd.DataFrame(
        {
            "age": age,
            "stage": pd.Categorical(rng.choice(["I", "II", "III"], 90)),
            "time": time,
            "event": rng.random(90) < 0.7,
        },
        index=[f"P{i}" for i in range(90)],
    )
    x = np.column_stack([share, rng.random(90)]).astype(np.float64)
    return ad.AnnData(x, obs=obs, var=pd.DataFrame(index=["T", "B"]))


def lifelines_fit(table: pd.DataFrame) -> CoxPHFitter:
    return CoxPHFitter().fit(table, "time", "event")


def c_index(model: CoxPHFitter, table: pd.DataFrame) -> float:
    risk = model.predict_log_partial_hazard(table)
    return concordance_index_censored(table["event"].to_numpy(bool), table["time"], risk)[0]


def frame(patients: ad.AnnData) -> pd.DataFrame:
    table = patients.obs[["time", "event", "age"]].astype(float)
    for level in ("II", "III"):
        table[level] = (patients.obs["stage"] == level).astype(float)
    return table


def test_likelihood_ratio_is_that_of_lifelines(patients):
    result = sfm.tl.added_value(patients, ["T", "B"], ["age", "stage"], n_bootstrap=0, copy=True)
    less = lifelines_fit(frame(patients))
    both = lifelines_fit(frame(patients).assign(T=patients.X[:, 0], B=patients.X[:, 1]))
    statistic = 2 * (both.log_likelihood_ - less.log_likelihood_)
    assert result["lr_dof"] == 2
    assert result["lr_statistic"] == pytest.approx(statistic, rel=1e-6)
    assert result["p_value"] == pytest.approx(chi2.sf(statistic, 2), rel=1e-6)
    whole = both.log_likelihood_ratio_test().test_statistic
    assert result["explained"] == pytest.approx(statistic / whole, rel=1e-6)
    table = result["table"]
    assert table.loc["covariates", "c_index"] == pytest.approx(less.concordance_index_, abs=1e-9)
    assert table.loc["covariates + features", "c_index"] == pytest.approx(both.concordance_index_, abs=1e-9)
    assert table["c_corrected"].isna().all()


def test_optimism_is_that_of_models_refitted_on_drawn_patients(patients):
    result = sfm.tl.added_value(patients, "T", ["age"], n_bootstrap=100, random_state=3, copy=True)["table"]
    table = patients.obs[["time", "event", "age"]].astype(float).assign(T=patients.X[:, 0]).sort_values("time")
    rng, optimism = np.random.default_rng(3), []
    for _ in range(100):
        drawn = table.iloc[rng.integers(90, size=90)]
        model = lifelines_fit(drawn)
        optimism.append(c_index(model, drawn) - c_index(model, table))
    expected = lifelines_fit(table).concordance_index_ - np.mean(optimism)
    assert result.loc["covariates + features", "c_corrected"] == pytest.approx(expected, abs=1e-6)
    assert result.loc["difference", "ci_low"] < result.loc["difference", "c_corrected"]


def test_a_feature_in_different_units_changes_nothing(patients):
    one = sfm.tl.added_value(patients, "T", ["age"], n_bootstrap=0, copy=True)
    patients.X[:, 0] = 1000 * patients.X[:, 0] - 5
    two = sfm.tl.added_value(patients, "T", ["age"], n_bootstrap=0, copy=True)
    assert two["p_value"] == pytest.approx(one["p_value"])


def test_few_events_are_warned_of(patients):
    with pytest.warns(SpatialfmWarning, match="events for 4 terms"):
        sfm.tl.added_value(patients[:40].copy(), "T", ["age", "stage"], n_bootstrap=0)


@pytest.mark.parametrize(
    ("features", "covariates", "words"),
    [([], ["age"], "at least one"), ("T", [], "at least one"), ("age", ["age"], "named twice"), ("T", ["T"], "twice")],
)
def test_what_cannot_be_asked(patients, features, covariates, words):
    with pytest.raises(SurvivalError, match=words):
        sfm.tl.added_value(patients, features, covariates)
    assert "added_value" not in patients.uns


def test_fractions_of_a_whole_are_collinear(patients):
    patients.obs["rest"] = 1 - patients.X[:, 0]
    with pytest.raises(SurvivalError, match="collinear"):
        sfm.tl.added_value(patients, "T", ["rest"])


def test_a_feature_that_is_the_outcome_is_refused_with_advice_that_can_be_followed(recwarn):
    """added_value has no penalizer=, and numpy's overflow is nobody's business."""
    rng = np.random.default_rng(0)
    time, age = rng.exponential(1, 40), rng.normal(size=40)
    obs = pd.DataFrame({"time": time, "event": 1, "age": age, "leak": -time}, index=[f"P{i}" for i in range(40)])
    with pytest.raises(SurvivalError, match="did not converge") as refusal:
        sfm.tl.added_value(ad.AnnData(obs=obs), "leak", "age")
    assert "penalizer" not in str(refusal.value)
    assert not [w for w in recwarn if issubclass(w.category, RuntimeWarning)]
