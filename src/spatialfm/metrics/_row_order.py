"""Columns and tables that are taken row by row, but name the same rows in another order."""

from __future__ import annotations

import pandas as pd

from .._errors import SpatialfmError, listed


def check_row_order(error: type[SpatialfmError], **arguments: object) -> None:
    """Refuse what names the rows of an earlier argument in another order: by place, each would get another's value.

    Other names, and arrays and lists, which have none, are taken row by row.

    Raises
    ------
    SpatialfmError
        Naming both arguments and the remedy.
    """
    known: dict[str, pd.Index] = {}
    for name, values in arguments.items():
        if not isinstance(values, pd.Series | pd.DataFrame | pd.Index):
            continue
        index = values if isinstance(values, pd.Index) else values.index
        for other, rows in known.items():
            if same_in_another_order(rows, index):
                raise error(
                    f"{name}= has the rows of {other}= in another order, first {listed(index, 2)} instead of "
                    f"{listed(rows, 2)}, and rows are taken by their place. Pass {name}={name}.loc[{other}.index]."
                )
        known[name] = index


def same_in_another_order(one: pd.Index, two: pd.Index) -> bool:
    """Whether two indices hold the same names at other places.

    Examples
    --------
    >>> same_in_another_order(pd.Index(["a", "b"]), pd.Index(["b", "a"]))
    True
    >>> same_in_another_order(pd.Index(["a", "b"]), pd.Index(["x", "y"]))
    False
    """
    return len(one) == len(two) and not one.equals(two) and bool(one.isin(two).all() and two.isin(one).all())
