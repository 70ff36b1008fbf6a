"""How far an embedding separates batches that should look alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._dense import dense
from .._errors import TableError, counted, listed, warn
from .._keys import PATIENT_KEY
from .._optional import need
from .._preparation import preparation, prepare
from .._public import public
from .._spelling import check_spelling, order_of_names

if TYPE_CHECKING:
    from anndata import AnnData


N_MIXED = 12  # divisions of the patients that set no batches apart
N_RUNS = 5  # of k-means, of ten starts each: where two divisions are nearly as good, ten may end in either


@public
def batch_effect(
    adata: AnnData,
    batch_key: str,
    *,
    use_rep: str | Sequence[str],
    patient_key: str | None = PATIENT_KEY,
    lisi: bool = False,
    max_rows: int = 2000,
    random_state: int = 0,
) -> pd.DataFrame:
    """Compare every two batches in one or several embeddings.

    KRONOS's protocol (Online Methods, *Batch effect analysis*): the rows of two batches are pooled; the silhouette of
    the batches on the first two principal components, and the adjusted Rand index of k-means with two clusters against
    the batches in the embedding. Both are 0 where batches are mixed, 1 where they are apart; lower is better,
    as long as the embedding still separates what it should.

    Batches that hold different patients (or samples of other tissue) are apart by their patients, independent of the
    stain: KRONOS compares serial sections of one tissue. Where patients are known and are not the same in both batches,
    the same measures are given between two groups of as many patients, drawn so that both batches have the same share
    in either: only what goes beyond these is due to the batch. Without an effect of the batch the two are equal on
    average.

    With `lisi` also iLISI (Korsunsky et al. 2019), which looks at the neighbours of each row and sees mixing that two
    clusters do not: how many batches there effectively are among them, 1 or 2, scaled as in Luecken et al. 2022. Note
    that it runs the other way: 0 where batches are apart, near 1 where they are mixed. kBET, the other test of
    neighbours, has no maintained implementation in Python without JAX (scib-metrics) or R (scib).

    Parameters
    ----------
    adata
        Tiles or cells.
    batch_key
        Column of ``obs``.
    use_rep
        Key of ``obsm`` or ``"X"``, or several. Measured features are standardised over all rows, as the effect in the
        brightest marker would otherwise dominate; embeddings are prepared as their model's card states.
    patient_key
        Column of ``obs`` with the patient (the usual one need not be there); None: not looked at.
    lisi
        Whether iLISI is worked out, by harmonypy (``pip install 'spatialfm[batch]'``; its licence is GPL-3.0).
    max_rows
        Rows of a batch; of more, a random part.
    random_state
        Seed.

    Returns
    -------
    One row per embedding and pair of batches: ``use_rep``, ``first``, ``second``, ``silhouette``, ``ari`` (of the best
    of five runs of k-means with ten starts each), ``ari_spread`` (largest minus smallest of the five: where two
    clusters can be cut in several ways that are nearly as good, it is known to within that); where patients are
    known ``n_shared`` (patients in both), ``silhouette_patients`` and ``ari_patients`` (between groups of patients in
    which batches are mixed, the mean over twelve draws; NaN where batches have the same patients, or one each); and
    with `lisi` ``ilisi``, the median over rows (of batches of unequal size it stays below 1 however mixed they are);
    ``attrs["preparation"]`` records what was done to the columns of each embedding.

    Raises
    ------
    TableError
        If there are fewer than two batches, or one has fewer than three rows.
    SpatialfmError
        If `lisi` is asked for and harmonypy is not installed.

    Warns
    -----
    SpatialfmWarning
        If batches hold different patients, or patients are not known.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=4, cells_per_patient=60, patients_per_slide=2, random_state=0)
    >>> table = sfm.metrics.batch_effect(cells, "slide", use_rep=["X", "X_latent"])
    >>> table.groupby("use_rep")["silhouette"].mean().shape
    (2,)
    """
    if not adata.n_obs:
        raise TableError("batch_effect was given a table without rows. Look at what was selected before.")
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
    check_sizes(sizes, batch_key)
    compute_lisi = _compute_lisi() if lisi else None
    patients = _patients(adata, patient_key, batches)
    rng = np.random.default_rng(random_state)
    by_name = order_of_names(adata.obs_names)  # what is drawn is so for any order of the table
    parts = {name: _part(by_name[batches[by_name] == name], max_rows, rng) for name in names}
    rows, prepared = [], {}
    for rep in [use_rep] if isinstance(use_rep, str) else use_rep:
        how = preparation(adata, rep)
        values = prepare(_values(adata, rep), how)
        for one, two in combinations(names, 2):
            pooled = np.concatenate([parts[one], parts[two]])
            part = np.repeat([0, 1], [len(parts[one]), len(parts[two])])
            row = {"use_rep": rep, "first": one, "second": two} | apart(values[pooled], part, random_state, N_RUNS)
            if patients is not None:
                row |= _of_patients(values[pooled], part, patients[pooled], random_state)
            if compute_lisi is not None:
                row["ilisi"] = ilisi(values[pooled], part, compute_lisi)
            rows.append(row)
        prepared[rep] = how
    table = pd.DataFrame(rows)
    table.attrs["preparation"] = prepared
    return table


def check_sizes(sizes: np.ndarray, batch_key: str) -> None:
    """Refuse rows of each batch that are too few for an effect to be measured."""
    if len(sizes) < 2 or sizes.min() < 3:
        raise TableError(
            f"obs[{batch_key!r}] (batch_key=) holds {counted(len(sizes), 'batch', 'batches')}, the smallest of "
            f"{counted(int(sizes.min()), 'row')}. Two of three rows are the least."
        )


def apart(values: np.ndarray, part: np.ndarray, random_state: int, n_runs: int = 1) -> dict[str, float]:
    """Silhouette on two components, and agreement of two clusters with the two parts; of several runs its spread."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.metrics import adjusted_rand_score, silhouette_score

    plane = PCA(min(2, values.shape[1]), random_state=0).fit_transform(values)
    runs = [KMeans(2, n_init=10, random_state=random_state + run).fit(values) for run in range(n_runs)]
    each = [float(adjusted_rand_score(part, run.labels_)) for run in runs]
    best = int(np.argmin([run.inertia_ for run in runs]))
    scores = {"silhouette": float(silhouette_score(plane, part)), "ari": each[best]}
    return scores | ({"ari_spread": max(each) - min(each)} if n_runs > 1 else {})


