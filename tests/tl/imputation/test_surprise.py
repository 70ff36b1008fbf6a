"""Planted artifacts, swapped channels and single cells are found, and better than by the quality of channels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from stand_in import Painter

import spatialfm as sfm
from spatialfm._errors import ElementError, ModelError, PanelError, SpatialfmError, SpatialfmWarning, TableError
from spatialfm.embed.paint.expected import expected_means
from spatialfm.learn.surprise import errors_of
from spatialfm.pp.arrays import labels_array
from spatialfm.stats.auroc import auroc

METRICS = ["snr", "dynamic_range", "saturated", "sharpness", "nuclear_correlation"]


@pytest.fixture(scope="module")
def images():
    """Ten samples, most with a fold or a clump of stain; P002's CD20 and Cytokeratin are swapped."""
    sdata = sfm.datasets.simulate_cohort(
        10, n_samples=1, image_size=160, artifacts=["fold", "saturation"], artifact_rate=0.7, random_state=5
    )
    names = sdata["image_P002_1"].coords["c"].values.tolist()
    one, other = names.index("CD20"), names.index("Cytokeratin")
    pixels = sdata["image_P002_1"].data
    order = np.arange(len(names))
    order[[one, other]] = other, one
    sdata["image_P002_1"].data = pixels[order]
    sfm.pp.cell_table(sdata)
    return sdata


def planted(sdata) -> np.ndarray:
    """Code of the artifact below most of each cell: 0 none, 1 fold, 3 saturation."""
    table = sdata["table"]
    codes = np.zeros(table.n_obs, int)
    for sample in table.obs["sample"].unique():
        labels, mask = (np.asarray(labels_array(sdata, f"{name}_{sample}").data) for name in ("cells", "artifacts"))
        rows = np.flatnonzero(table.obs["sample"] == sample)
        of = table.obs["cell_id"].to_numpy()[rows]
        for code in (1, 3):
            share = np.bincount(labels.ravel(), mask.ravel() == code) / np.maximum(np.bincount(labels.ravel()), 1)
            codes[rows[share[of] > 0.5]] = code
    return codes


def quality(sdata) -> pd.Series:
    """How far a channel of a sample is from that channel of other samples, in the worst of five measures."""
    measured = sfm.pp.channel_quality(sdata)[METRICS].astype(float)
    middle = measured.groupby("channel").transform("median")
    apart = (measured - middle).abs()
    return (apart / (1.4826 * apart.groupby("channel").transform("median") + 1e-9)).max(axis=1)


@pytest.fixture(scope="module")
def scored(images):
    sfm.tl.surprise(images)
    return images["table"], planted(images), quality(images)


def test_artifacts_are_found_where_quality_of_channels_sees_samples_alone(scored):
    table, codes, by_channel = scored
    of_sample = table.obs["sample"].map(by_channel.groupby("sample").max()).to_numpy(dtype=float)
    for code, score, least in ((3, "surprise", 0.97), (1, "surprise", 0.6), (1, "surprise_shift", 0.65)):
        rows = np.isin(codes, [0, code]) & (table.obs["patient"] != "P002").to_numpy()
        truth = codes[rows] == code
        assert truth.sum() >= 3
        found = auroc(truth, table.obs[score].to_numpy()[rows])
        assert found > least
        assert found > auroc(truth, of_sample[rows]) + 0.05


def test_swapped_channels_stand_out_of_all_channels(scored):
    table, _, by_channel = scored
    samples = table.uns["surprise"]["samples"]
    away = samples - samples.median()
    expected = away / np.maximum(1.4826 * away.abs().median(), 0.05)
    np.testing.assert_allclose(table.uns["surprise"]["apart"], expected, rtol=1e-6)
    stacked = table.uns["surprise"]["apart"].abs().stack()
    truth = np.array([sample == "P002_1" and marker in ("CD20", "Cytokeratin") for sample, marker in stacked.index])
    found = auroc(truth, stacked.to_numpy())
    assert found > 0.9
    assert found > auroc(truth, by_channel.reindex(stacked.index).to_numpy()) + 0.05


