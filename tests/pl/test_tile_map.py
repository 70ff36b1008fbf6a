"""Maps of tiles that overlap: what is seen, point by point."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.path import Path as Outline
from spatialdata.transformations import Identity, set_transformation

import spatialfm as sfm
from spatialfm._errors import TableError

PALETTE = {"T": "#0072b2", "B": "#d55e00", "tumor": "#009e73"}


@pytest.fixture
def sdata(make_sdata):
    """Image of 80 x 112 pixels of 0.5 µm, all tissue, and tiles of 32 pixels every 16."""
    rng = np.random.default_rng(0)
    sdata = make_sdata({"a": (rng.integers(50, 200, (2, 80, 112)).astype(np.uint8), None)}, ["DAPI", "CD3"])
    sfm.tl.embed_tiles(sdata, "mean-intensity", size=32, stride=16, min_tissue=0.0)
    names = rng.choice(list(PALETTE), sdata["tiles"].n_obs)
    sdata["tiles"].obs["kind"] = pd.Categorical(names, list(PALETTE))
    sdata["tiles"].obs["share"] = rng.random(sdata["tiles"].n_obs)
    return sdata


def seen(ax, x, y):
    """Number of the polygon that is on top at a place."""
    paths = ax.collections[0].get_paths()
    return [i for i, path in enumerate(paths) if Outline(path.vertices).contains_point((x, y))][-1]


def test_of_tiles_that_overlap_the_nearest_is_seen(sdata):
    sfm.tl.paint_tiles(sdata, "kind")
    painted = np.asarray(sdata["kind_a"])
    ax = sfm.pl.tile_map(sdata, "a", "kind", palette=PALETTE, show=False)
    colors = ax.collections[0].get_facecolor()
    for row, column in np.ndindex(painted.shape):  # pixels of 8 of the image's, 4 µm
        found = to_hex(colors[seen(ax, 4 * column + 2, 4 * row + 2)])
        assert found == PALETTE[list(PALETTE)[painted[row, column] - 1]]


def test_numbers_are_those_of_the_tile_on_top(sdata):
    ax = sfm.pl.tile_map(sdata, "a", "share", show=False)
    values = ax.collections[0].get_array()
    tiles = sdata["tiles"]
    for place, share in zip(tiles.obsm["spatial"], tiles.obs["share"], strict=True):
        assert values[seen(ax, *place)] == share


@pytest.mark.parametrize(("sizes", "unit"), [({"a": 0.5, "b": None}, "µm"), ({"a": None}, "pixel"), (None, "")])
def test_axes_have_the_unit_of_the_tiles(sdata, sizes, unit):
    record = sdata["tiles"].uns["spatialfm"]["X_mean_intensity"]
    del sdata["tiles"].uns["spatialfm"]["table"]  # as of an earlier version
    assert json.loads(record["mpp_image"]) == {"a": 0.5}
    if sizes is None:
        del sdata["tiles"].uns["spatialfm"]
    else:
        record["mpp_image"] = json.dumps(sizes)
    ax = sfm.pl.tile_map(sdata, "a", "share", show=False)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ((f"x ({unit})", f"y ({unit})") if unit else ("x", "y"))


@pytest.mark.parametrize("mpp", [None, 0.5])
def test_a_size_of_pixels_that_was_told_changes_no_coordinate_and_no_unit(make_sdata, mpp):
    """An image that lies in pixels has its tiles there, whatever size of pixels an embedding is told."""
    sdata = make_sdata({"a": (np.full((1, 64, 96), 90, np.uint8), None)}, ["DAPI"])
    set_transformation(sdata["image_a"], Identity(), "a")
    sfm.tl.embed_tiles(sdata, "mean-intensity", size=32, min_tissue=0.0, elements={"mpp": mpp})
    ax = sfm.pl.tile_map(sdata, "a", "tissue", show=False)
    assert (ax.get_xlabel(), ax.get_xlim()) == ("x (pixel)", (0, 96))


def test_tiles_side_by_side_are_drawn_once(make_sdata):
    sdata = make_sdata({"a": (np.full((1, 64, 96), 90, np.uint8), None)}, ["DAPI"])
    sfm.tl.embed_tiles(sdata, "mean-intensity", size=32, min_tissue=0.0)
    ax = sfm.pl.tile_map(sdata, "a", "tissue", show=False)
    assert len(ax.collections[0].get_paths()) == 6
    assert ax.get_ylim() == (32, 0)  # y points down


@pytest.mark.parametrize(
    ("sample", "color", "message"),
    [("b", "kind", r"No tile of sample 'b'"), ("a", "type", r"No column 'type' in table 'tiles' \(color=\)")],
)
def test_what_is_not_there_is_named(sdata, sample, color, message):
    with pytest.raises(TableError, match=message):
        sfm.pl.tile_map(sdata, sample, color, show=False)
