"""Masks of nuclei, and masks beside their cells."""

from __future__ import annotations

import numpy as np
import pytest

import spatialfm as sfm
from spatialfm.datasets._simulate_masks import displaced, nuclei_of


@pytest.fixture(scope="module")
def squares():
    """900 cells of 8 x 8 pixels with nuclei of 4 x 4; the last has none."""
    labels = np.kron(np.arange(1, 901).reshape(30, 30), np.ones((8, 8), int)).astype(np.int32)
    nucleus = np.zeros((8, 8), bool)
    nucleus[2:6, 2:6] = True
    nucleus = np.tile(nucleus, (30, 30))
    nucleus[labels == 900] = False
    return labels, nucleus


def test_a_share_of_the_cells_keeps_its_nucleus_alone(squares):
    labels, nucleus = squares
    out, cells = nuclei_of(labels, nucleus, 0.3, np.random.default_rng(0))
    assert 0.25 < len(cells) / 900 < 0.35
    area = np.bincount(out.ravel())[1:]
    chosen = np.isin(np.arange(1, 901), cells)
    assert (area[chosen] == 16).all()
    assert (area[~chosen] == 64).all()
    assert (out[out > 0] == labels[out > 0]).all()
    everything, cells = nuclei_of(labels, nucleus, 1.0, np.random.default_rng(0))
    assert len(cells) == 899  # one has no nucleus in the section, and keeps its outline
    assert (everything == 900).sum() == 64
    assert ((everything > 0) == (nucleus | (labels == 900))).all()


def test_masks_move_as_a_whole(squares):
    labels, _ = squares
    moves = []
    for seed in range(80):
        out, (down, right) = displaced(labels, 1.5, 0.5, np.random.default_rng(seed))
        moves.append((down, right))
        if seed < 5:
            assert set(np.unique(out)) - {0} == set(range(1, out.max() + 1))
            y, x = np.nonzero(out)
            source = labels[y - down, x - right]
            pairs = np.unique(np.stack([out[y, x], source]), axis=1)
            assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]  # one to one
            assert (out > 0).sum() == (240 - abs(down)) * (240 - abs(right))
    # 3 pixels, cut at two standard deviations: 0.9 of it is left
    assert np.std(moves) == pytest.approx(3 * 0.94, rel=0.1)
    assert np.abs(np.mean(moves)) < 0.5


def test_the_record_says_what_was_done_to_the_masks():
    sdata = sfm.datasets.simulate_cohort(
        1, n_samples=1, image_size=160, random_state=2, difficulty="easy", nuclear_rate=0.5, mask_shift=3.0,
        merge_rate=0, split_rate=0, miss_rate=0, dilation=0,
    )  # fmt: skip
    counts = sdata.attrs["truth"]["segmentation"]["P001_1"]
    labels, true = (sdata[f"{kind}_P001_1"].values for kind in ("cells", "true_cells"))
    assert counts["segmented_cells"] == labels.max() <= counts["true_cells"] == true.max()
    assert 0.3 < counts["nuclear"] / counts["true_cells"] < 0.7
    down, right = counts["shift"]
    assert (down, right) != (0, 0)
    back = np.roll(labels, (-down, -right), (0, 1))
    inside = np.s_[10:-10, 10:-10]
    hit = back[inside] > 0
    assert (true[inside][hit] > 0).all()  # moved back, each mask is within the cell it was drawn for
    pairs = np.unique(np.stack([back[inside][hit], true[inside][hit]]), axis=1)
    assert len(np.unique(pairs[0])) == pairs.shape[1]
