"""Files of imaging mass cytometers: pixels against another reader, what is told and refused, panoramas, survival."""

from __future__ import annotations

import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import tifffile
from reading import measured, survival_of
from reading_mcd import (
    CORNER,
    LABELS,
    METALS,
    PICTURE_CORNER,
    counts_of,
    cut,
    edited,
    read_one,
    rows_of,
    write,
    write_mcd,
    write_text,
)
from spatialdata.transformations import get_transformation

import spatialfm as sfm
from spatialfm._errors import InputFileError, PanelError, PixelSizeError, SpatialfmError, SpatialfmWarning
from spatialfm.io._imc_text import TextArray

readimc = pytest.importorskip("readimc")


def by_readimc(path) -> list[np.ndarray]:
    with readimc.MCDFile(path) as file:
        return [file.read_acquisition(one, strict=False) for slide in file.slides for one in slide.acquisitions]


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "raw"
    path.mkdir()
    return path


def test_pixels_are_those_of_another_reader(folder):
    images = [counts_of((3, 11, 7)), counts_of((3, 6, 15), start=50)]
    write_mcd(folder / "a.mcd", images)
    sdata = sfm.io.read_mcd(folder / "a.mcd")
    for i, (pixels, truth) in enumerate(zip(by_readimc(folder / "a.mcd"), images, strict=True), 1):
        np.testing.assert_array_equal(pixels, truth)
        np.testing.assert_array_equal(sdata.images[f"image_a_00{i}"].values, pixels)


def test_nothing_is_told_of_a_good_file(folder, recwarn):
    write_mcd(folder / "a.mcd", [counts_of((3, 11, 7))])
    sdata = sfm.io.read_mcd(folder / "a.mcd")
    assert not [one for one in recwarn if one.category is SpatialfmWarning]
    record = sdata.attrs["spatialfm"]["samples"]["a_001"]
    assert (record["mpp"], record["mpp_source"]) == (1.0, "metadata")
    assert record["channel_ids"] == list(METALS)
    row = sdata["samples"].obs.loc["a_001"]
    assert (row["source_file"], row["acquisition_id"], row["acquisition_description"]) == ("a.mcd", 1, "tumour 1")
    assert (row["acquisition_start_x_um"], row["acquisition_start_y_um"]) == CORNER


WINDOWS = [np.s_[1, 3:5, 2:9], np.s_[:, 10], np.s_[::2, ::-3, 4], np.s_[[2, 0], 5:5, 1:3], np.s_[[2, 0], -2:, 1]]


@pytest.mark.parametrize("key", WINDOWS)
@pytest.mark.parametrize("order", ["rows", "columns"])
def test_windows(folder, key, order, monkeypatch):
    monkeypatch.setattr("spatialfm.io._mcd_array._BLOCK_VALUES", 3 * 9 * 4)  # blocks of four rows
    pixels = counts_of((3, 11, 9))
    write_mcd(folder / "a.mcd", [pixels], rows=[rows_of(pixels, columns_first=order == "columns")])
    image = sfm.io.read_mcd(folder / "a.mcd").images["image_a_001"].data
    assert image.chunks[1] == (4, 4, 3)
    np.testing.assert_array_equal(image[key].compute(), pixels[key])


def test_only_rows_below_a_window_are_read(folder, monkeypatch):
    from spatialfm.io._mcd_array import McdArray

    monkeypatch.setattr("spatialfm.io._mcd_array._BLOCK_VALUES", 3 * 9 * 2)
    write_mcd(folder / "a.mcd", [counts_of((3, 11, 9))])
    image = sfm.io.read_mcd(folder / "a.mcd").images["image_a_001"]
    inner, read = McdArray._rows, []
    monkeypatch.setattr(McdArray, "_rows", lambda self, y0, y1: read.append((y0, y1)) or inner(self, y0, y1))
    image[1, 5, 3].values  # noqa: B018
    assert read == [(5, 6)]


