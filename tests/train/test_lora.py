"""Columns beside the weights: what they add, to which weights, and that every way of using a weight sees them."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import spatialfm as sfm
from spatialfm._errors import ModelError
from spatialfm.models.adapter import add
from spatialfm.models.encoder import EncoderOutput, repeated_parts
from spatialfm.train import lora

from .tiny import FAMILIES, encoder_of, windows_of


def outputs(encoder, asked=None) -> dict[str, torch.Tensor]:
    pixels, markers = windows_of(encoder)
    with torch.inference_mode():
        out = encoder(pixels, markers, outputs=asked)
    return {name: value for name, value in vars(out).items() if value is not None}


def learned(encoder, **options) -> None:
    """Attach columns that have learned something."""
    lora.attach(encoder, rank=2, alpha=4.0, **options)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for _, part in lora.attached(encoder):
            part.up.copy_(0.3 * torch.randn(part.up.shape, generator=generator))


def test_a_matrix_with_its_columns_is_the_sum_of_the_paper():
    weight = torch.arange(12.0).reshape(3, 4)
    part = lora.LowRank(weight, 2, 5.0, torch.Generator().manual_seed(0))
    torch.testing.assert_close(part(weight), weight, rtol=0, atol=0)  # up is zero at first
    with torch.no_grad():
        part.up.copy_(torch.tensor([[1.0, 0], [0, 2], [3, -1]]))
    up, down = part.up.detach().numpy(), part.down.detach().numpy()
    np.testing.assert_allclose(part(weight).detach(), weight.numpy() + 5 / 2 * up @ down, rtol=1e-6)
    assert np.abs(down).max() <= 0.5  # 1 / sqrt(4)


@pytest.mark.parametrize("family", FAMILIES)
def test_merged_weights_give_the_same_numbers_in_every_output(family):
    """Also where a block works for one token alone, which reads parts of a matrix."""
    base = encoder_of(family)
    encoder = copy.deepcopy(base)
    learned(encoder)
    merged = copy.deepcopy(base)
    add(merged, lora.adapter_tensors(encoder), 4.0 / 2)
    for asked in [None, *[(name,) for name in base.card.outputs]]:
        expected, got, old = outputs(encoder, asked), outputs(merged, asked), outputs(base, asked)
        for name in expected:
            torch.testing.assert_close(got[name], expected[name], rtol=0, atol=1e-5)
            if name != "attention":
                assert (expected[name] - old[name]).abs().max() > 1e-2, (asked, name)


@pytest.mark.parametrize("family", FAMILIES)
def test_it_begins_at_the_model(family):
    base = encoder_of(family)
    encoder = copy.deepcopy(base)
    lora.attach(encoder, rank=2)
    expected = outputs(base)
    for name, value in outputs(encoder).items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_columns_alone_are_trained_and_each_is_reached(family):
    encoder = encoder_of(family)
    lora.attach(encoder, rank=2, blocks=2)
    pixels, markers = windows_of(encoder)
    out = encoder(pixels, markers)
    sum((value**2).sum() for value in (out.patch, out.marker, out.token, out.summary) if value is not None).backward()
    trained = {name for name, one in encoder.named_parameters() if one.requires_grad}
    assert trained == {name for name in dict(encoder.named_parameters()) if name.endswith((".up", ".down"))}
    parts = dict(lora.attached(encoder))
    n = {"kronos": 4, "dinov2": 4, "dinov2-rgb": 4, "openphenom": 3, "virtues": 6}[family]
    assert len(parts) == 2 * n
    assert all(part.up.grad.abs().max() > 0 for part in parts.values())


def names_of(encoder, **options) -> list[str]:
    lora.attach(encoder, rank=1, **options)
    return [name for name, _ in lora.attached(encoder)]


def test_blocks_are_the_last_that_run():
    released = names_of(encoder_of("kronos"), blocks=6)
    assert {name.rsplit(".", 3)[0] for name in released} == {
        "backbone.blocks.0.0",
        "backbone.blocks.1.2",
    }
    assert released[0] == "backbone.blocks.0.0.attn.qkv.weight"
    all_blocks = names_of(encoder_of("kronos", blocks="all"), blocks=3)
    assert not [name for name in all_blocks if name.startswith("backbone.blocks.0.0.")]
    assert [name for name in all_blocks if name.startswith("backbone.blocks.0.1.")]
    virtues = names_of(encoder_of("virtues"), blocks=1)
    assert {name.rpartition("encoder_layer")[0] for name in virtues} == {"backbone.encoder.encoder.3."}


def test_an_encoder_of_ones_own_needs_nothing_for_it():
    class Own(sfm.models.Encoder):
        def __init__(self):
            super().__init__()
            self.first, self.options = nn.Linear(4, 8), {}
            self.layers = nn.ModuleList(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(3))

        def forward(self, pixels, markers=None, *, mask=None):
            x = self.first(pixels.mean(2))
            for layer in self.layers:
                x = layer(x)
            return EncoderOutput(patch=x.mean(1))

    torch.manual_seed(0)
    encoder = Own().eval()
    base = copy.deepcopy(encoder)
    assert encoder.transformer_blocks() == list(encoder.layers)
    learned(encoder, blocks=2)
    assert [name for name, _ in lora.attached(encoder)][:2] == [
        "layers.1.self_attn.in_proj_weight",
        "layers.1.self_attn.out_proj.weight",
    ]
    pixels = torch.randn(2, 3, 4, 4)
    adapted = encoder(pixels).patch
    base.card = sfm.models.card("classical")  # for the messages
    add(base, lora.adapter_tensors(encoder), 4.0 / 2)
    torch.testing.assert_close(base(pixels).patch, adapted, rtol=0, atol=1e-5)


def test_chunks_of_blocks_are_not_taken_for_blocks():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.attn, self.mlp = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), nn.Linear(2, 2)

    class Chunk(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = Block(), Block()

    net = nn.ModuleList([Chunk(), Chunk()])
    assert repeated_parts(net) == [net[0].a, net[0].b, net[1].a, net[1].b]
    assert repeated_parts(nn.Linear(2, 2)) == []


@pytest.mark.parametrize("name", ["classical", "mean-intensity", "resnet50"])
def test_a_model_without_blocks_is_refused(name):
    encoder = sfm.models.load(name, weights="random" if name == "resnet50" else None)
    with pytest.raises(ModelError, match=f"{name} has no transformer blocks"):
        lora.attach(encoder)
