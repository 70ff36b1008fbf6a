"""Objects whose readers leave members of enumerations and numbers where names belong: written, and read back."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import spatialdata as sd
from elsewhere import codex_in_memory, xenium_like

import spatialfm as sfm


def plainly_written(sdata, path):
    back = sd.read_zarr(path)["table"]
    table = sdata["table"]
    assert back.uns["spatialdata_attrs"] == {"region": "1", "region_key": "region", "instance_key": "cell_id"}
    assert set(back.obs["region"]) == {"1"}
    assert back.obs["cell_id"].tolist() == list(range(16))
    np.testing.assert_array_equal(back.obsm["spatial"], table.obsm["spatial"])
    np.testing.assert_array_equal(back.X, table.X)


def test_the_object_as_it_was_read_cannot_be_written(tmp_path):
    """Why there is anything to do: once this passes, the module is no longer needed."""
    with pytest.raises(Exception, match="CodexKeys"):
        codex_in_memory().write(tmp_path / "a.zarr")


def test_it_is_written_and_read_back(tmp_path):
    sdata = codex_in_memory()
    plainly_written(sdata, sfm.io.write(sdata, tmp_path / "a.zarr"))


def test_samples_are_added_and_spatialdata_writes_it_then(tmp_path):
    sdata = codex_in_memory()
    sfm.pp.add_samples(sdata, pd.DataFrame({"slide": ["images"], "patient": ["p7"]}), on="slide")
    assert set(sdata["table"].obs["patient"]) == {"p7"}
    sdata.write(tmp_path / "a.zarr")
    plainly_written(sdata, tmp_path / "a.zarr")
    _, table = sd.join_spatialelement_table(sdata=sdata, spatial_element_names="1", table_name="table")
    assert table.n_obs == 16


def test_what_is_plain_stays_as_it_is(tmp_path):
    sdata = xenium_like()
    before = dict(sdata["table"].uns["spatialdata_attrs"])
    column = sdata["table"].obs["region"].copy()
    sfm.io.write(sdata, tmp_path / "a.zarr")
    assert sdata["table"].uns["spatialdata_attrs"] == before
    pd.testing.assert_series_equal(sdata["table"].obs["region"], column)
