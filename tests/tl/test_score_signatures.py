"""Signatures in patients, by hand and against SciPy."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import stats

import spatialfm as sfm
from spatialfm._errors import TableError


def cohort():
    """Six patients of 100 cells in a square of 100 µm; P0 has no cell of A, P5 has 50."""
    rng = np.random.default_rng(0)
    n, rows = 100, []
    for p, (a, b) in enumerate([(0, 40), (10, 0), (20, 20), (30, 10), (40, 0), (50, 0)]):
        member = np.zeros((n, 2), bool)
        member[:a, 0], member[n - b :, 1] = True, b > 0
        rows.append(pd.DataFrame({"patient": f"P{p}", "sample": f"S{p}", "A": member[:, 0], "B": member[:, 1]}))
    obs = pd.concat(rows, ignore_index=True)
    obs.index = obs.index.astype(str)
    cells = AnnData(obs=obs[["patient", "sample"]].copy())
    cells.obsm["signatures"] = obs[["A", "B"]]
    cells.obsm["spatial"] = rng.uniform(0, 100, (len(obs), 2))
    corners = np.array([[0, 0], [0, 100], [100, 0], [100, 100]])
    for p in range(6):
        cells.obsm["spatial"][100 * p : 100 * p + 4] = corners
    cells.obs["type"] = np.where(obs["A"], "T", np.where(np.arange(len(obs)) % 2, "B", "M"))
    return cells


def test_shares_ranks_score_and_groups_by_hand():
    patients = sfm.tl.score_signatures(cohort(), favorable=["A"])
    np.testing.assert_allclose(patients[:, "A"].X.ravel(), [0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert patients[:, "A"].layers["rank"].ravel().tolist() == [0, 1, 1, 2, 3, 3]
    assert patients[:, "B"].layers["rank"].ravel().tolist() == [3, 0, 2, 1, 0, 0]
    assert patients.obs["signature_score"].tolist() == [-3, 1, -1, 1, 3, 3]
    # -1 and 2 themselves are in the middle; a high score is a low risk
    assert patients.obs["risk_group"].tolist() == ["high", "medium", "medium", "medium", "low", "low"]
    np.testing.assert_allclose(patients[:, "A"].layers["density"].ravel(), np.array([0, 10, 20, 30, 40, 50]) / 0.01)
    assert patients.obs["patient"].tolist() == [f"P{i}" for i in range(6)]


def test_cut_points_of_the_discovery():
    cells = cohort()
    known = pd.DataFrame(
        {"side": ["response", "non-response"], "cut_1": [0.35, 0.5], "cut_2": [0.45, 0.6]}, index=["A", "B"]
    )
    cells.uns["signatures"] = {"signatures": known}
    one = cells[cells.obs["patient"] == "P4"].copy()
    patients = sfm.tl.score_signatures(one, cut_points_from="discovery")
    assert patients.layers["rank"].tolist() == [[2, 0]]
    assert patients.var["favorable"].tolist() == [True, False]


def test_enrichment_by_type_against_scipy():
    cells = cohort()
    table = sfm.tl.score_signatures(cells, favorable=["A"], type_key="type").uns["enrichment"]
    row = table[(table["signature"] == "A") & (table["type"] == "T")].iloc[0]
    logs = []
    for p in range(1, 6):
        mine = (cells.obs["patient"] == f"P{p}").to_numpy()
        inside = mine & cells.obsm["signatures"]["A"].to_numpy()
        share = [((cells.obs["type"] == "T").to_numpy()[m].sum() + 0.5) / (m.sum() + 1.5) for m in (inside, mine)]
        logs.append(np.log2(share[0] / share[1]))
    assert row["n_patients"] == 5
    assert row["log2_enrichment"] == pytest.approx(np.mean(logs))
    assert row["p_value"] == pytest.approx(stats.wilcoxon(logs).pvalue)


def test_refusals():
    cells = cohort()
    for arguments, message in [
        ({"key": "none"}, "No signatures 'none' in obsm"),
        ({}, "Which of 'A', 'B' are favorable"),
        ({"favorable": ["C"]}, "favorable= names 'C'"),
        ({"favorable": ["A"], "cuts": (2, -1)}, "must rise"),
        ({"favorable": ["A"], "cut_points_from": "discovery"}, "has no cut points"),
        ({"favorable": ["A"], "area": {"S0": 1.0}}, "area= lacks samples 'S1'"),
    ]:
        with pytest.raises(TableError, match=message):
            sfm.tl.score_signatures(cells, **arguments)
