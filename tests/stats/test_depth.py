"""Numbers of cells against outcomes, and draws of equally many."""

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter
from lifelines.utils import concordance_index
from scipy import stats
from sklearn.metrics import roc_auc_score

from spatialfm.stats.depth import (
    depth_by_class,
    depth_by_survival,
    draw_evenly,
    even_depth,
    rarefied,
)
from spatialfm.stats.risk_table import martingale_residuals


def test_two_classes_are_those_of_other_libraries():
    rng = np.random.default_rng(0)
    n, y = rng.integers(50, 500, 30), np.arange(30) % 3 == 0
    found = depth_by_class(n, y.astype(int))
    assert found.value == pytest.approx(roc_auc_score(y, n))
    assert found.p_value == pytest.approx(stats.mannwhitneyu(n[y], n[~y]).pvalue)
    three = depth_by_class(n, np.arange(30) % 3)
    assert three.p_value == pytest.approx(stats.kruskal(*(n[np.arange(30) % 3 == i] for i in range(3))).pvalue)
    assert depth_by_class(np.full(8, 100), np.arange(8) % 2) == depth_by_class(np.full(8, 7), np.arange(8) % 2)
    assert not depth_by_class(np.full(8, 100), np.arange(8) % 2).associated


def test_groups_of_three_that_do_not_overlap_are_associated():
    """Their smallest p-value is 0.1."""
    assert depth_by_class(np.array([900, 1000, 1100, 90, 100, 110]), np.array([0, 0, 0, 1, 1, 1])).associated


def test_survival_is_that_of_lifelines():
    rng = np.random.default_rng(1)
    n = rng.integers(50, 5000, 120)
    time, event = rng.exponential(np.where(n > 1500, 2.0, 6.0)), rng.random(120) < 0.7
    found = depth_by_survival(n, time, event)
    assert found.value == pytest.approx(1 - concordance_index(time, n, event), abs=1e-9)
    table = pd.DataFrame({"x": stats.rankdata(n), "time": time, "event": event})
    wald = CoxPHFitter().fit(table, "time", "event").summary.loc["x", "p"]
    assert abs(np.log10(found.p_value) - np.log10(wald)) < 1  # score and Wald test are near each other
    assert found.associated
    cox = CoxPHFitter(penalizer=1e9).fit(table, "time", "event")  # coefficients of 0
    expected = cox.compute_residuals(table, "martingale")["martingale"].loc[table.index]
    np.testing.assert_allclose(martingale_residuals(time, event), expected, atol=1e-6)


def test_survival_p_values_are_uniform_without_association():
    rng = np.random.default_rng(2)
    p = []
    for _ in range(300):
        n, time, event = rng.integers(50, 5000, 40), np.ceil(rng.exponential(4, 40)), rng.random(40) < 0.6
        p.append(depth_by_survival(n, time, event).p_value)
    assert stats.kstest(p, "uniform").pvalue > 0.01


@pytest.mark.parametrize(
    ("n_cells", "depth"),
    [
        ([100] * 5 + [1000] * 30, 100),  # a group of five is more than one in ten
        ([5] + [400] * 9, 400),  # one patient with next to nothing
        ([300, 400, 500], 300),
        ([250, 400, 500], 250),
        ([50], 50),
        ([3, 4, *[900] * 18], 900),  # two of twenty
        ([3, 4, 5, *[900] * 17], 3),  # three of twenty are more than one in ten
    ],
)
def test_even_depth(n_cells, depth):
    assert even_depth(np.array(n_cells)) == depth


def test_draws_are_even_and_unbiased():
    codes = np.repeat([0, 1, 2], [5, 40, 400])
    seen = np.zeros(len(codes))
    for seed in range(300):
        rows = draw_evenly(codes, 20, np.random.default_rng(seed))
        assert np.bincount(codes[rows]).tolist() == [5, 20, 20]
        assert (np.diff(rows) > 0).all()
        seen[rows] += 1
    assert (seen[:5] == 300).all()
    assert stats.chisquare(seen[5:45]).pvalue > 1e-3


def test_rarefied_counts_are_hypergeometric():
    """Mean and variance in closed form."""
    rng = np.random.default_rng(0)
    draws = np.array([rarefied(np.array([[30, 70, 0]]), 20, rng)[0] for _ in range(4000)])
    assert (draws.sum(axis=1) == 20).all()
    law = stats.hypergeom(100, 30, 20)
    assert draws[:, 0].mean() == pytest.approx(law.mean(), abs=4 * law.std() / np.sqrt(4000))
    assert draws[:, 0].var() == pytest.approx(law.var(), rel=0.1)
    with pytest.raises(ValueError, match="whole numbers"):
        rarefied(np.array([[0.3, 0.7]]), 10, rng)
