from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import spatialfm as sfm
from spatialfm._errors import ClinicalError, ModelError, SpatialfmWarning
from spatialfm.train.augment import NOTHING
from spatialfm.train.layout import WindowSettings, check_images, large_enough, strata_of, text_of


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("p1", "p1"),
        (7, "7"),
        (7.0, "7"),
        (np.float32(7), "7"),
        (7.5, "7.5"),
        (np.nan, None),
        (None, None),
        (pd.NA, None),
    ],
)
def test_one_patient_has_one_name_whatever_type_its_column_has(value, text):
    assert text_of(value) == text


@pytest.mark.parametrize(
    ("crop", "tiles"), [(128, (128, 42, 120)), (64, (64, 21, 60)), (None, (256, 84, 240)), (1, (1, 1, 1))]
)
def test_cells_are_read_in_tiles_as_large_as_what_a_step_sees(crop, tiles):
    """A third of the side apart, and 15/16 of it beyond the image, as published for 128."""
    recipe = sfm.models.card("virtues").recipe
    settings = WindowSettings("virtues", recipe, 256, crop, 256, 0.3, "share", NOTHING, (), "patient", None)
    reading = settings.reading
    assert (reading.window, reading.stride, reading.padding) == tiles
    assert reading.replace(window=128, stride=42, padding=120) == recipe
    of_crops = replace(settings, recipe=sfm.models.card("kronos").recipe)
    assert of_crops.reading == of_crops.recipe


def test_strata_are_the_combinations_that_occur():
    table = pd.DataFrame({"tissue": ["b", "a", "b", "a"], "machine": ["x", "x", "y", "x"]})
    assert strata_of(table, []) is None
    assert [one.tolist() for one in strata_of(table, ["tissue"])] == [[1, 3], [0, 2]]
    assert [one.tolist() for one in strata_of(table, ["tissue", "machine"])] == [[1, 3], [0], [2]]


@pytest.mark.parametrize("which", ["strata", "dataset_key"])
def test_two_spellings_are_not_two_strata_or_data_sets(which):
    """A tissue of two strata would be drawn twice as often as the others."""
    recipe = sfm.models.card("virtues").recipe
    told = {"strata": (), "dataset_key": None} | {which: ("tissue",) if which == "strata" else "tissue"}
    settings = WindowSettings("virtues", recipe, 64, 64, 64, 0.3, "share", NOTHING, told["strata"], "patient",
                              told["dataset_key"])  # fmt: skip

    def images(*values):
        return [SimpleNamespace(name="s", columns={"tissue": value}) for value in values]

    check_images(images("lung", "liver", "lung", 7, 7.0), settings)
    with pytest.raises(ClinicalError, match="Column 'tissue' of the samples spells 'Lung' and ' lung', which read"):
        check_images(images("Lung", "liver", " lung"), settings)
    with pytest.raises(ClinicalError, match="has no value for 1 sample"):
        check_images(images("Lung", np.nan), settings)


def test_an_image_holds_a_window_if_both_of_its_sides_do():
    def image(*shape):
        return SimpleNamespace(name="x".join(map(str, shape)), raw=SimpleNamespace(shape=shape))

    exact, strip = image(64, 64), image(63, 900)
    with pytest.warns(SpatialfmWarning, match="63x900"):
        assert large_enough([strip, exact], 64) == [exact]
    with pytest.raises(ModelError, match="smaller than a window of 64 pixels"):
        large_enough([strip, image(900, 63)], 64)
