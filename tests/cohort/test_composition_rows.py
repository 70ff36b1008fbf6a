"""From a table of compositions to rows that are compared."""

from __future__ import annotations

from math import comb

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from spatialfm._errors import ClinicalError, SpatialfmWarning, TableError
from spatialfm.cohort.composition_rows import least_p, read_rows, terms_of


def table(n=8, **columns):
    counts = np.random.default_rng(0).poisson(50, (n, 3)) + 1.0
    obs = pd.DataFrame({"arm": np.repeat(["a", "b"], n // 2)} | columns, index=[f"p{i}" for i in range(n)])
    return AnnData(counts / counts.sum(axis=1, keepdims=True), obs=obs, layers={"counts": counts})


def read(adata, **options):
    names = ("groups", "covariates", "patient_key", "pair_key", "time_key", "block_key", "model")
    return read_rows(adata, "arm", *(options.get(name) for name in names), options.get("on_missing", "raise"))


def test_counts_and_groups_in_the_order_of_names():
    adata = table()
    rows = read(adata[::-1])
    assert (rows.names, rows.known, rows.model) == (["a", "b"], True, "groups")
    np.testing.assert_array_equal(rows.counts, adata.layers["counts"])
    np.testing.assert_array_equal(rows.codes, np.repeat([0, 1], 4))
    assert least_p(rows) == pytest.approx(2 / comb(8, 4))


def test_shares_without_counts_are_taken_and_said():
    adata = table()
    del adata.layers["counts"]
    with pytest.warns(SpatialfmWarning, match="Numbers of cells are not known"):
        assert not read(adata).known
    adata.X = adata.X * 2
    with pytest.raises(TableError, match="do not add up to 1"):
        read(adata)


def test_pairs_are_patients_with_both_and_their_samples_pooled():
    adata = table(patient=["1", "1", "2", "3", "1", "2", "3", "4"], n=8)
    with pytest.warns(SpatialfmWarning, match="1 patient has one of the two"):
        rows = read(adata, pair_key="patient")
    assert rows.model == "pairs"
    assert len(rows.codes) == 6
    first = rows.counts[(rows.units == 0) & (rows.codes == 0)][0]
    np.testing.assert_array_equal(first, adata.layers["counts"][:2].sum(axis=0))
    assert least_p(rows) == 2.0 ** (1 - 3)


def test_covariates_are_standardised_or_against_their_first():
    terms = terms_of({"age": pd.Series([1.0, 3.0]), "sex": pd.Series(["m", "f"])}, 2)
    np.testing.assert_allclose(terms, [[-1, 1], [1, 0]])
    objects = terms_of({"age": pd.Series([1.0, 3.0, 2.0], dtype=object)}, 3)
    np.testing.assert_allclose(objects, np.array([[-1], [1], [0]]) * np.sqrt(1.5))  # and not two levels
    with pytest.raises(TableError, match="is the same in all rows"):
        terms_of({"age": pd.Series([1.0, 1.0])}, 2)
    with pytest.raises(TableError, match="tells which group"):
        read(table(site=np.repeat(["x", "y"], 4)), covariates="site")


def test_blocks_bound_the_p_value():
    rows = read(table(site=["x", "y"] * 4), block_key="site")
    assert least_p(rows) == pytest.approx(2 / comb(4, 2) ** 2)


@pytest.mark.parametrize(
    ("columns", "options", "error", "message"),
    [
        (
            {"patient": ["1", "1", "2", "3", "4", "5", "6", "7"]},
            {"patient_key": "patient"},
            ClinicalError,
            "model=.mixed.",
        ),
        ({}, {"pair_key": "arm", "model": "mixed"}, TableError, "cannot be combined"),
        ({}, {"groups": ["a", "c"]}, TableError, "No patient is in 'c'"),
        ({}, {"groups": ["a"]}, TableError, "One group to compare"),
        ({"age": [1.0] * 7 + [np.nan]}, {"covariates": "age"}, TableError, "1 of 8 patients have no value"),
    ],
)
def test_what_cannot_be_compared(columns, options, error, message):
    with pytest.raises(error, match=message):
        read(table(**columns), **options)
