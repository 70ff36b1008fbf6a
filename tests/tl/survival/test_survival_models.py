from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sksurv.ensemble import RandomSurvivalForest
from sksurv.linear_model import CoxnetSurvivalAnalysis
from sksurv.metrics import concordance_index_censored
from sksurv.util import Surv

import spatialfm as sfm
from spatialfm._errors import ArgumentError, SpatialfmWarning, SurvivalError, TableError
from spatialfm.learn.survival_learners import CoxnetModel, ForestModel
from spatialfm.learn.survival_nested import SurvivalCases, event_folds, nested, partition_seeds
from spatialfm.stats.cox import partial_log_likelihoods

QUICK = {"n_folds": 3, "n_inner_folds": 3, "n_repeats": 1, "n_bootstrap": 100}
SMALL = {**QUICK, "n_trees": 20, "min_samples_leaf": (3, 8), "n_importance": 2}


def patients(seed: int, n: int = 70, p: int = 5, effect: float = 1.0) -> AnnData:
    """The hazard rises with the second feature; a third of the patients censored."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p))
    time, censored = rng.exponential(np.exp(-effect * x[:, 1])), rng.exponential(2, n)
    obs = pd.DataFrame({"time": np.minimum(time, censored), "event": time <= censored, "sex": ["f", "m"] * (n // 2)})
    obs.index = obs["patient"] = [f"P{i}" for i in range(n)]
    obs.index.name = None
    samples = AnnData(x, obs=obs, var=pd.DataFrame(index=[f"type {i}" for i in range(p)]))
    samples.obsm["X_model"] = x @ rng.normal(size=(p, 2 * p))
    samples.layers["double"] = 2 * x
    return samples


def as_cohort(samples: AnnData) -> SurvivalCases:
    obs = samples.obs
    return SurvivalCases(
        samples.X, obs["time"].to_numpy(), obs["event"].to_numpy(), list(samples.var_names), np.arange(len(obs)), 0
    )


def outcome(cohort: SurvivalCases) -> np.ndarray:
    return Surv.from_arrays(cohort.event, cohort.time)


@pytest.mark.parametrize("n_components", [None, 3])
def test_coxnet_fit_equals_scikit_survival(n_components):
    """Coefficients, predictor and survival at a penalty, with standardising and components in a pipeline."""
    cohort = as_cohort(patients(0))
    fitted = CoxnetModel(n_components, np.array([0.7]), 30).fit(cohort, {"alpha": 0.05, "l1_ratio": 0.7})
    steps = [StandardScaler()] + ([PCA(n_components, svd_solver="full")] if n_components else [])
    net = CoxnetSurvivalAnalysis(alphas=[0.05], l1_ratio=0.7, fit_baseline_model=True, tol=1e-12)
    other = make_pipeline(*steps, net).fit(cohort.x, outcome(cohort))
    np.testing.assert_allclose(fitted.risk(cohort.x), other.predict(cohort.x), atol=1e-4)
    assert fitted.risk(cohort.x).mean() == pytest.approx(0, abs=1e-10)
    coef = net.coef_[:, 0] if n_components is None else net.coef_[:, 0] @ steps[1].components_
    np.testing.assert_allclose(fitted.explain(None), coef, atol=1e-4)
    times = np.quantile(cohort.time, [0.2, 0.5, 0.8])
    curves = [f(times) for f in other[-1].predict_survival_function(other[:-1].transform(cohort.x[:9]))]
    np.testing.assert_allclose(fitted.survival(cohort.x[:9], times), curves, atol=1e-4)


def test_coxnet_path_starts_where_scikit_survivals_does():
    cohort = as_cohort(patients(1))
    x = StandardScaler().fit_transform(cohort.x)
    net = CoxnetSurvivalAnalysis(n_alphas=10, l1_ratio=0.5, alpha_min_ratio=0.1).fit(x, outcome(cohort))
    assert CoxnetModel(None, np.array([0.5]), 10)._alphas(x, cohort, 0.5)[0] == pytest.approx(net.alphas_[0], rel=1e-3)


def test_log_likelihoods_are_breslows_sums():
    """Written out, with ties and a large predictor; of a path without coefficients there is none."""
    rng = np.random.default_rng(0)
    time, event = rng.integers(1, 6, 20).astype(float), rng.random(20) < 0.6
    etas = np.column_stack([np.zeros(20), rng.normal(size=20), 900 + rng.normal(size=20), np.full(20, np.nan)])
    plain = [
        sum(eta[i] - eta.max() - np.log(np.exp(eta[time >= time[i]] - eta.max()).sum()) for i in np.flatnonzero(event))
        for eta in etas.T[:3]
    ]
    found = partial_log_likelihoods(etas, time, event)
    np.testing.assert_allclose(found[:3], plain, rtol=1e-10)
    assert found[3] == -np.inf


def test_penalty_is_the_best_of_a_plain_loop():
    """Cross-validated partial likelihood, each fold's gain computed with every pair written out."""
    cohort = as_cohort(patients(2, n=40))
    folds = event_folds(cohort.event, 3, np.random.default_rng(0))
    model = CoxnetModel(None, np.array([0.5]), 6)
    chosen = model.choose(cohort, folds)
    alphas = model._alphas(StandardScaler().fit_transform(cohort.x), cohort, 0.5)

    def likelihood(eta: np.ndarray, rows: np.ndarray) -> float:
        time, event, eta = cohort.time[rows], cohort.event[rows], eta[rows]
        return sum(eta[i] - np.log(np.exp(eta[time >= time[i]]).sum()) for i in np.flatnonzero(event))

    gains = []
    for alpha in alphas[1:]:
        gain = 0.0
        for k in range(3):
            rest = folds != k
            scaler = StandardScaler().fit(cohort.x[rest])
            net = CoxnetSurvivalAnalysis(alphas=[alpha], l1_ratio=0.5)
            net.fit(scaler.transform(cohort.x[rest]), outcome(cohort.part(rest)))
            eta = scaler.transform(cohort.x) @ net.coef_[:, 0]
            gain += likelihood(eta, np.full(40, True)) - likelihood(eta, rest)
        gains.append(gain)
    assert chosen["alpha"] == pytest.approx(alphas[1:][int(np.argmax(gains))])
    assert chosen["inner_score"] == pytest.approx(max(gains), rel=1e-4)


