"""The list of channels of an MCMICRO project."""

from __future__ import annotations

import pytest

from spatialfm._errors import InputFileError, PanelError
from spatialfm.io._mcmicro_markers import read_markers, wrong_number


@pytest.fixture
def write(tmp_path):
    def make(*lines):
        (tmp_path / "markers.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return tmp_path / "markers.csv"

    return make


def test_names_that_occur_twice_are_numbered_as_the_quantification_does(write):
    sheet = read_markers(write("channel_number,cycle_number,marker_name", "1,1,DNA", "2,1,CD3", "3,2,DNA"))
    assert sheet.names == ("DNA_1", "CD3", "DNA_2")
    assert sheet.cycles == ("1", "1", "2")
    assert sheet.repeated == ("DNA",)
    assert sheet.kept == [0, 1, 2]


def test_channels_to_be_removed_are_not_kept(write):
    sheet = read_markers(write("marker_name,background,remove", "AF,,TRUE", "CD3,AF,", "CD8,AF,false"))
    assert sheet.kept == [1, 2]
    assert sheet.background == ("", "AF", "AF")
    assert "2 without the 1 to be removed" in str(wrong_number(sheet, 5, "a.tif"))


def test_a_file_of_names_alone_has_no_header(write):
    assert read_markers(write("DNA", "CD3")).names == ("DNA", "CD3")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("marker_name,remove", "CD3,maybe"), "which is neither TRUE, FALSE nor empty"),
        (("marker_name,remove", "CD3,1"), "removes all of its channels"),
        (("marker_name,background", "CD3,AF"), "names the background 'AF', which is not a marker_name"),
        (("marker_name,x", "CD3,1", ",2"), "has no marker_name for channel 1"),
        (("channel_number,marker_name", "2,CD3", "1,CD8"), "not in the order of their channel_number"),
        (("a,b", "1,2"), "has no column 'marker_name'"),
        (("marker_name,Marker_Name", "1,2"), "two columns called 'marker_name'"),
    ],
)
def test_lists_that_do_not_describe_an_image_are_refused(write, lines, message):
    with pytest.raises(PanelError, match=message):
        read_markers(write(*lines))


def test_a_background_that_was_subtracted_may_be_gone(write, tmp_path):
    path = write("marker_name,background", "CD3,AF")
    assert read_markers(path, is_subtracted=True).names == ("CD3",)
    with pytest.raises(InputFileError, match="which names the channels"):
        read_markers(tmp_path / "absent.csv")
