"""Labels carried from a few cells to all, and how that is judged."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import spatialfm as sfm
from spatialfm._errors import TableError
from spatialfm.learn.heads import auto, fitted, self_training
from spatialfm.learn.heads import cells as cells_file
from spatialfm.learn.probe import away_from, draw_per_class, fit_probe, quadrants, search_C, validation_split
from spatialfm.tl.phenotypes.evaluate_annotation import _cells


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    """Time: the methods themselves have their own tests."""
    monkeypatch.setattr("spatialfm.learn.heads.trees.N_TREES", 30)


@pytest.fixture(scope="module")
def simulated():
    return sfm.datasets.simulate_cells(n_patients=8, cells_per_patient=150, random_state=0)


@pytest.fixture
def cells(simulated):
    return simulated.copy()


def label_some(cells, n, seed=0):
    rng, types = np.random.default_rng(seed), cells.obs["type"].astype(object)
    known = np.zeros(cells.n_obs, bool)
    for name in types.unique():
        mine = np.flatnonzero(types == name)
        known[rng.choice(mine, min(n, len(mine)), replace=False)] = True
    cells.obs["known"] = types.where(known)
    return known


def test_the_probe_is_that_of_scikit_learn(cells):
    known = label_some(cells, 10)
    sfm.tl.annotate(cells, "known", use_rep="X_latent", method="linear", C=0.5, calibrate=False)
    scaled = StandardScaler().fit_transform(cells.obsm["X_latent"])  # by all cells, the few labels come later
    model = LogisticRegression(C=0.5, class_weight="balanced", max_iter=1000)
    expected = model.fit(scaled[known], cells.obs["known"][known].astype(str)).predict_proba(scaled)
    # both stop where the gradient is small: with other BLAS kernels, some 1e-6 apart
    found = cells.obsm["known_predicted_probability"]
    assert list(found.columns) == list(model.classes_)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    ordered = np.sort(expected, 1)
    np.testing.assert_allclose(cells.obs["known_predicted_confidence"], ordered[:, -1], atol=1e-5)
    np.testing.assert_allclose(cells.obs["known_predicted_margin"], ordered[:, -1] - ordered[:, -2], atol=1e-5)
    entropy = -(expected * np.log(expected)).sum(1) / np.log(expected.shape[1])
    np.testing.assert_allclose(cells.obs["known_predicted_entropy"], entropy, atol=1e-5)


@pytest.mark.parametrize("head", ["linear", "forest", "knn"])
def test_few_labels_find_the_planted_types(cells, head):
    known = label_some(cells, 20)
    table = sfm.tl.annotate(cells, "known", use_rep="X_latent", method=head, C=1.0, copy=True)
    right = (table["label"].astype(str) == cells.obs["type"].astype(str))[~known]
    assert right.mean() > 0.8
    assert "known_predicted" not in cells.obs
    # a cell that the classifier is sure of is right more often
    sure = table["confidence"][~known] > table["confidence"][~known].median()
    assert right[sure].mean() > right[~sure].mean()


def test_the_order_of_the_table_has_no_part_in_the_answer(cells):
    cells = cells[::3].copy()
    label_some(cells, 15)
    rng = np.random.default_rng(1)
    cells.obsm["X_weak"] = cells.obsm["X_latent"] + rng.normal(0, 2, cells.obsm["X_latent"].shape)  # types overlap
    turned = cells[rng.permutation(cells.n_obs)].copy()
    one, other = (
        sfm.tl.annotate(table, "known", use_rep="X_weak", copy=True).loc[cells.obs_names] for table in (cells, turned)
    )
    assert (one["label"].astype(str) == other["label"].astype(str)).all()
    np.testing.assert_allclose(one["confidence"], other["confidence"], atol=1e-5)


@pytest.mark.parametrize("method", ["ensemble", "nearest_mean", "spreading", "self_training", "auto"])
def test_the_order_of_a_table_of_which_a_part_is_drawn_has_no_part_in_the_answer(cells, method, monkeypatch):
    for file, names in ((cells_file, ("MAX_NODES", "FITTED_TO")), (fitted, ("MOST_COUNTED",))):
        for name in names:
            monkeypatch.setattr(file, name, 150)
    monkeypatch.setattr(self_training, "MAX_LOOKED_AT", 150)
    monkeypatch.setattr(auto, "MOST_SEEN", 150)
    monkeypatch.setattr(auto, "OTHERS", ("linear", "nearest_mean"))  # what is drawn for them is drawn once for all
    cells = cells[::2].copy()
    label_some(cells, 6)
    rng = np.random.default_rng(1)
    cells.obsm["X_weak"] = cells.obsm["X_latent"] + rng.normal(0, 2, cells.obsm["X_latent"].shape)
    turned = cells[rng.permutation(cells.n_obs)].copy()
    turned.obsm["X_weak"] = turned.obsm["X_weak"][:, rng.permutation(turned.obsm["X_weak"].shape[1])]
    one, other = (
        sfm.tl.annotate(table, "known", use_rep="X_weak", method=method, copy=True).loc[cells.obs_names]
        for table in (cells, turned)
    )
    assert (one["label"].astype(str) == other["label"].astype(str)).mean() > 0.995
    np.testing.assert_allclose(one["confidence"], other["confidence"], atol=0.01)


def test_one_label_a_class_is_enough_to_run(cells, caplog):
    known = label_some(cells, 1)
    with caplog.at_level("INFO", "spatialfm"):
        sfm.tl.annotate(cells, "known", use_rep="X_latent", method="linear")
    assert "too few to tune C" in caplog.text
    assert cells.uns["known_predicted"]["params"]["C"] == min(1.0, 10 / cells.obsm["X_latent"].shape[1])
    right = (cells.obs["known_predicted"].astype(str) == cells.obs["type"].astype(str))[~known]
    assert right.mean() > 2 / cells.obs["type"].nunique()


def test_the_search_finds_a_penalty_that_noise_needs():
    rng = np.random.default_rng(0)
    labels = np.repeat(["a", "b"], 100)
    values = rng.normal(size=(200, 60))
    values[:, 0] += np.where(labels == "a", 1.0, -1.0)
    used = search_C(values, labels, None, n_trials=15, random_state=0)
    assert used == search_C(values, labels, None, n_trials=15, random_state=0)

    def accuracy(C):
        test = rng.normal(size=(4000, 60))
        truth = np.repeat(["a", "b"], 2000)
        test[:, 0] += np.where(truth == "a", 1.0, -1.0)
        model = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=1000)).fit(values, labels)
        return (model.predict(test) == truth).mean()

    assert accuracy(used) >= accuracy(1e5) - 0.01


def test_bad_labels_and_embeddings_are_refused(cells):
    cells.obs["one"] = pd.Series(["T"] + [None] * (cells.n_obs - 1), index=cells.obs_names, dtype=object)
    cells.obs["none"] = pd.Series([None] * cells.n_obs, index=cells.obs_names, dtype=object)
    cells.obsm["X_bad"] = np.full((cells.n_obs, 2), np.nan)
    for arguments, message in [
        (("one", {"use_rep": "X_latent"}), r"1 class in 1 labelled cells \('T'\)"),
        (("none", {"use_rep": "X_latent"}), r"0 classes"),
        (("nothing", {"use_rep": "X_latent"}), "No column 'nothing'"),
        (("type", {"use_rep": "X_other"}), r"No 'X_other' in obsm .*'X_latent'"),
        (("type", {"use_rep": "X_bad"}), r"1200 of 1200 rows of 'X_bad' hold NaN"),
    ]:
        with pytest.raises(TableError, match=message):
            sfm.tl.annotate(cells, arguments[0], **arguments[1])
    constant = cells[:40].copy()
    constant.obsm["X_flat"] = np.ones((40, 3))
    table = sfm.tl.annotate(constant, "type", use_rep="X_flat", C=1.0, copy=True)
    assert table.notna().all().all()


def test_no_patient_is_on_both_sides(cells, monkeypatch):
    from spatialfm.learn.heads import probes as module

    seen, fit = [], module.fit_probe

    def watch(values, labels, *, groups, **options):
        if values.shape[1] != 16:  # the floor
            seen.append(set(groups))
        return fit(values, labels, groups=groups, **options)

    monkeypatch.setattr(module, "fit_probe", watch)
    sfm.tl.evaluate_annotation(cells, "type", use_rep="X_latent", C=1.0, min_cells=5)
    everyone = set(cells.obs["patient"].astype(str))
    held_out = [everyone - part for part in seen]
    assert len(held_out) == 4
    assert set.union(*held_out) == everyone
    assert sum(map(len, held_out)) == len(everyone)  # each patient is tested once


def test_scores_tell_signal_from_noise_with_intervals(cells):
    rng = np.random.default_rng(0)
    cells.obsm["X_noise"] = rng.normal(size=(cells.n_obs, 5))
    cells.obsm["X_perfect"] = pd.get_dummies(cells.obs["type"]).to_numpy(float)
    summary = sfm.tl.evaluate_annotation(
        cells, "type", use_rep=["X_latent", "X_noise", "X_perfect"], C=1.0, n_train=[20, 50], min_cells=5
    )
    table = summary.set_index(["score", "use_rep", "n_train"])["mean"]
    chance = 1 / cells.obs["type"].nunique()
    assert table["recall", "X_perfect", "50"] == 1
    assert abs(table["recall", "X_noise", "50"] - chance) < 0.1
    assert table["recall", "X_latent", "50"] > 0.7
    assert abs(table["auroc", "X_noise", "50"] - 0.5) < 0.1
    assert (summary["low"] <= summary["mean"]).all()
    differences = cells.uns["annotation"]["differences"].set_index(["first", "second", "n_train", "score"])
    row = differences.loc[("X_latent", "X_noise", "50", "recall")]
    assert row["low"] > 0.3
    assert row["p_value"] < 0.01
    folds = cells.uns["annotation"]["folds"]
    by_hand = folds.query("use_rep == 'X_latent' and asked == '50' and `class` == 'macro'")["f1"]
    assert table["f1", "X_latent", "50"] == pytest.approx(by_hand.mean())


def test_intervals_allow_for_folds_that_share_training_cells(cells):
    cells.obsm["X_noise"] = np.random.default_rng(0).normal(size=(cells.n_obs, 5))
    summary = sfm.tl.evaluate_annotation(cells, "type", use_rep=["X_latent", "X_noise"], C=1.0, min_cells=5)
    folds = cells.uns["annotation"]["folds"].query("`class` == 'macro'").pivot(index="fold", columns="use_rep")["f1"]
    row = summary.query("use_rep == 'X_latent' and score == 'f1'").iloc[0]
    error = np.sqrt(1 / 4 + 1 / 3) * folds["X_latent"].std(ddof=1)  # 1 / K and test over training: 1 / (K - 1)
    assert row["mean"] - row["low"] == pytest.approx(stats.t.ppf(0.975, 3) * error)
    assert row["high"] == 1.0  # 1.02 by the formula
    apart = folds["X_latent"] - folds["X_noise"]
    t = apart.mean() / (np.sqrt(1 / 4 + 1 / 3) * apart.std(ddof=1))
    found = cells.uns["annotation"]["differences"].query("score == 'f1'").iloc[0]
    assert found["p_value"] == pytest.approx(2 * stats.t.sf(abs(t), 3))


def test_the_order_of_rows_changes_nothing(cells):
    mixed = cells[np.random.default_rng(0).permutation(cells.n_obs)].copy()
    one, two = (
        sfm.tl.evaluate_annotation(table, "type", use_rep="X_latent", C=1.0, n_train=20, min_cells=5)
        for table in (cells, mixed)
    )
    np.testing.assert_allclose(one["mean"], two["mean"], atol=1e-6)


def test_cells_without_label_are_in_the_order_of_their_names_too(cells):
    label_some(cells, 20)
    mixed = cells[np.random.default_rng(0).permutation(cells.n_obs)].copy()
    for part in _cells(mixed, "known", 5, None):
        assert part.obs_names.is_monotonic_increasing


def test_several_partitions_are_averaged_and_their_spread_is_in_the_interval(cells):
    common = {"use_rep": "X_latent", "C": 1.0, "n_train": 30, "min_cells": 5}
    summary = sfm.tl.evaluate_annotation(cells, "type", **common, n_repeats=3)
    summary = summary[summary["use_rep"] == "X_latent"].set_index("score")
    folds = cells.uns["annotation"]["folds"].query("`class` == 'macro' and use_rep == 'X_latent'")
    means = folds.groupby("partition")["f1"].mean()
    assert len(means) == 3
    assert means.nunique() == 3
    variance = 7 / 12 * folds.groupby("partition")["f1"].var().mean() + means.var(ddof=1)
    row = summary.loc["f1"]
    assert row["mean"] == pytest.approx(means.mean())
    assert row["mean"] - row["low"] == pytest.approx(stats.t.ppf(0.975, 3) * np.sqrt(variance))
    assert row["high"] == 1.0  # 1.02 by the formula


def test_the_published_probe_is_neither_weighted_nor_fitted_again():
    rng = np.random.default_rng(0)
    labels = np.repeat(["a", "b", "c"], [90, 30, 15])
    values, groups = rng.normal(size=(135, 4)), rng.choice(list("PQRSTU"), 135)
    values[:, 0] += 2 * (labels == "b")
    probe, used = fit_probe(values, labels, head="linear", C="search", groups=groups, n_trials=1, published=True)
    assert used != 1.0
    rows, _ = validation_split(np.repeat([0, 1, 2], [90, 30, 15]), groups, 0)
    assert len(rows) < 135
    model = make_pipeline(StandardScaler(), LogisticRegression(C=used, max_iter=1000)).fit(values[rows], labels[rows])
    np.testing.assert_allclose(probe.predict_proba(values), model.predict_proba(values), atol=1e-6)
    assert fit_probe(values, labels, head="linear", C="search", groups=groups, n_trials=1)[1] == 1.0


def test_quadrants_leave_a_margin(cells):
    one = cells[cells.obs["sample"] == cells.obs["sample"].iloc[0]].copy()
    summary = sfm.tl.evaluate_annotation(
        one, "type", use_rep="X_latent", C=1.0, patient_key="quadrant", min_cells=8, margin=5
    )
    assert (summary["n_folds"] == 4).all()
    positions = np.array([[0.0, 0.0], [1, 1], [9, 9], [10, 10]])
    samples = np.array(["a"] * 4)
    assert quadrants(positions, samples).tolist() == [3, 3, 0, 0]
    kept = away_from(np.array([0, 1]), np.array([2]), positions, samples, margin=11.5)
    assert kept.tolist() == [0]
    other = away_from(np.array([0, 1]), np.array([2]), positions, np.array(["b", "b", "a", "a"]), margin=50)
    assert other.tolist() == [0, 1]


def test_training_cells_are_drawn_by_class():
    labels = np.array(["a"] * 30 + ["b"] * 3)
    rows = draw_per_class(labels, np.arange(33), 5, 0)
    assert (labels[rows] == "a").sum() == 5
    assert (labels[rows] == "b").sum() == 3
    assert not np.array_equal(rows, draw_per_class(labels, np.arange(33), 5, 1))


def test_too_few_patients_or_classes_are_refused(cells):
    few = cells[cells.obs["patient"].isin(cells.obs["patient"].unique()[:2])].copy()
    with pytest.raises(TableError, match=r"2 different values of obs\['patient'\].*cannot make 4 folds.*quadrant"):
        sfm.tl.evaluate_annotation(few, "type", use_rep="X_latent")
    with pytest.raises(TableError, match=r"0 classes with 100000 or more cells"):
        sfm.tl.evaluate_annotation(cells, "type", use_rep="X_latent", min_cells=100000)
    tiny = AnnData(obs=pd.DataFrame({"type": list("ababababab")}), obsm={"X_latent": np.ones((10, 2))})
    with pytest.raises(TableError, match="No column 'patient'"):
        sfm.tl.evaluate_annotation(tiny, "type", use_rep="X_latent", min_cells=2)


def test_patients_in_two_spellings_are_refused_and_intervals_are_of_scores():
    cells = sfm.datasets.simulate_cells(n_patients=8, cells_per_patient=60, random_state=0)
    table = sfm.tl.evaluate_annotation(cells, "type", use_rep="X_latent", C=1.0, min_cells=5)
    bounded = table[~table["score"].eq("calibration_error_debiased")]  # which may be below 0: its mean is right
    assert bounded["low"].min() >= 0
    assert table["high"].max() <= 1
    names = cells.obs["patient"].astype(str).to_numpy()
    cells.obs["patient"] = np.where((names == "P001") & (np.arange(len(names)) % 2 == 0), "p001", names)
    with pytest.raises(TableError, match="spells 1 patient in several ways"):
        sfm.tl.evaluate_annotation(cells, "type", use_rep="X_latent", C=1.0, min_cells=5)


def test_probabilities_are_right_as_often_as_they_say_and_unsure_cells_get_no_label(cells):
    """Latent columns under noise, sixty more of noise alone, and a penalty too weak for them."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(cells.n_obs, 60 + cells.obsm["X_latent"].shape[1]))
    latent = cells.obsm["X_latent"] / cells.obsm["X_latent"].std(axis=0)
    cells.obsm["X_noisy"] = np.hstack([latent, np.zeros((cells.n_obs, 60))]) + noise
    known = rng.random(cells.n_obs) < 0.25  # in their own proportions
    cells.obs["known"] = cells.obs["type"].astype(object).where(known)
    options = {"use_rep": "X_noisy", "method": "linear", "C": 10.0}
    as_it_is = sfm.tl.annotate(cells, "known", **options, calibrate=False, copy=True)
    sfm.tl.annotate(cells, "known", **options, key_added="found")
    right = (as_it_is["label"].astype(str) == cells.obs["type"].astype(str)).to_numpy()[~known]

    def gap(confidence):
        return abs(confidence.to_numpy()[~known].mean() - right.mean())

    assert gap(as_it_is["confidence"]) > 0.1
    assert gap(cells.obs["found_confidence"]) < 0.06
    params = cells.uns["found"]["params"]
    assert params["temperature"] > 1
    assert 0.8 * known.sum() < params["n_held_out"] <= known.sum()
    assert 0 < params["calibration_error"] < 0.15
    assert cells.obs["found"].astype(str).tolist() == as_it_is["label"].astype(str).tolist()
    sfm.tl.annotate(cells, "known", **options, key_added="sure", min_probability=0.6)
    low = (cells.obs["found_confidence"] < 0.6).to_numpy()
    assert 0 < low.sum() < cells.n_obs
    np.testing.assert_array_equal(cells.obs["sure"].isna(), low)
    assert cells.uns["sure"]["params"]["n_unlabelled"] == low.sum()
    assert cells.obs["sure_confidence"].notna().all()
    assert right[~low[~known]].mean() > right.mean() + 0.05