def test_forest_fit_equals_scikit_survival():
    cohort = as_cohort(patients(0))
    fitted = ForestModel(None, [4], 25, 1, 3).fit(cohort, {"min_samples_leaf": 4})
    forest = RandomSurvivalForest(25, min_samples_leaf=4, random_state=3)
    scaled = StandardScaler().fit(cohort.x)
    order = np.argsort(scaled.transform(cohort.x[:1])[0])  # columns by the first patient, wherever they stand
    by_place = FunctionTransformer(lambda x: x[:, order])
    other = make_pipeline(StandardScaler(), by_place, forest).fit(cohort.x, outcome(cohort))
    expected = other.predict(cohort.x)
    np.testing.assert_allclose(fitted.risk(cohort.x), expected / expected.mean())
    times = np.quantile(cohort.time, [0.2, 0.5, 0.8])
    curves = [f(times) for f in other.predict_survival_function(cohort.x[:9])]
    np.testing.assert_allclose(fitted.survival(cohort.x[:9], times), curves, atol=1e-12)


def test_forest_importance_by_hand():
    cohort = as_cohort(patients(0))
    fitted = ForestModel(None, [4], 25, 2, 3).fit(cohort, {"min_samples_leaf": 4})
    test = as_cohort(patients(9, n=30))
    lost = fitted.explain(test)
    concordant, discordant, tied = concordance_index_censored(test.event, test.time, fitted.risk(test.x))[1:4]
    assert (lost[-1] == concordant + discordant + tied).all()
    rng = np.random.default_rng(3)
    orders = [rng.permutation(30) for _ in range(2)]
    for j in range(5):
        for r in range(2):
            x = test.x.copy()
            x[:, j] = x[orders[r], j]
            other = concordance_index_censored(test.event, test.time, fitted.risk(x))
            assert lost[j, r] == pytest.approx(concordant + tied / 2 - other[1] - other[3] / 2)


