"""Metadata of OME-Zarr groups: axes, sizes, places, names, and what is not an image."""

from __future__ import annotations

import json

import pytest

from spatialfm._errors import InputFileError
from spatialfm.io._ngff import attributes_of, is_zarr, label_groups, read_ngff

AXES = [{"name": "c", "type": "channel"}, *({"name": one, "type": "space", "unit": "micrometer"} for one in "yx")]


@pytest.fixture
def write(tmp_path):
    def make(attributes, name="a.zarr", version="0.5"):
        folder = tmp_path / name
        folder.mkdir(parents=True, exist_ok=True)
        if version == "0.5":
            content = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": attributes}}
            (folder / "zarr.json").write_text(json.dumps(content))
        else:
            (folder / ".zgroup").write_text('{"zarr_format": 2}')
            (folder / ".zattrs").write_text(json.dumps(attributes))
        return folder

    return make


def image(axes=AXES, steps=None, whole=None, **kwargs):
    dataset = {"path": "0", "coordinateTransformations": steps or [{"type": "scale", "scale": [1, 0.5, 0.25]}]}
    one = {"axes": axes, "datasets": [dataset, {"path": "1"}]}
    return one | ({"coordinateTransformations": whole} if whole else {}) | kwargs


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_axes_levels_and_size(write, version):
    found = read_ngff(write({"multiscales": [image()]}, version=version))
    assert found.axes == ("c", "y", "x")
    assert found.levels == ("0", "1")
    assert (found.pixel_size.y, found.pixel_size.x) == (0.5, 0.25)
    assert found.origin == (0, 0)
    assert found.channel_names is None


def test_scale_and_translation_of_the_whole_image_come_after_those_of_the_level(write):
    steps = [{"type": "scale", "scale": [1, 2, 2]}, {"type": "translation", "translation": [0, 10, 20]}]
    whole = [{"type": "scale", "scale": [1, 0.5, 0.5]}, {"type": "translation", "translation": [0, 1, 2]}]
    found = read_ngff(write({"multiscales": [image(steps=steps, whole=whole)]}))
    assert found.pixel_size.x == 1
    assert found.origin == (10 * 0.5 + 1, 20 * 0.5 + 2)


def test_units_other_than_um_are_brought_to_um(write):
    axes = [AXES[0], *({"name": one, "type": "space", "unit": "nanometer"} for one in "yx")]
    steps = [{"type": "scale", "scale": [1, 500, 500]}, {"type": "translation", "translation": [0, 1000, 2000]}]
    found = read_ngff(write({"multiscales": [image(axes, steps)]}))
    assert found.pixel_size.x == pytest.approx(0.5)
    assert found.origin == pytest.approx((1, 2))


@pytest.mark.parametrize(("scale", "told"), [([1, 1, 1], ""), ([1, 0.5, 0.5], "its scale of 0.5 has no unit")])
def test_a_scale_without_a_unit_is_no_size(write, scale, told):
    axes = [AXES[0], {"name": "y", "type": "space"}, {"name": "x", "type": "space"}]
    found = read_ngff(write({"multiscales": [image(axes, [{"type": "scale", "scale": scale}])]}))
    assert found.pixel_size is None
    assert found.ignored_size == told
    assert found.origin is None


def test_axes_by_type_and_of_old_versions(write):
    named = [{"name": "marker", "type": "channel"}, "y", "x"]
    assert read_ngff(write({"multiscales": [image(named)]})).axes == ("c", "y", "x")
    old = {"datasets": [{"path": "0"}], "version": "0.2"}
    assert read_ngff(write({"multiscales": [old]}, "b.zarr", "0.4")).axes == ("t", "c", "z", "y", "x")


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"plate": {"wells": [{"path": "B/2"}]}}, "is a plate of 1 well, not an image.*B/2/0"),
        ({"well": {"images": [{"path": "3"}]}}, "is a well of 1 field"),
        ({"spatialdata_attrs": {}, "multiscales": [image()]}, "is a SpatialData or a part of one"),
        ({"multiscales": []}, "describe no image"),
        ({"labels": ["cells"]}, "holds the label images 'cells'"),
        ({}, r"without the metadata of an OME-Zarr image \(multiscales\)"),
        ({"multiscales": [image(), image()]}, "describes 2 images"),
        ({"multiscales": [image(version="0.9")]}, "is OME-Zarr 0.9"),
        ({"multiscales": [image(["y", "x", "w"])]}, "has the axes 'y', 'x', 'w'"),
        ({"multiscales": [image(["c", "y", "y"])]}, "has the axes"),
        ({"multiscales": [image() | {"datasets": []}]}, "list no array of pixels"),
        ({"multiscales": [image(steps=[{"type": "affine", "affine": [1]}])]}, "places its pixels by 'affine'"),
        ({"multiscales": [image(steps=[{"type": "scale", "scale": [1, 1]}])]}, "for 3 axes"),
    ],
)
def test_what_is_no_image_is_refused(write, attributes, message):
    with pytest.raises(InputFileError, match=message):
        read_ngff(write(attributes))


def test_one_of_several_is_chosen(write):
    several = write({"multiscales": [image(), image(steps=[{"type": "scale", "scale": [1, 2, 2]}])]})
    assert read_ngff(several, 1).pixel_size.x == 2
    root = write({"bioformats2raw.layout": 3}, "b.zarr")
    for number, size in enumerate((3, 4)):
        write({"multiscales": [image(steps=[{"type": "scale", "scale": [1, size, size]}])]}, f"b.zarr/{number}")
    assert read_ngff(root, 1).pixel_size.x == 4
    with pytest.raises(InputFileError, match="holds 2 images"):
        read_ngff(root)
    with pytest.raises(InputFileError, match="has no image series=2"):
        read_ngff(root, 2)


def test_names_of_channels_are_their_labels(write):
    omero = {"channels": [{"label": "DAPI "}, {}]}
    assert read_ngff(write({"multiscales": [image()], "omero": omero})).channel_names == ("DAPI", "")
    assert read_ngff(write({"multiscales": [image()], "omero": {"channels": [{}]}})).channel_names is None


def test_label_images_are_those_that_are_named_or_there(write):
    root = write({"multiscales": [image()]})
    assert label_groups(root) == []
    write({"labels": ["cells", "nuclei"]}, "a.zarr/labels")
    assert label_groups(root) == ["cells", "nuclei"]
    write({}, "a.zarr/labels", "0.5")
    write({}, "a.zarr/labels/b")
    assert label_groups(root) == ["b"]


def test_stores_are_known_by_name_or_metadata(write, tmp_path):
    assert is_zarr(write({}, "store"))
    (tmp_path / "empty.zarr").mkdir()
    assert is_zarr(tmp_path / "empty.zarr")
    with pytest.raises(InputFileError, match="is named like a zarr store, but has none of"):
        read_ngff(tmp_path / "empty.zarr")
    assert not is_zarr(tmp_path)
    broken = write({}, "c.zarr")
    (broken / "zarr.json").write_text("{")
    with pytest.raises(InputFileError, match="cannot be read as JSON"):
        attributes_of(broken)
