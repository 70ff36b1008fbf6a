"""When a column is known by its values: evidence by closed form, and the rows on which two columns are compared."""

from __future__ import annotations

from math import comb, inf, log

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from spatialfm import _origin_match as match
from spatialfm._origin import Origin, Reference, name_hashes, numbers_of
from spatialfm._origin_chance import of_groups, of_numbers
from spatialfm._origin_match import RowLookup, recognise, rows_of

OUTCOME = ("time", "event")
MADE = Origin("stratify", "selected", OUTCOME)


def reference(values, names=None, origin=MADE, **more):
    column = pd.Series(values, index=names if names is not None else [f"P{i}" for i in range(len(values))])
    numbers, groups, texts = numbers_of(column)
    return Reference(origin, name_hashes(column.index), None, numbers, groups, texts, **more)


def known(values, references, names=None, place="obs:mine"):
    names = [f"P{i}" for i in range(len(values))] if names is None else names
    return [(one.n, one.sure) for one in recognise(pd.Series(values, index=names), [], references, place)]


def halves(n, low="low", high="high"):
    return [low, high] * (n // 2)


@pytest.mark.parametrize(
    ("n", "found"),
    [
        (18, [(18, True)]),  # 48,620 ways to deal them out, two of them the same groups: one in 24,310
        (16, [(16, False)]),  # one in 6,435
        (8, [(8, False)]),  # one in 35, but divided alike
        (6, []),
    ],
)
def test_renamed_groups_are_sure_where_chance_is_one_in_ten_thousand(n, found):
    assert known(halves(n, "A", "B"), [reference(halves(n))]) == found


def test_groups_of_the_same_names_need_half_the_proof():
    assert comb(16, 8) > 1e4 > comb(16, 8) / 2
    assert known(halves(16), [reference(halves(16))]) == [(16, True)]


def test_each_further_column_in_memory_is_one_more_that_chance_may_be_like():
    others = [reference(list(np.random.default_rng(i).permutation(halves(18)))) for i in range(2)]
    assert comb(18, 9) / 2 < 3e4
    assert known(halves(18, "A", "B"), [reference(halves(18)), *others])[0] == (18, False)
    makers = ("stratify", "cut_point", "risk_groups")
    same = [reference(halves(18), origin=Origin(name, "selected", OUTCOME)) for name in makers]
    assert known(halves(18, "A", "B"), same) == [(18, True)] * 3  # the same values are one column


def test_rows_are_compared_by_name_in_any_order():
    made = reference(halves(40))
    names = [f"P{i}" for i in range(39, -1, -1)]
    assert known(halves(40, "B", "A"), [made], names) == [(40, True)]
    some = pd.Series(halves(40, "A", "B"), index=[f"P{i}" for i in range(40)])[5:30]
    assert known(list(some), [made], list(some.index)) == [(25, True)]
    assert known(list(np.repeat(["A", "B"], 20)), [made]) == []


def test_compositions_are_told_by_their_names_alone():
    made = reference(halves(40), origin=Origin("stratify", "composition"))
    assert known(halves(40, "A", "B"), [made]) == []
    assert known(halves(40), [made]) == [(40, True)]
    assert known(list(np.arange(40.0)), [reference(list(np.arange(40.0)), origin=Origin("x", "order"))]) == []


def test_what_the_table_itself_records_needs_no_proof():
    made = reference(halves(4), place="obs:mine")
    assert known(halves(4, "A", "B"), [made]) == [(4, True)]
    assert known(halves(4, "A", "B"), [made], place="obs:other") == []


def test_equal_numbers_of_one_row_each_are_proof_from_six_on():
    made = reference(list(np.random.default_rng(0).normal(size=40)), origin=Origin("coxnet", "held out", OUTCOME))
    values = np.random.default_rng(1).normal(size=40)
    values[:5] = made.values[:5]
    assert known(list(values), [made]) == []
    values[5] = made.values[5]
    assert known(list(values), [made]) == [(6, True)]


def test_events_are_not_weights_that_are_all_nearly_one():
    """Of 200 weights within 1e-6 of 1, as the attention of a network that learned nothing; an event is 0 or 1."""
    rng = np.random.default_rng(0)
    weights = 1 + rng.uniform(-1e-6, 1e-6, 200)
    assert known(rng.integers(0, 2, 200).astype(float), [reference(weights)]) == []
    assert known(weights, [reference(weights)]) == [(200, True)]


def test_numbers_without_names_are_known_as_they_are():
    made = reference(list(np.random.default_rng(0).normal(size=40)))
    values = made.values[::-1][:30].copy()
    names = [f"other{i}" for i in range(30)]
    assert known(list(values), [made], names) == [(30, True)]
    values[:3] = 9.0  # a tenth
    assert known(list(values), [made], names) == [(27, True)]
    values[3] = 9.0
    assert known(list(values), [made], names) == []


def test_a_models_own_feature_is_not_taken_for_what_it_predicted():
    rng = np.random.default_rng(0)
    age = rng.normal(size=40)
    risk = reference(list(2 * age), origin=Origin("coxnet", "held out", OUTCOME), exempt=age[:, None])
    old = list(np.where(age > 0, "old", "young"))
    assert known(old, [risk]) == []
    other = reference(list(2 * age), origin=Origin("coxnet", "held out", OUTCOME), exempt=rng.normal(size=(40, 1)))
    assert known(old, [other]) == [(40, True)]


def test_clusters_that_an_outcome_merged_are_as_they_were():
    clusters = np.arange(40.0) % 4
    merged = list(np.where(clusters < 2, "low", "high"))
    assert known([str(c) for c in clusters], [reference(merged, finer=clusters)]) == []
    assert known([str(c) for c in clusters], [reference(merged)]) == [(40, True)]


def test_a_turn_is_how_often_a_name_was_there():
    assert match._turn(np.array([5, 7, 5, 5, 7])).tolist() == [0, 0, 1, 2, 1]
    assert match._turn(np.array([5, 7])).tolist() == [0, 0]
    rows = rows_of(pd.Index(["b", "x", "a", "b"]), [])
    ((mine, theirs, turn),) = rows.shared(reference(["l", "h", "l"], ["a", "b", "c"]))
    assert (mine.tolist(), theirs.tolist(), turn.tolist()) == ([0, 2, 3], [1, 0, 1], [0, 0, 1])
    assert isinstance(rows, RowLookup)


ALTERNATING = np.arange(40.0) % 2


def test_evidence_where_a_row_was_moved():
    moved = ALTERNATING.copy()
    moved[3] = 1 - moved[3]
    # ways of the groups, over names, which row it was, and where it went
    expected = log(comb(40, 20)) - log(2) - log(40) - log(2)
    assert match._but_for_some(ALTERNATING, moved) == pytest.approx(expected)
    assert match._but_for_some(ALTERNATING, ALTERNATING) == -inf  # none was
    moved[:10] = 1 - moved[:10]
    assert match._but_for_some(ALTERNATING, moved) == -inf  # more than a tenth


def test_evidence_within_levels_is_added_up_and_one_that_does_not_follow_ends_it():
    split = np.repeat([0, 1, 2], [10, 10, 20])
    values = ALTERNATING.copy()
    values[10:20] = 3 - values[10:20]  # other names in the second level
    values[20:] = 9.0  # not divided in the third
    expected = 2 * log(comb(10, 5) / 2)
    assert match._within(of_groups, ALTERNATING, ALTERNATING.astype(int), values, split) == pytest.approx(expected)
    values[0] = values[1]
    assert match._within(of_groups, ALTERNATING, ALTERNATING.astype(int), values, split) == -inf


def test_what_follows_from_the_column_that_splits_is_not_laid_to_the_one_that_is_remembered():
    """Ages tell the answers of ten patients. Two of one age differ: a number higher in one tells them apart."""
    age = np.repeat([*range(10), 9], 20)
    answer = np.repeat([0, 1] * 5 + [0], 20)
    weight = np.random.default_rng(0).normal(size=220) + 9 * (np.arange(220) >= 200)
    follow = match._follow(False, False)
    codes = np.unique(weight, return_inverse=True)[1]
    assert match._within(follow, weight, codes, answer, age) == -inf
    told = np.repeat([0, 1] * 5 + [0, 1], 20)  # and two of each age: what is remembered tells half of them
    ages = np.repeat(np.arange(6), 40)
    assert match._within(follow, told + 0.0, told, told, ages) == pytest.approx(6 * log(comb(40, 20) / 2))


def test_evidence_of_all_but_a_group_of_the_missing():
    values = ALTERNATING.copy()
    values[:6] = 2.0
    assert of_groups(ALTERNATING, values) == -inf
    expected = log(comb(34, 17) / 2) - log(3)
    assert match._but_for_one_group(of_groups, ALTERNATING, values) == pytest.approx(expected)
    values[:22] = 2.0  # more than half
    assert match._but_for_one_group(of_groups, ALTERNATING, values) == -inf


def test_evidence_by_name_needs_the_name_as_a_word():
    made, values = ALTERNATING, ALTERNATING + 2 * (np.arange(40) >= 20)
    mine = ("low_f", "high_f", "low_m", "high_m")
    assert match._by_name(made, values, ("low", "high"), mine) == pytest.approx(log(comb(40, 20)))
    assert match._by_name(made, values, ("low", "high"), ("lowest", "high_f", "low_m", "high_m")) == -inf
    assert match._by_name(made, values, ("low", "high"), ()) == -inf
    assert match._by_name(values, made, ("low", "high"), mine) == -inf  # not finer than what was made


def test_in_order_or_in_one_piece_each():
    made = np.arange(6.0)
    for values, expected in (
        ([0, 0, 1, 1, 2, 2], True),
        ([2, 2, 1, 1, 0, 0], True),
        ([1, 1, 0, 0, 2, 2], True),
        ([0, 1, 0, 1, 2, 2], False),
    ):
        assert match._monotone(made, np.array(values, float)) is expected
    assert not match._monotone(np.array([1.0, 1.0, 2.0]), np.array([0.0, 1.0, 1.0]))


def test_order_is_the_size_of_spearmans_correlation():
    one, two = np.random.default_rng(0).normal(size=(2, 30)) + np.arange(30) * [[0.1], [-0.1]]
    two[3] = np.nan
    expected = spearmanr(one, two, nan_policy="omit").statistic
    assert expected < 0
    assert match._order(one, two) == pytest.approx(-expected)
    assert match._order(one, np.ones(30)) == 0


def test_numbers_may_be_cut_anywhere():
    risk = reference(list(np.random.default_rng(0).permutation(40.0 + np.arange(40))))
    high = risk.values > 59.5
    assert known(list(np.where(high, "a", "b")), [risk]) == [(40, True)]
    assert of_numbers(risk.values, high.astype(float), 10) == pytest.approx(log(comb(40, 20) / 2))


@pytest.mark.parametrize(("n", "cells", "share"), [(200, 50, 0.2), (300, 300, 0.01)])
def test_shares_of_few_cells_are_equal_in_some_patients_and_others_all_the_same(n, cells, share):
    """Two types that have nothing to do with each other are as frequent in some patients."""
    rng, names = np.random.default_rng(0), [f"P{i}" for i in range(n)]
    sizes = rng.integers(cells // 2, cells * 2, n)
    one, two = rng.binomial(sizes, share, (2, n)) / sizes
    made = Origin("discover_signatures", "selected", ("time",))
    there = [Reference(made, name_hashes(names), None, one, False)]
    assert len(np.unique(one[one == two])) > 6
    assert match.recognise(pd.Series(two, index=names), [], there, "X:two") == []
    changed = np.where(rng.uniform(size=n) < 0.1, two, one)  # but for a tenth
    assert match.recognise(pd.Series(changed, index=names), [], there, "X:two")[0].sure
