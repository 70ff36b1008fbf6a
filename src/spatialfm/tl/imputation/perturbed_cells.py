"""Cells of a table in which a marker is set to a value, as regression or nearest cells see them: no model is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..._errors import PanelError, listed
from ...cohort.given_table import measured_markers, varying_markers
from ...learn.arcsinh import compressed_by, find_cofactor
from ...learn.imputers import fit_imputer, standardised

if TYPE_CHECKING:
    from anndata import AnnData

Moves = list[np.ndarray]


def moved_cells(
    adata: AnnData, values: Mapping[str, float], changes: list[np.ndarray], method: str, random_state: int
) -> tuple[Moves, dict[str, Moves]]:
    """How far cells move, and what is expected of their other markers, when some markers are set.

    Markers are ``arcsinh(x / cofactor)``, of mean 0 and standard deviation 1. Each marker is predicted from all others
    by a fit to all cells as they are.

    Parameters
    ----------
    changes
        Which rows are changed, of each change.

    Returns
    -------
    Of each change: the distance ``(rows,)`` of each cell, over the root mean square distance of all cells from their
    mean; and of each other marker, the change of what is expected of it, 0 in rows that are not changed.

    Raises
    ------
    PanelError
        If a marker is not in the table or is the same in all cells, or none is left beside those that are set.
    """
    measured, x = measured_markers(adata, None, None, least=2)
    names, x = varying_markers(measured, x, asked=False)
    if same := [name for name in values if name in measured and name not in names]:
        raise PanelError(
            f"{same[0]!r} is the same in all cells, so that its change has no unit. Leave it out of values=."
        )
    if lacking := [name for name in values if name not in names]:
        raise PanelError(f"No marker {lacking[0]!r} among those measured in all cells; found {listed(names, 60)}.")
    if not set(names) - set(values):
        raise PanelError("values= sets all markers: none is left whose expected value could change.")
    cofactors = np.array([cofactor if np.isfinite(cofactor := find_cofactor(column)) else np.inf for column in x.T])
    z, center, scale = standardised(compressed_by(x, cofactors))
    to = np.array([[values.get(name, 0.0) for name in names]])
    wanted = ((compressed_by(to, cofactors) - center) / scale)[0]
    places = [names.index(name) for name in values]

    moved: Moves = []
    altered = []
    for rows in changes:
        other = z.copy()
        other[np.ix_(np.flatnonzero(rows), places)] = wanted[places]
        altered.append(other)
        moved.append(np.linalg.norm(other - z, axis=1) / np.sqrt(z.var(axis=0).sum()))
    expected = {}
    for place, name in enumerate(names):
        if name not in values:
            others = np.delete(np.arange(len(names)), place)
            imputer = fit_imputer(method, z[:, others], z[:, [place]], None, random_state)
            expected[name] = [
                _apart(imputer.predict, z[:, others], other[:, others], rows)
                for other, rows in zip(altered, changes, strict=True)
            ]
    return moved, expected


def _apart(predict, before: np.ndarray, after: np.ndarray, rows: np.ndarray) -> np.ndarray:
    change = np.zeros(len(before))
    change[rows] = (predict(after[rows]) - predict(before[rows]))[:, 0]
    return change