def test_auto_says_why_and_writes_what_it_compared(cells, caplog, monkeypatch):
    monkeypatch.setattr("spatialfm.learn.heads.auto.OTHERS", ("linear", "nearest_mean"))
    label_some(cells, 8)
    with caplog.at_level("INFO", "spatialfm"):
        sfm.tl.annotate(cells, "known", use_rep="X_latent", method="auto")
    record = cells.uns["known_predicted"]
    chosen = record["params"]["chosen"]
    assert record["params"]["why"].startswith(f"{chosen}: ")
    assert record["params"]["why"] in caplog.text
    assert record["methods"]["method"].tolist() == ["ensemble", "linear", "nearest_mean"]
    assert "patients held out whole" in record["params"]["why"]
    sfm.tl.annotate(cells, "known", use_rep="X_latent", method=chosen, key_added="plain")
    np.testing.assert_allclose(cells.obsm["plain_probability"], cells.obsm["known_predicted_probability"])


def test_auto_that_compared_nothing_says_so_in_its_record(cells, tmp_path):
    label_some(cells, 2)
    sfm.tl.annotate(cells, "known", use_rep="X_latent", method="auto")
    cells.write_h5ad(tmp_path / "cells.h5ad")
    record = anndata.read_h5ad(tmp_path / "cells.h5ad").uns["known_predicted"]
    assert record["params"]["chosen"] == "ensemble"
    assert "compare nothing" in record["params"]["why"]
    assert record["methods"].shape[0] == 0
    assert {"method", "recall", "gain", "gain_error", "n_held_out"} <= set(record["methods"].columns)


