"""What preparations have in common."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch

from spatialfm._errors import ModelError
from spatialfm.models.preparation import Preparation, PreparedPixels, code_of


@dataclass(frozen=True)
class Halved(PreparedPixels):
    """Of this test."""

    factor: float = 0.5

    def pixels(self, y0, y1, x0, x1):
        """Half of what is there."""
        return self.factor * self.reader.pixels(y0, y1, x0, x1)


class Halving(Preparation):
    """Of this test."""

    name = "halving"

    def prepare(self, reader, tissue, known=None):
        """Half of what is there."""
        return Halved(reader)


READER = SimpleNamespace(shape=(3, 4), channel_names=("CD3",), pixels=lambda *box: 8.0)


def test_all_but_the_pixels_is_as_the_reader_has_it():
    prepared = Halving().prepare(READER, None)
    assert prepared.pixels(0, 1, 0, 1) == 4.0
    assert prepared.shape == (3, 4)
    assert prepared.channel_names == ("CD3",)
    assert prepared.padded(1, 1) is prepared
    assert prepared.of_statistics() is prepared
    assert prepared.highest() is None
    assert prepared.notes() == {}


def test_what_decides_the_pixels_is_code_and_fields_without_the_reader():
    one, other = Halved(READER), Halved(READER, factor=0.25)
    assert one.preparation[1:] == [0.5]
    assert other.preparation[1:] == [0.25]
    assert one.preparation[0] == other.preparation[0]
    assert len(one.preparation[0]) == 1


def test_code_of_the_package_and_of_torch_has_a_version_and_no_digest():
    assert code_of(torch.nn.Linear) == []
    assert code_of(PreparedPixels) == []
    assert code_of(Halved) != code_of(Halving)


def test_it_survives_pickling():
    assert pickle.loads(pickle.dumps(Halved("reader", 0.25))) == Halved("reader", 0.25)


def test_what_does_not_say_how_it_is_undone_is_refused():
    with pytest.raises(ModelError, match="Preparation 'halving' does not say how it is undone"):
        Halving().undo(torch.zeros(1))
    one = Halving()
    assert one.variants() == (one,)
