"""The record of finished stages: what a file is known by, and what makes a stage due again."""

from __future__ import annotations

import os

import pytest

from spatialfm._errors import SpatialfmError
from spatialfm.cli._state import Record, State, changed_settings, is_same, stamp_of, version


def record(state, name="one", *, settings=None, inputs=(), outputs=(), after=None):
    return Record(
        settings=settings or {},
        inputs={str(path): stamp_of(path) for path in inputs},
        outputs={name: stamp_of(state.out / name) for name in outputs},
        after=after or {},
        version=version(),
    )


def test_a_file_is_known_by_its_content_not_by_its_time(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    stamp = stamp_of(path)
    assert is_same(path, stamp)
    os.utime(path, (0, 0))
    assert is_same(path, stamp)
    path.write_bytes(b"12346")
    assert not is_same(path, stamp)
    path.unlink()
    assert not is_same(path, stamp)
    assert is_same(path, stamp_of(path))  # it was not there, and is not


def test_a_folder_is_known_by_all_its_files(tmp_path):
    (tmp_path / "f" / "sub").mkdir(parents=True)
    (tmp_path / "f" / "sub" / "a").write_bytes(b"1")
    stamp = stamp_of(tmp_path / "f")
    assert is_same(tmp_path / "f", stamp)
    (tmp_path / "f" / "b").write_bytes(b"")
    assert not is_same(tmp_path / "f", stamp)
    (tmp_path / "f" / "b").unlink()
    (tmp_path / "f" / "sub" / "a").write_bytes(b"2")
    assert not is_same(tmp_path / "f", stamp)


def test_a_store_is_known_by_the_file_that_lists_its_elements(tmp_path):
    store = tmp_path / "x.zarr"
    store.mkdir()
    (store / "zarr.json").write_text("{}")
    stamp = stamp_of(store)
    (store / "chunk").write_bytes(b"1")
    assert is_same(store, stamp)
    (store / "zarr.json").write_text('{"more": 1}')
    assert not is_same(store, stamp)


def test_why_a_stage_is_due(tmp_path):
    source, state = tmp_path / "in.csv", State(tmp_path)
    source.write_text("a")
    (tmp_path / "out").write_text("b")
    assert state.why("one", {}, ()) == "not done yet"
    state.records["one"] = record(state, settings={"n": 1}, inputs=[source], outputs=["out"])
    state.write()
    state = State(tmp_path)  # through the file
    assert state.why("one", {"n": 1}, ()) is None
    assert state.why("one", {"n": 2}, ()) == "n is 2, was 1"
    source.write_text("c")
    assert state.why("one", {"n": 1}, ()) == f"'{source}' changed"
    source.write_text("a")
    (tmp_path / "out").unlink()
    assert state.why("one", {"n": 1}, ()) == "'out' is not there any more"


def test_a_stage_depends_on_the_identity_of_those_before_it(tmp_path):
    state = State(tmp_path)
    state.records["one"] = record(state, settings={"n": 1})
    state.records["two"] = record(state, after={"one": state.records["one"].identity})
    assert state.why("two", {}, ["one"]) is None
    state.records["one"].seconds = 99.0  # for people: decides nothing
    assert state.why("two", {}, ["one"]) is None
    state.records["one"] = record(state, settings={"n": 2})
    assert state.why("two", {}, ["one"]) == "stage 'one' was done again"


def test_results_changed_by_hand_are_refused_until_they_are_accepted(tmp_path):
    state = State(tmp_path)
    (tmp_path / "out").write_text("b")
    state.records["one"] = record(state, outputs=["out"])
    before = state.records["one"].identity
    state.check_untouched("one")
    (tmp_path / "out").write_text("mine")
    with pytest.raises(
        SpatialfmError, match=r"'out' .* changed after stage 'one' had written it.*--accept one.*--redo one"
    ):
        state.check_untouched("one")
    state.accept("one")
    state.check_untouched("one")
    assert state.records["one"].identity != before  # stages that build on it are due


def test_changed_settings_are_named():
    assert changed_settings({"a": 1, "b": None}, {"a": 1, "b": ["x"]}) == ['b is ["x"], was null']
    assert changed_settings({"a": 1}, {}) == ["a is null, was 1"]
