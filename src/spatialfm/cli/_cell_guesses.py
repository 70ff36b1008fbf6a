"""What the columns of a table of cells probably are, by their names and first rows: for ``spatialfm init``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ..io._phenotypes import _OF_FLAGS

ROWS = 20_000  # that are looked at
MOST_TYPES = 60
PLACES: dict[str, tuple[str, ...]] = {
    "x": ("x", "xum", "xposition", "xpos", "posx", "xcoord", "xcoordinate", "xcentroid", "centroidx", "centroidxum",
          "xcenter", "centerx", "xlocation", "locationcenterx", "cellxposition", "xmicrons", "globalx"),
}  # fmt: skip
PLACES["y"] = tuple(name.replace("x", "y") for name in PLACES["x"])
SAMPLE = ("sample", "sampleid", "samplename", "core", "coreid", "roi", "roiid", "fov", "fovid", "imageid", "imagename",
          "image", "imagenumber", "acquisitionid", "spot", "slide", "slideid", "filename")  # fmt: skip
PATIENT = ("patient", "patientid", "patientno", "patientnumber", "case", "caseid", "caseno", "casenumber", "subject",
           "subjectid", "subjectno", "donor", "donorid")  # fmt: skip
CELL = ("cellid", "cellnumber", "cellindex", "objectid", "objectnumber", "label", "cell")
TYPE = ("phenotype", "celltype", "celltypes", "cellphenotype", "cellclass", "celllabel", "type", "annotation", "class",
        "classification", "clustername", "phenotypes")  # fmt: skip


def places(columns: Sequence[str]) -> tuple[str, str] | None:
    """Columns of x and y, where there is one of each."""
    both = [_first(columns, PLACES[axis]) for axis in "xy"]
    return (both[0], both[1]) if both[0] is not None and both[1] is not None else None


def guessed_settings(cells: pd.DataFrame, clinical: pd.DataFrame | None) -> dict[str, Any]:
    """Settings of the reader of tables of cells, where they are not the default."""
    columns = list(cells.columns)
    x, y = places(columns) or ("x", "y")
    said: dict[str, Any] = {"x": x, "y": y}
    patient = _patient(columns, clinical)
    sample = _first([name for name in columns if name != patient], SAMPLE) or patient
    if sample is not None:
        said["library_key"] = _library(cells, sample, patient)
    if patient is not None:
        said["patient_key"] = patient
    keys: set[Any] = {x, y, sample, patient}
    if (cell := _first(columns, CELL)) is not None and cell not in keys and _is_number_of_cell(cells, cell, said):
        said["instance_key"] = cell
    keys.add(said.get("instance_key"))
    rest = cells[[name for name in columns if name not in keys]]
    markers = _markers(rest)
    if (types := _types(rest, markers)) is not None:
        said["phenotype"] = types
    if markers:
        said["markers"] = markers
    return {key: value for key, value in said.items() if value != DEFAULTS.get(key)}


DEFAULTS = {"x": "x", "y": "y", "library_key": "sample", "patient_key": "patient"}


def _first(columns: Sequence[str], usual: Sequence[str]) -> str | None:
    """The column of the most usual name; None where two may be it."""
    plain = {name: re.sub(r"[^a-z0-9]", "", re.sub("[µμ]", "u", name.lower())) for name in columns}
    for want in usual:
        if want in columns:
            return want
        hits = [name for name in columns if plain[name] == want]
        if hits:
            return hits[0] if len(hits) == 1 else None
    return None


def _patient(columns: Sequence[str], clinical: pd.DataFrame | None) -> str | None:
    """A usual name, or what else the clinical table, which has a row for each, has in common with the cells."""
    usual = _first(columns, PATIENT)
    if usual is not None or clinical is None:
        return usual
    sample = _first(columns, SAMPLE)
    shared = [name for name in columns if name in clinical and name != sample and clinical[name].is_unique]
    return shared[0] if len(shared) == 1 else None


def _library(cells: pd.DataFrame, sample: str, patient: str | None) -> str | list[str]:
    """The column of samples; with that of patients, where samples are numbered within them."""
    if patient is None or patient == sample:
        return sample
    pairs = cells[[sample, patient]].dropna().drop_duplicates()
    return [patient, sample] if pairs[sample].duplicated().any() else sample


def _is_number_of_cell(cells: pd.DataFrame, cell: str, said: Mapping[str, Any]) -> bool:
    values = cells[cell]
    if not pd.api.types.is_integer_dtype(values.dtype) or (values < 1).any():
        return False
    library = said.get("library_key", "sample")
    by = [name for name in ([library] if isinstance(library, str) else library) if name in cells]
    return not cells[[*by, cell]].duplicated().any()


def _is_flag(column: pd.Series) -> bool:
    return pd.api.types.is_bool_dtype(column.dtype)


def _markers(cells: pd.DataFrame) -> list[str]:
    """Columns of numbers whose names are known as markers."""
    from ..pp import match_markers

    numbers = [name for name in cells if pd.api.types.is_numeric_dtype(cells[name].dtype) and not _is_flag(cells[name])]
    if not numbers:
        return []
    table = match_markers(numbers)
    return [str(name) for name in table.loc[table["marker"].fillna("").astype(str) != "", "channel"]]


def _types(cells: pd.DataFrame, markers: Sequence[str]) -> str | list[str] | None:
    """A column of names of types, or flags of phenotypes; flags that only say which marker is there are no types."""
    name = _first([name for name in cells if not pd.api.types.is_numeric_dtype(cells[name].dtype)], TYPE)
    if name is not None and 1 < cells[name].nunique() <= MOST_TYPES:
        return name
    flags = [name for name in cells if _is_flag(cells[name])]
    of_types = [name for name in flags if str(name).lower().split("_")[0] in _OF_FLAGS and "_" in str(name)]
    if len(of_types) > 1:
        return of_types
    return flags if len(flags) > 1 and not markers else None