def test_an_acquisition_that_was_not_finished(folder):
    pixels = counts_of((3, 6, 5), start=1)
    write_mcd(folder / "a.mcd", [pixels], rows=[rows_of(pixels)[:17]])
    with pytest.warns(SpatialfmWarning, match="1 acquisition was not finished.* are 0: a_001 .17 of 30 pixels."):
        image = sfm.io.read_mcd(folder / "a.mcd").images["image_a_001"].values
    expected = pixels.reshape(3, -1).copy()
    expected[:, 17:] = 0
    np.testing.assert_array_equal(image, expected.reshape(3, 6, 5))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [((0, 99), "1 of 30 pixels are outside"), ((0, 2.5), "1 of 30 pixels are outside"), ((0, 1), "pixels occur twice")],
)
def test_places_that_cannot_be_are_refused_when_pixels_are_read(folder, wrong, message):
    pixels = counts_of((3, 6, 5))
    rows = rows_of(pixels)
    rows[3, wrong[0]] = wrong[1]
    write_mcd(folder / "a.mcd", [pixels], rows=[rows])
    image = sfm.io.read_mcd(folder / "a.mcd").images["image_a_001"]
    with pytest.raises(InputFileError, match=f"acquisition 1 of .*a.mcd' is damaged: {message}"):
        image.values  # noqa: B018


def test_a_file_that_changes_is_refused(folder):
    write_mcd(folder / "a.mcd", [counts_of((3, 6, 5))])
    image = sfm.io.read_mcd(folder / "a.mcd").images["image_a_001"]
    write_mcd(folder / "a.mcd", [counts_of((3, 7, 5))])
    with pytest.raises(InputFileError, match="changed since it was opened"):
        image.values  # noqa: B018


def test_offsets_that_state_the_last_byte(folder):
    """One byte less than there is: what some versions of the instrument's software write."""
    pixels = counts_of((3, 6, 5))
    write_mcd(folder / "slide 1.mcd", [pixels])
    end = 64 + rows_of(pixels).nbytes
    edited(f"<DataEndOffset>{end}", f"<DataEndOffset>{end - 1}")(folder)
    np.testing.assert_array_equal(
        sfm.io.read_mcd(folder / "slide 1.mcd").images["image_slide_1_001"].values,
        by_readimc(folder / "slide 1.mcd")[0],
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<DataEndOffset>", "<DataEndOffset>1", "would be at bytes|not a whole number|holds"),
        ("<DataStartOffset>64<", "<DataStartOffset>-64<", "would be at bytes -64"),
        ("<DataStartOffset>64<", "<DataStartOffset>66<", "not a whole number of pixels of 24 bytes"),
        ("<MaxX>5", "<MaxX>0", "size of 0 x 6"),
        ("Dy(162)", "Er(170)", "a metal occurs twice"),
    ],
)
def test_what_a_file_cannot_hold(folder, old, new, message):
    write_mcd(folder / "slide 1.mcd", [counts_of((3, 6, 5))])
    edited(old, new)(folder)
    with pytest.raises(InputFileError, match=message):
        sfm.io.read_mcd(folder / "slide 1.mcd")


def test_acquisitions_that_share_their_pixels_are_refused(folder):
    """One of the two offsets is wrong; which one cannot be known."""
    pixels = counts_of((3, 6, 5))
    write_mcd(folder / "slide 1.mcd", [pixels, pixels])
    start = 64 + rows_of(pixels).nbytes
    edited(f"<DataStartOffset>{start}", "<DataStartOffset>64")(folder)
    edited(f"<DataEndOffset>{start + rows_of(pixels).nbytes}", f"<DataEndOffset>{start}")(folder)
    with pytest.raises(InputFileError, match="2 acquisitions of 2 cannot be read") as error:
        sfm.io.read_mcd(folder / "slide 1.mcd")
    assert "its pixels are those of acquisition 2 as well" in str(error.value)
    assert "its pixels are those of acquisition 1 as well" in str(error.value)


