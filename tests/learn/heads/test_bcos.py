"""B-cos units as a method: shares that add up, planted columns first, little lost against the linear probe."""

from __future__ import annotations

import numpy as np
import pytest

from spatialfm.learn.heads.bcos import mean_shares, shares_of
from spatialfm.learn.heads.cells import VisibleCells
from spatialfm.learn.heads.methods import fit_method
from spatialfm.learn.heads.options import Options
from spatialfm.learn.probe import column_scaler


@pytest.fixture(scope="module")
def fitted():
    """Three types, each of which has a column of its own among eight."""
    rng = np.random.default_rng(0)
    codes = rng.permutation(np.repeat(np.arange(3), 100))
    values = rng.normal(size=(300, 8))
    values[np.arange(300), codes + 2] += 5
    rows = np.arange(0, 300, 3)
    cells = VisibleCells(values, column_scaler(values), labelled=rows)
    return fit_method("bcos", cells, rows, np.array(["a", "b", "c"])[codes][rows], Options()), codes


def test_shares_add_up_to_the_logits_whose_softmax_is_the_probability(fitted):
    model, _ = fitted
    names, probability = [f"m{i}" for i in range(8)], model.predict_seen()
    logits = []
    for code in range(3):
        table = shares_of(model, np.full(300, code), names)
        np.testing.assert_allclose(table.drop(columns="logit").sum(axis=1), table["logit"], atol=1e-10)
        logits.append(table["logit"])
    raised = np.exp(np.column_stack(logits))
    np.testing.assert_allclose(raised / raised.sum(axis=1, keepdims=True), probability, atol=1e-10)
    assert model.calibration.temperature != 1


def test_shares_are_those_of_the_formula(fitted):
    model, codes = fitted
    rule, scaled = model.rule, model.cells.scaled
    weights = rule.units.linear.weight.detach().numpy()
    unit = weights / np.linalg.norm(weights, axis=1, keepdims=True)
    pairs = unit.reshape(3, 2, 8)[codes]  # two weights of the class of each cell
    along = np.einsum("nmd,nd->nm", pairs, scaled)
    best = pairs[np.arange(300), along.argmax(axis=1)]
    cosine = np.abs(along.max(axis=1)) / np.linalg.norm(scaled, axis=1)
    expected = rule.scale * cosine[:, None] * best * scaled
    np.testing.assert_allclose(rule.contributions(scaled, codes), expected, atol=1e-8)


def test_the_planted_column_comes_first_and_blocks_change_nothing(fitted, monkeypatch):
    model, codes = fitted
    names = [f"m{i}" for i in range(8)]
    table = shares_of(model, codes, names)
    means = mean_shares(table.drop(columns="logit"), codes, ["a", "b", "c"])
    assert means["n"].tolist() == [100, 100, 100]
    assert means[names].idxmax(axis=1).tolist() == ["m2", "m3", "m4"]
    monkeypatch.setattr("spatialfm.learn.heads.bcos.ROWS", 7)
    np.testing.assert_allclose(shares_of(model, codes, names), table)


def test_columns_of_a_name_are_one(fitted):
    model, codes = fitted
    whole = shares_of(model, codes, [f"m{i}" for i in range(8)])
    table = shares_of(model, codes, ["x", "y"] * 4)
    assert list(table) == ["x", "y", "intercept", "logit"]
    np.testing.assert_allclose(table["x"], whole[["m0", "m2", "m4", "m6"]].sum(axis=1))


def test_results_repeat_and_leave_the_generator_of_torch_alone(fitted):
    import torch

    torch.manual_seed(5)
    first = torch.rand(2)
    torch.manual_seed(5)
    model, codes = fitted
    rows = model.cells.labelled
    again = fit_method("bcos", model.cells, rows, np.array(["a", "b", "c"])[codes][rows], Options())
    np.testing.assert_array_equal(again.predict_seen(), model.predict_seen())
    torch.testing.assert_close(torch.rand(2), first)
