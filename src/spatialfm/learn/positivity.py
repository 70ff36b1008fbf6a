"""Where the positive cells of a marker begin in a sample, and whether there is anything to split."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.special import expit

from .._threads import one_thread

SPLIT = "split"
NO_POSITIVES = "no positives"
NO_NEGATIVES = "no negatives"
SHARED = "shared"
UNCLEAR = "unclear"
FEW = "few cells"
GATE = "gate"
NO_GATE = "no gate"
NOT_MEASURED = "not measured"
NETWORK = "network"

MOST_CELLS = 5_000  # a mixture of two is known well from as many
SEPARATION = 2.0  # Ashman's D, above which two normal distributions lie apart (Ashman, Bird and Zepf 1994)
VALLEY = 0.7
NARROWEST = 0.02  # least standard deviation of a component, as a share of the range from the 1st to the 99th percentile


@dataclass(frozen=True)
class Components:
    """Two normal distributions: of negative and of positive cells.

    Attributes
    ----------
    means, sds
        Of the negative and of the positive one.
    share
        Of cells that are positive.
    """

    means: tuple[float, float]
    sds: tuple[float, float]
    share: float

    @property
    def separation(self) -> float:
        """Ashman's D: distance of the means over the root mean square of the standard deviations."""
        return (self.means[1] - self.means[0]) * np.sqrt(2 / (self.sds[0] ** 2 + self.sds[1] ** 2))

    def log_odds(self, values: np.ndarray) -> np.ndarray:
        """Logarithm of the odds of being positive, which never fall as the value rises.

        Two normal distributions of unequal width cross twice. Beyond the vertex of the parabola the odds stay what
        they are there: a cell is not positive for being dimmer than all negative ones.
        """
        (a, b), (s, t) = self.means, self.sds
        curve = (1 / s**2 - 1 / t**2) / 2
        line = b / t**2 - a / s**2
        level = a**2 / (2 * s**2) - b**2 / (2 * t**2) + np.log(s / t) + np.log(self.share / (1 - self.share))
        x = np.asarray(values, dtype=float)
        if curve > 0:
            x = np.maximum(x, -line / (2 * curve))
        elif curve < 0:
            x = np.minimum(x, -line / (2 * curve))
        return curve * x**2 + line * x + level

    def probability(self, values: np.ndarray) -> np.ndarray:
        """Probability of being positive."""
        return expit(self.log_odds(values))

    @property
    def threshold(self) -> float:
        """Value at which a cell is as likely positive as negative, between the means."""
        low, high = self.means
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self.log_odds(np.array(middle)) < 0 else (low, middle)
        return (low + high) / 2


@dataclass(frozen=True)
class Call:
    """What was found of one marker in one sample.

    Attributes
    ----------
    status
        ``"split"``: two populations lie apart, and the threshold is the sample's own; ``"shared"``: they do not, and
        the threshold is that of all samples; ``"no positives"``, ``"no negatives"``: likewise, and hardly any cell is
        above or below it; ``"unclear"``: there is no threshold; ``"few cells"``: too few, called by that of all
        samples; ``"gate"``, ``"no gate"``; ``"network"``: called on the image; ``"not measured"``.
    threshold
        In the units of the values; NaN: none.
    probability
        ``(n,)``; NaN without threshold.
    separation
        Ashman's D of the two populations, NaN where there are none.
    own
        Threshold at which the sample by itself would be split, also where it is not used, as it lies outside of the
        populations of all samples; NaN: it would not be.
    """

    status: str
    threshold: float
    probability: np.ndarray
    separation: float
    own: float = np.nan


@one_thread()
def fit_components(values: np.ndarray, random_state: int = 0) -> Components | None:
    """A mixture of two normal distributions, by expectation maximisation; None where all values are the same."""
    from sklearn.mixture import GaussianMixture

    values = thinned(values)
    low, high = np.percentile(values, [1, 99])
    width = max(high - low, float(np.ptp(values)) * NARROWEST)
    if width <= 0:
        return None
    scaled = ((values - low) / width)[:, None]
    start = np.percentile(scaled, [25, 95])
    if start[0] == start[1]:
        start = np.array([scaled.min(), scaled.max()])
    model = GaussianMixture(
        2, reg_covar=NARROWEST**2, max_iter=200, tol=1e-4, means_init=start[:, None], random_state=random_state
    ).fit(scaled)
    order = np.argsort(model.means_[:, 0])
    means = (model.means_[order, 0] * width + low).tolist()
    sds = (np.sqrt(model.covariances_[order, 0, 0]) * width).tolist()
    share = float(np.clip(model.weights_[order[1]], 1e-6, 1 - 1e-6))
    return Components((means[0], means[1]), (sds[0], sds[1]), share)


def thinned(values: np.ndarray, most: int = MOST_CELLS) -> np.ndarray:
    """So many of the values at most, evenly through their order."""
    values = np.sort(np.asarray(values, dtype=float))
    if len(values) <= most:
        return values
    return values[np.linspace(0, len(values) - 1, most).round().astype(int)]


def lie_apart(components: Components, values: np.ndarray, min_share: float) -> bool:
    """Whether two populations are there: far apart, each with cells enough, and fewer cells between them.

    A mixture of two fits a continuum too, and its halves lie apart by Ashman's D. So there has to be a valley: the
    density of the cells between the means, smoothed over half of the narrower component, falls to `VALLEY` of that of
    the lower hill.
    """
    if not min_share <= components.share <= 1 - min_share or components.separation < SEPARATION:
        return False
    (low, high), width = components.means, min(components.sds) / 2
    grid = np.linspace(low, high + components.sds[1], 101)
    values = thinned(values)
    density = np.exp(-(((grid[:, None] - values[None]) / width) ** 2) / 2).sum(axis=1)
    between = np.flatnonzero(grid <= high)
    bottom = between[np.argmin(density[between])]
    return bool(density[bottom] <= VALLEY * min(density[: bottom + 1].max(), density[bottom:].max()))


