"""Labels that were turned around on purpose are found."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from sklearn.metrics import roc_auc_score

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning, TableError


def noisy(seed, n=300, share=0.1, latent_noise=0.3, n_patients=6):
    """Cells of which some are labelled, some of these wrongly, and the names of the wrong ones."""
    cells = sfm.datasets.simulate_cells(n_patients, cells_per_patient=250, latent_noise=latent_noise, random_state=seed)
    rng = np.random.default_rng(seed)
    some = rng.choice(cells.obs_names, n, replace=False)
    known = pd.Series(index=cells.obs_names, dtype=object)
    known[some] = cells.obs.loc[some, "type"].astype(object)
    wrong = rng.choice(some, int(share * n), replace=False)
    for name in wrong:
        known[name] = rng.choice([one for one in cells.obs["type"].cat.categories if one != known[name]])
    cells.obs["known"] = known
    return cells, wrong


@pytest.mark.parametrize(("share", "bound"), [(0.1, 0.94), (0.2, 0.94)])
def test_wrong_labels_score_higher_than_right_ones(share, bound):
    """AUROC of the score for labels that were changed, mean of three cohorts: about 0.97 (0.9 of each)."""
    found = []
    for seed in range(3):
        cells, wrong = noisy(seed, share=share)
        table = sfm.tl.label_report(cells, "known", use_rep="X_latent", C=0.1)
        judged = table["score"].notna()
        found.append(roc_auc_score(table.index[judged].isin(wrong), table["score"][judged]))
        doubted = table.index[table["likely_wrong"]]
        # of those drawn at random a tenth or a fifth are wrong
        assert np.isin(doubted, wrong).mean() > 2 * share
    assert min(found) > 0.9
    assert np.mean(found) > bound


@pytest.mark.parametrize(
    ("by_sample", "auroc", "doubted"), [("auto", (0.97, 1.0), (12, 25)), (False, (0.5, 0.85), (50, 200))]
)
def test_right_labels_of_slides_that_were_stained_apart_are_not_doubted(by_sample, auroc, doubted):
    """Four types by eight columns on eight slides; 20 of 200 labels are wrong."""
    rng = np.random.default_rng(0)
    slide, codes = np.repeat(np.arange(8), 120), rng.integers(0, 4, 960)
    values = (
        np.kron(np.eye(4), [1.0, 1.0])[codes] + rng.normal(0, 0.35, (960, 8)) + 1.5 * rng.normal(size=(8, 8))[slide]
    )
    names, some = np.array(["B", "T", "tumor", "vessel"]), rng.permutation(960)[:200]
    obs = pd.DataFrame({"sample": slide.astype(str), "known": pd.Series(pd.NA, range(960), dtype=object)})
    obs.loc[some, "known"] = names[codes[some]]
    obs.loc[some[:20], "known"] = names[(codes[some[:20]] + rng.integers(1, 4, 20)) % 4]
    obs["patient"], obs.index = obs["sample"], [f"c{number:03d}" for number in range(960)]
    cells = AnnData(np.zeros((960, 0), np.float32), obs=obs, obsm={"X_model": values.astype(np.float32)})
    table = sfm.tl.label_report(cells, "known", use_rep="X_model", by_sample=by_sample)
    wrong = table.index.isin(obs.index[some[:20]])
    assert auroc[0] <= roc_auc_score(wrong, table["score"]) <= auroc[1]
    assert doubted[0] <= table["likely_wrong"].sum() <= doubted[1]
    params = cells.uns["label_report"]["params"]
    assert params["by_sample"] is (by_sample == "auto")
    assert params["preparation"].endswith("within each sample") is (by_sample == "auto")


def test_the_scale_of_a_sample_needs_samples():
    cells, _ = noisy(0)
    with pytest.raises(TableError, match="Pass library_key="):
        sfm.tl.label_report(cells, "known", use_rep="X_latent", by_sample=True, library_key=None)
    assert "label_report" not in cells.uns


def test_the_likelier_type_is_the_true_one():
    cells, wrong = noisy(1, latent_noise=0.2)
    table = sfm.tl.label_report(cells, "known", use_rep="X_latent", C=0.1)
    told = table.loc[table.index.isin(wrong) & table["likely_wrong"], "likelier"]
    assert len(told) > len(wrong) / 2
    n = int(table["likely_wrong"].sum())
    assert table["likely_wrong"].iloc[:n].all()  # doubted ones first, of these and of the others the most doubtful
    for part in (table["score"].iloc[:n], table["score"].iloc[n:].dropna()):
        assert part.is_monotonic_decreasing
    assert (told.astype(str) == cells.obs.loc[told.index, "type"].astype(str)).mean() > 0.9


def test_right_labels_of_types_that_are_apart_are_not_doubted():
    cells, _ = noisy(2, share=0.0, latent_noise=0.1)
    table = sfm.tl.label_report(cells, "known", use_rep="X_latent", C=1.0)
    assert not table["likely_wrong"].any()
    assert table["likelier"].isna().all()


def test_counts_by_patient_and_type_are_those_of_the_table():
    cells, _ = noisy(0)
    table = sfm.tl.label_report(cells, "known", use_rep="X_latent", C=0.1)
    record, known = cells.uns["label_report"], cells.obs[cells.obs["known"].notna()]
    for patient, row in record["counts"].iterrows():
        for name, n in row.items():
            assert n == ((known["patient"] == patient) & (known["known"] == name)).sum()
    types = record["types"]
    assert types["n_labelled"].to_dict() == known["known"].value_counts().reindex(types.index).to_dict()
    assert types["n_patients"].to_dict() == known.groupby("known")["patient"].nunique().reindex(types.index).to_dict()
    assert types["n_likely_wrong"].sum() == record["params"]["n_likely_wrong"] == table["likely_wrong"].sum()
    assert len(table) == len(known)


def test_conflicts_are_pairs_of_near_identical_cells():
    cells, _ = noisy(0, share=0.0, latent_noise=0.1)
    first, second = cells.obs_names[cells.obs["known"] == "Tumor"][:2]
    cells.obsm["X_latent"][cells.obs_names == second] = cells.obsm["X_latent"][cells.obs_names == first] + 1e-4
    cells.obs.loc[second, "known"] = "B"
    table = sfm.tl.label_report(cells, "known", use_rep="X_latent", C=1.0)
    conflict = cells.uns["label_report"]["conflicts"].iloc[0]
    assert {conflict["first"], conflict["second"]} == {first, second}
    assert {conflict["first_label"], conflict["second_label"]} == {"Tumor", "B"}
    assert conflict["distance"] == pytest.approx(1e-4 * np.sqrt(32), rel=1e-2)
    assert table.loc[[first, second], "n_conflicts"].min() >= 1
    assert cells.uns["label_report"]["params"]["conflict_distance"] > conflict["distance"]


def test_the_order_of_rows_does_not_matter_and_nothing_is_written_into_obs():
    cells, _ = noisy(0)
    columns = list(cells.obs)
    table = sfm.tl.label_report(cells, "known", use_rep="X_latent", C=0.1)
    assert list(cells.obs) == columns
    turned = cells[np.random.default_rng(0).permutation(cells.n_obs)].copy()
    again = sfm.tl.label_report(turned, "known", use_rep="X_latent", C=0.1)
    assert again.index.tolist() == table.index.tolist()
    np.testing.assert_allclose(again["score"], table["score"], atol=1e-4)  # sums in another order


def test_without_patients_and_with_a_type_of_one_cell():
    cells, _ = noisy(0)
    cells.obs["known"] = cells.obs["known"].where(cells.obs["known"] != "Tumor")
    cells.obs.loc[cells.obs_names[0], "known"] = "Only one"
    table = sfm.tl.label_report(cells, "known", use_rep="X_latent", C=0.1, patient_key=None)
    assert np.isnan(table.loc[cells.obs_names[0], "score"])
    assert not table.loc[cells.obs_names[0], "likely_wrong"]
    assert "patient" not in table
    assert cells.uns["label_report"]["counts"].shape[0] == 1


@pytest.mark.parametrize("names", [[], ["B"], ["B", "T"]])
def test_too_few_labels(names):
    cells = sfm.datasets.simulate_cells(1, cells_per_patient=20, random_state=0)
    cells.obs["known"] = [*names, *[None] * (20 - len(names))]
    with pytest.raises(TableError, match=f"holds {len(names)} type"):
        sfm.tl.label_report(cells, "known", use_rep="X_latent")
    assert "label_report" not in cells.uns


def test_a_classifier_that_knows_nothing_is_said_to_doubt_right_labels():
    """All labels are right, and the columns hold nothing of them."""
    cells, _ = noisy(0, n=80, share=0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not sfm.tl.label_report(cells, "known", use_rep="X_latent", C=0.1)["likely_wrong"].mean() > 0.5
    cells.obsm["X_noise"] = np.random.default_rng(0).normal(size=(cells.n_obs, 5)).astype(np.float32)
    with pytest.warns(SpatialfmWarning, match="of 77 labels are doubted: more likely 'X_noise'"):
        sfm.tl.label_report(cells, "known", use_rep="X_noise", C=0.1)
