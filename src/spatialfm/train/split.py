"""Which patients are held out: no patient is on both sides."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from .._errors import ClinicalError, counted, listed
from .._keys import PATIENT_KEY
from .._spelling import check_spelling


def check_patients(names: Iterable[object], patient_key: str, table: str) -> None:
    """Refuse patients in two spellings, who could be on both sides of a split.

    Parameters
    ----------
    names
        Patients, as they are told apart; missing ones may be among them.
    patient_key
        What the column is called by the user.
    table
        How the user writes the table that has it.

    Raises
    ------
    ClinicalError
        If two names read alike, as ``"P1"`` and ``" p1"`` or ``"1"`` and ``"1.0"`` do.
    """
    check_spelling(pd.Series(list(names), name=patient_key, dtype=object), "patient_key", ClinicalError, table)


def held_out_patients(
    table: pd.DataFrame, patient_key: str, validation: float | Sequence[str], random_state: int
) -> set[str]:
    """Patients whose windows are not trained on.

    Parameters
    ----------
    table
        One row per window, with ``patient``.
    patient_key
        What that column is called by the user, for messages.
    validation
        Their names, or their share of all patients: at least one of them, and all but one at most.
    random_state
        Decides which, where a share is asked for.

    Raises
    ------
    ClinicalError
        If there is one patient, a sample has none, or a name is not that of a patient.
    """
    without = table.loc[table[PATIENT_KEY].isna(), ["source", "sample"]].drop_duplicates()
    if len(without):
        names = [f"{sample!r} of {source}" for source, sample in without.itertuples(index=False)]
        raise ClinicalError(
            f"{counted(len(names), 'sample')} without patient in column {patient_key!r}: "
            f"{listed(names, 5, quoted=False)}. A split by patient cannot place them: state their patients with "
            "sfm.pp.add_samples(sdata, table), or leave them out with samples=."
        )
    patients = sorted(table[PATIENT_KEY].unique())
    if len(patients) < 2:
        raise ClinicalError(
            f"All windows are of one patient ({patients[0]!r}), and validation= needs others than those that are "
            "trained on. Leave validation= out, or add images of other patients."
        )
    if isinstance(validation, (int, float)):
        if not 0 < validation < 1:
            raise ClinicalError(f"validation={validation} must be a share between 0 and 1, or names of patients.")
        n = min(max(1, round(validation * len(patients))), len(patients) - 1)
        return set(np.random.default_rng(random_state).permutation(patients)[:n].tolist())
    named = [str(name) for name in ([validation] if isinstance(validation, str) else validation)]
    if unknown := [name for name in named if name not in patients]:
        raise ClinicalError(
            f"validation= names patient {unknown[0]!r}, of whom there is no window; patients are "
            f"{listed(patients, 20)}."
        )
    if not named or set(named) == set(patients):
        raise ClinicalError(
            f"validation= names {'no patient' if not named else 'all patients'}. Name some, and leave others to train "
            "on."
        )
    return set(named)
