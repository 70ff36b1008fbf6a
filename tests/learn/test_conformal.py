"""Coverage for new patients against the share that is stated, and thresholds against quantiles by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from spatialfm._errors import TableError
from spatialfm.learn.conformal import (
    accuracy_of_surest,
    check_coverage,
    held_out_patients,
    patients_needed,
    sets_of,
    threshold,
    thresholds,
)


def patients(rng, n_patients, n_types=3, spread=1.0):
    """Probabilities and types of cells; each patient shifts all probabilities in a direction of its own.

    Patients have 1 to 200 cells. Rare types are told from others worse.
    """
    found = []
    for patient in range(n_patients):
        n = int(rng.choice([1, 5, 200]))
        codes = rng.choice(n_types, n, p=[0.7, 0.25, 0.05])
        logits = rng.normal(0, spread, n_types) + rng.normal(size=(n, n_types))
        logits[np.arange(n), codes] += np.array([3.0, 2.0, 1.0])[codes]
        probability = np.exp(logits)
        found.append((probability / probability.sum(axis=1, keepdims=True), codes, np.full(n, patient)))
    return (np.concatenate(parts) for parts in zip(*found, strict=True))


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_cells_of_new_patients_are_covered_as_often_as_stated(coverage):
    """Mean over many cohorts of nine to twelve patients; each new patient weighs the same."""
    rng = np.random.default_rng(0)
    covered, naive = [], []
    for _ in range(300):
        probability, codes, groups = patients(rng, 12)
        least = thresholds(probability, codes, groups, coverage, by_type=False)
        new, truth, _ = patients(rng, 1)
        scores = 1 - probability[np.arange(len(codes)), codes]
        reached = new[np.arange(len(truth)), truth]
        covered.append((reached >= least[truth]).mean())
        naive.append((1 - reached <= np.quantile(scores, coverage)).mean())
    error = np.std(covered) / np.sqrt(len(covered))
    assert coverage - 2.5 * error < np.mean(covered) < coverage + 1 / 13 + 2.5 * error
    assert np.mean(naive) < np.mean(covered)


def test_rare_types_are_covered_where_thresholds_are_by_type():
    rng = np.random.default_rng(1)
    of_rare = {True: [], False: []}
    for _ in range(150):
        probability, codes, groups = patients(rng, 25)
        new, truth, _ = patients(rng, 3)
        for by_type in of_rare:
            least = thresholds(probability, codes, groups, 0.8, by_type=by_type)
            inside = sets_of(new, least)[np.arange(len(truth)), truth]
            of_rare[by_type] += inside[truth == 2].tolist()
    assert np.mean(of_rare[True]) > 0.79
    assert np.mean(of_rare[False]) < 0.7


def test_the_threshold_is_the_quantile_of_patients():
    """One cell of each of nine patients: for 0.9 the largest score, for 0.8 the eighth of nine (8/10)."""
    scores, groups = np.arange(9.0), np.arange(9)
    assert threshold(scores, groups, 0.9) == 8.0
    assert threshold(scores, groups, 0.8) == 7.0
    assert threshold(scores, groups, 0.91) == math.inf
    assert threshold(scores[:0], groups[:0], 0.5) == math.inf
    # a patient of a thousand cells weighs as much as one of one: 0.75 are three of four, its cells the first of them
    many = np.r_[np.zeros(1000), 1.0, 2.0]
    of = np.r_[np.zeros(1000, int), 1, 2]
    assert threshold(many, of, 0.25) == 0.0
    assert threshold(many, of, 0.5) == 1.0
    assert threshold(many, of, 0.75) == 2.0


def test_a_type_of_too_few_patients_is_in_every_set():
    probability = np.tile([0.9, 0.1], (12, 1))
    codes, groups = np.r_[np.zeros(10, int), 1, 1], np.r_[np.arange(10), 0, 1]
    least = thresholds(probability, codes, groups, 0.9)
    assert least.tolist() == pytest.approx([0.9, 0.0])
    assert sets_of(probability, least).all()


def test_too_few_patients_are_refused_with_what_they_can_promise():
    assert [patients_needed(share) for share in (0.5, 0.8, 0.9, 0.95, 0.99)] == [1, 4, 9, 19, 99]
    check_coverage(0.9, np.repeat(np.arange(9), 3))
    with pytest.raises(TableError, match=r"8 patients have labelled cells.*needs 9.*coverage=0\.88\."):
        check_coverage(0.9, np.arange(8))
    check_coverage(0.88, np.arange(8))
    with pytest.raises(TableError, match="not known which patients"):
        check_coverage(0.9, None)
    with pytest.raises(TableError, match="between 0 and 1"):
        check_coverage(90, np.arange(20))


def test_each_patient_is_held_out_once_and_whole():
    groups = np.random.default_rng(0).integers(0, 13, 200).astype(str)
    judged = []
    for train, test in held_out_patients(groups, 0):
        assert not set(groups[train]) & set(groups[test])
        judged += test.tolist()
    assert sorted(judged) == list(range(200))
    assert len(list(held_out_patients(np.arange(4), 0))) == 4


def test_the_surest_are_taken_by_their_highest_probability():
    probability = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.45, 0.55]])
    found = accuracy_of_surest(probability, np.array([0, 1, 1, 1]))
    assert found == {1.0: 0.75, 0.9: 0.75, 0.75: pytest.approx(2 / 3), 0.5: 1.0}


def test_no_set_is_empty():
    probability = np.array([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
    assert sets_of(probability, np.full(3, 0.9)).tolist() == [[True, False, False], [False, False, True]]
