"""Whether a column is one that is remembered: its groups merged, split or renamed, its values cut or in ranks.

A column is compared with what is remembered on the rows that both have, by name, otherwise in their order, otherwise by
its numbers. It is known where it follows from the remembered one, and where that could not be chance: there are many
more ways to deal its values out to the rows than there are columns in memory (:mod:`spatialfm._origin_chance`). Where
chance would do it in one of some hundred columns, it is reported as possible.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import pandas as pd

from ._origin import FEW, MOST_ROWS, Origin, Reference, label_hashes, name_hashes, numbers_of, rounded
from ._origin_chance import NEVER, is_function, log_binomial, log_maps, log_ways, n_levels, of_groups, of_numbers

TOLD_BY_LABELS = ("composition", "order")  # groups of patients that may be found twice, for they are there
BY_CHANCE = np.log(1e4)  # one column in so many, for each that is remembered, may be known by mistake
MAY_BE = np.log(100)  # the same for a report that it is possible
SAME_NUMBERS = 6  # different numbers that are equal
MOST_EQUAL = 0.8  # share of the rows whose fractions of few cells are equal
FRACTIONS = ((20_000, 1e-12), (2_000, 6e-9))  # cells of a patient, and rounding of 64 and 32 bits
MOST_LEVELS = 12  # of a column by which groups may have been split
MOST_SPLIT = 2000  # rows up to which that is tried
MOST_MOVED = 0.1  # share of the rows that may have been put into another group
LEAST_LEFT = 0.5  # share of the rows that have to follow where one group is of rows from everywhere, as "unknown" is
LEAST_VARIED = 0.3  # share of the rows in levels within which there is something to follow
FEWEST_ALIKE = 8  # rows below which any two groups are often divided alike
ALIKE = 0.99  # rank correlation of numbers that are nearly the remembered ones


Shared = tuple[np.ndarray, np.ndarray, np.ndarray]
Follow = Callable[[np.ndarray, np.ndarray], float]


@dataclass(frozen=True)
class KnownColumn:
    """A column that was recognised."""

    origin: Origin
    n: int  # rows that are those of the record
    sure: bool = True  # or such as chance makes in few rows, or another cut of the same values


@dataclass(frozen=True)
class RowLookup:
    """Rows of a table as they are looked up: names, how often each was there before, and levels that may split them."""

    names: list[tuple[np.ndarray, np.ndarray]]
    splits: Sequence[np.ndarray] = ()  # (n,) codes each, -1 where missing
    shared_of: dict[int, tuple[Reference, list[Shared]]] = field(default_factory=dict, repr=False)  # looked up before

    def shared(self, one: Reference) -> list[Shared]:
        """Rows that a reference has as well, by each of their names: mine, theirs, and the turn of each."""
        if id(one) not in self.shared_of:
            self.shared_of[id(one)] = one, _shared(self.names, one)
        return self.shared_of[id(one)][1]


def rows_of(index: pd.Index, ids: Sequence[np.ndarray]) -> RowLookup:
    """Rows by the names of an index, and by further ones."""
    return RowLookup([(hashes, _turn(hashes)) for hashes in (name_hashes(index), *ids)])


def recognise(
    values: pd.Series, ids: Sequence[np.ndarray] | RowLookup, references: Sequence[Reference], place: str
) -> list[KnownColumn]:
    """What a column follows from.

    Parameters
    ----------
    values
        The column, indexed by names of rows.
    ids
        Further names of the rows, as of their patients; or the rows, with codes of columns within whose levels it may
        follow.
    references
        The reference.
    place
        Where it is: a column that the table itself records needs no proof against chance.

    Examples
    --------
    >>> from spatialfm._origin import Origin, Reference, name_hashes
    >>> names = [f"P{i}" for i in range(40)]
    >>> risk = np.random.default_rng(0).normal(size=40)
    >>> made = Origin("coxnet", "held out", ("time", "event"))
    >>> there = [Reference(made, name_hashes(names), None, risk, False)]
    >>> high = pd.Series(np.where(risk > np.median(risk), "high", "low"), index=names)
    >>> recognise(high, [], there, "obs:group")[0].origin.function, recognise(high[::-1].set_axis(names), [], there, "")
    ('coxnet', [])
    """
    if not references:
        return []
    numbers, _, texts = numbers_of(values)
    labels = label_hashes(numbers, texts)
    rows = ids if isinstance(ids, RowLookup) else rows_of(values.index, ids)
    near = {(one.values.tobytes(), one.rows.tobytes()) for one in references if _is_near(rows, one)}
    chance = np.log(max(len(near), 1))
    recognised: dict[Origin, KnownColumn] = {}
    for one in references:
        same_place = bool(one.place) and one.place == place
        by_labels = one.origin.how in TOLD_BY_LABELS and not same_place
        if by_labels and not one.groups:
            continue
        n, sure = _known_rows(numbers, labels, texts, rows, one, chance, same_place, by_labels)
        if not n and same_place and one.groups and one.texts and _renamed(rows, one, texts):
            n, sure = len(numbers), True
        earlier = recognised.get(one.origin)
        if n and (earlier is None or (sure, n) > (earlier.sure, earlier.n)):
            recognised[one.origin] = KnownColumn(one.origin, n, sure)
    certain = [one for one in recognised.values() if one.sure]
    return certain or list(recognised.values())


def _is_near(rows: RowLookup, one: Reference) -> bool:
    """Whether a reference is of some of these rows: only such can be known by mistake."""
    return any(len(at) >= 2 for _, at, _ in rows.shared(one)) or len(rows.names[0][0]) == len(one.values)


def _shared(names: Sequence[tuple[np.ndarray, np.ndarray]], one: Reference) -> list[Shared]:
    shared = []
    for theirs, order in one.looked_up:
        for own_hashes, turn in names:
            at = np.minimum(np.searchsorted(theirs, own_hashes), len(theirs) - 1)
            positions = np.flatnonzero(theirs[at] == own_hashes)
            if len(positions) >= 2:
                shared.append((positions, order[at[positions]], turn[positions]))
    return shared


def _known_rows(
    numbers: np.ndarray,
    labels: np.ndarray,
    texts: Sequence[str],
    rows: RowLookup,
    one: Reference,
    chance: float,
    same_place: bool,
    by_labels: bool,
) -> tuple[int, bool]:
    """Rows on which the column follows from the remembered one, 0 where it does not; and whether that is sure."""
    may = 0
    for positions, at, turn in rows.shared(one):
        remembered, current, sure = one.values[at], numbers[positions], 0
        if not one.groups and not by_labels and (n_equal := _equal(remembered, current)):
            return n_equal, True
        for number in range(min(int(turn.max()), 2) + 1):
            part = turn == number
            same = one.groups and bool((one.labels[at[part]] == labels[positions[part]]).all())
            named = _by_name(remembered[part], current[part], one.texts, texts) if one.groups and not same else NEVER
            if by_labels and not same:
                evidence, may_only = named, False
            else:
                sides = _Sides(one, at[part], current[part], same, [split[positions[part]] for split in rows.splits])
                as_it_is = same_place and sides.as_it_is()
                evidence, may_only = (np.inf, False) if as_it_is else max((named, False), sides.evidence())
            if evidence >= BY_CHANCE + chance and not may_only:
                sure += int(part.sum())
            elif evidence >= MAY_BE + chance and not by_labels:
                may = max(may, int(part.sum()))
        if sure:
            return sure, True
    if may or by_labels:
        return may, False
    if len(numbers) == len(one.values):
        evidence, may_only = _Sides(one, np.arange(len(numbers)), numbers, False, []).evidence()
        if evidence >= BY_CHANCE + chance and not may_only:
            return len(numbers), True
    n = 0 if one.groups or len(numbers) > MOST_ROWS else _same_numbers(numbers, one.rounded)
    return (n, True) if n else (max(_alike(numbers, rows, one), 0), False)


def _equal(made: np.ndarray, values: np.ndarray) -> int:
    """Rows on which numbers are the remembered ones, 0 if too few are for that; the most frequent one tells nothing.

    Fractions of few cells are equal in some patients for any two types, other numbers are not.
    """
    with np.errstate(invalid="ignore"):  # as `np.isclose`, which takes longer
        equal = (np.abs(values - made) <= 1e-6 * np.abs(made)) & np.isfinite(made) | (values == made)
    if equal.sum() < SAME_NUMBERS:
        return 0
    both = ~(np.isnan(made) | np.isnan(values))
    levels, counts = np.unique(made[both], return_counts=True)
    if len(levels) < SAME_NUMBERS:
        return 0
    usual = equal & (made == levels[counts.argmax()]) & (counts.max() > 1)
    telling = equal & ~usual
    different = np.unique(values[telling])  # a column of 0 and 1 is not that of weights which are all nearly 1
    if min(len(different), len(np.unique(made[telling]))) < SAME_NUMBERS:
        return 0
    enough = telling.sum() >= MOST_EQUAL * (both & ~usual).sum()
    return int(equal.sum()) if enough or _no_fractions(different) >= SAME_NUMBERS else 0


def _no_fractions(values: np.ndarray) -> int:
    """How many of some numbers cannot be a whole number of cells over another.

    Examples
    --------
    >>> _no_fractions(np.array([3 / 57, 12 / 4001, 2.0, np.pi / 10]))
    1
    """
    some = values[:MOST_SPLIT]
    of_cells = [
        any(abs(float(Fraction(value).limit_denominator(most)) - value) <= off for most, off in FRACTIONS)
        for value in some.tolist()
        if np.isfinite(value)
    ]
    return len(of_cells) - sum(of_cells)


def _alike(numbers: np.ndarray, rows: RowLookup, one: Reference) -> int:
    """Rows on which a column is the remembered one in all but name, too few or not near enough to be sure of it.

    Groups divide the rows alike; numbers are in nearly the same order, as with noise, and no feature of a model is.
    """
    for positions, at, turn in rows.shared(one):
        made, values = one.values[at], numbers[positions]
        both = ~(np.isnan(made) | np.isnan(values)) & (turn == 0)
        made, values = made[both], values[both]
        if len(made) < FEWEST_ALIKE:
            continue
        if one.groups:
            # where each row is a group of its own, any two columns divide the rows alike
            alike = 1 < n_levels(values) <= len(values) / 2 and _same_groups(made, values)
            if alike and not (one.finer is not None and _same_groups(one.finer[at][both], values)):
                return len(made)
        elif min(n_levels(made), n_levels(values)) > FEW // 2:
            exempt = [] if one.exempt is None else list(one.exempt[at][both].T)
            if _order(made, values) >= ALIKE > max((_order(part, values) for part in exempt), default=0.0):
                return len(made)
    return 0


def _same_groups(one: np.ndarray, two: np.ndarray) -> bool:
    return is_function(one, two) and is_function(two, one)


def _order(one: np.ndarray, two: np.ndarray) -> float:
    """Size of the rank correlation; 0 of what is constant."""
    from scipy.stats import rankdata

    known = np.isfinite(one) & np.isfinite(two)
    ranks = [rankdata(part[known]) for part in (one, two)]
    spread = [part.std() if len(part) else 0.0 for part in ranks]
    return abs(float(np.corrcoef(*ranks)[0, 1])) if min(spread) > 0 else 0.0


@dataclass(frozen=True)
class _Sides:
    """A remembered column and another, on rows that both have."""

    one: Reference
    at: np.ndarray
    values: np.ndarray
    same_names: bool
    splits: Sequence[np.ndarray]

    def as_it_is(self) -> bool:
        """Whether the values follow from the remembered ones."""
        made, both = self.one.values[self.at], self._both()
        return both.sum() >= 2 and _follow(self.one.groups, True)(made[both], self.values[both]) > NEVER

    def _both(self) -> np.ndarray:
        return ~(np.isnan(self.one.values[self.at]) | np.isnan(self.values))

    def evidence(self) -> tuple[float, bool]:
        """Evidence that the values were made from the remembered ones; and whether they need not have been."""
        one, both = self.one, self._both()
        made, values = one.values[self.at][both], self.values[both]
        if len(made) < 2:
            return NEVER, False
        follow = _follow(one.groups, self.same_names)
        evidence = follow(made, values)
        if len(made) <= MOST_SPLIT and evidence < BY_CHANCE * 2:
            # many columns that may split are many ways
            codes = np.unique(made, return_inverse=True)[1] if self.splits else made
            within = [_within(follow, made, codes, values, split[both]) for split in self.splits]
            evidence = max([evidence, *(part - np.log(len(within)) for part in within)])
        if evidence == NEVER and len(made) <= MOST_SPLIT:
            evidence = _but_for_one_group(follow, made, values)
        split = of_groups(values, made) if one.groups and n_levels(values) <= len(values) / 2 else NEVER
        if one.groups and len(made) <= MOST_SPLIT and max(evidence, split) == NEVER:
            return _but_for_some(made, values), True
        if (
            one.exempt is not None
            and max(evidence, split) > NEVER
            and self._as_close(both, values, max(evidence, split))
        ):
            return NEVER, False
        if split <= evidence or one.finer is None:
            return max(evidence, split), False
        return self._finer(one.finer[self.at][both], values, split)

    def _as_close(self, both: np.ndarray, values: np.ndarray, evidence: float) -> bool:
        """Whether what a model was made of explains the values as well as what it made."""
        exempt = self.one.exempt
        columns = [] if exempt is None else [part for part in exempt[self.at][both].T if np.isfinite(part).all()]
        return any(_monotone(column, values) or of_numbers(column, values, FEW // 2) >= evidence for column in columns)

    def _finer(self, finer: np.ndarray, values: np.ndarray, split: float) -> tuple[float, bool]:
        """Of groups that are finer than those that an outcome made: not so where they are what these were made of."""
        rows = ~np.isnan(finer)
        finer, values = finer[rows], values[rows]
        if len(np.unique(finer)) > min(FEW, len(finer) / 3):  # numbers that were cut: there may be other cuts
            return split, of_numbers(finer, values, FEW) > MAY_BE
        if is_function(finer, values):
            return (NEVER, False) if is_function(values, finer) else (split, True)
        return split, False


def _follow(groups: bool, same_names: bool) -> Follow:
    if groups:
        return lambda made, values: of_groups(made, values, same_names)
    return lambda made, values: of_numbers(made, values, FEW // 2)


def _within(follow: Follow, made: np.ndarray, codes: np.ndarray, values: np.ndarray, split: np.ndarray) -> float:
    """The same within each level of another column: groups that were split, or cut in each level elsewhere.

    Not so where the values are the same within most levels: then it is the other column that they follow from.
    """
    total, n_varied = NEVER, 0
    both = codes * (len(split) + 1) + split
    if not is_function(both, values):  # then not in each level either, and one look is enough
        return NEVER
    for level in np.unique(split):
        rows = split == level
        if len(np.unique(values[rows])) < 2:
            continue
        evidence = follow(made[rows], values[rows])
        if evidence == NEVER:
            return NEVER
        total, n_varied = max(total, 0.0) + evidence, n_varied + int(rows.sum())
    return total if n_varied >= LEAST_VARIED * len(values) else NEVER


def _by_name(made: np.ndarray, values: np.ndarray, texts: Sequence[str], mine: Sequence[str]) -> float:
    """Evidence where each level names the group that it is a part of, as in "2_female"."""
    if not texts or not mine:
        return NEVER
    both = ~(np.isnan(made) | np.isnan(values))
    made, values = made[both], values[both]
    if len(values) < 2 or not is_function(values, made):
        return NEVER
    pairs = np.unique(np.column_stack([values, made]), axis=0).astype(int)
    if len(pairs) > len(values) / 2:
        return NEVER
    words = [(set(re.split(r"[^0-9A-Za-z]+", mine[value])), texts[group]) for value, group in pairs]
    named = all(text in level or text == mine[value] for (level, text), (value, _) in zip(words, pairs, strict=True))
    return of_groups(made, made, same_names=True) if named else NEVER


def _but_for_one_group(follow: Follow, made: np.ndarray, values: np.ndarray) -> float:
    """Evidence where all groups but one follow, and that one has rows from everywhere: what was missing, as a rule."""
    if not 3 <= n_levels(values) <= FEW // 2:
        return NEVER
    levels, counts = np.unique(values, return_counts=True)
    rest = [level for level, n in zip(levels, counts, strict=True) if len(values) - n >= LEAST_LEFT * len(values)]
    parts = [follow(made[values != level], values[values != level]) for level in rest]
    return max(parts, default=NEVER) - np.log(len(levels))


def _but_for_some(made: np.ndarray, values: np.ndarray) -> float:
    """Evidence where a few rows were put elsewhere by hand."""
    (groups, one), (levels, two) = (np.unique(part, return_inverse=True) for part in (made, values))
    counts = np.zeros((len(groups), len(levels)), int)
    np.add.at(counts, (one, two), 1)
    moved, k = int(counts.sum() - counts.max(axis=1).sum()), counts.shape[1]
    if k < 2 or not 0 < moved <= len(made) * MOST_MOVED or len(np.unique(counts.argmax(axis=1))) < k:
        return NEVER
    sizes = np.bincount(counts.argmax(axis=1), weights=counts.sum(axis=1), minlength=k)
    return log_ways(sizes) - log_maps(len(counts), k) - float(log_binomial(len(made), moved)) - moved * np.log(k)


def _renamed(rows: RowLookup, one: Reference, texts: Sequence[str]) -> bool:
    """Whether a table's own groups are still there, though its rows have other names and another number."""
    named_alike = any(np.isin(mine, theirs).any() for mine, _ in rows.names for theirs, _ in one.looked_up)
    return not named_alike and 0 < len(texts) and set(texts) <= set(one.texts)


def _turn(names: np.ndarray) -> np.ndarray:
    """How often each row's name was there before: two cohorts may use the same names."""
    if len(np.unique(names)) == len(names):
        return np.zeros(len(names), int)
    return pd.Series(names).groupby(names).cumcount().to_numpy()


def _monotone(made: np.ndarray, values: np.ndarray) -> bool:
    """Whether values follow the order of others, or are in it in one piece each."""
    if not is_function(made, values):
        return False
    steps = np.diff(values[np.argsort(made, kind="stable")])
    levels = len(np.unique(values))
    return bool((steps >= 0).all() or (steps <= 0).all()) or (
        levels <= FEW // 2 and int((steps != 0).sum()) == levels - 1
    )


def _same_numbers(values: np.ndarray, made: np.ndarray) -> int:
    """Rows without name whose numbers are all among those remembered, which are given with six digits."""
    if n_levels(values[~np.isnan(values)]) < 8 or n_levels(made) <= FEW:
        return 0
    common = np.isin(rounded(values), made)
    return int(common.sum()) if common.mean() >= 0.9 else 0
