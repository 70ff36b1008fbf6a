from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chisquare

from spatialfm._errors import RunError
from spatialfm.train.sampling import draw, steps_of_epoch


class Some:
    def __init__(self, n: int, strata: list[list[int]] | None = None):
        self.n, self.strata = n, None if strata is None else [np.array(one) for one in strata]

    def __len__(self) -> int:
        return self.n


def test_an_epoch_has_each_window_once_and_the_next_another_order():
    first, second = (np.concatenate([draw(Some(12), 0, 3 * e + s, 4) for s in range(3)]) for e in (0, 1))
    assert sorted(first) == sorted(second) == list(range(12))
    assert first.tolist() != second.tolist()


def test_what_does_not_fill_a_batch_is_left_out_of_an_epoch_and_no_window_is_always():
    assert steps_of_epoch(11, 4) == 2
    epochs = [np.concatenate([draw(Some(11), 0, 2 * e + s, 4) for s in range(2)]) for e in range(60)]
    assert all(len(set(one)) == 8 for one in epochs)
    counts = np.bincount(np.concatenate(epochs), minlength=11)
    # each is in an epoch with probability 8/11
    assert np.abs(counts - 60 * 8 / 11).max() < 5 * np.sqrt(60 * 8 / 11 * 3 / 11)


def test_orders_of_epochs_are_uniform():
    """All 6 orders of 3 windows are as frequent."""
    orders = ["".join(map(str, draw(Some(3), seed, 0, 3))) for seed in range(1200)]
    _, counts = np.unique(orders, return_counts=True)
    assert len(counts) == 6
    assert chisquare(counts).pvalue > 1e-3


def test_a_stratum_is_drawn_uniformly_and_a_window_uniformly_within():
    strata = [[0], [1, 2, 3, 4], [5, 6]]
    drawn = np.concatenate([draw(Some(7, strata), 3, step, 7) for step in range(900)])
    truth = np.array([1 / 3, *[1 / 12] * 4, *[1 / 6] * 2]) * len(drawn)
    counts = np.bincount(drawn, minlength=7)
    assert chisquare(counts, truth).pvalue > 1e-3
    # a sampler that draws windows uniformly, or strata by their size, is far off
    assert chisquare(counts, np.full(7, len(drawn) / 7)).pvalue < 1e-6


@pytest.mark.parametrize("strata", [None, [[0, 1], [2, 3, 4, 5, 6, 7, 8, 9]]])
def test_a_step_depends_on_seed_and_step_alone(strata):
    straight = [draw(Some(10, strata), 5, step, 3) for step in range(12)]
    draw(Some(50), 9, 7, 20)
    again = {step: draw(Some(10, strata), 5, step, 3) for step in (11, 4, 7)}
    assert all((again[step] == straight[step]).all() for step in again)
    assert any((draw(Some(10, strata), 6, step, 3) != straight[step]).any() for step in range(3))


def test_what_is_drawn_cannot_be_changed_by_its_user():
    draw(Some(6), 0, 0, 6)[:] = 0
    assert sorted(draw(Some(6), 0, 0, 6)) == list(range(6))


@pytest.mark.parametrize("size", [0, 4])
def test_a_batch_larger_than_the_data_is_refused(size):
    with pytest.raises(RunError, match=f"batch_size={size}, and there are 3 windows"):
        draw(Some(3), 0, 0, size)
