from __future__ import annotations

import dask.array as da
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar
from spatialdata.transformations import Identity, set_transformation

import spatialfm as sfm
from spatialfm._errors import CoordinateError, ElementError, PanelError, TableError
from spatialfm.pl._cells import CHANNEL_COLORS
from spatialfm.pl._figure import OKABE_ITO
from spatialfm.pl._raster import composite, paint, round_length


def at(drawn, x: float, y: float) -> np.ndarray:
    """Colour of an AxesImage at a point of the slide."""
    left, right, bottom, top = drawn.get_extent()
    pixels = drawn.get_array()
    row = int((y - top) / (bottom - top) * pixels.shape[0])
    column = int((x - left) / (right - left) * pixels.shape[1])
    return np.asarray(pixels[row, column])


def test_cells_lie_where_their_transformation_says(sdata):
    ax = sfm.pl.cells(sdata, "s1", color="type", show=False)
    (drawn,) = ax.get_images()
    # label 1 covers pixels 2..8, hence 12..18 µm in x and 22..28 µm in y
    np.testing.assert_allclose(at(drawn, 15.0, 25.0), [*to_rgb(OKABE_ITO[0]), 1], atol=1e-6)
    np.testing.assert_allclose(at(drawn, 21.0, 25.0), [*to_rgb(OKABE_ITO[1]), 1], atol=1e-6)
    np.testing.assert_allclose(at(drawn, 15.0, 37.0), [*to_rgb("#DDDDDD"), 1], atol=1e-6)  # type is missing
    np.testing.assert_allclose(at(drawn, 33.0, 37.0), [*to_rgb("#DDDDDD"), 1], atol=1e-6)  # no row in the table
    assert at(drawn, 11.0, 21.0)[3] == 0  # background
    border = at(drawn, 17.99, 25.0)  # the edge of label 1, next to label 2
    np.testing.assert_allclose(border[:3], 0.6 * np.array(to_rgb(OKABE_ITO[0])), atol=1e-6)
    assert ax.get_xlim() == (0.0, 60.0)
    assert ax.get_ylim() == (50.0, 0.0)  # y points down


def test_outline_over_channels(sdata):
    ax = sfm.pl.cells(sdata, "s1", color="type", channels=["CD8", "DAPI"], show=False)
    picture, drawn = ax.get_images()
    assert picture.get_extent() == pytest.approx([0, 60, 50, 0])
    assert at(drawn, 15.0, 25.0)[3] == 0  # inside of the cell is left open
    np.testing.assert_allclose(at(drawn, 12.01, 25.0), [*to_rgb(OKABE_ITO[0]), 1], atol=1e-6)
    pixels = sdata["image_s1"].values
    expected = composite(pixels[[2, 0]], CHANNEL_COLORS[:2], (1.0, 99.7))
    np.testing.assert_allclose(picture.get_array(), expected)
    filled = sfm.pl.cells(sdata, "s1", color="type", channels="CD8", fill=True, show=False).get_images()[1]
    assert at(filled, 15.0, 25.0)[3] == 1


def test_legends_name_channels_and_categories(sdata):
    from matplotlib.legend import Legend

    ax = sfm.pl.cells(sdata, "s1", color="type", channels=["CD8", "DAPI"], show=False)
    legends = {tuple(text.get_text() for text in legend.get_texts()): legend for legend in ax.findobj(Legend)}
    assert set(legends) == {("CD8", "DAPI"), ("T", "B", "missing")}
    of_types = legends["T", "B", "missing"]
    assert of_types.get_title().get_text() == "type"
    assert [to_rgb(patch.get_facecolor()) for patch in of_types.get_patches()][:2] == [to_rgb(c) for c in OKABE_ITO[:2]]
    of_channels = legends["CD8", "DAPI"].get_patches()
    assert [to_rgb(patch.get_facecolor()) for patch in of_channels] == [to_rgb(color) for color in CHANNEL_COLORS[:2]]


def test_both_legends_are_on_the_paper_and_apart(sdata, check_boxes):
    from matplotlib.legend import Legend

    figure = sfm.pl.cells(sdata, "s1", color="type", channels=["CD8", "DAPI"], return_fig=True)
    figure.canvas.draw()
    ax = figure.axes[0]
    legends = ax.findobj(Legend)
    assert len(legends) == 2
    check_boxes(figure, [ax.get_window_extent(), *(legend.get_window_extent() for legend in legends)])


