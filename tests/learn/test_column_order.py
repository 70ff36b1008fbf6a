"""An order of columns that is theirs, and not the table's."""

from __future__ import annotations

import numpy as np

from spatialfm.learn.column_order import OrderedColumns, order_of_columns


def test_columns_are_sorted_by_the_rows_that_are_fitted():
    values = np.array([[1.0, 0.0, 1.0], [0.0, 9.0, -2.0]])
    ordered = OrderedColumns().fit(values)
    np.testing.assert_array_equal(ordered.transform(values), [[0.0, 1.0, 1.0], [9.0, -2.0, 0.0]])
    np.testing.assert_array_equal(ordered.transform(np.array([[10.0, 11.0, 12.0]])), [[11.0, 12.0, 10.0]])


def test_whatever_order_they_stood_in_they_come_out_alike():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2, (6, 12)).astype(float)  # many columns are alike in the first rows
    turned = rng.permutation(12)
    one, other = values[:, order_of_columns(values)], values[:, turned][:, order_of_columns(values[:, turned])]
    np.testing.assert_array_equal(one, other)


def test_columns_that_only_late_rows_tell_apart_are_sorted_by_these():
    values = np.zeros((100, 3))
    values[80] = [2.0, 0.0, 1.0]
    np.testing.assert_array_equal(order_of_columns(values), [1, 2, 0])
