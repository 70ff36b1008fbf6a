"""A marker in two columns, or by two names."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import spatialfm as sfm
from spatialfm._errors import PanelError, SpatialfmWarning
from spatialfm.pp.panel import known_as

CHANNELS = ["CD3", "CD20", "CD8", "CD8a"]


def table(n_patients=4, names=CHANNELS):
    rng = np.random.default_rng(0)
    x = rng.gamma(2, size=(20 * n_patients, 4))
    x[:, 3] = x[:, 2]
    obs = pd.DataFrame({"patient": np.repeat([f"P{i}" for i in range(n_patients)], 20)})
    obs.index = [f"cell {i}" for i in range(len(x))]
    return ad.AnnData(x, obs=obs, var=pd.DataFrame(index=list(names)))


def test_names_are_known():
    found = known_as(["PDL1", "PD-L1", "CD8a", "nothing known"])
    assert found == {"PDL1": "PD-L1", "PD-L1": "PD-L1", "CD8a": "CD8", "nothing known": "nothing known"}
    assert known_as([]) == {}


def test_a_marker_is_not_read_off_its_second_column():
    cells = table()
    told = "'CD8' and 'CD8a' of the table are one marker"
    with pytest.raises(PanelError, match=told):
        sfm.tl.evaluate_reconstruction(cells, markers=["CD8"], n_bootstrap=0)
    sfm.tl.evaluate_reconstruction(cells, markers=["CD3"], n_bootstrap=0)  # of another one they are two inputs
    cells.X[:20, 2] = np.nan
    with pytest.raises(PanelError, match=told):
        sfm.tl.impute_markers(cells, markers=["CD8"], method="linear")
    alone = cells[:, :3].copy()
    sfm.tl.impute_markers(alone, markers=["CD8"], method="linear")
    assert sfm.get.record(alone, "X_imputed")["seen"] == ["CD3", "CD20"]


def test_inputs_that_the_source_names_otherwise_are_said():
    cells, source = table()[:, :2].copy(), table()[:, :3].copy()
    cells.var_names = ["CD3e", "CD20"]
    with pytest.warns(SpatialfmWarning, match="'CD3e' is 'CD3'"):
        sfm.tl.impute_markers(cells, markers=["CD8"], method="linear", source=source)
    assert sfm.get.record(cells, "X_imputed")["seen"] == ["CD20"]
