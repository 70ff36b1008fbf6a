"""``sfm.pp.standardize``: batches brought to one scale, by a way that the record names."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from anndata import AnnData

from .._dense import dense
from .._errors import TableError, counted, listed, warn
from .._keys import UNS, layer_names
from .._logging import logger
from .._optional import need
from .._public import public
from .._spelling import order_of_names
from .._storable import check_key, storable

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Method = Literal["zscore", "robust", "rank", "combat", "harmony"]
TO_NORMAL = 1.4826  # median absolute deviation to standard deviation, of a normal distribution
FEW = 50  # cells of a batch with fewer have a scale that is mostly chance


@public
def standardize(
    adata: AnnData,
    *,
    use_rep: str | None = None,
    layer: str | None = None,
    batch_key: str | None = None,
    method: Method = "zscore",
    covariates: str | Sequence[str] | None = None,
    random_state: int = 0,
    key_added: str | None = None,
    copy: bool = False,
) -> np.ndarray | None:
    """Bring batches (slides, staining runs, sites) to one scale.

    ``zscore``, ``robust`` and ``rank`` make the distribution of each column the same in every batch: its mean and
    standard deviation, its median and median absolute deviation (as a standard deviation, times 1.4826), or all of it
    (ranks, as quantiles of a normal distribution; ties share their mean rank). ``combat`` is scanpy's ComBat (Johnson
    et al., Biostatistics 2007), which shrinks means and variances of batches towards each other, and learns how much
    from all columns: it needs tens of them. ``harmony`` (Korsunsky et al., Nature Methods 2019, by harmonypy) moves the
    cells of each batch cluster by cluster.

    All of them take the average cell of every batch to be the same. Where batches hold other tissue, other patients or
    another mixture of cells, that is wrong, and biology is removed together with the stain: a batch that is all tumour
    comes out like one without tumour. `covariates` of ``combat`` are kept. Where batch and outcome coincide, no method
    can tell them apart. :func:`spatialfm.metrics.batch_effect` measures what a batch does, before and after.

    Parameters
    ----------
    adata
        Table of cells.
    use_rep
        Key of ``obsm``: an embedding.
    layer
        Layer of the markers (default, without `use_rep`: ``X``). Markers that a batch was not stained for stay NaN.
    batch_key
        Column of ``obs``. None: all cells are one batch, which brings columns to one scale and no more.
    method
        See above.
    covariates
        Columns of ``obs`` whose effect ``combat`` keeps, such as the type of tissue.
    random_state
        Seed of ``harmony``.
    key_added
        Key of ``obsm`` (default: ``<use_rep>_standardized``), or of ``layers`` (default: ``"standardized"``).
    copy
        Return the numbers alone, an array. The record of how they were made is only written.

    Returns
    -------
    None, or with `copy` an array ``(n_cells, columns)``, float32. Written to ``obsm[key_added]`` or
    ``layers[key_added]``, with a record in ``uns["spatialfm"][key_added]``: that of the embedding, and
    ``standardized_by`` (method, batch column, number of cells of each batch).

    Raises
    ------
    TableError
        If a column is missing, a batch has a single cell, ``combat`` or ``harmony`` meet missing values, or batches and
        `covariates` determine each other.

    Warns
    -----
    SpatialfmWarning
        If a batch has fewer than 50 cells, or columns are constant in a batch: they become 0 there.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=16, cells_per_patient=50, random_state=0)
    >>> sfm.pp.standardize(cells, use_rep="X_latent", batch_key="slide")
    >>> of_slide = cells.obsm["X_latent_standardized"][cells.obs["slide"] == "S1"]
    >>> float(abs(of_slide.mean(axis=0)).max().round(4))
    0.0
    """
    if not isinstance(adata, AnnData):
        raise TableError(f"standardize takes an AnnData, not {type(adata).__name__}. Pass for example sdata['table'].")
    check_key(adata, key_added)
    if use_rep is not None and layer is not None:
        raise TableError(f"use_rep={use_rep!r} and layer={layer!r} are two things to standardize. Pass one of them.")
    names = [covariates] if isinstance(covariates, str) else list(covariates or [])
    if names and method != "combat":
        raise TableError(f'covariates= are kept by method="combat" alone, and method is {method!r}. Leave them out.')
    for key, argument in [(batch_key, "batch_key"), *((name, "covariates") for name in names)]:
        _check_column(adata, key, argument)
    values = _values(adata, use_rep, layer)
    batches = _batches(adata, batch_key)
    if method in ("combat", "harmony"):
        _check_complete(values, batches, method)
        order = order_of_names(adata.obs_names)  # Harmony clusters rows by their place
        result = np.empty(values.shape)
        result[order] = _by_library(values[order], adata.obs.iloc[order], batch_key, method, names, random_state)
    else:
        result = by_batch(values, batches.codes, _WAYS[method])
        _say_constant(values, batches)
    result = result.astype(np.float32, copy=False)
    if copy:
        return result
    key = key_added or ("standardized" if use_rep is None else f"{use_rep}_standardized")
    if use_rep is None:
        adata.layers[key] = result
    else:
        adata.obsm[key] = result
    sizes = dict(zip(batches.categories, map(int, np.bincount(batches.codes)), strict=True))
    how = {"method": method, "batch_key": batch_key or "", "batches": sizes, "covariates": names}
    _write_record(adata, key, use_rep or layer or "X", how)
    logger.info(f"{key}: {values.shape[1]:,} columns of {counted(len(sizes), 'batch', 'batches')} by {method}")
    return None


def log_scores(values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """z-scores within each batch, ``(n, columns)``, of the logarithm of intensities above the floor of their marker.

    The floor is the first percentile over all cells. A marker that a batch lacks (NaN) stays missing there.
    """
    floor = np.nanpercentile(values, 1, axis=0)
    return by_batch(np.log1p(np.clip(values - floor, 0, None)), codes, zscore, np.float64)


def by_batch(
    values: np.ndarray, codes: np.ndarray, way: Callable[[np.ndarray], np.ndarray], dtype: type = np.float32
) -> np.ndarray:
    """The rows of each batch by themselves, in double precision; NaN stays NaN.

    Examples
    --------
    >>> import numpy as np
    >>> values = np.array([[1.0], [3.0], [10.0], [30.0]])
    >>> by_batch(values, np.array([0, 0, 1, 1]), zscore).ravel().tolist()
    [-1.0, 1.0, -1.0, 1.0]
    """
    result = np.empty(values.shape, dtype)
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        block = values[rows].astype(np.float64)
        known = ~np.isnan(block).all(axis=0)  # of the others there is nothing to compute, and nothing to warn of
        block[:, known] = way(block[:, known])
        result[rows] = block
    return result


def zscore(block: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and standard deviation 1; 0 where they are constant."""
    mean, spread = np.nanmean(block, axis=0), np.nanstd(block, axis=0)
    return _scaled(block - mean, np.where(spread > 1e-7 * np.abs(mean), spread, 0))


