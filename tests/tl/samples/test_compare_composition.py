"""Compositions compared between groups of patients."""

from __future__ import annotations

from math import comb

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import stats

import spatialfm as sfm
from spatialfm._errors import ArgumentError, ClinicalError, SpatialfmWarning, TableError
from spatialfm.stats.composition_groups import clr_t
from spatialfm.stats.linear import fractional_logit
from spatialfm.tl.samples.composition import centred_log_ratio

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
    """Dirichlet-multinomial counts of `n` patients per group; in cases there are `factor` times as many of type 0."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(60 * rng.dirichlet(np.full(n_types, 3.0)) + 1, 2 * n)
    shares[n:, 0] *= factor
    counts = [rng.multinomial(n_cells, row / row.sum()) for row in shares]
    return compositions(counts, np.repeat(GROUPS, n))


def odds_by_hand(one: np.ndarray, two: np.ndarray) -> float:
    """Welch's t of shares made linear around the logit of their mean, patients counted by how many carry it."""
    linear, means = [], [one.mean(), two.mean()]
    for part, mean in zip((one, two), means, strict=True):
        linear.append(np.log(mean / (1 - mean)) + (part - mean) / (mean * (1 - mean)))
    t = stats.ttest_ind(*linear, equal_var=False).statistic
    parts = [part.var(ddof=1) / len(part) for part in linear]
    counted = [(len(x) - 1) * (x.sum() ** 2 / (x**2).sum() / len(x)) ** 0.75 for x in (one, two)]
    return 2 * stats.t.sf(abs(t), sum(parts) ** 2 / sum(v**2 / k for v, k in zip(parts, counted, strict=True)))


def modelled_odds(shares: np.ndarray, codes: np.ndarray, clusters: np.ndarray | None = None) -> float:
    fit = fractional_logit(shares[:, None], np.column_stack([np.ones(len(codes)), codes]), 1, clusters)
    rarer = [x if x.mean() < 0.5 else 1 - x for x in (shares[codes == 0], shares[codes == 1])]
    carried = [x.sum() ** 2 / (x**2).sum() / len(x) for x in rarer]
    return 2 * stats.t.sf(abs(fit.value[0] / fit.error[0]), fit.freedom[0] * min(carried) ** 0.75)


def test_means_that_few_carry_are_said_so():
    rng = np.random.default_rng(0)
    counts = rng.multinomial(1000, [0.5, 0.3, 0.2], 40)
    counts = np.column_stack([counts, np.where(np.arange(40) < 20, 15 + rng.integers(0, 5, 40), 0)])
    counts[20:22, 3] = 1, 6  # two of the cases have any
    patients = compositions(counts, np.repeat(GROUPS, 20))
    with pytest.warns(SpatialfmWarning, match=r"'type 3 \(1.3\)' rests on .* fewer than 3 patients carry"):
        table = sfm.tl.compare_composition(patients, "group", copy=True)
    shares = (counts / counts.sum(axis=1, keepdims=True))[20:22, 3]
    assert table.loc["type 3", "carriers"] == pytest.approx(shares.sum() ** 2 / (shares**2).sum())
    assert 18 < table.loc["type 0", "carriers"] <= 20
    counts[20:22, 3] = 0  # absent from all cases: nobody carries anything
    patients = compositions(counts, np.repeat(GROUPS, 20))
    absent = sfm.tl.compare_composition(patients, "group", copy=True)
    assert absent.loc["type 3", "carriers"] > 19
    assert absent.loc["type 3", "p_value"] < 1e-6


