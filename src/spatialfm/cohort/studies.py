"""One name for two people: what a table says of it whose studies were joined, each with its own patient ``P1``."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from .._errors import counted, listed, warn

_STUDY = re.compile(
    r"(^|[_ .-])(study|cohort|data[_ .-]?set|project|trial)([_ .-]?(id|no|nr|number|name|label|key))?$", re.IGNORECASE
)
_FOR_LIFE = re.compile(
    r"^(patient[_ .-]?)?(sex|gender|race|ethnicity|dob|birth[_ .-]?(date|year)|(date|year)[_ .-]of[_ .-]birth)$",
    re.IGNORECASE,
)
_AGE = re.compile(r"^(patient[_ .-]?)?age([_ .-]?(in[_ .-])?(years|yrs|y))?([_ .-]at[_ .-].*)?$", re.IGNORECASE)
YEARS = 15  # between two ages of one patient: visits are not so far apart


def say_studies(obs: pd.DataFrame, names: pd.Series, argument: str) -> None:
    """Warn of patients (or samples) that are in several studies, or that a column shows to be two people.

    `anndata.concat` joins tables by what their columns are called, and a name that both have is then one patient.

    Parameters
    ----------
    obs
        Rows of cells, samples or patients.
    names
        The column of these with patients or samples.
    argument
        That the column was passed as.
    """
    what = {"patient_key": "patient", "library_key": "sample"}.get(argument)
    columns = [name for name in obs.columns[~obs.columns.duplicated(keep=False)] if name != names.name]
    studies = [name for name in columns if _STUDY.search(str(name))]
    certain = [name for name in columns if _FOR_LIFE.search(str(name)) or _AGE.search(str(name))]
    if what is None or not (studies or certain):
        return
    codes, levels = pd.factorize(names)
    facts, study = [], ""
    for column in studies:
        several = np.flatnonzero(_values_of_each(codes, len(levels), obs[column]) > 1)
        if len(several):
            study = study or str(column)
            of_first = pd.unique(obs[column][codes == several[0]].dropna())
            facts.append(
                f"{len(several)} of {counted(len(levels), what)} {'has' if len(several) == 1 else 'have'} rows of "
                f"several by obs[{column!r}], first {str(levels[several[0]])!r}: {listed(of_first, 3)}"
            )
    for column in certain:
        two = np.flatnonzero(_contradictory(codes, len(levels), obs[column]))
        if len(two):
            of_first = sorted(map(str, pd.unique(obs[column][codes == two[0]].dropna())))
            facts.append(
                f"obs[{column!r}] of {what} {str(levels[two[0]])!r} is {' and '.join(map(repr, of_first[:3]))}"
                + (f", and {len(two) - 1} more contradict themselves so" if len(two) > 1 else "")
            )
    if facts:
        first = f'adata.obs["{study}"].astype(str) + "_"' if study else '"<study>_"'
        when = "" if study else " in each table before they are joined"
        warn(
            f"{'; '.join(facts)}. Each name of obs[{names.name!r}] ({argument}=) counts as one {what}. If studies that "
            f"were joined use the same names for others, name them apart{when}: "
            f'adata.obs["{names.name}"] = {first} + adata.obs["{names.name}"].astype(str).'
        )


def _values_of_each(codes: np.ndarray, n: int, column: pd.Series) -> np.ndarray:
    """Number of different values of each unit ``(n,)``; missing ones do not count."""
    value, values = pd.factorize(column)
    known, n_values = (codes >= 0) & (value >= 0), max(len(values), 1)
    pairs = pd.unique(codes[known].astype(np.int64) * n_values + value[known])
    return np.bincount(pairs // n_values, minlength=n)


def _contradictory(codes: np.ndarray, n: int, column: pd.Series) -> np.ndarray:
    """Units ``(n,)`` of which the column says what no one person is."""
    if not _AGE.search(str(column.name)):
        text = column.astype(object).where(column.notna(), None)
        if re.search("sex|gender", str(column.name), re.IGNORECASE):  # "F" and "female" are one
            text = text.map(lambda value: None if value is None else str(value).strip().casefold()[:1])
        return _values_of_each(codes, n, text) > 1
    years = pd.to_numeric(column.astype(object), errors="coerce").to_numpy(dtype=float)
    known = (codes >= 0) & np.isfinite(years)
    low, high = np.full(n, np.inf), np.full(n, -np.inf)
    np.minimum.at(low, codes[known], years[known])
    np.maximum.at(high, codes[known], years[known])
    return high - low > YEARS
