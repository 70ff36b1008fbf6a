"""What was measured and expected of cells, and what is usual in the reference: what `surprise` is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ...cohort.checks import obs_column
from ...learn.surprise import Errors, Usual, brightness, deviation, errors_of, usual_of

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True)
class Parts:
    """Cells of the table, what is expected of them, and errors on the reference.

    Attributes
    ----------
    markers
        Names.
    residual, expected
        ``(n, M)`` measured minus expected, and expected; NaN of cells that were not looked at.
    errors
        Of the reference.
    explained
        ``(M,)`` share of the variance of reference cells that is explained.
    usual
        Of reference cells.
    brightness
        ``(n,)`` of the cells of the table.
    reference, model
        What they were, for the record.
    inputs
        Intensities, cofactors, codes of patients and which cells are of the reference; None of a model.
    """

    markers: list[str]
    residual: np.ndarray
    expected: np.ndarray
    errors: Errors
    explained: np.ndarray
    usual: Usual
    brightness: np.ndarray
    reference: str
    model: str = ""
    inputs: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None = None

    def table(self) -> pd.DataFrame:
        """Error (median over levels) and explained variance of each marker."""
        columns = {"error": np.median(self.errors.scale, axis=0), "explained": self.explained}
        return pd.DataFrame(columns, index=pd.Index(self.markers, name="marker"))


def parts_of(
    names: list[str],
    x: np.ndarray,
    expected: np.ndarray,
    codes: np.ndarray,
    among: np.ndarray,
    sample: np.ndarray,
    n_own: int,
    said: str,
    model: str = "",
) -> Parts:
    """What was measured and expected ``(n, M)``, of the reference behind the cells of the table, in errors of it."""
    known = among & np.isfinite(expected).all(axis=1)
    residual = x - expected
    variance = x[known].var(axis=0)
    explained = 1 - (residual[known] ** 2).mean(axis=0) / np.where(variance > 0, variance, np.nan)
    errors = errors_of(residual[known], expected[known], codes[known])
    bright = brightness(x, sample)
    off = deviation(errors.standardised(residual[known], expected[known]))
    usual = usual_of(off, bright[known], codes[known])
    return Parts(names, residual[:n_own], expected[:n_own], errors, explained, usual, bright[:n_own], said, model)


def samples_of(adata: AnnData, other: AnnData | None, library_key: str, patient: np.ndarray) -> np.ndarray:
    """Codes of the samples of all rows; of a reference without that column its patients."""
    own = obs_column(adata, library_key, "library_key").astype(str)
    _, first = np.unique(own.to_numpy(dtype=str), return_inverse=True)
    if other is None:
        return first
    theirs = other.obs[library_key].astype(str) if library_key in other.obs else patient[adata.n_obs :]
    _, behind = np.unique(np.asarray(theirs).astype(str), return_inverse=True)
    return np.concatenate([first, behind + first.max() + 1])
