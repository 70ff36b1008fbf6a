"""Columns in an order of their own, for what draws or adds column by column."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

FIRST_ROWS = 16  # as a rule these tell all columns apart, and of a million rows the others take seconds


def order_of_columns(values: np.ndarray) -> np.ndarray:
    """Columns by their value in the first row, then in the second, and so on.

    What is drawn column by column would be another draw if the same markers stood in another order.

    Examples
    --------
    >>> order_of_columns(np.array([[2.0, 1.0, 1.0], [0.0, 5.0, 3.0]]))
    array([2, 1, 0])
    """
    first = values[:FIRST_ROWS]
    order = np.lexsort(first[::-1])
    alike = (first[:, order[1:]] == first[:, order[:-1]]).all(axis=0)
    return np.lexsort(values[::-1]) if alike.any() else order


class OrderedColumns(TransformerMixin, BaseEstimator):
    """Columns in the order that they have by the rows which are fitted, however they stand in the table.

    Those that are the same in all rows, as of a type without cells, are left out: a forest would draw them.
    """

    def fit(self, values: np.ndarray, y: object = None) -> OrderedColumns:
        """Find the order on rows ``(n, columns)``."""
        order = order_of_columns(values)
        varies = (values != values[:1]).any(axis=0)
        self.columns_ = order[varies[order]] if varies.any() else order
        return self

    def transform(self, values: np.ndarray) -> np.ndarray:
        """Rows ``(n, columns)`` with their columns in that order."""
        return values[:, self.columns_]
