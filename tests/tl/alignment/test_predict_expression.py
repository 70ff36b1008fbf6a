"""Markers of simulated cells predicted from their embedding; floors, intervals, records and refusals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning, TableError


@pytest.fixture(scope="module")
def cells() -> AnnData:
    return sfm.datasets.simulate_cells(n_patients=6, cells_per_patient=60, random_state=0)


def run(cells: AnnData, *args, **kwargs) -> dict:
    return sfm.tl.predict_expression(cells, *args, copy=True, **kwargs)


# the published solver stops at 1e-4 of targets that are not centred
@pytest.mark.parametrize(("tol", "within"), [(1e-10, 1e-5), (1e-4, 2e-3)])
def test_scores_are_those_of_scikit_learn_patient_by_patient(cells, tol, within):
    markers = list(cells.var_names[:4])
    found = run(cells, "X_latent", markers, pca=10)
    x, y = cells.obsm["X_latent"].astype(float), cells[:, markers].X.astype(float)
    each = []
    for patient in sorted(cells.obs["patient"].unique()):
        test = (cells.obs["patient"] == patient).to_numpy()
        scaler = StandardScaler().fit(x[~test])
        pca = PCA(10, random_state=1).fit(scaler.transform(x[~test]))
        features = [pca.transform(scaler.transform(part)) for part in (x[~test], x[test])]
        ridge = Ridge(alpha=100 / 40, solver="lsqr", fit_intercept=False, max_iter=1000, tol=tol)
        predicted = ridge.fit(features[0], y[~test]).predict(features[1])
        each.append([stats.pearsonr(predicted[:, i], y[test, i])[0] for i in range(4)])
    assert found["summary"]["pearson"].iloc[0] == pytest.approx(np.mean(each), abs=within)
    np.testing.assert_allclose(found["targets"]["pearson"], np.mean(each, axis=0), atol=within)
    np.testing.assert_allclose(found["folds"]["pearson"], np.mean(each, axis=1), atol=within)
    assert found["params"]["protocol"] == "hest, pca=10"
    assert found["folds"]["patients"].tolist() == sorted(cells.obs["patient"].unique())


def test_the_floor_is_the_mean_of_the_training_patients(cells):
    found = run(cells, "X_latent", ["CD3"])
    y = cells[:, ["CD3"]].X[:, 0].astype(float)
    patients, errors = cells.obs["patient"].astype(str).to_numpy(), []
    for patient in np.unique(patients):
        test = patients == patient
        errors.append((((y[~test].mean() - y[test]) / y.std()) ** 2).mean())
    np.testing.assert_allclose(found["folds"]["mse_floor"], errors)
    row = found["targets"].loc["CD3"]
    assert row["explained"] == pytest.approx(1 - row["mse"] / np.mean(errors))


def test_planted_and_absent_relations():
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(8), 50)
    hidden = rng.normal(size=(400, 3))
    shown = pd.DataFrame({"planted": hidden[:, 0] + rng.normal(size=400), "absent": rng.normal(size=400)})
    shown.index = [f"c{i}" for i in range(400)]
    obs = pd.DataFrame({"patient": patient.astype(str)}, index=shown.index)
    table = AnnData(obs=obs, obsm={"X_model": hidden @ rng.normal(size=(3, 20)) + 0.1 * rng.normal(size=(400, 20))})
    targets = run(table, "X_model", shown[::-1])["targets"]
    assert targets.loc["planted", "pearson"] == pytest.approx(1 / np.sqrt(2), abs=0.08)  # half of the variance
    assert targets.loc["planted", "low"] > 0.5
    assert targets.loc["absent", "low"] < 0 < targets.loc["absent", "high"]
    assert targets.loc["absent", "explained"] < 0.05


def test_no_patient_decides_its_own_prediction(cells):
    markers = list(cells.var_names[:2])
    before = run(cells, "X_latent", markers)["predictions"]
    changed = cells.copy()
    mine = (cells.obs["patient"] == "P002").to_numpy()
    changed.X[mine] = 1e4 * np.random.default_rng(0).random((int(mine.sum()), cells.n_vars))
    after = run(changed, "X_latent", markers)["predictions"]
    pd.testing.assert_frame_equal(after[mine], before[mine])
    assert not np.allclose(after[~mine], before[~mine])


@pytest.mark.parametrize("head", ["ridge", "forest"])
def test_the_order_of_rows_decides_nothing(cells, head):
    order = np.random.default_rng(0).permutation(cells.n_obs)
    how = {"head": head, "n_trees": 5, "n_folds": 3}
    one = run(cells, "X_latent", ["CD3", "CD8"], **how)["predictions"]
    two = run(cells[order].copy(), "X_latent", ["CD3", "CD8"], **how)["predictions"]
    np.testing.assert_allclose(two.loc[one.index], one, rtol=1e-4, atol=1e-3)


def test_protocols_and_what_departs_from_them(cells):
    def params(**how):
        return run(cells, "X_latent", ["CD3", "CD8"], n_folds=2, **how)["params"]

    assert params()["protocol"] == "hest"
    assert (params()["pca"], params()["alpha"]) == (256, "published")
    paper = params(protocol="hest-paper")
    assert (paper["protocol"], paper["pca"]) == ("hest-paper", None)
    assert params(pca=None)["protocol"] == "hest, pca=None"
    assert params(protocol="hest-paper", pca=256, alpha="cv")["protocol"] == "hest-paper, pca=256, alpha=cv"
    assert params(head="forest", n_trees=2)["protocol"] == "hest, head=forest"


def test_counts_are_transformed_where_asked(cells):
    counts = pd.DataFrame(np.random.default_rng(0).poisson(3, (cells.n_obs, 2)), cells.obs_names, ["a", "b"])
    with pytest.warns(SpatialfmWarning, match=r"such as counts: the benchmark predicts their logarithm \(log1p=True\)"):
        raw = run(cells, "X_latent", counts, n_folds=2)
    logs = run(cells, "X_latent", counts, n_folds=2, log1p=True)
    assert logs["predictions"]["a"].mean() == pytest.approx(np.log1p(counts["a"]).mean(), abs=0.1)
    assert raw["predictions"]["a"].mean() == pytest.approx(counts["a"].mean(), abs=0.3)
    with pytest.raises(TableError, match="some targets are negative"):
        run(cells, "X_latent", counts - 5, log1p=True)


def test_targets_of_every_kind(cells):
    cells = cells.copy()
    cells.obsm["proteins"] = pd.DataFrame(cells.X[:, :2], cells.obs_names, ["a/b", "c"])
    cells.obsm["array"] = cells.X[:, :2]
    cells.layers["scaled"] = 2 * cells.X
    names = list(cells.var_names[:2])
    base = run(cells, "X_latent", names, n_folds=2)
    for targets in ("proteins", "array"):
        found = run(cells, "X_latent", targets, n_folds=2)
        np.testing.assert_allclose(found["targets"]["pearson"], base["targets"]["pearson"], rtol=1e-6)
    assert run(cells, "X_latent", "proteins", n_folds=2)["targets"].index.tolist() == ["a/b", "c"]
    scaled = run(cells, "X_latent", names, layer="scaled", n_folds=2)
    np.testing.assert_allclose(scaled["predictions"], 2 * base["predictions"], rtol=1e-4)
    assert run(cells, "X_latent", "X", n_folds=2)["predictions"].shape == cells.shape


def test_what_is_written(cells):
    cells = cells.copy()
    sfm.tl.predict_expression(cells, "X_latent", ["CD3"], n_folds=2)
    assert list(cells.obsm["predicted_expression"].columns) == ["CD3"]
    assert sfm.get.record(cells, "predicted_expression")["protocol"] == "hest"
    assert set(cells.uns["predicted_expression"]) == {"summary", "targets", "folds", "params"}


def test_a_target_that_varies_in_some_patients_only(cells):
    table = pd.DataFrame({"some": np.where(cells.obs["patient"] == "P001", 0.0, cells.X[:, 1])}, cells.obs_names)
    found = run(cells, "X_latent", table)
    assert found["targets"].loc["some", "n_folds"] == 5
    assert found["folds"]["n_targets"].tolist() == [0, 1, 1, 1, 1, 1]
    assert np.isnan(found["folds"]["pearson"].iloc[0])


def test_features_of_a_target_are_told(cells):
    cells = cells.copy()
    cells.obsm["X_means"] = cells.X.copy()
    cells.uns["spatialfm"] = {"X_means": {"feature_names": '["mean_CD3", "mean_CD31"]'}}
    with pytest.warns(SpatialfmWarning, match="'X_means' has features of 'CD3', which are among the targets"):
        run(cells, "X_means", ["CD3"], n_folds=2)


def test_columns_of_the_same_name_are_told_whatever_holds_them(cells):
    cells = cells.copy()
    cells.layers["half"] = cells.X / 2
    cells.obsm["proteins"] = pd.DataFrame(cells.X[:, :2], cells.obs_names, list(cells.var_names[:2]))
    table = pd.DataFrame({"CD3": cells[:, "CD3"].X.ravel()}, cells.obs_names)
    for rep, targets, layer in [
        ("X", ["CD3"], "half"), ("X", table, None), ("X", "proteins", None),
        ("proteins", list(cells.var_names[:2]), None),
    ]:  # fmt: skip
        with pytest.warns(SpatialfmWarning, match="which are among the targets: where both are the same measurement"):
            run(cells, rep, targets, layer=layer, n_folds=2)


def test_nothing_is_lost_and_no_layer_is_left_unread(cells):
    cells = cells.copy()
    cells.obsm["kinds"] = pd.DataFrame({"kind": ["T"] * cells.n_obs}, cells.obs_names)
    with pytest.raises(TableError, match="key_added='X_latent' is what is predicted from"):
        sfm.tl.predict_expression(cells, "X_latent", ["CD3"], key_added="X_latent")
    with pytest.raises(TableError, match="layer='raw' is where names of var are taken from"):
        run(cells, "X_latent", pd.DataFrame({"a": cells.X[:, 0]}, cells.obs_names), layer="raw")
    with pytest.raises(TableError, match="Columns 'kind' of targets= are not numbers"):
        run(cells, "X_latent", "kinds")
    cells.var_names = ["CD3", "CD3", *cells.var_names[2:]]
    for targets in (["CD3"], "X"):
        with pytest.raises(TableError, match="Names of var repeat .'CD3'.: columns could not be told apart"):
            run(cells, "X_latent", targets)


def test_refusals(cells):
    cells = cells.copy()
    cells.obsm["X_nan"] = np.where(np.arange(360)[:, None] == 3, np.nan, cells.obsm["X_latent"])
    table = pd.DataFrame({"flat": 1.0, "a": cells.X[:, 0]}, cells.obs_names)
    for arguments, message in [
        (("X_nan", ["CD3"]), "1 of 360 rows of 'X_nan' hold NaN"),
        (("X", ["CD3"]), "predicted from themselves"),
        (("X_latent", "X_latent"), "predicted from itself"),
        (("X_latent", "CD3"), r"targets=\['CD3'\]"),
        (("X_latent", ["CD3", "GATA"]), "var lacks 'GATA'"),
        (("X_latent", []), "no name"),
        (("X_latent", table), "1 target does not vary: 'flat'"),
        (("X_latent", table[["a"]][:300]), "60 of 360 rows of adata are not in it"),
        (("X_latent", table[[]]), "no columns"),
        (("X_latent", table.assign(kind="T")), "Columns 'kind' of targets= are not numbers"),
        (("X_latent", table[["a"]].where(table["a"] > 0, np.inf).replace(table["a"].iloc[0], np.nan)), "holds NaN"),
    ]:
        with pytest.raises(TableError, match=message):
            run(cells, *arguments)
    one = cells[cells.obs["patient"] == "P001"].copy()
    with pytest.raises(TableError, match="1 patient .*: 2 are the least"):
        run(one, "X_latent", ["CD3"])
    two = cells[cells.obs["patient"].isin(["P001", "P002"])].copy()
    with pytest.raises(TableError, match="3 are the least, which alpha='cv' divides once more"):
        run(two, "X_latent", ["CD3"], alpha="cv")
    with pytest.raises(TableError, match=r"A correlation over 1 row .*n_folds="):
        run(cells[::60].copy(), "X_latent", ["CD3"])


def test_samples_of_one_patient_on_both_sides_are_told():
    cells = sfm.datasets.simulate_cells(n_patients=3, n_samples=2, cells_per_patient=60, random_state=0)
    assert cells.obs["sample"].nunique() == 6
    with pytest.warns(SpatialfmWarning, match="patient_key='sample', but 3 patients have several"):
        sfm.tl.predict_expression(cells, "X_latent", ["CD3"], patient_key="sample", copy=True)
    with pytest.warns(SpatialfmWarning, match="patient_key='sample', but 3 patients have several"):
        sfm.tl.align(cells, "X_latent", "X", patient_key="sample", n_components=2, max_epochs=1, patience=1, copy=True)
