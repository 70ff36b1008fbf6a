"""Models, cuts and groups of one cohort applied to another."""

from __future__ import annotations

import json
from contextlib import nullcontext

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning, SurvivalError, TableError

QUICK = {"n_bootstrap": 100}
FOLDS = {"n_folds": 3, "n_inner_folds": 2, "n_repeats": 1, "n_bootstrap": 100}


def cohort(name: str, n: int, seed: int, beta: float = 1.0) -> ad.AnnData:
    """Exponential times with hazard ``exp(beta * tumor + 0.5 * (arm == "b"))``; censored uniformly up to 3."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4))
    arm, site = rng.choice(list("abc"), n), rng.choice(["s", "t"], n)
    time = rng.exponential(np.exp(-beta * x[:, 0] - 0.5 * (arm == "b")))
    limit = rng.uniform(0, 3, n)
    obs = pd.DataFrame({"time": np.minimum(time, limit), "event": time <= limit, "tumor": 3 + 2 * x[:, 0]})
    obs = obs.assign(arm=arm, site=site).set_axis([f"{name}{i}" for i in range(n)])
    return ad.AnnData(x, obs=obs, var=pd.DataFrame(index=["f0", "f1", "f2", "f3"]))


@pytest.fixture
def here() -> ad.AnnData:
    return cohort("A", 150, 0)


@pytest.fixture
def there() -> ad.AnnData:
    return cohort("B", 100, 1)


def predicted(source, target, **options):
    return sfm.tl.predict_survival(source, target, copy=True, **QUICK | options)


def test_cox_equals_lifelines_on_new_patients(here, there):
    from lifelines import CoxPHFitter

    sfm.tl.cox(here, ["tumor", "arm"], strata="site", standardize=True)
    times = [0.2, 0.5, 1.0]
    found = predicted(here, there, times=times)["predictions"]

    def table(samples):
        arms = pd.get_dummies(samples.obs["arm"], dtype=float)[["b", "c"]]
        return samples.obs[["time", "event", "tumor", "site"]].join(arms)

    fitter = CoxPHFitter(strata="site").fit(table(here), "time", "event", fit_options={"precision": 1e-12})
    new = table(there)
    assert found["risk"].to_numpy() == pytest.approx(fitter.predict_log_partial_hazard(new).to_numpy(), abs=1e-5)
    ratio = fitter.predict_partial_hazard(new).to_numpy()
    for time in times:  # a step function, between whose steps lifelines draws lines
        baseline = fitter.baseline_cumulative_hazard_.sort_index().ffill().asof(time)
        expected = np.exp(-baseline[new["site"]].to_numpy() * ratio)
        assert found[f"survival_{time:g}"].to_numpy() == pytest.approx(expected, abs=1e-6)


def test_coxnet_equals_scikit_survival_on_new_patients(here, there):
    from sksurv.linear_model import CoxnetSurvivalAnalysis
    from sksurv.util import Surv

    sfm.tl.coxnet(here, l1_ratio=0.7, **FOLDS)
    found = predicted(here, there, key="coxnet", times=[0.5, 1.0])["predictions"]
    table = here.uns["coxnet"]["coefficients"]
    mean, sd = here.X.mean(axis=0), here.X.std(axis=0)
    assert found["risk"].to_numpy() == pytest.approx((there.X - mean) / sd @ table["coef"].to_numpy())
    alpha = json.loads(here.uns["coxnet"]["model"]["chosen"])["alpha"]
    other = CoxnetSurvivalAnalysis(alphas=[alpha], l1_ratio=0.7, fit_baseline_model=True, tol=1e-10)
    other.fit((here.X - mean) / sd, Surv.from_arrays(here.obs["event"], here.obs["time"]))
    curves = other.predict_survival_function((there.X - mean) / sd)
    assert found["survival_0.5"].to_numpy() == pytest.approx([curve(0.5) for curve in curves], abs=1e-4)


def test_principal_components_are_the_source_s(here, there):
    from sklearn.decomposition import PCA

    sfm.tl.coxnet(here, n_components=2, **FOLDS)
    risk = predicted(here, there, key="coxnet", score=False)["predictions"]["risk"]
    scaled = (here.X - here.X.mean(axis=0)) / here.X.std(axis=0)
    components = PCA(2, svd_solver="full").fit(scaled).components_
    new = (there.X - here.X.mean(axis=0)) / here.X.std(axis=0) @ components.T
    own = here.uns["coxnet"]["model"]["risk"]
    order = np.argsort(here.obs_names.to_numpy(str), kind="stable")
    weights = np.linalg.lstsq(scaled[order] @ components.T, own, rcond=None)[0]
    assert risk.to_numpy() == pytest.approx(new @ weights, abs=1e-8)


def test_a_forest_equals_scikit_survival_on_new_patients(here, there, tmp_path):
    from sksurv.ensemble import RandomSurvivalForest
    from sksurv.util import Surv

    plan = {"n_trees": 20, "min_samples_leaf": 6, "n_importance": 0}
    sfm.tl.survival_forest(here, **plan, **FOLDS)
    here.write_h5ad(tmp_path / "here.h5ad")
    stored = ad.read_h5ad(tmp_path / "here.h5ad")[::-1].copy()  # sorted otherwise, it is the same forest
    found = predicted(stored, there, key="survival_forest", times=[0.5, 1.0])["predictions"]
    order = np.argsort(here.obs_names.to_numpy(str), kind="stable")
    mean, sd = here.X[order].mean(axis=0), here.X[order].std(axis=0)
    y = Surv.from_arrays(here.obs["event"].to_numpy()[order], here.obs["time"].to_numpy()[order])
    scaled, new = (here.X[order] - mean) / sd, (there.X - mean) / sd
    columns = np.lexsort(scaled[::-1])  # those of a split are drawn by their place: by the first patient's values
    other = RandomSurvivalForest(20, min_samples_leaf=6, random_state=0).fit(scaled[:, columns], y)
    curves = other.predict_survival_function(new[:, columns])
    assert found["survival_1"].to_numpy() == pytest.approx([curve(1.0) for curve in curves], abs=1e-9)
    stored.obs.loc["A3", "time"] += 0.1
    with pytest.raises(SurvivalError, match="not what the forest of uns"):
        predicted(stored, there, key="survival_forest")


def test_twice_the_linear_predictor_has_half_the_slope(here, there):
    sfm.tl.cox(here, ["tumor", "arm"])
    one = predicted(here, there)["scores"].loc["calibration_slope"]
    model = here.uns["cox"]["model"]
    model["coef"], model["center"] = 2 * model["coef"], 2 * model["center"]
    two = predicted(here, there)["scores"].loc["calibration_slope"]
    assert two.to_numpy() == pytest.approx(one.to_numpy() / 2, abs=1e-8)


def true_model(source: ad.AnnData, beta: float = 0.5) -> None:
    """The model that the cohorts come from, in place of what was fitted: hazard 1 at tumor 3, arm a."""
    sfm.tl.cox(source, ["tumor", "arm"])
    steps = np.arange(1, 300) / 100
    source.uns["cox"]["model"] |= {
        "coef": np.array([beta, 0.5, 0.0]),
        "center": 3 * beta,
        "baseline": pd.DataFrame({"stratum": 0, "time": steps, "hazard": steps}),
    }


def test_patients_of_the_model_itself_are_calibrated(here):
    true_model(here)
    there = cohort("B", 2500, 5)
    result = predicted(here, there, times=[0.5, 1.0], horizon=1.0)
    slope, ratio = (result["scores"].loc[name] for name in ("calibration_slope", "observed_expected"))
    assert slope["value"] == pytest.approx(1, abs=0.08)
    assert slope["ci_low"] < 1 < slope["ci_high"]
    assert ratio["value"] == pytest.approx(1, abs=0.06)
    assert ratio["ci_low"] < 1 < ratio["ci_high"]
    table = result["calibration"]
    assert (table["observed"] - table["predicted"]).abs().max() < 0.06
    assert result["calibration_large"]["ici"].max() < 0.03
    assert result["decision_curve"]["gain"].max() > 0.03

    here.uns["cox"]["model"]["baseline"]["hazard"] /= 2  # as if half as many had the event
    halved = predicted(here, there, times=[0.5, 1.0])
    assert halved["scores"].loc["observed_expected", "value"] == pytest.approx(2 * ratio["value"])
    assert halved["calibration_large"]["ici"].min() > 0.1
    assert halved["scores"].loc["harrell", "value"] == pytest.approx(result["scores"].loc["harrell", "value"])


def test_events_over_expected_by_hand(here, there):
    """Beyond the source's last time nothing is known: patients are looked at up to it."""
    true_model(here)
    baseline = here.uns["cox"]["model"]["baseline"]
    here.uns["cox"]["model"]["baseline"] = baseline[baseline["time"] <= 0.8]
    scores = predicted(here, there)["scores"]
    risk = 0.5 * (there.obs["tumor"] - 3) + 0.5 * (there.obs["arm"] == "b")
    until = np.floor(np.minimum(there.obs["time"], 0.8) * 100 + 1e-9) / 100
    expected = (until * np.exp(risk)).sum()
    observed = (there.obs["event"] & (there.obs["time"] <= 0.8)).sum()
    assert scores.loc["observed_expected", "value"] == pytest.approx(observed / expected)
    with pytest.raises(SurvivalError, match="behind the follow-up of the source"):
        predicted(here, there, times=[0.5, 1.0])


