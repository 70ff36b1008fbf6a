"""Signatures: planted ones are found, and where there is none the nested score states it."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import stats

import spatialfm as sfm
from spatialfm._errors import ArgumentError, ClinicalError, SpatialfmError, SpatialfmWarning, SurvivalError, TableError
from spatialfm._fingerprint import changes

NESTED, OPTIMISTIC = "nested", "as published (optimistic)"


def cohort(n_patients=40, cells=60, *, effect=0.0, survival=False, seed=0):
    """Eight blobs of cells; patients who respond have more of blob 0 (share of patients' odds: `effect`)."""
    rng = np.random.default_rng(seed)
    centers = 6 * rng.standard_normal((8, 5))
    responds = np.arange(n_patients) % 2 == 0
    rng.shuffle(responds)
    kinds = []
    for r in responds:
        weights = rng.dirichlet(np.full(8, 1.5))
        weights[0] *= np.exp(effect * (1 if r else -1))
        kinds.append(rng.choice(8, cells, p=weights / weights.sum()))
    kinds = np.concatenate(kinds)
    patients = np.repeat(np.arange(n_patients), cells)
    obs = pd.DataFrame(
        {
            "patient": [f"P{p:02d}" for p in patients],
            "sample": [f"P{p:02d}_1" for p in patients],
            "kind": kinds.astype(str),
            "response": responds[patients],
        },
        index=[str(i) for i in range(len(kinds))],
    )
    if survival:
        time = rng.exponential(np.where(responds, 60.0, 5.0))
        obs["time"], obs["event"] = np.minimum(time, 40)[patients], (time < 40).astype(int)[patients]
    adata = AnnData(obs=obs)
    adata.obsm["X_e"] = (centers[kinds] + rng.standard_normal((len(kinds), 5))).astype(np.float32)
    return adata


QUICK = {"use_rep": "X_e", "resolutions": [0.5, 1.0], "n_repeats": 3, "n_repeats_model": 3, "max_cells": None}


@pytest.mark.parametrize("survival", [False, True])
def test_a_planted_signature_is_found(survival):
    cells = cohort(60, effect=1.2, survival=survival)
    outcome = ("time", "event") if survival else "response"
    sfm.tl.discover_signatures(cells, outcome=outcome, n_permutations=19, **QUICK)
    record = cells.uns["signatures"]
    name = "FS1" if survival else "RS1"
    inside = cells.obsm["signatures"][name].to_numpy()
    planted = (cells.obs["kind"] == "0").to_numpy()
    assert (inside & planted).sum() / (inside | planted).sum() > 0.9
    scores = record["scores"]
    assert scores.loc[NESTED, "score"] > 0.62
    assert scores.loc[NESTED, "p_value"] == pytest.approx(1 / 20)  # above all 19 shuffles
    assert scores.loc[NESTED, "ci_low"] < scores.loc[NESTED, "score"] < scores.loc[NESTED, "ci_high"]
    found = record["signatures"].loc[name]
    assert found["q_value"] < 0.05
    assert (found["ratio"] > 1) != survival
    # ranks of the record are those of the cells
    by_patient = record["patients"]
    share = pd.Series(inside).groupby(cells.obs["patient"].to_numpy()).mean()
    np.testing.assert_allclose(by_patient[f"fraction_{name}"], share[by_patient.index])
    assert by_patient["nested"].notna().all()


@pytest.mark.slow
def test_without_an_effect_the_published_score_is_above_one_half_and_the_nested_one_is_not():
    """Twelve null cohorts; the 200 of the page on scores are a slow test."""
    rows, many = [], QUICK | {"resolutions": [2.0, 4.0]}
    for seed in range(12):
        scores = sfm.tl.discover_signatures(
            cohort(30, 40, seed=seed), outcome="response", n_permutations=0, copy=True, random_state=seed, **many
        )["scores"]
        rows.append(scores["score"].to_dict())
    table = pd.DataFrame(rows)
    spread = table.std() / np.sqrt(len(table))
    assert table[OPTIMISTIC].mean() - 3 * spread[OPTIMISTIC] > 0.5
    assert abs(table[NESTED].mean() - 0.5) < 3 * spread[NESTED]


def test_folds_follow_from_the_names_of_patients_and_not_from_the_order_of_rows():
    """Clusters see cells in their order, as Leiden's algorithm does everywhere; who is held out with whom does not."""
    cells = cohort(12, 30, seed=1)
    one, two = (
        sfm.tl.discover_signatures(table, outcome="response", n_permutations=0, copy=True, **QUICK)["patients"]
        for table in (cells, cells[::-1].copy())
    )
    assert list(one.index) == list(two.index) == sorted(one.index)
    pd.testing.assert_series_equal(one["fold"], two["fold"])
    pd.testing.assert_series_equal(one["response"], two["response"])


def test_no_cell_of_a_held_out_patient_reaches_the_clusters(monkeypatch):
    """The clusterings of the folds see training patients' cells alone, and are not told the outcome."""
    from spatialfm.learn import signature_clusters as clustering

    cells = cohort(20, 40)
    cells = cells[cells.obs_names.sort_values()].copy()  # the order in which they are clustered
    seen = []
    plain = clustering.cluster_cells
    monkeypatch.setattr(clustering, "cluster_cells", lambda values, *a: seen.append(values) or plain(values, *a))
    record = sfm.tl.discover_signatures(cells, outcome="response", n_permutations=0, copy=True, **QUICK)
    fold = record["patients"]["fold"]
    of_cell = fold.loc[cells.obs["patient"].astype(str)].to_numpy()
    assert len(seen) == 1 + 4
    for i, values in enumerate(seen[1:]):
        np.testing.assert_array_equal(values, cells.obsm["X_e"][of_cell != i])


def test_repeats_bit_for_bit_and_threads_change_nothing():
    cells = cohort(24, 40, effect=0.5)
    one, two = (
        sfm.tl.discover_signatures(cells, outcome="response", n_permutations=6, n_jobs=n, copy=True, **QUICK)
        for n in (1, 2)
    )
    pd.testing.assert_frame_equal(one["scores"], two["scores"])
    pd.testing.assert_frame_equal(one["null"], two["null"])


def test_a_returned_record_says_what_it_was_made_of():
    cells = cohort(20, 40, effect=1.0)
    plan = {"outcome": "response", "n_permutations": 0, "nested": False, **QUICK}
    made_of = sfm.tl.discover_signatures(cells, copy=True, **plan)["params"]["data"]
    assert changes(cells, made_of) == []
    cells.obs["response"] = cells.obs["response"].to_numpy()[::-1]
    cells.obsm["X_e"] = cells.obsm["X_e"] + 1
    assert changes(cells, made_of) == ["obs['response']", "obsm['X_e']"]


def test_what_is_written_can_be_stored(tmp_path):
    import anndata

    cells = cohort(20, 40, effect=1.0)
    sfm.tl.discover_signatures(cells, outcome="response", n_permutations=2, **QUICK)
    cells.write_zarr(tmp_path / "cells.zarr")
    again = anndata.read_zarr(tmp_path / "cells.zarr")
    pd.testing.assert_frame_equal(
        again.uns["signatures"]["scores"], cells.uns["signatures"]["scores"], check_names=False
    )
    assert (again.obsm["signatures"] == cells.obsm["signatures"]).all().all()


def test_patients_without_outcome_are_refused_or_left_out():
    cells = cohort(24, 40, effect=1.0)
    cells.obs["response"] = cells.obs["response"].astype(object)
    cells.obs.loc[cells.obs["patient"] == "P03", "response"] = None
    with pytest.raises(TableError, match=r"1 of 24 patients have no value in 'response': 'P03'"):
        sfm.tl.discover_signatures(cells, outcome="response", **QUICK)
    sfm.tl.discover_signatures(cells, outcome="response", on_missing="drop", n_permutations=0, **QUICK)
    record = cells.uns["signatures"]
    assert record["params"]["n_dropped"] == 1
    assert "P03" not in record["patients"].index
    assert not cells.obsm["signatures"][(cells.obs["patient"] == "P03").to_numpy()].any().any()


@pytest.mark.parametrize(
    ("change", "arguments", "error", "message"),
    [
        (None, {"outcome": "cured"}, TableError, "No column 'cured' in obs"),
        ("two", {}, ClinicalError, "1 patient has more than one value in obs\\['response'\\], first 'P00'"),
        ("one class", {}, TableError, "has 1 values among the patients"),
        ("names", {}, TableError, "is the response\\? Pass positive="),
        ("names", {"positive": "often"}, TableError, "positive='often' is not a value"),
        ("few", {}, TableError, "2 patients of the rarer outcome in 'response' cannot be spread over n_folds=4"),
        (None, {"n_folds": 1}, ArgumentError, "n_folds=1.*at least 2"),
        (None, {"resolutions": [0.0, 1.0]}, ArgumentError, "numbers above 0"),
        (None, {"max_cells": 3}, TableError, "has fewer than 3 cells"),
        ("nan", {}, TableError, "1 of 800 rows of 'X_e' hold NaN"),
        ("negative", {"outcome": ("time", "event")}, SurvivalError, "negative or infinite time"),
        ("no event", {"outcome": ("time", "event")}, SurvivalError, "No event in obs"),
    ],
)
def test_refusals(change, arguments, error, message):
    cells = cohort(20, 40, survival=True)
    obs = cells.obs
    if change == "two":
        obs.loc["0", "response"] = not obs.loc["0", "response"]
    elif change == "one class":
        obs["response"] = True
    elif change == "names":
        obs["response"] = np.where(obs["response"], "yes", "no")
    elif change == "few":
        obs["response"] = obs["patient"].isin(["P00", "P01"])
    elif change == "nan":
        cells.obsm["X_e"][5, 0] = np.nan
    elif change == "negative":
        obs.loc[obs["patient"] == "P00", "time"] = -1.0
    elif change == "no event":
        obs["event"] = 0
    with pytest.raises(error, match=message):
        sfm.tl.discover_signatures(cells, **({"outcome": "response"} | QUICK | arguments))
    assert "signatures" not in cells.uns


def uneven(n_patients=24, few=20, many=120, seed=0):
    """Responders have `few` cells, the others `many`, of the same tissue."""
    cells = cohort(n_patients, many, seed=seed)
    place = cells.obs.groupby("patient").cumcount()
    return cells[((place < few) | ~cells.obs["response"]).to_numpy()].copy()


def test_numbers_of_cells_that_go_with_the_outcome_are_told_and_made_equal():
    cells = uneven()
    with pytest.warns(
        SpatialfmWarning, match=r"median 120 of 'not True', 20 of 'True'; AUROC 0.00, p = .* of 20 cells"
    ):
        sfm.tl.discover_signatures(cells, outcome="response", n_permutations=0, **QUICK)
    record = cells.uns["signatures"]
    assert record["params"]["cells_per_patient"] == 20
    assert record["params"]["depth_associated"]
    assert (record["patients"]["n_cells_drawn"] == 20).all()
    assert sorted(set(record["patients"]["n_cells"])) == [20, 120]
    # cells that were not drawn belong to the clusters of their blob
    chosen = cells.obsm["signatures"].iloc[:, 0].to_numpy()
    kinds = pd.crosstab(cells.obs["kind"], chosen)
    assert kinds[True].max() / chosen.sum() > 0.9
    assert chosen[cells.obs["kind"] == kinds[True].idxmax()].mean() > 0.5
    with pytest.warns(SpatialfmWarning, match=r'Pass cells_per_patient="even"'):
        sfm.tl.discover_signatures(
            cells, outcome="response", n_permutations=0, cells_per_patient="all", copy=True, **QUICK
        )
    with pytest.raises(SpatialfmError, match="cells_per_patient='some'"):
        sfm.tl.discover_signatures(cells, outcome="response", cells_per_patient="some", **QUICK)


def test_clusters_and_ranks_are_made_of_as_many_cells_of_each(monkeypatch):
    from spatialfm.learn import signature_clusters as clustering

    cells, seen = uneven(), []
    plain = clustering.cluster_cells
    monkeypatch.setattr(clustering, "cluster_cells", lambda values, *a: seen.append(len(values)) or plain(values, *a))
    with pytest.warns(SpatialfmWarning, match="Numbers of cells per patient go with"):
        sfm.tl.discover_signatures(cells, outcome="response", n_permutations=0, copy=True, **QUICK)
    assert seen == [24 * 20, cells.n_obs, *[18 * 20] * 4]  # the second for the row as published


def test_few_patients_with_few_cells_of_either_outcome_do_not_take_all_down():
    cells = cohort(30, 60)
    place = cells.obs.groupby("patient").cumcount()
    cells = cells[((place < 5) | (cells.obs["patient"] != "P07")).to_numpy()].copy()
    sfm.tl.discover_signatures(cells, outcome="response", n_permutations=0, **QUICK)
    drawn = cells.uns["signatures"]["patients"]["n_cells_drawn"]
    assert drawn["P07"] == 5
    assert (drawn.drop("P07") == 60).all()


def test_a_draw_of_few_cells_is_told():
    cells = cohort(24, 120)
    place = cells.obs.groupby("patient").cumcount()
    few = cells.obs["patient"].isin([f"P{i:02d}" for i in range(6)])
    cells = cells[((place < 10) | ~few).to_numpy()].copy()
    with pytest.warns(SpatialfmWarning, match=r"cells_per_patient='even' draws 10 cells of each patient"):
        sfm.tl.discover_signatures(cells, outcome="response", n_permutations=0, nested=False, copy=True, **QUICK)


def test_the_row_as_published_is_made_of_all_clusters_of_all_cells():
    """Written out with scikit-learn from the candidates of a search that neither merges nor asks for five patients."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    from spatialfm.stats.folds import fold_masks

    cells = cohort(24, 60, seed=3)
    place = cells.obs.groupby("patient").cumcount()
    cells = cells[((place < 40) | (cells.obs["patient"] < "P12")).to_numpy()].copy()
    options = {"outcome": "response", "n_permutations": 0, "copy": True} | QUICK
    raw = sfm.tl.discover_signatures(
        cells, merge_overlap=None, min_patients=0, cells_per_patient="all", nested=False, **options
    )
    merged = sfm.tl.discover_signatures(cells, nested=False, **options)
    assert len(raw["clusters"]) > len(merged["clusters"])
    names = list(raw["signatures"].index)
    sides = raw["clusters"].groupby("side")["score"].nlargest(2).groupby("side").apply(list)
    for side, letters in (("response", "RS"), ("non-response", "NRS")):
        found = raw["signatures"].loc[[name for name in names if name.startswith(letters)], "score"]
        assert sorted(found, reverse=True) == sides[side]
    ranks = raw["patients"][[f"rank_{name}" for name in names]].to_numpy(float)
    y = raw["patients"]["response"].to_numpy(bool)
    scores = []
    for test in fold_masks(y, 4, 3, np.random.default_rng((0, 3))):
        model = LogisticRegression(tol=1e-10, max_iter=1000).fit(ranks[~test], y[~test])
        scores.append(roc_auc_score(y[test], model.decision_function(ranks[test])))
    assert raw["scores"].loc[OPTIMISTIC, "score"] == pytest.approx(np.mean(scores))
    assert merged["scores"].loc[OPTIMISTIC, "score"] == pytest.approx(np.mean(scores))


@pytest.mark.slow
def test_null_cohorts_are_calibrated():
    """200 simulated cohorts without effect: nested AUROC one half on average, p-values uniform."""
    from joblib import Parallel, delayed

    found = pd.DataFrame(Parallel(n_jobs=2)(delayed(null_cohort)(seed) for seed in range(200)))
    error = found["nested"].std() / np.sqrt(len(found))
    assert abs(found["nested"].mean() - 0.5) < 3 * error
    assert found["published"].mean() > 0.6
    assert stats.kstest(found["p_nested"] - 0.005, "uniform").pvalue > 0.05  # the middle of each hundredth
    assert stats.kstest(found["p_published"] - 0.005, "uniform").pvalue > 0.05


def null_cohort(seed: int) -> dict[str, float]:
    sfm.settings.progress, sfm.settings.verbosity = False, 0
    cells = sfm.datasets.simulate_cells(40, cells_per_patient=80, effect_size=0.0, random_state=1000 + seed)
    arguments = {"use_rep": "X_latent", "resolutions": [1.0, 2.0, 3.0], "max_cells": None, "n_permutations": 99}
    scores = sfm.tl.discover_signatures(
        cells, outcome="response", positive="responder", copy=True, random_state=seed, **arguments
    )["scores"]
    return {
        "published": scores.loc[OPTIMISTIC, "score"],
        "nested": scores.loc[NESTED, "score"],
        "p_published": scores.loc[OPTIMISTIC, "p_value"],
        "p_nested": scores.loc[NESTED, "p_value"],
    }


def test_outcomes_are_shuffled_within_sites():
    from spatialfm.stats.permutation import shuffled_order

    blocks = np.array([0, 1, 0, 1, 1, 0, 2])
    orders = np.array([shuffled_order(7, np.random.default_rng(i), blocks) for i in range(60)])
    assert (blocks[orders] == blocks).all()
    for block in (0, 1):  # all six orders of three
        assert len(np.unique(orders[:, blocks == block], axis=0)) == 6
    cells = cohort(24)
    cells.obs["site"] = np.where(cells.obs["response"], "A", "B")
    with pytest.raises(TableError, match="determines the outcome"):
        sfm.tl.discover_signatures(cells, outcome="response", block_key="site", **QUICK)
    assert "signatures" not in cells.uns


def test_a_site_that_has_outcome_and_cells_makes_no_small_p():
    cells = cohort(32, effect=2.5, seed=3)
    names = sorted(cells.obs["patient"].unique())
    responds = cells.obs.drop_duplicates("patient").set_index("patient")["response"].loc[names].to_numpy()
    swapped = np.concatenate([np.flatnonzero(responds)[:2], np.flatnonzero(~responds)[:2]])
    site = responds.copy()  # the site has the cells; two patients of each have the other outcome
    outcome = responds.copy()
    outcome[swapped] = ~outcome[swapped]
    at = {name: i for i, name in enumerate(names)}
    place = cells.obs["patient"].map(at).to_numpy()
    cells.obs["site"], cells.obs["response"] = np.where(site, "A", "B")[place], outcome[place]
    found = {}
    for block_key in (None, "site"):
        record = sfm.tl.discover_signatures(
            cells, outcome="response", n_permutations=39, block_key=block_key, copy=True, **QUICK
        )
        found[block_key] = record["scores"].loc[NESTED, "p_value"]
        assert record["params"]["block_key"] == (block_key or "")
    assert found[None] <= 0.05
    assert found["site"] > 0.1