def test_an_acquisition_of_no_region_is_not_lost_without_a_word(folder):
    """readimc gives the acquisitions of regions alone."""
    images = [counts_of((3, 6, 5)), counts_of((3, 4, 4))]
    write_mcd(folder / "slide 1.mcd", images)
    edited("<AcquisitionROIID>2</AcquisitionROIID><OrderNumber>0<", "<OrderNumber>0<")(folder)
    assert len(by_readimc(folder / "slide 1.mcd")) == 1
    with pytest.raises(InputFileError, match="(?s)1 acquisition of 2.*acquisition 2 .tumour 2.*belongs to no region"):
        sfm.io.read_mcd(folder / "slide 1.mcd")
    write_text(folder / "slide 1_tumour 2_2.txt", images[1])
    with pytest.warns(SpatialfmWarning, match="read from .txt files.*'slide_1_002'"):
        sdata = sfm.io.read_mcd(folder / "slide 1.mcd")
    np.testing.assert_array_equal(sdata.images["image_slide_1_002"].values, images[1])


def test_a_file_without_pixel_size_is_assumed_to_have_1_um(folder):
    write_mcd(folder / "slide 1.mcd", [counts_of((3, 6, 5))])
    edited("<AblationDistanceBetweenShotsX>1.0</AblationDistanceBetweenShotsX>", "")(folder)
    with pytest.warns(SpatialfmWarning, match="1 µm per pixel is assumed"):
        sfm.io.read_mcd(folder / "slide 1.mcd")


def test_sizes_that_are_not_known_beside_others(folder):
    write_mcd(folder / "a.mcd", [counts_of((3, 6, 5))], mpp=2.0)
    write_text(folder / "b_1.txt", counts_of((3, 4, 4)))
    with pytest.raises(PixelSizeError, match="1 sample .'b_1'., while that of 'a_001' is .2 µm."):
        sfm.io.read_mcd(folder)
    sizes = sfm.io.read_mcd(folder, mpp=2).attrs["spatialfm"]["samples"]
    assert {one["mpp"] for one in sizes.values()} == {2.0}


def test_pixels_that_are_not_square_are_refused(folder):
    write_mcd(folder / "slide 1.mcd", [counts_of((3, 6, 5))])
    edited("<AblationDistanceBetweenShotsX>1.0", "<AblationDistanceBetweenShotsX>2.0")(folder)
    with pytest.raises(PixelSizeError, match="not square .2 x 1 µm by AblationDistanceBetweenShots"):
        sfm.io.read_mcd(folder / "slide 1.mcd")


def test_an_acquisition_without_pixels_is_left_out_when_told_so(folder):
    images = [counts_of((3, 6, 5)), counts_of((3, 4, 4))]
    write_mcd(folder / "slide 1.mcd", images, rows=[rows_of(images[0]), np.empty((0, 6), "<f4")])
    with pytest.raises(InputFileError, match="nothing was ablated.*on_broken=|on_broken=.*\n.*nothing was ablated"):
        sfm.io.read_mcd(folder / "slide 1.mcd")
    with pytest.warns(SpatialfmWarning, match="1 acquisition is left out: slide_1_002 .it has no pixels"):
        sdata = sfm.io.read_mcd(folder / "slide 1.mcd", on_broken="drop")
    assert list(sdata.images) == ["image_slide_1_001"]
    assert sdata["samples"].obs_names.tolist() == ["slide_1_001"]


# --------------------------------------------------------------------------------------------- .txt beside and instead


def write_texts(folder, images, stem="slide 1"):
    for i, pixels in enumerate(images, 1):
        write_text(folder / f"{stem}_tumour {i}_{i}.txt", pixels)


def test_a_file_that_was_cut_is_read_from_its_texts(folder):
    images = [counts_of((3, 20, 28)), counts_of((3, 28, 21), start=9)]
    samples = write(folder)
    write_texts(folder, images)
    cut(folder)
    with pytest.warns(SpatialfmWarning) as caught:
        sdata = read_one(folder)
    told = " ".join(str(one.message) for one in caught)
    assert "2 acquisitions are read from .txt files, because the .mcd is broken: 'slide_1_001', 'slide_1_002'" in told
    assert "1 µm per pixel is assumed" in told
    for sample, pixels in zip(samples, images, strict=True):
        np.testing.assert_array_equal(sdata.images[f"image_{sample.name}"].values, pixels)
        np.testing.assert_array_equal(sdata.labels[f"cells_{sample.name}"].values, sample.labels)
    obs = sdata["samples"].obs
    assert obs["recovered"].tolist() == [True, True]
    assert obs["acquisition_description"].tolist() == ["tumour 1", "tumour 2"]


