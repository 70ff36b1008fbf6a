"""Files of features: layouts, the unit of coordinates, refusals."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from spatialfm._errors import InputFileError
from spatialfm.io._features_file import read_file


@pytest.fixture
def write(tmp_path):
    def make(name="feats", values=None, coords=None, names=None, coord_attrs=(), **attrs):
        with h5py.File(tmp_path / "slide.h5", "w") as file:
            file[name] = np.arange(6.0).reshape(3, 2) if values is None else values
            if coords is not None:
                file["coords"] = np.asarray(coords, float)
                file["coords"].attrs.update(dict(coord_attrs))
            if names is not None:
                file["obs_names"] = names
            file.attrs.update(attrs)
        return tmp_path / "slide.h5"

    return make


CORNERS = [[0, 0], [100, 0], [0, 300]]


@pytest.mark.parametrize("name", ["feats", "patch_embeddings", "features"])
def test_rows_are_named_after_the_file_where_it_does_not_say(write, name):
    found = read_file(write(name), None)
    assert found.sample == "slide"
    assert found.names.tolist() == ["slide_tile_1", "slide_tile_2", "slide_tile_3"]
    assert found.values.dtype == np.float32
    assert found.centres is None
    assert np.isnan(found.tile_um)


def test_what_a_file_says_of_itself_is_taken(write):
    found = read_file(write(names=["x", "y", "z"], sample="s1", patient="p1", extractor="uni"), None)
    assert (found.sample, found.patient, found.extractor) == ("s1", "p1", "uni")
    assert found.names.tolist() == ["x", "y", "z"]


@pytest.mark.parametrize("attrs", [{"tile_size_um": 256.0}, {"tile_size": 256.0, "unit": "um"}])
def test_coordinates_in_um_are_of_upper_left_corners(write, attrs):
    found = read_file(write(coords=CORNERS, **attrs), None)
    np.testing.assert_allclose(found.centres, np.add(CORNERS, 128))
    assert found.tile_um == 256


def test_coordinates_in_pixels_need_their_size(write):
    path = write(coords=CORNERS, coord_attrs={"patch_size_level0": 200})
    with pytest.raises(InputFileError, match="coordinates in pixels, and not their size"):
        read_file(path, None)
    found = read_file(path, 0.5)
    np.testing.assert_allclose(found.centres, (np.array(CORNERS) + 100) * 0.5)
    assert found.tile_um == 100
    stated = read_file(write(coords=CORNERS, coord_attrs={"patch_size_level0": 200}, mpp=0.25), None)
    assert stated.tile_um == 50


def test_a_tile_size_in_an_unknown_unit_is_refused(write):
    with pytest.raises(InputFileError, match="does not say in which unit"):
        read_file(write(coords=CORNERS, tile_size=224.0), 0.5)


def test_a_leading_axis_of_one_is_dropped(write):
    found = read_file(write(values=np.zeros((1, 3, 2)), coords=[CORNERS], tile_size_um=2.0), None)
    assert found.values.shape == (3, 2)
    assert found.centres.shape == (3, 2)


def test_files_that_do_not_fit_together_are_refused(write, tmp_path):
    with pytest.raises(InputFileError, match=r"3 rows of features and coords of shape \(2, 2\)"):
        read_file(write(coords=CORNERS[:2], tile_size_um=2.0), None)
    with pytest.raises(InputFileError, match=r"obs_names of shape \(2,\)"):
        read_file(write(names=["x", "y"]), None)
    with pytest.raises(InputFileError, match=r"holds feats of shape \(3,\)"):
        read_file(write(values=np.zeros(3)), None)
    with pytest.raises(InputFileError, match="has no features .* but 'other'"):
        read_file(write("other"), None)
    with pytest.raises(InputFileError, match="No file"):
        read_file(tmp_path / "absent.h5", None)
    (tmp_path / "text.h5").write_text("no file of this kind")
    with pytest.raises(InputFileError, match="is not an HDF5 file"):
        read_file(tmp_path / "text.h5", None)
