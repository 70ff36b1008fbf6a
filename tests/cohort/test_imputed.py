"""Imputed markers with their record, and the measured ones beside them."""

from __future__ import annotations

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from spatialfm._errors import PanelError, TableError
from spatialfm.cohort.imputed import check_fitted, imputed_values, markers_of, measured_side


def table(**record) -> ad.AnnData:
    """Three cells; CD8 was imputed from CD3 and CD20."""
    obs = pd.DataFrame({"patient": ["p", "p", "q"]}, index=list("abc"))
    made = ad.AnnData(np.array([[1.0, 2, 10], [2, 4, 20], [3, 6, np.nan]]), obs=obs)
    made.var_names = ["CD3", "CD20", "CD8"]
    made.obsm["X_imputed"] = pd.DataFrame({"CD8": [11.0, 19, 33]}, index=made.obs_names)
    notes = {"method": "linear", "seen": json.dumps(["CD3", "CD20"]), "space": "intensity"}
    notes |= {"fitted_on": json.dumps({"CD8": 2}), "fitted_mean": json.dumps({"CD8": 15.0})}
    made.uns["spatialfm"] = {"X_imputed": notes | record}
    return made


def side(adata, called=None, layer=None):
    return measured_side(adata, imputed_values(adata, "X_imputed"), ["CD8"], layer, "patient", called or {})


def test_values_come_with_how_they_were_made():
    found = imputed_values(table(), "X_imputed")
    assert found.values["CD8"].tolist() == [11, 19, 33]
    assert (found.method, found.seen, found.space, found.layer) == ("linear", ("CD3", "CD20"), "intensity", None)
    assert found.fitted == {"CD8": (2, 15.0)}
    assert not found.of_pixels
    model = imputed_values(table(method="model", fitted_on='["s1"]'), "X_imputed")
    assert model.of_pixels
    assert model.fitted == {}


def test_what_was_not_imputed_by_the_package_is_refused():
    adata = table()
    with pytest.raises(TableError, match=r"No imputed markers in obsm\['other'\] \(key=\)"):
        imputed_values(adata, "other")
    del adata.uns["spatialfm"]
    with pytest.raises(TableError, match="has no record of how it was imputed"):
        imputed_values(adata, "X_imputed")


def test_measured_values_are_read_beside_them():
    found = side(table())
    np.testing.assert_array_equal(found.measured["CD8"], [10, 20, np.nan])
    assert found.seen.tolist() == [[1, 2], [2, 4], [3, 6]]
    assert found.patients.tolist() == ["p", "p", "q"]


def test_a_marker_may_have_another_name_in_the_table():
    adata = table()
    adata.var_names = ["CD3", "CD20", "CD8a"]
    assert side(adata).measured["CD8"].isna().all()
    assert side(adata, {"CD8": "CD8a"}).measured["CD8"].tolist()[:2] == [10, 20]


def test_markers_that_others_were_imputed_from_must_be_there():
    adata = table()
    with pytest.raises(PanelError, match="Marker 'CD20', which others were imputed from, is not in the table"):
        side(adata[:, ["CD3", "CD8"]].copy())
    adata.X[1, 1] = np.nan
    with pytest.raises(TableError, match="1 cell lacks a marker that others were imputed from, first 'CD20'"):
        side(adata)
    model = table(method="model")
    assert np.isnan(side(model[:, ["CD3", "CD8"]].copy()).seen[:, 1]).all()  # visible in some samples alone


def test_values_in_other_units_or_of_other_cells_are_refused():
    adata = table()
    imputed = imputed_values(adata, "X_imputed")
    check_fitted(imputed, side(adata), "the table")
    other = adata.copy()
    other.X *= 2
    with pytest.raises(TableError, match="imputed from 2 cells in which its mean is 15; in the table .* mean of 30"):
        check_fitted(imputed, side(other), "the table")
    more = adata.copy()
    more.X[2, 2] = 15.0  # the same mean of three
    with pytest.raises(TableError, match="it was measured in 3"):
        check_fitted(imputed, side(more), "the table")


def test_markers_that_were_visible_or_not_imputed_are_refused():
    imputed = imputed_values(table(), "X_imputed")
    assert markers_of(imputed, None, "X_imputed") == ["CD8"]
    with pytest.raises(PanelError, match="Marker 'CD4' was not imputed"):
        markers_of(imputed, "CD4", "X_imputed")
    shown = imputed_values(table(seen=json.dumps(["CD3", "CD8"])), "X_imputed")
    with pytest.raises(PanelError, match="Marker 'CD8' was visible"):
        markers_of(shown, ["CD8"], "X_imputed")
