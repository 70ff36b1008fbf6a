"""Cells in which a marker is set: distances and expected changes by numpy."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from spatialfm._errors import PanelError
from spatialfm.learn.arcsinh import find_cofactor
from spatialfm.tl.imputation.perturbed_cells import moved_cells


@pytest.fixture
def cells():
    """CD8 rises with CD3; CD20 has nothing to do with either."""
    rng = np.random.default_rng(0)
    x = rng.gamma(2, size=(80, 3))
    x[:, 1] = 2 * x[:, 0] + 0.01 * rng.random(80)
    return ad.AnnData(x, var=pd.DataFrame(index=["CD3", "CD8", "CD20"]))


def test_cells_move_by_the_difference_in_standard_deviations(cells):
    rows = np.arange(80) < 30
    moved, expected = moved_cells(cells, {"CD3": 1.5}, [rows, ~rows], "linear", 0)
    column = np.arcsinh(cells.X[:, 0] / find_cofactor(cells.X[:, 0]))
    to = np.arcsinh(1.5 / find_cofactor(cells.X[:, 0]))
    apart = np.abs(to - column) / column.std() / np.sqrt(3)  # three columns of variance 1
    np.testing.assert_allclose(moved[0][:30], apart[:30])
    assert not moved[0][30:].any()
    np.testing.assert_allclose(moved[1][30:], apart[30:])
    assert set(expected) == {"CD8", "CD20"}
    assert not expected["CD8"][0][30:].any()
    sign = np.sign(to - column[:30])
    assert (np.sign(expected["CD8"][0][:30]) == sign).all()
    assert np.abs(expected["CD8"][0][:30]).mean() > 5 * np.abs(expected["CD20"][0][:30]).mean()


def test_markers_that_are_not_there_or_all_of_them_are_refused(cells):
    with pytest.raises(PanelError, match="No marker 'CD4' among those measured in all cells"):
        moved_cells(cells, {"CD4": 1.0}, [np.ones(80, bool)], "linear", 0)
    with pytest.raises(PanelError, match="values= sets all markers"):
        moved_cells(cells, dict.fromkeys(cells.var_names, 1.0), [np.ones(80, bool)], "linear", 0)
