"""OME-XML that contradicts the pages or itself: refused or said with file and field, never read unsaid."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import tifffile

import spatialfm as sfm
from spatialfm._errors import InputFileError, PixelSizeError, SpatialfmError, SpatialfmWarning

NAMES = ["DAPI", "CD3", "CD8"]
PIXELS = np.stack([np.full((32, 40), 10 * i + 10, np.uint16) for i in range(3)])


def ome(path, *changes: tuple[str, str], blocks: str | None = None, tags: dict | None = None, pixels=PIXELS) -> None:
    """An OME-TIFF of three channels with its XML changed; `blocks` take the place of its TiffData."""
    metadata = {"axes": "CYX", "Channel": {"Name": NAMES}, "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tifffile.imwrite(path, pixels, metadata=metadata, photometric="minisblack", **(tags or {}))
    xml = tifffile.tiffcomment(path)
    if blocks is not None:
        start, stop = xml.index("<TiffData"), xml.index("</Pixels>")
        xml = xml[:start] + blocks + xml[stop:]
    for old, new in changes:
        assert xml.count(old) == 1, xml
        xml = xml.replace(old, new)
    tifffile.tiffcomment(path, xml.encode())


def read(path, **options):
    """Image, and the warnings that name the file."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        sdata = sfm.io.read_tiff(path, **options)
    said = [str(one.message) for one in found if issubclass(one.category, SpatialfmWarning)]
    assert all(path.name in text for text in said)
    return next(iter(sdata.images.values())), said


def test_a_whole_file_is_read_without_a_word(tmp_path):
    path = tmp_path / "a.ome.tif"
    ome(path)
    image, said = read(path)
    assert not said
    assert image.to_numpy()[:, 0, 0].tolist() == [10, 20, 30]


def test_blocks_that_turn_the_order_of_the_pages_are_followed(tmp_path):
    path = tmp_path / "a.ome.tif"
    ome(path, blocks="".join(f'<TiffData IFD="{2 - i}" FirstC="{i}" PlaneCount="1"/>' for i in range(3)))
    image, said = read(path)
    assert not said
    assert image.to_numpy()[:, 0, 0].tolist() == [30, 20, 10]


