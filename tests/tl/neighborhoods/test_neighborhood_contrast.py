"""Neighbours inside against outside."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import stats
from statsmodels.stats.proportion import proportions_ztest

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning, TableError


def cohort(n_patients=12, n_cells=200, effect=0.0, seed=0):
    """Cells on a line; around T cells of the right half, B cells are more frequent by `effect`."""
    rng, parts = np.random.default_rng(seed), []
    for patient in range(n_patients):
        x = np.arange(n_cells, dtype=float)
        right = x >= n_cells / 2
        share = np.where(right, 0.3 + effect, 0.3) + rng.normal(0, 0.05)
        types = np.where(rng.random(n_cells) < share, "B", np.where(rng.random(n_cells) < 0.5, "T", "tumor"))
        parts.append(pd.DataFrame({"type": types, "right": right, "x": x, "patient": f"P{patient:02d}"}))
    obs = pd.concat(parts, ignore_index=True)
    obs["sample"] = obs["patient"]
    obs.index = obs.index.astype(str)
    return AnnData(obs=obs, obsm={"spatial": np.stack([obs["x"], np.zeros(len(obs))], axis=1)})


def test_shares_and_tests_are_those_of_other_libraries():
    cells = cohort(effect=0.1)
    sfm.tl.neighborhood_contrast(cells, "type", cell_type="T", within="right", n_neighbors=2)
    table = cells.uns["neighborhood_contrast"]["table"]
    counts = {True: {}, False: {}}
    per_patient = {}
    for patient, part in cells.obs.groupby("patient", observed=True):
        types, right = part["type"].to_numpy(), part["right"].to_numpy()
        for i in np.flatnonzero(types == "T"):
            near = [1, 2] if i == 0 else [len(types) - 2, len(types) - 3] if i == len(types) - 1 else [i - 1, i + 1]
            for j in near:
                counts[bool(right[i])][types[j]] = counts[bool(right[i])].get(types[j], 0) + 1
                key = (patient, bool(right[i]))
                per_patient.setdefault(key, []).append(types[j])
    totals = {side: sum(found.values()) for side, found in counts.items()}
    for name in ("B", "T", "tumor"):
        one, two = counts[True][name], counts[False][name]
        assert table.loc[name, "inside"] == pytest.approx(one / totals[True])
        z, p = proportions_ztest([one, two], [totals[True], totals[False]])
        assert table.loc[name, "z"] == pytest.approx(z)
        assert table.loc[name, "p_cells"] == pytest.approx(p)
        number = {key: sum(kind == name for kind in kinds) for key, kinds in per_patient.items()}
        repeats = 1 + (2 - 1) * (counts[True]["T"] + counts[False]["T"]) / sum(totals.values())
        observed, expected, variance, ratio = [], [], [], np.zeros(2)
        for patient in sorted({k[0] for k in number}):
            n = {side: len(per_patient[patient, side]) for side in (True, False)}
            a, c = number[patient, True], number[patient, False]
            law = stats.hypergeom(n[True] + n[False], a + c, n[True])
            size = max(n[True] / 2, 20)  # two neighbours a cell
            observed.append(a / size)
            expected.append(law.mean() / size)
            variance.append(repeats * law.var() / size**2)
            ratio += np.array([a * n[False], c * n[True]]) / (n[True] + n[False]) / size
        observed, expected = np.array(observed), np.array(expected)
        total, scale = (observed - expected).sum(), observed.sum() / expected.sum()
        linearised = np.sqrt(12 / 11 * ((observed - scale * expected) ** 2).sum())
        student = 2 * stats.t.sf(abs(total) / linearised, 11)
        normal = 2 * stats.norm.sf(abs(total) / np.sqrt(np.sum(variance)))
        assert table.loc[name, "p_patients"] == pytest.approx(max(student, normal))
        assert table.loc[name, "change_patients"] == pytest.approx(ratio[0] / ratio[1] - 1)
        change = (one / totals[True]) / (two / totals[False]) - 1
        assert table.loc[name, "relative_change"] == pytest.approx(change)
    np.testing.assert_allclose(table["q_patients"], stats.false_discovery_control(table["p_patients"]))


def test_a_planted_contrast_is_found_and_none_where_there_is_none():
    planted = sfm.tl.neighborhood_contrast(
        cohort(effect=0.25), "type", cell_type="T", within="right", n_neighbors=4, copy=True
    )
    assert planted.loc["B", "significant"]
    assert planted.loc["B", "relative_change"] > 0.2
    p = [
        sfm.tl.neighborhood_contrast(
            cohort(seed=seed, n_cells=60), "type", cell_type="T", within="right", n_neighbors=4, copy=True
        ).loc["B", "p_patients"]
        for seed in range(40)
    ]
    assert np.mean(np.array(p) < 0.05) <= 0.15
    assert 0.3 < np.mean(p) < 0.7


def test_few_patients_are_told_and_sides_without_cells_refused():
    cells = cohort(n_patients=3)
    with pytest.warns(SpatialfmWarning, match=r"3 patients have cells both"):
        table = sfm.tl.neighborhood_contrast(cells, "type", cell_type="T", within="right", copy=True)
    assert table[["p_patients", "p_cells", "q_cells"]].isna().all().all()
    assert not table["significant"].any()
    cells = cohort(effect=0.25)
    with pytest.warns(SpatialfmWarning, match="nothing is called significant"):
        by_cells = sfm.tl.neighborhood_contrast(
            cells, "type", cell_type="T", within="right", n_neighbors=4, patient_key=None, copy=True
        )
    assert by_cells.loc["B", "p_cells"] < 1e-6  # the published recipe, asked for
    assert not by_cells["significant"].any()
    cells = cohort(n_patients=3)
    cells.obs["none"] = False
    cells.obs["kind"] = "a"
    for arguments, message in [
        ({"cell_type": "NK", "within": "right"}, "No cell type 'NK'"),
        ({"cell_type": "T", "within": "none"}, "No cell of type 'T' is inside of 'none'"),
        ({"cell_type": "T", "within": "kind"}, r"not true or false. Pass inside="),
        ({"cell_type": "T", "within": "kind", "inside": "b"}, "No category 'b'"),
        (
            {"cell_type": "T", "within": "right", "n_neighbors": 500},
            "3 of 3 libraries have too few cells for n_neighbors=500",
        ),
    ]:
        with pytest.raises(TableError, match=message):
            sfm.tl.neighborhood_contrast(cells, "type", **arguments)


def test_patients_with_many_cells_do_not_turn_a_difference_round():
    """B cells are rarer inside in each of ten patients; an eleventh, huge one has more of both: Simpson's paradox."""
    rng, parts = np.random.default_rng(0), []
    for patient in range(11):
        n_in, n_out, share_in, share_out = (3000, 60, 0.62, 0.6) if patient == 10 else (60, 400, 0.1, 0.25)
        x = np.arange(n_in + n_out, dtype=float)
        inside = x < n_in
        types = np.where(rng.random(len(x)) < np.where(inside, share_in, share_out), "B", "T")
        parts.append(pd.DataFrame({"type": types, "inside": inside, "x": x, "patient": f"P{patient:02d}"}))
    obs = pd.concat(parts, ignore_index=True)
    obs["sample"], obs.index = obs["patient"], obs.index.astype(str)
    cells = AnnData(obs=obs, obsm={"spatial": np.stack([obs["x"], np.zeros(len(obs))], axis=1)})
    with pytest.warns(SpatialfmWarning, match="differ over patients, but the other way round over all cells"):
        table = sfm.tl.neighborhood_contrast(cells, "type", cell_type="T", within="inside", n_neighbors=4, copy=True)
    assert table.loc["B", "relative_change"] > 0 > table.loc["B", "change_patients"]
    assert table.loc["B", "p_patients"] < 0.05
    assert not table.loc["B", "significant"]


