"""Colours that stay with their names, and what a plot returns."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from matplotlib.colors import to_hex, to_rgb

from spatialfm import io
from spatialfm._errors import TableError
from spatialfm.pl._figure import (
    category_colors,
    color_cycle,
    digits,
    finish,
    in_random_order,
    letter_panels,
    new_axes,
    new_panels,
    places_in,
    stored_colors,
    with_unit,
)


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
    in_space = np.array([[1.0, 2.0, np.nan], [3.0, 4.0, 5.0]])
    np.testing.assert_array_equal(places_in(in_space, "s", "spatial"), [[1, 2], [3, 4]])
    with pytest.raises(TableError, match="1 of 2 cells of sample 's'"):
        places_in(np.array([[0, 0], [np.nan, 1]]), "s", "spatial")


def contrast(color, other):
    """Ratio of luminances (WCAG 2.1)."""
    rgb = np.array([to_rgb(color), to_rgb(other)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    dark, light = sorted(0.05 + linear @ [0.2126, 0.7152, 0.0722])
    return light / dark


def test_colours_of_categories_can_be_seen_on_white_paper():
    assert contrast("#F0E442", "white") < 1.4  # the yellow that is left out
    assert min(contrast(color, "white") for color in color_cycle(13)) > 2.2


def test_panels_are_lettered_above_title_and_legend():
    figure, axes = plt.subplots(1, 2)
    axes[0].plot([0, 1], label="a line")
    axes[0].legend(loc="lower left", bbox_to_anchor=(0, 1.0), title="two\nlines")
    letter_panels(axes)
    letters = [ax.texts[-1] for ax in axes]
    assert [letter.get_text() for letter in letters] == ["a", "b"]
    top = axes[0].get_legend().get_window_extent().y1
    assert abs(letters[0].get_window_extent().y1 - top) < 8 < top - axes[0].get_window_extent().y1
    plt.close(figure)


def test_points_are_drawn_in_an_order_that_is_not_that_of_the_rows():
    order = in_random_order(np.arange(1000))
    assert sorted(order) == list(range(1000))
    assert abs(np.corrcoef(order, np.arange(1000))[0, 1]) < 0.1
    np.testing.assert_array_equal(order, in_random_order(np.arange(1000)))


def test_panels_on_one_axis_have_its_numbers_below_each_column():
    axes = new_panels(7, None, most=5, panel=(1.0, 1.0), margin=(0.5, 0.2), sharex=True)
    figure = axes[0].get_figure()
    assert list(axes) == figure.axes
    assert tuple(figure.get_size_inches()) == (5.5, 2.2)
    assert [ax.xaxis.get_tick_params()["labelbottom"] for ax in axes] == [False] * 2 + [True] * 5
    assert len(new_panels(2, (3, 1), most=4, panel=(1.0, 1.0))) == 2
    plt.close("all")


def test_areas_of_a_foreign_table_have_no_unit():
    """Places of 0.5 µm per pixel are brought to µm; a column called area stays as it came, in pixels."""
    pixels = pd.DataFrame({"x": [10, 30], "y": [4, 8], "sample": "a", "patient": "p", "area": [80, 120]})
    table = io.read_cells(pixels, mpp=0.5)
    assert table.obsm["spatial"].tolist() == [[5, 2], [15, 4]]
    assert table.obs["area"].tolist() == [80, 120]
    assert with_unit(table, "area") == "area"
    table.uns["spatialfm"]["table"]["samples"] = '{"a": {"unit": "µm"}}'  # as pp.cell_table measures them
    assert with_unit(table, "area") == "area (µm²)"


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0"), (8.4e-8, "0"), (2e-5, "0.00002"), (0.02, "0.02"), (12.345, "12.3"), (999.6, "1,000"), (2998.4, "2,998"),
     (2e6, "2,000,000"), (-152, "−152"), (-0.5, "−0.5")],
)  # fmt: skip
def test_numbers_have_no_exponent(value, said):
    assert digits(value) == said