def test_one_broken_acquisition_is_read_from_its_text(folder):
    """Its size in µm is still known; the other comes from the .mcd."""
    images = [counts_of((3, 6, 5)), counts_of((3, 4, 4))]
    write_mcd(folder / "slide 1.mcd", images, mpp=2.0)
    write_texts(folder, images)
    edited("<DataEndOffset>", "<DataEndOffset>9")(folder)
    with pytest.warns(SpatialfmWarning, match="1 acquisition is read from .txt files.*'slide_1_001'") as caught:
        sdata = sfm.io.read_mcd(folder)
    assert not any("assumed" in str(one.message) for one in caught)
    np.testing.assert_array_equal(sdata.images["image_slide_1_001"].values, images[0])
    assert sdata["samples"].obs["recovered"].tolist() == [True, False]
    records = sdata.attrs["spatialfm"]["samples"]
    assert {record["mpp"] for record in records.values()} == {2.0}
    assert records["slide_1_001"]["image"].endswith("slide 1_tumour 1_1.txt")


@pytest.mark.parametrize(
    ("metals", "shape", "message"),
    [
        (("Ir191", "Er170", "Dy161"), (3, 6, 5), "has other channels or another size"),
        (METALS, (3, 5, 6), "has other channels or another size"),
    ],
)
def test_the_text_of_another_acquisition_is_not_taken(folder, metals, shape, message):
    write_mcd(folder / "slide 1.mcd", [counts_of((3, 6, 5))])
    write_text(folder / "slide 1_tumour 1_1.txt", counts_of(shape), metals=metals)
    edited("<DataEndOffset>", "<DataEndOffset>9")(folder)
    with pytest.raises(InputFileError, match=message):
        sfm.io.read_mcd(folder)


def test_two_texts_of_one_number_are_not_chosen_from(folder):
    write_mcd(folder / "slide 1.mcd", [counts_of((3, 6, 5))])
    for name in ("a", "b"):
        write_text(folder / f"slide 1_{name}_1.txt", counts_of((3, 6, 5)))
    edited("<DataEndOffset>", "<DataEndOffset>9")(folder)
    with pytest.raises(InputFileError, match="has 2 .txt files .'slide 1_a_1.txt', 'slide 1_b_1.txt'"):
        sfm.io.read_mcd(folder)


def test_texts_of_a_file_with_a_longer_name_are_its_own(folder):
    for stem in ("slide 1", "slide 1_b"):
        write_mcd(folder / f"{stem}.mcd", [counts_of((3, 6, 5))])
    write_text(folder / "slide 1_b_tumour_1.txt", counts_of((3, 6, 5)))
    cut_bytes = (folder / "slide 1.mcd").read_bytes()[:200]
    (folder / "slide 1.mcd").write_bytes(cut_bytes)
    with pytest.raises(InputFileError, match="slide 1.mcd' is damaged"):
        sfm.io.read_mcd(folder)


def test_texts_are_read_on_their_own_and_not_beside_their_mcd(folder):
    images = [counts_of((3, 6, 5))]
    write_mcd(folder / "slide 1.mcd", images)
    write_texts(folder, images)
    write_text(folder / "other_ROI_3.txt", counts_of((3, 4, 4), start=2))
    (folder / "notes.txt").write_text("remember to check the gas")
    with pytest.warns(SpatialfmWarning, match="1 µm per pixel is assumed"):
        sdata = sfm.io.read_mcd(folder)
    assert sorted(sdata.images) == ["image_other_ROI_3", "image_slide_1_001"]
    text = folder / "slide 1_tumour 1_1.txt"
    with readimc.TXTFile(text) as file:
        pixels = file.read_acquisition()
    alone = sfm.io.read_mcd(text, mpp=1)
    np.testing.assert_array_equal(alone.images["image_slide_1_tumour_1_1"].values, pixels)
    assert alone["samples"].obs["recovered"].tolist() == [False]


