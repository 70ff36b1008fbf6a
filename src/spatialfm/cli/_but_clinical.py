"""What a cohort was read from, but for clinical values: stages that do not look at those stay done without them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from .._errors import ClinicalError, SpatialfmError
from .._keys import PATIENT_KEY, SAMPLE_KEY, SAMPLES, TABLE
from ..cohort.batches import is_batch_name
from ..pp.assemble import only_used
from ..pp.joins import add_columns, storable_frame
from ._state import Stamp, contents, version
from ._without_images import PHENOTYPE

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

TABLES = ("cohort", "clinical")  # settings that name a table with one row per sample or patient
SET_ASIDE = ("cluster", "leiden_sweep", PHENOTYPE, "niche")  # columns of the stages that follow


def but_clinical(
    settings: Mapping[str, Any], sdata: SpatialData, stamps: Mapping[str, Stamp], *, patients: bool = True
) -> str | None:
    """Digest of all that decides what is read, without the values of clinical columns, in whatever order rows are.

    Columns that settings name count, and with patients those that are named like a batch, at which the stage
    'phenotype' looks. Other clinical columns may come and go.

    Parameters
    ----------
    settings
        Of the stage 'read', with the cohort.
    sdata
        The cohort as it is read, lazily.
    stamps
        Of the files that are read.
    patients
        Whether the names of patients count, and batches. Images and masks do not depend on them.

    Returns
    -------
    None where this cannot be told: cells that the reader brings have clinical columns among their own.
    """
    if SAMPLES not in sdata or TABLE in sdata:
        return None
    tables = [str(settings[name]) for name in TABLES if isinstance(settings.get(name), str)]
    tables = [one for one in tables if one in stamps and Path(one).is_file()]
    try:
        rows = {one: _rest(Path(one), settings, list(map(str, sdata[SAMPLES].obs)), patients) for one in tables}
    except SpatialfmError:
        return None
    files = contents({path: stamp for path, stamp in stamps.items() if path not in rows})
    decided = json.dumps([dict(settings), rows, files, version()], sort_keys=True, default=str)
    return hashlib.sha256(decided.encode()).hexdigest()


def set_aside(name: str) -> str:
    """The name of a column that came with the cells."""
    return f"{name}_given" if name in SET_ASIDE else name


def drop_clinical(table: AnnData, samples: pd.DataFrame) -> None:
    """Take clinical columns from cells: they are added whenever these are read, as they are then."""
    table.obs = table.obs.drop(columns=[set_aside(str(name)) for name in samples], errors="ignore")


def add_clinical(table: AnnData, samples: pd.DataFrame) -> None:
    """Clinical columns of cells as they are in the table of samples.

    Raises
    ------
    ClinicalError
        If one has the name of a column that cells have by themselves.
    """
    frame = storable_frame(samples, "sdata['samples']", ClinicalError)
    rows = only_used(frame.loc[table.obs[SAMPLE_KEY].astype(str)].set_axis(table.obs_names, axis=0))
    rows = rows.rename(columns={name: set_aside(str(name)) for name in rows})
    table.obs = add_columns(table.obs, rows, "the cohort table", "Rename it there.", ClinicalError)


def _rest(path: Path, settings: Mapping[str, Any], clinical: Sequence[str], patients: bool) -> dict[str, Any]:
    """A table, without the values of columns that are nothing but clinical, its rows in the order of what they hold."""
    from ..pp.joins import column_name
    from ..pp.tables import read_header, read_table

    frame = read_table(path, read_header(path))  # all as text
    names = list(map(str, frame))
    of_patients = {PATIENT_KEY, str(settings.get("patient_key", PATIENT_KEY))}
    said = {key: value for key, value in settings.items() if patients or key != "patient_key"}
    kept = [
        name
        for name in names
        if name == SAMPLE_KEY
        or (patients and name in of_patients)
        or not ({name, column_name(name)} & set(clinical) or name in of_patients)
        or (patients and is_batch_name(column_name(name)))
        or _is_said(name, said)
    ]
    return {"kept": kept, "rows": sorted(frame[kept].astype(str).to_numpy().tolist())}


def _is_said(name: str, settings: Mapping[str, Any]) -> bool:
    """Whether a setting names the column, alone or in a template; lists of clinical columns do not count."""
    texts = [value for key, value in settings.items() if isinstance(value, str) and key not in TABLES]
    return any(text == name or f"{{{name}" in text for text in texts)
