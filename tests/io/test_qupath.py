"""Measurement tables of QuPath, with polygons and images."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tifffile
from reading_qupath import QUPATH, read_qupath, write_qupath
from shapely.geometry import box

import spatialfm as sfm
from spatialfm._errors import InputFileError, PixelSizeError, SpatialfmWarning, TableError
from spatialfm.io._qupath_table import _check_places, ratio_of


@pytest.fixture
def project(tmp_path):
    write_qupath(tmp_path)
    return tmp_path


def table_of(folder) -> pd.DataFrame:
    return pd.read_csv(folder / "measurements.tsv", sep="\t")


def test_polygons_table_and_patients(project):
    sdata = read_qupath(project)
    table = sdata["table"]
    assert table.obs["phenotype"].astype(object).where(table.obs["phenotype"].notna(), "").tolist() == [
        ("Tumor", "T cell: PD1+", "")[i % 3] for i in [*range(6), *range(6)]
    ]
    assert table.obs["object_id"].tolist() == table_of(project)["Object ID"].tolist()
    assert "Nucleus_CD3_mean" in table.obs
    assert sdata["samples"].obs["time"].tolist() == [10.0, 20.0]
    assert table.obs["time"].tolist() == [10.0] * 6 + [20.0] * 6
    for sample, (pixels, labels, _) in QUPATH.items():
        element = sdata.shapes[f"cells_{sample}"]
        cells = table[table.obs["sample"] == sample]
        assert element.index.tolist() == cells.obs["cell_id"].tolist()
        np.testing.assert_allclose(element.centroid.x * 0.5, cells.obsm["spatial"][:, 0])
        expected = [pixels[:, labels == one].mean(axis=1) for one in np.unique(labels)[1:]]
        np.testing.assert_allclose(cells.X, expected)


def test_polygons_are_where_their_pixels_are(project):
    """The package measures in the polygons what was measured in the labels that they outline."""
    sdata = read_qupath(project)
    own = sfm.pp.cell_table(sdata, copy=True)
    table = sdata["table"]
    np.testing.assert_allclose(own[table.obs_names, table.var_names].X, table.X)
    np.testing.assert_allclose(own[table.obs_names].obsm["spatial"], table.obsm["spatial"])
    assert own.obs["area"].tolist() == [25 * 0.25] * 12


def test_rows_and_polygons_in_other_orders(project):
    expected = read_qupath(project)["table"]
    table_of(project)[::-1].to_csv(project / "measurements.tsv", sep="\t", index=False)
    found = read_qupath(project)["table"]
    assert sorted(found.obs_names) == sorted(expected.obs_names)
    np.testing.assert_array_equal(found[expected.obs_names].X, expected.X)


def test_one_call_to_the_survival_curve(project):
    sdata = read_qupath(project)
    adata = sdata["table"][sdata["table"].obs["phenotype"].notna()].copy()
    patients = sfm.tl.composition(adata, "phenotype", library_key="sample", patient_key="patient")
    patients.obs["arm"] = ["a", "b"]
    sfm.tl.kaplan_meier(patients, "arm")
    assert patients.uns["kaplan_meier"]["groups"]["events"].tolist() == [1, 0]


@pytest.mark.parametrize("change", ["µ", "μ", "Âµ", "px"])
def test_centroids_in_each_spelling(project, change):
    table = table_of(project)
    if change == "px":
        for axis in "XY":
            table[f"Centroid {axis} px"] = table.pop(f"Centroid {axis} µm") / 0.5
    else:
        table.columns = [name.replace("µ", change) for name in table.columns]
    expected = read_qupath(project)["table"].obsm["spatial"]
    table.to_csv(project / "measurements.tsv", sep="\t", index=False)
    for cells in (project / "cells", None):
        np.testing.assert_allclose(read_qupath(project, cells=cells)["table"].obsm["spatial"], expected)


def test_the_pixel_size_follows_from_table_and_polygons(project):
    sdata = read_qupath(project, images=None)
    assert {name: one["mpp"] for name, one in sdata.attrs["spatialfm"]["samples"].items()} == dict.fromkeys(QUPATH, 0.5)
    assert list(sdata.images) == []
    assert ratio_of(np.array([[10.0, 20]]), np.array([[20.0, 40]])) == 0.5
    assert ratio_of(np.array([[10.0, 20]]), np.array([[20.0, 80]])) is None
    assert ratio_of(np.array([[1.0, 2]]), np.array([[2.0, 4]])) is None  # too near the corner to tell


@pytest.mark.parametrize(("stretch", "is_refused"), [(1.0, False), (1.001, False), (1.01, True), (2.0, True)])
def test_pixel_sizes_that_were_rounded_are_one(stretch, is_refused):
    import geopandas as gpd

    from spatialfm.io._geojson import CellPolygons

    at = np.random.default_rng(0).uniform(1000, 40_000, (40, 2))
    cells = gpd.GeoDataFrame({"geometry": [box(x - 5, y - 5, x + 5, y + 5) for x, y in at]}, index=np.arange(1, 41))
    polygons = CellPolygons(cells, pd.DataFrame(index=cells.index), "a")
    if not is_refused:
        _check_places(at * 0.5 * stretch, polygons, 0.5)
        return
    with pytest.raises(
        TableError, match=rf"40 cells of 40 have .* By them a pixel is {0.5 * stretch:.4g} µm; here it is 0.5"
    ):
        _check_places(at * 0.5 * stretch, polygons, 0.5)


def test_positions_alone_are_points(project):
    sdata = read_qupath(project, cells=None, images=None)
    points = sdata.points["cells_core_2"].compute()
    cells = sdata["table"][sdata["table"].obs["sample"] == "core_2"]
    np.testing.assert_allclose(points[["x", "y"]], cells.obsm["spatial"])
    assert points.index.tolist() == cells.obs["cell_id"].tolist()


def test_tables_of_a_folder_and_other_objects(project):
    table = table_of(project)
    (project / "tables").mkdir()
    for file, part in table.groupby("Image"):
        annotation = part[:1].assign(**{"Object type": "Annotation", "Object ID": "region"})
        pd.concat([annotation, part]).to_csv(project / "tables" / f"{file}.tsv", sep="\t", index=False)
    sdata = sfm.io.read_qupath(project / "tables", project / "cells", project / "images")
    assert sdata["table"].obs["object_id"].tolist() == table["Object ID"].tolist()
    assert sdata["samples"].obs.index.tolist() == ["core_1", "core_2"]


def test_polygons_without_a_row_are_said(project):
    table = table_of(project)
    table[table["Object ID"] != "core_1-2"].to_csv(project / "measurements.tsv", sep="\t", index=False)
    with pytest.warns(SpatialfmWarning, match=r"without a row .* left out: '.*core 1\.geojson' \(1 polygon\)"):
        sdata = read_qupath(project)
    assert len(sdata.shapes["cells_core_1"]) == sdata["table"].obs["sample"].value_counts()["core_1"] == 5


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda t: t.drop(columns="Object ID"), TableError, "no 'Object ID' by which rows and polygons"),
        (lambda t: t.drop(columns="Centroid X µm"), InputFileError, "no columns 'Centroid X µm' and 'Centroid Y µm'"),
        (lambda t: t[:0], TableError, "has no cell"),
        (lambda t: t.assign(Image=[None] * 12), TableError, "12 rows of .* name no image"),
        (lambda t: t.drop(columns=[c for c in t if c.startswith("Cell: ") and c.endswith("mean")]), None, ""),
    ],
)
def test_tables_that_are_refused(project, change, error, message):
    change(table_of(project)).to_csv(project / "measurements.tsv", sep="\t", index=False)
    if error is None:
        assert (read_qupath(project)["table"].X == -1).all()  # the nucleus is all that was measured
        return
    with pytest.raises(error, match=message):
        read_qupath(project)
    if "name no image" in message:
        return
    (project / "empty").mkdir()
    with pytest.raises(InputFileError, match="has no table"):
        sfm.io.read_qupath(project / "empty")


@pytest.mark.parametrize("ids", [True, False])
def test_cells_of_two_exports_are_not_counted_twice(tmp_path, ids):
    header = ["Image", *(["Object ID"] if ids else []), "Centroid X µm", "Centroid Y µm", "CD3: Cell: Mean"]
    rows = [["a.tif", *([f"i{x}"] if ids else []), x, 4.5, x / 2] for x in (3, 8)]
    for name in ("a", "a (1)"):
        pd.DataFrame(rows, columns=header).to_csv(tmp_path / f"{name}.csv", index=False)
    with pytest.raises(TableError, match="sample 'a': 2 (ids occur|rows of) .*two exports"):
        sfm.io.read_qupath(tmp_path)
    (tmp_path / "a (1).csv").unlink()
    assert sfm.io.read_qupath(tmp_path)["table"].n_obs == 2


def test_images_of_unknown_size_beside_others_are_refused(tmp_path):
    size = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
    for name, stated in (("a", size), ("b", {})):
        metadata = {"axes": "CYX", "Channel": {"Name": ["CD3"]}, **stated}
        tifffile.imwrite(tmp_path / f"{name}.ome.tif", np.ones((1, 20, 30), np.uint16), metadata=metadata)
    rows = [[f"{name}.ome.tif", 4.5, 6.0, 1.0] for name in "ab"]
    header = ["Image", "Centroid X px", "Centroid Y px", "CD3: Cell: Mean"]
    pd.DataFrame(rows, columns=header).to_csv(tmp_path / "cells.csv", index=False)
    with pytest.raises(PixelSizeError, match="No pixel size is known for 1 sample .'b'., while that of 'a' is .0.5 µm"):
        sfm.io.read_qupath(tmp_path / "cells.csv", images=tmp_path)
    table = sfm.io.read_qupath(tmp_path / "cells.csv", images=tmp_path, mpp=0.5)["table"]
    np.testing.assert_allclose(table.obsm["spatial"], [[2.25, 3.0]] * 2)


@pytest.mark.parametrize("without", [(), ("cells",), ("cells", "images")])
def test_centroids_that_are_no_numbers_are_refused_by_name(project, without):
    table = table_of(project)
    table["Centroid X µm"] = ["n/m", *table["Centroid X µm"][1:]]
    table.to_csv(project / "measurements.tsv", sep="\t", index=False)
    with (
        pytest.warns(SpatialfmWarning, match="'Centroid X µm' .'n/m' among 11 numbers"),
        pytest.raises(TableError, match="(?s)2 problems.*'core_1': 1 column of .* numbers.*: 'Centroid X µm'"),
    ):
        read_qupath(project, **dict.fromkeys(without))


def test_an_id_that_is_there_three_times_is_one(project):
    table = table_of(project)
    pd.concat([table, table[:1], table[:1]]).to_csv(project / "measurements.tsv", sep="\t", index=False)
    for cells in (project / "cells", None):
        with pytest.raises(TableError, match="'core_1': 1 id occurs more than once in .*: 'core_1-0'. Are there two"):
            read_qupath(project, cells=cells)
