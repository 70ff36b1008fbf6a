"""``sfm.pp.fix_labels``: rewrites label images, with one number per piece and without what is not a cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from spatialdata.models import Labels2DModel
from spatialdata.transformations import get_transformation

from .._errors import ElementError, listed, warn
from .._logging import logger
from .._public import public
from .arrays import labels_array
from .joins import counted
from .labels import CheckedLabels, inspect_labels, label_targets
from .pieces import LabelScan, Pieces, grouped, number_parts
from .stand_ins import forget_stand_in, is_stale, note_stand_in, stand_ins

if TYPE_CHECKING:
    import dask.array as da
    from spatialdata import SpatialData
    from xarray import DataArray

SUFFIX = "_fixed"
CELL_OF_0 = 5  # median cells: up to so many pixels of 0 may be a cell that is called so


@dataclass(frozen=True)
class FixedLabels:
    """A labels element that is to be written, and what it holds."""

    source: str
    name: str
    element: DataArray
    scan: LabelScan
    changes: pd.DataFrame
    split: bool
    background: tuple[int, ...]


@public
def fix_labels(
    sdata: SpatialData,
    labels: str | Sequence[str] | Mapping[str, str] | None = None,
    *,
    image: str | Sequence[str] | Mapping[str, str] | None = None,
    samples: str | Sequence[str] | None = None,
    split: bool = False,
    background: int | Sequence[int] | None = None,
    suffix: str = SUFFIX,
) -> pd.DataFrame:
    """Write new labels elements in which every cell has its own number.

    For labels in which `check_labels` found errors. The old elements stay as they are. From then on, functions that
    are not told otherwise use the new element in place of the old one (``labels=`` still names either).

    Parameters
    ----------
    sdata
        Label images ``(y, x)``; yes/no masks and whole numbers stored as floats are taken too.
    labels
        Labels elements to fix, as in `check_labels`.
    image
        Images of these labels, as in `check_labels`.
    samples
        Samples to use, as in `check_labels`.
    split
        Whether every piece becomes a cell: the largest piece of a number keeps it, the others get new numbers above
        all old ones, by number and falling area. Pixels that touch by side or corner are one piece.
    background
        Numbers that mean no cell: they become 0.
    suffix
        What is added to the name of an element.

    Returns
    -------
    One row per piece whose number changed: ``sample``, ``labels`` (the new element), ``label_before``, ``label``,
    ``area`` in pixels. Written, for every element that changes:

    - ``sdata.labels[<labels> + suffix]`` ``(y, x)``: lazy, of the old chunks and transformations; the old data type,
      or uint32 where that is too small or no integer.
    - ``sdata.attrs["spatialfm"]["fixed_labels"]``: ``{<labels>: <labels> + suffix}``, and in ``"fixed_from"`` a
      checksum of the old ones: where these are replaced afterwards, the new element is refused until it is made again.

    Raises
    ------
    ElementError
        If elements are missing, pixels are not whole numbers, a number of `background` does not occur, or an element of
        the new name exists that this function did not write.

    Warns
    -----
    SpatialfmWarning
        If 0 has the pixels of about one cell, and means none from then on: the numbers may begin with 0.

    Examples
    --------
    >>> import numpy as np, spatialdata as sd, spatialfm as sfm
    >>> from spatialdata.models import Labels2DModel
    >>> mask = np.kron(np.eye(3, dtype="uint8"), np.pad(np.full((6, 6), 255, "uint8"), 1))
    >>> sdata = sd.SpatialData(labels={"cells": Labels2DModel.parse(mask)})
    >>> sfm.pp.fix_labels(sdata, "cells", split=True)
      sample       labels  label_before  label  area
    0  cells  cells_fixed           255    256    36
    1  cells  cells_fixed           255    257    36
    >>> np.unique(sdata["cells_fixed"])
    array([  0, 255, 256, 257], dtype=uint32)
    """
    zeros = np.unique(np.asarray([] if background is None else background, dtype=np.int64).ravel())
    checked = [
        inspect_labels(sdata, sample, name, pair) for sample, name, pair in label_targets(sdata, labels, image, samples)
    ]
    present = {int(number) for check in checked for number in check.pieces.ids}
    if absent := [number for number in zeros.tolist() if number not in present]:
        raise ElementError(
            f"background= names {listed(absent, quoted=False)}, which labels "
            f"{listed(check.labels for check in checked)} do not hold. Correct background=, or labels=."
        )
    plans = [plan_fix(sdata, check, split, zeros, suffix) for check in checked]
    _say_cells_of_0(checked, zeros)
    for check, plan in zip(checked, plans, strict=True):
        if plan is not None:
            write_fixed(sdata, plan)
        elif is_stale(
            sdata, check.labels
        ):  # their replacement was made of older labels, and the present ones need no fix
            forget_stand_in(sdata, check.labels)
    fixed = [plan for plan in plans if plan is not None]
    logger.info(f"{counted(len(fixed), 'labels element')} of {len(checked)} fixed")
    columns = ["sample", "labels", "label_before", "label", "area"]
    return pd.concat([pd.DataFrame(columns=columns), *(plan.changes for plan in fixed)], ignore_index=True)[columns]


def _say_cells_of_0(checked: Sequence[CheckedLabels], background: np.ndarray) -> None:
    """Warn of labels with another background in which 0 has the pixels of a cell: they were counted from 0 on."""
    for check in checked:
        pieces = check.pieces
        cells = ~np.isin(pieces.ids, background)
        if cells.all() or not cells.any():
            continue
        most = min(CELL_OF_0 * np.median(pieces.area[cells]), pieces.area[~cells].sum())
        if not 0 < pieces.n_background <= most:
            continue
        warn(
            f"Labels element {check.labels!r} (sample {check.sample!r}) has another background than 0, and "
            f"{counted(pieces.n_background, 'pixel')} of 0, about as many as a cell: if its cells are counted from 0 "
            "on, this one is lost, and in a table that counts from 1 on each row is another cell's. Then add 1 to all "
            "pixels, and read the mask again."
        )


def plan_fix(
    sdata: SpatialData, check: CheckedLabels, split: bool, background: np.ndarray, suffix: str = SUFFIX
) -> FixedLabels | None:
    """New labels for one element; None where nothing changes.

    Raises
    ------
    ElementError
        If it cannot be fixed, or would overwrite an element that this function did not write.
    """
    broken = [finding for finding in check.findings if finding.kind in ("fractional", "rounded")]
    if broken:
        raise ElementError(
            f"Labels element {check.labels!r} {broken[0].text}: it cannot be fixed. Take the label image as the "
            "segmentation wrote it."
        )
    numbers = new_numbers(check.pieces, split, background)
    array = labels_array(sdata, check.labels)
    changed = np.flatnonzero(numbers != check.pieces.ids)
    if not changed.size and array.dtype.kind in "iu":
        return None
    name = check.labels + suffix
    if name in sdata.labels and stand_ins(sdata).get(check.labels) != name:
        raise ElementError(
            f"sdata already has labels {name!r}, which sfm.pp.fix_labels did not write. Pass another suffix= to "
            "sfm.pp.fix_labels."
        )
    pieces, kept = check.pieces, numbers != 0
    values = fixed_array(array.data, pieces, numbers, _dtype(array.dtype, int(numbers.max(initial=0))))
    element = Labels2DModel.parse(
        values, dims=("y", "x"), transformations=get_transformation(sdata.labels[check.labels], get_all=True)
    )
    changes = pd.DataFrame(
        {
            "sample": check.sample,
            "labels": name,
            "label_before": pieces.ids[changed],
            "label": numbers[changed],
            "area": pieces.area[changed],
        }
    )
    scan = grouped(numbers[kept], pieces.area[kept], pieces.total[kept], pieces.box[kept])
    return FixedLabels(check.labels, name, element, scan, changes, split, tuple(background.tolist()))


def write_fixed(sdata: SpatialData, plan: FixedLabels) -> None:
    """Write the element, and record that it replaces the old one."""
    if plan.name in sdata.labels:
        del sdata.labels[plan.name]
    sdata.labels[plan.name] = plan.element
    note_stand_in(sdata, plan.source, plan.name, split=plan.split, background=plan.background)


def new_numbers(pieces: Pieces, split: bool, background: np.ndarray) -> np.ndarray:
    """The number of every piece: its own, a new one above all others, or 0."""
    numbers = pieces.ids.copy()
    numbers[np.isin(numbers, background)] = 0
    if split:
        further = np.ones(numbers.size, bool)
        further[pieces.first] = False
        further &= numbers != 0
        numbers[further] = max(int(pieces.ids.max(initial=0)), 0) + 1 + np.arange(np.count_nonzero(further))
    return numbers


def fixed_array(labels: da.Array, pieces: Pieces, numbers: np.ndarray, dtype: np.dtype) -> da.Array:
    """Label image ``(y, x)`` in which every piece has the number given, lazily: each block finds its parts again."""
    import dask
    import dask.array as da

    rows, columns = (sorted({(block[i], block[i + 1]) for block in pieces.blocks}) for i in (0, 2))
    sizes = tuple(tuple(stop - start for start, stop in edges) for edges in (rows, columns))
    blocks = da.asarray(labels).rechunk(sizes).to_delayed()
    parts = iter(np.split(numbers[pieces.piece_of], pieces.starts[1:]))
    renumber = dask.delayed(_renumber)
    lines = [
        [
            da.from_delayed(renumber(block, next(parts), dtype), (height, width), dtype)
            for block, width in zip(line, sizes[1], strict=True)
        ]
        for line, height in zip(blocks, sizes[0], strict=True)
    ]
    return da.block(lines)


def _renumber(block: np.ndarray, numbers: np.ndarray, dtype: np.dtype) -> np.ndarray:
    local, n = number_parts(block)
    if n != numbers.size:
        raise ElementError(
            f"Labels changed after they were fixed: {counted(n, 'part')} instead of {numbers.size:,}. Call "
            "sfm.pp.fix_labels again."
        )
    return np.r_[0, numbers].astype(dtype)[local]


def _dtype(dtype: np.dtype, largest: int) -> np.dtype:
    if dtype.kind in "iu" and largest <= np.iinfo(dtype).max:
        return dtype
    return np.dtype(np.uint32 if largest < 2**32 else np.int64)
