"""The curve that is drawn is the one that was found."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest

import spatialfm as sfm
from spatialfm._errors import TableError


@pytest.fixture(scope="module")
def cells():
    table = sfm.datasets.simulate_cells(5, cells_per_patient=80, random_state=0)
    sfm.tl.select_panel(table, 5, n_random=3)
    return table


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_lines_are_the_columns_of_the_curve(cells):
    ax = sfm.pl.panel_curve(cells, show=False)
    curve = cells.uns["panel"]["curve"]
    drawn = [line.get_ydata() for line in ax.lines]
    for name in ("random", "variance", "score"):
        assert any(len(line) == 5 and np.allclose(line, curve[name]) for line in drawn)
    assert any(np.allclose(line, cells.uns["panel"]["whole"]) for line in drawn)
    named = {line.get_label(): line.get_ydata() for line in ax.lines}
    np.testing.assert_allclose(named["largest variance"], curve["variance"])
    np.testing.assert_allclose(named["chosen (95 % interval over patients)"], curve["score"])
    np.testing.assert_allclose(named["all candidates"], cells.uns["panel"]["whole"])
    bands = [band.get_paths()[0].get_extents().intervaly for band in ax.collections]
    expected = [(curve[f"{name}low"].min(), curve[f"{name}high"].max()) for name in ("random_", "ci_")]
    np.testing.assert_allclose(bands, expected)
    assert ax.get_title(loc="left") == "all markers from a panel: linear, 5 patients"
    assert [text.get_text() for text in ax.get_xticklabels()][0] == "DAPI  1"
    assert len(ax.get_xticks()) == 5


def test_a_point_below_0_is_whole(cells):
    table = cells.copy()
    table.uns["panel"]["curve"].loc[0, "score"] = -0.4
    ax = sfm.pl.panel_curve(table, show=False)
    points = ax.transData.transform(np.c_[[1.0], [-0.4]])[0, 1]
    assert points - ax.get_window_extent().y0 > 0.5 * 4.5 * ax.figure.dpi / 72
    assert ax.get_ylim()[0] > -0.5


def test_the_legend_is_beside_the_lines_and_within_the_figure(cells):
    figure = sfm.pl.panel_curve(cells, return_fig=True)
    figure.canvas.draw()
    ax = figure.axes[0]
    legend, axes = ax.get_legend().get_window_extent(), ax.get_window_extent()
    assert not legend.overlaps(axes)
    assert legend.x1 <= figure.bbox.x1
    assert axes.width > 0.5 * figure.bbox.width


def test_names_of_markers_are_no_formulas_and_no_random_panels_are_no_band(cells):
    table = cells.copy()
    table.var_names = [f"${name}_$" for name in table.var_names]
    sfm.tl.select_panel(table, 4, keep=[], n_random=0, key_added="other")
    figure = sfm.pl.panel_curve(table, key="other", return_fig=True)
    figure.canvas.draw()
    assert len(figure.axes[0].collections) == 1


def test_no_panel(cells):
    with pytest.raises(TableError, match=r"No panel in uns\['nothing'\].*sfm.tl.select_panel"):
        sfm.pl.panel_curve(cells, key="nothing")
    broken = cells.copy()
    broken.uns["panel"] = dict(broken.uns["panel"]) | {"curve": broken.uns["panel"]["curve"].drop(columns="score")}
    with pytest.raises(TableError, match="has no column 'score'"):
        sfm.pl.panel_curve(broken)
