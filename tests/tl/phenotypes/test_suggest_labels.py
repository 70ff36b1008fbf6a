"""What is suggested is compared with cells drawn at random, whose types the simulator knows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler

import spatialfm as sfm
from spatialfm._errors import ArgumentError, SpatialfmWarning, TableError

NOT_MEASURED = "an order of cells, which is held against brute force"
N = 24


@pytest.fixture(scope="module")
def cells():
    return sfm.datasets.simulate_cells(n_patients=6, cells_per_patient=250, latent_noise=0.3, random_state=1)


def scored(cells, names):
    """Macro F1 of all cells from the labels of some, and how many types these have."""
    truth = cells.obs["type"].astype(str)
    values = StandardScaler().fit_transform(cells.obsm["X_latent"])
    model = LogisticRegression().fit(values[cells.obs_names.get_indexer(names)], truth[names])
    return f1_score(truth, model.predict(values), average="macro"), truth[names].nunique()


@pytest.fixture(scope="module")
def random_draws(cells):
    draws = [np.random.default_rng(seed).choice(cells.obs_names, N, replace=False) for seed in range(20)]
    return np.array([scored(cells, names) for names in draws])


@pytest.mark.parametrize(("strategy", "ahead"), [("typiclust", 1), ("coreset", 0), ("mixed", 1)])
def test_as_many_labels_as_at_random_reach_more_types_and_annotate_no_worse(cells, random_draws, strategy, ahead):
    """By `ahead` standard deviations of what 20 random draws score."""
    table = sfm.tl.suggest_labels(cells, use_rep="X_latent", n=N, strategy=strategy)
    f1, n_types = scored(cells, table.index)
    assert n_types > random_draws[:, 1].mean()
    assert f1 > random_draws[:, 0].mean() + ahead * random_draws[:, 0].std()


def test_a_rare_type_is_reached():
    """Of 10 cells among 1,010, 15 labels at random reach one in one of seven draws: 1 - (1 - 0.0099) ** 15 = 0.14."""
    rng = np.random.default_rng(0)
    values = np.r_[rng.normal(size=(1000, 6)), rng.normal(size=(10, 6)) * 0.5 + 8]
    cells = sfm.datasets.simulate_cells(n_patients=1, cells_per_patient=1010, random_state=0)
    cells.obsm["X_made"] = values
    for strategy in ("coreset", "typiclust", "mixed"):
        table = sfm.tl.suggest_labels(cells, use_rep="X_made", n=15, strategy=strategy, patient_key=None)
        assert cells.obs_names.get_indexer(table.index).max() >= 1000, strategy


def test_margins_of_the_annotation_are_taken(cells):
    cells = cells.copy()
    some = np.random.default_rng(0).choice(cells.n_obs, 100, replace=False)
    cells.obs["known"] = cells.obs["type"].where(np.isin(np.arange(cells.n_obs), some))
    sfm.tl.annotate(cells, "known", use_rep="X_latent", C=1.0)
    table = sfm.tl.suggest_labels(cells, "known", use_rep="X_latent", n=6, strategy="margin", patient_key=None)
    left = cells[cells.obs["known"].isna().to_numpy()].obs["known_predicted_margin"]
    assert table["score"].iloc[0] == left.min() == table["margin"].iloc[0]
    assert set(table.index) <= set(left.sort_values().index[:60])
    assert table["predicted"].tolist() == cells.obs.loc[table.index, "known_predicted"].tolist()
    both = sfm.tl.suggest_labels(cells, "known", use_rep="X_latent", n=6)
    assert both["strategy"].tolist() == ["typiclust", "coreset", "margin"] * 2
    other = sfm.tl.suggest_labels(cells, "known", use_rep="X_latent", n=6, annotation_key="known_predicted")
    assert other.index.tolist() == both.index.tolist()


def test_what_is_labelled_is_not_suggested_and_the_order_of_rows_does_not_matter(cells):
    cells = cells.copy()
    cells.obs["known"] = cells.obs["type"].where(np.arange(cells.n_obs) % 30 == 0)
    table = sfm.tl.suggest_labels(cells, "known", use_rep="X_latent", n=12)
    assert not cells.obs.loc[table.index, "known"].notna().any()
    assert table["patient"].value_counts().tolist() == [2] * 6
    turned = cells[np.random.default_rng(0).permutation(cells.n_obs)].copy()
    again = sfm.tl.suggest_labels(turned, "known", use_rep="X_latent", n=12)
    assert again.index.tolist() == table.index.tolist()
    pd.testing.assert_frame_equal(cells.uns["suggested_labels"]["table"], table, check_names=False, check_dtype=False)


def test_a_sketch_holds_every_label_and_as_many_of_each_patient(cells):
    cells = cells.copy()
    cells.obs["known"] = cells.obs["type"].where(np.arange(cells.n_obs) % 50 == 0)
    table = sfm.tl.suggest_labels(cells, "known", use_rep="X_latent", n=12, sketch=120)
    params = cells.uns["suggested_labels"]["params"]
    assert (params["n_looked_at"], params["n_labelled"]) == (150, 30)
    assert table["patient"].value_counts().tolist() == [2] * 6


def test_without_patients_no_patient_is_asked_for(cells):
    cells = cells.copy()
    del cells.obs["patient"]
    assert len(sfm.tl.suggest_labels(cells, use_rep="X_latent", n=3)) == 3
    with pytest.raises(TableError, match="No column 'who' in obs"):
        sfm.tl.suggest_labels(cells, use_rep="X_latent", patient_key="who")


def test_refusals(cells):
    cells = cells.copy()
    with pytest.raises(TableError, match=r"Every cell has a label in obs\['type'\]"):
        sfm.tl.suggest_labels(cells, "type", use_rep="X_latent")
    with pytest.raises(TableError, match="No margins of an annotation in obs"):
        sfm.tl.suggest_labels(cells, use_rep="X_latent", strategy="margin")
    with pytest.raises(TableError, match="No margins of an annotation in obs .annotation_key='mine'"):
        sfm.tl.suggest_labels(cells, use_rep="X_latent", annotation_key="mine")
    cells.obs["known"] = cells.obs["type"].where(np.arange(cells.n_obs) > 3)
    with pytest.warns(SpatialfmWarning, match="4 cells have"):
        assert len(sfm.tl.suggest_labels(cells, "known", use_rep="X_latent", n=9, patient_key=None)) == 4
    assert "suggested_labels" in cells.uns


@pytest.mark.parametrize("n", [0, -3])
def test_no_cells_are_not_asked_for(cells, n):
    with pytest.raises(ArgumentError, match="n must be a whole number of at least 1"):
        sfm.tl.suggest_labels(cells, use_rep="X_latent", n=n)
