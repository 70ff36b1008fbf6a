"""What `tissue=` takes, and what it refuses before any work."""

from __future__ import annotations

import numpy as np
import pytest
from geopandas import GeoDataFrame
from shapely import box
from spatialdata.models import Labels2DModel, ShapesModel
from spatialdata.transformations import Affine, Identity, Scale, Sequence, Translation

import spatialfm as sfm
from spatialfm._errors import ArgumentError, CoordinateError, ElementError, SpatialfmWarning
from spatialfm.pp.elements import match_elements
from spatialfm.pp.tissue_sources import tissue_sources

CHANNELS = ["DAPI", "CD3"]


@pytest.fixture
def sdata(make_sdata):
    """Two images of 40 x 60 pixels of 0.5 µm, full of tissue, with 15 cells each."""
    rng = np.random.default_rng(0)
    labels = np.zeros((40, 60), np.int32)
    for number, (y, x) in enumerate(np.argwhere(np.ones((3, 5))) * (12, 11) + 4, start=1):
        labels[y : y + 6, x : x + 6] = number
    return make_sdata({sample: (rng.poisson(20, (2, 40, 60)).astype(np.uint8), labels) for sample in "ab"}, CHANNELS)


def add(sdata, name, mask, transformation=None, sample="a"):
    sdata[name] = Labels2DModel.parse(
        mask.astype(np.int32),
        dims=("y", "x"),
        transformations={sample: transformation or Scale([0.5, 0.5], axes=("x", "y"))},
    )


def masks(sdata, tissue, ratio=1.0):
    pairs = match_elements(sdata)
    shape = (round(40 / ratio), round(60 / ratio))
    sources = tissue_sources(sdata, pairs, tissue, [shape] * 2, [ratio] * 2, [0.5 * ratio] * 2)
    return [source.given() if source.kind == "given" else source.kind for source in sources]


def test_masks_as_they_are(sdata):
    mask = np.random.default_rng(1).random((40, 60)) < 0.4
    add(sdata, "tissue_a", mask * 3)
    for given in ("tissue_{sample}", mask, mask.astype(np.uint8)):
        tissue = {"a": given if not isinstance(given, str) else "tissue_a", "b": "all"}
        found = masks(sdata, tissue)
        np.testing.assert_array_equal(found[0], mask)
        assert found[1] == "all"
    found = masks(sdata, "auto")  # the sample's own element
    np.testing.assert_array_equal(found[0], mask)
    assert found[1] == "auto"


def test_offset_and_scale_of_a_labels_element_are_applied(sdata):
    coarse = np.zeros((12, 17), bool)
    coarse[3:6, 4:9] = True  # pixels of 2 µm, from (-2, -2) µm: rows 4 to 10 µm, columns 6 to 16 µm of the image
    where = Sequence([Scale([2.0, 2.0], axes=("x", "y")), Translation([-2.0, -2.0], axes=("x", "y"))])
    add(sdata, "drawn", coarse, where)
    expected = np.zeros((40, 60), bool)
    expected[8:20, 12:32] = True
    np.testing.assert_array_equal(masks(sdata, {"a": "drawn", "b": "auto"})[0], expected)
    half = masks(sdata, {"a": "drawn", "b": "auto"}, ratio=2.0)[0]
    np.testing.assert_array_equal(half, expected[::2, ::2])


def test_shapes_are_tissue_inside(sdata):
    drawn = GeoDataFrame({"geometry": [box(3, 2, 10, 6), box(10, 2, 12, 6)]})
    sdata["outline"] = ShapesModel.parse(drawn, transformations={"a": Identity()})
    expected = np.zeros((40, 60), bool)
    expected[4:12, 6:24] = True
    np.testing.assert_array_equal(masks(sdata, {"a": "outline", "b": "auto"})[0], expected)


