"""How far an embedding tells batches apart that should look alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._errors import SpatialfmError, TableError, counted, listed
from .._preparation import preparation, prepare
from .._public import public

if TYPE_CHECKING:
    from anndata import AnnData


@public
def batch_effect(
    adata: AnnData,
    batch_key: str,
    *,
    use_rep: str | Sequence[str],
    lisi: bool = False,
    max_rows: int = 2000,
    random_state: int = 0,
) -> pd.DataFrame:
    """Compare every two batches in one or several embeddings.

    KRONOS's protocol (Online Methods, *Batch effect analysis*): the rows of two batches are pooled; the silhouette of
    the batches on the first two principal components, and the adjusted Rand index of k-means with two clusters against
    the batches in the embedding. Both are 0 where batches are mixed, 1 where they are apart; lower is better,
    as long as the embedding still tells what it should.

    With `lisi` also iLISI (Korsunsky et al. 2019), which looks at the neighbours of each row and sees mixing that two
    clusters do not: how many batches there effectively are among them, 1 or 2, scaled as in Luecken et al. 2022. Note
    that it runs the other way: 0 where batches are apart, near 1 where they are mixed. kBET, the other test of
    neighbours, has no maintained implementation in Python that does without JAX (scib-metrics) or R (scib).

    Parameters
    ----------
    adata
        Tiles or cells.
    batch_key
        Column of ``obs``.
    use_rep
        Key of ``obsm`` or ``"X"``, or several. Measured features are standardised over all rows, as the effect in the
        brightest marker would else be all that is seen; embeddings are taken as their model's card says.
    lisi
        Whether iLISI is worked out, by harmonypy (``pip install 'spatialfm[batch]'``; its licence is GPL-3.0).
    max_rows
        Rows of a batch; of more, a random part.
    random_state
        Seed.

    Returns
    -------
    One row an embedding and pair of batches: ``use_rep``, ``first``, ``second``, ``silhouette``, ``ari``, and
    with `lisi` ``ilisi``, the median over rows (of batches of unequal size it stays below 1 however mixed they are);
    ``attrs["preparation"]`` says what was done to the columns of each embedding.

    Raises
    ------
    TableError
        If there are fewer than two batches, or one has fewer than three rows.
    SpatialfmError
        If `lisi` is asked for and harmonypy is not installed.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=4, cells_per_patient=60, patients_per_slide=2, random_state=0)
    >>> table = sfm.metrics.batch_effect(cells, "slide", use_rep=["X", "X_latent"])
    >>> table.groupby("use_rep")["silhouette"].mean().shape
    (2,)
    """
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.metrics import adjusted_rand_score, silhouette_score

    if batch_key not in adata.obs:
        raise TableError(f"No column {batch_key!r} in obs (batch_key=); found {listed(adata.obs.columns, 12)}.")
    if missing := int(adata.obs[batch_key].isna().sum()):
        raise TableError(
            f"{missing} of {adata.n_obs} rows have no value in obs[{batch_key!r}] (batch_key=). Fill them, or leave "
            f'them out: adata[adata.obs["{batch_key}"].notna()].'
        )
    column = adata.obs[batch_key]
    batches = column.astype(str).to_numpy()
    names, sizes = np.unique(batches, return_counts=True)
    if isinstance(column.dtype, pd.CategoricalDtype):  # pairs in the order of the categories
        names = [str(name) for name in column.cat.categories if str(name) in set(names)]
    if len(names) < 2 or sizes.min() < 3:
        raise TableError(
            f"obs[{batch_key!r}] holds {counted(len(names), 'batch', 'batches')}, the smallest of {sizes.min()} rows. "
            "Two of three rows are the least."
        )
    compute_lisi = _compute_lisi() if lisi else None
    rng = np.random.default_rng(random_state)
    parts = {name: _part(np.flatnonzero(batches == name), max_rows, rng) for name in names}
    rows, prepared = [], {}
    for rep in [use_rep] if isinstance(use_rep, str) else use_rep:
        how = preparation(adata, rep)
        values = prepare(_values(adata, rep), how)
        for one, two in combinations(names, 2):
            pooled = np.concatenate([parts[one], parts[two]])
            of = np.repeat([0, 1], [len(parts[one]), len(parts[two])])
            plane = PCA(min(2, values.shape[1]), random_state=0).fit_transform(values[pooled])
            found = KMeans(2, n_init=10, random_state=random_state).fit_predict(values[pooled])
            row = {"use_rep": rep, "first": one, "second": two}
            row["silhouette"] = float(silhouette_score(plane, of))
            row["ari"] = float(adjusted_rand_score(of, found))
            if compute_lisi is not None:
                row["ilisi"] = ilisi(values[pooled], of, compute_lisi)
            rows.append(row)
        prepared[rep] = how
    table = pd.DataFrame(rows)
    table.attrs["preparation"] = prepared
    return table


def ilisi(values: np.ndarray, batch: np.ndarray, compute_lisi: Callable) -> float:
    """Effective number of batches among the neighbours of a row, of two, minus 1; the median over rows."""
    # three times the perplexity is the number of neighbours that are looked at
    perplexity = min(30, (len(values) - 1) // 3)
    found = compute_lisi(values, pd.DataFrame({"batch": batch.astype(str)}), ["batch"], perplexity)
    return float(np.median(found) - 1)


def _compute_lisi() -> Callable:
    try:
        from harmonypy import compute_lisi
    except ImportError as error:
        raise SpatialfmError("lisi=True needs the package harmonypy: pip install 'spatialfm[batch]'.") from error
    return compute_lisi


def _values(adata: AnnData, rep: str) -> np.ndarray:
    if rep != "X" and rep not in adata.obsm:
        raise TableError(f"No {rep!r} in obsm (use_rep=); found 'X' and {listed(adata.obsm, 12)}.")
    values = adata.X if rep == "X" else adata.obsm[rep]
    values = np.asarray(values.toarray() if hasattr(values, "toarray") else values, dtype=np.float64)
    if not np.isfinite(values).all():
        raise TableError(f"{rep!r} holds NaN or infinite values. Leave those rows or columns out.")
    return values


def _part(rows: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    return rows if len(rows) <= n else np.sort(rng.choice(rows, n, replace=False))
