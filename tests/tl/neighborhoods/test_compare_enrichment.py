"""Who neighbours whom, between groups of patients."""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import squidpy as sq
from anndata import AnnData
from scipy import stats

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning, TableError
from spatialfm.stats.neighbours import pair_counts
from spatialfm.stats.pairs import blocks, expected_pairs


def cohort(n_patients=10, n_cells=150, pull=0.0, seed=0):
    """Types by chance over a square; in group "b", type B is drawn towards the left by `pull`, as T is."""
    rng, parts, places = np.random.default_rng(seed), [], []
    for patient in range(n_patients):
        xy = rng.uniform(0, 100, (n_cells, 2))
        group = "ab"[patient % 2]
        left = np.where(xy[:, 0] < 50, 1 + pull * (group == "b"), 1 - pull * (group == "b"))
        share = 0.3 * left
        draw = rng.random(n_cells)
        types = np.where(draw < share, "B", np.where(draw < 2 * share, "T", "tumor"))
        parts.append(pd.DataFrame({"type": types, "patient": f"P{patient:02d}", "group": group}))
        places.append(xy)
    obs = pd.concat(parts, ignore_index=True)
    obs["sample"] = obs["patient"] + "_1"
    obs.index = obs.index.astype(str)
    return AnnData(obs=obs, obsm={"spatial": np.concatenate(places)})


def row(table, cell_type, neighbour):
    return table[(table["cell_type"] == cell_type) & (table["neighbour"] == neighbour)].iloc[0]


@pytest.mark.parametrize("size", [{"n_neighbors": 6}, {"radius": 15.0}])
def test_counts_are_squidpys(size):
    cells = cohort(n_patients=6)
    sfm.tl.compare_enrichment(cells, "type", "group", **size)
    samples = cells.uns["compare_enrichment"]["samples"]
    one = cells[cells.obs["sample"] == "P02_1"].copy()
    one.obs["type"] = one.obs["type"].astype("category")
    if "radius" in size:
        sq.gr.spatial_neighbors(one, coord_type="generic", radius=size["radius"])
    else:
        sq.gr.spatial_neighbors(one, coord_type="generic", n_neighs=6)
    theirs = sq.gr.nhood_enrichment(one, "type", n_perms=2, seed=0, copy=True, show_progress_bar=False, n_jobs=1)
    names = list(one.obs["type"].cat.categories)
    mine = samples[samples["sample"] == "P02_1"]
    assert len(mine) == (6 if "radius" in size else 9)
    for found in mine.itertuples():
        assert found.observed == theirs.counts[names.index(found.cell_type), names.index(found.neighbour)]


def test_expected_counts_are_the_mean_of_shuffles():
    from scipy.sparse import random as random_graph

    rng = np.random.default_rng(0)
    graph = random_graph(40, 40, 0.2, random_state=0, format="csr")
    graph.setdiag(0)
    graph.eliminate_zeros()
    codes, libraries = np.repeat([0, 1, 2], [5, 15, 20]), np.zeros(40, int)
    shuffled = [pair_counts(graph, rng.permutation(codes), libraries, 3, 1)[0] for _ in range(4000)]
    expected = expected_pairs(graph, codes, np.zeros(40, int), np.zeros(1, int), 3)[0]
    error = np.std(shuffled, axis=0) / np.sqrt(4000)
    assert (np.abs(np.mean(shuffled, axis=0) - expected) < 4.5 * error).all()
    assert expected.sum() == pytest.approx(graph.nnz)


def shuffled(one, two, statistic) -> float:
    """Share of all ways to form the groups whose statistic is as large."""
    pooled, found = np.concatenate([one, two]), []
    with np.errstate(all="ignore"):
        for chosen in combinations(range(len(pooled)), len(two)):
            second = np.isin(np.arange(len(pooled)), chosen)
            found.append(abs(statistic(pooled[~second], pooled[second]).statistic))
        observed = abs(statistic(one, two).statistic)
    return (np.nan_to_num(found, nan=0.0, posinf=np.inf) >= observed * (1 - 1e-9)).mean()