def test_a_cell_that_is_wrong_is_told_with_its_marker():
    cells = sfm.datasets.simulate_cells(5, cells_per_patient=200, random_state=0)
    place = cells.var_names.get_loc("CD31")
    cells.X[17, place] = 4000
    x = np.array(cells.X, float)
    low, high = np.array([np.quantile(one[one > 0], [0.05, 0.99]) for one in x.T]).T
    frame = pd.DataFrame(np.arcsinh(x / np.maximum(low, high / 1000)))
    away = frame - frame.groupby(cells.obs["sample"].to_numpy()).transform("median")
    spread = 1.4826 * away.abs().groupby(cells.obs["sample"].to_numpy()).transform("median")
    shift = np.clip(away / np.maximum(spread, 0.05), -3, 3).mean(axis=1).to_numpy()
    for method in ("linear", "knn"):
        sfm.tl.surprise(cells, method=method, n_folds=2)
        assert cells.layers["surprise"][17, place] > 5
        assert cells.obs["surprise_marker"].iloc[17] == "CD31"
        assert (cells.layers["surprise"][:, place] > cells.layers["surprise"][17, place]).mean() < 0.02
        z = cells.layers["surprise"]
        rms = np.sqrt((z.astype(float) ** 2).mean(axis=1))
        np.testing.assert_allclose(cells.obs["surprise_rms"], rms, rtol=1e-6)
        np.testing.assert_allclose(cells.obs["surprise_shift"], shift, atol=1e-5)
        usual = [np.quantile(one, 0.95, method="hazen") for one in (rms, shift)]  # patients of as many cells
        expected = np.maximum(rms / usual[0], shift / usual[1])
        np.testing.assert_allclose(cells.obs["surprise"], expected, rtol=1e-5)


def test_reference_tissue_has_errors_of_one():
    cells = sfm.datasets.simulate_cells(6, cells_per_patient=500, batch_effect=0, random_state=0)
    sfm.tl.surprise(cells, reference=["P001", "P002", "P003", "P004"])
    z = cells.layers["surprise"][cells.obs["patient"].isin(["P001", "P002", "P003", "P004"]).to_numpy()]
    width = np.diff(np.quantile(z, [0.1587, 0.8413], axis=0), axis=0)[0] / 2
    np.testing.assert_allclose(width, 1, atol=0.1)
    assert cells.uns["surprise"]["params"]["reference"] == "P001, P002, P003, P004"


def test_another_table_as_reference_is_the_same_as_its_patients_in_one():
    cells = sfm.datasets.simulate_cells(6, cells_per_patient=150, random_state=0)
    last = (cells.obs["patient"] == "P006").to_numpy()
    both, alone, other = cells.copy(), cells[last].copy(), cells[~last].copy()
    sfm.tl.surprise(both, reference=[f"P00{i}" for i in range(1, 6)])
    sfm.tl.surprise(alone, reference=other)
    np.testing.assert_allclose(alone.layers["surprise"], both.layers["surprise"][last], atol=1e-4)
    assert "surprise" not in other.uns


def test_cells_that_are_not_of_the_reference_change_nothing_for_others():
    cells = sfm.datasets.simulate_cells(6, cells_per_patient=150, random_state=0)
    last = (cells.obs["patient"] == "P006").to_numpy()
    brighter = cells.copy()
    brighter.X[last] *= 30
    for one in (cells, brighter):
        sfm.tl.surprise(one, reference=[f"P00{i}" for i in range(1, 6)])
    np.testing.assert_allclose(brighter.layers["surprise"][~last], cells.layers["surprise"][~last], atol=1e-5)
    assert np.abs(brighter.layers["surprise"][last]).mean() > 2 * np.abs(cells.layers["surprise"][last]).mean()


