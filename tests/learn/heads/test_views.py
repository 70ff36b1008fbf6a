"""Which columns are means of markers, and what is seen where only these are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from sklearn.preprocessing import StandardScaler

from spatialfm.cohort.intensities import Intensities
from spatialfm.learn.heads.blocks import ColumnBlock, scaler_of
from spatialfm.learn.heads.views import ColumnScaler, mean_columns


def means_at(places) -> Intensities:
    places = np.asarray(places)
    return Intensities(tuple(f"{place}_mean" for place in places), places, np.zeros(len(places)), np.ones(len(places)))


def table(n=200, width=8, seed=0):
    return np.random.default_rng(seed).gamma(2.0, size=(n, width))


def test_means_are_found_where_they_lie():
    values = table()
    assert mean_columns(StandardScaler().fit(values)).tolist() == []
    assert mean_columns(scaler_of([ColumnBlock("X", 8, means_at([1, 3, 6]))], values)).tolist() == [1, 3, 6]
    # of two representations, the second of which begins at column 3
    both = [ColumnBlock("a", 3, means_at([0, 2])), ColumnBlock("b", 5, means_at([4, 0]))]
    assert mean_columns(scaler_of(both, values)).tolist() == [0, 2, 3, 7]
    assert mean_columns(scaler_of([ColumnBlock("a", 3), ColumnBlock("b", 5)], values)).tolist() == []


def test_a_column_that_was_centred_is_no_mean():
    values = table()
    values[:, 3] -= values[:, 3].mean()
    assert mean_columns(scaler_of([ColumnBlock("X", 8, means_at([1, 2, 3, 5, 6]))], values)).tolist() == [1, 2, 5, 6]


def test_means_that_were_transformed_by_hand_are_means():
    by_hand = np.log(table())
    of = replace(means_at([1, 2, 3, 5, 6]), as_measured=False)
    assert mean_columns(scaler_of([ColumnBlock("X", 8, of)], by_hand + 10)).tolist() == [1, 2, 3, 5, 6]


def test_the_columns_are_those_of_the_whole_scale():
    values = table()
    scaler = scaler_of([ColumnBlock("a", 3), ColumnBlock("b", 5, means_at([1, 2]))], values)
    part = ColumnScaler(scaler, np.array([5, 4])).fit(values)
    np.testing.assert_array_equal(part.transform(values), scaler.transform(values)[:, [5, 4]])
