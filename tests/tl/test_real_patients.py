"""From published cells to patients, compared with published facts and other implementations."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from lifelines.statistics import logrank_test
from lifelines.utils.concordance import _concordance_summary_statistics as pairs_of
from scipy import stats

import spatialfm as sfm
from spatialfm import _origin

pytestmark = pytest.mark.real_data

KEYS = {"time_key": "survival_days", "event_key": "survival_status"}


def need(folder, name):
    if not (folder / name).exists():
        pytest.skip(f"no {folder.name}")
    return folder / name


@pytest.fixture(scope="module")
def colorectal(real_data) -> AnnData:
    """35 patients (Schürch et al. 2020): 17 with Crohn's-like reaction, 18 with diffuse infiltration."""
    columns = ["imageID", "ID", "Group", "cellType"]
    table = pd.read_parquet(need(real_data / "crc_codex_table", "cells.parquet"), columns=columns)
    obs = table.set_axis(["sample", "patient", "group", "type"], axis=1).astype(str).astype("category")
    return AnnData(obs=obs.set_axis(obs.index.astype(str)))


@pytest.fixture(scope="module")
def lung(real_data) -> AnnData:
    """153 patients (Johnson et al. 2021), shares of six types, survival."""
    folder = real_data / "nsclc_table"
    kinds = {"ck": "tumor", "cd8": "CD8 T", "cd4": "CD4 T", "cd19": "B", "cd14": "CD14"}
    columns = ["patient_id", *(f"phenotype_{name}" for name in kinds)]
    table = pd.read_parquet(need(folder, "cells.parquet"), columns=columns)
    types = np.select([table[name] for name in columns[1:]], list(kinds.values()), "other")
    obs = pd.DataFrame({"patient": table["patient_id"].astype(int).astype(str), "type": types})
    clinic = pd.read_csv(folder / "patients.csv").set_index("patient_id")
    clinic.index = clinic.index.astype(int).astype(str)
    obs = obs.astype("category").join(clinic, on="patient")
    cells = AnnData(obs=obs.set_axis(obs.index.astype(str)))
    return sfm.tl.composition(cells, "type", library_key="patient", patient_key="patient")


def test_b_cells_mark_the_group_of_17(colorectal):
    """That group has tertiary lymphoid structures by definition, which are made of B cells; the other has none."""
    patients = sfm.tl.composition(colorectal, "type", patient_key="patient")
    table = sfm.tl.compare_composition(patients, "group", method="mannwhitney", copy=True)
    sizes = patients.obs["group"].value_counts()
    assert sorted(sizes) == [17, 18]
    found = table.loc["b_cells"]
    richer = found["group_1"] if found["effect"] < 0 else found["group_2"]
    assert sizes[richer] == 17
    assert table["p_value"].idxmin() == "b_cells"
    assert found["q_value"] < 0.05

    obs = colorectal.obs
    shares = pd.crosstab(obs["patient"], obs["type"], normalize="index")
    group = obs.drop_duplicates("patient").set_index("patient")["group"].loc[shares.index].astype(str)
    one, two = shares[group == found["group_1"]], shares[group == found["group_2"]]
    np.testing.assert_allclose(
        table["p_value"], stats.mannwhitneyu(one, two).pvalue[shares.columns.get_indexer(table.index)]
    )


@pytest.mark.slow
def test_shuffled_groups_are_at_chance(colorectal):
    patients = sfm.tl.composition(colorectal, "type", patient_key="patient")
    patients.obsm["clr"] = patients.layers["clr"]
    scores = []
    for seed in range(12):
        order = np.random.default_rng(seed).permutation(patients.n_obs)
        patients.obs["shuffled"] = patients.obs["group"].to_numpy()[order]
        found = sfm.tl.classify_samples(
            patients, label_key="shuffled", use_rep="clr", n_components=None, n_draws=20, copy=True
        )
        scores.append(found["summary"].set_index("score").loc["auroc", "mean"])
    assert abs(np.mean(scores) - 0.5) < 0.12  # of one shuffle the standard deviation is about 0.13


@pytest.mark.slow
def test_nested_concordance_is_that_of_lifelines_and_the_cells_add_nothing_to_age_and_stage(lung):
    assert (lung.n_obs, int(lung.obs["survival_status"].sum())) == (153, 89)
    clinic = ["age", "gender", "stage"]
    options = {"n_bootstrap": 300, "n_repeats": 1, "copy": True, **KEYS}
    found = {
        "clinic": sfm.tl.coxnet(lung, use_rep=None, covariates=clinic, **options),
        "types": sfm.tl.coxnet(lung, layer="clr", **options),
    }
    for record in found.values():
        pairs = np.zeros(3)
        for _, fold in record["predictions"].groupby("fold"):
            mine = lung.obs.loc[fold.index]
            pairs += pairs_of(
                *(column.to_numpy() for column in (mine[KEYS["time_key"]], -fold["risk"], mine[KEYS["event_key"]]))
            )
        right, tied, all_pairs = pairs
        assert record["scores"].loc["harrell", "value"] == pytest.approx((right + tied / 2) / all_pairs)
    assert found["clinic"]["scores"].loc["harrell", "ci_low"] > 0.5  # the old, and late stages, die earlier
    assert found["types"]["scores"].loc["harrell", "ci_low"] < 0.5


