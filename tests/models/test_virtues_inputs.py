"""What VirTues takes and refuses before any of it reaches the network."""

from __future__ import annotations

import pytest
import torch

from spatialfm._errors import ModelError
from spatialfm.models.virtues_blocks import VirTuesConfig
from spatialfm.models.virtues_inputs import checked

CONFIG = VirTuesConfig(patch_size=8, marker_dim=5, max_side=4)
WEIGHT = torch.zeros(1, dtype=torch.bfloat16)
PIXELS, MARKERS = torch.zeros(2, 3, 16, 24), torch.ones(3, 5)


def check(pixels=PIXELS, markers=MARKERS, hidden=None):
    return checked("virtues", CONFIG, WEIGHT, pixels, markers, hidden)


def test_all_comes_in_the_type_of_the_weights_and_the_mask_stays_boolean():
    hidden = torch.zeros(2, 3, 2, 3, dtype=torch.bool)
    pixels, markers, mask = check(hidden=hidden)
    assert (pixels.dtype, markers.dtype, mask.dtype) == (torch.bfloat16, torch.bfloat16, torch.bool)
    assert pixels.shape == PIXELS.shape
    assert markers.shape == (1, 3, 5)  # one panel for all windows
    assert check(markers=torch.ones(2, 3, 5))[1].shape == (2, 3, 5)
    assert check()[2] is None


@pytest.mark.parametrize(("height", "width"), [(12, 16), (16, 12), (40, 16), (16, 40)])
def test_windows_that_are_no_whole_patches_or_too_large_are_refused(height, width):
    with pytest.raises(ModelError, match=rf"{height} x {width} pixels.*multiples of 8, up to 32"):
        check(torch.zeros(2, 3, height, width))


def test_the_largest_window_is_taken():
    assert check(torch.zeros(1, 3, 32, 8))[0].shape == (1, 3, 32, 8)


@pytest.mark.parametrize(
    "hidden",
    [
        torch.zeros(2, 3, 3, 2, dtype=torch.bool),  # columns before rows
        torch.zeros(2, 3, 2, 3),
        torch.zeros(2, 3, 6, dtype=torch.bool),
    ],
)
def test_masks_of_another_shape_or_kind_are_refused(hidden):
    with pytest.raises(ModelError, match=r"\(2, 3, 2, 3\)"):
        check(hidden=hidden)


@pytest.mark.parametrize(
    "markers", [torch.ones(2, 5), torch.ones(3, 4), torch.ones(3, 3, 5), torch.ones(3, 5, dtype=torch.int64)]
)
def test_embeddings_that_do_not_fit_are_refused(markers):
    with pytest.raises(ModelError, match=r"\(3, 5\) or \(2, 3, 5\)"):
        check(markers=markers)


def test_embeddings_are_needed_and_a_channel_without_a_finite_one_is_named():
    with pytest.raises(ModelError, match="protein embedding for each channel"):
        check(markers=None)
    for bad in (torch.nan, torch.inf):
        markers = torch.ones(2, 3, 5)
        markers[1, 2, 4] = bad
        with pytest.raises(ModelError, match="channel 2 is not finite"):
            check(markers=markers)