def test_a_long_legend_leaves_the_image_its_size(sdata, check_boxes):
    import pandas as pd

    names = [f"phenotype {i}" for i in range(23)]
    cells = np.arange(24 * 32, dtype=np.int32).reshape(24, 32) // 4 % 24
    sdata["cells_s1"].data = da.from_array(cells)
    obs = pd.DataFrame({"region": "cells_s1", "cell_id": range(1, 24), "type": names})
    obs.index = obs["cell_id"].astype(str)
    obs["region"] = obs["region"].astype("category")
    del sdata["table"]
    from anndata import AnnData
    from spatialdata.models import TableModel

    sdata["table"] = TableModel.parse(AnnData(obs=obs), region="cells_s1", region_key="region", instance_key="cell_id")
    figure = sfm.pl.cells(sdata, "s1", color="type", return_fig=True)
    figure.canvas.draw()
    ax = figure.axes[0]
    check_boxes(figure, [ax.get_window_extent(), ax.get_legend().get_window_extent()])
    assert ax.get_window_extent().height > 0.8 * figure.bbox.height


def test_colours_of_the_user(sdata):
    def first(**arguments):
        return at(sfm.pl.cells(sdata, "s1", color="type", show=False, **arguments).get_images()[0], 15.0, 25.0)[:3]

    np.testing.assert_allclose(first(palette={"T": "#112233", "B": "red", "NK": "blue"}), to_rgb("#112233"), atol=1e-6)
    sdata["table"].uns["type_colors"] = ["#445566", "#000000", "#ffffff"]
    np.testing.assert_allclose(first(), to_rgb("#445566"), atol=1e-6)
    np.testing.assert_allclose(first(palette=["green", "red", "blue"]), to_rgb("green"), atol=1e-6)


def test_numbers_have_a_colour_bar(sdata):
    figure = sfm.pl.cells(sdata, "s1", color="score", return_fig=True)
    drawn = figure.axes[0].get_images()[0]
    np.testing.assert_allclose(at(drawn, 15.0, 25.0)[:3], plt.get_cmap("viridis")(0.0)[:3], atol=1e-6)
    np.testing.assert_allclose(at(drawn, 21.0, 25.0)[:3], plt.get_cmap("viridis")(1.0)[:3], atol=1e-6)
    assert figure.axes[1].get_ylabel() == "score"
    assert figure.axes[1].get_ylim() == (0.0, 1.0)  # of this sample, not of the other
    marker = sfm.pl.cells(sdata, "s1", color="CD3", show=False).get_images()[0]
    np.testing.assert_allclose(at(marker, 15.0, 37.0)[:3], plt.get_cmap("viridis")(1.0)[:3], atol=1e-6)


def test_crop(sdata):
    ax = sfm.pl.cells(sdata, "s1", channels=["CD3"], crop=(21, 11, 29, 19), show=False)
    (drawn,) = ax.get_images()
    assert drawn.get_array().shape == (16, 16, 3)
    assert drawn.get_extent() == pytest.approx([21, 29, 19, 11])
    assert ax.get_xlim() == (21.0, 29.0)
    expected = composite(sdata["image_s1"].values[[1], 22:38, 42:58], CHANNEL_COLORS[:1], (1.0, 99.7))
    np.testing.assert_allclose(drawn.get_array(), expected)


def test_only_blocks_of_the_crop_are_loaded(sdata):
    read = set()

    def block(data, block_info=None):
        if block_info:
            read.add(tuple(block_info[None]["chunk-location"]))
        return data

    image = sdata["image_s1"]
    image.data = da.map_blocks(block, image.data, dtype=image.dtype, meta=np.array((), dtype=image.dtype))
    sfm.pl.cells(sdata, "s1", channels=["CD3"], crop=(21, 11, 29, 19), show=False)
    assert read == {(1, 1, 2)}  # of 4 x 5 x 6 blocks


