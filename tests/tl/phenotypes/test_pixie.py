"""Clusters of pixels and cells where the truth was planted, on the simulator, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

import spatialfm as sfm
from spatialfm._errors import PanelError, RunError, SpatialfmWarning, TableError

SMALL = {"side": 4, "n_pixel_clusters": 4, "n_clusters": 3}


def planted(make_sdata, seed: int = 0, size: int = 96):
    """Square cells of three kinds, each bright in its own marker, in two images of another brightness."""
    rng = np.random.default_rng(seed)
    samples, kinds = {}, {}
    for sample, gain in (("a", 1.0), ("b", 2.0)):
        image, labels = rng.gamma(2, 0.5, (3, size, size)), np.zeros((size, size), np.int32)
        of_sample = []
        for row in range(0, size, 12):
            for column in range(0, size, 12):
                kind = int(rng.integers(3))
                inside = np.s_[row + 1 : row + 11, column + 1 : column + int(rng.integers(7, 12))]
                labels[inside] = len(of_sample) + 1
                image[kind][inside] += 30
                of_sample.append(kind)
        samples[sample], kinds[sample] = ((gain * image).astype(np.float32), labels), of_sample
    sdata = make_sdata(samples, ["CD3", "CD20", "CD68"])
    sfm.pp.cell_table(sdata)
    obs = sdata["table"].obs
    truth = [kinds[sample][label - 1] for sample, label in zip(obs["sample"], obs["cell_id"], strict=True)]
    return sdata, np.array(truth)


KEPT: list = []  # `make_sdata` is made for each test; what is clustered with it once serves all


@pytest.fixture
def clustered(make_sdata):
    if not KEPT:
        sdata, truth = planted(make_sdata)
        sfm.tl.pixie(sdata, **SMALL)
        KEPT.append((sdata["table"], truth))
    return KEPT[0]


def test_kinds_are_found_in_both_samples(clustered):
    table, truth = clustered
    assert adjusted_rand_score(truth, table.obs["pixie"].astype(str)) == 1
    sizes = table.obs["pixie"].value_counts().loc[["1", "2", "3"]].to_numpy()
    assert (np.diff(sizes) <= 0).all()
    np.testing.assert_array_equal(table.uns["pixie"]["clusters"]["n_cells"], sizes)


def test_frequencies_are_shares_of_the_pixels_of_a_cell(clustered):
    """Nearly all pixels count here, so that the shares of a cell sum up to nearly 1 and never to more."""
    table, _ = clustered
    shares = table.obsm["pixie_pixels"]
    total = shares.sum(axis=1).to_numpy()
    assert list(shares.columns) == ["1", "2", "3", "4"]
    assert shares.index.equals(table.obs_names)
    assert total.max() <= 1 + 1e-6
    assert np.median(total) == pytest.approx(1)
    means = shares.groupby(table.obs["pixie"], observed=True).mean()
    np.testing.assert_allclose(means, table.uns["pixie"]["clusters"].drop(columns="n_cells"), rtol=1e-5)


def test_pixels_are_all_counted_once(clustered):
    table, _ = clustered
    result = table.uns["pixie"]
    n_pixels = 2 * 96 * 96
    assert 0.94 * n_pixels < result["pixel_clusters"]["n_pixels"].sum() <= n_pixels
    assert result["nodes"]["n_pixels"].sum() == result["pixel_clusters"]["n_pixels"].sum()
    for cluster, part in result["nodes"].groupby("cluster"):
        if cluster:
            assert part["n_pixels"].sum() == result["pixel_clusters"]["n_pixels"].iloc[cluster - 1]
    assert result["params"]["train_share"] == pytest.approx(0.1)


def test_the_same_seed_gives_the_same(make_sdata, clustered):
    table, _ = clustered
    sdata, _ = planted(make_sdata)
    sfm.tl.pixie(sdata, **SMALL, key_added="again")
    np.testing.assert_array_equal(sdata["table"].obsm["again_pixels"], table.obsm["pixie_pixels"])
    sfm.tl.pixie(sdata, **SMALL, max_pixels=500, random_state=1, key_added="few")
    assert sdata["table"].uns["few"]["params"]["train_share"] < 0.03
    assert not np.array_equal(sdata["table"].obsm["few_pixels"], table.obsm["pixie_pixels"])


def test_types_of_the_simulator():
    """Above chance by far, on images of whole tissue; the truth is matched by place."""
    from scipy.spatial import cKDTree

    sdata = sfm.datasets.simulate_cohort(n_patients=2, n_samples=1, image_size=192, difficulty="easy", random_state=1)
    markers = ["CD3", "CD8", "CD20", "CD68", "Cytokeratin", "a-SMA", "CD31"]
    sfm.tl.pixie(sdata, markers=markers, side=6, n_pixel_clusters=12, n_clusters=10)
    table, truth = sdata["table"], sdata["truth"]
    found, types = [], []
    for sample in table.obs["sample"].unique():
        ours, theirs = table[table.obs["sample"] == sample], truth[truth.obs["sample"] == sample]
        _, near = cKDTree(theirs.obsm["spatial"]).query(ours.obsm["spatial"])
        found += list(ours.obs["pixie"].astype(str))
        types += list(theirs.obs["type"].to_numpy()[near])
    assert adjusted_rand_score(types, found) > 0.35


def test_other_samples_and_dark_cells_are_missing(make_sdata):
    sdata, _ = planted(make_sdata)
    image = sdata["image_a"].data.compute()
    image[:, 24:60, 24:60] = 0
    labels = sdata["cells_a"].data.compute()
    dark, _ = planted(make_sdata)
    sdata = make_sdata({"a": (image, labels), "b": (dark["image_b"].data.compute(), dark["cells_b"].data.compute())},
                       ["CD3", "CD20", "CD68"])  # fmt: skip
    sfm.pp.cell_table(sdata)
    with pytest.warns(SpatialfmWarning, match="1 cell has no pixel with enough signal, and is in no cluster"):
        sfm.tl.pixie(sdata, samples=["a"], **SMALL)
    obs = sdata["table"].obs
    assert obs.loc[obs["sample"] == "b", "pixie"].isna().all()
    assert sdata["table"].obsm["pixie_pixels"][(obs["sample"] == "b").to_numpy()].isna().all(axis=None)
    assert obs.loc[obs["sample"] == "a", "pixie"].isna().sum() == 1


def test_negative_pixels_are_told_and_nan_is_refused(make_sdata):
    sdata, _ = planted(make_sdata)
    image, labels = sdata["image_a"].data.compute(), sdata["cells_a"].data.compute()
    image[0, 3, 4] = -5
    with pytest.warns(SpatialfmWarning, match="negative"):
        sfm.tl.pixie(make_sdata({"a": (image, labels)}, ["CD3", "CD20", "CD68"]), **SMALL)
    image[1, 0, 0] = np.nan  # of no cell: the cell table would refuse it before
    broken = make_sdata({"a": (image, labels)}, ["CD3", "CD20", "CD68"])
    with pytest.raises(RunError, match="NaN or infinite"):
        sfm.tl.pixie(broken, **SMALL)
    with pytest.warns(SpatialfmWarning, match="they count as 0"):
        sfm.tl.pixie(broken, **SMALL, on_nan="zero")
    assert broken["table"].obs["pixie"].notna().all()


def test_refusals(make_sdata):
    sdata, _ = planted(make_sdata)
    with pytest.raises(TableError, match=r"nodes needs as many cells, and there are 128 with signal"):
        sfm.tl.pixie(sdata, side=12)
    with pytest.raises(TableError, match=r"fewer than the 30 clusters asked for"):
        sfm.tl.pixie(sdata, side=4, n_pixel_clusters=30)
    with pytest.raises(PanelError, match="CD99"):
        sfm.tl.pixie(sdata, markers=["CD3", "CD99"])
    assert "pixie" not in sdata["table"].obs


def test_the_order_of_rows_changes_no_cluster():
    found = []
    for shuffled in (False, True):
        sdata = sfm.datasets.simulate_cohort(2, n_samples=1, image_size=96, difficulty="easy", random_state=0)
        sfm.pp.cell_table(sdata)
        if shuffled:
            sdata["table"] = sdata["table"][np.random.default_rng(1).permutation(sdata["table"].n_obs)].copy()
        sfm.tl.pixie(sdata, side=4, n_pixel_clusters=6, n_clusters=4)
        found.append(sdata["table"].obs["pixie"].astype(str).sort_index())
    assert found[0].equals(found[1])