@pytest.mark.parametrize("strata", [None, "site"])
@pytest.mark.parametrize("entry", [None, "entry"])
def test_expected_events_are_breslows_of_the_source(here, there, strata, entry):
    """Sums of steps by the definition, with ties; the end of a stratum's follow-up ends what is known of it."""
    rng = np.random.default_rng(0)
    for table in (here, there):
        table.obs["time"] = np.ceil(table.obs["time"] * 10) / 10  # ties
    here.obs["entry"] = np.where(rng.random(150) < 0.5, 0.0, 0.9 * here.obs["time"].to_numpy())
    late = (here.obs["site"] == "s") & (here.obs["time"] > 1)
    here.obs.loc[late, "time"], here.obs.loc[late, "event"] = 1.0, False
    here.obs.loc[late, "entry"] = 0.0
    sfm.tl.cox(here, "tumor", strata=strata, entry_key=entry)
    result = predicted(here, there, times=[0.3, 0.8])
    beta = float(np.log(here.uns["cox"]["table"]["hazard_ratio"].iloc[0]))

    since = here.obs["entry"] if entry else pd.Series(-1.0, index=here.obs_names)
    group = {one: table.obs["site"] if strata else pd.Series("all", index=table.obs_names)
             for one, table in (("here", here), ("there", there))}  # fmt: skip

    def hazard(until: float, level: str) -> float:
        mine = here.obs[group["here"] == level].assign(since=since)
        total = 0.0
        for at in np.unique(mine["time"][mine["event"]]):
            if at <= until:
                at_risk = mine[(mine["since"] < at) & (mine["time"] >= at)]
                deaths = (mine["event"] & (mine["time"] == at)).sum()
                total += deaths / np.exp(beta * at_risk["tumor"]).sum()
        return total

    last = here.obs["time"].groupby(group["here"]).max()
    expected = observed = 0.0
    for name, row in there.obs.iterrows():
        level = group["there"][name]
        ratio = np.exp(beta * row["tumor"])
        expected += hazard(min(row["time"], last[level]), level) * ratio
        observed += row["event"] and row["time"] <= last[level]
        for at in (0.3, 0.8):
            survival = np.exp(-hazard(at, level) * ratio)
            assert result["predictions"].loc[name, f"survival_{at:g}"] == pytest.approx(survival)
    assert result["scores"].loc["observed_expected", "value"] == pytest.approx(observed / expected)


