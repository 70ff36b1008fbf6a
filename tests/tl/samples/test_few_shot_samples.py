"""Patients distinguished by clusters, from a few labelled ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import stats
from sklearn.metrics import balanced_accuracy_score, f1_score
from sklearn.neighbors import KNeighborsClassifier

import spatialfm as sfm
from spatialfm._errors import ArgumentError, ClinicalError, SpatialfmWarning, TableError
from spatialfm.stats.folds import support_draws
from spatialfm.tl.samples.few_shot_samples import nearest_support


@pytest.fixture(scope="module")
def simulated():
    return sfm.datasets.simulate_cells(n_patients=40, cells_per_patient=80, effect_size=4.0, random_state=1)


@pytest.fixture
def cells(simulated):
    return simulated.copy()


def score(adata, name, key="few_shot_samples"):
    table = adata.uns[key]["summary"]
    return table[table["score"] == name].set_index("representation")["mean"]


def test_every_draw_is_what_scikit_learn_gives(cells):
    sfm.tl.few_shot_samples(cells, label_key="response", cluster_key="niche", n_draws=20, random_state=3)
    record = cells.uns["few_shot_samples"]
    patients = sfm.tl.composition(cells, "niche", patient_key="patient")
    truth = (patients.obs["response"] == "responder").to_numpy().astype(int)
    expected = []
    for support, test in support_draws(truth, 5, 20, np.random.default_rng(3)):
        model = KNeighborsClassifier(1).fit(patients.X[support], truth[support])
        predicted = model.predict(patients.X[test])
        expected.append([balanced_accuracy_score(truth[test], predicted), f1_score(truth[test], predicted)])
    np.testing.assert_allclose(record["draws"][["balanced_accuracy", "f1"]], expected)
    row = record["summary"].query("score == 'f1'").iloc[0]
    values = np.array(expected)[:, 1]
    interval = stats.t.interval(0.95, 19, values.mean(), stats.sem(values))
    found = row[["mean", "low_published", "high_published"]].astype(float)
    np.testing.assert_allclose(found, [values.mean(), *interval])
    half = stats.t.ppf(0.975, 19) * values.std(ddof=1) * np.sqrt(1 / 20 + 1)
    assert row["low"] == pytest.approx(max(values.mean() - half, 0))


def test_scores_of_classes_order_by_the_nearest():
    rng = np.random.default_rng(0)
    distance, codes = rng.random((50, 9)), np.repeat([0, 1, 2], 3)
    scores = nearest_support(distance, codes, 3)
    np.testing.assert_allclose(scores.sum(axis=1), 1)
    np.testing.assert_array_equal(scores.argmax(axis=1), codes[distance.argmin(axis=1)])


def test_a_planted_effect_is_found_and_shuffled_labels_are_not(cells):
    common = {"label_key": "response", "cluster_key": ["niche", "slide"], "n_draws": 20}
    sfm.tl.few_shot_samples(cells, use_rep="X_latent", n_permutations=19, **common)
    found = score(cells, "balanced_accuracy")
    assert found["X_latent"] > 0.65
    assert found["niche"] > 0.7
    assert 0.3 < found["slide"] < 0.7  # it is independent of the tissue
    summary = cells.uns["few_shot_samples"]["summary"].query("score == 'auroc'").set_index("representation")
    assert summary.loc["niche", "p_value"] == pytest.approx(0.05)
    comparison = cells.uns["few_shot_samples"]["comparison"].query("score == 'balanced_accuracy'")
    pair = comparison.set_index(["first", "second"])
    assert pair.loc[("niche (4)", "slide (5)"), "p_published"] < 1e-4
    assert 1e-4 < pair.loc[("niche (4)", "slide (5)"), "p_value"] < 0.5
    assert pair.loc[("slide (5)", "niche (4)"), "p_value"] > 0.5
    patients = sfm.tl.composition(cells, "niche", patient_key="patient").obs["response"]
    null = []
    for seed in range(8):
        shuffled = np.random.default_rng(seed).permutation(patients)
        cells.obs["response"] = cells.obs["patient"].map(dict(zip(patients.index, shuffled, strict=True))).astype(str)
        sfm.tl.few_shot_samples(cells, **common, key_added="null")
        null.append(score(cells, "auroc", "null")["niche"])
    assert abs(np.mean(null) - 0.5) < 0.1  # one shuffle has a standard deviation of about 0.08


def test_held_out_scores_of_patients_are_means_over_draws(cells):
    record = sfm.tl.few_shot_samples(
        cells, label_key="response", use_rep="X_latent", n_clusters=[4, 8], n_draws=30, copy=True
    )
    assert "few_shot_samples" not in cells.uns
    patients = record["patients"]
    assert list(patients.columns[2:]) == [
        f"X_latent_{k}:{name}" for k in (4, 8) for name in ("non-responder", "responder")
    ]
    np.testing.assert_allclose(patients.iloc[:, 2] + patients.iloc[:, 3], 1)
    right = (patients["X_latent_8:responder"] > 0.5) == (patients["label"] == "responder")
    assert right.mean() > 0.7
    assert record["summary"]["n_clusters"].unique().tolist() == [4, 8]


def test_patients_that_are_all_alike_cannot_be_told_apart(cells):
    cells.obs["one"] = "same"
    sfm.tl.few_shot_samples(cells, label_key="response", cluster_key="one", n_draws=5)
    found = cells.uns["few_shot_samples"]["draws"]
    assert (found["auroc"] == 0.5).all()
    assert (found["balanced_accuracy"] == 0.5).all()


@pytest.mark.parametrize("metric", ["cityblock", "jensenshannon"])
def test_other_distances(cells, metric):
    sfm.tl.few_shot_samples(cells, label_key="response", cluster_key="niche", metric=metric, n_draws=20)
    assert score(cells, "balanced_accuracy")["niche"] > 0.7
    assert cells.uns["few_shot_samples"]["params"]["metric"] == metric


def test_results_repeat_and_can_be_stored(cells, tmp_path):
    cells.obs["stage"] = cells.obs["stage"].astype(str)
    common = {"label_key": "stage", "use_rep": "X", "n_support": 2, "n_draws": 5, "on_missing": "drop"}
    for key in ("one", "two"):
        sfm.tl.few_shot_samples(cells, **common, key_added=key)
    assert cells.uns["one"]["draws"].equals(cells.uns["two"]["draws"])
    cells.write_h5ad(tmp_path / "cells.h5ad")  # tests/test_round_trip.py reads it from every kind of store


@pytest.mark.parametrize(
    ("change", "arguments", "error", "message"),
    [
        (None, {"n_support": 25}, TableError, "fewer than 26 patients, which n_support=25 and one to test needs"),
        (None, {"n_support": 0}, ArgumentError, "n_support=0"),
        (None, {"metric": "cosine"}, ArgumentError, "metric='cosine'.*'jensenshannon'"),
        (None, {"use_rep": None}, TableError, r"Nothing to compare cases by. Pass use_rep="),
        (None, {"use_rep": "X_other"}, TableError, "No 'X_other' in obsm"),
        (None, {"label_key": "answer"}, TableError, r"No column 'answer' in obs \(label_key=\)"),
        (None, {"n_clusters": 10_000}, TableError, "cannot be separated into 10000 states"),
        ("one class", {}, TableError, "All 40 patients are 'responder'"),
        ("two labels", {}, ClinicalError, "more than one value in obs"),
        ("two patients", {}, ClinicalError, "1 sample belongs to more than one patient"),
        ("missing", {}, TableError, r"1 of 40 patients have no value in 'response'.*on_missing"),
        ("nan", {}, TableError, r"1 of 3200 rows of 'X_latent' hold NaN"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_written(cells, change, arguments, error, message):
    cells.obs["response"] = cells.obs["response"].astype(object)
    first = cells.obs["patient"] == cells.obs["patient"].iloc[0]
    if change == "one class":
        cells.obs["response"] = "responder"
    elif change == "two labels":
        cells.obs.loc[cells.obs_names[0], "response"] = {"responder": "non-responder", "non-responder": "responder"}[
            cells.obs["response"].iloc[0]
        ]
    elif change == "two patients":
        cells.obs["patient"] = cells.obs["patient"].astype(str)
        cells.obs.loc[cells.obs_names[0], "patient"] = "P999"
        cells.obs["response"] = "x"
    elif change == "missing":
        cells.obs.loc[first, "response"] = None
    elif change == "nan":
        cells.obsm["X_latent"][5, 2] = np.nan
    with pytest.raises(error, match=message):
        sfm.tl.few_shot_samples(cells, **{"label_key": "response", "use_rep": "X_latent"} | arguments)
    assert "few_shot_samples" not in cells.uns


def test_averages_are_kronos_case_retrieval(cells):
    """Three reference patients of each class, the nearest average embedding, 100 times (written out)."""
    common = {"label_key": "response", "use_rep": "X_latent", "n_support": 3, "n_draws": 20}
    sfm.tl.few_shot_samples(cells, n_clusters=None, **common)
    record = cells.uns["few_shot_samples"]
    frame = cells.obs[["patient", "response"]].astype(str)
    names = np.unique(frame["patient"])
    means = np.stack([cells.obsm["X_latent"][(frame["patient"] == name).to_numpy()].mean(axis=0) for name in names])
    truth = (frame.drop_duplicates("patient").set_index("patient")["response"][names] == "responder").astype(int)
    expected = []
    for support, test in support_draws(truth.to_numpy(), 3, 20, np.random.default_rng(0)):
        nearest = np.linalg.norm(means[test][:, None] - means[support], axis=2).argmin(axis=1)
        expected.append(balanced_accuracy_score(truth.iloc[test], truth.iloc[support].to_numpy()[nearest]))
    np.testing.assert_allclose(record["draws"]["balanced_accuracy"], expected)
    assert record["summary"]["n_clusters"].unique().tolist() == [0]
    with pytest.raises(TableError, match="compares shares"):
        sfm.tl.few_shot_samples(cells, n_clusters=[8, None], metric="jensenshannon", **common)


def test_the_order_of_rows_changes_nothing(cells):
    common = {"label_key": "response", "use_rep": "X_latent", "n_clusters": 4, "n_draws": 5, "copy": True}
    one = sfm.tl.few_shot_samples(cells, **common)
    two = sfm.tl.few_shot_samples(cells[np.random.default_rng(0).permutation(cells.n_obs)].copy(), **common)
    np.testing.assert_allclose(one["draws"]["auroc"], two["draws"]["auroc"], atol=1e-6)
    assert one["patients"].index.equals(two["patients"].index)


def test_numbers_of_cells_are_no_class():
    """Shares of the same tissue, of 40 cells in one class and 600 in the other: the few are far from each other."""
    rng, found = np.random.default_rng(0), {"all": [], "auto": []}
    common = {"label_key": "arm", "cluster_key": "type", "n_draws": 30, "copy": True}
    for _ in range(4):
        n = np.repeat([40, 600], 12)
        who = np.repeat(np.arange(24), n)
        obs = pd.DataFrame({"patient": [f"P{i:02d}" for i in who], "arm": np.where(who < 12, "few", "many")})
        obs["type"] = rng.choice(list("abcdefgh"), len(who))
        adata = AnnData(obs=obs.set_index(obs.index.astype(str)))
        for cells_per_patient, scores in found.items():
            with pytest.warns(SpatialfmWarning, match=r"Numbers of cells per patient go with obs\['arm'\]"):
                record = sfm.tl.few_shot_samples(adata, **common, cells_per_patient=cells_per_patient)
            scores.append(record["summary"].set_index("score").loc["auroc", "mean"])
    assert np.mean(found["all"]) > 0.75
    assert abs(np.mean(found["auto"]) - 0.5) < 0.1
    assert record["params"]["cells_per_patient"] == 40
