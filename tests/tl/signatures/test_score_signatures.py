"""Signatures in patients, by hand and against SciPy."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import stats

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning, TableError


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
    """Expectations and variances are those of SciPy's hypergeometric distribution, the test written out."""
    cells = cohort()
    table = sfm.tl.score_signatures(cells, favorable=["A"], cluster_key="type").uns["enrichment"]
    for kind in ("B", "T"):
        row = table[(table["signature"] == "A") & (table["type"] == kind)].iloc[0]
        observed, expected, variance, sizes = [], [], [], []
        for p in range(1, 6):
            mine = (cells.obs["patient"] == f"P{p}").to_numpy()
            inside = mine & cells.obsm["signatures"]["A"].to_numpy()
            is_kind = (cells.obs["type"] == kind).to_numpy()
            law = stats.hypergeom(mine.sum(), is_kind[mine].sum(), inside.sum())
            observed.append(is_kind[inside].sum())
            expected.append(law.mean())
            variance.append(law.var())
            sizes.append(max(inside.sum(), 20))
        observed, expected, variance, sizes = map(np.array, (observed, expected, variance, sizes))
        assert row["n_patients"] == 5
        assert (row["observed"], row["expected"]) == (observed.sum(), pytest.approx(expected.sum()))
        half = 0.5 * np.mean(1 / sizes)
        ratio = ((observed / sizes).sum() + half) / ((expected / sizes).sum() + half)
        assert row["log2_enrichment"] == pytest.approx(np.log2(ratio))
        total = ((observed - expected) / sizes).sum()
        scale = (observed / sizes).sum() / (expected / sizes).sum()
        linearised = np.sqrt(5 / 4 * (((observed - scale * expected) / sizes) ** 2).sum())
        student = 2 * stats.t.sf(abs(total) / linearised, 4) if linearised > 1e-12 else 0
        normal = 2 * stats.norm.sf(abs(total) / np.sqrt((variance / sizes**2).sum()))
        assert row["p_value"] == pytest.approx(max(student, normal))


@pytest.mark.slow
def test_a_random_signature_shows_no_enrichment_of_rare_types():
    """Two in a hundred cells, drawn at random; half counts showed the rarest at +3.4 with p below 0.05 every time."""
    shares = [0.6, 0.25, 0.13, 0.01, 0.01]
    found = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        n = 12 * 400
        obs = pd.DataFrame({"type": rng.choice(list("abcde"), n, p=shares)}, index=np.arange(n).astype(str))
        obs["patient"] = obs["sample"] = np.repeat([f"P{i:02d}" for i in range(12)], 400)
        cells = AnnData(obs=obs)
        cells.obsm["signatures"] = pd.DataFrame({"S": rng.random(n) < 0.02}, index=obs.index)
        found.append(sfm.tl.score_signatures(cells, favorable=["S"], cluster_key="type").uns["enrichment"])
    table = pd.concat(found)
    sums = table.groupby("type")[["observed", "expected"]].sum()
    assert (np.abs(sums["observed"] - sums["expected"]) < 4 * np.sqrt(sums["expected"])).all()
    assert table.groupby("type")["log2_enrichment"].mean().abs().max() < 0.5  # about one cell is expected of the rarest
    assert (table["p_value"] < 0.05).mean() <= 0.07


def test_a_planted_rare_type_is_found():
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({"type": rng.choice(["a", "rare"], 20 * 500, p=[0.98, 0.02])})
    obs["patient"] = obs["sample"] = np.repeat([f"P{i:02d}" for i in range(20)], 500)
    obs.index = obs.index.astype(str)
    cells = AnnData(obs=obs)
    inside = rng.random(len(obs)) < np.where(obs["type"] == "rare", 0.3, 0.05)
    cells.obsm["signatures"] = pd.DataFrame({"S": inside}, index=obs.index)
    table = sfm.tl.score_signatures(cells, favorable=["S"], cluster_key="type").uns["enrichment"].set_index("type")
    inside_share = 0.02 * 0.3 / (0.02 * 0.3 + 0.98 * 0.05)
    assert table.loc["rare", "log2_enrichment"] == pytest.approx(np.log2(inside_share / 0.02), abs=0.35)
    assert table.loc["rare", "p_value"] < 1e-3


def test_neighborhoods_of_few_patients_have_no_p_value_and_are_told():
    cells = cohort()
    cells = cells[cells.obs["patient"].isin(["P1", "P2", "P3"]).to_numpy()].copy()
    cells.obs["type"] = np.where(np.arange(cells.n_obs) % 2, "B", "M")
    with pytest.warns(SpatialfmWarning, match=r"2 of 2 neighborhoods .*'B of A', 'M of A'.* in fewer than 5 patients"):
        found = sfm.tl.score_signatures(cells, favorable=["A"], cluster_key="type").uns["neighborhood"]
    assert found[["p_cells", "q_cells", "p_patients", "q_patients"]].isna().all().all()
    assert not found["significant"].any()


def test_refusals():
    cells = cohort()
    for arguments, message in [
        ({"key": "none"}, "No signatures 'none' in obsm"),
        ({}, "Which of 'A', 'B' are favorable"),
        ({"favorable": ["C"]}, "favorable= names 'C'"),
        ({"favorable": ["A"], "cuts": (2, -1)}, "must rise"),
        ({"favorable": ["A"], "cut_points_from": "discovery"}, "has no cut points"),
        ({"favorable": ["A"], "area": {"S0": 1.0}}, "area= lacks samples 'S1'"),
        ({"favorable": ["A"], "area": dict.fromkeys(cells.obs["sample"], 0.0)}, "area= of 'S0'.* is 0"),
    ]:
        with pytest.raises(TableError, match=message):
            sfm.tl.score_signatures(cells, **arguments)


def test_there_are_no_densities_of_pixels():
    cells = cohort()
    cells.uns["spatialfm"] = {"table": {"unit": "µm"}}
    known = sfm.tl.score_signatures(cells, favorable=["A"])
    cells.uns["spatialfm"] = {"table": {"unit": "pixel"}}
    with pytest.warns(SpatialfmWarning, match="positions are in pixels, so that areas and densities are not known"):
        patients = sfm.tl.score_signatures(cells, favorable=["A"])
    assert "area" not in patients.obs
    assert "density" not in patients.layers
    area = dict.fromkeys(cells.obs["sample"].unique(), 0.01)
    given = sfm.tl.score_signatures(cells, favorable=["A"], area=area)
    np.testing.assert_allclose(given.layers["density"], known.layers["density"])


def test_the_area_is_that_of_x_and_y_of_the_cells_that_have_them():
    cells = cohort()  # squares of 100 µm
    rng = np.random.default_rng(1)
    cells.obsm["spatial"] = np.c_[cells.obsm["spatial"], rng.uniform(0, 5, cells.n_obs)]
    cells.obsm["spatial"][[50, 150]] = np.nan
    patients = sfm.tl.score_signatures(cells, favorable=["A"])
    np.testing.assert_allclose(patients.obs["area"], 0.01)
    np.testing.assert_allclose(patients[:, "A"].layers["density"].ravel(), np.array([0, 10, 20, 30, 40, 50]) / 0.01)


def test_cells_on_a_line_have_no_densities_and_a_warning_says_so():
    cells = cohort()
    cells.obsm["spatial"][200:300, 1] = 7
    with pytest.warns(SpatialfmWarning, match="Cells of sample 'S2' are fewer than three .* or on a line: areas"):
        patients = sfm.tl.score_signatures(cells, favorable=["A"])
    assert "area" not in patients.obs
    assert "density" not in patients.layers
