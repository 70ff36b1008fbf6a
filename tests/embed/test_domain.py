"""What a model was not trained for is reported once, in one sentence."""

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
        (["CD3", "CD8"], 1.04, True),
        (["CD3", "CD8"], 1.06, False),
        (["CD3", "CD8"], 0.8, False),
        (["CD3", "CD8"], None, False),
        (["DNA1", "CD8"], 0.5, True),
        (["Histone H3"], None, True),
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


def run(name, channels, sizes, ratios=None, n_known=None, common=False, n_markers=4):
    """All that is found, warnings aside."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return domain_warnings(
            sfm.models.card(name), channels, sizes, ratios or [1.0] * len(sizes), n_markers=n_markers, n_known=n_known,
            common=common,
        )  # fmt: skip


def test_one_image_of_several_is_enough():
    fluorescence, ion = ["DAPI", "CD3"], ["DNA1", "CD3"]
    assert "2 of 3 images look ion-based" in run("kronos", [ion, fluorescence, ion], [0.5] * 3)[0]
    assert "1 of 2 images does not look so" in run("virtues-imc14", [ion, fluorescence], [1.0] * 2)[0]
    assert run("virtues-imc14", [ion, ion], [1.0] * 2) == []


@pytest.mark.parametrize(("n_known", "said"), [(0, True), (1, True), (2, False), (4, False), (None, False)])
def test_fewer_than_half_of_the_markers_are_few(n_known, said):
    found = run("kronos", [["DAPI"] * 4], [0.5], n_known=n_known)
    assert found == ([f"kronos has seen only {n_known} of the 4 markers."] if said else [])


@pytest.mark.parametrize(("size", "said"), [(0.35, False), (0.32, True), (0.54, False), (0.56, True), (None, False)])
def test_a_size_more_than_ten_percent_outside_of_the_range_is_said(size, said):
    """KRONOS: 0.37 to 0.5 µm."""
    found = run("kronos", [["DAPI"]], [size])
    assert bool(found) is said
    if said:
        assert found[0] == (
            f"kronos was trained at 0.37 to 0.5 µm per pixel, and 1 of 1 image is used at {size:g} without resampling."
        )
    assert run("kronos", [["DAPI"]], [size], [1.3]) == []  # resampled: it is not used at that size


@pytest.mark.parametrize(("ratio", "said"), [(1.0, True), (2.0, False), (1.85, False), (1.8, True)])
def test_images_side_by_side_at_two_sizes_are_said(ratio, said):
    """0.25 µm resampled by 2 is 0.5 µm, next to one of 0.5 µm; by 1.8 it is 0.45, more than 10 % off."""
    found = run("classical", [["DAPI"], ["DAPI"]], [0.25, 0.5], [ratio, 1.0], common=True)
    assert any("side by side without resampling" in text for text in found) is said
    assert run("classical", [["DAPI"], ["DAPI"]], [0.25, 0.5], [ratio, 1.0]) == []
    assert run("classical", [["DAPI"], ["DAPI"]], [None, 0.5], common=True) == []
