"""Clusters of pixels, and of the cells that they make up: a baseline without a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from ..._errors import TableError, counted, warn
from ..._keys import TABLE
from ..._logging import logger
from ..._progress import progress_bar
from ..._public import public
from ..._ranges import at_least, between
from ..._storable import check_key, write_uns
from ...cohort.replaced import remove_earlier
from ...embed.call import CALL_FIELDS, Elements, Panel
from ...embed.pixels.profiles import Profiles, ceiling_of, profiles_of, some_pixels
from ...embed.pixels.quantiles import streamed_quantiles
from ...learn.som import meta_clusters, nearest_nodes, train_som
from ...pp.measure import rows_of

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

    from ...embed.pixels.reader import SampleReader
    from ...embed.windows.cells import Cells

CELL_QUANTILE = 0.999  # of the frequencies that are not 0: what a frequency is divided by
TRAIN_SHARE = 0.1  # of the pixels


@public(fields=CALL_FIELDS)
def pixie(
    sdata: SpatialData,
    *,
    markers: Sequence[str] | None = None,
    samples: Sequence[str] | None = None,
    n_pixel_clusters: Annotated[int, at_least(2)] = 20,
    n_clusters: Annotated[int, at_least(2)] = 20,
    side: Annotated[int, between(2, 30)] = 10,
    blur: Annotated[float, at_least(0.0)] = 2.0,
    max_pixels: Annotated[int, at_least(1)] = 1_000_000,
    panel: Panel | Mapping[str, Any] | None = None,
    elements: Elements | Mapping[str, Any] | None = None,
    table_name: str = TABLE,
    on_missing: Literal["raise", "drop"] = "raise",
    on_nan: Literal["raise", "zero"] = "raise",
    random_state: Annotated[int, between(0, 4294967295)] = 0,
    key_added: str = "pixie",
) -> None:
    """Cluster pixels, then cells by the pixels that they are made of.

    Pixie (Liu et al. 2023, Nature Communications 14, 4618), which needs no weights and no graphics card, and which in a
    public comparison came out ahead of several foundation models: a baseline of phenotypes to beat.

    1. Each marker is divided by the mean over images of its 99th percentile (of pixels that are not 0). Pixels are
       blurred by a Gaussian. Those whose markers sum up to no more than the mean over images of the fifth percentile of
       the sums (before the blur) are left out; of the others each marker becomes a share of the pixel's sum.
    2. Shares are divided by the mean over images of each marker's 99.9th percentile. A self-organising map of
       ``side x side`` nodes learns from a tenth of the pixels, and every pixel belongs to its nearest node.
    3. The nodes' means over all pixels, standardised and cut at three, are joined into clusters by Ward's criterion.
    4. A cell is the frequencies of its pixels' clusters (pixels of the cluster, over all pixels of the cell), each
       divided by its 99.9th percentile. These go through steps 2 and 3 again, with a map of their own.

    Images are read square by square, several times, and no more than `max_pixels` profiles are held.

    Parameters
    ----------
    sdata
        Images ``(c, y, x)`` and their cells, as `spatialfm.tl.embed_cells` takes them.
    markers
        Markers to cluster by (default: all that every sample has). Pixie's authors take lineage markers.
    samples
        Samples to use (default: all).
    n_pixel_clusters
        Clusters of pixels.
    n_clusters
        Clusters of cells.
    side
        Nodes of a map along one axis.
    blur
        Standard deviation of the Gaussian, in pixels. Images of different pixel sizes are brought to the coarsest.
    max_pixels
        Pixels that the map learns from at most. Where a tenth of all would be more, so many of them are drawn.
    panel
        Which channels are which markers: `spatialfm.Panel`, or a dict of its fields.
    elements
        Which images and labels, and their pixel size: `spatialfm.Elements`, or a dict of its fields.
    table_name
        Cell table; made with `spatialfm.pp.cell_table` where it does not exist.
    on_missing
        Rows without label, labels without row, cells outside of their image: an error, or left out.
    on_nan
        Pixels that are NaN or infinite: an error that names image, channel and number, or zero with a warning.
    random_state
        Seed of the pixels that are drawn and of the maps.
    key_added
        Key that is written.

    Returns
    -------
    None. Written into ``sdata[table_name]``:

    ``obs[key_added]``
        Cluster of each cell, ``"1"`` the largest; missing in cells without a pixel that counts, and of other samples.
    ``obsm[key_added + "_pixels"]``
        DataFrame of cells by clusters of pixels: share of the cell's pixels, float32; NaN in cells of other samples.
    ``uns[key_added]``
        ``pixel_clusters``: mean of each marker's scaled shares and ``n_pixels`` of each cluster of pixels;
        ``clusters``: mean frequency of each cluster of pixels and ``n_cells`` of each cluster of cells; ``nodes``: the
        nodes of the map of pixels, with their cluster (0: none) and ``n_pixels``; ``params``.

    Raises
    ------
    PanelError, PixelSizeError, ElementError, TableError
        Before images are read, if elements, markers, pixel sizes or rows do not fit together; later, if a marker is 0
        in all images, or there are fewer pixels, cells or nodes in use than nodes or clusters asked for.

    RunError
        If pixels are NaN or infinite.

    Warns
    -----
    SpatialfmWarning
        If cells have no pixel that counts, or pixels are negative, which count as 0.

    Notes
    -----
    The published pipeline names step 3 consensus clustering of ten resamplings. Its released code (ark-analysis,
    b26713b) asks for no number of clusters between the smallest and the largest, so that none is drawn, and labels are
    those of Ward's criterion on all nodes, as here. Maps are those of FlowSOM: start, order of pixels and ties depend
    on the seed, so that clusters of another implementation are alike, not equal.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=2, image_size=96, difficulty="easy")
    >>> sfm.tl.pixie(sdata, side=4, n_pixel_clusters=6, n_clusters=4)
    >>> sdata["table"].obs["pixie"].nunique()
    4
    """
    cells, table, readers, names = _planned(sdata, markers, samples, panel, elements, table_name, on_missing, on_nan)
    check_key(table, key_added)
    profiles = profiles_of(readers, names, blur)
    ceiling, sizes = ceiling_of(profiles)
    share = min(TRAIN_SHARE, max_pixels / sizes.sum())
    if share < TRAIN_SHARE:
        logger.info("pixie: the map learns from %.2g of the pixels, max_pixels=%d", share, max_pixels)
    learned = some_pixels(profiles, share, random_state) / ceiling.astype(np.float32)
    nodes = train_som(learned, side, random_state=random_state)
    del learned
    assigned = _assign(profiles, nodes, ceiling, cells)
    pixels = meta_clusters(assigned.means, assigned.sizes, n_pixel_clusters, "pixels")
    frequency = assigned.frequencies(pixels, n_pixel_clusters)
    order = np.lexsort((cells.labels, cells.sample))  # a map depends on the order of what it learns from
    of_cells = np.empty(len(order), int)
    of_cells[order] = _cell_clusters(frequency[order], side, n_clusters, random_state)

    params = {
        **{"markers": names, "n_pixel_clusters": n_pixel_clusters, "n_clusters": n_clusters, "side": side},
        **{"blur": blur, "train_share": share, "max_pixels": max_pixels, "random_state": random_state},
        **{"scale": profiles.scale, "least": profiles.least, "ceiling": ceiling, "table_name": table_name},
    }
    result = _tables(assigned, nodes, pixels, frequency, of_cells, names) | {"params": params}
    _write(table, cells, of_cells, frequency, result, key_added)
    if table_name not in sdata.tables:
        sdata[table_name] = table


def _planned(
    sdata: SpatialData,
    markers: Sequence[str] | None,
    samples: Sequence[str] | None,
    panel: Panel | Mapping[str, Any] | None,
    elements: Elements | Mapping[str, Any] | None,
    table_name: str,
    on_missing: Literal["raise", "drop"],
    on_nan: Literal["raise", "zero"],
) -> tuple[Cells, AnnData, list[SampleReader], list[str]]:
    """Cells, their table, a reader of each image, and the markers."""
    from ...embed.markers.panel import resolve_panel
    from ...embed.pixels.geometry import common_pixel_size, resampling_ratios
    from ...embed.pixels.odd_report import report_odd_pixels
    from ...embed.pixels.open import open_readers
    from ...embed.planned import table_of
    from ...embed.windows.cells import find_cells
    from ...pp.arrays import channel_names, image_array
    from ...pp.elements import match_elements
    from ...pp.missing_chunks import report_missing_chunks
    from ...pp.pixel_sizes import image_pixel_sizes
    from ...pp.statistics import ModelPixels
    from ...pp.units import intensity_ranges

    asked, named = Elements.of(elements), Panel.of(panel)
    pairs = match_elements(sdata, asked.image, asked.labels, samples=samples, table_name=table_name)
    resolved = resolve_panel(
        [channel_names(sdata, pair.image) for pair in pairs],
        markers=named.markers if markers is None else markers,
        mapping=named.mapping,
        on_unknown=named.on_unknown or "keep",
        nuisance=named.nuisance,
    )
    ranges = intensity_ranges({pair.sample: image_array(sdata, pair.image).dtype for pair in pairs}, None)
    sizes, any_size = image_pixel_sizes(sdata, pairs, asked.mpp, required=False, common=True), ModelPixels(None)
    ratios = resampling_ratios(any_size, sizes, resample=True, common=common_pixel_size(any_size, sizes))
    used = [None if size is None else size * ratio for size, ratio in zip(sizes, ratios, strict=True)]
    pairs = report_missing_chunks(sdata, list(pairs))
    table = table_of(sdata, table_name, pairs, on_missing, asked.on_pieces, None)
    cells = find_cells(sdata, pairs, table, table_name, on_missing, None, asked.on_pieces)
    if cells.of_points:
        raise TableError(
            "pixie counts the pixels of each cell, and points have none. Pass labels or outlines of cells."
        )
    readers = open_readers(
        sdata, pairs, resolved.channels, ratios, used, ranges=ranges, tissue="all", on_nan=on_nan, area=True
    )
    report_odd_pixels([pair.sample for pair in pairs], readers)
    return cells, table, readers, list(resolved.markers)


@dataclass(frozen=True)
class Assigned:
    """Nodes of all pixels: means of the scaled shares ``(K, M)``, pixels ``(K,)``, and counts of cells by nodes."""

    means: np.ndarray
    sizes: np.ndarray
    counts: csr_array  # (cells, K)
    pixels: np.ndarray  # of each cell, whether they count or not

    def frequencies(self, clusters: np.ndarray, n_clusters: int) -> np.ndarray:
        """Share of each cell's pixels that each cluster has, ``(cells, n_clusters)``."""
        used = np.flatnonzero(clusters >= 0)
        members = csr_array((np.ones(len(used)), (used, clusters[used])), shape=(len(clusters), n_clusters))
        return (self.counts @ members).toarray() / np.maximum(self.pixels, 1)[:, None]


