from __future__ import annotations

import pytest

from spatialfm.models import new_encoder
from spatialfm.train.objectives.head import DinoHead
from spatialfm.train.objectives.layers import layer_groups


def test_rates_by_layer_and_what_decays():
    encoder, head = new_encoder("kronos", dim=12, depth=6, heads=2), DinoHead(12, 8, 4, 10)
    groups = layer_groups(encoder, head, layer_decay=0.9, patch_embed_scale=0.2)
    of = {name: group for group in groups for name in group.parameters}
    every = [f"encoder.{name}" for name, _ in encoder.named_parameters()]
    every += [f"head.{name}" for name, _ in head.named_parameters()]
    assert sorted(of) == sorted(every)
    assert sum(len(group.parameters) for group in groups) == len(every)

    def expected(name: str, exponent: int, factor: float = 1.0):
        assert of[name].lr_scale == pytest.approx(factor * 0.9**exponent), name

    expected("encoder.backbone.pos_embed", 7)
    expected("encoder.backbone.mask_token", 7)
    expected("encoder.backbone.register_tokens", 7)
    expected("encoder.backbone.patch_embed.proj.weight", 7, 0.2)
    expected("encoder.backbone.blocks.0.0.attn.qkv.weight", 6)
    expected("encoder.backbone.blocks.1.2.attn.qkv.weight", 4)  # two chunks of three: the third block
    expected("encoder.backbone.blocks.2.5.mlp.fc1.bias", 1)
    expected("encoder.backbone.norm.weight", 0)
    expected("head.mlp.0.weight", 0)
    decaying = {name for name, group in of.items() if group.decay}
    assert "encoder.backbone.pos_embed" in decaying
    assert "head.prototypes" in decaying
    assert not [name for name in decaying if name.endswith(("bias", "gamma")) or "norm" in name]
    assert all(name in decaying or name.endswith(("bias", "gamma")) or "norm" in name for name in of)
    assert [name for name, group in of.items() if group.last_layer] == ["head.prototypes"]


def test_other_networks_have_no_layers_that_are_known():
    with pytest.raises(TypeError, match="VirTuesNet"):
        layer_groups(
            new_encoder("virtues", dim=16, heads=2), DinoHead(16, 8, 4, 10), layer_decay=0.9, patch_embed_scale=0.2
        )
