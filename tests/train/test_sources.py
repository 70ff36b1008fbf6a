from __future__ import annotations

import numpy as np
import pytest

from spatialfm._errors import ArgumentTypeError, InputFileError
from spatialfm.train.sources import open_sources


@pytest.fixture
def one(make_sdata):
    return lambda name: make_sdata({name: (np.zeros((1, 8, 8), np.uint16), None)}, ["DAPI"])


def test_objects_stores_and_folders_of_stores(tmp_path, one):
    for name in ("b", "a"):
        one(name).write(tmp_path / "cohort" / f"{name}.zarr")
    (tmp_path / "cohort" / "notes").mkdir()
    opened = open_sources([one("c"), tmp_path / "cohort", str(tmp_path / "cohort" / "a.zarr")])
    assert [each.source for each in opened] == ["source0", "cohort", "cohort", "a"]
    assert [next(iter(each.sdata.images)) for each in opened] == ["image_c", "image_a", "image_b", "image_a"]
    assert opened[1].where.endswith("a.zarr")


def test_two_items_of_one_name_are_told_apart(tmp_path, one):
    for place in ("x", "y"):
        one("s").write(tmp_path / place / "cohort.zarr")
    opened = open_sources([tmp_path / "x" / "cohort.zarr", tmp_path / "y" / "cohort.zarr"])
    assert [each.source for each in opened] == ["cohort", "cohort_2"]


def test_what_cannot_be_opened_is_named(tmp_path, one):
    with pytest.raises(InputFileError, match=r"No store or folder '.*gone.zarr'"):
        open_sources(tmp_path / "gone.zarr")
    with pytest.raises(InputFileError, match="holds no store"):
        open_sources(tmp_path)
    one("s").write(tmp_path / "bad.zarr")
    (tmp_path / "bad.zarr" / "zarr.json").write_text("{")
    with pytest.raises(InputFileError, match=r"Store '.*bad.zarr' cannot be opened"):
        open_sources(tmp_path / "bad.zarr")


def test_what_is_no_source_is_named():
    with pytest.raises(ArgumentTypeError, match=r"sources\[0\] is ndarray; expected SpatialData, or a path"):
        open_sources([np.zeros((3, 4, 4))])
    with pytest.raises(ArgumentTypeError, match="sources= is empty"):
        open_sources([])
