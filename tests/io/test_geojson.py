"""Polygons of cells in GeoJSON."""

from __future__ import annotations

import gzip
import json
import warnings
import zipfile

import numpy as np
import pytest
from reading_qupath import feature, outlines, write_geojson
from shapely.geometry import Polygon

import spatialfm as sfm
from spatialfm._errors import InputFileError, SpatialfmWarning, TableError
from spatialfm.io._drawn import beyond_image, outside_of_image
from spatialfm.io._geojson import read_polygons

RING = [[0, 0], [8, 0], [8, 4], [0, 4], [0, 0]]


def at(x: float, y: float) -> list[list[float]]:
    return [[x + dx, y + dy] for dx, dy in RING]


def written(folder, features, name="a.geojson"):
    path = folder / name
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def test_a_folder_is_answered_with_what_is_in_it(tmp_path):
    with pytest.raises(InputFileError, match=r"is a folder without a GeoJSON file"):
        sfm.io.read_geojson(tmp_path)
    for name in ("b.geojson", "a.geojson.gz"):
        (tmp_path / name).touch()
    with pytest.raises(InputFileError, match=r"2 GeoJSON files: 'a.geojson.gz', 'b.geojson'. Pass one .*read_cohort"):
        sfm.io.read_geojson(tmp_path)


@pytest.mark.parametrize(
    ("ids", "index", "object_ids"),
    [
        (["7", "3", "12"], [7, 3, 12], None),
        ([7, 3, 12], [7, 3, 12], None),
        (["b", "a", "7"], [1, 2, 3], ["b", "a", "7"]),
        (["0", "1", "2"], [1, 2, 3], ["0", "1", "2"]),
        ([None] * 3, [1, 2, 3], None),
        (["PathCellObject"] * 3, [1, 2, 3], None),
    ],
)
def test_ids_of_any_type(tmp_path, ids, index, object_ids):
    path = written(tmp_path, [feature(at(20 * i, 0), one, i) for i, one in enumerate(ids)])
    sdata = sfm.io.read_geojson(path, mpp=0.5)
    element, table = sdata.shapes["cells_a"], sdata["table"]
    assert element.index.tolist() == index
    assert table.obs["cell_id"].tolist() == index
    assert ("object_id" in table.obs) == (object_ids is not None)
    if object_ids is not None:
        assert element["object_id"].tolist() == table.obs["object_id"].tolist() == object_ids
    np.testing.assert_allclose(table.obsm["spatial"], [[2, 1], [12, 1], [22, 1]])
    assert table.obs["area"].tolist() == [8.0] * 3
    assert table.obs["phenotype"].astype(object).where(table.obs["phenotype"].notna(), None).tolist() == [
        "Tumor",
        "T cell: PD1+",
        None,
    ]


def test_a_property_names_the_cells(tmp_path):
    features = [feature(at(20 * i, 0), None, i, label=10 - i) for i in range(3)]
    assert read_polygons(written(tmp_path, features), "label").cells.index.tolist() == [10, 9, 8]
    with pytest.raises(TableError, match="3 cells of .* have no property 'cell'; there are 'objectType'.*'label'"):
        read_polygons(written(tmp_path, features), "cell")
    del features[1]["properties"]["label"]
    with pytest.raises(TableError, match="1 cell of .* have no property 'label'"):
        read_polygons(written(tmp_path, features), "label")
    with pytest.raises(TableError, match="1 cell of 2 of .* have no id"):
        read_polygons(written(tmp_path, [feature(RING, "x", 0), feature(RING, None, 0)]))


@pytest.mark.parametrize("kind", ["collection", "list", "feature", "gz", "zip"])
def test_files_of_all_versions(tmp_path, kind):
    one = feature(RING, "7", 1)
    text = json.dumps({"collection": {"type": "FeatureCollection", "features": [one]}, "feature": one}.get(kind, [one]))
    path = tmp_path / ("a.geojson" + (f".{kind}" if kind in ("gz",) else ""))
    if kind == "gz":
        path.write_bytes(gzip.compress(text.encode()))
    elif kind == "zip":
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.geojson", text)
    else:
        path.write_text(text)
    sdata = sfm.io.read_geojson(path, mpp=1)
    assert sdata["table"].obs_names.tolist() == ["a_7"]


@pytest.mark.parametrize("as_list", [False, True])
def test_measurements_and_classes(tmp_path, as_list):
    values = {"CD3: Cell: Mean": 4.5, "CD3: Nucleus: Mean": 2.0, "Cell: Solidity": 0.5, "CD8: Cell: Mean": None}
    said = [{"name": name, "value": value} for name, value in values.items()] if as_list else values
    one = feature(RING, "7", 2, measurements=said, classification={"names": ["Tumor", "Positive"]}, name="mine")
    sdata = sfm.io.read_geojson(written(tmp_path, [one]), mpp=1)
    table = sdata["table"]
    assert table.to_df().loc["a_7", "CD3"] == 4.5
    assert np.isnan(table.to_df().loc["a_7", "CD8"])
    assert table.obs.loc["a_7", ["phenotype", "name", "Cell_Solidity"]].tolist() == ["Tumor: Positive", "mine", 0.5]
    other = sfm.io.read_geojson(written(tmp_path, [one]), mpp=1, compartment="nucleus")["table"]
    assert other.to_df().loc["a_7"].to_dict() == {"CD3": 2.0}


