"""Files that are kept between calls: statistics, results on disk, bases, holds. Damaged ones are made again."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from scipy import sparse

from spatialfm import _cache as cache
from spatialfm import _disk
from spatialfm._errors import ModelError, RunError
from spatialfm.embed.result import finish as results
from spatialfm.embed.result.finish import finish_rows
from spatialfm.embed.run.store import BlockStore


def arrays():
    return {"count": np.array(7), "mean": np.arange(3.0), "squares": np.arange(3.0) ** 2}


def folder_for_file(path):
    path.unlink()
    path.mkdir()


def npz(path, **kept):
    with path.open("wb") as file:
        np.savez(file, **kept)


FILES = {
    "emptied": lambda path, other: path.write_bytes(b""),
    "truncated": lambda path, other: path.write_bytes(path.read_bytes()[:-20]),
    "half": lambda path, other: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "of noise": lambda path, other: path.write_bytes(os.urandom(500)),
    "a zip of noise": lambda path, other: path.write_bytes(b"PK\x03\x04" + bytes(300)),
    "a pickle": lambda path, other: path.write_bytes(b"\x80\x04N."),
    "an array": lambda path, other: path.write_bytes(open_bytes(np.zeros(3))),
    "a folder": lambda path, other: folder_for_file(path),
    "a link to nowhere": lambda path, other: (path.unlink(), path.symlink_to("nowhere")),
    "of missing keys": lambda path, other: npz(path, count=np.array(7)),
    "without a seal": lambda path, other: npz(path, **arrays()),  # as earlier versions wrote it
    "of another shape": lambda path, other: npz(path, **{**load(path), "mean": np.arange(5.0)}),
    "of another type": lambda path, other: npz(path, **{**load(path), "mean": np.arange(3)}),
    "of NaN": lambda path, other: npz(path, **{**load(path), "mean": np.full(3, np.nan)}),
    "of another number": lambda path, other: npz(path, **{**load(path), "count": np.array(8)}),
    "of another image": lambda path, other: shutil.copy(other, path),
}


def open_bytes(array):
    import io

    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def load(path):
    with np.load(path) as file:
        return dict(file)


@pytest.mark.parametrize("fault", FILES)
def test_damaged_statistics_are_made_anew(tmp_path, fault):
    import spatialfm as sfm

    sfm.settings.cache_dir = tmp_path
    calls = []

    def compute(name):
        calls.append(name)
        return arrays() if name == "a" else {**arrays(), "mean": -np.arange(3.0)}

    for name in "ab":
        cache.remembered("moments", {"image": name}, lambda name=name: compute(name))
    path, other = sorted((tmp_path / "statistics").iterdir(), key=lambda path: load(path)["mean"].sum(), reverse=True)
    FILES[fault](path, other)
    for _ in range(2):
        found = cache.remembered("moments", {"image": "a"}, lambda: compute("a"))
        assert list(found) == list(arrays())
        for name, values in arrays().items():
            np.testing.assert_array_equal(found[name], values)
    assert calls == ["a", "b", "a"]  # once, and then it is there whole again
    assert all(path.is_file() for path in (tmp_path / "statistics").iterdir())


@pytest.mark.parametrize("fault", FILES)
def test_damaged_clusterings_are_made_anew(tmp_path, monkeypatch, fault):
    import spatialfm as sfm
    from spatialfm.learn import signature_clusters as _signature_clusters

    sfm.settings.cache_dir = tmp_path
    monkeypatch.setattr(_signature_clusters, "KEEP_FROM", 10)
    # a graph and clusters that take no time
    monkeypatch.setattr(_signature_clusters, "neighbour_graph", lambda values, *_: sparse.csr_matrix(values @ values.T))
    monkeypatch.setattr(
        _signature_clusters, "leiden", lambda graph, resolution, seed: graph.argmax(1).A1 % int(4 * resolution)
    )
    values = np.random.default_rng(0).normal(size=(60, 3))
    first = _signature_clusters.cluster_cells(values, [0.5, 1.0], 5, 0, 1)
    path, other = sorted(tmp_path.glob("clusterings/*/*"))
    FILES[fault](path, other)
    for _ in range(2):
        np.testing.assert_array_equal(_signature_clusters.cluster_cells(values, [0.5, 1.0], 5, 0, 1), first)
    assert path.is_file()


class Given:
    """Rows that count how often they are read."""

    def __init__(self, values):
        self.values, self.shape, self.n_read = values, values.shape, 0

    def read(self, start, stop):
        self.n_read += 1
        return self.values[start:stop]


@pytest.fixture
def rows(monkeypatch):
    monkeypatch.setattr(results, "CHUNK_BYTES", 4 * 6 * 100)
    return np.random.default_rng(0).normal(size=(1000, 6)).astype(np.float32)


CALL = {"standardize": False, "n_components": 3, "basis": None, "dtype": "float32", "in_memory": 100}


def rewrite(path, change):
    path.write_bytes(change(path.read_bytes()))


def note(folder, change):
    said = json.loads((folder / "result.json").read_bytes())
    change(said)
    (folder / "result.json").write_text(json.dumps(said))


def chunk(folder, number):
    return folder / "rows.zarr" / "c" / str(number) / "0"


def exchanged(folder):
    one, two = chunk(folder, 0), chunk(folder, 1)
    shutil.copy(one, folder / "between")
    shutil.copy(two, one)
    shutil.move(folder / "between", two)


SEEN = {  # by the next call
    "note emptied": lambda folder: (folder / "result.json").write_bytes(b""),
    "note truncated": lambda folder: rewrite(folder / "result.json", lambda content: content[:-30]),
    "note of noise": lambda folder: (folder / "result.json").write_bytes(b"\xff\x00\xfe"),
    "note a list": lambda folder: (folder / "result.json").write_text("[1]"),
    "note a folder": lambda folder: folder_for_file(folder / "result.json"),
    "note without call": lambda folder: note(folder, lambda said: said.pop("call")),
    "note without notes": lambda folder: note(folder, lambda said: said.pop("notes")),
    "note of odd notes": lambda folder: note(folder, lambda said: said.update(notes={"n_columns": "six"})),
    "note without checksums": lambda folder: note(folder, lambda said: said.pop("crc32")),
    "note of fewer checksums": lambda folder: note(folder, lambda said: said["crc32"].pop()),
    "note of an odd type": lambda folder: note(folder, lambda said: said.update(dtype="noise")),
    "note of another call": lambda folder: note(folder, lambda said: said.update(call="0" * 64)),
    "no note": lambda folder: (folder / "result.json").unlink(),
    "no basis": lambda folder: (folder / "basis.npz").unlink(),
    "basis emptied": lambda folder: (folder / "basis.npz").write_bytes(b""),
    "basis of noise": lambda folder: (folder / "basis.npz").write_bytes(os.urandom(99)),
    "chunk gone": lambda folder: chunk(folder, 1).unlink(),
    "chunk emptied": lambda folder: chunk(folder, 1).write_bytes(b""),
    "chunk truncated": lambda folder: rewrite(chunk(folder, 1), lambda content: content[:-3]),
    "rows gone": lambda folder: shutil.rmtree(folder / "rows.zarr"),
    "rows a file": lambda folder: (shutil.rmtree(folder / "rows.zarr"), (folder / "rows.zarr").touch()),
    "zarr.json emptied": lambda folder: (folder / "rows.zarr" / "zarr.json").write_bytes(b""),
    "all a file": lambda folder: (shutil.rmtree(folder), folder.touch()),
    "all an empty folder": lambda folder: (shutil.rmtree(folder), folder.mkdir()),
    "all a link to nowhere": lambda folder: (shutil.rmtree(folder), folder.symlink_to("nowhere")),
}
READ = {  # of the same size: found out when it is read, and then by the next call
    "a bit": lambda folder: rewrite(chunk(folder, 1), lambda content: content[:-1] + bytes([content[-1] ^ 1])),
    "noise": lambda folder: rewrite(chunk(folder, 1), lambda content: os.urandom(len(content))),
    "another chunk's rows": exchanged,
    "another type": lambda folder: rewrite(
        folder / "rows.zarr" / "zarr.json", lambda content: content.replace(b'"float32"', b'"int32"  ')
    ),
}


@pytest.mark.parametrize("fault", [*SEEN, *READ])
def test_damaged_results_are_made_anew(rows, tmp_path, fault):
    made = finish_rows(Given(rows), folder=tmp_path, **CALL)
    expected = made.values.compute()
    (folder,) = tmp_path.iterdir()
    {**SEEN, **READ}[fault](folder)
    if fault in READ:
        with pytest.raises(RunError, match=r"Rows of the embedding are damaged in .*Repeat the call that made it, sfm"):
            made.values.compute()
    given = Given(rows)
    again = finish_rows(given, folder=tmp_path, **CALL)
    np.testing.assert_array_equal(again.values.compute(), expected)
    np.testing.assert_array_equal(again.basis["components"], made.basis["components"])
    assert given.n_read
    third = Given(rows)
    np.testing.assert_array_equal(finish_rows(third, folder=tmp_path, **CALL).values, expected)
    assert not third.n_read
    assert len(list(tmp_path.iterdir())) == 1


def test_rows_that_were_deleted_say_which_call_makes_them(make_sdata, blobs):
    import spatialfm as sfm

    sfm.settings.result_memory = 16
    sdata = make_sdata({"a": blobs(0, n_channels=2, side=90)}, ["DAPI", "CD3"])
    sfm.tl.embed_cells(sdata, "mean-intensity")
    tiles = sfm.tl.embed_tiles(sdata, "mean-intensity", size=16, recipe={"tissue": "all"}, copy=True)
    first = sdata["table"].obsm["X_mean_intensity"].compute()
    shutil.rmtree(sfm.settings.cache_dir)
    with pytest.raises(RunError, match=r"gone from .*sfm\.tl\.embed_cells\(sdata, 'mean-intensity', \.\.\.\) with the"):
        sdata["table"].obsm["X_mean_intensity"].compute()
    with pytest.raises(RunError, match=r"sfm\.tl\.embed_tiles\(sdata, 'mean-intensity'"):
        tiles.obsm["X_mean_intensity"].compute()
    sfm.tl.embed_cells(sdata, "mean-intensity")
    np.testing.assert_array_equal(sdata["table"].obsm["X_mean_intensity"].compute(), first)


def basis(**changes):
    rng = np.random.default_rng(1)
    return {"mean": np.zeros(6, np.float32), "components": rng.normal(size=(2, 6)).astype(np.float32), **changes}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (basis(mean=np.array([0, 0, np.nan, 0, 0, 0])), r"'mean' of basis= is not finite in 1 of 6 places"),
        (basis(components=np.full((2, 6), np.nan)), r"'components' of basis= is not finite in 12"),
        (basis(components=np.full((2, 6), np.inf)), r"'components' of basis= is not finite in 12"),
        (basis(components=np.full((2, 6), 1e60)), r"'components' of basis= is not finite in 12"),  # in float32
        (basis(components=np.zeros(6)), r"'components' of basis= is an array of float64 and shape \(6,\)"),
        (basis(components=np.array([["a"] * 6])), r"'components' of basis= is an array of <U1"),
        (basis(mean=np.zeros(5)), r"made for 5 columns, and this embedding has 6"),
        (basis(components=np.zeros((2, 5))), r"made for 5 columns"),
        ({"components": np.zeros((2, 6))}, r"basis= has no 'mean'"),
        ({"mean": np.zeros(6)}, r"basis= has no 'components'"),
    ],
)
def test_a_basis_that_is_none_is_refused(rows, tmp_path, wrong, message):
    given = Given(rows)
    with pytest.raises(ModelError, match=message):
        finish_rows(given, folder=tmp_path, **CALL | {"n_components": None, "basis": wrong})
    assert not given.n_read
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("in_memory", [100, 2**30])
def test_no_result_holds_nan(rows, tmp_path, in_memory):
    huge = basis(components=np.full((2, 6), 3e38, np.float32))  # finite, and products are not
    options = CALL | {"n_components": None, "in_memory": in_memory}
    with pytest.raises(RunError, match=r"Column \d of the embedding is (inf|-inf|nan) after the last steps"):
        finish_rows(Given(np.abs(rows) * 100), folder=tmp_path, **options | {"basis": huge})
    rows[500, 3] = np.nan
    with pytest.raises(RunError, match=r"Column 3 of the embedding is nan"):
        finish_rows(Given(rows), folder=tmp_path, **options)
    assert not list(tmp_path.iterdir())


# holds


def test_files_of_an_earlier_version_are_told_once(tmp_path, caplog):
    for i in range(3):
        npz(tmp_path / f"{i}.npz", **arrays())
        assert cache.kept_arrays(tmp_path / f"{i}.npz", "what") is None
    (said,) = [record.message for record in caplog.records if "npz" in record.message or "version" in record.message]
    assert said == f"{tmp_path} has files of an earlier version, which are made again, once"


def a_dead_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def hold(folder, **changes):
    """What another process would have left next to a folder."""
    one = _disk.Hold(folder)
    one.take()
    said = {**json.loads(one.path.read_bytes()), **changes}
    one.path.write_text(json.dumps(said))
    return one.path


def test_a_hold_says_who_since_when(tmp_path):
    _disk.Hold(tmp_path / "run").take()
    (holder,) = _disk.holders(tmp_path / "run")
    assert (holder.host, holder.pid) == (platform.node(), os.getpid())
    assert abs(time.mktime(time.strptime(holder.since, "%Y-%m-%d %H:%M:%S")) - time.time()) < 60
    assert str(holder) == f"process {os.getpid()} on {platform.node()}, since {holder.since}"


@pytest.mark.parametrize(
    "left",
    [
        lambda folder: hold(folder, pid=a_dead_process()),
        lambda folder: hold(folder, started="another boot 1"),  # the number was given to another process since
        lambda folder: hold(folder).write_bytes(b""),
        lambda folder: hold(folder).write_text("[]"),
        lambda folder: hold(folder).write_bytes(b"\xff\xfe"),
        lambda folder: hold(folder, pid="many"),
        lambda folder: hold(folder, pid=2**40),
    ],
)
def test_holds_of_the_dead_are_cleared(tmp_path, left):
    left(tmp_path / "abc")
    with BlockStore(tmp_path, "abc") as store:
        assert not store.others()
        store.write(0, rows=np.zeros((2, 2)))
        store.remove()
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="zombies are told apart on Linux")
def test_a_process_that_was_killed_and_not_waited_for_is_dead(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        path = hold(tmp_path / "abc", pid=process.pid, started="")
        assert [holder.pid for holder in _disk.holders(tmp_path / "abc")] == [process.pid]
        process.kill()
        while _disk.runs(process.pid):
            time.sleep(0.01)
        assert not _disk.holders(tmp_path / "abc")
        assert not path.exists()
    finally:
        process.kill()
        process.wait()


def test_a_hold_of_another_machine_is_named(tmp_path, caplog):
    path = hold(tmp_path / "abc", host="elsewhere", pid=12, started="")
    with BlockStore(tmp_path, "abc") as store:
        store.write(0, rows=np.zeros((2, 2)))
        assert [str(holder)[:25] for holder in store.others()] == ["process 12 on elsewhere, s"[:25]]
        store.remove()
    assert store.has(0)  # it may be reading them
    assert "left to process 12 on elsewhere, since " in caplog.text
    assert "If that process has ended, delete the folder" in caplog.text
    caplog.clear()
    with BlockStore(tmp_path, "abc", resume=False) as anew:
        assert not anew.has(0)
        assert anew.path != store.path
        anew.write(0, rows=np.ones((2, 2)))
        anew.remove()
    assert f"delete {path}" in caplog.text
    assert store.has(0)
    path.unlink()
    with BlockStore(tmp_path, "abc") as store:
        store.remove()
    assert not list(tmp_path.iterdir())


def test_a_folder_of_its_own_that_was_left_is_cleared(tmp_path):
    path = hold(tmp_path / "abc", host="elsewhere")
    anew = BlockStore(tmp_path, "abc", resume=False)
    anew.write(0, rows=np.ones((2, 2)))
    anew.hold.release()  # as if killed, and its hold cleared
    path.unlink()
    with BlockStore(tmp_path, "abc") as store:
        assert not anew.path.exists()
        store.remove()
    assert not list(tmp_path.iterdir())