def test_a_text_in_which_pixels_follow_by_column(folder):
    pixels = counts_of((3, 4, 5))
    write_text(folder / "a_1.txt", pixels)
    header, *lines = (folder / "a_1.txt").read_text().splitlines()
    lines.sort(key=lambda line: [int(value) for value in line.split("\t")[3:5]])
    (folder / "a_1.txt").write_text("\n".join([header, *lines]))
    sdata = sfm.io.read_mcd(folder / "a_1.txt", mpp=1)
    np.testing.assert_array_equal(sdata.images["image_a_1"].values, pixels)


@pytest.mark.parametrize("key", WINDOWS)
def test_windows_of_a_text(folder, key):
    """By a panel that leaves a channel out and exchanges the others; asked of the array itself and through dask."""
    pixels = counts_of((4, 11, 9))
    write_text(folder / "a_1.txt", pixels, labels=[*LABELS, "x"], metals=[*METALS, "Xe131"])
    (folder / "panel.csv").write_text("channel,name\nXe131,x\nDy162,CD8\nIr191,DNA\n")
    image = sfm.io.read_mcd(folder / "a_1.txt", mpp=1, panel=folder / "panel.csv").images["image_a_1"].data
    expected = pixels[[3, 2, 0]][key]
    np.testing.assert_array_equal(image[key].compute(), expected)
    (array,) = (part for part in image.dask.values() if isinstance(part, TextArray))
    np.testing.assert_array_equal(array[key], expected)


def test_a_text_is_parsed_once_for_all_windows(folder, monkeypatch):
    """Also by threads that ask at the same time: an acquisition may have 1 GB, and seconds of work."""
    write_text(folder / "a_1.txt", counts_of((3, 11, 9)))
    image = sfm.io.read_mcd(folder / "a_1.txt", mpp=1).images["image_a_1"].data
    inner, read = pd.read_csv, []

    def slowly(*args, **options):
        read.append(args)
        time.sleep(0.05)
        return inner(*args, **options)

    monkeypatch.setattr("spatialfm.io._imc_text.pd.read_csv", slowly)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda row: image[:, row].compute(scheduler="synchronous"), range(8)))
    assert len(read) == 1


@pytest.mark.parametrize("order", ["rows", "columns"])
def test_a_text_that_ends_within_a_row_is_refused(folder, order):
    """Its size cannot be known, as that of an acquisition that was stopped."""
    write_text(folder / "a_1.txt", counts_of((3, 4, 5)))
    header, *lines = (folder / "a_1.txt").read_text().splitlines()
    if order == "columns":
        lines.sort(key=lambda line: [int(value) for value in line.split("\t")[3:5]])
    (folder / "a_1.txt").write_text("\n".join([header, *lines[:-2]]))
    place = "x = 2, y = 3, within a row of 5" if order == "rows" else "x = 4, y = 1, within a row of 4"
    with pytest.raises(InputFileError, match=f"ends at {place}"):
        sfm.io.read_mcd(folder / "a_1.txt", mpp=1)


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [(7, None, "has 19 pixels instead of 4 x 5"), (7, "x", "is damaged"), (7, "", "values that are missing")],
)
def test_a_text_that_is_damaged_within_is_refused_when_pixels_are_read(folder, line, text, message):
    write_text(folder / "a_1.txt", counts_of((3, 4, 5)))
    lines = (folder / "a_1.txt").read_text().splitlines()
    if text is None:
        del lines[line]
    else:
        lines[line] = "\t".join([*lines[line].split("\t")[:-1], text])
    (folder / "a_1.txt").write_text("\n".join(lines))
    sdata = sfm.io.read_mcd(folder / "a_1.txt", mpp=1)
    with pytest.raises(InputFileError, match=message):
        sdata.images["image_a_1"].values  # noqa: B018


# ------------------------------------------------------------------------------------------------------------- names


