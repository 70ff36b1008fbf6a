"""One embedding a tile: patch-level, without segmentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..._coordinates import coordinates
from ..._errors import ElementError, TableError, counted
from ..._keys import REGION_KEY, SAMPLE_KEY, SAMPLES, SPATIAL, TABLE, TILE_KEY, TILES, UNS
from ..._logging import logger
from ..._outcome import carry_outcome
from ..._public import public
from ...cohort.checks import named
from ...embed.call import CALL_FIELDS, Run
from ...embed.session import (
    check_embedding_key,
    check_run,
    choose_components,
    grid_obs,
    load_encoder,
    output_keys,
    run_plan,
    write_result,
)
from ...pp.units import record_of_units

if TYPE_CHECKING:
    from anndata import AnnData
    from geopandas import GeoDataFrame
    from spatialdata import SpatialData

    from ...embed.call import Elements, Panel, Reduce
    from ...embed.windows.grid import Grid
    from ...models.encoder import Encoder
    from ...models.recipe import Recipe
    from ...pp.elements import SampleElements


@public(fields=CALL_FIELDS)
def embed_tiles(
    sdata: SpatialData,
    model: str | Encoder = "classical",
    *,
    size: int | None = None,
    stride: int | None = None,
    min_tissue: float = 0.3,
    weights: str | PathLike | None = None,
    adapter: str | PathLike | None = None,
    markers: Sequence[str] | None = None,
    samples: Sequence[str] | None = None,
    outputs: str | Sequence[str] | None = None,
    panel: Panel | Mapping[str, Any] | None = None,
    recipe: Recipe | Mapping[str, Any] | None = None,
    reduce: Reduce | Mapping[str, Any] | None = None,
    run: Run | Mapping[str, Any] | None = None,
    elements: Elements | Mapping[str, Any] | None = None,
    cluster_key: str | None = None,
    table_name: str = TILES,
    cell_table_name: str = TABLE,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Embed a grid of square tiles over the tissue of every sample, without any segmentation.

    Both papers work on tiles for tissue clustering, regions and patients: KRONOS with 64 or 256 pixels (Online Methods,
    *Unsupervised clustering of tissue*), VirTues with 128, tiles with less than 30 % of tissue left out (Methods,
    *Aggregation*). Tissue is found on each image as for the marker statistics, or told (`tissue` of the recipe).

    Parameters
    ----------
    sdata
        Images ``(c, y, x)``.
    model
        Name of a model or a loaded encoder, as in `spatialfm.tl.embed_cells`.
    weights
        Weights of the model: file, folder or hub id, see `spatialfm.models.load`.
    adapter
        Folder that `spatialfm.train.finetune` wrote: the model is used with what it learned there.
    markers
        Markers to use, in this order (default: all that every sample has).
    panel
        Which channels are which markers: `spatialfm.Panel`, or a dict of its fields.
    recipe
        All that decides the numbers: `spatialfm.Recipe`, or a dict of fields to depart in. What is about cells (mode,
        stride, padding, centers, background) means nothing here and is refused in a dict.
    reduce
        Principal components instead of all columns: `spatialfm.Reduce`, or a dict of its fields.
    run
        Devices, cluster, batches, precision and the like: `spatialfm.Run`, or a dict of its fields.
    elements
        Which images, and their pixel size: `spatialfm.Elements`, or a dict of its fields. Labels are not used.
    outputs
        ``"marker"`` gives one vector per marker, ``"patch"`` one per tile, ``"attention"`` how much each attention head
        looks at each marker. Default: that of the model's card.
    size
        Side of a tile in model pixels. Default: the window of the recipe, 64 where it has none.
    stride
        Distance of one tile to the next in model pixels. Default: `size`, without overlap.
    min_tissue
        Share of a tile that must be tissue.
    samples
        Samples to use (default: all).
    cluster_key
        Column of the cell table: adds the number of labelled cells whose centroid is in the tile, the commonest of
        their labels, and its share.
    table_name
        Table to write.
    cell_table_name
        Table with the cells.
    key_added
        Key in ``obsm``; default ``X_<model>``, with an adapter ``X_<model>_<adapter>``.
    copy
        Return the table instead of writing into `sdata`.

    Returns
    -------
    None, or the table if `copy`. Written into `sdata`:

    ``.shapes["<table_name>_<sample>"]``
        Squares in the sample's coordinate system (µm where the readers made it).
    ``[table_name]``
        One row per tile, annotating them: ``obs`` with `sample`, `patient` and the other columns of
        ``sdata["samples"]``, `tissue` (share), `n_cells` (that have a label), `label`, `label_share`;
        ``obsm["spatial"]`` the centre;
        ``obsm[key_added]`` and its record in ``uns["spatialfm"][key_added]``.

    Raises
    ------
    ElementError, CoordinateError, PixelSizeError, PanelError, ModelError, TableError
        Before any tile is encoded.
    RunError
        If reading, encoding or writing fails on the way; finished blocks are kept.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sdata = sfm.datasets.simulate_cohort(n_patients=2, n_samples=1, image_size=128, difficulty="easy")
    >>> sfm.tl.embed_tiles(sdata, "mean-intensity", size=32)
    >>> tiles = sdata["tiles"]
    >>> tiles.obsm["X_mean_intensity"].shape == (tiles.n_obs, 12)
    True
    """
    from ...embed.call import image_elements, request_of
    from ...embed.inputs import prepare_inputs
    from ...embed.windows.grid import plan_grid
    from ...pp.elements import match_elements
    from ...pp.off_labels import say_off_labels

    meant = image_elements(elements, recipe)
    pairs = match_elements(sdata, meant.image, {}, samples=samples, need_labels=False)
    cells = _cells(sdata, cell_table_name, cluster_key)
    if cells is not None:
        say_off_labels(sdata, pairs, cells, cell_table_name, cells.obs[SAMPLE_KEY].astype(str).to_numpy())
    if not copy:
        _check_elements(sdata, table_name, pairs)
    check_embedding_key(key_added)
    devices = check_run(Run.of(run))
    encoder = load_encoder(model, weights, adapter).to(devices[0])
    request = request_of(
        encoder,
        markers=markers,
        outputs=outputs,
        panel=panel,
        recipe=recipe,
        reduce=reduce,
        run=run,
        elements=meant,
        cells=False,
    )
    inputs = prepare_inputs(sdata, pairs, encoder, request, tiles=True)
    plan, grid = plan_grid(inputs, size, stride, min_tissue)
    results, seconds = run_plan(plan, request, devices, choose_components(request, len(grid.sample), "tiles"))
    squares = [
        _squares(sdata, pair, grid, number, plan.job.window * inputs.ratios[number], inputs.ratios[number])
        for number, pair in enumerate(pairs)
    ]
    table = _table(sdata, pairs, grid, squares, cells, cluster_key, table_name)
    keys = output_keys(encoder, plan.job.outputs, key_added)
    for output, result in results.items():
        write_result(
            table,
            keys[output],
            result,
            result.values,
            plan,
            output,
            dtype=request.run.precision,
            n_tiles=table.n_obs,
            seconds=seconds,
        )
    if not copy:
        for element in _squares_of(sdata, table_name):
            del sdata.shapes[element]
        for pair, shapes in zip(pairs, squares, strict=True):
            sdata.shapes[f"{table_name}_{pair.sample}"] = shapes
        sdata.tables[table_name] = table
    logger.info(f"{', '.join(keys.values())}: {counted(table.n_obs, 'tile')} in {seconds:.1f} s")
    return table if copy else None


