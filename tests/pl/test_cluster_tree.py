"""The tree of clusters: where they stand, and the clusters that a sweep lists."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from spatialfm._errors import TableError
from spatialfm.pl._cluster_tree import _codes, _places, cluster_tree


def edges(*rows):
    return pd.DataFrame(rows, columns=["resolution", "next", "from", "to", "share"])


def test_clusters_stand_below_those_that_their_cells_come_from():
    codes = pd.DataFrame({"0.2": [0, 0, 1, 1], "1": [1, 1, 0, 2]})
    # cluster 1 comes from the left one; 0 and 2 from the right one, 0 to a tenth from the left
    flow = edges(("0.2", "1", 0, 1, 1.0), ("0.2", "1", 0, 0, 0.1), ("0.2", "1", 1, 0, 0.9), ("0.2", "1", 1, 2, 1.0))
    places = _places(codes, flow)
    np.testing.assert_allclose(places["0.2"], [1 / 4, 3 / 4])
    np.testing.assert_allclose(places["1"], [3 / 6, 1 / 6, 5 / 6])


@pytest.mark.parametrize("resolutions", [[0.2, 1.0], ["0.2", "1.0"]])
def test_clusters_are_found_by_their_resolution_before_and_after_a_store(resolutions):
    adata = ad.AnnData(np.zeros((2, 1)))
    adata.obsm["sweep"] = pd.DataFrame([[0, 1], [0, 0]], index=adata.obs_names, columns=["0.2", "1"])
    assert _codes(adata, "sweep", pd.DataFrame(index=resolutions)).to_numpy().tolist() == [[0, 1], [0, 0]]
    with pytest.raises(TableError, match="does not hold the clusters that"):
        _codes(adata, "sweep", pd.DataFrame(index=[0.2, 2.0]))


def test_without_a_sweep_nothing_is_drawn():
    adata = ad.AnnData(np.zeros((2, 1)), uns={"leiden": {}})
    with pytest.raises(TableError, match=r"No sweep in uns\['leiden_sweep'\]; uns has 'leiden'"):
        cluster_tree(adata)