def test_calibration_groups_equal_lifelines(here, there):
    from lifelines import KaplanMeierFitter

    sfm.tl.cox(here, "tumor")
    result = predicted(here, there, times=[0.7], n_groups=4)
    risk = result["predictions"]["risk"]
    quarter = pd.qcut(risk, 4, labels=False)
    for code, row in enumerate(result["calibration"].itertuples()):
        mine = there.obs[(quarter == code).to_numpy()]
        fitter = KaplanMeierFitter().fit(mine["time"], mine["event"])
        assert row.n == len(mine)
        assert row.observed == pytest.approx(1 - fitter.predict(0.7))
        limits = fitter.confidence_interval_survival_function_.asof(0.7)
        assert (row.ci_low, row.ci_high) == pytest.approx((1 - limits.iloc[1], 1 - limits.iloc[0]))
        survival = result["predictions"].loc[mine.index, "survival_0.7"]
        assert row.predicted == pytest.approx(1 - survival.mean())


def test_concordance_is_that_of_the_metrics(here, there):
    sfm.tl.cox(here, "tumor")
    there = there[np.argsort(there.obs["time"])].copy()  # the order in which patients are drawn
    result = predicted(here, there, times=[0.3, 0.7])
    risk, survival = result["predictions"]["risk"], result["predictions"].filter(like="survival_").to_numpy()
    other = sfm.metrics.survival(
        there.obs["time"], there.obs["event"], risk, times=[0.3, 0.7], survival=survival, n_bootstrap=100
    )
    pd.testing.assert_frame_equal(result["scores"].iloc[2:], other["scores"])
    pd.testing.assert_frame_equal(result["curves"], other["curves"])


