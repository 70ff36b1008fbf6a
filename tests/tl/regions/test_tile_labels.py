"""Labels of tiles by pixels, against counting them."""

from __future__ import annotations

import numpy as np
import pytest

import spatialfm as sfm
from spatialfm._errors import TableError


@pytest.fixture
def sdata(make_sdata):
    image = np.full((2, 64, 96), 90, np.uint8)
    labels = np.zeros((64, 96), np.int32)
    labels[0:20, 0:20], labels[0:20, 20:32], labels[40:60, 70:96], labels[33:35, 66:68] = 4, 7, 9, 12
    sdata = make_sdata({"a": (image, labels)}, ["DAPI", "CD3"])
    sfm.pp.cell_table(sdata)
    sdata["table"].obs["type"] = ["T", "B", "B", None]
    sfm.tl.embed_tiles(sdata, "mean-intensity", size=32)
    return sdata


def test_the_majority_of_annotated_pixels_decides(sdata):
    sfm.tl.tile_labels(sdata, "type")
    obs = sdata["tiles"].obs
    assert len(obs) == 6
    by_place = {
        tuple(place): row for place, row in zip(sdata["tiles"].obsm["spatial"] * 2, obs.itertuples(), strict=True)
    }
    first = by_place[16.0, 16.0]
    assert first.pixel_label == "T"
    assert first.pixel_label_share == pytest.approx(400 / 640)
    assert first.pixel_label_cover == pytest.approx(640 / 32**2)
    last = by_place[80.0, 48.0]  # the cell without a label does not count
    assert last.pixel_label == "B"
    assert last.pixel_label_share == 1
    assert last.pixel_label_cover == pytest.approx(20 * 26 / 32**2)
    empty = obs["pixel_label"].isna()
    assert empty.sum() == 4
    assert (obs["pixel_label_cover"][empty] == 0).all()


def test_images_may_have_other_names(sdata):
    sample = sdata["tiles"].obs["sample"].iloc[0]
    sfm.tl.tile_labels(sdata, "type")
    expected = sdata["tiles"].obs["pixel_label"].copy()
    sdata["slide"] = sdata[f"image_{sample}"]
    del sdata[f"image_{sample}"]
    sfm.tl.tile_labels(sdata, "type", image={sample: "slide"})
    assert sdata["tiles"].obs["pixel_label"].equals(expected)


def test_what_is_missing_is_named(sdata):
    with pytest.raises(TableError, match="No column 'kind'"):
        sfm.tl.tile_labels(sdata, "kind")
    with pytest.raises(TableError, match=r"No table 'squares'.*embed_tiles"):
        sfm.tl.tile_labels(sdata, "type", table_name="squares")


def test_scores_of_pure_tiles(make_sdata):
    """Tiles of one texture each: where labels are pure, a linear classifier reads them."""
    from anndata import AnnData

    rng = np.random.default_rng(0)
    names = rng.choice(["T", "B"], 400)
    share = rng.uniform(0.5, 1, 400)
    shown = np.where(rng.random(400) < share, names == "T", names != "T")  # an impure tile may look like the other kind
    tiles = AnnData(obsm={"X_m": (shown + 0.1 * rng.normal(size=400))[:, None]})
    tiles.obs["label"], tiles.obs["share"] = names, share
    tiles.obs["patient"] = np.repeat([f"P{i}" for i in range(8)], 50)
    options = {"use_rep": "X_m", "C": 1.0}
    scores = [
        sfm.tl.evaluate_annotation(tiles, "label", dominance=limit, **options).query("score == 'f1'")["mean"].iloc[0]
        for limit in (None, ("share", 0.7), ("share", 0.95))
    ]
    assert scores[0] < scores[1] < scores[2]
    assert scores[2] > 0.93


def test_a_field_without_cells_has_tiles_without_label(make_sdata):
    image = np.full((2, 64, 64), 90, np.uint8)
    labels = np.zeros((64, 64), np.int32)
    full = labels.copy()
    full[0:20, 0:20] = 4
    sdata = make_sdata({"a": (image, labels), "b": (image, full)}, ["DAPI", "CD3"])
    sfm.pp.cell_table(sdata, on_missing="drop")
    sdata["table"].obs["type"] = "T"
    sfm.tl.embed_tiles(sdata, "mean-intensity", size=32)
    sfm.tl.tile_labels(sdata, "type")
    obs = sdata["tiles"].obs
    assert obs["pixel_label"][obs["sample"] == "a"].isna().all()
    assert (obs["pixel_label_cover"][obs["sample"] == "a"] == 0).all()
    assert obs["pixel_label"][obs["sample"] == "b"].notna().sum() == 1
