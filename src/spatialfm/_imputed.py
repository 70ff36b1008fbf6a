"""Imputed markers read, and put beside measured ones where a user asks for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ._dense import dense
from ._errors import ElementError, ModelError, PanelError, listed
from ._keys import UNS
from ._public import public
from ._record import record
from ._storable import named_table

if TYPE_CHECKING:
    from anndata import AnnData


def is_imputed(adata: AnnData, key: str) -> bool:
    """Whether a table of ``obsm`` holds predicted markers, and is not an embedding of cells."""
    records = adata.uns.get(UNS, {})
    notes = records.get(key) if isinstance(records, Mapping) else None
    return isinstance(notes, Mapping) and "imputed" in notes


def predicted_in_x(table: AnnData) -> list[str]:
    """Markers of which `with_imputed` put predictions into ``X``."""
    if "imputed" not in table.var:
        return []
    # joined to markers that another table lacks, truth values become objects beside missing ones
    held = [isinstance(value, bool | np.bool_) and bool(value) for value in table.var["imputed"]]
    return list(map(str, table.var_names[held]))


@public
def imputed(adata: AnnData, use_rep: str = "X_imputed", *, markers: Sequence[str] | None = None) -> pd.DataFrame:
    """Markers that were predicted by `spatialfm.tl.impute_markers`, by their own names.

    They are never in ``X``: what is there was measured.

    Parameters
    ----------
    adata
        Table with imputed markers.
    use_rep
        Key in ``obsm``.
    markers
        Markers to take, in this order (default: all).

    Returns
    -------
    One row per cell, one column per marker, in the space that the record names; NaN where nothing was predicted.

    Raises
    ------
    ElementError
        If nothing was imputed under that key, or it was changed since.
    PanelError
        If a marker was not imputed; says which of them were measured.

    Examples
    --------
    >>> import numpy as np
    >>> import spatialfm as sfm
    >>> adata = sfm.datasets.simulate_cells(n_patients=2, cells_per_patient=100, random_state=0)
    >>> adata.X[:100, adata.var_names.get_loc("CD3")] = np.nan  # a patient who was not stained for it
    >>> sfm.tl.impute_markers(adata, markers=["CD3"], method="linear")
    >>> int(sfm.get.imputed(adata)["CD3"].notna().sum())
    100
    """
    notes = record(adata, use_rep)
    if "imputed" not in notes:
        raise ElementError(
            f"obsm[{use_rep!r}] holds no imputed markers. Make them with sfm.tl.impute_markers(..., key_added=...)."
        )
    frame = named_table(adata, use_rep)
    if list(map(str, frame.columns)) != list(map(str, notes["imputed"])):
        raise ElementError(
            f"obsm[{use_rep!r}] has columns {listed(frame.columns, 8)}, its record {listed(notes['imputed'], 8)}: it "
            "was replaced. Impute again."
        )
    if markers is None:
        return frame
    if absent := [name for name in markers if name not in frame.columns]:
        also = f", and was measured: adata[:, {absent[0]!r}]" if absent[0] in adata.var_names else ""
        raise PanelError(f"Marker {absent[0]!r} was not imputed{also}. Imputed are {listed(frame.columns, 20)}.")
    return frame[list(markers)]


@public
def with_imputed(adata: AnnData, use_rep: str = "X_imputed", *, markers: Sequence[str] | None = None) -> AnnData:
    """A copy of a table in which imputed markers stand beside measured ones, for tools that are to use both.

    Tools refuse markers that were imputed, as a prediction is not a measurement. Whoever wants them used all the same
    asks for it with this table.

    Parameters
    ----------
    adata
        Table with imputed markers, in the units of ``X`` (``space="intensity"``).
    use_rep
        Key in ``obsm``.
    markers
        Markers to add (default: all).

    Returns
    -------
    A table whose ``X`` holds predictions where a marker was not measured; values that were measured stay. Of ``var``,
    ``imputed`` says which markers hold any prediction, of this call or an earlier one; ``obs``,
    ``obsm`` and ``uns`` are those of `adata`, layers are left out.

    Raises
    ------
    ElementError, PanelError
        As `imputed`.
    ModelError
        If the predictions are standardised, which ``X`` is not, or in the units of a layer.

    Examples
    --------
    >>> import numpy as np
    >>> import spatialfm as sfm
    >>> adata = sfm.datasets.simulate_cells(n_patients=2, cells_per_patient=100, random_state=0)
    >>> adata.X[:100, adata.var_names.get_loc("CD3")] = np.nan
    >>> sfm.tl.impute_markers(adata, markers=["CD3"], method="linear", space="intensity")
    >>> both = sfm.get.with_imputed(adata)
    >>> bool(np.isfinite(both.X).all()), both.var_names[both.var["imputed"]].tolist()
    (True, ['CD3'])
    """
    from anndata import AnnData

    frame, notes = imputed(adata, use_rep, markers=markers), record(adata, use_rep)
    if notes.get("space") != "intensity":
        raise ModelError(
            f"obsm[{use_rep!r}] is {notes.get('space')}, and X holds intensities. Impute with "
            "sfm.tl.impute_markers(..., space='intensity')."
        )
    if layer := str(notes.get("layer") or ""):
        raise ModelError(
            f"obsm[{use_rep!r}] is in the units of layer {layer!r}, and not of X. Make X that layer, "
            f"adata.X = adata.layers[{layer!r}].copy(), and impute from it with sfm.tl.impute_markers."
        )
    if adata.X is None:
        raise ElementError("The table has no X that imputed markers could stand beside.")
    values = pd.DataFrame(dense(adata.X), adata.obs_names, adata.var_names.astype(str), dtype=float)
    var, filled = adata.var.copy(), predicted_in_x(adata)
    for name in map(str, frame.columns):
        measured = values[name] if name in values else pd.Series(np.nan, values.index)
        predicted = frame[name].to_numpy()
        values[name] = measured.where(np.isfinite(measured), predicted)
        if (~np.isfinite(measured.to_numpy()) & ~np.isnan(predicted)).any():
            filled = [*filled, name]
    var = var.reindex(values.columns)
    var["imputed"] = np.isin(values.columns, filled)
    return AnnData(values.to_numpy(), obs=adata.obs.copy(), var=var, obsm=dict(adata.obsm), uns=dict(adata.uns))
