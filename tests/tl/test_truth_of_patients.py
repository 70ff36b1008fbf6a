"""Tools of patients on simulated cohorts whose truth is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import adjusted_rand_score

import spatialfm as sfm

PLANTED = "tumor nest"


def simulate(n=80, size=2.0, seed=0, **options):
    return sfm.datasets.simulate_cells(n, cells_per_patient=100, effect_size=size, random_state=seed, **options)


@pytest.fixture(scope="module")
def simulated():
    """80 patients who die the faster, and respond the less, the more of their tissue is tumor nest."""
    return simulate()


@pytest.fixture
def patients(simulated):
    return sfm.tl.composition(simulated, "niche", patient_key="patient")


@pytest.fixture
def halves(simulated, patients):
    """Patients above and below the median of the true fraction, which the tools do not see."""
    fraction = simulated.uns["truth"]["patients"]["fraction"].reindex(patients.obs["patient"]).to_numpy()
    patients.obs["half"] = pd.Categorical(
        np.where(fraction > np.median(fraction), "more", "less"), ["less", "more"], True
    )
    return patients


def test_kaplan_meier_is_the_survival_that_was_drawn():
    """Without censoring by follow-up the curve is the mean of the patients' exponential curves."""
    cells = sfm.datasets.simulate_cells(300, cells_per_patient=10, effect_size=0.0, random_state=0)
    patients = sfm.tl.composition(cells, "type", patient_key="patient")
    curve = sfm.tl.kaplan_meier(patients, copy=True)["table"]
    hazard = cells.uns["truth"]["patients"]["hazard"].to_numpy()
    truth = np.exp(-np.outer(curve["time"], hazard)).mean(axis=1)
    early = (curve["at_risk"] >= 30).to_numpy()
    assert early.sum() > 100
    inside = ((curve["ci_low"] <= truth) & (truth <= curve["ci_high"]))[early]
    assert inside.mean() > 0.8  # a point in 95 of 100 cohorts; points of one cohort go together
    assert np.abs(curve["survival"] - truth)[early].max() < 0.1


def test_logrank_tells_halves_apart_and_shuffled_ones_not(halves):
    result = sfm.tl.logrank(halves, "half", trend=True, copy=True)
    assert result["p_value"] < 1e-4
    assert result["trend"]["direction"] == 1
    p = []
    for seed in range(40):
        halves.obs["half"] = np.random.default_rng(seed).permutation(halves.obs["half"])
        p.append(sfm.tl.logrank(halves, "half", copy=True)["p_value"])
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_a_cut_of_the_planted_niche_is_a_cut_of_risk(patients):
    result = sfm.tl.cut_point(patients, PLANTED, n_permutations=199, copy=True)
    assert result["p_value"] == pytest.approx(1 / 200)
    assert result["higher_risk"] == "high"
    truth = patients.to_df()[PLANTED].to_numpy()
    assert ((truth > result["cut"]) == (result["groups"] == "high")).all()


@pytest.mark.parametrize("function", ["coxnet", "survival_forest"])
def test_survival_models_find_the_planted_niche(patients, function):
    options = {"n_folds": 3, "n_inner_folds": 3, "n_bootstrap": 200}
    options |= {"n_alphas": 10} if function == "coxnet" else {"n_trees": 30, "min_samples_leaf": 6}
    getattr(sfm.tl, function)(patients, **options)
    result = patients.uns[function]
    assert result["scores"].loc["harrell", "ci_low"] > 0.6
    table = result["coefficients"]["coef"] if function == "coxnet" else result["importance"]["importance"]
    assert table.idxmax() == PLANTED


def test_scores_of_the_true_hazard_are_those_of_a_good_model(simulated, patients):
    truth = simulated.uns["truth"]["patients"].reindex(patients.obs["patient"])
    time, event = patients.obs["time"], patients.obs["event"]
    good = sfm.metrics.survival(time, event, truth["log_hazard"], n_bootstrap=0)["scores"]["value"]
    noise = sfm.metrics.survival(time, event, np.random.default_rng(0).normal(size=80), n_bootstrap=0)["scores"]
    assert good.min() > 0.7
    assert noise["value"].between(0.35, 0.65).all()


def test_groups_of_tissue_are_groups_of_the_planted_niche(halves):
    sfm.tl.stratify(halves, 2, time_key="time", event_key="event")
    fraction = halves.to_df()[PLANTED]
    high = halves.obs["risk_group"] == "high"
    assert fraction[high].mean() > fraction[~high].mean() + 0.1
    assert adjusted_rand_score(halves.obs["half"], high) > 0.1
    table = sfm.tl.risk_ratio(halves, "half", PLANTED, threshold=float(fraction.median()), copy=True)
    assert table.loc[PLANTED, "ci_low"] > 1
    assert table.loc[PLANTED, "p_value"] < 1e-6


def test_states_of_cells_are_finer_than_types(simulated):
    """A state holds cells of one type; without noise and slides, as many states as there are kinds find them."""
    clean = simulate(6, latent_noise=0.05, batch_effect=0.0)
    sfm.tl.cell_states(clean, 60, use_rep="X_latent")
    table = pd.crosstab(clean.obs["state"], clean.obs["type"])
    assert (table.max(axis=1).sum() / clean.n_obs) > 0.95
    sfm.tl.cell_states(simulated, 40, use_rep="X_latent", key_added="forty")
    table = pd.crosstab(simulated.obs["forty"], simulated.obs["type"])
    assert (table.max(axis=1).sum() / simulated.n_obs) > 1.5 * simulated.obs["type"].value_counts(normalize=True).max()


