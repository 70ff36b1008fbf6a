"""Imputed markers of a table, the measured ones beside them, and what was seen when they were imputed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._errors import PanelError, TableError, counted
from .._keys import UNS
from .._storable import named_table
from .checks import as_names, listed, obs_column
from .representation import marker_values, named_columns, refuse_predicted

if TYPE_CHECKING:
    from anndata import AnnData

INTENSITY = "intensity"  # as `space` of the record: in the units of X
MODEL = "model"  # as `method` of the record


@dataclass(frozen=True)
class Imputed:
    """Imputed values of cells and how they were made.

    Attributes
    ----------
    values
        Cells by markers; NaN where nothing was imputed.
    method
        ``"model"`` or one of the floors.
    seen
        Markers that were visible.
    space
        ``"intensity"`` or ``"standardised"``.
    layer
        That floors were fitted to; None: ``X``.
    of_pixels
        Whether they are means over cells of pixels.
    fitted
        Number of cells that a floor was fitted on, and their mean, by marker; none of a model.
    """

    values: pd.DataFrame
    method: str
    seen: tuple[str, ...]
    space: str
    layer: str | None
    of_pixels: bool
    fitted: Mapping[str, tuple[int, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Side:
    """What was measured of some cells.

    Attributes
    ----------
    measured
        Cells by the markers that were imputed, NaN where they were not stained.
    seen
        ``(n, seen)`` markers that were visible; NaN where one was not measured.
    patients
        ``(n,)`` names.
    """

    measured: pd.DataFrame
    seen: np.ndarray
    patients: np.ndarray


def imputed_values(adata: AnnData, key: str, argument: str = "key") -> Imputed:
    """``obsm[key]`` with its record.

    Raises
    ------
    TableError
        If there is none, or it was not written by `spatialfm.tl.impute_markers`.
    """
    if key not in adata.obsm:
        raise TableError(
            f"No imputed markers in obsm[{key!r}] ({argument}=); found {listed(adata.obsm, 12)}. Make them with "
            "sfm.tl.impute_markers."
        )
    notes = adata.uns.get(UNS, {})
    notes = notes.get(key) if isinstance(notes, Mapping) else None
    if not isinstance(notes, Mapping) or not {"method", "seen", "space"} <= set(notes):
        raise TableError(
            f"obsm[{key!r}] has no record of how it was imputed in uns[{UNS!r}]. Make it with sfm.tl.impute_markers."
        )
    values = named_table(adata, key)
    layer, fitted_on = str(notes.get("layer") or ""), str(notes.get("fitted_on") or "")
    of_pixels = str(notes["method"]) == MODEL or fitted_on.startswith("[")  # samples; of cells numbers by marker
    seen = tuple(named_columns(notes["seen"]))
    fitted = {} if of_pixels else _by_marker(fitted_on, str(notes.get("fitted_mean") or ""))
    return Imputed(values, str(notes["method"]), seen, str(notes["space"]), layer or None, of_pixels, fitted)


def check_fitted(imputed: Imputed, old: Side, where: str) -> None:
    """Refuse other measured values than those that floors were fitted to: in other units, or of other cells.

    Raises
    ------
    TableError
        Intervals would be about other predictions than those that are there.
    """
    for name, (n, mean) in imputed.fitted.items():
        if name not in old.measured:
            continue
        values = old.measured[name].to_numpy(float)
        values = values[np.isfinite(values)]
        if len(values) and not (len(values) == n and np.isclose(values.mean(), mean, rtol=1e-5, atol=1e-9)):
            raise TableError(
                f"{name!r} was imputed from {counted(n, 'cell')} in which its mean is {mean:.4g}; in {where} it was "
                f"measured in {len(values)}, with a mean of {values.mean():.4g}. Pass the table it was imputed from "
                "(source=), or impute again if values or cells have changed since."
            )


def markers_of(imputed: Imputed, markers: str | Sequence[str] | None, key: str) -> list[str]:
    """Imputed markers that are asked for.

    Raises
    ------
    PanelError
        If one was not imputed, or was visible.
    """
    names = list(map(str, imputed.values.columns)) if markers is None else as_names(markers)
    if lacking := [name for name in names if name not in imputed.values]:
        raise PanelError(
            f"Marker {lacking[0]!r} was not imputed (markers=); obsm[{key!r}] has {listed(imputed.values.columns, 60)}."
        )
    if shown := [name for name in names if name in imputed.seen]:
        raise PanelError(
            f"Marker {shown[0]!r} was visible when obsm[{key!r}] was made: its values say nothing of how well it is "
            "imputed. Impute it again with the marker hidden."
        )
    return names


def measured_side(
    adata: AnnData,
    imputed: Imputed,
    names: Sequence[str],
    layer: str | None,
    patient_key: str,
    called: Mapping[str, str],
) -> Side:
    """What was measured of the cells of a table; `called`: variables that have another name than their marker.

    Raises
    ------
    PanelError
        If a marker that a floor was fitted on is not in the table.
    TableError
        If it is NaN in some cells, ``X`` holds predictions, or there is no such layer or column.
    """
    refuse_predicted(adata, [called.get(name, name) for name in names], layer)
    patients = obs_column(adata, patient_key, "patient_key").astype(str).to_numpy()
    inside = [name for name in names if called.get(name, name) in adata.var_names]
    measured = pd.DataFrame(np.nan, index=adata.obs_names, columns=list(names))
    if inside:
        values = marker_values(adata, [called.get(name, name) for name in inside], layer)
        measured[inside] = np.where(np.isfinite(values), values, np.nan)
    present = [name for name in imputed.seen if called.get(name, name) in adata.var_names]
    seen = np.full((adata.n_obs, len(imputed.seen)), np.nan)
    if present:
        seen[:, [imputed.seen.index(name) for name in present]] = marker_values(
            adata, [called.get(name, name) for name in present], layer
        )
    side = Side(measured, seen, patients)
    if imputed.method == MODEL:  # a marker that was visible in some samples alone
        return side
    if lacking := [name for name in imputed.seen if name not in present]:
        raise PanelError(
            f"Marker {lacking[0]!r}, which others were imputed from, is not in the table; found "
            f"{listed(adata.var_names, 60)}."
        )
    holes = ~np.isfinite(seen)
    if holes.any():
        name = imputed.seen[int(np.flatnonzero(holes.any(axis=0))[0])]
        raise TableError(
            f"{counted(int(holes.any(axis=1).sum()), 'cell lacks', 'cells lack')} a marker that others were imputed "
            f"from, first {name!r}. Impute again from markers that all samples have."
        )
    return side


def _by_marker(numbers: str, means: str) -> dict[str, tuple[int, float]]:
    if not (numbers.startswith("{") and means.startswith("{")):
        return {}
    n, mean = json.loads(numbers), json.loads(means)
    return {name: (int(n[name]), float(mean[name])) for name in n if name in mean}
