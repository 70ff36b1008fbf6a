"""SToFM's transformer against its definition in plain numpy, and against what the official code returned."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch

from spatialfm._errors import ModelError, WeightsError
from spatialfm.models.stofm import PREFIX, Heads, Stofm, StofmConfig, config_of, initialise, split

CONFIG = StofmConfig(in_dim=5, dim=8, hidden=12, heads=2, depth=2, gaussians=6)


def relative_error(out, expected) -> float:
    out, expected = (np.asarray(one, dtype=np.float64) for one in (out, expected))
    return float(np.linalg.norm(out - expected) / np.linalg.norm(expected))


def filled(module, standin):
    tensors = {
        name: torch.from_numpy(standin.fill(name, tuple(one.shape))) for name, one in module.state_dict().items()
    }
    module.load_state_dict(tensors)
    return module.eval()


@pytest.fixture
def network(standin):
    return filled(Stofm(CONFIG), standin)


@pytest.fixture
def piece():
    """Two pieces of 9 tokens: the first, two virtual cells, cells, in the second two of padding."""
    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(2, 9, 5)).astype(np.float32)
    types = np.array([[1, 2, 2, 0, 0, 0, 0, 0, 0], [1, 2, 2, 0, 0, 0, 0, 3, 3]])
    xy = rng.normal(size=(2, 9, 2))
    distances = np.linalg.norm(xy[:, :, None] - xy[:, None], axis=-1).astype(np.float32)
    distances[:, 0], distances[:, :, 0] = 0, 0
    distances[:, 4, 6] = distances[:, 6, 4] = 100.0  # not known
    return tokens, types, distances


def run(network, tokens, types, distances):
    with torch.inference_mode():
        hidden, pairs = network(*(torch.from_numpy(np.ascontiguousarray(one)) for one in (tokens, types, distances)))
    return hidden.numpy(), pairs.numpy()


# --- the definition, pair by pair, in double precision ---------------------------------------------------------------


def normed(x, weight, bias):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * weight + bias


def gelu(x):
    from scipy.special import erf

    return x * (1 + erf(x / np.sqrt(2))) / 2


def by_definition(w, config, tokens, types, distances):
    """Tokens and representation of pairs of one piece; `w` gives a tensor by its name."""

    def linear(x, name):
        return x @ w(f"{name}.weight").T + w(f"{name}.bias")

    n, heads, width = len(tokens), config.heads, config.dim // config.heads
    bias = np.zeros((heads, n, n))
    means, widths = w("gaussian.means.weight")[0], np.abs(w("gaussian.stds.weight")[0]) + 1e-5
    for i in range(n):
        for j in range(n):
            if distances[i, j] != 0:
                x = w("gaussian.linear.weight")[0, 0] * distances[i, j] + w("gaussian.linear.bias")[0]
                heights = np.exp(-(((x - means) / widths) ** 2) / 2) / (np.sqrt(2 * np.pi) * widths)
                bias[:, i, j] = linear(np.maximum(linear(heights, "gaussian.proj.0"), 0), "gaussian.proj.2")
    x = linear(tokens, "embedding_layer") + w("token_type_embeddings.weight")[types]
    for layer in range(config.depth):
        name = f"encoder.layers.{layer}"
        q, k, v = (linear(x, f"{name}.self_attn.{part}_proj") for part in "qkv")
        attended = np.zeros_like(x)
        for head in range(heads):
            mine = slice(head * width, (head + 1) * width)
            logits = q[:, mine] @ k[:, mine].T / np.sqrt(width) + bias[head]
            logits[:, types == 3] = -np.inf
            weights = np.exp(logits - logits.max(1, keepdims=True))
            attended[:, mine] = weights / weights.sum(1, keepdims=True) @ v[:, mine]
            bias[head] = np.where(np.isinf(logits), 0, logits)
        norms = [
            (w(f"{name}.{part}.weight"), w(f"{name}.{part}.bias"))
            for part in ("self_attn_layer_norm", "final_layer_norm")
        ]
        x = normed(x + linear(attended, f"{name}.self_attn.out_proj"), *norms[0])
        x = normed(x + linear(gelu(linear(x, f"{name}.fc1")), f"{name}.fc2"), *norms[1])
    return x, bias.transpose(1, 2, 0)


def test_it_is_what_its_definition_says(network, piece):
    tensors = {name: one.double().numpy() for name, one in network.state_dict().items()}
    hidden, pairs = run(network, *piece)
    for number in range(2):
        expected = by_definition(
            tensors.__getitem__,
            CONFIG,
            *(part[number].astype(kind) for part, kind in zip(piece, (float, int, float), strict=True)),
        )
        assert relative_error(hidden[number], expected[0]) < 1e-5
        assert relative_error(pairs[number], expected[1]) < 1e-5


def test_padding_changes_nothing(network, piece):
    tokens, types, distances = piece
    hidden, pairs = run(network, tokens[1:], types[1:], distances[1:])
    alone = run(network, tokens[1:, :7], types[1:, :7], distances[1:, :7, :7])
    np.testing.assert_allclose(hidden[:, :7], alone[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(pairs[:, :7, :7], alone[1], rtol=0, atol=1e-6)
    assert not pairs[:, :, 7:].any()


def test_the_order_of_cells_is_that_of_the_rows(network, piece):
    tokens, types, distances = (part[:1] for part in piece)
    order = np.r_[0, 1, 2, 3 + np.random.default_rng(1).permutation(6)]
    hidden, pairs = run(network, tokens, types, distances)
    turned = run(network, tokens[:, order], types[:, order], distances[:, order][:, :, order])
    np.testing.assert_allclose(turned[0], hidden[:, order], rtol=0, atol=1e-6)
    np.testing.assert_allclose(turned[1], pairs[:, order][:, :, order], rtol=0, atol=1e-6)


def test_neighbours_are_looked_at_by_their_distance(network, piece):
    tokens, types, distances = piece
    farther = distances.copy()
    farther[0, 3, 5] = farther[0, 5, 3] = distances[0, 3, 5] + 0.5
    assert np.abs(run(network, tokens, types, farther)[0] - run(network, tokens, types, distances)[0]).max() > 1e-5


@pytest.mark.parametrize("both_ways", [True, False])
def test_what_distances_add_has_the_gradient_of_its_definition(network, piece, both_ways):
    """Each pair by itself through plain layers in double precision; also where two directions differ, or a diagonal."""
    distances = torch.from_numpy(piece[2].copy())
    if not both_ways:
        distances[0, 3, 5], distances[1, 4, 4] = 2.5, 0.75
    layer = network.gaussian
    exact = copy.deepcopy(layer).double()
    wanted = torch.randn(2, CONFIG.heads, 9, 9, generator=torch.Generator().manual_seed(0))
    (layer(distances) * wanted).sum().backward()
    x = exact.linear(distances.double()[..., None])
    widths = exact.stds.weight[0].abs() + 1e-5
    heights = torch.exp(-0.5 * ((x - exact.means.weight[0]) / widths) ** 2) / (np.sqrt(2 * np.pi) * widths)
    bias = exact.proj(heights) * (distances != 0)[..., None]
    (bias.permute(0, 3, 1, 2) * wanted.double()).sum().backward()
    assert relative_error(layer(distances).detach(), bias.permute(0, 3, 1, 2).detach()) < 1e-5
    for name, parameter in exact.named_parameters():
        assert relative_error(layer.get_parameter(name).grad, parameter.grad) < 1e-4, name


# --- sizes, names, beginnings ----------------------------------------------------------------------------------------


def test_sizes_are_read_from_the_names(network):
    body, heads = split(
        {f"{PREFIX}{name}": one for name, one in network.state_dict().items()} | {"lm_head.0.bias": torch.zeros(8)}
    )
    assert config_of(body) == CONFIG
    assert list(heads) == ["lm_head.0.bias"]
    assert split(body) == (body, {})
    del body["gaussian.proj.2.weight"]
    with pytest.raises(WeightsError, match=r"'gaussian.proj.2.weight' tells a size.*se2transformer.pth"):
        config_of(body)


def test_heads_divide_the_width():
    with pytest.raises(ModelError, match="width of 10 .dim. does not divide into 4 attention heads.* such as 12"):
        StofmConfig(dim=10, heads=4)


def test_initial_weights_are_those_of_the_publication():
    config = StofmConfig(in_dim=64, dim=64, hidden=64, heads=4, depth=1, gaussians=400)
    networks = [Stofm(config) for _ in range(3)]
    for network, seed in zip(networks, (0, 0, 1), strict=True):
        initialise(network, seed)
    one, same, other = (network.state_dict() for network in networks)
    assert all(torch.equal(value, same[name]) for name, value in one.items())
    assert not torch.equal(one["embedding_layer.weight"], other["embedding_layer.weight"])
    assert float(one["embedding_layer.weight"].std()) == pytest.approx(0.02, rel=0.1)
    bound = float(np.sqrt(6 / 128))  # Glorot
    for name, gain in (("q_proj", 0.5**0.5), ("k_proj", 0.5**0.5), ("v_proj", 0.5**0.5), ("out_proj", 1.0)):
        largest = float(one[f"encoder.layers.0.self_attn.{name}.weight"].abs().max())
        assert 0.97 * gain * bound < largest <= gain * bound
    means = one["gaussian.means.weight"]
    assert 0 <= float(means.min()) < 0.1
    assert 2.9 < float(means.max()) <= 3
    widths = one["gaussian.stds.weight"]
    assert float(widths.min()) == pytest.approx(3 / 400)  # published: any, of which the narrowest drowns all others
    assert 2.9 < float(widths.max()) <= 3
    assert float(one["gaussian.linear.weight"]) == 1
    assert float(one["gaussian.linear.bias"]) == 0
    assert torch.equal(one["encoder.layers.0.final_layer_norm.weight"], torch.ones(64))


# --- what the official code returned, where the reference folder is --------------------------------------------------


@pytest.mark.goldens
@pytest.mark.parametrize("case", ["small", "square"])
def test_goldens(standin, reference, case):
    goldens = np.load(reference / "goldens" / "secondary.npz")
    layout = json.loads((reference / "layouts" / f"stofm_{case}.json").read_text())
    body, heads = split({name: torch.from_numpy(standin.fill(name, tuple(shape))) for name, shape in layout.items()})
    meta = json.loads(str(goldens[f"{case}/meta"]))
    config = config_of(body)
    assert (config.in_dim, config.dim, config.hidden) == (meta["d_in"], meta["d"], meta["ffn"])
    assert (config.heads, config.gaussians, config.depth) == (meta["heads"], meta["K"], meta["layers"])
    network, head = Stofm(config), Heads(config, meta["d"])
    network.load_state_dict(body)
    head.load_state_dict(heads)
    hidden, pairs = run(network, *(goldens[f"{case}/{name}"] for name in ("tokens", "types", "distances")))
    assert relative_error(hidden, goldens[f"{case}/hidden"]) < 1e-5
    assert relative_error(pairs, goldens[f"{case}/pair"]) < 1e-5
