"""Maximally selected log-rank statistics: every cut, its permutation maximum, and an approximate p-value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from .._errors import SurvivalError

AT_ONCE = 5 * 10**6  # numbers of permuted scores in memory


@dataclass(frozen=True)
class Candidates:
    """Cuts that leave enough patients on both sides, and the standardised log-rank statistic of each."""

    order: np.ndarray  # (n,) patients by rising value
    n_low: np.ndarray  # (n_cuts,) patients up to the cut
    cuts: np.ndarray  # (n_cuts,) halfway to the next higher value
    statistic: np.ndarray  # (n_cuts,) positive where the upper side has more events than expected

    @property
    def best(self) -> int:
        """The cut of the largest statistic."""
        return int(np.argmax(np.abs(self.statistic)))

    @property
    def high(self) -> np.ndarray:
        """1 above the best cut, 0 up to it ``(n,)``."""
        codes = np.ones(self.order.size, int)
        codes[self.order[: int(self.n_low[self.best])]] = 0
        return codes


def cuts_of(values: np.ndarray, min_share: float, key: str = "value") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All cuts between distinct values that leave the share on both sides: patients by value, number below, cut."""
    order = np.argsort(values, kind="stable")
    ordered, n = values[order], values.size
    n_low = np.flatnonzero(ordered[1:] > ordered[:-1]) + 1
    least = min_share * n - 1e-9
    n_low = n_low[(n_low >= least) & (n - n_low >= least)]
    if not n_low.size:
        raise SurvivalError(
            f"No cut of {key!r} leaves {100 * min_share:g} % of {n} patients on both sides; it has "
            f"{np.unique(values).size} distinct values. Pass a smaller min_share=."
        )
    low, high = ordered[n_low - 1], ordered[n_low]
    return order, n_low, low / 2 + high / 2


def candidates(values: np.ndarray, scores: np.ndarray, min_share: float, key: str = "value") -> Candidates:
    """These cuts with their statistics."""
    order, n_low, cuts = cuts_of(values, min_share, key)
    return Candidates(order, n_low, cuts, -_standardised(scores[order][None], n_low)[0])


def permuted_maxima(
    scores: np.ndarray,
    n_low: np.ndarray,
    n_permutations: int,
    rng: np.random.Generator,
    blocks: np.ndarray | None = None,
) -> np.ndarray:
    """Largest statistic ``(n_permutations,)`` over the cuts when outcomes are shuffled between patients.

    Parameters
    ----------
    scores
        Of the patients; with `blocks` in the order of the value that is cut.
    blocks
        Codes of the patients within which they change places.
    """
    everyone = np.zeros(scores.size, int) if blocks is None else blocks
    places = [np.flatnonzero(everyone == code) for code in np.unique(everyone)]
    maxima, size = [], max(1, AT_ONCE // scores.size)
    for start in range(0, n_permutations, size):
        block = np.tile(scores, (min(size, n_permutations - start), 1))
        for columns in places:
            block[:, columns] = rng.permuted(block[:, columns], axis=1)
        maxima.append(np.abs(_standardised(block, n_low)).max(axis=1))
    return np.concatenate(maxima)


def lausen_schumacher(statistic: float, min_share: float) -> float:
    """Approximate p-value of the largest statistic over cuts from `min_share` to 1 less it (1992, equation 6)."""
    if statistic < 1:
        return 1.0
    density, odds = norm.pdf(statistic), (1 - min_share) / min_share
    p_value = density * (statistic - 1 / statistic) * np.log(odds**2) + 4 * density / statistic
    return float(min(max(p_value, 0.0), 1.0))


def _standardised(scores: np.ndarray, n_low: np.ndarray) -> np.ndarray:
    """Sums of the first scores of each row ``(n_rows, n)``, over their standard deviation under permutation."""
    n = scores.shape[1]
    sums = np.cumsum(scores, axis=1)[:, n_low - 1] - n_low * scores.mean(axis=1, keepdims=True)
    variance = n_low * (n - n_low) / n * scores[0].var(ddof=1)
    return sums / np.sqrt(variance)
