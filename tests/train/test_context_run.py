"""What a call of `pretrain_context` asks for: patients apart, the scale of columns, pieces, what a run is known by."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from spatialfm._errors import ArgumentError, ModelError, RunError
from spatialfm.learn import context_slices
from spatialfm.learn.context_cells import ContextCells
from spatialfm.learn.context_slices import Slicing
from spatialfm.models.context import new_context
from spatialfm.train.context_pieces import ContextPieces, ContextSpread
from spatialfm.train.context_run import AskedContext
from spatialfm.train.drawn import Validation
from spatialfm.train.objectives.context import Context

SHAPE = {"dim": 8, "hidden": 8, "heads": 2, "depth": 1, "gaussians": 8}
ASKED = AskedContext(
    use_rep="X", model="stofm", weights=None, shape=SHAPE, options={}, steps=4, batch_size=1, validation=0.5,
    patient_key="patient", precision="32-true", random_state=0,
)  # fmt: skip
HOW, N = Slicing(), 60


@pytest.fixture(scope="module", autouse=True)
def _one_virtual_cell():
    """Clusters have no part in what is looked at here, and take seconds to load."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(context_slices, "clusters_of", lambda xy, values, slicing, seed: np.zeros(len(xy), int))
        yield


@pytest.fixture(scope="module")
def cells() -> ContextCells:
    """Three slices, cell by cell in turn; the embeddings of the last are a hundred times as wide."""
    rng = np.random.default_rng(0)
    codes = np.tile([0, 1, 2], N)
    values = rng.standard_normal((3 * N, 3)) * np.where(codes == 2, 100, 1)[:, None]
    xy = np.tile(np.stack(np.divmod(np.arange(N), 10), axis=1) * 10.0, (3, 1))[np.argsort(np.argsort(codes))]
    return ContextCells(values, xy, codes, ["s0", "s1", "s2"], {"model": "kronos"})


PATIENTS = ["P0", "P1", "P2"]


@pytest.fixture(scope="module")
def made(cells):
    return ASKED.data(cells, PATIENTS, {"P2"}, None, HOW)


def test_held_out_slices_are_not_trained_on_and_have_no_part_in_the_scale(made, cells):
    start, training, held_out = made
    known = cells.values[cells.codes != 2]
    np.testing.assert_allclose(start.columns.mean, known.mean(0))
    np.testing.assert_allclose(start.columns.std, known.std(0))
    assert training.table["sample"].tolist() == ["s0", "s1"]
    assert held_out.table[["sample", "patient"]].to_numpy().tolist() == [["s2", "P2"]]
    for pieces, code in ((training, 0), (held_out, 2)):
        expected = (cells.values[cells.codes == code] - known.mean(0)) / known.std(0) / np.sqrt(3)
        np.testing.assert_allclose(pieces.tissues[0].values, expected, rtol=1e-5)
    assert (start.in_dim, start.use_rep, start.made) == (3, "X", {"model": "kronos"})
    assert start.slicing["n_cells"] == 1000


def test_nothing_is_held_out_where_nobody_asks_for_it(cells):
    apart = replace(ASKED, validation=None)
    assert apart.held_out(AnnData(obs=pd.DataFrame(index=["1"])), cells) == ([None] * 3, set())
    _, training, held_out = apart.data(cells, [None] * 3, set(), None, HOW)
    assert len(training) == 3
    assert held_out is None


def test_patients_are_held_out_with_all_of_their_slices(cells):
    names = np.array(["P0", "P1", "P0"])[cells.codes]
    adata = AnnData(obs=pd.DataFrame({"patient": names}, index=[str(n) for n in range(3 * N)]))
    patients, held_out = replace(ASKED, validation=["P0"]).held_out(adata, cells)
    assert (patients, held_out) == (["P0", "P1", "P0"], {"P0"})
    _, training, others = ASKED.data(cells, patients, held_out, None, HOW)
    assert training.table["sample"].tolist() == ["s1"]
    assert others.table["sample"].tolist() == ["s0", "s2"]


def test_weights_that_it_goes_on_from_keep_their_own_scale(cells):
    start = new_context("stofm", {"in_dim": 3, **SHAPE}, 0, 10.0)  # as published: embeddings are taken as they are
    found, training, _ = ASKED.data(cells, PATIENTS, {"P2"}, start, HOW)
    assert found is start
    np.testing.assert_allclose(training.tissues[0].values, cells.values[cells.codes == 0], rtol=1e-6)
    start = new_context("stofm", {"in_dim": 4, **SHAPE}, 0, 10.0)
    with pytest.raises(ModelError, match="has 3 columns, and the weights .* take 4"):
        ASKED.data(cells, PATIENTS, {"P2"}, start, HOW)


