"""Compositions of groups compared on arrays: shares as they are, and within a frame of types that did not change."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from .._types import present
from .composition import in_frame, matched_placements, reference_types
from .depth import rarefied
from .group_tests import placements, ranks_of, several_groups, two_groups, wilson
from .linear import Estimate, fractional_logit, robust_fit, shuffled_within, whitened_fit
from .mean_shares import SHRINK, carriers

DRAWS = 10_000  # of patients, for the errors of log-ratios
THINNINGS = 20  # to equally many cells, whose mean is taken
LOG2 = np.log(2)
TINY = 1e-6  # least share of patients who carry a mean
REFERENCE = "reference"  # what columns of the test in the frame end in


@dataclass(frozen=True)
class ComparedRows:
    """What is compared: patients, or samples of patients.

    `counts` are numbers of cells if these are known, otherwise shares; `units` codes of the patients where they have
    several rows; `blocks` codes within which labels are shuffled; `time` 0 or 1 where changes are compared; `places`
    the rows of the table that took part, also those that were pooled.
    """

    counts: np.ndarray
    known: bool
    codes: np.ndarray
    names: list[str]
    covariates: np.ndarray
    units: np.ndarray | None = None
    blocks: np.ndarray | None = None
    time: np.ndarray | None = None
    model: str = "groups"  # "pairs", "changes", "mixed"
    time_names: tuple[str, ...] = ()
    places: np.ndarray | None = None

    @property
    def shares(self) -> np.ndarray:
        """Rows add up to 1."""
        return self.counts / self.counts.sum(axis=1, keepdims=True)

    @property
    def linear(self) -> bool:
        """Whether a linear model of ranks is tested, not groups as they are."""
        return self.model in ("pairs", "mixed") or self.blocks is not None or self.covariates.shape[1] > 0

    def design(self, fixed_units: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Terms ``(rows, terms)``, and which of them are of the groups; pairs and blocks have an intercept each."""
        n, fixed = len(self.codes), self.units if self.model == "pairs" else self.blocks
        start = np.ones((n, 1)) if fixed is None or not fixed_units else np.eye(int(fixed.max()) + 1)[fixed]
        groups = np.eye(len(self.names))[self.codes][:, 1:]
        design = np.column_stack([start, self.covariates, groups])
        return design, np.arange(design.shape[1]) >= design.shape[1] - groups.shape[1]

    @property
    def clusters(self) -> np.ndarray | None:
        """Patient of each row, where rows of a patient depend on each other."""
        return self.units if self.model in ("pairs", "mixed") else None

    @property
    def patients(self) -> np.ndarray:
        """Code of each row's patient; where none was given, each row is one."""
        return np.arange(len(self.codes)) if self.units is None else self.units

    @property
    def fewest(self) -> int:
        """Patients (pairs) of the smallest group."""
        return min(len(np.unique(self.patients[self.codes == i])) for i in range(len(self.names)))


def pooled(rows: ComparedRows) -> ComparedRows:
    """One row per patient and group (or time): the cells of its samples together."""
    second = rows.codes if rows.time is None else rows.time
    both = np.column_stack([rows.patients, second])
    keys, first, place = np.unique(both, axis=0, return_index=True, return_inverse=True)
    counts = np.zeros((len(keys), rows.counts.shape[1]))
    np.add.at(counts, place.ravel(), rows.counts)
    if not rows.known:
        counts = counts / np.bincount(place.ravel())[:, None]
    units, time, blocks = (None if part is None else part[first] for part in (rows.units, rows.time, rows.blocks))
    codes, covariates = rows.codes[first], rows.covariates[first]
    return replace(rows, counts=counts, codes=codes, covariates=covariates, units=units, time=time, blocks=blocks)


