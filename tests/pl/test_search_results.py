"""Crops of the queries and hits, pixel by pixel."""

from __future__ import annotations

import dask.array as da
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import binary_dilation
from spatialdata import SpatialData
from spatialdata.models import TableModel

import spatialfm as sfm
from spatialfm._errors import ArgumentError, ElementError, PanelError, TableError


@pytest.fixture
def cohort(make_sdata) -> SpatialData:
    """Two images of 80 x 100 pixels of 0.5 µm with two cells each."""
    from anndata import AnnData

    rng = np.random.default_rng(0)
    samples, labels = {}, np.zeros((80, 100), np.int32)
    labels[20:28, 30:38], labels[60:66, 94:100] = 1, 2
    for sample in ("a", "b"):
        samples[sample] = (rng.integers(0, 255, (3, 80, 100)).astype(np.uint8), labels)
    sdata = make_sdata(samples, ["DAPI", "CD3", "CD8"], chunks=20)
    obs = pd.DataFrame(
        {
            "region": pd.Categorical(["cells_a", "cells_a", "cells_b", "cells_b"]),
            "cell_id": [1, 2, 1, 2],
            "sample": ["a", "a", "b", "b"],
            "type": ["T", "B", "T", None],
        },
        index=["a_1", "a_2", "b_1", "b_2"],
    )
    xy = np.array([[17.0, 12.0], [48.5, 31.5], [17.0, 12.0], [48.5, 31.5]])
    table = AnnData(X=np.zeros((4, 1), np.float32), obs=obs, obsm={"spatial": xy})
    sdata["table"] = TableModel.parse(table, region=["cells_a", "cells_b"], region_key="region", instance_key="cell_id")
    return sdata


@pytest.fixture
def hits() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "query": ["a_1"] * 2 + ["a_2"],
            "rank": [1, 2, 1],
            "hit": ["b_1", "b_2", "b_1"],
            "distance": [0.1234, 2.0, 3.0],
        }
    )


def test_crops_are_the_pixels_around_the_rows(cohort, hits):
    axes = sfm.pl.search_results(
        hits, cohort, channels="CD3", size=10, channel_colors=["#FF0000"], outline=False, show=False
    )
    assert axes.shape == (2, 3)
    (shown,) = axes[0, 0].get_images()
    assert axes[0, 0].get_xlim() == (12, 22)
    assert axes[0, 0].get_ylim() == (17, 7)  # y points down
    assert shown.get_extent() == [12, 22, 17, 7]
    raw = {name: np.asarray(cohort[f"image_{name}"])[1] for name in "ab"}
    query, hit = raw["a"][14:34, 24:44], raw["b"][14:34, 24:44]
    edge = raw["b"][53:73, 87:100]  # the window of b_2 leaves the image
    low, high = np.percentile(
        np.concatenate([part.ravel() for part in (query, raw["a"][53:73, 87:100], hit, edge, hit)]), [1, 99.7]
    )
    for ax, part in ((axes[0, 0], query), (axes[0, 1], hit), (axes[0, 2], edge)):
        red = np.asarray(ax.get_images()[0].get_array())
        np.testing.assert_allclose(red[..., 0], np.clip((part - low) / (high - low), 0, 1))
        assert (red[..., 1:] == 0).all()
    assert axes[0, 2].get_xlim() == (43.5, 53.5)
    assert not axes[1, 2].axison


def test_captions_and_frames(cohort, hits):
    axes = sfm.pl.search_results(hits, cohort, channels=["DAPI", "CD3"], label_key="type", show=False)
    assert axes[0, 0].get_title() == "query\nT\na"
    assert axes[0, 1].get_title() == "1: distance 0.123\nT\nb"
    assert axes[0, 2].get_title() == "2: distance 2\nnone\nb"
    same, other = (ax.spines["top"] for ax in axes[0, 1:])
    assert same.get_linestyle() in ("-", "solid")
    assert other.get_linestyle() not in ("-", "solid")
    legend = axes[0, 0].get_figure().legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["DAPI", "CD3", "same type", "another"]