@pytest.mark.slow  # from the search to a second cohort; each step has its own test
def test_signatures_of_the_planted_niche_are_found_scored_and_carried_over(simulated):
    """Cells of the non-response signature are in tumor nests; its score orders patients of a second cohort too."""
    options = {"outcome": "response", "positive": "responder", "resolutions": [1.0], "n_permutations": 9}
    cells = simulate(60)
    sfm.tl.discover_signatures(
        cells, use_rep="X_latent", max_cells=None, n_repeats=3, n_repeats_model=3, n_signatures=1, **options
    )
    found = cells.uns["signatures"]
    assert found["scores"].loc["nested", "score"] > 0.65
    assert found["scores"].loc["nested", "p_value"] <= 0.1
    nest = (cells.obs["niche"] == PLANTED).to_numpy()
    worst = cells.obsm["signatures"]["NRS1"].to_numpy()
    assert nest[worst].mean() > 2 * nest.mean()
    patients = sfm.tl.score_signatures(cells, cluster_key="type")
    truth = cells.uns["truth"]["patients"].reindex(patients.obs["patient"])
    assert stats.spearmanr(patients.obs["signature_score"], truth["log_hazard"]).statistic < -0.3
    by_type = patients.uns["enrichment"].query("signature == 'NRS1'").set_index("type")["log2_enrichment"]
    assert by_type.idxmax() == pd.crosstab(cells.obs["type"], worst, normalize="index")[True].idxmax()
    other = simulate(30, seed=7)
    sfm.tl.transfer_signatures(cells, other, use_rep="X", n_trees=40)
    there = other.obsm["signatures"]["NRS1"].to_numpy()
    elsewhere = (other.obs["niche"] == PLANTED).to_numpy()
    assert elsewhere[there].mean() > 1.3 * elsewhere.mean()


def test_the_sides_of_a_niche_have_different_neighbours(simulated):
    """The neighbours of a tumor cell in a nest are tumor cells, more than elsewhere, in nearly all patients."""
    simulated.obs["nest"] = simulated.obs["niche"] == PLANTED
    table = sfm.tl.neighborhood_contrast(simulated, "type", cell_type="Tumor", within="nest", copy=True)
    assert table.loc["Tumor", "relative_change"] > 0
    assert table.loc["Tumor", "significant"]
    assert table.loc["Tumor", "p_patients"] < 0.02


def test_hits_are_of_the_type_of_the_query_and_chance_is_told():
    cells = simulate(6, latent_noise=0.1, batch_effect=0.0)
    index = sfm.tl.build_index(cells, "X_latent")
    who = cells.obs["patient"]
    hits = sfm.tl.search(index, cells[::7], k=5)
    table = sfm.metrics.retrieval(hits, labels=cells.obs["type"].astype(str), patients=who, k=[1, 5])
    table = table.set_index("measure")
    assert (table["low"] > table["chance"])[["accuracy@1", "precision@1", "precision@5"]].all()
    assert (table["value"] > table["chance"] + 0.3).all()
    expected = [
        (cells.obs["type"][who != mine] == kind).mean()
        for mine, kind in zip(who[::7], cells.obs["type"][::7], strict=True)
    ]
    assert table.loc["precision@5", "chance"] == pytest.approx(np.mean(expected))


def test_samples_with_as_much_tumor_are_near(simulated):
    cells = simulate(30, batch_effect=0.0)
    fraction = cells.uns["truth"]["patients"]["fraction"]
    samples = cells.obs.drop_duplicates("sample").set_index("sample")["patient"]
    own = fraction[samples.to_numpy()].set_axis(samples.index)
    apart = []
    for query in samples.index[:10]:
        hits = sfm.tl.search_samples(cells, query, k=3, use_rep="X_latent")
        apart.append(np.abs(own[hits["sample"]].to_numpy() - own[query]).mean())
    random = np.abs(own.to_numpy()[:, None] - own.to_numpy()).sum() / (30 * 29)
    assert np.mean(apart) < 0.75 * random


def test_networks_find_what_decides_on_response():
    cells = sfm.datasets.simulate_cells(50, cells_per_patient=40, effect_size=4.0, batch_effect=0.0, random_state=1)
    options = {"n_folds": 2, "n_seeds": 1, "n_heads": 2, "hidden": 16, "learning_rate": 3e-3, "max_epochs": 20}
    sfm.tl.mil(cells, use_rep="X_latent", label_key="response", positive="responder", **options)
    summary = cells.uns["mil"]["summary"].set_index("score")
    assert summary.loc["auroc", "mean"] > 0.7
    assert summary.loc["auroc", "p_two_sided"] < 0.05
    held_out = cells.uns["mil"]["patients"]["p_responder"]
    hazard = cells.uns["truth"]["patients"]["log_hazard"].reindex(held_out.index)
    assert stats.spearmanr(held_out, hazard).statistic < -0.3


def test_clusters_of_clean_embeddings_are_types_and_of_noise_are_not():
    cells = simulate(6, latent_noise=0.05, batch_effect=0.0)
    cells.obsm["X_noise"] = np.random.default_rng(0).normal(size=(cells.n_obs, 8))
    table = sfm.tl.cluster_agreement(cells, "type", use_rep=["X_latent", "X_noise"], methods=["kmeans"], n_seeds=2)
    mean = table.groupby("use_rep")["ari"].mean()
    assert mean["X_latent"] > 0.4
    assert abs(mean["X_noise"]) < 0.02
    sfm.tl.leiden_sweep(cells, use_rep="X_latent", resolutions=[0.3, 1.0], n_subsamples=2)
    found = pd.crosstab(cells.obs["leiden_sweep"], cells.obs["type"])
    assert found.max(axis=1).sum() / cells.n_obs > 0.8
