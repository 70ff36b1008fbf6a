"""Rows of the table of samples, where no table of the user's decides which samples there are."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING

import pandas as pd
from anndata import AnnData

from .._errors import ClinicalError, counted, listed, warn
from .._keys import PATIENT_KEY
from ..pp.clinical import add_clinical
from ..pp.joins import storable_frame, text_keys
from ._cohort_table import load_table
from ._names import sample_name_or_empty

if TYPE_CHECKING:
    from collections.abc import Mapping


def sample_rows(
    info: pd.DataFrame,
    source: str,
    clinical: pd.DataFrame | str | PathLike | None,
    *,
    library_key: str,
    patient_key: str,
    other_names: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """One row per sample: what the files state of it, and the columns of a clinical table.

    Parameters
    ----------
    info
        Columns that the files have, indexed by sample.
    source
        What these files are, for messages.
    clinical
        Table with one row per sample, of which `library_key` names the sample, or one row per patient if `info` has
        the column `patient_key`.
    other_names
        Other names of the samples, such as those of their files, that the clinical table may use.

    Raises
    ------
    ClinicalError
        If a sample has no row, or no patient; and all that `spatialfm.pp.add_clinical` refuses.
    """
    obs = storable_frame(info, source, ClinicalError)
    if clinical is not None:
        obs = _joined(obs, clinical, library_key, patient_key, other_names or {})
    if patient_key in obs and patient_key != PATIENT_KEY:
        if PATIENT_KEY in obs:
            raise ClinicalError(
                f"Column {PATIENT_KEY!r} is not the one that patient_key names, but would take its place. Rename it, "
                f"or pass patient_key={PATIENT_KEY!r}."
            )
        obs = obs.rename(columns={patient_key: PATIENT_KEY})
    if PATIENT_KEY in obs:
        patients, _ = text_keys(obs[PATIENT_KEY], repr(patient_key), ClinicalError)
        if without := patients.index[patients.isna()].tolist():
            raise ClinicalError(
                f"{counted(len(without), 'sample has', 'samples have')} no patient in column {patient_key!r}: "
                f"{listed(without)}. Fill it in, or leave the samples out."
            )
        rest = obs.drop(columns=PATIENT_KEY)
        rest.insert(0, PATIENT_KEY, patients)
        obs = rest
    obs.index = pd.Index(obs.index.astype(object))
    return obs


def _joined(
    obs: pd.DataFrame,
    clinical: pd.DataFrame | str | PathLike,
    library_key: str,
    patient_key: str,
    other_names: Mapping[str, str],
) -> pd.DataFrame:
    frame, _ = load_table(clinical, [library_key, patient_key], [])
    if library_key in frame:
        names, _ = text_keys(frame[library_key], repr(library_key), ClinicalError)
        frame = frame.assign(**{library_key: [_own_name(name, obs.index, other_names) for name in names]})
        key = library_key
    elif patient_key in frame and patient_key in obs:
        key = patient_key
    else:
        raise ClinicalError(
            f"The clinical table has neither a column {library_key!r} with the names of the samples nor"
            f" {patient_key!r} with patients that the files name; it has {listed(frame.columns, 12)}. Pass "
            "library_key=<column>."
        )
    samples = AnnData(obs=obs.assign(**{library_key: obs.index}) if key == library_key else obs.copy())
    if key == library_key:
        unused = [name for name in frame[key] if name is not None and name not in obs.index]
        if unused:
            warn(
                f"The clinical table has {counted(len(unused), 'row')} for samples that are not among the files: "
                f"{listed(unused)}."
            )
        frame = frame[frame[key].isna() | frame[key].isin(obs.index)]
        if lacking := [name for name in obs.index if name not in set(frame[key])]:
            raise ClinicalError(
                f"The clinical table has no row for {counted(len(lacking), 'sample')}: {listed(lacking)}. Add the "
                f"rows; column {library_key!r} holds names of samples or of their files."
            )
    add_clinical(samples, frame, on=key)
    return samples.obs.drop(columns=[library_key] if key == library_key else [])


def _own_name(name: str | None, samples: Sequence[str], other_names: Mapping[str, str]) -> str | None:
    """The sample that a text means: its name, the name of its file, or that name as elements have it."""
    if name is None or name in samples:
        return name
    return other_names.get(name) or (sample_name_or_empty(name) if sample_name_or_empty(name) in samples else name)
