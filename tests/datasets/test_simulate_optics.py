"""Images: where markers shine, and what optics, camera, slide and artifacts do to them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage, stats

import spatialfm as sfm
from spatialfm.datasets._simulate_artifacts import add_artifacts
from spatialfm.datasets._simulate_optics import MAX_COUNT, SPILL_LENGTH, Camera, blurred, expose, rescaled
from spatialfm.datasets._simulate_options import generator
from spatialfm.datasets._simulate_panel import MARKERS, panel
from spatialfm.datasets._simulate_segmentation import touching_pairs
from spatialfm.datasets._simulate_shapes import contacts
from spatialfm.datasets._simulate_slides import draw_slide, illumination
from spatialfm.datasets._simulate_structures import spectrum

CAMERA = Camera(psf=0.0, spillover=0.0, background=1.0, gain=4.0, offset=100.0, read_noise=8.0)


def _image(sdata, channel, sample="P001_1"):
    return sdata.images[f"image_{sample}"].sel(c=channel).values.astype(float)


def test_noise_is_poisson_and_read_noise():
    rng = np.random.default_rng(0)
    for photons in (5.0, 50.0, 800.0):
        counts = expose(np.full((400, 400), photons, np.float32), CAMERA, rng).astype(float)
        n = counts.size
        variance = 4.0**2 * photons + 8.0**2 + 1 / 12
        assert abs(counts.mean() - (100 + 4 * photons)) < 4 * np.sqrt(variance / n)
        assert abs(counts.var() / variance - 1) < 5 * np.sqrt((2 + 1 / photons) / n)


def test_markers_shine_where_type_and_compartment_say(clean):
    """Every marker, against the expression in the truth: rank correlation over cells, and the brightest compartment."""
    labels = clean.labels["true_cells_P001_1"].values
    truth = clean.tables["truth"]
    edge, _, _ = contacts(labels, 4)
    rim, core = (labels > 0) & (edge <= 1.5), (labels > 0) & (edge > 3.5)
    for name in truth.var_names:
        image = _image(clean, name)
        mean = np.bincount(labels.ravel(), image.ravel())[1:] / np.bincount(labels.ravel())[1:]
        level = truth[:, name].X.ravel()
        bright = level > 0.3
        if bright.sum() < 5:
            continue
        dark = level < 0.05
        assert dark.sum() < 5 or mean[bright].mean() > 1.3 * mean[dark].mean(), name
        if name != "DAPI":
            assert stats.spearmanr(level[level > 0.05], mean[level > 0.05]).statistic > 0.6, name
        in_bright = np.isin(labels, np.flatnonzero(bright) + 1)
        ratio = (image[core & in_bright].mean() - 100) / (image[rim & in_bright].mean() - 100)
        compartment = truth.var.loc[name, "compartment"]
        assert compartment == MARKERS[name][0]
        assert (ratio > 1.5) == (compartment == "nuclear"), name
        if compartment == "membrane":
            assert ratio < 0.6, name


def test_types_show_their_markers(clean):
    truth = clean.tables["truth"].to_df()
    types = clean.tables["truth"].obs["type"]
    markers = {"Tumor": "Cytokeratin", "CD8 T": "CD8", "CD4 T": "CD4", "Treg": "FOXP3", "B": "CD20"}
    markers |= {"Macrophage": "CD68", "Neutrophil": "MPO", "Fibroblast": "Vimentin", "Endothelial": "CD31"}
    for name, marker in markers.items():
        means = truth[marker].groupby(types, observed=True).mean()
        # regulatory cells have almost as much CD4
        assert means[name] > 0.75 * means.max()
        assert means[name] > 3 * means.median()


def test_states_move_their_markers(clean):
    truth = clean.tables["truth"]
    for name, marker, sign in [
        ("Tumor", "Ki67", 1),
        ("CD8 T", "PD1", 1),
        ("Macrophage", "CD163", 1),
        ("CD8 T", "GZMB", -1),
    ]:
        cells = truth.obs["type"] == name
        r = stats.spearmanr(truth.obs.loc[cells, "state"], truth[cells.to_numpy(), marker].X.ravel()).statistic
        assert sign * r > 0.3, (name, marker)


def _light_at_contacts(sdata, marker):
    """Mean counts, in cells without a marker, at contacts with a bright cell and in the same cells away from any."""
    labels = sdata.labels["true_cells_P001_1"].values
    level = np.r_[0, sdata.tables["truth"][:, marker].X.ravel()]
    edge, other, distance = contacts(labels, 4)
    dark = (labels > 0) & (level[labels] < 0.06) & (edge <= 1)  # membrane pixels
    at_contact = dark & (distance <= 1) & (level[other] > 0.5)
    elsewhere = dark & ~np.isfinite(distance) & np.isin(labels, labels[at_contact])
    image = _image(sdata, marker)
    return image[at_contact], image[elsewhere], level[other[at_contact]]


def test_spillover_between_touching_cells(one):
    without, with_ = one(), one(spillover=0.5)
    for marker in ("CD20", "CD3"):
        contact, elsewhere, _ = _light_at_contacts(without, marker)
        assert len(contact) > 50
        assert abs(contact.mean() - elsewhere.mean()) < 0.1 * (elsewhere.mean() - 100) + 4 * contact.std() / np.sqrt(
            len(contact)
        )
        contact, elsewhere, level = _light_at_contacts(with_, marker)
        # half of the neighbour's light, fallen off over one pixel
        expected = 4 * MARKERS[marker][1] * 0.5 * np.exp(-0.5 / SPILL_LENGTH) * level.mean()
        assert contact.mean() - elsewhere.mean() == pytest.approx(expected, rel=0.15)


def test_spillover_of_mean_intensity_reaches_cells_that_touch(one):
    labels = one().labels["true_cells_P001_1"].values
    means = []
    for spillover in (0.0, 0.5):
        sdata = one(spillover=spillover)
        image = _image(sdata, "CD20")
        means.append(np.bincount(labels.ravel(), image.ravel())[1:] / np.bincount(labels.ravel())[1:])
    types = sdata.tables["truth"].obs["type"].to_numpy()
    pairs = touching_pairs(labels) - 1
    pairs = np.concatenate([pairs, pairs[:, ::-1]])
    by_b = np.unique(pairs[(types[pairs[:, 0]] == "B") & (types[pairs[:, 1]] != "B"), 1])
    gained = means[1] - means[0]
    never = np.setdiff1d(np.flatnonzero(types != "B"), by_b)
    assert gained[by_b].mean() > 10 * abs(gained[never].mean())


def test_psf_keeps_light_and_has_its_width(one):
    point = np.zeros((65, 65), np.float32)
    point[32, 32] = 1000
    image = blurred(point, 2.0)
    y, x = np.mgrid[:65, :65] - 32
    assert image.sum() == pytest.approx(1000, rel=1e-4)
    assert (image * x**2).sum() / image.sum() == pytest.approx(4.0, rel=0.02)
    sharp, soft = (_image(one(psf=psf), "CD20") for psf in (0.0, 0.7))
    assert soft.mean() == pytest.approx(sharp.mean(), rel=0.01)
    assert np.abs(np.diff(soft)).mean() < 0.5 * np.abs(np.diff(sharp)).mean()


def test_background_is_a_factor(one):
    dark, lit = one(background=0.0), one(background=2.0)
    empty = dark.labels["true_cells_P001_1"].values == 0
    assert np.all(_image(dark, "CD20")[empty] == 100)
    assert _image(lit, "CD20")[empty].mean() > 110


def test_batch_effect_is_zero_when_asked():
    slide = draw_slide(2, 0, 0.0)
    assert (slide.gain == 1).all()
    assert (slide.background == 1).all()
    assert (illumination(slide, 64) == 1).all()


def test_batch_effect_is_that_of_the_slide():
    one, other = draw_slide(0, 0, 1.0), draw_slide(1, 0, 1.0)
    assert not np.allclose(one.gain, other.gain)
    logs = np.log(np.concatenate([draw_slide(i, 0, 1.0).gain for i in range(50)]))
    assert abs(logs.mean()) < 0.02
    assert logs.std() == pytest.approx(0.25, rel=0.1)
    light = illumination(one, 64)
    assert light.max() > 0.99
    assert light.min() < 0.97


def test_batch_effect_scales_the_image(one):
    """The same tissue, noise apart: the ratio of two images is the gain in the truth times the light."""
    plain, stained = one(background=0.0), one(background=0.0, batch_effect=1.0)
    gain = stained.attrs["truth"]["slides"]["S1"]["gain"]
    light = illumination(draw_slide(0, 3, 1.0), 256)
    for marker in ("DAPI", "Cytokeratin"):
        a, b = _image(plain, marker) - 100, _image(stained, marker) - 100
        assert (b / light).sum() / a.sum() == pytest.approx(gain[marker], rel=0.01)
        left, right = (b[:, half].sum() / a[:, half].sum() for half in (slice(0, 64), slice(192, 256)))
        expected = [(light * a)[:, half].sum() / a[:, half].sum() for half in (slice(0, 64), slice(192, 256))]
        assert left / right == pytest.approx(expected[0] / expected[1], rel=0.02)


def test_patients_of_a_slide_share_its_gain(cohort):
    slides = cohort.attrs["truth"]["slides"]
    assert set(slides) == set(cohort.tables["samples"].obs["slide"]) == {"S1"}
    two = sfm.datasets.simulate_cohort(
        3, n_samples=1, image_size=64, patients_per_slide=2, random_state=1, difficulty="easy"
    )
    assert two.tables["samples"].obs["slide"].tolist() == ["S1", "S1", "S2"]
    assert two.attrs["truth"]["slides"]["S1"] == slides["S1"]


def test_nothing_saturates_unless_asked(cohort, clean):
    for sdata in (cohort, clean):
        for image in sdata.images.values():
            assert image.dtype == np.uint16
            assert image.values.max() < 0.6 * MAX_COUNT


KINDS = {"fold": 1, "blur": 2, "saturation": 3, "dropout": 4, "seam": 5}


@pytest.fixture(scope="module")
def with_artifacts():
    sfm.settings.progress = False
    return {
        kind: sfm.datasets.simulate_cohort(
            2, n_samples=1, random_state=4, artifacts=kind, artifact_rate=1.0, difficulty="easy"
        )
        for kind in KINDS
    }


@pytest.fixture(scope="module")
def without_artifacts():
    sfm.settings.progress = False
    return sfm.datasets.simulate_cohort(2, n_samples=1, random_state=4, difficulty="easy")


@pytest.mark.parametrize("kind", KINDS)
def test_artifacts_are_in_their_masks(with_artifacts, without_artifacts, kind):
    sdata = with_artifacts[kind]
    assert sdata.attrs["truth"]["artifact_codes"] == {kind: KINDS[kind]}
    for sample in ("P001_1", "P002_1"):
        mask = sdata.labels[f"artifacts_{sample}"].values
        assert set(np.unique(mask)) == {0, KINDS[kind]}
        assert 0.001 < (mask > 0).mean() < 0.5
        image, clean = (s.images[f"image_{sample}"].values for s in (sdata, without_artifacts))
        np.testing.assert_array_equal(image[:, mask == 0], clean[:, mask == 0])
        assert (image[:, mask > 0] != clean[:, mask > 0]).any(axis=0).mean() > 0.99


def test_what_artifacts_look_like(with_artifacts, without_artifacts):
    sample = "image_P001_1"
    clean = without_artifacts.images[sample].values.astype(float)
    masks = {kind: sdata.labels["artifacts_P001_1"].values > 0 for kind, sdata in with_artifacts.items()}
    fold, blur, saturation, dropout, seam = (with_artifacts[kind].images[sample].values.astype(float) for kind in KINDS)
    inside = masks["fold"]
    assert (fold[:, inside] - 100).mean() > 1.5 * (clean[:, inside] - 100).mean()
    inside = masks["blur"]
    edges = [np.abs(np.diff(image[0], axis=0))[inside[1:]].mean() for image in (blur, clean)]
    assert edges[0] < 0.65 * edges[1]
    inside = masks["saturation"]
    full = saturation == MAX_COUNT
    assert full.any(axis=0)[inside].all()
    assert not full[:, ~inside].any()
    assert 0 < full[:, inside].all(axis=1).sum() < len(full)
    inside = masks["dropout"]
    left = [(dropout[m, inside] - 100).mean() / (clean[m, inside] - 100).mean() for m in range(len(clean))]
    lost = np.abs(np.array(left) - 0.05) < 0.01
    np.testing.assert_allclose(np.array(left)[~lost], 1, atol=0.02)
    assert 0 < lost.sum() < len(lost)
    inside = masks["seam"]
    rows = [inside.any(axis=axis).sum() for axis in (0, 1)]
    assert sorted(rows) == [4, 256]  # a line of 2 µm through the whole image
    assert (seam[:, inside] - 100).mean() == pytest.approx(0.7 * (clean[:, inside] - 100).mean(), rel=0.15)


def test_optics_of_difficult_tissue(one):
    """Halo, bleed-through, dimmed markers, brightness and the detector, each against its definition."""
    plain = one(background=0.0)
    halo = one(background=0.0, halo=0.4)
    bright = plain["true_cells_P001_1"].values > 0
    a, b = (_image(sdata, "Cytokeratin") - 100 for sdata in (plain, halo))
    assert a.sum() == pytest.approx(b.sum(), rel=0.01)  # scattered, not lost
    far = (a < 4) & ~bright
    expected = 0.4 * blurred(a, 3.0 / 0.5) + 0.6 * a
    assert np.corrcoef(expected.ravel(), b.ravel())[0, 1] > 0.99
    assert b[far].mean() == pytest.approx(expected[far].mean(), rel=0.1)

    leaky = one(background=0.0, bleed_through=0.2)
    before, after = (_image(sdata, "CD3") - 100 for sdata in (plain, leaky))
    nucleus = _image(plain, "DAPI") - 100  # the channel before
    assert after.mean() == pytest.approx((before + 0.2 * nucleus).mean(), rel=0.02)
    third = _image(leaky, "CD8") - 100  # a channel hands on its own light alone
    assert third.mean() == pytest.approx((_image(plain, "CD8") - 100 + 0.2 * before).mean(), rel=0.02)

    dim = one(background=0.0, dim_markers=0.25)
    for marker, factor in (("CD4", 0.25), ("FOXP3", 0.25), ("CD3", 1.0)):
        ratio = (_image(dim, marker) - 100).mean() / (_image(plain, marker) - 100).mean()
        assert ratio == pytest.approx(factor, rel=0.05)


def test_structures_glow_in_every_channel_by_its_colour(one):
    """Collagen and red cells: light outside of the stain, in units of each channel's background."""
    plain = one()
    for name in ("collagen", "red_cells"):
        glowing = one(**{name: 20.0})
        added = np.array([_image(glowing, m).mean() - _image(plain, m).mean() for m in list(MARKERS)[:12]])
        expected = 4.0 * panel(12).background * spectrum(12)
        assert added.min() > 0
        np.testing.assert_allclose(added / added.sum(), expected / expected.sum(), rtol=0.2)
        np.testing.assert_array_equal(glowing["truth"].X, plain["truth"].X)


