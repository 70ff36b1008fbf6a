"""Which clusters surround each cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..._coordinates import column_of_several
from ..._coordinates import coordinates as coordinates_of
from ..._errors import TableError, counted, warn
from ..._fingerprint import DATA, fingerprint
from ..._keys import SAMPLE_KEY, SPATIAL
from ..._logging import logger
from ..._public import public
from ..._storable import write_uns
from ...cohort.checks import check_anndata, codes_by_appearance, codes_of, listed, obs_column, order_of_places
from ...cohort.doubled import say_doubled
from ...cohort.overlaid import check_overlaid
from ...pp.units import say_unit
from ...stats.neighbours import neighbor_fractions

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy.sparse import spmatrix


@public
def neighborhood_composition(
    adata: AnnData,
    cluster_key: str,
    *,
    library_key: str | None = SAMPLE_KEY,
    radius: float | None = None,
    n_neighbors: int | None = None,
    include_self: bool = False,
    spatial_key: str = SPATIAL,
    key_added: str = "neighborhood_composition",
    copy: bool = False,
) -> pd.DataFrame | None:
    """Fractions of the clusters among the spatial neighbours of each cell.

    Neighbours come from squidpy's graph and never from another library. Clustering the result gives niches
    (recurrent cellular neighbourhoods; Schuerch et al., Cell 2020, "Neighborhood identification").

    Parameters
    ----------
    adata
        Cell table, one row per cell.
    cluster_key
        Column of ``obs`` with the phenotype or cluster of each cell.
    library_key
        Column of ``obs`` with the sample (the usual one need not be there); None only where there is one sample.
    radius
        Neighbours are the cells within this distance (in the units of ``obsm[spatial_key]``, µm where the readers
        made it), the distance itself included. Exactly one of `radius` and `n_neighbors` is given.
    n_neighbors
        Neighbours are this many nearest cells.
    include_self
        Whether a cell counts among its own neighbours.
    spatial_key
        Key of ``obsm`` with the coordinates.
    key_added
        Key of ``obsm`` and ``uns`` that is written.
    copy
        Return the fractions alone, a table of cells by clusters. The number of cells without neighbours and ``params``
        are only written.

    Returns
    -------
    None, or with `copy` a table of cells by clusters. Writes ``obsm[key_added]``, float32 ``(n_cells, n_clusters)``,
    whose rows add up to 1, or to 0 for a cell without neighbours, and ``uns[key_added]`` with ``categories`` (the
    columns), ``n_without_neighbors`` and ``params``. No graph is written, and one that is there stays as it is.

    Raises
    ------
    TableError
        If a column or the coordinates are missing or incomplete, if neither or both of `radius` and `n_neighbors` are
        given, if there are several samples but no `library_key`, or if a library has too few cells for `n_neighbors` or
        is of patients whose cells lie over each other.

    Examples
    --------
    >>> import anndata as ad, numpy as np, pandas as pd
    >>> import spatialfm as sfm
    >>> cells = ad.AnnData(
    ...     obs=pd.DataFrame({"type": ["T", "T", "B", "B"]}, index=list("abcd")),
    ...     obsm={"spatial": np.array([[0.0, 0.0], [8.0, 0.0], [16.0, 0.0], [90.0, 0.0]])},
    ... )
    >>> sfm.tl.neighborhood_composition(cells, "type", radius=10, copy=True).round(2)
         B    T
    a  0.0  1.0
    b  0.5  0.5
    c  0.0  1.0
    d  0.0  0.0
    """
    check_anndata(adata, "neighborhood_composition", None if copy else key_added)
    radius, n_neighbors = _check_size(radius, n_neighbors)
    codes, categories = codes_of(obs_column(adata, cluster_key, "cluster_key"))
    if library_key == SAMPLE_KEY and SAMPLE_KEY not in adata.obs:
        library_key = None
    libraries = _libraries(adata, library_key, n_neighbors)
    coordinates = coordinates_of(adata, spatial_key)
    check_overlaid(adata, coordinates, np.asarray(libraries.codes), library_key)
    unit = say_radius(adata, coordinates, libraries, radius)

    graph = _spatial_graph(coordinates, libraries, radius, n_neighbors, adata.obs_names)
    fractions, alone = neighbor_fractions(graph, codes, len(categories), include_self)
    if alone.any():
        warn(
            f"{int(alone.sum())} of {adata.n_obs} cells have no neighbour; their row of obsm[{key_added!r}] is zero. "
            "Raise radius=, or pass n_neighbors= instead."
        )
    if copy:
        return pd.DataFrame(fractions, index=adata.obs_names, columns=categories)
    size = {"radius": radius} if radius is not None else {"n_neighbors": n_neighbors}
    adata.obsm[key_added] = fractions
    record = {
        "categories": np.array(categories, dtype=object),
        "n_without_neighbors": int(alone.sum()),
        "params": {
            "cluster_key": cluster_key,
            "library_key": library_key or "",
            "spatial_key": spatial_key,
            "include_self": include_self,
            DATA: fingerprint(adata, [cluster_key, library_key], obsm=[spatial_key]),
            **size,
            **unit,
        },
    }
    write_uns(adata, key_added, record)
    logger.info("Wrote obsm[%r]: %d cells by %d clusters.", key_added, adata.n_obs, len(categories))
    return None


def _check_size(radius: float | None, n_neighbors: int | None) -> tuple[float | None, int | None]:
    if (radius is None) == (n_neighbors is None):
        raise TableError(
            f"Pass exactly one of radius= (µm) and n_neighbors=; got radius={radius}, n_neighbors={n_neighbors}."
        )
    return (None if radius is None else float(radius)), (None if n_neighbors is None else int(n_neighbors))


def say_radius(adata: AnnData, coordinates: np.ndarray, libraries: pd.Categorical, radius: float | None) -> dict:
    """Unit of a radius for the record, after a warning where it is not µm; empty without a radius."""
    if radius is None:
        return {}
    return {"radius_unit": say_unit(adata.uns, coordinates, np.asarray(libraries.codes), f"radius={radius:g}")}


def _libraries(
    adata: AnnData, library_key: str | None, n_neighbors: int | None, *, takes_radius: bool = True
) -> pd.Categorical:
    if library_key is None:
        if (key := column_of_several(adata)) is not None:
            raise TableError(
                f"adata holds {counted(adata.obs[key].nunique(), 'sample')} in obs[{key!r}], and cells of one "
                f'sample are not neighbours of another\'s. Pass library_key="{key}".'
            )
        codes, names = np.zeros(adata.n_obs, dtype=int), ["all cells"]
    else:
        codes, names = codes_by_appearance(obs_column(adata, library_key, "library_key"))
        say_doubled(adata, codes, names, library_key)
    sizes = np.bincount(codes, minlength=len(names))
    if n_neighbors is not None and (small := np.flatnonzero(sizes <= n_neighbors)).size:
        first, fewest = names[small[0]], int(sizes[small].min())
        ways = ["pass radius= instead"] if takes_radius else []
        ways += [f"pass n_neighbors= of at most {fewest - 1}"] if fewest > 1 else []
        if library_key is not None and small.size < len(names):
            ways.append(f'leave the library out: adata[adata.obs["{library_key}"].astype(str) != "{first}"].copy()')
        advice = ", or ".join(ways) or "leave these cells out"
        raise TableError(
            f"{small.size} of {len(names)} libraries have too few cells for n_neighbors={n_neighbors}: "
            f"{listed(f'{names[i]} ({sizes[i]} cells)' for i in small)}. {advice[0].upper()}{advice[1:]}."
        )
    return pd.Categorical.from_codes(codes, names)


def _spatial_graph(
    coordinates: np.ndarray, libraries: pd.Categorical, radius: float | None, n_neighbors: int | None, names: pd.Index
) -> spmatrix:
    """Graph of squidpy ``(n, n)``, on a separate table so that nothing of the user's is overwritten.

    Of cells that are equally far away the first ones are neighbours: they are taken by place and name, so that the
    order of the table does not matter.
    """
    import squidpy as sq
    from anndata import AnnData

    order = order_of_places(coordinates, names)
    coordinates, libraries, back = coordinates[order], libraries[order], np.argsort(order)
    index = pd.RangeIndex(len(coordinates)).astype(str)
    bare = AnnData(obs=pd.DataFrame({"library": libraries}, index=index), obsm={SPATIAL: coordinates})
    common = {"spatial_key": SPATIAL, "library_key": "library", "copy": True}
    if not hasattr(sq.gr, "spatial_neighbors_radius"):  # squidpy before 1.8
        size = {"radius": radius} if radius is not None else {"n_neighs": n_neighbors}
        graph = sq.gr.spatial_neighbors(bare, coord_type="generic", **size, **common)[0]
    elif radius is not None:
        graph = sq.gr.spatial_neighbors_radius(bare, radius=radius, **common)[0]
    else:
        graph = sq.gr.spatial_neighbors_knn(bare, n_neighs=n_neighbors, **common)[0]
    return graph[back][:, back]