def test_scale_and_levels_are_the_source_s(here, there):
    here.obs["arm"] = pd.Categorical(here.obs["arm"])
    sfm.tl.cox(here, ["tumor", "arm"], standardize=True, reference={"arm": "c"})
    coef = here.uns["cox"]["table"]["coef"]
    one = predicted(here, there, score=False)["predictions"]["risk"]
    there.obs["tumor"] += 1.5
    two = predicted(here, there, score=False)["predictions"]["risk"]
    assert (two - one).to_numpy() == pytest.approx(1.5 * coef["tumor"] / here.obs["tumor"].std())
    few = there[there.obs["arm"] == "b"].copy()  # the target's own first level would be "b"
    same = predicted(here, few, score=False)["predictions"]["risk"]
    assert same.to_numpy() == pytest.approx(two[few.obs_names].to_numpy())


def test_strata_have_the_baseline_of_the_source(here, there):
    sfm.tl.cox(here, "tumor", strata=["site", "arm"])
    there.obs["site"] = there.obs["site"].astype(object)
    there.obs.loc["B0", "site"] = "u"
    with pytest.raises(SurvivalError, match=r"'site' of the target holds 'u' \(1 patient\), and the source's levels"):
        predicted(here, there)
    here = here[~((here.obs["site"] == "s") & (here.obs["arm"] == "c"))].copy()
    sfm.tl.cox(here, "tumor", strata=["site", "arm"])
    there.obs.loc["B0", "site"] = "s"
    with pytest.raises(SurvivalError, match=r"in a stratum that the source has not, first s and c"):
        predicted(here, there)


def test_a_cut_is_the_source_s(here, there):
    sfm.tl.cut_point(here, "tumor", n_permutations=100)
    cut = here.uns["tumor_group"]["cut"]
    there.obs.loc["B0", "tumor"] = cut  # a patient on the cut is below it, as in the source
    sfm.tl.predict_survival(here, there, key="tumor_group")
    groups = there.obs["tumor_group_predicted_group"]
    assert groups["B0"] == "low"
    assert ((groups == "high") == (there.obs["tumor"] > cut)).all()
    result = there.uns["tumor_group_predicted"]
    assert result["params"]["cut"] == cut
    assert result["p_value"] == pytest.approx(sfm.tl.logrank(there, groups.name, copy=True)["p_value"])
    ratio = sfm.tl.cox(there, groups.name, copy=True)["table"].iloc[0]
    names = ["hazard_ratio", "ci_low", "ci_high"]
    assert result["group_table"].loc["high", names].tolist() == pytest.approx(ratio[names].tolist())


