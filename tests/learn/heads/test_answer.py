"""A method, markers and neighbours together."""

from __future__ import annotations

import numpy as np
import pandas as pd

from spatialfm.learn.heads.answer import Neighbors, Prior, answer
from spatialfm.learn.heads.blocks import ColumnBlock, scaler_of
from spatialfm.learn.heads.cells import VisibleCells
from spatialfm.learn.heads.methods import fit_method
from spatialfm.learn.heads.options import Options
from spatialfm.learn.heads.smoothing import neighbor_means


def made(n=400, seed=0):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 3, n)
    values = rng.normal(size=(n, 6))
    values[np.arange(n), codes] += 2
    blocks = [ColumnBlock("x", 6)]
    return VisibleCells(values, scaler_of(blocks, values)), blocks, np.array(["a", "b", "c"])[codes]


def test_without_more_it_is_the_method():
    cells, blocks, names = made()
    rows = np.arange(40)
    labels = pd.Categorical(names[rows])
    found = answer("lda", False, blocks, cells, rows, labels, Options())
    model = fit_method("lda", cells, rows, labels, Options())
    np.testing.assert_array_equal(found.probability, model.predict_seen())
    assert found.classes == ["a", "b", "c"]
    assert found.calibration == model.calibration


def test_markers_alone_and_a_type_that_nobody_labelled():
    cells, blocks, names = made()
    sure = np.full((400, 3), 0.05) + 0.85 * np.eye(3)[np.searchsorted(["a", "b", "c"], names)]
    prior = Prior(["c", "a", "b"], sure[:, [2, 0, 1]])
    none = answer("lda", False, blocks, cells, np.zeros(0, int), pd.Categorical([]), Options(), prior)
    assert none.classes == ["c", "a", "b"]
    assert (np.array(none.classes)[none.probability.argmax(axis=1)] == names).all()
    rows = np.flatnonzero(names != "c")[:30]
    found = answer("lda", False, blocks, cells, rows, pd.Categorical(names[rows]), Options(), prior)
    assert found.classes == ["a", "b", "c"]
    assert found.notes["signature_weight"] > 0
    right = np.array(found.classes)[found.probability.argmax(axis=1)] == names
    assert right[names == "c"].mean() > 0.6
    assert right.mean() > 0.8


def test_neighbours_come_after_the_method():
    cells, blocks, names = made()
    rows, positions = np.arange(60), np.random.default_rng(1).random((400, 2))
    means = neighbor_means(positions, np.zeros(400))
    labels = pd.Categorical(names[rows])
    options = Options(calibrate=False)
    plain = answer("lda", False, blocks, cells, rows, labels, options).probability
    found = answer("lda", False, blocks, cells, rows, labels, options, None, Neighbors(means, 0.4))
    np.testing.assert_allclose(found.probability, 0.6 * plain + 0.4 * (means @ plain))
    assert found.notes["smoothing_weight"] == 0.4
    assert found.tables["smoothing"]["n"].sum() == 60
