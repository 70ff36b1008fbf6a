"""Kinds of tissue on tiles, and their map."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from sklearn.metrics import adjusted_rand_score

import spatialfm as sfm
from spatialfm._errors import TableError


@pytest.fixture
def tiles():
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], [50, 30, 20])
    values = rng.normal(size=(100, 4)) + 12 * np.eye(3, 4)[truth]
    obs = pd.DataFrame({"truth": truth, "sample": np.tile(["a", "b"], 50)}, index=[f"t{i}" for i in range(100)])
    return AnnData(obs=obs, obsm={"X_m": values})


def test_planted_kinds_are_found_and_ordered_by_size(tiles):
    sfm.tl.tissue_clusters(tiles, 3, use_rep="X_m")
    assert adjusted_rand_score(tiles.obs["truth"], tiles.obs["tissue_cluster"]) == 1
    assert tiles.obs["tissue_cluster"].value_counts(sort=False).tolist() == [50, 30, 20]
    sizes = tiles.uns["tissue_cluster"]["sizes"]
    assert sizes.loc["1"].tolist() == [25, 25]
    within = sfm.tl.tissue_clusters(tiles, 3, use_rep="X_m", within_sample=True, copy=True)
    assert set(within.cat.categories) == {f"{sample}:{i}" for sample in "ab" for i in (1, 2, 3)}
    assert (within.astype(str).str[0] == tiles.obs["sample"]).all()


def test_markers_are_mean_z_scores():
    sdata = sfm.datasets.simulate_cohort(n_patients=2, n_samples=1, image_size=128, random_state=0, difficulty="easy")
    sfm.tl.embed_tiles(sdata, "mean-intensity", size=32)
    table = sdata["tiles"]
    sfm.tl.tissue_clusters(table, 2, use_rep="X_mean_intensity", marker_rep="X_mean_intensity")
    values = table.obsm["X_mean_intensity"].astype(float)
    z = (values - values.mean(0)) / values.std(0)
    expected = z[(table.obs["tissue_cluster"] == "1").to_numpy()].mean(0)
    np.testing.assert_allclose(table.uns["tissue_cluster"]["markers"].loc["1"], expected, rtol=1e-5, atol=1e-6)


def test_too_many_clusters_are_refused(tiles):
    tiles.obsm["X_flat"] = np.ones((100, 2))
    with pytest.raises(TableError, match="1 different tiles cannot make 3 clusters"):
        sfm.tl.tissue_clusters(tiles, 3, use_rep="X_flat")
    with pytest.raises(TableError, match="of sample 'a' cannot make 60"):
        sfm.tl.tissue_clusters(tiles, 60, use_rep="X_m", within_sample=True)
    with pytest.raises(TableError, match="n_clusters=1"):
        sfm.tl.tissue_clusters(tiles, 1, use_rep="X_m")


def test_the_map_has_a_square_a_tile(tmp_path):
    sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=160, random_state=0, difficulty="easy")
    sfm.tl.embed_tiles(sdata, "mean-intensity", size=32)
    sample = sdata["samples"].obs_names[0]
    sfm.tl.tissue_clusters(sdata["tiles"], 3, use_rep="X_mean_intensity")
    ax = sfm.pl.tile_map(sdata, sample, "tissue_cluster", show=False)
    (squares,) = ax.collections
    assert len(squares.get_paths()) == sdata["tiles"].n_obs
    colors = pd.Series(map(tuple, squares.get_facecolor()))
    assert adjusted_rand_score(sdata["tiles"].obs["tissue_cluster"], colors.astype(str)) == 1
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["1", "2", "3"]
    sdata["tiles"].obs["some"] = sdata["tiles"].obs["tissue"].where(np.arange(sdata["tiles"].n_obs) > 0)
    sfm.pl.tile_map(sdata, sample, "some", save=tmp_path / "map.png")
    assert (tmp_path / "map.png").stat().st_size > 1000
    for arguments, message in [
        ((sample, "nothing"), "No column 'nothing'"),
        (("other", "tissue"), "No tile of sample 'other'"),
    ]:
        with pytest.raises(TableError, match=message):
            sfm.pl.tile_map(sdata, *arguments)


def test_clusters_are_those_of_scikit_learn_and_tell_simulated_tissue_apart():
    """Tiles in tumor nests of the simulator are in other clusters than tiles out of them."""
    from sklearn.cluster import KMeans

    sdata = sfm.datasets.simulate_cohort(n_patients=3, n_samples=1, image_size=256, random_state=0, difficulty="easy")
    sfm.tl.embed_tiles(sdata, "mean-intensity", size=32)
    tiles, truth = sdata["tiles"], sdata["truth"]
    tiles.obsm["X_z"] = np.log1p(tiles.obsm["X_mean_intensity"])
    tiles.obsm["X_z"] = (tiles.obsm["X_z"] - tiles.obsm["X_z"].mean(0)) / tiles.obsm["X_z"].std(0)
    sfm.tl.tissue_clusters(tiles, 4, use_rep="X_z")
    by_name = tiles[tiles.obs_names.sort_values()]
    theirs = KMeans(4, n_init=20, random_state=0).fit_predict(by_name.obsm["X_z"])
    assert adjusted_rand_score(theirs, by_name.obs["tissue_cluster"]) == 1
    nest = np.zeros(tiles.n_obs)
    for i, (sample, (x, y)) in enumerate(zip(tiles.obs["sample"], tiles.obsm["spatial"], strict=True)):
        cells = truth[truth.obs["sample"] == sample]
        near = (np.abs(cells.obsm["spatial"] - [x, y]) <= 8).all(axis=1)
        nest[i] = (cells.obs["niche"][near] == "tumor nest").mean() if near.any() else np.nan
    shares = pd.Series(nest).groupby(tiles.obs["tissue_cluster"].to_numpy()).mean()
    assert shares.max() - shares.min() > 0.5
