"""Labels that were made from mean intensities are known by the records of who made them."""

from __future__ import annotations

import warnings

import pytest

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning
from spatialfm.cohort.label_source import circular_representations, made_of_intensities


@pytest.fixture(scope="module")
def simulated():
    sfm.settings.progress = False
    return sfm.datasets.simulate_cells(n_patients=4, cells_per_patient=60, random_state=0)


@pytest.fixture
def cells(simulated):
    return simulated.copy()


def test_named_clusters_and_predictions_from_means_are_known(cells):
    sfm.tl.name_clusters(cells, "type", {"T": "Cytokeratin", "B": "CD20"}, key_added="named")
    assert "named by their mean intensities" in made_of_intensities(cells, "named")
    sfm.tl.annotate(cells, "type", use_rep="X", method="lda", key_added="of_means")
    assert made_of_intensities(cells, "of_means") == "they were predicted from 'X'"
    sfm.tl.annotate(cells, "type", use_rep="X_latent", method="lda", key_added="of_latent")
    assert made_of_intensities(cells, "of_latent") == ""
    assert made_of_intensities(cells, "type") == ""


def test_clusters_of_scanpy_are_known_by_their_graph(cells):
    cells.obs["leiden"] = cells.obs["type"]
    cells.uns["leiden"] = {"params": {"resolution": 1.0, "random_state": 0}}
    assert "clusters of a graph of 'X'" in made_of_intensities(cells, "leiden")
    cells.uns["neighbors"] = {"params": {"use_rep": "X_latent"}}
    assert made_of_intensities(cells, "leiden") == ""


def test_who_knows_says_so_and_representations_that_hold_means_are_named(cells):
    with pytest.warns(SpatialfmWarning, match=r"Circular: labels of obs\['type'\].*and 'X' holds these"):
        assert circular_representations(cells, "type", ["X", "X_latent"], "intensities") == ["X"]
    sfm.tl.annotate(cells, "type", use_rep="X", method="lda", key_added="of_means")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert circular_representations(cells, "of_means", ["X"], "elsewhere") == []
        assert circular_representations(cells, "of_means", ["X_latent"], None) == []
        assert circular_representations(cells, "type", ["X"], None) == []


def test_scores_are_marked(cells):
    options = {"use_rep": ["X", "X_latent"], "C": 1.0, "n_folds": 2, "combine": "concatenate", "min_cells": 20}
    with pytest.warns(SpatialfmWarning, match="Circular"):
        summary = sfm.tl.evaluate_annotation(cells, "type", labels_from="intensities", **options)
    marked = summary.groupby("use_rep")["circular"].first().to_dict()
    assert marked == {
        "X": True, "X_latent": False, "X + X_latent": True, "16 random numbers": False, "none": False,
    }  # fmt: skip
    assert cells.uns["annotation"]["params"]["labels_from"] == "intensities"