def test_the_risk_is_cut_at_the_source_s(here, there):
    sfm.tl.coxnet(here, **FOLDS)
    sfm.tl.cut_point(here, "coxnet", n_permutations=100, key_added="cut", on_selected="mark")
    sfm.tl.cut_point(here, "tumor", n_permutations=100, key_added="other")
    found = predicted(here, there, key="coxnet", cut="cut")
    assert found["params"]["cut"] == here.uns["cut"]["cut"]
    assert ((found["predictions"]["group"] == "high") == (found["predictions"]["risk"] > here.uns["cut"]["cut"])).all()
    median = predicted(here, there, key="coxnet", cut="median")["params"]["cut"]
    assert median == pytest.approx(np.median(here.uns["coxnet"]["model"]["risk"]))
    with pytest.raises(SurvivalError, match=r"is a cut of 'tumor', and the risk is 'coxnet'"):
        predicted(here, there, key="coxnet", cut="other")
    sfm.tl.coxnet(here, **(FOLDS | {"random_state": 5}))
    with pytest.raises(SurvivalError, match=r"cuts what obs\['coxnet'\] held before it was computed again"):
        predicted(here, there, key="coxnet", cut="cut")


@pytest.mark.parametrize("cross_fit", [None, 5])
def test_groups_are_those_of_the_nearest_cluster(here, there, cross_fit):
    plan = {"time_key": "time", "event_key": "event", "merge_into": 2}
    with pytest.warns(SpatialfmWarning) if cross_fit is None else nullcontext():
        sfm.tl.stratify(here, 4, cross_fit=cross_fit, **plan)
    model = here.uns["risk_group"]["model"]
    distance = np.linalg.norm(there.X[:, None] - model["centers"][None], axis=2)
    sfm.tl.predict_survival(here, there, key="risk_group")
    groups = there.obs["risk_group_predicted_group"]
    assert groups.cat.codes.tolist() == model["group"][distance.argmin(axis=1)].tolist()
    assert groups.cat.categories.tolist() == ["low", "high"]
    again = here.copy()
    again.obs_names = "again " + again.obs_names
    again.X = again.X + 1e-7
    if cross_fit is None:  # its own patients are where they were
        own = predicted(here, again, key="risk_group")["predictions"]["group"]
        assert own.tolist() == here.obs["risk_group"].tolist()


def test_the_columns_may_be_tested_on_the_target(here, there, tmp_path):
    sfm.tl.cox(here, "tumor")
    sfm.tl.predict_survival(here, there, cut="median", **QUICK)
    there.write_h5ad(tmp_path / "there.h5ad")
    there = ad.read_h5ad(tmp_path / "there.h5ad")
    assert sfm.tl.logrank(there, "cox_predicted_group", copy=True)["p_value"] < 1e-3
    result = sfm.tl.cox(there, ["cox_predicted", "arm"], copy=True)
    assert not result["optimistic"]
    assert "made by sfm.tl.cox with the outcome (time, event) of other patients" in result["params"]["selected"]
    assert there.obsm["cox_predicted_survival"].shape == (100, 9)


def test_patients_of_the_source_are_found(here, there):
    sfm.tl.cox(here, ["tumor", "arm"])
    both = ad.concat([there, here[:20]])
    with pytest.raises(SurvivalError, match="20 patients of the target with names of patients of the source"):
        predicted(here, both)
    names = [f"Z{i}" for i in range(20)]
    both.obs_names = [*there.obs_names, *names]
    with pytest.raises(SurvivalError, match="20 patients of the target with the values of patients of the source"):
        predicted(here, both)
    dropped = predicted(here, both, on_shared="drop", cut="median")
    assert dropped["predictions"].loc[names].isna().all(axis=None)
    pd.testing.assert_frame_equal(dropped["scores"], predicted(here, there)["scores"])
    with pytest.warns(SpatialfmWarning, match="optimistic"):
        sfm.tl.predict_survival(here, both, on_shared="mark", cut="median", **QUICK)
    assert both.uns["cox_predicted"]["optimistic"]
    with pytest.raises(SurvivalError, match="was made by sfm.tl.cox"):
        sfm.tl.logrank(both, "cox_predicted_group")


def test_namesakes_are_asked_for(here, there):
    """ "P 07 " and "p 07" are one name; patients of two hospitals may both be numbered."""
    here.obs["patient"] = [f"P {i}" for i in range(here.n_obs)]
    there.obs["patient"] = [f"p {i} " for i in range(there.n_obs)]
    sfm.tl.cox(here, "tumor")
    with pytest.raises(SurvivalError, match="name them apart: target.obs") as refused:
        predicted(here, there)
    exec(str(refused.value).split("name them apart: ")[1].rstrip("."), {"target": there})
    assert predicted(here, there)["params"]["n_shared"] == 0