def test_shares_are_tested_as_by_scipy():
    patients = drawn(n=16, factor=3.0)
    sfm.tl.compare_composition(patients, "group")
    table, params = (patients.uns["compare_composition"][key] for key in ("table", "params"))
    assert (params["method"], params["model"]) == ("robust", "groups")
    assert "add up to 1" in params["note"]
    assert list(table.index) == list(patients.var_names)
    for i, row in enumerate(table.itertuples()):
        one, two = patients.X[:16, i], patients.X[16:, i]
        if abs(row.effect) < 1:  # else scipy's is 0 / 0
            # of all ways to form the groups, two at the least are as far apart
            assert row.p_ranks == pytest.approx(max(stats.brunnermunzel(two, one).pvalue, 2 / comb(32, 16)))
        welch = stats.ttest_ind(two, one, equal_var=False)
        assert row.p_means == pytest.approx(max(odds_by_hand(one, two), 2 / comb(32, 16)))
        assert row.p_value == max(row.p_ranks, row.p_means)
        assert row.effect == pytest.approx(2 * stats.mannwhitneyu(two, one).statistic / 256 - 1)
        assert row.effect_low < row.effect_high
        assert row.effect_low <= row.effect <= row.effect_high
        assert row.mean_difference == pytest.approx(two.mean() - one.mean())
        assert (row.mean_high - row.mean_low) / 2 == pytest.approx(
            stats.t.ppf(0.975, 30) * abs(row.mean_difference / welch.statistic)
        )
        assert row.difference == pytest.approx(np.median(two) - np.median(one))
        assert (row.group_1, row.group_2, row.n_1, row.n_2) == ("control", "case", 16, 16)
    for name in ("value", "reference"):
        q = "q_value" if name == "value" else "q_reference"
        np.testing.assert_allclose(table[q], stats.false_discovery_control(table[f"p_{name}"]))
    assert table["significant"].tolist() == (table["q_value"] < 0.05).tolist()
    assert table.loc["type 0", "significant"]
    assert table.loc["type 0", "effect"] > 0.7


def test_fold_changes_are_odds_against_the_frame():
    patients = drawn(n=16, factor=3.0)
    table = sfm.tl.compare_composition(patients, "group", reference=["type 1", "type 2"], copy=True)
    assert table["in_reference"].tolist() == [False, True, True, False, False, False]
    counts = patients.layers["counts"]
    for i in range(6):
        among = sum(counts[:, j] for j in {i, 1, 2})
        ratio = counts[:, i] / among
        one, two = ratio[:16].mean(), ratio[16:].mean()
        found = table.iloc[i]
        assert found["log2_fold_change"] == pytest.approx(np.log2(two / (1 - two)) - np.log2(one / (1 - one)))
        assert found["log2_low"] < found["log2_fold_change"] < found["log2_high"]
        p = stats.ttest_ind(ratio[16:], ratio[:16], equal_var=False).pvalue
        assert found["p_reference"] >= p * 0.999  # the larger of means, this one, and ranks
    assert table.loc["type 0", "log2_fold_change"] == pytest.approx(np.log2(3), abs=0.6)


def test_several_groups():
    patients = drawn(factor=3.0)
    patients.obs["stage"] = np.tile([1, 2, 3], 10)
    patients.layers["counts"][20:, 0] += 2000  # of the last ten
    counts = patients.layers["counts"]
    patients.obs["late"] = np.repeat(["a", "b", "c"], 10)
    patients.X = counts / counts.sum(axis=1, keepdims=True)
    table = sfm.tl.compare_composition(patients, "stage", copy=True)
    for i, name in enumerate(patients.var_names):
        parts = [patients.X[patients.obs["stage"] == stage, i] for stage in (1, 2, 3)]
        # Tomczak and Tomczak 2014
        assert table.loc[name, "effect"] == pytest.approx(stats.kruskal(*parts).statistic * 31 / (30**2 - 1), abs=2e-3)
        assert table.loc[name, "median_2"] == pytest.approx(np.median(parts[1]))
    assert not table["significant"].any()
    kruskal = sfm.tl.compare_composition(patients, "stage", method="kruskal", copy=True)
    parts = [patients.X[patients.obs["stage"] == stage] for stage in (1, 2, 3)]
    np.testing.assert_allclose(kruskal["p_value"], stats.kruskal(*parts).pvalue)
    late = sfm.tl.compare_composition(patients, "late", copy=True)
    assert late["significant_reference"].tolist() == [True] + 5 * [False]
    assert "compare_composition" not in patients.uns
    two = sfm.tl.compare_composition(patients, "stage", groups=["3", "1"], copy=True)
    assert (two["group_1"].iloc[0], two["group_2"].iloc[0]) == ("3", "1")
    with pytest.raises(TableError, match="compares two groups, and there are 3: '1', '2', '3'"):
        sfm.tl.compare_composition(patients, "stage", method="clr-t")


