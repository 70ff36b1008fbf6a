"""Cells given as shapes or points, in objects that other packages make: what masks of the same cells give."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import spatialdata as sd
from anndata import AnnData
from elsewhere import (
    MPP,
    SIZE,
    barcodes,
    codex_like,
    image_element,
    outlines,
    painted,
    pixels,
    sopa_like,
    steinbock_like,
    table_of,
    with_points,
    xenium_like,
)
from spatialdata.models import Labels2DModel, ShapesModel
from spatialdata.transformations import Identity, Scale, set_transformation
from stand_in import Sums

import spatialfm as sfm
from spatialfm._errors import ElementError, ModelError, SpatialfmWarning, TableError

pytestmark = pytest.mark.filterwarnings("ignore:.*that share .* pixels with cells before them")


@pytest.fixture
def masks() -> sd.SpatialData:
    """The cells of the others as a label image, painted by shapely."""
    return sd.SpatialData(
        images={"image_a": image_element(Identity(), "a")},
        labels={
            "cells_a": Labels2DModel.parse(painted(outlines()), dims=("y", "x"), transformations={"a": Identity()})
        },
    )


@pytest.mark.parametrize("make", [xenium_like, sopa_like])
@pytest.mark.parametrize(
    "recipe", [{}, {"background": "keep", "window": 24}, {"mode": "tile", "window": 32, "stride": 16}]
)
def test_rows_are_those_of_a_mask_of_the_same_cells(make, recipe, masks):
    model = Sums() if recipe else "classical"
    elements = {"mpp": MPP}
    expected = sfm.tl.embed_cells(masks, model, recipe=recipe, elements=elements, copy=True)
    sdata = make()
    ids, columns = sdata["table"].obs["cell_id"].tolist(), list(sdata["table"].obs)
    assert sfm.tl.embed_cells(sdata, model, recipe=recipe, elements=elements, key_added="X") is None
    table = sdata["table"]
    key = "X_classical" if not recipe else "X_sums"
    assert np.array_equal(table.obsm["X"], expected.obsm[key])
    assert table.obs["cell_id"].tolist() == ids  # their ids, their rows, their columns
    assert list(table.obs) == columns
    record = sfm.get.record(table, "X")
    assert record["cells_drawn_as"] == {next(iter(sdata.images)): "polygons"}
    assert not sdata.labels


def test_what_is_measured_is_what_a_mask_of_the_same_cells_gives(masks):
    sdata = xenium_like()
    set_transformation(sdata["morphology_focus"], Scale([MPP, MPP], axes=("x", "y")), "global")
    set_transformation(sdata["cell_boundaries"], Identity(), "global")  # µm
    for name in ("image_a", "cells_a"):
        set_transformation(masks[name], Scale([MPP, MPP], axes=("x", "y")), "a")
    expected = sfm.pp.cell_table(masks, quantiles=0.5, copy=True)
    sfm.pp.cell_table(sdata, quantiles=0.5, table_name="measured")
    table = sdata["measured"]
    assert np.array_equal(table.X, expected.X)
    assert np.array_equal(table.layers["q50"], expected.layers["q50"])
    assert np.allclose(table.obsm["spatial"], expected.obsm["spatial"])
    for column in ("area", "perimeter", "eccentricity", "solidity", "orientation"):
        assert np.allclose(table.obs[column], expected.obs[column]), column
    ids = barcodes(16)
    assert table.obs["cell_id"].tolist() == ids
    assert table.obs["cell_number"].tolist() == list(range(1, 17))  # the map from ids to numbers
    assert table.obs_names.tolist() == [f"morphology_focus_{one}" for one in ids]
    assert table.uns["spatialdata_attrs"]["region"] == ["cell_boundaries"]
    joined, _ = sd.match_table_to_element(sdata, element_name="cell_boundaries", table_name="measured"), None
    assert joined.n_obs == 16  # spatialdata finds the rows of the shapes


def test_the_advice_on_the_size_of_pixels_is_right_for_shapes_in_um():
    sdata = xenium_like()
    with pytest.warns(SpatialfmWarning, match="areas, lengths and centroids are in pixels") as said:
        in_pixels = sfm.pp.cell_table(sdata, copy=True)
    (message,) = [str(one.message) for one in said if "in pixels" in str(one.message)]
    exec(message.partition("image: ")[2].rstrip("."), {"sdata": sdata, "spatialdata": sd, "mpp": MPP})
    in_um = sfm.pp.cell_table(sdata, copy=True)
    assert np.allclose(in_um.obs["area"], in_pixels.obs["area"] * MPP**2)
    assert np.allclose(in_um.obsm["spatial"], in_pixels.obsm["spatial"] * MPP)


def test_known_cells_are_joined_by_their_text(masks):
    import pandas as pd

    sdata = sopa_like()
    ids = sdata["table"].obs["cell_id"].tolist()
    known = pd.DataFrame({"id": ids[::-1], "type": [f"type {k}" for k in range(15, -1, -1)]})
    table = sfm.pp.cell_table(sdata, cells=known, library_key=None, instance_key="id", copy=True)
    assert table.obs["type"].tolist() == [f"type {k}" for k in range(16)]
    known.loc[0, "id"] = "stranger-1"
    with pytest.raises(TableError, match=rf"lung_image_stranger-1'\) and 1 label without row \('lung_image_{ids[15]}'"):
        sfm.pp.cell_table(sdata, cells=known, library_key=None, instance_key="id", copy=True)


def test_masks_of_two_samples_as_other_readers_name_them():
    sdata = steinbock_like()
    sfm.tl.embed_cells(sdata, "classical")
    assert sdata["table"].obsm["X_classical"].shape == (32, 31)
    apart = sfm.tl.embed_cells(sdata, "classical", samples=["Patient1_002_image"], copy=True)
    assert apart.n_obs == 16
    assert set(apart.obs["region"]) == {"Patient1_002_deepcell_labels"}


def test_the_region_of_the_table_decides_among_several_elements():
    sdata = xenium_like()
    nuclei = [cell.buffer(-3) for cell in outlines()]
    sdata["nucleus_labels"] = Labels2DModel.parse(
        painted(nuclei), dims=("y", "x"), transformations={"global": Identity()}
    )
    sfm.tl.embed_cells(sdata, "classical", elements={"mpp": MPP})
    assert "X_classical" in sdata["table"].obsm
    with pytest.raises(ElementError, match="annotates cell_boundaries, not labels 'nucleus_labels'"):
        sfm.tl.embed_cells(sdata, "classical", elements={"labels": "nucleus_labels", "mpp": MPP})
    sdata["he_image"] = image_element(Identity(), seed=3)
    with pytest.raises(
        ElementError, match="'cell_boundaries' in the coordinate system of 'morphology_focus', 'he_image'"
    ):
        sfm.tl.embed_cells(sdata, "classical", elements={"mpp": MPP})
    sfm.tl.embed_cells(sdata, "classical", samples=["morphology_focus"], elements={"mpp": MPP}, key_added="X_again")
    assert np.array_equal(sdata["table"].obsm["X_again"], sdata["table"].obsm["X_classical"])


def test_boundaries_of_the_same_ids_are_offered_and_the_advice_runs():
    sdata = xenium_like()
    boundaries = sdata["cell_boundaries"]
    circles = gpd.GeoDataFrame({"geometry": boundaries.centroid, "radius": np.full(16, 4.0)}, index=boundaries.index)
    system = {"global": Scale([1 / MPP, 1 / MPP], axes=("x", "y"))}
    sdata["cell_circles"] = ShapesModel.parse(circles, transformations=system)
    elements = {"labels": "cell_circles", "mpp": MPP}
    with pytest.raises(ElementError, match="rows have the ids of 'cell_circles'") as caught:
        sfm.tl.embed_cells(sdata, "classical", elements=elements)
    exec(str(caught.value).partition("annotate these, ")[2].rstrip("."), {"sdata": sdata})
    sfm.tl.embed_cells(sdata, "classical", elements=elements)
    assert sfm.get.record(sdata["table"], "X_classical")["cells_drawn_as"] == {"morphology_focus": "circles"}


def test_rows_whose_cell_is_gone_are_refused_by_name_or_left_out():
    sdata = sopa_like()
    ids = list(sdata["cellpose_boundaries"].index)
    sdata["cellpose_boundaries"] = sdata["cellpose_boundaries"].drop(ids[3])
    with pytest.raises(TableError, match=rf"1 row of table 'table' without label \(lung_image_{ids[3]}\)"):
        sfm.tl.embed_cells(sdata, "classical")
    assert sfm.tl.embed_cells(sdata, "classical", on_missing="drop", copy=True).n_obs == 15


def window_means(xy, side: int) -> np.ndarray:
    """Sum over the window around each point and channel, zeros beyond the image."""
    padded = np.pad(pixels().astype(np.float64), ((0, 0), (side, side), (side, side)))
    corners = np.floor(xy).astype(int) - side // 2 + side
    return np.stack([padded[:, y : y + side, x : x + side].sum((1, 2)) for x, y in corners])


@pytest.mark.parametrize("kind", ["points element", "positions of a table", "table of points"])
def test_points_are_embedded_around_their_coordinates_unmasked(kind):
    xy = np.array([[10.2, 20.9], [50.0, 41.5], [50.3, 41.9], [93.7, 2.1]])  # two in one pixel, one at the border
    sdata = sd.SpatialData(images={"image": image_element(Identity())})
    if kind == "points element":
        with_points(sdata, xy)
    elif kind == "positions of a table":
        table = AnnData(np.ones((4, 1), np.float32))
        table.obsm["spatial"] = xy
        sdata["table"] = table
    else:
        with_points(sdata, xy)
        sdata["table"] = table_of(np.arange(4), "cells", xy)
    elements = {"mpp": MPP} if kind == "positions of a table" else {"labels": "cells", "mpp": MPP}
    recipe = {"intensity_max": 1.0, "background": "zero"}
    with pytest.warns(SpatialfmWarning, match=r"points without outline.*\"background\": 'keep'"):
        sfm.tl.embed_cells(sdata, Sums(), outputs="marker", recipe=recipe, elements=elements)
    table = sdata["table"]
    assert np.allclose(table.obsm["X_sums"], window_means(xy, 16), rtol=1e-5)
    record = sfm.get.record(table, "X_sums")
    assert record["background"] == "keep"
    assert record["cells_drawn_as"] == {"image": "points"}
    if kind == "points element":
        assert table.n_vars == 0
        assert np.allclose(table.obsm["spatial"], xy)
        assert table.obs["cell_id"].tolist() == [0, 1, 2, 3]


def test_tokens_of_points_are_those_below_them():
    xy = np.array([[10.2, 20.9], [50.0, 41.5], [50.3, 41.9]])
    sdata = with_points(sd.SpatialData(images={"image": image_element(Identity())}), xy)
    recipe = {"mode": "tile", "window": 16, "stride": 16, "padding": 0, "intensity_max": 1.0}
    sfm.tl.embed_cells(sdata, Sums(), outputs="marker", recipe=recipe, elements={"labels": "cells", "mpp": MPP})
    squares = pixels().astype(np.float64).reshape(3, SIZE // 8, 8, SIZE // 8, 8).sum((2, 4))
    expected = [squares[:, int(y) // 8, int(x) // 8] for x, y in xy]
    found = sdata["table"].obsm["X_sums"]
    assert np.allclose(found[:2], expected[:2])
    # the third shares its pixel with the second, and takes the token in the middle of a window around it
    assert np.isfinite(found[2]).all()


def test_a_table_whose_region_is_no_element_has_positions_alone():
    sdata = codex_like()
    with pytest.raises(ModelError, match=r"cells that are points have no size. Pass recipe=\{\"window\": <pixels>\}"):
        sfm.tl.embed_cells(sdata, "classical", elements={"mpp": MPP})
    with pytest.warns(SpatialfmWarning, match="shape of a cell is that of the window"):
        sfm.tl.embed_cells(sdata, "classical", recipe={"window": 16, "standardize": False}, elements={"mpp": MPP})
    found = sdata["table"].obsm["X_classical"]
    names = sfm.models.load("classical").feature_names(["DAPI", "CD3", "CD20"])
    area = found[:, names.index("area")]
    assert np.allclose(area, np.log1p(16 * 16 * MPP**2))  # of the whole window, as the model takes it


def test_points_outside_of_the_image_are_named():
    sdata = with_points(sd.SpatialData(images={"image": image_element(Identity())}), [[5, 5], [20, 20], [500, 20]])
    call = {"model": Sums(), "elements": {"labels": "cells", "mpp": MPP}}
    with pytest.warns(SpatialfmWarning, match="1 cell of 3 outside of the image: 2"):
        with pytest.raises(TableError, match=r"1 cell outside of the image \(image_2\)"):
            sfm.tl.embed_cells(sdata, **call)
    with pytest.warns(SpatialfmWarning):
        assert sfm.tl.embed_cells(sdata, **call, on_missing="drop", copy=True).n_obs == 2


def test_a_plan_of_shapes_runs_and_is_of_these_shapes():
    sdata = sopa_like()
    plan = sfm.tl.plan_embedding(sdata, Sums(), elements={"mpp": MPP})
    direct = sfm.tl.embed_cells(sdata, Sums(), elements={"mpp": MPP}, copy=True)
    assert np.array_equal(sfm.tl.embed_cells(sdata, plan=plan, copy=True).obsm["X_sums"], direct.obsm["X_sums"])
    sdata["cellpose_boundaries"] = sdata["cellpose_boundaries"].set_geometry(
        sdata["cellpose_boundaries"].geometry.translate(1, 0)
    )
    with pytest.raises(ElementError, match="labels 'cellpose_boundaries' is another one here"):
        sfm.tl.embed_cells(sdata, plan=plan)


def test_figures_and_labels_of_tiles_take_shapes(masks):
    sdata = sopa_like()
    sdata["table"].obs["type"] = ["a", "b"] * 8
    figure = sfm.pl.cells(sdata, "lung_image", color="type", show=False, return_fig=True)
    drawn = figure.axes[0].images[0].get_array()
    cells = painted(outlines()) > 0
    finer = len(drawn) // len(cells)  # each pixel in several, so that outlines are fine
    assert np.array_equal(drawn[..., 3] > 0, cells.repeat(finer, axis=0).repeat(finer, axis=1))
    sdata["table"].obs["sample"] = "lung_image"
    sfm.pp.cell_table(masks)
    masks["table"].obs["type"] = ["a", "b"] * 8
    for one in (sdata, masks):
        sfm.tl.embed_tiles(one, "mean-intensity", size=32)
        sfm.tl.tile_labels(one, "type")
    assert np.array_equal(sdata["tiles"].obs["pixel_label_share"], masks["tiles"].obs["pixel_label_share"])


def test_a_store_of_shapes_gives_the_same_rows(tmp_path):
    sdata = xenium_like()
    call = {"model": "classical", "elements": {"mpp": MPP}, "copy": True}
    expected = sfm.tl.embed_cells(sdata, **call)
    sdata.write(tmp_path / "x.zarr")
    again = sfm.tl.embed_cells(sd.read_zarr(tmp_path / "x.zarr"), **call)
    assert np.array_equal(again.obsm["X_classical"], expected.obsm["X_classical"])
    assert again.obs["cell_id"].tolist() == expected.obs["cell_id"].tolist()


def test_the_image_that_a_column_of_the_table_names_is_offered():
    sdata = sopa_like()
    sdata.images = {"he_image": image_element(Identity(), seed=3), **sdata.images}
    with pytest.raises(ElementError, match=r"column 'slide' names 'lung_image'.*samples=\[\"lung_image\"\] for this"):
        sfm.pp.cell_table(sdata, copy=True)
    sfm.tl.embed_cells(sdata, "classical", samples=["lung_image"])
    assert sdata["table"].obsm["X_classical"].shape[0] == 16


def test_barcodes_of_a_mask_lead_to_the_boundaries_and_the_advice_runs():
    """As spatialdata-io reads Xenium folders that do not say which number of the mask a text id has."""
    sdata = xenium_like()
    cells = outlines()
    sdata["cell_labels"] = Labels2DModel.parse(painted(cells), dims=("y", "x"), transformations={"global": Identity()})
    table = sdata["table"]
    table.obs["region"] = pd.Categorical(["cell_labels"] * 16)
    sdata.set_table_annotates_spatialelement("table", "cell_labels", region_key="region", instance_key="cell_id")
    with pytest.raises(TableError, match="are those of shapes 'cell_boundaries'") as caught:
        sfm.tl.embed_cells(sdata, "classical", elements={"mpp": MPP})
    assert "extract" not in str(caught.value)  # the number at their end is 1 in all
    exec(str(caught.value).partition("annotate these, ")[2].rstrip("."), {"sdata": sdata})
    sfm.tl.embed_cells(sdata, "classical", elements={"mpp": MPP})
    alone = xenium_like()
    sfm.tl.embed_cells(alone, "classical", elements={"mpp": MPP})
    np.testing.assert_array_equal(sdata["table"].obsm["X_classical"], alone["table"].obsm["X_classical"])


def test_points_of_a_table_with_y_before_x_are_refused():
    sdata = codex_like()
    table = sdata["table"]
    table.obs[["x", "y"]] = table.obsm["spatial"]
    table.obsm["spatial"] = table.obsm["spatial"][:, ::-1].copy()
    with pytest.raises(TableError, match="holds y before x"):
        sfm.tl.embed_cells(sdata, "classical", recipe={"window": 16})
    assert list(table.obsm) == ["spatial"]
