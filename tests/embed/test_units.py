"""One run, one unit: images of several pixel sizes, pixel types and ranges."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import scipy.ndimage as ndi
import spatialdata as sd
import torch
from scipy.stats import spearmanr
from spatialdata.models import Image2DModel, Labels2DModel
from spatialdata.transformations import Identity, Scale, set_transformation

import spatialfm as sfm
from spatialfm._errors import PanelError, PixelSizeError, SpatialfmWarning
from spatialfm.embed.pixels.geometry import common_pixel_size, resampling_ratios
from spatialfm.embed.pixels.reader import resampling_weights
from spatialfm.pp.units import apart, intensity_ranges


def at_sizes(parts: dict[str, tuple[np.ndarray, np.ndarray, float | None]]) -> sd.SpatialData:
    """``{sample: (image, labels, µm per pixel)}`` as the readers make it."""
    images, labels = {}, {}
    for sample, (image, label, mpp) in parts.items():
        systems = {sample: Identity() if mpp is None else Scale([mpp, mpp], axes=("x", "y"))}
        names = ["DAPI", "CD3", "CD20", "CD8", "panCK"][: len(image)]
        images[f"image_{sample}"] = Image2DModel.parse(
            image, dims=("c", "y", "x"), c_coords=names, transformations=dict(systems)
        )
        labels[f"cells_{sample}"] = Labels2DModel.parse(label, dims=("y", "x"), transformations=dict(systems))
    return sd.SpatialData(images=images, labels=labels)


@pytest.fixture(scope="module")
def tissue() -> tuple[np.ndarray, np.ndarray]:
    """Simulated tissue at 0.25 µm per pixel: five markers, some hundred cells."""
    sfm.settings.progress = False
    fine = sfm.datasets.simulate_cohort(
        n_patients=1, n_samples=1, image_size=480, mpp=0.25, dilation=2, random_state=0, difficulty="easy"
    )
    return fine["image_P001_1"].values[:5].astype(np.float32), fine["cells_P001_1"].values.astype(np.int32)


def averaged(image: np.ndarray, k: int) -> np.ndarray:
    """What a camera with pixels k times as large sees."""
    channels, height, width = image.shape
    return image.reshape(channels, height // k, k, width // k, k).mean((2, 4))


def zoomed(image: np.ndarray, labels: np.ndarray, factor: float) -> tuple[np.ndarray, np.ndarray]:
    blurred = [ndi.gaussian_filter(channel, (factor - 1) / 2) for channel in image]
    small = [ndi.zoom(channel, 1 / factor, order=1, grid_mode=True, mode="nearest") for channel in blurred]
    return np.stack(small), ndi.zoom(labels, 1 / factor, order=0, grid_mode=True, mode="nearest")


def paired(sdata: sd.SpatialData, one: str, other: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Standardised features of the cells that two samples share, and their names."""
    table, rows = sdata["table"], {}
    for name in (one, other):
        mine = (table.obs["sample"] == name).to_numpy()
        rows[name] = dict(zip(table.obs["cell_id"][mine], np.asarray(table.obsm["X_classical"])[mine], strict=True))
    shared = sorted(set(rows[one]) & set(rows[other]))
    assert len(shared) > 100
    names = sfm.get.record(table, "X_classical")["feature_names"]
    return *(np.stack([rows[name][cell] for cell in shared]) for name in (one, other)), names


# the bounding box of a cell ten pixels wide is known to a pixel, so that its share of it is known least of all
LOOSE = ("extent",)


