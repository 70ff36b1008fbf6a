"""Files that hold several images, and images that are spread over several files: each sample gets its own."""

from __future__ import annotations

import warnings
from xml.sax.saxutils import quoteattr

import numpy as np
import pandas as pd
import pytest
import tifffile

import spatialfm as sfm
from spatialfm._errors import InputFileError, SpatialfmWarning

HEAD = '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"{uuid}>'


def image_xml(name, names, mpp, size, data, order="XYCZT", more='SizeZ="1" SizeT="1"'):
    """One image: `data` are the TiffData elements, `more` further attributes of its pixels."""
    channels = "".join(f"<Channel Name={quoteattr(channel)}/>" for channel in names)
    size_mpp = "" if mpp is None else f'PhysicalSizeX="{mpp}" PhysicalSizeY="{mpp}"'
    sizes = f'SizeX="{size[1]}" SizeY="{size[0]}" SizeC="{len(names)}" {more}'
    return (
        f'<Image ID="Image:{name}" Name={quoteattr(name)}><Pixels DimensionOrder="{order}" Type="uint16" {sizes} '
        f"{size_mpp}>{channels}{data}</Pixels></Image>"
    )


def tiff_data(ifd, count=1, first_c=0, file=None, uuid=None):
    inner = "" if file is None else f'<UUID FileName="{file}">urn:uuid:{uuid or file}</UUID>'
    return f'<TiffData FirstC="{first_c}" IFD="{ifd}" PlaneCount="{count}">{inner}</TiffData>'


def ome(*images, uuid=None):
    head = HEAD.format(uuid="" if uuid is None else f' UUID="urn:uuid:{uuid}"')
    return head + "".join(images) + "</OME>"


def write(path, planes, xml):
    with tifffile.TiffWriter(path) as tif:
        for i, plane in enumerate(planes):
            tif.write(plane, description=xml if i == 0 else None, metadata=None, photometric="minisblack")


def pixels_of(seed, n=2, size=(40, 50)):
    return np.random.default_rng(seed).integers(0, 60000, (n, *size)).astype(np.uint16)


def read(path, **options):
    sdata = sfm.io.read_tiff(path, **options)
    ((sample, record),) = sdata.attrs["spatialfm"]["samples"].items()
    image = sdata.images[f"image_{sample}"]
    return image.values, [str(c) for c in image.coords["c"].values], record["mpp"]


def test_names_and_pixel_size_are_those_of_the_image_that_is_read(tmp_path):
    """An image without pixels comes first in the XML: series 0 is image 1, series 1 is image 2."""
    a, b = pixels_of(0), pixels_of(1, size=(30, 60))
    write(
        tmp_path / "a.ome.tif",
        [*a, *b],
        ome(
            image_xml("empty", ["x", "y"], 9, (10, 10), ""),
            image_xml("core A", ["DAPI", "CD3"], 0.5, (40, 50), tiff_data(0, 2)),
            image_xml("core B", ["CD8", "Ki67"], 0.25, (30, 60), tiff_data(2, 2)),
        ),
    )
    for series, pixels, names, mpp in ((0, a, ["DAPI", "CD3"], 0.5), (1, b, ["CD8", "Ki67"], 0.25)):
        found = read(tmp_path / "a.ome.tif", series=series)
        np.testing.assert_array_equal(found[0], pixels)
        assert found[1:] == (names, mpp)


def test_images_stored_in_another_order_than_their_pages(tmp_path):
    a, b = pixels_of(0), pixels_of(1)
    xml = ome(
        image_xml("second", ["CD8", "Ki67"], 0.25, (40, 50), tiff_data(2, 2)),
        image_xml("first", ["DAPI", "CD3"], 0.5, (40, 50), tiff_data(0, 2)),
    )
    write(tmp_path / "a.ome.tif", [*a, *b], xml)
    with pytest.raises(InputFileError, match="2 images.*series=0: second.*series=1: first"):
        read(tmp_path / "a.ome.tif")
    assert read(tmp_path / "a.ome.tif", series=1)[1:] == (["DAPI", "CD3"], 0.5)
    np.testing.assert_array_equal(read(tmp_path / "a.ome.tif", series=1)[0], a)
    np.testing.assert_array_equal(read(tmp_path / "a.ome.tif", series=0)[0], b)


