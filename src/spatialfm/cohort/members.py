"""Who is in which signature: a table of true and false in ``obsm``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from .._errors import TableError, counted
from .._fingerprint import say_changed
from .._storable import named_table
from .checks import listed

if TYPE_CHECKING:
    from anndata import AnnData


def signature_members(adata: AnnData, key: str) -> pd.DataFrame:
    """Signatures of ``obsm[key]`` as true and false ``(cells, signatures)``; 1 and 0 mean the same.

    Raises
    ------
    TableError
        If a column holds anything else: of text, of shares and of missing values everything but 0 would count as true.

    Warns
    -----
    SpatialfmWarning
        If they were discovered, and the table, outcome or embedding that they were discovered in has changed since.
    """
    table = named_table(adata, key)
    if not table.shape[1]:
        raise TableError(f"The table obsm[{key!r}] has no column: there are no signatures.")
    record = adata.uns.get(key)
    if isinstance(record, Mapping):
        say_changed(adata, record, f"obsm[{key!r}]", "discover_signatures")
    return pd.DataFrame({name: _truth(table[name], key) for name in table}, index=table.index)


def _truth(column: pd.Series, key: str) -> pd.Series:
    where = f'adata.obsm["{key}"]["{column.name}"]'
    if missing := int(column.isna().sum()):
        raise TableError(
            f"{counted(missing, 'cell has', 'cells have')} no value in column {column.name!r} of obsm[{key!r}]. A "
            "signature is true or false for each cell: fill them, or leave these cells out: "
            f"adata[{where}.notna()].copy()."
        )
    levels = pd.unique(column)
    if not all(isinstance(level, bool | int | float) or pd.api.types.is_bool(level) for level in levels.tolist()):
        raise TableError(
            f"Column {column.name!r} of obsm[{key!r}] holds {listed(levels)}; a signature is true or false. Say what "
            f"is inside, for example {where} = {where} == {str(levels[0])!r}."
        )
    if not set(levels.tolist()) <= {0, 1}:
        raise TableError(
            f"Column {column.name!r} of obsm[{key!r}] holds {listed(sorted(levels.tolist()), 3)}; a signature is true "
            f"or false. Say what is inside, for example {where} = {where} > 0.5."
        )
    return column.astype(bool)
