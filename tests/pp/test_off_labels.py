"""Positions of a table against the cells' own labels."""

from __future__ import annotations

import warnings

import anndata as ad
import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
import spatialdata as sd
from spatialdata.models import Image2DModel, ShapesModel, TableModel
from spatialdata.transformations import Scale

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning


@pytest.mark.parametrize("unit", [0.5, 2.0])
def test_tiles_say_that_positions_are_in_another_unit(unit):
    """Half of the size, and of twice the size: the label of a tile would be that of cells that lie elsewhere."""
    sdata = sfm.datasets.simulate_cohort(n_patients=2, n_samples=1, image_size=128, difficulty="easy")
    sfm.pp.cell_table(sdata)
    table = sdata["table"]
    table.obs["half"] = np.where(np.arange(table.n_obs) % 2, "a", "b")
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialfmWarning)
        right = sfm.tl.embed_tiles(sdata, "mean-intensity", size=32, cluster_key="half", copy=True)
    assert right.obs["n_cells"].sum() > 0
    table.obsm["spatial"] = table.obsm["spatial"] * unit
    with pytest.warns(SpatialfmWarning, match=r"most cells of 2 samples are not where.*\d+ of \d+.*another unit"):
        sfm.tl.embed_tiles(sdata, "mean-intensity", size=32, cluster_key="half", copy=True)


def drawn_cohort(shapes: str):
    """One image of 100 x 100 pixels of 0.5 µm, 25 cells drawn in pixels, and a table with their centres in µm."""
    ids = [f"cell {i}" for i in range(25)]
    xy = np.array([(10 + 20.0 * x, 10 + 20.0 * y) for y in range(5) for x in range(5)])
    to_um = {"lung": Scale([0.5, 0.5], axes=("x", "y"))}
    if shapes == "polygons":
        frame = gpd.GeoDataFrame(geometry=[shapely.Point(*at).buffer(4).envelope for at in xy], index=ids)
    else:
        frame = gpd.GeoDataFrame({"radius": np.full(25, 4.0)}, geometry=shapely.points(xy), index=ids)
    obs = pd.DataFrame({"region": pd.Categorical(["cells_lung"] * 25), "id": ids}, index=ids)
    table = ad.AnnData(np.ones((25, 1), "float32"), obs=obs, obsm={"spatial": xy * 0.5})
    image = Image2DModel.parse(np.zeros((1, 100, 100)), dims=("c", "y", "x"), transformations=to_um)
    return sd.SpatialData(
        images={"image_lung": image},
        shapes={"cells_lung": ShapesModel.parse(frame, transformations=to_um)},
        tables={"table": TableModel.parse(table, region="cells_lung", region_key="region", instance_key="id")},
    )


@pytest.mark.parametrize(
    ("shapes", "factor", "n"),
    [
        ("polygons", 1.0, None),
        ("circles", 1.0, None),
        ("polygons", 2.0, 0),
        ("circles", 2.0, 0),
        # centres are at 10, 30, 50 ... pixels, and a tenth of that off: in x and y, or together, by 4 at most
        ("polygons", 1.1, 4),
        ("circles", 1.1, 3),
    ],
)
def test_positions_in_another_unit_than_shapes_are_told(shapes, factor, n):
    sdata = drawn_cohort(shapes)
    sdata["table"].obsm["spatial"] = sdata["table"].obsm["spatial"] * factor
    frame = pd.DataFrame({"slide": ["lung"], "patient": ["p1"]})
    if n is None:
        with warnings.catch_warnings():
            warnings.simplefilter("error", SpatialfmWarning)
            sfm.pp.add_samples(sdata, frame, on="slide")
    else:
        with pytest.warns(SpatialfmWarning, match=r"not where their labels or shapes are.*'lung' \((\d+) of 25\)") as w:
            sfm.pp.add_samples(sdata, frame, on="slide")
        assert f"({n} of 25)" in str(w[0].message)
    assert sdata["table"].obs["patient"].astype(str).unique().tolist() == ["p1"]