def test_the_cell_of_the_row_is_outlined(cohort, hits):
    axes = sfm.pl.search_results(hits, cohort, channels="CD3", size=10, show=False)
    border = np.asarray(axes[0, 1].get_images()[1].get_array())[..., 3] > 0
    inside = np.zeros((120, 120), bool)  # 20 pixels of the image, six for each: a line, not a row of blocks
    inside[36:84, 36:84] = True  # rows 20 to 28 of a crop that begins at 14
    np.testing.assert_array_equal(border, binary_dilation(inside) & ~inside)


def test_only_the_crops_are_read(cohort, hits):
    class Counted:
        def __init__(self, image):
            self.image, self.n = image, 0
            self.shape, self.dtype, self.ndim = image.shape, image.dtype, image.ndim

        def __getitem__(self, key):
            part = self.image[key]
            self.n += part.size
            return part

    image = Counted(np.asarray(cohort["image_b"]))
    cohort.images["image_b"].data = da.from_array(image, chunks=(1, 20, 20), asarray=False)
    sfm.pl.search_results(hits[:1], cohort, channels="CD3", size=8, show=False)
    assert 0 < image.n <= 4 * 20 * 20


def test_a_crop_that_would_show_another_cell_is_refused(cohort, hits):
    """Positions in pixels beside a coordinate system in µm, and y before x as spatialdata-io's steinbock has it."""
    right = cohort["table"].obsm["spatial"].copy()
    cohort["table"].obsm["spatial"] = right * 2
    with pytest.raises(
        TableError, match=r"The mask of 'a_1' is not within 10 µm around its place in obsm\['spatial'\]"
    ):
        sfm.pl.search_results(hits, cohort, channels="CD3", size=10, show=False)
    cohort["table"].obsm["spatial"] = right[:, ::-1]
    cohort["table"].obs[["centroid-0", "centroid-1"]] = right[:, ::-1]
    with pytest.raises(TableError, match="holds y before x"):
        sfm.pl.search_results(hits, cohort, channels="CD3", outline=False, show=False)
    assert not plt.get_fignums()


def test_tiles_are_shown_whole_and_queries_may_be_of_another_cohort():
    sdata = sfm.datasets.simulate_cohort(n_patients=2, n_samples=1, image_size=96, random_state=0, difficulty="easy")
    sfm.tl.embed_tiles(sdata, "mean-intensity", size=32)
    index = sfm.tl.build_index(sdata["tiles"], "X_mean_intensity")
    found = sfm.tl.search(index, sdata["tiles"][:2], k=2)
    axes = sfm.pl.search_results(found, sdata, channels=["DAPI"], table_name="tiles", show=False)
    x0, x1 = axes[0, 0].get_xlim()
    assert x1 - x0 == pytest.approx(16)  # 32 pixels of 0.5 µm
    other = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=96, random_state=1, difficulty="easy")
    for name in list(other.images):
        other.images[name].data = other.images[name].data // 16  # a darker scanner
    sfm.tl.embed_tiles(other, "mean-intensity", size=32)
    found = sfm.tl.search(index, other["tiles"][:1], k=1)
    axes = sfm.pl.search_results(found, sdata, query_sdata=other, channels=["DAPI"], table_name="tiles", show=False)
    assert np.asarray(axes[0, 0].get_images()[0].get_array()).max() > 0.9


def test_captions_do_not_run_into_each_other(cohort, hits, check_boxes):
    figure = sfm.pl.search_results(
        hits, cohort, channels=["DAPI", "CD3"], label_key="type", title="Hits", return_fig=True
    )
    figure.canvas.draw()
    titles = [ax.title for ax in figure.axes if ax.axison]
    check_boxes(figure, [title.get_window_extent() for title in titles])