def test_one_growing_type_lowers_all_shares_and_the_result_says_so():
    # control: 100 cells of each of five types, plus a little; case: the same, and three times as many of type 0
    base = np.full((20, 5), 100.0) + np.random.default_rng(0).integers(-3, 4, (20, 5))
    base[10:, 0] *= 3
    patients = compositions(base, np.repeat(GROUPS, 10))
    with pytest.warns(SpatialfmWarning, match="'type 1', 'type 2'.*shares add up to 1.*only_share"):
        table = sfm.tl.compare_composition(patients, "group", copy=True)
    assert table["significant"].all()
    assert (table["effect"].iloc[1:] < -0.99).all()
    assert table["significant_reference"].tolist() == [True] + 4 * [False]
    assert table["only_share"].tolist() == [False] + 4 * [True]
    assert not table["in_reference"].iloc[0]
    assert table["log2_fold_change"].iloc[0] == pytest.approx(np.log2(3), abs=0.03)
    assert table["log2_fold_change"].iloc[1:].abs().max() < 0.05
    ratios = sfm.tl.compare_composition(patients, "group", method="clr-t", copy=True)
    assert ratios["significant"].tolist() == [True] + 4 * [False]
    assert ratios["log2_fold_change"].iloc[0] == pytest.approx(np.log2(3), abs=0.03)
    # plain centred log-ratios call the others as well: all are lower by log(3) / 5
    assert stats.ttest_ind(patients.layers["clr"][:10], patients.layers["clr"][10:]).pvalue.max() < 1e-6


@pytest.mark.slow
def test_the_frame_keeps_its_level_where_one_type_grows_and_shares_do_not():
    calls = {"reference": [], "clr-t": [], "mannwhitney": []}
    for seed in range(25):
        patients = drawn(n=16, factor=4.0, seed=seed, n_types=5)
        for method in ("clr-t", "mannwhitney"):
            table = sfm.tl.compare_composition(patients, "group", method=method, n_permutations=499, copy=True)
            calls[method].append((table["p_value"].iloc[1:] < 0.05).mean())
            assert method != "clr-t" or table["p_value"].iloc[0] < 0.01
        calls["reference"].append((table["p_reference"].iloc[1:] < 0.05).mean())
        assert table["p_reference"].iloc[0] < 0.01
    assert np.mean(calls["clr-t"]) <= 0.06
    assert np.mean(calls["reference"]) <= 0.06
    assert np.mean(calls["mannwhitney"]) > 0.5


@pytest.mark.slow
def test_numbers_of_cells_are_no_difference():
    """Patients of 200 cells against patients of 5,000 of the same tissue."""
    p = {name: [] for name in ("p_value", "p_reference", "clr-t", "plain clr")}
    for seed in range(30):
        rng = np.random.default_rng(seed)
        shares = rng.dirichlet(100 * np.array([0.4, 0.25, 0.15, 0.1, 0.06, 0.035, 0.005]), 32)
        n_cells = np.repeat([200, 5000], 16)
        patients = compositions(
            [rng.multinomial(n, s) for n, s in zip(n_cells, shares, strict=True)], np.repeat(GROUPS, 16)
        )
        table = sfm.tl.compare_composition(patients, "group", copy=True)
        p["p_value"].append(table["p_value"])
        p["p_reference"].append(table["p_reference"])
        p["clr-t"].append(sfm.tl.compare_composition(patients, "group", method="clr-t", copy=True)["p_value"])
        clr = patients.layers["clr"]
        p["plain clr"].append(stats.ttest_ind(clr[:16], clr[16:], equal_var=False).pvalue)
    assert (np.array(p["plain clr"])[:, -1] < 0.05).mean() > 0.2  # the rarest: what is guarded against
    share = {name: float(np.mean(np.array(parts)[np.isfinite(parts)] < 0.05)) for name, parts in p.items()}
    assert share["p_value"] < 0.085
    assert share["p_reference"] < 0.085
    assert share["clr-t"] < 0.085


