"""Intervals of imputed markers against the truth of unseen patients; scores by hand; what is refused."""

from __future__ import annotations

import json
import warnings
from importlib import import_module

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from skimage.metrics import structural_similarity
from sklearn.linear_model import RidgeCV
from sklearn.metrics import f1_score
from spatialdata.models import Image2DModel

import spatialfm as sfm
from spatialfm._errors import PanelError, SpatialfmWarning, TableError
from spatialfm._fingerprint import changed_since
from spatialfm._storable import write_obsm
from spatialfm.learn.imputers import fit_imputer

HIDDEN = ["CD8", "CD20", "Ki67"]


def impute(
    cells: ad.AnnData, method: str = "linear", hidden=HIDDEN, source: ad.AnnData | None = None, **record
) -> None:
    """What `sfm.tl.impute_markers` writes of a floor: fitted to cells in which the markers were measured."""
    source = cells if source is None else source
    seen = [name for name in cells.var_names if name not in hidden]
    targets = np.asarray(source[:, hidden].X, dtype=float)
    rows = np.isfinite(targets).all(axis=1)
    x = np.asarray(source[:, seen].X, dtype=float)[rows]
    fitted = fit_imputer(method, x, targets[rows], source.obs["patient"].astype(str).to_numpy()[rows])
    values = np.maximum(fitted.predict(np.asarray(cells[:, seen].X, dtype=float)), 0)
    write_obsm(cells, "X_imputed", pd.DataFrame(values, index=cells.obs_names, columns=hidden))
    notes = {"method": method, "model": "", "seen": json.dumps(seen), "imputed": json.dumps(list(hidden))}
    cells.uns.setdefault("spatialfm", {})["X_imputed"] = {**notes, "space": "intensity", **record}


def cohort(
    n_stained: int, n_new: int, *, seed: int = 0, n_cells: int = 60
) -> tuple[ad.AnnData, pd.DataFrame, np.ndarray]:
    """Cells of which patients drawn at random were not stained for three markers; the truth; whose cells these are."""
    n = n_stained + n_new
    cells = sfm.datasets.simulate_cells(n_patients=n, cells_per_patient=n_cells, random_state=seed)
    truth = cells[:, HIDDEN].to_df()
    new = np.isin(cells.obs["patient"].cat.codes.to_numpy(), np.random.default_rng(seed).permutation(n)[:n_new])
    values = np.array(cells.X)
    values[np.ix_(new, cells.var_names.get_indexer(HIDDEN))] = np.nan
    cells.X = values
    impute(cells)
    return cells, truth, new


@pytest.fixture(scope="module")
def calibrated():
    cells, truth, new = cohort(16, 6)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialfmWarning)
        summary = sfm.tl.calibrate_imputation(cells, n_bootstrap=200, n_permutations=199)
    return cells, truth, new, summary


@pytest.mark.parametrize("options", [{}, {"n_levels": 3}])
def test_ninety_percent_intervals_hold_ninety_percent_of_the_cells_of_unseen_patients(options):
    """Mean over cohorts, of 20 patients calibrated on each, as one cohort of 20 is off by some per cent itself."""
    held = []
    for seed in range(4):
        cells, truth, new = cohort(20, 20, seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SpatialfmWarning)
            sfm.tl.calibrate_imputation(cells, n_bootstrap=0, n_permutations=0, **options)
        low, high = cells.obsm["X_imputed_lower"], cells.obsm["X_imputed_upper"]
        held.append(((truth >= low) & (truth <= high))[new].to_numpy().mean())
    assert 0.88 <= np.mean(held) <= 0.92


def test_intervals_are_where_nothing_was_measured_and_around_what_was_imputed(calibrated):
    cells, _, new, _ = calibrated
    values, low, high = (cells.obsm[key] for key in ("X_imputed", "X_imputed_lower", "X_imputed_upper"))
    assert low.columns.tolist() == high.columns.tolist() == HIDDEN
    assert low[~new].isna().all(axis=None)
    assert high[~new].isna().all(axis=None)
    levels = cells.uns["imputation_calibration"]["levels"].set_index("marker")
    half = levels["half_width"][HIDDEN].to_numpy()
    np.testing.assert_allclose(high[new], values[new] + half)
    np.testing.assert_allclose(low[new], np.maximum(values[new] - half, 0))
    assert (low[new] == 0).any(axis=None)


