"""Files that say of themselves what cannot be: refused before memory is asked for, with file and reason."""

from __future__ import annotations

import csv
import struct

import numpy as np
import pytest
import tifffile

import spatialfm as sfm
from spatialfm._errors import InputFileError, PanelError, SpatialfmError, SpatialfmWarning


def place_of_tag(content: bytes, code: int) -> int:
    """Where the value of a tag of the first page of a classic little-endian TIFF stands."""
    (offset,) = struct.unpack_from("<I", content, 4)
    (n,) = struct.unpack_from("<H", content, offset)
    for i in range(n):
        at = offset + 2 + 12 * i
        if struct.unpack_from("<H", content, at)[0] == code:
            return at + 8
    raise AssertionError(f"no tag {code}")


def with_tag(path, code: int, value: int) -> None:
    raw = bytearray(path.read_bytes())
    at = place_of_tag(raw, code)
    struct.pack_into("<H", raw, at - 6, 4)  # LONG
    struct.pack_into("<I", raw, at, value)
    path.write_bytes(raw)


@pytest.fixture
def compressed(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((64, 80), np.uint16), compression="deflate", metadata=None)
    return path


def test_pages_that_lead_in_a_circle(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((3, 16, 16), np.uint16), metadata=None, photometric="minisblack")
    raw = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tif:
        first, last = tif.pages[0].offset, tif.pages[2].offset
    (n,) = struct.unpack_from("<H", raw, last)
    struct.pack_into("<I", raw, last + 2 + 12 * n, first)
    path.write_bytes(raw)
    with pytest.raises(InputFileError, match="circle"):
        sfm.io.read_tiff(path, mpp=0.5)


@pytest.mark.parametrize(("code", "value"), [(256, 2**31), (257, 2**32 - 1), (256, 0)])
def test_sides_that_no_image_has(compressed, code, value):
    with_tag(compressed, code, value)
    with pytest.raises(InputFileError, match="a.tif"):
        sfm.io.read_tiff(compressed, mpp=0.5)


def test_a_strip_that_cannot_hold_what_it_says(compressed):
    """One byte of Deflate encodes at most 1,032: 9,000,000 rows of 80 are more than the strip can hold."""
    with_tag(compressed, 257, 9_000_000)
    with_tag(compressed, 278, 9_000_000)
    with pytest.raises(InputFileError, match="not possible"):
        sfm.io.read_tiff(compressed, mpp=0.5)


@pytest.mark.parametrize(("code", "value"), [(273, -64), (279, -5)])
def test_a_strip_before_the_file_is_refused_before_pixels_are_read(compressed, code, value):
    """Some writers' tags have a sign."""
    raw = bytearray(compressed.read_bytes())
    at = place_of_tag(raw, code)
    struct.pack_into("<H", raw, at - 6, 9)  # SLONG
    struct.pack_into("<i", raw, at, value)
    compressed.write_bytes(raw)
    with pytest.raises(InputFileError, match=f"page 1 of 1 lists a strip or tile at byte, or of a size of, {value}"):
        sfm.io.read_tiff(compressed, mpp=0.5)


def test_an_even_image_is_no_lie(tmp_path):
    """80 MB of zeros in one strip of some 80 kB is what Deflate makes of them."""
    path = tmp_path / "even.tif"
    tifffile.imwrite(path, np.zeros((6400, 6400), np.uint16), compression="deflate", rowsperstrip=6400, metadata=None)
    assert path.stat().st_size < 120_000
    assert sfm.io.read_tiff(path, mpp=0.5)["image_even"].shape == (1, 6400, 6400)


def test_more_planes_described_than_a_file_can_hold(tmp_path):
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, np.zeros((3, 16, 16), np.uint16), metadata={"axes": "CYX"})
    xml = tifffile.tiffcomment(path)
    assert xml.count('SizeZ="1"') == 1
    tifffile.tiffcomment(path, xml.replace('SizeZ="1"', 'SizeZ="9999999"').encode())
    with pytest.raises(InputFileError, match="more than it can hold"):
        sfm.io.read_tiff(path, mpp=0.5)


def test_fewer_strips_than_rows_need(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((64, 80), np.uint16), compression="lzw", rowsperstrip=64, metadata=None)
    with_tag(path, 278, 32)
    with pytest.raises(InputFileError, match="a.tif"):
        sfm.io.read_tiff(path, mpp=0.5)["image_a"].compute()