def test_no_held_out_patient_reaches_a_model():
    """With other features and times of half a fold, the other half is predicted as before, by the same settings."""
    cohort = as_cohort(patients(3))
    options = {"n_folds": 3, "n_inner_folds": 3, "explain": False, "n_jobs": 1, "random_state": 0}
    for model in (CoxnetModel(2, np.array([0.5]), 20), ForestModel(2, [3, 8], 10, 0, 0)):
        times = np.array([0.5])
        before = nested(model, cohort, times, **options)
        mine = np.flatnonzero(before.fold == 1)
        x, time = cohort.x.copy(), cohort.time.copy()
        x[mine[::2]] *= -100
        time[mine[::2]] = time[mine[::2]][::-1] * 50
        after = nested(model, SurvivalCases(x, time, cohort.event, cohort.features, cohort.rows, 0), times, **options)
        np.testing.assert_array_equal(before.fold, after.fold)
        np.testing.assert_array_equal(before.risk[mine[1::2]], after.risk[mine[1::2]])
        np.testing.assert_array_equal(before.survival[mine[1::2]], after.survival[mine[1::2]])
        for name in before.chosen[1].keys() - {"harrell"}:
            assert before.chosen[1][name] == after.chosen[1][name]
        others = before.fold != 1
        assert not np.allclose(before.risk[others], after.risk[others])  # there the changed patients were learned from


@pytest.mark.parametrize(("function", "options"), [("coxnet", QUICK), ("survival_forest", SMALL)])
def test_planted_effect(function, options):
    samples = patients(0, n=150)
    getattr(sfm.tl, function)(samples, **options)
    result = samples.uns[function]
    assert result["scores"].loc["harrell", "ci_low"] > 0.55
    assert result["scores"].loc["uno", "value"] > 0.6
    assert result["scores"]["value"]["integrated_brier"] < result["scores"]["value"]["integrated_brier_kaplan_meier"]
    table = result["coefficients"]["coef"] if function == "coxnet" else result["importance"]["importance"]
    assert table.abs().idxmax() == "type 1"
    if function == "coxnet":
        assert table["type 1"] > 0
        assert result["coefficients"].loc["type 1", "n_folds"] == 3
    assert result["folds"]["n"].tolist() == [50, 50, 50]
    assert np.ptp(result["folds"]["events"]) <= 1
    risk, fold = samples.obs[function].to_numpy(), samples.obs[f"{function}_fold"].to_numpy()
    right = pairs = 0.0
    for k in range(3):
        mine = samples.obs[fold == k]
        _, concordant, discordant, tied, _ = concordance_index_censored(mine["event"], mine["time"], risk[fold == k])
        right, pairs = right + concordant + tied / 2, pairs + concordant + discordant + tied
        assert result["folds"].loc[k, "harrell"] == pytest.approx(
            (concordant + tied / 2) / (concordant + discordant + tied)
        )
    assert result["scores"].loc["harrell", "value"] == pytest.approx(right / pairs)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "options", "n_cohorts"), [("coxnet", {**QUICK, "n_alphas": 12}, 40), ("survival_forest", SMALL, 12)]
)
def test_null(function, options, n_cohorts):
    """Outcomes that do not depend on the features: 0.5 on average, while the optimistic score is far above."""
    options = {**options, "n_trees": 8, "n_importance": 0} if function == "survival_forest" else options
    honest, optimistic = [], []
    for seed in range(n_cohorts):
        result = getattr(sfm.tl, function)(patients(seed, n=50, effect=0), **options, copy=True)
        honest.append(result["scores"].loc["harrell", "value"])
        optimistic.append(result["optimistic_harrell"])
    error = np.std(honest, ddof=1) / np.sqrt(n_cohorts)
    assert abs(np.mean(honest) - 0.5) < 3 * error
    assert error < 0.03
    assert np.mean(optimistic) > np.mean(honest) + 0.03


