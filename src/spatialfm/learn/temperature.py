"""Probabilities that are right as often as they say: one temperature, from cells that were held out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

N_FOLDS = 5
MANY = 500  # labelled cells from which on a fifth of them is enough to hold out, once
MIN_HELD_OUT = 10  # of fewer cells a temperature would be chance
N_BINS = 15  # Guo et al. 2017, section 2
RANGE = (-3.0, 3.0)  # of the logarithm of the temperature: 0.05 to 20
SPREAD = 1.0  # of the logarithm of the temperature before anything is known: a half to three times is usual
MOST_LAPSES = 0.3
NONE_BEFORE = 20  # held-out cells without a lapse that are known of before there is one


@dataclass(frozen=True)
class Calibration:
    """Temperature, the number of held-out cells that it was found on, the calibration error on them, and lapses.

    `lapse` is the share of cells of which nothing is known, however sure the answer looks: those with a wrong label,
    a mask on two cells, a fold of the tissue.
    """

    temperature: float = 1.0
    n_held_out: int = 0
    error: float = float("nan")
    lapse: float = 0.0

    def applied(self, probability: np.ndarray) -> np.ndarray:
        """Probabilities with the temperature, a share of each even; the order of classes stays."""
        return lapsed(tempered(probability, self.temperature), self.lapse)


def tempered(probability: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities of a softmax whose logits are divided by `temperature`; the order of classes stays.

    Examples
    --------
    >>> tempered(np.array([[0.8, 0.2]]), 2.0).round(3).tolist()
    [[0.667, 0.333]]
    """
    if temperature == 1:
        return probability
    logs = np.log(np.maximum(probability, np.finfo(probability.dtype).tiny)) / temperature
    raised = np.exp(logs - logs.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def lapsed(probability: np.ndarray, share: float) -> np.ndarray:
    """Probabilities ``(n, classes)`` of which a share is even.

    Examples
    --------
    >>> lapsed(np.array([[1.0, 0.0]]), 0.1).tolist()
    [[0.95, 0.05]]
    """
    return probability if share == 0 else (1 - share) * probability + share / probability.shape[1]


def find_temperature(
    probability: np.ndarray,
    codes: np.ndarray,
    weights: np.ndarray | None = None,
    spread: float = np.inf,
    lapse: float = 0.0,
    usual: float = 1.0,
) -> float:
    """Temperature of least cross-entropy (Guo et al. 2017, section 4.2).

    Parameters
    ----------
    probability, codes
        ``(n, classes)`` of cells that were not trained on, and ``(n,)`` their classes.
    weights
        ``(n,)`` of the cells; default: equal.
    spread
        Standard deviation that the logarithm of the temperature has around that of `usual` before anything is known of
        it (a normal prior, which many cells outweigh; with `weights` they count as many as an even sample would);
        default: nothing is known.
    lapse
        Share of each probability that is even.
    usual
        Temperature that is expected before anything is known.
    """
    return _least(probability, codes, weights, spread, lapse, usual)[0]


def _least(
    probability: np.ndarray, codes: np.ndarray, weights: np.ndarray | None, spread: float, lapse: float, usual: float
) -> tuple[float, float]:
    """Temperature, and the cross-entropy with what speaks against it before anything is known."""
    from scipy.optimize import minimize_scalar

    n = _as_many(codes, weights)

    def loss(log_temperature: float) -> float:
        fitted = lapsed(tempered(probability, float(np.exp(log_temperature))), lapse)
        apart = (log_temperature - np.log(usual)) / spread
        return _cross_entropy(fitted, codes, weights) + apart**2 / (2 * n)

    least = minimize_scalar(loss, bounds=RANGE, method="bounded")
    return float(np.exp(least.x)), float(least.fun)


def _as_many(codes: np.ndarray, weights: np.ndarray | None) -> float:
    """Cells of an even sample of which a mean is as uncertain (Kish)."""
    return float(len(codes) if weights is None else weights.sum() ** 2 / (weights**2).sum())


def find_lapse(
    probability: np.ndarray,
    codes: np.ndarray,
    weights: np.ndarray | None = None,
    spread: float = np.inf,
    usual: float = 1.0,
) -> float:
    """Share of lapses of least cross-entropy, each with the temperature that suits it.

    A few cells that are wrong for sure make a temperature alone too high for all others, which are then right more
    often than they say. Few held-out cells tell little about a rare event: as if 20 more had been without one (a beta
    prior).
    With `weights` cells count as many as an even sample would, of which a mean is as uncertain (Kish). `spread` and
    `usual` are those of `find_temperature`.
    """
    from scipy.optimize import minimize_scalar

    n = _as_many(codes, weights)

    def loss(share: float) -> float:
        return _least(probability, codes, weights, spread, share, usual)[1] - NONE_BEFORE * np.log1p(-share) / n

    share = float(minimize_scalar(loss, bounds=(0, MOST_LAPSES), method="bounded", options={"xatol": 1e-3}).x)
    return share if loss(share) < loss(0.0) else 0.0


def _cross_entropy(probability: np.ndarray, codes: np.ndarray, weights: np.ndarray | None) -> float:
    of_truth = probability[np.arange(len(codes)), codes]
    return float(np.average(-np.log(np.maximum(of_truth, np.finfo(float).tiny)), weights=weights))


def calibration_error(probability: np.ndarray, codes: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Expected calibration error: distance of confidence and accuracy, over 15 bins of confidence, by their cells.

    With `weights` a cell counts as so many. Of few cells it is never 0, as the accuracy in a bin is a share of few.

    Examples
    --------
    >>> calibration_error(np.array([[0.9, 0.1], [0.9, 0.1]]), np.array([0, 1])).__round__(3)
    0.4
    """
    confidence, right = probability.max(axis=1), probability.argmax(axis=1) == codes
    place = _bins(confidence)
    weights = np.ones(len(codes)) if weights is None else weights
    apart = np.bincount(place, weights * (right - confidence), minlength=N_BINS)
    return float(np.abs(apart).sum() / weights.sum())


def _bins(confidence: np.ndarray) -> np.ndarray:
    return np.minimum((confidence * N_BINS).astype(int), N_BINS - 1)


def debiased_calibration_error(probability: np.ndarray, codes: np.ndarray) -> float:
    """Calibration error without what chance adds to it: near 0 in the mean where probabilities are right.

    The share of right cells in a bin of few lies off their confidence by chance, so that `calibration_error` is too
    high, the more the fewer cells. This is the deviation, of one size in all bins, that would make it as large as it
    is, in the mean over normal errors of these shares. Below what chance makes, the answer is as far below 0, so that
    means over draws are not pulled up. Where bins deviate by different sizes it is their mean, nearly; of so few cells
    that chance makes more than the deviation does, it is too low: 0.025 to 0.04 in place of 0.05, in simulations of 150
    cells in nine bins. NaN without cells.

    Examples
    --------
    >>> probability, codes = np.tile([0.7, 0.3], (10, 1)), np.repeat([0, 1], [6, 4])
    >>> round(calibration_error(probability, codes), 3), round(debiased_calibration_error(probability, codes), 3)
    (0.1, -0.089)
    """
    from scipy.optimize import brentq

    if not len(codes):
        return float("nan")
    confidence, right = probability.max(axis=1), probability.argmax(axis=1) == codes
    place = _bins(confidence)
    n = np.bincount(place, minlength=N_BINS)
    n, sums = n[n > 0], np.bincount(place, confidence + right, minlength=N_BINS)[n > 0]
    # of confidence and share: the one alone is too wide, the other too narrow; 1.0000001 of float32 is 1
    between = np.minimum(sums / n / 2, 1)
    errors = np.sqrt(between * (1 - between) / n)

    def expected(size: float) -> float:
        return float(n @ _mean_distance(size, errors)) / len(codes)

    by_chance, observed = expected(0.0), calibration_error(probability, codes)
    excess = abs(observed - by_chance)
    size = brentq(lambda size: expected(size) - by_chance - excess, 0, 1)
    return float(np.copysign(size, observed - by_chance))


def _mean_distance(size: float, errors: np.ndarray) -> np.ndarray:
    """Mean distance from 0 of normal numbers with mean `size` and these standard deviations (folded normal)."""
    from scipy.special import ndtr

    errors = np.maximum(errors, 1e-12)
    apart = size / errors
    return errors * np.sqrt(2 / np.pi) * np.exp(-(apart**2) / 2) + size * (2 * ndtr(apart) - 1)


def calibration_of(
    probability: np.ndarray,
    codes: np.ndarray,
    shares: np.ndarray | None = None,
    lapses: bool = False,
    usual: float = 1.0,
    groups: np.ndarray | None = None,
) -> Calibration:
    """Temperature that suits held-out cells, and the calibration error that it leaves on them.

    Ten cells that are all right would have a temperature of 0, and all others a probability of 1. Its logarithm has a
    normal prior, which many cells outweigh.

    Parameters
    ----------
    shares
        ``(classes,)`` of the types among the cells that are to be annotated. Labels are often as many of each type,
        and a confidence that is right among these is wrong in tissue, where one type is most of it: held-out cells of
        a type then weigh together what the type does.
    lapses
        Whether a share of lapses is found too.
    usual
        Temperature that is expected before anything is known.
    groups
        Patient of each held-out cell. Of each type every patient weighs alike, where there are five or more: the
        probabilities are for new ones. The patient with most labels of a type was judged by what had fewest of it.
    """
    weights = _weights(codes, shares, groups)
    lapse = find_lapse(probability, codes, weights, SPREAD, usual) if lapses else 0.0
    temperature = find_temperature(probability, codes, weights, SPREAD, lapse, usual)
    calibration = Calibration(temperature, len(codes), lapse=lapse)
    return replace(calibration, error=calibration_error(calibration.applied(probability), codes, weights))


def _weights(codes: np.ndarray, shares: np.ndarray | None, groups: np.ndarray | None) -> np.ndarray | None:
    """Weights ``(n,)`` of held-out cells, those of a type together its share, each patient alike; None: all equal."""
    if groups is not None and len(np.unique(groups)) < N_FOLDS:
        groups = None
    if shares is None and groups is None:
        return None
    n_of_type = np.bincount(codes, minlength=0 if shares is None else len(shares))
    weights = (n_of_type if shares is None else shares)[codes] / n_of_type[codes]
    if groups is not None:
        pairs = np.stack([codes, np.unique(groups, return_inverse=True)[1]])
        occurring, of, n = np.unique(pairs, axis=1, return_inverse=True, return_counts=True)
        weights *= n_of_type[codes] / (np.bincount(occurring[0])[codes] * n[of.ravel()])
    return weights if weights.any() else None


def held_out_parts(
    codes: np.ndarray, groups: np.ndarray | None, random_state: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows to fit and rows to judge: in five folds, or once where there are many; every class is in all to fit.

    Whole groups where there are five or more and the classes allow it. The only cell of a class is never judged.
    """
    rng, once = np.random.default_rng(random_state), len(codes) >= MANY
    if groups is not None and len(np.unique(groups)) >= N_FOLDS:
        names, of = np.unique(groups, return_inverse=True)
        fold = (rng.permutation(len(names)) % N_FOLDS)[of]
        parts = [(np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in range(N_FOLDS)]
        whole = [(train, test) for train, test in parts if len(np.unique(codes[train])) == len(np.unique(codes))]
        if whole:
            yield from whole[:1] if once else whole
            return
    fold = np.full(len(codes), -1)
    for code in np.unique(codes):
        mine = rng.permutation(np.flatnonzero(codes == code))
        if len(mine) > 1:  # from a fold that differs by class, so that small classes do not fill the first alone
            fold[mine] = (np.arange(len(mine)) + code) % N_FOLDS
    for number in np.unique(fold[fold >= 0])[: 1 if once else None]:
        yield np.flatnonzero(fold != number), np.flatnonzero(fold == number)


def predicted_without(
    predict: Callable[[np.ndarray, np.ndarray], np.ndarray],
    codes: np.ndarray,
    groups: np.ndarray | None,
    random_state: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of rows by fits without their label, and which rows they are, part by part.

    Parameters
    ----------
    predict
        Called with rows to fit and rows to judge, as `held_out_parts` gives them; makes ``(judged, classes)``.
    """
    probabilities, places = [], []
    for train, test in held_out_parts(codes, groups, random_state):
        probabilities.append(predict(train, test))
        places.append(test)
    if not places:
        return np.zeros((0, int(codes.max()) + 1)), np.zeros(0, int)
    return np.concatenate(probabilities), np.concatenate(places)
