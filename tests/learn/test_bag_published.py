"""STAMP's and HistoBistro's transformers: against the official code, against numpy, and against wrong files."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from spatialfm._errors import WeightsError
from spatialfm.learn.bag_published import HistoBistroMIL, StampMIL, network_of

CASES = {"stamp1": "stamp_stamp1", "hb1": "histobistro_hb1"}


@pytest.fixture
def weights(reference, monkeypatch):
    monkeypatch.syspath_prepend(str(reference))
    sys.modules.pop("synthetic_weights", None)
    from synthetic_weights import synthetic_weights

    def read(case):
        tensors = synthetic_weights(reference / "layouts" / f"{CASES[case]}.json")
        return {name: torch.from_numpy(values) for name, values in tensors.items()}

    return read


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.goldens
@pytest.mark.parametrize("case", CASES)
def test_the_official_code_gives_the_same(case, weights, reference):
    with np.load(reference / "goldens" / "secondary.npz") as goldens:
        bag, logits = goldens[f"{case}/bag"], goldens[f"{case}/logits"]
    network = network_of(weights(case))
    x = torch.from_numpy(bag)
    with torch.no_grad():
        output, attention = network(x, torch.ones(x.shape[:2], dtype=torch.bool))
        # with more behind it that is masked
        longer = torch.cat([x, torch.full((len(x), 7, x.shape[2]), 9.0)], dim=1)
        padded, _ = network(longer, torch.arange(longer.shape[1])[None].repeat(len(x), 1) < x.shape[1])
    assert relative(output.numpy(), logits) < 1e-5
    assert relative(padded.numpy(), logits) < 1e-5
    torch.testing.assert_close(attention.sum(dim=1), torch.ones(len(x)))


def small(kind):
    torch.manual_seed(0)
    if kind is StampMIL:
        return StampMIL(3, 2, width=8, n_heads=2, n_layers=2, feedforward=6).eval()
    return HistoBistroMIL(3, 2, n_heads=2, hidden=4, n_layers=2, feedforward=6).eval()


def norm(x, state, name):
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5) * state[f"{name}.weight"] + state[f"{name}.bias"]


def gelu(x):
    from scipy.special import erf

    return x * 0.5 * (1 + erf(x / np.sqrt(2)))


def by_hand(kind, x):
    """The network written out in numpy, for one bag ``(cells, 3)``: outputs, and attention of the token at the end."""
    state = {name: one.numpy().astype(float) for name, one in small(kind).state_dict().items()}
    stamp = kind is StampMIL
    linear = lambda x, name: x @ state[f"{name}.weight"].T + state[f"{name}.bias"]  # noqa: E731
    first = "project_features.0" if stamp else "projection.0"
    x = gelu(linear(x, first)) if stamp else np.maximum(linear(x, first), 0)
    x = np.vstack([state["class_token" if stamp else "cls_token"].reshape(1, 8), x])
    for number in range(2):
        name = f"transformer.layers.{number}"
        y = norm(x, state, f"{name}.0.norm")
        if stamp:
            packed = y @ state[f"{name}.0.mhsa.in_proj_weight"].T + state[f"{name}.0.mhsa.in_proj_bias"]
        else:
            packed = y @ state[f"{name}.0.fn.to_qkv.weight"].T
        query, key, value = np.split(packed, 3, axis=1)
        heads, token = [], []
        for head in (slice(0, 4), slice(4, 8)):
            scores = query[:, head] @ key[:, head].T / 2
            share = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
            heads.append(share @ value[:, head])
            token.append(share[0, 1:] / share[0, 1:].sum())
        x = x + linear(np.hstack(heads), f"{name}.0.mhsa.out_proj" if stamp else f"{name}.0.fn.to_out.0")
        inner = ("1.0", "1.1", "1.4") if stamp else ("1.norm", "1.fn.net.0", "1.fn.net.3")
        y = norm(x, state, f"{name}.{inner[0]}")
        x = x + linear(gelu(linear(y, f"{name}.{inner[1]}")), f"{name}.{inner[2]}")
    end = norm(x[0], state, "transformer.norm" if stamp else "norm")
    if not stamp:
        end = norm(end, state, "mlp_head.0")
    return linear(end, "mlp_head.0" if stamp else "mlp_head.1"), np.mean(token, axis=0)


@pytest.mark.parametrize("kind", [StampMIL, HistoBistroMIL])
def test_the_layers_by_hand_and_padding_that_is_masked(kind):
    x = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(1))
    mask = torch.arange(6)[None] < torch.tensor([6, 4])[:, None]
    with torch.no_grad():
        output, attention = small(kind)(x, mask)
        unmasked, _ = small(kind)(x, torch.ones_like(mask))
    for bag, n in enumerate((6, 4)):
        expected, of_token = by_hand(kind, x[bag, :n].numpy().astype(float))
        np.testing.assert_allclose(output[bag], expected, atol=1e-5)
        np.testing.assert_allclose(attention[bag, :n], of_token, atol=1e-6)
        assert attention[bag, n:].sum() == 0
    assert not np.allclose(unmasked[1], output[1], atol=1e-3)  # what the official code does with padding


@pytest.mark.parametrize("kind", [StampMIL, HistoBistroMIL])
def test_every_weight_learns(kind):
    network = small(kind)
    output, _ = network(torch.randn(3, 5, 3), torch.ones(3, 5, dtype=torch.bool))
    output.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())


@pytest.mark.parametrize("kind", [StampMIL, HistoBistroMIL])
def test_a_file_gives_the_network_and_its_sizes(kind):
    made = (
        StampMIL(5, 3, width=16, n_heads=8, n_layers=3, feedforward=24)
        if kind is StampMIL
        else HistoBistroMIL(5, 3, n_heads=2, n_layers=3, feedforward=24)
    ).eval()
    state = {f"model.{name}": value for name, value in made.state_dict().items()}
    if kind is HistoBistroMIL:
        state["criterion.pos_weight"] = torch.ones(1)  # of the loss, in published files
    found, x = network_of(state), torch.randn(2, 4, 5)
    with torch.no_grad():
        torch.testing.assert_close(
            found(x, torch.ones(2, 4, dtype=torch.bool)), made(x, torch.ones(2, 4, dtype=torch.bool))
        )


def test_files_of_something_else_are_refused():
    state = dict(small(StampMIL).state_dict())
    with pytest.raises(WeightsError, match=r"1 missing \('mlp_head.0.bias'\)"):
        network_of({name: value for name, value in state.items() if name != "mlp_head.0.bias"}, 2)
    with pytest.raises(WeightsError, match=r"1 unexpected \('valid_auroc.thresholds'\)"):
        network_of(state | {"valid_auroc.thresholds": torch.zeros(3)}, 2)
    with pytest.raises(WeightsError, match=r"1 of another shape \('transformer.layers.1.1.4.bias'\)"):
        network_of(state | {"transformer.layers.1.1.4.bias": torch.zeros(9)}, 2)
    with pytest.raises(WeightsError, match="width 8 cannot have 3 heads"):
        network_of(state, 3)
    with pytest.raises(WeightsError, match="ALiBi"):
        network_of(state | {"transformer.layers.0.0.mhsa.query_encoders.0.weight": torch.zeros(4, 8)})
    with pytest.raises(WeightsError, match="neither STAMP's transformer.*nor HistoBistro's.*'blocks.0.weight'"):
        network_of({"blocks.0.weight": torch.zeros(2, 2)})
    bistro = dict(HistoBistroMIL(3, 1, n_heads=1).state_dict())
    with pytest.raises(WeightsError, match="heads of 64, and its width 65 is not a multiple"):
        network_of(bistro | {"projection.0.weight": torch.zeros(65, 3)})