@pytest.mark.slow
def test_p_values_are_uniform_without_a_difference():
    p = [
        sfm.tl.compare_composition(drawn(n=16, seed=seed), "group", copy=True)["p_ranks"].iloc[0] for seed in range(100)
    ]
    assert stats.kstest(p, "uniform").pvalue > 0.01


@pytest.mark.slow
def test_log_ratios_keep_their_level_in_tissue():
    cells = sfm.datasets.simulate_cells(200, cells_per_patient=200, effect_size=0.0, random_state=0)
    counts = sfm.tl.composition(cells, "type", patient_key="patient").layers["counts"]
    rng, codes = np.random.default_rng(0), np.repeat([0, 1], 12)
    p = np.array([clr_t(counts[rng.choice(200, 24, replace=False)], codes, 0.5, rng)["p_value"] for _ in range(60)])
    p = p[np.isfinite(p)]
    assert 0.01 < (p < 0.05).mean() <= 0.065


def test_of_two_types_it_is_welch_of_their_log_ratio():
    # the differences of two centred log-ratios are each other's negative: their median is 0
    rng = np.random.default_rng(0)
    counts = np.stack([rng.poisson(300, 80), rng.poisson(np.repeat([300, 315], 40))], axis=1).astype(float)
    counts[:, 0] += 700 - counts.sum(axis=1)  # equally many cells
    found = clr_t(counts, np.repeat([0, 1], 40), 0.5, rng)
    ratio = np.log2((counts[:, 1] + 0.5) / (counts[:, 0] + 0.5)) / 2
    test = stats.ttest_ind(ratio[40:], ratio[:40], equal_var=False)
    assert found["log2_fold_change"][1] == pytest.approx(ratio[40:].mean() - ratio[:40].mean())
    np.testing.assert_allclose(found["p_value"], test.pvalue, rtol=0.2)
    low, high = test.confidence_interval()
    assert found["log2_low"][1] == pytest.approx(low, abs=0.05 * (high - low))
    assert found["log2_high"][1] == pytest.approx(high, abs=0.05 * (high - low))


def samples_of(n_patients=16, per=3, seed=0, effect=0.0, within=False, patient_sd=0.6):
    """Up to `per` samples of each patient (two where groups are within), ``exp(effect)`` more of type 0 in cases."""
    rng = np.random.default_rng(seed)
    counts, obs = [], []
    for patient in range(n_patients):
        own = np.log([0.4, 0.3, 0.2, 0.1]) + patient_sd * rng.normal(size=4)
        for sample in range(2 if within else rng.integers(1, per + 1)):
            case = bool(sample % 2 if within else patient % 2)
            logs = own + 0.2 * rng.normal(size=4)
            logs[0] += effect * case
            shares = np.exp(logs) / np.exp(logs).sum()
            counts.append(rng.multinomial(int(rng.choice([300, 2000])), shares))
            obs.append((f"P{patient:02d}", GROUPS[case], f"site {patient % 3}"))
    found = compositions(counts, [group for _, group, _ in obs])
    found.obs["patient"], found.obs["site"] = [o[0] for o in obs], [o[2] for o in obs]
    found.obs["when"] = pd.Categorical(np.where(found.obs["group"] == "case", "after", "before"), ["before", "after"])
    return found


