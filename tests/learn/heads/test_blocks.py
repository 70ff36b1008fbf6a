"""Several representations side by side."""

from __future__ import annotations

import numpy as np
from sklearn.preprocessing import StandardScaler

from spatialfm.learn.heads.blocks import ColumnBlock, scaler_of


def test_blocks_weigh_alike_and_together_what_their_columns_do():
    rng = np.random.default_rng(0)
    wide, narrow = rng.normal(size=(400, 90)) * 7, rng.normal(size=(400, 10)) + 3
    both = np.hstack([wide, narrow])
    scaled = scaler_of([ColumnBlock("wide", 90), ColumnBlock("narrow", 10)], both).transform(both)
    assert np.isclose(scaled[:, :90].var(axis=0).sum(), 50)
    assert np.isclose(scaled[:, 90:].var(axis=0).sum(), 50)
    np.testing.assert_allclose(scaled[:, 90:], StandardScaler().fit_transform(narrow) * np.sqrt(5), atol=1e-12)


def test_rows_that_are_seen_besides_count_and_one_block_is_standardised():
    rng = np.random.default_rng(0)
    values, more = rng.normal(size=(50, 4)), rng.normal(size=(150, 4)) * 5 + 2
    expected = StandardScaler().fit(np.concatenate([values, more]))
    one = scaler_of([ColumnBlock("x", 4)], values, more)
    np.testing.assert_allclose(one.transform(values), expected.transform(values))
    two = scaler_of([ColumnBlock("x", 2), ColumnBlock("y", 2)], values, more)
    np.testing.assert_allclose(two.transform(values), expected.transform(values), atol=1e-12)  # of the same width
    assert two.transform(values.astype(np.float32)).dtype == np.float32
