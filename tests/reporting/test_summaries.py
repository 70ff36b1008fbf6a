"""Numbers of cells and means of markers by category."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from spatialfm.reporting.source import ReportKeys, read_source
from spatialfm.reporting.summaries import marker_means, sizes


@pytest.fixture
def cells():
    obs = {
        "type": pd.Categorical(["T", "T", "B", None, "B"], ["B", "T", "none"]),
        "sample": list("aabbb"),
        "patient": "p",
    }
    values = np.array([[1, 5, 3], [3, 5, np.nan], [2, 5, np.nan], [8, 5, 9], [6, 5, np.nan]], dtype=np.float32)
    return ad.AnnData(values, obs=pd.DataFrame(obs, index=list("12345")), var=pd.DataFrame(index=["x", "flat", "gaps"]))


def test_means_and_scores(cells):
    means, scores = marker_means(cells, "type")
    # by hand: of x, all cells have mean 4 and variance (9 + 1 + 4 + 16 + 4) / 5
    assert means.loc["B"].tolist()[:2] == [4, 5]
    assert means.loc["T"].tolist() == [2, 5, 3]
    assert scores["x"].tolist() == pytest.approx([0, -2 / np.sqrt(6.8)])
    assert scores["flat"].isna().all()
    assert np.isnan(means.loc["B", "gaps"])
    assert scores.loc["T", "gaps"] == pytest.approx(-1)  # 3 among 3 and 9
    assert means.index.tolist() == ["B", "T"]  # as the categories are; one that no cell has is not shown


def test_sparse_values_are_the_same(cells):
    cells.X[np.isnan(cells.X)] = 0
    dense = marker_means(cells, "type")
    cells.X = sparse.csr_matrix(cells.X)
    for one, other in zip(marker_means(cells, "type"), dense, strict=True):
        pd.testing.assert_frame_equal(one, other)


def test_sizes(cells):
    keys = ReportKeys("sample", "patient", "type", None, None, None, None, ())
    found = sizes(read_source(cells, samples=None, patients=None, keys=keys), "type")
    assert found["cells"].to_dict() == {"B": 2, "T": 2}
    assert found["share"].to_dict() == {"B": 0.5, "T": 0.5}
    assert found["samples"].to_dict() == {"B": 1, "T": 1}
    assert found["patients"].to_dict() == {"B": 1, "T": 1}


def test_cells_of_no_sample_or_patient_are_those_of_none_more(cells):
    cells.obs["sample"] = ["a", None, "b", "b", "b"]
    cells.obs["patient"] = pd.Categorical(["p", "p", None, "p", None])
    keys = ReportKeys("sample", "patient", "type", None, None, None, None, ())
    found = sizes(read_source(cells, samples=None, patients=None, keys=keys), "type")
    assert found["samples"].to_dict() == {"B": 1, "T": 1}
    assert found["patients"].to_dict() == {"B": 0, "T": 1}