def _squares_of(sdata: SpatialData, table_name: str) -> list[str]:
    """Squares of an earlier call that wrote the same table; other tables have their own squares."""
    if table_name not in sdata.tables or TILE_KEY not in sdata.tables[table_name].obs:
        return []
    regions = sdata.tables[table_name].obs[REGION_KEY].astype(str).unique()
    return [name for name in regions if name in sdata.shapes and name.startswith(f"{table_name}_")]


def _check_elements(sdata: SpatialData, table_name: str, pairs: Sequence[SampleElements]) -> None:
    """Refuse names that other elements have, as names are unique in a SpatialData."""
    names = [f"{table_name}_{pair.sample}" for pair in pairs]
    for kind in ("images", "labels", "points", "tables"):
        if taken := [name for name in names if name in getattr(sdata, kind)]:
            raise ElementError(
                f"Tiles cannot be written as shapes {taken[0]!r}: sdata.{kind} holds one of that name. Pass another "
                "table_name=."
            )


def _cells(sdata: SpatialData, table_name: str, cluster_key: str | None) -> AnnData | None:
    if cluster_key is None:
        return None
    if table_name not in sdata.tables:
        raise TableError(
            f"No table {table_name!r} to take {cluster_key!r} from (cluster_key=). Make it with sfm.pp.cell_table."
        )
    cells = sdata.tables[table_name]
    if cluster_key not in cells.obs:
        raise TableError(f"No column {cluster_key!r} in table {table_name!r}; it has {', '.join(map(str, cells.obs))}.")
    lacking = [f"obs[{SAMPLE_KEY!r}]"] * (SAMPLE_KEY not in cells.obs) + [f"obsm[{SPATIAL!r}]"] * (
        SPATIAL not in cells.obsm
    )
    if lacking:
        raise TableError(
            f"Table {table_name!r} has no {' and no '.join(lacking)}: the tile of a cell is undecidable. "
            "sfm.pp.cell_table makes a table that has both; name it with cell_table_name=."
        )
    coordinates(cells, finite=False)  # before any tile is encoded
    return cells


