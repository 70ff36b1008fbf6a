"""Numbers that stand for a missing value in clinical tables, such as 999 and -1, found where they lie apart."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ._errors import counted, warn

HIGH = frozenset({9.0} | {float(digit * ones) for digit in (9, 8, 7) for ones in (11, 111, 1_111, 11_111, 111_111)})
LOW = frozenset(-one for one in HIGH) | {-1.0}
SURE = 99  # codes from here on are seen in one row; shorter ones are also counts and scores, and must repeat
FEWEST, FEWEST_BELOW = 2, 5  # different values beside the code, from which a range can be told


def missing_code(values: np.ndarray) -> tuple[float, int] | None:
    """A value that reads as a code for missing and lies outside of all others, and how often it is there.

    Farther from them than they are from each other; or, of negative ones, the only number below 0. Codes within the
    range of the others cannot be told from values.

    Examples
    --------
    >>> missing_code(np.array([54.0, 61, 70, 999, 999])), missing_code(np.array([54.0, 61, 70, 88]))
    ((999.0, 2), None)
    >>> missing_code(np.array([0, 3, 1.5, -1, 4, 7])), missing_code(np.array([-1.0, 0, 1, 1]))
    ((-1.0, 1), None)
    """
    values = values[np.isfinite(values)]
    levels, counts = np.unique(values, return_counts=True)
    for place, codes in ((-1, HIGH), (0, LOW)):
        if len(levels) <= FEWEST or levels[place] not in codes:
            continue
        code, n, others = float(levels[place]), int(counts[place]), np.delete(levels, place)
        apart = float(np.abs(others - code).min()) > np.ptp(others)
        if apart and (abs(code) >= SURE or n > 1):
            return code, n
        if code < 0 <= others.min() and len(others) >= FEWEST_BELOW:
            return code, n
    return None


def tell_missing_code(column: pd.Series | np.ndarray, what: str) -> None:
    """Warn of a number in a column that may stand for a missing value.

    Warns
    -----
    SpatialfmWarning
        With the number, how many rows have it, and the range of the others.
    """
    column = pd.Series(column)
    if not pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype):
        return
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    if (code_and_rows := missing_code(values)) is None:
        return
    code, n = code_and_rows
    others = values[np.isfinite(values) & (values != code)]
    warn(
        f"{what} is {code:g} in {counted(n, 'row')} and {others.min():g} to {others.max():g} in all others. It counts "
        f"as a number. If it stands for a missing value, make it so: column.replace({code:g}, float('nan'))."
    )