def _assign(profiles: Profiles, nodes: np.ndarray, ceiling: np.ndarray, cells: Cells) -> Assigned:
    """Every pixel to its nearest node, and to its cell."""
    n_nodes, n_cells = len(nodes), len(cells.rows)
    sums, sizes, pixels = np.zeros(nodes.shape), np.zeros(n_nodes, np.int64), np.zeros(n_cells, np.int64)
    counts = csr_array((n_cells, n_nodes), dtype=np.int64)
    for number, reader in enumerate(progress_bar(profiles.readers, desc="clusters of pixels", unit="image")):
        own = np.flatnonzero(cells.sample == number)
        own = own[np.argsort(cells.labels[own])]
        for box, counting, values in profiles.blocks(number):
            scaled = values / ceiling
            node = nearest_nodes(nodes, scaled)
            member = csr_array((np.ones(len(node)), (node, np.arange(len(node)))), shape=(n_nodes, len(node)))
            sums += member @ scaled
            sizes += np.bincount(node, minlength=n_nodes)
            place = rows_of(cells.labels[own], reader.label_image(*box).ravel())
            in_cell = place >= 0
            pixels += np.bincount(own[place[in_cell]], minlength=n_cells)
            both = in_cell & counting.ravel()
            of_pixel = own[place[both]]
            node = node[in_cell[counting.ravel()]]
            counts += csr_array((np.ones(len(node), np.int64), (of_pixel, node)), shape=counts.shape)
    return Assigned(sums / np.maximum(sizes, 1)[:, None], sizes, counts, pixels)


