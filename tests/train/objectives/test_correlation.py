from __future__ import annotations

import numpy as np
import pytest
import torch

from spatialfm.train.objectives.correlation import added, correlations, moments


def means(terms):
    return {name: term.total.item() / term.count for name, term in terms.items()}


def test_parts_give_numpys_correlation_of_the_whole():
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, 500)
    y = 0.3 * x + rng.normal(0, 1, 500) + 100
    parts = [moments("a", torch.tensor(x[i]), torch.tensor(y[i])) for i in np.array_split(np.arange(500), 7)]
    terms = parts[0]
    for part in parts[1:]:
        terms = added(terms, part)
    assert correlations(means(terms))["a"] == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-10)
    assert all(term.weight == 0 for term in terms.values())


def test_a_constant_has_no_correlation():
    x = torch.linspace(0, 1, 1000)
    terms = moments("flat", x, torch.full((1000,), 0.1)) | moments("also", torch.full((1000,), 7.3), x)
    assert correlations(means(terms)) == {}
    assert correlations({"error": 1.0}) == {}
