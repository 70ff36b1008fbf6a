"""Representations that are trained on labels, anew on the training cells of each fold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..._errors import TableError
from ...cohort.checks import as_names

if TYPE_CHECKING:
    from anndata import AnnData

Trained = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class TrainedRepresentation(Protocol):
    """What learns a representation from labelled cells, such as `spatialfm.train.FineTuning`."""

    def fit(self, cells: AnnData, label_key: str, patient_key: str) -> Callable[[AnnData], np.ndarray]:
        """Learn from cells with labels and patients in ``obs``; what is given makes ``(n, columns)`` of other cells."""


def split_representations(
    use_rep: str | Sequence[str] | Mapping[str, Any],
) -> tuple[dict[str, str], dict[str, TrainedRepresentation]]:
    """Keys of ``obsm`` and representations to train, each by the name that scores are given under."""
    if not use_rep:
        raise TableError("use_rep= is empty. Pass a key of obsm, or several.")
    if not isinstance(use_rep, Mapping):
        return {name: name for name in as_names(use_rep)}, {}
    keys = {name: one for name, one in use_rep.items() if isinstance(one, str)}
    trained = {name: one for name, one in use_rep.items() if not isinstance(one, str)}
    for name, one in trained.items():
        if not callable(getattr(one, "fit", None)):
            raise TableError(
                f"use_rep={{{name!r}: ...}} is {type(one).__name__}, neither a key of obsm nor something to train. "
                "Pass a key, or sfm.train.FineTuning(sdata, model)."
            )
    return keys, trained


def trainers(
    trained: Mapping[str, TrainedRepresentation], cells: AnnData, others: AnnData, label_key: str, patient_key: str
) -> dict[str, Trained]:
    """For each, what makes values of all labelled cells and of all others from the rows that it may learn from.

    Nothing but these rows is handed over before it has learned, so that no label of a tested cell can be seen.
    """

    def train(one: TrainedRepresentation, name: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        embed = one.fit(cells[rows].copy(), label_key, patient_key)
        values = [np.asarray(embed(part)) if part.n_obs else None for part in (cells, others)]
        own = values[0]
        if own is None or own.ndim != 2 or len(own) != cells.n_obs or not np.isfinite(own).all():
            raise TableError(f"use_rep={{{name!r}: ...}} did not give one row of numbers for each cell.")
        return own, np.zeros((0, own.shape[1]), own.dtype) if values[1] is None else values[1]

    return {name: lambda rows, one=one, name=name: train(one, name, rows) for name, one in trained.items()}
