"""Attention over bags begins at the linear model of mean cells, which scikit-learn and scipy fit, too."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss

from spatialfm.learn import bag_start
from spatialfm.learn.bag_network import GatedAttentionMIL
from spatialfm.learn.bag_start import start_at_means
from spatialfm.learn.bag_training import BagRecipe, Bags, ClassTarget, NumberTarget, SurvivalTarget, predict, train

FIT, VALIDATION = np.arange(30), np.arange(30, 40)
ONE = torch.device("cpu")


@pytest.fixture
def bags() -> Bags:
    """Forty bags of 5 to 14 cells, whose cells differ by more in some columns than in others."""
    rng = np.random.default_rng(0)
    ends = np.cumsum(rng.integers(5, 15, 40))
    values = rng.normal(size=(ends[-1], 3)) * [1.0, 4.0, 0.2] + rng.normal(size=3) * 10
    return Bags(values.astype(np.float32), np.split(np.arange(ends[-1]), ends[:-1]))


def begin(network, bags, target, mean, sd) -> None:
    means = [bags.means(part, mean, sd) for part in (FIT, VALIDATION)]
    start_at_means(
        network, means[0], lambda x: target.loss(x, FIT, True), means[1], lambda x: target.loss(x, VALIDATION)
    )


def started(bags, target, monkeypatch, strength=1.0) -> tuple[np.ndarray, torch.Tensor]:
    """Outputs for all bags at the start, and attention to the cells of the first."""
    monkeypatch.setattr(bag_start, "PENALTIES", (strength,))
    mean, sd = bags.moments(FIT)
    network = GatedAttentionMIL(3, target.n_outputs, n_heads=4, hidden=2)
    begin(network, bags, target.of(FIT), mean, sd)
    found = []
    with torch.no_grad():
        for rows in bags.rows:
            x = torch.from_numpy((bags.values[rows] - mean) / sd)[None]
            found.append(network(x, torch.ones(x.shape[:2], dtype=torch.bool)))
    return np.concatenate([output.numpy() for output, _ in found]), found[0][1]


def means_of(bags: Bags) -> np.ndarray:
    """Mean cells over their spread among the bags to fit."""
    found = np.stack([bags.values[rows].mean(axis=0) for rows in bags.rows]).astype(float)
    return (found - found[FIT].mean(axis=0)) / found[FIT].std(axis=0)


def test_the_start_is_the_logistic_regression_of_means(bags, monkeypatch):
    codes = np.random.default_rng(1).choice(3, 40, p=[0.6, 0.3, 0.1])
    outputs, attention = started(bags, ClassTarget(codes, 3), monkeypatch, 0.3)
    x = means_of(bags)
    expected = LogisticRegression(C=0.3, class_weight="balanced", tol=1e-8, max_iter=1000).fit(x[FIT], codes[FIT])
    np.testing.assert_allclose(torch.from_numpy(outputs).softmax(1), expected.predict_proba(x), atol=1e-4)
    np.testing.assert_allclose(attention, 1 / len(bags.rows[0]), rtol=1e-6)  # even


def test_the_start_of_a_number_is_ridge_regression_of_means(bags, monkeypatch):
    number = means_of(bags)[:, 0] * 7 + np.random.default_rng(1).normal(size=40) + 100
    target = NumberTarget(number)
    outputs, _ = started(bags, target, monkeypatch, 0.1)
    expected = Ridge(alpha=1 / (2 * 0.1)).fit(means_of(bags)[FIT], number[FIT])
    found = target.of(FIT).predict(torch.from_numpy(outputs))[:, 0]
    np.testing.assert_allclose(found, expected.predict(means_of(bags)), rtol=1e-4)


def test_the_start_of_survival_is_cox_regression_of_means(bags, monkeypatch):
    rng = np.random.default_rng(1)
    time, event, x = rng.exponential(size=40), rng.random(40) < 0.6, means_of(bags)[FIT]

    def loss(weights: np.ndarray) -> float:
        risk, found = x @ weights, 0.0
        for i in np.flatnonzero(event[FIT]):
            found += np.log(np.exp(risk[time[FIT] >= time[i]]).sum()) - risk[i]
        return found / event[FIT].sum() + (weights**2).sum() / (2 * 0.5 * len(FIT))

    weights = minimize(loss, np.zeros(3), method="BFGS", options={"gtol": 1e-8}).x
    outputs = started(bags, SurvivalTarget(time, event), monkeypatch, 0.5)[0][:, 0]
    np.testing.assert_allclose(outputs - outputs[0], (means_of(bags) - means_of(bags)[0]) @ weights, atol=1e-4)


def test_the_penalty_is_the_one_that_validation_bags_prefer(bags):
    x = means_of(bags)
    codes = (x[:, 0] + np.random.default_rng(2).normal(size=40) > 0).astype(int)  # two logits: half of the penalty
    mean, sd = bags.moments(FIT)
    target, network = ClassTarget(codes, 2).of(FIT), GatedAttentionMIL(3, 2, n_heads=1, hidden=2)
    begin(network, bags, target, mean, sd)
    models = [LogisticRegression(C=2 * c, class_weight="balanced", tol=1e-8) for c in bag_start.PENALTIES]
    weights = np.where(codes[VALIDATION] == 1, 1 / codes[FIT].mean(), 1 / (1 - codes[FIT].mean()))
    losses = []
    for model in models:
        said = model.fit(x[FIT], codes[FIT]).predict_proba(x[VALIDATION])
        losses.append(log_loss(codes[VALIDATION], said, sample_weight=weights))
    chosen = models[int(np.argmin(losses))]
    assert 0 < np.argmin(losses) < 3  # neither of the ends
    with torch.no_grad():
        scaled = torch.from_numpy(((bags.values[bags.rows[0]] - mean) / sd).mean(0))
        found = float(torch.sub(*network.head(scaled)[[1, 0]]))
    assert found == pytest.approx(chosen.decision_function(x[:1])[0], abs=1e-3)


def test_what_attention_does_not_make_better_is_left_as_it_was(bags):
    # what is to be learned is the reverse in the validation bags, so that each step makes their loss higher
    x = means_of(bags)[:, 0]
    codes = (x > np.median(x)).astype(int)
    codes[VALIDATION] = 1 - codes[VALIDATION]
    recipe = BagRecipe(n_heads=2, hidden=4, learning_rate=0.01, max_epochs=12, patience=5)
    trained = train(bags, ClassTarget(codes, 2), FIT, VALIDATION, recipe, 0, ONE)
    assert (trained.best_epoch, trained.n_epochs) == (0, 5)
    np.testing.assert_allclose(predict(trained, bags, 0, recipe, ONE)[1], 1, rtol=1e-5)  # attention is even
