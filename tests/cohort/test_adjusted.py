"""Groups of patients compared at equal covariates, within sites and within patients."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import stats
from statsmodels.api import GLM, families
from statsmodels.formula.api import ols
from statsmodels.stats.contingency_tables import StratifiedTable

import spatialfm as sfm
from spatialfm._errors import ClinicalError, SpatialfmWarning, SurvivalError, TableError
from spatialfm.stats.rmst import pseudo_values
from spatialfm.stats.stratified_ratio import exact_p, mantel_haenszel, poisson_ratio
from spatialfm.tl.neighborhoods.neighborhood_contrast import contrast_table


def tissue(n_patients=16, n_cells=150, seed=0, times=("one",), confounded=0.0):
    """Types by chance in a square, of which a patient's age decides how far B cells keep to one side."""
    rng, parts, places = np.random.default_rng(seed), [], []
    for i in range(n_patients):
        age = float(rng.normal())
        group = "ab"[int(confounded * age + rng.normal() > 0)] if i > 1 else "ab"[i]
        for time in times:
            xy = rng.uniform(0, 100, (n_cells, 2))
            pull = np.tanh(age + 0.3 * rng.normal()) * np.where(xy[:, 0] < 50, 1, -1)
            types = np.where(rng.random(n_cells) < 0.4 * (1 + 0.9 * pull), "B", "T")
            columns = {"type": types, "patient": f"P{i:02d}", "group": group, "age": age, "site": f"S{i % 2}"}
            parts.append(pd.DataFrame(columns | {"time": time, "sample": f"P{i:02d}_{time}"}))
            places.append(xy)
    obs = pd.concat(parts, ignore_index=True)
    obs.index = obs.index.astype(str)
    return AnnData(obs=obs, obsm={"spatial": np.concatenate(places)})


def first_pair(cells, key="group", **options):
    sfm.tl.compare_enrichment(cells, "type", key, n_neighbors=6, **options)
    record = cells.uns["compare_enrichment"]
    patients = record["patients"].query("cell_type == 'B' and neighbour == 'B'").set_index("patient")
    return record["table"].iloc[0], patients


@pytest.mark.filterwarnings("ignore::spatialfm._errors.SpatialfmWarning")
def test_enrichment_at_equal_age_is_the_coefficient_of_least_squares():
    cells = tissue()
    row, patients = first_pair(cells, covariates="age")
    ages = cells.obs.drop_duplicates("patient").set_index("patient")["age"]
    fit = ols("log2_ratio ~ second + age", patients.assign(second=patients["group"] == "b", age=ages)).fit(
        cov_type="HC2"
    )
    assert row["difference"] == pytest.approx(fit.params["second[T.True]"])
    # the interval is symmetric, of HC2's error and fewer degrees of freedom than the normal has
    assert row["high"] - row["low"] > 2 * 1.96 * fit.bse["second[T.True]"]
    assert row["high"] + row["low"] == pytest.approx(2 * row["difference"])


@pytest.mark.filterwarnings("ignore::spatialfm._errors.SpatialfmWarning")
def test_age_that_drives_group_and_tissue_makes_a_finding_only_where_it_is_not_adjusted_for():
    cells = tissue(n_patients=30, seed=4, confounded=2.0)
    cells.obs["age2"] = np.tanh(cells.obs["age"]) ** 2  # what the neighbours follow
    cells.obs["group"] = np.where(cells.obs["age2"] > cells.obs["age2"].median(), "b", "a")
    few = cells.obs["patient"].isin(["P00", "P01", "P02", "P03"])
    cells.obs.loc[few, "group"] = np.where(cells.obs.loc[few, "group"] == "a", "b", "a")  # else age tells the group
    plain, _ = first_pair(cells)
    adjusted, _ = first_pair(cells, covariates="age2")
    assert plain["p_value"] < 0.01
    assert adjusted["p_value"] > 0.05
    assert abs(adjusted["difference"]) < 0.5 * abs(plain["difference"])


