"""Embeddings that are larger than memory: the same numbers as in one piece, and never more than a chunk at once."""

from __future__ import annotations

import errno
import os
import platform
import resource
import shutil
import subprocess
import sys
import tracemalloc

import anndata as ad
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import zarr
from sklearn.decomposition import PCA

from spatialfm._errors import ModelError, RunError
from spatialfm.embed.result import finish as results
from spatialfm.embed.result import reduce
from spatialfm.embed.result.finish import column_statistics, finish_rows
from spatialfm.embed.result.rows import SharedRows, WindowRows
from spatialfm.embed.run.store import BlockStore


class Watched:
    """Rows in memory that remember how much was asked for at once, and how often each row."""

    def __init__(self, values):
        self.values, self.largest, self.asked = values, 0, np.zeros(len(values), int)
        self.shape = values.shape

    def read(self, start, stop):
        self.largest = max(self.largest, stop - start)
        self.asked[start:stop] += 1
        return self.values[start:stop]


@pytest.fixture
def low_rank():
    """3,000 rows of 40 columns: five strong directions, noise, and columns that are far from zero."""
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.normal(size=(40, 5)))[0] * [9, 7, 5, 4, 3]
    return (rng.normal(size=(3000, 5)) @ directions.T + 0.3 * rng.normal(size=(3000, 40)) + 20).astype(np.float32)


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(results, "CHUNK_BYTES", 4 * 40 * 128)
    monkeypatch.setattr(reduce, "UPDATE_ROWS", 200)


OPTIONS = {"standardize": False, "n_components": None, "basis": None, "dtype": "float32", "in_memory": 2**30}


def test_rows_on_disk_are_those_in_memory(low_rank, small_chunks, tmp_path):
    rows = Watched(low_rank)
    lazy = finish_rows(rows, folder=tmp_path / "a", **OPTIONS | {"in_memory": 1000}).values
    assert isinstance(lazy, da.Array)
    assert rows.largest == 128
    assert (rows.asked == 1).all()
    np.testing.assert_array_equal(lazy.compute(), low_rank)
    np.testing.assert_array_equal(finish_rows(Watched(low_rank), folder=tmp_path / "b", **OPTIONS).values, low_rank)
    again = Watched(low_rank)
    finish_rows(again, folder=tmp_path / "a", **OPTIONS | {"in_memory": 1000})
    assert not again.asked.any()  # what is there already is used ...
    half = finish_rows(again, folder=tmp_path / "a", **OPTIONS | {"in_memory": 1000, "dtype": "float16"}).values
    assert half.dtype == np.float16  # ... unless something else is wanted
    np.testing.assert_allclose(half.compute(), low_rank, rtol=1e-3)