def test_what_cannot_be_trained_is_refused(cells):
    asked = (cells, PATIENTS, {"P2"}, None, HOW)
    with pytest.raises(ArgumentError, match="'in_dim' 4, and 'X' has 3 columns"):
        replace(ASKED, shape={"in_dim": 4}).data(*asked)
    assert replace(ASKED, shape=SHAPE | {"in_dim": 3}).data(*asked)[0].in_dim == 3
    with pytest.raises(ModelError, match="one column, and a cosine needs two"):
        ASKED.data(replace(cells, values=cells.values[:, :1]), *asked[1:])
    assert replace(ASKED, batch_size=2).data(*asked)
    with pytest.raises(RunError, match="batch_size=3, and there are 2 pieces"):
        replace(ASKED, batch_size=3).data(*asked)


def test_options_are_those_of_the_objective_that_a_user_may_set():
    assert ASKED.start() is None
    assert replace(ASKED, options={"learning_rate": 0.01}).start() is None
    for name in ("lr", "n_neighbors", "random_state", "context"):
        with pytest.raises(ArgumentError, match=f"options= has '{name}'"):
            replace(ASKED, options={name: 1}).start()
    with pytest.raises(ArgumentError, match="shape= is for new weights"):
        replace(ASKED, weights="w").start()


def test_weights_are_read_where_there_is_no_shape(monkeypatch):
    monkeypatch.setattr("spatialfm.train.context_run.load_context", lambda *asked: asked)
    assert replace(ASKED, weights="w", shape={}).start() == ("stofm", "w")


def test_a_run_is_known_by_all_that_decides_its_numbers(made):
    start, training, _ = made
    learner = Context(start, HOW.n_neighbors)
    base = ASKED.identity(learner, HOW, training)
    assert ASKED.identity(learner, HOW, training) == base
    of_numpy = {"shape": {name: np.int64(value) for name, value in SHAPE.items()}}
    assert replace(ASKED, **of_numpy).identity(learner, HOW, training) == base  # the same run
    others = {
        **{"use_rep": "Y", "steps": 5, "batch_size": 2, "precision": "bf16-mixed", "random_state": 1},
        **{"options": {"learning_rate": 0.1}, "validation": ("P2",), "shape": SHAPE | {"dim": 16}},
    }
    for name, value in others.items():
        parameters = replace(ASKED, **{name: value}).identity(learner, HOW, training).parameters
        assert [one for one in parameters if parameters[one] != base.parameters[one]] == [name]
    parameters = ASKED.identity(learner, Slicing(alpha=0.3), training).parameters
    assert [one for one in parameters if parameters[one] != base.parameters[one]] == ["slicing"]
    next(learner.parameters()).data.add_(1)
    parameters = ASKED.identity(learner, HOW, training).parameters
    assert [one for one in parameters if parameters[one] != base.parameters[one]] == ["weights"]


def test_scores_are_of_patients_that_are_held_out(made):
    start, training, held_out = made
    learner, fabric = Context(start, HOW.n_neighbors), SimpleNamespace(device="cpu", world_size=1)
    assert [type(one) for one in ASKED.checks(fabric, learner, training, None)] == [ContextSpread]
    spread, validation = ASKED.checks(fabric, learner, training, held_out)
    assert isinstance(validation, Validation)
    assert spread.pieces is training
    assert validation.held_out.drawn.windows is held_out


def test_the_card_counts_slices_patients_and_cells():
    table = pd.DataFrame({"sample": ["b", "a", "a"], "patient": ["P1", "P1", "P1"], "cells": [50, 60, 70]})
    pieces = ContextPieces([], [], [], HOW.n_neighbors)
    pieces.table, pieces.tissues, pieces.n_left_out = table, [0, 1], 9
    record = {"parameters": {"steps": 4}, "versions": {"torch": "2"}}
    card = ASKED.card(record, pieces, "CC0-1.0")
    assert (card["trained_on"], card["license"]) == ("2 slices of 1 patient", "CC0-1.0")
    training = card["training"]
    assert (training["samples"], training["pieces"], training["cells"]) == (["a", "b"], 3, 180)
    assert training["cells_left_out"] == 9
    table["patient"] = None
    card = ASKED.card(record, pieces, None)
    assert card["trained_on"] == "2 slices"
    assert "license" not in card
