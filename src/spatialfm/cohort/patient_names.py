"""Who is a patient: columns that are called otherwise, and names that are spelled in two ways."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._errors import SpatialfmError, TableError, counted, listed, warn
from .._keys import PATIENT_KEY, SAMPLE_KEY
from .._spelling import check_spelling, name_read
from .studies import say_studies

if TYPE_CHECKING:
    from anndata import AnnData

# names of columns, in small letters and without what separates words
CALLED = frozenset(
    "patient patients patientid patientids patientname patientno patientnr patientnum patientnumber patientcode "
    "patientidentifier patientbarcode patientuid patientindex bcrpatientbarcode deidentifiedpatientid pat patid pid pt "
    "ptid ptno ptnr ptnumber case cases caseid caseno casenr casenumber casename casesubmitterid submitterid subject "
    "subjects subjectid subjectno subjectnr subjectnumber subjectname donor donors donorid donorno donorname "
    "participant participants participantid individual individuals individualid indid person personid mrn metabricid "
    "mouse mouseid animal animalid".split()
)
FEWEST = 3  # different values: a column of two is a group


def like_patients(obs: pd.DataFrame, but: Iterable[str | None] = ()) -> list[str]:
    """Columns with a usual name for patients that hold names of several.

    Examples
    --------
    >>> like_patients(pd.DataFrame({"PatientID": list("aabbcc"), "case": [0, 1] * 3, "arm": list("xyzxyz")}))
    ['PatientID']
    """
    taken, names = {PATIENT_KEY, *but}, []
    for name in obs.columns:
        if name in taken or re.sub(r"[\W_]", "", str(name).casefold()) not in CALLED:
            continue
        values = obs[name].dropna()
        whole = not pd.api.types.is_float_dtype(values.dtype) or bool((values % 1 == 0).all())
        if whole and values.nunique() >= FEWEST:
            names.append(str(name))
    return names


def ask_for_patients(
    table: AnnData, patient_key: str | None, error: type[SpatialfmError], library_key: str | None = None
) -> None:
    """Where rows or samples would count as patients, ask whether a column that is called otherwise holds them.

    Raises
    ------
    SpatialfmError
        If the usual column is absent, was not asked for by another name, and another column has a name several times.

    Warns
    -----
    SpatialfmWarning
        If rows or samples were stated to be patients, and such a column contradicts it.
    """
    if PATIENT_KEY in table.obs or patient_key not in (None, PATIENT_KEY, SAMPLE_KEY, library_key):
        return
    library_key = library_key if library_key in table.obs else SAMPLE_KEY
    unit = "samples" if library_key in table.obs else "rows"
    case = table.obs[library_key] if unit == "samples" else pd.Series(table.obs_names, index=table.obs_names)
    for name in like_patients(table.obs, (patient_key, library_key)):
        pairs = pd.DataFrame({"patient": table.obs[name].astype(object), "case": case.astype(object)}).dropna()
        pairs = pairs.drop_duplicates()
        several = pairs.loc[pairs["patient"].duplicated(), "patient"].unique()
        if not len(several):
            continue
        has = f"{counted(len(several), 'of its names has', 'of its names have')} several {unit}"
        if patient_key == PATIENT_KEY:
            raise error(
                f"No column {PATIENT_KEY!r} in obs (patient_key=), so that {unit} would count as patients; but "
                f"obs[{name!r}] has a usual name for patients, and {has}, first {listed(several, 3)}. Pass "
                f'patient_key="{name}", or patient_key=None if it is not the patient.'
            )
        warn(
            f"patient_key={patient_key!r}: {unit} count as patients, but obs[{name!r}] has a usual name for patients, "
            f'and {has}, first {listed(several, 3)}. Pass patient_key="{name}" if it is the patient.'
        )
        return


def suggestion(table: AnnData, key: str | None, argument: str) -> str:
    """``Did you mean ...``: columns with a usual name for patients, if the one asked for is absent; otherwise empty."""
    columns = like_patients(table.obs) if argument == "patient_key" and key not in table.obs else []
    return (
        f' {listed(columns)} has a usual name for patients: pass {argument}="{columns[0]}" if it is.' if columns else ""
    )


def check_names(obs: pd.DataFrame, names: pd.Series, argument: str, error: type[SpatialfmError] = TableError) -> None:
    """Names of patients or samples: how they are spelled, and whether each is of one (`say_studies`)."""
    check_spelling(names, argument, error)
    say_studies(obs, names, argument)


def as_text(names: Iterable[object]) -> np.ndarray:
    """Names as text; whole numbers alike whether a column of them is of integers or, once one was missing, of floats.

    Examples
    --------
    >>> as_text([1.0, 2]).tolist(), as_text(np.array([1, 2])).tolist(), as_text(["01", "1.0"]).tolist()
    (['1', '2'], ['1', '2'], ['01', '1.0'])
    """
    codes, levels = pd.factorize(pd.Series(names).astype(object), use_na_sentinel=False)
    texts = [str(int(level)) if _whole(level) else str(level) for level in levels]
    return np.array(texts, dtype=object)[codes].astype(str)


def check_across(one: np.ndarray, two: np.ndarray, what: str, error: type[SpatialfmError] = TableError) -> None:
    """Refuse a name of one table that the other spells otherwise, so that it would count as another.

    Raises
    ------
    SpatialfmError
        If two names differ in case, spaces, or in decimals alone.
    """
    names, others = np.unique(one), np.unique(two)
    spelled = {name_read(name): str(name) for name in others}
    pairs = [
        (str(name), spelled[name_read(name)]) for name in np.setdiff1d(names, others) if name_read(name) in spelled
    ]
    if pairs:
        first, other = pairs[0]
        raise error(
            f"{what} and those of the index spell {counted(len(pairs), 'name')} in two ways, first {first!r} and "
            f"{other!r}, so that a query would find its own. Write them alike if they mean the same, otherwise rename "
            "one."
        )


def _whole(name: object) -> bool:
    return isinstance(name, float | np.floating) and float(name).is_integer()


BOTH_SIDES = "cells of one patient may be on both sides of the split that tunes C"


def patients_of_rows(
    table: AnnData,
    patient_key: str | None,
    error: type[SpatialfmError] = TableError,
    *,
    risk: str = BOTH_SIDES,
    used: np.ndarray | None = None,
) -> np.ndarray | None:
    """Patient of each row as text ``(n,)``, for what keeps patients together; None if there is no column.

    Parameters
    ----------
    risk
        What comes of not knowing them, where a column looks like theirs.
    used
        Rows (places or truth values) whose patients count; of others they may be missing. Default: all.

    Raises
    ------
    SpatialfmError
        If rows have no patient: as text they would all be of one, called "nan".
    """
    if patient_key is None:
        return None
    if patient_key not in table.obs:
        if columns := like_patients(table.obs):
            warn(
                f"No column {patient_key!r} in obs (patient_key=): {risk}. obs[{columns[0]!r}] has a usual name for "
                f'patients; pass patient_key="{columns[0]}".'
            )
        return None
    column = table.obs[patient_key]
    check_names(table.obs, column, "patient_key", error)
    counted_in = column if used is None else column.iloc[used]
    if (missing := counted_in.isna()).any():
        raise error(
            f"{int(missing.sum())} of {len(counted_in)} rows have no value in obs[{patient_key!r}] (patient_key=), "
            f"first {listed(counted_in.index[missing], 3)}, and would count as one patient. Fill them, leave them out: "
            f'adata[adata.obs["{patient_key}"].notna()].copy(), or pass patient_key=None.'
        )
    return column.astype(str).to_numpy()
