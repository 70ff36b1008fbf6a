"""Panels of simulated cells, where what says the same as what was planted."""

from __future__ import annotations

import re
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import spatialdata as sd

import spatialfm as sfm
from spatialfm._errors import PanelError, SpatialfmError, SpatialfmWarning, TableError

SIX = ["CD8", "CD20", "CD68", "Cytokeratin", "CD31", "Ki67"]


STAIN = re.compile("dapi|dna|hoechst|hh3|histone|iridium|191ir|193ir", re.IGNORECASE)


@pytest.fixture(scope="module")
def planted() -> ad.AnnData:
    """Six markers of 8 patients, each with two noisy copies: it says more of these than they say of each other."""
    cells = sfm.datasets.simulate_cells(8, cells_per_patient=250, n_markers=40, batch_effect=0, random_state=1)
    rng = np.random.default_rng(0)
    own = np.maximum(cells[:, SIX].X, 1.0)
    copies = [own * np.exp(0.8 * rng.normal(size=own.shape)) for _ in range(2)]
    names = [*SIX, *(f"{name} copy {i}" for i in (1, 2) for name in SIX)]
    out = ad.AnnData(np.hstack([own, *copies]).astype(np.float32), obs=cells.obs, var=pd.DataFrame(index=names))
    out.obsm["X_latent"] = cells.obsm["X_latent"]
    return out


def test_planted_redundancy_is_found(planted):
    ranking = sfm.tl.select_panel(planted, 6, keep=[])
    assert set(ranking.index[ranking["chosen"]]) == set(SIX)
    for name in SIX:  # each with its copies, and with no other
        assert set(ranking.index[ranking["group"] == ranking.loc[name, "group"]]) <= {
            name, f"{name} copy 1", f"{name} copy 2",
        }  # fmt: skip
        assert ranking.loc[name, "substitute"] in (f"{name} copy 1", f"{name} copy 2")
        assert 0 < ranking.loc[name, "loss_with_substitute"] < ranking.loc[name, "loss"]
    assert (ranking.loc[SIX, "share"] > 0.5).all()
    assert (ranking.drop(index=SIX)["share"] < 0.5).all()
    assert planted.var_names[planted.var["panel"]].tolist() == SIX
    curve = planted.uns["panel"]["curve"].iloc[-1]
    assert curve["gain_over_random_low"] > 0
    assert curve["gain_over_variance_low"] > 0
    assert curve["others"] == pytest.approx(1 - (1 - curve["score"]) * 18 / 12)
    assert curve["score"] <= curve["optimistic"] + 0.02


def test_nearest_cells_find_it_too(planted):
    ranking = sfm.tl.select_panel(planted, 6, keep=[], method="knn", n_folds=2, n_random=2, max_cells=500)
    assert len({name.split(" copy")[0] for name in ranking.index[ranking["chosen"]]}) == 6
    curve = planted.uns["panel"]["curve"].iloc[-1]
    assert curve["score"] > curve["random_high"]


def test_what_is_dear_is_replaced_by_a_copy(planted):
    costs = dict.fromkeys(planted.var_names, 1.0) | {"CD20": 20.0}
    ranking = sfm.tl.select_panel(planted, 6, keep=[], costs=costs, n_random=0)
    chosen = ranking.index[ranking["chosen"]]
    assert "CD20" not in chosen
    assert any(name.startswith("CD20 copy") for name in chosen)
    assert planted.uns["panel"]["curve"]["cost"].iloc[-1] == 6.0
    planted.var["price"] = pd.Series(costs)
    again = sfm.tl.select_panel(planted, 6, keep=[], costs="price", n_random=0)
    pd.testing.assert_frame_equal(ranking, again)
    del planted.var["price"]


