"""The search for signatures on arrays: folds, choices and intervals, by hand and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from spatialfm.learn.signature_search import (
    RankedFold,
    SearchPlan,
    chosen_clusters,
    fold_scores,
    interval_of,
    mean_of_folds,
    mean_score,
    nested_predictions,
    published_score,
    shuffled,
    usable_clusters,
)
from spatialfm.stats.permutation import shuffled_order
from spatialfm.stats.signature_outcome import Binary

PLAN = SearchPlan(n_signatures=1, n_folds=2, n_repeats=2, n_repeats_model=3, min_patients=4)


@pytest.fixture
def outcome():
    return Binary(np.arange(12) % 2 == 0)


@pytest.fixture
def ranks(outcome):
    """Ranks 0 to 3 of four clusters: with the outcome, against it, by chance, and of two patients alone."""
    y = outcome.y
    chance = np.tile([0, 0, 3, 3], 3)
    rare = np.where(np.arange(12) < 2, [3, 0] * 6, 0)
    return np.column_stack([np.where(y, 3, 1), np.where(y, 1, 3), chance, rare])


def test_the_mean_leaves_out_what_is_not_known():
    values = np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.nan]])
    np.testing.assert_array_equal(mean_of_folds(values), [2, 5, np.nan])
    assert mean_score(values) == 3
    assert np.isnan(mean_score(np.array([np.nan])))


def test_clusters_need_patients_with_and_without_high_ranks():
    ranks = np.array([[2, 2, 1, 2], [0, 3, 1, 0], [3, 2, 0, 0], [0, 2, 1, 0]])
    assert usable_clusters(ranks, 2).tolist() == [True, False, False, False]
    assert usable_clusters(ranks, 1).tolist() == [True, False, False, True]


def test_the_best_of_either_side_is_chosen_the_good_one_first(ranks, outcome):
    found = chosen_clusters(ranks, outcome, PLAN, 0)
    assert found.chosen == [0, 1]
    assert found.scores[:2].tolist() == [1, 1]
    # 6 of 6 who respond are high, and none of the others: one patient who responds as often as all is added
    assert found.ratio[0][0] == pytest.approx((6.5 / 7) / (0.5 / 7))


def test_a_cluster_of_too_few_patients_is_not_chosen(outcome):
    rare = np.zeros((12, 1), int)
    rare[[0, 2]] = 3  # of responders
    assert chosen_clusters(rare, outcome, PLAN, 0).chosen == []
    assert (published_score(np.zeros((12, 1), int), outcome, PLAN, 0) == 0.5).sum() == 6  # two folds, three times


def test_each_folds_model_speaks_of_its_own_patients_alone(ranks, outcome):
    test = np.arange(12) < 4
    folds = [RankedFold(test, ranks, 0), RankedFold(~test, ranks, 0)]
    found = nested_predictions(folds, outcome, PLAN, 0)
    np.testing.assert_array_equal(np.isfinite(found), [test, ~test])
    np.testing.assert_array_equal(fold_scores(found, outcome), [1, 1])
    values = np.random.default_rng(0).random((1, 12))
    assert fold_scores(values, outcome) == pytest.approx(roc_auc_score(outcome.y, values[0]))


def test_clusters_are_chosen_without_the_held_out_patients(outcome):
    """One cluster is right for the training part and wrong for the others; two are right for all but a few of it."""
    y, test = outcome.y, np.arange(12) < 6
    trap = np.where(y == ~test, 3, 1)
    good = np.where(y, 3, 1)
    good[[6, 7]] = good[[7, 6]]
    found = nested_predictions([RankedFold(test, np.column_stack([trap, good, 4 - good]), 0)], outcome, PLAN, 0)
    assert fold_scores(found, outcome).tolist() == [0]


def test_a_fold_without_both_outcomes_has_no_score(ranks, outcome):
    found = nested_predictions(
        [RankedFold(outcome.y, ranks, 0)], outcome, PLAN, 0
    )  # only others are left to learn from
    assert np.isnan(found).all()
    assert np.isnan(fold_scores(found, outcome)).all()
    assert np.isnan(interval_of(found, outcome, np.random.default_rng(0))).all()


def test_a_fold_without_clusters_predicts_the_same_for_all(outcome):
    test = np.arange(12) < 4
    found = nested_predictions([RankedFold(test, np.zeros((12, 2), int), 0)], outcome, PLAN, 0)
    assert (found[0, test] == 0).all()
    assert fold_scores(found, outcome).tolist() == [0.5]


def test_a_perfect_score_stays_perfect_when_patients_are_drawn_again(ranks, outcome):
    found = nested_predictions([RankedFold(np.arange(12) < 6, ranks, 0)], outcome, PLAN, 0)
    assert interval_of(found, outcome, np.random.default_rng(0)) == (1, 1)


def test_outcomes_change_places_within_blocks():
    blocks = np.array([0, 1, 0, 1, 0, 2])
    order = shuffled_order(6, np.random.default_rng(3), blocks)
    assert sorted(order) == list(range(6))
    assert (blocks[order] == blocks).all()
    assert sorted(shuffled_order(6, np.random.default_rng(0))) == list(range(6))


def test_shuffles_within_blocks_of_one_repeat_what_was_seen(ranks, outcome):
    """Nobody can change places: each shuffle is the observed data."""
    folds = [RankedFold(np.arange(12) < 4, ranks, 0), RankedFold(np.arange(12) >= 4, ranks, 0)]
    found = shuffled(ranks, ranks, folds, outcome, PLAN, 2, 1, 0, blocks=np.arange(12))
    assert found["nested"].tolist() == [1, 1]
    assert found["best cluster"].tolist() == [1, 1]
    mean = published_score(ranks, outcome, PLAN, 0).mean()
    assert found["as published (optimistic)"].tolist() == pytest.approx([mean, mean])
