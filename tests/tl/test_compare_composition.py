"""Compositions compared between groups of patients."""

from __future__ import annotations

import builtins
import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import stats

import spatialfm as sfm
from spatialfm._errors import ArgumentError, ClinicalError, SpatialfmWarning, TableError
from spatialfm.tl._compare_composition import clr_t
from spatialfm.tl._composition import centred_log_ratio
from spatialfm.tl._group_test import effect_interval, two_groups

GROUPS = ["control", "case"]


def compositions(counts, groups) -> AnnData:
    """Patients of given counts."""
    counts = np.asarray(counts, dtype=float)
    names = [f"P{i:02d}" for i in range(len(counts))]
    obs = pd.DataFrame({"patient": names, "group": pd.Categorical(groups, GROUPS)}, index=names)
    return AnnData(
        counts / counts.sum(axis=1, keepdims=True),
        obs=obs,
        var=pd.DataFrame(index=[f"type {i}" for i in range(counts.shape[1])]),
        layers={"counts": counts, "clr": centred_log_ratio(counts, 0.5)},
    )


def drawn(n=15, n_types=6, factor=1.0, seed=0, n_cells=1000) -> AnnData:
    """Dirichlet-multinomial counts of `n` patients a group; in cases there are `factor` times as many of type 0."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(60 * rng.dirichlet(np.full(n_types, 3.0)) + 1, 2 * n)
    shares[n:, 0] *= factor
    counts = [rng.multinomial(n_cells, row / row.sum()) for row in shares]
    return compositions(counts, np.repeat(GROUPS, n))


def test_fractions_are_tested_as_by_scipy():
    patients = drawn(factor=3.0)
    sfm.tl.compare_composition(patients, "group")
    table, params = (patients.uns["compare_composition"][key] for key in ("table", "params"))
    assert params["method"] == "mannwhitney"
    assert list(table.index) == list(patients.var_names)
    for i, row in enumerate(table.itertuples()):
        one, two = patients.X[:15, i], patients.X[15:, i]
        found = stats.mannwhitneyu(two, one)
        assert row.p_value == pytest.approx(found.pvalue)
        assert row.effect == pytest.approx(2 * found.statistic / 225 - 1)
        assert row.effect_low <= row.effect <= row.effect_high
        assert row.difference == pytest.approx(np.median(two) - np.median(one))
        assert (row.group_1, row.group_2, row.n_1, row.n_2) == ("control", "case", 15, 15)
    np.testing.assert_allclose(table["q_value"], stats.false_discovery_control(table["p_value"]))
    assert table["significant"].tolist() == (table["q_value"] < 0.05).tolist()
    assert table.loc["type 0", "significant"]
    assert table.loc["type 0", "effect"] > 0.7


def test_several_groups_are_tested_by_kruskal():
    patients = drawn(factor=3.0)
    patients.obs["stage"] = np.tile([1, 2, 3], 10)
    table = sfm.tl.compare_composition(patients, "stage", copy=True)
    for i, name in enumerate(patients.var_names):
        parts = [patients.X[patients.obs["stage"] == stage, i] for stage in (1, 2, 3)]
        found = stats.kruskal(*parts)
        assert table.loc[name, "p_value"] == pytest.approx(found.pvalue)
        assert table.loc[name, "effect"] == pytest.approx(
            found.statistic * 31 / (30**2 - 1)
        )  # Tomczak and Tomczak 2014
        assert table.loc[name, "median_2"] == pytest.approx(np.median(parts[1]))
    assert "compare_composition" not in patients.uns
    two = sfm.tl.compare_composition(patients, "stage", groups=["3", "1"], copy=True)
    assert (two["group_1"].iloc[0], two["group_2"].iloc[0]) == ("3", "1")
    with pytest.raises(TableError, match="compares two groups, and there are 3: '1', '2', '3'"):
        sfm.tl.compare_composition(patients, "stage", method="clr-t")


def test_one_growing_type_lowers_all_fractions_and_only_it_is_called_by_log_ratios():
    # control: 100 cells of each of five types, plus a little; case: the same, and three times as many of type 0
    base = np.full((20, 5), 100.0) + np.random.default_rng(0).integers(-3, 4, (20, 5))
    base[10:, 0] *= 3
    patients = compositions(base, np.repeat(GROUPS, 10))
    fractions = sfm.tl.compare_composition(patients, "group", copy=True)
    assert fractions["significant"].all()
    assert (fractions["effect"].iloc[1:] == -1).all()
    ratios = sfm.tl.compare_composition(patients, "group", method="clr-t", copy=True)
    assert ratios["significant"].tolist() == [True, False, False, False, False]
    assert ratios["log2_fold_change"].iloc[0] == pytest.approx(np.log2(3), abs=0.03)
    assert ratios["log2_fold_change"].iloc[1:].abs().max() < 0.03
    # plain centred log-ratios call the others as well: all are lower by log(3) / 5
    assert stats.ttest_ind(patients.layers["clr"][:10], patients.layers["clr"][10:]).pvalue.max() < 1e-6


def test_log_ratios_keep_their_level_where_one_type_grows_and_rank_tests_of_fractions_do_not():
    calls = {"clr-t": [], "mannwhitney": []}
    for seed in range(40):
        patients = drawn(factor=4.0, seed=seed, n_types=5)
        for method, found in calls.items():
            table = sfm.tl.compare_composition(patients, "group", method=method, n_bootstrap=0, copy=True)
            found.append((table["p_value"].iloc[1:] < 0.05).mean())
            assert method != "clr-t" or table["p_value"].iloc[0] < 0.01
    assert np.mean(calls["clr-t"]) <= 0.06
    assert np.mean(calls["mannwhitney"]) > 0.5


def test_p_values_are_uniform_without_a_difference():
    p = [
        sfm.tl.compare_composition(drawn(seed=seed), "group", n_bootstrap=0, copy=True)["p_value"].iloc[0]
        for seed in range(100)
    ]
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_log_ratios_keep_their_level_in_tissue():
    cells = sfm.datasets.simulate_cells(200, cells_per_patient=200, effect_size=0.0, random_state=0)
    counts = sfm.tl.composition(cells, "type", patient_key="patient").layers["counts"]
    rng, codes = np.random.default_rng(0), np.repeat([0, 1], 12)
    p = np.array([clr_t(counts[rng.choice(200, 24, replace=False)], codes, 0.5)["p_value"] for _ in range(100)])
    assert 0.01 < (p < 0.05).mean() <= 0.065


def test_of_two_types_it_is_welch_of_their_log_ratio():
    # the differences of two centred log-ratios are each other's negative: their median is 0
    rng = np.random.default_rng(0)
    counts = np.stack([rng.poisson(300, 80), rng.poisson(np.repeat([300, 315], 40))], axis=1).astype(float)
    found = clr_t(counts, np.repeat([0, 1], 40), 0.5)
    ratio = np.log2((counts[:, 1] + 0.5) / (counts[:, 0] + 0.5)) / 2
    test = stats.ttest_ind(ratio[40:], ratio[:40], equal_var=False)
    assert found["log2_fold_change"][1] == pytest.approx(ratio[40:].mean() - ratio[:40].mean())
    np.testing.assert_allclose(found["p_value"], test.pvalue, rtol=0.2)
    low, high = test.confidence_interval()
    assert found["log2_low"][1] == pytest.approx(low, abs=0.05 * (high - low))
    assert found["log2_high"][1] == pytest.approx(high, abs=0.05 * (high - low))


def test_the_planted_type_of_the_simulator_is_found():
    cells = sfm.datasets.simulate_cells(60, cells_per_patient=400, effect_of="CD8 T", effect_size=-3.0, random_state=0)
    patients = sfm.tl.composition(cells, "type", patient_key="patient")
    for method in ("mannwhitney", "clr-t"):
        table = sfm.tl.compare_composition(patients, "response", method=method, copy=True)
        assert table["p_value"].idxmin() == "CD8 T"
        assert table.loc["CD8 T", "significant"]
        assert table.loc["CD8 T", "effect"] > 0.3  # responders have more
    null = sfm.datasets.simulate_cells(60, cells_per_patient=400, effect_size=0.0, random_state=0)
    patients = sfm.tl.composition(null, "type", patient_key="patient")
    assert not sfm.tl.compare_composition(patients, "response", copy=True)["significant"].any()


def test_the_interval_of_the_effect_holds_what_it_says():
    # groups one standard deviation apart: the true rank-biserial correlation is 2 * Phi(1 / sqrt(2)) - 1
    truth, rng, held = 2 * stats.norm.cdf(np.sqrt(0.5)) - 1, np.random.default_rng(0), []
    for _ in range(150):
        low, high = effect_interval(rng.normal(size=25), rng.normal(1, 1, 25), 300, rng)
        held.append(low <= truth <= high)
    assert 0.86 <= np.mean(held) <= 0.99
    assert effect_interval(np.arange(3.0), np.arange(5.0, 9.0), 100, rng) == (1.0, 1.0)
    assert np.isnan(effect_interval(np.arange(3.0), np.arange(3.0), 0, rng)).all()
    assert np.isnan(two_groups(np.arange(2.0), np.arange(5.0), 10, rng)["p_value"])


def test_types_without_a_cell_and_constant_ones_are_not_called():
    counts = drawn(factor=3.0).layers["counts"].copy()
    counts[:, 5] = 0
    patients = compositions(counts, np.repeat(GROUPS, 15))
    for method in ("mannwhitney", "clr-t"):
        table = sfm.tl.compare_composition(patients, "group", method=method, copy=True)
        assert np.isnan(table.loc["type 5", ["effect", "p_value", "q_value"]].astype(float)).all()
        assert not table.loc["type 5", "significant"]
        assert table["p_value"].iloc[:5].notna().all()
    same = compositions(np.full((8, 3), 10.0), np.repeat(GROUPS, 4))
    for method in ("mannwhitney", "clr-t"):
        assert (sfm.tl.compare_composition(same, "group", method=method, copy=True)["p_value"] == 1).all()
    same.obs["three"] = list("aaabbbcc")
    with pytest.raises(TableError, match="fewer than 3 patients cannot be compared: 'c: 2'"):
        sfm.tl.compare_composition(same, "three")


def test_patients_without_group_are_refused_or_left_out():
    patients = drawn()
    patients.obs.loc[["P00", "P20"], "group"] = np.nan
    with pytest.raises(TableError, match=r"2 of 30 patients have no value .*'P00', 'P20'.*on_missing=\"drop\""):
        sfm.tl.compare_composition(patients, "group")
    assert "compare_composition" not in patients.uns
    table = sfm.tl.compare_composition(patients, "group", on_missing="drop", copy=True)
    keep = patients[patients.obs["group"].notna()].copy()
    pd.testing.assert_frame_equal(table, sfm.tl.compare_composition(keep, "group", copy=True))


def test_what_cannot_be_compared_is_refused_and_nothing_is_written():
    patients = drawn()
    patients.obs["one"] = "same"
    patients.obs["rare"] = ["a"] * 2 + ["b"] * 28
    twice = patients.copy()
    twice.obs["patient"] = ["P00", *twice.obs["patient"][:-1]]
    raw = patients.copy()
    raw.X = raw.layers["counts"].copy()
    bare = patients.copy()
    del bare.layers["counts"]
    for samples, arguments, error, message in [
        (patients, {"group_key": "arm"}, TableError, "No column 'arm' in obs .*only if each patient has one value"),
        (patients, {"group_key": "one"}, TableError, "One group to compare, 'same'"),
        (patients, {"group_key": "rare"}, TableError, "fewer than 3 patients cannot be compared: 'a: 2'"),
        (patients, {"groups": ["case", "placebo"]}, TableError, r"No patient is in 'placebo' \(groups=\)"),
        (patients, {"method": "anova"}, ArgumentError, "method='anova'"),
        (patients, {"on_missing": "skip"}, ArgumentError, "on_missing='skip'"),
        (patients, {"method": "clr-t", "pseudocount": 0}, TableError, "pseudocount=0"),
        (patients[:, :1], {}, TableError, "do not add up to 1"),
        (compositions(np.ones((8, 1)), np.repeat(GROUPS, 4)), {}, TableError, "A composition of one type"),
        (twice, {}, ClinicalError, "30 rows hold 29 patients .*'P00' several times"),
        (raw, {}, TableError, "do not add up to 1"),
        (bare, {"method": "clr-t"}, TableError, r"needs numbers of cells in layers\['counts'\]|needs numbers of cells"),
    ]:
        with pytest.raises(error, match=message):
            sfm.tl.compare_composition(samples, **{"group_key": "group", **arguments})
        assert "compare_composition" not in samples.uns
    with pytest.raises(ArgumentError, match="must be an AnnData"):
        sfm.tl.compare_composition(patients.to_df(), "group")


def test_a_clinical_column_that_differs_within_patients_is_named():
    cells = sfm.datasets.simulate_cells(6, cells_per_patient=60, random_state=0)
    cells.obs["arm"] = np.where(np.arange(cells.n_obs) % 2, "a", "b")
    patients = sfm.tl.composition(cells, "type", patient_key="patient")
    with pytest.raises(TableError, match="only if each patient has one value of it"):
        sfm.tl.compare_composition(patients, "arm")


@pytest.mark.parametrize("method", ["ancombc", "dirmult_ttest"])
def test_methods_of_scikit_bio_are_refused_with_the_install_line_where_it_is_absent(method, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("skbio"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    for name in [name for name in sys.modules if name.startswith("skbio")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    patients = drawn(n_types=12)
    with pytest.raises(TableError, match=r'pip install "spatialfm\[composition\]".*method="clr-t"'):
        sfm.tl.compare_composition(patients, "group", method=method)
    assert "compare_composition" not in patients.uns


@pytest.mark.parametrize("method", ["ancombc", "dirmult_ttest"])
def test_methods_of_scikit_bio_find_a_growing_type_and_are_its_own_numbers(method):
    library = pytest.importorskip("skbio.stats.composition")
    patients = drawn(factor=5.0, n_types=15)
    table = sfm.tl.compare_composition(patients, "group", method=method, copy=True)
    assert table["p_value"].idxmin() == "type 0"
    assert table.loc["type 0", "log2_fold_change"] == pytest.approx(np.log2(5), abs=0.8)
    assert table["significant"].sum() <= 3
    counts, group = patients.to_df("counts"), patients.obs["group"].astype(str)
    if method == "dirmult_ttest":
        own = library.dirmult_ttest(counts, group, "case", "control", p_adjust="fdr_bh", seed=0)
        np.testing.assert_allclose(table["log2_fold_change"], own["Log2(FC)"])
    else:
        coded = pd.DataFrame({"group": pd.Categorical(group, GROUPS)}, index=counts.index)
        own = library.ancombc(counts + 0.5, coded, "group", p_adjust="fdr_bh").result
        own = own.xs("group[T.case]", level="Covariate").loc[list(patients.var_names)]
        np.testing.assert_allclose(table["log2_fold_change"], own["Log(FC)"] / np.log(2))
    np.testing.assert_allclose(table["q_value"], own["qvalue"].astype(float))


def test_ancombc_on_few_types_warns():
    pytest.importorskip("skbio.stats.composition")
    with pytest.warns(SpatialfmWarning, match="there are 6; with fewer than 10 it is unreliable"):
        sfm.tl.compare_composition(drawn(), "group", method="ancombc", copy=True)


def test_results_can_be_saved(tmp_path):
    patients = drawn(factor=3.0)
    sfm.tl.compare_composition(patients, "group", method="clr-t")
    patients.write_h5ad(tmp_path / "patients.h5ad")
    back = ad.read_h5ad(tmp_path / "patients.h5ad").uns["compare_composition"]
    np.testing.assert_allclose(back["table"]["q_value"], patients.uns["compare_composition"]["table"]["q_value"])
    assert list(back["params"]["groups"]) == GROUPS
