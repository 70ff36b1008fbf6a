"""Tissue as an element: what is written, what rests on it, and elements that no longer fit."""

from __future__ import annotations

import numpy as np
import pytest
import spatialdata as sd
from geopandas import GeoDataFrame
from shapely import box
from spatialdata.models import Labels2DModel, ShapesModel
from spatialdata.transformations import Identity, Scale, Sequence, Translation, set_transformation

import spatialfm as sfm
from spatialfm._errors import ArgumentError, ElementError, PanelError
from spatialfm.pp.elements import match_elements
from spatialfm.pp.tissue_masks import SIDE, found_tissue, pixels_of, squares
from spatialfm.pp.tissue_sources import sources_of_images

NAMES = ["DAPI", "CD3"]


def slide(height: int, width: int, edge: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Tissue of blobs right of column `edge`, glass left of it; one cell in a corner that both have."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    grain = 60 + 50 * np.sin(rows / 3.1) * np.cos(columns / 2.7)
    image = rng.poisson(np.where(columns >= edge, grain, 0.5), (2, height, width)).astype(np.uint16)
    labels = np.zeros((height, width), np.int32)
    labels[4:10, -10:-4] = 1
    return image, labels


@pytest.fixture
def sdata(make_sdata):
    return make_sdata(a=slide(150, 200, 80), b=slide(150, 200, 120, seed=1), channels=NAMES)


def statistics(sdata, **options):
    """Statistics of the cohort, the share of each image that they are of, and the tiles."""
    table = sfm.tl.embed_tiles(sdata, "classical", size=options.pop("size", 20), copy=True, **options)
    return sfm.get.record(table, "X_classical"), table


@pytest.mark.parametrize(("height", "width"), [(150, 200), (530, 600)])
def test_the_default_element_gives_the_numbers_of_today(make_sdata, height, width):
    """An element at the grid on which tissue is found: the same mask, statistics, tiles and qualities, to the bit."""
    sdata = make_sdata(a=slide(height, width, width // 2), b=slide(height, width, width // 3, seed=1), channels=NAMES)
    before, tiles = statistics(sdata, size=50)
    quality = sfm.pp.channel_quality(sdata)
    sfm.pp.tissue(sdata)
    after, same = statistics(sdata, size=50)
    for key in ("normalization_mean", "normalization_std", "tissue_kept"):
        assert before[key] == after[key]
    assert min(before["normalization_std"]) < 0.1  # not those of a model that takes pixels as they are
    assert before["tissue"] == {"a": "auto", "b": "auto"}
    assert after["tissue"] == {"a": "labels 'tissue_a' (method 'auto')", "b": "labels 'tissue_b' (method 'auto')"}
    assert 0.4 < after["tissue_kept"]["a"] < 0.6
    assert "tissue_method" in before
    assert "tissue_method" not in after  # none was found in that run; how the elements were made stands beside it
    assert after["tissue_made"]["a"] == sdata.attrs["spatialfm"]["tissue"]["tissue_a"]
    np.testing.assert_array_equal(tiles.obsm["X_classical"], same.obsm["X_classical"])
    np.testing.assert_array_equal(tiles.obs["tissue"], same.obs["tissue"])
    assert quality.equals(sfm.pp.channel_quality(sdata))


def test_a_large_image_keeps_the_borders_of_its_mask(make_sdata):
    """More than 4,096 pixels: a mask of the user is kept in squares of 2, which do not end where those of 11 do."""
    sdata = make_sdata(a=slide(5400, 60, 30), channels=NAMES, chunks=(2, 600, 60))
    sfm.pp.tissue(sdata)
    (source,) = sources_of_images(sdata, match_elements(sdata), "auto")
    image = sdata["image_a"].data
    step = squares((5400, 60), SIDE)
    cells = source.where_cells_are((5400, 60), step)
    mask, same = found_tissue(pixels_of(image), 2, (5400, 60), source.size, cells)
    assert (source.kind, source.step, same) == ("given", 11, 11)
    np.testing.assert_array_equal(source.given(), mask)
    assert 0 < mask.mean() < 1


def test_where_and_what_is_written(sdata):
    """On an image that is elsewhere, in pixels of 2 µm: the mask covers it, less than one of its pixels beyond."""
    moved = Sequence([Scale([0.5, 0.5], axes=("x", "y")), Translation([30.0, -7.0], axes=("x", "y"))])
    for element in ("image_a", "cells_a"):
        set_transformation(sdata[element], moved, "a")
    assert sfm.pp.tissue(sdata, resolution=3.0) is None
    assert sdata["tissue_a"].shape == (25, 34)  # squares of 6 pixels of 0.5 µm
    assert sdata["tissue_a"].dtype.kind == "u"
    extents = [sd.get_extent(sdata[name], coordinate_system="a") for name in ("image_a", "tissue_a")]
    for axis, (low, high) in extents[0].items():
        assert extents[1][axis][0] == low
        assert 0 <= extents[1][axis][1] - high < 3
    made = sdata.attrs["spatialfm"]["tissue"]["tissue_a"]
    assert (made["method"], made["channels"], made["mpp"]) == ("auto", NAMES, 3.0)
    assert made["share"] == pytest.approx(np.mean(sdata["tissue_a"].values), abs=1e-6)
    whole = sfm.pp.tissue(sdata, "all", copy=True)
    assert sorted(whole) == ["a", "b"]
    assert whole["a"].values.all()


def test_what_is_painted_is_taken(sdata):
    """A mask that was edited, against numpy over the same pixels, and the record states it."""
    sfm.pp.tissue(sdata)
    mask = np.zeros((150, 200), np.uint8)
    mask[20:90, 100:170] = 1
    sdata["tissue_a"].data[:] = mask
    sdata["tissue_b"].data[:] = mask
    record, tiles = statistics(sdata)
    assert record["tissue"]["a"] == "labels 'tissue_a' (method 'auto', edited since)"
    values = np.concatenate([sdata[f"image_{sample}"].values[:, mask > 0] for sample in "ab"], axis=1) / 65535
    np.testing.assert_allclose(record["normalization_std"], values.std(axis=1), rtol=1e-5)
    quality = sfm.pp.channel_quality(sdata)
    np.testing.assert_allclose(quality.loc["a", "mean"], sdata["image_a"].values[:, mask > 0].mean(axis=1))
    assert (tiles.obs["tissue"] == 1).sum() == 2 * 3 * 3  # rows 20 to 80 of the mask, columns 100 to 160


def test_shapes_of_that_name_are_taken_too(sdata):
    sdata["tissue_a"] = ShapesModel.parse(
        GeoDataFrame({"geometry": [box(50, 10, 85, 45)]}), transformations={"a": Identity()}
    )
    record, _ = statistics(sdata)
    assert record["tissue"] == {"a": "shapes 'tissue_a'", "b": "auto"}
    assert record["tissue_kept"]["a"] == pytest.approx(70 * 70 / (150 * 200), abs=1e-6)


@pytest.mark.parametrize("function", ["embed_tiles", "embed_cells", "channel_quality"])
def test_elements_that_do_not_fit_are_refused_by_name(sdata, function):
    call = {
        "embed_tiles": lambda: sfm.tl.embed_tiles(sdata, "mean-intensity", size=20),
        "embed_cells": lambda: sfm.tl.embed_cells(sdata, "mean-intensity"),
        "channel_quality": lambda: sfm.pp.channel_quality(sdata),
    }[function]
    sfm.pp.tissue(sdata)
    whole = sdata["tissue_a"]
    for rows, columns in ((slice(0, 100), slice(0, 200)), (slice(0, 150), slice(0, 150))):
        sdata["tissue_a"] = Labels2DModel.parse(
            whole.values[rows, columns], dims=("y", "x"), transformations={"a": Scale([0.5, 0.5], axes=("x", "y"))}
        )
        with pytest.raises(ElementError, match=r"Labels 'tissue_a'.*not of image 'image_a'.*sfm\.pp\.tissue\(sdata"):
            call()
    larger = np.pad(whole.values, ((0, 40), (0, 0)))  # of an image that was cut since
    sdata["tissue_a"] = Labels2DModel.parse(
        larger, dims=("y", "x"), transformations={"a": Scale([0.5, 0.5], axes=("x", "y"))}
    )
    with pytest.raises(ElementError, match=r"have 190 rows and 200 columns, and the image is on their rows 0 to 150"):
        call()
    sdata["tissue_a"] = Labels2DModel.parse(
        np.zeros((150, 200), np.uint8), dims=("y", "x"), transformations={"a": Scale([0.5, 0.5], axes=("x", "y"))}
    )
    with pytest.raises(ElementError, match=r"Labels 'tissue_a' contains no tissue.*del sdata\['tissue_a'\]"):
        call()
    sfm.pp.tissue(sdata, overwrite=True)  # what the messages propose
    call()


def test_nothing_is_written_over(sdata):
    sfm.pp.tissue(sdata, samples=["a"])
    kept = sdata["tissue_a"]
    with pytest.raises(ElementError, match=r"already has labels 'tissue_a', in which corrections would be lost"):
        sfm.pp.tissue(sdata)
    assert sdata["tissue_a"] is kept
    assert "tissue_b" not in sdata
    sdata["tissue_b"] = sdata["image_b"]
    with pytest.raises(ElementError, match=r"sdata\.images holds one of that name"):
        sfm.pp.tissue(sdata, overwrite=True)


def test_refusals(sdata):
    with pytest.raises(ArgumentError, match=r"max_hole= belongs to method='otsu'"):
        sfm.pp.tissue(sdata, max_hole=10.0)
    with pytest.raises(PanelError, match=r"No channel 'CD4' in image 'image_a' \(channels=\); found 'DAPI', 'CD3'"):
        sfm.pp.tissue(sdata, channels=["CD4"])
    set_transformation(sdata["image_a"], Identity(), "a")
    set_transformation(sdata["cells_a"], Identity(), "a")
    with pytest.raises(ElementError, match=r"pixel size of image 'image_a' is unknown, so that resolution="):
        sfm.pp.tissue(sdata, resolution=2.0)
    assert not [name for name in sdata.labels if name.startswith("tissue_")]


def test_tissue_is_no_cells(make_sdata):
    """Where a name does not state which labels are the cells, those of the tissue are none."""
    sdata = make_sdata(a=slide(60, 60, 20), channels=NAMES)
    sdata["nuclei"] = sdata["cells_a"]
    del sdata["cells_a"]
    sfm.pp.tissue(sdata)
    assert [pair.labels for pair in match_elements(sdata)] == ["nuclei"]
    del sdata["nuclei"]
    assert [pair.labels for pair in match_elements(sdata, need_labels=False)] == [None]


def test_negative_pixels_count_as_nothing(make_sdata):
    """-9999 for "no data", as embeddings count it: the mask of the image with 0 there."""
    image, labels = slide(150, 200, 80)
    marked, zeros = image.astype(np.float32), image.astype(np.float32)
    marked[:, :40, :40], zeros[:, :40, :40] = -9999, 0
    masks = [
        sfm.pp.tissue(make_sdata(a=(one, labels), channels=NAMES), copy=True)["a"].values for one in (marked, zeros)
    ]
    np.testing.assert_array_equal(*masks)
    quality = [sfm.pp.channel_quality(make_sdata(a=(one, labels), channels=NAMES)) for one in (marked, zeros)]
    assert quality[0]["tissue"].tolist() == quality[1]["tissue"].tolist()


def test_otsu_of_one_channel(make_sdata):
    """A disc of 20 µm in one channel, the other one bright elsewhere."""
    rows, columns = np.mgrid[:200, :200]
    disc = (rows - 100) ** 2 + (columns - 100) ** 2 < 40**2
    image = np.stack([np.where(disc, 200, 4), np.where(columns > 150, 250, 3)]).astype(np.uint8)
    sdata = make_sdata(a=(image, disc.astype(np.int32)), channels=NAMES)
    mask = sfm.pp.tissue(sdata, "otsu", channels=["DAPI"], smoothing=1.0, copy=True)["a"].values > 0
    assert (mask & disc).sum() / (mask | disc).sum() > 0.95
    both = sfm.pp.tissue(sdata, "otsu", smoothing=1.0, copy=True)["a"].values > 0
    assert both[:, 160:].all()
