"""States of cells: k-means on an embedding, the alphabet of a patient's fingerprint."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..._errors import TableError
from ..._keys import PATIENT_KEY
from ..._logging import logger
from ..._preparation import AS_IT_IS, STANDARDIZED, column_scale, preparation
from ..._public import public
from ..._storable import write_uns
from ...cohort.checks import by_name, check_anndata
from ...cohort.circular import remember_groups
from ...cohort.comparability import shared_columns, tell_another_unit
from ...cohort.depth import patient_weights
from ...cohort.replaced import remove_earlier
from ...cohort.representation import n_different, representation
from ...learn.k_means import k_means

if TYPE_CHECKING:
    from anndata import AnnData


@public
def cell_states(
    adata: AnnData,
    n_states: int = 120,
    *,
    use_rep: str,
    source: AnnData | None = None,
    standardize: bool | None = None,
    patient_key: str | None = PATIENT_KEY,
    random_state: int = 0,
    key_added: str = "state",
    copy: bool = False,
) -> pd.Series | None:
    """Divide cells into many states by k-means.

    VirTues (Methods, *Tissue structure-based risk stratification*): 120 clusters of the cells of all tissues; the
    shares of a patient's cells in them, from :func:`spatialfm.tl.composition`, are the patient's fingerprint, which
    :func:`spatialfm.tl.stratify` groups.

    Parameters
    ----------
    adata
        Cells with ``obsm[use_rep]``.
    n_states
        Number of states.
    use_rep
        Key of ``obsm``, or ``"X"``.
    source
        Cells whose states (``uns[key_added]``) are used in place of new ones: for a second cohort.
    standardize
        Whether columns are brought to mean 0 and standard deviation 1 first (default: measured features, as ``"X"`` and
        ``"X_mean_intensity"``, are; embeddings are used as their model's card states).
    patient_key
        Column of ``obs`` with the patient (if there is none of the usual name: the sample), each of whom weighs
        alike in k-means, for any number of cells: a patient with most of the cells would otherwise have most of the
        states. None: each cell weighs alike, as published.
    random_state
        Seed; k-means is started 3 times. Above 200,000 cells it goes through random parts (mini-batches).
    key_added
        Key that is written.
    copy
        Return the states alone, a series of cells. Their centers, which other cohorts are given states by, are only
        written.

    Returns
    -------
    None, or with `copy` the states. Written: ``obs[key_added]``, ``"1"`` to ``"<n_states>"`` from the largest to the
    smallest, and ``uns[key_added]`` with ``centers`` ``(n_states, columns)``, ``mean`` and ``sd`` of the columns, and
    ``params``.

    Raises
    ------
    TableError
        If there are fewer different cells than states, or the source has other columns.

    Warns
    -----
    SpatialfmWarning
        If the columns are in another unit than those of the source.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=6, cells_per_patient=100, random_state=0)
    >>> sfm.tl.cell_states(cells, 20, use_rep="X_latent")
    >>> patients = sfm.tl.composition(cells, "state", patient_key="patient")
    >>> sfm.tl.stratify(patients, 2)
    >>> patients.shape
    (6, 20)
    """
    check_anndata(adata, "cell_states", None if copy else key_added)
    ordered, place = by_name(adata)  # k-means starts from rows by their place
    values = representation(ordered, use_rep).astype(np.float32)
    if source is None:
        how = {None: preparation(adata, use_rep), True: STANDARDIZED, False: AS_IT_IS}[standardize]
        weights, weighed = patient_weights(ordered, patient_key)
        record = _fit(values, n_states, how, weights, random_state)
        record["params"] = {"n_states": n_states, "use_rep": use_rep, "random_state": random_state, "preparation": how}
        record["params"]["weights"] = weighed
    else:
        record = _known(source, key_added, use_rep)
        theirs, ours = _columns(source, adata, use_rep, record["centers"].shape[1])
        values = values[:, ours]
        tell_another_unit(values, representation(source, use_rep, "source")[:, theirs], f"{use_rep!r} (use_rep=)")
    codes = _nearest((values - record["mean"]) / record["sd"], record["centers"])
    names = [str(i + 1) for i in range(len(record["centers"]))]
    states = pd.Series(pd.Categorical.from_codes(codes[place], names), index=adata.obs_names, name=key_added)
    logger.info("%d cells in %d states", len(states), len(names))
    remember_groups(adata, "cell_states", use_rep, states, written=not copy)
    if copy:
        return states
    remove_earlier(adata, key_added, states)
    adata.obs[key_added] = states
    write_uns(adata, key_added, record)
    return None


def _fit(
    values: np.ndarray, n_states: int, how: str, weights: np.ndarray | None, random_state: int
) -> dict[str, np.ndarray]:
    mean, sd = column_scale(values, how)
    different = n_different(values, n_states)
    if not 2 <= n_states <= different:
        raise TableError(
            f"{different} different cells cannot be separated into {n_states} states. Pass 2 or more, at most as many "
            "as there are."
        )
    model = k_means(n_states, len(values), 3, random_state).fit((values - mean) / sd, sample_weight=weights)
    order = np.argsort(-np.bincount(model.labels_, minlength=n_states), kind="stable")
    return {"centers": model.cluster_centers_[order].astype(np.float32), "mean": mean, "sd": sd}


def _known(source: AnnData, key: str, use_rep: str) -> dict:
    record = source.uns.get(key)
    if not isinstance(record, dict) or "centers" not in record:
        raise TableError(f"The source has no states in uns[{key!r}]. Make them with sfm.tl.cell_states(source, ...).")
    made_of = str(record.get("params", {}).get("use_rep", use_rep))
    if made_of != use_rep:
        raise TableError(f"The states of the source were made of {made_of!r}. Pass use_rep={made_of!r}.")
    return dict(record)


def _columns(source: AnnData, adata: AnnData, use_rep: str, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns that the states were made of, and those of the cells in that order; of other ones they mean nothing."""
    theirs, ours = shared_columns(source, adata, use_rep)
    if len(theirs) != width:
        raise TableError(
            f"The states of the source have {width} columns, of which {use_rep!r} has {len(theirs)}. Embed both in "
            "the same way, of the same markers."
        )
    order = np.argsort(theirs, kind="stable")
    return theirs[order], ours[order]


def _nearest(values: np.ndarray, centers: np.ndarray) -> np.ndarray:
    from sklearn.metrics import pairwise_distances_argmin

    return pairwise_distances_argmin(values, centers)
