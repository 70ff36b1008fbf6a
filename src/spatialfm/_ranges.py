"""Ranges of numeric arguments, which their types cannot express.

A name means the same in every function, so the ranges are kept by name. A function whose argument differs states it in
its signature: ``size: Annotated[int, at_least(8)]``. Names that are not listed follow their beginning (``n_``,
``max_``, ``min_``), or take every finite number; what a function has as its own default is always allowed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

LARGEST = 2**31 - 1  # libraries count in 32 bits


@dataclass(frozen=True)
class Range:
    """An interval of numbers, in words and as a test.

    Examples
    --------
    >>> Range(0, 1, open_low=True).words(whole=False), Range(1, 2**31 - 1).words(whole=True)
    ('a number above 0 and up to 1', 'a whole number of at least 1')
    >>> 0 in Range(0, 1, open_low=True), float("nan") in Range()
    (False, False)
    """

    low: float = -inf
    high: float = inf
    open_low: bool = False
    open_high: bool = False
    never: float | None = None  # a value inside that is not allowed

    def __contains__(self, value: float) -> bool:
        if not (self.low <= value <= self.high) or value == self.never:
            return False
        if (self.open_low and value == self.low) or (self.open_high and value == self.high):
            return False
        return value not in (inf, -inf)  # NaN fails the comparison above

    def words(self, *, whole: bool) -> str:
        """``a whole number of at least 1``."""
        noun = "a whole number" if whole else "a number"
        low, high = self.low > -LARGEST, self.high < LARGEST
        if low and high and not self.open_low and not self.open_high:
            text = f"{noun} from {self.low:g} to {self.high:g}"
        else:
            parts = [f"above {self.low:g}" if self.open_low else f"of at least {self.low:g}"] if low else []
            if high:
                parts.append(f"below {self.high:g}" if self.open_high else f"up to {self.high:g}")
            text = " ".join([noun if parts or whole else "a finite number", " and ".join(parts)]).strip()
        return text if self.never is None else f"{text} other than {self.never:g}"

    def with_default(self, default: object) -> Range:
        """The range, widened to the default of the function."""
        if isinstance(default, bool) or not isinstance(default, int | float) or default in self:
            return self
        below = default <= self.low
        return replace(self, low=default, open_low=False) if below else replace(self, high=default, open_high=False)


def at_least(low: float) -> Range:
    """``low`` and more."""
    return Range(low, LARGEST) if isinstance(low, int) else Range(low)


def above(low: float) -> Range:
    """More than ``low``."""
    return Range(low, open_low=True)


def between(low: float, high: float) -> Range:
    """From ``low`` to ``high``, both allowed."""
    return Range(low, high)


def inside(low: float, high: float) -> Range:
    """Above ``low`` and below ``high``."""
    return Range(low, high, open_low=True, open_high=True)


NUMBER = Range()
POSITIVE = above(0)
NOT_NEGATIVE = Range(0)
COUNT = at_least(1)
SHARE = between(0, 1)
ANY_WHOLE = Range(-LARGEST, LARGEST)

RANGES = {
    "C": POSITIVE,
    "alpha": inside(0, 1),
    "area": NOT_NEGATIVE,
    "batch_size": COUNT,
    "cells_per_patient": COUNT,
    "closing": NOT_NEGATIVE,
    "cross_fit": at_least(2),
    "dropout": Range(0, 1, open_high=True),
    "epsilon": POSITIVE,
    "figsize": POSITIVE,
    "hidden": COUNT,
    "image_size": COUNT,
    "intensity_max": POSITIVE,
    "k": COUNT,
    "l1_ratio": SHARE,
    "labels_plane": at_least(0),
    "labels_series": at_least(0),
    "learning_rate": POSITIVE,
    "limit": POSITIVE,
    "margin": NOT_NEGATIVE,
    "max_iter": COUNT,
    "merge_into": at_least(2),
    "merge_overlap": SHARE,
    "min_cells": at_least(0),
    "min_cover": SHARE,
    "min_expected": NOT_NEGATIVE,
    "min_probability": SHARE,
    "min_samples_leaf": COUNT,
    "min_share": SHARE,
    "min_tissue": SHARE,
    "mpp": POSITIVE,
    "mpp_range": POSITIVE,
    "mpp_reference": POSITIVE,
    "n": COUNT,
    "n_bootstrap": at_least(0),
    "n_chance": at_least(0),
    "n_folds": at_least(2),
    "n_groups": at_least(2),
    "n_importance": at_least(0),
    "n_inner_folds": at_least(2),
    "n_jobs": Range(-LARGEST, LARGEST, never=0),
    "n_permutations": at_least(0),
    "n_random": at_least(0),
    "n_subsamples": at_least(0),
    "opening": NOT_NEGATIVE,
    "padding": at_least(0),
    "patience": COUNT,
    "patients_per_slide": COUNT,
    "penalizer": NOT_NEGATIVE,
    "percentiles": between(0, 100),
    "pseudocount": NOT_NEGATIVE,
    "quantiles": SHARE,
    "radius": POSITIVE,
    "random_state": Range(0, 2**32 - 1),
    "redundancy": SHARE,
    "resolution": POSITIVE,
    "resolutions": POSITIVE,
    "rim": Range(0, 1000, open_low=True),  # µm, or pixels
    "series": at_least(0),
    "share": Range(0, 1, open_low=True),
    "target_power": inside(0, 1),
    "size": POSITIVE,
    "sketch": at_least(100),
    "stride": COUNT,
    "test_size": inside(0, 1),
    "tol": POSITIVE,
    "validation_size": inside(0, 1),
    "window": COUNT,
}
BEGINNINGS = {"n_": COUNT, "max_": COUNT, "min_": at_least(0)}


def range_of(name: str, *, whole: bool, default: object = None) -> Range:
    """Range of an argument of this name.

    Examples
    --------
    >>> range_of("n_trees", whole=True).words(whole=True)
    'a whole number of at least 1'
    >>> range_of("n_shuffles", whole=True, default=0).words(whole=True)
    'a whole number of at least 0'
    """
    allowed = RANGES.get(name)
    if allowed is None:
        allowed = next((one for start, one in BEGINNINGS.items() if name.startswith(start) and whole), None)
    if allowed is None:
        return ANY_WHOLE if whole else NUMBER
    allowed = allowed.with_default(default)
    return replace(allowed, high=LARGEST) if whole and allowed.high == inf else allowed
