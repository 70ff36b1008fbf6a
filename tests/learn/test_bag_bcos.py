"""B-cos units over bags, by hand: with weights along the axes the cosine of (3, 4) is 4 / 5."""

from __future__ import annotations

import pytest
import torch

from spatialfm.learn.bag_bcos import BcosMIL


@pytest.fixture
def network():
    """One output with the two axes as weights, a scale of 2 and an intercept of 0.5."""
    network = BcosMIL(2, 1).eval()
    with torch.no_grad():
        network.units.linear.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 5.0]]))  # weights have norm one
        network.log_scale.fill_(torch.log(torch.tensor(2.0)))
        network.intercept.fill_(0.5)
    return network


CELLS = torch.tensor([[3.0, 4.0], [3.0, 0.0]])  # units say 0.8 * 4 = 3.2, and 3


def test_output_and_attention_by_hand(network):
    padded = torch.cat([CELLS, torch.full((3, 2), 9.0)])[None]
    mask = torch.tensor([[True, True, False, False, False]])
    output, attention = network(padded, mask)
    assert output.item() == pytest.approx(2 * (3.2 + 3) / 2 + 0.5, rel=1e-5)
    torch.testing.assert_close(attention, torch.tensor([[3.2, 3, 0, 0, 0]]) / 6.2)


def test_shares_by_hand(network):
    shares, intercept = network.contributions(CELLS)
    torch.testing.assert_close(shares[:, 0], torch.tensor([[0, 3.2], [3, 0]]))
    assert intercept.tolist() == [0.5]


def test_cells_that_say_nothing_are_attended_alike(network):
    mask = torch.tensor([[True, True, True, False]])
    output, attention = network(torch.zeros(1, 4, 2), mask)
    torch.testing.assert_close(attention, torch.tensor([[1, 1, 1, 0]]) / 3)
    assert output.item() == 0.5