def test_damaged_ome_xml_is_said(tmp_path):
    path = tmp_path / "a.ome.tif"
    metadata = {"axes": "CYX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25, "Channel": {"Name": ["a", "b", "c"]}}
    tifffile.imwrite(path, np.zeros((3, 16, 16), np.uint16), metadata=metadata)
    path.write_bytes(path.read_bytes().replace(b"<Pixels ", b"<Pixels<"))
    with pytest.warns(UserWarning, match="OME-XML is damaged"):
        sfm.io.read_tiff(path)


@pytest.mark.parametrize("text", ['{"name": ["DAPI", "CD3", "CD8"]}', '["DAPI", "CD3", "CD8"]', "<OME></OME>"])
def test_json_and_xml_are_no_list_of_names(tmp_path, text):
    image, names = tmp_path / "a.tif", tmp_path / "names.txt"
    tifffile.imwrite(image, np.zeros((3, 16, 16), np.uint16), photometric="minisblack")
    names.write_text(text)
    with pytest.raises(PanelError, match="not a list of channel names"):
        sfm.io.read_tiff(image, mpp=0.5, channel_names=names)


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b", "~nobody_of_this_name/a.tif", "x/" * 3000])
def test_paths_that_cannot_be(name):
    with pytest.raises(SpatialfmError, match="No file|image must be a path"):
        sfm.io.read_tiff(name, mpp=0.5)


def test_a_block_that_does_not_fit_into_memory_is_named(compressed, monkeypatch):
    def full(*_, **__):
        raise MemoryError

    monkeypatch.setattr("tifffile.TiffPage.decode", property(lambda page: full))
    with pytest.raises(InputFileError, match="does not fit into memory"):
        sfm.io.read_tiff(compressed, mpp=0.5)["image_a"].compute()


def cohort(folder, *ages: str, header: str = "sample,patient,image,age"):
    """A cohort table of one image for each of the values."""
    tifffile.imwrite(folder / "image.tif", np.zeros((3, 16, 16), np.uint16), photometric="minisblack")
    path = folder / "cohort.csv"
    rows = [f"s{i},p{i},image.tif,{age}" for i, age in enumerate(ages)]
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("value", ["1e309", "-1e309", "1e99999999999", "9" * 400 + ".5"])
def test_a_number_that_no_computer_has_leaves_the_column_text(tmp_path, value):
    path = cohort(tmp_path, value, "42")
    with pytest.warns(SpatialfmWarning, match=r"'age' \(.* is larger than any number"):
        sdata = sfm.io.read_cohort(path, mpp=0.5)
    assert sdata["samples"].obs["age"].tolist() == [value, "42"]


def test_numbers_with_exponents_and_infinity_stay_numbers(tmp_path):
    sdata = sfm.io.read_cohort(cohort(tmp_path, "1e308", "-INF", "", "+.5e-3"), mpp=0.5)
    np.testing.assert_array_equal(sdata["samples"].obs["age"].to_numpy(), [1e308, -np.inf, np.nan, 0.0005])


@pytest.mark.parametrize("digits", ["٤١", "４１"])
def test_digits_of_other_scripts_are_text(tmp_path, digits):
    sdata = sfm.io.read_cohort(cohort(tmp_path, digits, digits), mpp=0.5)
    assert sdata["samples"].obs["age"].tolist() == [digits, digits]


def test_a_quote_that_is_not_closed_takes_no_rows_away(tmp_path):
    """Row 1 opens a quote, and rows 2 and 3 would be part of its cell."""
    path = cohort(tmp_path, "1", '"2', "3", "4")
    with pytest.raises(InputFileError, match=r"double quote of line 3 .* is not closed"):
        sfm.io.read_cohort(path, mpp=0.5)


@pytest.mark.parametrize("ages", [('"1', "2", '"3'), ('"1', '"2', "3")])
def test_rows_between_two_stray_quotes_are_told(tmp_path, ages):
    with pytest.warns(SpatialfmWarning, match="rows are lost"):
        sfm.io.read_cohort(cohort(tmp_path, *ages), mpp=0.5)


def test_a_remark_of_two_lines_is_no_row(tmp_path, recwarn):
    sdata = sfm.io.read_cohort(cohort(tmp_path, '"good, old\nand tired, too"', "x"), mpp=0.5)
    assert sdata["samples"].obs["age"].tolist() == ["good, old\nand tired, too", "x"]
    assert not [one for one in recwarn if "rows are lost" in str(one.message)]


@pytest.mark.parametrize("value", ["x" * 200_000, '"' + "x\n" * 100_000 + '"'])
def test_a_cell_of_200_kb_is_refused_with_its_line(tmp_path, value):
    """Also where the limit of the csv module is lifted, as scipy does for the whole process when it reads ARFF."""
    limit = csv.field_size_limit(2**31 - 1)
    try:
        with pytest.raises(InputFileError, match=r"cohort.csv' cannot be parted into cells from line 2 "):
            sfm.io.read_cohort(cohort(tmp_path, value), mpp=0.5)
    finally:
        csv.field_size_limit(limit)


def test_true_is_no_pixel_size(tmp_path):
    path = cohort(tmp_path, "true", "true", header="sample,patient,image,mpp")
    with pytest.raises(InputFileError, match="True in column 'mpp' is not a pixel size"):
        sfm.io.read_cohort(path)


def test_a_name_that_no_disk_takes_is_refused_before_reading(tmp_path):
    path = cohort(tmp_path, "1")
    path.write_text(path.read_text().replace("s0", "a" * 250))
    with pytest.raises(InputFileError, match="250 bytes"):
        sfm.io.read_cohort(path, mpp=0.5)


def test_a_billion_samples_a_pixel_take_no_memory():
    from spatialfm.io._ome import ome_images

    (image,) = ome_images(
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image><Pixels SizeC="2">'
        '<Channel Name="a" SamplesPerPixel="1000000000"/></Pixels></Image></OME>'
    )
    assert image.channel_names is None


def test_a_chunk_of_a_store_that_cannot_be_decoded(tmp_path):
    import spatialdata

    sfm.datasets.simulate_cohort(1, n_samples=1, image_size=64, difficulty="easy").write(tmp_path / "s.zarr")
    sdata = spatialdata.read_zarr(tmp_path / "s.zarr")
    for path in (tmp_path / "s.zarr" / "images").rglob("c/**/*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(InputFileError, match="damaged or gone"):
        sfm.pp.cell_table(sdata, table_name="measured", on_pieces="keep")
    assert "measured" not in sdata.tables
