"""Matrices as arrays, whatever a table holds them as."""

from __future__ import annotations

from typing import Any

import numpy as np


def dense(values: Any) -> np.ndarray:
    """A matrix as an array in memory: sparse ones are filled, lazy ones computed.

    Examples
    --------
    >>> from scipy.sparse import csr_matrix
    >>> dense(csr_matrix([[0, 2], [1, 0]])).tolist()
    [[0, 2], [1, 0]]
    """
    values = values.compute() if hasattr(values, "compute") else values
    return values.toarray() if hasattr(values, "toarray") else np.asarray(values)