def test_fields_of_view_and_poles_change_light_and_no_truth(one):
    plain, tiled, polar = one(background=0.0), one(background=0.0, stitching=0.3), one(background=0.0, polarity=0.9)
    ratio = (_image(tiled, "Cytokeratin") - 100).reshape(16, 16, 16, 16).sum(axis=(1, 3))
    ratio = ratio / (_image(plain, "Cytokeratin") - 100).reshape(16, 16, 16, 16).sum(axis=(1, 3))
    bright = (_image(plain, "Cytokeratin") - 100).reshape(16, 16, 16, 16).sum(axis=(1, 3)) > 2e5
    levels = np.log(ratio[bright])
    assert levels.std() > 0.1
    assert len(np.unique(levels.round(1))) < 12  # a few fields of view, each of one brightness, and those on a border
    labels = plain["true_cells_P001_1"].values
    tumor = 1 + np.flatnonzero((plain["truth"].obs["type"] == "Tumor").to_numpy())
    a, b = (_image(sdata, "Cytokeratin") - 100 for sdata in (plain, polar))
    totals = [ndimage.sum(image, labels, tumor) for image in (a, b)]
    np.testing.assert_allclose(np.median(totals[1] / totals[0]), 1, atol=0.05)  # moved within the cell, not added
    spread = [ndimage.standard_deviation(image, labels, tumor).mean() for image in (a, b)]
    assert spread[1] > 1.2 * spread[0]


