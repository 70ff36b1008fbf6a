"""Whether a column is one that is remembered: the same, its groups merged or renamed, its values cut or in ranks.

A column is held against what is remembered on the rows that both have, by name, else in their order, else by its
numbers. It is known where it follows from the remembered one, and where that could not be chance: there are many more
ways to deal its values out to the rows than there are columns in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import gammaln

from ._origin import FEW, MOST_ROWS, Origin, Reference, name_hashes, numbers_of

TOLD_BY_LABELS = ("composition", "order")  # groups of patients that may be found twice, for they are there
BY_CHANCE = np.log(1e4)  # one column in so many, for each that is remembered, may be known by mistake
SAME_NUMBERS = 3  # equal floats of one row each that are no chance


@dataclass(frozen=True)
class Known:
    """A column that was recognised."""

    origin: Origin
    n: int  # rows that are those of the record


def recognise(values: pd.Series, ids: Sequence[np.ndarray], references: Sequence[Reference], place: str) -> list[Known]:
    """What a column follows from.

    Parameters
    ----------
    values
        The column, indexed by names of rows.
    ids
        Further names of the rows, as of their patients.
    references
        What it is held against.
    place
        Where it stands: a column that the table itself records needs no proof against chance.

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
    names = [(hashes, _turn(hashes)) for hashes in (name_hashes(values.index), *ids)]
    guard = BY_CHANCE + np.log(len(references))
    found: dict[Origin, int] = {}
    for one in references:
        same_place = bool(one.place) and one.place == place
        if one.origin.how in TOLD_BY_LABELS and not same_place and not one.groups:
            continue
        also = labels if one.origin.how in TOLD_BY_LABELS and not same_place else None
        n = _rows_known(numbers, names, one, 0.0 if same_place else guard, also)
        if not n and same_place and one.groups and one.texts and _renamed(names, one, texts):
            n = len(numbers)
        if n:
            found[one.origin] = max(n, found.get(one.origin, 0))
    return [Known(origin, n) for origin, n in found.items()]


def _rows_known(
    numbers: np.ndarray,
    names: Sequence[tuple[np.ndarray, np.ndarray]],
    one: Reference,
    guard: float,
    labels: np.ndarray | None,
) -> int:
    """Rows on which the column follows from the remembered one; 0 where it does not."""
    for theirs, rows in one.looked_up:
        for mine, turn in names:
            at = np.minimum(np.searchsorted(theirs, mine), len(theirs) - 1)
            there = theirs[at] == mine
            if there.sum() >= 2 and (n := _by_name(numbers, turn, there, rows[at], one, guard, labels)):
                return n
    if (
        labels is None
        and len(numbers) == len(one.values)
        and follows(one.values, numbers, one.groups, max(guard, BY_CHANCE), one.exempt)
    ):
        return len(numbers)
    return 0 if one.groups or len(numbers) > MOST_ROWS else _same_numbers(numbers, one.values)


def _renamed(names: Sequence[tuple[np.ndarray, np.ndarray]], one: Reference, texts: Sequence[str]) -> bool:
    """Whether a table's own groups are still there, though its rows are called otherwise, and others in number."""
    there = any(np.isin(mine, theirs).any() for mine, _ in names for theirs, _ in one.looked_up)
    return not there and 0 < len(texts) and set(texts) <= set(one.texts)


def _by_name(
    numbers: np.ndarray,
    turn: np.ndarray,
    there: np.ndarray,
    at: np.ndarray,
    one: Reference,
    guard: float,
    labels: np.ndarray | None,
) -> int:
    remembered = one.values[at]
    if not one.groups:
        equal = there & np.isclose(numbers, remembered, rtol=1e-6, atol=0)
        if len(np.unique(numbers[equal])) >= SAME_NUMBERS and len(np.unique(remembered[equal])) > FEW // 4:
            return int(equal.sum())
    total = 0
    for number in range(min(int(turn[there].max()), 2) + 1):
        rows = there & (turn == number)
        if labels is not None and not (label_hashes(remembered[rows], one.texts) == labels[rows]).all():
            continue
        exempt = None if one.exempt is None else one.exempt[at[rows]]
        if follows(remembered[rows], numbers[rows], one.groups, guard, exempt):
            total += int(rows.sum())
    return total


def _turn(names: np.ndarray) -> np.ndarray:
    """How often each row's name was there before: two cohorts may use the same names."""
    if len(np.unique(names)) == len(names):
        return np.zeros(len(names), int)
    return pd.Series(names).groupby(names).cumcount().to_numpy()


def follows(
    made: np.ndarray, values: np.ndarray, groups: bool, guard: float = BY_CHANCE, exempt: np.ndarray | None = None
) -> bool:
    """Whether `values` ``(n,)`` are a function of `made`: of groups any, of numbers one that rises, falls or cuts."""
    both = ~(np.isnan(made) | np.isnan(values))
    made, values = made[both], values[both]
    if len(made) < 2:
        return False
    counts = np.unique(values, return_counts=True)[1]
    rules = len(np.unique(made)) * np.log(len(counts)) if groups and guard else 0.0  # ways to name groups anew
    if len(counts) < 2 or _log_ways(counts) - rules < guard:
        return False
    if not (_of_groups(made, values) if groups else _of_numbers(made, values)):
        return False
    columns = [] if exempt is None else exempt[both].T
    return not any(_of_numbers(column, values) for column in columns if np.isfinite(column).all())


def label_hashes(codes: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """Hashes ``(n,)`` of what codes stand for; of numbers without names, of the numbers."""
    levels, place = np.unique(codes, return_inverse=True)
    words = [texts[int(level)] if texts and not np.isnan(level) else f"{level:g}" for level in levels]
    return name_hashes(words)[place]


def _log_ways(counts: np.ndarray) -> float:
    """Logarithm of the number of ways to deal groups of these sizes out to the rows, whatever they are called."""
    names = gammaln(len(counts) + 1) if len(counts) <= FEW else 0.0
    return float(gammaln(counts.sum() + 1) - gammaln(counts + 1).sum() - names)


def _of_groups(made: np.ndarray, values: np.ndarray) -> bool:
    order = np.argsort(made, kind="stable")
    same = np.diff(made[order]) == 0
    return not (np.diff(values[order])[same] != 0).any()


def _of_numbers(made: np.ndarray, values: np.ndarray) -> bool:
    if not _of_groups(made, values):
        return False
    ordered = values[np.argsort(made, kind="stable")]
    steps = np.diff(ordered)
    if (steps >= 0).all() or (steps <= 0).all():
        return True
    # groups without order: each in one piece
    return len(np.unique(values)) <= FEW // 2 and int((steps != 0).sum()) == len(np.unique(values)) - 1


def _same_numbers(values: np.ndarray, made: np.ndarray) -> int:
    """Rows without name whose numbers are all among those remembered."""
    finite = values[~np.isnan(values)]
    if len(np.unique(finite)) < 8:
        return 0
    rounded = [np.array([float(f"{value:.6g}") for value in part[~np.isnan(part)]]) for part in (finite, made)]
    here = np.isin(rounded[0], rounded[1])
    return int(here.sum()) if here.mean() >= 0.9 and len(np.unique(rounded[1])) > FEW else 0