def test_the_order_of_rows_changes_nothing():
    """The same patients in another order: the same folds, risks and scores, in each function."""
    samples = patients(0, n=40)
    mixed = samples[np.random.default_rng(0).permutation(40)].copy()
    for function, options in (("coxnet", QUICK | {"n_alphas": 6, "n_repeats": 2}), ("survival_forest", SMALL)):
        one, two = (getattr(sfm.tl, function)(table, **options, copy=True) for table in (samples, mixed))
        pd.testing.assert_frame_equal(one["scores"], two["scores"])
        pd.testing.assert_frame_equal(one["predictions"], two["predictions"].loc[samples.obs_names])


def test_scores_are_means_over_partitions_and_intervals_hold_their_spread():
    samples, options = patients(3, n=50, effect=0.3), QUICK | {"n_alphas": 6, "n_bootstrap": 400}
    cohort = as_cohort(samples)
    order = np.argsort(samples.obs_names.astype(str), kind="stable")
    cohort = SurvivalCases(cohort.x[order], cohort.time[order], cohort.event[order], cohort.features, order, 0)
    found = sfm.tl.coxnet(samples, **options | {"n_repeats": 4}, copy=True)
    assert found["folds"]["partition"].tolist() == np.repeat(range(4), 3).tolist()
    risks, folds = [], []
    for seed in partition_seeds(0, 4):
        one = nested(
            CoxnetModel(None, np.array([0.5]), 6), cohort, np.array([0.5]), n_folds=3, n_inner_folds=3, explain=False,
            n_jobs=1, random_state=seed,
        )  # fmt: skip
        risks.append(one.risk)
        folds.append(one.fold)
    each = [
        sfm.metrics.survival(cohort.time, cohort.event, risk, folds=fold, n_bootstrap=400)["scores"].loc["harrell"]
        for risk, fold in zip(risks, folds, strict=True)
    ]
    mine = found["scores"].loc["harrell"]
    assert mine["value"] == pytest.approx(np.mean([one["value"] for one in each]))
    assert mine["ci_high"] - mine["ci_low"] > np.median([one["ci_high"] - one["ci_low"] for one in each])
    np.testing.assert_allclose(found["predictions"]["risk"].to_numpy()[order], np.mean(risks, axis=0))
    thrice = [np.stack([one] * 3, axis=1) for one in (risks[0], folds[0])]
    same = sfm.metrics.survival(cohort.time, cohort.event, thrice[0], folds=thrice[1], n_bootstrap=400)
    np.testing.assert_allclose(same["scores"].loc["harrell"].to_numpy(float), each[0].to_numpy(float))


def test_numbers_of_cells_that_go_with_survival_are_told():
    samples = patients(0, n=40)
    samples.obs["n_cells"] = np.argsort(np.argsort(-samples.obs["time"].to_numpy())) + 100
    with pytest.warns(SpatialfmWarning, match=r"Numbers of cells per patient go with obs\['time'\].*cells_per_row="):
        sfm.tl.coxnet(samples, **QUICK | {"n_alphas": 5}, copy=True)


def test_permutation_p_value():
    options = {**QUICK, "n_alphas": 6, "n_permutations": 19, "copy": True}
    assert sfm.tl.coxnet(patients(0, n=90), **options)["p_value"] == 0.05
    assert sfm.tl.coxnet(patients(4, n=50, effect=0), **options)["p_value"] > 0.05


def test_seed_and_processes():
    samples = patients(0)
    one = sfm.tl.survival_forest(samples, **SMALL, copy=True)
    same = sfm.tl.survival_forest(samples, **SMALL, n_jobs=2, copy=True)
    other = sfm.tl.survival_forest(samples, **SMALL, random_state=1, copy=True)
    for name in ("scores", "curves", "folds", "importance", "predictions"):
        pd.testing.assert_frame_equal(one[name], same[name])
    assert not one["predictions"].equals(other["predictions"])
    assert not samples.uns
    assert list(samples.obs) == ["time", "event", "sex", "patient"]


