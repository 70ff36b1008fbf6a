"""Channels of a sample that were exchanged: would its cells be more as expected if one marker were the other?"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd

from .arcsinh import compressed_by
from .imputers import drawn_evenly
from .surprise import CUT, Errors, errors_of, expected_of_others, regressions_of

MOST = 200  # cells of a sample: more of them move no mean by what an exchange moves it


def exchanges_of(
    values: np.ndarray,
    cofactors: np.ndarray,
    patient: np.ndarray,
    reference: np.ndarray,
    samples: pd.Series,
    markers: list[str],
    *,
    n_folds: int,
    random_state: int = 0,
) -> dict[str, pd.DataFrame]:
    """What `gains_of_samples` finds, of rows of which the first have a sample, as tables.

    Returns
    -------
    ``swapped``, samples by markers: the gain of the best exchange with another one. ``exchanges``: ``marker``,
    ``other`` and ``gain`` of the best one of each sample.
    """
    codes, names = pd.factorize(samples, sort=True)
    asked = np.arange(len(values)) < len(codes)
    sample = np.r_[codes, np.zeros(len(values) - len(codes), int)]
    gains = gains_of_samples(
        values, cofactors, sample, patient, reference, asked, n_folds=n_folds, random_state=random_state
    )
    least = np.where(np.isnan(gains), -np.inf, gains)
    index = pd.Index(list(map(str, names)), name="sample", dtype=object)
    best = least.max(axis=2)
    swapped = pd.DataFrame(np.where(np.isfinite(best), best, np.nan), index, markers)
    flat = least.reshape(len(least), -1).argmax(axis=1)
    pairs = [sorted((place // len(markers), place % len(markers))) for place in flat]
    known = np.isfinite(best).any(axis=1)
    columns = {
        "marker": [markers[one] if there else "" for (one, _), there in zip(pairs, known, strict=True)],
        "other": [markers[other] if there else "" for (_, other), there in zip(pairs, known, strict=True)],
        "gain": swapped.max(axis=1).to_numpy(),
    }
    return {"swapped": swapped, "exchanges": pd.DataFrame(columns, index)}


def gains_of_samples(
    values: np.ndarray,
    cofactors: np.ndarray,
    sample: np.ndarray,
    patient: np.ndarray,
    reference: np.ndarray,
    asked: np.ndarray,
    *,
    n_folds: int,
    random_state: int = 0,
) -> np.ndarray:
    """By how much cells of each sample come closer to what is expected of them if two markers are exchanged.

    What is expected is ridge regression on the reference, without the patients of the sample, and the error of it is
    that of the reference. Squares of residuals in errors, less the median of the sample and cut at 3 errors, are added
    over markers and averaged over cells: a marker that is brighter in all of a sample is not an exchange.

    Parameters
    ----------
    values
        ``(n, M)`` intensities.
    cofactors
        ``(M,)`` of arcsinh; NaN: none.
    sample
        ``(n,)`` codes from 0 on, of cells that are asked for.
    patient
        ``(n,)`` codes.
    reference, asked
        ``(n,)`` whether a cell is of the reference, and of a sample.

    Returns
    -------
    ``(samples, M, M)``, symmetric; positive where an exchange explains cells better, NaN on the diagonal, and where no
    patient of the reference is left.
    """
    x = compressed_by(values, cofactors)
    expected = expected_of_others(
        "linear", x[reference], patient[reference], np.ones(int(reference.sum()), bool), n_folds=n_folds,
        random_state=random_state,
    )  # fmt: skip
    errors = errors_of(x[reference] - expected, expected, patient[reference])
    gains = np.full((int(sample[asked].max()) + 1, x.shape[1], x.shape[1]), np.nan)
    for number in range(len(gains)):
        own = np.flatnonzero(asked & (sample == number))
        fitted = reference & ~np.isin(patient, patient[own])
        if len(own) and fitted.sum() >= 2:
            drawn = own[drawn_evenly(len(own), MOST, random_state)]
            fit = regressions_of(x[fitted], patient[fitted])
            gains[number] = _gains(values[drawn], cofactors, fit, errors)
    return gains


def _gains(
    values: np.ndarray, cofactors: np.ndarray, fit: tuple[np.ndarray, np.ndarray, np.ndarray], errors: Errors
) -> np.ndarray:
    center, scale, coefficients = fit
    x = compressed_by(values, cofactors)
    expected = center + ((x - center) / scale) @ coefficients * scale
    middle, width = errors.at(expected)
    before = _cost((x - expected - middle) / width)
    gains = np.full((x.shape[1], x.shape[1]), np.nan)
    for one, other in combinations(range(x.shape[1]), 2):
        pair = [one, other]
        changed = x.copy()
        changed[:, pair] = compressed_by(values[:, pair[::-1]], cofactors[pair])
        moved = ((changed - x)[:, pair] / scale[pair]) @ coefficients[pair] * scale
        gains[pair, pair[::-1]] = before - _cost((changed - expected - moved - middle) / width)
    return gains


def _cost(z: np.ndarray) -> float:
    """Squared residuals ``(n, M)`` around the median of each marker, cut, added over markers; mean over cells."""
    away = np.clip(z - np.median(z, axis=0), -CUT, CUT)
    return float((away**2).mean(axis=0).sum())
