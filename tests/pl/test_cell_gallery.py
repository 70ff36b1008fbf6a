"""Each picture shows the cell that its caption names, in the channels and colours of the legend."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.legend import Legend
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

import spatialfm as sfm
from spatialfm._errors import ElementError, PanelError, TableError
from spatialfm.pl._cells import CHANNEL_COLORS


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def sdata():
    sdata = sfm.datasets.simulate_cohort(2, n_samples=1, image_size=96, random_state=0, difficulty="easy")
    sfm.pp.cell_table(sdata)
    obs = sdata["table"].obs
    obs["auto"] = pd.Categorical(np.where(np.arange(len(obs)) % 3, "T", "B"))
    obs["auto_confidence"] = np.random.default_rng(0).permutation(np.linspace(0.4, 1, len(obs)))
    return sdata


def test_the_outline_is_the_mask_of_the_cell_and_the_window_its_surroundings(sdata):
    cells = sdata["table"]
    names = cells.obs_names[[3, 30, 11]]
    axes = sfm.pl.cell_gallery(sdata, names, channels=["DAPI", "CD3"], size=20, show=False)
    assert axes.shape == (3, 1)
    for place, (name, ax) in enumerate(zip(names, axes[:, 0], strict=True)):
        x, y = cells[name].obsm["spatial"][0]
        assert ax.get_xlim() == pytest.approx((x - 10, x + 10))
        assert ax.get_ylim() == pytest.approx((y + 10, y - 10))
        assert ax.get_title(loc="left") == f"{place + 1}  {name}"
        mask = np.asarray(sdata.labels[f"cells_{cells.obs.loc[name, 'sample']}"].data) == cells.obs.loc[name, "cell_id"]
        rows, columns = np.nonzero(mask)
        (outline,) = [one for one in ax.collections if len(one.get_paths())]
        lines = np.concatenate([path.vertices for path in outline.get_paths()])
        inside = (np.abs(columns / 2 + 0.25 - x) < 9.5) & (np.abs(rows / 2 + 0.25 - y) < 9.5)  # half a µm per pixel
        assert lines[:, 0].min() == pytest.approx(columns[inside].min() / 2, abs=0.51)
        assert lines[:, 0].max() == pytest.approx((columns[inside].max() + 1) / 2, abs=0.51)


def test_colours_lie_between_percentiles_of_the_cells_of_the_sample(sdata):
    cells = sdata["table"]
    name = cells.obs_names[5]
    axes = sfm.pl.cell_gallery(sdata, [name], channels="CD3", size=15, percentiles=(5, 90), show=False)
    (picture,) = axes[0, 0].get_images()
    sample = cells.obs.loc[name, "sample"]
    means = np.asarray(cells[(cells.obs["sample"] == sample).to_numpy(), "CD3"].X).ravel()
    low, high = np.percentile(means, [5, 90])
    left, _, _, top = picture.get_extent()
    height, width = picture.get_array().shape[:2]
    pixels = sdata[f"image_{sample}"].sel(c="CD3").values
    part = pixels[round(2 * top) :, round(2 * left) :][:height, :width].astype(float)
    expected = np.clip((part - low) / (high - low), 0, 1)[..., None] * np.array(to_rgb(CHANNEL_COLORS[0]))
    np.testing.assert_allclose(picture.get_array(), expected, atol=1e-6)


def test_several_pictures_of_a_cell_with_a_legend_of_each(sdata):
    channels = [["DAPI", "CD3"], ["DAPI", "CD20", "CD68"]]
    axes = sfm.pl.cell_gallery(sdata, sdata["table"].obs_names[:3], channels=channels, n_columns=2, show=False)
    assert axes.shape == (3, 2)
    figure = axes[0, 0].figure
    legends = [[text.get_text() for text in one.get_texts()] for one in figure.findobj(Legend)]
    assert legends == channels
    patch = figure.findobj(Legend)[1].get_patches()[2]
    assert to_rgb(patch.get_facecolor()) == to_rgb(CHANNEL_COLORS[2])
    bars = [ax for ax in axes.ravel() if any(isinstance(one, AnchoredSizeBar) for one in ax.artists)]
    assert bars == [axes[0, 0]]
    assert axes[0, 0].get_position().y0 > axes[0, 1].get_position().y1 > axes[2, 0].get_position().y1
    boxes = [ax.get_position() for ax in axes.ravel()]
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])


def test_most_and_least_certain_of_each_type(sdata):
    cells = sdata["table"]
    axes = sfm.pl.cell_gallery(sdata, annotation_key="auto", channels="DAPI", n=2, show=False)
    assert axes.shape == (8, 1)
    for row, name in enumerate(["B", "T"]):
        confidence = np.sort(cells.obs.loc[cells.obs["auto"] == name, "auto_confidence"])
        told = [ax.get_title(loc="left").split("\n")[-1] for ax in axes[4 * row : 4 * row + 4, 0]]
        assert told == [f"{one:.2f}" for one in [*confidence[::-1][:2], *confidence[:2]]]
        assert axes[4 * row, 0].texts[0].get_text() == f"{name}\n{len(confidence)} cells"
    assert axes[0, 0].get_title(loc="left").startswith("most certain")
    assert axes[2, 0].get_title(loc="left").startswith("least certain")
    assert len(sfm.pl.cell_gallery(sdata, annotation_key="auto", types=["T"], channels="DAPI", show=False)) == 8


def test_an_expert_sees_predictions_only_where_they_were_asked_for(sdata):
    names = sdata["table"].obs_names[:2]
    axes = sfm.pl.cell_gallery(sdata, names, channels="DAPI", annotation_key="auto", show=False)
    obs = sdata["table"].obs.loc[names]
    lines = [ax.get_title(loc="left").split("\n")[1] for ax in axes[:, 0]]
    assert lines == [f"{a} {b:.2f}" for a, b in zip(obs["auto"], obs["auto_confidence"], strict=True)]
    axes = sfm.pl.cell_gallery(sdata, names, channels="DAPI", show=False)
    assert not any("\n" in ax.get_title(loc="left") for ax in axes[:, 0])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"cells": ["a"]}, TableError, "1 of 1 cell .cells=. are not in obs_names"),
        ({"cells": []}, TableError, "0 of 0 cells"),
        ({}, TableError, "No annotation None in obs .*found 'auto'"),
        ({"annotation_key": "auto", "types": ["NK"]}, TableError, "No cell is annotated as 'NK'.*'B', 'T'"),
        ({"annotation_key": "auto", "n": 400}, TableError, "cuts in one figure; 400 is the most"),
        ({"channels": list("abcd")}, PanelError, "one to three channels"),
        ({"channels": ["DAPI", "DAPI"]}, PanelError, "names 'DAPI' twice"),
        ({"channels": "CD99", "annotation_key": "auto"}, PanelError, "No channel 'CD99' in image"),
        ({"table_name": "none"}, ElementError, "No table 'none' in sdata"),
        ({"annotation_key": "auto", "size": 1.0}, TableError, "fills the whole cut"),
    ],
)
def test_refusals(sdata, arguments, error, message):
    several = [["DAPI", "CD3", "CD8"]] * 8
    channels = several if arguments.get("n") == 400 else "DAPI"
    with pytest.raises(error, match=message):
        sfm.pl.cell_gallery(sdata, **{"channels": channels, "show": False} | arguments)


def test_a_cell_that_lies_elsewhere_is_not_shown_as_another(sdata):
    moved = sdata["table"].copy()
    moved.obsm["spatial"] = moved.obsm["spatial"] + 300.0
    sdata.tables["moved"] = moved
    try:
        with pytest.raises(TableError, match="The mask of cell .* is not within 30 µm around its place"):
            sfm.pl.cell_gallery(sdata, moved.obs_names[:1], channels="DAPI", table_name="moved", show=False)
    finally:
        del sdata.tables["moved"]


def test_long_names_stay_above_their_cut_and_within_the_figure(sdata):
    table = sdata["table"].copy()
    table.obs_names = "patient_014_lymph_node_region_2_" + table.obs_names
    table.obs["auto"] = table.obs["auto"].cat.rename_categories({"T": "CD8 T cell, exhausted or dying"})
    sdata.tables["renamed"] = table
    options = {"channels": "DAPI", "annotation_key": "auto", "table_name": "renamed", "show": False}
    try:
        asked = sfm.pl.cell_gallery(sdata, table.obs_names[:4], **options)[:, 0]
        of_types = sfm.pl.cell_gallery(sdata, n=1, **options)[:, 0]
    finally:
        del sdata.tables["renamed"]
    for ax, name in zip(asked, table.obs_names, strict=False):
        assert name in ax.get_title(loc="left").replace("\n", "")
    for axes in (asked, of_types):
        figure = axes[0].figure
        figure.canvas.draw()
        texts = [text.get_window_extent() for ax in axes for text in (ax._left_title, *ax.texts) if text.get_text()]
        assert not any(one.overlaps(other) for i, one in enumerate(texts) for other in texts[:i])
        assert all(0 <= box.x0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1 for box in texts)


def test_cells_of_one_name_are_told_apart_by_their_place(sdata):
    table = sdata["table"].copy()
    where = table.obsm["spatial"]
    table.obs_names = ["same"] * table.n_obs
    sdata.tables["renamed"] = table
    options = {"channels": "DAPI", "annotation_key": "auto", "table_name": "renamed", "size": 20, "show": False}
    try:
        axes = sfm.pl.cell_gallery(sdata, n=1, **options)[:, 0]
        with pytest.raises(TableError, match="1 of 1 cell .cells=. are not in obs_names, or there several times"):
            sfm.pl.cell_gallery(sdata, ["same"], **options)
    finally:
        del sdata.tables["renamed"]
    of_b = np.flatnonzero(table.obs["auto"] == "B")
    x = where[of_b[table.obs["auto_confidence"].to_numpy()[of_b].argmax()], 0]
    assert axes[0].get_xlim() == pytest.approx((x - 10, x + 10))
