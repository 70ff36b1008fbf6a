"""What the images of a corpus are standardised with."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from spatialfm._errors import SpatialfmWarning
from spatialfm.models.preparation import Preparation
from spatialfm.models.recipe import Recipe
from spatialfm.train.standards import Standard, _range_of, _together, marker_metadata, sets_of

RNG = np.random.default_rng(0)
PIXELS = [RNG.normal(3, 2, (2, 5)), RNG.normal(1, 1, (1, 7)), RNG.normal(9, 1, (2, 4))]
MARKERS = [("CD3", "CD8"), ("CD8",), ("CD3", "CD8")]


class Whole(Preparation):
    """Prepares whole images."""

    name = "whole"

    def prepare(self, reader, tissue, known=None):
        """Nothing."""
        return reader


def images(sources=("a", "a", "b")):
    return [
        SimpleNamespace(markers=names, source=source, columns={"set": number // 2}, keys=np.arange(len(names)))
        for number, (names, source) in enumerate(zip(MARKERS, sources, strict=True))
    ]


def moments():
    return [
        {"count": one.shape[1], "mean": one.mean(1), "squares": ((one - one.mean(1, keepdims=True)) ** 2).sum(1)}
        for one in PIXELS
    ]


def together(sets, counts, markers=("CD8", "CD3")):
    return _together(markers, "a", images(), moments(), sets, counts)


def test_statistics_are_those_of_all_pixels_of_the_images_that_have_a_marker():
    mean, std = together(["a", "a", "a"], [True] * 3)
    cd8, cd3 = np.concatenate([PIXELS[0][1], PIXELS[1][0], PIXELS[2][1]]), np.concatenate([PIXELS[0][0], PIXELS[2][0]])
    np.testing.assert_allclose(mean, [cd8.mean(), cd3.mean()])
    np.testing.assert_allclose(std, [cd8.std(), cd3.std()])


def test_other_sets_and_images_that_do_not_count_are_left_out():
    mean, _ = together(["a", "a", "b"], [True] * 3)
    np.testing.assert_allclose(mean, [np.concatenate([PIXELS[0][1], PIXELS[1][0]]).mean(), PIXELS[0][0].mean()])
    mean, _ = together(["a", "a", "a"], [True, False, False])
    np.testing.assert_allclose(mean, PIXELS[0][[1, 0]].mean(1))


def test_a_marker_that_no_image_that_counts_has_takes_the_others():
    mean, _ = together(["a", "a", "a"], [False, True, False])
    np.testing.assert_allclose(mean, [PIXELS[1][0].mean(), np.concatenate([PIXELS[0][0], PIXELS[2][0]]).mean()])


def test_sets_are_named_or_follow_from_the_model():
    assert sets_of(images(), Recipe(), None) == ["corpus"] * 3
    assert sets_of(images(), Recipe(), "set") == ["0", "0", "1"]
    assert sets_of(images(), Recipe(), "source") == ["a", "a", "b"]
    mixed = images()
    mixed[1].columns["set"] = 0.0  # of a table where another sample has none
    assert sets_of(mixed, Recipe(), "set") == ["0", "0", "1"]
    assert sets_of(images(), Recipe(preparation=Whole()), None) == ["a", "a", "b"]
    with pytest.warns(SpatialfmWarning, match="3 sources of one image each"):
        assert sets_of(images(("a", "b", "c")), Recipe(preparation=Whole()), None) == ["a", "b", "c"]


def test_a_range_of_some_samples_alone_is_none():
    assert _range_of(Recipe(intensity_max=255.0), ["s1"]) == 255.0
    assert _range_of(Recipe(intensity_max={"s1": 255.0}), ["s1"]) == {"s1": 255.0}
    assert _range_of(Recipe(intensity_max={"s1": 255.0}), ["s1", "s2"]) is None


def test_the_table_has_one_row_for_each_marker_and_no_number_where_there_are_several():
    one = Standard(np.array([1.0, 2]), np.array([3.0, 4]), ("cohort", "published"))
    other = Standard(np.array([2.5]), np.array([4.0]), ("cohort",))
    table = marker_metadata(images(), [one, other, one])
    assert table.index.tolist() == ["CD3", "CD8"]
    assert table["n_images"].tolist() == [2, 3]
    assert table.loc["CD3", ["id", "mean", "std"]].tolist() == [0, 1, 3]
    assert table["id"].tolist() == [0, 1]
    assert table["from"].tolist() == ["cohort", "published"]
    assert table.loc["CD8", ["mean", "std"]].isna().all()
    assert one.both.dtype == np.float32
    assert one.both.tolist() == [[1, 2], [3, 4]]
