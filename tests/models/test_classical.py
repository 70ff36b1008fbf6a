"""The classical features against skimage, scipy, numpy and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.ndimage as ndi
import torch
from skimage.measure import regionprops

import spatialfm as sfm
from spatialfm._errors import ArgumentError, ModelError
from spatialfm.models.classical import MARKER_FEATURES, SHAPE_FEATURES, erode

SIDE = 40


def blobs(n: int = 12, seed: int = 0) -> np.ndarray:
    """Irregular cells in one piece, some with holes, some at the border."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((n, SIDE, SIDE), bool)
    for i in range(n):
        field = ndi.gaussian_filter(rng.standard_normal((SIDE, SIDE)), rng.uniform(1.5, 4), mode="wrap")
        pieces, _ = ndi.label(field > np.quantile(field, 0.75))
        largest = 1 + np.argmax(np.bincount(pieces.ravel())[1:])
        masks[i] = pieces == largest
    return masks


@pytest.fixture(scope="module")
def masks() -> np.ndarray:
    return blobs()


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(1).gamma(1.0, 1.5, size=(12, 3, SIDE, SIDE)).astype(np.float32)


def features(pixels, masks, markers=("a", "b", "c"), **options) -> list[dict[str, float]]:
    encoder = sfm.models.load("classical", **options)
    patch = encoder(torch.as_tensor(pixels), mask=torch.as_tensor(masks)).patch
    names = encoder.feature_names(list(markers))
    return [dict(zip(names, row.tolist(), strict=True)) for row in patch]


def test_shape_is_that_of_regionprops(masks, pixels):
    for mask, found in zip(masks, features(pixels, masks), strict=True):
        props = regionprops(mask.astype(int))[0]
        expected = {
            "area": np.log1p(props.area),
            "perimeter": np.log1p(props.perimeter),
            "eccentricity": props.eccentricity,
            "major_axis": np.log1p(props.axis_major_length),
            "minor_axis": np.log1p(props.axis_minor_length),
            "extent": props.extent,
            "compactness": 4 * np.pi * props.area / props.perimeter**2,
        }
        assert tuple(expected) == SHAPE_FEATURES
        for name, value in expected.items():
            assert found[name] == pytest.approx(value, rel=1e-4), name


def test_intensity_is_numpys(masks, pixels):
    for i, found in enumerate(features(pixels, masks)):
        for m, marker in enumerate("abc"):
            inside = pixels[i, m][masks[i]].astype(np.float64)
            expected = {
                "mean": inside.mean(),
                "q10": np.quantile(inside, 0.1),
                "q50": np.quantile(inside, 0.5),
                "q90": np.quantile(inside, 0.9),
                "std": inside.std(),
            }
            for name, value in expected.items():
                assert found[f"{marker}_{name}"] == pytest.approx(np.arcsinh(value), rel=1e-4, abs=1e-5), name


@pytest.mark.parametrize("rim", [1, 2, 3])
def test_core_to_rim_against_scipys_erosion(masks, pixels, rim):
    found = features(pixels, masks, rim=rim)
    some = False
    for i, mask in enumerate(masks):
        core = ndi.binary_erosion(mask, np.ones((3, 3)), iterations=rim)
        np.testing.assert_array_equal(erode(torch.as_tensor(mask[None]), rim)[0].numpy(), core)
        for m, marker in enumerate("abc"):
            value = found[i][f"{marker}_nuclear_membrane"]
            if not core.any():
                assert value == 0
                continue
            some = True
            inner, outer = pixels[i, m][core].mean(), pixels[i, m][mask & ~core].mean()
            assert value == pytest.approx(math.log((inner + 0.1) / (outer + 0.1)), rel=1e-3, abs=1e-5)
    assert some


def test_nuclear_and_membrane_markers_have_opposite_signs():
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    mask = np.hypot(y, x) < 8
    nuclear, membrane = (np.hypot(y, x) < 5) * 2.0, mask * (np.hypot(y, x) > 6) * 2.0
    found = features(np.stack([nuclear, membrane, mask * 1.0])[None].astype(np.float32), mask[None])[0]
    assert found["a_nuclear_membrane"] > 1
    assert found["b_nuclear_membrane"] < -1
    assert found["c_nuclear_membrane"] == pytest.approx(0, abs=1e-6)


