"""What `read_tiff` makes of every kind of TIFF: pixels against tifffile, metadata against what was written."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import spatialdata as sd
import tifffile
from spatialdata.transformations import Scale, get_transformation

import spatialfm as sfm
from spatialfm._errors import InputFileError, SpatialfmWarning
from spatialfm.pp.arrays import full_resolution
from spatialfm.pp.elements import match_elements, pixel_size

NAMES = ["DAPI", "CD3", "CD8", "CD20", "Ki67"]


def read(path, *args, **options):
    options = {"mpp": 0.5, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialfmWarning)
        sdata = sfm.io.read_tiff(path, *args, **options)
    return full_resolution(next(iter(sdata.images.values())))


def channels(image) -> list[str]:
    return [str(name) for name in image.coords["c"].values]


def test_elements_systems_and_record(ome, mask_file, pixels, mask):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a file that says everything gives no warning
        sdata = sfm.io.read_tiff(ome, mask_file)
    assert list(sdata.images) == ["image_core1"]
    assert list(sdata.labels) == ["cells_core1"]
    assert sdata.coordinate_systems == ["core1"]
    for element in (sdata.images["image_core1"], sdata.labels["cells_core1"]):
        transformations = get_transformation(element, get_all=True)
        assert list(transformations) == ["core1"]
        assert transformations["core1"] == Scale([0.5, 0.5], axes=("x", "y"))
    np.testing.assert_array_equal(sdata.images["image_core1"].values, pixels)
    np.testing.assert_array_equal(sdata.labels["cells_core1"].values, mask)
    assert channels(sdata.images["image_core1"]) == NAMES
    assert sdata.attrs["spatialfm"]["samples"]["core1"] == {
        "mpp": 0.5,
        "mpp_source": "metadata",
        "mpp_field": "OME-XML PhysicalSizeX",
        "image": str(ome.resolve()),
        "labels": str(mask_file.resolve()),
    }
    (pair,) = match_elements(sdata)
    assert (pair.sample, pair.labels, pixel_size(sdata, pair)) == ("core1", "cells_core1", 0.5)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "f2", "f4", "f8"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_pixel_types(tmp_path, dtype, byteorder):
    pixels = (np.random.default_rng(0).random((3, 40, 50)) * 120).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", pixels, byteorder=byteorder, photometric="minisblack")
    image = read(tmp_path / "a.tif")
    assert image.dtype == np.dtype(dtype)
    assert image.dtype.isnative
    np.testing.assert_array_equal(image.values, pixels)


STORED = {
    "contiguous": {},
    "pages": {"metadata": None},
    "strips": {"rowsperstrip": 16},
    "deflate": {"compression": "zlib", "rowsperstrip": 7},
    "deflate, predictor": {"compression": "zlib", "predictor": True, "rowsperstrip": 16},
    "lzw": {"compression": "lzw"},
    "zstd, big-endian": {"compression": "zstd", "byteorder": ">"},
    "tiles": {"tile": (32, 48)},
    "tiles, deflate": {"tile": (32, 16), "compression": "zlib", "predictor": True},
    "BigTIFF": {"bigtiff": True, "compression": "zlib"},
    "ImageJ": {"imagej": True},
    "ImageJ, one page": {"imagej": True, "truncate": True},
    "one page": {"truncate": True},
    "planes of one page": {"photometric": "minisblack", "planarconfig": "separate"},
    "planes of one page, tiles": {
        "photometric": "minisblack",
        "planarconfig": "separate",
        "compression": "zlib",
        "tile": (32, 32),
    },
}


@pytest.mark.parametrize("how", STORED)
def test_storage(tmp_path, pixels, how):
    tifffile.imwrite(tmp_path / "a.tif", pixels, **STORED[how])
    image = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.values, pixels)
    np.testing.assert_array_equal(image[1:3, 13:37, 40:87].values, pixels[1:3, 13:37, 40:87])
    np.testing.assert_array_equal(image.data[4, ::-3, 5].compute(), pixels[4, ::-3, 5])


INTERLEAVED = {
    "pages of rows": {},
    "axes in the metadata": {"metadata": {"axes": "YXC"}},
    "samples": {"photometric": "minisblack", "planarconfig": "contig"},
    "samples, tiles": {
        "photometric": "minisblack",
        "planarconfig": "contig",
        "compression": "zlib",
        "tile": (32, 32),
    },
}


@pytest.mark.parametrize("how", INTERLEAVED)
def test_channels_last(tmp_path, pixels, how):
    tifffile.imwrite(tmp_path / "a.tif", np.ascontiguousarray(np.moveaxis(pixels, 0, -1)), **INTERLEAVED[how])
    image = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.values, pixels)
    np.testing.assert_array_equal(image[2:4, 13:37, 40:87].values, pixels[2:4, 13:37, 40:87])


def test_colour_image_as_tifffile_decodes_it(tmp_path):
    y, x = np.mgrid[:70, :90]
    colours = np.stack([2 * y, 2 * x, y + x], axis=-1).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", colours, photometric="rgb", compression="jpeg", tile=(32, 32))
    image = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.values, np.moveaxis(tifffile.imread(tmp_path / "a.tif"), -1, 0))
    assert channels(image) == ["red", "green", "blue"]


def test_one_channel_and_yes_no_pixels(tmp_path, pixels):
    tifffile.imwrite(tmp_path / "a.tif", pixels[0])
    np.testing.assert_array_equal(read(tmp_path / "a.tif").values, pixels[:1])
    tifffile.imwrite(tmp_path / "b.tif", pixels > 9000)
    image = read(tmp_path / "b.tif")
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image.values, pixels > 9000)


def test_plain_array_has_its_channels_where_it_is_short_or_where_the_names_fit(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 9, (40, 50, 60)).astype(np.uint8)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels)
    with pytest.raises(sfm._errors.InputFileError, match=r"shape is \(40, 50, 60\).*Pass axes=\"cyx\" or axes=\"yxc\""):
        read(path)
    np.testing.assert_array_equal(read(path, channel_names=[str(i) for i in range(40)]).values, pixels)
    by_last = read(path, channel_names=[str(i) for i in range(60)])
    np.testing.assert_array_equal(by_last.values, np.moveaxis(pixels, -1, 0))
    np.testing.assert_array_equal(read(path, axes="yxc").values, np.moveaxis(pixels, -1, 0))
    np.testing.assert_array_equal(read(path, axes="cyx").values, pixels)
    with pytest.raises(sfm._errors.InputFileError, match="axes='yx' does not fit"):
        read(path, axes="yx")


def test_folder_of_one_tiff_a_marker(tmp_path, pixels):
    folder = tmp_path / "core 7"
    folder.mkdir()
    for i, name in enumerate(["ch10", "ch2", "DAPI"]):
        tifffile.imwrite(folder / f"{name}.ome.tiff", pixels[i], metadata={"PhysicalSizeX": 0.4, "PhysicalSizeY": 0.4})
    (folder / "._ch2.tiff").write_bytes(b"left by an archive")
    (folder / "notes.txt").write_text("no image")
    sdata = sfm.io.read_tiff(folder)
    image = sdata.images["image_core_7"]
    assert channels(image) == ["ch2", "ch10", "DAPI"]
    np.testing.assert_array_equal(image.values, pixels[[1, 0, 2]])
    assert sdata.attrs["spatialfm"]["samples"]["core_7"]["mpp"] == 0.4


def test_pyramid_levels_are_those_of_the_file(tmp_path):
    rng = np.random.default_rng(0)
    # unrelated pixels on each level: nothing computed from the first could pass
    levels = [rng.integers(0, 1000, (3, side, side + 32)).astype(np.uint16) for side in (256, 128, 64)]
    path = tmp_path / "slide.ome.tif"
    metadata = {"axes": "CYX", "Channel": {"Name": ["a", "b", "c"]}, "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}
    options = {"tile": (64, 64), "compression": "zlib"}
    levels[1], levels[2] = levels[1][..., :144], levels[2][..., :72]
    with tifffile.TiffWriter(path) as tif:
        tif.write(levels[0], subifds=2, metadata=metadata, **options)
        for level in levels[1:]:
            tif.write(level, subfiletype=1, **options)
    sdata = sfm.io.read_tiff(path)
    check_pyramid(sdata.images["image_slide"], levels)
    check_pyramid(sd.read_zarr(sfm.io.write(sdata, tmp_path / "slide.zarr")).images["image_slide"], levels)


def check_pyramid(element, levels):
    assert list(element.keys()) == ["scale0", "scale1", "scale2"]
    for i, level in enumerate(levels):
        (array,) = element[f"scale{i}"].data_vars.values()
        np.testing.assert_array_equal(array.values, level)
        assert channels(array) == ["a", "b", "c"]
        matrix = get_transformation(array, "slide").to_affine_matrix(("y", "x"), ("y", "x"))
        np.testing.assert_allclose(matrix, np.diag([0.25 * 2**i, 0.25 * 2**i, 1]))
        # pixel centres of every level, in pixels of the first
        np.testing.assert_allclose(array.coords["x"], (np.arange(level.shape[2]) + 0.5) * 2**i)
    assert list(get_transformation(element, get_all=True)) == ["slide"]


def test_qptiff(tmp_path):
    rng = np.random.default_rng(0)
    base, half = rng.integers(0, 255, (2, 128, 160), np.uint8), rng.integers(0, 255, (2, 64, 80), np.uint8)
    xml = (
        '<?xml version="1.0" encoding="utf-16"?><PerkinElmer-QPI-ImageDescription><ImageType>FullResolution</ImageType>'
        "<Name>{}</Name>{}</PerkinElmer-QPI-ImageDescription>"
    )
    names = [xml.format("Opal 520", "<Biomarker>CD8</Biomarker>"), xml.format("DAPI", "")]
    options = {"metadata": None, "software": "PerkinElmer-QPI", "resolution": (20000, 20000), "resolutionunit": 3}
    path = tmp_path / "slide.qptiff"
    with tifffile.TiffWriter(path) as tif:
        for page, name in zip(base, names, strict=True):
            tif.write(page, description=name, tile=(32, 32), compression="zlib", **options)
        tif.write(np.zeros((30, 40, 3), np.uint8), photometric="rgb", description=xml.format("thumb", ""), **options)
        for page, name in zip(half, names, strict=True):
            tif.write(page, description=name, tile=(32, 32), compression="zlib", **options)
        tif.write(np.zeros((70, 70, 3), np.uint8), photometric="rgb", description=xml.format("label", ""), **options)
    sdata = sfm.io.read_tiff(path)
    element = sdata.images["image_slide"]
    assert channels(full_resolution(element)) == ["CD8", "DAPI"]
    np.testing.assert_array_equal(element["scale0"]["image"].values, base)
    np.testing.assert_array_equal(element["scale1"]["image"].values, half)
    assert sdata.attrs["spatialfm"]["samples"]["slide"]["mpp"] == 0.5


@pytest.mark.parametrize(
    ("profile", "tags", "mpp"),
    [
        ("<ScanProfile><root><PixelSizeMicrons>0.4988</PixelSizeMicrons></root></ScanProfile>", None, 0.4988),
        ("<ScanProfile>&lt;PixelSizeMicrons&gt;0.2&lt;/PixelSizeMicrons&gt;</ScanProfile>", None, 0.2),
        ('<ScanProfile>{"PixelSizeMicrons": 0.5}</ScanProfile>', None, 0.5),
        ("<A><PixelSizeMicrons>0.5</PixelSizeMicrons></A><B><PixelSizeMicrons>0.25</PixelSizeMicrons></B>", None, 1.0),
        ("<PixelSizeMicrons>500</PixelSizeMicrons>", None, 1.0),
        ("<PixelSizeMicrons>0.2</PixelSizeMicrons>", 20000, 0.5),  # tags say what the pages are
        ("<PixelSizeMicrons>0.2</PixelSizeMicrons>", 72 / 2.54, 0.2),  # dots of a printer
        ("", None, 1.0),
    ],
)
def test_pixel_size_of_a_qptiff_without_tags(tmp_path, profile, tags, mpp):
    """Resolution tags go first; two sizes in one description, or one that no microscope has, are not taken."""
    xml = f"<PerkinElmer-QPI-ImageDescription><Name>CD8</Name>{profile}</PerkinElmer-QPI-ImageDescription>"
    resolution = {} if tags is None else {"resolution": (tags, tags), "resolutionunit": 3}
    options = {"metadata": None, "software": "PerkinElmer-QPI", "description": xml, **resolution}
    tifffile.imwrite(tmp_path / "slide.qptiff", np.zeros((32, 40), np.uint8), **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error" if mpp != 1 else "ignore")
        sdata = sfm.io.read_tiff(tmp_path / "slide.qptiff")
    assert sdata.attrs["spatialfm"]["samples"]["slide"]["mpp"] == pytest.approx(mpp, rel=1e-4)


def test_a_thumbnail_before_the_image_is_not_taken_for_it(tmp_path):
    """Readers take the pages of the first one's size for the image, and drop all but one of the others."""
    xml = (
        '<?xml version="1.0"?><PerkinElmer-QPI-ImageDescription><ImageType>{}</ImageType><Name>{}</Name>'
        "</PerkinElmer-QPI-ImageDescription>"
    )
    options = {"metadata": None, "software": "PerkinElmer-QPI", "resolution": (20000, 20000), "resolutionunit": 3}
    pages = np.random.default_rng(0).random((2, 64, 80)).astype(np.float32)
    small = np.zeros((16, 20, 3), np.uint8)
    for name, first in (("before", True), ("behind", False)):
        with tifffile.TiffWriter(tmp_path / f"{name}_component_data.tif") as tif:
            if first:
                tif.write(small, photometric="rgb", description=xml.format("Thumbnail", ""), **options)
            for page, marker in zip(pages, ("DAPI", "CD8"), strict=True):
                tif.write(page, description=xml.format("FullResolution", marker), **options)
            if not first:
                tif.write(small, photometric="rgb", description=xml.format("Thumbnail", ""), **options)
    image = read(tmp_path / "behind_component_data.tif", mpp=None)
    assert channels(image) == ["DAPI", "CD8"]
    np.testing.assert_array_equal(image.values, pages)
    with pytest.raises(InputFileError, match="begins with pages of ImageType Thumbnail"):
        sfm.io.read_tiff(tmp_path / "before_component_data.tif")


