"""Reconstruction of cells and images beside floors: scores by hand, a decoder that knows, what is refused."""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.linear_model import RidgeCV
from sklearn.neighbors import KNeighborsRegressor

import spatialfm as sfm
from spatialfm._errors import ArgumentError, ModelError, PanelError, SpatialfmWarning, TableError
from spatialfm.learn.floors import patient_folds

KNOWN = {"markers": ["CD3", "CD20", "CD68", "Ki67"]}
PANEL = {"markers": ["CD3", "CD20", "CD68", "CD8"]}


@pytest.fixture(scope="module")
def cells():
    return sfm.datasets.simulate_cells(n_patients=8, cells_per_patient=60, random_state=0)


@pytest.fixture(scope="module")
def images():
    sdata = sfm.datasets.simulate_cohort(n_patients=3, n_samples=1, image_size=128, random_state=0, difficulty="easy")
    sfm.pp.cell_table(sdata)
    return sdata


@pytest.fixture(scope="module")
def of_images(images):
    encoder = sfm.models.new_encoder("virtues", dim=8, heads=1, depth=2, decoder_depth=1)
    return sfm.tl.evaluate_reconstruction(
        images, encoder, panel=PANEL, markers=["CD20", "CD3"], n_bootstrap=100, n_folds=3, n_pixels=600
    )


def test_scores_of_cells_are_those_of_scikit_learn(cells):
    """Of every floor, in folds of patients; the penalty of single cells makes next to nothing."""
    table = sfm.tl.evaluate_reconstruction(cells, markers=["CD8"], n_bootstrap=100)
    values, patients = np.asarray(cells.X, float), cells.obs["patient"].astype(str).to_numpy()
    place = cells.var_names.get_loc("CD8")
    y, x = values[:, place], np.delete(values, place, axis=1)
    found = {"linear": np.empty(480), "knn": np.empty(480), "correlated": np.empty(480)}
    for train, test in patient_folds(patients, 4, 0):
        mean, sd = x[train].mean(axis=0), x[train].std(axis=0)
        one, two = (x[train] - mean) / sd, (x[test] - mean) / sd
        found["linear"][test] = RidgeCV(alphas=len(train) * 10.0 ** np.arange(-6, 3)).fit(one, y[train]).predict(two)
        found["knn"][test] = KNeighborsRegressor(10).fit(one, y[train]).predict(two)
        best = np.abs([np.corrcoef(column, y[train])[0, 1] for column in one.T]).argmax()
        found["correlated"][test] = np.polyval(np.polyfit(one[:, best], y[train], 1), two[:, best])
    r = table.query("marker == 'CD8' and score == 'r'").set_index("method")["mean"]
    for method, predicted in found.items():
        each = [stats.pearsonr(y[patients == name], predicted[patients == name]).statistic for name in set(patients)]
        assert r[method] == pytest.approx(np.mean(each), abs=0.02 if method == "linear" else 1e-6)
    assert np.isnan(r["mean"])
    kept = cells.uns["reconstruction"]
    assert sorted(set(kept["patients"]["patient"])) == sorted(set(patients))
    assert kept["params"]["modes"] == ["marker"]


def test_images_are_scored_in_three_modes_pixels_and_cells(of_images):
    kinds = of_images[["mode", "unit", "method"]].drop_duplicates()
    of = {key: part["method"].tolist() for key, part in kinds.groupby(["mode", "unit"])}
    assert of == {
        ("independent", "pixel"): ["model", "mean", "correlated", "linear"],
        ("marker", "pixel"): ["model", "mean", "correlated", "linear"],
        ("marker", "cell"): ["model", "mean", "correlated", "linear", "knn"],
        ("niche", "pixel"): ["model", "mean", "linear"],
    }
    assert of_images["marker"].unique().tolist() == ["all", "CD20", "CD3"]
    r = of_images.query("marker == 'all' and score == 'r' and mode == 'marker'").set_index(["unit", "method"])["mean"]
    assert abs(r["pixel", "model"]) < 0.2  # weights are random
    assert r["pixel", "linear"] > 0.3


