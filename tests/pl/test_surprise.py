"""What is drawn is what was found."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest

import spatialfm as sfm
from spatialfm._errors import PanelError, TableError

DRAWN = ("surprise", lambda cells: sfm.pl.surprise(cells, show=False))


@pytest.fixture(scope="module")
def cells():
    table = sfm.datasets.simulate_cells(3, cells_per_patient=100, random_state=0)
    sfm.tl.surprise(table, n_folds=2)
    return table


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_samples_by_markers(cells):
    ax = sfm.pl.surprise(cells, show=False)
    drawn = ax.collections[0].get_array()
    np.testing.assert_allclose(np.ravel(drawn), cells.uns["surprise"]["samples"].to_numpy().ravel())
    assert [text.get_text() for text in ax.get_yticklabels()] == ["P001_1", "P002_1", "P003_1"]
    title = ax.get_title(loc="left").replace("\n", " ")
    assert title == "measured minus expected (linear; reference: all patients)"


def test_one_channel_that_failed_does_not_take_the_colours_of_all_others(cells):
    """A melanoma cohort has one sample whose CD20 is 14 errors off: medians of 2 were white beside it."""
    part = cells.copy()
    part.uns["surprise"]["samples"].iloc[0, 0] = 14.0
    figure = sfm.pl.surprise(part, return_fig=True)
    assert figure.axes[0].collections[0].get_clim() == (-6, 6)
    assert figure.axes[0].collections[0].colorbar.extend == "max"
    ax = sfm.pl.surprise(part, limit=20, show=False)
    assert ax.collections[0].get_clim() == (-20, 20)


@pytest.mark.parametrize("marker", [None, "CD8"])
def test_cells_of_a_sample(cells, marker):
    figure = sfm.pl.surprise(cells, sample="P002_1", marker=marker, return_fig=True)
    points = figure.axes[0].collections[0]
    part = cells[cells.obs["sample"] == "P002_1"]
    values = part.obs["surprise"] if marker is None else part[:, marker].layers["surprise"].ravel()
    places = {tuple(xy): value for xy, value in zip(part.obsm["spatial"].round(6), values, strict=True)}
    for xy, value in zip(points.get_offsets().round(6), points.get_array(), strict=True):
        assert places[tuple(xy)] == pytest.approx(value)
    assert len(points.get_offsets()) == 100


@pytest.mark.parametrize(("unit", "expected"), [("µm", "x (µm)"), ("pixel", "x (pixel)"), (None, "x")])
def test_places_are_in_the_unit_of_the_table(cells, unit, expected):
    part = cells.copy()
    if unit is not None:
        part.uns["spatialfm"] = {"table": {"unit": unit}}
    ax = sfm.pl.surprise(part, sample="P001_1", show=False)
    assert (ax.get_xlabel(), ax.get_ylabel()) == (expected, expected.replace("x", "y", 1))


def test_the_colour_bar_is_open_where_errors_lie_beyond_it(cells):
    part = cells.copy()
    part.layers["surprise"][:] = 0
    place = part.var_names.get_loc("CD8")
    for highest, lowest, ends in ((1, -1, "neither"), (3, -1, "max"), (1, -3, "min"), (3, -3, "both")):
        part.layers["surprise"][:2, place] = highest, lowest
        figure = sfm.pl.surprise(part, sample="P001_1", marker="CD8", limit=2, return_fig=True)
        assert figure.axes[0].collections[0].colorbar.extend == ends


@pytest.mark.parametrize(("n_samples", "n_markers"), [(1, 2), (1, 5), (3, 12)])
def test_title_and_label_have_room_beside_few_samples(n_samples, n_markers, check_boxes):
    cells = sfm.datasets.simulate_cells(n_patients=3, cells_per_patient=60, random_state=0)
    sfm.tl.surprise(cells)
    table = cells.uns["surprise"]["samples"].iloc[:n_samples, :n_markers]
    cells.uns["surprise"]["samples"] = table
    figure = sfm.pl.surprise(cells, return_fig=True)
    figure.canvas.draw()
    ax, bar = figure.axes
    check_boxes(figure, [ax._left_title.get_window_extent(), bar.yaxis.label.get_window_extent()])


def test_refusals(cells):
    with pytest.raises(TableError, match=r"No surprise in uns\['odd'\]"):
        sfm.pl.surprise(cells, key="odd")
    with pytest.raises(PanelError, match="'CD99' was not looked at"):
        sfm.pl.surprise(cells, sample="P001_1", marker="CD99")
    with pytest.raises(TableError, match="No sample 'P9'"):
        sfm.pl.surprise(cells, sample="P9")
    with pytest.raises(TableError, match="Pass sample= too"):
        sfm.pl.surprise(cells, marker="CD8")
    with pytest.raises(TableError, match=r"No coordinates 'xy' in obsm \(spatial_key=\)"):
        sfm.pl.surprise(cells, sample="P001_1", spatial_key="xy")
    bare = cells.copy()
    del bare.layers["surprise"]
    with pytest.raises(TableError, match="one is missing"):
        sfm.pl.surprise(bare, sample="P001_1")
