"""Places of cells that a joined table states, held against those of the labels that its rows were joined to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._coordinates import pairs_of_y_and_x
from .._errors import listed, warn
from .._keys import SAMPLE_KEY, SPATIAL

if TYPE_CHECKING:
    from anndata import AnnData

FEWEST = 10  # cells of a sample: a plane through fewer fits places by chance
FITS = 0.9  # share of the variance of the places, once scaled, shifted, turned or mirrored; 0 for rows of other cells


def say_told_places(adata: AnnData, columns: list[str]) -> None:
    """Warn of samples whose cells are elsewhere than columns of x and y of the joined table have them.

    Such columns may be in any unit, from any corner, and x may be y: places are compared up to an affine map.

    Parameters
    ----------
    adata
        Table of cells with their places.
    columns
        Columns of its `obs` that were joined.

    Warns
    -----
    SpatialfmWarning
        If the best affine map explains less than `FITS` of the places of a sample.
    """
    for y, x in pairs_of_y_and_x(adata.obs[columns]):
        told = adata.obs[[x, y]].to_numpy(np.float64, na_value=np.nan)
        places, samples = np.asarray(adata.obsm[SPATIAL], dtype=np.float64), adata.obs[SAMPLE_KEY].astype(str)
        away = {}
        for sample, rows in samples.groupby(samples).indices.items():
            share = explained(told[rows], places[rows])
            if share is not None and share < FITS:
                away[sample] = share
        if away:
            sample, share = next(iter(away.items()))
            warn(
                f"Columns {x!r} and {y!r} of cells= place the cells of {listed(away)} elsewhere than the labels that "
                f"their rows were joined to (sample {sample!r}: {max(share, 0):.0%} of the places explained, whatever "
                "the unit). Are the rows numbered as the labels are, and of the same segmentation? The values were "
                "joined by number."
            )


def explained(told: np.ndarray, places: np.ndarray) -> float | None:
    """Share of the variance of `places` ``(n, 2)`` that the best affine map of `told` explains; None if too few are."""
    known = np.isfinite(told).all(axis=1)
    if known.sum() < FEWEST:
        return None
    told, places = told[known], places[known] - places[known].mean(axis=0)
    spread = np.ptp(told, axis=0)
    if not spread.all() or not np.ptp(places, axis=0).all():
        return None
    told = (told - told.mean(axis=0)) / spread
    fitted = told @ np.linalg.lstsq(told, places, rcond=None)[0]
    return float(1 - ((places - fitted) ** 2).sum() / (places**2).sum())
