"""Cells as MCMICRO quantified them: one table per mask, with means of all channels, positions and shapes in pixels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._errors import InputFileError, TableError, counted, listed, warn
from .._keys import AREA
from ..pp.arrays import labels_at
from ..pp.joins import whole_numbers
from ._cell_frame import CellFrame

if TYPE_CHECKING:
    import dask.array as da

_ID = "CellID"
_POSITIONS = (
    ("X_centroid", "Y_centroid"),
    ("X_position", "Y_position"),
)  # the second pair by versions before June 2020
_SHAPES = {  # name here, and the power of a pixel's side that it is measured in
    "Area": (AREA, 2),
    "MajorAxisLength": ("axis_major_length", 1),
    "MinorAxisLength": ("axis_minor_length", 1),
    "Eccentricity": ("eccentricity", 0),
    "Solidity": ("solidity", 0),
    "Extent": ("extent", 0),
    "Orientation": ("orientation", 0),
}
_FOUND, _OTHERS = 0.5, 0.05  # rings have their centroid in a hole; none has it in another cell


def read_quantification(
    path: Path, sample: str, names: dict[str, str], labels: da.Array, mpp: float, mask: str
) -> CellFrame:
    """Cells of one sample.

    Parameters
    ----------
    names
        Channels that are kept: name in ``markers.csv``, and name of the channel of the image.
    labels
        The mask ``(y, x)``, in which all cells are looked up: it is read once, block by block.
    mpp
        µm per pixel.
    mask
        Name of the mask, with which older versions end the names of the columns.

    Raises
    ------
    TableError
        If it has no ids, positions or channels, or was measured with another mask.
    """
    frame = _read(path)
    ids = whole_numbers(frame[_ID], f"{_ID!r} of '{path}'", "Quantify again.") if len(frame) else np.empty(0, np.int64)
    of_channel = _channel_columns(frame, names, path, mask)
    text = [one for one in of_channel.values() if not pd.api.types.is_numeric_dtype(frame[one])]
    if text:
        raise TableError(f"'{path}' has columns that are not numbers: {listed(text)}. Quantify again.")
    pair = next((one for one in _POSITIONS if set(one) <= set(frame)), None)
    if pair is None:
        raise TableError(f"'{path}' has no columns {_POSITIONS[0][0]!r} and {_POSITIONS[0][1]!r}. Quantify again.")
    xy = frame[list(pair)].to_numpy(dtype=float)
    if np.unique(ids).size == ids.size:  # ids that occur twice are refused with the problems of all samples
        xy = _in_mask(ids, xy, labels, path, may_swap=pair == _POSITIONS[1])
    values = pd.DataFrame({names[name]: frame[column] for name, column in of_channel.items()})
    rest = frame.drop(columns=[_ID, *pair, *of_channel.values()])
    obs = pd.DataFrame(index=frame.index)
    for column in rest:
        name, power = _SHAPES.get(str(column), (str(column), 0))
        obs[name] = rest[column] * mpp**power if power else rest[column]
    return CellFrame(sample, ids, (xy + 0.5) * mpp, values, obs)


def _read(path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_csv(path)
    except (ValueError, OSError) as error:  # pandas' own are ValueErrors
        raise InputFileError(f"'{path}' cannot be read as a table ({error}). Copy it again.") from error
    if _ID not in frame:
        raise TableError(f"'{path}' has no column {_ID!r}; it has {listed(frame.columns)}.")
    return frame if len(frame) else frame.astype(float)  # a core without cells: a header alone has no numbers


def _channel_columns(frame: pd.DataFrame, names: dict[str, str], path: Path, mask: str) -> dict[str, str]:
    """Column of each channel: its name, or in older versions with the name of a mask behind it."""
    endings = ["", f"_{mask}", f"_{mask}Mask"]
    for ending in endings:
        if all(f"{name}{ending}" in frame for name in names):
            return {name: f"{name}{ending}" for name in names}
    lacking = [name for name in names if name not in frame]
    raise TableError(
        f"'{path}' has no column for {counted(len(lacking), 'channel')} of the image: {listed(lacking)}. It was "
        "measured with another markers.csv; quantify again, or pass quantification=False to measure here."
    )


def _in_mask(ids: np.ndarray, xy: np.ndarray, labels: da.Array, path: Path, *, may_swap: bool) -> np.ndarray:
    """Positions ``(n, 2)``, x and y, once the cells were found at theirs in the mask.

    The centroid of a cell is nearly always a pixel of it; a ring of cytoplasm has it in its hole. Where it is a pixel
    of another cell, the table is of another mask, or of another segmentation of some cells.
    """
    if not ids.size:
        return xy
    own, other = _shares(ids, xy, labels)
    if own >= _FOUND and other <= _OTHERS:
        return xy
    if may_swap:
        own_swapped, other_swapped = _shares(ids, xy[:, ::-1], labels)
        if own_swapped >= _FOUND and other_swapped <= _OTHERS:
            warn(
                f"{_POSITIONS[1][0]} and {_POSITIONS[1][1]} of '{path}' are exchanged, and were taken the other way "
                "round."
            )
            return xy[:, ::-1]
    raise TableError(
        f"'{path}' was measured with another mask: of {counted(ids.size, 'cell')}, {round(own * ids.size):,} are at "
        f"their position in the mask that was read, and {round(other * ids.size):,} have another cell there. Quantify "
        "again, or pass quantification=False to measure here."
    )


def _shares(ids: np.ndarray, xy: np.ndarray, labels: da.Array) -> tuple[float, float]:
    """Share of the cells that are at their position, and of those that have another cell or the outside there."""
    x, y = np.nan_to_num(np.rint(xy), nan=-1).astype(int).T
    there = labels_at(labels, y, x)
    return float((there == ids).mean()), float(((there != ids) & (there != 0)).mean())
