"""k-means of few and of many cells."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans, MiniBatchKMeans

from spatialfm.learn import k_means as module
from spatialfm.learn.k_means import BATCH, MINI_BATCH_FROM, MOST_PARTS, Draws, k_means


@pytest.mark.parametrize(("n", "kind"), [(MINI_BATCH_FROM, KMeans), (MINI_BATCH_FROM + 1, MiniBatchKMeans)])
def test_many_cells_are_gone_through_in_parts(n, kind):
    assert type(k_means(3, n, 2, 0)) is kind


def test_parts_are_bounded():
    for n in (300_000, 2_000_000, 10**8):
        model = k_means(3, n, 2, 0)
        assert model.max_iter == 1 or model.max_iter * n <= MOST_PARTS * BATCH


def test_clusters_that_lie_apart_are_found_either_way(monkeypatch):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 3000)
    values = rng.normal(size=(3000, 2)) + 20 * truth[:, None]
    for least in (10**6, 1000):
        monkeypatch.setattr(module, "MINI_BATCH_FROM", least)
        found = k_means(3, 3000, 5, 0).fit_predict(values)
        pairs = set(zip(truth.tolist(), found.tolist(), strict=True))
        assert len(pairs) == 3


@pytest.mark.parametrize("weights", [None, np.float32, np.float64])
def test_draws_are_those_of_numpy(weights):
    p = None if weights is None else np.random.default_rng(0).dirichlet(np.ones(2000)).astype(weights)
    ours, theirs = Draws(3), np.random.RandomState(3)
    for size in (7, (4, 5), None):
        np.testing.assert_array_equal(ours.choice(2000, size, p=p), theirs.choice(2000, size, p=p))
        np.testing.assert_array_equal(ours.choice(2000, 3, False, p), theirs.choice(2000, 3, False, p))
    other = np.full(4, 0.25)
    np.testing.assert_array_equal(ours.choice(4, 9, p=other), theirs.choice(4, 9, p=other))
    np.testing.assert_array_equal(ours.choice(["a", "b"], 9, p=[0.1, 0.9]), theirs.choice(["a", "b"], 9, p=[0.1, 0.9]))


@pytest.mark.parametrize("weighed", [False, True])
def test_parts_are_those_of_scikit_learn_and_weights_are_added_up_once(weighed, monkeypatch):
    """Added up for each part, 2 million cells take as long as 200 times 2 million sums."""
    rng = np.random.default_rng(0)
    values, weights = rng.normal(size=(40_000, 3)), rng.random(40_000) if weighed else None
    theirs = MiniBatchKMeans(4, n_init=2, batch_size=BATCH, max_iter=51, random_state=5).fit(values, None, weights)
    monkeypatch.setattr(module, "MINI_BATCH_FROM", 1000)
    added_up, cumsum = [], np.cumsum
    monkeypatch.setattr(np, "cumsum", lambda one, **more: [added_up.append(len(one)), cumsum(one, **more)][1])
    ours = k_means(4, 40_000, 2, 5).fit(values, None, weights)
    assert ours.n_steps_ == theirs.n_steps_ > 5
    np.testing.assert_array_equal(ours.cluster_centers_, theirs.cluster_centers_)
    np.testing.assert_array_equal(ours.labels_, theirs.labels_)
    assert added_up.count(40_000) == 1