def test_standardised_and_reduced_as_in_one_piece(low_rank, small_chunks, tmp_path):
    mean, std = column_statistics(Watched(low_rank))
    np.testing.assert_allclose(mean, low_rank.mean(0, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(std, low_rank.std(0, dtype=np.float64), rtol=1e-10)
    scaled = (low_rank - mean) / std
    expected = PCA(5).fit(scaled)
    for in_memory, method, tolerance in ((2**30, "exact", 1e-3), (1000, "incremental", 0.05)):
        rows = Watched(low_rank)
        options = {"standardize": True, "n_components": 5, "in_memory": in_memory}
        result = finish_rows(rows, folder=tmp_path / method, **OPTIONS | options)
        assert result.notes["pca_method"] == method
        assert result.notes["n_components"] == 5
        assert result.notes["n_columns"] == 40
        if method == "incremental":
            assert rows.largest <= 400
            assert isinstance(result.values, da.Array)
        # angles between the two subspaces
        cosines = np.linalg.svd(result.basis["components"] @ expected.components_.T)[1]
        assert np.arccos(np.clip(cosines.min(), -1, 1)) < tolerance
        np.testing.assert_allclose(result.basis["explained"], expected.explained_variance_ratio_, rtol=0.01)
        by_hand = (scaled - result.basis["mean"]) @ result.basis["components"].T
        np.testing.assert_allclose(np.asarray(result.values), by_hand, atol=1e-3)
        largest = np.abs(result.basis["components"]).argmax(axis=1)
        assert (result.basis["components"][np.arange(5), largest] > 0).all()
    again = finish_rows(
        Watched(low_rank), folder=tmp_path / "again", **OPTIONS | {"standardize": True, "basis": result.basis}
    )
    np.testing.assert_array_equal(again.values, np.asarray(result.values))
    assert again.notes["reduced"] == "pca, given"


def test_what_does_not_fit_is_refused(low_rank, tmp_path):
    rows = Watched(low_rank)
    for options, message in [
        ({"n_components": 41}, "n_components=41 of an embedding of 3,000 rows x 40 columns"),
        ({"basis": {"mean": np.zeros(3), "components": np.zeros((2, 3))}}, "made for 3 columns"),
    ]:
        with pytest.raises(ModelError, match=message):
            finish_rows(rows, folder=tmp_path, **OPTIONS | options)
    assert not rows.asked.any()
    with pytest.raises(RunError, match=r"beyond the range of float16.*dtype='float32'"):
        finish_rows(Watched(low_rank * 1e4), folder=tmp_path, **OPTIONS | {"dtype": "float16"})
    assert not list(tmp_path.iterdir())


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def turned(seed):
    """A basis of five random directions."""
    directions = np.linalg.qr(np.random.default_rng(seed).normal(size=(40, 5)))[0].T
    return {"mean": np.zeros(40, np.float32), "components": directions.astype(np.float32)}


LAZY = OPTIONS | {"in_memory": 1000}


def test_another_call_of_the_same_run_changes_nothing_that_a_table_holds(low_rank, tmp_path):
    calls = [LAZY | {"basis": turned(1)}, LAZY | {"basis": turned(2)}, LAZY | {"basis": turned(1), "dtype": "float16"}]
    lazy = [finish_rows(Watched(low_rank), folder=tmp_path, **call).values for call in calls]
    for values, call in zip(lazy, calls, strict=True):
        expected = (low_rank @ call["basis"]["components"].T).astype(call["dtype"])
        np.testing.assert_allclose(values.compute(), expected, rtol=1e-3, atol=1e-2)
    again = Watched(low_rank)
    np.testing.assert_array_equal(finish_rows(again, folder=tmp_path, **calls[0]).values, lazy[0])
    assert not again.asked.any()


def test_rows_whose_files_are_gone_are_an_error_and_made_again(low_rank, small_chunks, tmp_path):
    lazy = finish_rows(Watched(low_rank), folder=tmp_path, **LAZY).values
    chunk = next(path for path in files(tmp_path) if path.parts[-3:] == ("c", "2", "0"))
    chunk.unlink()
    np.testing.assert_array_equal(lazy[:256], low_rank[:256])
    with pytest.raises(RunError, match=r"Rows of the embedding are gone from .*Repeat the call"):
        lazy.compute()
    again = Watched(low_rank)
    np.testing.assert_array_equal(finish_rows(again, folder=tmp_path, **LAZY).values, low_rank)
    assert (again.asked == 1).all()
    shutil.rmtree(tmp_path)
    with pytest.raises(RunError, match="are gone from"):
        lazy.compute()


def test_what_is_on_disk_is_read_where_it_fits_and_used_only_for_the_same_rows(low_rank, tmp_path):
    finish_rows(Watched(low_rank), folder=tmp_path, **LAZY)
    again = Watched(low_rank)
    values = finish_rows(again, folder=tmp_path, **OPTIONS).values
    assert isinstance(values, np.ndarray)
    np.testing.assert_array_equal(values, low_rank)
    assert not again.asked.any()
    fewer = finish_rows(Watched(low_rank[:500]), folder=tmp_path, **LAZY)
    np.testing.assert_array_equal(fewer.values, low_rank[:500])
    scaled = finish_rows(Watched(low_rank[:500]), folder=tmp_path, **LAZY | {"standardize": True})
    np.testing.assert_allclose(scaled.values.std(axis=0), 1, rtol=1e-4)


def test_what_is_found_again_is_all_that_was_made(low_rank, small_chunks, tmp_path):
    call = LAZY | {"standardize": True, "n_components": 3}
    made = finish_rows(Watched(low_rank), folder=tmp_path, **call)
    found = finish_rows(Watched(low_rank), folder=tmp_path, **call)
    assert list(found.notes) == list(made.notes)
    for name, value in made.notes.items():
        np.testing.assert_array_equal(found.notes[name], value)
    for name, part in made.basis.items():
        np.testing.assert_array_equal(found.basis[name], part)
    np.testing.assert_array_equal(found.values, made.values)


def test_files_hold_a_chunk_also_where_few_columns_are_left(low_rank, small_chunks, tmp_path):
    for basis, rows_a_file in ((None, 128), (turned(1), 1024)):
        folder = tmp_path / str(rows_a_file)
        whole = finish_rows(Watched(low_rank), folder=tmp_path, **OPTIONS | {"basis": basis}).values
        lazy = finish_rows(Watched(low_rank), folder=folder, **LAZY | {"basis": basis}).values
        assert lazy.chunksize == (rows_a_file, whole.shape[1])
        np.testing.assert_array_equal(lazy, whole)  # the bits, wherever it lies
        array = zarr.open_array(str(next(folder.glob("*/rows.zarr"))), mode="r")
        assert array.metadata.zarr_format == 3


class Made:
    """Rows that exist only while they are read: uniform noise of two directions."""

    def __init__(self, n, columns):
        self.shape = (n, columns)
        self.directions = np.random.default_rng(0).normal(size=(2, columns)).astype(np.float32)

    def read(self, start, stop):
        rng = np.random.default_rng(start)
        return rng.random((stop - start, 2), np.float32) @ self.directions


@pytest.mark.parametrize("options", [{"standardize": True}, {"standardize": True, "n_components": 20}])
def test_memory_does_not_grow_with_the_rows(options, monkeypatch, tmp_path):
    monkeypatch.setattr(results, "CHUNK_BYTES", 2**20)
    monkeypatch.setattr(reduce, "UPDATE_ROWS", 1024)
    finish_rows(Made(2000, 256), folder=tmp_path / "imports", **LAZY | options)
    peaks = []
    for n in (10_000, 60_000):
        tracemalloc.start()
        result = finish_rows(Made(n, 256), folder=tmp_path / str(n), **LAZY | options)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert result.values.shape[0] == n
    assert peaks[1] < 60_000 * 256 * 4 / 4  # 61 MB in one piece
    assert peaks[1] < 1.25 * peaks[0]


def test_a_full_disk_leaves_nothing_half_written(low_rank, small_chunks, tmp_path, monkeypatch):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # what the system refuses to write, in the first chunk
    try:
        with pytest.raises(RunError, match=r"Cannot write the embedding.*File too large.*make room.*cache_dir"):
            finish_rows(Watched(low_rank), folder=tmp_path / "rows", **LAZY)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not files(tmp_path)

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(RunError, match=r"No space left.*make room.*cache_dir"):
            finish_rows(Watched(low_rank), folder=tmp_path / "rows", **LAZY)
    assert not files(tmp_path)
    np.testing.assert_array_equal(finish_rows(Watched(low_rank), folder=tmp_path / "rows", **LAZY).values, low_rank)


def test_a_folder_that_cannot_be_is_an_error(low_rank, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"Cannot write the embedding to .*file.*cache_dir"):
        finish_rows(Watched(low_rank), folder=tmp_path / "file" / "rows", **LAZY)


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from spatialfm.embed.result import finish as results

class Rows:
    shape = (3000, 40)
    def read(self, start, stop):
        if start >= 5 * 128:
            os.kill(os.getpid(), signal.SIGKILL)
        return np.ones((stop - start, 40), np.float32)

results.CHUNK_BYTES = 4 * 40 * 128
results.finish_rows(Rows(), folder=Path(sys.argv[1]), standardize=False, n_components=None, basis=None, dtype="float32",
                    in_memory=1000)
"""


def test_a_killed_process_leaves_no_result_and_the_next_clears_up(low_rank, tmp_path):
    assert subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False).returncode == -9
    (left,) = tmp_path.iterdir()
    assert left.name.endswith(".partial")
    assert files(left)
    ours = tmp_path / f".{platform.node()}-{os.getpid()}-0.partial"  # somebody who still writes
    elsewhere = tmp_path / f".elsewhere-{left.name.rsplit('-', 2)[1]}-0.partial"
    ours.mkdir()
    elsewhere.mkdir()
    np.testing.assert_array_equal(finish_rows(Watched(low_rank), folder=tmp_path, **LAZY).values, low_rank)
    assert not left.exists()
    assert ours.exists()
    assert elsewhere.exists()


def test_two_processes_that_finish_the_same_do_not_harm_each_other(low_rank, tmp_path, monkeypatch):
    first, bring = [], results._bring_to_disk

    def other_comes_first(folder):
        if not first:
            first.append(None)
            first.append(finish_rows(Watched(low_rank), folder=tmp_path, **LAZY).values)
            first.append({path: path.stat().st_ino for path in files(tmp_path) if ".partial" not in str(path)})
        bring(folder)

    monkeypatch.setattr(results, "_bring_to_disk", other_comes_first)
    second = finish_rows(Watched(low_rank), folder=tmp_path, **LAZY).values
    np.testing.assert_array_equal(first[1], low_rank)
    np.testing.assert_array_equal(second, low_rank)
    assert {path: path.stat().st_ino for path in files(tmp_path)} == first[2]  # no file was put in the place of another


def test_a_table_with_rows_on_disk_is_written_and_read(low_rank, tmp_path):
    lazy = finish_rows(Watched(low_rank), folder=tmp_path / "rows", **OPTIONS | {"in_memory": 1000}).values
    obs = pd.DataFrame(index=[f"c{number}" for number in range(len(low_rank))])
    table = ad.AnnData(obs=obs, obsm={"X_model": lazy})
    some = table[10:20].obsm["X_model"]
    np.testing.assert_array_equal(np.asarray(some), low_rank[10:20])
    for name in ("table.h5ad", "table.zarr"):
        getattr(table, f"write_{name.split('.')[1]}")(tmp_path / name)
        read = {"h5ad": ad.read_h5ad, "zarr": ad.read_zarr}[name.split(".")[1]](tmp_path / name)
        np.testing.assert_array_equal(read.obsm["X_model"], low_rank)


def test_a_spatialdata_with_rows_on_disk_is_written_and_read(low_rank, make_sdata, blobs, tmp_path):
    import spatialdata as sd

    import spatialfm as sfm

    image, labels = blobs(0, n_channels=2)
    sdata = make_sdata({"a": (image, labels)}, ["DAPI", "CD3"])
    sfm.pp.cell_table(sdata)
    n = sdata["table"].n_obs
    lazy = finish_rows(Watched(low_rank[:n]), folder=tmp_path / "rows", **LAZY | {"in_memory": 16}).values
    sdata["table"].obsm["X_model"] = lazy
    sdata.write(tmp_path / "cohort.zarr")
    assert isinstance(sdata["table"].obsm["X_model"], da.Array)
    shutil.rmtree(tmp_path / "rows")
    np.testing.assert_array_equal(sd.read_zarr(tmp_path / "cohort.zarr")["table"].obsm["X_model"], low_rank[:n])


def test_neighbours_of_rows_on_disk_are_those_of_rows_in_memory(low_rank, tmp_path):
    import scanpy as sc

    lazy = finish_rows(Watched(low_rank[:60]), folder=tmp_path, **LAZY).values
    obs = pd.DataFrame(index=[f"c{number}" for number in range(60)])
    tables = [ad.AnnData(obs=obs.copy(), obsm={"X_model": values}) for values in (lazy, low_rank[:60])]
    for table in tables:
        sc.pp.neighbors(table, use_rep="X_model", n_neighbors=5, method="gauss")  # "umap" compiles for 20 s
    np.testing.assert_allclose(tables[0].obsp["distances"].toarray(), tables[1].obsp["distances"].toarray(), rtol=1e-5)


def test_rows_are_gathered_from_the_blocks_that_hold_them(tmp_path):
    rng = np.random.default_rng(0)
    values, order = rng.random((30, 4)).astype(np.float32), rng.permutation(30)
    members = [np.sort(part) for part in np.array_split(order, 5)]
    store = BlockStore(tmp_path, "windows")
    for number, part in enumerate(members):
        store.write(number, marker=values[part])
    rows = WindowRows(store, members, "marker")
    assert rows.shape == (30, 4)
    np.testing.assert_array_equal(rows.read(7, 22), values[7:22])
    np.testing.assert_array_equal(rows.read(0, 30), values)


def test_shared_rows_are_sums_over_blocks_by_pixels(tmp_path):
    rng = np.random.default_rng(1)
    store, sums, pixels = BlockStore(tmp_path, "tiles"), np.zeros((20, 3)), np.zeros(20)
    for number in range(4):
        cells = np.sort(rng.choice(19, 12, replace=False))  # cell 19 is in none
        part, counted = rng.random((12, 3)).astype(np.float32), rng.integers(1, 9, 12).astype(float)
        store.write(number, cells=cells, patch=part, pixels=counted)
        sums[cells] += part
        pixels[cells] += counted
    seen = pixels > 0
    rows = SharedRows(store, [np.arange(20)] * 4, 20, "patch", {19: np.array([1, 2, 3], np.float32)})
    expected = np.where(seen[:, None], sums / np.maximum(pixels, 1)[:, None], 0)
    expected[19] = [1, 2, 3]
    np.testing.assert_allclose(rows.read(0, 20), expected, rtol=1e-6)
    np.testing.assert_allclose(rows.read(13, 20), expected[13:], rtol=1e-6)
