"""Windows of a validation: the same each time, in whole batches where a term needs them, and means over counts."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from spatialfm.train import drawn as module
from spatialfm.train.drawn import DrawnWindows, HeldOut, Validation, _over_processes, fixed_windows, spread_out


class Numbers:
    """Windows that are told by their number and what their generator draws."""

    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def sample(self, index, rng, **how):
        return index, float(rng.random()), how


@pytest.mark.parametrize(("n", "most", "expected"), [(10, 4, [0, 3, 6, 9]), (3, 9, [0, 1, 2]), (100, 2, [0, 99])])
def test_numbers_are_evenly_apart(n, most, expected):
    assert spread_out(n, most) == expected


def test_held_out_windows_are_the_same_in_every_batch_and_not_augmented():
    held = HeldOut(DrawnWindows(Numbers(10), 3, 4), (1, 5, 7, 8, 9))
    assert [list(held.indices(step)) for step in (0, 1)] == [[1, 5, 7, 8], [9]]
    first = held.sample(5, np.random.default_rng(0))
    assert first == held.sample(5, np.random.default_rng(1))
    assert first[1] != held.sample(7, np.random.default_rng(0))[1]
    assert first[2] == {"augment": False}
    other = HeldOut(DrawnWindows(Numbers(10), 4, 4), (5,))
    assert first[1] != other.sample(5, np.random.default_rng(0))[1]


def test_windows_of_the_monitor_have_all_channels_and_are_always_the_same():
    one, two = (fixed_windows(Numbers(20), 0, 3) for _ in range(2))
    assert [index for index, *_ in one] == [0, 10, 19] or [index for index, *_ in one] == [0, 9, 19]
    assert one == two
    assert one[0][2] == {"channels": False, "augment": False}


@pytest.mark.parametrize(("of_batch", "world", "n_chosen"), [(False, 2, 9), (True, 2, 8), (True, 1, 9)])
def test_a_last_batch_that_leaves_a_process_without_windows_is_left_out(of_batch, world, n_chosen):
    fabric = SimpleNamespace(world_size=world)
    one = Validation(fabric, SimpleNamespace(of_batch=of_batch), DrawnWindows(Numbers(9), 0, 4))
    assert len(one.held_out.chosen) == n_chosen


def test_sums_of_processes_are_added_and_a_term_of_one_alone_is_kept(monkeypatch):
    parts = [{"a": np.array([1.0, 2])}, {"a": np.array([3.0, 4]), "b": np.array([5.0, 6])}]

    def gather(out, own):
        out[:] = parts

    monkeypatch.setattr(module.torch.distributed, "all_gather_object", gather)
    found = _over_processes(parts[0], 2)
    assert {name: value.tolist() for name, value in found.items()} == {"a": [4, 6], "b": [5, 6]}
    assert _over_processes(parts[0], 1) is parts[0]
