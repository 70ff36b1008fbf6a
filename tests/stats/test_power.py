"""Simulated cohorts have the means, spreads and hazards that were asked for."""

from __future__ import annotations

import numpy as np
import pytest
from lifelines.statistics import logrank_test

from spatialfm.stats.power import FollowUp, Spread, auroc_p, composition_p, cox_score_p, spread_of, survival_p


def test_shares_have_the_mean_and_variance_of_the_beta_distribution():
    drawn = Spread(0.2, 0.1).draw(200_000, np.random.default_rng(0), fold=1.5)
    assert drawn.mean() == pytest.approx(0.3, abs=0.002)
    assert drawn.var() == pytest.approx(0.1 * 0.3 * 0.7, rel=0.02)
    assert Spread(0.2, 0.0).draw(3, np.random.default_rng(0)).tolist() == [0.2] * 3


def test_spread_comes_back_from_counts():
    rng = np.random.default_rng(1)
    totals = rng.integers(200, 2000, 4000)
    shares = rng.beta(0.2 * 9, 0.8 * 9, 4000)  # intraclass correlation 1 / (9 + 1)
    found = spread_of(rng.binomial(totals, shares), totals, np.zeros(4000, int))
    assert found.mean == pytest.approx(0.2, abs=0.01)
    assert found.correlation == pytest.approx(0.1, abs=0.01)


def test_score_test_of_two_groups_is_lifelines_log_rank_test():
    rng = np.random.default_rng(2)
    time, event, arm = rng.integers(1, 15, 60).astype(float), rng.random(60) < 0.7, np.repeat([0.0, 1.0], 30)
    expected = logrank_test(time[arm == 0], time[arm == 1], event[arm == 0], event[arm == 1]).p_value
    assert cox_score_p(arm, time, event) == pytest.approx(expected, rel=1e-8)
    assert cox_score_p(arm, time, np.zeros(60, bool)) == 1.0


def test_follow_up_is_drawn_from_the_curves_of_the_pilot():
    rng = np.random.default_rng(3)
    time, event = rng.exponential(1.0, 3000), np.ones(3000, bool)
    pilot = FollowUp.of(time, event)
    drawn, seen = pilot.draw(np.full(20_000, 2.0), rng)
    assert seen.all()
    assert drawn.mean() == pytest.approx(time.mean() / 2, rel=0.05)  # twice the hazard of an exponential


def test_p_values_find_what_is_there_and_not_what_is_not():
    rng = np.random.default_rng(4)
    assert composition_p(Spread(0.2, 0.02), 2.0, (30, 30), 500, rng) < 0.001
    assert composition_p(Spread(0.2, 0.0), 1.0, (5, 5), 0, rng) == 1.0
    assert auroc_p(0.95, (30, 30), rng) < 0.001
    pilot = FollowUp.of(rng.exponential(1, 200), np.ones(200, bool))
    p, n_events = survival_p(pilot, 5.0, (40, 40), rng)
    assert p < 0.001
    assert n_events == 80