def test_what_the_target_lacks_is_named(here, there):
    sfm.tl.cox(here, ["tumor", "arm", "f1"])
    without = there[:, ["f0", "f2", "f3"]].copy()
    del without.obs["tumor"]
    with pytest.raises(SurvivalError, match=r"The target has no 'tumor', 'f1', which the model"):
        predicted(here, without)
    other = there.copy()
    other.obs.loc["B0", "arm"] = "d"
    with pytest.raises(SurvivalError, match=r"'arm' of the target holds 'd' \(1 patient\)"):
        predicted(here, other)
    text = there.copy()
    text.obs["tumor"] = text.obs["tumor"].astype(str)
    with pytest.raises(SurvivalError, match="'tumor' holds numbers in the source and"):
        predicted(here, text)
    sfm.tl.coxnet(here, **FOLDS)
    with pytest.raises(SurvivalError, match="The target has no 'f1' in var"):
        predicted(here, without, key="coxnet")
    here.uns["nothing"] = {"a": 1}
    with pytest.raises(SurvivalError, match="contains no model to apply"):
        predicted(here, there, key="nothing")


def test_columns_are_found_by_name(here, there):
    sfm.tl.coxnet(here, **FOLDS)
    one = predicted(here, there, key="coxnet", score=False)["predictions"]["risk"]
    turned = there[:, ["f3", "f0", "f2", "f1"]].copy()
    two = predicted(here, turned, key="coxnet", score=False)["predictions"]["risk"]
    assert two.to_numpy() == pytest.approx(one.to_numpy())


def test_missing_features_and_outcomes(here, there):
    sfm.tl.cox(here, "tumor")
    there.obs.loc["B0", "tumor"] = np.nan
    there.obs.loc["B1", "time"] = np.nan
    with pytest.raises(SurvivalError, match="1 patient of the target without a value of a feature: 'B0'"):
        predicted(here, there)
    result = predicted(here, there, on_missing="drop", cut="median")
    assert result["predictions"].loc["B0"].isna().all()
    assert result["predictions"].loc["B1"].notna().all()
    assert (result["params"]["n"], result["params"]["n_scored"]) == (99, 98)
    rest = predicted(here, there[2:].copy())
    pd.testing.assert_frame_equal(result["scores"], rest["scores"])


def test_without_outcome_there_are_predictions_alone(here, there):
    sfm.tl.cox(here, "tumor")
    del there.obs["event"]
    result = predicted(here, there, times=[0.5])
    assert {"scores", "calibration"}.isdisjoint(result)
    assert list(result["predictions"]) == ["risk", "survival_0.5"]
    there.obs["dead"] = np.where(np.arange(100) % 2, "yes", "no")
    result = predicted(here, there, time_key="time", event_key="dead", event_value="yes")
    assert result["params"]["events"] == 50


def test_what_may_not_be_comparable_is_said(here, there):
    sfm.tl.cox(here, "tumor")
    percent = there.copy()
    percent.obs["tumor"] *= 100
    with pytest.warns(SpatialfmWarning, match="feature is elsewhere in the target"):
        assert predicted(here, percent)["doubts"]
    days = there.copy()
    days.obs["time"] *= 30
    with pytest.warns(SpatialfmWarning, match="in the same unit"):
        predicted(here, days)


def test_a_cut_of_another_scale_is_said(here, there):
    sfm.tl.cut_point(here, "tumor", n_permutations=100)
    there.obs["tumor"] = 100 * there.obs["tumor"]
    with pytest.warns(SpatialfmWarning, match=r"(is|are) elsewhere in the target than in the source: tumor"):
        assert predicted(here, there, key="tumor_group", score=False)["doubts"]


def test_few_events_are_said(here, there):
    sfm.tl.cox(here, "tumor")
    few = there[there.obs["event"]][:8].copy()
    with pytest.warns(SpatialfmWarning, match="8 events in the target: with fewer than 10"):
        assert "8 events" in predicted(here, few, times=[float(few.obs["time"].median())])["doubts"][0]


