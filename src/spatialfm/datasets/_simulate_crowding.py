"""Tissue whose cells are not all of one size, and whose rare types are rare."""

from __future__ import annotations

import numpy as np

from ._simulate_fields import STEP, NicheFields, smooth_noise
from ._simulate_panel import TYPES

_SIZE_SCALE = 12.0  # µm over which cells are alike in size
_LIMIT = 2.0  # standard deviations after which sizes are cut: from half to nearly twice
INDIVIDUAL = 0.09  # standard deviation of the log of the size from cell to cell, whatever its place
_ROUNDS = 3  # cells differ in their log-odds, so that one step does not reach the mean that is wanted
# rare types, and how many times the rarest share each has
RARE = {"Dendritic": 1.0, "Neutrophil": 2.0, "Treg": 4.0}


def size_field(layout: NicheFields, spread: float, rng: np.random.Generator) -> np.ndarray | None:
    """Factor of the size of cells ``(g, g)`` by place; with `INDIVIDUAL` its logs have the standard deviation `spread`.

    Cells keep a distance that grows with it, so that large cells have the room that they need.
    """
    wide = np.sqrt(max(spread**2 - INDIVIDUAL**2, 0.0))
    if wide == 0:
        return None
    noise = smooth_noise(layout.niche.shape, _SIZE_SCALE / STEP, rng)
    return np.exp(wide * np.clip(noise, -_LIMIT, _LIMIT))


def made_rare(field: np.ndarray, share: float | None, type_shift: np.ndarray) -> np.ndarray:
    """Log-odds ``(n, T)`` of the types with the rare ones lowered to their mean share over these cells.

    Patients keep their own surplus of a type; no type becomes more frequent than it was, whatever attracts it.
    """
    if share is None or not len(field):
        return field
    field = field.copy()
    for _ in range(_ROUNDS):
        for name, times in RARE.items():
            t = TYPES.index(name)
            odds = np.exp(field - field.max(axis=1, keepdims=True))
            now = float((odds[:, t] / odds.sum(axis=1)).mean())
            field[:, t] += min(np.log(share * times) + type_shift[t] - np.log(max(now, 1e-12)), 0.0)
    return field