@pytest.mark.parametrize("combine", ["concatenate", "stack"])
def test_two_halves_of_an_embedding_tell_what_the_whole_does(cells, combine):
    known = label_some(cells, 10)
    half = cells.obsm["X_latent"].shape[1] // 2
    cells.obsm["X_left"], cells.obsm["X_right"] = cells.obsm["X_latent"][:, :half], cells.obsm["X_latent"][:, half:]
    sfm.tl.annotate(cells, "known", use_rep=["X_left", "X_right"], combine=combine, method="lda")
    right = (cells.obs["known_predicted"].astype(str) == cells.obs["type"].astype(str))[~known].mean()
    parts = [sfm.tl.annotate(cells, "known", use_rep=one, method="lda", copy=True) for one in ("X_left", "X_right")]
    alone = [(one["label"].astype(str) == cells.obs["type"].astype(str))[~known].mean() for one in parts]
    assert right > max(alone)
    params = cells.uns["known_predicted"]["params"]
    assert list(params["use_rep"]) == ["X_left", "X_right"]
    assert params["combine"] == combine
    scores = sfm.tl.evaluate_annotation(
        cells, "type", use_rep=["X_left", "X_right"], combine=combine, heads="lda", min_cells=5
    )
    recall = scores.query("score == 'recall'").set_index("use_rep")["mean"]
    assert recall["X_left + X_right"] > recall[["X_left", "X_right"]].max()


