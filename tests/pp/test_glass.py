"""Where glass is found, against outlines that we draw."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

import spatialfm as sfm
from spatialfm.pp import glass
from spatialfm.pp.glass import _without_dust, find_tissue_mask, fit_two, has_cells, is_empty, two_modes
from spatialfm.pp.tissue_masks import averaged, found_tissue

SIDE = 256


def overlap(mask: np.ndarray, truth: np.ndarray) -> float:
    return (mask & truth).sum() / (mask | truth).sum()


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def core():
    """Outline of a core of 90 µm on glass."""
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    return y**2 + x**2 < 90**2


def halves(left: float, right: float) -> np.ndarray:
    return np.broadcast_to(np.where(np.arange(SIDE) < SIDE // 2, left, right), (SIDE, SIDE)).astype(float)


@pytest.mark.parametrize("n_channels", [1, 4, 12])
@pytest.mark.parametrize(("left", "right"), [(2, 4), (50, 100), (0.2, 0.4), (7, 7)])
def test_two_densities_of_tissue_are_all_tissue(rng, n_channels, left, right):
    counts = rng.poisson(halves(left, right), (n_channels, SIDE, SIDE))
    assert find_tissue_mask(counts, 0.5).all()


@pytest.mark.parametrize("n_channels", [1, 4, 12])
@pytest.mark.parametrize(("left", "right"), [(0.1, 1), (2, 80), (0.2, 3)])
def test_glass_with_few_counts_is_found(rng, n_channels, left, right):
    counts = rng.poisson(halves(left, right), (n_channels, SIDE, SIDE))
    assert overlap(find_tissue_mask(counts, 0.5), halves(0, 1) > 0) > 0.95


def test_an_offset_of_the_camera_hides_no_glass(rng):
    level = halves(100, 180)
    image = level + rng.standard_normal((3, SIDE, SIDE)) * np.where(level > 100, 30, 5)
    assert overlap(find_tissue_mask(image, 0.5), level > 100) > 0.95


def test_white_and_red_pulp_are_tissue(rng):
    """What is dark in most markers is bright in others."""
    left = rng.poisson(halves(1, 20), (6, SIDE, SIDE))
    right = rng.poisson(halves(30, 2), (2, SIDE, SIDE))
    assert find_tissue_mask(np.concatenate([left, right]), 0.5).all()


def test_neither_dead_channels_nor_hot_pixels_decide(rng, core):
    clean = rng.poisson(np.where(core, 20, 0.5), (5, SIDE, SIDE)).astype(float)
    assert overlap(find_tissue_mask(clean, 0.5), core) > 0.95
    spoilt = clean.copy()
    spoilt[0] = 0  # dead
    spoilt[1].flat[rng.integers(0, SIDE**2, 200)] = 60_000
    assert overlap(find_tissue_mask(spoilt, 0.5), core) > 0.95
    alone = clean[:1].copy()
    alone[0].flat[rng.integers(0, SIDE**2, 30)] = 60_000
    assert overlap(find_tissue_mask(alone, 0.5), core) > 0.9
    full = rng.poisson(10, (3, SIDE, SIDE)).astype(float)
    full[0] *= 1000  # one bright channel with its own pattern
    full[0, :, :128] *= 0.01
    assert find_tissue_mask(full, 0.5).all()


def test_backgrounds_that_were_subtracted(rng, core):
    assert overlap(find_tissue_mask(rng.normal(np.where(core, 20, 0), 3, (3, SIDE, SIDE)), 0.5), core) > 0.95
    standardised = rng.normal(halves(-0.8, 0.8), 0.6, (3, SIDE, SIDE))
    assert find_tissue_mask(standardised, 0.5).all()


def test_the_answer_has_no_unit(rng, core):
    counts = rng.poisson(np.where(core, 20, 0.5), (3, SIDE, SIDE))
    mask = find_tissue_mask(counts.astype(np.uint8), 0.5)
    for other in (counts.astype(np.uint16) * 257, counts / 255, (counts / 65535).astype(np.float32)):
        np.testing.assert_array_equal(find_tissue_mask(other, 0.5), mask)


def test_the_padding_of_a_mosaic_is_not_measured(rng, core):
    counts = rng.poisson(10, (3, SIDE, SIDE))
    counts[:, :40] = 0
    expected = np.arange(SIDE)[:, None] >= 40
    np.testing.assert_array_equal(find_tissue_mask(counts, 0.5), np.broadcast_to(expected, (SIDE, SIDE)))
    image = rng.normal(np.where(core, 200, 100), np.where(core, 30, 5), (3, SIDE, SIDE))
    image[:, :40] = 0
    assert overlap(find_tissue_mask(image, 0.5), core & expected) > 0.95


@pytest.mark.parametrize("value", [0, 7])
def test_images_of_one_value_are_all_tissue(value):
    assert find_tissue_mask(np.full((2, 40, 50), value), 0.5).all()


def test_holes_are_tissue_up_to_a_size(rng):
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    hole = y**2 + x**2 < 50**2  # at 1 µm per pixel 7,854 µm²
    counts = rng.poisson(np.where(hole, 0.2, 10), (4, SIDE, SIDE))
    assert find_tissue_mask(counts, 1.0).all()
    assert overlap(~find_tissue_mask(counts, 5.0), hole) > 0.9  # 196,350 µm²


def test_a_little_tissue_on_a_large_slide(rng):
    y, x = np.mgrid[:1024, :1024]
    tissue = (y - 300) ** 2 + (x - 600) ** 2 < 60**2  # 1 %
    counts = rng.poisson(np.where(tissue, 8 * (1 + 0.5 * np.sin(y / 5) * np.sin(x / 7)), 0.3), (4, 1024, 1024))
    mask, step = found_tissue(lambda y0, y1, x0, x1: counts[:, y0:y1, x0:x1], 4, (1024, 1024), 0.5)
    assert step == 2
    assert overlap(mask.repeat(2, axis=0).repeat(2, axis=1), tissue) > 0.9


def test_segmented_cells_are_tissue(rng):
    counts = rng.poisson(halves(0.1, 5), (3, SIDE, SIDE))
    cells = np.zeros((SIDE, SIDE), bool)
    cells[8::16, 8::16] = True
    cells = np.maximum.reduce([np.roll(cells, (dy, dx), (0, 1)) for dy in range(6) for dx in range(6)])
    assert not find_tissue_mask(counts, 0.5)[:, :100].any()
    assert find_tissue_mask(counts, 0.5, cells).all()  # cells all over the dark half
    lonely = np.zeros_like(cells)
    lonely[100:108, 40:48] = True
    mask = find_tissue_mask(counts, 0.5, lonely)
    assert mask[lonely].all()
    assert 0.5 < mask.mean() < 0.52


def test_averages_are_those_of_squares_and_do_not_depend_on_blocks(rng):
    image = rng.random((2, 70, 95)).astype(np.float32)
    small = averaged(lambda y0, y1, x0, x1: image[:, y0:y1, x0:x1], 2, (70, 95), 4)
    expected = [[image[:, y : y + 4, x : x + 4].mean(axis=(1, 2)) for x in range(0, 95, 4)] for y in range(0, 70, 4)]
    np.testing.assert_allclose(small, np.moveaxis(expected, -1, 0), rtol=1e-6)
    same = averaged(lambda y0, y1, x0, x1: image[:, y0:y1, x0:x1], 2, (70, 95), 4, block=9)
    np.testing.assert_array_equal(small, same)


def test_modes_are_those_of_the_mixture(rng):
    values = np.concatenate([rng.normal(0, 0.1, 3000), rng.normal(1, 0.2, 1000)])
    split = two_modes(values, np.zeros(len(values)), len(values))
    assert split.separation == pytest.approx(np.sqrt(2) / np.hypot(0.1, 0.2), rel=0.05)
    column = values[:, None]
    gain = len(values) * (
        GaussianMixture(2, random_state=0).fit(column).score(column) - GaussianMixture().fit(column).score(column)
    )
    assert split.gain == pytest.approx(gain - 1.5 * np.log(len(values)), rel=0.02)
    assert 0.3 < split.cut < 0.61
    assert two_modes(rng.normal(0, 1, 4000), np.zeros(4000), 4000).separation < glass.MIN_SEPARATION


@pytest.mark.parametrize("apart", [0.5, 1.0, 3.0])
def test_the_mixture_is_sklearns(rng, monkeypatch, apart):
    """Where both go on until nothing changes any more."""
    monkeypatch.setattr(glass, "_SETTLED", 1e-10)
    monkeypatch.setattr(glass, "_ROUNDS", 5000)
    values = np.concatenate([rng.normal(0, 0.3, 2000), rng.normal(apart, 0.6, 700)])
    bright = values > apart / 2
    expected = GaussianMixture(
        2,
        weights_init=[1 - bright.mean(), bright.mean()],
        means_init=[[values[~bright].mean()], [values[bright].mean()]],
        precisions_init=[[[1 / values[~bright].var()]], [[1 / values[bright].var()]]],
        reg_covar=1e-6,
        max_iter=5000,
        tol=1e-10,
    ).fit(values[:, None])
    share, mean, variance = fit_two(values, bright, 1e-6)
    np.testing.assert_allclose(share, expected.weights_, atol=1e-4)
    np.testing.assert_allclose(mean, expected.means_[:, 0], atol=1e-4)
    np.testing.assert_allclose(variance, expected.covariances_[:, 0, 0], rtol=1e-3)


def test_the_search_loads_no_library_of_its_own():
    """What a short run would wait for."""
    code = (
        "import sys, spatialdata, numpy as np; from spatialfm.pp.glass import find_tissue_mask; "
        "find_tissue_mask(np.random.default_rng(0).poisson(5, (2, 128, 128)), 0.5); "
        "sys.exit('sklearn' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code]).returncode == 0


def test_what_is_empty(rng):
    dark = halves(1, 0) > 0
    assert is_empty(rng.poisson(halves(1, 8), (3, SIDE, SIDE)).astype(float), dark, ~dark, 8)
    assert not is_empty(rng.poisson(halves(2, 8), (3, SIDE, SIDE)).astype(float), dark, ~dark, 8)


def test_dim_tissue_is_grained_like_bright_one_and_noise_is_not(rng):
    options = {"mpp": 1.0, "camera_gain": 1, "camera_offset": 0, "read_noise": 0}
    sdata = sfm.datasets.simulate_cohort(1, n_samples=1, image_size=256, random_state=0, **options, difficulty="easy")
    photons, dark = sdata["image_P001_1"].values, halves(1, 0) > 0
    dim = rng.binomial(photons, np.where(dark, 0.01, 0.2)).astype(float)  # 20 times dimmer
    assert is_empty(dim, dark, ~dark, 4)  # judged by levels alone
    assert has_cells(dim, dark, ~dark, 4.0)
    assert find_tissue_mask(dim, 1.0).all()
    flat = np.where(dark, rng.poisson(dim[:, dark].mean(axis=1)[:, None, None], dim.shape), dim)
    assert not has_cells(flat, dark, ~dark, 4.0)
    assert overlap(find_tissue_mask(flat, 1.0), ~dark) > 0.95


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7])
@pytest.mark.parametrize("light", ["fluorescence", "ions", "few ions"])
def test_glass_of_simulated_slides(share, light):
    """Camera offset, autofluorescence and vignetting; or counts, thinned from the photons (binomial of Poisson)."""
    options = {} if light == "fluorescence" else {"mpp": 1.0, "camera_gain": 1, "camera_offset": 0, "read_noise": 0}
    sdata = sfm.datasets.simulate_cohort(
        1, n_samples=1, image_size=256, glass=share, random_state=0, **options, difficulty="easy"
    )
    image = sdata["image_P001_1"].values
    if light != "fluorescence":
        image = np.random.default_rng(0).binomial(image, 0.05 if light == "ions" else 0.005)
    truth = sdata["true_tissue_P001_1"].values > 0 if share else np.ones((256, 256), bool)
    mask = find_tissue_mask(image, options.get("mpp", 0.5))
    assert overlap(mask, truth) > (0.94 if share else 0.999)
    x, y = (sdata["truth"].obsm["spatial"] / options.get("mpp", 0.5)).astype(int).T
    assert mask[y, x].mean() >= 0.99


@pytest.mark.slow
@pytest.mark.real_data
def test_real_fields_are_full_of_tissue(real_data):
    """Spleen, lymph node, pancreas, lymphoma; and breast, whose dim stroma is tissue too."""
    from tifffile import imread

    full = {"spleen_imc/images/*.tif": 1.0, "bnhl_codex/images/*.tif": 0.377, "pancreas_imc/*_imc.tiff": 1.0}
    full |= {"opal_mif/images/*.tif": 0.497}
    for pattern, mpp in full.items():
        for path in sorted(real_data.glob(pattern)):
            assert find_tissue_mask(imread(path), mpp).all(), path.name
    (path,) = real_data.glob("dcis_mibi/images/Point3112_*.tif")
    image = imread(path)
    mask, _ = found_tissue(lambda y0, y1, x0, x1: image[:, y0:y1, x0:x1], len(image), image.shape[1:], 0.5)
    assert mask.mean() > 0.9
    (path,) = real_data.glob("dcis_mibi/images/Point3129_*.tif")  # the lower half was not acquired
    image = imread(path)
    mask, _ = found_tissue(lambda y0, y1, x0, x1: image[:, y0:y1, x0:x1], len(image), image.shape[1:], 0.5)
    acquired = (image != 0).any(axis=(0, 2))
    np.testing.assert_allclose(mask.mean(), acquired.mean(), atol=0.02)


def test_pieces_below_an_area_are_dust_unless_the_edge_cut_them_or_cells_lie_in_them():
    """Of 12 pixels at least: 4 are enough at the edge, where the rest may lie outside."""
    tissue = np.zeros((30, 30), bool)
    pieces = {
        "kept": np.s_[4:7, 4:8],
        "dust": np.s_[4:7, 12:15],
        "cut": np.s_[0:1, 20:24],
        "edge dust": np.s_[29:30, 2:5],
    }
    pieces["with a cell"] = np.s_[20:22, 20:22]
    for place in pieces.values():
        tissue[place] = True
    cells = np.zeros((30, 30), bool)
    cells[21, 21] = True
    found = _without_dust(tissue, 12.0, cells)
    assert {name for name, place in pieces.items() if found[place].all()} == {"kept", "cut", "with a cell"}
    assert {name for name, place in pieces.items() if found[place].any()} == {"kept", "cut", "with a cell"}
    assert not _without_dust(tissue, 12.0, None)[pieces["with a cell"]].any()
