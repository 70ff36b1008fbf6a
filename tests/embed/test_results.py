"""Embeddings that are larger than memory: the same numbers as in one piece, and never more than a chunk at once."""

from __future__ import annotations

import errno
import os

import anndata as ad
import dask.array as da
import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA

from spatialfm._errors import ModelError, RunError
from spatialfm.embed import reduce, results
from spatialfm.embed.results import column_statistics, finish_rows
from spatialfm.embed.rows import SharedRows, WindowRows
from spatialfm.embed.store import BlockStore


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
        ({"n_components": 41}, "n_components=41 of an embedding of 3000 cells x 40 columns"),
        ({"basis": {"mean": np.zeros(3), "components": np.zeros((2, 3))}}, "made for 3 columns"),
    ]:
        with pytest.raises(ModelError, match=message):
            finish_rows(rows, folder=tmp_path, **OPTIONS | options)
    assert not rows.asked.any()
    with pytest.raises(RunError, match=r"beyond the range of float16.*dtype='float32'"):
        finish_rows(Watched(low_rank * 1e4), folder=tmp_path, **OPTIONS | {"dtype": "float16"})
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_nothing_half_written(low_rank, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(RunError, match=r"No space left.*make room.*cache_dir"):
        finish_rows(Watched(low_rank), folder=tmp_path / "rows", **OPTIONS | {"in_memory": 1000})
    assert not list(tmp_path.iterdir())


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
    rows = SharedRows(store, 4, 20, "patch", {19: np.array([1, 2, 3], np.float32)})
    expected = np.where(seen[:, None], sums / np.maximum(pixels, 1)[:, None], 0)
    expected[19] = [1, 2, 3]
    np.testing.assert_allclose(rows.read(0, 20), expected, rtol=1e-6)
    np.testing.assert_allclose(rows.read(13, 20), expected[13:], rtol=1e-6)
