"""Logistic regression on average embeddings of patients."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, balanced_accuracy_score, f1_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import spatialfm as sfm
from spatialfm._errors import ArgumentError, ClinicalError, SpatialfmWarning, TableError
from spatialfm.stats.folds import stratified_draws
from spatialfm.tl.samples.classify_samples import ClassifierOptions, case_means, even_part, fit_predict


@pytest.fixture(scope="module")
def simulated():
    return sfm.datasets.simulate_cells(n_patients=40, cells_per_patient=80, effect_size=4.0, random_state=1)


@pytest.fixture
def cells(simulated):
    return simulated.copy()


@pytest.fixture
def patients(cells):
    return sfm.tl.composition(cells, "type", patient_key="patient")


def summary_of(adata, key="classify_samples"):
    return adata.uns[key]["summary"].query("score == 'auroc'").set_index("use_rep")


@pytest.mark.parametrize(
    ("n_components", "scale_components", "class_weight"), [(None, False, None), (4, False, None), (4, True, "balanced")]
)
def test_every_draw_is_a_pipeline_of_scikit_learn(patients, n_components, scale_components, class_weight):
    common = {"label_key": "response", "use_rep": "X", "n_draws": 15, "positive": "non-responder"}
    common |= {"scale_components": scale_components, "class_weight": class_weight}
    sfm.tl.classify_samples(patients, **common, n_components=n_components, C=0.5, random_state=2)
    record = patients.uns["classify_samples"]
    truth = (patients.obs["response"] == "responder").to_numpy().astype(int)
    expected, total, times = [], np.zeros(40), np.zeros(40)
    for train, test in stratified_draws(truth, 0.2, 15, np.random.default_rng(2)):
        reduce = [] if n_components is None else [PCA(n_components, random_state=0)]
        reduce += [StandardScaler()] if scale_components else []
        classifier = LogisticRegression(C=0.5, class_weight=class_weight, max_iter=2000)
        model = make_pipeline(StandardScaler(), *reduce, classifier).fit(patients.X[train], truth[train])
        p = model.predict_proba(patients.X[test])[:, 0]
        no = truth[test] == 0
        scores = [roc_auc_score(no, p), average_precision_score(no, p), f1_score(no, p > 0.5)]
        expected.append([*scores, balanced_accuracy_score(no, p > 0.5)])
        total[test] += p
        times[test] += 1
    found = record["draws"][["auroc", "average_precision", "f1", "balanced_accuracy"]]
    np.testing.assert_allclose(found, expected, atol=1e-8)
    seen = times > 0
    held_out = record["patients"][f"X_{n_components or 0}:non-responder"].to_numpy()
    np.testing.assert_allclose(held_out[seen], total[seen] / times[seen], atol=1e-8)
    assert np.isnan(held_out[~seen]).all()


def test_components_are_those_of_the_rows_of_training_patients(cells):
    values = cells.obsm["X_latent"].astype(float)
    codes = pd.factorize(cells.obs["patient"])[0]
    truth = (cells.obs["response"] == "responder").to_numpy()[np.unique(codes, return_index=True)[1]].astype(int)
    train, test = np.arange(10, 40), np.arange(10)
    rows = values[codes >= 10]
    found, n_used = fit_predict(case_means(values, codes, 40), rows, truth, train, test, [6], ClassifierOptions())[6]
    assert n_used == 6
    scale = StandardScaler().fit(rows)
    pca = PCA(6, random_state=0).fit(scale.transform(rows))
    components = pd.DataFrame(pca.transform(scale.transform(values))).groupby(codes).mean().to_numpy()
    model = LogisticRegression(max_iter=2000).fit(components[train], truth[train])
    expected = model.predict_proba(components[test])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # whatever stands in a patient to be tested, the others are predicted alike
    far = values.copy()
    far[codes == 0] *= 1000
    other, _ = fit_predict(case_means(far, codes, 40), rows, truth, train, test, [6], ClassifierOptions())[6]
    np.testing.assert_array_equal(other[1:], found[1:])


def test_a_planted_effect_is_found_and_representations_are_compared(cells, patients):
    cells.obsm["noise"] = np.random.default_rng(0).standard_normal((cells.n_obs, 5))
    common = {"label_key": "response", "n_draws": 15, "n_components": 8}
    sfm.tl.classify_samples(cells, use_rep=["X_latent", "noise"], **common)
    found = summary_of(cells)
    assert found.loc["X_latent", "mean"] > 0.75
    assert abs(found.loc["noise", "mean"] - 0.5) < 0.2
    pairs = cells.uns["classify_samples"]["comparison"].query("score == 'auroc'").set_index(["first", "second"])
    assert pairs.loc[("X_latent", "noise"), "p_published"] < 1e-3
    # the allowance for shared patients makes it harder, not easier
    assert pairs.loc[("X_latent", "noise"), "p_published"] < pairs.loc[("X_latent", "noise"), "p_value"] < 0.5
    assert cells.uns["classify_samples"]["draws"].query("use_rep == 'noise'")["n_used"].unique().tolist() == [5]
    sfm.tl.classify_samples(patients, use_rep="X", **common | {"n_components": None}, n_permutations=19)
    assert summary_of(patients).loc["X", "p_value"] == pytest.approx(0.05)


@pytest.mark.slow
def test_where_there_is_nothing_only_the_published_interval_denies_it():
    rng = np.random.default_rng(0)
    published, corrected, p_values, means = [], [], [], []
    for cohort in range(20):
        obs = pd.DataFrame({"patient": [f"P{i}" for i in range(30)], "y": ["a", "b"] * 15})
        obs.index = obs["patient"].to_numpy()
        adata = AnnData(rng.standard_normal((30, 3)), obs=obs)
        common = {"label_key": "y", "use_rep": "X", "n_components": None, "n_draws": 12, "random_state": cohort}
        sfm.tl.classify_samples(adata, **common, n_permutations=4 if cohort < 3 else 0)
        row = summary_of(adata).loc["X"]
        means.append(row["mean"])
        published.append(row["low_published"] <= 0.5 <= row["high_published"])
        corrected.append(row["low"] <= 0.5 <= row["high"])
        p_values.append(row["p_value"])
    assert abs(np.mean(means) - 0.5) < 0.08
    assert np.mean(corrected) >= 0.9
    assert np.mean(published) < 0.75
    assert np.nanmin(p_values) >= 0.2  # 1 of 5 at least
    assert np.isnan(p_values[3:]).all()


def test_rows_of_a_patient_are_averaged(cells):
    values = cells.obsm["X_latent"]
    codes, names = pd.factorize(cells.obs["patient"])
    means = case_means(values, codes, len(names))
    np.testing.assert_allclose(means, pd.DataFrame(values).groupby(codes).mean(), rtol=1e-4, atol=1e-5)
    averaged = AnnData(means, obs=cells.obs.drop_duplicates("patient").set_index("patient", drop=False))
    sfm.tl.classify_samples(averaged, label_key="response", use_rep="X", n_components=None, n_draws=5)
    sfm.tl.classify_samples(cells, label_key="response", use_rep="X_latent", n_components=None, n_draws=5)
    one, two = (data.uns["classify_samples"]["draws"] for data in (averaged, cells))
    np.testing.assert_allclose(one["auroc"], two["auroc"], atol=0.05)


def test_a_part_of_the_rows_is_even_over_patients():
    codes = np.repeat([0, 1, 2], [100, 10, 3])
    names = np.array([f"c{i:03d}" for i in range(113)])
    part = even_part(codes, names, 30, np.random.default_rng(0))
    assert np.bincount(codes[part]).tolist() == [17, 10, 3]
    assert (np.diff(part) > 0).all()
    assert even_part(codes, names, 200, np.random.default_rng(0)).tolist() == list(range(113))
    order = np.random.default_rng(1).permutation(113)  # the same rows, wherever they stand
    again = even_part(codes[order], names[order], 30, np.random.default_rng(0))
    assert set(names[order][again]) == set(names[part])


def test_three_classes_missing_labels_and_storage(cells, tmp_path):
    patients = cells.obs["patient"].unique()
    names = {name: [None, "HR+/HER2-", "b", "c"][i % 4] for i, name in enumerate(patients)}
    cells.obs["arm"] = cells.obs["patient"].map(names)
    arguments = {"label_key": "arm", "use_rep": "X_latent", "n_components": [4, None], "n_draws": 6}
    with pytest.raises(TableError, match="10 of 40 patients have no value in 'arm'"):
        sfm.tl.classify_samples(cells, **arguments)
    sfm.tl.classify_samples(cells, **arguments, on_missing="drop")
    record = cells.uns["classify_samples"]
    assert len(record["patients"]) == 30
    assert record["params"]["n_dropped"] == 10
    assert record["params"]["positive"] == ""
    assert (record["summary"]["n_components"].unique() == [4, 0]).all()
    assert ((record["draws"]["f1"] - record["draws"]["f1_macro"]).abs() < 1e-12).all()
    cells.write_h5ad(tmp_path / "cells.h5ad")
    again = sfm.tl.classify_samples(cells, **arguments, on_missing="drop", copy=True)
    assert again["draws"].equals(record["draws"])


@pytest.mark.parametrize(
    ("change", "arguments", "error", "message"),
    [
        (None, {"n_draws": 1}, TableError, "n_draws=1"),
        (None, {"n_components": 0}, ArgumentError, "n_components="),
        (None, {"n_components": []}, TableError, "n_components="),
        (None, {"test_size": 1.0}, ArgumentError, "test_size=1.0.*below 1"),
        (None, {"C": 0}, ArgumentError, "C=0.*above 0"),
        (None, {"class_weight": "even"}, ArgumentError, "class_weight='even'"),
        (None, {"cells_per_patient": "some"}, ArgumentError, "cells_per_patient='some'"),
        (None, {"use_rep": []}, TableError, "use_rep= is empty"),
        (None, {"positive": "cured"}, TableError, "positive='cured' is not a value"),
        ("one class", {}, TableError, "All 40 patients are 'responder'"),
        ("one patient", {}, TableError, r"fewer than 2 patients.*'responder \(1\)'"),
        ("two labels", {}, ClinicalError, "first 'P001': "),
        ("nan", {}, TableError, "rows of 'X_latent' hold NaN"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_written(cells, change, arguments, error, message):
    cells.obs["response"] = "non-responder" if change == "one patient" else cells.obs["response"].astype(object)
    first = (cells.obs["patient"] == "P001").to_numpy()
    if change == "one class":
        cells.obs["response"] = "responder"
    elif change == "one patient":
        cells.obs.loc[first, "response"] = "responder"
    elif change == "two labels":
        cells.obs.loc[cells.obs_names[0], "response"] = "unknown"
    elif change == "nan":
        cells.obsm["X_latent"][5, 2] = np.nan
    with pytest.raises(error, match=message):
        sfm.tl.classify_samples(cells, **{"label_key": "response", "use_rep": "X_latent"} | arguments)
    assert "classify_samples" not in cells.uns


@pytest.mark.slow
@pytest.mark.real_data
def test_groups_of_the_colorectal_cohort(real_data):
    """35 patients of Schürch et al. 2020, KRONOS's task; groups are known by number only."""
    if not (real_data / "crc_codex_table" / "cells.parquet").is_file():
        pytest.skip("no colorectal table")
    table = pd.read_parquet(
        real_data / "crc_codex_table" / "cells.parquet", columns=["imageID", "ID", "Group", "cellType"]
    )
    obs = table.set_axis(["sample", "patient", "group", "type"], axis=1).astype(str)
    cells = AnnData(obs=obs.set_axis(obs.index.astype(str)))
    patients = sfm.tl.composition(cells, "type", patient_key="patient")
    assert patients.obs["group"].value_counts().to_dict() == {"2.0": 18, "1.0": 17}
    sfm.tl.classify_samples(patients, label_key="group", use_rep="X", n_components=None)
    found = summary_of(patients).loc["X"]
    assert 0.6 < found["mean"] < 0.85
    assert found["low"] < found["low_published"] < found["mean"]
    sfm.tl.few_shot_samples(cells, label_key="group", cluster_key="type")
    summary = cells.uns["few_shot_samples"]["summary"].set_index("score")
    assert 0.5 < summary.loc["balanced_accuracy", "mean"] < 0.7  # KRONOS with tiles: 0.76, others 0.64 to 0.71 (S19)


