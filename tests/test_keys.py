"""Names that tables hold, whatever the version of anndata."""

from __future__ import annotations

from types import SimpleNamespace

import anndata as ad
import numpy as np
import pytest

import spatialfm as sfm
from spatialfm._errors import TableError
from spatialfm._keys import layer_names


def test_x_is_not_a_layer():
    """anndata 0.12 leaves it out, 0.13 lists it as None."""
    assert layer_names(SimpleNamespace(layers={None: 0, "counts": 1, "clr": 2})) == ["counts", "clr"]
    table = ad.AnnData(np.eye(2), layers={"counts": np.eye(2)})
    assert layer_names(table) == ["counts"]


def test_messages_name_the_layers_alone():
    table = ad.AnnData(np.eye(2), layers={"counts": np.eye(2)})
    table.obs["run"] = ["a", "b"]
    with pytest.raises(TableError, match=r"No layer 'clr' \(layer=\); found 'counts'\."):
        sfm.pp.standardize(table, layer="clr", batch_key="run")
