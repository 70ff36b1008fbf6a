"""Label images that are not what they seem: defects planted one at a time, the truth known by construction."""

from __future__ import annotations

import warnings

import dask.array as da
import numpy as np
import pytest
import spatialdata as sd
import tifffile
from scipy import ndimage
from spatialdata.models import Labels2DModel
from spatialdata.transformations import Scale, get_transformation, set_transformation

import spatialfm as sfm
from spatialfm._errors import ElementError, SpatialfmWarning
from spatialfm.pp.label_findings import find_oddities
from spatialfm.pp.pieces import scan_pieces

EIGHT = np.ones((3, 3), int)


def grid(rows: int, columns: int, side: int = 8, gap: int = 4) -> np.ndarray:
    """Square cells numbered 1, 2, ... row by row, apart from each other."""
    tile = np.pad(np.ones((side, side), np.int64), gap // 2)
    return np.kron(np.arange(1, rows * columns + 1).reshape(rows, columns), tile)


def sdata_of(make_sdata, labels, **options):
    image = np.stack([np.arange(labels.size, dtype=np.float32).reshape(labels.shape)] * 2)
    try:
        return make_sdata(s=(image, labels), **options)
    except ValueError as error:  # newer versions of spatialdata refuse floats themselves
        pytest.skip(str(error))


def kinds(labels, pixel_area=None) -> dict[str, str]:
    found = find_oddities(scan_pieces(labels), labels.shape, labels.dtype, pixel_area)
    return {finding.kind: finding.severity for finding in found}


# ---- pieces ----


@pytest.mark.parametrize("chunks", [(200, 200), (7, 200), (16, 5), (3, 3)])
def test_pieces_are_those_of_scipy_whatever_the_blocks(chunks, monkeypatch):
    monkeypatch.setattr("spatialfm.pp.pieces.plan_blocks", lambda array: _chunk_boxes(array))
    rng = np.random.default_rng(3)
    labels = ndimage.zoom(rng.integers(0, 4, (30, 33)), 3, order=0) * (rng.random((90, 99)) < 0.8)
    pieces = scan_pieces(da.from_array(labels, chunks=chunks))
    expected = []
    for number in (1, 2, 3):
        parts, n = ndimage.label(labels == number, structure=EIGHT)
        for part, box in enumerate(ndimage.find_objects(parts), start=1):
            y, x = np.nonzero(parts == part)
            expected.append((number, y.size, y.sum(), x.sum(), *(edge for s in box for edge in (s.start, s.stop))))
    found = np.column_stack([pieces.ids, pieces.area, pieces.total, pieces.box])
    assert sorted(map(tuple, found.tolist())) == sorted(tuple(int(v) for v in row) for row in expected)
    assert pieces.n_background == (labels == 0).sum()
    order = list(zip(pieces.ids, -pieces.area, strict=True))
    assert order == sorted(order)


def _chunk_boxes(array):
    rows, columns = (np.r_[0, np.cumsum(sizes)].tolist() for sizes in array.chunks)
    pairs = [list(zip(edges[:-1], edges[1:], strict=True)) for edges in (rows, columns)]
    return [(*row, *column) for row in pairs[0] for column in pairs[1]]


def test_a_winding_line_through_many_blocks_is_one_piece(monkeypatch):
    monkeypatch.setattr("spatialfm.pp.pieces.plan_blocks", lambda array: _chunk_boxes(array))
    line = np.zeros((41, 40), np.uint8)
    line[::2] = 7
    line[1::4, -1], line[3::4, 0] = 7, 7  # ends of the rows, left and right in turn
    assert scan_pieces(da.from_array(line, chunks=5)).area.tolist() == [21 * 40 + 20]


def test_corners_of_four_blocks_touch(monkeypatch):
    monkeypatch.setattr("spatialfm.pp.pieces.plan_blocks", lambda array: _chunk_boxes(array))
    for at in ([(3, 3), (4, 4)], [(3, 4), (4, 3)]):
        labels = np.zeros((8, 8), np.uint8)
        for pixel in at:
            labels[pixel] = 5
        assert scan_pieces(da.from_array(labels, chunks=4)).area.tolist() == [2]


# ---- what is refused ----


def wrapped():
    return grid(24, 24).astype(np.uint8)  # 576 cells, of which those numbered 256 and 512 become background


def tiles_numbered_one_by_one():
    tile = grid(6, 6)
    return np.block([[tile, tile], [tile, tile]])


def saturated():
    return np.minimum(grid(20, 20), 255).astype(np.uint8)


def one_too_many():
    return np.minimum(grid(16, 16), 255).astype(np.uint8)  # 256 cells; the last two share 255


def half_background():
    labels = grid(12, 12) + 1
    return np.where(labels == 1, 1, labels)


def resized():
    rng = np.random.default_rng(0)
    cells = rng.permutation(64) + 1
    labels = np.kron(cells.reshape(8, 8), np.pad(np.ones((7, 7)), 2))
    return np.rint(ndimage.zoom(labels, 2, order=1)).astype(np.uint16)


REFUSED = {
    "wrapped": (wrapped, "repeated", 255, "255 numbers of 255 for several cells: 574 pieces"),
    "0/255": (lambda: (grid(3, 3) > 0).astype(np.uint8) * 255, "repeated", 1, "1 number of 1 for several cells: 9"),
    "0/1": (lambda: (grid(3, 3) > 0).astype(np.int32), "repeated", 1, "1 number of 1 for several cells: 9"),
    "tiles": (tiles_numbered_one_by_one, "repeated", 36, "36 numbers of 36 for several cells: 144 pieces"),
    "saturated": (saturated, "repeated", 1, "255: 146 pieces.*largest number that uint8 holds"),
    "one too many": (one_too_many, "repeated", 1, "255: 2 pieces.*largest number that uint8 holds"),
    "two far apart": (lambda: np.where(grid(9, 9) == 81, 1, grid(9, 9)), "repeated", 1, "1: 2 pieces"),
    "regions": (lambda: grid(40, 40) % 3 + 1, "repeated", 2, "2 numbers of 3"),
    "background 1": (half_background, "background", 1, r"1 \(11,520 pixels.*no pixel is 0"),
    "background of few": (lambda: grid(3, 3) + 1, "background", 1, r"1 \(720 pixels"),
    "background of two": (lambda: grid(1, 2) + 7, "background", 1, r"7 \(160 pixels"),
    "int8": (lambda: grid(15, 15).astype(np.int8), "negative", 98, "more cells than int8 has numbers"),
    "background 65535": (
        lambda: np.where(grid(9, 9) > 0, grid(9, 9), 65535).astype(np.uint16),
        "background",
        1,
        r"65535 \(6,480 pixels",
    ),
    "resized": (resized, "fragments", None, "resized with interpolation"),
    "negative": (lambda: np.where(grid(3, 3) > 0, grid(3, 3), -1), "negative", 1, r"negative numbers \(-1\)"),
    "yes/no": (lambda: grid(1, 1) > 0, "binary", 1, "yes/no mask"),
    "fractions": (lambda: grid(3, 3) * 0.5, "fractional", 320, "320 pixels that are not whole numbers"),
    "one fraction": (
        lambda: np.where(np.arange(1296).reshape(36, 36) == 50, 0.25, grid(3, 3)).astype(np.float32),
        "fractional",
        1,
        "1 pixel that is not a whole number",
    ),
    "float32": (lambda: (grid(2, 2) * 2.0**23).astype(np.float32), "rounded", 3, "16,777,216 and more"),
    "float": (lambda: grid(2, 2).astype(float), "float", 4, "stored as float64"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_wrong_is_refused_by_name_and_number(make_sdata, name):
    make, kind, n, message = REFUSED[name]
    labels = make()
    assert kinds(labels)[kind] == "error"
    sdata = sdata_of(make_sdata, labels, chunks=(1, 50, 50))
    found = sfm.pp.check_labels(sdata)
    row = found.set_index("finding").loc[kind]
    assert row["severity"] == "error"
    assert (row["sample"], row["labels"]) == ("s", "cells_s")
    if n is not None:
        assert row["n"] == n
    with pytest.raises(ElementError, match=rf"'cells_s' \(sample 's'\).*{message}"):
        sfm.pp.cell_table(sdata)
    assert not sdata.tables
    assert list(sdata.labels) == ["cells_s"]
    with pytest.raises(ElementError, match=message):  # the same, where the table is made on the way
        sfm.tl.embed_cells(sdata, "mean-intensity")


def test_numbers_are_listed_whole():
    sdata = sd.SpatialData(labels={"cells": Labels2DModel.parse(wrapped())})
    row = sfm.pp.check_labels(sdata, "cells").set_index("finding").loc["repeated"]
    assert row["numbers"] == list(range(1, 256))
    assert (row["n_cells"], row["n_pieces"], row["median_area"], row["share"]) == (255, 574, 128.0, 1.0)


def test_background_is_measured_in_pixels_um2_and_share(make_sdata):
    labels = half_background()  # 144 x 144, of which 144 cells of 64 pixels
    with pytest.raises(
        ElementError, match=r"1 \(11,520 pixels = 2,880 µm², 55.6% of the image\); the median cell has 64"
    ):
        sfm.pp.cell_table(sdata_of(make_sdata, labels, mpp=0.5))


# ---- what is reported, and kept ----


def test_a_clean_mask_has_no_finding(make_sdata):
    sdata = sdata_of(make_sdata, grid(30, 30))
    found = sfm.pp.check_labels(sdata)
    assert found["finding"].tolist() == ["none"]
    assert found["n_cells"].tolist() == [900]
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialfmWarning)
        sfm.pp.cell_table(sdata)


WARNED = {
    "fragment": (lambda a: a.__setitem__((0, 0), 55), "fragments", [55]),
    "halves": (lambda a: a.__setitem__((slice(5, 7), slice(2, 10)), 0), "cut", [1]),
    "giant": (lambda a: a.__setitem__((slice(0, 48), slice(0, 36)), 1), "giant", [1]),
}


@pytest.mark.parametrize("name", WARNED)
def test_what_may_be_wrong_is_kept_with_one_warning(make_sdata, name):
    change, kind, numbers = WARNED[name]
    labels = grid(30, 30)
    change(labels)
    image = np.random.default_rng(0).gamma(2, 1, (1, 360, 360)).astype(np.float32)
    sdata = make_sdata(a=(image, labels), b=(image, labels))
    found = sfm.pp.check_labels(sdata, samples="b").set_index("finding")
    assert found.loc[kind, "severity"] == "warning"
    assert found.loc[kind, "numbers"] == numbers
    with pytest.warns(SpatialfmWarning, match=r"'cells_a' \(sample 'a'\).*'cells_b' \(sample 'b'\).*kept") as caught:
        sfm.pp.cell_table(sdata)
    assert len(caught) == 1
    assert sdata["table"].n_obs == 2 * len(np.unique(labels)[1:])
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialfmWarning)  # and not again
        sfm.tl.embed_cells(sdata, "mean-intensity")


def test_crumbs_are_counted_and_kept(make_sdata):
    labels = grid(5, 5)
    labels[0, :3], labels[0, 6:8], labels[0, 10] = [0, 101, 101], [102, 0], 103
    found = sfm.pp.check_labels(sdata_of(make_sdata, labels)).set_index("finding")
    assert found.loc["crumbs", "numbers"] == [101, 102, 103]
    assert found.loc["crumbs", "severity"] == "warning"  # 3 of 28
    assert kinds(np.where(labels > 101, 0, labels)) == {"crumbs": "note"}  # 1 of 26


def test_a_giant_in_um2_needs_no_other_cells():
    labels = np.zeros((300, 300), np.int32)
    labels[10:60, 10:60] = 1  # 2,500 pixels
    assert kinds(labels, pixel_area=4.0) == {}
    assert kinds(labels, pixel_area=4.1) == {"giant": "warning"}


def test_one_region_over_the_whole_field_is_no_cell():
    assert kinds(np.ones((400, 400), np.uint8)) == {"giant": "warning"}
    assert kinds(np.where(np.arange(400)[:, None] < 60, np.ones((400, 400), np.uint8), 0) * 255) == {
        "giant": "warning",
        "binary": "error",
    }


def test_a_single_cell_with_the_number_255_is_kept_and_merged_tissue_of_255_is_not():
    disc = np.hypot(*np.mgrid[-150:150, -150:150]) < 8
    cell = disc * np.uint8(255)
    assert kinds(cell) == kinds(cell, pixel_area=0.25) == {"binary": "warning"}
    cell[0, 0] = 255  # a crumb
    assert kinds(cell)["binary"] == "warning"
    tissue = np.zeros((300, 300), np.uint8)
    tissue[50:250, 50:250] = 255  # cells that all touch: one piece
    assert kinds(tissue)["binary"] == kinds(tissue, pixel_area=0.3)["binary"] == "error"
    assert kinds(tissue, pixel_area=0.2)["binary"] == "warning"  # 8,000 µm² may be one cell


@pytest.mark.parametrize(("shape", "kind"), [((60, 90), "transposed"), ((45, 30), "resolution"), ((80, 60), "shape")])
def test_labels_of_another_shape_than_their_image(make_sdata, shape, kind):
    labels = np.zeros(shape, np.int32)
    labels[3:9, 3:9] = 1
    sdata = make_sdata(s=(np.ones((1, 90, 60), np.float32), np.zeros((90, 60), np.int32)))
    element = sdata["cells_s"]
    del sdata.labels["cells_s"]
    transformations = get_transformation(element, get_all=True)
    sdata.labels["cells_s"] = Labels2DModel.parse(labels, dims=("y", "x"), transformations=transformations)
    assert kind in set(sfm.pp.check_labels(sdata)["finding"])
    if kind == "transposed":
        with pytest.raises(ElementError, match="60 x 90 pixels .* of 90 x 60: rows and columns are exchanged"):
            sfm.pp.cell_table(sdata)
    elif kind == "resolution":
        with pytest.raises(ElementError, match="0.5 times as large.*another resolution.*set_transformation"):
            sfm.pp.cell_table(sdata)
        set_transformation(sdata.labels["cells_s"], Scale([1.0, 1.0], axes=("x", "y")), "s")
        sfm.pp.cell_table(sdata)
        assert sdata["table"].obs["area"].tolist() == [36.0]
    else:
        with pytest.warns(SpatialfmWarning, match="does it show the same field"):
            sfm.pp.cell_table(sdata)


# ---- what is done about it ----


def test_split_gives_every_piece_a_row_and_everything_follows(make_sdata):
    labels = wrapped()
    sdata = sdata_of(make_sdata, labels, chunks=(1, 50, 50))
    with pytest.warns(SpatialfmWarning, match="cells that had the number 256 are background"):  # those cannot come back
        sfm.pp.cell_table(sdata, on_pieces="split")
    table, fixed = sdata["table"], sdata["cells_s_fixed"].values
    assert table.n_obs == 574
    assert table.obs["cell_id"].is_unique
    assert set(table.obs["region"]) == {"cells_s_fixed"}
    truth = grid(24, 24)
    truth[np.isin(truth, [256, 512])] = 0
    pairs = np.unique(np.stack([truth.ravel(), fixed.ravel()]), axis=1)
    assert pairs.shape[1] == 575  # one to one, with background
    ids = table.obs["cell_id"].to_numpy()
    means = ndimage.mean(sdata["image_s"].values[0], fixed, ids)
    np.testing.assert_allclose(table.X[:, 0], means, rtol=1e-6)
    centers = np.array(ndimage.center_of_mass(fixed > 0, fixed, ids))[:, ::-1] + 0.5
    np.testing.assert_allclose(table.obsm["spatial"], centers * 0.5)
    sfm.tl.embed_cells(sdata, "mean-intensity")  # takes the new labels without being told
    assert sdata["table"].obsm["X_mean_intensity"].shape[0] == 574
    np.testing.assert_array_equal(sdata["cells_s"].values, labels)  # the old ones stay
    sfm.pp.cell_table(sdata, on_pieces="split", overwrite=True)  # nothing left to split
    assert list(sdata.labels) == ["cells_s", "cells_s_fixed"]
    assert sdata["table"].n_obs == 574


def test_what_stays_at_the_last_number_has_lost_no_cell():
    assert set(kinds(saturated())) == {"repeated"}
    assert set(kinds(wrapped())) == {"repeated", "overflow"}


def test_split_survives_a_store(make_sdata, tmp_path):
    sdata = sdata_of(make_sdata, tiles_numbered_one_by_one(), chunks=(1, 50, 50))
    sfm.pp.cell_table(sdata, on_pieces="split")
    sdata.write(tmp_path / "s.zarr")
    back = sd.read_zarr(tmp_path / "s.zarr")
    assert len(np.unique(back["cells_s_fixed"].values)) == 145
    sfm.tl.embed_cells(back, "mean-intensity")
    assert back["table"].obsm["X_mean_intensity"].shape[0] == 144


def test_interpolated_numbers_are_no_cells_and_not_split(make_sdata):
    sdata = sdata_of(make_sdata, resized())
    with pytest.raises(ElementError, match="Take the label image as the segmentation wrote it"):
        sfm.pp.cell_table(sdata, on_pieces="split")
    assert list(sdata.labels) == ["cells_s"]


def test_keep_takes_all_pieces_as_one_cell_here_and_in_the_embedding(make_sdata):
    labels = wrapped()
    sdata = sdata_of(make_sdata, labels)
    sfm.pp.cell_table(sdata, on_pieces="keep")
    assert sdata["table"].n_obs == 255
    means = ndimage.mean(sdata["image_s"].values[0], labels, np.arange(1, 256))
    np.testing.assert_allclose(sdata["table"].X[:, 0], means, rtol=1e-5)
    sfm.tl.embed_cells(sdata, "mean-intensity")
    del sdata["table"].uns["spatialfm"]["table"]  # a table of somebody else
    with pytest.raises(ElementError, match="255 numbers of 255"):
        sfm.tl.embed_cells(sdata, "mean-intensity")
    sfm.tl.embed_cells(sdata, "mean-intensity", elements={"on_pieces": "keep"})


def test_a_background_is_taken_away_or_kept(make_sdata):
    sdata = sdata_of(make_sdata, half_background())
    with pytest.raises(ElementError) as error:
        sfm.pp.cell_table(sdata)
    assert "sfm.pp.fix_labels(sdata, 'cells_s', background=[1])" in str(error.value)
    sfm.pp.fix_labels(sdata, "cells_s", background=[1])
    sfm.pp.cell_table(sdata)
    assert sdata["table"].obs["cell_id"].tolist() == list(range(2, 146))
    sfm.pp.cell_table(sdata, labels="cells_s", on_giants="keep", table_name="all")
    assert sdata["all"].n_obs == 145
    with pytest.raises(ElementError, match="background= names 99"):
        sfm.pp.fix_labels(sdata, background=[2, 99_999, 99])


@pytest.mark.parametrize("dtype", ["float64", "bool"])
def test_advice_for_floats_and_yes_no_masks_runs(make_sdata, dtype):
    labels = grid(3, 3).astype(dtype)
    sdata = sdata_of(make_sdata, labels)
    with pytest.raises(ElementError) as error:
        sfm.pp.cell_table(sdata)
    advice = str(error.value).split("sfm.pp.fix_labels(")[1].split(")")[0]
    eval(f"sfm.pp.fix_labels({advice})", {"sfm": sfm, "sdata": sdata})
    sfm.pp.cell_table(sdata)
    assert sdata["table"].n_obs == 9


def test_fixing_leaves_elements_of_others_alone(make_sdata):
    sdata = sdata_of(make_sdata, wrapped())
    sdata.labels["cells_s_fixed"] = sdata["cells_s"]
    with pytest.raises(ElementError, match="which sfm.pp.fix_labels did not write"):
        sfm.pp.fix_labels(sdata, split=True)
    sfm.pp.fix_labels(sdata, split=True, suffix="_2")
    assert list(sdata.labels) == ["cells_s", "cells_s_fixed", "cells_s_2"]


def test_largest_piece_keeps_the_number():
    labels = np.zeros((12, 12), np.uint8)
    labels[0:2, 0:2], labels[4:8, 4:8], labels[10:12, 9:12] = 3, 3, 3
    labels[0:3, 9:12] = 200
    sdata = sd.SpatialData(labels={"cells": Labels2DModel.parse(labels)})
    changes = sfm.pp.fix_labels(sdata, "cells", split=True)
    assert changes[["label_before", "label", "area"]].to_numpy().tolist() == [[3, 201, 6], [3, 202, 4]]
    fixed = sdata["cells_fixed"].values
    assert (fixed[5, 5], fixed[11, 11], fixed[0, 0], fixed[0, 11]) == (3, 201, 202, 200)
    assert fixed.dtype == np.uint8


def test_a_mask_saved_as_a_channel_is_said(make_sdata):
    labels = grid(4, 4)
    image = np.stack([labels * 1.5, labels, np.ones(labels.shape)]).astype(np.float32)
    sdata = make_sdata(s=(image, labels), channels=["CD3", "Segmentation", "CD8"])
    with pytest.warns(SpatialfmWarning, match="1 channel is the label image itself and no marker: 'Segmentation'"):
        sfm.pp.cell_table(sdata)


CELL_MASKS = [  # of the folder of real images, with the numbers that have stray pixels
    ("bnhl_codex/masks/crop101_cellmask.tif", []),
    ("bnhl_codex/masks/crop500_cellmask.tif", [198858]),
    ("bnhl_codex/masks/crop501_cellmask.tif", [7838]),
    ("dcis_mibi/masks/Point2203_pt1072_31606_cellmask.tif", []),
    ("opal_mif/masks/FIHC4_2_cell(nuc+cyto).tif", [48, 225, 249]),
    ("opal_mif/masks/FIHC4_2_nuclei.tif", []),
    ("pancreas_imc/E34_mask.tiff", []),
    ("pancreas_imc/J02_mask.tiff", [3683, 3701, 4118]),
    ("spleen_imc/masks/spleen315_r12_cellmask.tif", []),
    ("spleen_imc/masks/spleen315_r20_cellmask.tif", []),
    ("spleen_imc/masks/spleen315_r2_cellmask.tif", []),
    ("spleen_imc/masks/spleen315_r4_cellmask.tif", []),
]


@pytest.mark.real_data
@pytest.mark.parametrize(("file", "fragmented"), CELL_MASKS)
def test_real_segmentations_raise_no_false_alarm(real_data, file, fragmented):
    labels = tifffile.imread(real_data / file)
    boxes = enumerate(ndimage.find_objects(labels.astype(np.int32)), start=1)
    numbers = [i for i, box in boxes if box is not None and ndimage.label(labels[box] == i, structure=EIGHT)[1] > 1]
    assert numbers == fragmented
    found = {f.kind: f for f in find_oddities(scan_pieces(labels), labels.shape, labels.dtype)}
    assert set(found) <= {"fragments", "crumbs"}
    assert {f.severity for f in found.values()} <= {"warning", "note"}
    assert found["fragments"].numbers.tolist() == fragmented if fragmented else "fragments" not in found


@pytest.mark.real_data
@pytest.mark.parametrize("file", ["spleen_imc/masks/spleen315_r2_region.tif", "opal_mif/masks/FIHC4_2_tissue.tif"])
def test_real_maps_of_tissue_are_no_cells(real_data, file):
    labels = tifffile.imread(real_data / file)
    assert kinds(labels)["repeated"] == "error"


# ---- outlines ----


def lines_around(labels, mode):
    from skimage.segmentation import find_boundaries

    return find_boundaries(labels, mode=mode)


@pytest.mark.parametrize("mode", ["inner", "thick"])
@pytest.mark.parametrize("gap", [0, 8])
def test_outlines_in_one_number_are_refused(make_sdata, mode, gap):
    mask = lines_around(grid(8, 8, side=16, gap=gap), mode).astype(np.uint8) * 255
    sdata = sdata_of(make_sdata, mask)
    found = sfm.pp.check_labels(sdata)
    assert found["finding"].iloc[0] == "outlines"
    assert found["severity"].iloc[0] == "error"
    with pytest.raises(ElementError, match="outlines of cells and not their pixels") as error:
        sfm.pp.cell_table(sdata, on_pieces="split")
    assert "on_pieces" not in str(error.value)  # which would not help


def test_outlines_in_the_cells_own_numbers_are_said(make_sdata):
    labels = grid(8, 8, side=12)
    sdata = sdata_of(make_sdata, np.where(lines_around(labels, "inner"), labels, 0))
    with pytest.warns(SpatialfmWarning, match="outlines of cells") as said:
        sfm.pp.cell_table(sdata, morphology=False)
    assert len([w for w in said if "outlines" in str(w.message)]) == 1
    assert (sdata["table"].obs["area"] == (12 * 12 - 10 * 10) * 0.25).all()


def rings(labels, width):
    inside = ndimage.minimum_filter(labels, 2 * width + 1) == ndimage.maximum_filter(labels, 2 * width + 1)
    return np.where(inside, 0, labels)


@pytest.mark.parametrize(
    "labels",
    [
        grid(8, 8),
        rings(grid(6, 6, side=16), 3),  # cytoplasm without nucleus
        np.where(np.kron(np.ones((8, 8), bool), np.eye(12, dtype=bool)), grid(8, 8), 0),  # thin cells
        np.where(np.indices((96, 96)).sum(0) % 12 == 6, 0, grid(8, 8)),  # cells with holes
    ],
    ids=["cells", "cytoplasm", "diagonals", "holes"],
)
def test_what_is_no_outline(make_sdata, labels):
    assert "outlines" not in set(sfm.pp.check_labels(sdata_of(make_sdata, labels))["finding"])


# ---- remedies that run ----


def test_tiles_numbered_one_by_one_are_split_though_one_cell_has_fragments(make_sdata):
    labels = np.tile(grid(4, 4), (3, 3))
    labels[1:3, 1:3] = 0  # the corner of a cell comes off
    labels[0, 0] = labels[2, 2]
    sdata = sdata_of(make_sdata, labels)
    with pytest.raises(ElementError, match="16 numbers of 16 for several cells: 144 pieces"):
        sfm.pp.cell_table(sdata)
    sfm.pp.cell_table(sdata, on_pieces="split", morphology=False)
    assert (sdata["table"].obs["area"] > 9).sum() == 144


def test_what_has_to_be_fixed_first_is_said_alone(make_sdata):
    labels = np.where(grid(8, 8) > 0, grid(8, 8), -1).astype(np.int32)
    sdata = sdata_of(make_sdata, labels)
    with pytest.raises(ElementError, match="negative numbers") as error:
        sfm.pp.cell_table(sdata)
    assert str(error.value).count("background=[-1]") == 1
    assert "on_giants" not in str(error.value)
    sfm.pp.fix_labels(sdata, "cells_s", background=[-1])
    sfm.pp.cell_table(sdata, morphology=False)
    assert sdata["table"].obs["cell_id"].tolist() == list(range(1, 65))


# ---- the largest number of the data type ----


@pytest.mark.parametrize("dtype", [np.uint16, np.uint8, np.int16])
@pytest.mark.parametrize("on", ["lines", "hole"])
def test_a_mark_of_no_cell_is_not_measured_as_one(make_sdata, dtype, on):
    top = np.iinfo(dtype).max
    labels = grid(8, 8, side=12, gap=0)
    truth = labels.copy()
    if on == "lines":  # between touching cells, a tenth of the image and in many pieces
        labels[:, ::12], labels[::12, ::4], truth[:, ::12], truth[::12, ::4] = top, top, 0, 0
    else:
        labels[31:58, 31:58], truth[31:58, 31:58] = top, 0  # 8 % of the image, 5 cells
    labels[labels == 64] = 0 if dtype == np.uint8 else 64
    truth[truth == 64] = 0 if dtype == np.uint8 else 64
    sdata = sdata_of(make_sdata, labels.astype(dtype))
    found = sfm.pp.check_labels(sdata)
    assert found["finding"].iloc[0] == "background"
    with pytest.raises(ElementError, match=rf"number {top}, the largest that {np.dtype(dtype).name} holds") as error:
        sfm.pp.cell_table(sdata)
    assert f"background=[{top}]" in str(error.value)
    sfm.pp.fix_labels(sdata, "cells_s", background=[top])
    sfm.pp.cell_table(sdata, morphology=False)
    ids, area = np.unique(truth[truth > 0], return_counts=True)
    np.testing.assert_array_equal(sdata["table"].obs["cell_id"], ids)
    np.testing.assert_allclose(sdata["table"].obs["area"], area * 0.25)


def test_a_cell_may_have_the_largest_number(make_sdata):
    labels = grid(4, 4)
    labels[labels == 16] = 255
    assert sfm.pp.check_labels(sdata_of(make_sdata, labels.astype(np.uint8)))["finding"].tolist() == ["none"]


@pytest.mark.parametrize(("n", "finding"), [(254, "none"), (255, "overflow"), (256, "overflow")])
def test_all_numbers_used_may_be_too_few(make_sdata, n, finding):
    labels = grid(16, 16)
    labels = np.where(labels <= n, labels, 0).astype(np.uint8)  # cell 256 becomes 0
    sdata = sdata_of(make_sdata, labels)
    assert sfm.pp.check_labels(sdata)["finding"].tolist() == [finding]
    if finding == "overflow":
        with pytest.warns(SpatialfmWarning, match=r"every number that uint8 holds \(255\)"):
            sfm.pp.cell_table(sdata, morphology=False)