def test_ten_cells_of_constant_value():
    obs = pd.DataFrame({"patient": list("AABBCCDDEE"), "y": list("xxxxyyyyyy")}, index=list("0123456789"))
    adata = AnnData(np.ones((10, 2), np.float32), obs=obs)
    sfm.tl.classify_samples(adata, label_key="y", use_rep="X", n_draws=4)
    assert (adata.uns["classify_samples"]["draws"]["auroc"] == 0.5).all()


@pytest.mark.slow
def test_components_of_noise_do_not_count_like_the_first():
    """The effect is on the broadest axis, among 30 narrow ones: brought to one width they drown it."""
    found = {False: [], True: []}
    for seed in range(5):
        rng = np.random.default_rng(seed)
        y = np.arange(40) % 2
        values = rng.normal(size=(40, 1)) * 1.0 + 0.9 * y[:, None]
        values = values @ np.ones((1, 30)) + rng.normal(size=(40, 30))
        obs = pd.DataFrame({"patient": [f"P{i:02d}" for i in range(40)], "y": np.where(y, "b", "a")})
        adata = AnnData(values, obs=obs.set_index("patient", drop=False).rename_axis(None))
        for scale, scores in found.items():
            sfm.tl.classify_samples(
                adata, label_key="y", use_rep="X", n_components=25, n_draws=30, scale_components=scale
            )
            scores.append(summary_of(adata).loc["X", "mean"])
    assert np.mean(found[False]) > np.mean(found[True]) + 0.05


