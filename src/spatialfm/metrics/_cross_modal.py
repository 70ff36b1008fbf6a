"""How often a cell is found by its other modality."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from .._dense import dense
from .._errors import TableError, counted, listed, warn
from .._keys import PATIENT_KEY, UNS
from .._logging import logger
from .._preparation import preparation, prepare
from .._public import public
from .._spelling import check_spelling, order_of_names
from ..stats.pair_ranks import beaten, scores

if TYPE_CHECKING:
    from anndata import AnnData


@public
def cross_modal(
    adata: AnnData,
    rep_a: str,
    rep_b: str,
    *,
    k: Sequence[int] = (1, 5, 10),
    n_candidates: int | None = 64,
    among: Literal["all", "patient"] = "all",
    held_out: bool = True,
    patient_key: str = PATIENT_KEY,
    max_rows: int = 20_000,
    random_state: int = 0,
) -> pd.DataFrame:
    """Score how often a row's partner in another representation is among its first hits.

    The measures of HESCAPE (arXiv 2508.01490): the share of rows whose own partner is among the first `k` of some
    candidates by cosine (``R@k``), and the median rank, from each representation to the other. There, candidates are
    the other rows of a batch of 64. Here the numbers are the mean over all possible draws of so many candidates, in
    closed form: they depend on no seed and no order. Rows that are equally similar are in any order, so that a space
    in which all rows are the same scores chance.

    A patient's rows share a stain, and a slide. Where both representations show it, the partner is found by recognising
    the patient, with no need to recognise the cell: compare ``among="patient"``, where all candidates are of the same
    patient.

    Parameters
    ----------
    adata
        Cells, tiles or samples.
    rep_a
        Key of ``obsm``.
    rep_b
        Another one with the same number of columns: `spatialfm.tl.align` writes two such.
    k
        Numbers of hits.
    n_candidates
        Rows among which the partner is sought, itself included; None: all.
    among
        Whether candidates are ``"all"`` rows, or those of the row's own ``"patient"``.
    held_out
        Whether only rows of test patients count, where the record of a representation states which patients it was
        trained on.
    patient_key
        Column of ``obs`` with the patient.
    max_rows
        Rows that are compared; of more, a random part.
    random_state
        Seed of that part.

    Returns
    -------
    One row per direction and measure: ``query``, ``found`` (representations), ``measure``, ``value``, ``chance``
    (``k / n_candidates``, and the median of ranks that are as likely as each other), ``low``, ``high`` (95 % interval:
    a jackknife that leaves each patient out of the rows that ask and of the candidates, with Student's t; of the median
    rank by inverting the interval of the share below it; NaN with one patient), ``n`` (rows that have candidates),
    ``n_patients`` (theirs), ``n_candidates`` (the most that a row has).

    Raises
    ------
    TableError
        If a representation is missing, holds NaN, or has another number of columns than the other, patients are not
        known, or no patient was held out.

    Warns
    -----
    SpatialfmWarning
        If patients have fewer rows than `n_candidates`, or one, or rows that were trained on are counted.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=4, cells_per_patient=50, random_state=0)
    >>> cells.obsm["X_mirror"] = -cells.obsm["X_latent"]
    >>> table = sfm.metrics.cross_modal(cells, "X_latent", "X_mirror", k=[5])
    >>> bool(table["value"][0] < table["chance"][0])
    True
    """
    if not len(k) or min(k) < 1:
        raise TableError(f"k={list(k)} asks for no hits. Pass for example k=[1, 5, 10].")
    if n_candidates is not None and n_candidates < 2:
        raise TableError("n_candidates=1 is the partner alone. Pass 2 or more, or None for all rows.")
    if not adata.n_obs:
        raise TableError("cross_modal was given a table without rows. Look at what was selected before.")
    patients = _patients(adata, patient_key)
    one, two = (_values(adata, rep, name) for rep, name in ((rep_a, "rep_a"), (rep_b, "rep_b")))
    if one.shape[1] != two.shape[1]:
        raise TableError(
            f"{rep_a!r} has {one.shape[1]} columns and {rep_b!r} has {two.shape[1]}: there is no cosine between them. "
            f"sfm.tl.align(adata, {rep_a!r}, {rep_b!r}) brings both into one space."
        )
    rows = _rows(adata, (rep_a, rep_b), held_out)
    if len(rows) > max_rows:
        order = order_of_names(adata.obs_names[rows])
        part = np.random.default_rng(random_state).choice(len(rows), max_rows, replace=False)
        rows = np.sort(rows[order[part]])
        logger.info("cross_modal compares %d rows, drawn at random (max_rows=)", max_rows)
    return pair_table(one[rows], two[rows], patients[rows], (rep_a, rep_b), k, n_candidates, among)


def pair_table(
    one: np.ndarray,
    two: np.ndarray,
    patients: np.ndarray,
    names: tuple[str, str],
    k: Sequence[int],
    n_candidates: int | None,
    among: str,
) -> pd.DataFrame:
    """The table of both directions, of arrays."""
    group = np.unique(patients, return_inverse=True)[1]
    sizes = np.bincount(group)
    most = int(sizes.max()) if among == "patient" else len(group)
    if most < 2:
        raise TableError("No row has another one to be confused with. Pass more rows, or among='all'.")
    if among == "patient" and (alone := int((sizes == 1).sum())):
        left_out = "is" if alone == 1 else "are"
        warn(f"{counted(alone, 'patient has', 'patients have')} one row, no candidates, and {left_out} not counted.")
    few = (sizes > 1) & (sizes < (n_candidates or 0))
    if among == "patient" and (short := int(few.sum())):
        warn(
            f"{counted(short, 'patient has', 'patients have')} fewer than {n_candidates} rows (n_candidates=): theirs "
            "have fewer candidates, which chance allows for."
        )
    table: list[dict[str, Any]] = []
    for query, answer, asking, answering in ((names[0], names[1], one, two), (names[1], names[0], two, one)):
        compared = beaten(asking, answering, group, within=among == "patient")
        result, rows = scores(compared, n_candidates), compared.counted()
        common = {"n": int(rows.sum()), "n_patients": len(np.unique(group[rows]))}
        common["n_candidates"] = min(n_candidates or most, most)
        of_k = [{"measure": f"R@{number}"} | result.recall(number) for number in k]
        for row in [*of_k, {"measure": "median rank"} | result.median_rank()]:
            table.append({"query": query, "found": answer} | row | common)
    return pd.DataFrame(table)


def _rows(adata: AnnData, reps: tuple[str, str], held_out: bool) -> np.ndarray:
    """Rows of test patients, by the records; all, where no record names a split."""
    columns = {key: rep for rep in reversed(reps) if (key := _split_key(adata, rep))}
    rows = np.ones(adata.n_obs, bool)
    for key, rep in columns.items():
        if key not in adata.obs:
            if held_out:
                raise TableError(
                    f"{rep!r} was trained on some patients, which obs[{key!r}] told; that column is gone. Align again, "
                    "or pass held_out=False to score all rows."
                )
            continue
        trained = adata.obs[key].astype(str).to_numpy() != "test"
        if held_out:
            rows &= ~trained
        elif trained.any():
            warn(f"{int(trained.sum())} of {adata.n_obs} rows are of patients that {rep!r} was trained on.")
    if not rows.any():
        raise TableError(f"No row is of a test patient by obs[{next(iter(columns))!r}]. Pass the whole table.")
    return np.flatnonzero(rows)


def _split_key(adata: AnnData, rep: str) -> str:
    record = adata.uns.get(UNS, {}).get(rep)
    return str(record.get("split_key") or "") if hasattr(record, "get") else ""


def _patients(adata: AnnData, patient_key: str) -> np.ndarray:
    if patient_key not in adata.obs:
        raise TableError(f"No column {patient_key!r} in obs (patient_key=); found {listed(adata.obs.columns, 12)}.")
    column = adata.obs[patient_key]
    if missing := int(column.isna().sum()):
        raise TableError(
            f"{missing} of {adata.n_obs} rows have no value in obs[{patient_key!r}] (patient_key=). Fill them, or "
            f'leave them out: adata[adata.obs["{patient_key}"].notna()].copy().'
        )
    check_spelling(column, "patient_key")
    if patient_key != PATIENT_KEY and PATIENT_KEY in adata.obs:
        pairs = adata.obs[[patient_key, PATIENT_KEY]].astype(object).dropna().drop_duplicates()
        if several := int(pairs[PATIENT_KEY].duplicated(keep=False).sum()):
            warn(
                f"patient_key={patient_key!r}, of which {several} are of patients (obs[{PATIENT_KEY!r}]) that have "
                f"others: intervals take them for independent, and are too narrow. Pass patient_key={PATIENT_KEY!r}."
            )
    return column.astype(str).to_numpy()


def _values(adata: AnnData, rep: str, argument: str) -> np.ndarray:
    if rep != "X" and rep not in adata.obsm:
        raise TableError(f"No {rep!r} in obsm ({argument}=); found 'X' and {listed(adata.obsm, 12)}.")
    stored = dense(adata.X if rep == "X" else adata.obsm[rep])
    try:
        values = np.asarray(stored, dtype=np.float64)
    except (TypeError, ValueError):
        raise TableError(f"{rep!r} ({argument}=) holds {stored.dtype}, not numbers.") from None
    if values.ndim != 2 or not np.isfinite(values).all():
        raise TableError(f"{rep!r} ({argument}=) holds NaN or infinite values. Leave those rows or columns out.")
    return prepare(values, preparation(adata, rep))
