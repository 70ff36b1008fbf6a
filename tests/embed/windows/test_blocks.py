"""Windows and blocks."""

from __future__ import annotations

import numpy as np
import pytest

from spatialfm._errors import ModelError
from spatialfm.embed.windows.blocks import choose_window, fitting_window, needed_sides, plan_blocks, window_starts


@pytest.mark.parametrize("block", [7, 64, 1000])
def test_every_cell_is_in_one_block_that_holds_its_window(block):
    rng = np.random.default_rng(0)
    cells = np.arange(100, 300)
    starts = window_starts(rng.uniform(0, 500, (200, 2)), 32)
    blocks = plan_blocks(3, cells, starts, 32, block)
    np.testing.assert_array_equal(np.sort(np.concatenate([part.cells for part in blocks])), cells)
    for part in blocks:
        mine = starts[part.cells - 100]
        assert part.sample == 3
        assert (mine >= (part.y0, part.x0)).all()
        assert (mine + 32 <= (part.y1, part.x1)).all()
        assert part.y1 - part.y0 <= block + 32
        assert part.x1 - part.x0 <= block + 32


def test_the_window_is_centred_on_the_pixel_that_holds_the_centroid():
    # pixel i covers [i, i + 1): centroids 40.0 to 40.99 are those of pixel 40, row 32 of a window that begins at 8
    np.testing.assert_array_equal(window_starts(np.array([[40.0, 40.49], [40.99, 41.0]]), 64), [[8, 8], [8, 9]])
    np.testing.assert_array_equal(window_starts(np.array([[40.0, 40.99]]), 7), [[37, 37]])  # 37 to 43: 40 in the middle


@pytest.mark.parametrize("indices", [[20, 21], [20, 20, 21], [20, 21, 21], [20]])
def test_a_centroid_is_rounded_in_pixel_indices_halves_up(indices):
    edges = np.mean(indices) + 0.5
    expected = int(np.floor(np.mean(indices) + 0.5)) - 32
    for noise in (-1e-9, 0, 1e-9):  # of a transformation there and back
        np.testing.assert_array_equal(window_starts(np.array([[edges + noise, edges]]), 64), [[expected, expected]])


def test_window_from_user_card_or_cells():
    extents = np.array([11.0, 37.0])
    assert choose_window(64, 16, extents) == 64
    assert choose_window(32, 16, extents) == 32
    assert choose_window(None, None, extents) == 40
    assert choose_window(None, None, np.array([900.0])) == 256
    with pytest.raises(ModelError, match=r"window=40 is not a multiple of the model's patch of 16"):
        choose_window(40, 16, extents)


@pytest.mark.parametrize(("extent", "side"), [(3, 8), (8, 8), (8.5, 16), (16, 16), (17, 24), (500, 256)])
def test_a_fitting_window_is_the_next_multiple_of_8(extent, side):
    assert fitting_window(np.array([2.0, extent]), 256) == side


@pytest.mark.parametrize(
    ("box", "side"), [((8, 13, 9, 12), 6), ((10, 11, 10, 11), 2), ((5, 11, 10, 11), 10), ((10, 11, 10, 16.5), 14)]
)
def test_the_side_that_holds_a_cell(box, side):
    """Around pixel 10 a window of side s covers 10 - s / 2 to 10 + s / 2."""
    y0, y1, x0, x1 = box
    by_hand = next(s for s in range(2, 40, 2) if min(y0, x0) >= 10 - s / 2 and max(y1, x1) <= 10 + s / 2)
    assert needed_sides(np.array([[10.5, 10.5]]), np.array([box], float))[0] == by_hand == side
