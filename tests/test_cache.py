"""What is kept between runs: read back as it was written, and made anew where anything differs."""

from __future__ import annotations

import numpy as np
import pytest

import spatialfm as sfm
from spatialfm._cache import keep_arrays, kept_arrays, remembered


@pytest.fixture
def arrays():
    return {"mean": np.arange(5.0), "count": np.array(7), "mask": np.eye(3, dtype=bool)}


def test_arrays_come_back_as_they_were(tmp_path, arrays):
    keep_arrays(tmp_path / "a.npz", "what", arrays)
    found = kept_arrays(tmp_path / "a.npz", "what")
    assert set(found) == set(arrays)
    for name, values in arrays.items():
        np.testing.assert_array_equal(found[name], values)
        assert found[name].dtype == values.dtype


def test_what_is_of_another_identity_or_changed_is_not_taken(tmp_path, arrays):
    path = tmp_path / "a.npz"
    keep_arrays(path, "what", arrays)
    assert kept_arrays(path, "other") is None
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert kept_arrays(path, "what") is None
    keep_arrays(path, "what", arrays)
    with np.load(path) as file:
        changed = dict(file)
    changed["mean"] = changed["mean"] + 1  # under the seal of the old values
    np.savez_compressed(path, **changed)
    assert kept_arrays(path, "what") is None
    assert kept_arrays(tmp_path / "absent.npz", "what") is None


def test_it_is_computed_once_for_each_identity():
    calls = []

    def compute(value):
        calls.append(value)
        return {"value": np.array(value)}

    for value in (1, 2, 1, 2):
        found = remembered("kind", {"image": value}, lambda value=value: compute(value))
        assert found["value"] == value
    assert calls == [1, 2]
    assert remembered("other kind", {"image": 1}, lambda: {"value": np.array(9)})["value"] == 9


def test_a_folder_that_cannot_be_written_does_no_harm(tmp_path, arrays, caplog):
    (tmp_path / "file").touch()
    keep_arrays(tmp_path / "file" / "a.npz", "what", arrays)
    assert "cannot be written" in caplog.text
    sfm.settings.cache_dir = tmp_path / "file"
    assert remembered("kind", {}, lambda: {"value": np.array(3)})["value"] == 3