@pytest.fixture(params=["each file has the XML of all", "one file has it", "a companion has it"])
def split_set(request, tmp_path):
    """Three cores, each in its own file, all described in one XML; the first is by far the largest."""
    cores = {
        "core1": (pixels_of(1, 2, (90, 120)), ["DAPI", "CD3"], 0.5),
        "core2": (pixels_of(2, 2, (40, 50)), ["DAPI", "CD8"], 0.25),
        "core3": (pixels_of(3, 2, (40, 50)), ["DAPI", "Ki67"], 0.4),
    }
    images = [
        image_xml(name, names, mpp, pixels.shape[1:], tiff_data(0, 2, file=f"{name}.ome.tif"))
        for name, (pixels, names, mpp) in cores.items()
    ]
    holder = {"each file has the XML of all": None, "one file has it": "core1.ome.tif"}.get(
        request.param, "study.companion.ome"
    )
    for name, (pixels, _, _) in cores.items():
        file = f"{name}.ome.tif"
        only = HEAD.format(uuid=f' UUID="urn:uuid:{file}"') + f'<BinaryOnly MetadataFile="{holder}" UUID="urn:uuid:m"/>'
        xml = ome(*images, uuid=file) if holder in (None, file) else only + "</OME>"
        write(tmp_path / file, pixels, xml)
    if holder == "study.companion.ome":
        (tmp_path / holder).write_text(ome(*images, uuid="m"), encoding="utf-8")
    return tmp_path, cores


def test_every_member_of_a_split_set_is_read_as_itself(split_set):
    folder, cores = split_set
    for name, (pixels, names, mpp) in cores.items():
        found = read(folder / f"{name}.ome.tif")
        np.testing.assert_array_equal(found[0], pixels)
        assert found[1:] == (names, mpp)


def test_a_cohort_of_a_split_set(split_set):
    folder, cores = split_set
    table = pd.DataFrame({"sample": list(cores), "patient": list("pqr"), "image": [f"{c}.ome.tif" for c in cores]})
    with pytest.warns(SpatialfmWarning, match="different panels"):
        sdata = sfm.io.read_cohort(table, base_path=folder)
    for name, (pixels, _, mpp) in cores.items():
        np.testing.assert_array_equal(sdata.images[f"image_{name}"].values, pixels)
        assert sdata.attrs["spatialfm"]["samples"][name]["mpp"] == mpp


def test_metadata_of_a_set_that_are_not_there_or_passed_as_the_image(tmp_path):
    images = [image_xml("core1", ["a", "b"], 0.5, (40, 50), tiff_data(0, 2, file="core1.ome.tif"))]
    only = HEAD.format(uuid=' UUID="urn:uuid:1"') + '<BinaryOnly MetadataFile="study.companion.ome" UUID="urn:uuid:m"/>'
    write(tmp_path / "core1.ome.tif", pixels_of(1), only + "</OME>")
    with pytest.raises(InputFileError, match=r"one file of a set.*'study\.companion\.ome'.*not in its folder"):
        read(tmp_path / "core1.ome.tif")
    (tmp_path / "study.companion.ome").write_text(ome(*images, uuid="m"))
    with pytest.raises(InputFileError, match=r"no pixels.*'core1\.ome\.tif'"):
        read(tmp_path / "study.companion.ome")


def test_samples_that_lead_to_the_same_pixels_are_refused(tmp_path):
    """One image whose two channels are in two files: whichever is opened, the whole image is read."""
    planes = pixels_of(0)
    data = [tiff_data(0, 1, first_c=c, file=f"c{c}.ome.tif") for c in range(2)]
    for c in range(2):
        xml = ome(image_xml("core", ["DAPI", "CD3"], 0.5, (40, 50), "".join(data)), uuid=f"c{c}.ome.tif")
        write(tmp_path / f"c{c}.ome.tif", planes[c : c + 1], xml)
    np.testing.assert_array_equal(read(tmp_path / "c1.ome.tif")[0], planes)
    table = pd.DataFrame({"sample": ["s", "t"], "patient": ["p", "q"], "image": ["c0.ome.tif", "c1.ome.tif"]})
    with pytest.raises(InputFileError, match=r"sample 't'.*same pixels as .*c0\.ome\.tif.*sample 's'.*Keep one row"):
        sfm.io.read_cohort(table, base_path=tmp_path)
    alone = tmp_path / "alone"
    alone.mkdir()
    (tmp_path / "c1.ome.tif").rename(alone / "c1.ome.tif")
    with pytest.raises(InputFileError, match=r"plane 0 of 2 is in no file.*'c0\.ome\.tif'.*in one folder"):
        read(alone / "c1.ome.tif")


def test_a_copied_description_does_not_lead_to_the_original(tmp_path):
    original, crop = pixels_of(0, 2, (80, 90)), pixels_of(1, 2, (40, 50))
    xml = ome(image_xml("core", ["DAPI", "CD3"], 0.5, (80, 90), tiff_data(0, 2, file="original.ome.tif")))
    write(tmp_path / "original.ome.tif", original, xml)
    write(tmp_path / "crop.ome.tif", crop, xml)
    np.testing.assert_array_equal(read(tmp_path / "original.ome.tif")[0], original)
    with pytest.raises(InputFileError, match=r"crop\.ome\.tif.*pixels are in 'original\.ome\.tif'.*export the image"):
        read(tmp_path / "crop.ome.tif")