def test_outlines_that_cross_themselves_are_made_valid(tmp_path):
    bow = [[0, 0], [4, 4], [4, 0], [0, 4], [0, 0]]
    with pytest.warns(SpatialfmWarning, match="1 polygon of .* crossed themselves and were made valid"):
        sdata = sfm.io.read_geojson(written(tmp_path, [feature(bow, "7", 0), feature(at(10, 10), "8", 0)]), mpp=1)
    assert sdata["table"].obs["area"].tolist() == [8.0, 32.0]
    assert sdata.shapes["cells_a"].is_valid.all()
    line = [[0, 0], [4, 0], [0, 0]]
    with pytest.raises(InputFileError, match="1 cell of .* have no area: '7'"):
        read_polygons(written(tmp_path, [feature([*line, [0, 0]], "7", 0)]))


def test_the_unit_is_said_or_that_of_the_image(tmp_path):
    samples = write_geojson(tmp_path)
    with pytest.warns(SpatialfmWarning, match=r"No pixel size in the metadata of '.*core 1\.geojson'.* 1 µm"):
        sdata = sfm.io.read_geojson(tmp_path / "core 1.geojson")
    assert sdata.attrs["spatialfm"]["samples"]["core_1"]["mpp_source"] == "assumed"
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialfmWarning)
        sdata = sfm.io.read_geojson(tmp_path / "core 1.geojson", tmp_path / "core 1.ome.tif", sample="s")
    assert sdata.attrs["spatialfm"]["samples"]["s"]["mpp"] == samples[0].mpp
    with pytest.raises(InputFileError, match="sample='a b' cannot name elements"):
        sfm.io.read_geojson(tmp_path / "core 1.geojson", mpp=1, sample="a b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"type": "Topology"}', "no list of features"),
        ("[{}]", "Feature 0 .* has no geometry"),
        ("[]", "has no feature"),
    ],
)
def test_json_that_is_no_geojson(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputFileError, match=message):
        sfm.io.read_geojson(tmp_path / "a.json")


def test_places_outside_of_an_image():
    import geopandas as gpd

    cells = gpd.GeoDataFrame(
        {"geometry": [Polygon(at(0, 0)), Polygon(at(93, 0)), Polygon(at(93, 67.5))]}, index=[3, 5, 8]
    )
    assert outside_of_image(cells, (71, 100), "a on b") == ""  # a pixel of slack
    text = outside_of_image(cells, (70, 99), "a on b")
    assert text.startswith("2 polygons of 3 of a on b reach out of it: they span 0 to 101 in x and 0 to 72 in y")
    assert "99 x 70 pixels (first: 5, 8)" in text
    xy = np.array([[10.0, 5.0], [49.0, 34.0]])
    assert beyond_image(xy, (70, 100), 0.5) == ""
    text = beyond_image(xy * 2, (70, 100), 0.5)
    assert text.startswith("1 cell of 2 outside of the image, which is 50.0 x 35.0 µm (100 x 70 pixels of 0.5 µm)")
    assert text.endswith("All would be inside if they were pixels.")


def test_cells_are_where_their_pixels_are(tmp_path):
    """Means of the polygons' pixels, measured by the package, are those that were written into the file."""
    (sample,) = write_geojson(tmp_path)
    sdata = sfm.io.read_geojson(tmp_path / "core 1.geojson", tmp_path / "core 1.ome.tif")
    for name, ring in zip(sdata["table"].obs_names, outlines_of(sdata), strict=True):
        x0, y0, x1, y1 = (int(v) for v in ring)
        np.testing.assert_allclose(sdata["table"][name].X[0], sample.pixels[:, y0:y1, x0:x1].mean(axis=(1, 2)))


def outlines_of(sdata) -> np.ndarray:
    return sdata.shapes["cells_core_1"].bounds.to_numpy()


def test_outlines_are_those_of_the_labels():
    labels = np.zeros((6, 7), int)
    labels[1:3, 2:6] = 4
    assert outlines(labels) == {4: [[2, 1], [6, 1], [6, 3], [2, 3], [2, 1]]}


def _squares(path, ids, **properties):
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [[[x, 5], [x + 4, 5], [x + 4, 9], [x, 9], [x, 5]]]},
            "properties": {"objectType": "cell", "Label": one, **properties},
        }
        for x, one in zip((10, 30), ids, strict=True)
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def test_ids_stay_those_of_the_file(tmp_path):
    table = sfm.io.read_geojson(_squares(tmp_path / "a.geojson", [2.0, 1.0]), mpp=1, instance_key="Label")["table"]
    assert dict(zip(table.obs["cell_id"], table.obsm["spatial"][:, 0], strict=True)) == {2: 12, 1: 32}
    large = _squares(tmp_path / "a.geojson", [1234568.0, 1234567.0])
    assert read_polygons(large, "Label").cells.index.tolist() == [1234568, 1234567]
    with pytest.raises(TableError, match="1 id occurs more than once .*'1234567'"):
        read_polygons(_squares(tmp_path / "a.geojson", [1234567.0, 1234567]), "Label")
    table = sfm.io.read_geojson(_squares(tmp_path / "a.geojson", ["007", "10"]), mpp=1, instance_key="Label")["table"]
    assert table.obs["object_id"].tolist() == ["007", "10"]


def test_measurements_that_are_no_numbers_are_refused(tmp_path):
    path = _squares(tmp_path / "a.geojson", [1, 2], measurements={"CD3: Cell: Mean": "1,5"})
    with pytest.raises(TableError, match="measurements that are not numbers .*'1,5'"):
        sfm.io.read_geojson(path, mpp=1)
