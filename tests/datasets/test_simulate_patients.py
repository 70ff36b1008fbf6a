"""Outcome: the planted hazard comes back, and nothing comes back where nothing was planted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter
from lifelines.statistics import logrank_test
from scipy import stats

import spatialfm as sfm
from spatialfm.datasets._simulate_options import generator
from spatialfm.datasets._simulate_patients import draw_patient, niche_shares, outcomes


@pytest.fixture(scope="module")
def large():
    """700 patients of few cells: enough for narrow intervals."""
    sfm.settings.progress = False
    return sfm.datasets.simulate_cells(
        700, cells_per_patient=50, effect_of="CD8 T", effect_size=-0.8, n_latent=2, random_state=5
    )


@pytest.fixture(scope="module")
def per_patient(large):
    """Clinical columns and the fraction, from `obs` alone."""
    obs = large.obs
    table = obs.groupby("patient", observed=True).first()
    fraction = (obs["type"] == "CD8 T").groupby(obs["patient"], observed=True).mean()
    table["z"] = (fraction - fraction.mean()) / fraction.std(ddof=0)
    table["stage_step"] = table["stage"].map({"I": 0, "II": 1, "III": 2, "IV": 3}).astype(float)
    table["decades"] = (table["age"] - 62) / 10
    return table


@pytest.mark.slow
def test_cox_recovers_every_term_of_the_hazard(per_patient):
    covariates = per_patient[["z", "stage_step", "decades", "time", "event"]].copy()
    for column in ("sex", "treatment", "slide"):  # these have no effect
        covariates[column] = pd.Categorical(per_patient[column]).codes.astype(float)
    covariates["slide"] /= covariates["slide"].max()
    summary = CoxPHFitter().fit(covariates, "time", "event").summary
    planted = {"z": -0.8, "stage_step": 0.25, "decades": 0.2, "sex": 0.0, "treatment": 0.0, "slide": 0.0}
    for name, value in planted.items():
        estimate, error = summary.loc[name, ["coef", "se(coef)"]]
        assert abs(estimate - value) < 3 * error, name
        assert error < 0.2, name  # an interval so wide that it holds anything would prove nothing
    assert abs(summary.loc["z", "coef"]) > 6 * summary.loc["z", "se(coef)"]


def test_hazard_in_the_truth_is_the_stated_one(large, per_patient):
    truth = large.uns["truth"]["patients"].loc[per_patient.index]
    log_hazard = (
        np.log(0.015) - 0.8 * per_patient["z"] + 0.25 * per_patient["stage_step"] + 0.2 * per_patient["decades"]
    )
    np.testing.assert_allclose(truth["log_hazard"], log_hazard.astype(float), atol=1e-9)
    np.testing.assert_allclose(truth["z"], per_patient["z"].astype(float), atol=1e-9)
    # constant hazards: time times hazard is unit exponential
    assert stats.kstest(truth["survival_time"] * truth["hazard"], "expon").pvalue > 0.01
    assert stats.kstest(truth["follow_up"], stats.uniform(24, 60).cdf).pvalue > 0.01


def test_censoring_is_the_earlier_of_death_and_end_of_follow_up(large, per_patient):
    truth = large.uns["truth"]["patients"].loc[per_patient.index]
    np.testing.assert_allclose(per_patient["time"], truth[["survival_time", "follow_up"]].min(axis=1), atol=0.011)
    assert (per_patient["event"] == (truth["survival_time"] <= truth["follow_up"])).all()
    assert per_patient["time"].min() > 0
    assert 0.3 < per_patient["event"].mean() < 0.9


def test_response_follows_its_log_odds(large, per_patient):
    truth = large.uns["truth"]["patients"].loc[per_patient.index]
    probability = 1 / (1 + np.exp(0.2 - 0.8 * per_patient["z"].astype(float)))  # -effect_size * z = +0.8 z
    np.testing.assert_allclose(truth["response_probability"], probability, atol=1e-9)
    responds = (per_patient["response"] == "responder").to_numpy(float)
    # score test of the logistic model at the planted slope and intercept
    for weight in (np.ones(len(responds)), per_patient["z"].to_numpy(float)):
        score = (weight * (responds - probability)).sum()
        assert abs(score) < 3 * np.sqrt((weight**2 * probability * (1 - probability)).sum())
    assert stats.mannwhitneyu(per_patient["z"][responds == 1], per_patient["z"][responds == 0]).pvalue < 1e-6


@pytest.mark.slow  # below it the same is asked of outcomes alone
def test_null_cohorts_have_uniform_p_values():
    """Median split by a fraction that was named in effect_of, with effect_size 0."""
    p_survival, p_response = [], []
    for seed in range(40):
        adata = sfm.datasets.simulate_cells(
            20, cells_per_patient=20, effect_of="Tumor", effect_size=0.0, n_latent=2, random_state=seed
        )
        fraction = (adata.obs["type"] == "Tumor").groupby(adata.obs["patient"], observed=True).mean()
        table = adata.obs.groupby("patient", observed=True).first()
        high = (fraction > fraction.median()).to_numpy()
        time, event = table["time"].to_numpy(), table["event"].to_numpy()
        p_survival.append(logrank_test(time[high], time[~high], event[high], event[~high]).p_value)
        responds = (table["response"] == "responder").to_numpy()
        p_response.append(stats.ttest_ind(fraction[responds], fraction[~responds]).pvalue)
        assert adata.uns["truth"]["effect"]["log_hazard_ratio_per_sd"] == 0
    for p in (p_survival, p_response):
        assert stats.kstest(p, "uniform").pvalue > 0.01
        assert np.mean(np.array(p) < 0.05) < 0.2


def test_null_hazard_does_not_know_the_fraction():
    """Many null cohorts at the level of outcomes, where they are cheap: Cox Wald statistics are standard normal."""
    rng = np.random.default_rng(0)
    wald = []
    for seed in range(40):
        patients = [draw_patient(i, seed, 8) for i in range(60)]
        clinical, truth = outcomes(patients, rng.random(60), 0.0, 0.015)
        data = clinical[["time", "event"]].assign(z=truth["z"])
        summary = CoxPHFitter().fit(data, "time", "event").summary
        wald.append(summary.loc["z", "z"])
    assert stats.kstest(wald, "norm").pvalue > 0.01


def test_effect_can_be_seen_at_the_default_size():
    p = []
    for seed in range(10):
        adata = sfm.datasets.simulate_cells(24, cells_per_patient=60, n_latent=2, random_state=100 + seed)
        table = adata.obs.groupby("patient", observed=True).first()
        fraction = (adata.obs["niche"] == "tumor nest").groupby(adata.obs["patient"], observed=True).mean()
        data = table[["time", "event"]].assign(z=(fraction - fraction.mean()) / fraction.std())
        p.append(CoxPHFitter().fit(data, "time", "event").summary.loc["z", "p"])
    assert np.mean(np.array(p) < 0.05) > 0.7


def test_patients_do_not_depend_on_how_many_there_are():
    first, again = draw_patient(3, 7, 8), draw_patient(3, 7, 8)
    np.testing.assert_array_equal(first.niche_logits, again.niche_logits)
    assert first.clinical == again.clinical
    assert first.exposure_time == again.exposure_time
    assert draw_patient(3, 8, 8).exposure_time != first.exposure_time
    assert draw_patient(17, 7, 8).slide == 2


def test_patients_differ_more_than_their_samples():
    patients = [draw_patient(i, 0, 8) for i in range(200)]
    shares = np.array([[niche_shares(p, generator(0, "tissue", p.index, s)) for s in range(4)] for p in patients])
    np.testing.assert_allclose(shares.sum(axis=-1), 1)
    log = np.log(shares) - np.log(shares).mean(axis=-1, keepdims=True)
    between, within = log.mean(axis=1).var(axis=0), log.var(axis=1, ddof=1).mean(axis=0)
    assert (between > 1.5 * within).all()


def test_one_patient_alone_has_no_direction_of_effect():
    clinical, truth = outcomes([draw_patient(0, 0, 8)], np.array([0.3]), 1.0, 0.015)
    assert truth["z"].tolist() == [0.0]
    assert clinical["time"].iloc[0] > 0
