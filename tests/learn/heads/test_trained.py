"""Representations that learn from labels: only from those of the training cells of a fold."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning, TableError
from spatialfm.learn.heads.trained import split_representations


class Memory:
    """Knows the label of each cell that it was given, and nothing of others."""

    def __init__(self):
        self.given: list[set] = []

    def fit(self, cells, label_key, patient_key):
        self.given.append(set(cells.obs[patient_key]))
        known = dict(zip(cells.obs_names, cells.obs[label_key] == "b", strict=True))

        def embed(others):
            column = [2.0 * known[name] - 1.0 if name in known else 0.0 for name in others.obs_names]
            return np.array(column, np.float32)[:, None]

        return embed


class Difference:
    """The direction between the means of two classes: what can be learned here, without any column of its own."""

    def fit(self, cells, label_key, patient_key):
        is_b = (cells.obs[label_key] == "b").to_numpy()
        direction = cells.X[is_b].mean(0) - cells.X[~is_b].mean(0)
        return lambda others: others.X @ direction[:, None]


def cells_of(n: int = 240, signal: float = 0.0) -> AnnData:
    rng = np.random.default_rng(0)
    is_b = rng.random(n) < 0.5
    values = rng.standard_normal((n, 40)).astype(np.float32)
    values[:, 7] += signal * is_b
    labels = pd.Series(np.where(is_b, "b", "a")).astype(object)
    labels[rng.random(n) < 0.1] = None
    obs = pd.DataFrame({"type": labels.to_numpy(), "patient": [f"P{i % 8}" for i in range(n)]})
    obs.index = [f"c{i}" for i in range(n)]
    return AnnData(values, obs=obs, obsm={"X_frozen": values})


def test_a_memory_of_the_training_labels_is_worth_nothing_for_other_patients():
    adata, memory = cells_of(), Memory()
    scores = sfm.tl.evaluate_annotation(adata, "type", use_rep={"memory": memory}, C=1.0)
    recall = scores.query("score == 'recall' and use_rep == 'memory'")["mean"].item()
    assert recall == pytest.approx(0.5, abs=1e-9)  # all test cells look the same
    assert len(memory.given) == 4
    assert all(len(patients) == 6 for patients in memory.given)
    assert set.intersection(*memory.given) == set()  # each patient is tested in one fold


def test_frozen_and_trained_are_scored_on_the_same_folds_and_draws():
    adata = cells_of(signal=3.0)
    rep = {"as it is": "X_frozen", "trained": Difference(), "memory": Memory()}
    scores = sfm.tl.evaluate_annotation(adata, "type", use_rep=rep, C=1.0, n_train=[5, 20], random_state=3)
    recall = scores.query("score == 'recall'").set_index(["use_rep", "n_train"])["mean"]
    assert recall["trained", "20"] > 0.85
    assert recall["trained", "20"] > recall["memory", "20"] + 0.3
    folds = adata.uns["annotation"]["folds"]
    n = folds.query("`class` == 'macro'").groupby("use_rep")["n_train"].agg(list)
    assert n["as it is"] == n["trained"]
    assert list(adata.uns["annotation"]["params"]["use_rep"]) == ["as it is", "trained", "memory"]
    found = adata.uns["annotation"]["differences"]
    assert ((found["first"] == "as it is") & (found["second"] == "trained")).any()
    again = sfm.tl.evaluate_annotation(adata, "type", use_rep={"named": "X_frozen"}, C=1.0, random_state=3)
    plain = sfm.tl.evaluate_annotation(adata, "type", use_rep="X_frozen", C=1.0, random_state=3)
    np.testing.assert_array_equal(again["mean"], plain["mean"])


def test_what_cannot_be_trained_is_refused():
    adata = cells_of()
    with pytest.raises(TableError, match="use_rep={'x': ...} is int, neither a key of obsm nor something to train"):
        sfm.tl.evaluate_annotation(adata, "type", use_rep={"x": 3})
    with pytest.raises(TableError, match="stops on patients of its own"):
        sfm.tl.evaluate_annotation(adata, "type", use_rep={"x": Memory()}, patient_key="quadrant")
    with pytest.raises(TableError, match="use_rep"):
        sfm.tl.evaluate_annotation(adata, "type", use_rep={})

    class Short:
        def fit(self, cells, label_key, patient_key):
            return lambda others: np.zeros((3, 2))

    with pytest.raises(TableError, match="did not give one row of numbers for each cell"):
        sfm.tl.evaluate_annotation(adata, "type", use_rep={"x": Short()})
    assert "annotation" not in adata.uns
    assert split_representations(["a", "b"]) == ({"a": "a", "b": "b"}, {})


def test_an_embedding_that_has_learned_from_labels_is_warned_of():
    adata = cells_of()
    adata.uns["spatialfm"] = {"X_frozen": {"adapter": "types"}}
    with pytest.warns(SpatialfmWarning, match="'X_frozen' was made with adapter 'types', which has learned from"):
        sfm.tl.evaluate_annotation(adata, "type", use_rep="X_frozen", C=1.0)
