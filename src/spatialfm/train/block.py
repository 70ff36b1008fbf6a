"""A batch on its way from the worker that made it to the process that trains: all of its arrays in one block of memory.

Torch shares the memory of each tensor by a file of its own, which both processes hold open. A batch of 200 windows with
five tensors each has more than the 1,024 files that many systems allow, and its worker would wait for ever. To open
them also takes as long as to read small windows.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

ALIGNED = 64  # bytes; arrays begin at multiples of it


@dataclass(frozen=True)
class ArraysApart:
    """A value, the contents of its arrays apart.

    Attributes
    ----------
    rest
        All but these contents, pickled.
    memory
        The contents one after the other, bytes.
    places
        First and last byte of each.
    """

    rest: bytes
    memory: Tensor
    places: tuple[tuple[int, int], ...]

    def unpacked(self) -> Any:
        """The value; its arrays and tensors are views of the memory."""
        memory = self.memory.numpy().data
        return pickle.loads(self.rest, buffers=[memory[first:last] for first, last in self.places])


def in_one_block(value: Any) -> ArraysApart:
    """A value in a form of which one tensor is shared, whatever number of arrays it has.

    Examples
    --------
    >>> in_one_block([("window", torch.ones(2)), ("other", torch.zeros(3))]).unpacked()
    [('window', tensor([1., 1.])), ('other', tensor([0., 0., 0.]))]
    """
    rest, buffers = io.BytesIO(), list[pickle.PickleBuffer]()
    _Pickler(rest, protocol=5, buffer_callback=buffers.append).dump(value)
    parts = [buffer.raw() for buffer in buffers]
    starts = list(accumulate((-(-part.nbytes // ALIGNED) * ALIGNED for part in parts), initial=0))
    places = tuple((start, start + part.nbytes) for start, part in zip(starts, parts, strict=False))
    memory = torch.empty(starts[-1], dtype=torch.uint8)
    into = memory.numpy().data
    for part, (first, last) in zip(parts, places, strict=True):
        into[first:last] = part
    return ArraysApart(rest.getvalue(), memory, places)


class _Pickler(pickle.Pickler):
    """Tensors as arrays, whose contents pickle can leave to others; those that numpy cannot hold as torch does it."""

    def reducer_override(self, value: Any) -> Any:
        if type(value) is not Tensor or value.requires_grad:
            return NotImplemented
        try:
            array = value.contiguous().numpy()
        except (TypeError, RuntimeError):  # such as bfloat16, and sparse ones
            return NotImplemented
        return torch.from_numpy, (array,)
