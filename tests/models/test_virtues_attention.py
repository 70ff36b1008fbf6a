"""Importance of markers by the formula written out in loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spatialfm._errors import ModelError
from spatialfm.models.virtues_attention import VirTuesAttention, marker_importance


@pytest.mark.parametrize("over", ["query", "key"])
def test_attention_is_summed_scaled_and_summed(over):
    attention = torch.rand(2, 3, 4, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    found = marker_importance(attention, over=over)
    total = attention.sum((-2, -1)).numpy()
    expected = np.zeros((2, 4))
    for batch in range(2):
        for head in range(3):
            one = total[batch, head]
            axis = 0 if over == "query" else 1
            low, high = one.min(axis, keepdims=True), one.max(axis, keepdims=True)
            expected[batch] += ((one - low) / (high - low)).sum(axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_one_marker_and_constants_are_zero():
    assert marker_importance(torch.rand(1, 2, 1, 1, 3, 3)).tolist() == [[0.0]]
    assert marker_importance(torch.ones(1, 2, 3, 3, 2, 2)).tolist() == [[0.0] * 3]
    with pytest.raises(ModelError, match="over='all'"):
        marker_importance(torch.ones(1, 1, 2, 2, 1, 1), over="all")


def test_the_summary_is_the_first_channel():
    marker = torch.arange(9.0).reshape(1, 1, 3, 3, 1, 1)
    found = VirTuesAttention(marker, torch.zeros(1), torch.zeros(1)).summary_to_marker
    assert found.flatten().tolist() == [1.0, 2.0]
