"""Shares of cells in an output: closed forms of a linear network and of B-cos units."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from spatialfm.learn import bag_maps
from spatialfm.learn.bag_bcos import BcosMIL
from spatialfm.learn.bag_maps import bcos_shares, gradient_shares
from spatialfm.learn.bag_training import BagRecipe, Bags, NumberTarget, Trained

CPU = torch.device("cpu")


class Mean(nn.Module):
    """Mean over cells of a product, and an intercept of 3."""

    def __init__(self, whole_bags):
        super().__init__()
        self.whole_bags = whole_bags

    def forward(self, x, mask):
        return (x @ torch.tensor([[2.0], [-1.0]])).mean(dim=1) + 3, mask / mask.sum(dim=1, keepdim=True)


@pytest.mark.parametrize("whole", [True, False])
def test_gradients_of_a_linear_network_are_its_summands(whole):
    """Also of bags that are taken in parts of two: the mean of their means is the mean."""
    values = np.array([[9, 9], [3, 1], [5, 0], [1, 4], [2, 2]], np.float32)
    bags, mean, sd = Bags(values, [np.array([1, 2, 3, 4])]), np.array([1, 2], np.float32), np.array([2, 4], np.float32)
    target = NumberTarget(np.zeros(1), mean=100.0, sd=10.0)
    found = gradient_shares(Trained(Mean(whole), mean, sd, target, 0, 0, 0.0), bags, 0, BagRecipe(max_cells=2), CPU)
    products = (values[1:] - mean) / sd @ [2, -1]
    np.testing.assert_allclose(found.cells[:, 0], 10 * products / 4, rtol=1e-6)
    np.testing.assert_allclose(found.output, 10 * (products.mean() + 3), rtol=1e-6)
    assert found.columns.shape == (1, 0)


@pytest.mark.parametrize("at_once", [1, 2, 8192])
def test_exact_shares_of_units_along_the_axes(at_once, monkeypatch):
    """In the units of what is predicted, a mean of 10 and a standard deviation of 2, however many cells at once."""
    monkeypatch.setattr(bag_maps, "ROWS", at_once)
    network = BcosMIL(2, 1).eval()
    with torch.no_grad():
        network.units.linear.weight.copy_(torch.eye(2))
        network.intercept.fill_(0.5)
    bags = Bags(np.array([[3, 4], [3, 0], [0, 2]], np.float32), [np.arange(3)])
    trained = Trained(network, np.zeros(2), np.ones(2), NumberTarget(np.zeros(1), mean=10.0, sd=2.0), 0, 0, 0.0)
    found = bcos_shares(trained, bags, 0, BagRecipe(), CPU)
    np.testing.assert_allclose(found.cells[:, 0], 2 * np.array([3.2, 3, 2]) / 3, rtol=1e-5)
    np.testing.assert_allclose(found.columns, [[2 * 3 / 3, 2 * 5.2 / 3]], rtol=1e-5)
    np.testing.assert_allclose(found.intercept, [11], rtol=1e-6)
    np.testing.assert_allclose(found.output, [2 * (8.2 / 3 + 0.5) + 10], rtol=1e-5)