@pytest.mark.filterwarnings("ignore::spatialfm._errors.SpatialfmWarning")
def test_pairs_change_places_within_patients():
    cells = tissue(n_patients=8, times=("after", "before"), seed=1)
    row, patients = first_pair(cells, "time", pair_key="patient")
    wide = patients.reset_index().pivot(index="patient", columns="group", values="log2_ratio")
    one, two = wide["after"].to_numpy(), wide["before"].to_numpy()
    ranks = stats.rankdata(np.concatenate([one, two])).reshape(2, -1)
    p = []
    for first, second in ((one, two), ranks):  # studentised or not, all 256 swaps put means in the same order
        found = stats.permutation_test(
            (second - first,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=False
        )
        p.append(found.pvalue)
    assert row["p_value"] == pytest.approx(max(p))
    assert row["difference"] == pytest.approx((two - one).mean())
    gone = cells[cells.obs["sample"] != "P03_after"].copy()
    with pytest.warns(SpatialfmWarning, match="1 patient has one of the groups"):
        first_pair(gone, "time", pair_key="patient")


@pytest.mark.filterwarnings("ignore::spatialfm._errors.SpatialfmWarning")
def test_site_has_an_effect_of_its_own():
    cells = tissue(seed=2)
    row, patients = first_pair(cells, block_key="site")
    sites = cells.obs.drop_duplicates("patient").set_index("patient")["site"]
    fit = ols("log2_ratio ~ second + site", patients.assign(second=patients["group"] == "b", site=sites)).fit()
    assert row["difference"] == pytest.approx(fit.params["second[T.True]"])


@pytest.mark.parametrize(
    ("change", "options", "text"),
    [
        ({}, {"covariates": "stage"}, "No column 'stage' in obs"),
        ({"age": lambda obs: 1.0}, {"covariates": "age"}, "the same in all rows"),
        ({"age": lambda obs: obs["age"].where(obs["patient"] != "P03")}, {"covariates": "age"}, "'P03'"),
        ({"age": lambda obs: np.arange(len(obs))}, {"covariates": "age"}, "more than one value"),
        ({"site": lambda obs: obs["group"]}, {"block_key": "site"}, "tells which group"),
        ({"arm": lambda obs: (obs["group"] == "a") * 1}, {"covariates": ["age", "arm"]}, "tells which group"),
        ({}, {"covariates": "age", "pair_key": "patient"}, "cannot be combined"),
    ],
)
def test_covariates_that_cannot_be_adjusted_for_are_refused(change, options, text):
    cells = tissue(n_patients=12, n_cells=30)
    for name, make in change.items():
        cells.obs[name] = make(cells.obs)
    with pytest.raises((TableError, ClinicalError), match=text):
        sfm.tl.compare_enrichment(cells, "type", "group", **options)
    assert "compare_enrichment" not in cells.uns


@pytest.mark.filterwarnings("ignore::spatialfm._errors.SpatialfmWarning")
def test_patients_without_a_covariate_are_left_out_when_asked():
    cells = tissue(n_patients=12, n_cells=60)
    cells.obs["age"] = cells.obs["age"].where(cells.obs["patient"] != "P03")
    row, patients = first_pair(cells, covariates="age", on_missing="drop")
    kept, _ = first_pair(cells[cells.obs["patient"] != "P03"].copy(), covariates="age")
    assert "P03" not in patients.index
    pd.testing.assert_series_equal(row, kept)


def moved(n=14, seed=0):
    rng, parts, values = np.random.default_rng(seed), [], []
    for i in range(n):
        age = float(rng.normal(60, 10))
        step = np.array([max(0.1, (age - 40) / 10), 0.0])
        for time in ("before", "after"):
            values.append(rng.normal(size=(40, 2)) + step * (time == "after"))
            columns = {"patient": f"P{i:02d}", "group": "ab"[i % 2], "age": age, "time": time}
            parts.append(pd.DataFrame(columns | {"sample": f"P{i:02d}{time}"}, index=range(40)))
    obs = pd.concat(parts, ignore_index=True)
    obs.index = obs.index.astype(str)
    return AnnData(obs=obs, obsm={"X_latent": np.concatenate(values)})


def test_shifts_at_equal_age_are_the_coefficient_of_least_squares():
    cells = moved()
    options = {"use_rep": "X_latent", "time_key": "time", "reference": "before", "n_cells": 20, "min_cells": 40}
    options |= {"n_repeats": 2, "epsilon": 0.1, "copy": True}
    plain = sfm.tl.distribution_shift(cells, group_key="group", **options)
    found = sfm.tl.distribution_shift(cells, group_key="group", covariates=["age"], **options)
    table = found["table"].assign(
        age=cells.obs.drop_duplicates("patient")["age"].to_numpy(), b=found["table"]["group"] == "b"
    )
    for row in found["comparison"].itertuples():
        fit = ols(f"{row.measure} ~ b + age", table).fit()
        assert row.mean_difference == pytest.approx(fit.params["b[T.True]"])
        assert row.mean_low < row.mean_difference < row.mean_high
    row = plain["comparison"].set_index("measure").loc["shift"]
    one, two = (table.loc[table["group"] == name, "shift"] for name in "ab")
    low, high = stats.ttest_ind(two, one, equal_var=False).confidence_interval()
    assert (row["mean_low"], row["mean_high"]) == pytest.approx((low, high))
    with pytest.raises(TableError, match="are of the comparison of groups"):
        sfm.tl.distribution_shift(cells, covariates="age", **options)


def test_neighbours_within_levels_are_the_ratio_of_mantel_and_haenszel():
    rng, n = np.random.default_rng(0), 6 * 2 * 2 * 30
    frame = pd.MultiIndex.from_product([range(6), range(2), (True, False), range(30)]).to_frame(index=False)
    patients, strata, side = (frame[i].to_numpy() for i in (0, 1, 2))
    b = rng.binomial(6, np.where(strata == 1, 0.5, 0.2))
    counts = np.column_stack([b, 6 - b]).astype(float)
    keep = (rng.random(n) < 0.9) | ~side  # 90 % inside stay, so that tables differ
    counts, side, patients, strata = counts[keep], side[keep], patients[keep], strata[keep]
    found = contrast_table(counts, side, patients.astype(str), ["B", "T"], 1, 0.05, strata)
    tables, weights = [], []
    for patient in range(6):
        for stratum in range(2):
            mine = (patients == patient) & (strata == stratum)
            tables.append([counts[mine & (side == one)].sum(axis=0) for one in (True, False)])
            weights.append(1 / (side & (patients == patient)).sum())
    tables, weights = np.array(tables), np.array(weights)
    n1, n0 = tables[:, 0].sum(axis=1), tables[:, 1].sum(axis=1)
    one, two = (weights * tables[:, 0, 0] * n0 / (n1 + n0)).sum(), (weights * tables[:, 1, 0] * n1 / (n1 + n0)).sum()
    assert found.loc["B", "change_patients"] == pytest.approx(one / two - 1)


def test_a_region_that_makes_the_neighbours_is_taken_out():
    rng, parts = np.random.default_rng(0), []
    for i in range(10):
        region = np.repeat(["tumor", "stroma"], 100)
        inside = rng.random(200) < np.where(region == "tumor", 0.8, 0.2)
        b = rng.random(200) < np.where(region == "tumor", 0.6, 0.2)
        xy = np.column_stack([rng.uniform(0, 50, 200) + 100 * (region == "tumor"), rng.uniform(0, 50, 200)])
        parts.append(
            (pd.DataFrame({"type": np.where(b, "B", "T"), "patient": f"P{i}", "region": region, "in": inside}), xy)
        )
    obs = pd.concat([part for part, _ in parts], ignore_index=True)
    obs["sample"], obs.index = obs["patient"], obs.index.astype(str)
    cells = AnnData(obs=obs, obsm={"spatial": np.concatenate([xy for _, xy in parts])})
    options = {"cell_type": "T", "within": "in", "n_neighbors": 6, "copy": True}
    plain = sfm.tl.neighborhood_contrast(cells, "type", **options)
    adjusted = sfm.tl.neighborhood_contrast(cells, "type", covariates="region", **options)
    assert plain.loc["B", "p_patients"] < 1e-4
    assert adjusted.loc["B", "p_patients"] > 0.05
    assert adjusted["n_patients"].iloc[0] == 10
    cells.obs["age"] = cells.obs["patient"].str[1:].astype(float)
    with pytest.raises(TableError, match="takes it out already"):
        sfm.tl.neighborhood_contrast(cells, "type", covariates="age", **options)
    cells.obs["same"] = cells.obs["in"]
    with pytest.raises(TableError, match="determine in each patient who is inside"):
        sfm.tl.neighborhood_contrast(cells, "type", covariates="same", **options)


STRATA = np.array([[[8, 2], [3, 7]], [[5, 5], [2, 9]], [[1, 3], [2, 8]]])


def test_ratio_within_sites_is_rs_and_statsmodels():
    # R: x <- array(c(8,3,2,7, 5,2,5,9, 1,2,3,8), dim = c(2, 2, 3)); mantelhaen.test(x, exact = TRUE)$p.value
    assert exact_p(STRATA) == pytest.approx(0.0203036872207, abs=1e-12)
    assert mantel_haenszel(STRATA)[0] == pytest.approx(StratifiedTable(list(STRATA)).riskratio_pooled)
    rows = [
        {"site": f"S{k}", "risk": ("high", "low")[i], "tls": j == 0}
        for k, table in enumerate(STRATA)
        for i in range(2)
        for j in range(2)
        for _ in range(table[i, j])
    ]
    obs = pd.DataFrame(rows).set_axis([f"P{i}" for i in range(STRATA.sum())])
    row = sfm.tl.risk_ratio(AnnData(obs=obs), "risk", "tls", block_key="site", copy=True).loc["tls"]
    assert row["p_value"] == pytest.approx(0.0203036872207, abs=1e-12)
    assert (row["risk_ratio"], row["ci_low"], row["ci_high"]) == pytest.approx(mantel_haenszel(STRATA))
    turned = sfm.tl.risk_ratio(AnnData(obs=obs), "risk", "tls", block_key="site", given="structure", copy=True)
    assert turned.loc["tls", "p_value"] == pytest.approx(row["p_value"])
    pooled = StratifiedTable([table.T for table in STRATA]).riskratio_pooled
    assert turned.loc["tls", "risk_ratio"] == pytest.approx(pooled)


def test_ratio_at_equal_covariates_is_the_poisson_regression_of_statsmodels():
    rng = np.random.default_rng(0)
    age, high = rng.normal(size=90), rng.random(90) < 0.5
    tls = rng.random(90) < 0.3 * np.exp(0.4 * high + 0.3 * age).clip(0, 3)
    obs = pd.DataFrame({"age": age, "risk": np.where(high, "high", "low"), "tls": tls})
    patients = AnnData(obs=obs.set_axis([f"P{i}" for i in range(90)]))
    row = sfm.tl.risk_ratio(patients, "risk", "tls", covariates="age", copy=True).loc["tls"]
    design = np.column_stack([np.ones(90), age, high])
    assert row["risk_ratio"] == pytest.approx(np.exp(GLM(tls * 1.0, design, families.Poisson()).fit().params[2]))
    # of two groups alone the error is written out: (1 - p) / (p (n - 1)) each
    event, side = np.repeat([1, 0, 1, 0], [12, 28, 6, 34]), np.repeat([1, 0], 40)
    ratio, low, high = poisson_ratio(event, np.column_stack([np.ones(80), side]), 1)
    error = np.sqrt(0.7 / 0.3 / 39 + 0.85 / 0.15 / 39)
    assert ratio == pytest.approx(2)
    assert (low, high) == pytest.approx(tuple(2 * np.exp(sign * stats.t.ppf(0.975, 78) * error) for sign in (-1, 1)))


def test_mean_survival_at_equal_age_without_censoring_is_least_squares_of_time():
    rng = np.random.default_rng(0)
    age, arm = rng.normal(size=50), rng.random(50) < 0.5
    time = rng.exponential(np.exp(0.5 * age + 0.3 * arm))
    obs = pd.DataFrame({"time": time, "event": 1, "age": age, "arm": np.where(arm, "b", "a")})
    patients = AnnData(obs=obs.set_axis([f"P{i}" for i in range(50)]))
    row = sfm.tl.rmst(patients, "arm", horizon=1.5, covariates="age", copy=True)["differences"].iloc[0]
    fit = ols("t ~ arm + age", obs.assign(t=np.minimum(time, 1.5))).fit(cov_type="HC2")
    assert (row["difference"], row["se"]) == pytest.approx((fit.params["arm[T.b]"], fit.bse["arm[T.b]"]))
    with pytest.raises(SurvivalError, match="not made for late entry"):
        sfm.tl.rmst(patients, "arm", horizon=1.5, covariates="age", entry_key="age")
    with pytest.raises(TableError, match="tells which group"):
        sfm.tl.rmst(patients, "arm", horizon=1.5, covariates="arm")


def test_pseudo_observations_leave_one_patient_out():
    from lifelines import KaplanMeierFitter
    from lifelines.utils import restricted_mean_survival_time

    rng = np.random.default_rng(1)
    time, event = rng.exponential(size=12), rng.random(12) < 0.7

    def mean(keep):
        return restricted_mean_survival_time(KaplanMeierFitter().fit(time[keep], event[keep]), t=0.8)

    expected = [12 * mean(np.ones(12, bool)) - 11 * mean(np.arange(12) != i) for i in range(12)]
    assert pseudo_values(time, event, np.zeros(12, int), 0.8) == pytest.approx(expected)


@pytest.mark.filterwarnings("ignore::spatialfm._errors.SpatialfmWarning")
def test_changes_of_compositions_at_equal_age():
    rng, rows, counts = np.random.default_rng(0), [], []
    for i in range(16):
        age = float(rng.normal())
        for time in ("1 before", "2 after"):
            share = 0.3 + 0.05 * age * (time == "2 after")
            b = rng.binomial(200, share)
            counts.append([b, 100, 100 - b + 100])
            rows.append({"patient": f"P{i:02d}", "group": "ab"[i % 2], "age": age, "site": f"S{i // 8}", "time": time})
    counts = np.array(counts, dtype=float)
    obs = pd.DataFrame(rows).set_axis([f"R{i}" for i in range(32)])
    samples = AnnData(counts / counts.sum(axis=1, keepdims=True), obs=obs, layers={"counts": counts})
    samples.var_names = ["B", "T", "M"]
    options = {"time_key": "time", "copy": True}
    table = sfm.tl.compare_composition(samples, "group", covariates="age", **options)
    change = pd.Series(samples.X[1::2, 0] - samples.X[::2, 0])
    patients = obs.iloc[::2].reset_index(drop=True).assign(change=change)
    fit = ols("change ~ group + age", patients).fit()
    assert table.loc["B", "mean_difference"] == pytest.approx(fit.params["group[T.b]"])
    sites = sfm.tl.compare_composition(samples, "group", block_key="site", **options)
    assert sites.loc["B", "mean_difference"] == pytest.approx(
        ols("change ~ group + site", patients).fit().params["group[T.b]"]
    )
    samples.obs["dose"] = np.arange(32.0)
    with pytest.raises(ClinicalError, match="one value per patient"):
        sfm.tl.compare_composition(samples, "group", covariates="dose", **options)
