"""What is kept of a fit to all labels where some of them are held out, and how many fits that leaves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import recall_score

from spatialfm.learn.heads import methods, trees
from spatialfm.learn.heads.answer import Neighbors, answer
from spatialfm.learn.heads.auto import choose, fit_stacked
from spatialfm.learn.heads.blocks import ColumnBlock, scaler_of
from spatialfm.learn.heads.cells import VisibleCells
from spatialfm.learn.heads.fitted import held_out_probability
from spatialfm.learn.heads.methods import fit_method
from spatialfm.learn.heads.options import Options
from spatialfm.learn.heads.smoothing import neighbor_means

N, N_LABELLED = 300, 60


def made(n_columns=6, groups=None):
    rng = np.random.default_rng(2)
    codes = rng.integers(0, 3, N)
    values = rng.standard_t(3, size=(N, n_columns))
    values[np.arange(N), codes] += 2
    blocks = [ColumnBlock("x", n_columns)]
    return (
        VisibleCells(values, scaler_of(blocks, values), groups),
        blocks,
        pd.Categorical(np.array(["a", "b", "c"])[codes]),
    )


@pytest.fixture
def counted(monkeypatch):
    """The numbers of labels that trees were fitted to."""
    monkeypatch.setattr(trees, "N_TREES", 20)  # time
    sizes, fit = [], methods.RULES["trees"]

    def count(cells, rows, codes):
        sizes.append(len(rows))
        return fit(cells, rows, codes)

    monkeypatch.setitem(methods.RULES, "trees", count)
    return sizes


def test_temperatures_of_parts_are_kept_and_not_found_again(counted):
    cells, _, labels = made()
    rows, options = np.arange(N_LABELLED), Options()
    fitted = fit_method("ensemble", cells, rows, labels[rows], options)
    assert fitted.temperatures.max() > 1
    assert len(counted) == 6
    half = fit_method("ensemble", cells, rows[:30], labels[:30], options.again(fitted))
    assert counted[6:] == [30]
    np.testing.assert_array_equal(half.temperatures, fitted.temperatures)
    assert half.calibration.temperature == 1
    same = fit_method("ensemble", cells, rows, labels[rows], options.again(fitted))
    raw = replace(fitted, calibration=same.calibration)
    np.testing.assert_array_equal(same.predict_seen(), raw.predict_seen())


def test_the_penalty_of_the_probe_is_kept():
    cells, _, labels = made()
    rows = np.arange(N_LABELLED)
    fitted = fit_method("linear", cells, rows, labels[rows], Options(C=0.037))
    again = fit_method("linear", cells, rows[:40], labels[:40], Options().again(fitted))
    assert again.notes == {"C": 0.037}
    wide, _, _ = made(n_columns=80)
    ensemble = fit_method("ensemble", wide, rows, labels[rows], Options())
    again = fit_method("ensemble", wide, rows[:40], labels[:40], Options().again(ensemble))
    assert again.notes == ensemble.notes
    assert again.parts[0].notes == ensemble.notes


def test_weights_of_representations_are_kept_and_parts_are_fitted_once_a_fold(counted):
    cells, _, labels = made()
    blocks = [ColumnBlock("x", 3), ColumnBlock("y", 3)]
    cells = replace(cells, scaler=scaler_of(blocks, cells.values))
    rows = np.arange(N_LABELLED)
    fitted, _ = fit_stacked("ensemble", blocks, cells, rows, labels[rows], Options())
    assert len(counted) == 2 * (6 + 5)
    again, _ = fit_stacked("ensemble", blocks, cells, rows[:30], labels[:30], Options().again(fitted))
    assert counted[22:] == [30, 30]
    np.testing.assert_array_equal(again.weights, fitted.weights)
    for one, other in zip(again.parts, fitted.parts, strict=True):
        np.testing.assert_array_equal(one.temperatures, other.temperatures)


def test_neighbours_and_sets_cost_one_fit_a_fold(counted):
    patients = np.repeat([f"p{number}" for number in range(10)], N // 10)[np.random.default_rng(0).permutation(N)]
    cells, blocks, labels = made(groups=patients)
    rows = np.arange(N_LABELLED)
    means = neighbor_means(np.random.default_rng(1).random((N, 2)), np.zeros(N))
    options = Options(coverage=0.8)
    answer("ensemble", False, blocks, cells, rows, labels[rows], options, None, Neighbors(means, None))
    assert len(counted) == 6 + 5 + 10


def test_the_choice_of_a_method_fits_each_part_once_a_fold(counted):
    cells, _, labels = made()
    rows = np.arange(N_LABELLED)
    choice = choose(cells, rows, labels[rows], Options())
    assert len(counted) == 5  # trees by themselves are the part
    assert choice.table["method"].tolist()[0] == "ensemble"
    # the same numbers as of an ensemble whose temperatures were found on these labels, and of trees by themselves
    truth = np.asarray(labels.codes[rows], int)
    fitted = fit_method("ensemble", cells, rows, labels[rows], Options())
    for name, options in (("ensemble", Options().again(fitted)), ("trees", Options(calibrate=False))):

        def again(some, codes, name=name, options=options):
            return fit_method(name, cells, some, pd.Categorical.from_codes(codes, ["a", "b", "c"]), options)

        probability, places = held_out_probability(again, rows, truth, None, 0)
        recall = recall_score(truth[places], probability.argmax(axis=1), average="macro")
        assert choice.table.set_index("method").loc[name, "recall"] == pytest.approx(recall)