def test_features():
    """X, a layer, an embedding with components, columns of obs: each gives the features it should."""
    samples = patients(0)
    plain = sfm.tl.coxnet(samples, **QUICK, copy=True)
    double = sfm.tl.coxnet(samples, layer="double", **QUICK, copy=True)
    np.testing.assert_allclose(double["predictions"], plain["predictions"], atol=1e-10)
    with_sex = sfm.tl.coxnet(samples, covariates=["sex"], **QUICK, copy=True)
    assert list(with_sex["coefficients"].index) == [*samples.var_names, "sex[m]"]
    alone = sfm.tl.coxnet(samples, use_rep=None, covariates=["type 1"], **QUICK, copy=True)
    assert list(alone["coefficients"].index) == ["type 1"]
    embedded = sfm.tl.coxnet(samples, use_rep="X_model", n_components=4, **QUICK, copy=True)
    assert embedded["coefficients"].index[[0, 9]].tolist() == ["X_model_0", "X_model_9"]
    assert embedded["params"]["n_components"] == 4
    assert embedded["scores"].loc["harrell", "value"] > 0.6
    ratios = sfm.tl.coxnet(samples, l1_ratio=[0.1, 1.0], **QUICK, copy=True)
    assert set(ratios["folds"]["l1_ratio"]) <= {0.1, 1.0}


def test_separated_patients_and_wide_data():
    """A feature that orders all patients, and more features than patients: a result, not an overflow."""
    samples = patients(0, n=40)
    samples.X[:, 1] = -np.argsort(np.argsort(samples.obs["time"]))
    assert sfm.tl.coxnet(samples, **QUICK, copy=True)["scores"].loc["harrell", "value"] > 0.95
    rng = np.random.default_rng(0)
    samples.obsm["X_wide"] = np.c_[rng.normal(size=(40, 200)), samples.X[:, 1]]
    wide = sfm.tl.coxnet(samples, use_rep="X_wide", **QUICK, copy=True)
    assert wide["coefficients"]["coef"].abs().idxmax() == "X_wide_200"


@pytest.mark.real_data
def test_lung_cancer(real_data):
    """153 patients (Johnson et al. 2021): age, sex and stage predict survival, shares of six cell types do not.

    That is what a ridge-free Cox regression finds too, fitted on each fold's training patients by lifelines.
    """
    from lifelines import CoxPHFitter

    folder = real_data / "nsclc_table"
    if not (folder / "cells.parquet").is_file():
        pytest.skip("no lung cancer table")
    clinic = pd.read_csv(folder / "patients.csv").set_index("patient_id")
    types = [f"phenotype_{name}" for name in ("ck", "cd8", "cd14", "cd19", "cd4")]
    cells = pd.read_parquet(folder / "cells.parquet", columns=["patient_id", *types])
    shares = cells[types].astype(float).groupby(cells["patient_id"]).mean()
    clinic = clinic.loc[shares.index].set_axis(shares.index.astype(int).astype(str))
    samples = AnnData(shares.to_numpy(), obs=clinic, var=pd.DataFrame(index=types))
    keys = {"time_key": "survival_days", "event_key": "survival_status", "n_alphas": 20, "n_bootstrap": 200}
    sfm.tl.coxnet(samples, **keys)
    sfm.tl.coxnet(samples, use_rep=None, covariates=["age", "gender", "stage"], key_added="clinical", **keys)
    composition, clinical = (samples.uns[key]["scores"].loc["harrell"] for key in ("coxnet", "clinical"))
    assert composition["ci_low"] < 0.5 < composition["ci_high"]
    assert clinical["ci_low"] > 0.5

    frame = clinic.assign(male=clinic["gender"] == "M", fold=samples.obs["clinical_fold"])
    frame = frame[["age", "male", "stage", "survival_days", "survival_status", "fold"]].astype(float)
    right = pairs = 0.0
    for k in range(5):
        test, train = frame[frame["fold"] == k], frame[frame["fold"] != k].drop(columns="fold")
        fitter = CoxPHFitter().fit(train, "survival_days", "survival_status")
        risk = fitter.predict_partial_hazard(test)
        counts = concordance_index_censored(test["survival_status"] == 1, test["survival_days"], risk)
        right, pairs = right + counts[1] + counts[3] / 2, pairs + sum(counts[1:4])
    assert clinical["value"] == pytest.approx(right / pairs, abs=0.03)