def test_brightness_spreads_the_markers_and_keeps_their_order():
    plain = panel(40)
    spread = rescaled(plain, [0.5, 200.0], 1.0).photons
    assert (spread.min(), spread.max()) == (pytest.approx(0.5), pytest.approx(200.0))
    np.testing.assert_array_equal(np.argsort(spread, kind="stable"), np.argsort(plain.photons, kind="stable"))
    # evenly in logs: equal ratios stay equal ratios
    logs = np.log(spread), np.log(plain.photons)
    np.testing.assert_allclose(np.corrcoef(*logs)[0, 1], 1.0)
    np.testing.assert_array_equal(rescaled(plain, None, 1.0).photons, plain.photons)


def test_a_subtracted_image_is_the_camera_image_above_its_background(one):
    """The same draws: what the camera counted, less offset and the expected background, and nothing below 0."""
    camera, subtracted = one(background=2.0), one(background=2.0, detector="subtracted")
    for marker in ("CD3", "DAPI"):
        raw, clean = _image(camera, marker), _image(subtracted, marker)
        level = (raw - clean)[clean > 0]
        assert level.max() - level.min() < 1 + 1e-6  # the same level everywhere, rounded down
        assert (raw[clean == 0] <= level.max() + 1).all()
        # background of tissue, 2 * photons * (0.6 to 2) * gain, and the offset of the camera
        photons = dict(zip(MARKERS, panel(40).background, strict=True))[marker]
        assert 100 + 4 * 2 * photons * 0.6 <= level.max() <= 100 + 4 * 2 * photons * 2.0
    assert (clean == 0).any()


