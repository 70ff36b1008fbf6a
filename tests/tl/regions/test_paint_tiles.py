"""Labels of tiles on the image, against the nearest centre worked out pixel by pixel."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import spatialdata as sd
from spatialdata.transformations import (
    Scale,
    Sequence,
    Translation,
    get_transformation,
    set_transformation,
)

import spatialfm as sfm
from spatialfm._errors import ArgumentError, ElementError, TableError
from spatialfm.pp.class_maps import natural_step, owners, smooth_classes


@pytest.fixture
def sdata(make_sdata):
    """Image of 80 x 112 pixels of 0.5 µm, all tissue, and tiles of 32 pixels every 16."""
    rng = np.random.default_rng(0)
    image = rng.integers(50, 200, (2, 80, 112)).astype(np.uint8)
    sdata = make_sdata({"a": (image, None), "b": (image[:, :50, :70], None)}, ["DAPI", "CD3"])
    sfm.tl.embed_tiles(sdata, "mean-intensity", size=32, stride=16, min_tissue=0.0)
    table = sdata["tiles"]
    names = rng.choice(["T", "B", "tumor"], table.n_obs).astype(object)
    names[rng.random(table.n_obs) < 0.1] = None
    names[0] = None  # the only tile over the corner of a
    table.obs["kind"] = pd.Categorical(names)
    return sdata


def nearest(sdata, sample, shape, step):
    """Category (1, 2, ...) of the labelled tile of nearest centre among those over the middle of each pixel."""
    table = sdata["tiles"]
    mine = table[(table.obs["sample"] == sample) & table.obs["kind"].notna()]
    corners = sdata[f"tiles_{sample}"].bounds.loc[mine.obs["tile_id"]].to_numpy() * 2  # back to pixels
    codes = mine.obs["kind"].cat.codes.to_numpy()
    out, tied = np.zeros(shape, int), np.zeros(shape, bool)
    for row in range(shape[0]):
        for column in range(shape[1]):
            y, x = (row + 0.5) * step, (column + 0.5) * step
            x0, y0, x1, y1 = corners.T
            over = (x0 <= x) & (x < x1) & (y0 <= y) & (y < y1)
            if over.any():
                distance = np.where(over, (x - (x0 + x1) / 2) ** 2 + (y - (y0 + y1) / 2) ** 2, np.inf)
                out[row, column] = codes[distance.argmin()] + 1
                tied[row, column] = len(np.unique(codes[np.isclose(distance, distance.min())])) > 1
    return out, tied


def test_maps_of_regions_are_not_cells(make_sdata):
    """Images without cells: what was tissue before a map was painted is tissue afterwards, and no cell is measured."""
    image = np.random.default_rng(0).gamma(2, 2, (2, 256, 256))
    image[:, 60:180, 60:180] += 150
    sdata = make_sdata({"a": (image.astype(np.uint8), None)}, ["DAPI", "CD3"])
    before = sfm.pp.marker_statistics(sdata)
    assert before.attrs["tissue_kept"]["a"] < 0.4
    sfm.tl.embed_tiles(sdata, "mean-intensity", size=64, stride=32, min_tissue=0.0)
    sdata["tiles"].obs["kind"] = pd.Categorical(np.where(sdata["tiles"].obs["tissue"] > 0.5, "in", "out"))
    sfm.tl.paint_tiles(sdata, "kind")
    pd.testing.assert_frame_equal(sfm.pp.marker_statistics(sdata), before)
    with pytest.raises(ElementError, match="No labels element for image 'image_a'"):
        sfm.pp.cell_table(sdata)


@pytest.mark.parametrize(("mpp", "step", "shape"), [(None, 8, (10, 14)), (0.5, 1, (80, 112)), (1.5, 3, (27, 38))])
def test_a_pixel_belongs_to_the_tile_of_the_nearest_centre(sdata, mpp, step, shape):
    sfm.tl.paint_tiles(sdata, "kind", mpp=mpp)
    painted = np.asarray(sdata["kind_a"])
    assert painted.shape == shape
    assert painted.dtype == np.uint8
    expected, tied = nearest(sdata, "a", shape, step)
    np.testing.assert_array_equal(painted[~tied], expected[~tied])
    assert tied.mean() < 0.05
    assert set(np.unique(painted)) == {0, 1, 2, 3}


def test_tiles_that_end_at_the_edge_are_painted_too(sdata):
    """Sample b has 50 x 70 pixels: its last row begins at 18, its last column at 38."""
    sfm.tl.paint_tiles(sdata, "kind", mpp=0.5)
    expected, tied = nearest(sdata, "b", (50, 70), 1)
    np.testing.assert_array_equal(np.asarray(sdata["kind_b"])[~tied], expected[~tied])


def test_the_map_lies_on_the_image_and_can_be_decoded_from_a_store(sdata, tmp_path):
    sdata["tiles"].uns["kind_colors"] = ["#0072B2", "#D55E00", "#009E73"]
    # the image of b is moved, and in a second coordinate system
    moved = Sequence([Scale([0.5, 0.5], axes=("x", "y")), Translation([100, 40], axes=("x", "y"))])
    for name in ("image_b", "tiles_b"):
        of_element = moved if name == "image_b" else Translation([100, 40], axes=("x", "y"))
        set_transformation(sdata[name], of_element, "slide")
    sfm.tl.paint_tiles(sdata, "kind", key_added="painted")
    sdata.write(tmp_path / "s.zarr")
    again = sd.read_zarr(tmp_path / "s.zarr")
    entry = again.attrs["spatialfm"]["maps"]["painted_a"]
    assert entry["categories"] == ["B", "T", "tumor"]
    assert entry["colors"] == ["#0072B2", "#D55E00", "#009E73"]
    assert (entry["table"], entry["key"]) == ("tiles", "kind")
    for system, corner in (("b", (0, 0)), ("slide", (100, 40))):
        matrix = get_transformation(again["painted_b"], system).to_affine_matrix(("x", "y"), ("x", "y"))
        np.testing.assert_allclose(matrix, [[4, 0, corner[0]], [0, 4, corner[1]], [0, 0, 1]])
    # every tile's own centre shows its label
    table = again["tiles"][again["tiles"].obs["kind"].notna() & (again["tiles"].obs["sample"] == "a")]
    column, row = np.floor(table.obsm["spatial"] / 4).astype(int).T
    values = np.asarray(again["painted_a"])[row, column]
    assert [entry["categories"][value - 1] for value in values] == table.obs["kind"].tolist()


def test_tiles_that_were_moved_with_their_image_are_painted_where_they_lie(sdata):
    sfm.tl.paint_tiles(sdata, "kind")
    before = np.asarray(sdata["kind_a"]).copy()
    set_transformation(
        sdata["image_a"], Sequence([Scale([1.0, 1.0], axes=("x", "y")), Translation([30, 50], axes=("x", "y"))]), "a"
    )
    moved = Sequence([Scale([2.0, 2.0], axes=("x", "y")), Translation([30, 50], axes=("x", "y"))])
    set_transformation(sdata["tiles_a"], moved, "a")
    sfm.tl.paint_tiles(sdata, "kind")
    np.testing.assert_array_equal(np.asarray(sdata["kind_a"]), before)
    matrix = get_transformation(sdata["kind_a"], "a").to_affine_matrix(("x", "y"), ("x", "y"))
    np.testing.assert_allclose(matrix, [[8, 0, 30], [0, 8, 50], [0, 0, 1]])


def test_tiles_side_by_side_are_a_pixel_each(make_sdata):
    image = np.full((1, 64, 96), 90, np.uint8)
    sdata = make_sdata({"a": (image, None)}, ["DAPI"])
    sfm.tl.embed_tiles(sdata, "mean-intensity", size=32, min_tissue=0.0)
    sdata["tiles"].obs["number"] = np.arange(6) + 1
    sfm.tl.paint_tiles(sdata, "number")
    np.testing.assert_array_equal(np.asarray(sdata["number_a"]), [[1, 2, 3], [4, 5, 6]])


def test_strips_do_not_matter(monkeypatch):
    rng = np.random.default_rng(1)
    corners = rng.uniform(-5, 90, (60, 2))
    whole = owners(corners, 11.5, 2.0, (101, 77))
    monkeypatch.setattr("spatialfm.pp.class_maps.STRIP", 7)
    np.testing.assert_array_equal(owners(corners, 11.5, 2.0, (101, 77)), whole)
    assert (whole == 0).any()
    assert natural_step(30, 20) == 10


def test_opening_and_closing_of_two_classes_are_those_of_skimage():
    """Away from where both leave a pixel open, it is the mask opened and closed with a disk."""
    from scipy.ndimage import gaussian_filter
    from skimage.morphology import closing, disk, opening

    rng = np.random.default_rng(0)
    mask = gaussian_filter(rng.normal(size=(120, 90)), 3) > 0
    mask ^= rng.random(mask.shape) < 0.02
    smooth = smooth_classes(mask + 1, 2, 3.0, 2.0, (1.0, 1.0))
    pad = np.pad(mask, 12, mode="edge").astype(np.uint8)
    one, other = (closing(opening(part, disk(3)), disk(2))[12:-12, 12:-12].astype(bool) for part in (pad, 1 - pad))
    alone = one ^ other
    assert alone.mean() > 0.8
    np.testing.assert_array_equal(smooth[alone] == 2, one[alone])
    assert np.mean(smooth != mask + 1) > 0.02


def test_specks_go_holes_are_filled_and_nothing_grows_outside():
    classes = np.ones((60, 60), np.uint8)
    classes[:, 30:] = 2
    classes[10:12, 10:12], classes[40, 45] = 2, 1  # specks in either half
    classes[50:, :] = 0
    smooth = smooth_classes(classes, 2, 4.0, 4.0, (2.0, 2.0))
    expected = np.where(classes == 0, 0, np.where(np.arange(60) < 30, 1, 2)[None])
    np.testing.assert_array_equal(smooth, expected)
    np.testing.assert_array_equal(smooth_classes(classes, 2, 0.0, 0.0, (2.0, 2.0)), classes)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"cluster_key": "type"}, TableError, r"No column 'type' in table 'tiles'"),
        ({"cluster_key": "tissue_score"}, TableError, r"'tissue_score' of table 'tiles' holds numbers, not labels"),
        ({"cluster_key": "empty"}, TableError, r"No tile has a label in column 'empty'"),
        ({"cluster_key": "kind", "table_name": "squares"}, TableError, r"No table 'squares'.*sfm.tl.embed_tiles"),
        ({"cluster_key": "kind", "mpp": -1.0}, ArgumentError, r"mpp=-1.0.*above 0"),
        ({"cluster_key": "kind", "samples": ["c"]}, ElementError, r"No sample 'c'"),
        (
            {"cluster_key": "kind", "key_added": "tiles"},
            ElementError,
            r"'tiles_a' cannot be written: sdata.shapes holds one",
        ),
    ],
)
def test_refusals_write_nothing(sdata, arguments, error, message):
    table = sdata["tiles"]
    table.obs["tissue_score"], table.obs["empty"] = np.linspace(0, 1, table.n_obs), None
    with pytest.raises(error, match=message):
        sfm.tl.paint_tiles(sdata, **arguments)
    assert not sdata.labels
    assert "maps" not in sdata.attrs.get("spatialfm", {})


def test_masks_are_not_painted_over_and_maps_are(make_sdata, blobs):
    image, labels = blobs(side=64)
    sdata = make_sdata({"a": (image, labels)}, ["DAPI", "CD3", "CD20"])
    sfm.tl.embed_tiles(sdata, "mean-intensity", size=32, min_tissue=0.0)
    sdata["tiles"].obs["kind"] = ["T", "B", "T", "B"]
    with pytest.raises(ElementError, match=r"'cells_a' cannot be written: sdata.labels holds one.*key_added="):
        sfm.tl.paint_tiles(sdata, "kind", key_added="cells")
    np.testing.assert_array_equal(np.asarray(sdata["cells_a"]), labels)
    sfm.tl.paint_tiles(sdata, "kind")
    sdata["tiles"].obs["kind"] = ["B", "T", "T", "T"]
    sfm.tl.paint_tiles(sdata, "kind")
    np.testing.assert_array_equal(np.asarray(sdata["kind_a"]), [[1, 2], [2, 2]])


def test_one_tile_and_one_label(make_sdata):
    sdata = make_sdata({"a": (np.full((1, 20, 20), 9, np.uint8), None)}, ["DAPI"])
    sfm.tl.embed_tiles(sdata, "mean-intensity", size=32, min_tissue=0.0)
    sdata["tiles"].obs["kind"] = "T"
    sfm.tl.paint_tiles(sdata, "kind")
    np.testing.assert_array_equal(np.asarray(sdata["kind_a"]), [[1]])
