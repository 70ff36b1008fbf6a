"""Chunks that a store does not hold: apart from background, named with their cells; a lost store is not zeros."""

from __future__ import annotations

import shutil
import warnings

import dask.array as da
import numpy as np
import pytest
import spatialdata as sd
import zarr
from spatialdata.models import Image2DModel, Labels2DModel
from spatialdata.transformations import Scale

import spatialfm as sfm
from spatialfm._errors import InputFileError, RunError, SpatialfmWarning
from spatialfm.pp.arrays import full_resolution
from spatialfm.pp.stored_chunks import StoredChunks, stored_chunks

SIDE, CHUNK = 128, 64
NAMES = ["DAPI", "CD3", "CD8"]


def write(path, *, scales=None, chunks=(1, CHUNK, CHUNK), zeros=(), label_scales=None) -> None:
    """One sample of 36 cells of 14 x 14 pixels, nine in each quarter, on pixels that are never 0 but in `zeros`."""
    pixels = np.random.default_rng(0).integers(100, 999, (3, SIDE, SIDE)).astype(np.uint16)
    for place in zeros:
        pixels[place] = 0
    labels = np.zeros((SIDE, SIDE), np.uint32)
    starts = [1, 23, 50, 65, 87, 114]  # the third and sixth of a row and column end at a chunk's edge
    for i, y in enumerate(starts):
        for j, x in enumerate(starts):
            labels[y : y + 14, x : x + 14] = 6 * i + j + 1
    system = {"s": Scale([0.5, 0.5], axes=("x", "y"))}
    image = Image2DModel.parse(
        da.from_array(pixels, chunks=chunks), dims=("c", "y", "x"), c_coords=NAMES, transformations=system,
        scale_factors=scales, chunks=chunks,
    )  # fmt: skip
    cells = Labels2DModel.parse(
        da.from_array(labels, chunks=(CHUNK, CHUNK)), dims=("y", "x"), transformations=system,
        scale_factors=label_scales, chunks=(CHUNK, CHUNK),
    )  # fmt: skip
    sd.SpatialData(images={"image_s": image}, labels={"cells_s": cells}).write(path)


def said_by(function, *args, **options) -> list[str]:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        function(*args, **options)
    return [str(one.message) for one in found if "not stored" in str(one.message)]


def remove(folder, *keys: str) -> None:
    for key in keys:
        (folder / key).unlink()


@pytest.fixture
def store(tmp_path):
    write(tmp_path / "s.zarr")
    return tmp_path / "s.zarr"


def test_a_whole_store_is_read_without_a_word(store):
    sdata = sd.read_zarr(store)
    assert not said_by(sfm.pp.cell_table, sdata)
    chunks = stored_chunks(sdata["image_s"].data)
    assert chunks.grid == (3, 2, 2)
    assert not chunks.missing.any()


def test_chunks_of_an_image_with_cells_are_named(store):
    """Rows 64 to 128 of CD3, left: nine cells, whose CD3 would be 0."""
    remove(store / "images/image_s/s0/c", "1/1/0")
    sdata = sd.read_zarr(store)
    (text,) = said_by(sfm.pp.cell_table, sdata)
    assert (
        "1 of 12 chunks of image 'image_s' (channels 'CD3'), in rows 64 to 128 and columns 0 to 64, where 9 cells are"
    ) in text
    assert (sdata["table"].to_df()["CD3"] == 0).sum() == 9  # what is reported is so


@pytest.mark.parametrize("scales", [None, [2]])
@pytest.mark.parametrize("channels", [(0, 1, 2), (0,), (2,)])
def test_background_of_zeros_without_cells_is_no_loss(tmp_path, channels, scales):
    """Writers leave such chunks out; the quarter below right has no cell here."""
    write(tmp_path / "s.zarr", zeros=[(list(channels), slice(CHUNK, None), slice(CHUNK, None))], scales=scales)
    sdata = sd.read_zarr(tmp_path / "s.zarr")
    labels = sdata["cells_s"].to_numpy().copy()
    labels[CHUNK:, CHUNK:] = 0
    sdata["cells_s"] = Labels2DModel.parse(
        labels, dims=("y", "x"), transformations={"s": Scale([0.5, 0.5], ("x", "y"))}
    )
    image = full_resolution(sdata["image_s"])
    assert stored_chunks(image.data).missing.sum() == len(channels)
    assert not said_by(sfm.pp.cell_table, sdata)