@pytest.mark.slow
def test_a_forest_learns_shuffled_deaths_by_heart_and_only_the_nested_score_says_so(lung):
    nested, optimistic = [], []
    shuffled = lung.copy()
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(lung.n_obs)
        shuffled.obs[list(KEYS.values())] = lung.obs[list(KEYS.values())].to_numpy()[order]
        found = sfm.tl.survival_forest(
            shuffled, layer="clr", n_trees=50, min_samples_leaf=6, n_importance=0, n_bootstrap=100, copy=True, **KEYS
        )
        nested.append(found["scores"].loc["harrell", "value"])
        optimistic.append(found["optimistic_harrell"])
    assert abs(np.mean(nested) - 0.5) < 0.08
    assert min(optimistic) > 0.7


@pytest.mark.slow
def test_cut_point_is_the_best_of_all_cuts_by_lifelines(lung):
    found = sfm.tl.cut_point(lung, "CD8 T", n_permutations=500, copy=True, **KEYS)
    share, (time, event) = lung.to_df()["CD8 T"], (lung.obs[key] for key in KEYS.values())
    p = {}
    for cut in found["candidates"]["cut"]:
        low = share <= cut
        p[cut] = logrank_test(time[low], time[~low], event[low], event[~low]).p_value
    assert found["cut"] == min(p, key=p.get)
    assert found["naive_p_value"] == pytest.approx(p[found["cut"]])
    assert found["naive_p_value"] < 0.05 < found["p_value"]


@pytest.mark.slow
def test_merging_by_survival_finds_what_is_not_there_and_permutations_do_not(lung):
    """With shuffled deaths the log-rank test is too small, also of cross-fitted groups; the procedure's own is not."""
    logrank, permutations = {None: 0, 5: 0}, {None: 0, 5: 0}
    shuffled = lung.copy()
    for seed in range(30):
        order = np.random.default_rng(seed).permutation(lung.n_obs)
        shuffled.obs[list(KEYS.values())] = lung.obs[list(KEYS.values())].to_numpy()[order]
        for folds in logrank:
            _origin.forget()  # each cohort is of a session of its own
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                options = {"merge_into": 2, "cross_fit": folds, "n_permutations": 39, "random_state": seed}
                sfm.tl.stratify(shuffled, 8, **options, **KEYS)
            high = shuffled.obs["risk_group"] == "high"
            time, event = (shuffled.obs[key] for key in KEYS.values())
            logrank[folds] += logrank_test(time[high], time[~high], event[high], event[~high]).p_value < 0.05
            permutations[folds] += shuffled.uns["risk_group"]["test"]["p_value"] <= 0.05
    assert logrank[None] >= 8
    assert max(permutations.values()) <= 5  # 99.6 % of binomial(30, 0.05)


def test_fields_of_dcis_hold_the_published_cells(real_data):
    """Composition of each field against the counts that the paper gives for it (its own, coarser types)."""
    folder = real_data / "dcis_mibi"
    cells = pd.read_parquet(need(folder, "cells_fusesom_risom_dat_inferred_fov.parquet"))
    obs = cells[["fov_inferred", "CellType"]].dropna().set_axis(["sample", "type"], axis=1).astype(str)
    fields = sfm.tl.composition(AnnData(obs=obs.set_axis(obs.index.astype(str))), "type", patient_key=None)
    published = pd.read_csv(folder / "clinical_and_features_mmc1.csv").set_index("fov").loc[fields.obs_names]
    assert fields.n_obs == 74
    assert fields.obs["n_cells"].tolist() == published["Total_cells"].tolist()
    shares = fields.to_df()
    tumor = shares.filter(like="TUMOR").sum(axis=1)
    for mine, theirs in ((tumor, "tumor"), (shares["MYOEP"], "myoep"), (shares["ENDO"], "endothelial")):
        share = published[f"Total_{theirs}_cells"] / published["Total_cells"]
        assert stats.pearsonr(mine, share)[0] > 0.75, theirs


def test_tiles_of_dcis_are_means_of_pixels(real_data):
    """Tile embeddings of a published image against blocks of the array."""
    import tifffile

    folder = real_data / "dcis_mibi"
    path = need(folder, "images/Point2203_pt1072_31606.ome.tif")
    names = (folder / "channels.txt").read_text().split()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # markers that the model does not know
        sdata = sfm.io.read_tiff(path, channel_names=names, mpp=0.5, sample="a")
        sfm.tl.embed_tiles(sdata, "mean-intensity", size=64, min_tissue=0.0, panel={"on_unknown": "keep"})
    tiles = sdata["tiles"]
    blocks = tifffile.imread(path).reshape(39, 16, 64, 16, 64).mean(axis=(2, 4))
    column, line = np.round(tiles.obsm["spatial"] / 32 - 0.5).astype(int).T
    assert tiles.n_obs == 256
    np.testing.assert_allclose(tiles.obsm["X_mean_intensity"], blocks[:, line, column].T / 255, atol=1e-5)
