"""Which markers an encoder looks at, in cells of each type or in regions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from ..._errors import ModelError, TableError
from ..._fingerprint import DATA, fingerprint
from ..._logging import logger
from ..._public import public
from ..._storable import write_obsm, write_uns
from ...cohort.checks import check_anndata, codes_of, listed, obs_column, order_of_names
from ...cohort.representation import representation
from ...get import record

if TYPE_CHECKING:
    from anndata import AnnData


@public
def marker_attention(
    adata: AnnData,
    use_rep: str,
    cluster_key: str,
    *,
    head: int | Literal["auto", "all"] = "auto",
    max_cells: int | None = 1000,
    random_state: int = 0,
    key_added: str = "marker_attention",
    copy: bool = False,
) -> pd.DataFrame | None:
    """Attention of an encoder to each marker, compared between types of cells or regions.

    Embed with ``outputs="attention"`` first: cells with KRONOS, whose windows hold one cell each, tiles with VirTues,
    whose score is made for regions. Attention to a marker is brought to mean 0 and standard deviation 1 over cells (a
    z-score), because markers draw more or less of it everywhere, and averaged over the cells of each type. KRONOS
    (Online Methods, *Model interpretability analysis*; Fig. S8): attention of CLS to all tokens of a marker in the
    first head of the last block; at most 1,000 cells of each type set mean and standard deviation, so that a common
    type does not. VirTues (Methods, *Model inspection and visualization*): importance, summed over heads.

    Attention shows where a model looks, not that it needs what it sees.

    Parameters
    ----------
    adata
        Cells or tiles with ``obsm[use_rep]``, from `spatialfm.tl.embed_cells` or `spatialfm.tl.embed_tiles` with
        ``outputs="attention"``.
    use_rep
        Key of ``obsm``.
    cluster_key
        Column of ``obs`` with the types. Rows without one get z-scores, and count for no type.
    head
        Number of an attention head, ``"all"``: their sum, or ``"auto"``: as the model's paper has it (KRONOS: 0).
    max_cells
        Cells of a type that mean and standard deviation are taken from (None: all).
    random_state
        Seed that picks these cells.
    key_added
        Key of ``uns``, and of ``obsm`` with ``"_z"`` behind.
    copy
        Return the mean z-scores alone, a table of types by markers. Those of each cell, and the other tables, are only
        written.

    Returns
    -------
    None, or with `copy` the mean z-scores, types by markers. Written: ``obsm[key_added + "_z"]``, a data frame of
    float32, one column per marker; ``uns[key_added]`` with ``mean``, ``median`` and ``sd`` of the z-scores and
    ``score``, the mean attention as it is (types by markers), ``n`` (rows of each type) and ``params``.

    Raises
    ------
    ModelError
        If ``obsm[use_rep]`` contains no attention, or the model has no such head.
    TableError
        If a column is missing, or no row has a type.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=64, difficulty="easy")
    >>> sfm.tl.embed_cells(
    ...     sdata, "kronos", weights="random", markers=["DAPI", "CD3"], outputs="attention", key_added="X_attention"
    ... )
    >>> adata = sdata["table"]
    >>> adata.obs["size"] = (adata.obs["area"] > adata.obs["area"].median()).map({True: "large", False: "small"})
    >>> sfm.tl.marker_attention(adata, "X_attention", "size")
    >>> adata.uns["marker_attention"]["mean"].columns.tolist()
    ['DAPI', 'CD3']
    """
    check_anndata(adata, "marker_attention", None if copy else key_added)
    notes = _notes(adata, use_rep)
    markers = [str(name) for name in notes["markers"]]
    column = obs_column(adata, cluster_key, "cluster_key", allow_missing=True)
    codes, names = codes_of(column)
    if not (codes >= 0).any():
        raise TableError(f"No row has a value in obs[{cluster_key!r}] (cluster_key=). Fill it first.")
    head = _head_of(notes, use_rep) if head == "auto" else head
    scores = head_scores(representation(adata, use_rep, "use_rep"), len(markers), head)
    order = order_of_names(adata.obs_names)
    z = scaled_by(scores, order[balanced_rows(codes[order], max_cells, np.random.default_rng(random_state))])
    present = np.unique(codes[codes >= 0])
    index = pd.Index([names[code] for code in present], name=cluster_key)

    def of_types(values: np.ndarray, how: str) -> pd.DataFrame:
        rows = [getattr(np, how)(values[codes == code], axis=0) for code in present]
        return pd.DataFrame(np.stack(rows), index=index, columns=markers)

    mean = of_types(z, "mean")
    if copy:
        return mean
    of_cells = pd.DataFrame(z.astype(np.float32), index=adata.obs_names, columns=markers)
    write_obsm(adata, f"{key_added}_z", of_cells)
    result = {
        "mean": mean,
        "median": of_types(z, "median"),
        "sd": of_types(z, "std"),
        "score": of_types(scores, "mean"),
        "n": pd.DataFrame({"n": np.bincount(codes[codes >= 0], minlength=len(names))[present]}, index=index),
        "params": {
            "use_rep": use_rep,
            "model": str(notes["model"]),
            "cluster_key": cluster_key,
            DATA: fingerprint(adata, [cluster_key], obsm=[use_rep]),
            "head": str(head),
            "max_cells": max_cells or 0,
            "random_state": random_state,
        },
    }
    write_uns(adata, key_added, result)
    logger.info("attention of %s to %d markers in %d types", notes["model"], len(markers), len(present))
    return None


def head_scores(values: np.ndarray, n_markers: int, head: int | str) -> np.ndarray:
    """Attention to each marker ``(n, M)`` from columns ``(n, M * heads)``, of one head or summed over ``"all"``.

    Examples
    --------
    >>> import numpy as np
    >>> values = np.array([[1.0, 2.0, 3.0, 4.0]])  # two markers of two heads
    >>> head_scores(values, 2, 0).tolist(), head_scores(values, 2, "all").tolist()
    ([[1.0, 3.0]], [[3.0, 7.0]])
    """
    by_head = values.reshape(len(values), n_markers, -1).astype(np.float64)
    if head == "all":
        return by_head.sum(axis=2)
    if not isinstance(head, int | np.integer) or not 0 <= head < by_head.shape[2]:
        raise ModelError(
            f"head={head!r} is not a head of the model: pass 0 to {by_head.shape[2] - 1}, 'all' or 'auto'."
        )
    return by_head[:, :, head]


def balanced_rows(codes: np.ndarray, most: int | None, rng: np.random.Generator) -> np.ndarray:
    """At most so many random rows of each code; those of code -1 are left out."""
    parts = []
    for code in np.unique(codes[codes >= 0]):
        rows = np.flatnonzero(codes == code)
        parts.append(rows if most is None or len(rows) <= most else rng.choice(rows, most, replace=False))
    return np.sort(np.concatenate(parts))


def scaled_by(scores: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Scores with the mean and standard deviation of `rows`; a marker that does not vary there is 0."""
    mean, sd = scores[rows].mean(axis=0), scores[rows].std(axis=0)
    # the rounding error of a constant is not variation
    varies = sd > 1e-9 * np.maximum(np.abs(mean), np.finfo(float).tiny)
    return np.where(varies, (scores - mean) / np.where(varies, sd, 1), 0.0)


def _head_of(notes: Mapping[str, Any], use_rep: str) -> int | Literal["all"]:
    """The head that the model's paper reads, which the record has from the card."""
    head = notes.get("attention_head")
    if head == "all":
        return "all"
    if isinstance(head, int | np.integer):
        return int(head)
    raise TableError(
        f"The record of {use_rep!r} is of a version that did not record which head the model's paper reads. Pass "
        "head=<its number>, or head='all' for the sum of all."
    )


def _notes(adata: AnnData, use_rep: str) -> dict[str, Any]:
    if use_rep not in adata.obsm:
        raise TableError(f"No {use_rep!r} in obsm (use_rep=); found {listed(adata.obsm, 12)}.")
    notes = record(adata, use_rep)
    if notes["output"] != "attention" or notes["n_components"]:
        what = "principal components" if notes["n_components"] else f"output {notes['output']!r}"
        raise ModelError(
            f"obsm[{use_rep!r}] holds {what} of {notes['model']!r}, not its attention. Embed with "
            "sfm.tl.embed_cells(..., outputs='attention', key_added=<new key>) of a model that has it, see "
            "sfm.models.list_models()."
        )
    return notes