def test_scores_are_of_patients_predicted_by_a_fit_to_others(calibrated):
    """Against scikit-learn, folds of patients drawn again by hand; its penalty is that of single cells."""
    cells, _, new, summary = calibrated
    stained = cells[~new]
    x = stained[:, [name for name in cells.var_names if name not in HIDDEN]].to_df().to_numpy(float)
    y = stained[:, "CD8"].to_df()["CD8"].to_numpy(float)
    patients = stained.obs["patient"].astype(str).to_numpy()
    names = np.unique(patients)
    fold_of = dict(zip(names, np.random.default_rng(0).permutation(len(names)) % 10, strict=True))
    folds = np.array([fold_of[name] for name in patients])
    predicted = np.empty(len(y))
    for fold in range(10):
        train = folds != fold
        mean, sd = x[train].mean(axis=0), x[train].std(axis=0)
        model = RidgeCV(alphas=train.sum() * 10.0 ** np.arange(-6, 3)).fit((x[train] - mean) / sd, y[train])
        predicted[~train] = model.predict((x[~train] - mean) / sd).clip(0)
    of = {name: patients == name for name in names}
    r = np.mean([stats.pearsonr(y[rows], predicted[rows]).statistic for rows in of.values()])
    rho = np.mean([stats.spearmanr(y[rows], predicted[rows]).statistic for rows in of.values()])
    f1 = np.nanmean([f1_score(y[rows] > y.mean(), predicted[rows] > y.mean()) for rows in of.values()])
    mse = np.mean([((y - predicted)[rows] ** 2).mean() for rows in of.values()])
    found = summary.loc["CD8"].astype(float, errors="ignore")
    assert found["r"] == pytest.approx(r, abs=0.01)
    assert found["spearman"] == pytest.approx(rho, abs=0.02)
    assert found["f1"] == pytest.approx(f1, abs=0.02)
    assert found["mse"] == pytest.approx(mse, rel=0.03)
    assert found["r_low"] < found["r"] < found["r_high"]
    assert found["coverage"] == pytest.approx(0.9, abs=0.01)
    assert (found["n_patients"], found["n_cells"], found["n_new_patients"]) == (16, 960, 6)
    each = cells.uns["imputation_calibration"]["patients"].query("marker == 'CD8'")
    assert each["patient"].tolist() == names.tolist()
    assert each["r"].mean() == pytest.approx(found["r"])


def test_values_of_a_model_are_taken_as_they_are():
    """The model did not see the marker: residuals are those of its values, in patients who were stained."""
    cells, truth, new = cohort(12, 4)
    noise = np.random.default_rng(0).normal(size=truth.shape)
    values = truth + noise * [1.0, 20.0, 5.0]
    write_obsm(cells, "X_imputed", values)
    cells.uns["spatialfm"]["X_imputed"]["method"] = "model"
    sfm.tl.calibrate_imputation(cells, coverage=0.8, n_bootstrap=0)
    half = cells.uns["imputation_calibration"]["levels"].set_index("marker")["half_width"]
    z = stats.norm.ppf(0.9)
    np.testing.assert_allclose(half[HIDDEN], z * np.array([1.0, 20.0, 5.0]), rtol=0.15)
    # the same where patients who were stained are in a table of their own
    source, target = cells[~new].copy(), cells[new].copy()
    sfm.tl.calibrate_imputation(target, source, coverage=0.8, n_bootstrap=0)
    pd.testing.assert_frame_equal(target.obsm["X_imputed_upper"], cells.obsm["X_imputed_upper"][new])


def test_a_source_of_its_own_gives_what_one_table_gives():
    cells, _, new = cohort(12, 4)
    source, target = cells[~new].copy(), cells[new, [n for n in cells.var_names if n != "Ki67"]].copy()
    del source.obsm["X_imputed"]
    one, two = sfm.tl.calibrate_imputation(cells), sfm.tl.calibrate_imputation(target, source)
    pd.testing.assert_frame_equal(one, two)
    pd.testing.assert_frame_equal(target.obsm["X_imputed_lower"], cells.obsm["X_imputed_lower"][new])


def test_other_values_than_those_imputed_from_are_refused_and_old_intervals_go():
    cells = cohort(8, 3)[0]
    sfm.tl.impute_markers(cells, markers=["CD8"], method="linear", space="intensity")
    sfm.tl.calibrate_imputation(cells, n_bootstrap=0, n_permutations=0)
    logged = cells.copy()
    logged.X = np.log1p(logged.X)
    few = cells[cells.obs["patient"].cat.codes < 9].copy()
    other = sfm.datasets.simulate_cells(n_patients=5, cells_per_patient=30, random_state=9)
    other.obs["patient"] = "other " + other.obs["patient"].astype(str)
    for data, source in ((logged, None), (few, None), (cells, other)):
        with pytest.raises(TableError, match="'CD8' was imputed from 480 cells in which its mean is"):
            sfm.tl.calibrate_imputation(data, source)
    assert "X_imputed_upper" in cells.obsm
    sfm.tl.impute_markers(cells, markers=["CD8"], method="knn", space="intensity")
    assert not {"X_imputed_lower", "X_imputed_upper"} & set(cells.obsm)  # of the values before