@pytest.mark.parametrize(("finer", "coarser"), [(0.25, 0.5), (0.25, 0.65), (0.5, 0.65), (0.5, 1.0)])
def test_classical_says_the_same_of_the_same_cells_at_two_pixel_sizes(tissue, finer, coarser):
    image, labels = tissue
    sampled = {
        0.25: (image, labels),
        0.5: (averaged(image, 2), labels[::2, ::2]),
        0.65: zoomed(image, labels, 2.6),
        1.0: (averaged(image, 4), labels[2::4, 2::4]),
    }
    sdata = at_sizes({"fine": (*sampled[finer], finer), "coarse": (*sampled[coarser], coarser)})
    sfm.tl.embed_cells(sdata, "classical")
    used = sfm.get.record(sdata["table"], "X_classical")["mpp_used"]
    assert used == pytest.approx(dict.fromkeys(("fine", "coarse"), coarser))
    one, other, names = paired(sdata, "fine", "coarse")
    off, shift = np.median(np.abs(one - other), axis=0), np.abs(np.median(one - other, axis=0))
    alike = np.array([spearmanr(a, b)[0] for a, b in zip(one.T, other.T, strict=True)])
    loose = np.isin(names, LOOSE)
    assert off[~loose].max() < 0.25, sorted(zip(off.round(2), names, strict=True))[-3:]
    assert off[loose].max() < 0.45
    assert shift.max() < 0.2, sorted(zip(shift.round(2), names, strict=True))[-3:]
    assert np.median(alike) > 0.95
    assert alike.min() > 0.7


