"""Each artifact by what it does to light: doubled, spread, saturated, missing, dark; and only where its mask says."""

from __future__ import annotations

import numpy as np
import pytest

from spatialfm.datasets._simulate_artifacts import _MAKERS, add_artifacts
from spatialfm.datasets._simulate_optics import MAX_COUNT, Camera, expose
from spatialfm.datasets._simulate_options import ARTIFACTS

CAMERA = Camera(psf=0.0, spillover=0.0, background=1.0, gain=4.0, offset=100.0, read_noise=0.0)
EVEN = np.full((6, 96, 96), 200.0, np.float32)
RNG = np.random.default_rng


def made(kind, photons=EVEN, mpp=0.5, seed=0):
    return _MAKERS[kind](photons, CAMERA, mpp, RNG(seed))


def test_every_kind_has_a_maker():
    assert set(_MAKERS) == set(ARTIFACTS)


@pytest.mark.parametrize("kind", ARTIFACTS)
def test_each_covers_a_part_of_the_image(kind):
    for seed in range(5):
        where, altered = made(kind, seed=seed)
        assert where.shape == (96, 96)
        assert altered.shape == EVEN.shape
        assert 0 < where.mean() < 0.7
    assert (EVEN == 200).all()  # the light of the clean image stays as it is


def test_a_fold_adds_the_light_of_the_tissue_beside_it():
    where, altered = made("fold")
    assert altered[:, where] == pytest.approx(400, rel=1e-4)  # as bright again, where all is alike
    for seed in range(6):
        where, _ = made("fold", mpp=1.0, seed=seed)
        inside = np.where(where, EVEN, 0).astype(np.float32)
        added = (made("fold", inside, mpp=1.0, seed=seed)[1] - inside)[:, where]
        assert added.mean() < 0.2 * 200  # hardly any of it is of the band itself


def test_a_fold_is_as_wide_in_um_at_any_pixel_size():
    """A band of 8 to 16 µm across a square of 96 µm: its area over its length, which is at most 136 µm."""
    fine = np.full((1, 192, 192), 200.0, np.float32)
    for seed in range(6):
        area = made("fold", mpp=1.0, seed=seed)[0].sum()
        assert 8 * 48 < area < 16 * 136
        assert made("fold", fine, mpp=0.5, seed=seed)[0].sum() / 4 == pytest.approx(area, rel=0.03)


def test_light_out_of_focus_spreads_as_a_gaussian_of_its_width():
    point = np.zeros((1, 97, 97))
    point[0, 48, 48] = 1000.0
    _, altered = made("blur", point, mpp=0.5)
    y, x = np.mgrid[-48:49, -48:49]
    sigma = 1.8 / 0.5
    expected = 1000 / (2 * np.pi * sigma**2) * np.exp(-(x**2 + y**2) / (2 * sigma**2))
    assert altered[0] == pytest.approx(expected, rel=0.01, abs=0.05)
    assert altered.sum() == pytest.approx(1000)


def test_saturation_reaches_the_end_of_the_range_in_some_channels_and_leaves_the_others():
    hits = []
    for seed in range(10):
        where, altered = made("saturation", seed=seed)
        counts = expose(altered[:, where], CAMERA, RNG(0))
        hit = (altered != EVEN).any(axis=(1, 2))
        assert (counts[hit] == MAX_COUNT).all()
        assert hit.any()
        np.testing.assert_array_equal(altered[~hit], EVEN[~hit])
        hits.append(hit.mean())
    assert min(hits) < 1  # not in all of them


def test_dropout_leaves_a_twentieth_in_some_channels():
    for seed in range(10):
        _, altered = made("dropout", seed=seed)
        levels = altered[:, 0, 0]
        assert (altered == levels[:, None, None]).all()
        assert np.unique(np.round(levels, 3)).tolist() in ([10.0, 200.0], [10.0])


def test_a_seam_goes_through_the_whole_image_and_is_two_um_wide():
    axes = set()
    for seed in range(8):
        where, altered = made("seam", seed=seed)
        assert altered == pytest.approx(0.35 * (200 + 200))
        rows, columns = where.all(axis=1).sum(), where.all(axis=0).sum()
        assert {int(rows), int(columns)} == {0, 4}  # 1 µm to each side of it
        axes.add(rows > columns)
    assert axes == {True, False}
    step = np.zeros((1, 96, 96))
    step[0, 40, 40] = 1.0
    places = np.argwhere(made("seam", step)[1][0])
    down, right = np.abs(places - 40).max(axis=0)
    assert down == right
    assert 1 <= down <= 4  # 0.5 to 2 µm apart


def add(kinds, rate, seed=0):
    clean = expose(EVEN, CAMERA, RNG(9))
    before = clean.copy()
    counts, mask = add_artifacts(clean, EVEN, {kind: RNG([seed, ARTIFACTS[kind]]) for kind in kinds}, rate, CAMERA, 0.5)
    np.testing.assert_array_equal(clean, before)
    return clean, counts, mask


def test_the_image_differs_inside_of_the_mask_alone():
    clean, counts, mask = add(ARTIFACTS, 1.0)
    assert mask.dtype == np.uint8
    assert counts.dtype == np.uint16
    np.testing.assert_array_equal(counts[:, mask == 0], clean[:, mask == 0])
    for kind in ("fold", "seam"):  # brightness by closed form, where nothing later covers it
        level = counts[:, mask == ARTIFACTS[kind]].mean()
        assert level == pytest.approx(100 + 4 * {"fold": 400, "seam": 140}[kind], rel=0.02)


def test_a_later_kind_covers_an_earlier_one_and_leaves_it_elsewhere():
    _, alone, first = add(["fold"], 1.0)
    _, both, mask = add(["fold", "seam"], 1.0)
    assert (mask == ARTIFACTS["seam"]).sum() == 4 * 96
    kept = mask != ARTIFACTS["seam"]
    np.testing.assert_array_equal(mask[kept], first[kept])
    np.testing.assert_array_equal(both[:, kept], alone[:, kept])


def test_the_rate_is_the_share_of_images_that_have_one():
    clean, counts, mask = add(ARTIFACTS, 0.0)
    np.testing.assert_array_equal(counts, clean)
    assert not mask.any()
    small = np.ones((1, 16, 16), np.float32)
    n = 400
    found = sum(add_artifacts(small, small, {"seam": RNG(i)}, 0.3, CAMERA, 1.0)[1].any() for i in range(n))
    assert abs(found / n - 0.3) < 4 * np.sqrt(0.3 * 0.7 / n)