def test_standardised_floors_are_the_same_in_other_units(calibrated):
    """Less the mean of what was fitted on, divided by its standard deviation, as `impute_markers` does by default."""
    cells, _, new, before = calibrated
    cells = cells.copy()
    fitted = cells[~new, HIDDEN].to_df()
    mean, sd = fitted.mean(), fitted.std(ddof=0)
    cells.obsm["X_imputed"] = (cells.obsm["X_imputed"] - mean) / sd
    cells.uns["spatialfm"]["X_imputed"]["space"] = "standardised"
    found = sfm.tl.calibrate_imputation(cells, n_bootstrap=200, n_permutations=199)
    for score in ("r", "spearman", "f1", "coverage", "shift_p"):
        np.testing.assert_allclose(found[score].astype(float), before[score].astype(float), rtol=1e-6)
    np.testing.assert_allclose(found["mse"].astype(float), before["mse"].astype(float) / sd**2, rtol=1e-5)
    upper = calibrated[0].obsm["X_imputed_upper"]
    np.testing.assert_allclose(cells.obsm["X_imputed_upper"], (upper - mean) / sd, rtol=1e-4, atol=1e-4)


def test_a_table_of_a_spatialdata_is_the_same(calibrated):
    from spatialdata import SpatialData

    cells = calibrated[0].copy()
    for key in ("X_imputed_lower", "X_imputed_upper"):
        del cells.obsm[key]
    sdata = SpatialData(tables={"table": cells})
    pd.testing.assert_frame_equal(
        sfm.tl.calibrate_imputation(sdata, n_bootstrap=200, n_permutations=199), calibrated[3]
    )
    assert "X_imputed_lower" in sdata["table"].obsm


def test_what_impute_markers_writes_is_calibrated():
    """The floor as a user makes it, standardised as it is by default; and the same values as those made here."""
    cells, truth, new = cohort(16, 6)
    by_hand = cells.obsm["X_imputed"]
    sfm.tl.impute_markers(cells, markers=HIDDEN, method="linear", space="intensity")
    np.testing.assert_allclose(cells.obsm["X_imputed"][new], by_hand[new], rtol=1e-6)
    sfm.tl.impute_markers(cells, markers=HIDDEN, method="knn")
    found = sfm.tl.calibrate_imputation(cells, n_bootstrap=0)
    assert (found["coverage"].astype(float) > 0.88).all()
    fitted = truth[~new]
    inside = (truth - fitted.mean()) / fitted.std(ddof=0)
    inside = (inside >= cells.obsm["X_imputed_lower"]) & (inside <= cells.obsm["X_imputed_upper"])
    assert 0.8 < inside[new].to_numpy().mean() < 0.97