def test_texture_by_hand(masks, pixels):
    for i, found in enumerate(features(pixels, masks)):
        mask = masks[i]
        for m, marker in enumerate("abc"):
            image = pixels[i, m].astype(np.float64)
            squares, lengths = [], []
            for y, x in zip(*np.nonzero(mask), strict=True):
                right = x + 1 < SIDE and mask[y, x + 1]
                below = y + 1 < SIDE and mask[y + 1, x]
                dx = image[y, x + 1] - image[y, x] if right else 0.0
                dy = image[y + 1, x] - image[y, x] if below else 0.0
                squares += [d**2 for d, there in ((dx, right), (dy, below)) if there]
                if right and below:
                    lengths.append(math.hypot(dx, dy))
            assert found[f"{marker}_gradient"] == pytest.approx(np.arcsinh(np.mean(lengths)), rel=1e-4)
            contrast = (np.mean(squares) / 2 + 0.01) / (image[mask].var() + 0.01)
            assert found[f"{marker}_contrast"] == pytest.approx(contrast, rel=1e-3)


def test_texture_in_closed_form():
    """A checkerboard, a ramp and noise: contrast near 2, near 0 and near 1."""
    y, x = np.mgrid[:SIDE, :SIDE]
    noise = np.random.default_rng(0).standard_normal((SIDE, SIDE))
    image = np.stack([((y + x) % 2) * 2.0, 0.3 * x + 0.4 * y, noise]).astype(np.float32)
    found = features(image[None], np.ones((1, SIDE, SIDE), bool))[0]
    assert found["a_contrast"] == pytest.approx(2.01 / 1.01, rel=1e-5)
    assert found["b_contrast"] == pytest.approx((0.125 / 2 + 0.01) / (0.25 * (SIDE**2 - 1) / 12 + 0.01), rel=1e-3)
    assert found["c_contrast"] == pytest.approx(1, abs=0.1)
    assert found["b_gradient"] == pytest.approx(np.arcsinh(0.5), rel=1e-4)


def test_a_flat_marker_has_no_texture_and_no_ratio(masks):
    found = features(np.full((12, 1, SIDE, SIDE), 3.0, np.float32), masks, "a")[0]
    assert found["a_contrast"] == pytest.approx(1, abs=1e-5)
    for name in ("std", "gradient", "nuclear_membrane"):
        assert found[f"a_{name}"] == pytest.approx(0, abs=1e-5)


def test_features_depend_neither_on_the_window_nor_on_what_is_around(masks, pixels):
    encoder = sfm.models.load("classical")
    rng = np.random.default_rng(5)
    small = encoder(torch.as_tensor(pixels * masks[:, None]), mask=torch.as_tensor(masks)).patch
    wide_pixels = rng.standard_normal((12, 3, 96, 80)).astype(np.float32) * 50
    wide_pixels[rng.random(wide_pixels.shape) < 0.01] = np.nan
    wide_masks = np.zeros((12, 96, 80), bool)
    for i in range(12):
        y, x = rng.integers(0, 96 - SIDE), rng.integers(0, 80 - SIDE)
        wide_masks[i, y : y + SIDE, x : x + SIDE] = masks[i]
        wide_pixels[i, :, y : y + SIDE, x : x + SIDE][:, masks[i]] = pixels[i][:, masks[i]]
    wide = encoder(torch.as_tensor(wide_pixels), mask=torch.as_tensor(wide_masks)).patch
    torch.testing.assert_close(wide, small, rtol=1e-5, atol=1e-5)


def test_shape_does_not_depend_on_turning(masks, pixels):
    first = features(pixels, masks)
    second = features(np.rot90(pixels, axes=(2, 3)).copy(), np.rot90(masks, axes=(1, 2)).copy())
    for one, other in zip(first, second, strict=True):
        for name in one:
            assert other[name] == pytest.approx(one[name], rel=1e-4, abs=2e-3 if "gradient" not in name else 0.2), name