def test_expected_counts_within_areas_are_the_mean_of_shuffles_within_them():
    from scipy.sparse import random as random_graph

    rng = np.random.default_rng(1)
    graph = random_graph(60, 60, 0.2, random_state=1, format="csr")
    graph.setdiag(0)
    graph.eliminate_zeros()
    codes, areas = rng.integers(0, 3, 60), np.repeat([0, 1, 2], [10, 20, 30])
    total = []
    for _ in range(4000):
        shuffled = codes.copy()
        for area in range(3):
            shuffled[areas == area] = rng.permutation(codes[areas == area])
        total.append(pair_counts(graph, shuffled, np.zeros(60, int), 3, 1)[0])
    expected = expected_pairs(graph, codes, areas, np.zeros(3, int), 3)[0]
    error = np.std(total, axis=0) / np.sqrt(4000)
    assert (np.abs(np.mean(total, axis=0) - expected) < 4.5 * error).all()


def test_blocks_are_small_compact_and_whole():
    xy = np.random.default_rng(0).uniform(0, 100, (1000, 2))
    found = blocks(xy, 60)
    sizes = np.bincount(found)
    assert sizes.max() <= 60
    assert sizes.min() >= 30
    for one in range(len(sizes)):
        assert np.ptp(xy[found == one], axis=0).max() < 45


def nests(n_patients=16, seed=0):
    """Nests cover 15 % of the tissue in group a, 40 % in b; within nests and outside the rules are the same."""
    rng, parts, places = np.random.default_rng(seed), [], []
    for patient in range(n_patients):
        group = "ab"[patient % 2]
        xy = rng.uniform(0, 200, (600, 2))
        nest = xy[:, 0] < 200 * (0.15 if group == "a" else 0.4) * rng.uniform(0.8, 1.2)
        types = np.where(
            rng.random(600) < np.where(nest, 0.75, 0.2), "tumor", np.where(rng.random(600) < 0.6, "T", "B")
        )
        parts.append(pd.DataFrame({"type": types, "patient": f"P{patient:02d}", "group": group, "nest": nest}))
        places.append(xy)
    obs = pd.concat(parts, ignore_index=True)
    obs["sample"], obs.index = obs["patient"], obs.index.astype(str)
    obs["niche"] = np.where(obs["nest"], "nest", "stroma")
    return AnnData(obs=obs, obsm={"spatial": np.concatenate(places)})


def test_more_nest_is_no_other_rule_of_neighbours():
    cells = nests()
    with pytest.warns(SpatialfmWarning, match='differ already in how types are spread .* Pass within="niche"'):
        sfm.tl.compare_enrichment(cells, "type", "group", key_added="whole")
    whole = cells.uns["whole"]["table"]
    assert (whole["p_value"] < 0.05).mean() > 0.4
    assert cells.uns["whole"]["params"]["question"].startswith("over the whole sample")
    p = []
    for seed in range(6):
        cells = nests(seed=seed)
        sfm.tl.compare_enrichment(cells, "type", "group", within="niche")
        p.append(cells.uns["compare_enrichment"]["table"]["p_value"])
    assert (np.array(p) < 0.05).mean() < 0.1
    assert cells.uns["compare_enrichment"]["params"]["within"] == "niche"
    with pytest.raises(TableError, match=r"No column 'region' in obs \(within=\)"):
        sfm.tl.compare_enrichment(cells, "type", "group", within="region")


def test_a_difference_within_niches_is_found():
    cells = nests()
    rng = np.random.default_rng(0)
    b = ((cells.obs["group"] == "b") & (cells.obsm["spatial"][:, 1] % 40 < 20)).to_numpy()
    # in group b, half of the stripes have no T cells and the others more: T cells draw T cells
    other = b & (cells.obs["type"] == "T").to_numpy()
    types = cells.obs["type"].to_numpy(dtype=object)
    types[other] = rng.choice(["B", "tumor"], other.sum())
    cells.obs["type"] = types
    table = sfm.tl.compare_enrichment(cells, "type", "group", within="niche", copy=True)
    assert row(table, "T", "T")["p_value"] < 0.01
    assert row(table, "T", "T")["difference"] > 0


