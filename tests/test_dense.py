"""Matrices as arrays, whatever a table holds them as."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import coo_array, csc_matrix

from spatialfm._dense import dense

VALUES = np.array([[0.0, 2.0, 0.0], [1.0, 0.0, 3.0]], dtype=np.float32)


@pytest.mark.parametrize(
    "kind",
    [
        np.array,
        csc_matrix,
        coo_array,
        pd.DataFrame,
        lambda values: da.from_array(values, chunks=2),
        lambda values: da.from_array(values, chunks=(1, 3)).map_blocks(csc_matrix),
    ],
    ids=["array", "csc", "coo", "frame", "dask", "dask of sparse"],
)
def test_numbers_and_their_type_stay(kind):
    got = dense(kind(VALUES))
    assert type(got) is np.ndarray
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, VALUES)