def compare(
    rows: ComparedRows, reference: np.ndarray | None, n_permutations: int, rng: np.random.Generator
) -> tuple[pd.DataFrame, np.ndarray]:
    """Table of all types, and the mask of those in the frame; types that no patient has are not tested."""
    present = rows.counts.any(axis=0)
    two = len(rows.names) == 2
    table = described(rows)
    carried = np.array([carriers(rows.shares[rows.codes == i]) for i in range(len(rows.names))])
    table["carriers"] = np.where(carried > 0, carried, carried.max(axis=0)).min(axis=0)  # of groups that have any
    counts = rows.counts[:, present]
    totals = np.repeat(counts.sum(axis=1, keepdims=True), counts.shape[1], axis=1)
    result = answers(rows, counts, totals, n_permutations, rng)
    if two:
        result |= mean_difference(rows, counts / totals)
    frame: np.ndarray = np.zeros(rows.counts.shape[1], dtype=bool)
    if reference is not None:
        frame = reference & present
    elif present.sum() > 2:
        frame[present] = reference_types(counts, *rows.design(fixed_units=False))
    framed: dict[str, np.ndarray] = {}
    alone = frame & (frame.sum() == 1)  # nothing to be compared with but itself
    if frame.any():
        totals = in_frame(counts, frame[present])
        framed = answers(rows, counts, totals, n_permutations, rng)
        if two and rows.model != "changes":
            result |= log2_fold(rows, _ratio(counts, totals))
        result[f"p_{REFERENCE}"] = framed["p_value"]
    else:
        result[f"p_{REFERENCE}"] = np.full(counts.shape[1], np.nan)
    for name, values in result.items():
        table[name] = np.nan
        table.loc[present, name] = values
    if alone.any():
        table.loc[alone, [c for c in table if c.startswith("log2") or c == f"p_{REFERENCE}"]] = np.nan
    table["in_reference"] = frame
    return table, frame


def described(rows: ComparedRows) -> pd.DataFrame:
    """Sizes and medians of the groups; of changes, those of the changes."""
    values, codes = rows.shares, rows.codes
    if rows.model == "changes":
        values, codes = changes(rows, values)
    medians = [np.median(values[codes == i], axis=0) for i in range(len(rows.names))]
    sizes = [int((codes == i).sum()) for i in range(len(rows.names))]
    table = pd.DataFrame(index=range(values.shape[1]))
    if len(rows.names) == 2:
        table["group_1"], table["group_2"] = rows.names
        table["n_1"], table["n_2"] = sizes
        table["median_1"], table["median_2"] = medians
        table["difference"] = medians[1] - medians[0]
        return table
    for prefix, parts in (("n", sizes), ("median", medians)):
        for name, part in zip(rows.names, parts, strict=True):
            table[f"{prefix}_{name}"] = part
    return table