def test_statistics_follow_the_mask(sdata):
    """KRONOS' cohort statistics and tiles against numpy over the same pixels."""
    mask = np.zeros((40, 60), bool)
    mask[:, :32] = True
    add(sdata, "half_a", mask)
    tissue = {"a": "half_a", "b": mask}
    encoder = sfm.models.load("kronos", weights="random")
    table = sfm.tl.embed_cells(sdata, encoder, recipe={"statistics": "cohort", "tissue": tissue}, copy=True)
    notes = sfm.get.record(table, "X_kronos")
    values = np.concatenate([sdata[f"image_{sample}"].values[:, mask] for sample in "ab"], axis=1) / 255
    np.testing.assert_allclose(notes["normalization_mean"], values.mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(notes["normalization_std"], values.std(axis=1), rtol=1e-5)
    assert notes["tissue"] == {"a": "labels 'half_a'", "b": "array"}
    assert notes["tissue_kept"] == {"a": pytest.approx(32 / 60, abs=1e-6), "b": pytest.approx(32 / 60, abs=1e-6)}
    everything = sfm.tl.embed_cells(sdata, encoder, recipe={"statistics": "cohort"}, copy=True)
    notes = sfm.get.record(everything, "X_kronos")
    whole = np.stack([sdata[f"image_{sample}"].values for sample in "ab"], axis=1).reshape(2, -1) / 255
    np.testing.assert_allclose(notes["normalization_mean"], whole.mean(axis=1), rtol=1e-5)
    assert notes["tissue_kept"] == {"a": 1, "b": 1}
    tiles = sfm.tl.embed_tiles(sdata, "mean-intensity", size=20, recipe={"tissue": tissue}, copy=True)
    assert (tiles.obsm["spatial"][:, 0] < 20).all()
    assert sorted(set(np.round(tiles.obs["tissue"], 6))) == [0.6, 1.0]
    assert sfm.tl.embed_tiles(sdata, "mean-intensity", size=20, copy=True).n_obs == 2 * 6  # a full field: all of them


def test_cells_that_are_lost_are_told_once(sdata):
    mask = np.zeros((40, 60), bool)
    mask[:, :20] = True
    with pytest.warns(SpatialfmWarning, match=r"Less than half of 2 images") as caught:
        sfm.tl.embed_tiles(sdata, "mean-intensity", size=20, recipe={"tissue": {"a": mask, "b": mask}}, copy=True)
    (message,) = [str(warning.message) for warning in caught if "Less than half" in str(warning.message)]
    # centroids of the columns of cells: 6.5, 17.5, 28.5, 39.5, 50.5
    assert "a: 33% of the pixels, 9 of 15 cells outside, b: 33% of the pixels, 9 of 15 cells outside" in message
    assert "recipe={\"tissue\": 'all'}" in message


def _rotated(sdata):
    add(sdata, "bad", np.ones((40, 60)), Affine([[0, 1, 0], [1, 0, 0], [0, 0, 1]], ("x", "y"), ("x", "y")))


@pytest.mark.parametrize(
    ("prepare", "tissue", "error", "message"),
    [
        (
            None,
            "mask",
            ElementError,
            r'No labels or shapes element .mask. in sdata \(recipe=\{"tissue": \.\.\.\}, sample .a.\); found',
        ),
        (None, "tissue_{sample}", ElementError, r"element 'tissue_a'"),
        (
            None,
            {"c": "auto"},
            ElementError,
            r'recipe=\{"tissue": \.\.\.\} names sample .c., but the samples are .a., .b.',
        ),
        (None, {"a": "auto"}, ElementError, r'recipe=\{"tissue": \.\.\.\} does not cover 1 sample: .b.'),
        (None, np.ones((40, 60), bool), ElementError, r'One mask \(recipe=\{"tissue": \.\.\.\}\) for 2 samples'),
        (None, 0.5, ArgumentError, r"tissue=0.5.*a string, an array or a dict"),
        (
            None,
            {"a": np.ones((40, 60)), "b": "all"},
            ElementError,
            r'sample .a. \(recipe=\{"tissue": \.\.\.\}\) is 2-D float64',
        ),
        (
            None,
            {"a": np.ones((20, 60), bool), "b": "all"},
            ElementError,
            r"20 x 60 pixels, image 'image_a' has 40 x 60",
        ),
        (
            None,
            {"a": np.zeros((40, 60), bool), "b": "all"},
            ElementError,
            r'Array \(recipe=\{"tissue": \.\.\.\}\) contains no tissue in image',
        ),
        (
            lambda s: add(s, "bad", np.zeros((40, 60))),
            {"a": "bad", "b": "all"},
            ElementError,
            r'Labels .bad. \(recipe=\{"tissue": \.\.\.\}\) contains no tissue in image .image_a.',
        ),
        (
            lambda s: add(s, "bad", np.ones((40, 30))),
            {"a": "bad", "b": "all"},
            ElementError,
            r'Labels .bad. \(recipe=\{"tissue": \.\.\.\}\) cover 50% of image .image_a.',
        ),
        (
            lambda s: add(s, "bad", np.ones((40, 60)), sample="elsewhere"),
            {"a": "bad", "b": "all"},
            CoordinateError,
            r"Element 'bad' is not in coordinate system 'a'",
        ),
        (_rotated, {"a": "bad", "b": "all"}, CoordinateError, r"Element 'bad' is rotated"),
    ],
)
def test_refusals_come_before_any_pixel_is_read(sdata, monkeypatch, prepare, tissue, error, message):
    if prepare:
        prepare(sdata)
    monkeypatch.setattr("spatialfm.embed.pixels.reader.SampleReader.pixels", None)
    with pytest.raises(error, match=message):
        sfm.tl.embed_tiles(sdata, "mean-intensity", size=20, recipe={"tissue": tissue})
    assert not sdata.tables
