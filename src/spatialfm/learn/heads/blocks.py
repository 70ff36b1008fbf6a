"""Representations that a method is given: one, or several side by side, each with the weight of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from ..probe import column_scaler

if TYPE_CHECKING:
    from ...cohort.intensities import Intensities
    from .cells import Scaler


@dataclass(frozen=True)
class ColumnBlock:
    """Columns of one representation, and which of them are means of markers."""

    name: str
    width: int
    intensities: Intensities | None = None


class BlockScaler(TransformerMixin, BaseEstimator):
    """Columns of each block on one scale, and blocks of the same total variance, whatever their number of columns.

    The total variance of all columns is that of standardised ones, so that a penalty means what it means for these.

    Parameters
    ----------
    scalers, widths
        Of the blocks, in order.
    """

    def __init__(self, scalers: Sequence[Scaler], widths: Sequence[int]) -> None:
        self.scalers = scalers
        self.widths = widths

    def fit(self, values: np.ndarray, y: object = None) -> BlockScaler:
        """Nothing: the scalers are fitted."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def transform(self, values: np.ndarray) -> np.ndarray:
        """Rows ``(n, columns)`` on the common scale."""
        parts = columns_of(self.widths)
        total, n_blocks = sum(self.widths), len(self.widths)
        weights = [np.sqrt(total / (n_blocks * width)) for width in self.widths]
        scaled = [scaler.transform(values[:, part]) for scaler, part in zip(self.scalers, parts, strict=True)]
        return np.hstack([one * np.asarray(weight, one.dtype) for one, weight in zip(scaled, weights, strict=True)])


def columns_of(widths: Sequence[int]) -> list[slice]:
    """Where each block lies among the columns.

    Examples
    --------
    >>> columns_of([2, 3])
    [slice(0, 2, None), slice(2, 5, None)]
    """
    ends = np.cumsum(widths).tolist()
    return [slice(end - width, end) for end, width in zip(ends, widths, strict=True)]


class AppliedScaler(TransformerMixin, BaseEstimator):
    """A scale that rows have already.

    Parameters
    ----------
    scaler
        What brought them to it.
    """

    def __init__(self, scaler: Scaler) -> None:
        self.scaler = scaler

    def __getattr__(self, name: str) -> Any:
        if name in ("cofactors_", "intensities", "scalers", "widths"):  # what is asked of a scaler besides its scale
            return getattr(self.scaler, name)
        raise AttributeError(name)

    def fit(self, values: np.ndarray, y: object = None) -> AppliedScaler:
        """Nothing: the scaler is fitted."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def transform(self, values: np.ndarray) -> np.ndarray:
        """The rows as they are."""
        return values


def scalers_of(scaler: Scaler) -> list[Scaler]:
    """The scaler of each block."""
    scalers = list(getattr(scaler, "scalers", [scaler]))
    return [AppliedScaler(one) for one in scalers] if isinstance(scaler, AppliedScaler) else scalers


def scaler_of(blocks: Sequence[ColumnBlock], values: np.ndarray, more: np.ndarray | None = None) -> Scaler:
    """The scale of all rows that may be seen, `more` of the same columns among them; of several blocks that of each."""
    if len(blocks) == 1:
        return column_scaler(values, more, blocks[0].intensities)
    parts = columns_of([block.width for block in blocks])
    scalers = [
        column_scaler(values[:, part], None if more is None else more[:, part], block.intensities)
        for block, part in zip(blocks, parts, strict=True)
    ]
    return BlockScaler(scalers, [block.width for block in blocks])
