"""The measurement table of QuPath: which rows are cells, where they are, and which outline is whose."""

from __future__ import annotations

from types import SimpleNamespace

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from shapely import Point

from spatialfm._errors import InputFileError, TableError
from spatialfm.io._qupath_table import (
    _check_places,
    cells_of_image,
    frame_of_table,
    outlines_of,
    ratio_of,
    read_qupath_table,
)

TABLE = {
    "Image": ["a.tif", "a.tif", "b.tif"],
    "Object ID": ["x1", "x2", "x3"],
    "Classification": ["T", "B", None],
    "Centroid X µm": [10.0, 20.0, 30.0],
    "Centroid Y µm": [1.0, 2.0, 3.0],
    "Cell: CD3 mean": [0.1, 0.2, 0.3],
    "Nucleus: CD3 mean": [1.1, 1.2, 1.3],
    "Cell: Area µm^2": [50.0, 60.0, 70.0],
}


@pytest.fixture
def write(tmp_path):
    def make(name="t.csv", drop=(), **columns):
        pd.DataFrame(TABLE | columns).drop(columns=list(drop)).to_csv(tmp_path / name, index=False)
        return tmp_path / name

    return make


def test_rows_of_other_objects_are_left_out(write):
    table = read_qupath_table(write(**{"Object type": ["Cell", "Annotation", "Detection"]}))
    assert table.cells["Object ID"].tolist() == ["x1", "x3"]
    assert (table.unit, table.image, table.object_id, table.classification) == (
        "µm", "Image", "Object ID", "Classification",
    )  # fmt: skip


def test_tables_of_a_folder_are_of_the_images_that_they_are_named_after(write, tmp_path):
    write("b.csv", drop=["Image"])
    write("a.csv", drop=["Image"])
    assert read_qupath_table(tmp_path).cells["Image"].tolist() == ["a"] * 3 + ["b"] * 3


def test_tables_without_cells_or_centroids_are_refused(write, tmp_path):
    with pytest.raises(InputFileError, match="has no columns 'Centroid X µm'"):
        read_qupath_table(write(drop=["Centroid X µm"]))
    with pytest.raises(TableError, match="has no cell"):
        read_qupath_table(write(**{"Object type": ["Annotation"] * 3}))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputFileError, match="has no table"):
        read_qupath_table(tmp_path / "empty")


def test_cells_are_in_um_with_the_means_of_the_whole_cell(write):
    table = read_qupath_table(write())
    part = cells_of_image(table, np.array([0, 1]))
    frame = frame_of_table("s", part, table, 0.5, None, None, "mean")
    assert frame.xy.tolist() == [[10, 1], [20, 2]]
    assert frame.ids.tolist() == [1, 2]
    assert frame.intensities.to_dict("list") == {"CD3": [0.1, 0.2]}
    assert frame.obs["phenotype"].tolist() == ["T", "B"]
    assert frame.obs["object_id"].tolist() == ["x1", "x2"]


def test_centroids_in_pixels_are_brought_to_um(write):
    columns = {f"Centroid {axis} px": TABLE[f"Centroid {axis} µm"] for axis in "XY"}
    table = read_qupath_table(write(drop=["Centroid X µm", "Centroid Y µm"], **columns))
    frame = frame_of_table("s", cells_of_image(table, np.array([2])), table, 0.5, None, None, "mean")
    assert frame.xy.tolist() == [[15, 1.5]]


def test_objects_that_are_there_twice_are_refused(write):
    table = read_qupath_table(write(**{"Object ID": ["x1", "x1", "x3"]}))
    with pytest.raises(TableError, match="1 id occurs more than once in .*: 'x1'"):
        cells_of_image(table, np.arange(3))
    assert len(cells_of_image(table, np.array([0, 2]))) == 2
    same = {name: [values[0]] * 3 for name, values in TABLE.items()}
    with pytest.raises(TableError, match="2 rows of .* are there twice"):
        cells_of_image(read_qupath_table(write(drop=["Object ID"], **same)), np.arange(3))


def polygons(*ids, shift=0.0):
    """Outlines in pixels of half µm around the centroids of the table."""
    centres = {"x1": (20, 2), "x2": (40, 4), "x3": (60, 6)}
    shapes = [Point(centres[one][0] + shift, centres[one][1]).buffer(1) for one in ids]
    cells = gpd.GeoDataFrame({"object_id": list(ids), "geometry": shapes}, index=np.arange(len(ids)) + 100)
    centre = np.array([[one.centroid.x, one.centroid.y] for one in shapes])
    return SimpleNamespace(cells=cells, measurements=cells[["object_id"]], source="'a.geojson'", centres=centre)


def test_outlines_and_rows_find_each_other_by_their_ids(write, monkeypatch):
    from spatialfm.io import _qupath_table

    monkeypatch.setattr(_qupath_table, "replace", lambda one, **changes: SimpleNamespace(**{**vars(one), **changes}))
    table = read_qupath_table(write())
    part = cells_of_image(table, np.arange(3))
    found = outlines_of(part, table, polygons("x3", "x1", "x2"))
    assert found.cells.index.tolist() == [101, 102, 100]
    with pytest.raises(TableError, match="1 cell of 3 of .* have no polygon in 'a.geojson': 'x2'"):
        outlines_of(part, table, polygons("x3", "x1"))
    bare = read_qupath_table(write(drop=["Object ID"]))
    with pytest.raises(TableError, match="has no 'Object ID'"):
        outlines_of(part, bare, polygons("x1"))


def test_outlines_of_another_image_are_refused_with_the_size_that_they_have():
    xy = np.column_stack([TABLE["Centroid X µm"], TABLE["Centroid Y µm"]])
    _check_places(xy, polygons("x1", "x2", "x3"), 0.5)
    _check_places(xy, polygons("x1", "x2", "x3", shift=1.9), 0.5)
    with pytest.raises(TableError, match=r"3 cells of 3 have their centroid elsewhere"):
        _check_places(xy, polygons("x1", "x2", "x3", shift=5.0), 0.5)


def test_one_ratio_of_positions_is_a_pixel_size():
    pixels = np.random.default_rng(0).uniform(11, 900, (40, 2))
    assert ratio_of(pixels * 0.65, pixels) == pytest.approx(0.65)
    assert ratio_of(np.random.default_rng(1).uniform(11, 900, (40, 2)), pixels) is None
    assert ratio_of(pixels * 0.65 / 100, pixels / 100) is None  # too near to the corner to tell
