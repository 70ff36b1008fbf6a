"""Pooled probabilities: the closed form, weights that find the better part, a temperature."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from spatialfm.learn.heads.cells import Cells
from spatialfm.learn.heads.methods import fit_rule
from spatialfm.learn.heads.mixture import best_weights, fit_mixture, pooled


def test_pooling_is_the_weighted_geometric_mean():
    rng = np.random.default_rng(0)
    one, two = rng.dirichlet([2, 2, 2], 20), rng.dirichlet([2, 2, 2], 20)
    product = one**0.3 * two**0.7
    found = pooled([one, two], np.array([0.3, 0.7]))
    np.testing.assert_allclose(found, product / product.sum(axis=1, keepdims=True), atol=1e-12)
    np.testing.assert_allclose(pooled([one, one], np.array([0.5, 0.5])), one)
    excluded = pooled([np.array([[1.0, 0.0]]), np.array([[0.1, 0.9]])], np.array([0.5, 0.5]))
    assert 0 < excluded[0, 1] < excluded[0, 0]


@pytest.mark.parametrize("n", [2, 4])
def test_weights_go_to_the_part_that_knows(n):
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, 300)
    knows = np.full((300, 3), 0.15)
    knows[np.arange(300), np.where(rng.random(300) < 0.7, codes, rng.integers(0, 3, 300))] = 0.7
    others = [rng.dirichlet([1, 1, 1], 300) for _ in range(n - 1)]
    weights = best_weights([knows, *others], codes)
    assert weights.sum() == pytest.approx(1)
    assert weights[0] > 0.7
    np.testing.assert_allclose(best_weights([knows] * n, codes), 1 / n, atol=1e-3)


def test_parts_see_their_columns_alone_and_held_out_rows_weigh_them():
    rng = np.random.default_rng(1)
    codes = np.arange(240) % 2
    values = rng.normal(size=(240, 6))
    values[:, 0] += 3 * codes
    parts = [slice(0, 3), slice(3, 6)]
    cells = [Cells(values[:, part], StandardScaler().fit(values[:, part])) for part in parts]
    fits = [partial(fit_rule, "lda", one, classes=["a", "b"]) for one in cells]
    rows = np.arange(60)
    options = {"groups": None, "random_state": 0, "weigh": True, "calibrate": True}
    fitted = fit_mixture(fits, parts, rows, codes[rows], **options)
    assert fitted.weights[0] > 0.75
    assert fitted.calibration.n_held_out == 60
    np.testing.assert_allclose(fitted.predict_proba(values), fitted.predict_seen(), atol=1e-9)
    assert (fitted.predict_seen().argmax(axis=1) == codes).mean() > 0.88
    few = fit_mixture(fits, parts, rows[:4], codes[:4], **options)
    assert few.weights.tolist() == [0.5, 0.5]
    assert few.calibration.temperature == 1
