"""Markers that were not stained: over images, in cells, and with regression, against plain numpy."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from stand_in import Painter

import spatialfm as sfm
from spatialfm._errors import ArgumentError, ElementError, ModelError, PanelError, SpatialfmWarning, TableError

CHANNELS = ["CD3", "CD20", "CD68"]
STATISTICS = {"CD3": (50.0, 20.0), "CD20": (70.0, 40.0), "CD68": (10.0, 80.0)}
RECIPE = {"statistics": STATISTICS}


@pytest.fixture
def cohort(make_sdata, blobs):
    image, labels = blobs(1, side=70, n_cells=8)
    return make_sdata({"a": (image, labels)}, CHANNELS), image, labels


def standardised(image):
    mean, std = np.array(list(STATISTICS.values())).T
    return (image.astype(np.float64) - mean[:, None, None]) / std[:, None, None]


def predicted(seen):
    """From the channels that are seen, tile by tile, tiles that overlap averaged."""
    sums, counts = np.zeros(seen.shape[1:]), np.zeros(seen.shape[1:])
    for y in (0, 32, 38):
        for x in (0, 32, 38):
            at = (slice(y, y + 32), slice(x, x + 32))
            sums[at] += seen[:, *at].mean(0) + 0.1 * seen[:, *at].mean()
            counts[at] += 1
    return sums / counts


def of_cells(values, labels):
    return np.array([values[labels == label].mean() for label in np.unique(labels[labels > 0])])


# --------------------------------------------------------------------------------------------------------- the model


def test_a_marker_outside_of_the_panel_is_predicted_from_all_of_it(cohort):
    sdata, image, labels = cohort
    sfm.tl.impute_markers(sdata, Painter(), markers=["CD4"], recipe=RECIPE)
    expected = predicted(standardised(image))
    np.testing.assert_allclose(sdata["image_a_imputed"].values[0], expected, rtol=1e-5, atol=1e-5)
    table = sdata["table"]
    assert list(table.obsm["X_imputed"].columns) == ["CD4"]
    np.testing.assert_allclose(table.obsm["X_imputed"]["CD4"], of_cells(expected, labels), rtol=1e-5, atol=1e-5)
    assert "CD4" not in table.var_names
    record = sfm.get.record(table, "X_imputed")
    assert (record["seen"], record["imputed"], record["method"]) == (CHANNELS, ["CD4"], "model")
    assert record["marker_embeddings"]["CD4"].startswith("P01730")


def test_markers_that_were_stained_are_hidden_when_they_are_asked_for(cohort):
    sdata, image, labels = cohort
    sfm.pp.cell_table(sdata)
    x = sdata["table"].X.copy()
    sfm.tl.impute_markers(sdata, Painter(), markers=["CD4", "CD68"], recipe=RECIPE)
    expected = predicted(standardised(image)[:2])
    frame = sdata["table"].obsm["X_imputed"]
    for name in ("CD68", "CD4"):
        np.testing.assert_allclose(frame[name], of_cells(expected, labels), rtol=1e-5, atol=1e-5)
    assert sfm.get.record(sdata["table"], "X_imputed")["seen"] == ["CD3", "CD20"]
    np.testing.assert_array_equal(sdata["table"].X, x)


def test_markers_are_called_as_the_table_calls_them(make_sdata, blobs):
    """A channel `Ki67` is the marker Ki-67 to the model; what was measured of it is called after the channel."""
    samples = {name: blobs(seed, side=70, n_cells=8) for seed, name in enumerate("abc")}
    sdata = make_sdata(samples, ["Ki67", "CD20", "CD68"])
    recipe = {"statistics": {"Ki67": (50.0, 20.0), "CD20": (70.0, 40.0), "CD68": (10.0, 80.0)}}
    sfm.pp.cell_table(sdata)
    table = sdata["table"]
    table.obs["patient"] = table.obs["sample"].astype(str)
    sfm.tl.impute_markers(sdata, Painter(), markers=["CD68"], recipe=recipe, key_added="other")
    assert sfm.get.record(table, "X_other")["seen"] == ["Ki67", "CD20"]
    sfm.tl.impute_markers(sdata, Painter(), markers=["Ki67"], recipe=recipe, space="intensity")
    record = sfm.get.record(table, "X_imputed")
    assert (list(table.obsm["X_imputed"]), record["imputed"], record["seen"]) == (["Ki67"], ["Ki67"], ["CD20", "CD68"])
    with pytest.warns(SpatialfmWarning, match="rest on 3 patients"):
        scores = sfm.tl.calibrate_imputation(sdata, n_bootstrap=0)
    assert scores.loc["Ki67", "n_patients"] == 3


def test_cells_take_their_own_pixels_in_any_order_of_the_table(cohort):
    sdata, image, labels = cohort
    sfm.pp.cell_table(sdata)
    order = np.random.default_rng(0).permutation(sdata["table"].n_obs)
    names = sdata["table"].obs_names[order]
    sdata.tables["table"] = sdata["table"][order].copy()
    sfm.tl.impute_markers(sdata, Painter(), markers=["CD4"], recipe=RECIPE)
    frame = sdata["table"].obsm["X_imputed"]
    assert list(frame.index) == list(names)
    expected = of_cells(predicted(standardised(image)), labels)[order]
    np.testing.assert_allclose(frame["CD4"], expected, rtol=1e-5, atol=1e-5)


def test_intensities_need_a_mean_and_a_deviation(make_sdata, blobs, cohort):
    sdata, *_ = cohort
    with pytest.raises(PanelError, match="no statistics for CD4"):
        sfm.tl.impute_markers(sdata, Painter(), markers=["CD4"], recipe=RECIPE, space="intensity")
    with pytest.raises(PanelError, match="'CD4' was stained in no sample.*space='standardised'"):
        sfm.tl.impute_markers(sdata, Painter(), markers=["CD4"], space="intensity")
    given = {"statistics": STATISTICS | {"CD4": (30.0, 5.0)}}
    sfm.tl.impute_markers(sdata, Painter(), markers=["CD4"], recipe=given)
    plain = sdata["image_a_imputed"].values
    sfm.tl.impute_markers(sdata, Painter(), markers=["CD4"], recipe=given, space="intensity")
    np.testing.assert_allclose(sdata["image_a_imputed"].values, 5 * plain + 30, rtol=1e-5, atol=1e-4)


def test_a_marker_of_some_samples_takes_their_statistics(make_sdata, blobs):
    both, one = blobs(1, side=70), blobs(2, side=70)
    sdata = make_sdata({"a": (both[0], None), "b": (one[0][:2], None)}, {"a": CHANNELS, "b": CHANNELS[:2]})
    recipe = {"tissue": "all"}
    with pytest.warns(UserWarning, match="CD68"):
        sfm.tl.impute_markers(sdata, Painter(), markers=["CD68"], recipe=recipe)
    plain = sdata["image_b_imputed"].values
    with pytest.warns(UserWarning, match="CD68"):
        sfm.tl.impute_markers(sdata, Painter(), markers=["CD68"], recipe=recipe, space="intensity")
    pixels = both[0][2].astype(np.float64)
    expected = pixels.std() * plain + pixels.mean()
    np.testing.assert_allclose(sdata["image_b_imputed"].values, expected, rtol=1e-4, atol=1e-3)


def test_bad_input_is_refused_before_any_tile(cohort):
    sdata, *_ = cohort
    encoder = Painter()
    with pytest.raises(PanelError, match="'Target 7' is neither in the panel .* nor has a protein embedding"):
        sfm.tl.impute_markers(sdata, encoder, markers=["Target 7"], recipe=RECIPE)
    with pytest.raises(PanelError, match=r"All channels are hidden \('CD3', 'CD20', 'CD68'\)"):
        sfm.tl.impute_markers(sdata, encoder, markers=CHANNELS, recipe=RECIPE)
    with pytest.raises(ModelError, match="'mean-intensity' has no decoder"):
        sfm.tl.impute_markers(sdata, "mean-intensity", markers=["CD4"])
    with pytest.raises(ArgumentError, match="needs a model with a decoder"):
        sfm.tl.impute_markers(sdata, markers=["CD4"])
    with pytest.raises(ArgumentError, match="takes no model"):
        sfm.tl.impute_markers(sdata, encoder, markers=["CD4"], method="linear")
    with pytest.raises(ArgumentError, match="predicts from images"):
        sfm.tl.impute_markers(ad.AnnData(np.ones((2, 1))), encoder, markers=["CD4"])
    with pytest.raises(PanelError, match="asked for twice"):
        sfm.tl.impute_markers(sdata, encoder, markers=["CD4", "CD4"], recipe=RECIPE)
    assert encoder.n_windows == 0
    assert list(sdata.images) == ["image_a"]


# -------------------------------------------------------------------------------------------------------- regression


@pytest.fixture
def table():
    """CD68 is a known function of the others; half of the patients were not stained for it."""
    rng = np.random.default_rng(0)
    x = rng.gamma(2, size=(400, 3))
    x[:, 2] = 3 + 2 * x[:, 0] - x[:, 1]
    truth = x[:, 2].copy()
    patient = np.repeat([f"P{i}" for i in range(8)], 50)
    x[patient >= "P4", 2] = np.nan
    obs = pd.DataFrame({"patient": patient}, index=[f"cell {i}" for i in range(400)])
    return ad.AnnData(x, obs=obs, var=pd.DataFrame(index=CHANNELS)), truth


def test_regression_finds_the_function_and_leaves_measured_cells_alone(table):
    adata, truth = table
    x = adata.X.copy()
    sfm.tl.impute_markers(adata, markers=["CD68"], method="linear", space="intensity")
    found, lacking = adata.obsm["X_imputed"]["CD68"].to_numpy(), np.isnan(x[:, 2])
    np.testing.assert_allclose(found[lacking], truth[lacking], rtol=1e-3, atol=1e-3)
    assert np.isnan(found[~lacking]).all()
    np.testing.assert_array_equal(adata.X, x)
    record = sfm.get.record(adata, "X_imputed")
    assert (record["seen"], record["fitted_on"]) == (["CD3", "CD20"], {"CD68": 200})


def test_standardised_values_are_those_of_what_was_fitted_on(table):
    adata, truth = table
    sfm.tl.impute_markers(adata, markers=["CD68"], method="linear")
    known = truth[:200]
    expected = (truth[200:] - known.mean()) / known.std()
    np.testing.assert_allclose(adata.obsm["X_imputed"]["CD68"][200:], expected, atol=1e-3)


def test_nearest_cells_of_another_table(table):
    from sklearn.neighbors import NearestNeighbors

    adata, truth = table
    source, target = adata[:200].copy(), adata[200:, :2].copy()
    sfm.tl.impute_markers(target, markers=["CD68"], method="knn", source=source, space="intensity")
    mean, std = source.X[:, :2].mean(0), source.X[:, :2].std(0)
    nearest = NearestNeighbors(n_neighbors=10).fit((source.X[:, :2] - mean) / std)
    places = nearest.kneighbors((target.X - mean) / std, return_distance=False)
    np.testing.assert_allclose(target.obsm["X_imputed"]["CD68"], truth[:200][places].mean(1), rtol=1e-5)


def test_regression_on_pixels_is_that_on_means(make_sdata, blobs):
    """A function that is linear in pixels is the same function of the means of cells."""
    full, labels = blobs(1, side=90, n_cells=10)
    full = full.astype(np.float32)
    full[2] = 3 + 2 * full[0] - full[1] / 2 + 60
    other, cells = blobs(2, side=80, n_cells=10)
    other = other.astype(np.float32)
    sdata = make_sdata({"a": (full, labels), "b": (other[:2], cells)}, {"a": CHANNELS, "b": CHANNELS[:2]})
    sfm.tl.impute_markers(sdata, markers=["CD68"], method="linear", space="intensity")
    expected = 63 + 2 * other[0].astype(float) - other[1] / 2
    np.testing.assert_allclose(sdata["image_b_imputed"].values[0], expected, rtol=1e-3, atol=0.1)
    assert "image_a_imputed" not in sdata.images
    frame = sdata["table"].obsm["X_imputed"]
    of_b = sdata["table"].obs["sample"].astype(str).to_numpy() == "b"
    assert (~of_b).sum() == len(np.unique(labels)) - 1  # the table is one of all samples
    np.testing.assert_allclose(frame["CD68"][of_b], of_cells(expected, cells), rtol=1e-3, atol=0.1)
    assert frame["CD68"][~of_b].isna().all()


def test_regression_on_pixels_names_markers_as_the_table_does(make_sdata, blobs):
    (one, labels), (two, other) = blobs(1, side=40, n_cells=4), blobs(2, side=40, n_cells=4)
    sdata = make_sdata({"a": (one, labels)}, ["CD3e", "CD20", "CD8a"])
    lacking = make_sdata({"b": (two[:2], other)}, ["CD3e", "CD20"])
    for kind in ("images", "labels"):
        for name, element in getattr(lacking, kind).items():
            getattr(sdata, kind)[name] = element
    with pytest.warns(SpatialfmWarning, match="CD8a"):
        sfm.tl.impute_markers(sdata, markers=["CD8"], method="linear", space="intensity")
    table = sdata["table"]
    record = sfm.get.record(table, "X_imputed")
    assert (record["seen"], record["imputed"]) == (["CD3e", "CD20"], ["CD8a"])
    assert list(sdata["image_b_imputed"].coords["c"].values) == ["CD8"]
    both = sfm.get.with_imputed(table)
    assert list(both.var_names) == list(table.var_names)
    assert np.isfinite(both.X).all()


def test_pixels_that_are_not_numbers_are_named_with_their_image(make_sdata, blobs):
    (full, labels), (other, _) = blobs(1, side=40, n_cells=4), blobs(2, side=40, n_cells=4)
    other = other[:2].astype(np.float32)
    other[0, 5, 7] = np.nan
    samples = {"a": (full.astype(np.float32), labels), "b": (other, None)}
    sdata = make_sdata(samples, {"a": CHANNELS, "b": CHANNELS[:2]})
    with pytest.raises(ElementError, match="'image_b' holds pixels that are NaN"):
        sfm.tl.impute_markers(sdata, markers=["CD68"], method="linear", space="intensity")
    assert "image_b_imputed" not in sdata.images


def test_a_source_in_another_unit_is_said(table):
    adata, _ = table
    source = adata[:200].copy()
    source.X = source.X * 257.0  # 16-bit counts beside 8-bit ones
    target = adata[200:, :2].copy()
    with pytest.warns(SpatialfmWarning, match="'the table' are some .* times darker than those of 'source='"):
        sfm.tl.impute_markers(target, markers=["CD68"], method="linear", source=source)


def test_a_regression_is_not_carried_over_to_pixels_of_another_type(make_sdata, blobs):
    (full, labels), (other, cells) = blobs(1, side=40, n_cells=4), blobs(2, side=40, n_cells=4)
    sdata = make_sdata({"a": (full.astype(np.uint16) * 200, labels)}, {"a": CHANNELS})
    lacking = make_sdata({"b": (other[:2], cells)}, {"b": CHANNELS[:2]})
    told = {"markers": ["CD68"], "method": "linear", "space": "intensity"}
    with pytest.raises(PanelError, match="different pixel types \\(uint16: 'image_a'; uint8: 'image_b'\\)"):
        sfm.tl.impute_markers(lacking, source=sdata, **told)
    for kind in ("images", "labels"):
        for name, element in getattr(lacking, kind).items():
            getattr(sdata, kind)[name] = element
    with pytest.raises(PanelError, match="different pixel types"):
        sfm.tl.impute_markers(sdata, **told)
    assert "image_b_imputed" not in sdata.images


def test_cells_of_images_are_painted_with_the_mean_of_their_nearest(make_sdata, blobs):
    from sklearn.neighbors import NearestNeighbors

    full, labels = blobs(1, side=120, n_cells=30)
    others = {name: blobs(seed, side=60, n_cells=6) for name, seed in (("b", 2), ("c", 3))}
    samples = {"a": (full, labels)} | {name: (image[:2], cells) for name, (image, cells) in others.items()}
    sdata = make_sdata(samples, {name: CHANNELS[: len(image)] for name, (image, _) in samples.items()})
    sfm.tl.impute_markers(sdata, markers=["CD68"], method="knn", space="intensity")
    known = np.array([of_cells(channel.astype(float), labels) for channel in full]).T
    mean, std = known[:, :2].mean(0), known[:, :2].std(0)
    nearest = NearestNeighbors(n_neighbors=10).fit((known[:, :2] - mean) / std)
    frame, of = sdata["table"].obsm["X_imputed"]["CD68"], sdata["table"].obs["sample"].astype(str).to_numpy()
    for name, (image, cells) in others.items():
        own = np.array([of_cells(channel.astype(float), cells) for channel in image[:2]]).T
        expected = known[nearest.kneighbors((own - mean) / std, return_distance=False), 2].mean(1)
        np.testing.assert_allclose(frame[of == name], expected, rtol=1e-5)
        painted = sdata[f"image_{name}_imputed"]
        assert list(painted.coords["c"].values) == ["CD68"]
        assert np.isnan(painted.values[0][cells == 0]).all()
        for label, value in zip(np.unique(cells[cells > 0]), expected, strict=True):
            np.testing.assert_allclose(painted.values[0][cells == label], value, rtol=1e-5)
    assert frame[of == "a"].isna().all()
    assert "image_a_imputed" not in sdata.images
    sfm.tl.embed_cells(sdata, "mean-intensity", samples=["a", "b"], on_missing="drop", copy=True)  # it is not a sample
    with pytest.raises(ElementError, match="No image that a model predicted"):  # a cell's number is not a pixel
        sfm.pl.reconstruction(sdata, "CD68", key="imputed", show=False)
    before = frame.copy()
    sfm.tl.impute_markers(sdata, markers=["CD68"], method="knn", space="intensity", samples=["b"])
    again = sdata["table"].obsm["X_imputed"]["CD68"]
    np.testing.assert_array_equal(again, before)  # of the others, as of their images, what was there


def test_regression_refuses_what_it_cannot_learn(table, cohort):
    adata, _ = table
    sdata, *_ = cohort
    with pytest.raises(PanelError, match="'CD20' was measured in all cells"):
        sfm.tl.impute_markers(adata, markers=["CD20"], method="linear")
    with pytest.raises(PanelError, match="'CD4' is not among the markers of the table.*source="):
        sfm.tl.impute_markers(adata, markers=["CD4"], method="knn")
    with pytest.raises(PanelError, match="No other marker was measured in all cells"):
        sfm.tl.impute_markers(adata[:, ["CD68"]].copy(), markers=["CD68"], method="linear")
    with pytest.raises(PanelError, match="'CD4' is not among the markers of the table.*source="):
        sfm.tl.impute_markers(sdata, markers=["CD4"], method="knn")
    with pytest.raises(ArgumentError, match="reads the cell table.*Leave panel= out"):
        sfm.tl.impute_markers(sdata, markers=["CD4"], method="knn", panel={"markers": ["CD3"]})
    with pytest.raises(PanelError, match="No image has 'CD4'.*source="):
        sfm.tl.impute_markers(sdata, markers=["CD4"], method="linear")
    with pytest.raises(PanelError, match="All images have 'CD20'"):
        sfm.tl.impute_markers(sdata, markers=["CD20"], method="linear")
    assert "X_imputed" not in adata.obsm


def test_no_intensity_is_negative_where_none_was_measured():
    x = np.arange(1.0, 41.0)
    y = np.maximum(x - 10, 0)  # a line through these crosses 0 at about 6
    slope, start = np.polyfit(x, y, 1)
    assert start < -3
    values = np.column_stack([np.r_[x, 1.0, 50.0], np.r_[y, np.nan, np.nan]])
    adata = ad.AnnData(values, var=pd.DataFrame(index=["CD3", "CD68"]))
    sfm.tl.impute_markers(adata, markers=["CD68"], method="linear", space="intensity")
    found = adata.obsm["X_imputed"]["CD68"].to_numpy()[40:]
    np.testing.assert_allclose(found, [0.0, start + 50 * slope], rtol=1e-3)


def test_what_is_imputed_is_calibrated(table):
    """Patients who were not stained get an interval from those who were: both functions know the same record."""
    adata, truth = table
    adata.X[:, 2] += np.random.default_rng(1).normal(0, 0.1, 400)
    sfm.tl.impute_markers(adata, markers=["CD68"], method="linear", space="intensity")
    sfm.tl.calibrate_imputation(adata, coverage=0.75, n_bootstrap=0, n_permutations=0)
    low, high = (adata.obsm[f"X_imputed_{end}"]["CD68"].to_numpy()[200:] for end in ("lower", "upper"))
    assert ((low <= truth[200:]) & (truth[200:] <= high)).mean() > 0.7


def test_what_was_measured_of_a_marker_is_not_looked_at_when_it_is_imputed(table):
    adata, truth = table
    source, target = adata[:200].copy(), adata[200:].copy()
    target.X[:, 2] = 1000.0
    sfm.tl.impute_markers(target, markers=["CD68"], method="linear", source=source, space="intensity")
    np.testing.assert_allclose(target.obsm["X_imputed"]["CD68"], truth[200:], rtol=1e-3, atol=1e-3)


def test_what_is_advised_is_what_the_function_takes(make_sdata, blobs):
    """It has no `on_missing`: a table is made first, or there is a second one."""
    image, labels = blobs(1, side=70, n_cells=8)
    told = {"markers": ["CD8"], "method": "knn", "source": sfm.datasets.simulate_cells(2, cells_per_patient=20)}
    empty = make_sdata({"a": (image, labels), "b": (image, np.zeros_like(labels))}, CHANNELS)
    with pytest.raises(TableError, match=r"make the table first: sfm.pp.cell_table\(sdata, on_missing=\"drop\"\)"):
        sfm.tl.impute_markers(empty, **told)
    sdata = make_sdata({"a": (image, labels)}, CHANNELS)
    with pytest.raises(TableError, match=r'pass on_missing="drop"\.'):
        sfm.pp.cell_table(make_sdata({"b": (image, np.zeros_like(labels))}, CHANNELS))
    sfm.pp.cell_table(sdata)
    sdata.labels["cells_a"] = make_sdata({"a": (image, np.where(labels == labels.max(), 0, labels))}, CHANNELS)[
        "cells_a"
    ]
    encoder = sfm.models.new_encoder("virtues", dim=8, heads=1, depth=2, decoder_depth=1)
    with pytest.raises(TableError, match=r"without label .*and pass its name as table_name=\.$"):
        sfm.tl.impute_markers(sdata, encoder, markers=["CD8"], panel={"markers": CHANNELS})
