"""Labels of tiles from the cells below them, pixel by pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..._errors import ElementError, TableError, listed
from ..._keys import SAMPLE_KEY, TABLE, TILES
from ..._progress import progress_bar
from ..._public import public
from ...pp.annotated import annotated_cells
from ...pp.arrays import holds_cells
from ...pp.drawn_cells import cells_data
from ...pp.elements import labels_to_system, match_elements
from ...pp.tiles import pixels_of_labels, tile_bounds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spatialdata import SpatialData


@public
def tile_labels(
    sdata: SpatialData,
    cluster_key: str,
    *,
    labels: str | Sequence[str] | Mapping[str, str] | None = None,
    image: str | Sequence[str] | Mapping[str, str] | None = None,
    table_name: str = TILES,
    cell_table_name: str = TABLE,
    key_added: str = "pixel_label",
) -> None:
    """Label every tile by the most common label among its annotated pixels.

    KRONOS's segmentation-free phenotyping (Online Methods, *Patch-level segmentation-free phenotyping*): every pixel
    takes the label of its cell, and the majority of a tile's pixels decides. How pure a tile is comes along, so that
    scores can be given for tiles of which at least 20, 40, ... % of the annotated pixels agree (`dominance=` of
    `spatialfm.tl.evaluate_annotation`).

    Parameters
    ----------
    sdata
        Tiles (`spatialfm.tl.embed_tiles`), label images, and a cell table.
    cluster_key
        Column of the cell table with the labels; cells without one are not annotated.
    labels
        Label elements, by default those that the cell table annotates.
    image
        Images of the tiles, if their names are not ``image_<sample>``.
    table_name
        Table of tiles.
    cell_table_name
        Table of cells.
    key_added
        Column of the tile table.

    Returns
    -------
    None. Written into ``sdata[table_name].obs``: `key_added` (missing where no pixel is annotated),
    ``<key_added>_share`` (share of the annotated pixels that have it) and ``<key_added>_cover`` (share of the tile's
    pixels that are annotated).

    Raises
    ------
    TableError, ElementError
        If tables, columns or label elements are missing.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=96, difficulty="easy")
    >>> sfm.pp.cell_table(sdata)
    >>> sdata["table"].obs["size"] = (sdata["table"].obs["area"] > 40).map({True: "large", False: "small"})
    >>> sfm.tl.embed_tiles(sdata, "mean-intensity", size=32)
    >>> sfm.tl.tile_labels(sdata, "size")
    >>> sdata["tiles"].obs["pixel_label"].isin(["large", "small"]).any()
    np.True_
    """
    for name, call in ((table_name, "sfm.tl.embed_tiles"), (cell_table_name, "sfm.pp.cell_table")):
        if name not in sdata.tables:
            raise TableError(f"No table {name!r} in sdata; found {listed(sdata.tables)}. Make it with {call}.")
    tiles, cells = sdata.tables[table_name], sdata.tables[cell_table_name]
    if cluster_key not in cells.obs:
        raise TableError(f"No column {cluster_key!r} in table {cell_table_name!r}; found {listed(cells.obs, 12)}.")
    codes, names = pd.factorize(cells.obs[cluster_key].astype(object), sort=True)
    regions, ids = annotated_cells(cells, cell_table_name, sdata)
    counts = np.zeros((tiles.n_obs, len(names)), np.int64)
    area = np.zeros(tiles.n_obs, np.int64)
    of_tiles = tiles.obs[SAMPLE_KEY].astype(str).to_numpy()
    pairs = match_elements(sdata, image, labels, samples=list(np.unique(of_tiles)), table_name=cell_table_name)
    bounds = tile_bounds(sdata, tiles, pairs)
    for pair in progress_bar(
        pairs,
        desc="tile labels",
        unit="image",
    ):
        in_sample = np.flatnonzero(of_tiles == pair.sample)
        rows = np.flatnonzero(regions == pair.labels)
        if not len(rows) and not holds_cells(sdata, pair.labels):
            continue
        if not len(rows):
            raise ElementError(f"Table {cell_table_name!r} annotates no cell of {pair.labels!r}. Pass labels=.")
        order = rows[np.argsort(ids[rows])]
        to_labels = labels_to_system(sdata, pair).inverse()
        counts[in_sample], area[in_sample] = pixels_of_labels(
            cells_data(sdata, pair), bounds[in_sample], to_labels, ids[order], codes[order], len(names)
        )
    total = counts.sum(axis=1)
    best = np.where(total > 0, counts.argmax(axis=1), -1)
    tiles.obs[key_added] = pd.Categorical.from_codes(best, [str(name) for name in names])
    top = counts.max(axis=1, initial=0)
    tiles.obs[f"{key_added}_share"] = np.divide(top, total, out=np.full(len(total), np.nan), where=total > 0)
    tiles.obs[f"{key_added}_cover"] = total / np.maximum(area, 1)
