"""VirTues against what its published code returned, and against a plain implementation with loops."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import spatialfm as sfm
from spatialfm._errors import ModelError, WeightsError
from spatialfm.models import hub
from spatialfm.models.virtues import VirTuesEncoder
from spatialfm.models.virtues_attention import marker_importance
from spatialfm.models.virtues_blocks import RotaryTable, VirTuesConfig

VALUES = json.loads((Path(__file__).parent / "virtues_values.json").read_text())
NAMES = ["virtues", "virtues-sp32", "virtues-imc14"]
TINY = VirTuesConfig(dim=32, hidden=48, heads=2, patch_size=4, marker_dim=6, encoder="hvhv", decoder="ff", max_side=20)


def relative_error(out: torch.Tensor, expected) -> float:
    expected = np.asarray(expected, dtype=np.float64)
    return float(np.linalg.norm(out.double().numpy() - expected) / np.linalg.norm(expected))


@pytest.fixture(scope="module")
def virtues(standin, tmp_path_factory) -> VirTuesEncoder:
    """The published shape with stand-in weights, from a file as it is published."""
    path = tmp_path_factory.mktemp("virtues-sp31") / "model.safetensors"
    state = VirTuesEncoder(sfm.models.card("virtues")).backbone.state_dict()
    tables = {name: tensor for name, tensor in state.items() if "rope1d" in name}
    filled = {name: torch.from_numpy(standin.fill(name, t.shape)) for name, t in state.items() if name not in tables}
    save_file(filled | tables, path)
    encoder = sfm.models.load("virtues", weights=path.parent)
    path.unlink()
    return encoder


@pytest.fixture
def tiny() -> VirTuesEncoder:
    encoder = VirTuesEncoder(sfm.models.card("virtues"), TINY)
    generator = torch.Generator().manual_seed(0)
    tensors = {n: torch.empty(p.shape).normal_(0, 0.3, generator=generator) for n, p in encoder.named_parameters()}
    encoder.load_state_dict(tensors, strict=False, assign=True)
    return encoder.eval().requires_grad_(False)


def tiny_input(seed: int = 1, batch: int = 2, channels: int = 3, height: int = 3, width: int = 4):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randn(batch, channels, 4 * height, 4 * width, generator=generator)
    markers = torch.randn(channels, 6, generator=generator)
    hidden = torch.rand(batch, channels, height, width, generator=generator) < 0.6
    return pixels, markers, hidden


# --- values of the published code ------------------------------------------------------------------------------------


def case_input(standin, case: str, meta: dict, i: int):
    embeddings = torch.from_numpy(standin.synthetic_input("marker_embeddings", 12, 640))
    channels, size = meta["channels"][i], meta["size"]
    pixels = torch.from_numpy(standin.synthetic_input(f"{case}/{i}", len(channels), size, size))
    return pixels, embeddings[channels]


def unpack_mask(rows: list[str] | None) -> torch.Tensor | None:
    if rows is None:
        return None
    bits = np.array([np.unpackbits(np.frombuffer(bytes.fromhex(row), np.uint8)) for row in rows], dtype=bool)
    return torch.from_numpy(bits.reshape(len(rows), 8, 8))


@pytest.mark.parametrize("case", list(VALUES))
def test_published_values(virtues, standin, case):
    meta = VALUES[case]
    inputs = [case_input(standin, case, meta, i) for i in range(2)]
    masks = [unpack_mask(sample.get("mask")) for sample in meta["samples"]]
    with torch.inference_mode():
        outs = virtues.encode_samples([p for p, _ in inputs], [m for _, m in inputs], masks)
        for (pixels, markers), mask, out, expected in zip(inputs, masks, outs, meta["samples"], strict=True):
            assert out.summary.shape == (1, 8, 8, 512)
            assert relative_error(out.summary[0, -1, 2, :8], expected["summary"]) < 1e-5
            pictures = virtues.reconstruct(pixels[None], markers, None if mask is None else mask[None])
            assert pictures.shape == (1, *pixels.shape)
            assert relative_error(pictures[0, -1, -3, -8:], expected["reconstruction"]) < 1e-5


@pytest.mark.goldens
@pytest.mark.parametrize("case", ["v128", "v64x2", "v64m"])
def test_goldens(virtues, standin, reference, case):
    goldens = np.load(reference / "goldens" / "virtues.npz")
    meta = json.loads(str(goldens[f"{case}/meta"]))
    for i in range(len(meta["channels"])):
        pixels, markers = case_input(standin, case, meta, i)
        mask = torch.from_numpy(goldens[f"{case}/mask/{i}"])[None] if meta["masked"] else None
        with torch.inference_mode():
            out = virtues(pixels[None], markers, token_mask=mask, outputs=("summary",))
            pictures = virtues.reconstruct(pixels[None], markers, mask)
        assert relative_error(out.summary[0], goldens[f"{case}/summary/{i}"]) < 1e-5
        assert relative_error(pictures[0], goldens[f"{case}/reconstruction/{i}"]) < 1e-5


@pytest.mark.goldens
def test_names_and_shapes_are_those_of_the_published_checkpoint(reference):
    published = json.loads((reference / "layouts" / "virtues.json").read_text())
    state = VirTuesEncoder(sfm.models.card("virtues")).backbone.state_dict()
    assert {name: list(tensor.shape) for name, tensor in state.items()} == published
    assert list(state) == list(published)


# --- a plain implementation ------------------------------------------------------------------------------------------


def turn(x: np.ndarray, place: tuple[int, int]) -> np.ndarray:
    """Rotary positions as complex numbers; x (heads, d)."""
    half = x.shape[-1] // 2
    parts = []
    for axis, position in enumerate(place):
        part = x[..., axis * half : (axis + 1) * half]
        z = part[..., : half // 2] + 1j * part[..., half // 2 :]
        z = z * np.exp(1j * position * 10000.0 ** (-2 * np.arange(half // 2) / half))
        parts += [z.real, z.imag]
    return np.concatenate(parts, axis=-1)


def norm(x: np.ndarray, weights: dict, name: str) -> np.ndarray:
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(x: np.ndarray, weights: dict, name: str) -> np.ndarray:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def plain_block(tokens: dict, weights: dict, name: str, groups: list, turned: bool) -> dict:
    """One block on tokens {(channel, row, column): vector}; softmax written out, one token after the other."""
    out = {}
    for group in groups:
        normed = {key: norm(tokens[key], weights, f"{name}.layernorm1") for key in group}
        query, key, value = (
            {k: linear(v, weights, f"{name}.multi_head_attention.{w}").reshape(2, -1) for k, v in normed.items()}
            for w in ("W_q", "W_k", "W_v")
        )
        if turned:
            query, key = ({k: turn(v, k[1:]) for k, v in side.items()} for side in (query, key))
        for k in group:
            logits = np.array([(query[k] * key[other]).sum(-1) for other in group]) / math.sqrt(16)
            weight = np.exp(logits) / np.exp(logits).sum(0)
            seen = sum(w[:, None] * value[other] for w, other in zip(weight, group, strict=True)).ravel()
            x = tokens[k] + linear(seen, weights, f"{name}.multi_head_attention.W_o")
            wide = linear(norm(x, weights, f"{name}.layernorm2"), weights, f"{name}.feedforward.0")
            wide = wide * 0.5 * (1 + np.vectorize(math.erf)(wide / math.sqrt(2)))
            out[k] = x + linear(wide, weights, f"{name}.feedforward.3")
    return out


def plain(encoder, pixels, markers, hidden):
    """Encoded tokens (1 + M, h, w, D) and reconstruction (M, H, W) of one window."""
    weights = {n: t.double().numpy() for n, t in encoder.backbone.state_dict().items()}
    pixels, markers, hidden = pixels.double().numpy(), markers.double().numpy(), hidden.numpy()
    n, h, w = hidden.shape
    every = [(c, i, j) for c in range(n + 1) for i in range(h) for j in range(w)]
    tokens = {}
    for c, i, j in every:
        if c == 0:
            tokens[c, i, j] = weights["encoder.patch_summary_token"]
            continue
        patch = pixels[c - 1, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4].ravel()
        token = linear(patch, weights, "encoder.patch_encoder")
        if hidden[c - 1, i, j]:
            token = weights["encoder.masked_token"]
        tokens[c, i, j] = token + linear(markers[c - 1], weights, "encoder.prior_embedding_encoder")
    visible = [k for k in every if k[0] == 0 or not hidden[k[0] - 1, k[1], k[2]]]
    for number, along in enumerate("hvhv"):
        of = (lambda k: k[0]) if along == "h" else (lambda k: k[1:])
        groups = [[k for k in visible if of(k) == g] for g in sorted({of(k) for k in visible})]
        tokens |= plain_block(tokens, weights, f"encoder.encoder.{number}.encoder_layer", groups, along == "h")
    encoded = {k: norm(v, weights, "encoder.layer_norm") for k, v in tokens.items()}
    picture = np.zeros_like(pixels)
    for c in range(1, n + 1):
        group = [k for k in every if k[0] in (0, c)]
        tokens = {k: encoded[k] for k in group}
        for number in range(2):
            tokens = plain_block(tokens, weights, f"decoder.decoder.{number}.encoder_layer", [group], True)
        for i in range(h):
            for j in range(w):
                x = norm(tokens[c, i, j], weights, "decoder.layer_norm")
                patch = linear(x, weights, "decoder.multiplex_decoder_mlp.0").reshape(4, 4)
                picture[c - 1, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4] = patch
    return np.stack([encoded[k] for k in every]).reshape(n + 1, h, w, -1), picture


@pytest.mark.parametrize("masked", [False, True])
def test_is_the_plain_implementation(tiny, masked):
    pixels, markers, hidden = tiny_input(height=2, width=3)
    hidden[1, 0] = True  # a marker hidden altogether
    hidden &= masked
    out = tiny(pixels, markers, token_mask=hidden if masked else None)
    pictures = tiny.reconstruct(pixels, markers, hidden if masked else None)
    for i in range(2):
        tokens, picture = plain(tiny, pixels[i], markers, hidden[i])
        assert relative_error(out.summary[i], tokens[0]) < 1e-5
        assert relative_error(out.token[i], tokens[1:]) < 1e-5
        assert relative_error(out.patch[i], tokens[0].mean((0, 1))) < 1e-5
        assert relative_error(pictures[i], picture) < 1e-5
        for m in range(3):
            seen = np.ones((2, 3), bool) if hidden[i, m].all() else ~hidden[i, m].numpy()
            assert relative_error(out.marker[i, m], tokens[1 + m][seen].mean(0)) < 1e-5


# --- what must hold --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("masked", [False, True])
def test_the_order_of_markers_does_not_matter(tiny, masked):
    pixels, markers, hidden = tiny_input(channels=4)
    hidden = hidden if masked else None
    order = [2, 0, 3, 1]
    first = tiny(pixels, markers, token_mask=hidden)
    second = tiny(pixels[:, order], markers[order], token_mask=None if hidden is None else hidden[:, order])
    torch.testing.assert_close(second.summary, first.summary, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(second.token, first.token[:, order], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(second.marker, first.marker[:, order], rtol=1e-5, atol=1e-5)


def test_panels_of_several_samples(tiny, monkeypatch):
    panels = [(4, 2, 2), (2, 2, 2), (4, 2, 2), (1, 3, 4), (4, 2, 2)]
    samples = [tiny_input(seed, 1, *shape) for seed, shape in enumerate(panels)]
    masks = [None, None, None, samples[3][2][0], samples[4][2][0]]
    batches = []
    forward = VirTuesEncoder.forward
    monkeypatch.setattr(
        VirTuesEncoder, "forward", lambda self, x, *a, **k: batches.append(len(x)) or forward(self, x, *a, **k)
    )
    outs = tiny.encode_samples([p[0] for p, _, _ in samples], [m for _, m, _ in samples], masks)
    assert sorted(batches) == [1, 1, 1, 2]  # the equal ones together, other panels separately
    for (pixels, markers, _), mask, out in zip(samples, masks, outs, strict=True):
        alone = tiny(pixels, markers, token_mask=None if mask is None else mask[None])
        for name in ("patch", "marker", "token", "summary"):
            torch.testing.assert_close(getattr(out, name), getattr(alone, name), rtol=1e-5, atol=1e-5)
    only = tiny.encode_samples([p[0] for p, _, _ in samples], [m for _, m, _ in samples], outputs=("summary",))
    assert all(out.token is None and out.summary is not None for out in only)


def test_a_hidden_marker_is_as_if_it_were_absent(tiny):
    pixels, markers, hidden = tiny_input(channels=4)
    hidden[:, :] = False
    hidden[:, 2] = True
    pixels[:, 2] = torch.nan
    out = tiny(pixels, markers, token_mask=hidden)
    rest = [0, 1, 3]
    without = tiny(pixels[:, rest], markers[rest])
    torch.testing.assert_close(out.summary, without.summary, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(out.token[:, rest], without.token, rtol=1e-5, atol=1e-5)
    pictures = tiny.reconstruct(pixels, markers, hidden)
    assert pictures.isfinite().all()
    other = markers.clone()
    other[2] += 1
    assert not torch.allclose(tiny.reconstruct(pixels, other, hidden)[:, 2], pictures[:, 2], atol=1e-3)


def test_what_is_withheld_reaches_the_decoder_by_the_summaries_alone(tiny):
    pixels, markers, hidden = tiny_input()
    pictures = tiny.reconstruct(pixels, markers, hidden)
    torch.testing.assert_close(tiny.reconstruct(pixels, markers, hidden, withheld=hidden), pictures)
    none, every = torch.zeros_like(hidden), torch.ones_like(hidden)
    torch.testing.assert_close(tiny.reconstruct(pixels, markers, hidden, withheld=none), pictures)
    for block in tiny.backbone.encoder.blocks():  # without attention and change by it, no summary knows of a marker
        block.multi_head_attention.W_o.weight.zero_()
    other = torch.randn_like(pixels)
    blind = [tiny.reconstruct(one, markers, hidden, withheld=every) for one in (pixels, other)]
    torch.testing.assert_close(*blind)
    assert not torch.allclose(blind[0][:, 0], blind[0][:, 1], atol=1e-3)  # it is told which marker is sought
    # as if the encoder had been shown nothing: then tokens of markers are the same, and so are the summaries here
    torch.testing.assert_close(blind[0], tiny.reconstruct(pixels, markers, every))
    one = none.clone()
    one[:, 1] = True  # the decoder works on each channel by itself
    seen, apart = tiny.reconstruct(pixels, markers, none), tiny.reconstruct(pixels, markers, none, withheld=one)
    torch.testing.assert_close(apart[:, [0, 2]], seen[:, [0, 2]])
    assert not torch.allclose(apart[:, 1], seen[:, 1], atol=1e-3)
    torch.testing.assert_close(tiny.reconstruct(pixels, markers, none, channels=[1], withheld=one), apart[:, [1]])
    with pytest.raises(ModelError, match="boolean mask"):
        tiny.reconstruct(pixels, markers, hidden, withheld=one[:, :2])


def test_everything_hidden(tiny):
    pixels, markers, hidden = tiny_input()
    out = tiny(pixels, markers, token_mask=torch.ones_like(hidden))
    for value in (out.patch, out.marker, out.token, out.summary):
        assert value.isfinite().all()
        torch.testing.assert_close(value[0], value[1])


def test_a_marker_hidden_altogether_gives_no_nan_gradient(tiny):
    pixels, markers, hidden = tiny_input()
    hidden[0, 1] = True
    tiny.requires_grad_(True)
    (tiny.reconstruct(pixels, markers, hidden) - pixels).square().mean().backward()
    for name, parameter in tiny.named_parameters():
        assert parameter.grad.isfinite().all(), name
        # the bias of the keys shifts all logits of a query alike
        assert name.endswith("W_k.bias") or parameter.grad.abs().max() > 0, name


def test_only_what_is_needed(tiny):
    pixels, markers, hidden = tiny_input()
    for mask in (None, hidden):
        everything = tiny(pixels, markers, token_mask=mask)
        for names in (("summary",), ("patch",), ("patch", "summary"), ("marker",), ("token", "patch")):
            out = tiny(pixels, markers, token_mask=mask, outputs=names)
            for name in ("patch", "marker", "token", "summary"):
                if name in names:
                    torch.testing.assert_close(getattr(out, name), getattr(everything, name), rtol=1e-5, atol=1e-5)
                else:
                    assert getattr(out, name) is None


def test_many_groups_in_pieces_are_the_same(tiny, monkeypatch):
    pixels, markers, hidden = tiny_input()
    expected = [tiny(pixels, markers, token_mask=mask).token for mask in (None, hidden)]
    monkeypatch.setattr("spatialfm.models.virtues_blocks._GROUPS_AT_ONCE", 5)
    for mask, value in zip((None, hidden), expected, strict=True):
        torch.testing.assert_close(tiny(pixels, markers, token_mask=mask).token, value, rtol=1e-5, atol=1e-5)


def test_windows_need_not_be_square_and_one_marker_is_enough(tiny):
    pixels, markers, _ = tiny_input(channels=1, height=1, width=5)
    out = tiny(pixels, markers)
    assert out.token.shape == (2, 1, 1, 5, 32)
    assert out.summary.shape == (2, 1, 5, 32)
    assert tiny.reconstruct(pixels, markers).shape == (2, 1, 4, 20)


def test_bfloat16_autocast_with_hidden_tokens(tiny):
    pixels, markers, hidden = tiny_input()
    expected = tiny(pixels, markers, token_mask=hidden)
    with torch.autocast("cpu", torch.bfloat16):
        out = tiny(pixels, markers, token_mask=hidden)
        pictures = tiny.reconstruct(pixels, markers, hidden)
    assert torch.cosine_similarity(out.token.float(), expected.token, dim=-1).min() > 0.99
    assert relative_error(pictures.float(), tiny.reconstruct(pixels, markers, hidden)) < 0.1


def test_normalization():
    encoder = VirTuesEncoder(sfm.models.card("virtues"), TINY)
    pixels = torch.rand(2, 2, 4, 4)
    out = encoder.normalize(pixels, torch.tensor([0.1, 0.2]), torch.tensor([2.0, 4.0]))
    torch.testing.assert_close(out[:, 1], (pixels[:, 1] - 0.2) / 4)


# --- attention -------------------------------------------------------------------------------------------------------


def attention_inputs(encoder, block: int, pixels, markers, hidden):
    """Queries and keys (B, 1 + M, L, heads, d) of a block, and which tokens are visible."""
    net = encoder.backbone.encoder
    tokens, grid = net.embed(pixels, markers[None], hidden)
    x = grid.pack(tokens)
    for before in net.blocks()[:block]:
        x = before(x, grid)
    layer = net.blocks()[block]
    x = grid.unpack(layer.layernorm1(x))
    layer = layer.multi_head_attention
    query, key = (weight(x).unflatten(-1, (2, -1)).numpy() for weight in (layer.W_q, layer.W_k))
    visible = np.ones(tokens.shape[:3], bool)
    if hidden is not None:
        visible[:, 1:] = ~hidden.flatten(2).numpy()
    return query, key, visible


def softmax(logits: np.ndarray, visible: np.ndarray) -> np.ndarray:
    weight = np.exp(logits - logits.max()) * visible
    return weight / weight.sum()


@pytest.mark.parametrize("masked", [False, True])
def test_marker_attention_is_a_plain_softmax(tiny, masked):
    pixels, markers, hidden = tiny_input()
    hidden = hidden if masked else None
    out = tiny.attention(pixels, markers, token_mask=hidden)
    assert out.marker.shape == (2, 2, 4, 4, 3, 4)
    query, key, visible = attention_inputs(tiny, 1, pixels, markers, hidden)
    expected = np.zeros(out.marker.shape)
    for b, head, c, place in np.ndindex(2, 2, 4, 12):
        if visible[b, c, place]:
            logits = key[b, :, place, head] @ query[b, c, place, head] / 4
            expected[b, head, c, :, place // 4, place % 4] = softmax(logits, visible[b, :, place])
    np.testing.assert_allclose(out.marker.numpy(), expected, atol=1e-6)
    torch.testing.assert_close(out.summary_to_marker, out.marker[:, :, 0, 1:])
    torch.testing.assert_close(out.importance, marker_importance(out.marker[:, :, 1:, 1:]))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("query", [None, (2, 1)])
def test_spatial_attention_is_a_plain_softmax(tiny, masked, query):
    pixels, markers, hidden = tiny_input()
    hidden[0, 1] = True
    hidden = hidden if masked else None
    out = tiny.attention(pixels, markers, token_mask=hidden, query=query)
    assert out.spatial.shape == (2, 2, 4, 3, 4)
    queries, keys, visible = attention_inputs(tiny, 0, pixels, markers, hidden)  # the last but one of two
    places = [(i, j) for i in range(3) for j in range(4)]
    for b, c, head in np.ndindex(2, 4, 2):
        key = np.array([turn(keys[b, c, k], place)[head] for k, place in enumerate(places)])
        starts = [k for k, place in enumerate(places) if visible[b, c, k] and query in (None, place)]
        maps = [softmax(key @ turn(queries[b, c, k], places[k])[head] / 4, visible[b, c]) for k in starts]
        expected = np.mean(maps, axis=0) if maps else np.zeros(12)
        np.testing.assert_allclose(out.spatial[b, head, c].numpy().ravel(), expected, atol=1e-6)


def test_attention_makes_the_output_of_the_block(tiny):
    pixels, markers, _ = tiny_input()
    net = tiny.backbone.encoder
    tokens, grid = net.embed(pixels, markers[None], None)
    for block in net.blocks()[:2]:
        layer = block.multi_head_attention
        x = block.layernorm1(grid.pack(tokens))
        value = grid.groups(grid.unpack(layer.W_v(x)).unflatten(-1, (2, -1)), layer.along)
        out = layer.W_o(grid.pack(grid.ungroup(layer.weights(x, grid) @ value, layer.along)))
        torch.testing.assert_close(out, layer(x, grid), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_the_output_attention_is_the_importance(tiny, masked, monkeypatch):
    pixels, markers, hidden = tiny_input()
    hidden = hidden if masked else None
    expected = tiny.attention(pixels, markers, token_mask=hidden).importance
    out = tiny(pixels, markers, token_mask=hidden)
    assert out.attention.shape == (2, 3, 2)
    torch.testing.assert_close(out.attention.sum(-1), expected, rtol=1e-4, atol=1e-5)
    monkeypatch.setattr("spatialfm.models.virtues_blocks._WEIGHTS_AT_ONCE", 1)  # window by window
    alone = tiny(pixels, markers, token_mask=hidden, outputs=("attention",))
    torch.testing.assert_close(alone.attention, out.attention, rtol=1e-4, atol=1e-5)
    assert alone.summary is None
    assert alone.patch is None


def test_attention_without_queries_is_uniform(tiny):
    pixels, markers, hidden = tiny_input()
    for block in tiny.backbone.encoder.blocks():
        block.multi_head_attention.W_q.weight.zero_()
        block.multi_head_attention.W_q.bias.zero_()
    out = tiny.attention(pixels, markers)
    torch.testing.assert_close(out.marker, torch.full((2, 2, 4, 4, 3, 4), 1 / 4))
    torch.testing.assert_close(out.spatial, torch.full((2, 2, 4, 3, 4), 1 / 12))
    hidden[:] = False
    hidden[:, 0, :, :2] = True
    out = tiny.attention(pixels, markers, token_mask=hidden)
    torch.testing.assert_close(out.marker[:, :, 0, 2, :, 0], torch.full((2, 2, 3), 1 / 3))
    torch.testing.assert_close(out.spatial[:, :, 1, :, 2:], torch.full((2, 2, 3, 2), 1 / 6))
    assert (out.spatial[:, :, 1, :, :2] == 0).all()


def test_mean_attention_in_pieces_is_the_same(tiny, monkeypatch):
    pixels, markers, hidden = tiny_input()
    expected = tiny.attention(pixels, markers, token_mask=hidden).spatial
    monkeypatch.setattr("spatialfm.models.virtues_blocks._WEIGHTS_AT_ONCE", 1)
    torch.testing.assert_close(tiny.attention(pixels, markers, token_mask=hidden).spatial, expected)


def test_layers_of_attention(tiny):
    pixels, markers, _ = tiny_input()
    last = tiny.attention(pixels, markers, marker_layer=-1, spatial_layer=1)
    torch.testing.assert_close(last.marker, tiny.attention(pixels, markers, marker_layer=1).marker)
    assert not torch.allclose(last.marker, tiny.attention(pixels, markers).marker, atol=1e-3)
    with pytest.raises(ModelError, match=r"2 marker attention layers and no number 2; pass marker_layer=-2 to 1"):
        tiny.attention(pixels, markers, marker_layer=2)
    with pytest.raises(ModelError, match=r"no number -3; pass spatial_layer=-2 to 1"):
        tiny.attention(pixels, markers, spatial_layer=-3)
    with pytest.raises(ModelError, match=r"query=\(3, 0\) is outside the 3 x 4 tokens"):
        tiny.attention(pixels, markers, query=(3, 0))


@pytest.mark.parametrize("over", ["query", "key"])
def test_importance_is_the_formula(over):
    alpha = np.random.default_rng(0).random((2, 3, 4, 4, 2, 5))
    expected = np.zeros((2, 4))
    for b, h in np.ndindex(2, 3):
        rho = {(m, other): alpha[b, h, other, m].sum() for m, other in np.ndindex(4, 4)}
        for m, other in rho:
            among = [rho[m, k] if over == "query" else rho[k, other] for k in range(4)]
            expected[b, m] += (rho[m, other] - min(among)) / (max(among) - min(among))
    np.testing.assert_allclose(marker_importance(torch.from_numpy(alpha), over=over).numpy(), expected)


def test_importance_of_what_does_not_vary_is_zero():
    assert (marker_importance(torch.full((1, 2, 3, 3, 2, 2), 0.2)) == 0).all()
    assert (marker_importance(torch.rand(2, 2, 1, 1, 2, 2)) == 0).all()
    with pytest.raises(ModelError, match="over='head' is neither 'query' nor 'key'"):
        marker_importance(torch.rand(1, 1, 2, 2, 1, 1), over="head")


# --- positions and weights -------------------------------------------------------------------------------------------


def test_position_tables_are_the_closed_form():
    table = RotaryTable(32, 1200)
    assert table.sin.shape == table.cos.shape == (1200, 32)
    for position, i in [(0, 0), (1, 0), (15, 3), (1199, 15), (40, 9)]:
        angle = position / 10000 ** (2 * i / 32)
        for column in (i, i + 16):
            assert table.sin[position, column].item() == pytest.approx(math.sin(angle), abs=2e-4)
            assert table.cos[position, column].item() == pytest.approx(math.cos(angle), abs=2e-4)


def test_attention_depends_on_distances_alone(tiny):
    rotary = tiny.backbone.encoder.blocks()[0].multi_head_attention.pos_emb
    query, key = torch.randn(2, 1, 1, 1, 16).expand(2, 1, 1, 20, 16)
    logits = rotary(query, 4, 5) @ rotary(key, 4, 5).transpose(-2, -1)
    logits = logits[0, 0].view(4, 5, 4, 5)
    torch.testing.assert_close(logits[0, 1, 2, 0], logits[1, 2, 3, 1], rtol=1e-4, atol=1e-4)
    assert abs(logits[0, 0, 0, 1] - logits[0, 0, 1, 0]) > 1e-3  # rows and columns turn different halves


def test_files_with_and_without_position_tables(tiny, tmp_path):
    state = {name: tensor.clone() for name, tensor in tiny.backbone.state_dict().items()}
    tables = [name for name in state if "rope1d" in name]
    assert tables

    def load(tensors) -> VirTuesEncoder:
        save_file(tensors, tmp_path / "model.safetensors")
        encoder = VirTuesEncoder(sfm.models.card("virtues"), TINY)
        hub.fill(encoder.backbone, hub.locate(encoder.card, tmp_path), encoder.card)
        return encoder

    pixels, markers, _ = tiny_input()
    expected = tiny(pixels, markers).summary
    torch.testing.assert_close(load(state)(pixels, markers).summary, expected, rtol=0, atol=0)
    without = {name: tensor for name, tensor in state.items() if name not in tables}
    torch.testing.assert_close(load(without)(pixels, markers).summary, expected, rtol=0, atol=0)
    with pytest.raises(WeightsError, match=r"its table encoder.encoder.0.*rope1d.sin is not the one that the model"):
        load(state | {tables[0]: state[tables[0]] + 0.05})
    with pytest.raises(WeightsError, match=r"1 missing \(encoder.masked_token\)"):
        load({name: tensor for name, tensor in state.items() if name != "encoder.masked_token"})


def test_random_weights_keep_the_position_tables():
    encoder = VirTuesEncoder(sfm.models.card("virtues"), TINY)
    assert hub.fill_random(encoder.backbone, encoder.card).source == "random (untrained)"
    assert not any(tensor.is_meta for tensor in encoder.state_dict().values())
    table = encoder.backbone.decoder.decoder[0]["encoder_layer"].multi_head_attention.pos_emb.rope1d
    torch.testing.assert_close(table.cos, RotaryTable(8, 20).cos)


@pytest.mark.parametrize("name", NAMES)
def test_weights_sets_and_their_licences(name, tmp_path):
    card = sfm.models.card(name)
    assert (card.license, card.commercial) == (("MIT", True) if name == "virtues" else ("CC-BY-NC-4.0", False))
    assert (card.hub, card.gated, card.mpp, card.recipe.window) == ("bunnelab/virtues", False, 1.0, 128)
    assert (
        card.weights_file
        == f"virtues-{'sp31' if name == 'virtues' else name.removeprefix('virtues-')}/model.safetensors"
    )
    # a copy of the repository, and the folder of one set with a second file next to the weights
    for folder, file in ((tmp_path / "all", card.weights_file), (tmp_path / "one", "model.safetensors")):
        (folder / file).parent.mkdir(parents=True)
        (folder / file).touch()
        (folder / "other.safetensors").touch()
        assert hub.locate(card, folder).path == folder / file


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("markers", "message"),
    [
        (None, r"needs a protein embedding for each channel: pass markers=\(M, 6\)"),
        (torch.zeros(2, 6), r"protein embeddings \(3, 6\) or \(2, 3, 6\), one for each channel; got \(2, 6\)"),
        (torch.zeros(3, 5), r"got \(3, 5\)"),
        (torch.zeros(3, 3, 6), r"got \(3, 3, 6\)"),
        (torch.tensor([1, 2, 3]), r"got \(3,\) of torch.int64"),
        (torch.tensor([[0.0], [math.nan], [0.0]]).expand(3, 6), "channel 1 is not finite; leave that channel out"),
    ],
)
def test_embeddings_are_checked(tiny, markers, message):
    with pytest.raises(ModelError, match=message):
        tiny(torch.zeros(2, 3, 8, 8), markers)


def test_pixels_and_masks_are_checked(tiny):
    markers = torch.zeros(3, 6)
    with pytest.raises(ModelError, match=r"takes pixels \(B, M, H, W\), got \(3, 8, 8\)"):
        tiny(torch.zeros(3, 8, 8), markers)
    for shape in ((10, 8), (8, 84)):
        with pytest.raises(ModelError, match="does not divide into patches of 4 pixels; pass sides that are multiples"):
            tiny(torch.zeros(1, 3, *shape), markers)
    with pytest.raises(ModelError, match=r"boolean mask \(B, M, h, w\), .* here \(1, 3, 2, 2\); got \(1, 3, 8, 8\)"):
        tiny(torch.zeros(1, 3, 8, 8), markers, token_mask=torch.zeros(1, 3, 8, 8, dtype=torch.bool))
    with pytest.raises(ModelError, match="of torch.float32"):
        tiny.reconstruct(torch.zeros(1, 3, 8, 8), markers, torch.zeros(1, 3, 2, 2))
    with pytest.raises(ModelError, match="no output 'cls'"):
        tiny(torch.zeros(1, 3, 8, 8), markers, outputs=("cls",))


def test_samples_are_checked(tiny):
    with pytest.raises(ModelError, match="got 2 samples, 1 panels, 2 masks"):
        tiny.encode_samples([torch.zeros(3, 8, 8)] * 2, [torch.zeros(3, 6)])
    with pytest.raises(ModelError, match=r"Sample 1: .* protein embeddings \(3, 6\)"):
        tiny.encode_samples([torch.zeros(3, 8, 8)] * 2, [torch.zeros(3, 6), torch.zeros(2, 6)])
