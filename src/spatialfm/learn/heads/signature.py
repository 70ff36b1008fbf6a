"""Markers that types have and lack, as a weak prior: it needs no labelled cell, and combines with those there are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..penalty import balanced_loss
from ..temperature import MIN_HELD_OUT
from .fitted import softmax
from .mixture import FLOOR

FITTED_TO = 20_000  # cells that the two heaps of a marker are found in
BRIGHT = 0.1  # of the 0.99 quantile of a marker: its cofactor, so that background is one heap, not a decade of its own
LEAST_SPREAD = 0.05  # of the range of a marker: a heap of zeros has a width too
LEAST_SHARE = 0.005  # of cells in a heap; of a heap with fewer, one cell would tell a type
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
FEW_WEIGHT = 0.5  # markers of a type are not independent, so that their product is too sure


@dataclass(frozen=True)
class Heaps:
    """The arcsinh of a marker in two heaps: cells that lack it, and cells that have it.

    Attributes
    ----------
    cofactor
        Of the arcsinh.
    means, spreads
        ``(2,)``, the lower heap first.
    share
        Of cells in the upper heap.
    """

    cofactor: float
    means: np.ndarray
    spreads: np.ndarray
    share: float

    def has(self, values: np.ndarray) -> np.ndarray:
        """Probability that a cell has the marker; beyond the means of the heaps it is what it is at them."""
        x = np.clip(np.arcsinh(values.astype(np.float64) / self.cofactor), *self.means)
        logs = -0.5 * ((x[:, None] - self.means) / self.spreads) ** 2 - np.log(self.spreads)
        odds = logs[:, 1] - logs[:, 0] + np.log(self.share / (1 - self.share))
        return 1 / (1 + np.exp(-odds))


def find_heaps(values: np.ndarray, random_state: int = 0) -> Heaps:
    """Divide the values of a marker ``(n,)`` where the variance between both parts is greatest (Otsu), NaN left out."""
    values = values[np.isfinite(values)].astype(np.float64)
    if len(values) > FITTED_TO:
        # in the order of their size: what is drawn does not depend on the order of the table
        values = np.random.default_rng(random_state).choice(np.sort(values), FITTED_TO, replace=False)
    bright = float(np.quantile(np.abs(values), 0.99)) if len(values) else 0.0
    bright = bright if bright > 0 else float(np.abs(values).max(initial=0.0))
    cofactor = BRIGHT * bright if bright > 0 else 1.0
    x = np.arcsinh(values / cofactor)
    if not len(x) or x.min() == x.max():  # tells nothing: both heaps are one
        return Heaps(cofactor, np.full(2, x[0] if len(x) else 0.0), np.ones(2), 0.5)
    upper = x > _otsu(x)
    means = np.array([x[~upper].mean(), x[upper].mean()])
    least = LEAST_SPREAD * (means[1] - means[0])
    spreads = np.maximum([x[~upper].std(), x[upper].std()], least)
    return Heaps(cofactor, means, spreads, float(np.clip(upper.mean(), LEAST_SHARE, 1 - LEAST_SHARE)))


def _otsu(x: np.ndarray) -> float:
    """Cut between two heaps of greatest variance between them."""
    counts, edges = np.histogram(x, 128)
    middles = (edges[1:] + edges[:-1]) / 2
    below, sums = np.cumsum(counts), np.cumsum(counts * middles)
    above, rest = below[-1] - below, sums[-1] - sums
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - rest / above) ** 2
    return float(edges[1:][np.nanargmax(between[:-1])])


@dataclass(frozen=True)
class SignaturePrior:
    """Probabilities of types by their markers."""

    types: list[str]
    signs: np.ndarray  # (types, markers)
    heaps: list[Heaps]

    def predict_proba(self, intensities: np.ndarray) -> np.ndarray:
        """Probabilities ``(n, types)`` of cells ``(n, markers)``; types weigh alike, a marker of NaN says nothing.

        Of each marker that a type has, the ratio of its density in cells that have it to that in all cells; of each
        that it lacks, that in cells that lack it. A marker about which a type says nothing says nothing about it.
        """
        logs = np.zeros((len(intensities), len(self.types)))
        for place, heaps in enumerate(self.heaps):
            column = intensities[:, place]
            known = np.isfinite(column)
            has = np.clip(heaps.has(column[known]), FLOOR, 1 - FLOOR)
            ratio = np.stack([np.log((1 - has) / (1 - heaps.share)), np.log(has / heaps.share)])
            signs = self.signs[:, place]
            logs[known] += ratio[1][:, None] * (signs > 0) + ratio[0][:, None] * (signs < 0)
        return softmax(logs)


def fit_signatures(
    intensities: np.ndarray, types: list[str], signs: np.ndarray, random_state: int = 0
) -> SignaturePrior:
    """Find the heaps of each marker in all cells that may be seen; no label is used.

    Parameters
    ----------
    intensities
        ``(n, markers)``, not yet logged.
    types, signs
        Names, and ``(types, markers)`` with 1, -1 or 0.
    """
    heaps = [find_heaps(column, random_state) for column in intensities.T]
    return SignaturePrior(list(types), np.asarray(signs, float), heaps)


def union(classes: list[str], types: list[str]) -> list[str]:
    """Classes with a label, then types that have markers alone."""
    return [*classes, *(name for name in types if name not in set(classes))]


def spread_over(probability: np.ndarray, names: list[str], everyone: list[str]) -> np.ndarray:
    """Probabilities of some of the classes as those of all: of a class that is not among them it says nothing.

    Examples
    --------
    >>> spread_over(np.array([[0.9, 0.1]]), ["a", "b"], ["a", "b", "c"]).round(2).tolist()
    [[0.6, 0.07, 0.33]]
    """
    out = np.full((len(probability), len(everyone)), 1 / len(everyone))
    out[:, [everyone.index(name) for name in names]] = probability * (len(names) / len(everyone))
    return out


def with_prior(probability: np.ndarray, prior: np.ndarray, weight: float) -> np.ndarray:
    """Probabilities ``(n, classes)`` times a prior of that weight."""
    return softmax(np.log(np.maximum(probability, FLOOR)) + weight * np.log(np.maximum(prior, FLOOR)))


def best_weight(probability: np.ndarray, prior: np.ndarray, codes: np.ndarray) -> float:
    """Weight of the prior of least cross-entropy on held-out rows, each class weighing alike; 0.5 with few rows."""
    if len(codes) < MIN_HELD_OUT:
        return FEW_WEIGHT
    names = np.arange(probability.shape[1])
    return min(WEIGHTS, key=lambda weight: balanced_loss(codes, with_prior(probability, prior, weight), names))
