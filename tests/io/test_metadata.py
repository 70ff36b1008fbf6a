"""Names and pixel sizes out of the metadata of many writers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile

from spatialfm.io._layout import open_tiff
from spatialfm.io._metadata import parse_ome


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
