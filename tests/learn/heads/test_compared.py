"""Two answers on the same held-out cells: errors by hand, and which differences are more than chance."""

from __future__ import annotations

import numpy as np
import pytest

from spatialfm.learn.heads.compared import error_of_sum, is_better


def test_errors_are_those_between_patients():
    rng = np.random.default_rng(0)
    of_patient = rng.normal(size=8)
    values, groups = np.repeat(of_patient, 10), np.repeat([f"p{i}" for i in range(8)], 10)
    assert error_of_sum(values, groups) == pytest.approx(np.sqrt(8) * (10 * of_patient).std(ddof=1))
    assert error_of_sum(values, None) == pytest.approx(np.sqrt(80) * values.std(ddof=1))
    assert error_of_sum(values, groups) > 2 * error_of_sum(values, None)


def said(right, codes):
    """Probabilities that give each cell's own class of two so much."""
    return np.where(np.arange(2) == codes[:, None], right[:, None], 1 - right[:, None])


def test_the_better_answer_is_better_by_more_than_its_error():
    rng = np.random.default_rng(0)
    codes = rng.permutation(np.repeat([0, 1], [300, 100]))
    certain = rng.random(400) < 0.9
    good = said(np.where(certain, 0.9, 0.1), codes)  # right as often as it says, so that no temperature helps
    half = said(np.where(rng.random(400) < 0.75, 0.75, 0.25), codes)
    assert is_better(good, half, codes, None)
    assert not is_better(half, good, codes, None)
    assert not is_better(good, good, codes, None)
    # how sure an answer is does not count, only what it tells
    sure = good**3 / (good**3).sum(axis=1, keepdims=True)
    assert not is_better(good, sure, codes, None)


def test_patients_are_what_differs():
    """Of eight patients one is told much better and one worse: in so many cells as to look certain."""
    codes, place = np.tile([0, 1], 200), np.arange(400) % 50
    patients = np.repeat([f"p{number}" for number in range(8)], 50)
    right = place < 35
    other = (right | (patients == "p0")) & ~((patients == "p1") & (place < 6))
    first, second = (said(np.where(one, 0.7, 0.3), codes) for one in (right, other))
    assert is_better(second, first, codes, None)
    assert not is_better(second, first, codes, patients)