def test_ome_tiff_of_several_files(tmp_path, pixels):
    plane = '<TiffData FirstC="{0}" IFD="0" PlaneCount="1"><UUID FileName="c{0}.ome.tif">urn:uuid:{0}</UUID></TiffData>'
    for c in range(2):
        description = (
            f'<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{c}">'
            '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="90" SizeY="70" '
            'SizeC="2" SizeZ="1" SizeT="1" PhysicalSizeX="0.5"><Channel ID="Channel:0:0" Name="a"/>'
            '<Channel ID="Channel:0:1" Name="b"/>' + plane.format(0) + plane.format(1) + "</Pixels></Image></OME>"
        )
        tifffile.imwrite(
            tmp_path / f"c{c}.ome.tif", pixels[c], description=description, metadata=None, compression="zlib"
        )
    image = read(tmp_path / "c0.ome.tif", mpp=None)
    assert channels(image) == ["a", "b"]
    np.testing.assert_array_equal(image.values, pixels[:2])


def test_series_beside_a_thumbnail_and_by_number(tmp_path, pixels):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tif:
        tif.write(pixels[0, :20, :20])
        tif.write(pixels)
    np.testing.assert_array_equal(read(path).values, pixels)
    np.testing.assert_array_equal(read(path, series=0).values, pixels[:1, :20, :20])


