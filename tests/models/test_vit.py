"""The transformer's parts, against torch's own and against closed forms; the whole one is held by KRONOS's values."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from spatialfm.models.vit import Attention, TransformerBlock, VisionTransformer, ViTConfig

TINY = ViTConfig(dim=24, depth=4, heads=3, patch_size=4, grid=5, in_channels=3, registers=2)


def _vit(**changes) -> VisionTransformer:
    torch.manual_seed(0)
    vit = VisionTransformer(replace(TINY, **changes))
    with torch.no_grad():
        for parameter in vit.parameters():
            parameter.normal_(0, 0.3)
    return vit.eval().requires_grad_(False)


def test_a_block_without_layer_scale_is_torchs_prenorm_encoder_layer():
    block = TransformerBlock(replace(TINY, layer_scale=False)).eval()
    other = torch.nn.TransformerEncoderLayer(
        24, 3, 96, 0.0, activation="gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
    ).eval()
    names = {
        "self_attn.in_proj_weight": "attn.qkv.weight",
        "self_attn.in_proj_bias": "attn.qkv.bias",
        "self_attn.out_proj.weight": "attn.proj.weight",
        "self_attn.out_proj.bias": "attn.proj.bias",
        "linear1.weight": "mlp.fc1.weight",
        "linear1.bias": "mlp.fc1.bias",
        "linear2.weight": "mlp.fc2.weight",
        "linear2.bias": "mlp.fc2.bias",
    }
    weights = block.state_dict()
    other.load_state_dict({name: weights[names.get(name, name)] for name in other.state_dict()})
    x = torch.randn(2, 7, 24)
    torch.testing.assert_close(block(x), other(x), rtol=1e-5, atol=1e-6)


def test_layer_scale_multiplies_the_residuals():
    block = TransformerBlock(TINY).eval()
    x = torch.randn(1, 5, 24)
    plain = block(x)
    with torch.no_grad():
        block.ls1.gamma.zero_()
        block.ls2.gamma.zero_()
    torch.testing.assert_close(block(x), x)
    assert not torch.allclose(plain, x, atol=1e-3)


def test_first_is_the_first_token_of_all():
    vit = _vit()
    x = torch.randn(3, 11, 24)
    torch.testing.assert_close(vit.run(x, first_only=True), vit.run(x)[:, :1], rtol=1e-5, atol=1e-5)


def test_attention_of_the_first_token_sums_to_one_and_makes_its_output():
    attention = Attention(24, 3).eval()
    x = torch.randn(2, 9, 24)
    weights = attention.first_weights(x)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3))
    value = attention.qkv(x)[..., 48:].unflatten(-1, (3, 8))
    mixed = torch.einsum("bhl,blhd->bhd", weights, value).flatten(1)
    torch.testing.assert_close(attention.proj(mixed), attention(x)[:, 0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("chunks", "name"), [(0, "blocks.3.norm1.weight"), (2, "blocks.1.3.norm1.weight")])
def test_names_of_blocks(chunks, name):
    vit = _vit(chunks=chunks)
    assert name in vit.state_dict()
    assert len(vit.block_list()) == 4


def test_chunking_changes_names_alone():
    flat, chunked = _vit(), _vit(chunks=2)
    chunked.load_state_dict(dict(zip(chunked.state_dict(), flat.state_dict().values(), strict=True)))
    x = torch.randn(1, 3, 20, 20)
    torch.testing.assert_close(chunked(x), flat(x))


def test_parts_that_a_config_leaves_out():
    names = set(_vit(registers=0, mask_token=False, layer_scale=False).state_dict())
    assert not names & {"register_tokens", "mask_token"}
    assert not any("gamma" in name for name in names)


def test_forward_of_rgb_windows():
    vit = _vit()
    x = torch.randn(2, 3, 20, 20)
    out = vit(x)
    assert out.shape == (2, 1 + 2 + 25, 24)
    by_hand = torch.stack([vit.patch_embed.proj(x)[:, :, i // 5, i % 5] for i in range(25)], 1) + vit.pos_embed[:, 1:]
    cls = (vit.cls_token + vit.pos_embed[:, :1]).expand(2, -1, -1)
    tokens = torch.cat([cls, vit.register_tokens.expand(2, -1, -1), by_hand], 1)
    for block in vit.blocks:
        tokens = block(tokens)
    torch.testing.assert_close(out, vit.norm(tokens))


def test_overlapping_tokens():
    vit = _vit(stride=2)
    assert vit.token_grid(20, 12) == (9, 5)
    assert vit(torch.randn(1, 3, 20, 12)).shape == (1, 3 + 45, 24)


@pytest.mark.parametrize(("height", "width"), [(3, 8), (8, 10), (0, 4)])
def test_windows_that_do_not_divide(height, width):
    with pytest.raises(ValueError, match=r"does not divide into patches of 4 pixels with stride 4; sides of \d+ or"):
        _vit().token_grid(height, width)


def test_native_positions_are_the_learned_ones():
    vit = _vit()
    torch.testing.assert_close(vit.positions(5, 5), vit.pos_embed[0, 1:], rtol=0, atol=0)


@pytest.mark.parametrize("antialias", [False, True])
def test_positions_resized_to_a_size(antialias):
    vit = _vit(resize_offset=0.0, resize_antialias=antialias)
    table = vit.pos_embed[0, 1:].reshape(5, 5, 24).permute(2, 0, 1)[None]
    expected = (
        F.interpolate(table, size=(3, 7), mode="bicubic", antialias=antialias)[0].permute(1, 2, 0).reshape(21, 24)
    )
    torch.testing.assert_close(vit.positions(3, 7), expected)


def _keys_weights(n: int, side: int, factor: float, a: float = -0.75) -> np.ndarray:
    """Cubic convolution (Keys 1981) from `side` to `n` samples, edges repeated."""
    weights = np.zeros((n, side))
    for i in range(n):
        place = (i + 0.5) / factor - 0.5
        for k in range(int(np.floor(place)) - 1, int(np.floor(place)) + 3):
            d = abs(place - k)
            near, far = ((a + 2) * d - (a + 3)) * d * d + 1, ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
            weights[i, min(max(k, 0), side - 1)] += near if d <= 1 else far
    return weights


@pytest.mark.parametrize(("height", "width"), [(3, 7), (12, 4)])
def test_positions_resized_by_a_factor(height, width):
    vit = _vit(resize_offset=0.1)
    table = vit.pos_embed[0, 1:].reshape(5, 5, 24).double().numpy()
    rows, columns = (_keys_weights(n, 5, (n + 0.1) / 5) for n in (height, width))
    expected = np.einsum("yi,xj,ijd->yxd", rows, columns, table).reshape(-1, 24)
    np.testing.assert_allclose(vit.positions(height, width), expected, atol=1e-5)
    by_size = np.einsum("yi,xj,ijd->yxd", *(_keys_weights(n, 5, n / 5) for n in (height, width)), table)
    assert np.abs(expected - by_size.reshape(-1, 24)).max() > 1e-3


def test_remembered_positions_follow_the_weights():
    vit = _vit()
    first = vit.positions(3, 3)
    assert vit.positions(3, 3) is first
    vit.pos_embed.mul_(2)
    torch.testing.assert_close(vit.positions(3, 3), 2 * first)
    vit.load_state_dict({name: 3 * t for name, t in vit.state_dict().items()}, assign=True)
    torch.testing.assert_close(vit.positions(3, 3), 6 * first)
    assert vit.double().positions(3, 3).dtype == torch.float64
    assert copy.deepcopy(vit).positions(3, 3).dtype == torch.float64


def test_positions_of_an_inference_run_can_be_trained_on_later():
    vit = _vit()
    with torch.inference_mode():
        vit(torch.randn(1, 3, 12, 12))
    vit.requires_grad_(True)
    vit(torch.randn(1, 3, 12, 12)).sum().backward()
    assert vit.pos_embed.grad[:, 1:].abs().sum() > 0


# --- training --------------------------------------------------------------------------------------------------------


def small() -> VisionTransformer:
    torch.manual_seed(0)
    network = VisionTransformer(ViTConfig(dim=12, depth=3, heads=2, patch_size=4, grid=2, in_channels=1))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network


def test_gains_of_one_change_nothing_and_of_zero_leave_a_branch_out():
    network, x = small(), torch.randn(4, 5, 12)
    torch.testing.assert_close(network.run(x, gains=torch.ones(4, 3, 2)), network.run(x))
    assert torch.equal(network.run(x, gains=torch.zeros(4, 3, 2)), x)
    gains = torch.ones(4, 3, 2)
    gains[1, 0, 0] = gains[1, 2, 1] = gains[3, 1] = 0
    gains[2, 1, 1] = 2.0
    expected = []
    for image, row in zip(x, gains, strict=True):  # each image by itself, branch by branch
        one = image[None]
        for block, (first, second) in zip(network.block_list(), row, strict=True):
            one = one + first * block.ls1.gamma * block.attn(block.norm1(one))
            one = one + second * block.ls2.gamma * block.mlp(block.norm2(one))
        expected.append(one)
    torch.testing.assert_close(network.run(x, gains=gains), torch.cat(expected))


def test_every_parameter_has_a_gradient_where_all_branches_are_dropped():
    network = small()
    network.run(torch.randn(2, 5, 12), gains=torch.zeros(2, 3, 2)).sum().backward()
    assert all(parameter.grad is not None for parameter in network.blocks.parameters())
    assert not any(parameter.grad.any() for parameter in network.blocks.parameters())