def test_maps_are_images_that_lie_on_the_labels(images):
    sfm.tl.surprise(images, markers=["CD3", "CD8", "CD4"], maps=True, key_added="odd")
    table = images["table"]
    image = images["odd_P001_1"]
    assert image.coords["c"].values.tolist() == ["all", "CD3", "CD8", "CD4"]
    labels = np.asarray(labels_array(images, "cells_P001_1").data)
    row = np.flatnonzero(table.obs["sample"] == "P001_1")[3]
    below = labels == table.obs["cell_id"].iloc[row]
    np.testing.assert_allclose(image.data[0].compute()[below], table.obs["odd"].iloc[row], rtol=1e-5)
    np.testing.assert_allclose(image.data[1].compute()[below], table[row, "CD3"].layers["odd"].item(), rtol=1e-5)
    assert np.isnan(image.data[0].compute()[labels == 0]).all()
    assert np.isnan(table[:, "CD20"].layers["odd"]).all()
    sfm.tl.surprise(images, markers=["CD3", "CD8", "CD4"], maps=True, key_added="odd")  # replaced
    with pytest.raises(ElementError, match=r"element 'cells_P001_1' already. Pass another key_added="):
        sfm.tl.surprise(images, maps=True, key_added="cells")


@pytest.mark.parametrize("method", ["linear", "knn"])
def test_markers_that_are_constant_or_mostly_dark_have_no_infinite_surprise(method):
    cells = sfm.datasets.simulate_cells(3, cells_per_patient=100, random_state=0)
    cells.X[:, 2], cells.X[:, 4] = 7, 0
    cells.X[[5, 105, 205], 4] = 30
    with pytest.warns(SpatialfmWarning, match=f"1 marker is the same in all .* left out: {cells.var_names[2]!r}"):
        sfm.tl.surprise(cells, method=method)
    z = cells.layers["surprise"]
    assert np.isnan(z[:, 2]).all()
    assert np.isfinite(np.delete(z, 2, axis=1)).all()
    assert np.isfinite(cells.obs["surprise"]).all()
    assert (z[[5, 105, 205], 4] > 3).all()
    with pytest.raises(PanelError, match="Leave it out of markers="):
        sfm.tl.surprise(cells, markers=list(cells.var_names))


@pytest.mark.parametrize("method", ["linear", "knn"])
def test_a_patient_that_is_in_the_reference_too_is_expected_by_the_others(method):
    cells = sfm.datasets.simulate_cells(4, cells_per_patient=100, random_state=0)
    last = (cells.obs["patient"] == "P004").to_numpy()
    alone = cells[last].copy()
    sfm.tl.surprise(alone, method=method, reference=cells)
    sfm.tl.surprise(cells, method=method)
    np.testing.assert_allclose(alone.layers["surprise"], cells.layers["surprise"][last], atol=1e-4)


