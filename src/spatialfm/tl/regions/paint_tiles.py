"""Labels of tiles, back on the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..._errors import PixelSizeError, TableError, listed
from ..._keys import SAMPLE_KEY, TILES
from ..._logging import logger
from ..._public import public
from ..._storable import default_key
from ...pp.class_maps import check_names, natural_step, owners, record_map
from ...pp.maps import labels_element
from ...pp.tiles import square_grid

if TYPE_CHECKING:
    from spatialdata import SpatialData


@public
def paint_tiles(
    sdata: SpatialData,
    cluster_key: str,
    *,
    samples: Sequence[str] | None = None,
    image: str | Sequence[str] | Mapping[str, str] | None = None,
    mpp: float | None = None,
    table_name: str = TILES,
    key_added: str | None = None,
) -> None:
    """Turn labels of tiles into a labels element of every sample, as a mask that other tools read.

    KRONOS's maps of segmentation-free phenotypes (Fig. 3C; Online Methods, *Patch-level segmentation-free phenotyping*:
    tiles of 32 pixels every 16). Where tiles overlap, a pixel belongs to the one whose centre is nearest.

    Parameters
    ----------
    sdata
        With tiles from `spatialfm.tl.embed_tiles`.
    cluster_key
        Column of the table's ``obs``: labels such as predictions, a cluster. Tiles without label are not painted.
    samples
        Samples to paint (default: all that have tiles).
    image
        Images of the tiles, if their names are not ``image_<sample>``.
    mpp
        Size of a pixel of the map, in the units of the coordinate system (µm). Default: the largest that shows every
        border between two tiles where it is: their distance, or half of it where they overlap by halves.
    table_name
        Table of the tiles.
    key_added
        Name of the elements before the sample; default `cluster_key`.

    Returns
    -------
    None. Written into `sdata`:

    ``.labels["<key_added>_<sample>"]``
        0: no labelled tile; ``i + 1``: category ``i`` of the column. Lies on the image, with a scale, in all of its
        coordinate systems.
    ``.attrs["spatialfm"]["maps"]["<key_added>_<sample>"]``
        ``categories``, their ``colors`` where ``uns["<cluster_key>_colors"]`` has them, ``table`` and ``key``.

    Raises
    ------
    TableError, ElementError, CoordinateError
        If table, column, tiles or images are missing, or an element of another kind has the name.
    PixelSizeError
        If `mpp` is not a size of a pixel.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=128, difficulty="easy")
    >>> sfm.tl.embed_tiles(sdata, "mean-intensity", size=32, stride=16)
    >>> sfm.tl.tissue_clusters(sdata["tiles"], 3, use_rep="X_mean_intensity")
    >>> sfm.tl.paint_tiles(sdata, "tissue_cluster")
    >>> sdata["tissue_cluster_P001_1"].shape  # pixels of 8 of the image's
    (16, 16)
    >>> sdata.attrs["spatialfm"]["maps"]["tissue_cluster_P001_1"]["categories"]
    ['1', '2', '3']
    """
    from ...pp.arrays import image_array
    from ...pp.elements import image_to_system, match_elements
    from ...pp.tiles import tile_bounds

    if table_name not in sdata.tables:
        raise TableError(f"No table {table_name!r}; found {listed(sdata.tables)}. Make it with sfm.tl.embed_tiles.")
    table = sdata.tables[table_name]
    codes, names = _codes(table.obs, cluster_key, table_name)
    if mpp is not None and not (np.isfinite(mpp) and mpp > 0):
        raise PixelSizeError(f"mpp={mpp} is not a size of a pixel. Pass a positive number.")
    of_tiles = table.obs[SAMPLE_KEY].astype(str).to_numpy()
    present = list(dict.fromkeys(of_tiles)) if samples is None else samples
    pairs = match_elements(sdata, image, {}, samples=present, need_labels=False)
    if bare := [pair.sample for pair in pairs if pair.sample not in set(of_tiles)]:
        raise TableError(f"No tile of sample {bare[0]!r}; there are {listed(dict.fromkeys(of_tiles), 8)}.")
    key_added = default_key(cluster_key) if key_added is None else key_added
    check_names(sdata, [f"{key_added}_{pair.sample}" for pair in pairs], "key_added")
    bounds = tile_bounds(sdata, table, pairs)
    for pair in pairs:
        in_sample = np.flatnonzero((of_tiles == pair.sample) & (codes >= 0))
        to_system = image_to_system(sdata, pair)
        corners, side, spacing = square_grid(bounds[of_tiles == pair.sample], to_system.inverse())
        step = natural_step(side, spacing) if mpp is None else mpp / to_system.scale_x
        drawn = codes[of_tiles == pair.sample] >= 0
        owner = owners(corners[drawn], side, step, image_array(sdata, pair.image).shape[-2:])
        element = f"{key_added}_{pair.sample}"
        painted = np.append(0, codes[in_sample] + 1).astype(np.min_scalar_type(len(names)))[owner]
        sdata.labels[element] = labels_element(sdata, pair, painted, step, len(names))
        record_map(
            sdata,
            element,
            table=table_name,
            key=cluster_key,
            names=names,
            colors=table.uns.get(f"{cluster_key}_colors"),
        )
    logger.info("painted %d categories of %r on %d images", len(names), cluster_key, len(pairs))


def _codes(obs: pd.DataFrame, key: str, table_name: str) -> tuple[np.ndarray, list[str]]:
    """Categories of a column; numbers that are not labels are refused."""
    if key not in obs:
        raise TableError(f"No column {key!r} in table {table_name!r}; found {listed(obs, 12)}.")
    column = obs[key]
    if pd.api.types.is_float_dtype(column) and not (column.dropna() % 1 == 0).all():
        raise TableError(f"Column {key!r} of table {table_name!r} holds numbers, not labels. Cut it with pandas.cut.")
    column = column.astype("category")
    if column.isna().all():
        raise TableError(f"No tile has a label in column {key!r} of table {table_name!r}.")
    return column.cat.codes.to_numpy().astype(np.int64), [str(name) for name in column.cat.categories]
