"""What is reported of polygons, circles and points, by name and number."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
import spatialdata as sd
from elsewhere import (
    SIZE,
    barcodes,
    codex_io,
    codex_like,
    image_element,
    outlines,
    painted,
    sopa_like,
    table_of,
    with_points,
)
from spatialdata.models import ShapesModel
from spatialdata.transformations import Identity

import spatialfm as sfm
from spatialfm._errors import ElementError, SpatialfmWarning, TableError


@pytest.fixture
def odd() -> sd.SpatialData:
    """Twelve cells apart from each other, one inside another, one beside the image, one empty and one too small."""
    apart = [shapely.box(x, y, x + 12, y + 12) for y in (4.2, 30.2, 60.2) for x in (4.2, 28.2, 52.2, 76.2)]
    extra = [
        shapely.box(6, 6, 9, 9),
        shapely.box(300, 0, 310, 10),
        shapely.Polygon(),
        shapely.box(85.6, 90.6, 85.9, 90.9),
    ]
    return sopa_like([*apart, *extra])


def test_each_kind_is_reported_by_name_and_count(odd):
    ids = list(odd["cellpose_boundaries"].index)
    found = sfm.pp.check_labels(odd).set_index("finding")
    assert sorted(found.index) == ["no_outline", "no_pixel", "outside", "overlap"]
    assert (found["severity"] == "warning").all()
    assert (found["n"] == 1).all()
    assert (found["n_cells"] == 12).all()
    for kind, place in {"overlap": 12, "outside": 13, "no_outline": 14, "no_pixel": 15}.items():
        assert repr(ids[place]) in found.loc[kind, "message"], kind
        assert found.loc[kind, "numbers"] == [place + 1]
    assert "1 cell of 16 that share 9 pixels with cells before them" in found.loc["overlap", "message"]
    assert "(1 of them has no other)" in found.loc["overlap", "message"]


def test_cells_without_a_pixel_are_refused_with_each_reason_or_left_out(odd):
    ids = list(odd["cellpose_boundaries"].index)
    del odd.tables["table"]
    with pytest.warns(SpatialfmWarning), pytest.raises(TableError) as caught:
        sfm.pp.cell_table(odd, labels="cellpose_boundaries")
    message = str(caught.value)
    assert message.startswith("4 cells of polygons 'cellpose_boundaries' without pixel: ")
    for place, reason in {12: "below other cells", 13: "outside of the image", 14: "without outline"}.items():
        assert f"1 {reason} ({ids[place]!r})" in message
    assert f"1 on the centre of no pixel ({ids[15]!r})" in message
    assert not odd.tables
    with pytest.warns(SpatialfmWarning, match="Cells are left out: 4 cells of polygons"):
        sfm.pp.cell_table(odd, labels="cellpose_boundaries", on_missing="drop")
    assert odd["table"].obs["cell_id"].tolist() == ids[:12]


def test_shapes_that_are_mostly_outside_are_in_other_units():
    sdata = sopa_like([shapely.affinity.scale(cell, 3, 3, origin=(0, 0)) for cell in outlines()])
    with pytest.raises(ElementError, match=r"1[0-9] cells of 16 outside of the image: .*correct their transformation"):
        sfm.tl.embed_cells(sdata)
    assert not sdata["table"].obsm.keys() - {"spatial"}


def test_an_outline_in_several_parts_is_one_cell():
    parts = shapely.MultiPolygon([shapely.box(4, 4, 14, 14), shapely.box(30, 4, 40, 14)])
    cells = [parts, *[shapely.box(x, 60, x + 11, 71) for x in (4, 24, 44, 64, 80)]]
    sdata = sopa_like(cells)
    assert (sfm.pp.check_labels(sdata)["severity"] == "note").all()
    table = sfm.pp.cell_table(sdata, copy=True)
    assert table.obs["area"].tolist() == [200.0] + [121.0] * 5


def test_splitting_and_fixing_are_for_label_images():
    sdata = sopa_like()
    with pytest.raises(ElementError, match="holds an outline for each cell"):
        sfm.pp.cell_table(sdata, on_pieces="split", copy=True)
    with pytest.raises(ElementError, match="it is a shapes element, and a label image is wanted"):
        sfm.pp.fix_labels(sdata, "cellpose_boundaries")


def test_a_giant_of_shapes_is_refused_with_what_shapes_take():
    cells = [
        *[shapely.box(x, y, x + 5, y + 5) for y in range(2, 70, 9) for x in range(2, 90, 9)],
        shapely.box(0, 70, 96, 96),
    ]
    ids = barcodes(len(cells))
    sdata = sd.SpatialData(
        images={"image": image_element(Identity())},
        shapes={"cells": ShapesModel.parse(_frame(cells, ids), transformations={"global": Identity()})},
        tables={"table": table_of(ids, "cells")},
    )
    with pytest.raises(ElementError, match=rf": {len(cells)} \(.*counted from 1 in the order") as caught:
        sfm.pp.cell_table(sdata, copy=True)
    advice = str(caught.value).partition("take them out of the element: ")[2].partition("; if they")[0]
    exec(advice, {"sdata": sdata})
    assert list(sdata["cells"].index) == ids[:-1]
    sdata["table"] = table_of(ids[:-1], "cells")
    sfm.pp.cell_table(sdata, copy=True)


def _frame(cells, ids):
    import geopandas as gpd

    return gpd.GeoDataFrame({"geometry": cells}, index=ids)


@pytest.mark.parametrize("kind", ["shapes", "points of a table"])
def test_micrometres_taken_for_pixels_are_said(kind):
    """Nothing is outside of the image then: all cells are in its first corner."""
    if kind == "shapes":
        sdata = sopa_like([shapely.affinity.scale(cell, 0.5, 0.5, origin=(0, 0)) for cell in outlines()])
        call = {}
    else:
        sdata = codex_like()
        sdata["table"].obsm["spatial"] = sdata["table"].obsm["spatial"] * 0.5
        call = {"recipe": {"window": 8}}
    with pytest.warns(SpatialfmWarning, match=r"in the first 4\d% of the rows and 4\d% of the columns.*in other units"):
        sfm.tl.embed_cells(sdata, "classical", elements={"mpp": 0.5}, **call)


def test_discs_that_only_say_where_cells_are_are_refused_with_the_way_on():
    """spatialdata-io's codex (0.7.1) writes circles of radius 1 pixel: of each cell, 5 pixels at most would count."""
    sdata = codex_io()
    found = sfm.pp.check_labels(sdata, "reg001").set_index("finding")
    assert found.loc["dots", "severity"] == "error"
    call = {"recipe": {"window": 16, "standardize": False}, "elements": {"mpp": 0.5}}
    with pytest.raises(ElementError, match=r"discs of radius 1 alone, \d pixels each.*del sdata.shapes\['reg001'\]"):
        sfm.tl.embed_cells(sdata, "classical", **call)
    del sdata.shapes["reg001"]
    with pytest.warns(SpatialfmWarning):
        sfm.tl.embed_cells(sdata, "classical", **call)
    around = codex_like()
    with pytest.warns(SpatialfmWarning):
        sfm.tl.embed_cells(around, "classical", **call)
    assert np.array_equal(sdata["table"].obsm["X_classical"], around["table"].obsm["X_classical"])