def test_before_and_after_are_compared_within_patients():
    samples = samples_of(10, within=True, effect=0.7)
    table = sfm.tl.compare_composition(samples, "group", pair_key="patient", copy=True)
    before, after = samples.X[::2], samples.X[1::2]
    for i, found in enumerate(table.itertuples()):
        paired = stats.ttest_rel(after[:, i], before[:, i])
        flips = np.array([[(k >> j & 1) * 2 - 1 for j in range(10)] for k in range(1024)])
        change = flips * (after - before)[:, i]
        t = np.abs(change.mean(axis=1) / change.std(axis=1, ddof=1))
        flipped = (t >= np.abs(paired.statistic) / np.sqrt(10) * (1 - 1e-9)).mean()
        odds = modelled_odds(samples.X[:, i], np.tile([0, 1], 10), np.repeat(np.arange(10), 2))
        assert found.p_means == pytest.approx(max(flipped, odds))
        interval = paired.confidence_interval()
        assert (found.mean_low, found.mean_high) == pytest.approx((interval.low, interval.high))
        assert (found.n_1, found.n_2) == (10, 10)
    assert table.loc["type 0", "p_reference"] < 0.01
    # as if they were other people, patients' differences hide it
    apart = sfm.tl.compare_composition(samples, "group", patient_key=None, copy=True)
    assert table.loc["type 0", "p_value"] < apart.loc["type 0", "p_value"] / 3


def test_several_samples_of_one_time_are_pooled_and_lone_ones_left_out():
    samples = samples_of(8, within=True)
    twice = ad.concat([samples, samples[:1]], index_unique="-")
    twice.layers["counts"][-1] *= 3
    twice = compositions(twice.layers["counts"], twice.obs["group"].to_numpy())
    twice.obs["patient"] = [*samples.obs["patient"], "P00"]
    pooled = samples.copy()
    pooled.layers["counts"][0] *= 4
    pooled.obs["patient"] = samples.obs["patient"]
    table = sfm.tl.compare_composition(twice, "group", pair_key="patient", copy=True)
    pd.testing.assert_frame_equal(table, sfm.tl.compare_composition(pooled, "group", pair_key="patient", copy=True))
    with pytest.warns(SpatialfmWarning, match="1 patient has one of the two and cannot be paired"):
        lone = sfm.tl.compare_composition(samples[1:].copy(), "group", pair_key="patient", copy=True)
    assert lone["n_1"].eq(7).all()


def test_changes_are_compared_between_groups_of_patients():
    samples = samples_of(20, within=True)
    arm = np.where(samples.obs["patient"].str[1:].astype(int) % 2, "drug", "none")
    samples.obs["arm"] = arm
    counts = samples.layers["counts"]
    counts[(arm == "drug") & (samples.obs["when"] == "after").to_numpy(), 0] *= 4
    samples.X = counts / counts.sum(axis=1, keepdims=True)
    table = sfm.tl.compare_composition(samples, "arm", time_key="when", copy=True)
    change = samples.X[1::2] - samples.X[::2]
    drug = arm[::2] == "drug"
    for i, found in enumerate(table.itertuples()):
        assert found.mean_difference == pytest.approx(-change[drug, i].mean() + change[~drug, i].mean())
        assert found.median_1 == pytest.approx(np.median(change[drug, i]))
        assert (found.n_1, found.n_2) == (10, 10)
    assert table["p_value"].idxmin() == "type 0"
    assert table.loc["type 0", "significant"]
    assert table.loc["type 0", "effect"] < -0.8  # less in the group without, which comes second
    assert table.loc["type 0", "significant_reference"]


def test_the_alphabet_is_no_order_of_time():
    samples = samples_of(12, within=True)
    samples.obs["arm"] = np.where(samples.obs["patient"].str[1:].astype(int) % 2, "drug", "none")
    samples.obs["when"] = samples.obs["when"].map({"before": "pre", "after": "post"}).astype(str)
    with pytest.warns(SpatialfmWarning, match="states no order of its time points.*'post', 'pre'"):
        backwards = sfm.tl.compare_composition(samples, "arm", time_key="when", copy=True)
    samples.obs["when"] = pd.Categorical(samples.obs["when"], ["pre", "post"], ordered=True)
    table = sfm.tl.compare_composition(samples, "arm", time_key="when", copy=True)
    change = samples.X[1::2] - samples.X[::2]  # post less pre
    drug = (samples.obs["arm"] == "drug").to_numpy()[::2]
    np.testing.assert_allclose(table["mean_difference"], change[~drug].mean(axis=0) - change[drug].mean(axis=0))
    np.testing.assert_allclose(backwards["mean_difference"], -table["mean_difference"])