def test_a_pyramid_bears_witness_where_there_are_no_cells(tmp_path):
    """Image and labels of one quarter are gone, so that no cell tells; the smaller level has pixels there."""
    write(tmp_path / "s.zarr", scales=[2])
    remove(tmp_path / "s.zarr/images/image_s/s0/c", *(f"{c}/1/1" for c in range(3)))
    remove(tmp_path / "s.zarr/labels/cells_s/s0/c", "1/1")
    (text,) = said_by(sfm.pp.cell_table, sd.read_zarr(tmp_path / "s.zarr"))
    assert "3 of 12 chunks of image 'image_s', in rows 64 to 128 and columns 64 to 128, where smaller levels" in text


def test_a_pyramid_of_labels(tmp_path):
    write(tmp_path / "s.zarr", label_scales=[2])
    remove(tmp_path / "s.zarr/labels/cells_s/s0/c", "1/1")
    (text,) = said_by(sfm.pp.check_labels, sd.read_zarr(tmp_path / "s.zarr"))
    assert "1 of 4 chunks of labels 'cells_s', in rows 64 to 128 and columns 64 to 128" in text
    assert "where smaller levels of its pyramid have cells" in text


def test_cells_that_end_at_the_edge_of_missing_labels(tmp_path):
    """Three cells above and three to the left end with the chunk, at row and column 64."""
    write(tmp_path / "s.zarr")
    remove(tmp_path / "s.zarr/labels/cells_s/s0/c", "1/1")
    sdata = sd.read_zarr(tmp_path / "s.zarr")
    (text,) = said_by(sfm.pp.cell_table, sdata)
    assert "1 of 4 chunks of labels 'cells_s', in rows 64 to 128 and columns 64 to 128, at whose edges 6 cells" in text


def test_tiles_are_told_of_channels_that_are_missing_where_others_are(store):
    remove(store / "images/image_s/s0/c", "2/0/1")
    sdata = sd.read_zarr(store)
    (text,) = said_by(sfm.tl.embed_tiles, sdata, "mean-intensity", size=32, stride=32)
    assert "1 of 12 chunks of image 'image_s' (channels 'CD8'), in rows 0 to 64 and columns 64 to 128" in text


def test_embeddings_of_a_table_that_is_there(store):
    sdata = sd.read_zarr(store)
    sfm.pp.cell_table(sdata)
    remove(store / "images/image_s/s0/c", "0/0/0")
    (text,) = said_by(sfm.tl.embed_cells, sdata, "classical")
    assert "(channels 'DAPI'), in rows 0 to 64 and columns 0 to 64, where 9 cells are" in text


@pytest.mark.parametrize("what", ["image", "labels", "store"])
def test_a_store_that_is_gone_is_no_image_of_zeros(store, what):
    sdata = sd.read_zarr(store)
    folder = {"image": store / "images/image_s", "labels": store / "labels/cells_s", "store": store}[what]
    shutil.rmtree(folder)
    with pytest.raises(InputFileError, match="which is gone: all of it would be zeros"):
        sfm.pp.cell_table(sdata)
    assert "table" not in sdata.tables


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("n_bytes", [0, 5, 16, 600, -1])
def test_chunks_of_blosc_that_were_cut_short(tmp_path, version, n_bytes):
    """Blosc decodes such a chunk without an error, with whatever is behind its end in memory."""
    pixels = np.random.default_rng(0).integers(0, 999, (3, SIDE, SIDE)).astype(np.uint16)
    folder = tmp_path / "a.zarr"
    codec = zarr.codecs.BloscCodec() if version == 3 else __import__("numcodecs").Blosc()
    array = zarr.create_array(
        folder, shape=pixels.shape, chunks=(1, CHUNK, CHUNK), dtype="u2", zarr_format=version, compressors=codec
    )
    array[:] = pixels
    system = {"s": Scale([0.5, 0.5], axes=("x", "y"))}
    image = Image2DModel.parse(da.from_zarr(str(folder)), dims=("c", "y", "x"), c_coords=NAMES, transformations=system)
    labels = np.zeros((SIDE, SIDE), np.uint32)
    labels[2:20, 2:20] = 1
    cells = Labels2DModel.parse(labels, dims=("y", "x"), transformations=system)
    sdata = sd.SpatialData(images={"image_s": image}, labels={"cells_s": cells})
    sfm.pp.cell_table(sdata, table_name="before")
    chunk = folder / ("c/1/0/1" if version == 3 else "1.0.1")
    content = chunk.read_bytes()
    chunk.write_bytes(content[:n_bytes])
    with pytest.raises(InputFileError, match=r"Image 'image_s': 1 file in .* is cut short \('(c/1/0/1|1\.0\.1)' has"):
        sfm.pp.cell_table(sdata, table_name="after")


