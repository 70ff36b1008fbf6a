"""Cells as points: their places, colours that mean the same in every sample, units that are known."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.offsetbox import AnchoredOffsetbox, TextArea

from spatialfm._errors import TableError
from spatialfm.pl._figure import MISSING, OKABE_ITO
from spatialfm.pl._points import points


@pytest.fixture
def table():
    obs = pd.DataFrame(
        {"sample": ["a", "a", "a", "b"], "kind": pd.Categorical(["T", None, "B", "T"], ["B", "T"])},
        index=list("1234"),
    )
    places = np.array([[0.0, 0], [100, 10], [50, 40], [7, 7]])
    return ad.AnnData(obs=obs, obsm={"spatial": places}, uns={"spatialfm": {"table": {"mpp": 0.5, "unit": "µm"}}})


def drawn(figure):
    """Places of the points and their colours, by place."""
    (dots,) = figure.axes[0].collections
    return {
        tuple(xy): tuple(rgb[:3]) for xy, rgb in zip(dots.get_offsets().tolist(), dots.get_facecolors(), strict=True)
    }


def scale(figure):
    (box,) = [one for one in figure.axes[0].get_children() if isinstance(one, AnchoredOffsetbox)]
    return [one.get_text() for one in box.get_children()[0].get_children() if isinstance(one, TextArea)]


def test_points_are_where_the_cells_are_and_y_points_down(table):
    figure = points(table, "a", "kind")
    assert drawn(figure) == {
        (0, 0): to_rgb(OKABE_ITO[1]),
        (100, 10): to_rgb(MISSING),
        (50, 40): to_rgb(OKABE_ITO[0]),
    }
    ax = figure.axes[0]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]
    assert ax.get_aspect() == 1
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["B", "T", "missing"]
    assert set(drawn(points(table, "b", "kind")).values()) == {to_rgb(OKABE_ITO[1])}  # T, as in the other sample


def test_the_scale_bar_says_no_unit_that_is_not_known(table):
    assert scale(points(table, "a", "kind")) == ["20 µm"]
    del table.uns["spatialfm"]["table"]["unit"]
    assert scale(points(table, "a", "kind")) == ["20 µm (assumed)"]
    table.uns = {}
    assert scale(points(table, "a", "kind")) == ["20 units of obsm['spatial']"]


def test_a_sample_that_is_not_there_is_refused(table):
    with pytest.raises(TableError, match=r"no cell of sample 'c'; samples are 'a', 'b'"):
        points(table, "c", "kind")
