"""Mean intensities on a scale where a step is a ratio: arcsinh, with a cofactor for each marker.

Intensities of a marker span three decades, their unit differs from instrument to instrument (0.004 ions or 30,000 grey
values per pixel), and so no number holds for all. The cofactor is where arcsinh goes over from proportion to logarithm.
It is taken where the signal of a marker begins, in the units of its own values, so that scores do not depend on them.

Where background was subtracted and what was below it is 0, the values above 0 begin with noise, not with signal. On a
scale of ratios that noise would be drawn out over decades. Then the cofactor is where the noise ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..cohort.intensities import Intensities

BEGINNING = 0.05  # quantile of the values above 0
DECADES = (
    1e-3  # of the 0.99 quantile, below which no cofactor lies: fainter values are rounding, or ringing of a filter
)
NOISE_BELOW = 0.95  # share of the noise above 0 that lies below the cofactor: two standard deviations
MOST_CUT = 2 / 3  # share of cells at 0 or below, beyond which these are not the lower half of noise
MOST_COUNTED = 0.25  # share of columns with as many, beyond which a table holds counts of ions: no noise was cut
MOST_NEGATIVE = 0.1  # sum of values below 0 over that above, beyond which a column is centred, not an intensity
MOST_CENTRED = 0.25  # share of such columns, beyond which a table holds no intensities at all
MOST_EVEN = 0.25  # share of columns that arcsinh makes more skewed, beyond which their logarithm was taken before
FEW_EVEN = 2  # such columns in any table: stains of DNA, or of what most cells have, need no arcsinh either


def find_cofactor(values: np.ndarray) -> float:
    """Cofactor of the intensities ``(n,)`` of a marker; NaN where it was centred or standardised.

    It is the 0.05 quantile of the values above 0, and at least a thousandth of their 0.99 quantile. Background that was
    subtracted may leave values below 0, of which arcsinh is the same with another sign. A column in which these weigh a
    tenth of the others or more was centred or standardised; it is to be left as it is. Values of NaN are not counted.

    Examples
    --------
    >>> find_cofactor(np.array([0.0, 0.01, 0.02, 4.0])).__round__(3)
    0.011
    >>> find_cofactor(np.array([-1.0, 1.0, -1.0, 1.0]))
    nan
    """
    values = values[np.isfinite(values)]
    above = values[values > 0]
    if -values[values < 0].sum() > MOST_NEGATIVE * above.sum():
        return float("nan")
    if not len(above):
        return 1.0  # of nothing but zeros
    low, high = np.quantile(above, [BEGINNING, 0.99])
    return float(max(low, DECADES * high))


def end_of_noise(values: np.ndarray) -> float:
    """Where the noise ends in intensities ``(n,)`` whose background was subtracted; 0 where none was cut.

    Noise is as often above its middle as below. So as many of the values above 0 are noise as there are values at 0 or
    below, and 95 % of these lie below this value: two standard deviations of normal noise. Values of NaN are not
    counted.

    Examples
    --------
    >>> end_of_noise(np.array([0.0, 0.0, 1.0, 2.0, 8.0, 9.0])).__round__(3)
    4.55
    >>> end_of_noise(np.array([1.0, 2.0, 8.0, 9.0]))
    0.0
    """
    values = values[np.isfinite(values)]
    upper = values[values > 0]
    n_cut = len(values) - len(upper)
    if not n_cut or not len(upper):
        return 0.0
    return float(np.quantile(upper, NOISE_BELOW * min(n_cut / len(upper), 1.0)))


def cofactors_of_table(columns: Iterable[np.ndarray]) -> np.ndarray:
    """Cofactors of the markers of a table, each ``(n,)``; NaN of those that were centred or standardised.

    That of `find_cofactor`, and at least where the noise ends, unless more than two thirds of the cells have none of
    the marker. Where that is so of more than a quarter of the markers that any cell has, the table holds counts of
    ions, of which the smallest is signal, and zeros are not the lower half of noise.
    """
    cofactors, noise, cut = [], [], []
    for column in columns:
        cofactors.append(find_cofactor(column))
        cut.append(float((column <= 0).sum()) / max(int(np.isfinite(column).sum()), 1))
        noise.append(end_of_noise(column) if 0 < cut[-1] <= MOST_CUT else 0.0)
    of_some = [share for share in cut if share < 1]
    is_counted = sum(share > MOST_CUT for share in of_some) > MOST_COUNTED * len(of_some)
    return np.array(cofactors) if is_counted else np.maximum(cofactors, noise)


def skewness(values: np.ndarray) -> float:
    """Third moment of values ``(n,)`` over that of a normal distribution as wide; 0 where all are the same.

    Examples
    --------
    >>> skewness(np.array([0.0, 0.0, 0.0, 4.0])).__round__(3)
    1.155
    """
    apart = values - values.mean()
    spread = np.sqrt((apart * apart).mean())
    if not spread > 0:
        return 0.0
    apart /= spread
    return float((apart * apart * apart).mean())  # a power of 3 takes ten times as long


def is_even(values: np.ndarray, cofactor: float) -> bool:
    """Whether a column ``(n,)`` is more symmetric as it is than arcsinh would make it.

    Intensities have a long tail upwards, which arcsinh brings in. Of what a user has taken logarithms, ranks or
    percentiles of, it would draw out the lower end, where values differ by noise. A column of one value or two, which
    is as skewed either way, is not even.
    """
    return abs(skewness(values)) < (1 - 1e-6) * abs(skewness(np.arcsinh(values / cofactor)))


class IntensityScaler(TransformerMixin, BaseEstimator):
    """Means of markers by arcsinh with a cofactor by marker, then all columns to mean 0 and standard deviation 1.

    Parameters
    ----------
    intensities
        Which columns are means; others are standardised alone. If more than a quarter of them are centred, the table
        holds something else, such as an embedding or components, and all are. Where it is not known that they are as
        an image has them, more than a quarter, and more than two, that arcsinh would make more skewed tell that they
        were transformed before: all are left, with a cofactor of infinity, but remain means of markers.
    """

    def __init__(self, intensities: Intensities) -> None:
        self.intensities = intensities

    def fit(self, values: np.ndarray, y: object = None) -> IntensityScaler:
        """Find cofactors and scales on rows ``(n, columns)``, labelled or not."""
        from sklearn.preprocessing import StandardScaler

        of = self.intensities
        self.cofactors_ = cofactors_of_table(of.of(values, number) for number in range(len(of.places)))
        if np.isnan(self.cofactors_).mean() > MOST_CENTRED:
            self.cofactors_ = np.full(len(of.places), np.nan)
        elif not of.as_measured and self._was_transformed(values):
            self.cofactors_ = np.where(np.isnan(self.cofactors_), np.nan, np.inf)
        self.scaler_ = StandardScaler(copy=False).fit(self._compressed(values))
        return self

    def _was_transformed(self, values: np.ndarray) -> bool:
        """Whether arcsinh would make more of the columns of means more skewed than intensities have."""
        n_columns, n_even, n_skewed = len(self.cofactors_), 0, 0
        most = max(MOST_EVEN * n_columns, FEW_EVEN)
        for number, cofactor in enumerate(self.cofactors_):
            even = bool(np.isfinite(cofactor)) and is_even(self.intensities.of(values, number), cofactor)
            n_even, n_skewed = n_even + even, n_skewed + (not even)
            if n_even > most:
                return True
            if n_skewed >= n_columns - most:
                return False  # whatever the others are: of a million cells each takes a while
        return False

    def transform(self, values: np.ndarray) -> np.ndarray:
        """Rows ``(n, columns)`` on the common scale, of the same type."""
        return self.scaler_.transform(self._compressed(values))

    def _compressed(self, values: np.ndarray) -> np.ndarray:
        """A copy in which means are ``arcsinh(intensity / cofactor)``."""
        out, of = np.array(values), self.intensities
        for number in np.flatnonzero(np.isfinite(self.cofactors_)):  # one by one: a million cells fit once
            out[:, of.places[number]] = np.arcsinh(of.of(values, number) / self.cofactors_[number])
        return out


def compressed(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``arcsinh(value / cofactor)`` of markers ``(n, M)``, and their cofactors; NaN of those that were centred.

    Columns that were centred or standardised are left as they are.
    """
    cofactors = np.array([find_cofactor(column) for column in values.T])
    return compressed_by(np.asarray(values, dtype=np.float64), cofactors), cofactors


def compressed_by(values: np.ndarray, cofactors: np.ndarray) -> np.ndarray:
    """``arcsinh(value / cofactor)`` of columns ``(n, M)``; those without a finite cofactor as they are."""
    known = np.isfinite(cofactors)
    return np.where(known, np.arcsinh(values / np.where(known, cofactors, 1.0)), values)