def _of_patients(values: np.ndarray, part: np.ndarray, patients: np.ndarray, random_state: int) -> dict[str, float]:
    """The same between groups of patients in which the batches are mixed: the effect of patients alone."""
    one, two = (np.unique(patients[part == number]) for number in (0, 1))
    shared = np.intersect1d(one, two)
    scores = {"n_shared": len(shared), "silhouette_patients": np.nan, "ari_patients": np.nan}
    if len(shared) == max(len(one), len(two)):
        return scores
    rng, each = np.random.default_rng(random_state), []
    for _ in range(N_MIXED):
        mixed = mixed_parts(part, patients, rng)
        same = (mixed == part).mean()
        if 0 < same < 1 and 1 < mixed.sum() < len(mixed) - 1:
            each.append(apart(values, mixed, random_state))
    if each:
        scores |= {f"{name}_patients": float(np.mean([one[name] for one in each])) for name in ("silhouette", "ari")}
    return scores


def mixed_parts(part: np.ndarray, patients: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another division of rows by patients: groups of as many patients, in which both parts have the same share.

    Patients of one part alone change places with as many of the other. Of those in both parts, half have their rows
    exchanged. Where the part of a row says nothing, this division is as likely as the one that is given.

    Parameters
    ----------
    part, patients
        ``(n,)`` 0 or 1, and the patient of each row.

    Examples
    --------
    >>> part, patients = np.repeat([0, 1], 4), np.repeat(["a", "b", "c", "d"], 2)
    >>> mixed = mixed_parts(part, patients, np.random.default_rng(0))
    >>> [int(mixed[patients == name].sum()) for name in "abcd"]
    [2, 0, 2, 0]
    """
    one, two = (np.unique(patients[part == number]) for number in (0, 1))
    only = [np.setdiff1d(one, two), np.setdiff1d(two, one)]
    shared = np.intersect1d(one, two)
    n_one, n_two = map(len, only)
    n_moved = _rounded(n_one * n_two / max(n_one + n_two, 1), rng)
    moved = [*rng.permutation(only[0])[:n_moved], *rng.permutation(only[1])[:n_moved]]
    moved += [*rng.permutation(shared)[: _rounded(len(shared) / 2, rng)]]
    return np.where(np.isin(patients, moved), 1 - part, part)


def _rounded(number: float, rng: np.random.Generator) -> int:
    """Up or down, so that it is right on average."""
    return int(number + rng.random())


def _patients(adata: AnnData, patient_key: str | None, batches: np.ndarray) -> np.ndarray | None:
    """Patient of each row, and a word where batches have not the same; None where they are not known."""
    if patient_key is None:
        return None
    if patient_key not in adata.obs:
        if patient_key != PATIENT_KEY:
            raise TableError(f"No column {patient_key!r} in obs (patient_key=); found {listed(adata.obs.columns, 12)}.")
        warn(
            f"obs has no {PATIENT_KEY!r} (patient_key=): whether batches hold different patients, which sets them "
            "apart as a stain does, is not known. Pass patient_key= with the column, or patient_key=None for one "
            "tissue."
        )
        return None
    if missing := int(adata.obs[patient_key].isna().sum()):
        raise TableError(
            f"{missing} of {adata.n_obs} rows have no value in obs[{patient_key!r}] (patient_key=), and would count as "
            f'one patient. Fill them, or leave them out: adata[adata.obs["{patient_key}"].notna()].'
        )
    check_spelling(adata.obs[patient_key], "patient_key")
    patients = adata.obs[patient_key].astype(str).to_numpy()
    table = pd.crosstab(patients, batches) > 0
    if not table.all(axis=None):
        warn(
            f"Not all of {counted(len(table), 'patient')} are in every batch ({int(table.all(axis=1).sum())} are): "
            "what sets batches apart may be their patients. Compare silhouette and ari with silhouette_patients and "
            "ari_patients, those between groups of patients in which batches are mixed."
        )
    return patients


def ilisi(values: np.ndarray, batch: np.ndarray, compute_lisi: Callable) -> float:
    """Effective number of batches among the neighbours of a row, of two, minus 1; the median over rows."""
    # three times the perplexity is the number of neighbours that are looked at
    perplexity = min(30, (len(values) - 1) // 3)
    lisi = compute_lisi(values, pd.DataFrame({"batch": batch.astype(str)}), ["batch"], perplexity)
    return float(np.median(lisi) - 1)


def _compute_lisi() -> Callable:
    need("harmonypy", "lisi=True")
    from harmonypy import compute_lisi

    return compute_lisi


def _values(adata: AnnData, rep: str) -> np.ndarray:
    if rep != "X" and rep not in adata.obsm:
        raise TableError(f"No {rep!r} in obsm (use_rep=); found 'X' and {listed(adata.obsm, 12)}.")
    values = adata.X if rep == "X" else adata.obsm[rep]
    if values is None:
        raise TableError(f"The table has no X (use_rep='X'). Pass a key of obsm: {listed(adata.obsm, 12)}.")
    values = dense(values)
    if values.dtype.kind not in "biuf" or values.ndim != 2:
        raise TableError(f"{rep!r} (use_rep=) holds {values.dtype} {values.shape}, not one row of numbers per cell.")
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise TableError(f"{rep!r} holds NaN or infinite values. Leave those rows or columns out.")
    return values


def _part(rows: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    return rows if len(rows) <= n else rows[np.sort(rng.choice(len(rows), n, replace=False))]
