"""Windows of each step: the same in any number of processes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spatialfm._errors import ElementError, RunError
from spatialfm.train.batch import WindowSample
from spatialfm.train.steps import batches_of


class Windows:
    """Step s draws windows 10 s to 10 s + 3; the second marker has one value, and window `bad` cannot be read."""

    def __init__(self, bad=-1):
        self.bad = bad

    def indices(self, step):
        return np.arange(4) + 10 * step

    def sample(self, index, rng):
        if index == self.bad:
            raise ElementError("It is gone.")
        pixels = torch.stack([torch.arange(4.0).reshape(2, 2), torch.full((2, 2), rng.random())])
        return WindowSample(pixels, None, ("CD3", "CD8"), index)

    def describe(self, index):
        return f"sample {index // 10}"


def views(sample, rng):
    return sample.window, float(sample.pixels[1, 0, 0]), rng.random()


def made(world, steps=range(2)):
    ranks = [list(batches_of(Windows(), views, 3, steps, rank=rank, world=world)) for rank in range(world)]
    return {(step, one.index): one.views for rank in ranks for step, batch in rank for one in batch}


def test_each_process_has_every_other_window_and_draws_the_same_numbers():
    alone, together = made(1), made(2)
    assert alone == together
    assert len(alone) == 8
    first = [[one.index for one in batch] for _, batch in batches_of(Windows(), views, 3, range(2), rank=1, world=2)]
    assert first == [[1, 3], [11, 13]]


def test_a_run_that_goes_on_draws_what_it_would_have_drawn():
    whole, rest = made(1, range(3)), made(1, range(2, 3))
    assert rest == {key: one for key, one in whole.items() if key[0] == 2}
    assert len(rest) == 4


def test_windows_channels_and_views_are_drawn_apart():
    numbers = [number for _, channels, of_views in made(1).values() for number in (channels, of_views)]
    assert len(np.unique(np.float32(numbers))) == len(numbers)


def test_markers_of_one_value_are_said():
    ((_, batch),) = batches_of(Windows(), views, 3, range(1))
    assert batch[0].constant == (False, True)
    assert batch[0].names == ("CD3", "CD8")


def test_a_window_that_cannot_be_read_ends_the_run_at_its_step():
    batches = batches_of(Windows(bad=12), views, 3, range(2))
    assert next(batches)[0] == 0
    with pytest.raises(RunError, match=r"Window 12 \(sample 1\) could not be read at step 1: ElementError: It is gone"):
        next(batches)
