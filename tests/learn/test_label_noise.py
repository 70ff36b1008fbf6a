"""Doubts by definition, with probabilities that are given; pairs by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from spatialfm.learn.label_noise import doubts, held_out_probability, judged_parts, near_pairs, usual_distance
from spatialfm.learn.probe import column_scaler


def by_definition(probability, codes):
    """Confident learning written out, row by row (Northcutt et al. 2021, equations 1 and 2)."""
    n_classes = probability.shape[1]
    threshold = [probability[codes == j, j].mean() for j in range(n_classes)]
    out = []
    for row, code in zip(probability, codes, strict=True):
        sure = [j for j in range(n_classes) if row[j] >= threshold[j]]
        best = max(sure, key=lambda j: row[j]) if sure else code
        out.append(best if row[best] > row[code] else code)
    return out


def test_likelier_types_are_those_of_the_definition():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, 300)
    probability = rng.dirichlet(np.ones(4) * 0.5, 300) + 0.6 * np.eye(4)[codes]
    probability /= probability.sum(axis=1, keepdims=True)
    found = doubts(probability, codes)
    assert found.likelier.tolist() == by_definition(probability, codes)
    for row in range(300):
        others = np.delete(probability[row], codes[row]).max()
        assert found.score[row] == pytest.approx((1 + others - probability[row, codes[row]]) / 2)


def test_a_class_of_one_row_is_not_judged():
    rng = np.random.default_rng(0)
    values = np.r_[rng.normal(size=(20, 3)), rng.normal(size=(20, 3)) + 5, [[20.0, 0, 0]]]
    codes = np.repeat([0, 1, 2], [20, 20, 1])
    probability = held_out_probability(values, codes, None, scaler=column_scaler(values), C=1.0)
    assert np.isnan(probability[-1]).all()
    assert np.allclose(probability[:-1].sum(axis=1), 1)
    found = doubts(probability, codes)
    assert found.likelier.tolist() == codes.tolist()
    assert np.isnan(found.score[-1])


def test_rows_are_judged_by_classifiers_that_have_not_seen_them():
    """Labels without any relation to the values: seen rows would be fitted, others cannot be better than chance."""
    rng = np.random.default_rng(1)
    values, codes = rng.normal(size=(60, 80)), np.arange(60) % 2
    probability = held_out_probability(values, codes, None, scaler=column_scaler(values), C=100.0)
    assert abs((probability.argmax(axis=1) == codes).mean() - 0.5) < 0.2


def test_whole_patients_are_held_out():
    """Each patient has a column of its own that tells its labels: of no use where the patient was not seen."""
    rng = np.random.default_rng(2)
    patients, codes = np.repeat(np.arange(6), 20), np.tile([0, 1], 60)
    values = np.eye(6)[patients] * np.where(rng.random((6, 1))[patients] < 0.5, 1, -1) * (2 * codes[:, None] - 1)
    values = values + 0.01 * rng.normal(size=values.shape)
    together = held_out_probability(values, codes, patients, scaler=column_scaler(values), C=10.0)
    apart = held_out_probability(values, codes, None, scaler=column_scaler(values), C=10.0)
    assert (apart.argmax(axis=1) == codes).mean() > 0.95
    assert (together.argmax(axis=1) == codes).mean() < 0.75


def of_ten_patients(seed, rare):
    """Two labels of each of four types in ten patients, a tenth of them wrong; and one of a fifth type in two."""
    rng = np.random.default_rng(seed)
    means, shift = rng.normal(size=(5, 30)) / np.sqrt(2), rng.normal(size=(10, 30)) / 2
    patients, types = np.repeat(np.arange(10), 8), np.tile([0, 0, 1, 1, 2, 2, 3, 3], 10)
    wrong = rng.random(80) < 0.1
    codes = np.where(wrong, (types + rng.integers(1, 4, 80)) % 4, types)
    values = means[types] + shift[patients] + 2 * rng.normal(size=(80, 30))
    if rare:
        more = means[[4, 4]] + shift[[0, 1]] + 2 * rng.normal(size=(2, 30))
        values, codes, patients = np.r_[values, more], np.r_[codes, 4, 4], np.r_[patients, 0, 1]
    return values, codes, patients, wrong


def test_a_rare_class_takes_no_folds_from_the_others():
    """Of ten patients about two are held out at a time, and all rows judged: the rare class has one in two folds."""
    for seed in range(10):
        _, codes, patients, _ = of_ten_patients(seed, rare=True)
        parts = list(judged_parts(codes, patients, 5, seed))
        assert len(parts) == 5
        assert max(len(np.unique(patients[test])) for _, test in parts) <= 3
        assert not any(np.isin(patients[train], patients[test]).any() for train, test in parts)
        assert sorted(np.concatenate([test for _, test in parts])) == list(range(82))


def test_wrong_labels_are_found_as_well_beside_a_rare_class():
    """Fitted to four fifths of the labels both times: with half of them the AUROC is 0.04 lower."""
    found = {False: [], True: []}
    for seed in range(20):
        for rare, scores in found.items():
            values, codes, patients, wrong = of_ten_patients(seed, rare)
            scaler = column_scaler(values)
            probability = held_out_probability(values, codes, patients, scaler=scaler, C=0.33, random_state=seed)
            scores.append(roc_auc_score(wrong, doubts(probability, codes).score[:80]))
    assert np.mean(found[False]) > 0.75
    assert np.mean(found[True]) == pytest.approx(np.mean(found[False]), abs=0.015)


def test_near_pairs_are_those_of_all_comparisons():
    rng = np.random.default_rng(3)
    values, codes = rng.normal(size=(40, 2)), rng.integers(0, 3, 40)
    pairs, distance = near_pairs(values, codes, 0.25)
    full = np.linalg.norm(values[:, None] - values, axis=2)
    expected = {(i, j) for i in range(40) for j in range(i + 1, 40) if full[i, j] <= 0.25 and codes[i] != codes[j]}
    assert {tuple(pair) for pair in pairs.tolist()} == expected
    assert len(expected) > 2
    assert np.allclose(distance, full[pairs[:, 0], pairs[:, 1]])
    assert (np.diff(distance) >= 0).all()


def test_the_usual_distance_is_the_median_of_nearest_ones():
    values = np.array([[0.0], [1.0], [3.0], [6.0], [10.0]])
    assert usual_distance(values, np.arange(len(values)), 0) == 2.0  # 1, 1, 2, 3, 4