def test_names(folder):
    labels = ("DNA", "DNA", "")
    write_mcd(folder / "a.mcd", [counts_of((3, 4, 4))], labels=labels, metals=("Ir191", "Ir193", "Xe131"))

    def names(**options):
        return sfm.io.read_mcd(folder / "a.mcd", **options).images["image_a_001"].coords["c"].values.tolist()

    assert names() == ["DNA_Ir191", "DNA_Ir193", "Xe131"]
    assert names(names="metal") == ["Ir191", "Ir193", "Xe131"]
    assert names(channel_names={"Xe131": "xenon"}) == ["DNA_Ir191", "DNA_Ir193", "xenon"]
    assert names(channel_names=["a", "b", "c"]) == ["a", "b", "c"]
    with pytest.raises(PanelError, match="2 names, .* 3 channels"):
        names(channel_names=["a", "b"])
    with pytest.raises(PanelError, match="no sample has|no such channel"):
        names(channel_names={"Xe132": "xenon"})


def test_a_panel_chooses_orders_and_names_channels(folder):
    pixels = counts_of((3, 4, 4))
    write_mcd(folder / "a.mcd", [pixels])
    (folder / "panel.csv").write_text("channel,name,keep\nDy162,CD8,1\nEr170,CD3,0\nIr191,DNA,1\n")
    sdata = sfm.io.read_mcd(folder / "a.mcd", panel=folder / "panel.csv")
    image = sdata.images["image_a_001"]
    assert image.coords["c"].values.tolist() == ["CD8", "DNA"]
    np.testing.assert_array_equal(image.values, pixels[[2, 0]])
    assert sdata.attrs["spatialfm"]["samples"]["a_001"]["channel_ids"] == ["Dy162", "Ir191"]


def test_labels_of_the_instrument_are_recognised_as_markers():
    table = sfm.pp.match_markers(list(LABELS)).set_index("channel")
    assert table.loc["CD3_1841((3532))Er170", "marker"] == "CD3"


def test_acquisitions_are_chosen_by_number_description_or_name(folder):
    write_mcd(folder / "a.mcd", [counts_of((3, 4, 4 + i)) for i in range(3)])
    for wanted in ([2], ["tumour 2"], ["a_002"]):
        assert list(sfm.io.read_mcd(folder / "a.mcd", acquisitions=wanted).images) == ["image_a_002"]
    both = sfm.io.read_mcd(folder / "a.mcd", acquisitions=[3, "tumour 1"])
    assert list(both.images) == ["image_a_001", "image_a_003"]


def test_mcd_needs_its_extra_and_txt_does_not(folder, monkeypatch):
    write_mcd(folder / "a.mcd", [counts_of((3, 4, 4))])
    write_text(folder / "b_1.txt", counts_of((3, 4, 4)))
    real = sys.modules["importlib.util"].find_spec
    monkeypatch.setattr("spatialfm._optional.find_spec", lambda name: None if name == "readimc" else real(name))
    with pytest.raises(
        SpatialfmError, match=r"read_mcd of an .mcd file needs the package readimc: pip install 'spatialfm\[imc\]'"
    ):
        sfm.io.read_mcd(folder / "a.mcd")
    assert list(sfm.io.read_mcd(folder / "b_1.txt", mpp=1).images) == ["image_b_1"]


# --------------------------------------------------------------------------------------------------------- panoramas


def test_a_panorama_lies_where_the_acquisition_is(folder):
    write(folder)
    sdata = read_one(folder, cell_table=True)
    panorama = sdata.images["panorama_slide_1_001"]
    assert panorama.shape == (3, 20, 30)
    assert (panorama.values == 7).all()
    systems = get_transformation(panorama, get_all=True)
    assert list(systems) == ["slide_1_001"]  # the second acquisition is a millimetre away
    matrix = systems["slide_1_001"].to_affine_matrix(("x", "y"), ("x", "y"))
    # 2 µm per pixel; the corner of the picture is left of and above that of the acquisition, which is at 0, 0
    offset = [PICTURE_CORNER[0] - CORNER[0], CORNER[1] - PICTURE_CORNER[1]]
    np.testing.assert_allclose(matrix, [[2, 0, offset[0]], [0, 2, offset[1]], [0, 0, 1]])
    assert "panorama_slide_1_001" not in read_one(folder, panoramas=False).images


