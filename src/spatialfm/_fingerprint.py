"""What a result was made of, so that a figure can detect later changes of the table.

A fingerprint holds a hash of the rows and of each column used. It does not depend on the order of rows, nor on whether
text is stored as categories: a table that was written, read or sorted is the same table.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ._dense import dense
from ._errors import TableError, listed
from ._spelling import order_of_names

if TYPE_CHECKING:
    from anndata import AnnData

DATA = "data"  # in the params of a result
MISSING = np.uint64(0x9E3779B97F4A7C15)


def fingerprint(adata: AnnData, columns: Iterable[str | None] = (), *, x: bool = False) -> str:
    """JSON text of the number of rows, and hashes of their names, of columns of ``obs`` and, with `x`, of ``X``."""
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
    return json.dumps(digest)


def changes(adata: AnnData, made_of: str) -> list[str]:
    """What is not as it was: words for a message; empty where all is."""
    then = json.loads(made_of)
    now = json.loads(fingerprint(adata, then["obs"], x="X" in then))
    if (then["n"], then["rows"]) != (now["n"], now["rows"]):
        counts = f"{then['n']} then, {now['n']} now" if then["n"] != now["n"] else "of other names"
        return [f"the rows ({counts})"]
    changed = [f"obs[{key!r}]" for key, value in then["obs"].items() if now["obs"].get(key) != value]
    return changed + (["X"] if then.get("X") != now.get("X") else [])


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
    except (KeyError, TypeError, ValueError) as error:  # it was edited
        raise TableError(
            f"uns[{key!r}]['params'][{DATA!r}] is not as it was written: it records what the result was made of, and "
            f"the figure cannot tell whether that holds. Run sfm.tl.{function} again."
        ) from error
    if changed:
        raise TableError(
            f"uns[{key!r}] was made of other data: {listed(changed, quoted=False)} changed since, so that the figure "
            f"would show what no longer holds. Run sfm.tl.{function} again, or draw from the table that it was made of."
        )


def is_thinned(adata: AnnData, record: Mapping[str, object]) -> bool:
    """Whether a table has fewer rows than a result was made of, as one that was thinned for a map."""
    made_of = _made_of(record)
    try:
        return bool(made_of) and adata.n_obs < json.loads(made_of)["n"]
    except (KeyError, TypeError, ValueError):
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
        return pd.util.hash_array((one * np.uint64(0x100000001B3)) ^ two)


def _sum(names: np.ndarray, values: np.ndarray | None = None) -> str:
    rows = pd.util.hash_array(names) if values is None else _mixed(names, values)
    with np.errstate(over="ignore"):
        return f"{int(rows.sum(dtype=np.uint64)):016x}"
