"""``*_cell_seg_data.txt`` of inForm: one row per cell, of one field or of many."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from .._errors import TableError, counted, listed, warn
from ..pp.joins import whole_numbers
from ..pp.tables import read_table
from ._cell_columns import number_columns
from ._cell_frame import CellFrame
from ._drawn import beyond_image
from ._phenotypes import phenotype_column

ENDING = "_cell_seg_data.txt"  # of the names of the tables
COMPARTMENTS = ("Entire Cell", "Nucleus", "Cytoplasm", "Membrane")
_INTENSITY = re.compile(rf"({'|'.join(COMPARTMENTS)}) (.+) (Mean|Min|Max|Std Dev|Total)( \(.*\))?")
_PLACE = re.compile(r"_\[([0-9.]+),([0-9.]+)\][^\[]*$")
_PHENOTYPE = re.compile(r"Phenotype[ -](.+)")
_X, _Y = "Cell X Position", "Cell Y Position"
_IDENTIFIERS = ("Path", "Sample Name", "Annotation ID", "Slide ID", "Lab ID", "TMA Sector", "Phenotype")


@dataclass(frozen=True)
class InformCells:
    """Rows of one field.

    Attributes
    ----------
    called
        Name of the field, without suffix, as its files have it.
    rows
        Of the table.
    source
        File, for messages.
    in_microns
        Whether positions are in µm, from a corner of the slide on; otherwise in pixels of the field.
    """

    called: str
    rows: pd.DataFrame
    source: str
    in_microns: bool


def read_fields(path: Path) -> list[InformCells]:
    """The fields of one table.

    Raises
    ------
    TableError
        If it has no ids or positions.
    """
    frame = read_table(path, _IDENTIFIERS)
    source = f"'{path}'"
    if absent := [name for name in ("Cell ID", _X, _Y) if name not in frame]:
        raise TableError(
            f"{source} has no column {listed(absent)}; it has {listed(frame.columns, 8)}. Pass the folder of an export "
            "of inForm with its cell segmentation data."
        )
    in_microns = any("micron" in str(name).lower() for name in frame)
    key = next((k for k in ("Annotation ID", "Sample Name") if k in frame and frame[k].notna().all()), None)
    if key is None or frame[key].nunique() == 1:
        return [InformCells(path.name.removesuffix(ENDING), frame, source, in_microns)]
    return [
        InformCells(re.sub(r"\.(im3|qptiff)$", "", str(name), flags=re.IGNORECASE), rows, source, in_microns)
        for name, rows in frame.groupby(key, sort=False)
    ]


def frame_of_field(
    sample: str,
    cells: InformCells,
    mpp: float,
    shape: tuple[int, int] | None,
    names: Mapping[str, str | None],
    compartment: str | None,
) -> CellFrame:
    """Cells of one field.

    Parameters
    ----------
    mpp, shape
        µm per pixel, and height and width of the field where they are known.
    names
        Names of the channels in the image: those that they get, None for those that a panel leaves out.
    compartment
        Of which part of a cell the intensities are.

    Raises
    ------
    TableError
        If ids are not whole numbers, cells are outside of the field, or there is no mean of the compartment.
    """
    rows = cells.rows.reset_index(drop=True)
    chosen, others = _intensities(rows, compartment, cells.source)
    others = [*others, *(column for marker, column in chosen.items() if names.get(marker, marker) is None)]
    chosen = {marker: column for marker, column in chosen.items() if names.get(marker, marker) is not None}
    ids = whole_numbers(rows["Cell ID"], f"'Cell ID' of {cells.source}", "Pass tables of cells, not summaries.")
    xy = number_columns(rows, [_X, _Y], cells.source) * (1.0 if cells.in_microns else mpp)
    if shape is not None:
        xy = _in_field(cells, xy, shape, mpp)
    values = pd.DataFrame(number_columns(rows, list(chosen.values()), cells.source), columns=list(chosen))
    dropped = ["Path", "Sample Name", "Cell ID", _X, _Y, *chosen.values(), *others]
    obs = rows.drop(columns=[name for name in dropped if name in rows])
    obs = obs.drop(columns=[name for name in obs if obs[name].isna().all() or str(name).startswith("inForm ")])
    return CellFrame(sample, ids, xy, values.rename(columns=names), _with_phenotype(_numbers(obs), cells))


def _intensities(rows: pd.DataFrame, compartment: str | None, source: str) -> tuple[dict[str, str], list[str]]:
    """Column of the mean of each marker, and columns of intensities of other parts and statistics."""
    intensities = {name: match for name in rows if (match := _INTENSITY.fullmatch(str(name)))}
    there = dict.fromkeys(match[1] for match in intensities.values() if match[3] == "Mean")
    part = compartment or next((one for one in COMPARTMENTS if one in there), None)
    part = {one.lower(): one for one in COMPARTMENTS}.get(str(part).lower(), part)
    if intensities and part not in there:
        raise TableError(
            f"{source} has no mean of the compartment {part!r}, but of {listed(there)}. Correct compartment=."
        )
    chosen = {match[2]: name for name, match in intensities.items() if match[1] == part and match[3] == "Mean"}
    return chosen, [name for name in intensities if name not in chosen.values()]


def _in_field(cells: InformCells, xy: np.ndarray, shape: tuple[int, int], mpp: float) -> np.ndarray:
    """Positions from the corner of the field on; µm start at a corner of the slide, and the name says where it is."""
    if not (text := beyond_image(xy, shape, mpp)):
        return xy
    if cells.in_microns and (place := _PLACE.search(cells.called)):
        corner = np.array([float(place[1]), float(place[2])]) - np.array(shape[::-1]) * mpp / 2
        if not beyond_image(xy - corner, shape, mpp):
            return xy - corner
    raise TableError(f"{text} Are table and image of one field, and is mpp= right?")


def _numbers(obs: pd.DataFrame) -> pd.DataFrame:
    """Columns of ``97.57 %`` as numbers, with the unit in their names."""
    new = {}
    for name in obs:
        column = obs[name]
        texts = column.dropna().astype(str)
        if len(texts) and not pd.api.types.is_numeric_dtype(column) and texts.str.fullmatch(r"[-0-9.,]+ ?%").all():
            name = str(name) if "percent" in str(name).lower() else f"{name} (percent)"
            column = column.map(lambda text: float(str(text).rstrip(" %").replace(",", ".")), na_action="ignore")
            column = column.astype(float)
        new[str(name)] = column
    return pd.DataFrame(new, index=obs.index)


def _with_phenotype(obs: pd.DataFrame, cells: InformCells) -> pd.DataFrame:
    """`obs` with one column of phenotypes: that of inForm, or of one column for each that were brought together."""
    flags = {name: match[1].strip() for name in obs if (match := _PHENOTYPE.fullmatch(str(name)))}
    if "Phenotype" in obs and obs["Phenotype"].notna().any():
        types = phenotype_column(obs, "Phenotype", cells.source)
        if n := int(types.isna().sum()):
            warn(f"{counted(n, 'cell')} of {cells.source} have no phenotype, and have none in the table.")
    elif flags:
        types = phenotype_column(obs, flags, cells.source)
    else:
        return obs
    obs = obs.drop(columns=["Phenotype"], errors="ignore")
    obs.insert(0, "phenotype", types)
    return obs
