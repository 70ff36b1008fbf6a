"""Markers predicted without weights: one fit by scikit-learn's numbers, and which cells and images are learned from."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import spatialfm as sfm
from spatialfm._errors import ArgumentError, PanelError, SpatialfmWarning
from spatialfm.tl.imputation.floors import (
    _parts,
    _Sample,
    check_markers,
    fit_one,
    impute_cells,
    tell_few,
)


def test_predictions_are_in_the_space_asked_for_and_no_intensity_is_negative():
    """Targets are twice the only input: the mean of 0, 2, 4 is 2, and their standard deviation the root of 8/3."""
    x = np.array([[0.0], [1], [2]])
    fitted = fit_one("linear", x, 2 * x[:, 0], None, 0)
    found = fitted.predict(np.array([[1.0], [-5]]), "intensity")
    assert found[0] == pytest.approx(2, abs=0.01)
    assert found[1] == 0
    standardised = fitted.predict(np.array([[2.0], [-5]]), "standardised")
    assert standardised[0] == pytest.approx(2 / np.sqrt(8 / 3), rel=0.02)
    assert standardised[1] == pytest.approx(-2 / np.sqrt(8 / 3))  # of an intensity of 0
    below = fit_one("linear", x, 2 * x[:, 0] - 1, None, 0)  # values below 0 are not intensities
    assert below.predict(np.array([[-5.0]]), "intensity")[0] < -5
    assert fit_one("mean", x, np.ones(3), None, 0).predict(x, "standardised").tolist() == [0, 0, 0]


def test_names_are_each_once():
    assert check_markers(["CD3", "CD8"]) == ["CD3", "CD8"]
    with pytest.raises(PanelError, match="markers= is empty"):
        check_markers([])
    with pytest.raises(PanelError, match="'CD3' is asked for twice"):
        check_markers(["CD3", "CD8", "CD3"])


def test_patients_with_nine_of_something_are_named(recwarn):
    tell_few(pd.Series({"p": 10}), "cells")
    assert not recwarn.list
    with pytest.warns(SpatialfmWarning, match="1 of 2 patients has fewer than 10 cells, first 'q': they have no score"):
        tell_few(pd.Series({"p": 10, "q": 9}), "cells")


def table(n=12) -> ad.AnnData:
    """CD8 is CD3 plus CD20, and was measured in the first half."""
    rng = np.random.default_rng(0)
    x = rng.gamma(2, size=(n, 2))
    values = np.column_stack([x, x.sum(axis=1)])
    values[n // 2 :, 2] = np.nan
    obs = pd.DataFrame({"patient": np.where(np.arange(n) % 2, "p", "q")}, index=[f"c{i}" for i in range(n)])
    return ad.AnnData(values, obs=obs, var=pd.DataFrame(index=["CD3", "CD20", "CD8"]))


def impute(adata, markers, source=None, **kwargs):
    asked = {"key": "X_i", "layer": None, "patient_key": "patient", "space": "intensity", "random_state": 0} | kwargs
    impute_cells(adata, markers, source, "linear", **asked)
    return adata.obsm["X_i"]


def test_cells_without_the_marker_are_predicted_and_no_others():
    adata = table(60)
    found = impute(adata, ["CD8"])["CD8"].to_numpy()
    assert np.isnan(found[:30]).all()
    np.testing.assert_allclose(found[30:], adata.X[30:, :2].sum(axis=1), rtol=0.05)
    record = sfm.get.record(adata, "X_i")
    assert record["seen"] == ["CD3", "CD20"]
    assert record["fitted_on"] == {"CD8": 30}


def test_with_another_table_all_cells_are_predicted():
    adata, source = table(60), table(60)[:30].copy()
    found = impute(adata, ["CD8"], source)["CD8"].to_numpy()
    np.testing.assert_allclose(found, adata.X[:, :2].sum(axis=1), rtol=0.05)


def test_what_cannot_be_learned_or_predicted_is_refused():
    whole = table()
    whole.X[:, 2] = 1.0
    with pytest.raises(PanelError, match="'CD8' was measured in all cells"):
        impute(whole, ["CD8"])
    with pytest.raises(PanelError, match="'CD4' is not among the markers of the table"):
        impute(table(), ["CD4"])
    few = table()
    few.X[1:, 2] = np.nan
    with pytest.raises(PanelError, match="measured in fewer than two cells"):
        impute(few, ["CD8"])
    with pytest.raises(PanelError, match="No other marker was measured in all cells"):
        impute(table()[:, ["CD8"]].copy(), ["CD8"])
    with pytest.raises(ArgumentError, match="source= must be a table of cells"):
        impute(table(), ["CD8"], "cohort.h5ad")


def image(name, *markers, dtype=np.uint8) -> _Sample:
    from types import SimpleNamespace

    pair = SimpleNamespace(image=f"image_{name}", sample=name)
    return _Sample(pair, np.zeros((len(markers), 2, 2), dtype), {one: i for i, one in enumerate(markers)})


def test_images_that_have_the_marker_are_learned_from_and_the_others_predicted():
    own = [image("a", "CD3", "CD8"), image("b", "CD3"), image("c", "CD8", "CD3")]
    learned, lacking = _parts(own, own, ["CD8"])
    assert [one.pair.sample for one in learned] == ["a", "c"]
    assert [one.pair.sample for one in lacking] == ["b"]
    assert _parts(own, own[:1] + own[2:], ["CD8"])[1] == own  # with others, all are predicted
    with pytest.raises(PanelError, match="No image has 'CD4'"):
        _parts(own, own, ["CD4"])
    with pytest.raises(PanelError, match="All images have 'CD3'"):
        _parts(own, own, ["CD3"])
    part = [*own[1:], image("d", "CD8", "CD4")]
    with pytest.raises(PanelError, match="Some images have only a part of 'CD8', 'CD4'"):
        _parts(part, part, ["CD8", "CD4"])
