"""Cells that the tests simulate once are those that are simulated anew, and nobody changes those of another test."""

from __future__ import annotations

import numpy as np
import pandas as pd
from simulated import AT_MOST, once, plain

import spatialfm as sfm


def test_a_copy_is_what_is_simulated_anew_whatever_was_done_to_another():
    arguments = {"n_patients": 3, "cells_per_patient": 20, "random_state": 5}
    first = sfm.datasets.simulate_cells(**arguments)
    first.X[:] = 0
    first.obs["type"] = "changed"
    first.obsm["X_latent"][:] = 0
    first.uns["more"] = 1
    for part in first.uns.values():
        if isinstance(part, dict):
            part.clear()
    copy, anew = sfm.datasets.simulate_cells(**arguments), sfm.datasets.simulate_cells.anew(**arguments)
    np.testing.assert_array_equal(copy.X, anew.X)
    pd.testing.assert_frame_equal(copy.obs, anew.obs)
    pd.testing.assert_frame_equal(copy.var, anew.var)
    assert list(copy.obsm) == list(anew.obsm)
    for key in anew.obsm:
        np.testing.assert_array_equal(copy.obsm[key], anew.obsm[key])
    assert str(copy.uns) == str(anew.uns)


def test_what_repr_does_not_tell_is_computed_each_time_and_few_results_are_kept():
    calls = []
    counted = once(lambda *args, **kwargs: calls.append((args, kwargs)) or len(calls), lambda result: result)
    assert [counted(1), counted(1), counted(1.0), counted(True), counted("1"), counted(a=1)] == [1, 1, 2, 3, 4, 5]
    array = np.zeros(3)
    assert [counted(array), counted(array)] == [6, 7]
    for number in range(AT_MOST):
        counted(-number)
    n_calls = len(calls)
    counted(1)  # was kept, and made room for others
    assert len(calls) == n_calls + 1
    assert plain({"a": (1, [None, "b"])})
    assert not plain({"a": np.float64(1)})