SIGNATURES = {
    "Tumor": ["Cytokeratin"], "B": ["CD20", "CD3-"], "CD8 T": ["CD3", "CD8", "CD4-"], "Macrophage": ["CD68", "CD3-"],
    "CD4 T": ["CD3", "CD4", "FOXP3-", "CD8-"], "Treg": ["CD3", "CD4", "FOXP3"], "Endothelial": ["CD31"],
    "Fibroblast": ["aSMA", "CD31-"],
}  # fmt: skip


def test_markers_of_types_need_no_label_and_find_a_type_that_has_none(cells):
    mine = cells.obs["type"].isin(list(SIGNATURES)).to_numpy()
    cells = cells[mine].copy()
    truth = cells.obs["type"].astype(str)
    sfm.tl.annotate(cells, signatures=SIGNATURES, use_rep="X_latent")
    assert (cells.obs["signature_predicted"].astype(str) == truth).mean() > 0.85
    params = cells.uns["signature_predicted"]["params"]
    assert (params["method"], params["n_labelled"], params["label_key"]) == ("signatures", 0, "")
    label_some(cells, 3)
    cells.obs["known"] = cells.obs["known"].where(truth != "Endothelial")
    table = sfm.tl.annotate(cells, "known", signatures=SIGNATURES, use_rep="X_latent", method="lda", copy=True)
    right = table["label"].astype(str) == truth
    alone = sfm.tl.annotate(cells, "known", use_rep="X_latent", method="lda", copy=True)["label"].astype(str) == truth
    assert right[truth == "Endothelial"].mean() > 0.8
    assert right.mean() > alone.mean()


