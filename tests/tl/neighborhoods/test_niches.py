"""Neighborhoods grouped into niches."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning, TableError


@pytest.fixture
def cells():
    return sfm.datasets.simulate_cells(n_patients=6, cells_per_patient=300, random_state=0)


def test_planted_niches_are_found(cells):
    sfm.tl.neighborhood_composition(cells, "type", library_key="sample", n_neighbors=15, include_self=True)
    sfm.tl.niches(cells, 4)
    truth = sfm.datasets.simulate_cells(n_patients=6, cells_per_patient=300, random_state=0).obs["niche"]
    shuffled = np.random.default_rng(0).permutation(truth)
    found = adjusted_rand_score(truth, cells.obs["niche"])
    assert found > 0.25
    assert abs(adjusted_rand_score(shuffled, cells.obs["niche"])) < 0.02
    sizes = cells.uns["niche"]["sizes"]["n"]
    assert sizes.is_monotonic_decreasing
    assert sizes.sum() == cells.n_obs


def test_enrichment_is_the_log_ratio_of_means(cells):
    sfm.tl.neighborhood_composition(cells, "type", library_key="sample", n_neighbors=10)
    sfm.tl.niches(cells, 3, key_added="n3")
    values, record = cells.obsm["neighborhood_composition"], cells.uns["n3"]
    mean = values[(cells.obs["n3"] == "2").to_numpy()].mean(0)
    np.testing.assert_allclose(record["composition"].loc["2"], mean, rtol=1e-5)
    expected = np.log2(np.maximum(mean, 1e-4) / np.maximum(values.mean(0), 1e-4))
    np.testing.assert_allclose(record["enrichment"].loc["2"], expected, rtol=1e-4, atol=1e-6)
    assert list(record["composition"].columns) == list(cells.uns["neighborhood_composition"]["categories"])
    sfm.tl.niches(cells, 3, use_rep="X_latent", key_added="of_embedding")
    assert "composition" in cells.uns["of_embedding"]


def test_what_is_missing_is_told(cells):
    with pytest.raises(TableError, match=r"No 'neighborhood_composition' in obsm. Make it with"):
        sfm.tl.niches(cells)
    cells.obsm["flat"] = np.ones((cells.n_obs, 2))
    with pytest.raises(TableError, match="n_niches=10 of 1 different neighborhoods"):
        sfm.tl.niches(cells, use_rep="flat")


def test_niches_are_clusters_of_scikit_learn_ordered_by_size(cells):
    sfm.tl.neighborhood_composition(cells, "type", library_key="sample", n_neighbors=10)
    sfm.tl.niches(cells)
    by_name = cells[cells.obs_names.sort_values()]
    values = by_name.obsm["neighborhood_composition"]
    values = values[:, np.lexsort(values[::-1])]  # columns by their values: rounding decides between two centres
    theirs = KMeans(10, n_init=10, random_state=0).fit_predict(np.ascontiguousarray(values))
    assert adjusted_rand_score(theirs, by_name.obs["niche"]) == 1
    assert cells.uns["niche"]["sizes"]["n"].tolist() == sorted(np.bincount(theirs), reverse=True)


def test_parts_of_many_cells_find_the_niches_of_all():
    """Two million cells would be gone through once: the centres of planted niches are found all the same."""
    from sklearn.metrics import adjusted_rand_score

    from spatialfm.learn.k_means import BATCH, MINI_BATCH_FROM, MOST_PARTS, k_means

    rng = np.random.default_rng(0)
    n = MINI_BATCH_FROM + 50_000
    truth = rng.integers(0, 6, n)
    values = (np.eye(6)[truth] + 0.2 * rng.normal(size=(n, 6))).astype(np.float32)
    model = k_means(6, n, 10, 0)
    assert adjusted_rand_score(truth, model.fit_predict(values)) > 0.95
    assert k_means(6, 2_000_000, 10, 0).max_iter * 2_000_000 <= MOST_PARTS * BATCH
    assert k_means(6, 1000, 10, 0).max_iter == 300  # all cells, as before


def test_a_niche_that_no_part_of_the_cells_held_is_none(monkeypatch):
    """Parts of many cells can miss the one that has a neighborhood of its own: two of three niches have cells."""
    cells = AnnData(obs=pd.DataFrame(index=[str(i) for i in range(2001)]))
    cells.obsm["neighborhood_composition"] = np.eye(3, dtype=np.float32)[np.r_[np.arange(2000) % 2, 2]]
    monkeypatch.setattr("spatialfm.learn.k_means.MINI_BATCH_FROM", 1000)
    monkeypatch.setattr("spatialfm.learn.k_means.BATCH", 20)
    monkeypatch.setattr("spatialfm.learn.k_means.MOST_PARTS", 3)
    with pytest.warns(SpatialfmWarning, match="n_niches=3, of which k-means found 2"):
        sfm.tl.niches(cells, 3)
    record = cells.uns["niche"]
    assert list(cells.obs["niche"].cat.categories) == ["1", "2"]
    assert record["sizes"]["n"].sum() == 2001
    for table in ("sizes", "composition", "enrichment"):
        assert list(record[table].index) == ["1", "2"]
        assert np.isfinite(record[table]).all(axis=None)
