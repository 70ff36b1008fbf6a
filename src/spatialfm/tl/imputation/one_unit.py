"""Intensities of the patients of one table, or of two, that are in another unit than the others'."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..._errors import PanelError, listed
from ...pp.units import kinds_of_pixels, say_apart

REMEDY = "Bring all to one unit before markers are predicted from each other."
_FEWEST = 20  # cells of a group; the mean of fewer is theirs


def say_groups_apart(values: np.ndarray, groups: np.ndarray | Sequence[str], remedy: str = REMEDY) -> None:
    """Warn where groups of cells seem to be in another unit; not where values are below 0, as standardised ones.

    Parameters
    ----------
    values
        ``(n, M)`` intensities; NaN where a marker was not measured.
    groups
        ``(n,)`` patient of each cell, as text.
    remedy
        What to do, for the warning.
    """
    if not values.size or np.nanmin(values, initial=0) < 0:
        return
    grouped = pd.DataFrame(values).groupby(np.asarray(groups), sort=True)
    means = grouped.mean()[grouped.size() >= _FEWEST]
    if len(means) > 1:
        say_apart([str(name) for name in means.index], means.to_numpy(), remedy, of="Values")


def check_kinds(images: Sequence[tuple[str, np.dtype]]) -> None:
    """Refuse to read coefficients of one kind of pixels into another: 8-bit exports beside 16-bit images.

    Parameters
    ----------
    images
        Name and type of pixels of each.

    Raises
    ------
    PanelError
        If they are of several kinds.
    """
    kinds = kinds_of_pixels({f"{number} {name}": dtype for number, (name, dtype) in enumerate(images)})
    if len(kinds) > 1:
        types = "; ".join(
            f"{kind}: {listed([name.partition(' ')[2] for name in names], 4)}" for kind, names in kinds.items()
        )
        raise PanelError(
            f"Images of different pixel types ({types}): the same value may mean different brightness in them, and a "
            "regression of pixels would carry one over to the other. Bring them to one type and unit first, or impute "
            "the cell table, of which sfm.pp.cell_table takes intensity_max={sample: value}."
        )
