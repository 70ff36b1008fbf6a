"""Images and labels at the edge of sense: each function measures, or refuses by name; no NaN, no foreign error."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest

import spatialfm as sfm
from spatialfm._errors import SpatialfmError, SpatialfmWarning

CHANNELS = ["DAPI", "CD3", "CD20"]


def tissue(dtype: type = np.float32) -> tuple[np.ndarray, np.ndarray]:
    """Three channels, 25 square cells."""
    image = np.random.default_rng(0).gamma(2, 20, (3, 96, 96))
    labels = np.zeros((96, 96), np.int32)
    for number, (y, x) in enumerate(np.ndindex(5, 5), start=1):
        labels[16 * y + 8 : 16 * y + 16, 16 * x + 8 : 16 * x + 16] = number
    return (image > 30 if dtype is bool else image).astype(dtype), labels


def one_of(labels: np.ndarray, *numbers: int) -> np.ndarray:
    return np.where(np.isin(labels, numbers), labels, 0)


def changed(channel: int | slice, value: object) -> tuple[np.ndarray, np.ndarray]:
    image, labels = tissue()
    image[channel] = value if not callable(value) else value(image[channel])
    return image, labels


IMAGE, LABELS = tissue()
PIXEL = np.zeros_like(LABELS)
PIXEL[40, 40] = 5
INPUTS = {  # samples, and what a warning or an error of each function says
    "background subtracted": {"a": changed(slice(None), lambda x: x - 30)},
    "all negative": {"a": changed(slice(None), lambda x: -1 - x)},
    "signed integers": {"a": ((IMAGE - 30).astype(np.int16), LABELS)},
    "no data is -9999": {"a": changed((slice(None), slice(0, 40)), -9999)},
    "dead channel": {"a": changed(1, 0)},
    "dead in one of two": {"a": (IMAGE, LABELS), "b": changed(1, 0)},
    "constant": {"a": changed(1, 7.1)},
    "all zero": {"a": changed(slice(None), 0)},
    "all zero, bytes": {"a": (np.zeros_like(IMAGE, np.uint8), LABELS)},
    "one cell": {"a": (IMAGE, one_of(LABELS, 7))},
    "two cells": {"a": (IMAGE, one_of(LABELS, 7, 8))},
    "one pixel": {"a": (IMAGE, PIXEL)},
    "one cell in one of two": {"a": (IMAGE, LABELS), "b": (IMAGE, one_of(LABELS, 7))},
    "no cell": {"a": (IMAGE, np.zeros_like(LABELS))},
    "no cell in one of two": {"a": (IMAGE, LABELS), "b": (IMAGE, np.zeros_like(LABELS))},
    "one marker": {"a": (IMAGE[:1], LABELS)},
    "one row": {"a": (IMAGE[:, 8:9], LABELS[8:9])},
    "one column": {"a": (IMAGE[:, :, 8:9], LABELS[:, 8:9])},
    "NaN": {"a": changed((1, slice(10, 11), slice(10, 12)), np.nan)},
    "infinite": {"a": changed((1, slice(10, 11), slice(10, 12)), np.inf)},
    **{dtype.__name__: {"a": tissue(dtype)} for dtype in (bool, np.int32, np.uint32, np.int64, np.float16, np.float64)},
}


def typed(sdata) -> object:
    sfm.pp.cell_table(sdata)
    table = sdata["table"]
    table.obs["type"] = np.where(np.arange(table.n_obs) % 2, "T", "B")
    return table


def niches(sdata) -> None:
    table = typed(sdata)
    sfm.tl.neighborhood_composition(table, "type", radius=20, library_key="sample")
    sfm.tl.niches(table, 2)


def clustered(sdata) -> None:
    table = typed(sdata)
    table.obsm["X_mean"] = np.asarray(table.X)
    sfm.tl.leiden_sweep(table, use_rep="X_mean", resolutions=[0.5], n_subsamples=0)


FUNCTIONS = {
    "cell_table": lambda sdata: sfm.pp.cell_table(sdata, quantiles=0.5),
    "channel_quality": lambda sdata: sfm.pp.channel_quality(sdata),
    "classical": lambda sdata: sfm.tl.embed_cells(sdata, "classical"),
    "principal components": lambda sdata: sfm.tl.embed_cells(sdata, "classical", reduce={"n_components": 2}),
    "mean-intensity": lambda sdata: sfm.tl.embed_cells(sdata, "mean-intensity"),
    "tiles": lambda sdata: sfm.tl.embed_tiles(sdata, "mean-intensity", size=32),
    "neighbours": lambda sdata: sfm.tl.neighborhood_composition(
        typed(sdata), "type", n_neighbors=5, library_key="sample"
    ),
    "niches": niches,
    "composition": lambda sdata: sfm.tl.composition(typed(sdata), "type", library_key="sample", patient_key=None),
    "leiden": clustered,
}


def run(make_sdata, function: str, name: str) -> tuple[object, str, list[str]]:
    """The object after the call, what was refused, and what was warned of."""
    parts = INPUTS[name]
    sdata = make_sdata(parts, CHANNELS[: len(next(iter(parts.values()))[0])])
    refusal = ""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            FUNCTIONS[function](sdata)
        except SpatialfmError as error:
            refusal = str(error)
    assert not [str(item.message) for item in caught if issubclass(item.category, RuntimeWarning)]
    return sdata, refusal, [str(item.message) for item in caught if item.category is SpatialfmWarning]


OF_IMAGES = ("cell_table", "channel_quality", "classical", "mean-intensity", "tiles")
ODD_TABLES = ("all negative", "all zero", "constant", "one cell", "two cells", "one cell in one of two", "one marker")
CASES = [(f, name) for f in FUNCTIONS for name in INPUTS if f in OF_IMAGES or name in ODD_TABLES]


@pytest.mark.parametrize(("function", "name"), CASES)
def test_it_is_measured_or_refused_by_name(make_sdata, function, name):
    sdata, refusal, _ = run(make_sdata, function, name)
    for table in sdata.tables.values():
        arrays = [*table.obsm.values(), *(value for value in [table.X, *table.layers.values()] if value is not None)]
        assert all(np.isfinite(np.asarray(array)).all() for array in arrays)
        for key, basis in table.uns.get("spatialfm", {}).items():
            if key.endswith("_basis"):
                assert all(np.isfinite(part).all() for part in basis.values())
    if name == "no cell" and function not in ("channel_quality", "tiles"):
        assert "holds no cell, only 0: 'cells_a' (sample 'a')" in refusal
    if name in ("NaN", "infinite") and function != "channel_quality":
        assert re.search(r"'image_a'(, | \()channel 'CD3': 2 pixels", refusal)
    if name not in ("no cell", "no cell in one of two", "NaN", "infinite") and function in ("cell_table", "classical"):
        assert not refusal


@pytest.mark.parametrize(
    ("name", "function", "message"),
    [
        ("background subtracted", "classical", r"'image_a' \(channel 'DAPI': [\d,]+ pixels, lowest -29"),
        ("signed integers", "tiles", r"channel 'CD20': [\d,]+ pixels, lowest -29"),
        ("no data is -9999", "tiles", r"channel 'CD3': 3,840 pixels, lowest -9999"),
        ("no data is -9999", "cell_table", r"negative mean intensity: .*image_a: CD3 \(lowest -9999\)"),
        ("dead channel", "cell_table", r"one value in every cell.*image_a: CD3 \(0\)"),
        ("dead channel", "tiles", r"one value in the whole image: image_a: CD3\."),
        ("dead in one of two", "tiles", r"one value in the whole image: image_b: CD3\."),
        ("dead in one of two", "classical", r"one value in the whole image: image_b: CD3\."),
        ("constant", "classical", r"one value in all tissue pixels .*: CD3\."),
    ],
)
def test_what_is_odd_is_named(make_sdata, name, function, message):
    _, refusal, said = run(make_sdata, function, name)
    assert not refusal
    assert sum(bool(re.search(message, line)) for line in said) == 1, said


def test_negative_pixels_count_as_zero_in_embeddings_and_stay_in_the_table(make_sdata):
    image, labels = INPUTS["background subtracted"]["a"]
    sdata, _, _ = run(make_sdata, "mean-intensity", "background subtracted")
    table = sdata["table"]
    numbers = table.obs["cell_id"].to_numpy()
    clipped = np.stack([[np.maximum(channel, 0)[labels == n].mean() for channel in image] for n in numbers])
    signed = np.stack([[channel[labels == n].mean() for channel in image] for n in numbers])
    np.testing.assert_allclose(table.obsm["X_mean_intensity"], clipped, rtol=1e-5)
    np.testing.assert_allclose(table.X, signed, rtol=1e-4, atol=1e-4)


def test_a_constant_marker_adds_nothing_to_an_embedding(make_sdata):
    """Single precision leaves a spread of about 1e-8 in a constant, which nothing may be divided by."""
    sdata, _, _ = run(make_sdata, "classical", "constant")
    names = sfm.get.record(sdata["table"], "X_classical")["feature_names"]
    of_constant = [place for place, name in enumerate(names) if name.startswith("CD3_")]
    np.testing.assert_allclose(np.asarray(sdata["table"].obsm["X_classical"])[:, of_constant], 0, atol=1e-5)
    record = sfm.get.record(sdata["table"], "X_classical")
    assert record["normalization_std"][record["markers"].index("CD3")] == 1.0


@pytest.mark.parametrize("model", ["kronos", pytest.param("virtues", marks=pytest.mark.slow)])
def test_models_take_a_constant_marker(make_sdata, model):
    image, labels = changed(1, 7.1)
    sdata = make_sdata({"a": (image, one_of(labels, 7))}, CHANNELS)
    options = {"recipe": {"intensity_max": 100}} if model == "kronos" else {}
    sfm.tl.embed_cells(sdata, model, weights="random", panel={"on_unknown": "keep"}, **options)
    assert np.isfinite(sdata["table"].obsm[f"X_{model}"]).all()
    assert np.abs(sdata["table"].obsm[f"X_{model}"]).max() < 100


def test_quality_counts_negative_pixels(make_sdata):
    image, labels = tissue()
    image[1, :10] = -9999
    image[2] = 7.1
    table = sfm.pp.channel_quality(make_sdata({"a": (image, labels)}, CHANNELS)).loc["a"]
    assert table["negative"].tolist() == [0, 960, 0]
    assert table["note"].tolist() == ["", "negative", "constant"]
    assert table["snr"].gt(0).all()


def test_a_radius_is_in_the_unit_of_the_table(make_sdata):
    table = typed(make_sdata({"a": tissue(), "b": tissue()}, CHANNELS))
    record = table.uns["spatialfm"]["table"]
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialfmWarning)
        sfm.tl.neighborhood_composition(table, "type", radius=20, library_key="sample")
    record["samples"] = record["samples"].replace("µm", "pixel")
    with pytest.warns(SpatialfmWarning, match="radius=20 is taken in pixels, not in µm"):
        sfm.tl.neighborhood_composition(table, "type", radius=20, library_key="sample")
    record["samples"] = record["samples"].replace("pixel", "µm", 1).replace("labels_µm", "labels_pixel")
    with pytest.raises(
        SpatialfmError, match=r"Coordinates of 1 sample \('b'\) are in pixels and those of the others in"
    ):
        sfm.tl.neighborhood_composition(table, "type", radius=20, library_key="sample")


def test_neighbours_that_cannot_be_are_refused_with_what_can(make_sdata):
    _, refusal, _ = run(make_sdata, "neighbours", "one cell")
    assert refusal.endswith("'a (1 cells)'. Pass radius= instead.")
    _, refusal, _ = run(make_sdata, "neighbours", "one cell in one of two")
    assert refusal.endswith('or leave the library out: adata[adata.obs["sample"].astype(str) != "b"].copy().')


def test_markers_that_some_samples_lack_are_named(make_sdata):
    sdata = make_sdata({"a": tissue(), "b": tissue()}, {"a": ["DAPI", "CD3", "CD20"], "b": ["DAPI", "CD3", "CD8"]})
    with pytest.warns(
        SpatialfmWarning,
        match=r"2 of 4 markers are not measured in every sample.*CD20 \(in 1 of 2\), CD8 \(in 1 of 2\)",
    ):
        sfm.tl.embed_cells(sdata, "mean-intensity")
    record = sfm.get.record(sdata["table"], "X_mean_intensity")
    assert record["markers"] == ["DAPI", "CD3"]
    assert record["markers_dropped"] == dict.fromkeys(("CD20", "CD8"), "not measured in every sample")
