"""Columns that a part of an ensemble sees: all of them, or the means of markers among them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

if TYPE_CHECKING:
    from .cells import Scaler


class ColumnScaler(TransformerMixin, BaseEstimator):
    """Some columns of what a scaler makes of all.

    Parameters
    ----------
    scaler
        Of all columns, fitted.
    places
        Columns that are kept.
    """

    def __init__(self, scaler: Scaler, places: np.ndarray) -> None:
        self.scaler = scaler
        self.places = places

    def fit(self, values: np.ndarray, y: object = None) -> ColumnScaler:
        """Nothing: the scaler is fitted."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def transform(self, values: np.ndarray) -> np.ndarray:
        """Rows ``(n, columns)`` to ``(n, places)``."""
        return self.scaler.transform(values)[:, self.places]


def mean_columns(scaler: object) -> np.ndarray:
    """Columns that are means of markers, of one representation or of several side by side; not those that were centred.

    They went through arcsinh, or have a cofactor of infinity where that was done before.
    """
    widths = getattr(scaler, "widths", None)
    scalers: list[Any] = list(getattr(scaler, "scalers", [scaler]))
    starts = [0] if widths is None else np.cumsum([0, *widths[:-1]]).tolist()
    columns = [np.zeros(0, int)]
    for one, start in zip(scalers, starts, strict=True):
        cofactors = getattr(one, "cofactors_", None)
        if cofactors is not None:
            columns.append(start + one.intensities.places[~np.isnan(cofactors)])
    return np.sort(np.concatenate(columns))
