"""What workers give to the process that trains."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from spatialfm.train.batch import WindowSample
from spatialfm.train.block import ALIGNED, in_one_block
from spatialfm.train.steps import batches_of

VALUES = [
    torch.arange(6.0).reshape(2, 3).T,
    torch.tensor(3),
    torch.zeros(0, 4),
    torch.tensor([True, False]),
    torch.randn(3).bfloat16(),
    torch.tensor([1 + 2j]).conj(),
    torch.arange(5).to_sparse(),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: str(value.dtype))
def test_tensors_come_back_as_they_were(value):
    again, beside = in_one_block({"a": value, "b": torch.ones(3)}).unpacked().values()
    assert again.dtype == value.dtype
    assert torch.equal(again.to_dense(), value.to_dense())
    assert torch.equal(beside, torch.ones(3))


def test_all_contents_are_in_one_block_and_can_be_written():
    views = [(torch.full((3,), float(i)), np.full(2, i), f"window {i}", None) for i in range(50)]
    block = in_one_block(views)
    assert len(block.places) == 100
    assert all(first % ALIGNED == 0 for first, _ in block.places)
    assert b"torch.storage" not in block.rest
    again = block.unpacked()
    for value, (tensor, array, name, nothing) in zip(views, again, strict=True):
        assert torch.equal(tensor, value[0])
        assert (array == value[1]).all()
        assert (name, nothing) == value[2:]
    again[7][0].add_(1)
    assert again[7][0].tolist() == [8.0] * 3
    assert again[8][0].tolist() == [8.0] * 3
    assert again[6][0].tolist() == [6.0] * 3


class _Many:
    """Windows of five tensors, 64 in a step."""

    def indices(self, step):
        return range(64)

    def sample(self, index, rng):
        return WindowSample(torch.full((1, 2, 2), float(index)), torch.tensor([index]), ("CD3",), index)

    def describe(self, index):
        return str(index)


def _five(window, rng):
    return [window.pixels, window.markers, *torch.rand(3, 4)]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts the open files of Linux")
def test_a_batch_of_many_windows_takes_few_open_files():
    """Many systems allow 1,024: a worker that needed one for each tensor waited for ever, and so did the run."""
    before = len(os.listdir("/proc/self/fd"))
    for step, batch in batches_of(_Many(), _five, 0, range(3), workers=1):
        assert [one.views[0][0, 0, 0].item() for one in batch] == list(range(64)), step
        assert len(os.listdir("/proc/self/fd")) - before < 20