def test_sizes_in_micrometres(masks, pixels):
    plain, scaled = features(pixels, masks)[0], features(pixels, masks, mpp=0.5)[0]  # a rim of 2 pixels in both
    assert np.expm1(scaled["area"]) == pytest.approx(np.expm1(plain["area"]) / 4, rel=1e-4)
    for name in ("perimeter", "major_axis", "minor_axis"):
        assert np.expm1(scaled[name]) == pytest.approx(np.expm1(plain[name]) / 2, rel=1e-4)
    gradients = [name for name in plain if name.endswith("gradient")]
    for name in gradients:  # per µm, no longer per pixel
        assert np.sinh(scaled[name]) == pytest.approx(2 * np.sinh(plain[name]), rel=1e-4)
    same = [name for name in plain if name not in ("area", "perimeter", "major_axis", "minor_axis", *gradients)]
    assert [scaled[name] for name in same] == [plain[name] for name in same]


def test_one_pixel_and_no_pixel():
    pixels, masks = np.full((2, 1, 8, 8), 2.0, np.float32), np.zeros((2, 8, 8), bool)
    masks[0, 7, 0] = True
    one, none = features(pixels, masks, "a")
    assert one["area"] == pytest.approx(math.log(2))
    assert one["a_mean"] == one["a_q10"] == one["a_q90"] == pytest.approx(math.asinh(2))
    assert (one["extent"], one["eccentricity"], one["a_std"], one["a_contrast"]) == (1, 0, 0, 1)
    assert set(none.values()) == {0.0}


def test_a_batch_without_cells():
    encoder = sfm.models.load("classical")
    assert encoder(torch.ones(3, 2, 8, 8), mask=torch.zeros(3, 8, 8)).patch.abs().sum() == 0
    assert encoder(torch.ones(0, 2, 8, 8), mask=torch.zeros(0, 8, 8)).patch.shape == (0, 7 + 16)


def test_names():
    names = sfm.models.load("classical").feature_names(["CD3", "CD8"])
    assert names[:7] == list(SHAPE_FEATURES)
    assert names[7:15] == [f"CD3_{feature}" for feature in MARKER_FEATURES]
    assert names[15] == "CD8_mean"


def test_scale_normalization_does_not_see_units(masks, pixels):
    encoder = sfm.models.load("classical")
    mask = torch.as_tensor(masks)
    outs = []
    for unit in (1.0, 257.0):
        raw = torch.as_tensor(pixels) * unit
        std = raw.permute(1, 0, 2, 3).flatten(1).std(1)
        outs.append(encoder(encoder.normalize(raw, torch.zeros(3), std), mask=mask).patch)
    torch.testing.assert_close(outs[0], outs[1], rtol=1e-4, atol=1e-5)


def test_mean_intensity(masks, pixels):
    encoder = sfm.models.load("mean-intensity")
    patch = encoder(torch.as_tensor(pixels), mask=torch.as_tensor(masks)).patch
    expected = [[pixels[i, m][masks[i]].mean() for m in range(3)] for i in range(12)]
    np.testing.assert_allclose(patch, expected, rtol=1e-5)
    assert encoder.feature_names(["a", "b"]) == ["a", "b"]
    whole = encoder(torch.as_tensor(pixels)).patch
    np.testing.assert_allclose(whole, pixels.mean((2, 3)), rtol=1e-5)
    assert not encoder.card.recipe.standardize
    assert encoder.card.recipe.normalization == "none"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mpp": 0}, r"mpp=0\): mpp must be a number above 0 or None"),
        ({"mpp": math.nan}, r"mpp=nan\): mpp must be"),
        ({"rim": 0}, r"rim=0\): rim must be a number above 0 and up to 1000 or None"),
        ({"rim": math.nan}, r"rim=nan\): rim must be"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ArgumentError, match=message):
        sfm.models.load("classical", **options)


def test_mask_is_checked():
    encoder = sfm.models.load("classical")
    with pytest.raises(ModelError, match=r"measures cells: pass mask=\(B, H, W\), True in the cell"):
        encoder(torch.ones(1, 2, 8, 8))
    with pytest.raises(ModelError, match=r"got \(1, 2, 8, 8\) and \(1, 8, 9\)"):
        encoder(torch.ones(1, 2, 8, 8), mask=torch.ones(1, 8, 9))