def robust(block: np.ndarray) -> np.ndarray:
    """Columns of median 0 and median absolute deviation 1 / 1.4826; 0 where more than half are the same."""
    centred = block - np.nanmedian(block, axis=0)
    return _scaled(centred, TO_NORMAL * np.nanmedian(np.abs(centred), axis=0))


def rank(block: np.ndarray) -> np.ndarray:
    """Quantiles of a normal distribution at the ranks of each column, (rank - 1/2) / n."""
    from scipy.stats import norm, rankdata

    ranks = rankdata(block, axis=0, nan_policy="omit")
    return norm.ppf((ranks - 0.5) / (~np.isnan(block)).sum(axis=0))


def _scaled(centred: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Divided by the spread; 0 where there is none."""
    return np.where(np.isnan(centred) | (spread > 0), centred / np.where(spread > 0, spread, 1), 0)


_WAYS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"zscore": zscore, "robust": robust, "rank": rank}


def _check_column(adata: AnnData, key: str | None, argument: str) -> None:
    if key is None:
        return
    if key not in adata.obs:
        raise TableError(f"No column {key!r} in obs ({argument}=); found {listed(adata.obs.columns, 12)}.")
    if n_missing := int(adata.obs[key].isna().sum()):
        raise TableError(
            f"{counted(n_missing, 'cell has', 'cells have')} no value in obs[{key!r}] ({argument}=). Fill it in, or "
            "leave these cells out."
        )


def _values(adata: AnnData, use_rep: str | None, layer: str | None) -> np.ndarray:
    if use_rep is not None and use_rep not in adata.obsm:
        raise TableError(f"No {use_rep!r} in obsm (use_rep=); found {listed(adata.obsm, 12)}.")
    if layer is not None and layer not in adata.layers:
        raise TableError(f"No layer {layer!r} (layer=); found {listed(layer_names(adata))}.")
    stored: ArrayLike = (
        adata.obsm[use_rep] if use_rep is not None else adata.X if layer is None else adata.layers[layer]
    )
    if stored is None:
        raise TableError("The table has no X. Pass use_rep= or layer=.")
    values = dense(stored)
    values = values.astype(np.float32) if values.dtype.kind in "iub" else values
    if values.dtype.kind != "f":
        raise TableError(f"{use_rep or layer or 'X'} holds {values.dtype}, not numbers.")
    if np.isinf(values).any():
        raise TableError(f"{use_rep or layer or 'X'} holds infinite values, which have no scale. Correct them first.")
    return values


def _batches(adata: AnnData, batch_key: str | None) -> pd.Categorical:
    column = np.zeros(adata.n_obs, dtype=int) if batch_key is None else adata.obs[batch_key].astype(str).to_numpy()
    batches = pd.Categorical(pd.Series(column).astype(str))
    sizes = pd.Series(np.bincount(batches.codes), index=batches.categories)
    if (sizes < 2).any():
        raise TableError(
            f"{counted(int((sizes < 2).sum()), 'batch has', 'batches have')} a single cell, which has no scale "
            f"({listed(sizes.index[sizes < 2])}, obs[{batch_key!r}]). Leave it out, or pass another batch_key=."
        )
    if (small := sizes[sizes < FEW]).size:
        shown = ", ".join(f"{name} ({n})" for name, n in small.iloc[:5].items())
        warn(f"Batches with fewer than {FEW} cells have a scale that is mostly chance: {shown}.")
    return batches


def _check_complete(values: np.ndarray, batches: pd.Categorical, method: str) -> None:
    if np.isnan(values).any():
        columns = int(np.isnan(values).any(axis=0).sum())
        raise TableError(
            f"method={method!r} takes no missing values, and {counted(columns, 'column has', 'columns have')} some: "
            'markers that a batch was not stained for. Leave them out, or pass method="zscore".'
        )
    if len(batches.categories) < 2:
        raise TableError(f"method={method!r} needs two batches or more (batch_key=); there is one.")


def _by_library(
    values: np.ndarray, obs: pd.DataFrame, batch_key: str, method: str, covariates: list[str], random_state: int
) -> np.ndarray:
    if method == "combat":
        from scanpy.pp import combat

        design = _design(obs, batch_key, covariates)
        table = AnnData(values.astype(np.float64), obs=obs[[batch_key]].astype(str).astype("category").join(design))
        return np.asarray(combat(table, key=batch_key, covariates=list(design) or None, inplace=False))
    need("harmonypy", 'method="harmony"', 'Or pass method="zscore".', TableError)
    from harmonypy import run_harmony

    parts = values.astype(np.float64), obs[[batch_key]].astype(str), [batch_key]
    moved = run_harmony(*parts, verbose=False, random_state=random_state).Z_corr
    return np.asarray(moved if moved.shape == values.shape else moved.T)  # columns by cells in harmonypy before 2


def _design(obs: pd.DataFrame, batch_key: str, covariates: list[str]) -> pd.DataFrame:
    """Covariates as numbers, categories as 0 and 1 for all levels but the first.

    scanpy gives each level of a category a column, besides one for each batch: such a design has no solution, and
    depending on rounding it raises or returns numbers that are wrong.
    """
    if not covariates:
        return pd.DataFrame(index=obs.index)
    numbers = pd.get_dummies(
        obs[covariates].astype({name: object for name in covariates if not _is_number(obs[name])}),
        drop_first=True,
        dtype=float,
    )
    numbers = numbers.astype(float).set_axis([f"covariate_{i}" for i in range(numbers.shape[1])], axis=1)
    batches = pd.get_dummies(obs[batch_key].astype(str), dtype=float)
    both = np.concatenate([batches.to_numpy(), numbers.to_numpy()], axis=1)
    if np.linalg.matrix_rank(both) < both.shape[1]:
        raise TableError(
            f"covariates={covariates!r} and obs[{batch_key!r}] determine each other: what one explains cannot be told "
            "from the other. Leave out covariates=, and what they say is removed with the batch; or analyse the "
            "batches apart."
        )
    return numbers


def _is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype)


def _say_constant(values: np.ndarray, batches: pd.Categorical) -> None:
    """Columns that do not vary within a batch, though they do over all cells, lose what they say about it."""
    flat = []
    for code, name in enumerate(batches.categories):
        part = values[batches.codes == code]
        known = ~np.isnan(part).all(axis=0)
        same = np.nanmax(part[:, known], axis=0) == np.nanmin(part[:, known], axis=0)
        if same.any():
            flat.append(f"{name} ({counted(int(same.sum()), 'column')})")
    if flat and len(batches.categories) > 1:
        warn(f"Constant within a batch, and 0 there now: {listed(flat, quoted=False)}.")


def _write_record(adata: AnnData, key: str, source: str, how: dict[str, object]) -> None:
    records = dict(adata.uns.get(UNS, {}))
    parent = records.get(source)
    record = dict(parent) if hasattr(parent, "items") else {}
    record |= {"standardized_of": source, "standardized_by": json.dumps(how, ensure_ascii=False)}
    if how["method"] in _WAYS:
        record["standardized"] = True  # of columns on one scale, as `_preparation` reads it
    adata.uns[UNS] = records | {key: storable(record)}
