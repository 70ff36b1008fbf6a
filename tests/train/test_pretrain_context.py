"""`pretrain_context`: what it leaves, that it goes on with the same bits, and what it refuses before the first step."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch

import spatialfm as sfm
from spatialfm._errors import ArgumentError, ClinicalError, ModelError, RunError, TableError
from spatialfm.models.context import load_context

SHAPE = {"dim": 8, "hidden": 8, "heads": 2, "depth": 1, "gaussians": 8}


@pytest.fixture(scope="module")
def cells():
    return sfm.datasets.simulate_cells(n_patients=4, cells_per_patient=120, n_latent=8, random_state=0)


def call(cells, out, **changes):
    asked = {
        "use_rep": "X_latent",
        "shape": SHAPE,
        "steps": 4,
        "batch_size": 2,
        "check_every": 2,
        "checkpoint_every": 2,
    }
    return sfm.train.pretrain_context(cells, out=out, **asked | changes)


@pytest.fixture(scope="module")
def run(cells, tmp_path_factory):
    out = tmp_path_factory.mktemp("context") / "run"
    return call(cells, out, validation=0.25, license="CC0-1.0"), out


def same_weights(one, other):
    one, other = one.network.state_dict(), other.network.state_dict()
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def test_what_a_run_leaves(run, cells):
    model, out = run
    assert same_weights(model, load_context("stofm", out))
    assert (model.in_dim, model.network.config.dim, model.use_rep) == (8, 8, "X_latent")
    assert model.card.license == "CC0-1.0"
    assert model.card.trained_on == "3 slices of 3 patients"
    assert pd.read_csv(out / "losses.csv")["step"].tolist() == [1, 2, 3, 4]
    checks = pd.read_csv(out / "checks.csv")
    assert checks["step"].tolist() == [0, 2, 4]
    assert {"effective_rank", "spread", "validation_cells", "validation_pairs"} <= set(checks)
    card = json.loads((out / "card.json").read_text())
    trained = card["training"]["samples"]
    assert len(trained) == 3
    values = cells.obsm["X_latent"][cells.obs["sample"].isin(trained)]
    np.testing.assert_allclose(model.columns.mean, values.mean(0), rtol=1e-5)  # of none that is held out
    np.testing.assert_allclose(model.columns.std, values.std(0), rtol=1e-5)


def test_a_run_that_was_ended_goes_on_with_the_same_bits(run, cells, tmp_path, monkeypatch):
    from spatialfm.train.trainer import Trainer

    model, out = run
    before = (out / "losses.csv").read_text()
    assert same_weights(model, call(cells, out, validation=0.25, license="CC0-1.0"))
    assert (out / "losses.csv").read_text() == before
    real = Trainer.step

    def ended(self, step, *rest):
        if step == 3:
            raise KeyboardInterrupt
        return real(self, step, *rest)

    monkeypatch.setattr(Trainer, "step", ended)
    with pytest.raises(KeyboardInterrupt):
        call(cells, tmp_path / "run", validation=0.25)
    monkeypatch.setattr(Trainer, "step", real)
    assert same_weights(model, call(cells, tmp_path / "run", validation=0.25))


def test_another_run_is_not_gone_on_with(run, cells, tmp_path):
    _, out = run
    with pytest.raises(RunError, match=r"options\['learning_rate'\] was None, and is 0.01"):
        call(cells, out, validation=0.25, options={"learning_rate": 0.01})
    other = cells.copy()
    other.obsm["X_latent"] = other.obsm["X_latent"][::-1].copy()
    with pytest.raises(RunError, match="a run of other"):
        call(other, out, validation=0.25)
    with pytest.raises(RunError, match="resume=False would begin anew"):
        call(cells, out, validation=0.25, resume=False)


def test_it_goes_on_from_weights(run, cells, tmp_path):
    model, out = run
    other = call(cells, tmp_path / "more", weights=out, shape=None, steps=2, license="CC-BY-4.0")
    assert not same_weights(model, other)
    np.testing.assert_array_equal(other.columns.mean, model.columns.mean)
    assert other.slicing == model.slicing
    assert other.card.license == "CC-BY-4.0"


def test_training_predicts_hidden_cells_and_distances_better(cells, tmp_path):
    call(cells, tmp_path / "run", steps=60, batch_size=3, check_every=60, validation=0.25, checkpoint_every=None,
         options={"learning_rate": 0.01, "pairs": 0.1})  # fmt: skip
    losses = pd.read_csv(tmp_path / "run" / "losses.csv")
    first, last = losses[:5].mean(), losses[-5:].mean()
    assert last["loss_pairs"] < 0.9 * first["loss_pairs"]
    assert last["loss_cells"] < first["loss_cells"] - 0.05
    checks = pd.read_csv(tmp_path / "run" / "checks.csv")  # of slices that it has not seen
    assert checks["validation_pairs"].iloc[-1] < 0.9 * checks["validation_pairs"].iloc[0]


def test_what_is_refused_before_the_first_step(run, cells, tmp_path):
    out = tmp_path / "run"
    cells = cells.copy()
    cells.obsm["X_one"] = cells.obsm["X_latent"][:, :1]
    for changes, error, problem in (
        ({"batch_size": 5}, RunError, r"batch_size=5, and there are 4 pieces of slices to train on"),
        ({"options": {"speed": 1}}, ArgumentError, r"options= has 'speed'. There are: cells, pairs"),
        ({"options": {"learning_rate": 0}}, ArgumentError, r"options\(learning_rate=0\)"),
        ({"options": {"cells": 0}}, ArgumentError, r"options\(cells=0\)"),
        ({"shape": {"width": 4}}, ArgumentError, r"shape= has 'width'"),
        ({"shape": SHAPE | {"dim": 9}}, ModelError, "A width of 9 .dim. does not divide into 2 attention heads"),
        ({"slicing": {"cells": 500}}, ArgumentError, r"slicing= has 'cells'"),
        ({"shape": SHAPE | {"in_dim": 5}}, ArgumentError, "'in_dim' 5, and 'X_latent' has 8 columns"),
        ({"use_rep": "X_one"}, ModelError, "has one column, and a cosine needs two"),
        ({"weights": run[1]}, ArgumentError, r"shape= is for new weights"),
        ({"weights": run[1], "shape": None, "use_rep": "X"}, ModelError, "has 12 columns, .* take 8"),
        ({"use_rep": "X_pca"}, TableError, r"No 'X_pca' in obsm"),
        ({"validation": ["nobody"]}, ClinicalError, "names patient 'nobody'"),
        ({"validation": 0.5, "patient_key": "person"}, ClinicalError, "No column 'person'"),
    ):
        with pytest.raises(error, match=problem):
            call(cells, out, **changes)
        assert not out.exists()


def test_weights_are_gone_on_with_for_the_columns_that_they_were_trained_on(cells, tmp_path):
    markers = cells.copy()
    markers.X = np.log1p(np.arange(cells.X.size).reshape(cells.shape) % 97)
    call(markers, tmp_path / "first", use_rep="X", steps=2)
    turned = markers[:, ::-1].copy()
    more = {"use_rep": "X", "shape": None, "weights": tmp_path / "first", "steps": 2}
    with pytest.raises(ModelError, match="The columns of 'X' are not those"):
        call(turned, tmp_path / "second", **more)
    with pytest.raises(ModelError, match="The columns of 'X' are not those"):
        sfm.tl.embed_context(turned, use_rep="X", weights=tmp_path / "first")