@pytest.mark.parametrize("radii", [6.0, "own"])
def test_discs_of_the_size_of_cells_are_cells(radii):
    sdata = codex_io()
    n = len(sdata["reg001"])
    sdata.shapes["reg001"]["radius"] = np.linspace(1, 2, n) if radii == "own" else radii
    assert "dots" not in set(sfm.pp.check_labels(sdata, "reg001")["finding"])


def test_points_have_findings_too():
    sdata = with_points(sd.SpatialData(images={"image": image_element(Identity())}), [[5, 5], [5.2, 5.4], [200, 5]])
    found = sfm.pp.check_labels(sdata, "cells").set_index("finding")
    assert list(found.index) == ["outside"]
    assert "Points element 'cells'" in found.loc["outside", "message"]
    with pytest.raises(ElementError, match=r"Cells of sample 'image' are the points of 'cells'"):
        sfm.pp.cell_table(sdata, labels="cells")


def test_ids_that_are_numbers_are_the_numbers():
    cells = outlines()
    sdata = sd.SpatialData(
        images={"image_a": image_element(Identity(), "a")},
        shapes={"cells_a": ShapesModel.parse(_frame(cells, np.arange(16) * 10 + 7), transformations={"a": Identity()})},
    )
    with pytest.warns(SpatialfmWarning, match="that share"):
        sfm.pp.cell_table(sdata)  # found by its name
    assert "cell_number" not in sdata["table"].obs
    assert sdata["table"].obs["cell_id"].tolist() == (np.arange(16) * 10 + 7).tolist()
    assert sdata["table"].obs["area"].tolist() == np.bincount(painted(cells).ravel())[1:].tolist()
    assert SIZE == 96