def test_a_renamed_file_is_read_by_its_own_metadata(tmp_path):
    planes = pixels_of(0)
    xml = ome(
        image_xml("empty", ["x", "y"], 9, (10, 10), ""),
        image_xml("core", ["DAPI", "CD3"], 0.5, (40, 50), tiff_data(0, 2, file="before.ome.tif")),
    )
    write(tmp_path / "after.ome.tif", planes, xml)
    found = read(tmp_path / "after.ome.tif")
    np.testing.assert_array_equal(found[0], planes)
    assert found[1:] == (["DAPI", "CD3"], 0.5)


def test_a_renamed_member_of_a_set_is_refused(tmp_path):
    data = [image_xml(n, ["a", "b"], m, (40, 50), tiff_data(0, 2, file=f"{n}.tif")) for n, m in (("s", 0.5), ("t", 1))]
    write(tmp_path / "new.tif", pixels_of(0), ome(*data))
    with pytest.raises(InputFileError, match=r"new\.tif.*one file of a set \('s\.tif', 't\.tif'\) and was renamed"):
        read(tmp_path / "new.tif")


def test_pixel_size_of_another_size_of_image_is_not_taken(tmp_path):
    """An image made smaller, whose description was copied: 0.5 µm is no longer its pixel size."""
    xml = ome(image_xml("core", ["DAPI", "CD3"], 0.5, (80, 100), tiff_data(0, 2)))
    write(tmp_path / "half.ome.tif", pixels_of(0), xml)
    with pytest.warns(SpatialfmWarning, match="0.5 µm for an image of 80 x 100 pixels, but this one has 40 x 50"):
        found = read(tmp_path / "half.ome.tif")
    assert found[1:] == (["DAPI", "CD3"], 1.0)


def test_images_that_cannot_be_told_apart_lend_no_metadata(tmp_path):
    """No image says where its pixels are, and both have this size."""
    xml = ome(*(image_xml(n, c, m, (40, 50), "") for n, c, m in (("s", ["a", "b"], 0.5), ("t", ["c", "d"], 0.25))))
    write(tmp_path / "a.ome.tif", pixels_of(0), xml)
    with pytest.warns(SpatialfmWarning) as caught:
        found = read(tmp_path / "a.ome.tif")
    messages = "".join(str(w.message) for w in caught)
    assert "which of the 2 images in its OME-XML this is remains unclear" in messages
    assert "No channel names" in messages
    assert found[1:] == (["channel_0", "channel_1"], 1.0)


