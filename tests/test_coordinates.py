"""Places of cells, in every form that they come in."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix

from spatialfm._coordinates import coordinates
from spatialfm._errors import TableError

PLACES = np.array([[1.0, 2.0], [3.0, 4.5], [0.0, 7.0]])


@pytest.mark.parametrize("form", [np.asarray, csr_matrix, da.from_array, lambda x: x.astype(np.float32)])
def test_numbers_are_numbers(form):
    adata = AnnData(np.zeros((3, 1)), obsm={"places": form(PLACES)})
    found = coordinates(adata, "places")
    np.testing.assert_array_equal(found, PLACES)
    assert found.dtype == np.float64


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (np.array([["a", "b"]] * 3), "not coordinates x and y"),
        (np.zeros((3, 1)), r"has the shape \(3, 1\)"),
        (np.array([[0, 0], [np.nan, 1], [1, np.inf]]), "2 of 3 cells have no finite coordinate"),
    ],
)
def test_what_is_no_place_is_refused(places, message):
    with pytest.raises(TableError, match=message):
        coordinates(AnnData(np.zeros((3, 1)), obsm={"spatial": places}))
    with pytest.raises(TableError, match="No coordinates 'spatial' in obsm"):
        coordinates(AnnData(np.zeros((3, 1))))


def test_missing_places_may_be_allowed():
    adata = AnnData(np.zeros((2, 1)), obsm={"spatial": np.array([[0, 0], [np.nan, 1]])})
    assert np.isnan(coordinates(adata, finite=False)[1, 0])
