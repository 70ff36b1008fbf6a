"""The matrix that a tool works on: an embedding, or the table itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .._dense import dense
from .._errors import PanelError, TableError
from .._imputed import predicted_in_x
from .._keys import UNS, layer_names
from .._logging import logger
from .._preparation import preparation, prepare
from .checks import as_names, listed
from .joined import say_joined

if TYPE_CHECKING:
    from anndata import AnnData

_FEW = 1000  # rows that are compared first: to sort millions takes longer than to cluster them


def representation(adata: AnnData, use_rep: str, argument: str = "use_rep") -> np.ndarray:
    """``obsm[use_rep]``, or ``X`` if it is ``"X"``, as a dense array ``(n, columns)``.

    Raises
    ------
    TableError
        If there is none of that name, it is not a table of numbers, or it holds NaN.
    """
    values = _dense(adata, use_rep, argument)
    say_joined(adata, use_rep)
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        raise TableError(
            f"{int(bad.sum())} of {len(values)} rows of {use_rep!r} hold NaN or infinite values, first "
            f"{listed(adata.obs_names[bad], 3)}. Markers that a sample was not stained for are NaN in X: leave them or "
            "the sample out."
        )
    return values


def marker_values(table: AnnData, markers: Sequence[str], layer: str | None) -> np.ndarray:
    """``X`` or a layer of some markers, float64 ``(n, markers)``; NaN where a marker was not measured.

    Raises
    ------
    TableError
        If there is no such layer, names of ``var`` repeat, or the table has no ``X``.
    """
    if layer is not None and layer not in table.layers:
        raise TableError(f"No layer {layer!r} (layer=); found {listed(layer_names(table))}.")
    if (repeated := table.var_names[table.var_names.duplicated()]).size:
        raise TableError(f"Names of var repeat ({listed(repeated, 3)}): columns could not be told apart. Rename them.")
    part = table[:, list(markers)]
    values = part.X if layer is None else part.layers[layer]
    if values is None:
        raise TableError("The table has no values of markers (X). Pass layer=<where they are>.")
    return np.asarray(dense(values), dtype=np.float64)


def check_measured(table: AnnData, markers: Sequence[str], argument: str = "markers") -> None:
    """Refuse markers that a table does not have; a prediction of one is not a measurement of it.

    Raises
    ------
    PanelError
        Says of a marker that was imputed how it is asked for.
    """
    lacking = [name for name in markers if name not in table.var_names]
    if not lacking:
        return
    if key := imputed_only(table).get(lacking[0]):
        raise PanelError(
            f"Marker {lacking[0]!r} ({argument}=) was imputed, in obsm[{key!r}], and not measured. To use what was "
            f"predicted all the same, pass sfm.get.with_imputed(adata, {key!r}) in place of the table."
        )
    raise PanelError(f"No marker {lacking[0]!r} in the table ({argument}=); found {listed(table.var_names, 60)}.")


def imputed_only(table: AnnData) -> dict[str, str]:
    """Markers that a table holds as predictions alone, each with its key in ``obsm``."""
    records = table.uns.get(UNS, {})
    key_of_marker: dict[str, str] = {}
    for key, notes in records.items() if isinstance(records, Mapping) else ():
        if isinstance(notes, Mapping) and "imputed" in notes:
            key_of_marker |= {name: str(key) for name in named_columns(notes["imputed"]) if name not in table.var_names}
    return key_of_marker


def refuse_predicted(table: AnnData, markers: Sequence[str], layer: str | None, what: str = "the table") -> None:
    """Refuse, where measured values are needed, markers of which ``X`` holds predictions.

    Raises
    ------
    TableError
        Names the table that has none.
    """
    held = set(predicted_in_x(table)) if layer is None else set()
    if predicted := [name for name in markers if name in held]:
        raise TableError(
            f"X of {what} holds predictions of {predicted[0]!r} (var['imputed'], from sfm.get.with_imputed), which "
            "would count as measured. Pass the table that with_imputed was called on."
        )


def named_columns(value: object) -> list[str]:
    """Names in a record, which keeps lists as JSON text.

    Examples
    --------
    >>> named_columns('["CD3", "CD4"]'), named_columns("")
    (['CD3', 'CD4'], [])
    """
    if isinstance(value, str):
        return [str(name) for name in json.loads(value)] if value[:1] == "[" else []
    return [str(name) for name in value] if isinstance(value, Sequence | np.ndarray) else []


def finite_rows(adata: AnnData, use_rep: str, argument: str = "use_rep") -> np.ndarray:
    """The same with NaN in all columns of a row that is not complete: for rows that are looked at, but not needed."""
    values = _dense(adata, use_rep, argument)
    bad = ~np.isfinite(values).all(axis=1)
    return np.where(bad[:, None], np.nan, values) if bad.any() else values


def _dense(adata: AnnData, use_rep: str, argument: str) -> np.ndarray:
    if use_rep == "X":
        values = adata.X
    elif use_rep in adata.obsm:
        values = adata.obsm[use_rep]
    else:
        raise TableError(f"No {use_rep!r} in obsm ({argument}=); found 'X' and {listed(adata.obsm, 12)}.")
    if values is None:
        raise TableError(f"The table has no X ({argument}='X'). Pass a key of obsm: {listed(adata.obsm, 12)}.")
    if hasattr(values, "compute"):
        logger.info("%s: %.1f GB are brought into memory", use_rep, values.nbytes / 1e9)
    values = dense(values)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or not values.shape[1]:
        raise TableError(f"{use_rep!r} ({argument}=) has the shape {values.shape}, not one row of numbers per cell.")
    if values.dtype not in (np.float32, np.float64):
        values = _as_numbers(values, use_rep, argument)
    return values


def _as_numbers(values: np.ndarray, use_rep: str, argument: str) -> np.ndarray:
    if values.dtype.kind in "biuf":
        return values.astype(np.float32)
    try:
        if values.dtype.kind != "O":  # text that looks like numbers, dates and complex numbers do not count as numbers
            raise TypeError
        return values.astype(np.float32)
    except (TypeError, ValueError):
        raise TableError(f"{use_rep!r} ({argument}=) holds {values.dtype}, not numbers.") from None


def n_different(values: np.ndarray, enough: int) -> int:
    """Number of different rows; of many, where the first show `enough`, only how many those are.

    Examples
    --------
    >>> n_different(np.array([[0, 1], [0, 1], [1, 0]]), 3)
    2
    """
    first = len(np.unique(values[: max(_FEW, enough)], axis=0))
    return first if first >= enough else len(np.unique(values, axis=0))


def prepared(adata: AnnData, use_rep: str) -> tuple[np.ndarray, str]:
    """The same for tools that take distances: columns on one scale where they need it, and what was done."""
    how = preparation(adata, use_rep)
    return prepare(representation(adata, use_rep), how), how


def each_representation(adata: AnnData, use_rep: str | list[str]) -> dict[str, np.ndarray]:
    """Several of them, by name, in the order given."""
    names = as_names(use_rep)
    if not names:
        raise TableError("use_rep= is empty. Pass a key of obsm, or several.")
    return {name: representation(adata, name) for name in names}
