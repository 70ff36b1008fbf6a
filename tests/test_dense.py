"""Matrices as arrays, whatever a table holds them as."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData, read_h5ad
from scipy.sparse import coo_array, csc_matrix, csr_array

from spatialfm._dense import column_of_x, dense
from spatialfm._errors import TableError

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


@pytest.mark.filterwarnings("error::FutureWarning")
@pytest.mark.parametrize("kind", [np.array, csc_matrix, csr_array, lambda values: da.from_array(values, chunks=2)])
def test_a_column_by_its_name(kind, tmp_path):
    table = AnnData(kind(VALUES), var=pd.DataFrame(index=["CD3", "CD8", "CD3 "]), layers={"double": kind(VALUES * 2)})
    for name, column in zip(table.var_names, VALUES.T, strict=True):
        np.testing.assert_array_equal(column_of_x(table, name), column)
        np.testing.assert_array_equal(column_of_x(table, name, "double"), column * 2)
        np.testing.assert_array_equal(column_of_x(table[::-1], name), column[::-1])
    if not isinstance(table.X, da.Array):
        table.write_h5ad(tmp_path / "table.h5ad")
        backed = read_h5ad(tmp_path / "table.h5ad", backed="r")
        np.testing.assert_array_equal(column_of_x(backed, "CD8"), VALUES[:, 1])
        backed.file.close()


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_a_column_whose_name_is_there_twice_is_refused():
    table = AnnData(VALUES, var=pd.DataFrame(index=["CD3", "CD3", "CD8"]))
    with pytest.raises(TableError, match="'CD3' is the name of several columns"):
        column_of_x(table, "CD3")
    np.testing.assert_array_equal(column_of_x(table, "CD8"), VALUES[:, 2])


@pytest.mark.parametrize("kind", [np.array, csr_array, csc_matrix])
def test_a_table_that_stays_on_disk_is_read(kind, tmp_path):
    """Sparse values of a backed table are no array: numpy makes one object of them."""
    table = AnnData(kind(VALUES), var=pd.DataFrame(index=["CD3", "CD8", "CD31"]), layers={"double": kind(VALUES * 2)})
    table.write_h5ad(tmp_path / "t.h5ad")
    backed = read_h5ad(tmp_path / "t.h5ad", backed="r")
    np.testing.assert_array_equal(dense(backed.X), VALUES)
    np.testing.assert_array_equal(dense(backed.layers["double"]), VALUES * 2)
    backed.file.close()