def test_missing_and_read_back(tmp_path):
    from anndata import read_h5ad

    samples = patients(0)
    samples.obs.loc["P3", "time"] = np.nan
    samples.X[3] = np.nan
    with pytest.raises(SurvivalError, match=r"1 of 70 rows have no value in 'time': 'P3'"):
        sfm.tl.coxnet(samples, **QUICK)
    sfm.tl.coxnet(samples, **QUICK, on_missing="drop", l1_ratio=[0.5, 1.0], covariates="sex")
    sfm.tl.survival_forest(samples, **SMALL, on_missing="drop")
    assert samples.obs.index[samples.obs["coxnet"].isna()].tolist() == ["P3"]
    assert samples.obs.loc["P3", "coxnet_fold"] == -1
    assert samples.uns["coxnet"]["params"]["n_dropped"] == 1
    samples.write_h5ad(tmp_path / "p.h5ad")
    back = read_h5ad(tmp_path / "p.h5ad")
    for key in ("coxnet", "survival_forest"):
        for name in ("scores", "curves", "folds"):
            np.testing.assert_array_equal(back.uns[key][name], samples.uns[key][name])


@pytest.mark.parametrize("function", ["coxnet", "survival_forest"])
@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({}, {"n_folds": 80}, r"70 patients are fewer than the 80 folds"),
        ({"event": [1, 1] + [0] * 68}, {}, r"2 events for 3 folds: at least one fold would have no event"),
        ({"event": [1] * 4 + [0] * 66}, {}, r"4 events leave 2 for the 3 inner folds"),
        ({"event": 0}, {}, r"No event among 70 rows"),
        ({"time": -1.0}, {}, r"70 rows of obs.*negative or infinite time"),
        ({"patient": "A"}, {}, r"70 rows hold 1 patient .*Patients are the unit"),
        ({"patient": ["A", "A"] + [f"P{i}" for i in range(68)]}, {}, r"70 rows hold 69 patients.*'A' several times"),
        ({}, {"n_bootstrap": 5}, r"n_bootstrap=5 gives no interval"),
        ({}, {"n_components": 9}, r"n_components=9, but an inner training part has 5 patients or features"),
        ({}, {"use_rep": None}, r"No features. Pass use_rep="),
        ({}, {"layer": "raw"}, r"No layer 'raw' \(layer=\)"),
        ({}, {"layer": "double", "use_rep": "X_model"}, r"layer='double' is read in place of X"),
        ({}, {"covariates": "time"}, r"'time' is the outcome, not one of the covariates"),
        ({}, {"covariates": "type 1"}, r"'type 1' is among the features twice"),
        ({}, {"covariates": "age"}, r"No column 'age' in obs and no such name in var \(covariates=\)"),
        ({"c": 1.0}, {"use_rep": None, "covariates": "c"}, r"1 feature is constant over 70 patients"),
    ],
)
def test_refusals(function, change, arguments, message):
    samples = patients(0)
    for key, value in change.items():
        samples.obs[key] = value
    before = list(samples.obs)
    with pytest.raises(SurvivalError, match=message):
        getattr(sfm.tl, function)(samples, **{**QUICK, **arguments})
    assert not samples.uns
    assert list(samples.obs) == before


def test_refusals_of_their_own():
    samples = patients(0)
    with pytest.raises(SurvivalError, match=r"l1_ratio=0 .* sfm.tl.cox\(..., penalizer=0.1\)"):
        sfm.tl.coxnet(samples, l1_ratio=0)
    with pytest.raises(ArgumentError, match=r"min_samples_leaf=0.*at least 1"):
        sfm.tl.survival_forest(samples, min_samples_leaf=0)
    with pytest.raises(TableError, match=r"No 'X_other' in obsm \(use_rep=\)"):
        sfm.tl.coxnet(samples, use_rep="X_other")
    samples.X[2, 2] = np.nan
    with pytest.raises(TableError, match=r"1 of 70 rows of 'X' hold NaN"):
        sfm.tl.coxnet(samples, **QUICK)
    assert not samples.uns