def test_several_samples_of_a_patient_are_a_mixed_model():
    samples = samples_of(24, per=6, effect=1.2, patient_sd=0.4)
    with pytest.raises(ClinicalError, match=r'several times.*model="mixed".*pair_key=\'patient\''):
        sfm.tl.compare_composition(samples, "group")
    sfm.tl.compare_composition(samples, "group", model="mixed")
    record = samples.uns["compare_composition"]
    assert record["params"]["n_patients"] == 24
    assert record["table"].loc["type 0", "significant_reference"]
    assert not record["table"].loc["type 1":, "significant_reference"].any()
    one = samples[~samples.obs["patient"].duplicated()].copy()  # a sample each: no variance within to be told
    mixed = sfm.tl.compare_composition(one, "group", model="mixed", copy=True)
    for i, found in enumerate(mixed.itertuples()):
        parts = [one.X[one.obs["group"] == name, i] for name in ("case", "control")]
        odds = modelled_odds(np.concatenate(parts), np.repeat([0, 1], [len(part) for part in parts]))
        assert found.p_means == pytest.approx(max(stats.ttest_ind(*parts).pvalue, odds))  # of equal groups


def test_covariates_and_blocks_take_out_what_goes_with_the_group():
    called = {name: [] for name in ("plain", "adjusted", "blocks")}
    for seed in range(100, 112):
        rng = np.random.default_rng(seed)
        age = rng.normal(size=40)
        old = age > 0
        case = np.where(rng.random(40) < np.where(old, 0.8, 0.2), "case", "control")
        shares = rng.dirichlet([20, 20, 20], 40)
        shares[:, 0] *= np.exp(0.6 * age)  # older patients have more
        patients = compositions([rng.multinomial(1000, s / s.sum()) for s in shares], case)
        patients.obs["age"], patients.obs["old"] = age, np.where(old, "old", "young")
        compare = {
            "plain": {},
            "adjusted": {"covariates": "age"},
            "blocks": {"block_key": "old", "covariates": ["age"]},
        }
        for name, arguments in compare.items():
            table = sfm.tl.compare_composition(patients, "group", copy=True, n_permutations=399, **arguments)
            called[name].append(table.loc["type 0", "p_value"] < 0.05)
    assert np.mean(called["plain"]) > 0.7
    assert np.sum(called["adjusted"]) <= 2
    assert np.sum(called["blocks"]) <= 2


def test_what_cannot_be_told_apart_is_refused():
    patients = drawn(n=6)
    patients.obs["slide"], patients.obs["one"] = np.repeat(["s1", "s2"], 6), "x"
    patients.obs["batch"] = np.tile(["a", "b"], 6)
    patients.obs["same"] = patients.obs["batch"].map({"a": 1, "b": 2})
    for arguments, message in [
        ({"block_key": "slide"}, r"obs\['slide'\] tells which group of obs\['group'\] a row is in"),
        ({"covariates": ["slide"]}, r"obs\['slide'\] tells which group"),
        ({"covariates": ["batch", "same"]}, "are the same in other words"),
        ({"covariates": ["one"]}, r"obs\['one'\] \(covariates=\) is the same in all rows"),
        ({"covariates": ["age"]}, "No column 'age' in obs \\(covariates=\\)"),
        ({"block_key": "batch", "model": "mixed"}, "cannot be combined"),
        ({"method": "mannwhitney", "covariates": "batch"}, "without covariates, blocks, pairs or models"),
        ({"reference": ["type 9"]}, "No type 'type 9' in var \\(reference=\\)"),
    ]:
        with pytest.raises(TableError, match=message):
            sfm.tl.compare_composition(patients, "group", **arguments)
        assert "compare_composition" not in patients.uns
    for arguments in ({"method": "ancombc"}, {"method": "dirmult_ttest"}, {"model": "fixed"}):
        with pytest.raises(ArgumentError, match="must be"):
            sfm.tl.compare_composition(patients, "group", **arguments)


