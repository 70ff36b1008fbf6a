"""What a model was not trained for is said once, in one sentence."""

from __future__ import annotations

import warnings

import pytest

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning
from spatialfm.embed.domain import domain_warnings, looks_ion_based


@pytest.mark.parametrize(
    ("channels", "size", "ion"),
    [
        (["CD8-Dy162", "CD3"], 0.5, True),
        (["162Dy_CD8"], None, True),
        (["CD20(Dy161)", "DAPI"], None, True),
        (["CD3", "DNA1", "DNA3"], None, True),
        (["HH3", "CD45"], 0.5, True),
        (["CD3", "CD8"], 1.0, True),
        (["DAPI", "CD3"], 1.0, False),
        (["Hoechst", "HistoneH3"], 0.5, False),
        (["CD3", "CD8", "CD163", "Pr", "Er"], 0.377, False),
        (["CD150", "CD141", "IL-17A"], None, False),
    ],
)
def test_ion_based_images_are_told_by_their_names(channels, size, ion):
    assert looks_ion_based(channels, size) is ion


def said(name, channels, size, ratio=1.0, n_known=None):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = domain_warnings(
            sfm.models.card(name), [channels], [size], [ratio], n_markers=len(channels), n_known=n_known
        )
    # markers that the model has not seen are named in a warning of `marker_ids`, and not a second time here
    assert [str(item.message) for item in caught] == [text for text in found if "has seen only" not in text]
    assert all(item.category is SpatialfmWarning for item in caught)
    return found


def test_nothing_is_said_where_all_is_well():
    assert said("kronos", ["DAPI", "CD3"], 0.5, n_known=2) == []
    assert said("virtues", ["DNA1", "CD3"], 1.0, n_known=2) == []
    assert said("classical", ["DNA1", "CD3"], None) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("kronos", ["DNA1", "CD3"], 0.5),
            "kronos was trained on fluorescence, and 1 of 1 image looks ion-based (IMC, MIBI).",
        ),
        (
            ("virtues-imc14", ["DAPI", "CD3"], 1.0),
            "virtues-imc14 was trained on ion-based images, and 1 of 1 image does not look so.",
        ),
        (
            ("virtues", ["DAPI"], 0.4),
            "virtues was trained at 1 µm per pixel, and 1 of 1 image is used at 0.4 without",
        ),
        (("dinov2-l", ["DAPI"], 0.5), "dinov2-l was trained on RGB images; each marker is shown to it as a grey one."),
        (("kronos", ["DAPI", "a", "b"], 0.5, 1.0, 1), "kronos has seen only 1 of the 3 markers."),
    ],
)
def test_each_case_is_one_sentence(arguments, sentence):
    (found,) = said(*arguments)
    assert found.startswith(sentence)
    assert found.count(". ") == 0
