"""What `spatialfm.tl.annotate` reads of a table besides labels: columns, samples, neighbours in the tissue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..._coordinates import column_of_several, coordinates
from ..._errors import TableError, counted, listed, warn
from ..._keys import SAMPLE_KEY
from ..._preparation import BY_SAMPLE, STANDARDIZED, column_scale, prepare
from ...cohort.checks import obs_column, order_of_names, order_of_places
from ...cohort.comparability import another_scale
from ...cohort.intensities import intensities
from ...cohort.overlaid import check_overlaid
from ...cohort.representation import each_representation
from ...learn.heads.answer import Neighbors
from ...learn.heads.blocks import ColumnBlock
from ...learn.heads.by_sample import on_scale
from ...learn.heads.cells import VisibleCells
from ...learn.heads.smoothing import neighbor_means

if TYPE_CHECKING:
    from anndata import AnnData

    from ...learn.heads.cells import Scaler
    from ...learn.heads.options import Options


def side_by_side(
    adata: AnnData, use_rep: str | Sequence[str], arcsinh: bool = True
) -> tuple[np.ndarray, list[ColumnBlock]]:
    """Columns ``(n, columns)`` of one representation or several, and what they are."""
    values = each_representation(adata, use_rep)
    blocks = [
        ColumnBlock(rep, one.shape[1], intensities(adata, rep) if arcsinh else None) for rep, one in values.items()
    ]
    return (np.hstack(list(values.values())) if len(values) > 1 else next(iter(values.values()))), blocks


def tell_one_patient(groups: np.ndarray | None, known: np.ndarray, patient_key: str | None) -> None:
    """Warn where probabilities hold for the cells of one patient, and are asked for of others too."""
    if groups is None or not len(known) or len(np.unique(groups[known])) > 1:
        return
    if n_others := int((groups != groups[known[0]]).sum()):
        warn(
            f"All labelled cells are of one patient (obs[{patient_key!r}]), {str(groups[known[0]])!r}. Probabilities "
            f"are calibrated on its own cells, and too high for {counted(n_others, 'cell')} of others. Label cells of "
            "several patients."
        )


def tell_units(
    adata: AnnData, values: np.ndarray, blocks: Sequence[ColumnBlock], known: np.ndarray, groups: np.ndarray | None
) -> None:
    """Warn where groups of cells without any label are in another unit than those that have labels.

    `groups` are samples or patients; where neither is known, cells without a label are one group.
    """
    if not len(known):
        return
    if groups is None:
        groups = np.where(np.isin(np.arange(adata.n_obs), known), "cells with a label", "cells without a label")
    codes, names = pd.factorize(np.asarray(groups))
    labelled = np.isin(codes, codes[known])
    end = np.cumsum([block.width for block in blocks])
    for block, stop in zip(blocks, end, strict=True):
        columns = slice(stop - block.width, stop)
        moments = column_scale(values[labelled, columns].astype(np.float64), STANDARDIZED)
        scales = {code: another_scale(values[codes == code, columns], *moments) for code in np.unique(codes[~labelled])}
        apart = {str(names[code]): scale for code, scale in scales.items() if scale is not None}
        if apart:
            wide, away = next(iter(apart.values()))
            warn(
                f"{block.name!r} (use_rep=) of {listed(apart, 4)} differs {wide:.3g} times as much between cells as "
                f"where there are labels, and lies {away:.3g} standard deviations away (medians of its columns), as if "
                "it were in another unit. Bring all to one unit, such as arcsinh of the same counts: what these cells "
                "are called means little until then."
            )


def samples_of(adata: AnnData, library_key: str | None, by_sample: bool | str) -> np.ndarray | None:
    """Code of the sample of each cell; None where samples are not asked for, or not known and not insisted on."""
    if by_sample is False:
        return None
    if library_key is None and by_sample is True:
        raise TableError("by_sample=True needs the sample of each cell. Pass library_key=, a column of obs.")
    if by_sample is not True and (library_key is None or (library_key == SAMPLE_KEY and SAMPLE_KEY not in adata.obs)):
        return None
    column = obs_column(adata, str(library_key), "library_key", allow_missing=by_sample is not True)
    return None if column.isna().any() else pd.factorize(column.astype(str))[0]


def on_own_scale(
    adata: AnnData,
    values: np.ndarray,
    scaler: Scaler,
    how: str,
    known: np.ndarray,
    labels: pd.Categorical,
    patients: np.ndarray | None,
    samples: np.ndarray | None,
    options: Options,
    always: bool,
) -> tuple[np.ndarray, Scaler, np.ndarray, dict[str, Any]]:
    """Rows, each sample on its own scale where labels say so, and what is recorded of it.

    Parameters
    ----------
    how
        Preparation of the columns before distances are taken, of rows that stay as they are.
    known, labels
        Labelled rows in the order of their names, and their labels.
    patients, samples
        Of all rows; without samples, from `samples_of`, rows stay as they are.

    Returns
    -------
    Rows, what scales them for a classifier, the rows as distances are taken of them, and parameters for the record.
    """
    notes: dict[str, Any] = {"preparation": how, "by_sample": False, "by_sample_why": ""}
    if samples is None:
        return values, scaler, prepare(values, how), notes
    order = order_of_names(adata.obs_names)
    cells = VisibleCells(values, scaler, patients, known, options.random_state, order)
    cells, scale = on_scale(cells, samples, known, labels, options, always)
    notes |= scale
    if notes["by_sample"]:
        return cells.values, cells.scaler, cells.values, notes | {"preparation": STANDARDIZED + BY_SAMPLE}
    return cells.values, cells.scaler, prepare(cells.values, how), notes


def samples_of_parts(
    adata: AnnData, parts: Sequence[AnnData], library_key: str, by_sample: bool | str
) -> np.ndarray | None:
    """The same of cells of a table that was parted, one part after the other."""
    if samples_of(adata, library_key, by_sample) is None:
        return None
    return pd.factorize(np.concatenate([part.obs[library_key].to_numpy(dtype=str) for part in parts]))[0]


def neighbors_of(
    adata: AnnData, smoothing: float | str | None, library_key: str | None, spatial_key: str
) -> Neighbors | None:
    """Means over the nearest cells of a sample, and their weight; None without smoothing."""
    if smoothing is None:
        return None
    weight = None if smoothing == "auto" else float(smoothing)
    if weight is not None and not 0 <= weight <= 1:
        raise TableError(f"smoothing={smoothing} is not a share of the neighbours. Pass 0 to 1, or 'auto'.")
    if library_key == SAMPLE_KEY and SAMPLE_KEY not in adata.obs:
        library_key = None
    if library_key is None and (key := column_of_several(adata)) is not None:
        raise TableError(
            f"adata holds {counted(adata.obs[key].nunique(), 'sample')} in obs[{key!r}], and cells of one sample are "
            f"not neighbours of another's. Pass library_key={key!r}, or smoothing=None."
        )
    samples = np.zeros(adata.n_obs, int) if library_key is None else obs_column(adata, library_key, "library_key")
    places = coordinates(adata, spatial_key)
    check_overlaid(adata, places, pd.factorize(np.asarray(samples))[0], library_key)
    return Neighbors(
        neighbor_means(places, np.asarray(samples), order=order_of_places(places, adata.obs_names)), weight
    )