def test_groups_too_small_for_any_p_value_are_said_so():
    with pytest.warns(SpatialfmWarning, match="no p-value below 0.1 is possible"):
        table = sfm.tl.compare_composition(drawn(n=3, factor=9.0), "group", copy=True)
    assert table["p_value"].min() >= 0.1 - 1e-9
    assert (table["effect_high"] > table["effect_low"]).all()


def test_shares_without_counts_are_compared_as_they_are():
    patients = drawn(n=16, factor=3.0)
    bare = patients.copy()
    del bare.layers["counts"]
    with pytest.warns(SpatialfmWarning, match="Numbers of cells are not known"):
        table = sfm.tl.compare_composition(bare, "group", copy=True)
    full = sfm.tl.compare_composition(patients, "group", copy=True)
    np.testing.assert_allclose(table["p_value"], full["p_value"])  # equally many cells: nothing to thin


def test_counts_that_are_not_those_of_the_shares_are_said_so():
    patients = drawn()
    patients.layers["counts"] = patients.layers["counts"] * 1.5 + 0.3
    with pytest.warns(SpatialfmWarning, match="does not hold whole numbers that the rows of X are the shares of"):
        sfm.tl.compare_composition(patients, "group")
    assert not patients.uns["compare_composition"]["params"]["counts_known"]


@pytest.mark.parametrize("arguments", [{}, {"block_key": "site"}])
def test_the_order_of_rows_changes_nothing(arguments):
    patients = drawn(n=9, factor=1.5)  # too many ways to form the groups: labels are drawn at random
    patients.obs["site"] = list("ab") * 9
    turned = patients[np.random.default_rng(0).permutation(18)].copy()
    tables = [
        sfm.tl.compare_composition(one, "group", n_permutations=199, copy=True, **arguments)
        for one in (patients, turned)
    ]
    pd.testing.assert_frame_equal(*tables)


def test_the_planted_type_of_the_simulator_is_found():
    cells = sfm.datasets.simulate_cells(60, cells_per_patient=400, effect_of="CD8 T", effect_size=-3.0, random_state=0)
    patients = sfm.tl.composition(cells, "type", patient_key="patient")
    for method in ("robust", "clr-t"):
        table = sfm.tl.compare_composition(patients, "response", method=method, copy=True)
        assert table["p_value"].idxmin() == "CD8 T"
        assert table.loc["CD8 T", "significant"]
        assert table.loc["CD8 T", "effect"] > 0.3  # responders have more
    null = sfm.datasets.simulate_cells(60, cells_per_patient=400, effect_size=0.0, random_state=0)
    patients = sfm.tl.composition(null, "type", patient_key="patient")
    assert not sfm.tl.compare_composition(patients, "response", copy=True)["significant"].any()


def test_types_without_a_cell_and_constant_ones_are_not_called():
    counts = drawn(factor=3.0).layers["counts"].copy()
    counts[:, 5] = 0
    patients = compositions(counts, np.repeat(GROUPS, 15))
    for method in ("robust", "clr-t"):
        table = sfm.tl.compare_composition(patients, "group", method=method, copy=True)
        assert np.isnan(table.loc["type 5", ["effect", "p_value", "q_value"]].astype(float)).all()
        assert not table.loc["type 5", "significant"]
        assert table["p_value"].iloc[:5].notna().all()
    same = compositions(np.full((8, 3), 10.0), np.repeat(GROUPS, 4))
    for method in ("robust", "mannwhitney", "clr-t"):
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


def test_results_can_be_saved(tmp_path):
    patients = drawn(factor=3.0)
    sfm.tl.compare_composition(patients, "group", method="clr-t")
    patients.write_h5ad(tmp_path / "patients.h5ad")
    back = ad.read_h5ad(tmp_path / "patients.h5ad").uns["compare_composition"]
    np.testing.assert_allclose(back["table"]["q_value"], patients.uns["compare_composition"]["table"]["q_value"])
    assert list(back["params"]["groups"]) == GROUPS
