"""Objects as other packages make them: text ids, regions of shapes, one global coordinate system, units of pixels."""

from __future__ import annotations

from enum import Enum

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
import spatialdata as sd
from anndata import AnnData
from spatialdata.models import Image2DModel, Labels2DModel, PointsModel, ShapesModel, TableModel
from spatialdata.transformations import Affine, Identity, Scale

SIZE, MPP = 96, 0.5
CHANNELS = ["DAPI", "CD3", "CD20"]


def outlines(n: int = 16, size: int = SIZE, seed: int = 0) -> list[shapely.Polygon]:
    """Polygons of irregular cells in pixels, on a jittered grid, some of which overlap."""
    rng = np.random.default_rng(seed)
    side = int(np.sqrt(n))
    step = size / side
    cells = []
    for k in range(n):
        y, x = (np.array(divmod(k, side)) + 0.5) * step + rng.uniform(-2, 2, 2)
        angle = np.sort(rng.uniform(0, 2 * np.pi, 14))
        radius = rng.uniform(0.35, 0.6, 14) * step
        cells.append(shapely.Polygon(np.c_[x + radius * np.cos(angle), y + radius * np.sin(angle)]).buffer(0.5))
    return cells


def painted(cells: list[shapely.Geometry], size: int = SIZE) -> np.ndarray:
    """Label image ``(y, x)`` by shapely: 1, 2, ... where a pixel's centre is inside; the first of two keeps it."""
    y, x = np.mgrid[:size, :size] + 0.5
    labels = np.zeros((size, size), np.int64)
    for number, cell in enumerate(cells, 1):
        labels[shapely.contains_xy(cell, x, y) & (labels == 0)] = number
    return labels


def middles(cells: list[shapely.Geometry]) -> np.ndarray:
    """Centroids x, y; NaN of what is empty."""
    points = [shapely.Point(np.nan, np.nan) if cell.is_empty else cell.centroid for cell in cells]
    return np.array([(point.x, point.y) for point in points])


def pixels(size: int = SIZE, seed: int = 0, channels: int = len(CHANNELS)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4000, (channels, size, size)).astype(np.uint16)


def barcodes(n: int) -> list[str]:
    """Ids as Xenium has them: eight letters and a number."""
    letters = "abcdefghijklmnop"
    return [f"aaaa{letters[k // 256]}{letters[k // 16 % 16]}{letters[k % 16]}n-1" for k in range(7, n + 7)]


def image_element(transformation, system: str = "global", seed: int = 0):
    return Image2DModel.parse(
        pixels(seed=seed), dims=("c", "y", "x"), c_coords=CHANNELS, transformations={system: transformation}
    )


def table_of(ids, region: str, spatial=None, **columns) -> AnnData:
    """A table of counts that annotates `region` by `ids`, as readers write it."""
    obs = pd.DataFrame({"cell_id": ids, "region": pd.Categorical([region] * len(ids)), **columns})
    obs.index = obs.index.astype(str)
    adata = AnnData(np.ones((len(ids), 2), np.float32), obs=obs, var=pd.DataFrame(index=["EPCAM", "PTPRC"]))
    if spatial is not None:
        adata.obsm["spatial"] = np.asarray(spatial)
    return TableModel.parse(adata, region=region, region_key="region", instance_key="cell_id")


def xenium_like(cells: list[shapely.Polygon] | None = None) -> sd.SpatialData:
    """Image in "global" by its pixels; boundaries in µm with a Scale to these, under barcodes; a table of barcodes."""
    cells = outlines() if cells is None else cells
    ids = barcodes(len(cells))
    to_pixels = Scale([1 / MPP, 1 / MPP], axes=("x", "y"))
    in_um = [shapely.affinity.scale(cell, MPP, MPP, origin=(0, 0)) for cell in cells]
    frame = gpd.GeoDataFrame({"geometry": in_um}, index=ids)
    centroids = middles(in_um)
    return sd.SpatialData(
        images={"morphology_focus": image_element(Identity())},
        shapes={"cell_boundaries": ShapesModel.parse(frame, transformations={"global": to_pixels})},
        tables={"table": table_of(ids, "cell_boundaries", centroids, transcript_counts=np.arange(len(ids)))},
    )


def sopa_like(cells: list[shapely.Polygon] | None = None) -> sd.SpatialData:
    """Image and boundaries in pixels of one system; the table has the boundaries as region, and its slide."""
    cells = outlines() if cells is None else cells
    ids = [f"aaaabcd{letter}-1" for letter in "abcdefghijklmnop"[: len(cells)]]
    frame = gpd.GeoDataFrame({"geometry": cells}, index=ids)
    table = table_of(
        ids,
        "cellpose_boundaries",
        middles(cells),
        slide="lung_image",
        area=[cell.area for cell in cells],
    )
    table.obs_names = ids
    system = {"global": Identity()}
    return sd.SpatialData(
        images={"lung_image": image_element(Identity())},
        shapes={"cellpose_boundaries": ShapesModel.parse(frame, transformations=system)},
        tables={"table": table},
    )