BLOCK = '<TiffData IFD="{}" FirstC="{}" PlaneCount="1"/>'
REFUSED = {
    "fewer pages than SizeC": ([('SizeC="3"', 'SizeC="4"')], None, "describes 4 planes, but plane 3 is not"),
    "PlaneCount below SizeC": ([], '<TiffData IFD="0" PlaneCount="2"/>', "describes 3 planes, but plane 2 is not"),
    "one page for all": (
        [],
        "".join(BLOCK.format(0, i) for i in range(3)),
        "TiffData IFD=0 for plane 0 and for plane 1",
    ),
    "overlapping blocks": (
        [],
        '<TiffData IFD="0" PlaneCount="3"/>' + BLOCK.format(0, 1),
        "TiffData IFD=0 for plane 0 and for plane 1",
    ),
    "two pages for one plane": (
        [],
        BLOCK.format(0, 0) + BLOCK.format(1, 1) + BLOCK.format(2, 1),
        "IFD=1 and IFD=2, both for plane 1",
    ),
    "IFD beyond the pages": ([], "".join(BLOCK.format(i + 1, i) for i in range(3)), "plane 2 is not"),
    "IFD counted from the end": ([], "".join(BLOCK.format(i - 1, i) for i in range(3)), "TiffData IFD='-1'"),
    "IFD that is none": ([], BLOCK.format("x", 0), "TiffData IFD='x'"),
    "PlaneCount below zero": ([], '<TiffData IFD="0" PlaneCount="-3"/>', "PlaneCount='-3'"),
    "FirstC that is none": ([], '<TiffData IFD="0" FirstC="1.5"/>', "FirstC='1.5'"),
    "another DimensionOrder": ([('"XYCZT"', '"XYCC"')], None, "DimensionOrder='XYCC'"),
    "no DimensionOrder": ([('DimensionOrder="XYCZT"', "")], None, "DimensionOrder=None"),
    "SizeC of zero": ([('SizeC="3"', 'SizeC="0"')], None, "SizeC='0'"),
    "SizeX that is none": ([('SizeX="40"', 'SizeX="many"')], None, "SizeX='many'"),
    "Z instead of C": ([('SizeC="3"', 'SizeC="1"'), ('SizeZ="1"', 'SizeZ="3"')], None, "stack|Z planes"),
    "Z instead of C, no blocks": (
        [('SizeC="3"', 'SizeC="1"'), ('SizeZ="1"', 'SizeZ="3"')],
        "",
        "SizeZ=3: pages are not channels",
    ),
    "another size and another order": (
        [('SizeX="40"', 'SizeX="80"')],
        "".join(BLOCK.format(2 - i, i) for i in range(3)),
        "TiffData gives the planes another order",
    ),
    "another size and number": (
        [('SizeX="40"', 'SizeX="80"'), ('SizeC="3"', 'SizeC="5"')],
        "",
        "SizeC=5, but there are 3",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_planes_that_cannot_be_placed_are_refused(case, tmp_path):
    changes, blocks, match = REFUSED[case]
    path = tmp_path / "a.ome.tif"
    ome(path, *changes, blocks=blocks)
    with pytest.raises(InputFileError, match=match) as caught:
        sfm.io.read_tiff(path, mpp=0.5, channel_names=NAMES)
    assert "a.ome.tif" in str(caught.value)


SAID = {
    "Type": ([('Type="uint16"', 'Type="int16"')], None, "Type='int16', but the pages hold uint16"),
    "Type of a float": ([('Type="uint16"', 'Type="double"')], None, "Type='double', but the pages hold uint16"),
    "sizes": ([('SizeX="40"', 'SizeX="80"')], None, "SizeY x SizeX is 32 x 80, but the pages are 32 x 40"),
    "PlaneCount": ([], '<TiffData IFD="0" PlaneCount="9"/>', "PlaneCount=9 from plane 0, but its sizes make 3 planes"),
    "FirstC": ([], "".join(BLOCK.format(i, i) for i in range(4)), "TiffData FirstC=3 is outside"),
    "more pages": ([('SizeC="3"', 'SizeC="2"')], None, "1 of 3 pages"),
    "channels": (
        [('<Channel ID="Channel:0:2" SamplesPerPixel="1" Name="CD8"><LightPath/></Channel>', "")],
        None,
        "SizeC=3, but channels of 2 samples are listed",
    ),
    "damaged": ([("<Pixels ", "<Pixels<")], None, "it is damaged and cannot be read"),
    "without end": ([("</OME>", "")], None, "it has no end and is not read"),
}


@pytest.mark.parametrize("case", SAID)
def test_contradictions_that_move_no_pixel_are_said(case, tmp_path):
    """Also where the user gives pixel size and names, so that nothing else would be said."""
    changes, blocks, text = SAID[case]
    path = tmp_path / "a.ome.tif"
    ome(path, *changes, blocks=blocks)
    names = NAMES[:2] if case == "more pages" else NAMES
    image, said = read(path, mpp=0.5, channel_names=names)
    assert any(text in one for one in said), said
    assert image.to_numpy()[:, 0, 0].tolist() == [10, 20, 30][: len(names)]


def test_names_that_are_more_than_the_pages(tmp_path):
    path = tmp_path / "a.ome.tif"
    ome(path, ('Name="CD8"><LightPath/></Channel>', 'Name="CD8"/><Channel ID="Channel:0:3" Name="CD20"/>'))
    with pytest.raises(SpatialfmError, match=r"a\.ome\.tif' names 4 channels, but the image has 3"):
        read(path)


def test_axes_say_what_an_xml_cannot(tmp_path):
    path = tmp_path / "a.ome.tif"
    ome(path, ('SizeX="40"', 'SizeX="80"'), ('SizeC="3"', 'SizeC="5"'), blocks="")
    image, said = read(path, axes="cyx", mpp=0.5, channel_names=NAMES)
    assert image.shape == (3, 32, 40)
    assert any("SizeY x SizeX is 32 x 80" in one for one in said)


CENTIMETRE = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}  # 0.5 µm


@pytest.mark.parametrize("value", ["-0.5", "0", "0.0", "NaN", "INF", "-INF", "", "0,5", "half"])
@pytest.mark.parametrize("how", ["both", "x", "tags", "argument"])
def test_a_pixel_size_that_is_none_is_said(value, how, tmp_path):
    """Whatever else gives a size: the other side, the resolution tags, the user; or nothing."""
    path = tmp_path / "a.ome.tif"
    changes = [('PhysicalSizeX="0.5"', f'PhysicalSizeX="{value}"')]
    if how != "x":
        changes.append(('PhysicalSizeY="0.5"', f'PhysicalSizeY="{value}"'))
    ome(path, *changes, tags=CENTIMETRE if how == "tags" else None)
    _, said = read(path, mpp=0.5 if how == "argument" else None)
    assert len(said) == 1
    assert repr(f"{value} µm") in said[0]
    source = {"both": "1 µm per pixel is assumed", "x": "0.5 µm by OME-XML", "tags": "0.5 µm by resolution tags"}
    assert source.get(how, "mpp=0.5 is used") in said[0]


@pytest.mark.parametrize("unit", ["furlong", "pixel", "reference frame", ""])
def test_units_that_nobody_knows(unit, tmp_path):
    path = tmp_path / "a.ome.tif"
    old = [f'PhysicalSize{axis}="0.5"' for axis in "XY"]
    ome(path, *((text, f'{text} {text[:13]}Unit="{unit}"') for text in old))
    _, said = read(path)
    assert len(said) == 1
    assert repr(f"0.5 {unit}") in said[0]
    assert "1 µm per pixel is assumed" in said[0]


def test_a_unit_that_is_missing_is_the_micrometre_of_the_schema(tmp_path):
    path = tmp_path / "a.ome.tif"
    ome(path)
    assert "SizeXUnit" not in tifffile.tiffcomment(path)
    sdata = sfm.io.read_tiff(path)
    assert sdata.attrs["spatialfm"]["samples"]["a"]["mpp"] == 0.5


@pytest.mark.parametrize(("value", "unit"), [("500", "µm"), ("0.5", "nm"), ("1e-6", "µm"), ("0.5", "m")])
def test_absurd_sizes_are_refused(value, unit, tmp_path):
    path = tmp_path / "a.ome.tif"
    new = (f'PhysicalSize{axis}="{value}" PhysicalSize{axis}Unit="{unit}"' for axis in "XY")
    ome(path, *zip((f'PhysicalSize{axis}="0.5"' for axis in "XY"), new, strict=True))
    with pytest.raises(PixelSizeError, match=r"a\.ome\.tif.*by OME-XML PhysicalSizeX, which no image of cells has"):
        read(path)
    _, said = read(path, mpp=0.5)
    assert "contradicts the one given" in said[0]


@pytest.mark.parametrize("unit", ["INCH", "CENTIMETER", "MILLIMETER"])
def test_resolution_tags_in_another_unit(unit, tmp_path):
    """20,000 a centimetre are the 0.5 µm of the XML; the same number an inch or a millimetre is not."""
    path = tmp_path / "a.ome.tif"
    ome(path, tags=CENTIMETRE | {"resolutionunit": unit})
    _, said = read(path)
    if unit == "INCH":
        assert "0.5 µm by OME-XML PhysicalSizeX, 1.27 µm by resolution tags" in said[0]
    else:  # 0.05 µm, a size that a microscope may have
        assert ("0.05 µm by resolution tags" in " ".join(said)) == (unit == "MILLIMETER")
        assert bool(said) == (unit == "MILLIMETER")
