"""The text files of an imaging mass cytometer: size from the last line, channels from the header, places of pixels."""

from __future__ import annotations

import numpy as np
import pytest
from reading_mcd import counts_of, rows_of, write_text

from spatialfm._errors import InputFileError
from spatialfm.io._imc_text import is_imc_text, lazy_text, open_text, parse_text

PIXELS = counts_of((3, 4, 5))


@pytest.fixture
def path(tmp_path):
    write_text(tmp_path / "a.txt", PIXELS)
    return tmp_path / "a.txt"


def test_channels_and_size_are_read_without_the_pixels(path):
    text = open_text(path)
    assert text.shape == (3, 4, 5)
    assert text.metals == ("Ir191", "Er170", "Dy162")
    assert is_imc_text(path)


def test_pixels_are_those_that_were_written(path):
    np.testing.assert_array_equal(lazy_text(open_text(path), (2, 0)), PIXELS[[2, 0]])
    np.testing.assert_array_equal(lazy_text(open_text(path), (1,))[:, 1:3, 2:], PIXELS[[1], 1:3, 2:])


def test_columns_may_come_first(path):
    lines = path.read_text().splitlines()
    rows = sorted(lines[1:], key=lambda line: tuple(map(float, line.split("\t")[3:5])))
    path.write_text("\n".join([lines[0], *rows]) + "\n")
    text = open_text(path)
    assert text.shape == (3, 4, 5)
    np.testing.assert_array_equal(parse_text(text.state, 3, (4, 5)), PIXELS)


@pytest.mark.parametrize(("n", "where"), [(-1, "within a row of 5"), (-5, "")])
def test_a_file_that_ends_within_a_row_is_refused(path, n, where):
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:n]) + "\n")
    if where:
        with pytest.raises(InputFileError, match=where):
            open_text(path)
    else:
        assert open_text(path).shape == (3, 3, 5)  # a whole row less: an acquisition of three rows


def test_a_file_that_ends_within_a_line_is_refused(path):
    path.write_bytes(path.read_bytes().rstrip()[:-8].rsplit(b"\t", 1)[0])
    with pytest.raises(InputFileError, match="ends within a line"):
        open_text(path)


def test_pixels_that_occur_twice_or_are_no_numbers_are_refused(path):
    lines = path.read_text().splitlines()
    text = open_text(path)
    path.write_text("\n".join([*lines[:13], lines[12], *lines[14:]]) + "\n")
    with pytest.raises(InputFileError, match="pixels occur twice"):
        parse_text(open_text(path).state, 3, text.shape[1:])
    path.write_text("\n".join([*lines[:13], lines[13].rsplit("\t", 1)[0] + "\tx", *lines[14:]]) + "\n")
    with pytest.raises(InputFileError, match="is damaged"):
        parse_text(open_text(path).state, 3, text.shape[1:])


def test_other_headers_are_refused(path, tmp_path):
    header, rest = path.read_text().split("\n", 1)
    for wrong, message in (
        (header.replace("Start_push", "Begin"), "is not a text file of an imaging mass cytometer"),
        (header.replace("(Dy162", "(Er170"), "has a metal twice"),
        (header.replace("CD8a", "CD8a(").replace("Dy162Di)", ""), "name no metal"),
    ):
        path.write_text(f"{wrong}\n{rest}")
        with pytest.raises(InputFileError, match=message):
            open_text(path)
    (tmp_path / "b.txt").write_text("sample\tpatient\n")
    assert not is_imc_text(tmp_path / "b.txt")


def test_rows_of_the_instrument_are_what_the_reader_expects():
    rows = rows_of(PIXELS)
    assert rows[:, 0].tolist()[:6] == [0, 1, 2, 3, 4, 0]