def test_a_decoder_that_knows_has_no_error(images, monkeypatch):
    """Predicted pixels are those that were measured: hidden ones and cells are matched with their own."""
    from spatialfm.embed.paint.blend import Painting
    from spatialfm.embed.paint.expected import measured_pixels

    blended = Painting._blended

    def known(self, sample, box, slots):
        _, hidden = blended(self, sample, box, slots)
        places = [self.job.targets[slot] for slot in (range(len(self.job.targets)) if slots is None else slots)]
        return measured_pixels(self.job, sample, box)[places], hidden

    monkeypatch.setattr(Painting, "_blended", known)
    encoder = sfm.models.new_encoder("virtues", dim=8, heads=1, depth=2, decoder_depth=1)
    table = sfm.tl.evaluate_reconstruction(
        images, encoder, panel=PANEL, markers=["CD68", "CD20"], n_bootstrap=0, n_folds=3, n_pixels=600, methods=["mean"]
    )
    model = table.query("method == 'model'").set_index(["mode", "unit", "marker", "score"])["mean"]
    np.testing.assert_allclose(model.xs("r", level="score"), 1, atol=1e-5)
    np.testing.assert_allclose(model.xs("mse", level="score"), 0, atol=1e-8)
    np.testing.assert_allclose(model.xs("f1", level="score"), 1)


def test_pixels_are_drawn_with_what_was_hidden_and_the_mean_of_what_is_visible(monkeypatch):
    """Of an image of 130 x 140 pixels, square by square; where nothing is visible, the mean of the marker, 0."""
    module = import_module("spatialfm.tl.imputation.painted_scores")
    rng = np.random.default_rng(0)
    pixels, hidden = rng.normal(size=(2, 130, 140)), rng.random((2, 130, 140)) < 0.6
    hidden[1, :128, 128:] = True

    class Painting:
        job = SimpleNamespace(mean=np.zeros(2), draws=True)

        def shape(self, sample):
            return pixels.shape

        def region(self, sample, box):
            return pixels[:, box[0] : box[1], box[2] : box[3]] + 100

        def hidden(self, sample, box):
            return hidden[:, box[0] : box[1], box[2] : box[3]]

    expected = import_module("spatialfm.embed.paint.expected")
    monkeypatch.setattr(
        expected, "measured_pixels", lambda job, number, box: pixels[:, box[0] : box[1], box[2] : box[3]]
    )
    rows, predicted = module.draw_pixels(Painting(), ["P1"], 40, 0)
    assert len(rows.measured) == 40
    np.testing.assert_allclose(predicted, rows.measured + 100)
    places = [np.argwhere(pixels[0] == value)[0] for value in rows.measured[:, 0]]
    np.testing.assert_array_equal(rows.hidden, [hidden[:, y, x] for y, x in places])
    for (y, x), values in zip(places, rows.visible, strict=True):
        square = (slice(0, 128) if y < 128 else slice(128, 130), slice(0, 128) if x < 128 else slice(128, 140))
        for channel in range(2):
            seen = pixels[channel][square][~hidden[channel][square]]
            assert values[channel] == pytest.approx(seen.mean() if len(seen) else 0)
    for (y, x), values in zip(places, rows.around, strict=True):
        square = (slice(0, 128) if y < 128 else slice(128, 130), slice(0, 128) if x < 128 else slice(128, 140))
        near = [np.exp(-((np.arange(one.stop - one.start) - at + one.start) ** 2) / 128) + 1e-3
                for one, at in zip(square, (y, x), strict=True)]  # fmt: skip
        for channel in range(2):
            weights = np.outer(*near) * ~hidden[channel][square]
            expected_mean = (weights * pixels[channel][square]).sum() / weights.sum() if weights.any() else 0
            assert values[channel] == pytest.approx(expected_mean)


def test_patients_who_are_asked_for_are_scored_alone(cells):
    cells = cells.copy()
    sfm.tl.evaluate_reconstruction(cells, markers=["CD8"], test_patients=["P002", "P005"], methods=["linear"])
    assert sorted(set(cells.uns["reconstruction"]["patients"]["patient"])) == ["P002", "P005"]


def test_a_table_of_a_spatialdata_is_the_same(images):
    of_table = sfm.tl.evaluate_reconstruction(images["table"].copy(), methods=["linear"], n_folds=3, n_bootstrap=0)
    found = sfm.tl.evaluate_reconstruction(images, methods=["linear"], n_folds=3, n_bootstrap=0, key_added="floors")
    assert found.equals(of_table)
    assert "floors" in images["table"].uns


def refused(data, error, match, *args, **kwargs):
    table = data if not hasattr(data, "tables") else data["table"]
    before = set(table.uns)
    with pytest.raises(error, match=match):
        sfm.tl.evaluate_reconstruction(data, *args, **kwargs)
    assert set(table.uns) == before


