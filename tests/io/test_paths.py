"""Paths as tables hold them."""

from __future__ import annotations

import unicodedata

import pytest

from spatialfm.io._paths import absent, exists, find_path


def test_what_is_there_is_found_as_it_is_written(tmp_path):
    (tmp_path / "sub").mkdir()
    file = tmp_path / "sub" / "a.tif"
    file.touch()
    assert find_path(str(file)) == file
    assert find_path("sub/a.tif", tmp_path) == file
    assert find_path("sub\\a.tif", tmp_path) == file
    assert not exists(find_path("a.tif", tmp_path))


@pytest.mark.parametrize(("stored", "written"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_letters_composed_or_not(tmp_path, stored, written):
    name = "Zoë_Å.tif"
    (tmp_path / unicodedata.normalize(stored, name)).touch()
    assert exists(find_path(unicodedata.normalize(written, name), tmp_path))


def test_what_a_message_says_of_a_file_that_is_not_there(tmp_path):
    (tmp_path / "Core_1.TIFF").touch()
    assert "the folder has 'Core_1.TIFF'" in absent("core_1.tif", tmp_path / "core_1.tif")
    assert "(nor its folder)" in absent("x/y.tif", tmp_path / "x" / "y.tif")
    assert "Windows computer" in absent("C:\\a.tif", tmp_path / "C:\\a.tif")
    assert "an address" in absent("s3://bucket/a.tif", tmp_path / "a.tif")
    assert "patterns are not expanded" in absent("*.tif", tmp_path / "*.tif")


def test_what_is_no_path_does_not_exist(tmp_path):
    assert not exists(tmp_path / ("x" * 5000))
    assert not exists(tmp_path / "a\0b")
