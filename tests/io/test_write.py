"""A store is written whole or not at all."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from spatialdata import SpatialData, read_zarr
from spatialdata.models import Image2DModel, Labels2DModel
from spatialdata.transformations import Scale

import spatialfm as sfm
from spatialfm._errors import InputFileError, RunError, SpatialfmWarning


@pytest.fixture
def sdata(ome, mask_file):
    return sfm.io.read_tiff(ome, mask_file)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_written_and_read_back(tmp_path, sdata, pixels, mask):
    folder = tmp_path / "out"
    folder.mkdir()
    assert sfm.io.write(sdata, folder / "core.zarr") == folder / "core.zarr"
    assert sdata.path == folder / "core.zarr"
    assert names(folder) == ["core.zarr"]
    back = read_zarr(folder / "core.zarr")
    np.testing.assert_array_equal(back.images["image_core1"].values, pixels)
    np.testing.assert_array_equal(back.labels["cells_core1"].values, mask)
    assert list(back.images["image_core1"].coords["c"].values) == ["DAPI", "CD3", "CD8", "CD20", "Ki67"]
    assert back.attrs["spatialfm"] == sdata.attrs["spatialfm"]
    assert back.coordinate_systems == ["core1"]


def test_channels_without_signal_are_stored_so_that_nothing_looks_lost(tmp_path):
    """A channel of zeros had no chunk in the store, and the next function asked whether it was lost."""
    pixels, cells = np.zeros((3, 64, 64), np.uint8), np.zeros((64, 64), np.uint16)
    pixels[0], cells[5:15, 5:15], cells[30:40, 30:44] = 7, 1, 2
    scale = {"s": Scale([0.5, 0.5], axes=("x", "y"))}
    image = Image2DModel.parse(
        pixels, dims=("c", "y", "x"), c_coords=["DAPI", "CD3", "CD8"], chunks=(1, 64, 64), transformations=scale
    )
    labels = Labels2DModel.parse(cells, dims=("y", "x"), transformations=scale)
    path = sfm.io.write(SpatialData(images={"image_s": image}, labels={"cells_s": labels}), tmp_path / "s.zarr")
    assert len([one for one in (path / "images" / "image_s" / "s0" / "c").rglob("*") if one.is_file()]) == 3
    back = read_zarr(path)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Chunks that are not stored")
        sfm.pp.cell_table(back)
    np.testing.assert_array_equal(back["table"].X, [[7, 0, 0], [7, 0, 0]])
    (path / "images" / "image_s" / "s0" / "c" / "1" / "0" / "0").unlink()
    with pytest.warns(SpatialfmWarning, match=r"1 of 3 chunks of image 'image_s' \(channels 'CD3'\)"):
        sfm.pp.cell_table(read_zarr(path))


def test_a_store_replaces_itself(tmp_path, sdata, pixels, mask):
    path = tmp_path / "out" / "core.zarr"
    path.parent.mkdir()
    sfm.io.write(sdata, path)
    back = read_zarr(path)
    sfm.pp.cell_table(back)
    sfm.io.write(back, path, overwrite=True)
    assert names(path.parent) == ["core.zarr"]
    np.testing.assert_array_equal(back.images["image_core1"].values, pixels)  # still readable in memory
    again = read_zarr(path)
    np.testing.assert_array_equal(again.images["image_core1"].values, pixels)
    assert again["table"].n_obs == 3


@pytest.mark.parametrize("error", [OSError("no space"), KeyboardInterrupt()])
@pytest.mark.parametrize("when", ["writing", "exchanging", "replacing"])
def test_an_interruption_leaves_the_old_store(tmp_path, sdata, monkeypatch, error, when):
    import os

    path = tmp_path / "out" / "core.zarr"
    path.parent.mkdir()
    sfm.io.write(sdata, path)
    new = SpatialData(attrs={"study": "new"})
    if when == "writing":
        write_attrs = SpatialData.write_attrs

        def stops(self, *args, **options):
            write_attrs(self, *args, **options)
            raise error

        monkeypatch.setattr(SpatialData, "write_attrs", stops)
    elif when == "exchanging":

        def stops(one, two):
            raise error

        monkeypatch.setattr("spatialfm.io._write._exchanged", stops)
    else:
        replace = os.replace

        def stops(source, target):  # zarr replaces files too, and must go on
            if target == path and "partial" in source.name:
                raise error
            replace(source, target)

        monkeypatch.setattr("spatialfm.io._write._exchanged", lambda one, two: False)  # as on other systems
        monkeypatch.setattr("spatialfm.io._write.os.replace", stops)
    with pytest.raises(RunError if isinstance(error, OSError) else KeyboardInterrupt):
        sfm.io.write(new, path, overwrite=True)
    monkeypatch.undo()
    assert names(path.parent) == ["core.zarr"]
    assert list(read_zarr(path).images) == ["image_core1"]
    assert new.path is None


def test_refusals(tmp_path, sdata):
    out = tmp_path / "out"
    with pytest.raises(InputFileError, match=r"No folder '.*out' to write 'core\.zarr' into"):
        sfm.io.write(sdata, out / "core.zarr")
    out.mkdir()
    (out / "notes").mkdir()
    (out / "notes" / "precious.txt").write_text("results")
    (out / "file").write_text("results")
    for name in ("notes", "file"):
        with pytest.raises(InputFileError, match=f"{name}' is there and is not a zarr store"):
            sfm.io.write(sdata, out / name, overwrite=True)
    sfm.io.write(SpatialData(attrs={"study": "old"}), out / "core.zarr")
    with pytest.raises(InputFileError, match=r"core\.zarr' is there already. Pass another path, or overwrite=True"):
        sfm.io.write(sdata, out / "core.zarr")
    assert names(out) == ["core.zarr", "file", "notes"]
    assert (out / "notes" / "precious.txt").read_text() == "results"
    assert read_zarr(out / "core.zarr").attrs["study"] == "old"
