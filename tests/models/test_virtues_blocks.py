"""Parts of the network of VirTues against torch's own attention, block and rotations, and grids written out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from spatialfm.models import virtues_blocks as module
from spatialfm.models.virtues_blocks import (
    FactorisedBlock,
    GroupAttention,
    Rotary,
    VirTuesConfig,
    VirTuesDecoderNet,
    VirTuesEncoderNet,
    VisibleTokens,
)

CONFIG = VirTuesConfig(dim=16, hidden=24, heads=2, patch_size=2, marker_dim=5, encoder="v", decoder="", max_side=8)
SHAPE = (2, 3, 2, 2)  # windows, channels, rows, columns


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def visible_tokens() -> torch.Tensor:
    """A mask with a hidden token in each window; the summary tokens, channel 0, are always visible."""
    visible = torch.ones(2, 3, 4, dtype=torch.bool)
    visible[0, 1, 2] = visible[0, 2, 3] = visible[1, 2, 0] = False
    return visible


def attention_of_torch(attention: GroupAttention) -> nn.MultiheadAttention:
    """The same weights in torch's own module."""
    other = nn.MultiheadAttention(CONFIG.dim, CONFIG.heads, batch_first=True)
    parts = (attention.W_q, attention.W_k, attention.W_v)
    with torch.no_grad():
        other.in_proj_weight.copy_(torch.cat([one.weight for one in parts]))
        other.in_proj_bias.copy_(torch.cat([one.bias for one in parts]))
        other.out_proj.weight.copy_(attention.W_o.weight)
        other.out_proj.bias.copy_(attention.W_o.bias)
    return other


def turned(x: torch.Tensor, row: int, column: int) -> torch.Tensor:
    """Rotary positions from the definition: pairs of entries of a head as complex numbers, each half by one place."""
    out = []
    for half, place in zip(x.chunk(2, -1), (row, column), strict=True):
        n = half.shape[-1] // 2
        angle = place * 10000.0 ** (-torch.arange(n) / n)
        number = torch.complex(half[..., :n], half[..., n:]) * torch.polar(torch.ones(n), angle)
        out += [number.real, number.imag]
    return torch.cat(out, -1)


def test_rotations_are_those_of_complex_numbers():
    x = torch.randn(3, 2, 2 * 6, 8)  # the grid of 2 x 3 twice
    found = Rotary(8, 8)(x, 2, 3)
    for token in range(12):
        row, column = divmod(token % 6, 3)
        torch.testing.assert_close(found[:, :, token], turned(x[:, :, token], row, column))


def test_visible_tokens_are_packed_in_order_and_put_back():
    x = torch.arange(24.0).reshape(2, 3, 4, 1)
    grid = VisibleTokens(SHAPE, visible_tokens())
    packed = grid.pack(x)
    assert packed.flatten().tolist() == [n for n in range(24) if n not in (6, 11, 20)]
    assert grid.unpack(packed).flatten().tolist() == [0.0 if n in (6, 11, 20) else n for n in range(24)]
    assert torch.equal(grid.unpack(packed, x + 100).flatten()[[6, 7, 20]], torch.tensor([106.0, 7.0, 120.0]))


def test_groups_are_the_sequences_that_their_letter_says():
    x = torch.arange(24).reshape(2, 3, 4, 1, 1)
    grid = VisibleTokens(SHAPE)
    expected = {
        "h": [[4 * channel + place for place in range(4)] for channel in range(6)],
        "v": [[12 * window + 4 * channel + place for channel in range(3)] for window in range(2) for place in range(4)],
        "f": [list(range(12)), list(range(12, 24))],
    }
    for along, sequences in expected.items():
        groups = grid.groups(x, along)
        assert groups[:, 0, :, 0].tolist() == sequences
        assert torch.equal(grid.ungroup(groups, along), x[..., 0])


@pytest.mark.parametrize("masked", [False, True])
def test_attention_among_markers_is_that_of_torch(masked):
    attention, visible = GroupAttention(CONFIG, "v"), visible_tokens() if masked else None
    grid, x = VisibleTokens(SHAPE, visible), torch.randn(2, 3, 4, 16)
    sequences = x.transpose(1, 2).flatten(0, 1)  # of one position: its channels
    hidden = None if visible is None else ~visible.transpose(1, 2).flatten(0, 1)
    with torch.no_grad():
        expected, weights = attention_of_torch(attention)(
            sequences, sequences, sequences, key_padding_mask=hidden, average_attn_weights=False
        )
        packed = grid.pack(x)
        found = attention(packed, grid)
        torch.testing.assert_close(found, grid.pack(expected.unflatten(0, (2, 4)).transpose(1, 2)))
        torch.testing.assert_close(attention.summary(packed, grid), expected[:, 0])
        rows = torch.ones(8, 3) if hidden is None else (~hidden).float()
        of_visible = weights * rows[:, None, :, None]
        torch.testing.assert_close(attention.weights(packed, grid) * rows[:, None, :, None], of_visible)
        torch.testing.assert_close(attention.total_weights(packed, grid), of_visible.unflatten(0, (2, 4)).sum(1))
        torch.testing.assert_close(attention.mean_weights(packed, grid), of_visible.sum(2) / rows.sum(1)[:, None, None])
        torch.testing.assert_close(attention.mean_weights(packed, grid, query=0), weights[:, :, 0])