def test_features_of_two_runs_are_in_one_unit(tissue):
    """Each size in its own run, with its own statistics."""
    image, labels = tissue
    rows = {}
    for mpp, k in ((0.25, 1), (0.5, 2)):
        sdata = at_sizes({"s": (averaged(image, k), labels[k // 2 :: k, k // 2 :: k], mpp)})
        sfm.tl.embed_cells(sdata, "classical")
        record = sfm.get.record(sdata["table"], "X_classical")
        assert record["model_options"]["mpp"] == 0.5
        rows[mpp] = np.asarray(sdata["table"].obsm["X_classical"])
    # 0.25 µm pixels are averaged in twos, and labels read at the same points: nothing else differs
    np.testing.assert_allclose(rows[0.25], rows[0.5], atol=2e-3)


def test_larger_pixels_are_the_mean_of_those_they_cover():
    weights, (a, b) = resampling_weights(1, 4, 2.0, 12, area=True)
    assert (a, b) == (1, 9)
    np.testing.assert_allclose(weights @ np.arange(a, b), [2.5, 4.5, 6.5])
    weights, (a, b) = resampling_weights(0, 2, 1.5, 3, area=True)  # pixel 1 is shared
    np.testing.assert_allclose(weights @ np.array([3.0, 6.0, 30.0])[a:b], [(3 + 6 / 2) / 1.5, (6 / 2 + 30) / 1.5])


@pytest.mark.parametrize(
    ("name", "sizes", "common"),
    [
        ("classical", [0.25], 0.5),
        ("classical", [0.25, 0.5], 0.5),
        ("classical", [0.4962], 0.4962),
        ("classical", [0.5, 1.0], 1.0),
        ("classical", [None, None], None),
        ("mean-intensity", [0.25], None),
        ("mean-intensity", [0.25, 0.5], 0.5),
        ("openphenom", [0.3, 0.65], 0.65),
        ("kronos", [0.37], None),
        ("kronos", [0.5, 0.5], None),
        ("kronos", [0.37, 0.5], 0.5),  # both were trained on, but a window of one run has one side
        ("kronos", [0.25, 1.0], 0.5),
        ("virtues", [0.5, 1.0], None),  # each goes to 1 µm by itself
    ],
)
def test_the_common_size_of_a_run(name, sizes, common):
    card = sfm.models.card(name)
    assert common_pixel_size(card, sizes) == common
    ratios = resampling_ratios(card, sizes, resample=True, common=common)
    if None not in sizes:
        used = [size * ratio for size, ratio in zip(sizes, ratios, strict=True)]
        assert max(used) <= 1.1 * min(used)


@pytest.mark.parametrize("model", ["mean-intensity", "openphenom", "kronos"])
def test_tiles_of_a_run_have_one_side_in_micrometres(model):
    rng = np.random.default_rng(0)
    parts = {}
    for sample, mpp, side in (("a", 0.37, 200), ("b", 0.5, 148)):
        parts[sample] = (rng.gamma(2, 20, (3, side, side)).astype(np.uint8), np.eye(side, dtype=np.int32), mpp)
    sdata = at_sizes(parts)
    weights = None if model == "mean-intensity" else "random"
    sfm.tl.embed_tiles(sdata, model, weights=weights, size=32, min_tissue=0, panel={"on_unknown": "keep"})
    for sample in "ab":
        bounds = sdata[f"tiles_{sample}"].bounds
        np.testing.assert_allclose(bounds["maxx"] - bounds["minx"], 16.0)


def test_mean_intensity_of_cells_is_that_of_the_table_whatever_the_sizes(tissue):
    image, labels = tissue
    sdata = at_sizes({"a": (image, labels, 0.25), "b": (averaged(image, 2), labels[::2, ::2], 0.5)})
    sfm.tl.embed_cells(sdata, "mean-intensity")
    np.testing.assert_allclose(sdata["table"].obsm["X_mean_intensity"], sdata["table"].X, rtol=1e-4)


def test_known_beside_unknown_sizes_are_refused_and_all_unknown_are_pixels(tissue):
    image, labels = tissue
    half = averaged(image, 2), labels[::2, ::2]
    sdata = at_sizes({"a": (*half, 0.5), "b": (*half, None)})
    with pytest.raises(PixelSizeError, match=r"pixel size is known for 'image_b'.*that of 'image_a' is.*two units"):
        sfm.pp.cell_table(sdata)
    with pytest.raises(PixelSizeError, match=r"1 of 2 images is unknown \('image_b'\), that of 'image_a' is known"):
        sfm.tl.embed_tiles(sdata, "mean-intensity", size=32)
    for element in ("image_a", "cells_a"):
        set_transformation(sdata[element], Identity(), "a")
    with pytest.warns(SpatialfmWarning, match="No pixel size is known for 2 images"):
        sfm.tl.embed_cells(sdata, "classical")
    record = sfm.get.record(sdata["table"], "X_classical")
    assert record["mpp_used"] == {"a": None, "b": None}
    assert record["model_options"]["mpp"] is None


def test_a_size_that_cannot_be_is_no_unit(tissue):
    image, labels = tissue
    sdata = at_sizes({"a": (image[:, :60, :60], labels[:60, :60], 0.0005)})  # millimetres
    with pytest.raises(PixelSizeError, match=r"0.0005 µm per pixel of labels 'cells_a' cannot be"):
        sfm.pp.cell_table(sdata)


def test_without_resampling_the_mixture_is_said(tissue):
    image, labels = tissue
    sdata = at_sizes({"a": (image, labels, 0.25), "b": (averaged(image, 2), labels[::2, ::2], 0.5)})
    with pytest.warns(SpatialfmWarning, match=r"0.25 to 0.5 µm per pixel are used side by side without resampling"):
        sfm.tl.embed_cells(sdata, "classical", recipe={"resampling": "none"})
    record = sfm.get.record(sdata["table"], "X_classical")
    assert "side by side" in record["domain_warnings"][0]
    assert record["model_options"]["mpp"] is None


def test_an_encoder_loaded_for_a_size_gets_it(tissue):
    image, labels = tissue
    sdata = at_sizes({"a": (image, labels, 0.25)})
    sfm.tl.embed_cells(sdata, sfm.models.load("classical", mpp=1.0))
    assert sfm.get.record(sdata["table"], "X_classical")["mpp_used"] == {"a": 1.0}


def test_texture_and_rim_are_in_micrometres():
    """Pixels cut in four, at half the size: the same picture, so the same features."""
    rng = np.random.default_rng(0)
    mask = np.zeros((1, 30, 30), bool)
    mask[0, 4:26, 6:24] = True
    pixels = rng.gamma(2, 1, (1, 2, 30, 30)).astype(np.float32)

    def features(mpp, k):
        encoder = sfm.models.load("classical", mpp=mpp)
        cut = np.kron(pixels, np.ones((k, k), np.float32)), np.kron(mask, np.ones((k, k), bool))
        patch = encoder(torch.as_tensor(cut[0]), mask=torch.as_tensor(cut[1])).patch[0]
        return dict(zip(encoder.feature_names(["a", "b"]), patch.tolist(), strict=True))

    coarse, fine = features(0.5, 1), features(0.25, 2)
    for name in ("area", "extent", *(f"{m}_{f}" for m in "ab" for f in ("mean", "std", "nuclear_membrane"))):
        assert fine[name] == pytest.approx(coarse[name], rel=1e-5), name
    for name in ("a_gradient", "a_contrast", "b_gradient", "b_contrast"):
        assert fine[name] == pytest.approx(coarse[name], rel=0.02), name


def test_a_rim_of_one_and_a_half_pixels_takes_half_of_the_second():
    pixels = torch.zeros(1, 1, 5, 5)
    pixels[0, 0, 2, 2], pixels[0, 0, 1:4, 1:4] = 9.0, 1.0
    pixels[0, 0, 2, 2] = 9.0
    encoder = sfm.models.load("classical", mpp=1.0, rim=1.5)
    names = encoder.feature_names(["a"])
    value = encoder(pixels, mask=torch.ones(1, 5, 5, dtype=torch.bool)).patch[0, names.index("a_nuclear_membrane")]
    core, rim = (8 * 0.5 * 1 + 9) / (8 * 0.5 + 1), 8 * 0.5 * 1 / (16 + 8 * 0.5)
    assert value.item() == pytest.approx(np.log((core + 0.1) / (rim + 0.1)), rel=1e-5)


DTYPES = {
    "bytes beside words": (np.uint8, np.uint16),
    "words beside long words": (np.uint16, np.uint32),
    "words beside floats": (np.uint16, np.float32),
    "signed beside floats": (np.int16, np.float64),
}


@pytest.mark.parametrize("dtypes", DTYPES.values(), ids=DTYPES.keys())
def test_pixel_types_that_differ_are_refused_until_they_are_given_a_range(make_sdata, blobs, dtypes):
    (image, labels), (other, others) = blobs(0), blobs(1)
    parts = {"a": (image.astype(dtypes[0]), labels), "b": (other.astype(dtypes[1]), others)}
    sdata = make_sdata(parts, ["x", "y", "z"])
    for call in (sfm.tl.embed_cells, sfm.tl.embed_tiles):
        with pytest.raises(PanelError, match=r"different pixel types \(a: .*; b: .*intensity_max.: \{sample: value\}"):
            call(sdata, "mean-intensity")
    assert not [key for table in sdata.tables.values() for key in table.obsm if key.startswith("X_")]
    sfm.tl.embed_cells(sdata, "mean-intensity", recipe={"intensity_max": {"a": 100, "b": 100}})
    table = sdata["table"]
    np.testing.assert_allclose(table.obsm["X_mean_intensity"], table.X / 100, rtol=1e-5)
    assert sfm.get.record(table, "X_mean_intensity")["intensity_max"] == {"a": 100, "b": 100}


def test_pixel_types_that_differ_are_named_by_the_table(make_sdata, blobs):
    (image, labels), (other, others) = blobs(0), blobs(1)
    sdata = make_sdata({"a": (image, labels), "b": (other.astype(np.uint16), others)}, ["x", "y", "z"])
    with pytest.raises(PanelError, match=r"pixel types \(a: uint8; b: uint16\).*make a table of each with samples="):
        sfm.pp.cell_table(sdata)
    assert "table" not in sdata.tables


def test_a_table_is_in_the_unit_of_the_largest_range(make_sdata, blobs):
    """A field in 8 bits, and the same in 16 and as shares of 1: one number for one brightness."""
    image, labels = blobs(0)
    parts = {"a": image, "b": image.astype(np.uint16) * 257, "c": (image / 255).astype(np.float32)}
    sdata = make_sdata({name: (pixels, labels) for name, pixels in parts.items()}, ["x", "y", "z"])
    sfm.pp.cell_table(sdata, intensity_max={"a": 255, "b": 65535, "c": 1}, quantiles=0.5)
    table = sdata["table"]
    by_sample = {name: table[table.obs["sample"] == name] for name in parts}
    for name in "ac":
        np.testing.assert_allclose(by_sample[name].X, by_sample["b"].X, rtol=1e-5)
        np.testing.assert_allclose(by_sample[name].layers["q50"], by_sample["b"].layers["q50"], rtol=1e-5)
    factors = json.loads(table.uns["spatialfm"]["table"]["intensity_factors"])
    assert factors == {"a": 257.0, "b": 1.0, "c": 65535.0}
    # one value for all says that they hold the same counts
    sfm.pp.cell_table(sdata, samples=["a", "b"], intensity_max=255, table_name="counts")
    counts = sdata["counts"]
    own = [counts[counts.obs["sample"] == name].X for name in "ab"]
    np.testing.assert_allclose(own[1], own[0] * 257, rtol=1e-6)


@pytest.mark.slow  # the model of full size; the unit itself is tested above
def test_virtues_takes_samples_in_the_unit_of_the_largest_range(make_sdata, blobs):
    """The same field in 8 and in 16 bits is the same for a model that takes logarithms, once it is in one unit."""
    image, labels = blobs(0, side=96, n_cells=6)
    wide = image.astype(np.uint16) * 257
    encoder = sfm.models.load("virtues", weights="random")
    rng = np.random.default_rng(0)
    vectors = {name: rng.normal(size=encoder.marker_dim).astype(np.float32) for name in ("x", "y", "z")}
    rows = []
    for first, ranges in ((image, {"a": 255, "b": 65535}), (wide, None)):
        sdata = make_sdata({"a": (first, labels), "b": (wide, labels)}, ["x", "y", "z"])
        sfm.tl.embed_cells(
            sdata,
            encoder,
            panel={"embeddings": vectors, "on_unknown": "keep"},
            recipe={"intensity_max": ranges, "stride": 128},
        )
        rows.append(np.asarray(sdata["table"].obsm["X_virtues"]))
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-4)


def test_ranges_of_pixel_types():
    u8, u16, f4, f8, i4 = map(np.dtype, ("u1", "u2", "f4", "f8", "i4"))
    assert intensity_ranges({"a": u8, "b": u8}, None) == {"a": 255, "b": 255}
    assert intensity_ranges({"a": f4, "b": f8}, None) == {"a": 1, "b": 1}  # the same numbers in another precision
    assert intensity_ranges({"a": u16, "b": f4}, 4095) == {"a": 4095, "b": 4095}
    assert intensity_ranges({"a": u16, "b": u16}, {"a": 4095}) == {"a": 4095, "b": 65535}
    with pytest.raises(PanelError, match="names sample 'c'; the samples are 'a'"):
        intensity_ranges({"a": u8}, {"c": 1})
    with pytest.raises(PanelError, match="intensity_max.*-1.* must be"):
        intensity_ranges({"a": u8}, {"a": -1})
    with pytest.raises(PanelError, match="different pixel types"):
        intensity_ranges({"a": i4, "b": u16}, {"a": 65535})


def said(call, *arguments, **options) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(*arguments, **options)
    return [str(item.message) for item in caught if item.category is SpatialfmWarning]


def test_an_export_of_eight_bits_in_sixteen_is_named(make_sdata, blobs):
    parts = {name: blobs(seed, side=220, n_cells=60) for seed, name in enumerate("abc")}
    raw = {
        name: (image.astype(np.uint16) * (1 if name == "b" else 200), labels) for name, (image, labels) in parts.items()
    }
    sdata = make_sdata(raw, ["x", "y", "z"])
    for call in (sfm.pp.cell_table, sfm.tl.embed_cells):
        (found,) = [line for line in said(call, sdata) if "darker" in line]
        assert "Pixels of 'b' are some 200 times darker than those of 'a', 'c'" in found
    ranges = {"a": 65535, "b": 65535 / 200, "c": 65535}
    assert not [line for line in said(sfm.tl.embed_cells, sdata, recipe={"intensity_max": ranges}) if "darker" in line]


def test_staining_that_differs_is_no_other_unit():
    rng = np.random.default_rng(0)
    levels = 100 * rng.lognormal(0, 0.7, (12, 20)) * rng.lognormal(0, 0.5, (12, 1))
    assert apart(levels) is None
    levels[3, 4:9] = 0.01  # five markers that failed in one sample
    assert apart(levels) is None
    levels[[1, 5]] /= 256
    low, factor = apart(levels)
    assert np.flatnonzero(low).tolist() == [1, 5]
    assert 80 < factor < 800
    assert apart(np.full((3, 2), np.nan)) is None
    assert apart(np.zeros((2, 2))) is None
