"""Acquisitions of .mcd files, from their text files where one is broken, by names of files alone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from reading_mcd import counts_of, write_mcd, write_text

from spatialfm._errors import InputFileError
from spatialfm.io._imc_samples import ImcSample, _number_in, find_acquisitions, without_broken

PIXELS = counts_of((3, 4, 5))


@pytest.mark.parametrize(
    ("name", "stem", "number"),
    [
        ("a_1.txt", "a", 1),
        ("a_ROI_3_012.txt", "a", 12),
        ("A.txt", "a", None),
        ("ab_1.txt", "a", None),
        ("a_x.txt", "a", None),
        ("a.b_2.TXT", "a.b", 2),
    ],
)
def test_the_number_of_an_acquisition_is_at_the_end_of_its_name(name, stem, number):
    assert _number_in(Path(name), stem) == number


def test_acquisitions_of_a_file_are_samples(tmp_path):
    write_mcd(tmp_path / "a.mcd", [PIXELS, PIXELS + 1])
    found = find_acquisitions([tmp_path], None)
    assert [one.sample for one in found.samples] == ["a_001", "a_002"]
    assert [one.number for one in found.samples] == [1, 2]
    assert "a_1" in found.samples[0].names
    assert [one.sample for one in find_acquisitions([tmp_path], [2]).samples] == ["a_002"]
    with pytest.raises(InputFileError, match="There is no acquisition 7"):
        find_acquisitions([tmp_path], [7])


def test_a_broken_file_is_read_from_its_text_files(tmp_path):
    (tmp_path / "a.mcd").write_bytes(b"\xff" * 300)
    with pytest.raises(InputFileError, match="is damaged"):
        find_acquisitions([tmp_path / "a.mcd"], None)
    write_text(tmp_path / "a_ROI_002.txt", PIXELS)
    (sample,) = find_acquisitions([tmp_path], None).samples
    assert (sample.sample, sample.number, sample.description) == ("a_002", 2, "ROI")
    assert sample.text.shape == (3, 4, 5)
    assert "is damaged" in sample.reason
    assert not sample.problem
    write_text(tmp_path / "a_other_002.txt", PIXELS)
    (sample,) = find_acquisitions([tmp_path], None).samples
    assert "has 2 .txt files" in sample.problem


def test_text_files_alone_are_samples_and_those_beside_a_sound_file_are_not(tmp_path):
    write_text(tmp_path / "b.txt", PIXELS)
    (sample,) = find_acquisitions([tmp_path], None).samples
    assert (sample.sample, sample.number) == ("b", None)
    write_mcd(tmp_path / "a.mcd", [PIXELS])
    write_text(tmp_path / "a_1.txt", PIXELS)
    assert [one.sample for one in find_acquisitions([tmp_path], None).samples] == ["a_001", "b"]


def test_two_files_of_one_name_and_other_files_are_refused(tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        write_text(tmp_path / folder / "b.txt", PIXELS)
    with pytest.raises(InputFileError, match="would both be sample 'b'"):
        find_acquisitions([tmp_path / "x", tmp_path / "y"], None)
    (tmp_path / "c.tif").touch()
    with pytest.raises(InputFileError, match="is neither an .mcd nor a .txt file"):
        find_acquisitions([tmp_path / "c.tif"], None)
    with pytest.raises(InputFileError, match="contains no .mcd file"):
        find_acquisitions([tmp_path], None)


def test_broken_acquisitions_are_dropped_where_some_are_left():
    whole, broken = (ImcSample(f"s{i}", i, "", Path("a.mcd"), problem="cut" * i) for i in (0, 1))
    assert without_broken([whole, broken], True) == ([whole], [broken])
    with pytest.raises(InputFileError, match=r'1 acquisition of 2 cannot be read.*pass on_broken="drop"'):
        without_broken([whole, broken], False)
    with pytest.raises(InputFileError, match="1 acquisition of 1 cannot be read"):
        without_broken([broken], True)


def test_labels_and_metals_are_those_of_the_pixels():
    text = SimpleNamespace(labels=("x",), metals=("Ir191",))
    acquisition = SimpleNamespace(labels=("y",), metals=("Ir193",))
    one = ImcSample("s", 1, "", Path("a.mcd"), acquisition=acquisition)
    assert (one.labels, one.metals) == (("y",), ("Ir193",))
    both = ImcSample("s", 1, "", Path("a.mcd"), acquisition=acquisition, text=text)
    assert (both.labels, both.metals) == (("x",), ("Ir191",))
