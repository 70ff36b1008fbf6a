"""The matrix that a tool works on, in every form."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix

from spatialfm._errors import PanelError, TableError
from spatialfm.cohort.representation import (
    check_measured,
    each_representation,
    marker_values,
    n_different,
    prepared,
    representation,
)
from spatialfm.cohort.signature_matrix import intensities_of

VALUES = np.array([[1.0, 2.0], [0.0, 3.0], [5.0, 6.0]])


@pytest.mark.parametrize(
    "form",
    [np.asarray, csr_matrix, da.from_array, lambda x: pd.DataFrame(x, index=["0", "1", "2"]), lambda x: x.astype(int)],
)
def test_numbers_are_the_same(form):
    found = representation(AnnData(obs=pd.DataFrame(index=["0", "1", "2"]), obsm={"X_e": form(VALUES)}), "X_e")
    np.testing.assert_array_equal(found, VALUES)
    assert found.dtype in (np.float32, np.float64)


@pytest.mark.parametrize("form", [np.asarray, csr_matrix, da.from_array])
def test_markers_are_found_by_name_in_x_and_layers(form):
    table = AnnData(form(VALUES), layers={"raw": form(10 * VALUES)}, var=pd.DataFrame(index=["CD3", "CD20"]))
    np.testing.assert_array_equal(marker_values(table, ["CD20", "CD3"], None), VALUES[:, [1, 0]])
    found = marker_values(table, ["CD20"], "raw")
    np.testing.assert_array_equal(found, 10 * VALUES[:, [1]])
    assert found.dtype == np.float64
    with pytest.raises(TableError, match=r"No layer 'log' \(layer=\); found 'raw'"):
        marker_values(table, ["CD3"], "log")
    del table.X
    with pytest.raises(TableError, match=r"no values of markers \(X\). Pass layer="):
        marker_values(table, ["CD3"], None)


def test_what_is_no_matrix_of_numbers():
    adata = AnnData(VALUES, obsm={"nan": np.where(VALUES == 3, np.nan, VALUES), "text": np.full((3, 2), "a")})
    np.testing.assert_array_equal(representation(adata, "X"), VALUES)
    with pytest.raises(TableError, match="1 of 3 rows of 'nan' hold NaN or infinite values, first '1'"):
        representation(adata, "nan")
    with pytest.raises(TableError, match="not numbers"):
        representation(adata, "text")
    with pytest.raises(TableError, match="No 'y' in obsm"):
        representation(adata, "y")
    with pytest.raises(TableError, match="The table has no X"):
        representation(AnnData(obs=pd.DataFrame(index=["a"])), "X")


def test_measured_columns_are_standardised_and_embeddings_are_not():
    rng = np.random.default_rng(0)
    adata = AnnData(rng.normal(5, [1, 100], (50, 2)), obsm={"X_e": rng.normal(5, [1, 100], (50, 2))})
    values, _ = prepared(adata, "X")
    np.testing.assert_allclose([values.mean(axis=0), values.std(axis=0)], [[0, 0], [1, 1]], atol=1e-5)
    np.testing.assert_array_equal(prepared(adata, "X_e")[0], adata.obsm["X_e"])


def test_several_and_how_many_rows_differ():
    adata = AnnData(VALUES, obsm={"X_e": VALUES})
    assert list(each_representation(adata, ["X_e", "X", "X_e"])) == ["X_e", "X"]
    with pytest.raises(TableError, match="use_rep= is empty"):
        each_representation(adata, [])
    rows = np.repeat(np.arange(3.0), 2000)[:, None]
    assert n_different(rows, 2) == 3  # the first thousand show one
    assert n_different(np.arange(5000.0)[:, None], 7) == 1000


def test_imputed_markers_are_no_markers_of_a_table_unless_asked_for():
    import spatialfm as sfm

    x = np.random.default_rng(0).gamma(2, size=(80, 3))
    source = AnnData(x, var=pd.DataFrame(index=["CD3", "CD20", "PD-1"]))
    cells = source[:, :2].copy()
    sfm.tl.impute_markers(cells, markers=["PD-1"], method="linear", source=source, space="intensity")
    check_measured(cells, ["CD3", "CD20"])
    with pytest.raises(PanelError, match=r"'PD-1' \(of=\) was imputed, in obsm\['X_imputed'\].*sfm.get.with_imputed"):
        check_measured(cells, ["CD3", "PD-1"], "of")
    with pytest.raises(PanelError, match=r"No marker 'CD9' in the table \(markers=\); found 'CD3', 'CD20'"):
        check_measured(cells, ["CD9"])
    both = sfm.get.with_imputed(cells)
    check_measured(both, ["CD3", "PD-1"])
    signatures = {"T": ["CD3", "PD-1-"], "B": ["CD20"]}
    with pytest.raises(PanelError, match=r"'PD-1' \(signatures=\) was imputed"):
        intensities_of(cells, signatures, None)
    assert list(intensities_of(both, signatures, None)[0].columns) == ["CD3", "PD-1", "CD20"]
    with pytest.raises(PanelError, match=r"'PD-1' \(markers=\) was imputed"):
        sfm.tl.marker_positivity(cells, markers=["PD-1"])
