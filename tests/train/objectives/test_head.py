from __future__ import annotations

import torch

from spatialfm.train.objectives.head import DinoHead


def test_logits_are_cosines_with_prototypes():
    head = DinoHead(6, hidden=16, bottleneck=5, prototypes=7)
    x = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    inner = head.mlp(x)
    expected = torch.stack([torch.cosine_similarity(inner, row[None]) for row in head.prototypes], 1)
    torch.testing.assert_close(head(x), expected)
    before = head(x)
    head.prototypes.data *= torch.rand(7, 1) + 0.5  # of unit length, whatever the weights are
    torch.testing.assert_close(head(x), before)


def test_initial_weights():
    head = DinoHead(64, hidden=128, bottleneck=32, prototypes=256)
    layers = [layer for layer in head.mlp if isinstance(layer, torch.nn.Linear)]
    assert [tuple(layer.weight.shape) for layer in layers] == [(128, 64), (128, 128), (32, 128)]
    assert all(0.018 < layer.weight.std() < 0.022 for layer in layers)
    assert not any(layer.bias.any() for layer in layers)
    assert head.prototypes.abs().max() <= 32**-0.5
    assert torch.equal(DinoHead(64, 128, 32, 256).prototypes, head.prototypes)
    assert not torch.equal(DinoHead(64, 128, 32, 256, seed=1).prototypes, head.prototypes)
    assert all(parameter.requires_grad for parameter in head.parameters())
