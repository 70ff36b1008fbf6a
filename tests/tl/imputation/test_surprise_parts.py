"""What surprise is made of."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd

from spatialfm.learn.surprise import USUAL, brightness
from spatialfm.tl.imputation.surprise_parts import parts_of, samples_of


def cells(samples, **columns):
    index = [f"c{i}" for i in range(len(samples))]
    return ad.AnnData(np.zeros((len(samples), 1)), obs=pd.DataFrame({"sample": samples, **columns}, index=index))


def test_samples_of_a_reference_are_never_those_of_the_table():
    own, other = cells(["s2", "s1", "s2"]), cells(["s1", "s9"])
    assert samples_of(own, None, "sample", np.array([])).tolist() == [1, 0, 1]
    assert samples_of(own, other, "sample", np.arange(5)).tolist() == [1, 0, 1, 2, 3]


def test_a_reference_without_samples_has_its_patients():
    own, other = cells(["s2", "s1"]), cells(["x", "x", "x"])
    del other.obs["sample"]
    patient = np.array(["p1", "p1", "p8", "p7", "p8"])
    assert samples_of(own, other, "sample", patient).tolist() == [1, 0, 3, 2, 3]


def test_what_is_explained_is_the_share_of_the_variance_of_the_reference():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2))
    x[:, 1] = 4  # has no variance
    expected = np.column_stack([x[:, 0] / 2, np.full(60, 3.0)])
    expected[40:] = np.nan
    among = np.arange(60) >= 20
    parts = parts_of(["CD3", "CD8"], x, expected, np.arange(60) // 15, among, np.arange(60) // 30, 20, "all", "m")
    known = x[20:40, 0]
    np.testing.assert_allclose(parts.explained[0], 1 - np.mean((known / 2) ** 2) / known.var())
    assert np.isnan(parts.explained[1])
    np.testing.assert_allclose(parts.residual, (x - expected)[:20])
    assert parts.expected.shape == (20, 2)
    assert parts.brightness.shape == (20,)
    table = parts.table()
    assert table.index.tolist() == ["CD3", "CD8"]
    np.testing.assert_allclose(table["error"], np.median(parts.errors.scale, axis=0))


def test_errors_and_what_is_usual_are_of_the_reference_alone():
    """Before it stand cells that are brighter and thirty times as far from what is expected of them."""
    rng = np.random.default_rng(0)
    among, sample = np.arange(1200) >= 400, np.zeros(1200, int)
    expected = rng.normal(size=(1200, 3))
    x = expected + rng.normal(size=(1200, 3)) * np.where(among, 1, 30)[:, None] + 40.0 * ~among[:, None]
    parts = parts_of(["CD3", "CD8", "CD4"], x, expected, np.arange(1200) // 100, among, sample, 400, "reference")
    np.testing.assert_allclose(np.median(parts.errors.scale, axis=0), 1, atol=0.15)  # normal errors of one
    np.testing.assert_allclose(parts.usual.shift, np.quantile(brightness(x, sample)[among], USUAL), atol=0.02)
