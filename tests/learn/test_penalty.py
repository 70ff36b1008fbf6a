"""The grid against fits of scikit-learn from scratch, and the time that it takes in numbers of iterations."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from spatialfm._optional import find_spec
from spatialfm.learn import penalty as module
from spatialfm.learn.penalty import balanced_loss, enough_to_search, grid_C, in_own_space, prior_C
from spatialfm.learn.probe import fit_probe, validation_split


def planted(n, n_columns, gap, seed=0, n_classes=3):
    """Types that differ by `gap` standard deviations in one column each, in shares of 60, 30 and 10 %."""
    rng = np.random.default_rng(seed)
    codes = rng.choice(n_classes, n, p=[0.6, 0.3, 0.1])
    values = rng.normal(size=(n, n_columns))
    values[np.arange(n), codes] += gap
    return (values - values.mean(axis=0)) / values.std(axis=0), codes


def test_the_loss_is_that_of_balanced_weights():
    rng = np.random.default_rng(0)
    codes, probability = rng.choice(3, 50, p=[0.6, 0.3, 0.1]), rng.dirichlet(np.ones(3), 50)
    weights = (1 / np.bincount(codes))[codes]
    expected = log_loss(codes, probability, sample_weight=weights)
    assert balanced_loss(codes, probability, np.arange(3)) == pytest.approx(expected)


@pytest.mark.parametrize("n_columns", [8, 300])
def test_the_grid_finds_what_fits_from_scratch_find(n_columns):
    values, codes = planted(180, n_columns, 1.5)
    train, test = validation_split(codes, None, 0)
    found, losses = grid_C(values, codes, train, test)
    scratch = {}
    for C in losses:
        model = LogisticRegression(C=C, class_weight="balanced", max_iter=5000, tol=1e-8).fit(
            values[train], codes[train]
        )
        weights = (1 / np.bincount(codes[test]))[codes[test]]
        scratch[C] = log_loss(codes[test], model.predict_proba(values[test]), sample_weight=weights)
    # further on, where classes are told apart without error, loose fits stop early and are worse too
    near = [C for C in scratch if C < 11 * found]
    np.testing.assert_allclose([losses[C] for C in near], [scratch[C] for C in near], rtol=0.02)
    assert found == min(scratch, key=scratch.get)
    assert len(losses) >= 3


def test_noise_is_penalised_more_than_a_clear_difference():
    strong, clear = (
        grid_C(*planted(400, 40, gap, seed=1), np.arange(320), np.arange(320, 400))[0] for gap in (0.3, 4.0)
    )
    assert strong < clear


def test_few_rows_of_many_columns_share_one_factorisation():
    rng = np.random.default_rng(0)
    values, codes = rng.normal(size=(60, 500)) + 2, rng.choice(3, 60)
    train, test = np.arange(40), np.arange(40, 60)
    x, held_out = in_own_space(values[train], values[test])
    assert x.shape[1] == held_out.shape[1] == 39
    fits = {}
    for name, (a, b) in {"all": (values[train], values[test]), "own": (x, held_out)}.items():
        model = LogisticRegression(C=0.01, max_iter=10000, tol=1e-9).fit(a, codes[train])
        fits[name] = model.predict_proba(b)
    np.testing.assert_allclose(fits["own"], fits["all"], atol=1e-5)
    wide = values[:, :30]
    assert in_own_space(wide[train], wide[test])[0] is not None
    np.testing.assert_array_equal(in_own_space(wide[train], wide[test])[0], wide[train])


def test_the_grid_takes_fewer_iterations_than_a_fit(monkeypatch):
    """Of 4,000 cells and 60 columns: iterations times rows, which is what a fit by L-BFGS costs."""
    values, codes = planted(20000, 60, 1.0)
    train, test = validation_split(codes, None, 0)
    work, fit = [], LogisticRegression.fit

    def watch(self, x, y):
        fitted = fit(self, x, y)
        work.append(int(self.n_iter_[0]) * x.size)
        return fitted

    monkeypatch.setattr(LogisticRegression, "fit", watch)
    C, _ = grid_C(values, codes, train, test)
    of_grid = sum(work)
    work.clear()
    LogisticRegression(C=C, class_weight="balanced", max_iter=1000).fit(values, codes)
    assert 0 < of_grid < sum(work)


def test_of_many_rows_as_many_are_fitted_and_all_of_the_rarest(monkeypatch):
    monkeypatch.setattr(module, "MAX_ROWS", 100)
    codes = np.repeat([0, 1, 2], [900, 90, 7])
    rows = module._at_most(np.arange(997), codes, np.random.default_rng(0))
    assert 100 <= len(rows) <= 117
    assert len(set(rows)) == len(rows)
    assert (codes[rows] == 2).sum() == 7
    # C weighs the sum of the losses: what is found on a part is for all
    values, codes = planted(3000, 5, 1.0)
    train, test = validation_split(codes, None, 0)
    part, _ = grid_C(values, codes, train, test)
    monkeypatch.setattr(module, "MAX_ROWS", 10**6)
    whole, _ = grid_C(values, codes, train, test)
    assert abs(np.log10(part / whole)) <= 1 + 1e-9


def test_a_prior_where_labels_are_few():
    assert [prior_C(n) for n in (1, 10, 20, 1000)] == [1.0, 1.0, 0.5, 0.01]
    assert enough_to_search(np.repeat([0, 1], 15))
    assert enough_to_search(np.repeat([0, 3], 15))  # classes that no row has are none
    assert not enough_to_search(np.repeat([0, 1], 14))
    assert not enough_to_search(np.repeat([0, 1], [100, 4]))
    values, codes = planted(40, 50, 2.0)
    assert fit_probe(values, codes.astype(str), head="linear", C="grid")[1] == prior_C(50)


@pytest.mark.skipif(find_spec("optuna") is None, reason="no optuna")
def test_the_grid_is_as_good_as_the_published_search():
    values, codes = planted(3000, 80, 1.2, seed=3)
    train, new = np.arange(400), np.arange(400, 3000)
    right = {}
    for C in ("grid", "search"):
        probe, _ = fit_probe(values[train], codes[train].astype(str), head="linear", C=C, n_trials=8)
        found = probe.predict_proba(values[new]).argmax(axis=1)
        right[C] = np.mean([(found[codes[new] == code] == code).mean() for code in range(3)])
    assert right["grid"] > right["search"] - 0.02
