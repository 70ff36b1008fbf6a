"""Cohorts that are tables only: one row per cell, no images."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from .._errors import ArgumentError, ClinicalError, TableError, repeated_names, warn
from .._keys import PATIENT_KEY, REGION_KEY, SAMPLE_KEY, TABLE, UNS
from .._logging import logger
from .._outcome import EventValue, remember_outcome
from .._public import public
from ..pp.joins import column_name, counted, listed
from ._cell_columns import (
    cells_frame,
    check_distances,
    instance_column,
    key_column,
    need_columns,
    number_columns,
)
from ._cell_frame import CellFrame, table_of_cells
from ._phenotypes import phenotype_column
from ._pixel_size import positive_mpp

if TYPE_CHECKING:
    from anndata import AnnData

PHENOTYPE = "phenotype"
_MICRONS = re.compile(r"µm|μm|\bum\b|_um\b|micron|micromet", re.IGNORECASE)


@public
def read_cells(
    table: pd.DataFrame | str | PathLike,
    *,
    x: str = "x",
    y: str = "y",
    library_key: str | Sequence[str] = "sample",
    patient_key: str | None = "patient",
    instance_key: str | None = None,
    markers: Sequence[str] | Mapping[str, str] | None = None,
    phenotype: str | Sequence[str] | Mapping[str, str] | None = None,
    mpp: float | None = None,
    clinical: pd.DataFrame | str | PathLike | None = None,
    on_missing: Literal["raise", "drop", "keep"] = "raise",
    time_key: str | None = None,
    event_key: str | None = None,
    event_value: EventValue = None,
) -> AnnData:
    """Read a cohort that is a table of cells: positions, phenotypes, intensities, without images.

    Parameters
    ----------
    table
        One row per cell: a frame, or a file (``.csv``, ``.tsv``, ``.txt``, ``.parquet``, ``.feather``).
    x
        Column of the positions along x.
    y
        Column of the positions along y.
    library_key
        Column of samples (images, cores, fields); several where only together they name one, such as patient and number
        of the image.
    patient_key
        Column of patients; None where there is none. A table without the column ``"patient"`` is one without patients.
    instance_key
        Column of whole numbers that name the cells within their sample. Default: cells are numbered from 1.
    markers
        Columns of intensities, which become ``X``; a mapping gives them new names.
    phenotype
        Column of cell types; or columns of yes and no, of which those that are set are named together (``"CD4 +
        FOXP3"``; ``"none"`` where none is). A mapping gives each flag its name.
    mpp
        µm in one unit of `x` and `y`. Default: 1, with a warning unless the names of the columns say µm.
    clinical
        Table with one row per patient (column `patient_key`) or sample (column `library_key`), whose columns go to
        every cell: see `spatialfm.pp.add_clinical`.
    on_missing
        What becomes of cells without a row in `clinical`, as in `spatialfm.pp.add_clinical`.
    time_key
        Column with the time to event or censoring, of `clinical` or `table`. Said here, no survival function has to be
        told again: see `spatialfm.pp.set_outcome`.
    event_key
        Column with the event (1) or not (0).
    event_value
        Value of `event_key` that means the event, or several, where it does not hold 0 and 1.

    Returns
    -------
    AnnData
        ``X`` with the `markers`, ``obsm["spatial"]`` in µm, ``obs`` with ``sample``, ``patient``, ``cell_id``,
        ``phenotype`` (categories), the clinical columns, and all other columns, their names as stores take them.
        ``obs_names`` are ``<sample>_<cell id>``.

    Raises
    ------
    TableError
        If columns are absent, a cell has no sample or no position, an id occurs twice in a sample, a flag is neither
        yes nor no, or a sample has several patients.
    ClinicalError, InputFileError
        As `spatialfm.pp.add_clinical`.
    SurvivalError
        If what is called an outcome cannot be one.

    Warns
    -----
    SpatialfmWarning
        If the unit of the positions is not known, or is unlikely for cells.

    Examples
    --------
    >>> import pandas as pd, spatialfm as sfm
    >>> cells = pd.DataFrame({
    ...     "slide": ["a", "a", "b"], "id": ["p1", "p1", "p2"], "x": [10, 30, 20], "y": [5, 5, 8],
    ...     "CD4+": [True, True, False], "FOXP3+": [False, True, False],
    ... })
    >>> clinical = pd.DataFrame({"id": ["p1", "p2"], "time": [31.5, 60], "event": [1, 0]})
    >>> adata = sfm.io.read_cells(
    ...     cells, library_key="slide", patient_key="id", phenotype=["CD4+", "FOXP3+"], mpp=0.5, clinical=clinical
    ... )
    >>> adata.obs[["sample", "patient", "phenotype", "time"]]
        sample patient    phenotype  time
    a_1      a      p1          CD4  31.5
    a_2      a      p1  CD4 + FOXP3  31.5
    b_1      b      p2         none  60.0
    >>> adata.obsm["spatial"]
    array([[ 5. ,  2.5],
           [15. ,  2.5],
           [10. ,  4. ]])
    """
    from ..pp.clinical import told_outcome

    libraries = [library_key] if isinstance(library_key, str) else list(library_key)
    keys = [*libraries, *([patient_key] if patient_key is not None else [])]
    frame, source = cells_frame(table, keys)
    has_patient = patient_key is not None and (patient_key in frame or patient_key != PATIENT_KEY)
    new_names = dict(markers) if isinstance(markers, Mapping) else {name: name for name in markers or ()}
    _check_columns(frame, source, libraries, patient_key if has_patient else None, instance_key, (x, y), new_names)
    scale, known = _scale(mpp, x, y)

    sample = key_column(frame, library_key, source)
    patient = key_column(frame, patient_key, source) if has_patient and patient_key is not None else None
    _check_patients(sample, patient, source)
    types = None if phenotype is None else phenotype_column(frame, phenotype, source)
    used = {*libraries, x, y, *new_names, *([patient_key] if has_patient else []), *([instance_key] or [])}
    obs = frame.drop(columns=[name for name in used if name in frame])
    if types is not None:
        obs = _with_types(obs, types, phenotype, source)
    if patient is not None and PATIENT_KEY in obs:
        raise TableError(
            f"{source[0].upper()}{source[1:]} has a column {PATIENT_KEY!r} that patient_key= does not name, whose "
            "place the patients would take. Rename it."
        )
    if patient is not None:
        obs.insert(0, PATIENT_KEY, patient)
    xy = number_columns(frame, [x, y], source) * scale
    values = pd.DataFrame(number_columns(frame, list(new_names), source), columns=list(new_names.values()))
    ids = None if instance_key is None else instance_column(frame, instance_key, source)

    frames = _frames(sample, ids, xy, values, obs)
    adata = table_of_cells(frames, source=source)
    check_distances([(one.sample, one.xy) for one in frames], "Pass mpp=<µm in one unit of x and y>.")
    adata.obs = adata.obs.drop(columns=REGION_KEY)  # there is no element that it could name
    adata.uns[UNS][TABLE] |= {"mpp": scale, "phenotype": json.dumps(_as_given(phenotype), ensure_ascii=False)}
    if known:
        adata.uns[UNS][TABLE]["unit"] = "µm"
    if clinical is not None:
        numeric = {name for name in keys if name in frame and pd.api.types.is_numeric_dtype(frame[name])}
        _join_clinical(adata, clinical, libraries, patient_key if has_patient else None, numeric, on_missing)
    outcome = told_outcome(adata.obs, (time_key, event_key, event_value), "sfm.io.read_cells")
    if outcome is not None:
        remember_outcome(adata, outcome)
    n = "" if patient is None else f" of {counted(patient.nunique(), 'patient')}"
    logger.info(f"{counted(adata.n_obs, 'cell')} in {counted(len(frames), 'sample')}{n}")
    return adata


def _check_columns(frame, source, libraries, patient_key, instance_key, xy, markers) -> None:
    wanted = {x: argument for x, argument in zip(xy, ("x", "y"), strict=True)}
    wanted |= dict.fromkeys(libraries, "library_key") | dict.fromkeys(markers, "markers")
    wanted |= {} if patient_key is None else {patient_key: "patient_key"}
    wanted |= {} if instance_key is None else {instance_key: "instance_key"}
    need_columns(frame, wanted, source)
    if xy[0] == xy[1]:
        raise ArgumentError(f"x and y are both {xy[0]!r}. Pass the columns of both coordinates.")
    if twice := repeated_names(markers.values()):
        raise ArgumentError(f"markers= gives two columns the name {twice[0]!r}. Give each marker one of its own.")


def _scale(mpp: float | None, x: str, y: str) -> tuple[float, bool]:
    """µm in one unit of the positions, and whether that is known."""
    if positive_mpp(mpp) is not None:
        return float(mpp), True  # type: ignore[arg-type]  # it is given
    known = bool(_MICRONS.search(x) and _MICRONS.search(y))
    if not known:
        warn(
            f"The unit of columns {x!r} and {y!r} is not known: µm are assumed. Pass mpp=1 if they are, and "
            "mpp=<µm per pixel> if they are pixels."
        )
    return 1.0, known


def _check_patients(sample: pd.Series, patient: pd.Series | None, source: str) -> None:
    if patient is None:
        return
    n = pd.DataFrame({"sample": sample, "patient": patient}).drop_duplicates()
    shared = n["sample"][n["sample"].duplicated()].unique()
    if len(shared):
        names = listed(n["patient"][n["sample"] == shared[0]], 3)
        raise TableError(
            f"{counted(len(shared), 'sample')} of {source} have several patients: {listed(shared)} ({shared[0]!r}: "
            f"{names}). If samples are numbered within patients, pass both columns: library_key=[<patient>, <sample>]."
        )


def _with_types(obs: pd.DataFrame, types: pd.Series, phenotype: object, source: str) -> pd.DataFrame:
    """`obs` with the column of types; a column that is itself the types is not there twice."""
    if isinstance(phenotype, str):
        obs = obs.drop(columns=phenotype)
    if PHENOTYPE in obs:
        raise TableError(
            f"{source[0].upper()}{source[1:]} has a column {PHENOTYPE!r} that phenotype= does not name, whose place "
            "the types would take. Rename it."
        )
    obs.insert(0, PHENOTYPE, types)
    return obs


def _frames(
    sample: pd.Series, ids: np.ndarray | None, xy: np.ndarray, values: pd.DataFrame, obs: pd.DataFrame
) -> list[CellFrame]:
    """One part per sample, in the order first seen."""
    codes, names = pd.factorize(sample)
    order = np.argsort(codes, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(codes))[:-1])
    return [
        CellFrame(
            str(name),
            np.arange(1, len(rows) + 1) if ids is None else ids[rows],
            xy[rows],
            values.iloc[rows].reset_index(drop=True),
            obs.iloc[rows].reset_index(drop=True),
        )
        for name, rows in zip(names, parts, strict=True)
    ]


def _join_clinical(
    adata: AnnData,
    clinical: pd.DataFrame | str | PathLike,
    libraries: Sequence[str],
    patient_key: str | None,
    numeric: set[str],
    on_missing: Literal["raise", "drop", "keep"],
) -> None:
    """Columns of the clinical table, by patient or by sample; keys that are numbers in both are compared as such."""
    from ..pp import add_clinical
    from ._cohort_table import load_table

    keys = [*libraries, *([patient_key] if patient_key else [])]
    frame = load_table(clinical, [name for name in keys if name not in numeric], [])[0]
    columns, on = ([patient_key], PATIENT_KEY) if patient_key in frame else (list(libraries), SAMPLE_KEY)
    if absent := [name for name in columns if name not in frame]:
        raise ClinicalError(
            f"The clinical table has no column {patient_key or absent[0]!r} of the table of cells to join on; it has "
            f"{listed(frame.columns, 12)}. Rename the one with the same names: "
            f"clinical.rename(columns={{<its name>: {patient_key or absent[0]!r}}})."
        )
    theirs = _as_written(key_column(frame, columns, "the clinical table"), set(adata.obs[on]))
    if not set(theirs) & set(adata.obs[on]):
        raise ClinicalError(
            f"No {on} of the clinical table is in the table of cells: {listed(theirs, 3)} there, "
            f"{listed(adata.obs[on].unique(), 3)} here. Pass tables that name them in the same way."
        )
    rest = frame.drop(columns=columns)
    if twice := [name for name in rest if column_name(name) in adata.obs]:
        raise ClinicalError(
            f"{counted(len(twice), 'column is', 'columns are')} in both the table of cells and the clinical table: "
            f"{listed(twice)}. Drop or rename them in one of the two."
        )
    add_clinical(adata, rest.assign(**{on: theirs}), on, on_missing=on_missing)


def _as_written(keys: pd.Series, ours: set[str]) -> pd.Series:
    """Names as ours, where theirs are whole numbers that were saved as 1.0, 2.0 ..."""
    if not set(keys) & ours and keys.str.fullmatch(r"\d+\.0").all():
        return keys.str.removesuffix(".0")
    return keys


def _as_given(phenotype: object) -> object:
    return dict(phenotype) if isinstance(phenotype, Mapping) else phenotype
