"""Samples of a cohort opened row by row: what holds several is opened once, and one picture is not two samples."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile

from spatialfm._errors import InputFileError
from spatialfm.io import _cohort_read
from spatialfm.io._cohort_read import _same_pixels, read_rows
from spatialfm.io._cohort_table import Row
from spatialfm.io._mask import MaskOptions

OPTIONS = {"axes": None, "series": None, "mask_options": MaskOptions()}


def test_the_pixel_size_of_a_row_goes_before(tmp_path):
    for name in "ab":
        tifffile.imwrite(tmp_path / f"{name}.tif", np.zeros((2, 4, 4), np.uint8), photometric="minisblack")
    rows = [Row("a", "p", tmp_path / "a.tif", None, 0.25), Row("b", "p", tmp_path / "b.tif", None, None)]
    one, two = read_rows(rows, ["DAPI", "CD3"], 0.5, **OPTIONS)
    assert [one.record["mpp"], two.record["mpp"]] == [0.25, 0.5]
    assert one.channel_names == ("DAPI", "CD3")


def test_problems_of_all_rows_are_told_together(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.tif").write_bytes(b"no image")
    rows = [Row(name, "p", tmp_path / f"{name}.tif", None, None) for name in "ab"]
    with pytest.raises(InputFileError, match="The cohort has 2 problems"):
        read_rows(rows, None, None, **OPTIONS)


@pytest.mark.parametrize("broken", [False, True])
def test_a_file_of_several_samples_is_opened_once(monkeypatch, tmp_path, broken):
    opened = []

    def open_kind(kind, image, labels, **kwargs):
        opened.append(image)
        if broken:
            raise InputFileError("cut")
        return "store"

    monkeypatch.setattr(_cohort_read, "open_kind", open_kind)
    monkeypatch.setattr(
        _cohort_read, "sample_of", lambda sample, *rest: SimpleNamespace(sample=sample, identity=frozenset())
    )
    rows = [Row(name, "p", tmp_path / "x.mcd", None, None, "mcd") for name in "ab"]
    if broken:
        with pytest.raises(InputFileError, match="2 problems"):
            read_rows(rows, None, None)
    else:
        assert [one.sample for one in read_rows(rows, None, None)] == ["a", "b"]
    assert len(opened) == 1


def test_two_files_of_the_same_pixels_are_refused_and_one_file_twice_is_not():
    place = frozenset({("data.tif", 8)})
    read = [SimpleNamespace(sample=name, identity=place) for name in "ab"]
    ((sample, error),) = _same_pixels(read, {"a": Path("a.ome.tif"), "b": Path("b.ome.tif")})
    assert sample == "b"
    assert "leads to the same pixels as 'a.ome.tif' of sample 'a'" in str(error)
    assert _same_pixels(read, {"a": Path("a.ome.tif"), "b": Path("a.ome.tif")}) == []