def test_types_need_the_markers_that_tell_them_apart():
    rng = np.random.default_rng(0)
    patient, types = np.repeat(np.arange(6), 150), rng.integers(0, 3, 900)
    x = rng.gamma(2, size=(900, 6))
    x[types == 1, 2] *= 30
    x[types == 2, 4] *= 30
    label = pd.Series(types).map({0: "a", 1: "b", 2: "c"}).astype("category")
    label[:5] = None  # without label
    obs = pd.DataFrame({"patient": [f"P{one}" for one in patient], "kind": label}).set_axis(
        [f"c{i}" for i in range(900)]
    )
    cells = ad.AnnData(x, obs=obs, var=pd.DataFrame(index=list("uvwxyz")))
    ranking = sfm.tl.select_panel(cells, 3, target="label", label_key="kind", n_random=3)
    assert set(ranking.index[ranking["size"] <= 2]) == {"w", "y"}
    curve = cells.uns["panel"]["curve"].set_index("size")
    assert curve.loc[1, "score"] == pytest.approx(2 / 3, abs=0.05)  # two types are told apart, and guessed one in two
    assert curve.loc[2, "score"] > 0.97
    assert cells.uns["panel"]["params"]["n_cells"] == 895
    knn = sfm.tl.select_panel(cells, 2, target="label", label_key="kind", method="knn", max_cells=300, n_random=0)
    assert set(knn.index[knn["chosen"]]) == {"w", "y"}


def test_an_embedding_is_predicted_from_the_markers_that_made_it(planted):
    values = np.arcsinh(planted[:, ["CD20", "CD31"]].X)
    planted.obsm["X_two"] = np.hstack([values, 1e-3 * np.random.default_rng(0).normal(size=(planted.n_obs, 60))])
    ranking = sfm.tl.select_panel(planted, 2, keep=[], target="embedding", use_rep="X_two", n_random=0)
    assert set(ranking.index[ranking["chosen"]]) == {"CD20", "CD31"}
    assert planted.uns["panel"]["curve"]["score"].iloc[-1] > 0.9
    del planted.obsm["X_two"]


def test_noise_is_not_predicted_and_the_curve_says_so():
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({"patient": np.repeat([f"P{i}" for i in range(8)], 12)}).set_axis([f"c{i}" for i in range(96)])
    cells = ad.AnnData(rng.gamma(2, size=(96, 30)), obs=obs, var=pd.DataFrame(index=[f"m{i}" for i in range(30)]))
    cells.obsm["X_noise"] = rng.normal(size=(96, 3))
    sfm.tl.select_panel(cells, 6, keep=[], target="embedding", use_rep="X_noise", n_random=0)
    curve = cells.uns["panel"]["curve"]
    assert (curve["ci_low"] < 0).all()
    assert (curve["score"] < 0.05).all()
    assert curve["optimistic"].iloc[-1] > curve["score"].iloc[-1] + 0.05  # what a curve that is not nested would say


def test_intervals_hold_the_score_of_other_patients():
    """The mean score of 300 new patients is inside of the interval from 12 as often as stated, of 60 cohorts."""
    from spatialfm.learn.panel_curve import Search, judge_panels, mean_interval
    from spatialfm.learn.panel_tasks import LinearTask, PanelCells

    rng = np.random.default_rng(0)
    loading = rng.normal(size=(2, 5))

    def cohort(n):
        patient = np.repeat(np.arange(n), 30)
        share = rng.uniform(0.2, 1.8, n)[patient]  # of what the markers have in common, by patient
        x = share[:, None] * (rng.normal(size=(n * 30, 2)) @ loading) + rng.normal(size=(n * 30, 5))
        return x, patient

    held = []
    for _ in range(60):
        (x, patient), (new, of_new) = cohort(12), cohort(300)
        search = Search(2, (), np.ones(5), 4, 0, 0)
        judged = judge_panels(LinearTask(PanelCells(x, None, None, patient), 0), 12, np.ones((12, 5)), search)
        low, high = mean_interval(judged.chosen)
        both = LinearTask(PanelCells(np.vstack([x, new]), None, None, np.r_[patient, 12 + of_new]), 0)
        panel = search.run(LinearTask(PanelCells(x, None, None, patient), 0), np.arange(12))[2].markers
        truth = both.scores(np.arange(12), 12 + np.arange(300), list(panel)).mean()
        held.append(low[1] <= truth <= high[1])
    assert 51 <= sum(held) <= 60  # of 95 %: 57 expected, 3 standard errors


