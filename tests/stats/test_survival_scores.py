"""Scores of risk under censoring against scikit-survival, for all patients and for drawn ones."""

from __future__ import annotations

import numpy as np
import pytest
from sksurv.metrics import brier_score, concordance_index_censored, concordance_index_ipcw, cumulative_dynamic_auc

from spatialfm.stats.survival_scores import ScoredPatients, brier, concordance_of, decile_times, dynamic_auc, integrated


@pytest.fixture
def cohort():
    rng = np.random.default_rng(0)
    time, event = rng.uniform(0.1, 10, 60), rng.random(60) < 0.6
    time[time.argmax()], event[time.argmax()] = 10.0, False
    risk = -time + rng.normal(0, 3, 60)
    return ScoredPatients(time, event, risk, np.zeros(60, int))


def outcome(patients, rows=slice(None)):
    return np.array(
        list(zip(patients.event[rows], patients.time[rows], strict=True)), dtype=[("e", bool), ("t", float)]
    )


@pytest.fixture
def draws():
    """All patients once, and a draw with some of them several times."""
    return np.vstack([np.ones(60), np.random.default_rng(5).multinomial(60, np.full(60, 1 / 60))]).astype(float)


def test_concordances(cohort, draws):
    harrell, uno = concordance_of(cohort, draws)
    y = outcome(cohort)
    assert harrell[0] == pytest.approx(concordance_index_censored(cohort.event, cohort.time, cohort.risk)[0], abs=1e-10)
    assert uno[0] == pytest.approx(concordance_index_ipcw(y, y, cohort.risk)[0], abs=1e-10)
    rows = np.repeat(np.arange(60), draws[1].astype(int))
    expected = concordance_index_censored(cohort.event[rows], cohort.time[rows], cohort.risk[rows])[0]
    assert harrell[1] == pytest.approx(expected, abs=1e-10)


def test_auc_and_brier_score(cohort, draws):
    times, y = np.array([2.0, 4.5, 7.0]), outcome(cohort)
    auc, _ = dynamic_auc(cohort, draws, times)
    np.testing.assert_allclose(auc[0], cumulative_dynamic_auc(y, y, cohort.risk, times)[0], atol=1e-10)
    survival = 1 / (1 + np.exp(cohort.risk[:, None] / 4 + times / 3 - 1))
    found = brier(cohort, draws, times, survival)
    np.testing.assert_allclose(found[0], brier_score(y, y, survival, times)[1], atol=1e-10)
    rows = np.repeat(np.arange(60), draws[1].astype(int))
    again = outcome(cohort, rows)
    np.testing.assert_allclose(found[1], brier_score(again, again, survival[rows], times)[1], atol=1e-10)


def test_pairs_are_within_folds():
    """In fold 0 the order is right, in fold 1 it is wrong; the pairs between folds do not count."""
    patients = ScoredPatients(
        np.arange(1.0, 5), np.ones(4, bool), np.array([9.0, 1.0, 2.0, 8.0]), np.array([0, 0, 1, 1])
    )
    assert concordance_of(patients, np.ones((1, 4)))[0][0] == 0.5


def test_means_over_time_and_deciles():
    assert integrated(np.array([[0.0, 2.0, 2.0]]), np.array([0.0, 1.0, 3.0]))[0] == pytest.approx((1 + 4) / 3)
    time = np.arange(1.0, 101)
    np.testing.assert_array_equal(
        decile_times(time, np.ones(100, bool)), np.quantile(time, np.arange(0.1, 0.95, 0.1), method="lower")
    )
    assert decile_times(np.array([3.0, 3.0]), np.ones(2, bool)).tolist() == [3.0]


def test_at_one_time_events_come_before_censoring():
    """Times in whole numbers: the estimate of being censored counts those at risk after the events."""
    rng = np.random.default_rng(2)
    time, event = rng.integers(1, 9, 80).astype(float), rng.random(80) < 0.5
    time[:2], event[:2] = 9.0, False
    patients = ScoredPatients(time, event, -time + rng.normal(0, 3, 80), np.zeros(80, int))
    y, times = outcome(patients), np.array([3.0, 6.0])
    survival = np.clip(rng.random((80, 2)), 0.1, 0.9)
    found = brier(patients, np.ones((1, 80)), times, survival)[0]
    np.testing.assert_allclose(found, brier_score(y, y, survival, times)[1], atol=1e-10)
