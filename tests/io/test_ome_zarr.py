"""OME-Zarr stores written by ome-zarr-py and zarr: what is read, and what is refused with which words."""

from __future__ import annotations

import warnings

import dask
import numpy as np
import pytest
import tifffile
import zarr
from numcodecs import Blosc
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
from reading import blobs, counts
from reading_ome_zarr import FORMATS, NAMES, edit, edit_image, write_store

import spatialfm as sfm
from spatialfm._errors import InputFileError, PanelError, PixelSizeError, SpatialfmError, SpatialfmWarning
from spatialfm.io._zarr_image import zarr_blocks
from spatialfm.pp.elements import match_elements
from spatialfm.pp.missing_chunks import report_missing_chunks
from spatialfm.pp.stored_chunks import check_readable, stored_chunks

PIXELS, CELLS = counts(3, 40, 48), blobs(40, 48)
FIVE = {"word": "tczyx", "chunks": (1, 1, 1, 16, 16)}


def dataset(kind: str, values: list) -> dict:
    return {"path": "s0", "coordinateTransformations": [{"type": kind, kind: values}]}


def only(elements):
    """The one element, at its full resolution."""
    (element,) = elements.values()
    return next(iter(element["scale0"].data_vars.values())) if hasattr(element, "keys") else element


@pytest.mark.parametrize("version", FORMATS)
def test_levels_are_those_that_ome_zarr_reads(tmp_path, version):
    store = write_store(tmp_path / "a.zarr", PIXELS, {"cells": CELLS}, version=version, factors=(2, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialfmWarning)  # a store that says everything gives no warning
        sdata = sfm.io.read_ome_zarr(store)
    (node, *_) = Reader(parse_url(str(store)))()
    element = sdata.images["image_a"]
    assert len(element.children) == len(node.data) == 3
    for i, expected in enumerate(node.data):
        np.testing.assert_array_equal(element[f"scale{i}"]["image"].values, expected.compute())
    record = sdata.attrs["spatialfm"]["samples"]["a"]
    assert (record["mpp"], record["mpp_source"]) == (0.5, "metadata")
    assert record["labels"] == str(store / "labels" / "cells")


def test_five_axes_of_which_two_have_length_one(tmp_path):
    store = write_store(tmp_path / "a.zarr", PIXELS[None, :, None], word="tczyx", version="0.4")
    image = only(sfm.io.read_ome_zarr(store).images)
    np.testing.assert_array_equal(image.values, PIXELS)
    assert image.coords["c"].values.tolist() == list(NAMES)


def test_an_image_without_a_channel_axis_has_one_channel(tmp_path):
    store = write_store(tmp_path / "a.zarr", PIXELS[0], word="yx", names=("DAPI",))
    np.testing.assert_array_equal(only(sfm.io.read_ome_zarr(store).images).values, PIXELS[:1])


@pytest.mark.parametrize(("letter", "prefix"), [("t", "cyc"), ("z", "z")])
def test_cycles_and_planes_become_channels_on_request_only(tmp_path, letter, prefix):
    pixels = np.stack([PIXELS, PIXELS + 1])
    word = "tcyx" if letter == "t" else "czyx"
    pixels = pixels if letter == "t" else pixels.transpose(1, 0, 2, 3)
    store = write_store(tmp_path / "a.zarr", pixels, word=word)
    with pytest.raises(InputFileError, match=f'Pass axes="{word}" to keep all 6 planes as channels'):
        sfm.io.read_ome_zarr(store)
    image = only(sfm.io.read_ome_zarr(store, axes=word).images)
    pairs = [(k, i) for k in (1, 2) for i in range(3)] if letter == "t" else [(k, i) for i in range(3) for k in (1, 2)]
    assert image.coords["c"].values.tolist() == [f"{prefix}{k}_{NAMES[i]}" for k, i in pairs]
    np.testing.assert_array_equal(image.values, np.stack([PIXELS[i] + (k - 1) for k, i in pairs]))
    with pytest.raises(InputFileError, match="does not fit"):
        sfm.io.read_ome_zarr(store, axes="yxc")


def test_names_in_another_order_are_noticed_in_a_stack_too(tmp_path):
    pixels = np.stack([PIXELS, PIXELS + 1])
    store = write_store(tmp_path / "a.zarr", pixels, word="tcyx")
    given = [NAMES[1], NAMES[0], NAMES[2]]
    with pytest.warns(SpatialfmWarning, match=f"'cyc1_{NAMES[1]}' is channel 1 there and 0 in channel_names"):
        image = only(sfm.io.read_ome_zarr(store, axes="tcyx", channel_names=given).images)
    assert image.coords["c"].values.tolist() == [f"cyc{k}_{name}" for k in (1, 2) for name in given]


def test_axes_that_contradict_the_metadata_are_refused(tmp_path):
    store = write_store(tmp_path / "a.zarr", PIXELS)
    assert only(sfm.io.read_ome_zarr(store, axes="cyx").images).shape == PIXELS.shape
    with pytest.raises(InputFileError, match="axes='yxc' does not fit .* state c, y, x. Leave it out"):
        sfm.io.read_ome_zarr(store, axes="yxc")


@pytest.mark.parametrize(
    ("unit", "mpp", "expected"),
    [("micrometer", 0.325, 0.325), ("nanometer", 325, 0.325), ("millimeter", 0.0005, 0.5), ("micrometer", 1.0, 1.0)],
)
def test_pixel_sizes_in_other_units(tmp_path, unit, mpp, expected):
    store = write_store(tmp_path / "a.zarr", PIXELS, unit=unit, mpp=mpp)
    record = sfm.io.read_ome_zarr(store).attrs["spatialfm"]["samples"]["a"]
    assert record["mpp"] == pytest.approx(expected)
    assert record["mpp_source"] == "metadata"


def test_a_scale_of_the_whole_image_multiplies_that_of_its_levels(tmp_path):
    store = write_store(tmp_path / "a.zarr", PIXELS, mpp=0.5)
    edit_image(store, coordinateTransformations=[{"type": "scale", "scale": [1.0, 0.5, 0.5]}])
    assert sfm.io.read_ome_zarr(store).attrs["spatialfm"]["samples"]["a"]["mpp"] == 0.25


def test_a_scale_without_a_unit_is_no_size_and_is_said(tmp_path):
    store = write_store(tmp_path / "a.zarr", PIXELS, unit=None, mpp=0.325)
    with pytest.warns(SpatialfmWarning, match=r"its scale of 0.325 has no unit.*1 µm per pixel is assumed"):
        record = sfm.io.read_ome_zarr(store).attrs["spatialfm"]["samples"]["a"]
    assert (record["mpp"], record["mpp_source"]) == (1.0, "assumed")


def test_sizes_that_no_image_has(tmp_path):
    store = write_store(tmp_path / "a.zarr", PIXELS, unit="nanometer", mpp=0.5)
    with pytest.raises(PixelSizeError, match="0.0005 x 0.0005 µm by the scale of its OME-Zarr metadata"):
        sfm.io.read_ome_zarr(store)
    edit_image(store, datasets=[dataset("scale", [1, 400, 500])])
    with pytest.raises(PixelSizeError, match=r"not square \(0.5 x 0.4 µm"):
        sfm.io.read_ome_zarr(store)
    assert sfm.io.read_ome_zarr(store, mpp=0.5).attrs["spatialfm"]["samples"]["a"]["mpp_source"] == "argument"


def test_blocks_are_whole_chunks_and_channels_are_read_apart(tmp_path, monkeypatch):
    store = write_store(tmp_path / "a.zarr", PIXELS, chunks=(1, 16, 16), factors=())
    image = only(sfm.io.read_ome_zarr(store).images)
    assert image.data.chunks == ((1, 1, 1), (40,), (48,))
    windows = []
    read = zarr.Array.__getitem__

    def watching(self, key):
        windows.append(key)
        return read(self, key)

    monkeypatch.setattr(zarr.Array, "__getitem__", watching)
    with dask.config.set(scheduler="synchronous"):
        np.testing.assert_array_equal(image[1, 20:30, 3:9].values, PIXELS[1, 20:30, 3:9])
    assert len(windows) == 1
    assert windows[0][0] in (1, slice(1, 2, None))


@pytest.mark.parametrize(
    ("chunks", "blocks"),
    [
        ((1, 300, 300), (1, 900, 900)),  # whole chunks, at most 1,024 pixels to a side
        ((3, 256, 256), (3, 256, 1024)),  # about a million values
        ((43, 256, 256), (43, 256, 256)),  # never less than a chunk
        ((1, 4096, 64), (1, 4096, 256)),
        ((1, 9000, 9000), (1, 5000, 6000)),
    ],
)
def test_sizes_of_blocks(chunks, blocks):
    assert zarr_blocks(chunks, (50, 5000, 6000), "cyx") == blocks


def test_shards_are_read_by_their_inner_chunks(tmp_path):
    store = write_store(tmp_path / "a.zarr", PIXELS, factors=())
    group = zarr.open_group(str(store), mode="r+")
    del group["s0"]
    group.create_array("s0", data=PIXELS.astype("float32"), chunks=(3, 16, 16), shards=(3, 48, 48))
    image = only(sfm.io.read_ome_zarr(store).images)
    np.testing.assert_array_equal(image.values, PIXELS)
    assert stored_chunks(image.data).sizes == (3, 48, 48)  # what is missing later is noticed by file


def test_big_endian_pixels_become_native(tmp_path):
    store = write_store(tmp_path / "a.zarr", PIXELS.astype(">u2"), version="0.4", factors=())
    image = only(sfm.io.read_ome_zarr(store).images)
    assert image.dtype.isnative
    np.testing.assert_array_equal(image.values, PIXELS)


def test_a_name_in_the_store_goes_before_a_file_of_that_name(tmp_path, monkeypatch):
    store = write_store(tmp_path / "a.zarr", PIXELS, {"cells": CELLS})
    (tmp_path / "cells").mkdir()
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(only(sfm.io.read_ome_zarr(store, "cells").labels).values, CELLS)


def test_which_labels(tmp_path):
    nuclei = blobs(40, 48, step=9)
    store = write_store(tmp_path / "a.zarr", PIXELS, {"cells": CELLS, "nuclei": nuclei})
    with pytest.raises(InputFileError, match=r"has 2 label images. Which one are the cells\? Pass labels='.*cells' or"):
        sfm.io.read_ome_zarr(store)
    np.testing.assert_array_equal(only(sfm.io.read_ome_zarr(store, "nuclei").labels).values, nuclei)
    assert not sfm.io.read_ome_zarr(store, labels=None).labels
    tifffile.imwrite(tmp_path / "mask.tif", CELLS)
    np.testing.assert_array_equal(only(sfm.io.read_ome_zarr(store, tmp_path / "mask.tif").labels).values, CELLS)
    alone = write_store(tmp_path / "b.zarr", CELLS, word="yx", names=None)
    np.testing.assert_array_equal(only(sfm.io.read_tiff(store, alone).labels).values, CELLS)
    np.testing.assert_array_equal(only(sfm.io.read_tiff(store, store / "labels" / "cells").labels).values, CELLS)
    with pytest.raises(InputFileError, match="no label image 'cells'; it has no label image"):
        sfm.io.read_ome_zarr(alone, "cells")


def test_labels_of_an_image_of_several_planes(tmp_path):
    store = write_store(tmp_path / "a.zarr", PIXELS)
    both = write_store(tmp_path / "m.zarr", np.stack([CELLS, CELLS + 1]), names=("whole", "nucleus"))
    with pytest.raises(InputFileError, match=r"2 planes \(0: 'whole', 1: 'nucleus'\)"):
        sfm.io.read_ome_zarr(store, both)
    np.testing.assert_array_equal(only(sfm.io.read_ome_zarr(store, both, labels_plane="whole").labels).values, CELLS)


def test_labels_that_cannot_be_cells(tmp_path):
    store = write_store(tmp_path / "a.zarr", PIXELS)
    whole = write_store(tmp_path / "f.zarr", CELLS.astype("float32"), word="yx", names=None)
    with pytest.raises(InputFileError, match="cast_labels=True"):
        sfm.io.read_ome_zarr(store, whole)
    labels = only(sfm.io.read_ome_zarr(store, whole, cast_labels=True).labels)
    assert labels.dtype == np.uint32
    np.testing.assert_array_equal(labels.values, CELLS)
    with pytest.raises(InputFileError, match="Image and labels are the same"):
        sfm.io.read_tiff(store, store)


def test_labels_of_another_place_of_the_same_size(tmp_path):
    store = write_store(tmp_path / "a.zarr", PIXELS, origin=(100.0, 50.0))
    here = write_store(tmp_path / "m.zarr", CELLS, word="yx", names=None, origin=(100.0, 50.0))
    assert sfm.io.read_ome_zarr(store, here).labels
    there = write_store(tmp_path / "n.zarr", CELLS, word="yx", names=None, origin=(120.0, 50.0))
    with pytest.raises(InputFileError, match="begin 20 µm below and 0 µm right of image"):
        sfm.io.read_ome_zarr(store, there)


def test_several_images_in_one_store(tmp_path):
    """As bioformats2raw writes a slide: 0, 1, ... below a group that says so."""
    store = tmp_path / "slide.zarr"
    group = zarr.open_group(str(store), mode="w", zarr_format=2)
    group.attrs["bioformats2raw.layout"] = 3
    for i in range(2):
        write_store(store / str(i), PIXELS + i, {"cells": CELLS}, version="0.4")
    with pytest.raises(InputFileError, match=r"holds 2 images \('0', '1'\). Say which .* series=<number>, 0 to 1"):
        sfm.io.read_ome_zarr(store)
    with pytest.raises(InputFileError, match="no image series=2"):
        sfm.io.read_ome_zarr(store, series=2)
    sdata = sfm.io.read_ome_zarr(store, series=1)
    assert list(sdata.images) == ["image_slide"]
    np.testing.assert_array_equal(only(sdata.images).values, PIXELS + 1)
    np.testing.assert_array_equal(only(sdata.labels).values, CELLS)


def test_plates_wells_and_others_are_refused_with_what_to_pass(tmp_path):
    plate = tmp_path / "plate.zarr"
    group = zarr.open_group(str(plate), mode="w", zarr_format=2)
    group.attrs["plate"] = {"wells": [{"path": "B/3"}, {"path": "B/4"}], "version": "0.4"}
    with pytest.raises(InputFileError, match=r"plate of 2 wells.*plate.zarr/B/3/0'"):
        sfm.io.read_ome_zarr(plate)
    well = zarr.open_group(str(plate / "B" / "3"), mode="w", zarr_format=2)
    well.attrs["well"] = {"images": [{"path": "0"}]}
    with pytest.raises(InputFileError, match=r"well of 1 field, .*B/3/0'"):
        sfm.io.read_tiff(plate / "B" / "3")
    store = write_store(tmp_path / "a.zarr", PIXELS, {"cells": CELLS})
    with pytest.raises(InputFileError, match="holds the label images 'cells', not an image"):
        sfm.io.read_ome_zarr(store / "labels")
    saved = sfm.io.write(sfm.io.read_ome_zarr(store), tmp_path / "saved.zarr")
    for path in (saved, saved / "images" / "image_a"):
        with pytest.raises(InputFileError, match="SpatialData or a part of one. Read it with spatialdata.read_zarr"):
            sfm.io.read_ome_zarr(path)
    (tmp_path / "e.zarr").mkdir()
    with pytest.raises(InputFileError, match="named like a zarr store, but has none of zarr.json"):
        sfm.io.read_tiff(tmp_path / "e.zarr")
    with pytest.raises(InputFileError, match="without the metadata of an OME-Zarr image"):
        sfm.io.read_ome_zarr(store / "s0")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"axes": [{"name": n} for n in ("c", "y", "q")]}, "has the axes 'c', 'y', 'q'"),
        ({"datasets": []}, "list no array of pixels"),
        ({"datasets": [{"path": "s1"}, {"path": "s0"}]}, "not listed from large to small"),
        ({"datasets": [dataset("scale", [1, 1])]}, r"places its pixels by 'scale' with \[1, 1\], for 3 axes"),
        ({"datasets": [dataset("affine", [])]}, "by 'affine'"),
        ({"axes": [{"name": n} for n in "zcyx"]}, "shape .3, 40, 48., but its metadata state the axes z, c, y, x"),
    ],
)  # fmt: skip
def test_metadata_that_cannot_be_followed(tmp_path, change, message):
    store = write_store(tmp_path / "a.zarr", PIXELS)
    if len(change.get("axes", ())) == 4:
        change = change | {"datasets": [{"path": "s0"}]}
    edit_image(store, **change)
    with pytest.raises(InputFileError, match=message):
        sfm.io.read_ome_zarr(store)


