"""Networks over bags of cells, written out in numpy; Cox's loss against lifelines."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from lifelines import CoxPHFitter

from spatialfm.learn.bag_network import GatedAttentionMIL, TransformerMIL, cox_loss


@pytest.fixture
def bags():
    x = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(6)[None] < torch.tensor([6, 2, 1])[:, None]
    return x, mask


def test_gated_attention_by_hand(bags):
    torch.manual_seed(0)
    network, (x, mask) = GatedAttentionMIL(4, 2, n_heads=2, hidden=3).eval(), bags
    with torch.no_grad():
        output, attention = network(x, mask)
    weights = {name: one.detach().numpy() for name, one in network.named_parameters()}
    for bag, n in enumerate((6, 2, 1)):
        cells = x[bag, :n].numpy()
        value = np.tanh(cells @ weights["value.weight"].T + weights["value.bias"])
        gate = 1 / (1 + np.exp(-(cells @ weights["gate.weight"].T + weights["gate.bias"])))
        score = np.einsum("nhk,hk->nh", (value * gate).reshape(n, 2, 3), weights["weight"])
        share = np.exp(score) / np.exp(score).sum(axis=0)
        pooled = (share.T @ cells).ravel()
        expected = pooled @ weights["head.weight"].T + weights["head.bias"]
        np.testing.assert_allclose(output[bag], expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(attention[bag, :n], share.mean(axis=1), rtol=1e-4)
        assert attention[bag, n:].sum() == 0


@pytest.mark.parametrize("kind", [GatedAttentionMIL, TransformerMIL])
def test_padding_and_the_order_of_cells_change_nothing(bags, kind):
    torch.manual_seed(0)
    network, (x, mask) = kind(4, 2, n_heads=2, hidden=4).eval(), bags
    with torch.no_grad():
        output, attention = network(x, mask)
        alone, _ = network(x[1:2, :2], mask[1:2, :2])
        order = torch.tensor([5, 3, 0, 1, 4, 2])
        turned, other = network(x[:1, order], mask[:1, order])
    np.testing.assert_allclose(output[1], alone[0], atol=1e-5)
    np.testing.assert_allclose(output[0], turned[0], atol=1e-5)
    np.testing.assert_allclose(attention[0, order], other[0], atol=1e-5)
    np.testing.assert_allclose(attention.sum(dim=1), 1, atol=1e-5)


def test_cox_loss_is_the_partial_likelihood_of_lifelines():
    rng = np.random.default_rng(0)
    x, time, event = rng.normal(size=30), rng.permutation(30) + 1.0, rng.random(30) < 0.6
    fit = CoxPHFitter().fit(pd.DataFrame({"x": x, "t": time, "e": event.astype(int)}), "t", "e")
    risk = torch.tensor(float(fit.params_["x"]) * x)
    loss = cox_loss(risk, torch.tensor(time), torch.tensor(event))
    assert float(loss) * event.sum() == pytest.approx(-fit.log_likelihood_, abs=1e-4)
    assert float(cox_loss(risk, torch.tensor(time), torch.zeros(30, dtype=torch.bool))) == 0.0
