"""Pooled probabilities: the closed form, weights that find the better part, a temperature."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from spatialfm.learn.heads.cells import VisibleCells
from spatialfm.learn.heads.methods import fit_rule
from spatialfm.learn.heads.mixture import best_weights, fit_mixture, pooled
from spatialfm.learn.temperature import held_out_parts, tempered


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
    cells = [VisibleCells(values[:, part], StandardScaler().fit(values[:, part])) for part in parts]
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


@dataclass(frozen=True)
class Told:
    """A method whose answers are given."""

    answers: np.ndarray
    classes: tuple = ("a", "b", "c")

    def predict_seen(self, rows=None):
        return self.answers if rows is None else self.answers[rows]

    def predict_proba(self, values):
        return self.answers[values[:, 0].astype(int)]


def two_views(n=6000, seed=0):
    """Posteriors of three even classes by each of two columns, of which the second tells less."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 3, n)
    logits = [-0.5 * ((rng.normal(size=n) + apart * codes)[:, None] - apart * np.arange(3)) ** 2 for apart in (2, 1)]
    return codes, [np.exp(one) / np.exp(one).sum(axis=1, keepdims=True) for one in logits]


def test_a_part_that_is_too_sure_gets_the_temperature_that_makes_it_right_and_does_not_overrule():
    codes, (good, weak) = two_views()
    sure = weak**6 / (weak**6).sum(axis=1, keepdims=True)
    rows, options = np.arange(3000), {"groups": None, "random_state": 0, "weigh": False, "calibrate": False}
    fits = [lambda rows, codes: Told(good), lambda rows, codes: Told(sure)]
    columns = [slice(0, 1)] * 2
    model = fit_mixture(fits, columns, rows, codes[rows], temper=True, **options)
    np.testing.assert_allclose(model.temperatures, [1, 6], rtol=0.12)
    plain = fit_mixture(fits, columns, rows, codes[rows], **options)
    assert plain.temperatures.tolist() == [1, 1]
    right = [(one.predict_seen().argmax(axis=1) == codes)[3000:].mean() for one in (model, plain)]
    # of two views that are independent given the class, the product of posteriors is the best there is
    best = ((good * weak).argmax(axis=1) == codes)[3000:].mean()
    assert right[0] > right[1] + 0.03
    assert right[0] == pytest.approx(best, abs=0.01)
    calibrated = fit_mixture(fits, columns, rows, codes[rows], temper=True, **{**options, "calibrate": True})
    assert calibrated.calibration.temperature == pytest.approx(0.5, rel=0.1)  # of the mean of two logits, their sum
    product = np.sqrt(np.maximum(good ** (1 / model.temperatures[0]), 0) * sure ** (1 / model.temperatures[1]))
    np.testing.assert_array_equal(model.predict_proba(np.arange(6000.0)[:, None]), model.predict_seen())
    assert (product.argmax(axis=1) == model.predict_seen().argmax(axis=1)).mean() > 0.999


def test_temperatures_of_parts_give_each_class_the_same_weight_and_need_ten_rows():
    codes, (_, weak) = two_views()
    sure = weak**4 / (weak**4).sum(axis=1, keepdims=True)
    sure[codes == 0] = [0.98, 0.01, 0.01]  # one class is easy
    order = np.concatenate([np.flatnonzero(codes == code)[:some] for code, some in ((0, 1500), (1, 100), (2, 100))])
    options = {"groups": None, "random_state": 0, "weigh": False, "calibrate": False, "temper": True}
    model = fit_mixture([lambda rows, codes: Told(sure)], [slice(0, 1)], order, codes[order], **options)
    held_out = np.concatenate([part for _, part in held_out_parts(codes[order], None, 0)])
    truth, said = codes[order][held_out], sure[order][held_out]

    n = 9 / sum(1 / (truth == code).sum() for code in range(3))  # an even sample of which a mean is as uncertain

    def loss(log):
        each = -np.log(tempered(said, np.exp(log))[np.arange(len(truth)), truth])
        return np.mean([each[truth == code].mean() for code in range(3)]) + (log / 0.5) ** 2 / (2 * n)

    grid = np.linspace(-3, 3, 2001)
    assert np.log(model.temperatures[0]) == pytest.approx(grid[np.argmin([loss(one) for one in grid])], abs=0.01)
    few = fit_mixture([lambda rows, codes: Told(sure)], [slice(0, 1)], order[:9], codes[order[:9]], **options)
    assert few.temperatures.tolist() == [1]
    unsure = np.sqrt(weak) / np.sqrt(weak).sum(axis=1, keepdims=True)  # a part that could be surer is left as it is
    model = fit_mixture([lambda rows, codes: Told(unsure)], [slice(0, 1)], order, codes[order], **options)
    assert model.temperatures.tolist() == [1]