def test_the_horizon_is_known_to_both(here, there):
    sfm.tl.cox(here, "tumor")
    with pytest.raises(SurvivalError, match=r"horizon=50 is not a time up to which both cohorts"):
        predicted(here, there, horizon=50.0)
    found = predicted(here, there, horizon=0.4)
    assert 0.4 in found["calibration"]["time"].unique()
    assert found["decision_curve"]["time"].unique().tolist() == [0.4]


def test_nothing_is_written_over(here, there):
    sfm.tl.cox(here, "tumor")
    with pytest.raises(SurvivalError, match="would replace obs"):
        sfm.tl.predict_survival(here, there, key_added="tumor")


def test_fractions_of_other_types_are_said(here, there):
    for samples in (here, there):
        samples.X = np.abs(samples.X) / np.abs(samples.X).sum(axis=1, keepdims=True)
        samples.layers["clr"] = np.log(samples.X)
        samples.uns["composition"] = {"params": {"pseudocount": 0.5, "cells_per_row": "all"}}
    sfm.tl.cox(here, ["f0", "f1"])
    sfm.tl.cox(here, ["f0", "f1"], layer="clr", key_added="clr")
    more = ad.concat([there, ad.AnnData(np.ones((100, 1)), obs=there.obs[[]], var=pd.DataFrame(index=["new"]))], axis=1)
    more.obs, more.uns = there.obs, there.uns
    with pytest.warns(SpatialfmWarning, match="counts 'new', which the source does not"):
        predicted(here, more)
    there.uns["composition"] = {"params": {"pseudocount": 1.0, "cells_per_row": "all"}}
    predicted(here, there)  # fractions have no pseudocount
    with pytest.raises(SurvivalError, match="a pseudocount of 0.5 in the source and of 1.0"):
        predicted(here, there, key="clr")


def test_embeddings_made_otherwise_are_refused(here, there):
    for samples, model in ((here, "kronos"), (there, "virtues")):
        samples.obsm["X_model"] = samples.X.copy()
        samples.uns["spatialfm"] = {"X_model": {"model": model, "markers": "[]", "output": "patch"}}
    sfm.tl.coxnet(here, use_rep="X_model", **FOLDS)
    with pytest.raises(TableError, match="made differently in the two tables: model"):
        predicted(here, there, key="coxnet")
    for samples in (here, there):
        del samples.uns["spatialfm"]
    with pytest.warns(SpatialfmWarning, match="No record of how"):
        predicted(here, there, key="coxnet")


def test_features_that_the_target_s_outcome_made_are_refused(here, there):
    sfm.tl.cut_point(there, "tumor", n_permutations=100, key_added="arm")  # its own cut under the source's name
    here.obs["arm"] = np.where(here.obs["tumor"] > 3, "high", "low")
    sfm.tl.cox(here, "arm")
    with pytest.raises(SurvivalError, match="was made by sfm.tl.cut_point"):
        predicted(here, there)


def test_no_relation_has_no_slope(here):
    there = cohort("B", 1500, 8, beta=0.0)
    sfm.tl.cox(here, "tumor")
    scores = predicted(here, there)["scores"]
    assert scores.loc["calibration_slope", "ci_low"] < 0 < scores.loc["calibration_slope", "ci_high"]
    assert abs(scores.loc["calibration_slope", "value"]) < 0.1


@pytest.mark.parametrize("kind", [int, float, str])
def test_what_means_the_event_in_the_source_s_column_is_as_there(here, there, kind):
    sfm.tl.cox(here, "tumor")
    right = predicted(here, there)
    for table in (here, there):
        table.obs["alive"] = (1 - table.obs["event"].astype(int)).astype(kind)
    dead = {int: 0, float: 0, str: "0"}[kind]
    sfm.tl.cox(here, "tumor", event_key="alive", event_value=dead)
    found = predicted(here, there)  # 0 is the event in both
    pd.testing.assert_frame_equal(found["scores"], right["scores"])
    assert found["params"]["events"] == int(there.obs["event"].sum())
    there.obs["alive"] = np.where(there.obs["event"], "deceased", "living")  # other words: asked, not taken
    with pytest.raises(SurvivalError, match="Which value means that the event was seen"):
        predicted(here, there)
