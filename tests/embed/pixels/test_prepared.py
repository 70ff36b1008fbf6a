"""Images as a model's own preparation has them: who is asked, what is noted, how much is padded."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from spatialfm.embed.pixels.prepared import of_statistics, padded, preparation_notes, prepare_readers
from spatialfm.models.preparation import PreparedPixels
from spatialfm.models.recipe import Recipe


class Doubled(PreparedPixels):
    """Pixels twice as bright, whose statistics are of pixels as they are."""

    def pixels(self, y0, y1, x0, x1):
        return 2 * self.reader.pixels(y0, y1, x0, x1)

    def of_statistics(self):
        return self.reader

    def notes(self):
        return {"doubled": True}

    def padded(self, rows, columns):
        return rows, columns


def reader(shape=(20, 50)):
    return SimpleNamespace(shape=shape, pixels=lambda *box: np.ones((1, 2, 2)), channels=(0,))


def doubled(shape=(20, 50)):
    one = object.__new__(Doubled)
    object.__setattr__(one, "reader", reader(shape))
    return one


def test_without_a_preparation_readers_are_left_as_they_are():
    readers = [reader(), reader()]
    assert prepare_readers(readers, Recipe(), [None, None]) == readers


def test_each_image_is_prepared_with_what_is_published_for_it():
    seen = []
    recipe = SimpleNamespace(preparation="x", prepare=lambda *one: seen.append(one) or "made")
    readers, known = [reader(), reader()], [None, np.array([1.0])]
    assert prepare_readers(readers, recipe, known) == ["made", "made"]
    assert [one[0] for one in seen] == readers
    assert [one[2] for one in seen] == known
    assert [one[1].reader for one in seen] == readers  # tissue of the same image


def test_statistics_are_of_the_pixels_that_the_preparation_says():
    plain, one = reader(), doubled()
    assert of_statistics([plain, one]) == [plain, one.reader]


def test_notes_are_by_sample_and_of_prepared_images_alone():
    assert preparation_notes(["a", "b"], [reader(), doubled()]) == {"doubled": {"b": True}}


@pytest.mark.parametrize(("padding", "expected"), [(None, (12, 0)), (5, (5, 5)), (0, (0, 0))])
def test_an_image_smaller_than_a_window_gets_the_zeros_that_it_lacks(padding, expected):
    assert padded(doubled(), 32, padding) == expected
    plain = reader()
    assert padded(plain, 32, padding) is plain
