"""Results in a form that every store gives back as it was: h5ad, zarr and a SpatialData's.

Names that a user gave (types, markers, samples) become names of columns, and those become folders of a store: a slash
opens another one, a dot is the folder itself. Columns of mixed values are written by one store and refused by the next.
All results are written through here, so that this is known once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ._errors import TableError, listed, warn
from ._keys import UNS

if TYPE_CHECKING:
    from anndata import AnnData

RESERVED = ("", ".", "..", "_index")  # of files, or of AnnData
COLUMNS = "_columns"  # behind the name of a table: its original column names, if a store cannot hold them


def storable_names(names: Iterable[object]) -> list[str]:
    """Names of columns that every store can hold, each of them once, regardless of case.

    Examples
    --------
    >>> storable_names(["Mac/Mono", "Mac_Mono", "CD8 T", ""])
    ['Mac_Mono', 'Mac_Mono_2', 'CD8 T', '_']
    """
    stored: list[str] = []
    taken: set[str] = set()
    for name in names:
        text = str(name).replace("/", "_").replace("\0", "_")
        text = f"{text}_" if text in RESERVED else text
        other, number = text, 1
        while other.casefold() in taken:  # some file systems ignore case
            number += 1
            other = f"{text}_{number}"
        taken.add(other.casefold())
        stored.append(other)
    return stored


def default_key(name: str) -> str:
    """A key made of a user's name, in the letters that keys of a SpatialData may have.

    Examples
    --------
    >>> default_key("CD8 T/NK_group")
    'CD8_T_NK_group'
    """
    text = "".join(letter if letter.isalnum() or letter in "_-." else "_" for letter in name)
    return f"x{text}" if text in RESERVED or text.startswith("__") else text


def check_new_key(key: str | None, argument: str = "key_added") -> None:
    """Refuse, before any work, a key or name of an element that a SpatialData would not write."""
    if key is not None and key != default_key(str(key)):
        raise TableError(
            f"{argument}={key!r} is a name that sdata.write refuses (letters, digits, '_', '-' and '.' are allowed). "
            f"Pass for example {argument}={default_key(str(key))!r}."
        )


def check_key(adata: AnnData, key: str | None, argument: str = "key_added") -> None:
    """Refuse, before any work, a key under which nothing could be saved, or somebody else's result would be lost."""
    if key is None:
        return
    if not isinstance(key, str) or key in RESERVED or "/" in key or "\0" in key or key.startswith("__"):
        raise TableError(
            f"{argument}={key!r} is a key that no store can hold. Pass for example "
            f"{argument}={default_key(str(key))!r}."
        )
    if "spatialdata_attrs" in adata.uns:
        check_new_key(key, argument)
    if argument == "key_added" and not is_ours(adata, key):
        raise TableError(
            f"uns[{key!r}] holds what no function of spatialfm wrote, and it would be lost. Pass another key_added=, "
            f"or remove it first: del adata.uns[{key!r}]."
        )


def is_ours(adata: AnnData, key: str) -> bool:
    """Whether ``uns[key]`` is free, or a result that may be replaced: each has the parameters of its call."""
    held = adata.uns.get(key)
    return held is None or (isinstance(held, Mapping) and "params" in held)


def storable(value: object) -> object:
    """A value of ``uns`` that comes back as it was written; tables in it may bring the names of their columns along."""
    if isinstance(value, Mapping):
        return _mapping(value)
    if isinstance(value, pd.DataFrame):
        return storable_frame(value)
    if value is None or isinstance(value, bool | int | float | str):
        return "" if value is None else value
    if isinstance(value, np.generic) and value.dtype.kind in "biufU":
        return value.item()
    if isinstance(value, np.ndarray | pd.Index | pd.Series | list | tuple | set | frozenset):
        return _sequence(value)
    if hasattr(value, "shape"):  # a sparse matrix, an array on disk
        return value
    return str(value)


def storable_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """A table whose columns and index every store can hold."""
    out = pd.DataFrame(index=_index(frame.index, {str(name) for name in frame.columns}))
    columns = [storable_column(frame.iloc[:, place]).set_axis(out.index) for place in range(frame.shape[1])]
    if columns:
        out = pd.concat(columns, axis=1)
    out.columns = pd.Index(storable_names(frame.columns), dtype=object)
    return out


def storable_column(column: pd.Series) -> pd.Series:
    """Values of one kind: booleans, numbers, text, or categories of one of these.

    Text with missing values becomes a categorical, in which they stay missing; objects of no known kind become text.
    """
    kind = column.dtype
    if isinstance(kind, pd.CategoricalDtype):
        return _categories(column)
    missing = column.isna().to_numpy()
    if pd.api.types.is_bool_dtype(kind):
        return column.astype("boolean" if missing.any() else bool)
    if pd.api.types.is_integer_dtype(kind):
        return column.astype("Int64") if missing.any() else column.astype(getattr(kind, "numpy_dtype", kind))
    if pd.api.types.is_float_dtype(kind):
        return column if isinstance(kind, np.dtype) else column.astype("float64")
    values = column.astype(object)
    present = values[~missing]
    if not len(present):
        return values.astype(float) if len(values) else values
    if all(isinstance(item, bool | np.bool_) for item in present):
        return values.astype("boolean" if missing.any() else bool)
    if all(isinstance(item, int | float | np.number) and not isinstance(item, bool) for item in present):
        return pd.to_numeric(values.where(~missing, np.nan))
    values = values.where(~missing, None)
    values[~missing] = [_text(item) for item in present]
    return values.astype("category") if missing.any() else values