def _cell_clusters(frequency: np.ndarray, side: int, n_clusters: int, random_state: int) -> np.ndarray:
    """Cluster of each cell, -1 for cells without a pixel that counts."""
    known = frequency.any(axis=1)
    if not known.all():
        warn(
            f"{counted(int((~known).sum()), 'cell has', 'cells have')} no pixel with enough signal, and "
            f"{'is' if (~known).sum() == 1 else 'are'} in no cluster."
        )
    values = frequency[known]
    if len(values) < side * side:
        raise TableError(
            f"A map of {side} x {side} nodes needs as many cells, and there are {len(values):,} with signal. Pass a "
            "smaller side=."
        )
    top = streamed_quantiles(lambda: [values.T.astype(np.float32)], values.shape[1], CELL_QUANTILE, positive=True)[0]
    scaled = values / np.where(np.isnan(top), 1, top)
    nodes = train_som(scaled, side, random_state=random_state)
    node = nearest_nodes(nodes, scaled)
    sizes = np.bincount(node, minlength=len(nodes))
    means = np.zeros(nodes.shape)
    np.add.at(means, node, scaled)
    clusters = meta_clusters(means / np.maximum(sizes, 1)[:, None], sizes, n_clusters, "cells")
    of_cells = np.full(len(frequency), -1)
    of_cells[known] = clusters[node]
    return of_cells


