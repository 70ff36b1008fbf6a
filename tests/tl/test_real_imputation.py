"""Floors and intervals of imputation on published breast and lymphoid tissue, by patient."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from anndata import AnnData
from scipy import stats
from sklearn.linear_model import RidgeCV

import spatialfm as sfm
from spatialfm._errors import TableError
from spatialfm.learn.floors import patient_folds

pytestmark = pytest.mark.real_data


@pytest.fixture(scope="module")
def folder(real_data) -> Path:
    if not (real_data / "dcis_mibi").is_dir() or not (real_data / "bnhl_codex").is_dir():
        pytest.skip("no DCIS or B-NHL images")
    return real_data


@pytest.fixture(scope="module")
def patient_of(folder) -> pd.Series:
    """Patient of each DCIS field that has one."""
    return pd.read_csv(folder / "dcis_mibi/clinical_core.csv").set_index("fov")["Patient_ID"].astype(str)


@pytest.fixture(scope="module")
def cells(folder, patient_of) -> AnnData:
    """12,000 cells of 66 patients with 22 markers."""
    table = pd.read_parquet(folder / "dcis_mibi/cells_fusesom_risom_dat_inferred_fov.parquet")
    table = table.assign(patient=table["fov_inferred"].astype(str).map(patient_of)).dropna(subset="patient")
    table = table.iloc[np.sort(np.random.default_rng(0).permutation(len(table))[:12_000])]
    values = table.drop(columns=["fov_inferred", "CellType", "patient"])
    obs = pd.DataFrame({"patient": table["patient"].to_numpy()}, index=table.index.astype(str))
    return AnnData(values.to_numpy(float), obs=obs, var=pd.DataFrame(index=values.columns))


def r_of(scores: pd.DataFrame, marker: str = "all") -> pd.Series:
    return scores.query("marker == @marker and score == 'r'").set_index("method")["mean"]


def test_intervals_hold_the_cells_of_patients_who_were_not_stained(cells):
    """Mean over drawn thirds of the patients, of which one alone is off by some per cent."""
    hidden, names, held = ["CD8", "CD68", "VIM", "CD45"], np.unique(cells.obs["patient"]), []
    truth = cells[:, hidden].to_df()
    for seed in range(3):
        table = cells.copy()
        chosen = np.random.default_rng(seed).permutation(names)[: len(names) // 3]
        new = table.obs["patient"].isin(chosen).to_numpy()
        table.X[np.ix_(new, table.var_names.get_indexer(hidden))] = np.nan
        sfm.tl.impute_markers(table, markers=hidden, method="linear", space="intensity")
        sfm.tl.calibrate_imputation(table, n_levels=3, n_bootstrap=0, n_permutations=0)
        inside = (truth >= table.obsm["X_imputed_lower"]) & (truth <= table.obsm["X_imputed_upper"])
        held.append(inside[new].groupby(table.obs["patient"][new].to_numpy()).mean().mean().mean())
    assert 0.87 <= np.mean(held) <= 0.93


@pytest.mark.slow
def test_floors_of_cells_by_patient(cells):
    """Regression is that of scikit-learn, and passes the marker most correlated; nearest cells lie between."""
    scores = sfm.tl.evaluate_reconstruction(cells, n_cells=30, n_bootstrap=200)
    r = r_of(scores)
    assert r["linear"] > r["knn"] > r["correlated"] > 0.3
    low = scores.query("marker == 'all' and score == 'r' and method == 'linear'")["low"].item()
    assert low > r["correlated"]
    kept = cells.uns["reconstruction"]["patients"].query("marker == 'CD45' and method == 'linear'")
    few = cells[np.isin(cells.obs["patient"], kept["patient"])].copy()
    whole = sfm.tl.evaluate_reconstruction(few, markers=["CD45"], methods=["linear"], n_cells=10_000, n_bootstrap=0)
    x = few[:, [name for name in few.var_names if name != "CD45"]].X
    y, patients = few[:, "CD45"].X.ravel(), few.obs["patient"].astype(str).to_numpy()
    predicted = np.empty(len(y))
    for train, test in patient_folds(patients, 4, 0):
        mean, sd = x[train].mean(axis=0), x[train].std(axis=0)
        model = RidgeCV(alphas=len(train) * 10.0 ** np.arange(-6, 3)).fit((x[train] - mean) / sd, y[train])
        predicted[test] = model.predict((x[test] - mean) / sd)
    sizes = pd.Series(patients).value_counts()
    of = [patients == name for name in sizes.index[sizes >= 10]]
    expected = np.nanmean([stats.pearsonr(y[rows], predicted[rows]).statistic for rows in of])
    assert r_of(whole, "CD45")["linear"] == pytest.approx(expected, abs=0.005)


@pytest.mark.slow
def test_thirty_nine_channels_of_images_by_patient(folder, patient_of):
    """Squares of 16 pixels of six fields; T cell markers tell of each other, FOXP3 and Ki67 of nothing."""
    channels = (folder / "dcis_mibi/channels.txt").read_text().split()
    values, patients = [], []
    for field in sorted(patient_of.index)[:6]:
        image = tifffile.imread(next((folder / "dcis_mibi/images").glob(f"{field}*"))).astype(np.float32)
        squares = image.reshape(39, 64, 16, 64, 16).mean(axis=(2, 4)).reshape(39, -1).T
        values.append(squares[np.random.default_rng(0).permutation(len(squares))[:150]])
        patients += [patient_of[field]] * 150
    obs = pd.DataFrame({"patient": patients}, index=[str(i) for i in range(len(patients))])
    table = AnnData(np.concatenate(values), obs=obs, var=pd.DataFrame(index=channels))
    scores = sfm.tl.evaluate_reconstruction(table, n_bootstrap=200)
    assert scores["marker"].nunique() == 40
    linear = scores.query("score == 'r' and method == 'linear'").set_index("marker")["mean"]
    assert linear[["CD3", "CD4", "PanKRT", "CK7"]].min() > 0.5
    assert linear[["FOXP3", "Ki67"]].max() < 0.35
    assert scores.query("marker == 'all' and score == 'r'").set_index("method")["mean"]["linear"] > 0.25


@pytest.mark.slow
def test_fifty_six_channels_of_lymphoid_tissue_by_quadrant(folder):
    """One field: quadrants take the place of patients, and one patient alone is refused."""
    sdata = sfm.io.read_tiff(
        folder / "bnhl_codex/images/crop501_56ch.ome.tif", folder / "bnhl_codex/masks/crop501_cellmask.tif", mpp=0.377
    )
    sfm.pp.cell_table(sdata)
    table = sdata["table"]
    places = table.obsm["spatial"]
    halves = (places > np.median(places, axis=0)).astype(int)
    table.obs["quadrant"] = [f"{x}{y}" for x, y in halves]
    scores = sfm.tl.evaluate_reconstruction(sdata, patient_key="quadrant", n_bootstrap=200)
    r = r_of(scores)
    assert scores["marker"].nunique() == 57
    assert r["linear"] > r["correlated"] > 0.3
    assert r["knn"] > 0.3
    table.obs["patient"] = "one"
    with pytest.raises(TableError, match="All cells are of one patient"):
        sfm.tl.evaluate_reconstruction(sdata)
