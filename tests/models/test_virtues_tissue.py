"""Channel-summary tokens of VirTues, against the same attention written out token by token."""

from __future__ import annotations

import pytest
import torch

import spatialfm as sfm
from spatialfm._errors import ModelError
from spatialfm.models.virtues_tissue import turned


def encoder_of(pattern: str = "hvhvf", **shape):
    encoder = sfm.models.new_encoder("virtues", dim=16, heads=2, encoder=pattern, decoder_depth=1, **shape).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for one in encoder.parameters():
            one.add_(0.3 * torch.randn(one.shape, generator=generator))
    encoder.requires_grad_(False)
    encoder.add_channel_summaries(3)
    return encoder.eval()


def inputs(height: int = 24, width: int = 16, n_markers: int = 3):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, n_markers, height, width, generator=generator), torch.randn(
        n_markers, 640, generator=generator
    )


def rope(x: torch.Tensor, place: tuple[float, float]) -> torch.Tensor:
    """Rotary positions as products of complex numbers: rows turn the first half of a head, columns the second."""
    parts = []
    for half, at in zip(x.chunk(2, -1), place, strict=True):
        n = half.shape[-1] // 2
        angle = at * 10000.0 ** (-torch.arange(n, dtype=torch.float64) / n)
        spun = torch.complex(half[..., :n].double(), half[..., n:].double()) * torch.exp(1j * angle)
        parts += [spun.real, spun.imag]
    return torch.cat(parts, -1).float()


def written_out(encoder, pixels: torch.Tensor, markers: torch.Tensor, layer: int):
    """One window, token by token: what is read, and what the summary token of each channel pays to its positions."""
    net, heads = encoder.backbone.encoder, encoder.config.heads
    tokens, grid = net.embed(pixels[None], markers[None], None)
    tokens = tokens[0]
    summaries = encoder.channel_summaries.tokens
    extra = torch.stack([summaries[0], *(summaries[1] + net.prior_embedding_encoder(markers))])
    x = torch.cat([tokens, extra[:, None]], 1)  # (C, L + 1, D)
    places = [(r, c) for r in range(grid.height) for c in range(grid.width)]
    places.append(((grid.height - 1) / 2, (grid.width - 1) / 2))
    paid = None
    for number, block in enumerate(net.blocks()):
        part, normed = block.multi_head_attention, block.layernorm1(x)
        out = torch.zeros_like(x)
        q, k, v = (f(normed).unflatten(-1, (heads, -1)) for f in (part.W_q, part.W_k, part.W_v))
        if part.along != "v":
            q, k = (torch.stack([rope(y[:, i], places[i]) for i in range(len(places))], 1) for y in (q, k))
        if number == layer:
            paid = torch.zeros(len(x), len(places) - 1)
        for c in range(len(x)):
            for i in range(len(places)):
                others = {
                    "h": [(c, j) for j in range(len(places))],
                    "v": [(d, i) for d in range(len(x))],
                    "f": [(d, j) for d in range(len(x)) for j in range(len(places))],
                }[part.along]
                keys = torch.stack([k[o] for o in others])  # (S, heads, d)
                values = torch.stack([v[o] for o in others])
                logits = (keys * q[c, i]).sum(-1) / q.shape[-1] ** 0.5  # (S, heads)
                out[c, i] = (logits.softmax(0)[..., None] * values).sum(0).flatten()
                if number == layer and i == len(places) - 1:
                    paid[c] = logits[:-1].softmax(0).mean(1) * (len(places) - 1)
        x = x + part.W_o(out)
        x = x + block.feedforward(block.layernorm2(x))
    return net.layer_norm(x[0, -1]), paid.unflatten(1, (grid.height, grid.width))


def test_the_network_with_its_tokens_is_the_one_written_out():
    encoder, (pixels, markers) = encoder_of(), inputs()
    out = encoder(pixels, markers)
    for row in range(2):
        read, paid = written_out(encoder, pixels[row], markers, layer=0)  # of two spatial layers, the last but one
        torch.testing.assert_close(out.patch[row], read, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(out.summary[row, ..., 0], paid[0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(out.token[row, ..., 0], paid[1:], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(out.marker[row, :, 0], paid[1:].mean((1, 2)), rtol=1e-5, atol=1e-5)


def test_attention_is_one_on_average_and_the_last_layer_but_one_is_read():
    encoder, (pixels, markers) = encoder_of("hvhvhv"), inputs()
    out = encoder(pixels, markers)
    torch.testing.assert_close(out.summary.mean((1, 2)), torch.ones(2, 1))
    torch.testing.assert_close(out.token.mean((2, 3)), torch.ones(2, 3, 1))
    _, paid = written_out(encoder, pixels[0], markers, layer=2)
    torch.testing.assert_close(out.summary[0, ..., 0], paid[0], rtol=1e-5, atol=1e-5)


def test_a_middle_that_is_a_position_is_turned_as_that_position():
    rotary = encoder_of().backbone.encoder.blocks()[0].multi_head_attention.pos_emb
    y = torch.randn(2, 2, 15, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(turned(rotary, y[..., 7, :], (1.0, 2.0)), rotary(y, 3, 5)[..., 7, :])


def test_markers_may_come_in_any_order():
    encoder, (pixels, markers) = encoder_of(), inputs()
    out, order = encoder(pixels, markers), [2, 0, 1]
    other = encoder(pixels[:, order], markers[order])
    torch.testing.assert_close(other.patch, out.patch, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(other.token, out.token[:, order], rtol=1e-5, atol=1e-5)


def test_what_cannot_be_is_refused():
    shallow = sfm.models.new_encoder("virtues", dim=16, heads=2, encoder="hv", decoder_depth=1)
    with pytest.raises(ModelError, match="has 1 spatial attention layers"):
        shallow.add_channel_summaries()
    encoder, (pixels, markers) = encoder_of(), inputs()
    with pytest.raises(ModelError, match="nothing is hidden"):
        encoder(pixels, markers, token_mask=torch.zeros(2, 3, 3, 2, dtype=torch.bool))
    with pytest.raises(ModelError, match="has no output 'attention'"):
        encoder(pixels, markers, outputs=("attention",))
