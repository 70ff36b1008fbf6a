"""Cuts that the gallery and the report share."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

import spatialfm as sfm
from spatialfm.pl._crops import cell_limits, cut_around
from spatialfm.pp.elements import match_elements


@pytest.mark.parametrize("kind", [np.asarray, csr_matrix])
def test_limits_are_percentiles_of_some_cells_without_those_that_were_not_measured(kind):
    values = np.arange(40.0).reshape(10, 4)
    if kind is np.asarray:
        values[2, 1], values[:, 3] = np.nan, np.nan
    table = ad.AnnData(kind(values.astype(np.float32)), var=pd.DataFrame(index=list("abcd")))
    rows = np.arange(5)
    limits = cell_limits(table, rows, (10.0, 90.0))
    for place, name in enumerate("abcd"):
        column = values[:5, place]
        column = column[np.isfinite(column)]
        expected = np.percentile(column, [10, 90]) if len(column) else [np.nan, np.nan]
        np.testing.assert_allclose(limits.loc[name], expected)


def test_a_cut_is_of_the_cell_or_there_is_none():
    sdata = sfm.datasets.simulate_cohort(1, n_samples=1, image_size=64, random_state=0, difficulty="easy")
    pair = match_elements(sdata)[0]
    ids = np.asarray(sdata.labels[pair.labels].data)
    number = int(np.unique(ids[ids > 0])[2])
    rows, columns = np.nonzero(ids == number)
    center = np.array([columns.mean() / 2 + 0.25, rows.mean() / 2 + 0.25])
    cut = cut_around(sdata, pair, center, number, 40.0)
    assert cut.mask.sum() == len(rows)
    assert cut_around(sdata, pair, center + 200, number, 10.0) is None
    assert cut_around(sdata, pair, center, 10**6, 10.0) is None
