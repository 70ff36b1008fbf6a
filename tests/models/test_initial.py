"""Initial weights against the moments that the publications name."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from spatialfm.models import new_encoder
from spatialfm.models.initial import fill_initial


def test_virtues_starts_as_released():
    encoder = new_encoder("virtues", dim=64, depth=2, heads=2, decoder_depth=1, marker_dim=100)
    state = dict(encoder.backbone.named_parameters())
    for name, tensor in state.items():
        if name.endswith("bias"):
            assert not tensor.any(), name
        elif "norm" in name:
            assert (tensor == 1).all(), name
        elif tensor.ndim == 2:  # Glorot: variance 2 / (inputs + outputs)
            expected = math.sqrt(2 / sum(tensor.shape))
            assert tensor.std().item() == pytest.approx(expected, rel=6 / math.sqrt(2 * tensor.numel())), name
    both = torch.cat([state["encoder.patch_summary_token"], state["encoder.masked_token"]])
    assert both.std().item() == pytest.approx(64**-0.5, rel=0.25)  # 128 numbers
    tables = encoder.backbone.encoder.blocks()[0].multi_head_attention.pos_emb.rope1d
    assert tables.cos[0].eq(1).all()
    assert tables.sin[1, 0].item() == pytest.approx(math.sin(1))


def test_transformers_start_as_dinov2s():
    encoder = new_encoder("kronos", dim=48, depth=4, heads=2)
    state = dict(encoder.backbone.named_parameters())
    for name, tensor in state.items():
        if "ls1" in name or "ls2" in name:
            assert (tensor == 1e-5).all(), name
        elif name == "mask_token":
            assert not tensor.any()
        elif name in ("cls_token", "register_tokens"):
            assert 0 < tensor.abs().max() < 1e-5, name
        elif name == "patch_embed.proj.weight":  # uniform up to 1 / sqrt(256)
            assert tensor.abs().max() <= 1 / 16
            assert tensor.std().item() == pytest.approx(1 / 16 / math.sqrt(3), rel=0.05)
        elif name == "pos_embed" or (tensor.ndim == 2 and "weight" in name):
            assert tensor.std().item() == pytest.approx(0.02, rel=0.1), name
            assert tensor.abs().max() <= 2, name


@pytest.mark.parametrize(
    ("model", "shape"),
    [("dinov2-s", {"grid": 4}), ("openphenom", {}), ("kronos", {"ffn": "swiglu"})],
)
def test_every_weight_of_every_family_is_filled_and_the_seed_decides_it(model, shape):
    shape = {"dim": 24, "depth": 2, "heads": 2} | shape
    first, same, other = (new_encoder(model, random_state=seed, **shape) for seed in (0, 0, 1))
    assert not any(tensor.is_meta for tensor in first.state_dict().values())
    pairs = list(zip(first.parameters(), same.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(one, two) for one, two, _ in pairs)
    assert any(not torch.equal(one, three) for one, _, three in pairs)
    assert all(parameter.requires_grad for parameter in first.parameters())
    assert first.training


def test_a_parameter_without_a_rule_is_no_guess():
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.strange = nn.Parameter(torch.zeros(3, device="meta"))

    with pytest.raises(NotImplementedError, match="strange"):
        fill_initial(Odd(), lambda tensor, generator: None, {})
