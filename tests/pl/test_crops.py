"""Cuts that the gallery and the report share."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning
from spatialfm.pl._crops import cell_limits, cut_around, sample_limits
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


def measured(factor=1.0):
    """A table of the cells of one image, three cuts of it by their rows, and the means of the cells by `numpy`."""
    sdata = sfm.datasets.simulate_cohort(1, n_samples=1, image_size=96, random_state=0, difficulty="easy")
    sfm.pp.cell_table(sdata)
    table, pair = sdata["table"], match_elements(sdata)[0]
    ids, pixels = np.asarray(sdata.labels[pair.labels].data), np.asarray(sdata.images[pair.image].data)
    means = np.array([pixels[:, ids == number].mean(axis=1) for number in table.obs["cell_id"]])
    table.X = table.X * np.float32(factor)
    cuts = {}
    for row, number in enumerate(table.obs["cell_id"]):
        cut = cut_around(sdata, pair, table.obsm["spatial"][row], int(number), 30.0)
        if cut is not None and len(cuts) < 3:
            cuts[row] = cut
    return sdata, table, cuts, means, pixels


def test_limits_are_in_the_unit_of_the_image_where_the_table_is_in_another():
    """As of 8-bit images beside those of 16 bits: a picture between the limits of the table would be black."""
    sdata, table, cuts, means, _ = measured(factor=257.0)
    table.uns["spatialfm"]["table"]["intensity_factors"] = '{"P001_1": 257.0}'
    limits = sample_limits(sdata, table, np.arange(table.n_obs), cuts, (10.0, 90.0))
    np.testing.assert_allclose(limits.to_numpy().T, np.percentile(means, [10, 90], axis=0), rtol=1e-4)


def test_limits_are_of_pixels_where_the_table_has_no_means(recwarn):
    sdata, table, cuts, _, pixels = measured()
    rows = np.arange(table.n_obs)
    sample_limits(sdata, table, rows, cuts)
    assert not [one for one in recwarn if "not the mean of the pixels" in str(one.message)]
    logarithms = table.copy()
    logarithms.X = np.log1p(table.X)
    with pytest.warns(SpatialfmWarning, match="not the mean of the pixels of 'P001_1'"):
        limits = sample_limits(sdata, logarithms, rows, cuts, (0.0, 100.0))
    assert limits["high"].min() > logarithms.X.max()
    assert (limits["high"] <= pixels.max(axis=(1, 2))).all()
    assert (limits["low"] >= pixels.min(axis=(1, 2))).all()
