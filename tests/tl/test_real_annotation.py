"""Annotation of cells with published labels, compared with scikit-learn done by hand and with shuffled labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from anndata import AnnData
from scipy import stats
from scipy.spatial.distance import cdist
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, f1_score, recall_score, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler

import spatialfm as sfm

pytestmark = pytest.mark.real_data

MARGIN = 16.0


def of(summary, rep):
    """Rows of one representation by score."""
    return summary[summary["use_rep"] == rep].set_index("score")


def probe(values, labels, train, test, C, seen=None):
    """Probabilities of the test rows and the classes, without the package; `seen` are the values to scale by."""
    scaled = StandardScaler().fit(values if seen is None else seen).transform(values)
    model = LogisticRegression(C=C, class_weight="balanced", max_iter=1000).fit(scaled[train], labels[train])
    return model.predict_proba(scaled[test]), model.classes_


def scores_by_hand(labels, probability, classes):
    """Means over the classes that occur."""
    present = [name for name in classes if (labels == name).any()]
    predicted, columns = classes[probability.argmax(1)], np.isin(classes, present)
    average = [average_precision_score(labels == name, probability[:, classes == name].ravel()) for name in present]
    return {
        "f1": f1_score(labels, predicted, labels=present, average="macro", zero_division=0),
        "recall": recall_score(labels, predicted, labels=present, average="macro", zero_division=0),
        "average_precision": np.mean(average),
        "auroc": pairwise_auroc(labels, probability[:, columns], classes[columns]),
    }


def pairwise_auroc(labels, probability, classes):
    found = []
    for i, one in enumerate(classes):
        for j, other in enumerate(classes):
            both = np.isin(labels, [one, other])
            found += [roc_auc_score(labels[both] == one, probability[both, i])] if i != j else []
    return np.mean(found)


@pytest.fixture(scope="module")
def dcis(real_data) -> AnnData:
    """602 cells of a field of breast DCIS (Risom et al. 2022), of which most have a published type."""
    folder: Path = real_data / "dcis_mibi"
    if not (folder / "masks/Point2203_pt1072_31606_cellmask.tif").is_file():
        pytest.skip("no DCIS image")
    sdata = sfm.io.read_tiff(
        folder / "images/Point2203_pt1072_31606.ome.tif",
        folder / "masks/Point2203_pt1072_31606_cellmask.tif",
        sample="f",
        mpp=0.5,
    )
    sfm.pp.cell_table(sdata)
    for model in ("mean-intensity", "classical"):
        sfm.tl.embed_cells(sdata, model)
    cells = sdata["table"]
    published = pd.read_csv(folder / "cells_Point2203_matched_labels.csv").set_index("label").loc[cells.obs["cell_id"]]
    sure = (published["best_match_is_assigned"] & (published["match_cost"] < 0.05)).to_numpy()
    cells.obs["type"] = published["cell_type"].where(sure, None).to_numpy()
    cells.obsm["published"] = published[["centroid_x", "centroid_y"]].to_numpy()
    return cells


@pytest.fixture
def cells(dcis) -> AnnData:
    return dcis.copy()


@pytest.mark.slow
def test_every_label_lies_on_its_cell(cells):
    """Published centres are whole-pixel ones: half a pixel before ours, whose pixels have 0.5 µm."""
    np.testing.assert_allclose(cells.obsm["spatial"] / 0.5 - 0.5, cells.obsm["published"], atol=0.01)
    assert cells.n_obs == 602
    assert cells.obs["type"].notna().sum() == 546


def test_annotate_is_logistic_regression_on_real_cells(cells):
    labels = cells.obs["type"].to_numpy(object)
    known = pd.notna(labels) & (np.arange(cells.n_obs) % 2 == 0)
    cells.obs["known"] = np.where(known, labels, None)
    sfm.tl.annotate(cells, "known", use_rep="X_classical", method="linear", C=0.1, calibrate=False, arcsinh=False)
    rows = np.flatnonzero(known)
    rows = rows[np.argsort(cells.obs_names[rows])]  # as they are read: solvers end elsewhere in another order
    expected, classes = probe(cells.obsm["X_classical"], labels.astype(str), rows, np.arange(cells.n_obs), 0.1)
    found = cells.obsm["known_predicted_probability"]
    assert list(found) == list(classes)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    others = pd.notna(labels) & ~known
    right = (cells.obs["known_predicted"].astype(str) == labels)[others]
    assert right.mean() > pd.Series(labels[others]).value_counts(normalize=True).max() + 0.1
    sure = cells.obs["known_predicted_confidence"][others] > 0.9
    assert right[sure].mean() > right[~sure].mean() + 0.1


@pytest.mark.slow
def test_quadrants_of_a_field_are_those_by_hand(cells):
    keys = ["X_classical", "X_mean_intensity"]
    options = {"patient_key": "quadrant", "C": 1.0, "margin": MARGIN, "calibrate": False}
    summary = sfm.tl.evaluate_annotation(cells, "type", use_rep=keys, arcsinh=False, **options)
    of_labels = ~summary["score"].str.startswith("calibration_error")
    summary = summary[of_labels & summary["use_rep"].isin(keys)]
    counts = cells.obs["type"].value_counts()
    kept = cells[cells.obs["type"].isin(counts.index[counts >= 10])]
    kept = kept[np.argsort(kept.obs_names)]  # as the rows are read: solvers end elsewhere in another order
    labels, places = kept.obs["type"].to_numpy(str), kept.obsm["spatial"]
    middle = np.median(places, axis=0)
    right, below = (places > middle).T
    rows = []
    for quadrant in range(4):
        held_out = test = np.flatnonzero(2 * right + below == quadrant)
        train = np.setdiff1d(np.arange(len(labels)), test)
        train = train[cdist(places[train], places[test]).min(axis=1) > MARGIN]
        test = test[np.isin(labels[test], labels[train])]
        everywhere = cells.obsm["spatial"]
        of_train = 2 * (everywhere[:, 0] > middle[0]) + (everywhere[:, 1] > middle[1]) != quadrant
        of_train &= cdist(everywhere, places[held_out]).min(axis=1) > MARGIN
        for key in keys:
            probability, classes = probe(kept.obsm[key], labels, train, test, 1.0, cells.obsm[key][of_train])
            rows.append({"key": key, **scores_by_hand(labels[test], probability, classes)})
    expected = pd.DataFrame(rows).set_index("key")
    for row in summary.itertuples():
        values = expected.loc[row.use_rep, row.score].to_numpy()
        assert row.mean == pytest.approx(values.mean(), abs=1e-3)
        error = np.sqrt(1 / 4 + 1 / 3) * values.std(ddof=1)  # folds share what they are trained on
        low, high = np.clip(stats.t.interval(0.95, 3, values.mean(), error), 0, 1)
        assert (row.low, row.high) == pytest.approx((low, high), abs=3e-3)
    f1 = cells.uns["annotation"]["differences"].set_index("score").loc["f1"]
    assert f1["difference"] == pytest.approx(
        expected["f1"].loc[keys[0]].mean() - expected["f1"].loc[keys[1]].mean(), abs=4e-3
    )


@pytest.mark.slow
def test_shuffled_labels_are_at_chance(cells):
    counts = cells.obs["type"].value_counts()
    few = cells[cells.obs["type"].isin(counts.index[counts >= 28])].copy()
    options = {"use_rep": "X_mean_intensity", "patient_key": "quadrant", "C": 1.0}
    chance = 1 / few.obs["type"].nunique()
    scores = of(sfm.tl.evaluate_annotation(few, "type", **options), "X_mean_intensity")["mean"]
    rng = np.random.default_rng(0)
    shuffled = []
    for _ in range(8):
        few.obs["shuffled"] = rng.permutation(few.obs["type"].to_numpy(object))
        shuffled.append(of(sfm.tl.evaluate_annotation(few, "shuffled", **options), "X_mean_intensity")["mean"])
    shuffled = pd.DataFrame(shuffled)
    assert shuffled["recall"].mean() == pytest.approx(chance, abs=0.05)
    assert shuffled["auroc"].mean() == pytest.approx(0.5, abs=0.05)
    assert scores["recall"] > shuffled["recall"].max() + 0.2
    assert scores["auroc"] > shuffled["auroc"].max() + 0.2


@pytest.mark.slow
def test_more_labels_are_better_and_the_rarest_class_is_enough_to_learn_from_one(cells):
    counts = cells.obs["type"].value_counts()
    few = cells[cells.obs["type"].isin(counts.index[counts >= 28])].copy()
    options = {"use_rep": "X_mean_intensity", "patient_key": "quadrant", "C": 1.0, "n_train": [1, 20]}
    runs = [sfm.tl.evaluate_annotation(few, "type", random_state=100 * draw, **options) for draw in range(5)]
    recall = (
        pd.concat(runs).query("score == 'recall' and use_rep == 'X_mean_intensity'").groupby("n_train")["mean"].mean()
    )
    assert 1 / few.obs["type"].nunique() < recall["1"] < recall["20"] - 0.1


@pytest.mark.slow
def test_patients_of_the_published_table_are_held_out(real_data):
    """Types were made from these very means, so they are found in patients that were never seen."""
    path = real_data / "dcis_mibi/cells_fusesom_risom_dat_inferred_fov.parquet"
    if not path.is_file():
        pytest.skip("no DCIS table")
    table = pd.read_parquet(path)
    table = table[table["fov_inferred"].notna() & table["CellType"].notna()].sample(3000, random_state=0)
    patient = table["fov_inferred"].astype(str).str.extract(r"_(pt\d+)_")[0].fillna(table["fov_inferred"].astype(str))
    obs = pd.DataFrame({"type": table["CellType"].astype(str), "patient": patient}).set_index(table.index.astype(str))
    values = table.drop(columns=["fov_inferred", "CellType"]).to_numpy(np.float32)
    cells = AnnData(values, obs=obs)
    summary = of(sfm.tl.evaluate_annotation(cells, "type", use_rep="X", C=1.0, min_cells=50, arcsinh=False), "X")
    kept = obs["type"].isin(obs["type"].value_counts().loc[lambda n: n >= 50].index).to_numpy()
    everyone, everything = obs["patient"].to_numpy(str), values
    labels, patients, values = obs["type"].to_numpy(str)[kept], everyone[kept], values[kept]
    by_hand = []
    for train, test in StratifiedGroupKFold(4, shuffle=True, random_state=0).split(labels, labels, patients):
        assert not set(patients[train]) & set(patients[test])
        scaled = StandardScaler().fit(everything[~np.isin(everyone, patients[test])])
        model = LogisticRegression(C=1.0, class_weight="balanced", max_iter=1000)
        model.fit(scaled.transform(values[train]), labels[train])
        predicted = model.predict(scaled.transform(values[test]))
        by_hand.append(
            [f1_score(labels[test], predicted, average="macro"), recall_score(labels[test], predicted, average="macro")]
        )
    np.testing.assert_allclose(summary.loc[["f1", "recall"], "mean"], np.mean(by_hand, axis=0), atol=2e-3)
    assert summary.loc["recall", "mean"] > 0.8
    cells.obs["type"] = np.random.default_rng(0).permutation(cells.obs["type"].to_numpy(object))
    shuffled = of(sfm.tl.evaluate_annotation(cells, "type", use_rep="X", C=1.0, min_cells=50, arcsinh=False), "X")
    assert shuffled.loc["recall", "mean"] == pytest.approx(1 / len(set(labels)), abs=0.03)


@pytest.mark.slow
def test_white_pulp_of_another_image_is_where_lymphocytes_are(real_data):
    """20 labelled cells of each region of one image of a spleen, carried to another one."""
    folder = real_data / "spleen_imc"
    if not folder.is_dir():
        pytest.skip("no spleen images")
    table = pd.DataFrame({"sample": ["r2", "r4"], "patient": "spleen315"})
    table["image"] = [folder / f"images/spleen315_{name}.ome.tif" for name in table["sample"]]
    table["labels"] = [folder / f"masks/spleen315_{name}_cellmask.tif" for name in table["sample"]]
    cells = sfm.io.read_cohort(table, mpp=1.0)["table"]
    region = np.zeros(cells.n_obs, int)
    for sample in table["sample"]:
        mine = (cells.obs["sample"] == sample).to_numpy()
        x, y = cells.obsm["spatial"][mine].astype(int).T
        region[mine] = tifffile.imread(folder / f"masks/spleen315_{sample}_region.tif")[y, x]
    names = np.array([None, "white pulp", "red pulp", None], dtype=object)
    cells.obs["region_of"] = names[region]
    rng = np.random.default_rng(0)
    chosen = [
        rng.choice(np.flatnonzero((cells.obs["sample"] == "r2") & (cells.obs["region_of"] == name)), 20, replace=False)
        for name in ("white pulp", "red pulp")
    ]
    cells.obs["known"] = None
    cells.obs.iloc[np.concatenate(chosen), cells.obs.columns.get_loc("known")] = ["white pulp"] * 20 + ["red pulp"] * 20
    cells.X = np.arcsinh(cells.X)
    sfm.tl.annotate(cells, "known", use_rep="X", C=0.1, arcsinh=False)
    other = (cells.obs["sample"] == "r4") & cells.obs["region_of"].notna()
    truth, found = cells.obs["region_of"][other].astype(str), cells.obs["known_predicted"][other].astype(str)
    assert recall_score(truth, found, average="macro") > 0.7
    lymphocytes = cells[other].to_df()[["CD20", "CD3"]].mean(axis=1)
    assert lymphocytes[found == "white pulp"].mean() > lymphocytes[found == "red pulp"].mean()