@dataclass(frozen=True)
class MarkerSample:
    """One marker in one sample: values ``(n,)``, transformed so that populations are about normal."""

    values: np.ndarray
    random_state: int = 0

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def components(self) -> Components | None:
        """A mixture of its own, fitted once: the reference of all samples and the call of this one ask for it."""
        return fit_components(self.values, self.random_state)

    def split(self, min_share: float) -> Components | None:
        """The same where its two populations lie apart."""
        own = self.components
        return own if own is not None and lie_apart(own, self.values, min_share) else None


def reference_of(samples: list[MarkerSample], min_share: float, random_state: int = 0) -> Components | None:
    """Populations that samples share, each sample counting alike; None where they lie apart in hardly any.

    They are those of all samples together where these lie apart. Otherwise, as where most samples have no positive cell
    at all, those of the samples whose own lie apart, at least two and a tenth: the medians of their components.
    """
    samples = [one for one in samples if len(one) > 1]
    if len(samples) < 2:
        return None
    places = np.linspace(0, 1, min(max(map(len, samples)), 2_000))
    pooled = np.concatenate([np.quantile(one.values, places, method="nearest") for one in samples])
    components = fit_components(pooled, random_state)
    if components is not None and lie_apart(components, pooled, min_share / 10):
        return components
    apart = [own for one in samples if (own := one.split(min_share)) is not None]
    if len(apart) < max(2, 0.1 * len(samples)):
        return None
    means, sds = np.median([one.means for one in apart], axis=0), np.median([one.sds for one in apart], axis=0)
    share = float(np.median([one.share for one in apart]))
    return Components((float(means[0]), float(means[1])), (float(sds[0]), float(sds[1])), share)


def call_mixture(sample: MarkerSample, reference: Components | None, *, min_cells: int, min_share: float) -> Call:
    """Split one sample by a mixture of its own, or by the threshold of all samples where it holds one population.

    Parameters
    ----------
    sample
        One marker in it.
    reference
        Populations of all samples; None: there are none, or one sample only.
    min_cells
        Cells below which nothing is fitted.
    min_share
        Share of cells that each population has at least.
    """
    values = sample.values
    if len(values) < min_cells:
        return _by_reference(values, reference, FEW)
    own = sample.split(min_share)
    if own is None:
        return _one_population(values, reference, min_share)
    if _agrees(own.threshold, reference):
        return Call(SPLIT, own.threshold, own.probability(values), own.separation, own.threshold)
    return replace(_one_population(values, reference, min_share), own=own.threshold)


def call_otsu(sample: MarkerSample, reference: Components | None, *, min_cells: int, min_share: float) -> Call:
    """As `call_mixture`, with Otsu's threshold where the populations lie apart; probabilities are 0 or 1."""
    call = call_mixture(sample, reference, min_cells=min_cells, min_share=min_share)
    values, threshold = sample.values, call.threshold
    if call.status == SPLIT:
        threshold = own = otsu_threshold(values)
        call = replace(call, own=own)
        if not _agrees(threshold, reference):
            call = replace(_one_population(values, reference, min_share), own=own)
            threshold = call.threshold
    if np.isnan(threshold):
        return call
    return replace(call, threshold=threshold, probability=(values > threshold).astype(float))


def otsu_threshold(values: np.ndarray) -> float:
    """Between the two classes of values whose sums of squares are least together (Otsu 1979), of all that there are.

    It lies in the middle of the gap between them. From a histogram it would be known to a bin, and values within that
    bin be called with the wrong class.
    """
    x = np.sort(np.asarray(values, dtype=float))
    below = np.arange(1, len(x))
    sums = np.cumsum(x - x.mean())[:-1]
    between = np.where(x[1:] > x[:-1], sums**2 / (below * (len(x) - below)), -1.0)
    place = int(np.argmax(between))
    low, high = float(x[place]), float(x[place + 1])
    return min(low + (high - low) / 2, float(np.nextafter(high, low)))


def call_gate(values: np.ndarray, threshold: float) -> Call:
    """Cells above a threshold that somebody set; none without one."""
    known = not np.isnan(threshold)
    calls = (values > threshold).astype(float) if known else np.full(len(values), np.nan)
    return Call(GATE if known else NO_GATE, threshold, calls, np.nan, threshold)


def _agrees(threshold: float, reference: Components | None) -> bool:
    """Whether a threshold lies between the populations of all samples: otherwise it splits one of them in two."""
    return reference is None or reference.means[0] <= threshold <= reference.means[1]


def _one_population(values: np.ndarray, reference: Components | None, min_share: float) -> Call:
    """Cells called by the threshold of all samples, so that the few that are otherwise are found."""
    if reference is None:
        return _by_reference(values, None, UNCLEAR)
    share = float((values > reference.threshold).mean())
    status = NO_POSITIVES if share < min_share else NO_NEGATIVES if share > 1 - min_share else SHARED
    return _by_reference(values, reference, status)


def _by_reference(values: np.ndarray, reference: Components | None, status: str) -> Call:
    if reference is None:
        return Call(status, np.nan, np.full(len(values), np.nan), np.nan)
    return Call(status, reference.threshold, reference.probability(values), np.nan)
