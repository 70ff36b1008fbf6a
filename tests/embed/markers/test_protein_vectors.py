"""Vectors of proteins in files, of every kind that may be read and none that may not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spatialfm._errors import WeightsError
from spatialfm.embed.markers.protein_vectors import read_vector

VALUES = np.arange(4.0)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int64])
@pytest.mark.parametrize("shape", [(4,), (1, 4)])
def test_vectors_of_numpy_and_torch(tmp_path, dtype, shape):
    np.save(tmp_path / "a.npy", VALUES.reshape(shape).astype(dtype))
    torch.save(torch.tensor(VALUES.reshape(shape).astype(dtype)), tmp_path / "a.pt")
    for name in ("a.npy", "a.pt"):
        found = read_vector(tmp_path / name, 4)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, VALUES)


def test_half_precision_and_gradients(tmp_path):
    torch.save(torch.tensor(VALUES, dtype=torch.bfloat16), tmp_path / "a.pt")
    np.testing.assert_array_equal(read_vector(tmp_path / "a.pt", 4), VALUES)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros(5), r"has shape \(5,\); the model takes \(4,\)"),
        (np.array([0, np.nan, np.inf, 1]), "is not finite in 2 of 4 places"),
        (np.array(["a"] * 4), "is not a vector of numbers"),
        (np.full(4, 1e300), "is not finite in 4 of 4 places"),
    ],
)
def test_what_is_no_vector(tmp_path, value, message):
    np.save(tmp_path / "a.npy", value)
    with pytest.raises(WeightsError, match=message):
        read_vector(tmp_path / "a.npy", 4)


def test_objects_are_not_run_and_damage_is_named(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(WeightsError, match="would run code to be read, and was not"):
        read_vector(tmp_path / "a.npy", 4)
    np.save(tmp_path / "b.npy", VALUES)
    (tmp_path / "b.npy").write_bytes((tmp_path / "b.npy").read_bytes()[:-5])
    with pytest.raises(WeightsError, match="is truncated or no embedding"):
        read_vector(tmp_path / "b.npy", 4)
