"""The choice of a method: by held-out labels, and only if it is more than chance."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import recall_score

from spatialfm.learn.heads import auto as file
from spatialfm.learn.heads.auto import _some, choose, decide, fit_any, fit_stacked
from spatialfm.learn.heads.blocks import ColumnBlock, scaler_of
from spatialfm.learn.heads.cells import VisibleCells
from spatialfm.learn.heads.options import Options
from spatialfm.learn.probe import column_scaler


def probability_of(said, k=3):
    return np.full((len(said), k), 0.1) + 0.7 * np.eye(k)[said]


def test_another_method_must_be_better_by_more_than_its_standard_error():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 200)
    wrong = (truth + 1) % 3
    said = {name: np.where(rng.random(200) < share, truth, wrong) for name, share in (("a", 0.6), ("b", 0.9))}
    said["c"] = said["a"].copy()
    said["c"][np.flatnonzero(said["a"] != truth)[:1]] = truth[np.flatnonzero(said["a"] != truth)[:1]]
    found = {name: probability_of(one) for name, one in said.items()}
    choice = decide(found, truth, None)
    assert choice.method == "b"
    assert "better than a" in choice.why
    table = choice.table.set_index("method")
    for name, one in said.items():
        assert table.loc[name, "recall"] == pytest.approx(recall_score(truth, one, average="macro"))
    only_chance = decide({name: found[name] for name in ("a", "c")}, truth, None)
    row = only_chance.table.set_index("method").loc["c"]
    assert 0 < row["gain"] <= row["gain_error"] * (1 + 1e-9)
    assert only_chance.method == "a"
    assert "no method was better by more than its standard error" in only_chance.why


def cells_and_labels(n=300, seed=0):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 3, n)
    values = rng.normal(size=(n, 8))
    values[np.arange(n), codes] += 3
    return VisibleCells(values, column_scaler(values)), np.array(["x", "y", "z"])[codes]


def test_few_labels_compare_nothing_and_the_first_is_taken():
    cells, labels = cells_and_labels()
    rows = np.concatenate([np.flatnonzero(labels == name)[:4] for name in "xyz"])
    choice = choose(cells, rows, labels[rows], Options())
    assert choice.method == "ensemble"
    assert "12 labelled cells, 4 of the rarest class, compare nothing" in choice.why
    assert choice.table.empty
    compared = decide({"a": probability_of([0, 1]), "b": probability_of([0, 0])}, np.array([0, 1]), None).table
    assert list(choice.table.columns) == list(compared.columns)


def test_the_chosen_method_is_the_one_that_is_fitted(monkeypatch):
    monkeypatch.setattr(file, "OTHERS", ("linear", "nearest_mean"))
    cells, labels = cells_and_labels()
    rows = np.arange(60)
    model, choice = fit_any("auto", cells, rows, labels[rows], Options())
    assert choice.table["method"].tolist() == ["ensemble", "linear", "nearest_mean"]
    assert (choice.table["n_held_out"] == 60).all()
    plain, none = fit_any(choice.method, cells, rows, labels[rows], Options())
    assert none is None
    np.testing.assert_allclose(model.predict_seen(), plain.predict_seen())
    assert model.notes["chosen"] == choice.method


def test_those_that_are_compared_follow_names(monkeypatch):
    monkeypatch.setattr(file, "MOST_SEEN", 40)
    values, rng = np.arange(200.0)[:, None], np.random.default_rng(0)
    turned = rng.permutation(200)
    back = np.argsort(turned)
    scaler = column_scaler(values)
    one, places = _some(VisibleCells(values, scaler, order=np.arange(200)), np.arange(3))
    other, places_too = _some(VisibleCells(values[turned], scaler, order=back), back[:3])
    assert sorted(other.values[:, 0]) == one.values[:, 0].tolist()
    assert other.values[other.order, 0].tolist() == one.values[one.order, 0].tolist()
    assert other.values[places_too, 0].tolist() == one.values[places, 0].tolist() == [0, 1, 2]


def test_of_many_cells_some_are_compared(monkeypatch):
    monkeypatch.setattr(file, "OTHERS", ("nearest_mean",))
    monkeypatch.setattr(file, "MOST_SEEN", 100)
    seen, fit = [], file.fit_codes

    def watch(name, cells, rows, codes, **options):
        seen.append((len(cells), cells.values[rows]))
        return fit(name, cells, rows, codes, **options)

    monkeypatch.setattr(file, "fit_codes", watch)
    cells, labels = cells_and_labels()
    rows = np.arange(60)
    choose(cells, rows, labels[rows], Options())
    assert {n for n, _ in seen} == {160}
    for _, values in seen:
        assert np.isin(values, cells.values[rows]).all()


def test_a_method_for_each_representation():
    cells, labels = cells_and_labels()
    noise = np.random.default_rng(5).normal(size=(300, 30))
    both, blocks = np.hstack([cells.values, noise]), [ColumnBlock("told", 8), ColumnBlock("noise", 30)]
    together = VisibleCells(both, scaler_of(blocks, both))
    rows = np.arange(60)
    model, choice = fit_stacked("lda", blocks, together, rows, labels[rows], Options())
    assert choice is None
    assert model.notes["weights"]["told"] > 0.7
    right = (np.array(model.classes)[model.predict_proba(both).argmax(axis=1)] == labels)[60:].mean()
    side_by_side = fit_any("lda", together, rows, labels[rows], Options())[0].predict_proba(both)
    assert right > (np.array(model.classes)[side_by_side.argmax(axis=1)] == labels)[60:].mean()
