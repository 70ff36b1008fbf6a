"""Nuclei and cells of drawn discs, whose number, area and borders are known."""

from __future__ import annotations

import numpy as np
import pytest

from spatialfm.pp.watershed import Watershed, find_nuclei, grow, without_small


def discs(centres, radius, size=80):
    y, x = np.mgrid[:size, :size]
    return np.max([np.hypot(y - cy, x - cx) <= radius for cy, cx in centres], axis=0)


def test_one_nucleus_per_disc_also_where_two_touch():
    centres = [(20, 20), (20, 31), (60, 25), (50, 60)]  # the first two overlap by a pixel
    image = discs(centres, 6).astype(np.float32)
    nuclei = find_nuclei(image, diameter=17, threshold=0.4)
    assert nuclei.max() == 4
    assert len({nuclei[centre] for centre in centres} - {0}) == 4
    pair = np.bincount(nuclei.ravel())[[nuclei[20, 20], nuclei[20, 31]]]
    assert pair.min() > 0.9 * pair.max()  # cut in the middle
    lone = np.bincount(nuclei.ravel())[nuclei[60, 25]]
    assert lone == pytest.approx(np.pi * 6**2, rel=0.15)


def test_what_is_dark_or_smaller_than_debris_is_no_nucleus():
    image = discs([(20, 20)], 6) + 0.3 * discs([(60, 60)], 6) + discs([(20, 60)], 1.5)
    nuclei = find_nuclei(image.astype(np.float32), diameter=17, threshold=0.4)
    assert np.unique(nuclei[nuclei > 0]).size == 1
    assert nuclei[20, 20] > 0
    assert not find_nuclei(image.astype(np.float32), 17, np.inf).any()


def test_cells_reach_as_far_as_said_and_meet_in_the_middle():
    nuclei = np.zeros((40, 60), np.int32)
    nuclei[20, 20], nuclei[20, 29] = 1, 2
    cells = grow(nuclei, 6, 16)
    y, x = np.mgrid[:40, :60]
    one, two = np.hypot(y - 20, x - 20), np.hypot(y - 20, x - 29)
    expected = np.where(np.minimum(one, two) <= 6, np.where(one < two, 1, 2), 0)
    assert np.array_equal(cells, expected)


def test_a_membrane_divides_cells_where_it_is_and_not_in_the_middle():
    nuclei = np.zeros((40, 60), np.int32)
    nuclei[20, 20], nuclei[20, 32] = 1, 2
    membrane = np.full((40, 60), 1.2, np.float32)
    membrane[:, 23:25] = 3  # the middle is 26
    cells = grow(nuclei, 10, 16, membrane)
    assert cells[20, 21] == 1
    assert cells[20, 26] == cells[20, 27] == 2
    assert grow(nuclei, 10, 16)[20, 25] == 1


def test_cells_end_where_the_membrane_stain_ends_but_not_within_half_the_distance():
    nuclei = np.zeros((41, 41), np.int32)
    nuclei[20, 20] = 1
    stained = np.zeros((41, 41), np.float32)
    stained[:, :20] = 5
    cells = grow(nuclei, 10, 16, stained)
    assert cells[20, 11] == 1  # stained: the whole distance
    assert cells[20, 25] == 1
    assert cells[20, 28] == 0  # dark: half of it


def test_small_labels_go():
    labels = np.array([[1, 1, 2], [0, 3, 3]])
    assert without_small(labels, 2).tolist() == [[1, 1, 0], [0, 3, 3]]


def test_pixels_beyond_the_reach_decide_nothing():
    rng = np.random.default_rng(0)
    image = rng.gamma(2, 0.2, (200, 200)).astype(np.float32)
    cut = Watershed(diameter=10, expansion=3, threshold=0.4)
    whole = cut(image)
    part = cut(image[:, 60:])[:, cut.reach :]
    same = (whole[:, 60 + cut.reach :] > 0) == (part > 0)
    assert same.mean() > 0.999
