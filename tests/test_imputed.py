"""Imputed markers: read by name, and put beside measured ones."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from spatialfm._errors import ElementError, ModelError, PanelError
from spatialfm._imputed import imputed, is_imputed, predicted_in_x, with_imputed

CELLS = pd.Index(["a", "b", "c"])


@pytest.fixture
def table():
    """CD3 measured in one cell of three, CD8 in all; CD3 and CD20 predicted, CD20 not for the last cell."""
    adata = ad.AnnData(
        np.array([[1.0, 5], [np.nan, 6], [np.nan, 7]]),
        obs=pd.DataFrame(index=CELLS),
        var=pd.DataFrame(index=["CD3", "CD8"]),
    )
    adata.obsm["X_imputed"] = pd.DataFrame({"CD3": [10.0, 20, 30], "CD20": [0.1, 0.2, np.nan]}, index=CELLS)
    adata.uns["spatialfm"] = {"X_imputed": {"imputed": ["CD3", "CD20"], "space": "intensity", "layer": ""}}
    return adata


def test_predictions_are_read_in_the_order_that_is_asked_for(table):
    assert list(imputed(table)) == ["CD3", "CD20"]
    assert list(imputed(table, markers=["CD20", "CD3"])) == ["CD20", "CD3"]
    assert imputed(table, markers=["CD3"])["CD3"].tolist() == [10, 20, 30]


def test_what_was_measured_stays_and_gaps_are_filled(table):
    both = with_imputed(table)
    assert both.var_names.tolist() == ["CD3", "CD8", "CD20"]
    np.testing.assert_array_equal(both.X, [[1, 5, 0.1], [20, 6, 0.2], [30, 7, np.nan]])
    assert both.var["imputed"].tolist() == [True, False, True]
    assert predicted_in_x(both) == ["CD3", "CD20"]
    assert np.isnan(table.X[1, 0])
    assert predicted_in_x(table) == []
    more = ad.AnnData(np.ones((2, 1)), var=pd.DataFrame(index=["CD99"]), obs=pd.DataFrame(index=["x", "y"]))
    for merge in ("first", "unique"):  # the mark of a marker that the other table lacks is missing
        assert sorted(predicted_in_x(ad.concat([both, more], join="outer", merge=merge))) == ["CD20", "CD3"]


def test_a_marker_that_was_measured_everywhere_holds_no_prediction(table):
    table.X[:, 0] = [1, 2, 3]
    assert predicted_in_x(with_imputed(table, markers=["CD3"])) == []


def test_predictions_of_an_earlier_call_stay_marked(table):
    first = with_imputed(table, markers=["CD3"])
    assert predicted_in_x(with_imputed(first, markers=["CD20"])) == ["CD3", "CD20"]


def test_a_column_imputed_of_another_kind_is_not_ours(table):
    table.var["imputed"] = ["yes", "no"]
    assert predicted_in_x(table) == []


def test_is_imputed(table):
    assert is_imputed(table, "X_imputed")
    assert not is_imputed(table, "X_kronos")
    table.uns["spatialfm"]["X_imputed"] = {"model": "kronos"}
    assert not is_imputed(table, "X_imputed")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"imputed": ["CD20", "CD3"]}, ElementError, "it was replaced"),
        ({"space": "standardised"}, ModelError, "is standardised, and X holds intensities"),
        ({"layer": "raw"}, ModelError, "in the units of layer 'raw', and not of X"),
    ],
)
def test_what_does_not_go_with_x_is_refused(table, change, error, message):
    table.uns["spatialfm"]["X_imputed"] |= change
    with pytest.raises(error, match=message):
        with_imputed(table)


@pytest.mark.parametrize(("marker", "message"), [("CD8", r"and was measured: adata\[:, 'CD8'\]"), ("X", "Imputed are")])
def test_markers_that_were_not_imputed(table, marker, message):
    with pytest.raises(PanelError, match=message):
        imputed(table, markers=[marker])