def test_images_of_a_model_have_similarity_and_pixels_and_channels_by_the_names_of_markers():
    """Predicted pixels are set by hand at half the resolution; channel Ki67 is the marker Ki-67."""
    sdata = sfm.datasets.simulate_cohort(n_patients=3, n_samples=1, image_size=64, random_state=0, difficulty="easy")
    sfm.pp.cell_table(sdata)
    table, rng = sdata["table"], np.random.default_rng(0)
    table.var_names = [{"Ki-67": "Ki67"}.get(name, name) for name in table.var_names]
    table.obsm["X_imputed"] = pd.DataFrame({"Ki-67": table[:, "Ki67"].to_df()["Ki67"] * 1.1 + 3})
    notes = {"method": "model", "seen": json.dumps(["CD3"]), "imputed": '["Ki-67"]', "space": "intensity"}
    table.uns.setdefault("spatialfm", {})["X_imputed"] = notes
    pairs, records = {}, sdata.attrs.setdefault("spatialfm", {}).setdefault("imputed", {})
    for sample in ("P001_1", "P002_1", "P003_1"):
        image = sdata[f"image_{sample}"]
        pixels = np.asarray(image.sel(c="Ki67").data, dtype=float).reshape(32, 2, 32, 2).mean(axis=(1, 3))
        predicted = pixels + 30 * rng.normal(size=pixels.shape)
        name = f"image_{sample}_imputed"
        sdata[name] = Image2DModel.parse(predicted[None], dims=("c", "y", "x"), c_coords=["Ki-67"])
        records[name] = {"of": f"image_{sample}", "sample": sample, "record": json.dumps(notes)}
        pairs[sample] = pixels, predicted
    with pytest.warns(SpatialfmWarning, match="rest on 3 patients"):
        found = sfm.tl.calibrate_imputation(sdata, coverage=0.8)
    assert found.loc["Ki-67", "r"] == pytest.approx(1)
    r = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in pairs.values()]
    assert found.loc["Ki-67", "r_pixel"] == pytest.approx(np.mean(r), rel=1e-4)
    f1 = [f1_score(a.ravel() > a.mean(), b.ravel() > a.mean()) for a, b in pairs.values()]
    assert found.loc["Ki-67", "f1_pixel"] == pytest.approx(np.mean(f1), rel=1e-4)
    similar = []
    for one, two in pairs.values():
        low, high = one.min(), np.percentile(one, 99.9)
        similar.append(structural_similarity(one.clip(low, high), two.clip(low, high), data_range=high - low))
    assert found.loc["Ki-67", "ssim"] == pytest.approx(np.mean(similar), rel=1e-3)
    assert len(table.uns["imputation_calibration"]["images"]) == 3
    for name in [name for name in sdata.images if name.endswith("_imputed")]:
        del sdata.images[name]  # its record stays
    with pytest.warns(SpatialfmWarning, match="rest on 3 patients"):
        left = sfm.tl.calibrate_imputation(sdata, coverage=0.8, n_bootstrap=0)
    assert left.loc["Ki-67", "r"] == pytest.approx(1)
    assert "r_pixel" not in left


def test_new_patients_who_differ_are_named():
    cells, _, new = cohort(16, 4)
    values = np.array(cells.X)
    values[new, cells.var_names.get_loc("CD68")] *= 6
    cells.X = values
    with pytest.warns(SpatialfmWarning, match=r"New patients differ .* furthest apart in 'CD68'\)"):
        summary = sfm.tl.calibrate_imputation(cells, n_bootstrap=0)
    assert (summary["shift_p"].astype(float) <= 0.01).all()
    each = cells.uns["imputation_calibration"]["shift"]
    assert len(each) == 3 * 4
    assert (each["p_value"] >= 1 / 17).all()
    assert set(each.loc[each["p_value"] < 0.06, "furthest"]) == {"CD68"}


def test_patients_alike_are_not_said_to_differ(calibrated):
    summary = calibrated[3]
    assert (summary["shift_p"].astype(float) > 0.05).all()


def test_thresholds_of_positivity_are_used_by_sample(calibrated):
    cells, _, new, before = calibrated
    cells = cells.copy()
    samples = cells.obs["sample"].cat.categories
    limits = pd.DataFrame({"CD8": np.where(np.arange(len(samples)) % 2, 20.0, 60.0)}, index=samples.astype(str))
    cells.uns["positive"] = {"thresholds": limits}
    found = sfm.tl.calibrate_imputation(cells, markers="CD8", positive_key="positive", n_bootstrap=0)
    assert found.loc["CD8", "f1"] != before.loc["CD8", "f1"]
    assert found.loc["CD8", "r"] == pytest.approx(before.loc["CD8", "r"])
    with pytest.raises(PanelError, match="no thresholds of 'CD20'"):
        sfm.tl.calibrate_imputation(cells, positive_key="positive")
    cells.uns["positive"] = {"thresholds": limits.iloc[1:]}
    with pytest.raises(TableError, match=f"no thresholds of sample '{samples[0]}'"):
        sfm.tl.calibrate_imputation(cells, markers="CD8", positive_key="positive")


def test_thresholds_of_other_intensities_are_named(calibrated):
    cells = calibrated[0].copy()
    sfm.tl.marker_positivity(cells, markers="CD8", method="gates", gates={"CD8": 30.0})
    options = {"markers": "CD8", "positive_key": "positive", "n_bootstrap": 0, "n_permutations": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialfmWarning)
        sfm.tl.calibrate_imputation(cells, **options)
    assert changed_since(cells, cells.uns["imputation_calibration"], "x", "calibrate_imputation") is None
    cells.obs["sample"] = cells.obs["sample"].cat.reorder_categories(cells.obs["sample"].cat.categories[::-1])
    first, last = cells.obs["sample"].cat.categories[[0, -1]]
    cells.obs["sample"] = cells.obs["sample"].astype(str).replace({first: last, last: first})
    with pytest.warns(SpatialfmWarning, match=r"\(positive_key=\) was made of other data: obs\['sample'\] changed"):
        sfm.tl.calibrate_imputation(cells, **options)
    cells.obsm["X_imputed"] = cells.obsm["X_imputed"] * 2
    words = changed_since(cells, cells.uns["imputation_calibration"], "x", "calibrate_imputation")
    assert "obsm['X_imputed'] changed since" in words


