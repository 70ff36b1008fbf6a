"""Windows, masks and the published order: normalise, then mask."""

from __future__ import annotations

import numpy as np
import torch
from stand_in import StandIn, card_of

from spatialfm.embed.windows.pool import cell_masks, cut_windows, encode_windows
from spatialfm.models.recipe import Recipe


class Echo(StandIn):
    """Returns the pixels that it is given."""

    card = card_of(
        "echo", recipe=Recipe(normalization="marker statistics"), outputs=("marker",), default_output="marker"
    )

    def look(self, pixels):
        return {"marker": pixels.flatten(2)}


def test_windows_are_slices():
    region = torch.arange(2 * 20 * 30).reshape(2, 20, 30)
    starts = torch.tensor([[0, 0], [3, 7], [12, 22]])
    windows = cut_windows(region, starts, 8)
    assert windows.shape == (3, 2, 8, 8)
    for window, (y, x) in zip(windows, starts.tolist(), strict=True):
        assert torch.equal(window, region[:, y : y + 8, x : x + 8])


def test_masks_hold_the_cell_alone_and_never_nothing():
    labels = torch.zeros(20, 20, dtype=torch.int64)
    labels[4:7, 4:7], labels[8, 8] = 5, 6
    starts = torch.tensor([[1, 1], [1, 1], [1, 1]])
    masks = cell_masks(labels, starts, torch.tensor([5, 6, 99]), 8)
    assert masks[0].sum() == 9
    assert masks[1].nonzero().tolist() == [[7, 7]]
    assert masks[2].nonzero().tolist() == [[4, 4]]  # a cell that no pixel hits keeps the one at its centroid


def test_pixels_are_normalised_before_they_are_masked():
    rng = np.random.default_rng(0)
    pixels, mask = rng.random((4, 3, 8, 8)).astype(np.float32), rng.random((4, 8, 8)) > 0.5
    mean, std = np.array([0.1, 0.2, 0.3], np.float32), np.array([0.5, 1.0, 2.0], np.float32)
    standard = (pixels - mean[:, None, None]) / std[:, None, None]
    for background, expected in [("zero", standard * mask[:, None]), ("keep", standard)]:
        rows = encode_windows(
            Echo(),
            torch.from_numpy(pixels),
            torch.from_numpy(mask),
            None,
            torch.from_numpy(mean),
            torch.from_numpy(std),
            background=background,
        ).marker
        np.testing.assert_allclose(rows.numpy(), expected.reshape(4, 3, -1), rtol=1e-6)