def test_a_panorama_is_no_sample(folder, tmp_path):
    samples = write(folder)
    sdata = read_one(folder)
    sfm.pp.cell_table(sdata)
    assert sorted(sdata["table"].obs_names) == sorted(
        f"{sample.name}_{label}" for sample in samples for label in np.unique(sample.labels)[1:]
    )
    sfm.tl.embed_cells(sdata, "mean-intensity", markers=["DNA1_Ir191"])
    again = sfm.io.write(sdata, tmp_path / "out.zarr")
    import spatialdata as sd

    back = sd.read_zarr(again)
    sfm.pp.cell_table(back, table_name="again")
    assert back["again"].n_obs == sdata["table"].n_obs


def test_a_picture_of_an_unknown_format_is_left_out(folder):
    write(folder)
    path = folder / "slide 1.mcd"
    path.write_bytes(path.read_bytes().replace(b"\x89PNG", b"\0\0\0\0"))
    with pytest.warns(SpatialfmWarning, match="1 picture of a slide is left out.*'panorama_slide_1_001'"):
        sdata = read_one(folder)
    assert [name for name in sdata.images if name.startswith("panorama")] == []
    assert "panoramas" not in sdata.attrs["spatialfm"]


# ------------------------------------------------------------------------------------------------ to the survival curve


def test_from_the_instrument_to_the_survival_curve(folder, tmp_path):
    """A simulated cohort in .mcd files, one for each patient, leads to the groups of the cohort itself."""
    cohort = sfm.datasets.simulate_cohort(n_patients=6, n_samples=1, image_size=64, random_state=0, difficulty="easy")
    obs = cohort["samples"].obs
    (tmp_path / "masks").mkdir()
    clinical = []
    for sample, row in obs.iterrows():
        image = cohort.images[f"image_{sample}"]
        names = [str(name) for name in image.coords["c"].values]
        metals = [f"Er{160 + i}" for i in range(len(names))]
        write_mcd(folder / f"{sample}.mcd", [image.values.astype(np.float32)], labels=names, metals=metals, mpp=0.5)
        mask = cohort.labels[f"cells_{sample}"].values.astype(np.uint16)
        tifffile.imwrite(tmp_path / "masks" / f"{sample}_001.tiff", mask)
        clinical.append(
            {"sample": f"{sample}_1", "patient": row["patient"], "time": row["time"], "event": row["event"]}
        )
    sdata = sfm.io.read_mcd(folder, masks=tmp_path / "masks", clinical=pd.DataFrame(clinical))
    patients = survival_of(sdata)

    sfm.pp.cell_table(cohort)
    expected = survival_of(cohort)
    np.testing.assert_allclose(patients.X, expected[patients.obs_names].X)
    assert patients.obs["risk_group"].tolist() == expected.obs.loc[patients.obs_names, "risk_group"].tolist()
    assert patients.n_obs == 6


def test_masks_of_some(folder):
    samples = write(folder)
    (folder / "masks" / "slide 1_002_mask.tiff").rename(folder / "masks" / "other.tiff")
    with pytest.warns(SpatialfmWarning, match="1 acquisition has no mask, and so no cells: 'slide_1_002'"):
        sdata = read_one(folder, cell_table=True)
    np.testing.assert_allclose(sdata["table"].obsm["spatial"], measured(samples[:1])[["x", "y"]])


# ------------------------------------------------------------------------------------------------------- real files


@pytest.mark.real_data
def test_a_real_file(real_data, tmp_path):
    root = real_data / "imc_raw"
    path = root / "20210305_NE_mockData2.mcd"
    sdata = sfm.io.read_mcd(path, masks=root / "masks", panel=root / "panel.csv", cell_table=False)
    for i, pixels in enumerate(by_readimc(path), 1):
        image = sdata.images[f"image_20210305_NE_mockData2_00{i}"]
        np.testing.assert_array_equal(image.values, pixels)
        assert image.coords["c"].values.tolist() == pd.read_csv(root / "panel.csv")["name"].tolist()
        mask = tifffile.imread(root / "masks" / f"20210305_NE_mockData2_00{i}.tiff")
        np.testing.assert_array_equal(sdata.labels[f"cells_20210305_NE_mockData2_00{i}"].values, mask)
    record = sdata.attrs["spatialfm"]["samples"]["20210305_NE_mockData2_001"]
    assert (record["mpp"], record["mpp_source"]) == (1.0, "metadata")
    # 313 x 254 µm at 1 µm per pixel, whose top left corner is 106 µm left of and 80 µm above that of ROI 1
    panorama = sdata.images["panorama_20210305_NE_mockData2_001"]
    assert panorama.shape == (3, 254, 313)
    (matrix,) = (
        one.to_affine_matrix(("x", "y"), ("x", "y")) for one in get_transformation(panorama, get_all=True).values()
    )
    np.testing.assert_allclose(matrix, [[1, 0, -106], [0, 1, -80], [0, 0, 1]], atol=1e-6)


