"""Names of checkpoints of vision transformers, and the shape that they reveal."""

from __future__ import annotations

import torch

from spatialfm.models.vit import ViTConfig
from spatialfm.models.vit_checkpoints import fit, translate

CONFIG = ViTConfig(dim=4, depth=1, heads=2, patch_size=16, grid=14)


def test_blocks_in_chunks_are_counted_through():
    given = {"blocks.0.0.norm1.weight": torch.ones(1), "blocks.1.2.attn.proj.bias": torch.ones(1), "x": torch.ones(1)}
    assert set(translate(given)) == {"blocks.0.norm1.weight", "blocks.2.attn.proj.bias", "x"}


def test_timm_adds_the_position_of_cls_to_cls_itself():
    table = torch.arange(16.0).reshape(1, 4, 4)
    found = translate({"pos_embed": table, "cls_token": torch.ones(1, 1, 4)})["pos_embed"]
    assert torch.equal(found, torch.cat([torch.zeros(1, 1, 4), table], dim=1))
    whole = torch.ones(1, 5, 4)  # a row for CLS is there
    assert torch.equal(translate({"pos_embed": whole, "cls_token": torch.ones(1, 1, 4)})["pos_embed"], whole)


def test_timm_names_gated_layers_as_others_and_has_a_classifier():
    gated = {"blocks.0.mlp.fc1.weight": torch.ones(6, 4), "blocks.0.mlp.fc1.bias": torch.ones(6)}
    gated |= {
        "blocks.0.mlp.fc2.weight": torch.ones(4, 3),
        "head.weight": torch.ones(2, 4),
        "fc_norm.bias": torch.ones(4),
    }
    assert set(translate(gated)) == {"blocks.0.mlp.w12.weight", "blocks.0.mlp.w12.bias", "blocks.0.mlp.w3.weight"}
    plain = {"blocks.0.mlp.fc1.bias": torch.ones(3), "blocks.0.mlp.fc2.weight": torch.ones(4, 3)}
    assert set(translate(plain)) == set(plain)
    assert set(translate({"reg_token": torch.ones(1, 2, 4)})) == {"register_tokens"}


def test_transformers_has_queries_keys_and_values_apart():
    at = "dinov2.encoder.layer.3.attention.attention."
    parts = {f"{at}{part}.bias": torch.full((2,), float(i)) for i, part in enumerate(("value", "query", "key"))}
    found = translate({"dinov2.embeddings.cls_token": torch.ones(1, 1, 2), **parts})
    assert found["blocks.3.attn.qkv.bias"].tolist() == [1, 1, 2, 2, 0, 0]  # query, key, value
    names = {
        "dinov2.embeddings.cls_token": "cls_token",
        "dinov2.embeddings.position_embeddings": "pos_embed",
        "dinov2.embeddings.patch_embeddings.projection.weight": "patch_embed.proj.weight",
        "dinov2.encoder.layer.0.attention.output.dense.bias": "blocks.0.attn.proj.bias",
        "dinov2.encoder.layer.0.layer_scale1.lambda1": "blocks.0.ls1.gamma",
        "dinov2.encoder.layer.0.mlp.weights_in.weight": "blocks.0.mlp.w12.weight",
        "dinov2.layernorm.bias": "norm.bias",
    }
    assert set(translate({name: torch.ones(1, 5, 2) for name in names})) == set(names.values())


def test_the_shape_is_read_off():
    given = {"pos_embed": torch.ones(1, 26, 4), "patch_embed.proj.weight": torch.ones(4, 3, 8, 8)}
    found = fit(CONFIG, given)
    assert (found.grid, found.patch_size, found.registers) == (5, 8, 0)
    assert not found.layer_scale
    assert not found.mask_token
    assert found.resize_offset == CONFIG.resize_offset

    extra = {
        "register_tokens": torch.ones(1, 4, 4),
        "blocks.0.ls1.gamma": torch.ones(4),
        "mask_token": torch.ones(1, 4),
    }
    found = fit(CONFIG, extra)
    assert (found.registers, found.layer_scale, found.mask_token) == (4, True, True)
    assert (found.grid, found.patch_size) == (14, 16)
    assert (found.resize_offset, found.resize_antialias) == (0, True)