@pytest.mark.parametrize("along", ["h", "f"])
def test_attention_among_positions_turns_queries_and_keys(along):
    attention, grid, x = GroupAttention(CONFIG, along), VisibleTokens(SHAPE), torch.randn(2, 3, 4, 16)
    with torch.no_grad():
        projected = [weight(x).unflatten(-1, (2, 8)) for weight in (attention.W_q, attention.W_k, attention.W_v)]
        for part in projected[:2]:
            for place in range(4):
                part[:, :, place] = turned(part[:, :, place], *divmod(place, 2))
        query, key, value = (part if along == "h" else part.flatten(1, 2)[:, None] for part in projected)
        weights = torch.einsum("bcshd,bcthd->bchst", query, key).div(8**0.5).softmax(-1)
        expected = torch.einsum("bchst,bcthd->bcshd", weights, value).reshape(2, 3, 4, 16)
        torch.testing.assert_close(attention(grid.pack(x), grid), attention.W_o(expected).flatten(0, 2))


def test_many_groups_go_through_in_parts(monkeypatch):
    attention, grid, x = GroupAttention(CONFIG, "v"), VisibleTokens(SHAPE), torch.randn(24, 16)
    with torch.no_grad():
        sequences = x.reshape(2, 3, 4, 16).transpose(1, 2).flatten(0, 1)
        expected = attention_of_torch(attention)(sequences, sequences, sequences)[0]
        monkeypatch.setattr(module, "_GROUPS_AT_ONCE", 3)  # 8 groups: two whole parts and a rest
        torch.testing.assert_close(
            attention(x, grid), expected.unflatten(0, (2, 4)).transpose(1, 2).flatten(0, 2), rtol=1e-5, atol=1e-6
        )


def test_a_block_is_the_pre_norm_layer_of_torch():
    block = FactorisedBlock(CONFIG, "v")
    other = nn.TransformerEncoderLayer(16, 2, 24, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
    other.self_attn = attention_of_torch(block.multi_head_attention)
    for name in ("layernorm1", "layernorm2"):
        nn.init.normal_(getattr(block, name).weight)
        nn.init.normal_(getattr(block, name).bias)
    first, last = block.feedforward[0], block.feedforward[3]
    pairs = [(other.norm1, block.layernorm1), (other.norm2, block.layernorm2), (other.linear1, first)]
    for theirs, ours in [*pairs, (other.linear2, last)]:
        theirs.load_state_dict(ours.state_dict())
    x, grid = torch.randn(2, 3, 4, 16), VisibleTokens(SHAPE)
    expected = other.train()(x.transpose(1, 2).flatten(0, 1))
    torch.testing.assert_close(
        block(grid.pack(x), grid), expected.unflatten(0, (2, 4)).transpose(1, 2).flatten(0, 2), rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(block.summary(grid.pack(x), grid), expected[:, 0], rtol=1e-5, atol=1e-5)


SMALL = VirTuesConfig(dim=4, hidden=4, heads=1, patch_size=2, marker_dim=3, encoder="", decoder="", max_side=8)


def identity_(layer: nn.Linear) -> None:
    nn.init.eye_(layer.weight)
    nn.init.zeros_(layer.bias)


def test_patches_are_cut_row_by_row_and_hidden_ones_keep_the_name_of_their_marker():
    net = VirTuesEncoderNet(SMALL)
    identity_(net.patch_encoder)
    identity_(net.prior_embedding_encoder)
    nn.init.constant_(net.patch_summary_token, 7.0)
    nn.init.constant_(net.masked_token, -1.0)
    pixels = torch.arange(48.0).reshape(1, 2, 4, 6)
    markers = torch.tensor([[[0.5, 0.0, 0.0], [0.0, 0.25, 0.0]]])
    hidden = torch.zeros(1, 2, 2, 3, dtype=torch.bool)
    hidden[0, 1, 1, 2] = True
    tokens, grid = net.embed(pixels, markers, hidden)
    assert tokens.shape == (1, 3, 6, 4)
    assert (tokens[0, 0] == 7).all()
    assert tokens[0, 1, 0].tolist() == [0.5, 1, 6, 7]
    assert tokens[0, 1, 2].tolist() == [4.5, 5, 10, 11]  # the last of the first row
    assert tokens[0, 2, 3].tolist() == [24 + 12, 24 + 13.25, 24 + 18, 24 + 19]
    assert tokens[0, 2, 5].tolist() == [-1, -0.75, -1, -1]
    assert (~grid.visible).nonzero().tolist() == [[0, 2, 5]]
    assert net.embed(pixels, markers, None)[1].visible is None


def test_decoded_patches_are_put_where_they_were():
    net = VirTuesDecoderNet(SMALL)
    identity_(net.multiplex_decoder_mlp[0])
    net.layer_norm = nn.Identity()
    pixels = torch.arange(96.0).reshape(2, 2, 4, 6)
    tokens = torch.full((2, 3, 6, 4), -5.0)  # the summary has no part in a decoder without blocks
    for row in range(2):
        for column in range(3):
            patch = pixels[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            tokens[:, 1:, 3 * row + column] = patch.flatten(2)
    assert torch.equal(net(tokens, 2, 3), pixels)