def test_signatures_are_refused_before_any_work(cells):
    from spatialfm._errors import PanelError

    with pytest.raises(TableError, match="neither labels nor signatures"):
        sfm.tl.annotate(cells, use_rep="X_latent")
    with pytest.raises(PanelError, match="No marker 'CD19' in the table"):
        sfm.tl.annotate(cells, signatures={"B": ["CD19"], "T": ["CD3"]}, use_rep="X_latent")
    with pytest.raises(TableError, match="No layer 'raw'"):
        sfm.tl.annotate(cells, signatures=SIGNATURES, layer="raw", use_rep="X_latent")
    assert "signature_predicted" not in cells.obs


def test_smoothing_writes_its_weight_and_its_cost(cells, caplog):
    label_some(cells, 8)
    with caplog.at_level("INFO", "spatialfm"):
        sfm.tl.annotate(cells, "known", use_rep="X_latent", method="lda", smoothing=0.5)
    record = cells.uns["known_predicted"]
    assert record["params"]["smoothing_weight"] == 0.5
    table = record["smoothing"]
    assert table["n"].sum() == cells.obs["known"].notna().sum()
    assert (table["recall_smoothed"] < table["recall"]).any()
    assert "lower recall of held-out cells: " in caplog.text
    assert "Neutrophil 0.62 to 0.38" in caplog.text
    sfm.tl.annotate(cells, "known", use_rep="X_latent", method="lda", smoothing="auto", key_added="chosen")
    sfm.tl.annotate(cells, "known", use_rep="X_latent", method="lda", key_added="off")
    weight = cells.uns["chosen"]["params"]["smoothing_weight"]
    off, chosen = (cells.obsm[f"{key}_probability"].to_numpy() for key in ("off", "chosen"))
    assert np.allclose(off, chosen) == (weight == 0)
    assert "smoothing" not in cells.uns["off"]
    with pytest.raises(TableError, match="smoothing=2.0 is not a share"):
        sfm.tl.annotate(cells, "known", use_rep="X_latent", smoothing=2.0)


