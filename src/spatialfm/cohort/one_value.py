"""The one value that each patient (or sample) has in a column of cells, for all who read one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from .._errors import ClinicalError, SpatialfmError, TableError, counted
from .._logging import logger
from .checks import listed

OUTCOME = (
    "An outcome belongs to the {unit}: correct the column, or keep the samples that it is meant for, as those of one "
    "time point."
)


def differs(column: pd.Series, codes: np.ndarray) -> np.ndarray:
    """Rows ``(n,)`` with another value than the first row of their unit has; missing is a value.

    Examples
    --------
    >>> differs(pd.Series(["a", "a", "b", None]), np.array([0, 0, 1, 1])).tolist()
    [False, False, False, True]
    """
    level, _ = pd.factorize(column)
    return level != level[_first(codes)][codes]


def value_of_each(
    column: pd.Series,
    codes: np.ndarray,
    names: Sequence[str] | np.ndarray,
    *,
    unit: str = "patient",
    argument: str = "",
    remedy: str = OUTCOME,
    error: type[SpatialfmError] = ClinicalError,
) -> pd.Series:
    """The value of each unit, by its name; two are refused, and so is one that some of its rows lack.

    Parameters
    ----------
    codes, names
        ``(n,)`` unit of each row, and what units are called, all of which occur.
    argument
        That the column was passed as, for the message.
    remedy
        Last sentence of the message, with ``{unit}``.
    """
    wrong = differs(column, codes)
    if wrong.any():
        case = codes[np.flatnonzero(wrong)[0]]
        values = ["missing" if pd.isna(value) else value for value in pd.unique(column[codes == case])]
        raise error(
            f"{counted(len(np.unique(codes[wrong])), f'{unit} has', f'{unit}s have')} more than one value in "
            f"obs[{column.name!r}]{f' ({argument}=)' if argument else ''}, first {str(names[case])!r}: "
            f"{listed(values)}. {remedy.format(unit=unit)}"
        )
    return column.iloc[_first(codes)].set_axis(pd.Index(names))


def leave_out(
    missing: np.ndarray, names: Sequence[str] | np.ndarray, where: str, on_missing: str, unit: str = "patient"
) -> None:
    """Refuse units without a value in `where`, or say that they are left out.

    Raises
    ------
    TableError
        With their names, unless they are to be dropped.
    """
    if not missing.any():
        return
    without = np.asarray(names, dtype=object)[missing]
    if on_missing == "raise":
        raise TableError(
            f"{len(without)} of {len(missing)} {unit}s have no value in {where}: {listed(without)}. Fill them, or pass "
            'on_missing="drop" to leave them out.'
        )
    logger.info("%d %ss without %s left out: %s", len(without), unit, where, listed(without))


def _first(codes: np.ndarray) -> np.ndarray:
    return np.unique(codes, return_index=True)[1]
