"""Whether groups, scores or outcomes of patients follow a column of batches: slide, staining run, site."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._errors import counted, warn
from .._keys import PATIENT_KEY, SAMPLE_KEY
from ..stats.association import explained

if TYPE_CHECKING:
    from anndata import AnnData

_NAME = re.compile(
    r"(^|[_ .-])(batch|slide|run|plate|site|cent(er|re)|hospital|institution|tma|scanner|chip|lane|stain(ing)?|lot|"
    r"acquisition|instrument|machine|operator)([_ .-]?(id|no|nr|number|name|key|date))?$",
    re.IGNORECASE,
)
TANGLED = "No analysis of these patients can tell the two apart: report it, and test on others."
STANDARDIZE = (
    "Bring the batches to one scale first: sfm.pp.standardize(cells, use_rep=<representation>, batch_key=<column>)."
)
LEAST = 0.25  # share of the variance between batches that is worth a word
LEVEL = 0.01  # of its permutation test, shared out over the columns
N_PERMUTATIONS = 999
FEWEST = 4  # patients


def batch_columns(obs: pd.DataFrame) -> list[str]:
    """Columns that are named like a batch and have two levels or more, fewer than rows.

    Examples
    --------
    >>> import pandas as pd
    >>> batch_columns(pd.DataFrame({"slide": ["a", "a", "b"], "stage": [1, 2, 2], "TMA no": [1, 1, 2]}))
    ['slide', 'TMA no']
    """
    named = [name for name in obs.columns if is_batch_name(name)]
    return [name for name in named if 2 <= obs[name].nunique() < len(obs)]


def is_batch_name(name: object) -> bool:
    """Whether a column is named like a batch."""
    return bool(_NAME.search(str(name)))


def tell_batches(
    what: str, values: pd.Series | pd.DataFrame, batches: pd.DataFrame, remedy: str, ignore: Iterable[str] = ()
) -> None:
    """Warn where what was found of patients follows a batch; parameters are those of `batch_sentences`."""
    for sentence in batch_sentences(what, values, batches, remedy, ignore):
        warn(sentence)


def batch_sentences(
    what: str, values: pd.Series | pd.DataFrame, batches: pd.DataFrame, remedy: str, ignore: Iterable[str] = ()
) -> list[str]:
    """One sentence for each batch that what was found of patients follows.

    Parameters
    ----------
    what
        Subject of the sentence, in the plural: ``"The groups"``.
    values
        One row per patient: a categorical or text column, or numbers.
    batches
        Columns of the same patients; those that are named like a batch are looked at.
    remedy
        Last sentence.
    ignore
        Columns that the analysis has taken into account.
    """
    sentences: list[str] = []
    if len(batches) < FEWEST:
        return sentences
    columns = [name for name in batch_columns(batches) if name not in set(ignore)]
    matrix = _numbers(values)
    for name in columns:
        known = batches[name].notna().to_numpy() & np.isfinite(matrix).all(axis=1)
        codes = pd.factorize(batches[name][known])[0]
        if known.sum() < FEWEST or len(set(codes)) < 2:
            continue
        share, p = explained(matrix[known], codes, N_PERMUTATIONS, 0)
        same = share > 1 - 1e-9
        if not same and not (share >= LEAST and p <= LEVEL / len(columns)):
            continue
        n = counted(len(set(codes)), "level")
        how = (
            f"they are the same within each of its {n}"
            if same
            else f"{share:.0%} of their variance between patients is between its {n} (p = {p:.2g})"
        )
        sentences.append(f"{what} follow obs[{name!r}]: {how}. They may be the batch's. {remedy}")
    return sentences


def of_cells(adata: AnnData, groups: pd.Series, unit: str | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What each patient's cells are made of (shares of groups), and the batch columns that are one for each patient.

    Patients are the column `unit`, or ``"patient"`` or ``"sample"`` where there is one; without any, both are empty.
    """
    unit = next((name for name in (unit, PATIENT_KEY, SAMPLE_KEY) if name in adata.obs), None)
    if unit is None:
        return pd.DataFrame(), pd.DataFrame()
    names = adata.obs[unit].astype(str)
    shares = pd.crosstab(names, groups.astype(str), normalize="index")
    return shares, batches_of(adata.obs, names.to_numpy()).reindex(shares.index)


def batches_of(obs: pd.DataFrame, patients: np.ndarray) -> pd.DataFrame:
    """Columns of batches with one value for each patient, one row per patient, by name or number.

    Parameters
    ----------
    obs
        One row per cell.
    patients
        Patient of each of them.
    """
    columns = {}
    for name in batch_columns(obs):
        by_patient = obs[name].astype(object).reset_index(drop=True).groupby(patients)
        if (by_patient.nunique() <= 1).all():
            columns[name] = by_patient.first()
    return pd.DataFrame(columns, index=pd.Index(np.unique(patients)))


def _numbers(values: pd.Series | pd.DataFrame) -> np.ndarray:
    """Categories as columns of 0 and 1, missing ones as NaN; numbers as they are."""
    if isinstance(values, pd.DataFrame):
        return values.to_numpy(dtype=float)
    if pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype):
        return values.to_numpy(dtype=float, na_value=np.nan)[:, None]
    dummies = pd.get_dummies(values.astype(object), dtype=float).to_numpy(dtype=float)
    dummies[values.isna().to_numpy()] = np.nan
    return dummies