def test_means_of_contributions_are_of_the_cells_that_have_the_label(cells):
    label_some(cells, 20)
    rng, wrong = np.random.default_rng(0), cells.obs["known"].notna() & (np.arange(cells.n_obs) % 3 == 0)
    cells.obs.loc[wrong, "known"] = rng.permutation(cells.obs.loc[wrong, "known"])  # so that it is not sure
    sfm.tl.annotate(cells, "known", use_rep="X", method="bcos", calibrate=False)
    least = float(cells.obs["known_predicted_confidence"].median())
    sfm.tl.annotate(cells, "known", use_rep="X", method="bcos", calibrate=False, min_probability=least)
    called, mine = cells.obs["known_predicted"], cells.obsm["known_predicted_contribution"]
    assert 0 < called.isna().sum() < len(called)
    table = cells.uns["known_predicted"]["contributions"]
    assert table["n"].sum() == called.notna().sum()
    expected = mine.groupby(called, observed=True).mean()
    np.testing.assert_allclose(table.loc[expected.index, mine.columns], expected)


def test_an_answer_that_adds_up_is_written_with_what_it_is_made_of():
    cells = sfm.datasets.simulate_cells(n_patients=6, cells_per_patient=100, random_state=0)
    cells.obs["known"] = cells.obs["type"].where(np.arange(cells.n_obs) % 3 == 0)
    sfm.tl.annotate(cells, "known", use_rep="X", method="bcos")
    shares, logit = cells.obsm["known_predicted_contribution"], cells.obs["known_predicted_logit"]
    assert list(shares) == [*cells.var_names, "intercept"]
    np.testing.assert_allclose(shares.sum(axis=1), logit, atol=1e-5)
    assert (cells.obs["known_predicted"] == cells.obs["type"]).mean() > 0.95
    means = cells.uns["known_predicted"]["contributions"]
    mine = cells.obs["known_predicted"] == "B"
    assert means.loc["B", "n"] == mine.sum()
    np.testing.assert_allclose(means.loc["B", list(shares)].astype(float), shares[mine].mean(), atol=1e-9)
    assert means.loc["B", list(cells.var_names)].idxmax() == "CD20"
    table = sfm.tl.annotate(cells, "known", use_rep="X", method="bcos", copy=True)
    np.testing.assert_allclose(table["contribution CD20"], shares["CD20"], atol=1e-9)
    two = sfm.tl.annotate(cells, "known", use_rep=["X", "X_latent"], method="bcos", calibrate=False, copy=True)
    whole = two.filter(like="contribution ")
    assert {"contribution X: CD20", "contribution X_latent: column 1"} <= set(whole)
    np.testing.assert_allclose(whole.sum(axis=1), two["logit"], atol=1e-5)
    # a method of another kind leaves nothing of it behind
    sfm.tl.annotate(cells, "known", use_rep="X", method="lda")
    assert "known_predicted_contribution" not in cells.obsm
    assert "known_predicted_logit" not in cells.obs
    with pytest.raises(TableError, match="what its own answer is a sum of. Pass it without smoothing="):
        sfm.tl.annotate(cells, "known", use_rep="X", method="bcos", smoothing=0.5)
    with pytest.raises(TableError, match="Pass it without signatures="):
        sfm.tl.annotate(cells, "known", use_rep="X", method="bcos", signatures={"B": ["CD20"]})
    with pytest.raises(TableError, match="method='bcos' takes one apart"):
        sfm.tl.annotate(cells, "known", use_rep=["X", "X_latent"], method="bcos", combine="stack")


def test_the_price_of_an_answer_that_adds_up_is_small_on_the_same_folds():
    cells = sfm.datasets.simulate_cells(n_patients=4, cells_per_patient=150, random_state=1)
    options = {"use_rep": "X", "heads": ["linear", "bcos"], "C": 1.0, "n_folds": 2, "min_cells": 10, "calibrate": False}
    scores = sfm.tl.evaluate_annotation(cells, "type", **options)
    recall = scores[scores["score"] == "recall"].set_index(["use_rep", "head"])["mean"]
    assert recall["X", "bcos"] > recall["X", "linear"] - 0.05
    differences = cells.uns["annotation"]["differences"]
    assert {"linear", "bcos"} <= set(differences[[name for name in differences if "head" in name]].stack())
