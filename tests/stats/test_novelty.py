"""Novelty by written-out distances: a row is not its own neighbour, and rows of its patient are none where asked."""

from __future__ import annotations

import numpy as np
import pytest

from spatialfm.stats.novelty import novelty


def by_hand(reference, query, n, patients=None):
    """One row at a time: mean distance to the nearest, and the weighted share of reference rows that are closer."""

    def mean_nearest(row, others):
        return np.sort(np.linalg.norm(others - row, axis=1))[:n].mean()

    if patients is None:
        own = [mean_nearest(row, np.delete(reference, i, axis=0)) for i, row in enumerate(reference)]
        weight = np.ones(len(reference))
    else:
        own = [mean_nearest(row, reference[patients != mine]) for row, mine in zip(reference, patients, strict=True)]
        weight = np.array([1 / (patients == mine).sum() for mine in patients])
    own = np.array(own)
    return [weight[own < mean_nearest(row, reference)].sum() / weight.sum() for row in query]


@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize("known", [False, True])
def test_shares_are_those_of_a_loop(n, known):
    rng = np.random.default_rng(0)
    reference, query = rng.normal(size=(60, 3)), rng.normal(scale=1.4, size=(25, 3))
    patients = np.repeat([0, 1, 2], [10, 20, 30]) if known else None
    found = novelty(reference, query, n, patients)
    np.testing.assert_allclose(found, by_hand(reference, query, n, patients), atol=1e-12)
    assert 0 < found.min() < 0.6 < found.max() <= 1  # values that tell one way from another


def test_a_row_as_far_as_all_others_is_not_new():
    """On a grid every distance is 1, and so is that of the query: no reference row is closer to its neighbours."""
    reference = np.arange(5.0)[:, None]
    assert novelty(reference, np.array([[5.0], [5.5]]), 1).tolist() == [0.0, 1.0]
