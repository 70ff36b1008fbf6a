"""Training of two heads: standardising, stopping, the schedule, and what a run repeats."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from spatialfm.learn.alignment import AlignmentRecipe, _batches, _rate, fit_alignment

RECIPE = AlignmentRecipe("clip", "linear", "linear", 6, 0.0, 0.07, 32, 3e-3, 0.01, 30, 5)
CPU = torch.device("cpu")


def views(n: int = 400, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(n, 5))
    one = hidden @ rng.normal(size=(5, 8)) + noise * rng.normal(size=(n, 8))
    two = 1000 + 50 * (hidden @ rng.normal(size=(5, 7)) + noise * rng.normal(size=(n, 7)))
    return one.astype(np.float32), two.astype(np.float32)


def fitted(recipe=RECIPE, seed: int = 0, change: float = 0.0):
    one, two = views()
    one = one.copy()
    one[300:] += change
    return fit_alignment(one, two, np.arange(200), np.arange(200, 300), recipe, seed, CPU), one, two


@pytest.mark.parametrize("loss", ["clip", "siglip"])
def test_held_out_partners_are_found(loss):
    aligned, one, two = fitted(dataclasses.replace(RECIPE, loss=loss))
    a, b = (aligned.project(values[300:], side, CPU) for side, values in (("a", one), ("b", two)))
    np.testing.assert_allclose(np.linalg.norm(a, axis=1), 1, rtol=1e-5)
    assert np.mean((a @ b.T).argmax(axis=1) == np.arange(100)) > 0.5  # chance 0.01


def test_columns_are_standardised_by_the_rows_to_fit():
    aligned, one, two = fitted()
    mean, sd = aligned.moments["b"]
    np.testing.assert_allclose(mean, two[:200].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(sd, two[:200].std(axis=0), rtol=1e-4)


def test_rows_of_the_test_decide_nothing():
    first, changed = fitted()[0], fitted(change=100.0)[0]
    assert first.checksum() == changed.checksum()
    assert fitted(seed=1)[0].checksum() != first.checksum()


def test_the_weights_kept_are_those_of_the_lowest_validation_loss():
    aligned, one, two = fitted()
    assert aligned.best_epoch == aligned.history["validation_loss"].idxmin() + 1
    stopped = fitted(dataclasses.replace(RECIPE, patience=1, max_epochs=200, learning_rate=0.02))[0]
    assert len(stopped.history) < 200
    falls = stopped.history["validation_loss"].to_numpy()
    assert falls[-1] > np.minimum.accumulate(falls)[-2] - 0.01  # the last epoch brought less than what counts


def test_the_generator_of_the_session_is_put_back():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    fitted(dataclasses.replace(RECIPE, max_epochs=1))
    assert torch.equal(before, torch.random.get_rng_state())


def test_batches_are_of_one_size():
    assert [len(batch) for batch in _batches(np.arange(10), 4)] == [4, 4]
    assert [len(batch) for batch in _batches(np.arange(3), 4)] == [3]


def test_the_rate_rises_and_falls():
    rates = [_rate(step, 1000) for step in range(1001)]
    assert rates[0] == pytest.approx(1 / 39)
    assert rates[38] == rates[39] == 1.0
    assert all(np.diff(rates[39:]) < 0)
    assert rates[1000] == pytest.approx(0, abs=1e-9)
