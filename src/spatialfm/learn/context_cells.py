"""The cells of slices: embeddings, places and samples, checked before a model of cells in context reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._coordinates import column_of_several, coordinates
from .._errors import ClinicalError, TableError, counted
from .._keys import SAMPLE_KEY, SPATIAL
from ..cohort.checks import check_samples, codes_by_appearance, listed, obs_column
from ..cohort.comparability import how_made
from ..cohort.doubled import say_doubled
from ..cohort.overlaid import check_overlaid
from ..cohort.representation import representation
from .context_slices import FEWEST

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True)
class ContextCells:
    """Cells of one slice or several.

    Attributes
    ----------
    values
        Embeddings ``(n, d)``.
    xy
        Places ``(n, 2)``, in the unit of the coordinates.
    codes, names
        Slice of each cell, and the names of the slices in the order in which they appear.
    made
        How the embedding was made, as far as its columns mean something else otherwise; empty: not known.
    """

    values: np.ndarray
    xy: np.ndarray
    codes: np.ndarray
    names: list[str]
    made: Mapping[str, str] = field(default_factory=dict)

    def rows(self) -> Iterator[tuple[str, np.ndarray]]:
        """Name and rows of each slice."""
        for code, name in enumerate(self.names):
            yield name, np.flatnonzero(self.codes == code)


def context_cells(
    adata: AnnData, use_rep: str, library_key: str | None = SAMPLE_KEY, spatial_key: str = SPATIAL
) -> ContextCells:
    """Cells of a table, each slice with enough of them.

    Raises
    ------
    TableError
        If the embedding or the coordinates are missing or hold NaN, if there are several samples but no `library_key`,
        or if a slice has fewer than 50 cells, or is of patients whose cells lie over each other.
    """
    xy = coordinates(adata, spatial_key)[:, :2]
    codes, names = _slices(adata, library_key)
    sizes = np.bincount(codes, minlength=len(names))
    if (small := np.flatnonzero(sizes < FEWEST)).size:
        few = listed(f"{names[place]} ({counted(sizes[place], 'cell')})" for place in small)
        away = (
            "Leave them out: "
            f"adata[adata.obs.groupby({library_key!r}, observed=True)[{library_key!r}].transform('size') >= {FEWEST}]"
            ".copy()."
            if library_key is not None and small.size < len(names)
            else "Take slices with more cells."
        )
        raise TableError(
            f"{small.size} of {counted(len(names), 'slice')} {'has' if small.size == 1 else 'have'} fewer than "
            f"{FEWEST} cells, which is not enough tissue for a context: {few}. {away}"
        )
    check_overlaid(adata, xy, codes, library_key if library_key in adata.obs else None)
    values = representation(adata, use_rep)
    if (values == values[0]).all():
        raise TableError(
            f"All cells have the same row of {use_rep!r} (use_rep=), which says nothing of them. Pass another one."
        )
    return ContextCells(values, xy, codes, names, how_made(adata, use_rep))


def patients_of_slices(adata: AnnData, cells: ContextCells, patient_key: str) -> list[str]:
    """Patient of each slice.

    Raises
    ------
    ClinicalError
        If there is no such column, a cell has none, or a slice has several.
    """
    patients = obs_column(adata, patient_key, "patient_key", error=ClinicalError)
    slices = pd.Series(np.array(cells.names, object)[cells.codes], index=patients.index)
    check_samples(slices, patients, ClinicalError)
    return [str(patients.iloc[rows[0]]) for _, rows in cells.rows()]


def _slices(adata: AnnData, library_key: str | None) -> tuple[np.ndarray, list[str]]:
    if library_key == SAMPLE_KEY and SAMPLE_KEY not in adata.obs:
        library_key = None
    if library_key is not None:
        codes, names = codes_by_appearance(obs_column(adata, library_key, "library_key"))
        say_doubled(adata, codes, names, library_key)
        return codes, names
    if (key := column_of_several(adata)) is not None:
        raise TableError(
            f"adata holds {counted(adata.obs[key].nunique(), 'sample')} in obs[{key!r}], and a slice is of one. "
            f'Pass library_key="{key}".'
        )
    return np.zeros(adata.n_obs, dtype=int), ["all cells"]
