"""Files that belong to samples by their names."""

from __future__ import annotations

import pytest

from spatialfm._errors import InputFileError
from spatialfm.io._named_files import bare, files_by_sample, sample_names

SUFFIXES = (".tif", ".geojson")


def test_names_without_folder_and_suffix():
    assert bare("C:\\data\\core 1.ome.tif") == "core 1"
    assert bare("a/b/core 1.ome.tif.geojson", (".geojson",)) == "core 1"
    assert bare("core.1", (".geojson",)) == "core.1"


@pytest.fixture
def folder(tmp_path):
    for name in ("core 1.tif", "Core_2.TIF", "core 3.tif", "core 3.geojson", ".core 4.tif", "core 5_x.tif"):
        (tmp_path / name).touch()
    return tmp_path


def test_files_of_a_folder(folder):
    samples = {"core_1": "core 1.ome.tif", "core_2": "core 2", "core_3": "core 3", "core_4": "core 4"}
    files, problems = files_by_sample(folder, samples, SUFFIXES, "images")
    assert {name: path.name for name, path in files.items()} == {"core_1": "core 1.tif", "core_2": "Core_2.TIF"}
    assert len(problems) == 2
    assert "sample 'core_3': several files ('core 3.geojson', 'core 3.tif')" in problems[0]
    assert "sample 'core_4': no file for 'core 4'" in problems[1]
    files, problems = files_by_sample(folder, {"core_5": "core 5"}, SUFFIXES, "labels", "_x")
    assert files["core_5"].name == "core 5_x.tif"


def test_one_file_and_a_mapping(folder):
    one = folder / "core 1.tif"
    assert files_by_sample(one, {"a": "a"}, SUFFIXES, "images") == ({"a": one}, [])
    assert files_by_sample({"a": one}, {"a": "a", "b": "b"}, SUFFIXES, "images") == (
        {"a": one},
        ["images= has no file for sample 'b'"],
    )
    with pytest.raises(InputFileError, match="images= is one file, but there are 2 samples"):
        files_by_sample(one, {"a": "a", "b": "b"}, SUFFIXES, "images")
    with pytest.raises(InputFileError, match="No file or folder"):
        files_by_sample(folder / "gone", {"a": "a"}, SUFFIXES, "images")


def test_names_of_samples():
    assert sample_names(["core 1.ome.tif", "b", "core 1.ome.tif"], (".tif",), "t") == {
        "core_1": "core 1.ome.tif",
        "b": "b",
    }
    with pytest.raises(InputFileError, match="'Core_1' and 'core 1.tif' of t would be one sample"):
        sample_names(["core 1.tif", "Core_1"], (".tif",), "t")
    with pytest.raises(InputFileError, match="No sample name"):
        sample_names(["_.tif"], (".tif",), "t")
