"""Names and pixel sizes out of the metadata of many writers."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import tifffile

import spatialfm as sfm
from spatialfm._errors import PixelSizeError, SpatialfmWarning
from spatialfm.io._layout import open_tiff
from spatialfm.io._ome import ome_images


def parse_ome(xml, index=0):
    images = ome_images(xml)
    if index >= len(images):
        return None, None
    names = images[index].channel_names
    return None if names is None else list(names), images[index].pixel_size


def size_of(path):
    size = open_tiff(path).metadata.pixel_size
    return None if size is None else (size.x, size.y, size.field)


def write(tmp_path, **options):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((2, 32, 48), np.uint8), photometric="minisblack", **options)
    return path


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        ("0.325", "µm", 0.325),
        ("0.325", "μm", 0.325),
        ("325", "nm", 0.325),
        ("0.000325", "mm", 0.325),
        ("3250", "Å", 0.325),
        ("1", "pixel", None),
        ("1", "reference frame", None),
        ("0", "µm", None),
        ("nan", "µm", None),
        ("", "µm", None),
    ],
)
def test_ome_units(value, unit, expected):
    pixels = f'<Pixels PhysicalSizeX="{value}" PhysicalSizeXUnit="{unit}"/>'
    _, size = parse_ome(f"<OME><Image>{pixels}</Image></OME>")
    assert (size and size.x) == pytest.approx(expected)


def test_ome_without_unit_is_in_micrometers_and_axes_differ():
    _, size = parse_ome('<OME><Image><Pixels PhysicalSizeX="0.5" PhysicalSizeY="0.25"/></Image></OME>')
    assert (size.x, size.y) == (0.5, 0.25)


def test_ome_names_of_the_image_asked_for_in_any_namespace():
    image = '<Image><Pixels><Channel Name="{}"/><Channel Fluor="{}"/></Pixels></Image>'
    xml = f'<OME xmlns="http://example.org/ome">{image.format("a", "b")}{image.format("c", "d")}</OME>'
    assert parse_ome(xml, 0)[0] == ["a", "b"]
    assert parse_ome(xml, 1)[0] == ["c", "d"]
    assert parse_ome(xml, 2) == (None, None)


def test_ome_names_that_are_missing():
    assert parse_ome("<OME><Image><Pixels><Channel/><Channel/></Pixels></Image></OME>")[0] is None
    some = '<OME><Image><Pixels><Channel Name="a"/><Channel/></Pixels></Image></OME>'
    assert parse_ome(some)[0] == ["a", "channel_1"]
    colours = '<OME><Image><Pixels><Channel Name="HE" SamplesPerPixel="3"/></Pixels></Image></OME>'
    assert parse_ome(colours)[0] == ["HE_0", "HE_1", "HE_2"]
    assert parse_ome("<OME><Image") == (None, None)


@pytest.mark.parametrize(
    ("resolution", "unit", "expected"),
    [
        ((20000, 20000), "CENTIMETER", (0.5, 0.5)),
        ((50800, 25400), "INCH", (0.5, 1.0)),
        ((20121, 20121), "CENTIMETER", (0.496993191, 0.496993191)),
        ((2, 2), "NONE", None),
        ((300, 300), "INCH", None),
        ((2400, 2400), "INCH", None),
        ((2541, 2541), "INCH", (25400 / 2541, 25400 / 2541)),
    ],
)
def test_resolution_tags(tmp_path, resolution, unit, expected):
    size = size_of(write(tmp_path, resolution=resolution, resolutionunit=unit))
    if expected is None:
        assert size is None
    else:
        assert size[:2] == pytest.approx(expected)
        assert size[2] == "resolution tags"


@pytest.mark.parametrize(
    ("unit", "resolution", "expected"),
    [("um", 2, 0.5), ("micron", 2, 0.5), ("\\u00B5m", 4, 0.25), ("nm", 0.002, 0.5), ("mm", 2000, 0.5)]
    + [("pixel", 1, None), (None, 1, None)],
)
def test_imagej_unit(tmp_path, unit, resolution, expected):
    metadata = {"axes": "CYX"} | ({} if unit is None else {"unit": unit})
    size = size_of(write(tmp_path, imagej=True, metadata=metadata, resolution=(resolution, resolution)))
    assert (size and size[0]) == pytest.approx(expected)


def test_imagej_labels(tmp_path):
    path = write(tmp_path, imagej=True, metadata={"axes": "CYX", "Labels": ["DAPI", "CD3"]})
    assert open_tiff(path).metadata.channel_names == ("DAPI", "CD3")


def test_names_of_single_pages(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tif:
        for name in ("CD3 (158)", "CD8 (159)"):
            tif.write(
                np.zeros((32, 48), np.uint8), metadata=None, description="", extratags=[(285, "s", 0, name, False)]
            )
    assert open_tiff(path).metadata.channel_names == ("CD3 (158)", "CD8 (159)")
    with tifffile.TiffWriter(path) as tif:  # as MIBI writes it
        for name in ("CD3", "dsDNA"):
            description = json.dumps({"channel.mass": 158, "channel.target": name})
            tif.write(np.zeros((32, 48), np.uint8), metadata=None, description=description)
    assert open_tiff(path).metadata.channel_names == ("CD3", "dsDNA")


def test_three_markers_stored_as_colours_are_not_called_red_green_and_blue(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 32, 48), np.uint16), photometric="rgb", planarconfig="separate")
    assert open_tiff(tmp_path / "a.tif").metadata.channel_names is None


@pytest.mark.parametrize(
    ("unit", "per_unit"),
    [("inch", 72), ("inch", 96), ("inch", 300), ("inch", 600), ("cm", 28.35), ("in", 150), ("inches", 2400)],
)
def test_resolution_of_a_screen_or_printer_in_imagej_is_no_pixel_size(tmp_path, unit, per_unit):
    options = {"imagej": True, "metadata": {"axes": "CYX", "unit": unit}, "resolution": (per_unit, per_unit)}
    path = write(tmp_path, **options)
    assert size_of(path) is None
    with pytest.warns(SpatialfmWarning, match=r"dots per inch, which is not plausible.*Pass mpp=") as caught:
        sdata = sfm.io.read_tiff(path, channel_names=["a", "b"])
    assert len(caught) == 1
    assert sdata.attrs["spatialfm"]["samples"]["a"]["mpp"] == 1
    assert sdata.attrs["spatialfm"]["samples"]["a"]["mpp_source"] == "assumed"


def test_imagej_units_that_are_meant(tmp_path):
    metadata = {"axes": "CYX", "unit": "cm"}
    assert size_of(write(tmp_path, imagej=True, metadata=metadata, resolution=(20000, 20000)))[0] == 0.5
    metadata = {"axes": "CYX", "unit": "um", "yunit": "nm"}
    assert size_of(write(tmp_path, imagej=True, metadata=metadata, resolution=(2, 0.002)))[:2] == pytest.approx(
        (0.5, 0.5)
    )
    metadata = {"axes": "CYX", "unit": "um", "spacing": 3.0}
    assert size_of(write(tmp_path, imagej=True, metadata=metadata, resolution=(4, 4)))[:2] == (0.25, 0.25)


def test_units_that_are_no_length_are_told(tmp_path):
    path = tmp_path / "a.ome.tif"
    metadata = {"axes": "CYX", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "pixel", "PhysicalSizeY": 0.5}
    tifffile.imwrite(path, np.zeros((2, 32, 48), np.uint8), metadata=metadata | {"PhysicalSizeYUnit": "pixel"})
    with pytest.warns(SpatialfmWarning, match=r"its OME-XML states '0\.5 pixel'.*1 µm per pixel is assumed"):
        sfm.io.read_tiff(path, channel_names=["a", "b"])


@pytest.mark.parametrize(("value", "unit"), [(325, "µm"), (0.325, "nm"), (0.5, "mm"), (352.7778, "µm")])
def test_sizes_that_no_image_of_cells_has_are_refused(tmp_path, value, unit):
    metadata = {f"PhysicalSize{axis}{end}": v for axis in "XY" for end, v in (("", value), ("Unit", unit))}
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, np.zeros((2, 32, 48), np.uint8), metadata={"axes": "CYX", **metadata})
    with pytest.raises(PixelSizeError, match=r"a\.ome\.tif.* by OME-XML PhysicalSizeX.*Pass mpp=<µm per pixel>"):
        sfm.io.read_tiff(path, channel_names=["a", "b"])
    with pytest.warns(SpatialfmWarning, match="contradicts the one given"):
        sdata = sfm.io.read_tiff(path, channel_names=["a", "b"], mpp=0.325)
    assert sdata.attrs["spatialfm"]["samples"]["a"]["mpp"] == 0.325


def test_a_pixel_size_in_nanometres_given_as_micrometres_is_asked_about(tmp_path):
    path = write(tmp_path)
    with pytest.warns(SpatialfmWarning, match=r"325 µm.*Check that it is in µm per pixel, not in nm"):
        sfm.io.read_tiff(path, channel_names=["a", "b"], mpp=325)


def test_two_sizes_in_one_file_are_told(tmp_path):
    path = tmp_path / "a.ome.tif"
    metadata = {"axes": "CYX", "PhysicalSizeX": 1.0, "PhysicalSizeY": 1.0, "Channel": {"Name": ["a", "b"]}}
    options = {"metadata": metadata, "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, np.zeros((2, 32, 48), np.uint8), resolution=(20000, 20000), **options)
    with pytest.warns(SpatialfmWarning, match="1 µm by OME-XML PhysicalSizeX, 0.5 µm by resolution tags"):
        assert sfm.io.read_tiff(path).attrs["spatialfm"]["samples"]["a"]["mpp"] == 1
    tifffile.imwrite(path, np.zeros((2, 32, 48), np.uint8), resolution=(10000, 10000), **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sfm.io.read_tiff(path)


def test_size_in_an_aperio_description(tmp_path):
    description = "Aperio Image Library v1\n48x32 [0,0 48x32] |AppMag = 20|MPP = 0.4990|Left = 1"
    tifffile.imwrite(
        tmp_path / "a.svs", np.zeros((32, 48, 3), np.uint8), description=description, metadata=None, photometric="rgb"
    )
    assert size_of(tmp_path / "a.svs") == (0.499, 0.499, "MPP of the description")


def test_a_colour_picture_is_told(tmp_path):
    picture = np.zeros((32, 48, 3), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", picture, photometric="rgb")
    with pytest.warns(SpatialfmWarning, match="Colour pictures.*instead of markers.*channel_names="):
        sfm.io.read_tiff(tmp_path / "a.tif", mpp=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sdata = sfm.io.read_tiff(tmp_path / "a.tif", mpp=0.5, channel_names=["DAPI", "CD3", "CD8"])
    assert list(sdata.images["image_a"].coords["c"].values) == ["DAPI", "CD3", "CD8"]


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["c:1/2 - DAPI", "c:2/2 - CD3"], ["DAPI", "CD3"]),
        (["c:1/2 z:1/1 - DAPI", "c:2/2 z:1/1 - CD3-1"], ["DAPI", "CD3-1"]),
        (["c:1/2 - a.tif", "c:2/2 - a.tif"], ["c:1/2 - a.tif", "c:2/2 - a.tif"]),
        (["cd3: - x", "b"], ["cd3: - x", "b"]),
    ],
)
def test_labels_of_slices_without_their_place(tmp_path, labels, names):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((2, 8, 9), np.uint16), imagej=True, metadata={"axes": "CYX", "Labels": labels})
    assert list(open_tiff(path).metadata.channel_names) == names


def test_planes_without_names_are_called_by_cycle_and_number(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((2, 3, 8, 9), np.uint16), imagej=True, metadata={"axes": "TCYX"})
    with pytest.warns(SpatialfmWarning, match="cyc1_channel_0 to cyc2_channel_2"):
        sdata = sfm.io.read_tiff(path, axes="tcyx", mpp=0.5)
    found = [str(name) for name in sdata["image_a"].coords["c"].values]
    assert found == [f"cyc{t}_channel_{c}" for t in (1, 2) for c in (0, 1, 2)]