def answers(
    rows: ComparedRows, counts: np.ndarray, totals: np.ndarray, n_permutations: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Effect with its interval (of two groups), ``p_ranks``, ``p_means`` and the larger of them, ``p_value``."""
    values = _ratio(counts, totals)
    above = matched_placements(counts, totals) if rows.known else placements(values.round(12))  # ties stay ties
    if rows.model == "changes":
        (moved, codes), ranks = changes(rows, values), changes(rows, ranks_of(above))[0]
        if rows.linear:
            return modelled(of_patients(rows), ranks, moved, n_permutations, rng)
        test = two_groups if len(rows.names) == 2 else several_groups
        return test(placements(ranks.round(12)), moved, codes, n_permutations, rng)
    if not rows.linear:
        test = two_groups if len(rows.names) == 2 else several_groups
        return test(above, values, rows.codes, n_permutations, rng, shares=True)
    return modelled(rows, ranks_of(above), values, n_permutations, rng, shares=True)


def modelled(
    rows: ComparedRows,
    ranks: np.ndarray,
    values: np.ndarray,
    n_permutations: int,
    rng: np.random.Generator,
    shares: bool = False,
) -> dict[str, np.ndarray]:
    """Groups as terms of a linear model of ranks and of shares."""
    design, tested = rows.design()
    if rows.model == "pairs" or rows.blocks is not None or len(rows.names) > 2:
        blocks = rows.units if rows.model == "pairs" else rows.blocks
        blocks = np.zeros(len(design), dtype=int) if blocks is None else blocks
        p = [shuffled_within(part, design, tested, blocks, n_permutations, rng) for part in (ranks, values)]
    table: dict[str, np.ndarray] = {}
    if len(rows.names) == 2:
        fits = [fitted(rows, part, design) for part in (ranks, values)]
        if rows.model != "pairs" and rows.blocks is None:
            p = [fit.p_value() for fit in fits]
        if shares:  # not changes of them
            p[1] = np.fmax(p[1], _odds_p(rows, values))
        table = _bounded(fits[0], rows.fewest)
    else:
        others = design[:, ~tested]
        left = [ranks - part @ np.linalg.lstsq(part, ranks, rcond=None)[0] for part in (others, design)]
        sums = [(part**2).sum(axis=0) for part in left]
        table["effect"] = np.where(sums[0] > 1e-12, 1 - sums[1] / np.maximum(sums[0], 1e-12), 0.0)
    return table | {"p_ranks": p[0], "p_means": p[1], "p_value": np.maximum(*p)}


def changes(rows: ComparedRows, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Later minus earlier of each patient, and the group of each; rows are pooled."""
    order = np.lexsort([present(rows.time, "time"), rows.patients])
    return values[order][1::2] - values[order][::2], rows.codes[order][::2]


def of_patients(rows: ComparedRows) -> ComparedRows:
    """One row per patient in place of two times, in the order of `changes`."""
    first = np.lexsort([present(rows.time, "time"), rows.patients])[::2]
    blocks = None if rows.blocks is None else rows.blocks[first]
    kept = {name: getattr(rows, name)[first] for name in ("counts", "codes", "covariates")}
    return replace(rows, **kept, blocks=blocks, units=None, time=None, model="groups")


def mean_difference(rows: ComparedRows, shares: np.ndarray) -> dict[str, np.ndarray]:
    """Difference of mean shares (2 minus 1), with covariates as the model has it, and its 95 % interval."""
    if rows.model == "changes":
        moved, patients = changes(rows, shares)[0], of_patients(rows)
        fit = fitted(patients, moved, patients.design()[0])
    else:
        fit = fitted(rows, shares, rows.design()[0])
    low, high = fit.interval()
    return {"mean_difference": fit.value, "mean_low": low, "mean_high": high}


def log2_fold(rows: ComparedRows, ratio: np.ndarray) -> dict[str, np.ndarray]:
    """Log2 fold change against the frame (2 over 1) and its 95 % interval, from the odds of mean shares."""
    design, _ = rows.design(fixed_units=rows.model != "pairs")
    fit = fractional_logit(ratio, design, design.shape[1] - 1, rows.clusters)
    low, high = fit.interval()
    return {"log2_fold_change": fit.value / LOG2, "log2_low": low / LOG2, "log2_high": high / LOG2}


def _odds_p(rows: ComparedRows, shares: np.ndarray) -> np.ndarray:
    """p-values of the logits of mean shares in a linear model; NaN where a group has none.

    Degrees of freedom are fewer where few patients carry a mean, as in :mod:`spatialfm.stats.mean_shares`.
    """
    design, _ = rows.design(fixed_units=rows.model != "pairs")
    codes, clusters = rows.codes, rows.clusters
    if rows.model == "mixed":  # patients weigh alike
        keys, pair_of = np.unique(np.column_stack([rows.patients, codes]), axis=0, return_inverse=True)
        mean = np.eye(len(keys))[:, pair_of.ravel()] / np.bincount(pair_of.ravel())[:, None]
        shares, design, (clusters, codes) = mean @ shares, mean @ design, keys.T
    fit = fractional_logit(shares, design, design.shape[1] - 1, clusters)
    parts = [shares[codes == i] for i in range(len(rows.names))]
    carried = np.min([carriers(part) / len(part) for part in parts], axis=0)
    return replace(fit, freedom=fit.freedom * np.maximum(carried, TINY) ** SHRINK).p_value()


def fitted(rows: ComparedRows, values: np.ndarray, design: np.ndarray) -> Estimate:
    """Estimate of the last column of a design: by a mixed model, or by least squares with a robust variance."""
    column = design.shape[1] - 1
    if rows.model == "mixed":
        return whitened_fit(values, design, column, rows.patients)[0]
    return robust_fit(values, design, column, rows.clusters)


def _bounded(fit: Estimate, fewest: int) -> dict[str, np.ndarray]:
    """Rank-biserial correlation of a linear model of ranks, with an interval within -1 and 1."""
    ends = [
        wilson(0.5 + value / 2, error**2 / 4, fewest, quantile=float(stats.t.ppf(0.975, freedom)))
        for value, error, freedom in zip(fit.value, fit.error, fit.freedom, strict=True)
    ]
    low, high = 2 * np.array(ends).T - 1
    return {"effect": np.clip(fit.value, -1, 1), "effect_low": low, "effect_high": high}


def _ratio(counts: np.ndarray, totals: np.ndarray) -> np.ndarray:
    return np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)