def test_a_page_that_the_metadata_forget_is_told(tmp_path):
    planes = pixels_of(0, 3)
    write(tmp_path / "a.ome.tif", planes, ome(image_xml("s", ["a", "b"], 0.5, (40, 50), tiff_data(0, 2))))
    with pytest.warns(SpatialfmWarning, match=r"left out: '.*a\.ome\.tif' \(1 of 3 pages\)"):
        found = read(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(found[0], planes[:2])


def test_fewer_pages_than_the_metadata_promise(tmp_path):
    write(tmp_path / "a.ome.tif", pixels_of(0), ome(image_xml("s", list("abc"), 0.5, (40, 50), tiff_data(0, 3))))
    with pytest.raises(InputFileError, match=r"a\.ome\.tif.*describes 3 planes, but plane 2 is not in the file"):
        read(tmp_path / "a.ome.tif")


CYCLES = {
    "XYCZT": ["cyc1_DAPI", "cyc1_CD3", "cyc2_DAPI", "cyc2_CD3", "cyc3_DAPI", "cyc3_CD3"],
    "XYTZC": ["cyc1_DAPI", "cyc2_DAPI", "cyc3_DAPI", "cyc1_CD3", "cyc2_CD3", "cyc3_CD3"],
}


@pytest.mark.parametrize("order", CYCLES)
def test_all_cycles_are_kept_by_the_call_that_is_proposed(tmp_path, order):
    planes = pixels_of(0, 6)
    xml = image_xml("s", ["DAPI", "CD3"], 0.5, (40, 50), tiff_data(0, 6), order, 'SizeZ="1" SizeT="3"')
    write(tmp_path / "a.ome.tif", planes, ome(xml))
    word = "tcyx" if order == "XYCZT" else "ctyx"
    with pytest.raises(InputFileError, match=f'axes="{word}" to keep all 6 planes as channels, named cyc1_<channel>'):
        read(tmp_path / "a.ome.tif")
    found = read(tmp_path / "a.ome.tif", axes=word)
    np.testing.assert_array_equal(found[0], planes)
    assert found[1:] == (CYCLES[order], 0.5)
    assert read(tmp_path / "a.ome.tif", axes=word, channel_names=list("abcdef"))[1] == list("abcdef")
    renamed = [name.replace("CD3", "CD8") for name in CYCLES[order]]
    assert read(tmp_path / "a.ome.tif", axes=word, channel_names=["DAPI", "CD8"])[1] == renamed
    with pytest.raises(InputFileError, match=f"axes='zcyx' does not fit.*Pass axes='{word}'"):
        read(tmp_path / "a.ome.tif", axes="zcyx")


def test_cycles_in_imagej_and_without_metadata(tmp_path):
    planes = pixels_of(0, 6).reshape(3, 2, 40, 50)
    tifffile.imwrite(tmp_path / "a.tif", planes, imagej=True, metadata={"axes": "TCYX"})
    with pytest.warns(SpatialfmWarning, match="No channel names"):
        found = read(tmp_path / "a.tif", axes="tcyx", mpp=0.5)
    np.testing.assert_array_equal(found[0], planes.reshape(6, 40, 50))
    tifffile.imwrite(tmp_path / "b.tif", planes, photometric="minisblack")
    with pytest.raises(InputFileError, match='axes="tcyx" or axes="tzyx"|axes="tcyx" or axes="ctyx"'):
        read(tmp_path / "b.tif", mpp=0.5)
    found = read(tmp_path / "b.tif", axes="ctyx", channel_names=["DAPI", "CD3", "CD8"], mpp=0.5)
    assert found[1] == ["cyc1_DAPI", "cyc2_DAPI", "cyc1_CD3", "cyc2_CD3", "cyc1_CD8", "cyc2_CD8"]


def test_cycles_stored_as_time_points_of_one_channel(tmp_path):
    planes = pixels_of(0, 3)
    xml = image_xml("s", ["DAPI"], 0.5, (40, 50), tiff_data(0, 3), more='SizeZ="1" SizeT="3"')
    write(tmp_path / "a.ome.tif", planes, ome(xml))
    with pytest.raises(InputFileError, match='axes="tyx"'):
        read(tmp_path / "a.ome.tif")
    for word in ("tyx", "cyx"):
        found = read(tmp_path / "a.ome.tif", axes=word)
        np.testing.assert_array_equal(found[0], planes)
        assert found[1] == ["cyc1_DAPI", "cyc2_DAPI", "cyc3_DAPI"]


def test_a_smaller_core_is_not_taken_for_a_thumbnail(tmp_path):
    """Two cores in one file, of which the second is a quarter of the first."""
    a, b = pixels_of(0, size=(80, 100)), pixels_of(1, size=(50, 40))
    xml = [
        image_xml("core A", ["DAPI", "CD3"], 0.5, (80, 100), tiff_data(0, 2)),
        image_xml("core B", ["DAPI", "CD3"], 0.5, (50, 40), tiff_data(2, 2)),
    ]
    write(tmp_path / "a.ome.tif", [*a, *b], ome(*xml))
    with pytest.raises(InputFileError, match="2 images.*series=0: core A.*series=1: core B"):
        read(tmp_path / "a.ome.tif")
    half = a[:, ::2, ::2]  # of the same proportions: a level of a pyramid, or not
    xml[1] = image_xml("half", ["DAPI", "CD3"], 1.0, (40, 50), tiff_data(2, 2))
    write(tmp_path / "b.ome.tif", [*a, *half], ome(*xml))
    with pytest.warns(SpatialfmWarning, match=r"left out.*b\.ome\.tif' \(series=1: half .*series=<number>"):
        found = read(tmp_path / "b.ome.tif")
    np.testing.assert_array_equal(found[0], a)
    np.testing.assert_array_equal(read(tmp_path / "b.ome.tif", series=1)[0], half)


def test_thumbnails_and_labels_of_a_slide_are_passed_over(tmp_path):
    a = pixels_of(0, size=(80, 100))
    xml = [
        image_xml("slide", ["DAPI", "CD3"], 0.5, (80, 100), tiff_data(0, 2)),
        image_xml("label", ["x", "y"], None, (40, 30), tiff_data(2, 2)),
        image_xml("map", ["z"], None, (30, 20), tiff_data(4, 1)),
    ]
    write(tmp_path / "a.ome.tif", [*a, *a[:, :40, :30], a[0, :30, :20]], ome(*xml))
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialfmWarning)
        np.testing.assert_array_equal(read(tmp_path / "a.ome.tif")[0], a)


def test_series_of_a_folder(tmp_path):
    tifffile.imwrite(tmp_path / "CD3.tif", pixels_of(0)[0])
    with pytest.raises(InputFileError, match="series=1 is the number of an image in one file.*a folder"):
        read(tmp_path, series=1)
