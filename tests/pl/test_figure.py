"""Colours that stay with their names, and what a plot returns."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from matplotlib.colors import to_hex

from spatialfm._errors import TableError
from spatialfm.pl._figure import category_colors, color_cycle, finish, new_axes, places_in, stored_colors


def test_each_name_has_its_own_stored_colour_whatever_is_drawn():
    adata = AnnData(obs=pd.DataFrame({"type": pd.Categorical(["a", "b", "c"])}, index=list("123")))
    adata.uns["type_colors"] = ["#ff0000", "#00ff00", "#0000ff"]
    assert stored_colors(adata, "type", ["c", "a"]) == ["#0000ff", "#ff0000"]
    assert stored_colors(adata, "type", ["a", "x"]) is None
    adata.uns["type_colors"] = ["#ff0000"]
    assert stored_colors(adata, "type", ["a"]) is None
    assert stored_colors(adata, "other", ["a"]) is None


def test_a_palette_goes_before_stored_colours_and_these_before_ours():
    names = ["a", "b"]
    assert category_colors(names, {"b": "red", "a": "blue", "c": "k"}) == [to_hex("blue"), to_hex("red")]
    assert category_colors(names, ["red", "blue", "green"], ["k", "k"]) == [to_hex("red"), to_hex("blue")]
    assert category_colors(names, None, ["#010203", "#040506"]) == ["#010203", "#040506"]
    assert category_colors(names, None, ["#010203"]) == [to_hex(one) for one in color_cycle(2)]
    for wrong, message in (
        ({"a": "red"}, "no colour for 'b'"),
        (["red"], "1 colours for 2"),
        (["red", "nope"], "'nope'"),
    ):
        with pytest.raises(TableError, match=message):
            category_colors(names, wrong)


@pytest.mark.parametrize("n", [3, 15, 40])
def test_colours_are_all_different(n):
    assert len(set(color_cycle(n))) == n


def test_what_is_returned(tmp_path):
    ax = new_axes(None, (2, 2))
    assert new_axes(ax, (5, 5)) is ax
    assert finish(ax, own=True, show=None, save=None, return_fig=None) is ax
    assert finish(ax, own=True, show=False, save=None, return_fig=True) is ax.figure
    assert finish(ax, own=True, show=None, save=tmp_path / "a.png", return_fig=None) is ax
    assert (tmp_path / "a.png").stat().st_size > 0
    assert finish(ax, own=True, show=True, save=None, return_fig=None) is None
    plt.close("all")


def test_cells_without_a_place_are_counted():
    assert places_in(np.zeros((2, 2)), "s", "spatial").shape == (2, 2)
    with pytest.raises(TableError, match="1 of 2 cells of sample 's'"):
        places_in(np.array([[0, 0], [np.nan, 1]]), "s", "spatial")
