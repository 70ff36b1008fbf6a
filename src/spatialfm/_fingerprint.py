"""What a result was made of, so that a figure can detect later changes of the table.

A fingerprint holds a hash of the rows, and of each column and embedding used. It does not depend on the order of rows,
nor on whether text is stored as categories: a table that was written, read or sorted is the same table.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ._dense import dense
from ._errors import TableError, listed, warn
from ._spelling import order_of_names

if TYPE_CHECKING:
    from anndata import AnnData

DATA = "data"  # in the params of a result
EDITED = (AttributeError, KeyError, TypeError, ValueError)  # what reading a record raises that was changed by hand
MISSING = np.uint64(0x9E3779B97F4A7C15)
ODD = np.uint64(0x100000001B3)
AT_ONCE = 50_000  # values of an embedding: they stay in the cache
READ = 2**24  # values that are read at once of one that stays on disk


def fingerprint(
    adata: AnnData,
    columns: Iterable[str | None] = (),
    *,
    x: bool = False,
    obsm: Iterable[str | None] = (),
    markers: Iterable[str] = (),
    layer: str | None = None,
) -> str:
    """JSON text of the number of rows, and hashes of their names and of what was used of them.

    Parameters
    ----------
    adata
        Table.
    columns
        Columns of ``obs``.
    x
        Whether all of ``X`` was used; also where `obsm` names it.
    obsm
        Embeddings, as ``use_rep=`` names them.
    markers, layer
        Columns of ``X``, or of a layer. Others may come and go.
    """
    keys = [key for key in dict.fromkeys(obsm) if key]
    x = x or "X" in keys
    names = _hashes(pd.Series(adata.obs_names.astype(str)))
    digest = {"n": adata.n_obs, "rows": _sum(names)}
    digest["obs"] = {key: _sum(names, _hashes(adata.obs[key])) for key in dict.fromkeys(columns) if key in adata.obs}
    if x and adata.X is not None:
        values = dense(adata.X)
        part = np.zeros(adata.n_obs, np.uint64)
        order = order_of_names(adata.var_names)
        for column in values.T[order]:
            part = _mixed(part, _hashes(pd.Series(column)))
        digest["X"] = _sum(names, part)
    if keys := [key for key in keys if key in adata.obsm]:
        digest["obsm"] = {key: _sum(names, _hashes_of_rows(adata.obsm[key])) for key in keys}
    if chosen := [str(name) for name in dict.fromkeys(markers)]:
        digest["layer"], digest["markers"] = layer or "X", _of_markers(adata, chosen, layer, names)
    return json.dumps(digest)


def _of_markers(adata: AnnData, chosen: list[str], layer: str | None, names: np.ndarray) -> dict[str, str]:
    """Hashes of columns of ``X`` or of a layer, of those that are there once."""
    known = adata.var_names[~adata.var_names.duplicated(keep=False)].astype(str)
    places = adata.var_names.get_indexer([name for name in chosen if name in set(known)])
    source = adata.X if layer is None else adata.layers[layer] if layer in adata.layers else None
    if source is None or not len(places):
        return {}
    values = dense(source[:, np.sort(places)])  # a file is read in its order
    columns = dict(zip(np.sort(places).tolist(), values.T, strict=True))
    return {str(adata.var_names[place]): _sum(names, _hashes(pd.Series(columns[place]))) for place in places.tolist()}


def changes(adata: AnnData, made_of: str) -> list[str]:
    """What is not as it was: words for a message; empty where all is."""
    then = json.loads(made_of)
    layer = None if then.get("layer", "X") == "X" else then["layer"]
    used = {"obsm": then.get("obsm", ()), "markers": then.get("markers", ()), "layer": layer}
    now = json.loads(fingerprint(adata, then["obs"], x="X" in then, **used))
    if (then["n"], then["rows"]) != (now["n"], now["rows"]):
        counts = f"{then['n']} then, {now['n']} now" if then["n"] != now["n"] else "of other names"
        return [f"the rows ({counts})"]
    changed = [f"obs[{key!r}]" for key, value in then["obs"].items() if now["obs"].get(key) != value]
    changed += ["X"] if then.get("X") != now.get("X") else []
    # what was taken out of the table since, as to save space, contradicts nothing
    changed += [f"obsm[{key!r}]" for key, value in now.get("obsm", {}).items() if then["obsm"][key] != value]
    where, markers = "X" if layer is None else f"layers[{layer!r}]", now.get("markers", {})
    return changed + [f"{key!r} in {where}" for key, value in markers.items() if then["markers"][key] != value]


def check_unchanged(
    adata: AnnData, record: Mapping[str, object], key: str, function: str, *, fewer: bool = False
) -> None:
    """Refuse to draw a result whose data have changed since; results without fingerprint are taken at their word.

    `fewer`: a table that has fewer rows now makes the same figure, and is not compared.

    Raises
    ------
    TableError
        If rows, columns or values that the result was made of are others now.
    """
    if fewer and is_thinned(adata, record):
        return
    made_of = _made_of(record)
    try:
        changed = changes(adata, made_of) if made_of else []
    except EDITED as error:
        raise TableError(
            f"uns[{key!r}]['params'][{DATA!r}] is not as it was written: it records what the result was made of, and "
            f"the figure cannot tell whether that holds. Run sfm.tl.{function} again."
        ) from error
    if changed:
        raise TableError(
            f"uns[{key!r}] was made of other data: {listed(changed, quoted=False)} changed since, so that the figure "
            f"would show what no longer holds. Run sfm.tl.{function} again, or draw from the table that it was made of."
        )


def say_changed(adata: AnnData, record: Mapping[str, object], place: str, function: str) -> None:
    """Warn of what is read now and was made of other data; fewer rows are not another making of those that are left."""
    if is_thinned(adata, record):
        return
    made_of = _made_of(record)
    try:
        changed = changes(adata, made_of) if made_of else []
    except EDITED:
        return
    if changed:
        warn(
            f"{place} was made of other data: {listed(changed, quoted=False)} changed since. Run sfm.tl.{function} "
            "again, or take the table that it was made of."
        )


def changed_since(adata: AnnData, record: Mapping[str, object], key: str, function: str) -> str | None:
    """Whether a table has changed since a result was made of it, in words for a reader."""
    if is_thinned(adata, record):
        return "the table has fewer rows now than the result was made of."
    try:
        check_unchanged(adata, record, key, function)
    except TableError as error:
        return str(error)
    return None


def is_thinned(adata: AnnData, record: Mapping[str, object]) -> bool:
    """Whether a table has fewer rows than a result was made of, as one that was thinned for a map."""
    made_of = _made_of(record)
    try:
        return bool(made_of) and adata.n_obs < json.loads(made_of)["n"]
    except EDITED:
        return False  # which `check_unchanged` refuses


def _made_of(record: Mapping[str, object]) -> str:
    params = record.get("params", {})
    made_of = params.get(DATA, "") if isinstance(params, Mapping) else ""
    return "" if made_of is None else str(made_of)


def digest(names: Iterable[object], *columns: Iterable[object]) -> str:
    """One hash of rows by name, in any order, with what was used of each."""
    parts = _hashes(pd.Series([str(name) for name in names], dtype=object))
    total = parts
    for column in columns:
        total = _mixed(total, _hashes(pd.Series(np.asarray(column))))
    return hashlib.sha256(f"{len(parts)}:{_sum(total)}".encode()).hexdigest()[:16]


def _hashes_of_rows(values: Any) -> np.ndarray:
    """One uint64 a row of an embedding, whose columns are wide: sums of mixed bits, each column by its own factor."""
    if hasattr(values, "chunks") and len(values) > (rows := max(1, READ // max(1, math.prod(values.shape[1:])))):
        starts = range(0, len(values), rows)
        return np.concatenate([_hashes_of_rows(values[start : start + rows]) for start in starts])
    matrix = dense(values)
    matrix = matrix.reshape(len(matrix), -1)
    if matrix.dtype.kind not in "biuf":  # a table with text
        columns = [_hashes(column) for _, column in pd.DataFrame(values).items()]
        return reduce(_mixed, columns, np.zeros(len(matrix), np.uint64))
    factors = pd.util.hash_array(np.arange(matrix.shape[1], dtype=np.uint64)) | np.uint64(1)
    hashes = np.zeros(len(matrix), np.uint64)
    step = max(1, AT_ONCE // max(1, matrix.shape[1]))
    with np.errstate(over="ignore"):
        for start in range(0, len(matrix), step):
            part = matrix[start : start + step].astype(np.float64)
            part += 0.0  # -0 is 0
            bits = part.view(np.uint64)
            bits[np.isnan(part)] = MISSING
            bits ^= bits >> np.uint64(29)  # the low bits of what was float32 are 0
            bits *= factors
            bits ^= bits >> np.uint64(32)
            hashes[start : start + step] = bits.sum(axis=1, dtype=np.uint64)
    return hashes


def _hashes(column: pd.Series) -> np.ndarray:
    """One uint64 a row; the same for numbers of any kind, and for text of any kind."""
    missing = column.isna().to_numpy()
    if pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype):
        numbers = column.to_numpy(dtype=np.float64, na_value=np.nan) + 0.0  # -0 is 0
        hashes = pd.util.hash_array(np.where(missing, 0.0, numbers))
    else:
        codes, levels = pd.factorize(column)
        texts = np.array([*(str(level) for level in levels), ""], dtype=object)
        hashes = pd.util.hash_array(texts)[codes]
    return np.where(missing, MISSING, hashes).astype(np.uint64)


def _mixed(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return pd.util.hash_array((one * ODD) ^ two)


def _sum(names: np.ndarray, values: np.ndarray | None = None) -> str:
    rows = pd.util.hash_array(names) if values is None else _mixed(names, values)
    with np.errstate(over="ignore"):
        return f"{int(rows.sum(dtype=np.uint64)):016x}"
