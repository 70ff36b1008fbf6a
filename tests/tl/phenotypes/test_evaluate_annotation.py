"""Folds that keep patients together, and scores of all classes."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler

import spatialfm as sfm
from spatialfm._errors import ArgumentError, SpatialfmWarning, TableError


@pytest.fixture(scope="module")
def cells():
    sfm.settings.progress = False
    return sfm.datasets.simulate_cells(n_patients=6, cells_per_patient=60, random_state=0)


def test_patients_are_in_one_fold_and_scores_are_of_all_classes(cells):
    adata = cells.copy()
    scores = sfm.tl.evaluate_annotation(adata, "type", use_rep="X_latent", C=1.0, n_folds=3, min_cells=10)
    assert set(scores["n_folds"]) == {3}
    folds = adata.uns["annotation"]["folds"]
    folds = folds[folds["use_rep"] == "X_latent"]
    macro = folds[folds["class"] == "macro"]
    recall = scores.query("score == 'recall'").iloc[0]
    assert recall["mean"] == pytest.approx(macro["recall"].mean())
    assert recall["mean"] > 0.5
    classes = folds[folds["class"] != "macro"]
    first = classes[classes["fold"] == 0]
    assert macro["f1"].iloc[0] == pytest.approx(first["f1"].mean())


def test_folds_over_samples_of_shared_patients_are_said_and_too_many_refused(cells):
    adata = cells.copy()
    adata.obs["half"] = (np.arange(adata.n_obs) % 2).astype(str)
    with pytest.warns(SpatialfmWarning, match="cells in several of obs.'half'"):
        sfm.tl.evaluate_annotation(
            adata, "type", use_rep="X_latent", C=1.0, patient_key="half", n_folds=2, min_cells=10
        )
    with pytest.raises(TableError, match="cannot make 9 folds"):
        sfm.tl.evaluate_annotation(adata, "type", use_rep="X_latent", C=1.0, n_folds=9)


def of(summary, rep="X_m"):
    """Rows of one representation by score."""
    return summary[summary["use_rep"] == rep].set_index("score")


def few_of_many(n_patients=8, n_each=250, n_columns=60, seed=0):
    """Four types that differ by 1.5 standard deviations in four of 60 columns whose units differ a thousandfold."""
    rng = np.random.default_rng(seed)
    n = n_patients * n_each
    of_type = rng.integers(0, 4, n)
    values = rng.normal(size=(n, n_columns))
    values[np.arange(n), of_type] += 1.5
    # counts: mostly near zero, a few of them large, so that five cells do not tell the spread
    values[:, 4:] = np.exp(1.5 * values[:, 4:])
    values *= 10 ** rng.uniform(-1, 2, n_columns)
    obs = pd.DataFrame(
        {"type": [f"t{i}" for i in of_type], "patient": np.repeat([f"p{i}" for i in range(n_patients)], n_each)},
        index=[f"c{i}" for i in range(n)],
    )
    return AnnData(obs=obs, obsm={"X_m": values})


def test_cells_without_label_lift_five_labels_a_class():
    adata = few_of_many()
    options = {"use_rep": "X_m", "C": 1.0, "n_train": 5}
    few = of(sfm.tl.evaluate_annotation(adata, "type", **options, published=True))["mean"]
    every = of(sfm.tl.evaluate_annotation(adata, "type", **options))["mean"]
    assert every["f1"] > few["f1"] + 0.05


def by_hand(adata, labelled, seen_of):
    """Macro F1 of each fold, each of two patients held out, from scikit-learn alone."""
    from sklearn.model_selection import StratifiedGroupKFold

    rows = np.flatnonzero(labelled)
    rows = rows[np.argsort(adata.obs_names[rows])]
    types, patients, values = adata.obs["type"].to_numpy(str), adata.obs["patient"].to_numpy(str), adata.obsm["X_m"]
    scores = []
    for train, test in StratifiedGroupKFold(4, shuffle=True, random_state=0).split(rows, types[rows], patients[rows]):
        train, test = rows[train], rows[test]
        scaled = StandardScaler().fit(values[seen_of(patients, test)]).transform(values)
        model = LogisticRegression(C=1.0, class_weight="balanced", max_iter=1000).fit(scaled[train], types[train])
        scores.append(f1_score(types[test], model.predict(scaled[test]), average="macro"))
    return np.mean(scores)


@pytest.mark.parametrize("transductive", [False, True])
def test_columns_are_scaled_by_all_cells_that_may_be_seen(transductive):
    adata = few_of_many(n_each=100, n_columns=8)
    labelled = np.random.default_rng(1).random(adata.n_obs) < 0.2
    adata.obs["known"] = adata.obs["type"].where(labelled)
    scores = sfm.tl.evaluate_annotation(adata, "known", use_rep="X_m", C=1.0, transductive=transductive)

    def seen_of(patients, test):
        return np.ones(len(patients), bool) if transductive else ~np.isin(patients, patients[test])

    assert of(scores).loc["f1", "mean"] == pytest.approx(by_hand(adata, labelled, seen_of), abs=2e-3)
    assert scores["preparation"].str.contains("transductive").tolist() == [transductive] * len(scores)
    assert adata.uns["annotation"]["params"]["transductive"] is transductive


def test_test_patients_move_no_score_unless_they_are_asked_for():
    """Cells without label of the patients that are held out are made extreme; so are those of no known patient."""
    adata = few_of_many(n_each=100, n_columns=8)
    rng = np.random.default_rng(1)
    adata.obs["known"] = adata.obs["type"].where(rng.random(adata.n_obs) < 0.3)
    adata.obs["patient"] = adata.obs["patient"].where((rng.random(adata.n_obs) < 0.9) | adata.obs["known"].notna())
    seen = adata.obs["known"].notna().to_numpy()
    apart = adata.copy()
    nowhere = adata.obs["patient"].isna().to_numpy()
    assert nowhere.sum() > 20
    apart.obsm["X_m"][nowhere] *= 1000
    options = {"use_rep": "X_m", "C": 1.0}
    one, two = (of(sfm.tl.evaluate_annotation(table, "known", **options)) for table in (adata, apart))
    pd.testing.assert_frame_equal(one, two)
    three = of(sfm.tl.evaluate_annotation(apart, "known", **options, transductive=True))
    assert not np.allclose(one["mean"], three["mean"])
    # a gap in a cell without label is not a reason to refuse
    apart.obsm["X_m"][np.flatnonzero(~seen)[:3], 0] = np.nan
    assert sfm.tl.evaluate_annotation(apart, "known", **options)["mean"].notna().all()
    with pytest.raises(TableError, match="Pass it without transductive"):
        sfm.tl.evaluate_annotation(adata, "known", **options, published=True, transductive=True)


def test_cells_without_label_in_the_quadrant_held_out_are_not_seen():
    adata = few_of_many(n_patients=1, n_each=600, n_columns=8)
    rng = np.random.default_rng(2)
    adata.obs["sample"], adata.obsm["spatial"] = "s", rng.random((600, 2)) * 200
    labelled = rng.random(600) < 0.5
    adata.obs["known"] = adata.obs["type"].where(labelled)
    sfm.tl.evaluate_annotation(adata, "known", use_rep="X_m", C=1.0, patient_key="quadrant", margin=5)
    found = adata.uns["annotation"]["folds"].query("`class` == 'macro' and use_rep == 'X_m'")["f1"]
    rows = np.flatnonzero(labelled)
    rows = rows[np.argsort(adata.obs_names[rows])]
    places, types, values = adata.obsm["spatial"], adata.obs["type"].to_numpy(str), adata.obsm["X_m"]
    right, below = (places > np.median(places[rows], axis=0)).T
    expected = []
    for quadrant in range(4):
        inside = 2 * right + below == quadrant
        test = rows[inside[rows]]
        near = np.sqrt(((places[:, None] - places[test]) ** 2).sum(axis=2)).min(axis=1) <= 5
        train = rows[~near[rows]]
        scaled = StandardScaler().fit(values[~inside & ~near]).transform(values)
        model = LogisticRegression(C=1.0, class_weight="balanced", max_iter=1000).fit(scaled[train], types[train])
        expected.append(f1_score(types[test], model.predict(scaled[test]), average="macro"))
    np.testing.assert_allclose(np.sort(found), np.sort(expected), atol=2e-3)


def test_a_margin_in_pixels_is_told():
    adata = few_of_many(n_patients=1, n_each=200, n_columns=8)
    adata.obs["sample"], adata.obsm["spatial"] = "s", np.random.default_rng(0).random((200, 2)) * 200
    options = {"use_rep": "X_m", "C": 1.0, "patient_key": "quadrant"}
    for unit, warned in {
        "pixel": ["No pixel size is known for these cells: margin=16 is taken in pixels"],
        "µm": [],
    }.items():
        adata.uns["spatialfm"] = {"table": {"samples": f'{{"s": {{"unit": "{unit}"}}}}'}}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", SpatialfmWarning)
            sfm.tl.evaluate_annotation(adata, "type", **options)
        told = [str(one.message) for one in caught if "taken in" in str(one.message)]
        assert [one.partition(",")[0] for one in told] == warned


def test_methods_are_scored_on_the_same_drawn_cells_and_differences_are_paired(cells, monkeypatch):
    from spatialfm.learn.heads import judge as module

    seen, fit = {}, module.fit_of

    def watch(name, blocks, stacked, room, rows, labels, options):
        if room.values.shape[1] != 16:
            seen.setdefault(name, []).append(room.values[rows])
        return fit(name, blocks, stacked, room, rows, labels, options)

    monkeypatch.setattr(module, "fit_of", watch)
    adata = cells.copy()
    options = {"use_rep": "X_latent", "n_folds": 3, "n_train": [3, 6], "n_draws": 2, "C": 1.0}
    summary = sfm.tl.evaluate_annotation(adata, "type", heads=["lda", "nearest_mean"], **options)
    assert len(seen["lda"]) == 3 * 2 * 2
    for one, two in zip(seen["lda"], seen["nearest_mean"], strict=True):
        np.testing.assert_array_equal(one, two)
    assert len({one.tobytes() for one in seen["lda"]}) == 12  # every draw is another
    record = adata.uns["annotation"]
    macro = record["folds"].query("`class` == 'macro' and asked == '6'")
    of_fold = macro.pivot_table(index="fold", columns="head", values="f1", aggfunc="mean")  # over draws
    rows = summary.query("score == 'f1' and n_train == '6'").set_index("head")
    assert rows.loc["lda", "mean"] == pytest.approx(of_fold["lda"].mean())
    assert rows.loc["lda", "sd"] == pytest.approx(of_fold["lda"].std(ddof=1))
    apart = record["differences"].query("score == 'f1' and n_train == '6'").iloc[0]
    assert (apart["first_head"], apart["second_head"]) == ("lda", "nearest_mean")
    assert apart["difference"] == pytest.approx((of_fold["lda"] - of_fold["nearest_mean"]).mean())
    assert set(record["times"]["head"]) == {"lda", "nearest_mean", "linear", "majority"}
    assert (record["times"]["seconds"] > 0).all()


def test_floors_are_among_the_rows_at_chance(cells):
    adata = cells.copy()
    summary = sfm.tl.evaluate_annotation(adata, "type", use_rep="X_latent", C=1.0, n_folds=3).set_index("score")
    noise, none = (summary[summary["use_rep"] == name] for name in ("16 random numbers", "none"))
    counts = adata.obs["type"].value_counts()
    kept = counts[counts >= 10]
    chance = 1 / len(kept)
    assert abs(noise.loc["recall", "mean"] - chance) < 0.1
    assert none.loc["recall", "mean"] == pytest.approx(chance)
    assert none.loc["auroc", "mean"] == pytest.approx(0.5)
    macro = adata.uns["annotation"]["folds"].query("use_rep == 'none'")
    commonest = macro[macro["class"] == kept.index[0]]
    share = commonest["n"] / macro[macro["class"] == "macro"]["n"].to_numpy()
    np.testing.assert_allclose(commonest["f1"], 2 * share / (1 + share))  # precision is the share, recall 1
    assert none.loc["f1", "mean"] < noise.loc["f1", "mean"] < summary.query("use_rep == 'X_latent'").loc["f1", "mean"]


def test_every_class_has_its_support(cells):
    adata = cells.copy()
    sfm.tl.evaluate_annotation(adata, "type", use_rep="X_latent", C=1.0, n_folds=3, n_train=4, n_draws=3)
    table = adata.uns["annotation"]["classes"]
    own = table[table["use_rep"] == "X_latent"].set_index("class")
    counts = adata.obs["type"].value_counts()
    kept = counts[counts >= 10]
    assert own["support"].to_dict() == kept.to_dict()  # each cell is tested once
    folds = adata.uns["annotation"]["folds"].query("use_rep == 'X_latent'")
    name = kept.index[0]
    assert own.loc[name, "f1"] == pytest.approx(folds[folds["class"] == name]["f1"].mean())


def test_heads_that_are_none_and_the_old_name_are_refused(cells):
    with pytest.raises(TableError, match="heads='svm' is not one of 'linear'"):
        sfm.tl.evaluate_annotation(cells, "type", use_rep="X_latent", heads=["linear", "svm"])
    with pytest.raises(TableError, match="heads= has 'lda'"):
        sfm.tl.evaluate_annotation(cells, "type", use_rep="X_latent", heads="lda", published=True, C=1.0)
    with pytest.raises(ArgumentError, match="n_draws=0"):
        sfm.tl.evaluate_annotation(cells, "type", use_rep="X_latent", C=1.0, n_train=5, n_draws=0)
    with pytest.raises(TypeError, match="It is called 'heads'"):
        sfm.tl.evaluate_annotation(cells, "type", use_rep="X_latent", head="linear")


def test_markers_of_types_are_scored_on_the_same_cells_without_a_label(cells):
    adata = cells.copy()
    signatures = {
        "Tumor": ["Cytokeratin"], "B": ["CD20", "CD3-"], "Macrophage": ["CD68", "CD3-"], "Fibroblast": ["aSMA"],
        "Endothelial": ["CD31"],
    }  # fmt: skip
    adata.obs["kind"] = adata.obs["type"].astype(str).where(adata.obs["type"].isin([*signatures, "CD8 T"]))
    options = {"use_rep": ["X"], "n_folds": 3, "n_train": [2, 5], "heads": "lda", "signatures": signatures}
    summary = sfm.tl.evaluate_annotation(adata, "kind", **options)
    rows = summary[(summary["head"] == "signatures") & (summary["score"] == "recall")]
    assert rows["n_train"].tolist() == ["2", "5"]
    assert rows["mean"].nunique() == 1  # no label is looked at
    assert rows["use_rep"].tolist() == ["X", "X"]
    classes = adata.uns["annotation"]["classes"].query("head == 'signatures' and n_train == '5'").set_index("class")
    assert classes.loc[list(signatures), "recall"].min() > 0.7
    assert classes.loc["CD8 T", "recall"] == 0  # has no markers
    shuffled = adata.copy()
    shuffled.obs["kind"] = np.random.default_rng(0).permutation(adata.obs["kind"].to_numpy(object))
    scores = sfm.tl.evaluate_annotation(shuffled, "kind", **options)
    assert scores.query("head == 'signatures' and score == 'recall'")["mean"].max() < 0.35