def test_few_patients_are_said():
    cells, _, _ = cohort(5, 2)
    with pytest.warns(SpatialfmWarning, match=r"rest on 5 patients: .* can be promised from 9 patients on"):
        sfm.tl.calibrate_imputation(cells, markers=["CD8"])


def refused(cells, error, match, **kwargs):
    before = set(cells.obsm), set(cells.uns)
    with pytest.raises(error, match=match):
        sfm.tl.calibrate_imputation(cells, **kwargs)
    assert (set(cells.obsm), set(cells.uns)) == before


def test_what_cannot_be_calibrated_is_refused_before_work(monkeypatch):
    module = import_module("spatialfm.tl.imputation.calibrate_imputation")

    def work(*args, **kwargs):
        raise AssertionError("work was begun")

    monkeypatch.setattr(module, "predict_left_out", work)
    cells, _, new = cohort(4, 2)
    stained = cells.obs["patient"].astype(str)[~new].unique()
    values = np.array(cells.X)
    values[:, cells.var_names.get_loc("CD20")] = np.nan
    values[np.ix_((cells.obs["patient"] != stained[0]).to_numpy(), [cells.var_names.get_loc("CD8")])] = np.nan
    cells.X = values
    refused(cells, PanelError, "No patient was stained for 'CD20'", markers="CD20")
    refused(cells, TableError, rf"One patient \('{stained[0]}'\) was stained for 'CD8'", markers="CD8")
    refused(cells, TableError, "coverage=0.9 for a new patient needs 9", markers="Ki67", guarantee=True)
    refused(cells, PanelError, "'CD3' was not imputed", markers="CD3")
    refused(cells, TableError, r"No imputed markers in obsm\['X_no'\]", key="X_no")
    refused(cells, TableError, r"No column 'who' in obs \(patient_key=\)", patient_key="who", markers="Ki67")
    refused(cells, TableError, "was imputed from 'X', not from layer 'counts'", layer="counts", markers="Ki67")
    holed = cells.copy()
    holed.X[3, holed.var_names.get_loc("CD68")] = np.nan
    refused(holed, TableError, "1 cell lacks a marker that others were imputed from, first 'CD68'", markers="Ki67")
    lacking = cells[:, [name for name in cells.var_names if name != "CD68"]].copy()
    refused(lacking, PanelError, "'CD68', which others were imputed from", markers="Ki67")
    notes = cells.uns["spatialfm"]["X_imputed"]
    for change, error, match in (
        ({"method": "model", "space": "standardised"}, TableError, "is standardised, and X is in intensities"),
        ({"layer": "raw"}, TableError, "No layer 'raw'"),
        ({"fitted_on": json.dumps(["a", "b"])}, TableError, "that a regression of pixels predicted"),
        ({"seen": json.dumps(["CD68", "Ki67"])}, PanelError, "'Ki67' was visible when"),
        ({"method": "guess"}, TableError, "was made by 'guess'"),
    ):
        cells.uns["spatialfm"]["X_imputed"] = notes | change
        refused(cells, error, match, markers="Ki67")
    del cells.uns["spatialfm"]["X_imputed"]
    refused(cells, TableError, "no record of how it was imputed", markers="Ki67")


def test_a_model_that_imputed_none_of_the_stained_patients_is_refused():
    cells, _, new = cohort(4, 2)
    cells.uns["spatialfm"]["X_imputed"]["method"] = "model"
    cells.obsm["X_imputed"].loc[~new] = np.nan
    refused(cells, TableError, "stained in some patients and imputed in none of them", markers="Ki67")


def test_a_source_imputed_otherwise_is_refused():
    cells, _, new = cohort(4, 2)
    cells.uns["spatialfm"]["X_imputed"]["method"] = "model"
    source, target = cells[~new].copy(), cells[new].copy()
    source.uns["spatialfm"]["X_imputed"] = source.uns["spatialfm"]["X_imputed"] | {"seen": json.dumps(["CD68"])}
    with pytest.raises(TableError, match="imputed otherwise than that of the data"):
        sfm.tl.calibrate_imputation(target, source)