def rank_test(method: str, shares: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """p-values of Mann and Whitney's or of Kruskal and Wallis's test of each column."""
    parts = [shares[codes == i] for i in range(int(codes.max()) + 1)]
    p = np.ones(shares.shape[1])
    for i in np.flatnonzero(np.ptp(shares, axis=0) > 0):
        columns = [part[:, i] for part in parts]
        p[i] = stats.mannwhitneyu(*columns[::-1]).pvalue if method == "mannwhitney" else stats.kruskal(*columns).pvalue
    return p


def clr_t(
    counts: np.ndarray, codes: np.ndarray, pseudocount: float, rng: np.random.Generator, n_permutations: int = 4999
) -> dict[str, np.ndarray]:
    """Welch's test of centred log-ratios of equally many cells, their median difference over types taken away.

    Types that are rare at that number are not tested: where shares shift, the logarithm of a count that is mostly 0
    does not follow.

    Examples
    --------
    One of five types doubles; nothing else changes but fractions:

    >>> counts = np.random.default_rng(0).poisson(1000, (40, 5)).astype(float)
    >>> counts[20:, 0] *= 2
    >>> result = clr_t(counts, np.repeat([0, 1], 20), 0.5, np.random.default_rng(0))
    >>> result["log2_fold_change"].round(1) + 0.0, (result["p_value"] < 0.01).tolist()
    (array([1., 0., 0., 0., 0.]), [True, False, False, False, False])
    """
    depth = int(counts.sum(axis=1).min())
    draws = [rarefied(counts, depth, rng) for _ in range(THINNINGS)] if depth < counts.sum(axis=1).max() else [counts]
    enough = np.min([np.mean(draws, axis=0)[codes == i].mean(axis=0) for i in (0, 1)], axis=0) >= 5
    logs = np.mean([np.log(draw + pseudocount) for draw in draws], axis=0)
    values = logs[:, enough] - logs[:, enough].mean(axis=1, keepdims=True)
    columns = ("log2_fold_change", "log2_low", "log2_high", "p_value")
    table = {name: np.full(counts.shape[1], np.nan) for name in columns}
    if enough.sum() < 2:
        return table
    design = np.column_stack([np.ones(len(codes)), codes]).astype(float)
    fit = robust_fit(values, design, 1)
    shift = np.median(fit.value)
    one, two = values[codes == 0], values[codes == 1]
    # means of patients drawn again: the median is taken from the same patients, and its error counts
    weights = [rng.multinomial(len(part), np.full(len(part), 1 / len(part)), DRAWS) / len(part) for part in (one, two)]
    drawn = weights[1] @ two - weights[0] @ one
    fewer = min(len(one), len(two))
    error = (drawn - np.median(drawn, axis=1, keepdims=True)).std(axis=0) * np.sqrt(fewer / (fewer - 1))
    error[(one == one[0]).all(axis=0) & (two == two[0]).all(axis=0)] = 0.0  # not what is left of rounding
    parts = one.var(axis=0, ddof=1) / len(one), two.var(axis=0, ddof=1) / len(two)
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = sum(parts) ** 2 / (parts[0] ** 2 / (len(one) - 1) + parts[1] ** 2 / (len(two) - 1))
    freedom = np.where(np.isfinite(freedom), freedom, fewer - 1)
    fit = Estimate(fit.value - shift, error, freedom)
    low, high = fit.interval()
    for name, part in zip(table, (fit.value / LOG2, low / LOG2, high / LOG2, fit.p_value()), strict=True):
        table[name][enough] = part
    return table
