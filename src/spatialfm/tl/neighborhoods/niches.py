"""Cellular neighborhoods: cells that live among the same others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..._errors import TableError, warn
from ..._fingerprint import DATA, fingerprint
from ..._keys import PATIENT_KEY
from ..._logging import logger
from ..._preparation import preparation, prepare
from ..._public import public
from ..._storable import write_uns
from ...cohort.checks import by_name, check_anndata
from ...cohort.circular import remember_groups
from ...cohort.depth import patient_weights
from ...cohort.replaced import remove_earlier
from ...cohort.representation import n_different, representation
from ...learn.column_order import OrderedColumns
from ...learn.heads.cells import class_means
from ...learn.k_means import k_means

if TYPE_CHECKING:
    from anndata import AnnData


@public
def niches(
    adata: AnnData,
    n_niches: int = 10,
    *,
    use_rep: str = "neighborhood_composition",
    patient_key: str | None = PATIENT_KEY,
    random_state: int = 0,
    key_added: str = "niche",
    copy: bool = False,
) -> pd.Series | None:
    """Group cells by the composition of their neighborhood.

    K-means on the fractions of cell types among the neighbours of each cell (Schürch et al., Cell 2020, *Neighborhood
    identification*: 10 neighborhoods from the 10 nearest cells). All samples share one set of niches.

    Parameters
    ----------
    adata
        Cells with ``obsm[use_rep]``, from `spatialfm.tl.neighborhood_composition`, or any embedding of niches.
    n_niches
        Niches.
    use_rep
        Key of ``obsm``. Fractions and embeddings are taken as they are, measured features are standardised.
    patient_key
        Column of ``obs`` with the patient (if there is none of the usual name: the sample), each of whom weighs
        alike in k-means, for any number of cells. None: each cell weighs alike, as published.
    random_state
        Seed of k-means, which is started 10 times; above 200,000 cells it goes through random parts (mini-batches).
    key_added
        Key that is written.
    copy
        Return the niches alone, a series of cells. Their sizes, compositions and enrichment are only written.

    Returns
    -------
    None, or with `copy` the niches. Written: ``obs[key_added]``, niches ``"1"``, ``"2"``, ... from the largest to the
    smallest; ``uns[key_added]`` with ``sizes`` (cells), ``composition`` (mean of `use_rep` in each niche),
    ``enrichment`` (of compositions: log2 of that over the mean of all cells; 0 is as usual, 1 twice as much) and
    ``params``.

    Raises
    ------
    TableError
        If compositions are missing, or fewer cells have different ones than there are niches.

    Warns
    -----
    SpatialfmWarning
        If a niche has no cells, and is left out.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=2, cells_per_patient=200, random_state=0)
    >>> sfm.tl.neighborhood_composition(cells, "type", library_key="sample", n_neighbors=10)
    >>> sfm.tl.niches(cells, 4)
    >>> cells.uns["niche"]["enrichment"].shape[0]
    4
    """
    check_anndata(adata, "niches", None if copy else key_added)
    if use_rep not in adata.obsm and use_rep == "neighborhood_composition":
        raise TableError(
            "No 'neighborhood_composition' in obsm. Make it with sfm.tl.neighborhood_composition(adata, <types>, "
            "library_key='sample', n_neighbors=10), or pass use_rep=."
        )
    ordered, place = by_name(adata)  # k-means starts from rows by their place
    values, how = representation(ordered, use_rep), preparation(adata, use_rep)
    scaled = prepare(values, how)
    # sums in one order, without what is the same in all: compositions are often as near to two centres
    scaled = np.ascontiguousarray(OrderedColumns().fit_transform(scaled))
    different = n_different(values, n_niches)
    if not 2 <= n_niches <= different:
        raise TableError(
            f"n_niches={n_niches} of {different} different neighborhoods. Pass 2 or more, at most as many."
        )
    weights, weighed = patient_weights(ordered, patient_key)
    model = k_means(n_niches, len(values), 10, random_state)
    codes = model.fit_predict(scaled, sample_weight=weights)
    order = np.argsort(-np.bincount(codes, minlength=n_niches), kind="stable")
    rank = np.empty(n_niches, int)
    rank[order] = np.arange(n_niches)
    codes = rank[codes]
    n_found = int(codes.max()) + 1  # those without cells are the last
    if n_found < n_niches:
        warn(
            f"n_niches={n_niches}, of which k-means found {n_found}: it can pass over neighborhoods of few cells. Pass "
            "fewer niches, or another random_state=."
        )
    names = [str(i + 1) for i in range(n_found)]
    niche = pd.Series(pd.Categorical.from_codes(codes[place], names), index=adata.obs_names, name=key_added)
    logger.info("%d cells in %d niches", len(niche), n_found)
    remember_groups(adata, "niches", use_rep, niche, written=not copy)
    if copy:
        return niche
    columns = np.asarray(adata.uns.get(use_rep, {}).get("categories", np.arange(values.shape[1])))
    index = pd.Index(names, name="niche")
    means = class_means(values, codes)
    record = {
        "sizes": pd.DataFrame({"n": np.bincount(codes)}, index=index),
        "composition": pd.DataFrame(means, index=index, columns=columns.astype(str)),
        "params": {"n_niches": n_niches, "use_rep": use_rep, "random_state": random_state, "preparation": how},
    }
    record["params"]["weights"] = weighed
    if (values >= 0).all():
        usual = np.maximum(values.mean(axis=0, dtype=np.float64), 1e-12)
        enrichment = np.log2(np.maximum(means, 1e-4) / np.maximum(usual, 1e-4))  # absent is at most 1 in 10,000
        record["enrichment"] = pd.DataFrame(enrichment, index=index, columns=columns.astype(str))
    remove_earlier(adata, key_added, niche)
    adata.obs[key_added] = niche
    record["params"][DATA] = fingerprint(adata, [key_added], obsm=[use_rep])
    write_uns(adata, key_added, record)
    return None