def test_refusals_open_no_figure(cohort, hits):
    plt.close("all")
    for table, arguments, error, message in [
        (hits.drop(columns="rank"), {}, TableError, "hits has no column 'rank'"),
        (hits[:0], {}, TableError, "no hits to show"),
        (cohort, {}, ArgumentError, "hits=a SpatialData.*must be a pandas DataFrame"),
        (hits, {"channels": ["CD4"]}, PanelError, "No channel 'CD4' in image 'image_a'"),
        (hits, {"channels": []}, PanelError, "0 channels with 3 colours"),
        (hits, {"channels": ["DAPI", "DAPI"]}, PanelError, "names 'DAPI' twice"),
        (hits, {"queries": ["x"]}, TableError, "No query 'x' in hits"),
        (hits.assign(hit="x"), {}, TableError, "No row 'x' in table 'table'"),
        (hits, {"label_key": "stage"}, TableError, "No column 'stage' in table 'table'"),
        (hits, {"table_name": "tiles"}, ElementError, "No table 'tiles'"),
        (hits, {"k": 0}, ArgumentError, "k=0.*at least 1"),
        (hits, {"size": -1}, ArgumentError, "size=-1.*above 0"),
    ]:
        with pytest.raises(error, match=message):
            sfm.pl.search_results(table, cohort, **({"channels": ["CD3"]} | arguments))
    assert not plt.get_fignums()


def test_two_rows_of_one_name_are_told(cohort, hits):
    table = cohort["table"]
    table.obs_names = ["b_1" if name == "b_2" else name for name in table.obs_names]
    with pytest.raises(TableError, match="2 rows of table 'table' are named 'b_1'"):
        sfm.pl.search_results(hits, cohort, channels=["DAPI", "CD3"], show=False)


def test_cells_of_shapes_are_where_their_outline_is():
    """A table that another package made has positions in µm, next to an image in pixels."""
    from elsewhere import MPP, outlines, painted, xenium_like
    from skimage.segmentation import find_boundaries

    from spatialfm.pl._search_results import _Reader

    sdata = xenium_like()
    sdata["table"].obs["sample"] = "morphology_focus"
    reader = _Reader(sdata, "table", ["DAPI"], None, 30.0, True, 1000)
    center = sdata["cell_boundaries"].centroid.iloc[5]
    labels = painted(outlines())
    pair = reader._pair("morphology_focus")
    window = reader._window(5, pair)
    np.testing.assert_allclose([window.x0 + 15, window.y0 + 15], [center.x / MPP, center.y / MPP])
    border, (left, right, bottom, top) = reader._outline(5, pair, window)
    times = len(border) // int(bottom - top)  # pixels of the figure to one of the image
    larger = (labels == 6).repeat(times, axis=0).repeat(times, axis=1)
    inside = np.s_[int(top) * times : int(bottom) * times, int(left) * times : int(right) * times]
    np.testing.assert_array_equal(border, find_boundaries(larger, mode="outer")[inside])


def test_crops_of_8_and_of_16_bits_are_both_seen(cohort, hits):
    """The same tissue, exported in another unit: between common limits that of 8 bits would be black."""
    bright = np.asarray(cohort["image_a"].data).astype(np.uint16) * 257
    other = cohort["image_b"].copy(data=da.from_array(np.asarray(cohort["image_a"].data), chunks=(3, 20, 20)))
    images = {"image_a": cohort["image_a"].copy(data=da.from_array(bright, chunks=(3, 20, 20))), "image_b": other}
    mixed = SpatialData(images=images, labels=dict(cohort.labels.items()), tables={"table": cohort["table"]})
    axes = sfm.pl.search_results(hits[:1], mixed, channels=["CD3"], size=10, outline=False, show=False)
    query, hit = (ax.images[0].get_array() for ax in axes[0, :2])
    np.testing.assert_allclose(hit, query, atol=1e-6)
    plt.close("all")