def steinbock_like() -> sd.SpatialData:
    """Two images and two masks, each pair in a system of its sample, named alike; a table of both."""
    sdata = sd.SpatialData()
    tables = []
    for seed, sample in enumerate(("Patient1_001", "Patient1_002")):
        labels = painted(outlines(seed=seed)).astype(np.uint16)
        system = {sample: Identity()}
        sdata.images[f"{sample}_image"] = image_element(Identity(), sample, seed)
        sdata.labels[f"{sample}_deepcell_labels"] = Labels2DModel.parse(labels, dims=("y", "x"), transformations=system)
        ids = [number for number in np.unique(labels) if number]
        tables.append(table_of(ids, f"{sample}_deepcell_labels", image=f"{sample}.tiff"))
    obs = pd.concat([table.obs for table in tables], ignore_index=True)
    obs.index = [f"Object {number}" for number in range(len(obs))]
    obs["region"] = obs["region"].astype(str).astype("category")
    both = AnnData(np.ones((len(obs), 2), np.float32), obs=obs, var=tables[0].var)
    sdata.tables["table"] = TableModel.parse(
        both, region=list(obs["region"].cat.categories), region_key="region", instance_key="cell_id"
    )
    return sdata


def cosmx_like() -> sd.SpatialData:
    """As spatialdata-io 0.7.1's `cosmx` reads: each field alone in a system of its own, and all in that of the slide.

    Images come without names of channels; the regions of the table are in the column ``fov_labels``, and its positions
    are those in the field.
    """
    sdata = sd.SpatialData()
    obs, places = [], []
    for field in ("1", "2"):
        labels = painted(outlines(seed=int(field)))
        on_slide = Affine([[1, 0, 1000 * int(field)], [0, 1, 5000], [0, 0, 1]], ("x", "y"), ("x", "y"))
        common = {field: Identity(), "global": on_slide}
        sdata.images[f"{field}_image"] = Image2DModel.parse(
            pixels(seed=int(field)), ("c", "y", "x"), rgb=None, transformations=common | {"global_only_image": on_slide}
        )
        sdata.labels[f"{field}_labels"] = Labels2DModel.parse(
            labels, dims=("y", "x"), transformations=common | {"global_only_labels": on_slide}
        )
        for number in np.unique(labels)[1:]:
            obs.append({"fov": field, "fov_labels": f"{field}_labels", "cell_ID": number})
            places.append(np.argwhere(labels == number).mean(axis=0)[::-1])
    frame = pd.DataFrame(obs, index=[f"{one['cell_ID']}_{one['fov']}" for one in obs])
    frame["fov_labels"] = frame["fov_labels"].astype("category")
    table = AnnData(np.ones((len(frame), 2), np.float32), obs=frame, var=pd.DataFrame(index=["EPCAM", "CD3E"]))
    table.obsm["spatial"] = np.array(places)
    table.obsm["global"] = table.obsm["spatial"] + [[1000 * int(field), 5000] for field in frame["fov"]]
    sdata.tables["table"] = TableModel.parse(
        table, region=["1_labels", "2_labels"], region_key="fov_labels", instance_key="cell_ID"
    )
    return sdata


def codex_like() -> sd.SpatialData:
    """An image and a table whose region is not an element: all that is known of cells is where they are, in pixels."""
    cells = outlines()
    table = table_of(np.arange(len(cells)), "reg001", middles(cells))
    return sd.SpatialData(images={"images": image_element(Identity())}, tables={"table": table})


def codex_io() -> sd.SpatialData:
    """As spatialdata-io 0.7.1's `codex` reads: a circle of radius 1 pixel for each cell, under its number."""
    sdata = codex_like()
    table = sdata["table"]
    xy = table.obsm["spatial"]
    circles = ShapesModel.parse(xy, geometry=0, radius=1, index=table.obs["cell_id"])
    sdata.shapes["reg001"] = circles
    return sdata


class CodexKeys(str, Enum):  # noqa: UP042 - as theirs is
    """Names as spatialdata-io has them, which are text that says which one it is."""

    REGION_KEY = "region"
    INSTANCE_KEY = "cell_id"
    SPATIAL_KEY = "spatial"


def codex_in_memory() -> sd.SpatialData:
    """The same object as its reader leaves it: names are members of an enumeration, and the region is a number."""
    sdata = codex_io()
    sdata.shapes["1"] = sdata.shapes.pop("reg001")
    table = sdata.tables.pop("table")
    del table.uns["spatialdata_attrs"]
    table.obs["region"] = pd.Categorical([1] * table.n_obs)
    table.obsm[CodexKeys.SPATIAL_KEY] = table.obsm.pop("spatial")
    sdata.tables["table"] = TableModel.parse(
        table, region=np.int64(1), region_key=CodexKeys.REGION_KEY, instance_key=CodexKeys.INSTANCE_KEY
    )
    return sdata


def with_points(sdata: sd.SpatialData, xy: np.ndarray, name: str = "cells", system: str = "global") -> sd.SpatialData:
    sdata.points[name] = PointsModel.parse(np.asarray(xy), transformations={system: Identity()})
    return sdata
