"""B-cos units: against the official layer, against their formula, and that shares add up."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch

from spatialfm.learn.bcos import BcosLinear


@pytest.mark.goldens
@pytest.mark.parametrize("case", ["bcos1", "bcos2"])
def test_the_official_layer_gives_the_same(case, reference, monkeypatch):
    monkeypatch.syspath_prepend(str(reference))
    sys.modules.pop("synthetic_weights", None)
    from synthetic_weights import synthetic_weights

    with np.load(reference / "goldens" / "secondary.npz") as goldens:
        x, y, shares = (torch.from_numpy(goldens[f"{case}/{name}"]) for name in ("x", "y", "contributions"))
        meta = json.loads(str(goldens[f"{case}/meta"]))
    layer = BcosLinear(x.shape[1], y.shape[1], **meta)
    weights = synthetic_weights(reference / "layouts" / f"bcos_{case}.json")
    layer.load_state_dict({name: torch.from_numpy(values) for name, values in weights.items()})
    with torch.no_grad():
        assert float((layer(x) - y).norm() / y.norm()) < 1e-5
        assert float((layer.contributions(x) - shares).norm() / shares.norm()) < 1e-5


@pytest.mark.parametrize(("b", "max_out"), [(1, 1), (2, 1), (2, 3), (1.5, 2)])
def test_the_formula_and_shares_that_add_up(b, max_out):
    torch.manual_seed(0)
    layer, x = BcosLinear(6, 4, b=b, max_out=max_out), torch.randn(9, 6)
    weights, rows = layer.linear.weight.detach().numpy().astype(float), x.numpy().astype(float)
    unit = weights / np.linalg.norm(weights, axis=1, keepdims=True)
    along = (rows @ unit.T).reshape(9, 4, max_out)
    cosine = along.max(axis=2) / np.linalg.norm(rows, axis=1, keepdims=True)
    expected = np.abs(cosine) ** (b - 1) * along.max(axis=2)
    with torch.no_grad():
        found, shares = layer(x), layer.contributions(x)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(shares.sum(dim=2), found, atol=1e-5)
    chosen = unit.reshape(4, max_out, 6)[np.arange(4), along.argmax(axis=2)]  # (9, 4, 6)
    expected = np.abs(cosine)[..., None] ** (b - 1) * chosen * rows[:, None]
    np.testing.assert_allclose(shares, expected, atol=1e-5)


def test_the_length_of_a_weight_says_nothing_and_nothing_comes_of_nothing():
    torch.manual_seed(0)
    layer, x = BcosLinear(3, 2, max_out=2), torch.randn(4, 3)
    with torch.no_grad():
        before = layer(x)
        layer.linear.weight *= 7
        torch.testing.assert_close(layer(x), before)
        torch.testing.assert_close(layer(2 * x), 2 * before)
    zero = torch.zeros(1, 3, requires_grad=True)
    layer(zero).sum().backward()
    assert zero.grad.isfinite().all()
