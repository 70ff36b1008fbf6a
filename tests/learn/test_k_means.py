"""k-means of few and of many cells."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans, MiniBatchKMeans

from spatialfm.learn import k_means as module
from spatialfm.learn.k_means import BATCH, MINI_BATCH_FROM, MOST_PARTS, k_means


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
