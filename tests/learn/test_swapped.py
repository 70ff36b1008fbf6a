"""Exchanged channels: gains against plain loops, and exchanges that were planted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import spatialfm as sfm
from spatialfm.learn.arcsinh import compressed_by
from spatialfm.learn.panel_moments import PENALTY
from spatialfm.learn.surprise import errors_of, expected_of_others
from spatialfm.learn.swapped import exchanges_of, gains_of_samples

COFACTORS = np.array([5.0, 8.0, np.nan, 3.0])


@pytest.fixture(scope="module")
def cells():
    """Four patients of 60 cells, one sample each; markers 0 and 1 rise together, 3 falls with 2."""
    rng = np.random.default_rng(0)
    one, two = rng.gamma(2, 20, (2, 240))
    values = np.column_stack([one, 2 * one + rng.gamma(2, 3, 240), two / 20, np.maximum(90 - two, 1)])
    return values, np.repeat(np.arange(4), 60)


def by_others(x, fitted):
    """One ridge regression after the other."""
    mean, std = fitted.mean(axis=0), fitted.std(axis=0)
    z = (fitted - mean) / std
    expected = np.empty_like(x)
    for target in range(x.shape[1]):
        others = np.delete(np.arange(x.shape[1]), target)
        gram = z[:, others].T @ z[:, others] / len(z) + PENALTY * np.eye(len(others))
        beta = np.linalg.solve(gram, z[:, others].T @ z[:, target] / len(z))
        expected[:, target] = mean[target] + ((x - mean) / std)[:, others] @ beta * std[target]
    return expected


def test_gains_are_those_of_plain_loops(cells):
    values, patient = cells
    every = np.ones(len(values), bool)
    gains = gains_of_samples(values, COFACTORS, patient, patient, every, every, n_folds=4)
    x = np.column_stack([np.arcsinh(values[:, [0, 1, 3]] / COFACTORS[[0, 1, 3]]), values[:, 2]])[:, [0, 1, 3, 2]]
    np.testing.assert_allclose(compressed_by(values, COFACTORS), x)
    of_others = expected_of_others("linear", x, patient, every, n_folds=4)
    errors = errors_of(x - of_others, of_others, patient)
    own = patient == 2
    expected = by_others(x[own], x[~own])
    middle, width = errors.at(expected)

    def away(one, of):
        z = (one - of - middle) / width
        z = z - np.median(z, axis=0)
        return (np.minimum(np.abs(z), 3) ** 2).mean(axis=0).sum()

    for pair in ([0, 1], [2, 3], [1, 2]):
        other = values[own].copy()
        other[:, pair] = other[:, pair[::-1]]
        changed = compressed_by(other, COFACTORS)
        gain = away(x[own], expected) - away(changed, by_others(changed, x[~own]))
        assert gains[2][tuple(pair)] == pytest.approx(gain, rel=1e-6)
        assert gains[2][tuple(pair)] == gains[2][tuple(pair[::-1])]
    assert np.isnan(np.diagonal(gains, axis1=1, axis2=2)).all()


def test_patients_of_a_sample_are_not_asked(cells):
    """Where they are all of the reference there is nothing to say."""
    values, patient = cells
    reference = patient < 2
    both = np.where(reference, 0, patient)
    gains = gains_of_samples(values, COFACTORS, both, patient, reference, np.ones(240, bool), n_folds=2)
    assert np.isnan(gains[0]).all()
    assert np.isfinite(gains[2]).sum() == 12


def test_a_planted_exchange_is_the_only_one_that_helps():
    table = sfm.datasets.simulate_cells(n_patients=10, cells_per_patient=120, random_state=3)
    one, other = (table.var_names.get_loc(name) for name in ("CD4", "CD68"))
    rows = (table.obs["patient"] == "P004").to_numpy()
    table.X[np.ix_(rows, [one, other])] = table.X[np.ix_(rows, [other, one])]
    sfm.tl.surprise(table)
    exchanges, swapped = (table.uns["surprise"][name] for name in ("exchanges", "swapped"))
    assert exchanges.index[exchanges["gain"] > 0].tolist() == ["P004_1"]
    assert exchanges.loc["P004_1", ["marker", "other"]].tolist() == ["CD4", "CD68"]
    assert exchanges.loc["P004_1", "gain"] == swapped.loc["P004_1", "CD4"] == swapped.loc["P004_1"].max()


def test_samples_keep_their_names_and_order(cells):
    values, patient = cells
    every = np.ones(len(values), bool)
    samples = pd.Series(pd.Categorical.from_codes(patient, list("dbca")))
    found = exchanges_of(values, COFACTORS, patient, every, samples, list("wxyz"), n_folds=4)
    gains = gains_of_samples(values, COFACTORS, patient, patient, every, every, n_folds=4)
    np.testing.assert_allclose(found["swapped"].loc[list("dbca")], np.nanmax(gains, axis=2))