def _tables(
    assigned: Assigned,
    nodes: np.ndarray,
    pixels: np.ndarray,
    frequency: np.ndarray,
    of_cells: np.ndarray,
    markers: Sequence[str],
) -> dict[str, pd.DataFrame]:
    """Means of the clusters of pixels and of cells, and the nodes."""
    used, names = pixels >= 0, _names(frequency.shape[1])
    member = (pixels[used][None] == np.arange(len(names))[:, None]) * assigned.sizes[used]
    of_pixels = pd.DataFrame(member @ assigned.means[used] / member.sum(1, keepdims=True), names, markers)
    of_pixels["n_pixels"] = member.sum(axis=1)
    sizes = np.bincount(of_cells[of_cells >= 0])
    means = np.stack([frequency[of_cells == cluster].mean(axis=0) for cluster in range(len(sizes))])
    clusters = pd.DataFrame(means, _names(len(sizes)), names)
    clusters["n_cells"] = sizes
    table = pd.DataFrame(nodes, list(map(str, range(len(nodes)))), markers)
    table["cluster"], table["n_pixels"] = pixels + 1, assigned.sizes
    return {"pixel_clusters": of_pixels, "clusters": clusters, "nodes": table}


def _names(n: int) -> list[str]:
    return [str(number + 1) for number in range(n)]


def _write(
    table: AnnData, cells: Cells, of_cells: np.ndarray, frequency: np.ndarray, result: dict[str, Any], key: str
) -> None:
    names = _names(len(result["clusters"]))
    codes = np.full(table.n_obs, -1)
    codes[cells.rows] = of_cells
    labels = pd.Series(pd.Categorical.from_codes(codes, names), index=table.obs_names)
    remove_earlier(table, key, labels)
    table.obs[key] = labels
    shares = np.full((table.n_obs, frequency.shape[1]), np.nan, np.float32)
    shares[cells.rows] = frequency
    table.obsm[f"{key}_pixels"] = pd.DataFrame(shares, table.obs_names, _names(frequency.shape[1]))
    write_uns(table, key, result)