def test_statistics_are_those_of_other_libraries():
    cells = cohort(n_patients=9, pull=0.5)  # 126 ways to shuffle the groups
    sfm.tl.compare_enrichment(cells, "type", "group", n_neighbors=5)
    record = cells.uns["compare_enrichment"]
    samples, table = record["samples"], record["table"]
    ratio = np.log2((samples["observed"] + 0.5) / samples["expected"])
    np.testing.assert_allclose(samples["log2_ratio"], ratio)
    for found in table.itertuples():
        mine = samples[(samples["cell_type"] == found.cell_type) & (samples["neighbour"] == found.neighbour)]
        one, two = (mine.loc[mine["group"] == group, "log2_ratio"] for group in "ab")
        assert (found.n_1, found.n_2) == (5, 4)
        means = shuffled(one, two, lambda a, b: stats.ttest_ind(a, b, equal_var=False))
        assert found.p_value == pytest.approx(max(means, shuffled(one, two, stats.brunnermunzel)))
        larger = np.sign(two.to_numpy()[:, None] - one.to_numpy()).mean()  # the definition of the rank-biserial one
        assert found.effect == pytest.approx(larger)
        assert found.difference == pytest.approx(two.mean() - one.mean())
        welch = stats.ttest_ind(two, one, equal_var=False).confidence_interval()
        assert (found.low, found.high) == pytest.approx((welch.low, welch.high))
    np.testing.assert_allclose(table["q_value"], stats.false_discovery_control(table["p_value"]))


def test_samples_of_a_patient_are_averaged():
    cells = cohort(n_patients=8)
    cells.obs["sample"] = cells.obs["patient"] + np.where(cells.obsm["spatial"][:, 1] < 50, "_1", "_2")
    sfm.tl.compare_enrichment(cells, "type", "group", n_neighbors=5)
    record = cells.uns["compare_enrichment"]
    assert record["samples"]["sample"].nunique() == 16
    assert record["table"]["n_1"].eq(4).all()
    pair = record["samples"].query("patient == 'P03' and cell_type == 'B' and neighbour == 'T'")["log2_ratio"]
    mean = record["patients"].query("patient == 'P03' and cell_type == 'B' and neighbour == 'T'")["log2_ratio"].item()
    assert len(pair) == 2
    assert mean == pytest.approx(pair.mean())


def test_a_planted_difference_is_found():
    planted = sfm.tl.compare_enrichment(cohort(n_patients=16, n_cells=300, pull=0.9), "type", "group", copy=True)
    assert row(planted, "B", "T")["significant"]
    assert row(planted, "B", "T")["effect"] > 0.8
    assert row(planted, "B", "T")["low"] > 0
    assert row(planted, "tumor", "T")["effect"] < -0.5


@pytest.mark.slow
def test_nothing_is_found_where_there_is_no_difference():
    p = [
        row(sfm.tl.compare_enrichment(cohort(seed=seed), "type", "group", n_neighbors=5, copy=True), "B", "T")[
            "p_value"
        ]
        for seed in range(60)
    ]
    assert np.mean(np.array(p) < 0.05) <= 0.12
    assert 0.35 < np.mean(p) < 0.7


def test_a_shuffled_arm_of_the_simulator_loses_its_nests():
    cells = sfm.datasets.simulate_cells(n_patients=12, cells_per_patient=300, random_state=0)
    patients = cells.obs["patient"].unique()
    cells.obs["arm"] = np.where(cells.obs["patient"].isin(patients[:6]), "tissue", "shuffled")
    rng, types = np.random.default_rng(0), cells.obs["type"].astype(str).to_numpy()
    for patient in patients[6:]:
        mine = np.flatnonzero(cells.obs["patient"] == patient)
        types[mine] = types[rng.permutation(mine)]
    cells.obs["type"] = pd.Categorical(types)
    table = sfm.tl.compare_enrichment(cells, "type", "arm", n_neighbors=8, copy=True)
    tumor = row(table, "Tumor", "Tumor")
    assert (tumor["group_1"], tumor["group_2"]) == ("shuffled", "tissue")
    assert tumor["mean_1"] == pytest.approx(0, abs=0.1)
    assert tumor["mean_2"] > 0.3
    assert tumor["significant"]