def test_a_model_expects_from_pixels(make_sdata, blobs):
    channels = ["CD3", "CD20", "CD68"]
    sdata = make_sdata({name: blobs(number, side=70, n_cells=8) for number, name in enumerate("abc")}, channels)
    told = {"recipe": {"statistics": {name: (50.0, 20.0) for name in channels}}}
    sfm.tl.surprise(sdata, Painter(), method="model", markers=["CD20", "CD3"], patient_key="sample", **told)
    table = sdata["table"]
    assert table.uns["surprise"]["params"]["model"] == "painter"
    measured, expected = expected_means(sdata, Painter(), markers=["CD20", "CD3"], **told)
    residual, codes = (measured - expected).to_numpy(), np.unique(table.obs["sample"], return_inverse=True)[1]
    z = errors_of(residual, expected.to_numpy(), codes).standardised(residual, expected.to_numpy())
    np.testing.assert_allclose(table[:, ["CD20", "CD3"]].layers["surprise"], z, atol=1e-4)
    assert np.isnan(table[:, "CD68"].layers["surprise"]).all()
    one = make_sdata({"d": blobs(7, side=70, n_cells=8)}, channels)
    sfm.tl.surprise(one, Painter(), method="model", reference=sdata, patient_key="sample", **told)
    assert one["table"].uns["surprise"]["params"]["reference"] == "another SpatialData"
    before = one["table"].layers["surprise"].copy()
    order = np.random.default_rng(0).permutation(table.n_obs)
    names, sdata["table"] = table.obs_names, table[order].copy()
    sfm.tl.surprise(one, Painter(), method="model", reference=sdata, patient_key="sample", **told)
    np.testing.assert_array_equal(one["table"].layers["surprise"], before)
    sdata["table"].obs_names = ["1"] * table.n_obs
    with pytest.raises(TableError, match="Two rows of the table have one name"):
        sfm.tl.surprise(one, Painter(), method="model", reference=sdata, patient_key="sample", **told)
    sdata["table"].obs_names = names[order]
    with pytest.raises(TableError, match="The reference has 1 patient"):
        sfm.tl.surprise(one, Painter(), method="model", patient_key="sample", **told)
    with pytest.raises(ModelError, match="has no decoder"):
        sfm.tl.surprise(sdata, "classical", method="model", patient_key="sample")
    with pytest.raises(TableError, match="Pass its SpatialData"):
        sfm.tl.surprise(sdata, Painter(), method="model", reference=table)


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"model": "virtues"}, TableError, 'A model and method="model" are passed together'),
        ({"method": "model"}, TableError, 'A model and method="model" are passed together'),
        ({"model": "virtues", "method": "model"}, ElementError, "reads images. Pass the SpatialData"),
        ({"reference": "P009"}, TableError, "No patient 'P009' in obs"),
        ({"reference": "P001"}, TableError, "The reference has 1 patient"),
        ({"markers": ["CD8", "CD99"]}, PanelError, "No marker 'CD99'"),
        ({"maps": True}, ElementError, "maps=True paints labels"),
        ({"library_key": "slice"}, TableError, "No column 'slice'"),
    ],
)
def test_refusals_come_before_anything_is_written(arguments, error, said):
    cells = sfm.datasets.simulate_cells(3, cells_per_patient=40, random_state=0)
    with pytest.raises(error, match=said):
        sfm.tl.surprise(cells, **arguments)
    assert "surprise" not in cells.uns
    assert "surprise" not in cells.layers
    assert "surprise" not in cells.obs


def test_a_reference_without_a_marker_is_refused():
    cells = sfm.datasets.simulate_cells(3, cells_per_patient=40, random_state=0)
    with pytest.raises(SpatialfmError, match="The reference has no marker 'CD3'"):
        sfm.tl.surprise(cells, reference=cells[:, ["DAPI", "CD8"]].copy())
    broken = cells.copy()
    broken.X[0, 0] = np.nan
    with pytest.raises(SpatialfmError, match="The reference holds NaN"):
        sfm.tl.surprise(cells, reference=broken)


def test_a_reference_in_another_unit_is_named(cells):
    """Counts beside shares of the largest value: every cell would surprise."""
    reference = cells.copy()
    reference.X = reference.X / 65535
    reference.obs["patient"] = [f"other {name}" for name in reference.obs["patient"]]
    with pytest.warns(SpatialfmWarning, match="'the reference' are some .* times darker than those of 'the table'"):
        sfm.tl.surprise(cells.copy(), reference=reference)


def test_maps_replace_those_of_an_earlier_call_and_no_other_image():
    sdata = sfm.datasets.simulate_cohort(2, n_samples=1, image_size=96, difficulty="easy", random_state=0)
    sfm.pp.cell_table(sdata)
    before = set(sdata.images)
    with pytest.raises(ElementError, match="has an element 'image_P001_1' already"):
        sfm.tl.surprise(sdata, maps=True, key_added="image")
    sfm.tl.surprise(sdata, maps=True)
    assert set(sdata.images) - before == {"surprise_P001_1", "surprise_P002_1"}
    sfm.tl.surprise(sdata, maps=True, markers=["CD3", "CD8"])
    assert sdata["surprise_P001_1"].sizes["c"] == 3
    sfm.tl.surprise(sdata)
    assert set(sdata.images) == before
