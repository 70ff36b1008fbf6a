"""A digest of all that decides a number: whatever differs, it differs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spatialfm import _identity
from spatialfm._identity import fingerprint

VALUES = [
    None, True, 1, 1.0, "1", "", [1], [1, 2], [[1], 2], {"a": 1}, {"a": 2}, {"b": 1}, {1: 1}, {"1": 1},
    np.zeros(3), np.zeros(3, np.float32), np.zeros((3, 1)), np.arange(3.0), torch.zeros(3), torch.ones(3),
    torch.zeros(3, dtype=torch.bfloat16), {1, 2},
]  # fmt: skip


def test_values_that_differ_have_digests_that_differ():
    found = [fingerprint({"x": value}) for value in VALUES]
    same = {(i, j) for i in range(len(VALUES)) for j in range(i) if found[i] == found[j]}
    assert not same


def test_one_pixel_of_many_counts_which_text_would_not_show():
    one, two = np.zeros((100, 100)), np.zeros((100, 100))
    two[50, 50] = 1e-12
    assert str(one) == str(two)
    assert fingerprint({"x": one}) != fingerprint({"x": two})


def test_order_of_names_and_layout_in_memory_do_not_count():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    values = np.arange(12.0).reshape(3, 4)
    assert fingerprint({"x": values}) == fingerprint({"x": np.asfortranarray(values)})
    assert fingerprint({"x": {2, 1}}) == fingerprint({"x": {1, 2}})


def test_another_version_of_the_recipe_is_another_digest(monkeypatch):
    before = fingerprint({"x": 1})
    monkeypatch.setattr(_identity, "RECIPE", _identity.RECIPE + 1)
    assert fingerprint({"x": 1}) != before


@pytest.mark.parametrize(("one", "two"), [({"ab": 1, "c": 2}, {"a": 1, "bc": 2}), ({"x": "a"}, {"x": ["a"]})])
def test_names_do_not_run_into_each_other(one, two):
    assert fingerprint(one) != fingerprint(two)