def test_a_tiny_cohort_is_told_that_nothing_is_tested():
    cells = cohort(n_patients=4, n_cells=10)
    with pytest.warns(SpatialfmWarning, match="No pair of types has a value in 3 patients"):
        table = sfm.tl.compare_enrichment(cells, "type", "group", n_neighbors=3, copy=True)
    assert table[["p_value", "q_value"]].isna().all().all()
    assert not table["significant"].any()


def test_one_type_alone_differs_nowhere():
    cells = cohort(n_patients=8)
    cells.obs["type"] = "T"
    table = sfm.tl.compare_enrichment(cells, "type", "group", n_neighbors=5, copy=True)
    assert len(table) == 1
    assert table["mean_1"].item() == table["mean_2"].item() == pytest.approx(0, abs=0.01)
    assert (table["p_value"].item(), table["effect"].item(), table["low"].item()) == (1, 0, 0)


def test_three_groups_are_compared_pair_by_pair():
    cells = cohort(n_patients=9)
    cells.obs["group"] = cells.obs["patient"].map({f"P{i:02d}": "abc"[i % 3] for i in range(9)})
    table = sfm.tl.compare_enrichment(cells, "type", "group", n_neighbors=5, copy=True)
    assert len(table) == 9 * 3
    assert set(zip(table["group_1"], table["group_2"], strict=True)) == {("a", "b"), ("a", "c"), ("b", "c")}


def test_refusals_write_nothing():
    cells = cohort(n_patients=4)
    cells.obs["one"] = "x"
    cells.obs["mixed"] = ["a", "b"] * (cells.n_obs // 2)
    cells.obs["gap"] = cells.obs["type"].where(cells.obs["type"] != "B")
    for arguments, message in [
        ({"group_key": "one"}, "holds one group, 'x'; two are the least"),
        (
            {"group_key": "mixed"},
            r"4 patients have more than one value in obs\['mixed'\] \(group_key=\), first 'P00': 'a', 'b'.*pair_key=",
        ),
        ({"group_key": "group", "library_key": "type"}, r"3 samples belong to more than one patient; 'tumor' to 'P00'"),
        ({"group_key": "group", "cluster_key": "gap"}, r"cells have no value in obs\['gap'\] \(cluster_key=\)"),
        ({"group_key": "group", "radius": 5.0, "n_neighbors": 5}, "exactly one of radius="),
        ({"group_key": "group", "n_neighbors": 200}, "4 of 4 libraries have too few cells"),
        ({"group_key": "none"}, r"No column 'none' in obs \(group_key=\)"),
    ]:
        with pytest.raises(TableError, match=message):
            sfm.tl.compare_enrichment(cells, **({"cluster_key": "type"} | arguments))
    assert not cells.uns


def test_the_result_survives_a_file(tmp_path):
    import anndata

    cells = cohort(n_patients=6)
    sfm.tl.compare_enrichment(cells, "type", "group", n_neighbors=5)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    again = anndata.read_h5ad(tmp_path / "cells.h5ad").uns["compare_enrichment"]
    pd.testing.assert_frame_equal(
        again["table"].reset_index(drop=True), cells.uns["compare_enrichment"]["table"], check_dtype=False,
        check_categorical=False,
    )  # fmt: skip


def test_a_radius_in_pixels_is_said_and_recorded():
    cells = sfm.datasets.simulate_cells(6, cells_per_patient=60, random_state=0)
    cells.obs["arm"] = cells.obs["patient"].isin(cells.obs["patient"].unique()[:3]).map({True: "a", False: "b"})
    samples = {sample: {"unit": "pixel"} for sample in cells.obs["sample"].unique()}
    cells.uns["spatialfm"] = {"table": {"samples": json.dumps(samples)}}
    with pytest.warns(SpatialfmWarning, match="radius=30 is taken in pixels, not in µm"):
        sfm.tl.compare_enrichment(cells, "type", "arm", radius=30, min_expected=0.1)
    assert cells.uns["compare_enrichment"]["params"]["radius_unit"] == "pixel"
