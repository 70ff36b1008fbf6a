"""Channel names in the forms in which people hold them; where it is not plain which are meant, they are asked."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
import tifffile

import spatialfm as sfm
from spatialfm._errors import InputFileError, PanelError, SpatialfmWarning
from spatialfm.cli.markers import channel_names_of

NAMES = ["DAPI", "CD3", "β-catenin"]


@pytest.fixture
def image(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 32, 40), np.uint8))
    return tmp_path / "a.tif"


def names_of(image, given):
    sdata = sfm.io.read_tiff(image, channel_names=given, mpp=0.5)
    return [str(name) for name in sdata.images["image_a"].coords["c"].values]


PANELS = {
    "a list in a text file": ("p.txt", "DAPI\n\n# remark\nCD3\r\nβ-catenin\n"),
    "a list in a csv": ("p.csv", "DAPI\nCD3\nβ-catenin\n"),
    "a list with a header": ("p.csv", "Marker\nDAPI\nCD3\nβ-catenin\n"),
    "a list with a header in a text file": ("p.txt", "channel_name\nDAPI\nCD3\nβ-catenin\n"),
    "mcmicro": (
        "markers.csv",
        "channel_number,cycle_number,marker_name,Filter\n1,1,DAPI,4\n2,1,CD3,5\n3,2,β-catenin,4\n",
    ),
    "semicolons": ("p.csv", "Target;Clone;Notes\nDAPI;;\nCD3;UCHT1;\nβ-catenin;14;a, b\n"),
    "tabs in a text file": ("p.txt", "cycle\tmarker\n1\tDAPI\n1\tCD3\n2\tβ-catenin\n"),
    "steinbock": ("panel.csv", "channel,name,keep,ilastik\nAg107,DAPI,1,\nPr141,CD3,1,1\nSm147,β-catenin,1,2\n"),
    "two columns that agree": ("p.csv", "channel,name,keep\nDAPI,DAPI,1\nCD3,CD3,1\nβ-catenin,β-catenin,1\n"),
}


@pytest.mark.parametrize("how", PANELS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_panels(tmp_path, image, how, encoding):
    file, text = PANELS[how]
    (tmp_path / file).write_text(text, encoding=encoding)
    assert names_of(image, tmp_path / file) == NAMES
    assert channel_names_of([str(tmp_path / file)]) == NAMES  # the command line reads the same


def test_frames_and_columns(image):
    frame = pd.DataFrame({"cycle": [1, 1, 2], "marker": NAMES, "clone": [None, "UCHT1", "14"]})
    assert names_of(image, frame) == NAMES  # and not its three column names
    assert names_of(image, frame["marker"]) == NAMES
    assert names_of(image, np.array(NAMES)) == NAMES


def test_two_columns_of_names_are_asked_about_and_the_call_runs(tmp_path, image):
    path = tmp_path / "panel.csv"
    path.write_text("target,name,keep\nAg107,DAPI,1\nPr141,CD3,1\nSm147,β-catenin,1\n", encoding="utf-8")
    with pytest.raises(PanelError, match=r"'target' \(Ag107, Pr141, Sm147 .*'name' \(DAPI, CD3") as caught:
        names_of(image, path)
    calls = re.findall(r"channel_names=(pandas\.read_csv\(.*?\)\['\w+'\])", str(caught.value))
    found = [names_of(image, eval(call, {"pandas": pd})) for call in calls]
    assert found == [["Ag107", "Pr141", "Sm147"], NAMES]


@pytest.mark.parametrize(
    ("given", "error", "parts"),
    [
        ("cycle,clone\n1,a\n2,b\n3,c\n", PanelError, "None of the columns of .*'cycle', 'clone'.*Choose one"),
        ("marker,clone\nDAPI,a\n,b\nCD3,c\n", PanelError, r"no name for channel 1 \(counted from 0\)"),
        ("marker,clone\nDAPI,a\nCD3,b\n", PanelError, r"2 names.*a\.tif.*3 channels"),
        ("marker\n", PanelError, "name"),
        (["DAPI", None, "CD3"], PanelError, "no name for channel 1"),
        (pd.Series(["DAPI", "CD3", np.nan]), PanelError, "no name for channel 2"),
        ({"DAPI", "CD3", "CD8"}, PanelError, "a set, which has no order"),
        ("xlsx", InputFileError, "spreadsheet.*CSV UTF-8.*openpyxl"),
    ],
)
def test_panels_that_cannot_be_meant(tmp_path, image, given, error, parts):
    if isinstance(given, str):
        path = tmp_path / ("panel.xlsx" if given == "xlsx" else "panel.csv")
        path.write_text(given)
        given = path
    with pytest.raises(error, match=parts):
        names_of(image, given)


@pytest.mark.parametrize("header", ["channel_number", "Index", "#"])
@pytest.mark.parametrize("first", [0, 1])
def test_rows_in_another_order_than_their_numbers_are_asked(image, tmp_path, header, first):
    rows = [(2, "β-catenin"), (0, "DAPI"), (1, "CD3")]
    path = tmp_path / "p.csv"
    path.write_text(f"{header},name\n" + "".join(f"{i + first},{name}\n" for i, name in rows), encoding="utf-8")
    with pytest.raises(PanelError, match="another order than its column") as caught:
        names_of(image, path)
    calls = re.findall(r"channel_names=(pandas.*?\[[^\]]*\])", str(caught.value))
    by_number, by_row = (eval(call, {"pandas": pd}) for call in calls)  # what the message proposes
    assert names_of(image, by_number) == NAMES
    assert names_of(image, by_row) == ["β-catenin", "DAPI", "CD3"]


def test_numbers_that_do_not_count_the_channels_say_nothing(image, tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("number,cycle,name\n1,2,DAPI\n2,1,CD3\n1,1,β-catenin\n", encoding="utf-8")
    assert names_of(image, path) == NAMES


@pytest.mark.parametrize(
    "text", ['"DAPI"\n"CD3"\n"β-catenin"\n', "DAPI,\nCD3,\nβ-catenin,\n", "DAPI;\nCD3 ;\n'β-catenin'\n"]
)
def test_quotes_and_separators_around_a_name_are_none_of_it(image, tmp_path, text):
    (tmp_path / "p.txt").write_text(text, encoding="utf-8")
    assert names_of(image, tmp_path / "p.txt") == NAMES


def test_a_guessed_encoding_is_said_once(image, tmp_path):
    (tmp_path / "p.txt").write_bytes("DAPI\nCD3\nTGF-ß\n".encode("cp1252"))
    with pytest.warns(SpatialfmWarning) as said:
        assert names_of(image, tmp_path / "p.txt") == ["DAPI", "CD3", "TGF-ß"]
    assert sum("Windows-1252" in str(w.message) for w in said) == 1


def test_a_table_without_header_is_told_to_have_one(image, tmp_path):
    rows = "1,DAPI\n2,CD3\n3,β-catenin\n"
    (tmp_path / "p.csv").write_text(rows, encoding="utf-8")
    with pytest.raises(PanelError, match="not a header, add one, such as number, name"):
        names_of(image, tmp_path / "p.csv")
    (tmp_path / "p.csv").write_text("number, name\n" + rows, encoding="utf-8")
    assert names_of(image, tmp_path / "p.csv") == NAMES


PANELS_LEFT_OUT = {
    "keep": ("channel,name,keep\nA,DAPI,1\nB,CD3,0\nC,β-catenin,1\n", ["DAPI", "β-catenin"]),
    "keep as words": ("marker,Keep\nDAPI,TRUE\nCD3,false\nβ-catenin,Yes\n", ["DAPI", "β-catenin"]),
    "remove": ("channel_number,marker_name,remove\n1,DAPI,\n2,,TRUE\n3,β-catenin,\n", ["DAPI", "β-catenin"]),
    "both": ("name;keep;remove\nDAPI;1;0\nCD3;0;0\nβ-catenin;1;1\n", ["DAPI"]),
    "twice among what is left out": ("name,keep\nDAPI,1\nblank,0\nblank,0\n", ["DAPI"]),
    "an empty column": ("name,keep\nDAPI,\nCD3,\nβ-catenin,\n", NAMES),
}


@pytest.mark.parametrize("how", PANELS_LEFT_OUT)
def test_channels_that_a_panel_leaves_out(tmp_path, how):
    pixels = np.arange(3 * 32 * 40, dtype=np.uint16).reshape(3, 32, 40)
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    text, kept = PANELS_LEFT_OUT[how]
    (tmp_path / "panel.csv").write_text(text, encoding="utf-8")
    sdata = sfm.io.read_tiff(tmp_path / "a.tif", channel_names=tmp_path / "panel.csv", mpp=0.5)
    image = sdata.images["image_a"]
    assert image.coords["c"].values.tolist() == kept
    np.testing.assert_array_equal(image.values, pixels[[NAMES.index(name) for name in kept]])
    out = [f"channel_{i}" for i, name in enumerate(NAMES) if name not in kept]
    record = sdata.attrs["spatialfm"]["samples"]["a"]
    assert len(record.get("channels_left_out", [])) == len(out)
    assert channel_names_of([str(tmp_path / "panel.csv")]) == kept
    # an image without them, as steinbock extracts it, has the names of what is kept
    tifffile.imwrite(tmp_path / "b.tif", pixels[: len(kept)])
    sdata = sfm.io.read_tiff(tmp_path / "b.tif", channel_names=tmp_path / "panel.csv", mpp=0.5)
    assert sdata.images["image_b"].coords["c"].values.tolist() == kept
    np.testing.assert_array_equal(sdata.images["image_b"].values, pixels[: len(kept)])


def test_a_frame_leaves_out_too(image):
    frame = pd.DataFrame({"marker": NAMES, "keep": [True, False, True]})
    assert names_of(image, frame) == ["DAPI", "β-catenin"]


@pytest.mark.parametrize("n_cycles", [1, 2])
def test_a_channel_whose_name_ends_like_one_left_out_stays(tmp_path, n_cycles):
    names = ["SMActin", "Actin", "b_Actin"]
    pixels = np.arange(n_cycles * 3 * 20 * 24, dtype=np.uint16).reshape(n_cycles, 3, 20, 24)
    stored, axes = (pixels, "TCYX") if n_cycles > 1 else (pixels[0], "CYX")
    tifffile.imwrite(tmp_path / "a.ome.tif", stored, metadata={"axes": axes})
    panel = pd.DataFrame({"name": names, "keep": [1, 0, 1]})
    options = {"axes": "tcyx"} if n_cycles > 1 else {}
    image = sfm.io.read_tiff(tmp_path / "a.ome.tif", channel_names=panel, mpp=0.5, **options).images["image_a"]
    prefixes = ["cyc1_", "cyc2_"] if n_cycles > 1 else [""]
    assert image.coords["c"].values.tolist() == [f"{k}{name}" for k in prefixes for name in ("SMActin", "b_Actin")]
    np.testing.assert_array_equal(image.values, pixels[:, [0, 2]].reshape(-1, 20, 24))


@pytest.mark.parametrize(("axes", "order"), [("tcyx", "TC"), ("ctyx", "CT")])
def test_a_channel_of_all_cycles_is_left_out(tmp_path, axes, order):
    """The panel has a row per channel, the image a plane for each in every cycle."""
    pixels = np.arange(2 * 3 * 20 * 24, dtype=np.uint16).reshape(2, 3, 20, 24)
    stored = pixels if order == "TC" else pixels.transpose(1, 0, 2, 3)
    tifffile.imwrite(tmp_path / "a.ome.tif", stored, metadata={"axes": f"{order}YX"})
    panel = pd.DataFrame({"name": NAMES, "keep": [1, 0, 1]})
    sdata = sfm.io.read_tiff(tmp_path / "a.ome.tif", channel_names=panel, mpp=0.5, axes=axes)
    planes = [(k, i) for k in (0, 1) for i in (0, 2)] if order == "TC" else [(k, i) for i in (0, 2) for k in (0, 1)]
    image = sdata.images["image_a"]
    assert image.coords["c"].values.tolist() == [f"cyc{k + 1}_{NAMES[i]}" for k, i in planes]
    np.testing.assert_array_equal(image.values, np.stack([pixels[k, i] for k, i in planes]))
    assert sdata.attrs["spatialfm"]["samples"]["a"]["channels_left_out"] == ["cyc1_channel_1", "cyc2_channel_1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,keep\nDAPI,1\nCD3,maybe\nX,1\n", r"has 'maybe' in column 'keep' for channel 1 \(counted from 0\)"),
        ("name,keep\nDAPI,1\nCD3,\nX,1\n", "in column 'keep' for channel 1"),
        ("name,remove\nDAPI,1\nCD3,1\nX,1\n", "leaves out all of its channels. Correct its column 'remove'"),
    ],
)
def test_a_panel_that_does_not_say_what_stays(tmp_path, image, text, message):
    (tmp_path / "panel.csv").write_text(text)
    with pytest.raises(PanelError, match=message):
        names_of(image, tmp_path / "panel.csv")


def test_several_names_in_one_line_are_refused_with_the_list(tmp_path, image):
    path = tmp_path / "p.txt"
    path.write_text("DAPI, CD3, β-catenin\n", encoding="utf-8")
    for given in (path, "DAPI, CD3, β-catenin", ["DAPI, CD3, β-catenin"]):
        with pytest.raises(PanelError, match="channel_names=") as caught:
            names_of(image, given)
        call = re.search(r"channel_names=(\[[^\]]*\])\.$", str(caught.value))
        assert names_of(image, eval(call[1])) == NAMES  # what the message proposes
    table = tmp_path / "p.csv"
    table.write_text("DAPI,CD3,β-catenin\n", encoding="utf-8")
    with pytest.raises(PanelError, match="3 names in one line: a header, or a list") as caught:
        names_of(image, table)
    assert names_of(image, eval(re.search(r"channel_names=(\[.*\])\.$", str(caught.value))[1])) == NAMES
    table.write_text("name,keep,other\n", encoding="utf-8")  # three columns are not the names of three channels
    with pytest.raises(PanelError, match=r"has a header \('name', 'keep', 'other'\) and no name below it"):
        names_of(image, table)
    path.write_text("1, DAPI\n2, CD3\n3, β-catenin\n", encoding="utf-8")
    with pytest.raises(PanelError, match=r"commas in 3 lines, such as '1, DAPI'.*call it \.csv and give it a header"):
        names_of(image, path)
    path.write_text('DAPI\n"CD3, clone UCHT1"\nβ-catenin\n', encoding="utf-8")
    assert names_of(image, path) == ["DAPI", "CD3, clone UCHT1", "β-catenin"]
