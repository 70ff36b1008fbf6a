"""Concordance against scikit-survival and lifelines, and by counting pairs."""

from __future__ import annotations

import numpy as np
import pytest
from lifelines.utils import concordance_index
from sksurv.metrics import concordance_index_censored

from spatialfm.stats import concordance as module
from spatialfm.stats.concordance import (
    bootstrap_c_index,
    comparable,
    concordances,
    concordant_pairs,
    weighted_concordances,
)


@pytest.fixture
def cohort():
    rng = np.random.default_rng(0)
    time, event = rng.integers(1, 15, 80).astype(float), rng.random(80) < 0.6
    return time, event, rng.integers(0, 9, (80, 3)).astype(float)


def test_it_is_that_of_scikit_survival(cohort):
    time, event, scores = cohort
    for score, value in zip(scores.T, concordances(time, event, scores).value, strict=True):
        expected, right, wrong, tied, _ = concordance_index_censored(event, time, score)
        assert value == pytest.approx(expected, abs=1e-12)
        found = concordant_pairs(time, event, score)
        assert found == (right + tied / 2, right + wrong + tied)


def test_left_out_patients_are_left_out(cohort):
    time, event, scores = cohort
    found = concordances(time, event, scores)
    for i in (0, 7, 79):
        keep = np.arange(80) != i
        again = concordances(time[keep], event[keep], scores[keep])
        np.testing.assert_allclose(found.left_out[i], again.value, atol=1e-12)


def test_weights_repeat_patients_and_folds_part_them(cohort):
    time, event, scores = cohort
    weights, fold = np.random.default_rng(1).integers(0, 3, (2, 80)), np.arange(80) % 2
    (found,) = weighted_concordances(time, event, scores[:, 0], weights, [weights], fold=fold)
    for value, n in zip(found, weights, strict=True):
        counts = []
        for k in (0, 1):
            rows = np.repeat(np.arange(80), n * (fold == k))
            # a patient drawn twice is not compared with itself: the same time, and the event in both
            counts.append(concordant_pairs(time[rows], event[rows], scores[rows, 0]))
        right, pairs = np.sum(counts, axis=0)
        assert value == pytest.approx(right / pairs)


def test_memory_is_bounded_without_another_result(cohort, monkeypatch):
    time, event, scores = cohort
    before = concordant_pairs(time, event, scores[:, 0])
    monkeypatch.setattr(module, "BLOCK", 100)
    assert concordant_pairs(time, event, scores[:, 0]) == before


def test_who_is_compared():
    time, event = np.array([2.0, 2.0, 2.0, 5.0]), np.array([True, True, False, False])
    assert comparable(time, event, np.array([0])).tolist() == [[False, False, True, True]]
    late = comparable(time, event, np.array([0]), np.array([0.0, 0.0, 1.0, 2.0]))
    assert late.tolist() == [[False, False, True, False]]  # who enters at 2 was not seen then


@pytest.fixture
def few():
    rng = np.random.default_rng(0)
    return rng.integers(1, 12, 40).astype(float), rng.random(40) < 0.6, rng.integers(0, 6, 40).astype(float)


def test_it_is_that_of_lifelines_with_ties(few):
    time, event, score = few
    right, pairs = concordant_pairs(time, event, score)
    assert right / pairs == pytest.approx(concordance_index(time, -score, event), abs=1e-12)
    assert right % 0.5 == 0
    assert concordant_pairs(time, np.zeros(40, bool), score) == (0.0, 0)


def test_who_enters_later_is_not_compared(few):
    time, event, score = few
    entry = np.where(np.arange(40) % 3 == 0, time - 0.5, 0.0)
    right = pairs = 0.0
    for i in np.flatnonzero(event):
        for j in range(40):
            later = time[j] > time[i] or (time[j] == time[i] and not event[j])
            if j != i and later and entry[j] < time[i]:
                pairs += 1
                right += 1.0 if score[i] > score[j] else 0.5 if score[i] == score[j] else 0.0
    assert concordant_pairs(time, event, score, entry) == (right, pairs)


def test_a_resampling_is_the_concordance_of_the_patients_drawn(few):
    time, event, score = few
    found = bootstrap_c_index(time, event, score, 20, np.random.default_rng(3))
    counts = np.random.default_rng(3).multinomial(40, np.full(40, 1 / 40), size=20)
    for value, count in zip(found, counts, strict=True):
        rows = np.repeat(np.arange(40), count)
        assert value == pytest.approx(concordance_index(time[rows], -score[rows], event[rows]), abs=1e-12)