def test_the_order_of_rows_changes_nothing_and_seeds_repeat(planted):
    order = np.random.default_rng(0).permutation(planted.n_obs)
    one = sfm.tl.select_panel(planted.copy(), 4, n_random=2)
    for method in ("linear", "knn"):
        few = planted[:, :8].copy()
        told = {"method": method, "n_random": 1, "n_folds": 2, "max_cells": 100}
        one = sfm.tl.select_panel(few, 3, **told)
        other = sfm.tl.select_panel(few[order].copy(), 3, **told)
        pd.testing.assert_frame_equal(one, other, atol=1e-9)


def test_a_spatialdata_is_written_in_its_table(planted):
    few = planted[:, :8].copy()
    sdata = sd.SpatialData(tables={"table": few.copy()})
    ranking = sfm.tl.select_panel(sdata, 3, n_random=0)
    pd.testing.assert_frame_equal(ranking, sfm.tl.select_panel(few, 3, n_random=0))
    assert "panel" in sdata.tables["table"].uns
    with pytest.raises(TableError, match=r"No table 'cells' in sdata.*sfm.pp.cell_table"):
        sfm.tl.select_panel(sdata, 3, table_name="cells")


def test_the_stain_of_nuclei_is_kept_unless_told_otherwise():
    cells = sfm.datasets.simulate_cells(4, cells_per_patient=60, random_state=0)
    assert sfm.tl.select_panel(cells, 3, n_random=0).index[0] == "DAPI"
    assert "DAPI" not in sfm.tl.select_panel(cells, 2, keep="CD8", n_random=0).index[:2]
    assert cells.uns["panel"]["params"]["keep"] == ["CD8"]


def test_repeated_stains_of_nuclei_and_channels_without_a_marker_are_no_candidates():
    """DNA in each cycle would be a quarter of all that is to be predicted, and `Blank` could be bought."""
    cells = sfm.datasets.simulate_cells(4, cells_per_patient=60, random_state=0)
    names = list(cells.var_names)
    cells.var_names = ["DNA_1", *names[1:9], "DNA_2", "80ArAr", "Blank"]
    with pytest.warns(SpatialfmWarning, match="No candidates.*'DNA_2', '80ArAr', 'Blank'. Name them in markers="):
        ranking = sfm.tl.select_panel(cells, 3, n_random=0)
    assert set(ranking.index) == set(cells.var_names[:9])
    with pytest.warns(SpatialfmWarning, match="'DNA_1', '80ArAr'"):
        other = sfm.tl.select_panel(cells, 3, n_random=0, keep="DNA_2")
    assert other.index[0] == "DNA_2"
    assert "DNA_1" not in other.index
    every = sfm.tl.select_panel(cells, 3, n_random=0, markers=list(cells.var_names))
    assert len(every) == 12