def test_the_order_of_rows_changes_nothing(cells):
    common = {"label_key": "response", "use_rep": "X_latent", "n_components": 4, "n_draws": 6, "max_rows": 500}
    one = sfm.tl.classify_samples(cells, **common, copy=True)
    mixed = cells[np.random.default_rng(0).permutation(cells.n_obs)].copy()
    two = sfm.tl.classify_samples(mixed, **common, copy=True)
    np.testing.assert_allclose(one["draws"]["auroc"], two["draws"]["auroc"], atol=1e-6)
    pd.testing.assert_frame_equal(one["patients"], two["patients"], rtol=1e-3)


def test_numbers_of_cells_that_go_with_the_label_are_told():
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(20), np.repeat([100, 600], 10))
    obs = pd.DataFrame({"patient": [f"P{i:02d}" for i in who], "arm": np.where(who < 10, "few", "many")})
    obs["type"] = rng.choice(list("abcd"), len(who))
    adata = AnnData(rng.normal(size=(len(who), 3)), obs=obs.set_index(obs.index.astype(str)))
    common = {"label_key": "arm", "use_rep": "X", "n_draws": 3}
    with pytest.warns(SpatialfmWarning, match=r"100 of 'few', 600 of 'many'.*100 cells of each patient are there"):
        record = sfm.tl.classify_samples(adata, **common, copy=True)
    assert record["params"]["depth_associated"]
    assert record["params"]["cells_per_patient"] == 100
    assert record["patients"]["n"].unique().tolist() == [100]
    with pytest.warns(SpatialfmWarning, match='cells_per_patient="auto" for a score of equally many'):
        record = sfm.tl.classify_samples(adata, **common, cells_per_patient="all", copy=True)
    assert record["patients"]["n"].unique().tolist() == [100, 600]
    patients = sfm.tl.composition(adata, "type", patient_key="patient", library_key="patient")
    with pytest.warns(SpatialfmWarning, match=r"sfm.tl.composition\(..., cells_per_row="):
        sfm.tl.classify_samples(patients, label_key="arm", use_rep="X", n_components=None, n_draws=3)
    with pytest.raises(TableError, match="rows of this table are not cells"):
        sfm.tl.classify_samples(patients, label_key="arm", use_rep="X", n_draws=3, cells_per_patient="even")
