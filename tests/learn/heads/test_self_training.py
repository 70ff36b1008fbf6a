"""Self-training: what is added, how it weighs, and that it helps where cells lie in heaps."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from spatialfm.learn.heads.cells import VisibleCells
from spatialfm.learn.heads.self_training import added_weights, fit_self_training, sure_of


def test_of_each_class_the_surest_and_no_more_than_of_the_second_rarest():
    probability = np.array(
        [[0.95, 0.03, 0.02]] * 6 + [[0.02, 0.97, 0.01]] * 3 + [[0.03, 0.02, 0.95]] + [[0.4, 0.3, 0.3]]
    )
    probability[2] = [0.99, 0.005, 0.005]
    found = sure_of(probability, 0.9)
    assert np.bincount(found[found >= 0]).tolist() == [3, 3, 1]
    assert found[2] == 0
    assert found[-1] == -1
    assert (sure_of(probability, 1.0) == -1).all()


def test_added_cells_of_a_class_weigh_together_what_its_labelled_ones_do():
    weights = added_weights(np.array([0] * 10 + [1]), np.array([0, 0, 1, 1]), 2)
    np.testing.assert_allclose(weights[:10], 0.2)
    assert weights[10] == 1.0


def test_with_nobody_sure_it_is_the_probe_itself():
    rng = np.random.default_rng(0)
    values, codes = rng.normal(size=(80, 5)), np.arange(80) % 2
    cells = VisibleCells(values, StandardScaler().fit(values))
    rule = fit_self_training(cells, np.arange(20), codes[:20], min_confidence=1.1)
    plain = LogisticRegression(C=1.0, class_weight="balanced", max_iter=1000).fit(cells.scaled[:20], codes[:20])
    assert rule.n_added == 0
    np.testing.assert_allclose(rule.of_values(cells.scaled), plain.predict_proba(cells.scaled), atol=1e-4)


def test_cells_without_label_show_which_columns_are_noise():
    """Two types differ by six standard deviations in one of 30 columns; ten labelled cells do not show which."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2, 800)
    values = rng.normal(size=(800, 30))
    values[:, 0] += 6 * codes
    cells = VisibleCells(values, StandardScaler().fit(values))
    gains = []
    for seed in range(4):
        draw = np.random.default_rng(seed)
        rows = np.concatenate([draw.choice(np.flatnonzero(codes == code), 10, replace=False) for code in (0, 1)])
        rule = fit_self_training(cells, rows, codes[rows])
        scaled = cells.scaled
        plain = LogisticRegression(C=1 / 3, class_weight="balanced", max_iter=1000).fit(scaled[rows], codes[rows])
        right = [(found.argmax(axis=1) == codes).mean()
                 for found in (rule.of_values(scaled), plain.predict_proba(scaled))]  # fmt: skip
        assert rule.n_added > 20
        gains.append(right[0] - right[1])
    assert np.mean(gains) > 0.01