def test_names_given_as_list_file_or_mapping(tmp_path, ome):
    assert channels(read(ome, channel_names=list("abcde"))) == list("abcde")
    (tmp_path / "channels.txt").write_text("a\nb\r\nc\n\nd\ne\n")
    assert channels(read(ome, channel_names=tmp_path / "channels.txt")) == list("abcde")
    renamed = read(ome, channel_names={"CD3": "CD3e", 4: "MKI67"})
    assert channels(renamed) == ["DAPI", "CD3e", "CD8", "CD20", "MKI67"]


def test_sample_name_given(ome, mask_file):
    sdata = sfm.io.read_tiff(ome, mask_file, sample="TMA1.A-3")
    assert list(sdata.images) == ["image_TMA1.A-3"]
    assert sdata.coordinate_systems == ["TMA1.A-3"]
    with pytest.raises(sfm._errors.InputFileError, match="sample='a/b 1' cannot name.*sample='a_b_1'"):
        sfm.io.read_tiff(ome, sample="a/b 1")


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_float_labels_that_are_whole_numbers(tmp_path, ome, mask, dtype):
    path = tmp_path / "mask.tif"
    tifffile.imwrite(path, mask.astype(dtype))
    sdata = sfm.io.read_tiff(ome, path, cast_labels=True)
    assert sdata.labels["cells_core1"].dtype == np.uint32
    np.testing.assert_array_equal(sdata.labels["cells_core1"].values, mask)


def test_result_can_be_measured_and_written(tmp_path, ome, mask_file, pixels, mask):
    sdata = sfm.io.read_tiff(ome, mask_file)
    sfm.pp.cell_table(sdata)
    expected = np.stack([pixels[:, mask == cell].mean(axis=1) for cell in (1, 2, 7)])
    np.testing.assert_allclose(sdata["table"].X, expected, rtol=1e-6)
    np.testing.assert_allclose(sdata["table"].obsm["spatial"][0], [12.5 * 0.5, 10 * 0.5])
    back = sd.read_zarr(sfm.io.write(sdata, tmp_path / "core.zarr"))
    np.testing.assert_array_equal(back.images["image_core1"].values, pixels)
    assert back.attrs["spatialfm"]["samples"]["core1"]["mpp"] == 0.5
