"""What an .mcd file states, and why pixels cannot be what it states."""

from __future__ import annotations

import numpy as np
import pytest
from reading_mcd import CORNER, METALS, counts_of, write_mcd

from spatialfm._errors import InputFileError
from spatialfm.io._mcd_file import Acquisition, _without_overlaps, read_contents

PIXELS = counts_of((3, 4, 5))


def test_channels_size_and_place_are_those_that_were_written(tmp_path):
    write_mcd(tmp_path / "a.mcd", [PIXELS], mpp=2.0)
    (one,) = read_contents(tmp_path / "a.mcd").acquisitions
    assert (one.shape, one.n_pixels, one.metals) == ((3, 4, 5), 20, METALS)
    assert (one.pixel_size.x, one.pixel_size.y) == (2, 2)
    np.testing.assert_allclose(one.corners[0], CORNER)
    assert not one.problem


def test_a_file_that_was_cut_has_lost_its_schema(tmp_path):
    write_mcd(tmp_path / "a.mcd", [PIXELS])
    (tmp_path / "a.mcd").write_bytes((tmp_path / "a.mcd").read_bytes()[:200])
    with pytest.raises(InputFileError, match="is damaged.*lost if the file was not copied whole"):
        read_contents(tmp_path / "a.mcd")


def acquisition(number, start, n_pixels, problem="") -> Acquisition:
    return Acquisition(number, "", ("a",), ("Ir191",), (1, 1, n_pixels), None, start, n_pixels, None, problem)


def test_acquisitions_that_share_bytes_are_marked():
    """A pixel has X, Y, Z and one channel of four bytes."""
    one, two, three = acquisition(1, 0, 10), acquisition(2, 160, 5), acquisition(3, 239, 5)
    assert [bool(each.problem) for each in _without_overlaps([one, two])] == [False, False]
    found = _without_overlaps([one, two, three])
    assert [each.problem for each in found] == [
        "", "its pixels are those of acquisition 3 as well", "its pixels are those of acquisition 2 as well",
    ]  # fmt: skip
    broken = acquisition(4, 0, 0, "cut")
    assert [each.problem for each in _without_overlaps([one, broken])] == ["", "cut"]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("<MaxX>5<", "<MaxX>0<", "it states a size of 0 x 4 pixels"),
        ("<MaxX>5<", "<MaxX>3<", "it holds 20 pixels and states 3 x 4"),
        ("<MaxX>5<", "<MaxX>x<", "its metadata are incomplete"),
        ("<ValueBytes>4<", "<ValueBytes>2<", "only Float of 4 can be read"),
    ],
)
def test_pixels_that_cannot_be_as_stated_are_a_problem(tmp_path, old, new, problem):
    write_mcd(tmp_path / "a.mcd", [PIXELS])
    whole = (tmp_path / "a.mcd").read_bytes()
    assert old.encode("utf-16-le") in whole
    (tmp_path / "a.mcd").write_bytes(whole.replace(old.encode("utf-16-le"), new.encode("utf-16-le")))
    (one,) = read_contents(tmp_path / "a.mcd").acquisitions
    assert problem in one.problem
    assert one.n_pixels == 0
