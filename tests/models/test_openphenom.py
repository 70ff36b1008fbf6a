"""OpenPhenom against timm's parallel blocks with the same stand-in weights, and against its paper's formulas."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import spatialfm as sfm
from spatialfm._errors import ModelError, WeightsError
from spatialfm.models import openphenom
from spatialfm.models.openphenom import CaMaeConfig, OpenPhenomEncoder, encoder_of, self_standardized, sincos_positions

VALUES = json.loads((Path(__file__).parent / "baseline_values.json").read_text())["openphenom"]
PREFIX = "encoder.vit_backbone."


def relative_error(out: torch.Tensor, expected) -> float:
    expected = np.asarray(expected, dtype=np.float64)
    return float(np.linalg.norm(out.double().numpy() - expected) / np.linalg.norm(expected))


@pytest.fixture(scope="module")
def published(standin):
    """A checkpoint of two blocks as it is published: encoder, table, unused norm, decoder."""
    layout = OpenPhenomEncoder(openphenom.OPENPHENOM, CaMaeConfig(depth=2)).backbone.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in layout.items()}
    shapes |= {"fc_norm.weight": (384,), "fc_norm.bias": (384,), "pos_embed": (1, 1 + 11 * 256, 384)}
    tensors = {f"{PREFIX}{name}": torch.from_numpy(standin.fill(name, shape)) for name, shape in shapes.items()}
    decoder = ("decoder.mask_token", "decoder_pred.weight", "encoder_decoder_proj.bias")
    return tensors | {name: torch.zeros(1) for name in decoder}


@pytest.fixture(scope="module")
def encoder(published, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openphenom, "CaMaeConfig", lambda: CaMaeConfig(depth=2))
        # the published "model.safetensors" is a file of torch.save
        path = tmp_path_factory.mktemp("openphenom") / "model.safetensors"
        torch.save({"state_dict": published}, path)
        return sfm.models.load("openphenom", weights=path)


def test_values_of_timm(encoder, standin):
    pixels = torch.from_numpy(standin.synthetic_input("openphenom", 2, 2, 48, 48)).abs() * 100
    out = encoder(pixels)
    assert out.token.shape == (2, 2, 3, 3, 384)
    assert relative_error(out.token[1, 1, 1, 2, :8], VALUES["token"]) < 1e-5
    assert relative_error(out.marker[1, 1, :8], VALUES["marker"]) < 1e-5
    assert relative_error(out.patch[1, :8], VALUES["patch"]) < 1e-5


def test_names_are_those_of_timm(published):
    ours = {name.removeprefix(PREFIX) for name in published if name.startswith(PREFIX)}
    assert sorted(ours) == VALUES["names"]
    assert set(encoder_of(published)) == ours - {"fc_norm.weight", "fc_norm.bias", "pos_embed"}
    assert encoder_of(encoder_of(published)).keys() == encoder_of(published).keys()


def test_size_is_that_of_the_card():
    backbone = OpenPhenomEncoder(openphenom.OPENPHENOM, CaMaeConfig()).backbone
    assert sum(parameter.numel() for parameter in backbone.parameters()) == openphenom.OPENPHENOM.parameters
    assert backbone.blocks[11].in_proj.weight.shape == (2688, 384)
    assert backbone.blocks[0].mlp_bias.shape == (1536,)
    assert backbone.blocks[0].q_norm.weight.shape == (64,)


def test_the_bias_of_a_block_begins_with_1152_zeros(encoder):
    """A block by hand, with the fused bias written out."""
    block, x = encoder.backbone.blocks[0], torch.randn(1, 7, 384)
    fused = block.in_norm(x) @ block.in_proj.weight.T
    fused = fused + torch.cat([torch.zeros(1152), block.mlp_bias])
    hidden, query, key, value = fused[0].split([1536, 384, 384, 384], dim=-1)
    heads = []
    for h in range(6):
        q, k, v = (part[:, 64 * h : 64 * h + 64] for part in (query, key, value))
        heads.append(((block.q_norm(q) @ block.k_norm(k).T / 8).softmax(-1)) @ v)
    residual = block.attn_out_proj(torch.cat(heads, dim=1)) + block.mlp_out_proj(F.gelu(hidden))
    torch.testing.assert_close(block(x)[0], x[0] + block.ls.gamma * residual, rtol=1e-4, atol=1e-5)


def test_windows_are_standardised_by_themselves(encoder):
    pixels = torch.rand(2, 3, 32, 48) * 255
    expected = torch.nn.InstanceNorm2d(3)(pixels / 255)
    torch.testing.assert_close(self_standardized(pixels), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(encoder(pixels * 0.5 + 20).marker, encoder(pixels).marker, rtol=1e-2, atol=1e-2)
    assert self_standardized(torch.full((1, 1, 4, 4), 65535.0)).abs().max() == 0
    torch.testing.assert_close(encoder.normalize(pixels / 255, torch.zeros(3), torch.ones(3)), pixels)


def test_positions():
    table = sincos_positions(3, 5, 16).reshape(3, 5, 16).double().numpy()
    for row, column, k in [(0, 0, 0), (2, 4, 3), (1, 3, 2)]:
        frequency = 10000 ** (-k / 4)
        expected = [np.sin(row * frequency), np.cos(row * frequency), np.sin(column * frequency)]
        np.testing.assert_allclose(table[row, column, [k, 4 + k, 8 + k]], expected, atol=1e-6)
        assert table[row, column, 12 + k] == pytest.approx(np.cos(column * frequency))


def test_means_of_tokens(encoder):
    out = encoder(torch.rand(2, 3, 32, 48) * 255)
    torch.testing.assert_close(out.marker, out.token.mean((2, 3)))
    torch.testing.assert_close(out.patch, out.token.mean((1, 2, 3)))


def test_channels_have_no_identity_but_see_each_other(encoder):
    pixels = torch.rand(1, 3, 32, 32) * 255
    out = encoder(pixels)
    torch.testing.assert_close(encoder(pixels[:, [2, 0, 1]]).marker, out.marker[:, [2, 0, 1]], rtol=1e-4, atol=1e-5)
    twice = encoder(pixels[:, [0, 0, 1]]).marker
    torch.testing.assert_close(twice[:, 0], twice[:, 1])
    assert (encoder(pixels[:, :2]).marker - out.marker[:, :2]).abs().max() > 1e-3
    assert encoder(torch.rand(1, 40, 32, 32)).marker.shape == (1, 40, 384)  # more than the table of the file has


@pytest.mark.parametrize("outputs", [("patch",), ("marker",), ("token",)])
def test_only_what_is_needed(encoder, outputs):
    out = encoder(torch.zeros(1, 2, 16, 16), outputs=outputs)
    assert [name for name in ("patch", "marker", "token") if getattr(out, name) is not None] == list(outputs)


def test_terms():
    row = sfm.models.list_models().loc["openphenom"]
    assert "Non-Commercial" in row["license"]
    assert not row["commercial"]


def test_refusals(encoder, published, tmp_path):
    with pytest.raises(ModelError, match=r"40 x 32 pixels does not divide into patches of 16 pixels"):
        encoder(torch.zeros(1, 2, 40, 32))
    with pytest.raises(ModelError, match=r"takes pixels \(B, M, H, W\), got \(2, 32, 32\)"):
        encoder(torch.zeros(2, 32, 32))
    with pytest.raises(ModelError, match="no output 'summary'"):
        encoder(torch.zeros(1, 2, 32, 32), outputs=("summary",))
    torch.save(published, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"'openphenom'.*130 missing \(blocks.2.mlp_bias"):
        sfm.models.load("openphenom", weights=tmp_path / "w.pt")
