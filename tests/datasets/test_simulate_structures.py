"""Collagen, red blood cells, fields of view."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from spatialfm.datasets._simulate_fields import VESSEL, draw_fields
from spatialfm.datasets._simulate_structures import fibres, red_blood_cells, spectrum, stitched, structures

SIZE, MPP, MARGIN = 200, 0.5, 12.0


@pytest.fixture(scope="module")
def layout():
    return draw_fields(SIZE * MPP + 2 * MARGIN, np.array([0.4, 0.35, 0.05, 0.2]), np.random.default_rng(0))


def drawn(layout, collagen, red_cells):
    return structures(layout, SIZE, MPP, MARGIN, collagen, red_cells, np.random.default_rng(0))


def test_structures_are_as_bright_as_they_were_asked_for(layout):
    assert drawn(layout, 0.0, 0.0) is None
    collagen, red, both = drawn(layout, 3.0, 0.0), drawn(layout, 0.0, 6.0), drawn(layout, 3.0, 6.0)
    np.testing.assert_allclose(both, collagen + red, rtol=1e-5)
    np.testing.assert_allclose(drawn(layout, 6.0, 0.0), 2 * collagen, rtol=1e-5, atol=1e-6)
    assert red.max() == pytest.approx(6.0, rel=0.1)
    assert 1.5 < collagen.max() <= 3.0


def test_collagen_is_in_stroma_and_red_cells_are_in_vessels(layout):
    fibrous = layout.glow(SIZE, MPP, MARGIN)
    collagen, red = drawn(layout, 1.0, 0.0), drawn(layout, 0.0, 1.0)
    assert collagen[fibrous < 0.01].max() < 0.01
    assert collagen[fibrous > 0.9].mean() > 0.1
    at = MARGIN + (np.arange(SIZE) + 0.5) * MPP
    points = np.stack(np.meshgrid(at, at), axis=-1).reshape(-1, 2)
    niche = layout.at(layout.niche, points).reshape(SIZE, SIZE)
    assert red.any()
    assert (niche[red > 0] == VESSEL).mean() > 0.8
    hit = layout.at(layout.to_wall, points).reshape(SIZE, SIZE)
    assert np.median(hit[red > 0]) < 1.5  # µm: in the lumen, or at its wall


def test_fibres_are_thin_lines():
    image = fibres(400, 0.5, np.random.default_rng(1))
    assert image.min() >= 0
    assert image.max() <= 1
    assert 0.1 < (image > 0.5).mean() < 0.5


def test_red_cells_are_discs_of_their_size():
    single = draw_fields(150.0, np.array([0.5, 0.4, 0.05, 0.05]), np.random.default_rng(2))
    image = red_blood_cells(single, 600, 0.25, 0.0, np.random.default_rng(0))
    pieces, n = ndimage.label(image > 0)
    inside = np.setdiff1d(np.arange(1, n + 1), np.concatenate([pieces[[0, -1]].ravel(), pieces[:, [0, -1]].ravel()]))
    area = np.bincount(pieces.ravel())[inside] * 0.25**2  # µm²
    assert area.min() == pytest.approx(np.pi * 3.4**2, rel=0.02)  # one alone; others overlap
    assert image[image > 0].min() == pytest.approx(0.6, abs=0.03)  # paler in the middle
    alone = pieces == inside[area.argmin()]
    distance = np.hypot(*(np.argwhere(alone) - np.argwhere(alone).mean(axis=0)).T) * 0.25
    np.testing.assert_allclose(image[alone], 0.6 + 0.4 * distance / 3.4, atol=0.02)
    assert image.max() <= 1


def test_channels_see_structures_by_their_colour():
    assert spectrum(12).mean() == pytest.approx(1, abs=0.01)
    assert spectrum(12)[0] > 2 * spectrum(12)[3]
    np.testing.assert_array_equal(spectrum(40)[:12], spectrum(12))


def test_fields_of_view_are_even_inside_and_differ_by_what_was_asked():
    light = stitched(1000, 0.5, 0.2, np.random.default_rng(0))
    steps = (np.diff(light, axis=1) != 0).any(axis=0)
    assert set(np.diff(np.flatnonzero(steps))) == {120}  # 60 µm
    values = np.unique(light)
    assert 64 <= len(values) <= 100
    assert np.log(values).std() == pytest.approx(0.2, rel=0.2)
    assert (stitched(100, 0.5, 0.0, np.random.default_rng(0)) == 1).all()