def test_large_images_are_thinned_out(sdata):
    ax = sfm.pl.cells(sdata, "s1", color="type", channels=["CD3"], max_pixels=30, show=False)
    picture, _ = ax.get_images()
    assert picture.get_array().shape == (25, 30, 3)
    means = sdata["image_s1"].values[1].reshape(25, 4, 30, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(picture.get_array(), composite(means[None], CHANNEL_COLORS[:1], (1.0, 99.7)))
    ax = sfm.pl.cells(sdata, "s1", color="type", max_pixels=16, show=False)
    (drawn,) = ax.get_images()
    painted = drawn.get_array()
    times = painted.shape[1] // 16  # of the 12 x 16 pixels that are read, each is drawn as several
    assert painted.shape == (12 * times, 16 * times, 4)
    np.testing.assert_allclose(at(drawn, 15.0, 25.0)[:3], to_rgb(OKABE_ITO[0]), atol=1e-6)


def test_scale_bar_or_ticks(sdata):
    ax = sfm.pl.cells(sdata, "s1", color="type", show=False)
    (bar,) = [artist for artist in ax.get_children() if isinstance(artist, AnchoredSizeBar)]
    assert bar.txt_label.get_text() == "10 µm"
    assert bar.size_bar.get_children()[0].get_width() == 10
    assert len(ax.get_xticks()) == 0
    plain = sfm.pl.cells(sdata, "s1", color="type", scale_bar=False, show=False)
    assert (plain.get_xlabel(), plain.get_ylabel()) == ("x (µm)", "y (µm)")
    assert not [artist for artist in plain.get_children() if isinstance(artist, AnchoredSizeBar)]


def test_unknown_pixel_size_is_not_called_um(sdata):
    set_transformation(sdata["image_s1"], Identity(), "s1")
    ax = sfm.pl.cells(sdata, "s1", channels=["CD3"], scale_bar=False, show=False)
    assert ax.get_xlabel() == "x (px)"


def test_nothing_is_written(sdata):
    before = sdata["table"].copy()
    sfm.pl.cells(sdata, "s1", color="type", channels=["CD3"], show=False)
    assert list(sdata["table"].uns) == list(before.uns)
    assert list(sdata["table"].obs) == list(before.obs)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, TableError, r"Nothing to draw. Pass color="),
        ({"color": "kind"}, TableError, r"No column 'kind' in obs of table 'table'.*'type'.*markers are 'CD3'"),
        ({"color": "type", "table_name": "cells"}, ElementError, r"No table 'cells' in sdata.*sfm.pp.cell_table"),
        ({"channels": ["CD99"]}, PanelError, r"No channel 'CD99' in image 'image_s1'.*'DAPI', 'CD3', 'CD8', 'PanCK'"),
        (
            {"channels": ["CD3", "DAPI", "CD3"]},
            PanelError,
            "channels= names 'CD3' twice, which would be in two colours",
        ),
        ({"channels": ["CD3", "CD8", "DAPI", "PanCK"]}, PanelError, r"4 channels with 3 colours; at most three"),
        (
            {"channels": ["CD3"], "crop": (500, 0, 600, 10)},
            CoordinateError,
            r"does not meet image 'image_s1'.*\(60, 50\)",
        ),
        ({"color": "type", "palette": {"T": "red"}}, TableError, r"palette= has no colour for 'B', 'NK'"),
        ({"color": "type", "palette": ["red"]}, TableError, r"palette= has 1 colours for 3 categories"),
        ({"color": "type", "palette": ["red", "nope", "blue"]}, TableError, r"'nope' in palette= is not a colour"),
        ({"sample": "s9", "color": "type"}, ElementError, r"No sample 's9' in sdata; found 's1'"),
    ],
)
def test_refusals(sdata, arguments, error, message):
    with pytest.raises(error, match=message):
        sfm.pl.cells(sdata, **{"sample": "s1", **arguments})
    assert not plt.get_fignums()


def test_refuses_a_table_of_other_labels(sdata, labels):
    sdata["table"].obs["region"] = sdata["table"].obs["region"].astype(str).replace("cells_s1", "cells_s2")
    with pytest.raises(
        TableError, match=r"No row of table 'table' belongs to labels 'cells_s1'; its regions are 'cells_s2'"
    ):
        sfm.pl.cells(sdata, "s1", color="type")


def test_composite_by_hand():
    pixels = np.array([[[0.0, 5.0, 10.0]], [[10.0, 10.0, 0.0]]])
    mixed = composite(pixels, ["#FF0000", "#0000FF"], (0, 100))
    np.testing.assert_allclose(mixed[0], [[0, 0, 1], [0.5, 0, 1], [1, 0, 0]])
    sparse = np.zeros((1, 20, 20))
    sparse[0, 3, 3] = 7.0  # the 99th percentile is 0, and yet the spot is to be seen
    assert composite(sparse, ["#FF0000"], (1, 99))[3, 3].tolist() == [1, 0, 0]
    assert composite(np.full((1, 2, 2), np.nan), ["#FF0000"], (1, 99)).sum() == 0


def test_paint_with_unsorted_and_absent_labels():
    pixels = np.array([[0, 7, 7], [3, 3, 9]])
    rgba, without = paint(pixels, np.array([7, 3, 100]), np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]), fill=True)
    assert without == 1  # label 9
    assert (rgba[..., 3] == (pixels > 0)).all()
    np.testing.assert_array_equal(rgba[0, 1, :3] > 0, [True, False, False])
    np.testing.assert_array_equal(rgba[1, 0, :3] > 0, [False, True, False])


@pytest.mark.parametrize(("about", "expected"), [(12, 10), (20, 20), (0.7, 0.5), (51, 50), (199, 100)])
def test_round_length(about, expected):
    assert round_length(about) == pytest.approx(expected)


def test_ids_stored_as_text_colour_the_same_cells():
    sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=96, random_state=0, difficulty="easy")
    sfm.pp.cell_table(sdata)
    sample = sdata["table"].obs["sample"].iloc[0]
    pixels = []
    for dtype in (int, str):
        sdata["table"].obs["cell_id"] = sdata["table"].obs["cell_id"].astype(dtype)
        ax = sfm.pl.cells(sdata, sample, color="area", show=False)
        pixels.append(ax.images[-1].get_array())
    np.testing.assert_array_equal(*pixels)
