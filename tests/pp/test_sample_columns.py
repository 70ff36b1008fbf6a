"""Columns of samples for the rows that lie in them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import spatialdata as sd
from anndata import AnnData
from spatialdata.models import TableModel

from spatialfm.pp.sample_columns import add_sample_columns


def test_each_row_has_the_value_of_its_sample_and_orders_are_kept():
    clinical = pd.DataFrame(
        {
            "age": [40.0, 60.0],
            "stage": pd.Categorical(["II", "I"], ["II", "I"]),
            "patient": [1, 2],
            "sample": ["x", "y"],
        },
        index=["a", "b"],
    )
    sdata = sd.SpatialData(tables={"samples": TableModel.parse(AnnData(obs=clinical))})
    obs = pd.DataFrame({"sample": ["b", "a", "b", "c"]}, index=list("1234"))
    add_sample_columns(sdata, obs["sample"].to_numpy(), obs)
    np.testing.assert_array_equal(obs["age"], [60, 40, 60, np.nan])
    assert obs["stage"].tolist()[:3] == ["I", "II", "I"]
    assert obs["stage"].cat.categories.tolist() == ["II", "I"]
    assert isinstance(obs["patient"].dtype, pd.CategoricalDtype)
    assert obs["sample"].tolist() == ["b", "a", "b", "c"]  # its own stays


def test_without_samples_nothing_is_added():
    obs = pd.DataFrame({"x": [1]})
    add_sample_columns(sd.SpatialData(), np.array(["a"]), obs)
    assert list(obs) == ["x"]