def write_uns(adata: AnnData, key: str, record: Mapping[str, object]) -> None:
    """Put a result into ``uns[key]``; what somebody else had there is replaced, and named."""
    if "params" in record and not is_ours(adata, key):
        warn(f"uns[{key!r}] held what no function of spatialfm wrote: it is replaced. Pass another key to keep both.")
    adata.uns[key] = storable(record)


def write_obsm(adata: AnnData, key: str, frame: pd.DataFrame) -> None:
    """Put a table into ``obsm[key]``; its column names are kept if a store cannot hold them."""
    adata.obsm[key] = storable_frame(frame)
    names = [str(name) for name in frame.columns]
    notes = dict(adata.uns.get(UNS, {}))
    notes.pop(f"{key}{COLUMNS}", None)
    if names != list(adata.obsm[key].columns):
        notes[f"{key}{COLUMNS}"] = np.array(names, dtype=object)
    if notes or UNS in adata.uns:
        adata.uns[UNS] = notes


def named_table(adata: AnnData, key: str, name: str | None = None) -> pd.DataFrame:
    """``obsm[key]``, or the table `name` of ``uns[key]``, its columns named as before they were stored."""
    if name is None:
        notes = adata.uns.get(UNS, {})
        table, names = adata.obsm.get(key), notes.get(f"{key}{COLUMNS}") if isinstance(notes, Mapping) else None
        where = f"obsm[{key!r}]"
    else:
        record = adata.uns.get(key)
        record = record if isinstance(record, Mapping) else {}
        table, names, where = record.get(name), record.get(f"{name}{COLUMNS}"), f"uns[{key!r}][{name!r}]"
    if not isinstance(table, pd.DataFrame):
        holder = adata.obsm if name is None else record
        tables = [other for other, value in holder.items() if isinstance(value, pd.DataFrame)]
        raise TableError(f"No table in {where}; there are {listed(tables)}.")
    if not isinstance(names, list | tuple | np.ndarray) or np.shape(names) != (table.shape[1],):
        return table
    return table.set_axis(pd.Index([str(each) for each in names], dtype=object), axis=1)


def _mapping(values: Mapping[object, object]) -> dict[str, object]:
    mapping: dict[str, object] = {}
    for name, value in zip(storable_names(values), values.values(), strict=True):
        mapping[name] = stored = storable(value)
        if isinstance(value, pd.DataFrame) and isinstance(stored, pd.DataFrame):
            names = [str(column) for column in value.columns]
            if names != list(stored.columns):
                mapping[f"{name}{COLUMNS}"] = np.array(names, dtype=object)
    return mapping


def _sequence(values: Any) -> object:
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        return values
    if isinstance(values, np.ndarray) and values.dtype.kind == "c":
        return _text(values.tolist())
    items = sorted(values, key=str) if isinstance(values, set | frozenset) else list(values)
    if isinstance(values, np.ndarray) and values.ndim != 1:
        items = values.tolist()
        items = items if isinstance(items, list) else [items]
    items = [item.item() if isinstance(item, np.generic) and item.dtype.kind in "biufU" else item for item in items]
    if not items:
        return np.array([], dtype=object)  # of an empty list a store would make numbers
    for kinds in (str, bool, (int, float)):
        if all(isinstance(item, kinds) and (kinds is bool or not isinstance(item, bool)) for item in items):
            if isinstance(values, list | tuple):
                return items
            return np.array(items, dtype=object if kinds is str else None)
    if any(isinstance(item, list | tuple | Mapping | np.ndarray) for item in items) or None in items:
        return _text(items)
    texts = [_text(item) for item in items]
    return texts if isinstance(values, list | tuple) else np.array(texts, dtype=object)


def _text(value: object) -> str:
    """A value as text; JSON of what has parts."""
    if isinstance(value, list | tuple | set | frozenset | Mapping | np.ndarray):
        return json.dumps(value, default=lambda other: other.tolist() if hasattr(other, "tolist") else str(other))
    return str(value)


def _categories(column: pd.Series) -> pd.Series:
    kinds = column.cat.categories
    if pd.api.types.is_numeric_dtype(kinds.dtype) or pd.api.types.is_bool_dtype(kinds.dtype):
        return column if isinstance(kinds.dtype, np.dtype) else column.cat.rename_categories(kinds.to_numpy())
    names = [_text(name) for name in kinds]
    ordered = bool(column.cat.ordered)
    if len(set(names)) == len(names):
        codes, names = column.cat.codes.to_numpy(), pd.Index(names, dtype=object)
    else:  # 1 and "1"
        unique = list(dict.fromkeys(names))
        place = np.array([*(unique.index(name) for name in names), -1])
        codes, names = place[column.cat.codes.to_numpy()], pd.Index(unique, dtype=object)
    return pd.Series(pd.Categorical.from_codes(codes, names, ordered=ordered), index=column.index)


def _index(index: pd.Index, columns: set[str]) -> pd.Index:
    name = None if index.name is None else storable_names([index.name])[0]
    name = None if name in columns else name
    if isinstance(index, pd.MultiIndex):
        return pd.Index([" | ".join(map(str, row)) for row in index], dtype=object, name=name)
    if isinstance(index.dtype, np.dtype) and index.dtype.kind in "biuf":
        return index.rename(name)
    return pd.Index([str(each) for each in index], dtype=object, name=name)