def windows_of(region, labels, cells, starts, side):
    """What `embed_cells` gives an encoder: one window a cell, masked, its centre where no pixel is the cell's."""
    cut = [(slice(y, y + side), slice(x, x + side)) for y, x in starts]
    mask = np.stack([labels[at] == cell for at, cell in zip(cut, cells, strict=True)])
    lost = ~mask.any(axis=(1, 2))
    mask[lost, side // 2, side // 2] = True
    return np.stack([region[:, y, x] for y, x in cut]), mask


@pytest.mark.parametrize("side", [2, 9, 24])  # windows that cut cells off, and that hold them all
@pytest.mark.parametrize(
    "options", [{}, {"mpp": 0.5}, {"mpp": 0.13}, {"mpp": 0.5, "rim": 0.8}, {"mpp": 1.0}, {"rim": 30.0}]
)
def test_cells_measured_on_a_block_are_those_of_their_windows(options, side):
    """Holes, pieces, lines, single pixels, cells that touch, that are not there, and that the window cuts."""
    rng = np.random.default_rng(3)
    height = 90
    field = ndi.gaussian_filter(rng.standard_normal((height, height)), 2)
    labels = ndi.label(field > 0.02)[0].astype(np.int64) * 1000
    labels[rng.random(labels.shape) < 0.03] = 0
    labels[50, 20:40], labels[60:80, 50], labels[70, 70], labels[70, 75] = 5, 6, 7, 7
    cells = np.r_[np.unique(labels)[1:], 999]
    region = rng.gamma(1.0, 1.5, size=(3, height, height)).astype(np.float32)
    region[1] = 2.5  # no variance
    middle = np.array(
        [np.argwhere(labels == cell).mean(axis=0) if (labels == cell).any() else (9, 9) for cell in cells]
    )
    starts = np.clip(np.floor(middle).astype(np.int64) - side // 2, 0, height - side)
    std = np.array([1.3, 0.7, 2.0], np.float32)
    encoder = sfm.models.load("classical", **options)
    found = encoder.measure_cells(region, labels, cells, starts, np.full(cells.size, side), std)
    pixels, mask = windows_of(region, labels, cells, starts, side)
    expected = encoder(torch.as_tensor(pixels / std[:, None, None]), mask=torch.as_tensor(mask)).patch.numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert found.dtype == np.float32


def test_groups_of_cells_change_no_digit(monkeypatch):
    rng = np.random.default_rng(0)
    labels = np.arange(1, 17).repeat(16).reshape(16, 4, 4).swapaxes(0, 1).reshape(4, 64).repeat(2, axis=0)
    region = rng.random((2, 8, 64)).astype(np.float32)
    arguments = (region, labels, np.arange(1, 17), np.zeros((16, 2), np.int64), np.full(16, 8), np.ones(2, np.float32))
    encoder = sfm.models.load("classical")
    whole = encoder.measure_cells(*arguments)
    monkeypatch.setattr("spatialfm.models.classical_kernels._HELD", 1)
    np.testing.assert_array_equal(encoder.measure_cells(*arguments), whole)


def test_embed_cells_measures_on_blocks_what_it_would_on_windows(monkeypatch, tmp_path):
    """At the image's own pixel size and at another, with windows that cut cells."""
    from spatialfm.embed.windows.crop import CropJob

    sdata = sfm.datasets.simulate_cohort(1, n_samples=1, image_size=128, mpp=0.4, random_state=0, difficulty="easy")
    sfm.pp.cell_table(sdata)
    for options in ({}, {"recipe": {"window": 11}}):
        new = sfm.tl.embed_cells(sdata, "classical", copy=True, run={"resume": False}, **options)
        with monkeypatch.context() as patch:
            patch.setattr(CropJob, "measures", False)
            old = sfm.tl.embed_cells(sdata, "classical", copy=True, run={"resume": False}, **options)
        np.testing.assert_allclose(rows_of(new), rows_of(old), rtol=1e-5, atol=1e-5)


def rows_of(result) -> np.ndarray:
    return np.asarray(next(values for key, values in result.obsm.items() if key != "spatial"))
