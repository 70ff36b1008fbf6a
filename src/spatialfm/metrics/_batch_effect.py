"""How far an embedding tells batches apart that should look alike."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._errors import TableError, listed

if TYPE_CHECKING:
    from anndata import AnnData


def batch_effect(
    adata: AnnData,
    batch_key: str,
    *,
    use_rep: str | Sequence[str],
    max_rows: int = 2000,
    random_state: int = 0,
) -> pd.DataFrame:
    """Compare every two batches in one or several embeddings.

    KRONOS's protocol (Online Methods, *Batch effect analysis*): the rows of two batches are pooled; the silhouette of
    the batches on the first two principal components, and the adjusted Rand index of k-means with two clusters against
    the batches in the embedding as it is. Both are 0 where batches are mixed, 1 where they are apart; lower is better,
    as long as the embedding still tells what it should.

    Parameters
    ----------
    adata
        Tiles or cells.
    batch_key
        Column of ``obs``.
    use_rep
        Key of ``obsm`` or ``"X"``, or several.
    max_rows
        Rows of a batch; of more, a random part.
    random_state
        Seed.

    Returns
    -------
    One row an embedding and pair of batches: ``use_rep``, ``first``, ``second``, ``silhouette``, ``ari``.

    Raises
    ------
    TableError
        If there are fewer than two batches, or one has fewer than three rows.

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
    batches = adata.obs[batch_key].astype(str).to_numpy()
    names, sizes = np.unique(batches, return_counts=True)
    if len(names) < 2 or sizes.min() < 3:
        raise TableError(
            f"obs[{batch_key!r}] holds {len(names)} batch(es), the smallest of {sizes.min()} rows. Two of three rows "
            "are the least."
        )
    rng = np.random.default_rng(random_state)
    parts = {name: _part(np.flatnonzero(batches == name), max_rows, rng) for name in names}
    rows = []
    for rep in [use_rep] if isinstance(use_rep, str) else use_rep:
        values = _values(adata, rep)
        for one, two in combinations(names, 2):
            pooled = np.concatenate([parts[one], parts[two]])
            of = np.repeat([0, 1], [len(parts[one]), len(parts[two])])
            plane = PCA(min(2, values.shape[1]), random_state=0).fit_transform(values[pooled])
            found = KMeans(2, n_init=10, random_state=random_state).fit_predict(values[pooled])
            rows.append(
                {
                    "use_rep": rep,
                    "first": one,
                    "second": two,
                    "silhouette": float(silhouette_score(plane, of)),
                    "ari": float(adjusted_rand_score(of, found)),
                }
            )
    return pd.DataFrame(rows)


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