def test_versions_that_are_not_known(tmp_path):
    store = write_store(tmp_path / "a.zarr", PIXELS)
    edit(store, lambda ome: ome | {"version": "0.7"})
    with pytest.raises(InputFileError, match="is OME-Zarr 0.7; 0.1, 0.2, 0.3, 0.4, 0.5 are read"):
        sfm.io.read_ome_zarr(store)


def test_names_that_do_not_fit(tmp_path):
    store = write_store(tmp_path / "a.zarr", PIXELS, names=("DAPI", "CD3"))
    with pytest.raises(PanelError, match="names 2 names|names 2 channels, but the image has 3"):
        sfm.io.read_ome_zarr(store)
    image = only(sfm.io.read_ome_zarr(store, channel_names=list("xyz")).images)
    assert image.coords["c"].values.tolist() == list("xyz")
    store = write_store(tmp_path / "b.zarr", PIXELS, names=None)
    with pytest.warns(SpatialfmWarning, match="No channel names in the metadata"):
        image = only(sfm.io.read_ome_zarr(store).images)
    assert image.coords["c"].values.tolist() == ["channel_0", "channel_1", "channel_2"]


def test_files_are_sent_to_the_right_call(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", PIXELS)
    (tmp_path / "a.zarr.zip").write_bytes(b"PK")
    (tmp_path / "plain").mkdir()
    for name, message in {
        "a.tif": "Read a TIFF with sfm.io.read_tiff",
        "a.zarr.zip": "Unpack it first",
        "plain": "not a zarr store",
        "none.zarr": "no file",
    }.items():
        with pytest.raises(SpatialfmError, match=message):
            sfm.io.read_ome_zarr(tmp_path / name)


def test_chunks_that_go_later_are_noticed(tmp_path):
    store = write_store(tmp_path / "a.zarr", PIXELS, {"cells": CELLS}, chunks=(1, 16, 16), factors=())
    sdata = sfm.io.read_ome_zarr(store)
    lost = store / "s0" / "c" / "1" / "0" / "0"
    lost.unlink()
    with pytest.warns(SpatialfmWarning, match=r"1 of 27 chunks of image 'image_a' \(channels 'CD3'\)"):
        report_missing_chunks(sdata, match_elements(sdata))


@pytest.mark.parametrize("version", FORMATS)
def test_five_axes_are_watched_too(tmp_path, version):
    """As bioformats2raw writes them: chunks that go are noticed, and those that were cut short are refused."""
    store = write_store(tmp_path / "a.zarr", PIXELS[None, :, None], {"cells": CELLS}, version=version, **FIVE)
    sdata = sfm.io.read_ome_zarr(store)
    level = store / "s0" / "c" if version == "0.5" else store / "s0"
    (level / "0" / "1" / "0" / "0" / "0").unlink()
    with pytest.warns(SpatialfmWarning, match=r"1 of 27 chunks of image 'image_a' \(channels 'CD3'\), in rows 0 to 16"):
        report_missing_chunks(sdata, match_elements(sdata))
    assert np.argwhere(stored_chunks(only(sdata.images).data).missing).tolist() == [[1, 0, 0]]


def test_a_part_of_the_channels_is_watched_too(tmp_path):
    """Blosc reads on behind the end of a file that was cut short, and turns what is there into numbers."""
    store = write_store(tmp_path / "a.zarr", PIXELS[None, :, None], version="0.4", compressor=Blosc(), **FIVE)
    image = only(sfm.io.read_ome_zarr(store).images).data
    assert check_readable(image[[0, 2]], "Image") is None  # not the whole array, of which chunks may be missing
    file = store / "s0" / "0" / "2" / "0" / "0" / "0"
    file.write_bytes(file.read_bytes()[:-5])
    for part in (image, image[[0, 2]]):
        with pytest.raises(InputFileError, match=r"1 file in .* is cut short \('0/2/0/0/0'"):
            check_readable(part, "Image")
