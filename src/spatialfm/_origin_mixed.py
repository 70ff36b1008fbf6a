"""Columns that were calculated from several remembered ones: sums, means, products, ratios, and their cuts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from ._origin import Reference, numbers_of
from ._origin_chance import log_separable, log_ways
from ._origin_match import BY_CHANCE, MOST_LEVELS, KnownColumn, RowLookup, _monotone, recognise

SPARE = 8  # rows more than columns, so that a sum without remainder rules out chance
NOTHING = 1e-5  # remainder of a sum, of the column's standard deviation
MOST_MADE, MOST_PLANE, MOST_SPLITS = 60, 8, 40  # remembered columns that are tried together; columns that may split
MOST_FACTORS = 20  # columns that no tool made with which products are tried


def splits_of(frame: pd.DataFrame, rows: RowLookup, references: Sequence[Reference]) -> list[np.ndarray]:
    """Codes ``(n,)`` of columns of few levels, and of remembered groups: by these others may have been split."""
    splits = [pd.factorize(column)[0] for name in frame if 2 <= (column := frame[name]).nunique() <= MOST_LEVELS]
    made = [pd.factorize(aligned(rows, one))[0] for one in references if one.groups]
    return ([codes for codes in made if codes.max(initial=-1) >= 1] + splits)[:MOST_SPLITS]


def aligned(rows: RowLookup, one: Reference) -> np.ndarray:
    """Values ``(n,)`` of a reference on these rows, NaN where it has none."""
    remembered = np.full(len(rows.names[0][0]), np.nan)
    for positions, at, turn in rows.shared(one):
        fresh = (turn == 0) & np.isnan(remembered[positions])
        remembered[positions[fresh]] = one.values[at[fresh]]
    return remembered


def calculated(
    columns: Mapping[str, pd.Series], rows: RowLookup, references: Sequence[Reference], given: Collection[str] = ()
) -> list[Reference]:
    """Columns of numbers that follow from several remembered ones, and what they are from now on remembered as.

    A column may include others that were not made by a tool, as the age or points for a sex: those before it, since
    what was calculated is written after what it was calculated from. Those of `given` may be among them, and are not
    asked themselves.
    """
    made, points = _made(rows, references), _points_made(rows, references)
    if not made and not points:
        return []
    n = len(rows.names[0][0])
    references_used: list[Reference] = []
    together, together_points = _stacked([part for part, _ in made], n), _stacked([part for part, _ in points], n)
    others: list[np.ndarray] = []
    other_points: list[np.ndarray] = []
    for place, column in columns.items():
        numbers, groups, _ = numbers_of(column)
        if groups:
            if 2 <= column.nunique() <= MOST_LEVELS and not recognise(column, rows, references, place):
                other_points += _points(numbers)
            continue
        if np.isnan(numbers).mean() > 0.5 or recognise(column, rows, references, place):
            continue
        before = _stacked(others, n)
        points_before = _stacked(other_points, n)
        needed = [] if place in given else _needed(numbers, together, before, together_points, points_before)
        if needed:
            exempt = before if before.shape[1] else None
            references_used += [
                Reference(origin, rows.names[0][0], None, numbers, False, exempt=exempt, calculated=True)
                for origin in dict.fromkeys([*made, *points][i][1].origin for i in needed)
            ]
        else:
            others.append(numbers)
    return references_used


def _stacked(columns: Sequence[np.ndarray], n: int) -> np.ndarray:
    return np.column_stack(columns) if len(columns) else np.empty((n, 0))


def _points(codes: np.ndarray) -> list[np.ndarray]:
    """One column ``(n,)`` a level but the first: 1 where a row has it, as points are given for a group."""
    return [np.where(np.isnan(codes), np.nan, codes == level) for level in np.unique(codes[~np.isnan(codes)])[1:]]


def _points_made(rows: RowLookup, references: Sequence[Reference]) -> list[tuple[np.ndarray, Reference]]:
    """The same of remembered groups that an outcome made, the latest first."""
    columns: list[tuple[np.ndarray, Reference]] = []
    for one in reversed([one for one in references if one.groups and one.origin.uses_outcome]):
        codes = aligned(rows, one)
        if (~np.isnan(codes)).mean() >= 0.5 and len(np.unique(codes[~np.isnan(codes)])) <= MOST_LEVELS:
            columns += [
                (column, one)
                for column in _points(codes)
                if not any(np.array_equal(column, other, equal_nan=True) for other, _ in columns)
            ]
    return columns[:MOST_MADE]


def _made(rows: RowLookup, references: Sequence[Reference]) -> list[tuple[np.ndarray, Reference]]:
    columns: list[tuple[np.ndarray, Reference]] = []
    for one in reversed([one for one in references if not (one.groups or one.calculated) and one.origin.outcome]):
        values = aligned(rows, one)
        known = ~np.isnan(values)
        same = any(np.array_equal(values, other, equal_nan=True) for other, _ in columns)
        if known.mean() >= 0.5 and np.ptp(values[known]) > 0 and not same:
            columns.append((values, one))
    return columns[:MOST_MADE]


def _needed(
    values: np.ndarray, made: np.ndarray, others: np.ndarray, made_points: np.ndarray, other_points: np.ndarray
) -> list[int]:
    """The made columns that a sum (or product of powers) without remainder needs; none if there is no such sum.

    Points of 0 and 1 are summands and no factors; they count behind the columns of numbers. Those that no tool made
    come last: the clusters that an outcome merged add up to the merged ones.
    """
    both, none = np.column_stack([made, made_points]), np.empty((len(values), 0))
    tried = [(values, both, others)]
    if other_points.shape[1]:
        tried.append((values, both, np.column_stack([others, other_points])))
    if made.shape[1]:
        logarithms = [_logarithms(part) for part in (values[:, None], made, others)]
        if logarithms[0] is not None and logarithms[1] is not None:
            tried.append((logarithms[0][:, 0], logarithms[1], none if logarithms[2] is None else logarithms[2]))
    for one, two, three in tried:
        if needed := _summands(one, two, three):
            return needed
    return _product(values, made, others)


def _summands(values: np.ndarray, made: np.ndarray, others: np.ndarray) -> list[int]:
    """The made columns that a sum without remainder needs; none if the others suffice, or there is no such sum.

    Few rows have room for few columns: all that are remembered are then tried in parts, of neighbours, since what was
    made together (shares of four signatures, their ranks, their densities) was remembered one after the other.
    """
    n = max((int(np.isfinite(values).sum()) - SPARE - 1) // 2, 1)
    starts = range(0, made.shape[1], max(n // 2, 1)) if made.shape[1] > n else []
    parts = [slice(None), *(slice(start, start + n) for start in starts)]
    for part in parts:
        if needed := _sum_of(values, made[:, part], others):
            return [(part.start or 0) + i for i in needed]
    return []


def _sum_of(values: np.ndarray, made: np.ndarray, others: np.ndarray) -> list[int]:
    both = np.isfinite(values) & np.isfinite(made).all(axis=1)
    others = others[:, np.isfinite(others[both]).all(axis=0)]
    room = max(int(both.sum()) - SPARE - 1, 0)
    made, others = made[:, :room], others[:, : max(room - made.shape[1], 0)]
    if not made.shape[1]:
        return []
    target, made, others = values[both], made[both], others[both]
    if others.shape[1] and _sums_to(target, others):
        return []
    if _sums_to(target, made):
        return _least(target, made, np.empty((len(target), 0)))
    return _least(target, made, others) if _sums_to(target, np.column_stack([made, others])) else []


def _product(values: np.ndarray, made: np.ndarray, others: np.ndarray) -> list[int]:
    """The made columns of a product of two columns to which numbers were added before: ``(risk + 1) * age``."""
    n_made = min(made.shape[1], MOST_PLANE)
    factors = np.column_stack([made[:, :n_made], others[:, -MOST_FACTORS:]])
    pairs = [(i, j) for i in range(n_made) for j in range(i + 1, factors.shape[1])]
    both = np.isfinite(values) & np.isfinite(factors).all(axis=1)
    if both.sum() < SPARE + 4 or np.std(values[both]) == 0 or not pairs:
        return []
    target, factors = values[both], factors[both]
    scale = factors.std(axis=0)
    scaled = (factors - factors.mean(axis=0)) / np.where(scale > 0, scale, 1.0)
    one, two = (scaled[:, [pair[side] for pair in pairs]].T for side in (0, 1))
    designs = np.stack([np.ones_like(one), one, two, one * two], axis=2)  # (pairs, n, 4)
    gram = designs.transpose(0, 2, 1) @ designs + 1e-10 * np.eye(4)
    weights = np.linalg.solve(gram, designs.transpose(0, 2, 1) @ target[:, None])
    rest = np.abs((designs @ weights)[:, :, 0] - target).max(axis=1)
    for i, j in (pairs[place] for place in np.flatnonzero(rest <= 10 * NOTHING * np.std(target))):
        columns = factors[:, [i, j]]
        if not _sums_to(target, columns[:, 1:]) and _sums_to(target, np.column_stack([columns, columns.prod(axis=1)])):
            return [i, j] if j < n_made else [i]
    return []


def _logarithms(columns: np.ndarray) -> np.ndarray | None:
    """Logarithms of sizes; None where a column holds 0."""
    finite = np.where(np.isnan(columns), 1.0, columns)
    return np.log(np.abs(columns)) if columns.shape[1] and (finite != 0).all() else None


def _sums_to(target: np.ndarray, columns: np.ndarray) -> bool:
    if np.std(target) == 0:
        return False
    scale = columns.std(axis=0)
    design = np.column_stack([np.ones(len(target)), (columns - columns.mean(axis=0)) / np.where(scale > 0, scale, 1.0)])
    weights = np.linalg.lstsq(design, target, rcond=None)[0]
    return bool(np.abs(target - design @ weights).max() <= NOTHING * np.std(target))


def _least(target: np.ndarray, made: np.ndarray, others: np.ndarray) -> list[int]:
    kept = list(range(made.shape[1]))
    for i in range(made.shape[1]):
        fewer = [j for j in kept if j != i]
        if _sums_to(target, np.column_stack([made[:, fewer], others])):
            kept = fewer
    return kept


def divided(values: pd.Series, rows: RowLookup, references: Sequence[Reference]) -> list[KnownColumn]:
    """Whose numbers, taken together, divide two groups without exception: they may be a cut of a sum of these."""
    numbers = numbers_of(values)[0]
    levels = np.unique(numbers[~np.isnan(numbers)])
    made = [
        (column, one)
        for column, one in _made(rows, references)[:MOST_PLANE]
        if one.exempt is None or not _explained(rows, one, numbers)
    ]
    if len(levels) != 2 or len(made) < 2:
        return []
    columns = np.column_stack([column for column, _ in made])
    both = ~np.isnan(numbers) & np.isfinite(columns).all(axis=1)
    upper, columns = numbers[both] == levels[1], columns[both]
    counts = np.array([upper.sum(), (~upper).sum()])
    evidence = log_ways(counts) - log_separable(len(upper), columns.shape[1]) if counts.all() else 0.0
    if evidence < BY_CHANCE or not _by_a_plane(columns, upper):
        return []
    return [KnownColumn(one.origin, int(both.sum()), False) for one in {one.origin: one for _, one in made}.values()]


def _explained(rows: RowLookup, one: Reference, numbers: np.ndarray) -> bool:
    """Whether a model's own features or outcome explain the groups."""
    columns = () if one.exempt is None else one.exempt.T
    parts = [aligned(rows, replace(one, values=column, exempt=None)) for column in columns]
    known = ~np.isnan(numbers)
    return any(np.isfinite(part[known]).all() and _monotone(part[known], numbers[known]) for part in parts)


def _by_a_plane(columns: np.ndarray, upper: np.ndarray) -> bool:
    from scipy.optimize import linprog

    scaled = (columns - columns.mean(axis=0)) / np.maximum(columns.std(axis=0), 1e-300)
    design = np.column_stack([scaled, np.ones(len(upper))]) * np.where(upper, 1.0, -1.0)[:, None]
    solution = linprog(np.zeros(design.shape[1]), A_ub=-design, b_ub=-np.ones(len(upper)), bounds=(None, None))
    return bool(solution.status == 0)
