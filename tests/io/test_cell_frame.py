"""Tables of cells that other programs measured."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from spatialfm._errors import TableError
from spatialfm.io._cell_frame import CellFrame, missing_ids, table_of_cells


def frame(sample="a", ids=(3, 1), markers=("CD3", "CD20"), **columns):
    n = len(ids)
    return CellFrame(
        sample,
        np.array(ids),
        np.arange(2.0 * n).reshape(n, 2),
        pd.DataFrame({name: np.arange(n) + 10.0 * i for i, name in enumerate(markers)}),
        pd.DataFrame(columns, index=range(n)),
    )


def test_cells_of_two_panels_are_one_table_with_nan_where_a_marker_was_not_measured():
    adata = table_of_cells(
        [frame(kind=["T", "B"]), frame("b", ids=[7], markers=["CD20", "CD8"], kind=["T"])], source="a program"
    )
    assert list(adata.obs_names) == ["a_3", "a_1", "b_7"]
    assert list(adata.var_names) == ["CD3", "CD20", "CD8"]
    np.testing.assert_array_equal(
        adata.X, np.array([[0, 10, np.nan], [1, 11, np.nan], [np.nan, 0, 10]], dtype=np.float32)
    )
    assert adata.obs["region"].tolist() == ["cells_a", "cells_a", "cells_b"]
    assert adata.obs["cell_id"].tolist() == [3, 1, 7]
    assert adata.obs["kind"].tolist() == ["T", "B", "T"]
    np.testing.assert_array_equal(adata.obsm["spatial"], [[0, 1], [2, 3], [0, 1]])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (frame(ids=[1, 1]), "1 id occurs more than once: 1"),
        (frame(ids=[0, 2]), "ids have to be 1 or more, found 0"),
        (frame(ids=[]), "has no cell"),
        (CellFrame("a", np.array([1]), np.array([[np.nan, 1.0]]), pd.DataFrame({"A": [1.0]}), pd.DataFrame(index=[0])),
         "1 cell has no position"),
        (CellFrame("a", np.array([1]), np.zeros((2, 2)), pd.DataFrame({"A": [1.0]}), pd.DataFrame(index=[0])),
         "differ in their number of cells"),
    ],
)  # fmt: skip
def test_cells_that_cannot_be_told_apart_or_placed_are_refused(wrong, message):
    with pytest.raises(TableError, match=message):
        table_of_cells([wrong], source="a program")


def test_ids_that_labels_lack_are_named():
    assert missing_ids(frame(), np.array([1, 2, 3])) == ""
    assert missing_ids(frame(), np.array([1, 2])) == "sample 'a': 1 cell of 2 not in the labels: 3"