def test_a_signature_is_a_column_of_obsm():
    cells = cohort(effect=0.25)
    cells.obsm["signatures"] = pd.DataFrame({"RS1": cells.obs["right"], "RS2": ~cells.obs["right"]})
    options = {"cell_type": "T", "n_neighbors": 4, "copy": True}
    found = sfm.tl.neighborhood_contrast(cells, "type", within="RS1", **options)
    pd.testing.assert_frame_equal(found, sfm.tl.neighborhood_contrast(cells, "type", within="right", **options))
    cells.obsm["others"] = cells.obsm["signatures"]
    with pytest.raises(
        TableError, match=r"'RS1' \(within=\) is a column of several tables of obsm, 'signatures', 'oth"
    ):
        sfm.tl.neighborhood_contrast(cells, "type", within="RS1", **options)
    with pytest.raises(TableError, match=r"No column 'RS3' in obs \(within=\)"):
        sfm.tl.neighborhood_contrast(cells, "type", within="RS3", **options)


@pytest.mark.parametrize("kept_as", ["boolean", "category"])
def test_cells_of_which_the_side_is_not_known_are_on_neither(kept_as):
    cells = sfm.datasets.simulate_cells(n_patients=6, cells_per_patient=100, random_state=0)
    inside, unknown = np.random.default_rng(0).random((2, cells.n_obs)) < [[0.4], [0.2]]
    column = pd.Series(pd.array(inside, dtype="boolean"), index=cells.obs_names)
    column[unknown] = pd.NA
    if kept_as == "category":
        column = column.map({True: "nest", False: "else"}).astype("category")
    cells.obs["side"] = column
    n = int((unknown & (cells.obs["type"] == "Tumor")).sum())
    with pytest.warns(SpatialfmWarning, match=f"{n} cells of type 'Tumor' without a value in 'side' left out"):
        sfm.tl.neighborhood_contrast(
            cells, "type", cell_type="Tumor", within="side", inside="nest" if kept_as == "category" else None
        )
    params, tumor = cells.uns["neighborhood_contrast"]["params"], (cells.obs["type"] == "Tumor").to_numpy()
    assert params["n_inside"] == (tumor & inside & ~unknown).sum()
    assert params["n_outside"] == (tumor & ~inside & ~unknown).sum()


def test_without_patients_the_way_on_is_named():
    cells = cohort(n_patients=3)
    del cells.obs["patient"]
    with pytest.raises(TableError, match=r"No column 'patient' in obs.*or patient_key=None for shares without a test"):
        sfm.tl.neighborhood_contrast(cells, "type", cell_type="T", within="right", n_neighbors=2)
    with pytest.warns(SpatialfmWarning, match="patient_key=None: p_cells take neighbours for independent draws"):
        sfm.tl.neighborhood_contrast(cells, "type", cell_type="T", within="right", n_neighbors=2, patient_key=None)
    assert cells.uns["neighborhood_contrast"]["table"]["inside"].notna().all()
