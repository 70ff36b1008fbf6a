"""Clusters named by their markers."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import spatialfm as sfm
from spatialfm._errors import PanelError, TableError

MARKERS = ["CD3", "CD8", "CD20", "CK"]


@pytest.fixture
def cells():
    """Three clusters of 200 cells with 40 times the intensity in their markers, on two slides of which one is dim."""
    rng = np.random.default_rng(0)
    of = {"0": ["CD3", "CD8"], "1": ["CD20"], "2": []}
    cluster = np.repeat(list(of), 200)
    values = rng.gamma(4, size=(600, 4))
    for i, marker in enumerate(MARKERS):
        values[:, i] *= np.where([marker in of[name] for name in cluster], 40, 1)
    slide = np.tile(["a", "b"], 300)
    values[slide == "b"] /= 10
    obs = pd.DataFrame({"cluster": pd.Categorical(cluster), "slide": slide}, index=[f"c{i}" for i in range(600)])
    return ad.AnnData(values, obs=obs, var=pd.DataFrame(index=MARKERS))


SIGNATURES = {"CD8 T": ["CD3", "CD8"], "CD4 T": ["CD3", "CD8-"], "B": "CD20", "Tumor": "CK"}


def test_clusters_have_the_names_of_what_they_were_made_of(cells):
    sfm.tl.name_clusters(cells, "cluster", SIGNATURES, batch_key="slide")
    table = cells.uns["phenotype"]["table"]
    assert table["name"].to_dict() == {"0": "CD8 T", "1": "B", "2": "Other"}
    assert table["n_cells"].tolist() == [200, 200, 200]
    assert list(cells.obs["phenotype"].cat.categories) == ["CD8 T", "B", "Other"]
    np.testing.assert_array_equal(cells.obs["phenotype"].astype(str), np.repeat(["CD8 T", "B", "Other"], 200))


def test_the_match_is_the_cosine_of_what_is_above_the_mean(cells):
    sfm.tl.name_clusters(cells, "cluster", SIGNATURES, batch_key="slide")
    logs = np.log1p(np.clip(cells.X - np.percentile(cells.X, 1, axis=0), 0, None))
    for slide in "ab":
        rows = (cells.obs["slide"] == slide).to_numpy()
        logs[rows] = (logs[rows] - logs[rows].mean(axis=0)) / logs[rows].std(axis=0)
    profile = np.maximum(logs[:200].mean(axis=0), 0)
    row = cells.uns["phenotype"]["table"].loc["0"]
    assert row["match"] == pytest.approx((profile[0] + profile[1]) / np.sqrt(2) / np.linalg.norm(profile), rel=1e-9)
    others = {"CD4 T": profile[0] - profile[1], "B": profile[2], "Tumor": profile[3]}
    assert row["second"] == max(others, key=others.get)
    assert row["second_match"] == pytest.approx(max(others.values()) / np.linalg.norm(profile), abs=1e-9)


def test_a_marker_against_a_name_decides_between_two():
    values = np.ones((60, 2))
    values[:20] = [50, 1]
    values[20:40] = [50, 50]
    values += np.random.default_rng(0).random(values.shape)
    obs = pd.DataFrame({"cluster": np.repeat(list("abc"), 20)}, index=[f"c{i}" for i in range(60)])
    cells = ad.AnnData(values, obs=obs, var=pd.DataFrame(index=["CD3", "CD8"]))
    names = {"CD8 T": ["CD3", "CD8"], "CD4 T": ["CD3", "CD8-"]}
    named = sfm.tl.name_clusters(cells, "cluster", names, copy=True)
    assert named.groupby(cells.obs["cluster"]).first().tolist() == ["CD4 T", "CD8 T", "Other"]
    assert "phenotype" not in cells.obs


def test_markers_alone_name_clusters_by_what_they_have(cells):
    named = sfm.tl.name_clusters(cells, "cluster", ["CD3", "CD8", "CD20"], batch_key="slide", copy=True)
    assert named.groupby(cells.obs["cluster"], observed=True).first().tolist() == ["CD3+ CD8+", "CD20+", "Other"]


def test_markers_that_were_not_measured_everywhere_do_not_hinder(cells):
    cells.X[cells.obs["slide"] == "b", 3] = np.nan
    sfm.tl.name_clusters(cells, "cluster", SIGNATURES, batch_key="slide")
    assert cells.uns["phenotype"]["table"]["name"].tolist() == ["CD8 T", "B", "Other"]


@pytest.mark.parametrize(
    ("signatures", "error", "message"),
    [
        ({}, TableError, "has no names with markers"),
        ({"B": []}, TableError, "'B' has no marker"),
        ({"B": ["CD19"]}, PanelError, "No marker 'CD19' in the table"),
        ({"B": ["CD3-"]}, TableError, "markers against it only"),
        ({"B": ["CD20"], "Other": ["CD3"]}, TableError, "A signature is called 'Other', and so are clusters without"),
    ],
)
def test_signatures_that_cannot_be_meant_are_refused(cells, signatures, error, message):
    with pytest.raises(error, match=message):
        sfm.tl.name_clusters(cells, "cluster", signatures)


def test_signatures_that_share_markers_are_told_apart():
    rng = np.random.default_rng(0)
    markers = ["CD3", "CD8", "CD4", "FOXP3", "CD20", "CD68", "Cytokeratin", "aSMA", "CD31"]
    high = {"Tumor": [6], "CD8 T": [0, 1], "Treg": [0, 2, 3], "B": [4], "Other": []}
    planted = np.repeat(list(high), 60)
    values = rng.gamma(5, 20, (len(planted), len(markers)))
    for row, name in enumerate(planted):
        values[row, high[name]] *= 12
    obs = pd.DataFrame({"leiden": planted}, index=[f"c{i}" for i in range(len(planted))])
    cells = ad.AnnData(values.astype(np.float32), obs=obs, var=pd.DataFrame(index=markers))
    signatures = {
        "Tumor": "Cytokeratin", "CD8 T": ["CD3", "CD8"], "CD4 T": ["CD3", "CD4"], "Treg": ["CD3", "CD4", "FOXP3"],
        "B": "CD20", "Macrophage": "CD68", "Fibroblast": "aSMA", "Endothelial": "CD31",
    }  # fmt: skip
    assert list(sfm.tl.name_clusters(cells, "leiden", signatures, copy=True)) == list(planted)
