"""Names of samples and channels."""

from __future__ import annotations

from pathlib import Path

import pytest
from spatialdata._core.validation import check_valid_name

import spatialfm as sfm
from spatialfm._errors import InputFileError
from spatialfm.io._names import is_sample_name, natural_key, resolve_channel_names, stem


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("core1", "core1"),
        ("FIHC4 2 (cell)", "FIHC4_2_cell"),
        ("a/b\\c:d", "a_b_c_d"),
        ("__x__", "x"),
        ("..", None),
        ("***", None),
        ("Grün-3.1", "Grün-3.1"),
        (7, "7"),
    ],
)
def test_sample_name(text, expected):
    if expected is None:
        with pytest.raises(InputFileError, match="No sample name can be made from"):
            sfm.io.sample_name(text)
        assert not is_sample_name(str(text))
        return
    assert sfm.io.sample_name(text) == expected
    check_valid_name(f"image_{expected}")
    check_valid_name(expected)
    assert is_sample_name(expected)


@pytest.mark.parametrize(
    ("file", "expected"),
    [("a.ome.tiff", "a"), ("a.OME.TIF", "a"), ("a.b.tif", "a.b"), ("a.qptiff", "a"), ("a.ome.btf", "a"), ("a", "a")],
)
def test_stem(file, expected):
    assert stem(Path(file)) == expected


def test_natural_order():
    names = ["ch10", "Ch2", "ch1", "10_x", "9_x", "dapi", "CD8a"]
    assert sorted(names, key=natural_key) == ["9_x", "10_x", "CD8a", "ch1", "Ch2", "ch10", "dapi"]


def test_new_names_do_not_collide_with_old_ones():
    found = ["DAPI", "DAPI_2", "DAPI"]
    with pytest.raises(sfm._errors.PanelError, match=r"channel_names=\{2: 'DAPI_3'\}"):
        resolve_channel_names(found, None, 3, "a.tif")
    # two names exchanged
    assert resolve_channel_names(["a", "b"], {"a": "b", "b": "a"}, 2, "a.tif") == ["b", "a"]
