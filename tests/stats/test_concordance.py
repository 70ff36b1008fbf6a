"""Harrell's concordance against lifelines, and the bootstrap against counting the drawn patients themselves."""

from __future__ import annotations

import numpy as np
import pytest
from lifelines.utils import concordance_index

from spatialfm.stats.concordance import bootstrap_c_index, concordant_pairs


@pytest.fixture
def cohort():
    rng = np.random.default_rng(0)
    return rng.integers(1, 12, 40).astype(float), rng.random(40) < 0.6, rng.integers(0, 6, 40).astype(float)


def test_it_is_that_of_lifelines_with_ties(cohort):
    time, event, score = cohort
    right, pairs = concordant_pairs(time, event, score)
    assert right / pairs == pytest.approx(concordance_index(time, -score, event), abs=1e-12)
    assert right % 0.5 == 0
    assert concordant_pairs(time, np.zeros(40, bool), score) == (0.0, 0)


def test_who_enters_later_is_not_compared(cohort):
    time, event, score = cohort
    entry = np.where(np.arange(40) % 3 == 0, time - 0.5, 0.0)
    right = pairs = 0.0
    for i in np.flatnonzero(event):
        for j in range(40):
            later = time[j] > time[i] or (time[j] == time[i] and not event[j])
            if j != i and later and entry[j] < time[i]:
                pairs += 1
                right += 1.0 if score[i] > score[j] else 0.5 if score[i] == score[j] else 0.0
    assert concordant_pairs(time, event, score, entry) == (right, pairs)


def test_a_resampling_is_the_concordance_of_the_patients_drawn(cohort):
    time, event, score = cohort
    found = bootstrap_c_index(time, event, score, 20, np.random.default_rng(3))
    counts = np.random.default_rng(3).multinomial(40, np.full(40, 1 / 40), size=20)
    for value, count in zip(found, counts, strict=True):
        rows = np.repeat(np.arange(40), count)
        assert value == pytest.approx(concordance_index(time[rows], -score[rows], event[rows]), abs=1e-12)