@pytest.mark.real_data
def test_real_panels_have_a_stain_of_nuclei_and_no_background(real_data):
    """13 panels of published images, by their names: what is a candidate, and what is in every panel."""
    from spatialfm.pp.panel import match_markers, nuisance_channels

    table = pd.read_csv(real_data / "panels" / "channel_names.csv", keep_default_na=False)
    rng, first = np.random.default_rng(0), {}
    for name, part in table.groupby("panel", sort=False):
        channels = list(part["channel"])
        values = rng.gamma(2, 50, (90, len(channels))).astype(np.float32)
        nothing = nuisance_channels(match_markers(channels))
        twins = [one for one in channels if one not in nothing and not STAIN.search(one)][-2:]
        values[:, channels.index(twins[1])] = (
            3 * values[:, channels.index(twins[0])]
        )  # the one says what the other does
        cells = ad.AnnData(values, obs=pd.DataFrame({"patient": np.tile(["a", "b", "c"], 30)}))
        cells.var_names, cells.obs_names = channels, [f"cell {row}" for row in range(90)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            price = {channel: 1.0 + number for number, channel in enumerate(channels)}
            ranking = sfm.tl.select_panel(cells, 3, n_random=0, n_folds=3, costs=price)
        first[name] = ranking.index[0]
        assert (ranking["cost"] == pd.Series(price)[ranking.index]).all()
        assert ranking.loc[twins[0], "group"] == ranking.loc[twins[1], "group"]
        assert not set(ranking.index) & set(nothing)
        assert sum(one.upper().startswith(("DNA", "DAPI", "HOECHST")) for one in ranking.index) <= 1
    assert len(first) == 13
    assert first["HTAN OHSU CyCIF"] == "DNA1"
    assert first["MCB lymph node MIBI (SizunJiangLab)"] == "Histone H3"
    assert first["cifsQuant mouse CyCIF"] == "R1.0.4_DAPI"


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["melanoma", "dcis"])
def test_real_tables_lose_less_with_chosen_markers_than_with_others(real_data, name):
    """Means of cells, patients held out: better than random panels of that size and than the brightest spread."""
    if name == "melanoma":
        table = pd.read_parquet(real_data / "melanoma_imc_table" / "cells.parquet")
        markers = [one for one in table.columns if f"{one}+" in table.columns]
        patient = table["sample_id"].astype(str)
    else:
        table = pd.read_parquet(real_data / "dcis_mibi" / "cells_fusesom_risom_dat_inferred_fov.parquet")
        table = table[table["fov_inferred"].notna()]
        patient = table["fov_inferred"].astype(str).str.extract(r"_(pt\d+)_")[0].fillna("rest")
        markers = [one for one in table.columns if one not in ("fov_inferred", "CellType")]
    rows = np.random.default_rng(0).permutation(len(table))[:6000]
    cells = ad.AnnData(
        table[markers].to_numpy(np.float32)[rows], obs=pd.DataFrame({"patient": patient.to_numpy()[rows]})
    )
    cells.var_names, cells.obs_names = markers, [f"cell {row}" for row in range(len(rows))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sfm.tl.select_panel(cells, 12, n_random=10)
    curve = cells.uns["panel"]["curve"]
    assert (np.diff(curve["score"]) > 0).all()
    last = curve[curve["size"] >= 6]
    assert (last["gain_over_random"] > 0).all()  # by little: each marker of the panel counts, whichever it is
    assert (last["gain_over_random_low"].iloc[:2] > 0).all()


def test_markers_that_a_sample_lacks_are_left_out_and_named():
    cells = sfm.datasets.simulate_cells(4, cells_per_patient=60, random_state=0)
    cells.X[:60, 2] = np.nan
    with pytest.warns(SpatialfmWarning, match="1 marker was not measured in all cells and left out: 'CD8'"):
        ranking = sfm.tl.select_panel(cells, 3, n_random=0)
    assert "CD8" not in ranking.index
    assert not cells.var.loc["CD8", "panel"]
    with pytest.raises(PanelError, match=r"'CD8' was not measured in 60 cells \(NaN\)"):
        sfm.tl.select_panel(cells, 3, markers=["CD8", "CD4", "CD3", "DAPI"])


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"n_markers": 20}, PanelError, "n_markers=20, and there are 12 candidates"),
        ({"n_markers": 1}, PanelError, "1 marker is in every panel already: 'DAPI'"),
        ({"n_markers": 3, "keep": ["CD99"]}, PanelError, "No marker 'CD99' among the candidates"),
        ({"n_markers": 3, "markers": ["CD8", "CD99"]}, PanelError, "No marker 'CD99' in the table"),
        ({"n_markers": 1, "markers": ["CD8"]}, PanelError, "1 marker is left .*at least 2"),
        ({"n_markers": 3, "target": "label"}, TableError, "target='label' and label_key= are passed together"),
        ({"n_markers": 3, "use_rep": "X_latent"}, TableError, "target='embedding' and use_rep= are passed together"),
        ({"n_markers": 3, "target": "label", "label_key": "one"}, TableError, "fewer than two types"),
        ({"n_markers": 3, "costs": "price"}, TableError, "No column 'price' in var"),
        ({"n_markers": 3, "costs": {"CD8": 1.0}}, TableError, "no number above 0 for 11 candidates, first 'DAPI'"),
        ({"n_markers": 3, "patient_key": "two"}, TableError, "has 2 patients: at least 3"),
        ({"n_markers": 3, "patient_key": "nobody"}, TableError, "No column 'nobody' in obs"),
        ({"n_markers": 3, "target": "embedding", "use_rep": "X_same"}, TableError, "All rows of the embedding"),
        ({"n_markers": 3, "layer": "raw"}, TableError, "No layer 'raw'"),
    ],
)
def test_refusals_come_before_anything_is_written(arguments, error, said):
    cells = sfm.datasets.simulate_cells(4, cells_per_patient=40, random_state=0)
    cells.obs["one"], cells.obs["two"] = "a", np.tile(["a", "b"], 80)
    del cells.obs["age"], cells.obs["sex"]  # which say that "a" is several people
    cells.obsm["X_same"] = np.ones((160, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(error, match=said):
            sfm.tl.select_panel(cells, **arguments)
    assert "panel" not in cells.uns
    assert "panel" not in cells.var


def test_a_marker_that_is_the_same_everywhere_is_no_candidate(planted):
    """It would count as explained, whatever the panel."""
    cells = planted.copy()
    sfm.tl.select_panel(cells, 3, keep=[], n_folds=2, n_random=0)
    expected = cells.uns["panel"]["curve"]
    dark = ad.AnnData(np.column_stack([cells.X, np.zeros(cells.n_obs)]), obs=cells.obs.copy())
    dark.var_names = [*cells.var_names, "dark"]
    with pytest.warns(SpatialfmWarning, match="1 marker is the same in all cells and left out: 'dark'"):
        ranking = sfm.tl.select_panel(dark, 3, keep=[], n_folds=2, n_random=0)
    assert "dark" not in ranking.index
    np.testing.assert_allclose(dark.uns["panel"]["curve"]["score"], expected["score"])
    with pytest.raises(PanelError, match="the same in all cells, first 'dark'"):
        sfm.tl.select_panel(dark, 3, keep=[], markers=list(dark.var_names))


def test_infinite_values_are_refused():
    cells = sfm.datasets.simulate_cells(4, cells_per_patient=40, random_state=0)
    cells.X[3, 4] = np.inf
    with pytest.raises(SpatialfmError, match="Values of 'FOXP3' are infinite"):
        sfm.tl.select_panel(cells, 3)


def test_a_patient_of_one_cell_spoils_no_panel():
    cells = sfm.datasets.simulate_cells(6, cells_per_patient=200, random_state=0)
    last = (cells.obs["patient"] == "P006").to_numpy()
    few, without = cells[~last | (np.cumsum(last) == 1)].copy(), cells[~last].copy()
    for one in (few, without):
        sfm.tl.select_panel(one, 4, n_random=0)
    found, expected = (one.uns["panel"]["patients"]["4"].iloc[:5] for one in (few, without))
    assert few.n_obs == without.n_obs + 1
    assert found.mean() > expected.mean() - 0.05


def test_three_patients_and_two_folds_leave_two_to_choose_by_each_other():
    cells = sfm.datasets.simulate_cells(3, cells_per_patient=80, random_state=0)
    sfm.tl.select_panel(cells, 3, n_folds=2, n_random=0)
    every = cells.uns["panel"]["curve"]
    sfm.tl.select_panel(cells, 3, n_folds=3, n_random=0)
    pd.testing.assert_frame_equal(every, cells.uns["panel"]["curve"])
    assert every["score"].notna().all()
