"""Sets of types that hold the true one as often as stated, for cells of patients who were not seen.

Cells of a patient resemble each other, so that a thousand of them tell little more than one of each patient would. What
is exchangeable are patients: each of them weighs the same, whatever the number of their labelled cells, and a new one
may be unlike all others (Dunn, Wasserman and Ramdas, JASA 2023; Lee, Barber and Willett, JRSS B 2025, "hierarchical
conformal prediction"). With K patients no more than K / (K + 1) can be promised.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from .._errors import TableError, counted

N_FOLDS = 10  # in which patients are held out in turn; of fewer patients, each by itself


def patients_needed(coverage: float) -> int:
    """Patients with labels without whom a coverage cannot be promised.

    Examples
    --------
    >>> patients_needed(0.9), patients_needed(0.95)
    (9, 19)
    """
    return math.ceil(coverage / (1 - coverage) - 1e-9)


def check_coverage(coverage: float, groups: np.ndarray | None) -> None:
    """Refuse what is not a coverage, or cannot be promised from the patients with labels.

    Raises
    ------
    TableError
        If `coverage` is not between 0 and 1, rows have no patients, or these are too few.
    """
    if not 0 < coverage < 1:
        raise TableError(f"coverage={coverage!r} is not a share between 0 and 1, such as 0.9.")
    if groups is None:
        raise TableError(
            f"coverage={coverage:g} is promised for cells of new patients, and it is not known which patients cells "
            "are of. Pass patient_key=, or leave coverage= out."
        )
    n, needed = len(np.unique(groups)), patients_needed(coverage)
    if n < needed:
        raise TableError(
            f"{counted(n, 'patient has', 'patients have')} labelled cells: coverage={coverage:g} for a new patient "
            f"needs {needed}. Label cells of more patients, or pass coverage={math.floor(100 * n / (n + 1)) / 100}."
        )


def held_out_patients(
    groups: np.ndarray, random_state: int, n_folds: int = N_FOLDS
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows to fit and rows to judge, whole patients in turn."""
    names, of = np.unique(groups, return_inverse=True)
    fold = (np.random.default_rng(random_state).permutation(len(names)) % n_folds)[of]
    for number in range(min(n_folds, len(names))):
        yield np.flatnonzero(fold != number), np.flatnonzero(fold == number)


def threshold(scores: np.ndarray, groups: np.ndarray, coverage: float) -> float:
    """Score that a new cell of a new patient exceeds in a share of at most ``1 - coverage``; infinite of too few.

    The quantile of all scores, in which each of K patients weighs ``1 / (K + 1)``, shared by their cells, and a patient
    who is unlike them has the rest.

    Parameters
    ----------
    scores, groups
        ``(n,)`` of cells that were held out, the higher the less their true type was expected, and their patients.
    """
    if not len(scores):
        return math.inf
    _, of, n_cells = np.unique(groups, return_inverse=True, return_counts=True)
    weights = 1 / (n_cells[of] * (len(n_cells) + 1))
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(weights[order])
    place = int(np.searchsorted(reached, coverage - 1e-12))
    return float(scores[order[place]]) if place < len(scores) else math.inf


def thresholds(
    probability: np.ndarray, codes: np.ndarray, groups: np.ndarray, coverage: float, *, by_type: bool = True
) -> np.ndarray:
    """Least probability of each type with which it is in the set of a cell, ``(classes,)``.

    Parameters
    ----------
    probability, codes, groups
        ``(n, classes)`` of labelled cells whose patients were held out, their types and their patients.
    coverage
        Share of cells whose set should hold the true type.
    by_type
        Of the cells of each type, so that it holds whatever their shares are: rare types are covered too, and labels
        may have been picked by type. Else of all cells, whose types are to be in the proportions of the labelled ones.
        A type that is labelled in too few patients has 0: it is in every set.
    """
    scores = 1 - probability[np.arange(len(codes)), codes]
    if not by_type:
        quantiles = np.full(probability.shape[1], threshold(scores, groups, coverage))
    else:
        mine = [codes == code for code in range(probability.shape[1])]
        quantiles = np.array([threshold(scores[rows], groups[rows], coverage) for rows in mine])
    return np.where(np.isfinite(quantiles), np.clip(1 - quantiles, 0, 1), 0.0)


def sets_of(probability: np.ndarray, least: np.ndarray) -> np.ndarray:
    """Types of each cell, ``(n, classes)`` bool: those with their least probability, and always the most probable.

    Examples
    --------
    >>> sets_of(np.array([[0.7, 0.2, 0.1], [0.4, 0.35, 0.25]]), np.array([0.3, 0.3, 0.3])).astype(int).tolist()
    [[1, 0, 0], [1, 1, 0]]
    """
    members = probability >= least - 1e-12  # a cell with exactly the score of the threshold is covered
    members[np.arange(len(probability)), probability.argmax(axis=1)] = True
    return members


def accuracy_of_surest(
    probability: np.ndarray, codes: np.ndarray, shares: tuple[float, ...] = (1.0, 0.9, 0.75, 0.5)
) -> dict[float, float]:
    """Share of right labels among the cells of highest probability, by the share of cells that keep their label.

    Examples
    --------
    >>> accuracy_of_surest(np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.55, 0.45]]), np.array([0, 0, 1, 0]))[0.5]
    1.0
    """
    order = np.argsort(-probability.max(axis=1), kind="stable")
    right = (probability.argmax(axis=1) == codes)[order]
    return {share: float(right[: max(1, math.ceil(share * len(right)))].mean()) for share in shares}