def test_ions_are_poisson_counts_without_a_camera():
    sdata = sfm.datasets.simulate_cohort(
        1, n_samples=1, image_size=128, mpp=1.0, difficulty="real", detector="ions", artifacts=(), brightness=(0.3, 50)
    )
    image = sdata["image_P001_1"].values
    assert image.min() == 0
    means = image.mean(axis=(1, 2))
    assert means.max() > 20 * means.min()
    dimmest = image[means.argmin()]
    assert (dimmest == 0).mean() > np.exp(-4 * means.min())  # more zeros than if all pixels were alike
    outside = sdata["true_cells_P001_1"].values == 0
    assert (image[:, outside].mean(axis=1) < image[:, ~outside].mean(axis=1)).all()


def test_artifacts_come_at_their_rate_and_apart():
    photons = np.full((2, 64, 64), 50.0, np.float32)
    counts = expose(photons, CAMERA, np.random.default_rng(0))
    hits = 0
    for seed in range(100):
        alone = {"blur": generator(seed, "artifacts", 2)}
        _, mask = add_artifacts(counts, photons, alone, 0.3, CAMERA, 0.5)
        hits += (mask == 2).any()
        both = {"fold": generator(seed, "artifacts", 1), "blur": generator(seed, "artifacts", 2)}
        _, together = add_artifacts(counts, photons, both, 0.3, CAMERA, 0.5)
        np.testing.assert_array_equal(mask == 2, together == 2)
    assert 15 <= hits <= 45