def test_shards_are_files_of_many_chunks(tmp_path):
    folder = tmp_path / "a.zarr"
    array = zarr.create_array(folder, shape=(3, SIDE, SIDE), chunks=(1, 16, 16), shards=(1, CHUNK, CHUNK), dtype="u2")
    array[:] = np.full((3, SIDE, SIDE), 7, np.uint16)
    lazy = da.from_zarr(str(folder))
    assert stored_chunks(lazy).grid == (3, 2, 2)
    (folder / "c/2/1/0").unlink()
    assert np.argwhere(stored_chunks(lazy).missing).tolist() == [[2, 1, 0]]


@pytest.mark.parametrize("what", ["images/image_s", "labels/cells_s"])
def test_a_store_that_is_removed_in_mid_run_ends_the_run(store, what, monkeypatch):
    """Its chunks would be zeros from there on: the run stops, and goes on with the same rows when it is back."""
    from spatialfm.embed.pixels.reader import SampleReader

    sdata = sd.read_zarr(store)
    sfm.tl.embed_cells(sdata, "classical", key_added="X_whole")
    sfm.settings.cache_dir = store.parent / "another"  # nothing is kept
    step = "pixels" if what.startswith("images") else "label_image"
    before, away = getattr(SampleReader, step), store.parent / "away"

    def removed(self, *args):
        if (store / what).exists():
            shutil.move(store / what, away)
        return before(self, *args)

    monkeypatch.setattr(SampleReader, step, removed)
    with pytest.raises(RunError, match="were removed while they were read"):
        sfm.tl.embed_cells(sdata, "classical", key_added="X_torn")
    assert "X_torn" not in sdata["table"].obsm
    monkeypatch.undo()
    shutil.move(away, store / what)
    sfm.tl.embed_cells(sdata, "classical", key_added="X_torn")
    np.testing.assert_array_equal(sdata["table"].obsm["X_torn"], sdata["table"].obsm["X_whole"])


def test_what_is_no_array_of_a_store_is_not_asked():
    assert stored_chunks(np.zeros((3, 8, 8))) is None
    assert stored_chunks(da.zeros((3, 8, 8))) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialfmWarning)
        sfm.pp.cell_table(
            sfm.datasets.simulate_cohort(1, n_samples=1, image_size=64, difficulty="easy"), on_pieces="keep"
        )


@pytest.mark.parametrize("table", [True, False])
@pytest.mark.parametrize("embed", [sfm.tl.embed_cells, sfm.tl.embed_tiles])
def test_a_run_walks_each_store_once(store, monkeypatch, embed, table):
    """An image and its labels: two walks, whether the cell table is there or made on the way; and one warning."""
    remove(store / "images/image_s/s0/c", "1/1/0")
    sdata = sd.read_zarr(store)
    if table:
        sfm.pp.cell_table(sdata)
    walked = []
    look = StoredChunks.look
    monkeypatch.setattr(StoredChunks, "look", lambda chunks: (walked.append(chunks.folder), look(chunks)))
    assert len(said_by(embed, sdata, "mean-intensity")) == 1
    elements = ["image_s"] if embed is sfm.tl.embed_tiles else ["cells_s", "image_s"]
    assert sorted(folder.split("/")[-2] for folder in walked) == elements
