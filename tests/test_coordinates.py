"""Places of cells, in every form that they come in."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix

from spatialfm._coordinates import column_of_several, coordinates
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


NAMES = [
    ("centroid-0", "centroid-1"),  # steinbock, scikit-image
    ("Y_centroid", "X_centroid"),  # MCMICRO
    ("y_centroid", "x_centroid"),
    ("CenterY_local_px", "CenterX_local_px"),  # CosMx
    ("Location_Center_Y", "Location_Center_X"),  # CellProfiler
    ("y", "x"),
]


@pytest.mark.parametrize(("of_y", "of_x"), NAMES)
def test_y_before_x_is_refused(of_y, of_x):
    x, y = PLACES.T
    adata = AnnData(np.zeros((3, 1)), obs=pd.DataFrame({of_y: y, of_x: x, "type": list("abc")}, index=list("klm")))
    adata.obsm["spatial"] = np.column_stack([x, y])
    np.testing.assert_array_equal(coordinates(adata), PLACES)
    adata.obsm["spatial"] = np.column_stack([y, x])
    with pytest.raises(TableError, match=f"y before x: its first column is obs..{of_y}.*second obs..{of_x}") as said:
        coordinates(adata)
    exec(str(said.value).split("Exchange them: ")[1].rstrip("."), {"adata": adata, "numpy": np})
    np.testing.assert_array_equal(coordinates(adata), PLACES)


def test_other_columns_say_nothing():
    obs = pd.DataFrame({"day": [1.0, 2, 3], "y2": list("abc"), "y": [2.0, 4.5, 7.0], "x": [9.0, 9.0, 9.0]}, list("klm"))
    adata = AnnData(np.zeros((3, 1)), obs=obs, obsm={"spatial": PLACES[:, ::-1].copy()})
    coordinates(adata)  # x is another
    adata.obs["x"] = adata.obs["y"]
    adata.obsm["spatial"] = obs[["y", "y"]].to_numpy()
    coordinates(adata)  # cells on the diagonal


def test_column_of_several():
    obs = pd.DataFrame({"fov_labels": ["1_labels", "2_labels"], "sample": "a"}, index=["1_1", "1_2"])
    adata = AnnData(np.zeros((2, 1)), obs=obs)
    assert column_of_several(adata) is None
    adata.uns["spatialdata_attrs"] = {"region_key": "fov_labels", "region": ["1_labels", "2_labels"]}
    assert column_of_several(adata) == "fov_labels"  # CosMx
    adata.obs["region"] = ["r", "s"]
    assert column_of_several(adata) == "region"
