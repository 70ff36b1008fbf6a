"""Losses from their definitions in numpy, heads by the layers that they must have."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from spatialfm.learn.alignment_network import Alignment, clip_loss, projection_head, siglip_loss


def pairs(n: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(nn.functional.normalize(torch.randn(n, 4, generator=generator, dtype=torch.float64)) for _ in range(2))


def test_clip_is_the_mean_of_two_softmax_losses():
    one, two = pairs()
    logits = 14.0 * one.numpy() @ two.numpy().T
    rows = np.log(np.exp(logits).sum(axis=1)) - np.diag(logits)
    columns = np.log(np.exp(logits).sum(axis=0)) - np.diag(logits)
    assert clip_loss(one, two, torch.tensor(14.0)).item() == pytest.approx((rows.mean() + columns.mean()) / 2)


def test_siglip_is_a_logistic_loss_of_every_pair():
    one, two = pairs()
    logits = 14.0 * one.numpy() @ two.numpy().T - 10
    right = sum(np.log1p(np.exp(-logits[i, j] if i == j else logits[i, j])) for i in range(6) for j in range(6))
    assert siglip_loss(one, two, torch.tensor(14.0), torch.tensor(-10.0)).item() == pytest.approx(right / 6)


def test_partners_that_agree_lose_less():
    one, two = pairs()
    for loss in (lambda a, b: clip_loss(a, b, torch.tensor(10.0)),
                 lambda a, b: siglip_loss(a, b, torch.tensor(10.0), torch.tensor(-5.0))):  # fmt: skip
        assert loss(one, one) < loss(one, two)
        assert loss(one, one) < loss(one, one.roll(1, 0))


def test_heads():
    mlp = projection_head("mlp", 10, 128, 0.2)
    assert [type(layer) for layer in mlp] == [nn.Linear, nn.GELU, nn.Dropout, nn.LayerNorm, nn.Linear, nn.Dropout]
    assert [tuple(mlp[i].weight.shape) for i in (0, 3, 4)] == [(256, 10), (256,), (128, 256)]
    assert [layer.p for layer in mlp if isinstance(layer, nn.Dropout)] == [0.2, 0.2]
    assert [tuple(layer.weight.shape) for layer in projection_head("linear", 10, 128, 0.2)] == [(128, 10)]


def test_projections_have_length_1_in_the_loss_too():
    network = Alignment((3, 5), ("linear", "mlp"), 8, "clip", 0.0, 0.07)
    one, two = torch.randn(6, 3), torch.randn(6, 5)
    a, b = network.project(one, "a"), network.project(two, "b")
    torch.testing.assert_close(a.norm(dim=1), torch.ones(6))
    torch.testing.assert_close(network(one, two), clip_loss(a, b, torch.tensor(1 / 0.07)))
    assert network.bias is None


def test_the_scale_starts_at_one_over_the_temperature_and_is_held():
    network = Alignment((3, 3), ("linear", "linear"), 4, "siglip", 0.0, 0.07)
    assert network.log_scale.item() == pytest.approx(math.log(1 / 0.07))
    assert network.bias.item() == -10.0
    for start, held in ((9.0, math.log(100)), (-2.0, 0.0), (1.0, 1.0)):
        network.log_scale.data.fill_(start)
        network.clamp()
        assert network.log_scale.item() == pytest.approx(held)