def _squares(
    sdata: SpatialData, pair: SampleElements, grid: Grid, number: int, side: float, ratio: float
) -> GeoDataFrame:
    """Tiles of one sample as a shapes element, in the coordinates of its system."""
    from geopandas import GeoDataFrame
    from shapely import box
    from spatialdata.models import ShapesModel
    from spatialdata.transformations import Identity

    from ...pp.elements import image_to_system

    to_system = image_to_system(sdata, pair)
    corners = grid.starts[grid.sample == number] * ratio
    (y0, x0), (y1, x1) = to_system(*corners.T), to_system(*(corners + side).T)
    frame = GeoDataFrame({"geometry": box(x0, y0, x1, y1)}, index=np.arange(1, len(corners) + 1))
    return ShapesModel.parse(frame, transformations={pair.coordinate_system: Identity()})


def _table(
    sdata: SpatialData,
    pairs: Sequence[SampleElements],
    grid: Grid,
    squares: Sequence[GeoDataFrame],
    cells: AnnData | None,
    cluster_key: str | None,
    table_name: str,
) -> AnnData:
    from anndata import AnnData
    from spatialdata.models import TableModel

    samples = np.array([pair.sample for pair in pairs])[grid.sample]
    numbers = np.concatenate([frame.index.to_numpy() for frame in squares])
    bounds = np.concatenate([frame.bounds.to_numpy() for frame in squares])
    obs = grid_obs(sdata, samples, numbers, grid.coverage, prefix=f"{table_name}_", instance_key=TILE_KEY, kind="tile")
    if cells is not None and cluster_key is not None:
        obs = obs.join(majority_labels(samples, bounds, cells, cluster_key, obs.index))
    centers = np.stack([bounds[:, [0, 2]].mean(1), bounds[:, [1, 3]].mean(1)], axis=1)
    table = AnnData(obs=obs, obsm={SPATIAL: centers}, uns={UNS: {TABLE: record_of_units(sdata, pairs)}})
    regions = [f"{table_name}_{pair.sample}" for number, pair in enumerate(pairs) if (grid.sample == number).any()]
    carry_outcome(sdata.tables.get(SAMPLES), table)
    return TableModel.parse(table, region=regions, region_key=REGION_KEY, instance_key=TILE_KEY)


def majority_labels(
    samples: np.ndarray, bounds: np.ndarray, cells: AnnData, cluster_key: str, index: pd.Index
) -> pd.DataFrame:
    """Number of labelled cells in each tile, their commonest label and its share.

    A cell is in every tile that holds its centroid; cells without a label do not count, and of labels that are equally
    common the first category is taken.
    """
    labels = named(cells.obs[cluster_key], "cluster_key")
    codes, names = labels.cat.codes.to_numpy(), labels.cat.categories
    of_cells, position = cells.obs[SAMPLE_KEY].astype(str).to_numpy(), coordinates(cells, finite=False)[:, :2]
    counts = np.zeros((len(samples), len(names)), np.int64)
    for sample in np.unique(samples):
        in_sample = np.flatnonzero((of_cells == sample) & (codes >= 0))
        x, y = position[in_sample].T
        for tile in np.flatnonzero(samples == sample):
            x0, y0, x1, y1 = bounds[tile]
            inside = (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
            counts[tile] = np.bincount(codes[in_sample[inside]], minlength=len(names))
    total = counts.sum(axis=1)
    best = pd.Categorical.from_codes(np.where(total > 0, counts.argmax(axis=1), -1), names)
    share = np.divide(counts.max(axis=1), total, out=np.full(len(total), np.nan), where=total > 0)
    return pd.DataFrame({"n_cells": total, "label": best, "label_share": share}, index=index)