@pytest.mark.real_data
def test_a_real_text_is_the_acquisition_of_its_mcd(real_data, tmp_path):
    root = real_data / "imc_raw"
    for name in ("20210305_NE_mockData2.mcd", "20210305_NE_mockData2_ROI_001_1.txt"):
        shutil.copy(root / name, tmp_path / name)
    whole = sfm.io.read_mcd(tmp_path / "20210305_NE_mockData2.mcd", acquisitions=[1])
    image = whole.images["image_20210305_NE_mockData2_001"].load()
    raw = (tmp_path / "20210305_NE_mockData2.mcd").read_bytes()
    (tmp_path / "20210305_NE_mockData2.mcd").write_bytes(raw[:400_000])
    with pytest.warns(SpatialfmWarning, match="read from .txt files"):
        recovered = sfm.io.read_mcd(tmp_path)
    again = recovered.images["image_20210305_NE_mockData2_001"]
    assert again.coords["c"].values.tolist() == image.coords["c"].values.tolist()
    np.testing.assert_allclose(again.values, image.values, atol=6e-4)  # the text has three decimals
    assert recovered["samples"].obs["acquisition_description"].tolist() == ["ROI_001"]


def test_channels_that_a_panel_leaves_out_are_gone(folder):
    images = [counts_of((3, 6, 5))]
    write_mcd(folder / "a.mcd", images)
    panel = pd.DataFrame({"name": ["DNA", "empty", "CD8"], "keep": [1, 0, 1]})
    sdata = sfm.io.read_mcd(folder / "a.mcd", channel_names=panel)
    image = sdata["image_a_001"]
    assert image.coords["c"].values.tolist() == ["DNA", "CD8"]
    np.testing.assert_array_equal(image.values, images[0][[0, 2]])
    assert sdata.attrs["spatialfm"]["samples"]["a_001"]["channel_ids"] == ["Ir191", "Dy162"]


def test_two_masks_of_one_acquisition_are_refused(folder):
    write_mcd(folder / "a.mcd", [counts_of((3, 6, 5))])
    for name in ("a_001", "a_001_mask"):
        tifffile.imwrite(folder / f"{name}.tiff", np.eye(6, 5, dtype=np.uint16))
    with pytest.raises(InputFileError, match="a_001.tiff' and .*a_001_mask.tiff' would be of one acquisition"):
        sfm.io.read_mcd(folder / "a.mcd", masks=folder)


def test_a_panorama_of_another_slide_is_not_below_an_acquisition(folder):
    write_mcd(folder / "slide 1.mcd", [counts_of((3, 6, 5))], picture=np.full((20, 30, 3), 7, np.uint8))
    (name,) = sfm.io.read_mcd(folder / "slide 1.mcd").attrs["spatialfm"]["panoramas"]
    other = "<Slide><ID>5</ID><Description>b</Description><WidthUm>75000</WidthUm><HeightUm>25000</HeightUm></Slide>"
    edited("</Slide>", "</Slide>" + other)(folder)
    edited("<Panorama><ID>1</ID><SlideID>0", "<Panorama><ID>1</ID><SlideID>5")(folder)
    sdata = sfm.io.read_mcd(folder / "slide 1.mcd")
    systems = get_transformation(sdata[name], get_all=True)
    assert list(systems) == [name]
    matrix = systems[name].to_affine_matrix(("x", "y"), ("x", "y"))
    np.testing.assert_allclose(matrix, np.diag([2, 2, 1]))  # µm per pixel of the picture
