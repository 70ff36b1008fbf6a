"""The record of an embedding, read."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

from spatialfm._errors import ElementError
from spatialfm._record import first_difference, record


@pytest.fixture
def table():
    adata = ad.AnnData(np.zeros((2, 1)), obsm={"X_a": np.zeros((2, 3)), "X_b": np.zeros((2, 3))})
    adata.uns["spatialfm"] = {
        "X_a": {"model": "kronos", "recipe": '{"mode": "crop", "sizes": [1, 2]}', "seconds": 1.5, "title": "a [b]"},
        "X_gone": {"model": "kronos"},
        "X_b": "edited",
    }
    return adata


def test_json_is_read_and_other_text_stays(table):
    expected = {"model": "kronos", "recipe": {"mode": "crop", "sizes": [1, 2]}, "seconds": 1.5, "title": "a [b]"}
    assert record(table, "X_a") == expected
    assert isinstance(table.uns["spatialfm"]["X_a"]["recipe"], str)


@pytest.mark.parametrize("key", ["X_b", "X_c"])
def test_only_embeddings_that_are_there_are_offered(table, key):
    with pytest.raises(ElementError, match=f"No record of '{key}'; embeddings with a record: 'X_a'\\."):
        record(table, key)


def test_text_that_was_changed_is_refused(table):
    table.uns["spatialfm"]["X_a"]["recipe"] = '{"mode": '
    with pytest.raises(ElementError, match="holds text that is not JSON"):
        record(table, "X_a")


def test_a_table_without_records(table):
    table.uns["spatialfm"] = "nothing"
    with pytest.raises(ElementError, match="No record of 'X_a'"):
        record(table, "X_a")


def test_the_first_thing_that_differs_is_told_with_both_sides():
    one = {"model": "a", "mode": "crop", "window": "8"}
    assert first_difference(one, dict(reversed(one.items()))) is None
    assert first_difference(one, one | {"window": "9", "mode": "tile"}) == ("mode", "crop", "tile")
    assert first_difference(one, {"model": "a", "mode": "crop"}) == ("window", "8", None)
    assert first_difference({"model": "a"}, {"model": "a", "basis": "b"}) == ("basis", None, "b")
