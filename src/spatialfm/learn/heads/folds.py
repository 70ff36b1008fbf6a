"""Folds over patients, images, or quadrants of images, and which cells without label a fold may see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..._errors import TableError
from ..probe import away_from, quadrants


@dataclass(frozen=True)
class Fold:
    """Rows to train on and to score; `held_out` are all cells of the test part, those that cannot be scored too."""

    train: np.ndarray
    test: np.ndarray
    held_out: np.ndarray


@dataclass(frozen=True)
class Places:
    """Where cells are, for folds that are quadrants: positions ``(n, 2)``, image of each, and the least distance."""

    positions: np.ndarray
    samples: np.ndarray
    margin: float


@dataclass(frozen=True)
class Groups:
    """What stays on one side of a split: patients or images, or quadrants if `places` are given."""

    of: np.ndarray  # (n,), labelled cells
    key: str
    places: Places | None = None


def groups_of_quadrants(places: Places) -> Groups:
    """The quadrant of each labelled cell."""
    return Groups(quadrants(places.positions, places.samples), "quadrant", places)


def make_folds(groups: Groups, names: np.ndarray, n_folds: int, random_state: int) -> list[Fold]:
    """Folds of labelled cells ``(n,)``, with as equal shares of each label as whole groups allow."""
    from sklearn.model_selection import StratifiedGroupKFold

    n_groups = len(np.unique(groups.of))
    n_folds = n_folds if groups.places is None else min(n_folds, 4)
    if not 2 <= n_folds <= n_groups:
        raise TableError(
            f"{n_groups} different values of obs[{groups.key!r}] (patient_key=) cannot make {n_folds} folds. Pass "
            "n_folds= of 2 or more, at most their number, or patient_key='quadrant' for a single image."
        )
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=random_state)
    folds, places = [], groups.places
    for train, test in splitter.split(names, names, groups.of):
        if places is not None:
            train = away_from(train, test, places.positions, places.samples, places.margin)
        # a class that no training cell has cannot be predicted, and would only be scored as always wrong
        held_out, test = test, test[np.isin(names[test], names[train])]
        if len(np.unique(names[train])) < 2 or not len(test):
            raise TableError("A fold has fewer than two classes to train on. Pass fewer folds or a larger min_cells=.")
        folds.append(Fold(train, test, held_out))
    return folds


def seen_by_patient(patients: np.ndarray, groups: Groups, fold: Fold) -> np.ndarray:
    """Rows of cells without a label that counts, of patients of the training part.

    Cells without patient may be of a test patient, and are not seen.

    Parameters
    ----------
    patients
        ``(m,)``, None or NaN where unknown.
    """
    known = pd.notna(patients)
    return np.flatnonzero(known & ~np.isin(patients.astype(str), np.unique(groups.of[fold.held_out])))


def seen_by_place(others: Places, groups: Groups, fold: Fold) -> np.ndarray:
    """The same of cells that are neither in a held-out quadrant nor near its cells."""
    own = groups.places
    samples = np.concatenate([own.samples.astype(object), others.samples.astype(object)])
    places = np.concatenate([own.positions, others.positions])
    labelled = np.arange(len(samples)) < len(own.samples)
    placed = np.flatnonzero(pd.notna(samples) & np.isfinite(places).all(axis=1))
    samples, places, labelled = samples[placed].astype(str), places[placed], labelled[placed]
    held = np.unique(groups.of[fold.held_out])
    rows = np.flatnonzero(~labelled & ~np.isin(quadrants(places, samples, labelled), held))
    # labelled cells all have a place, and come first
    return placed[away_from(rows, fold.held_out, places, samples, own.margin)] - len(own.samples)