def test_what_cannot_be_evaluated_is_refused(cells, images, monkeypatch):
    from spatialfm.embed.paint import run

    def work(*args, **kwargs):
        raise AssertionError("work was begun")

    monkeypatch.setattr(run, "with_painting", work)
    tiny = sfm.models.new_encoder("virtues", dim=8, heads=1, depth=2, decoder_depth=1)
    refused(cells, ArgumentError, "'niche', which hides parts of images", modes=["marker", "niche"])
    refused(cells, ArgumentError, "A model predicts from images", tiny)
    refused(cells, ArgumentError, "modes= is empty", modes=[])
    refused(cells, PanelError, "No marker 'CD99' in the table", markers=["CD99"])
    refused(cells, TableError, "No patient 'P100'", test_patients=["P100"])
    refused(images, PanelError, "No marker 'CD99' in all images", tiny, panel=PANEL, markers=["CD99"])
    refused(images, ModelError, "has no decoder", sfm.models.load("classical"))
    refused(images, ArgumentError, "hides all tokens of all channels", tiny, ratio=(1.0, 1.0))
    refused(images, TableError, "No table 'cells' in sdata", table_name="cells")
    refused(images, TableError, "No table 'cells' in sdata", tiny, table_name="cells")
    one = images["table"][images["table"].obs["patient"] == "P001"].copy()
    refused(one, TableError, r"All cells are of one patient \('P001'\)")
    holed = cells.copy()
    holed.X[0] = np.nan
    refused(holed, PanelError, "measured in all cells")


def test_what_a_model_imputes_is_calibrated_and_drawn(images):
    """From the call that predicts to the figure: weights are random, and neither says otherwise."""
    encoder = sfm.models.new_encoder("virtues", dim=8, heads=1, depth=2, decoder_depth=1)
    sfm.tl.impute_markers(images, encoder, markers=["CD20", "Ki67"], panel=KNOWN, space="intensity")
    found = sfm.tl.calibrate_imputation(images, coverage=0.6, n_bootstrap=0)
    assert found.index.tolist() == ["CD20", "Ki67"]  # as the table calls it; the image has "Ki-67"
    assert found["n_cells"].tolist() == [images["table"].n_obs] * 2
    assert (found["r_pixel"].abs() < 0.3).all()
    assert found["ssim"].notna().all()
    assert images["table"].obsm["X_imputed_lower"].isna().all(axis=None)  # each cell was stained
    axes = sfm.pl.reconstruction(images, "Ki-67", key="imputed", show=False)
    assert axes.shape == (3, 4)
    plt.close("all")
    sfm.tl.impute_markers(images, encoder, markers=["CD20"], panel=KNOWN)
    with pytest.raises(TableError, match="is standardised, and X is in intensities"):
        sfm.tl.calibrate_imputation(images)


def test_what_is_not_finite_was_not_measured():
    cells = sfm.datasets.simulate_cells(n_patients=4, cells_per_patient=30, random_state=0)
    cells.X = np.asarray(cells.X, float)
    found = []
    for value in (np.nan, np.inf):
        cells.X[3, cells.var_names.get_loc("CD8")] = value
        found.append(sfm.tl.evaluate_reconstruction(cells, markers=["CD8"], n_bootstrap=0))
    pd.testing.assert_frame_equal(*found)
    f1 = found[0].query("score == 'f1' and method == 'linear'")
    assert f1["n_patients"].tolist() == [4, 4]


def test_patients_of_a_few_cells_are_said_to_have_no_score(cells):
    number = cells.obs.groupby("patient", observed=True).cumcount()
    options = {"markers": ["CD8"], "methods": ["linear"], "n_bootstrap": 0}
    with pytest.warns(SpatialfmWarning, match="8 of 8 patients have fewer than 10 cells .*there is no score"):
        table = sfm.tl.evaluate_reconstruction(cells[number < 9].copy(), **options)
    assert table["mean"].isna().all()
    most = cells.obs["patient"].map({"P001": 9, "P002": 10}).astype(float).fillna(60)
    with pytest.warns(SpatialfmWarning, match="1 of 8 patients has fewer than 10 cells .*first 'P001': they have no"):
        table = sfm.tl.evaluate_reconstruction(cells[number < most].copy(), **options)
    assert set(table.loc[table["score"] == "mse", "n_patients"]) == {7}
