"""Late entry that a table is known to have, where a call does not take it into account."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from .._errors import SurvivalError, counted, warn

if TYPE_CHECKING:
    from anndata import AnnData

OTHERWISE = {  # what to do if a function does not handle late entry
    "coxnet": 'Fit sfm.tl.cox(patients, [...], entry_key="{entry}", penalizer=0.1) instead',
    "power": 'Pass those of the pilot who were there from the start: patients[patients.obs["{entry}"] == 0].copy()',
    "survival_forest": 'Fit sfm.tl.cox(patients, [...], entry_key="{entry}", penalizer=0.1) instead',
    "predict_survival": (
        "Pass score=False for predictions alone, and hold them against the outcome with sfm.tl.concordance and "
        'sfm.tl.cox(target, "<key_added>", entry_key="{entry}"), whose coefficient is the calibration slope'
    ),
}


def tell_late_entry(patients: AnnData, what: str, time_key: str, known: str = "") -> None:
    """Warn where an earlier result on the same times counted patients from their entry on, and this one does not.

    Refused if the function does not handle late entry. `known` is an entry column from another source.

    Raises
    ------
    SurvivalError
        With the column, and what to call instead.
    """
    entry, where = (known, "the source's result") if known else _recorded(patients, time_key)
    if not entry or entry not in patients.obs or not pd.api.types.is_numeric_dtype(patients.obs[entry].dtype):
        return
    late = int((patients.obs[entry] > 0).sum())
    if not late:
        return
    sentence = (
        f"{where} counts patients from obs[{entry!r}] on, and {counted(late, 'patient')} came late: "
        f"{what} without it counts the time before as survived"
    )
    if what in OTHERWISE:
        raise SurvivalError(
            f"{sentence}, and does not handle late entry (left truncation). {OTHERWISE[what].format(entry=entry)}; "
            "where the time before was under observation after all, pass a table without that result."
        )
    warn(f'{sentence}. Pass entry_key="{entry}", or leave that result out of uns if it was wrong.')


def _recorded(patients: AnnData, time_key: str) -> tuple[str, str]:
    """Entry column of a result on these times, and which one; empty where there is none."""
    for key, record in patients.uns.items():
        params = record.get("params") if isinstance(record, Mapping) else None
        if isinstance(params, Mapping) and str(params.get("time_key", "")) == time_key:
            entry = str(params.get("entry_key", "") or "")
            if entry:
                return entry, f"uns[{key!r}]"
    return "", ""
