"""Names in tables as plain text: members of an enumeration, which some readers leave there, cannot be written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from spatialdata.models import TableModel

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData


def make_plain(sdata: SpatialData) -> None:
    """Turn names in the tables of an object into plain text, in place; values stay what they are.

    spatialdata-io's `codex` (0.7.1) calls the columns of its table by members of an enumeration and its region by a
    number. They compare as text, but anndata has no way to write them.
    """
    for table in sdata.tables.values():
        _plain_table(table)


def _plain_table(table: AnnData) -> None:
    for mapping in (table.obsm, table.varm, table.layers, table.obsp, table.varp, table.uns):
        for key in [key for key in mapping if type(key) is not str and isinstance(key, str)]:
            mapping[_text(key)] = mapping.pop(key)
    for frame in (table.obs, table.var):
        if any(type(name) is not str and isinstance(name, str) for name in frame.columns):
            frame.columns = [_text(name) if isinstance(name, str) else name for name in frame.columns]
    attrs = table.uns.get(TableModel.ATTRS_KEY)
    if not attrs:
        return
    for name in (TableModel.REGION_KEY_KEY, TableModel.INSTANCE_KEY):
        if isinstance(attrs.get(name), str):
            attrs[name] = _text(attrs[name])
    region, key = attrs.get(TableModel.REGION_KEY), attrs.get(TableModel.REGION_KEY_KEY)
    several = isinstance(region, list | tuple | set | np.ndarray)
    regions = [None] if region is None else list(region) if several else [region]
    if None in regions or all(type(one) is str for one in regions):
        return
    attrs[TableModel.REGION_KEY] = [_text(one) for one in regions] if several else _text(region)
    if key in table.obs:  # the column names the same elements, and has to go on doing so
        column = table.obs[key]
        table.obs[key] = pd.Categorical([None if pd.isna(one) else _text(one) for one in column])


def _text(name: Any) -> str:
    """Text of a name: of a member of an enumeration its value, of a number what elements are called by it."""
    return str(getattr(name, "value", name))
