"""Tables drawn as colours."""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from spatialfm.pl._heatmap import draw_heatmap, extended

TABLE = pd.DataFrame([[1.0, -4.0], [np.nan, 2.0]], index=["T", "B"], columns=["T", "B"])


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def test_names_stand_on_both_sides_and_colours_are_those_of_the_numbers(ax):
    bar = draw_heatmap(ax, TABLE, label="z-score", cmap="RdBu_r")
    assert [text.get_text() for text in ax.get_xticklabels()] == ["T", "B"]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["T", "B"]
    mesh = ax.collections[0]
    assert mesh.get_clim() == (-4, 4)
    mesh.update_scalarmappable()
    drawn = mesh.get_facecolors()  # row by row
    np.testing.assert_allclose(drawn[0], mpl.colormaps["RdBu_r"](5 / 8), atol=0.01)
    np.testing.assert_allclose(drawn[1], mpl.colormaps["RdBu_r"](0.0), atol=0.01)
    assert drawn[2][3] == 0  # NaN: nothing
    assert bar.ax.get_ylabel() == "z-score"
    assert bar.extend == "neither"


@pytest.mark.parametrize(("limit", "side"), [(3, "min"), (1.5, "both"), (5, "neither")])
def test_the_colour_bar_shows_where_colours_end_before_the_numbers(ax, limit, side):
    assert draw_heatmap(ax, TABLE, label="z", limit=limit).extend == side


def test_one_side_beyond():
    assert extended(np.array([0.0, 3.0, np.nan]), -2, 2) == "max"
    assert extended(np.array([-2.0, 2.0]), -2, 2) == "neither"  # the ends themselves have their colours


def test_rows_and_columns_of_the_same_names_have_their_colours_beside_them(ax):
    draw_heatmap(ax, TABLE, label="z", colors={"T": "#112233", "B": "#445566"})
    faces = [patch.get_facecolor()[:3] for patch in ax.patches]
    assert faces == [to_rgb(color) for color in ("#112233", "#445566", "#112233", "#445566")]


def test_numbers_are_written_in_ink_that_can_be_read(ax):
    draw_heatmap(ax, TABLE.fillna(0.0), label="z", numbers=True)
    assert [(text.get_text(), text.get_color()) for text in ax.texts] == [
        ("1.0", "black"), ("−4.0", "white"), ("0.0", "black"), ("2.0", "black"),
    ]  # fmt: skip
