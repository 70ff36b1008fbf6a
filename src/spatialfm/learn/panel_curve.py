"""The score of panels against their size, on patients that had no part in choosing them.

In each fold of patients, panels of all sizes are chosen from the other patients alone, by folds of these, and scored on
the fold: the curve is of the procedure, not of the luckiest panel. Panels drawn at random and the markers of largest
variance are scored on the same patients. A patient is scored once, and the interval of a mean over patients is
Student's (cross-validation: Bayle et al., NeurIPS 2020).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from ..stats.folds import stratified_folds
from .panel_search import BestPanel, search_panels
from .panel_tasks import Task


@dataclass(frozen=True)
class Search:
    """What a search is told.

    Attributes
    ----------
    n_markers
        Size of the largest panel.
    keep
        Markers that are in every panel.
    costs
        ``(M,)`` positive.
    n_folds
        Folds, of all patients and of those of a training part.
    n_random
        Panels drawn at random in each fold.
    random_state
        Seed of folds and draws.
    """

    n_markers: int
    keep: tuple[int, ...]
    costs: np.ndarray
    n_folds: int
    n_random: int
    random_state: int

    @property
    def sizes(self) -> list[int]:
        """Of the panels that are scored."""
        return list(range(max(1, len(self.keep)), self.n_markers + 1))

    def folds(self, n_patients: int, number: int = 0) -> np.ndarray:
        """Fold of each patient; `number` tells the folds of one training part from those of another.

        Of few patients as many as there are, so that two or more are left to choose a panel by each other.
        """
        rng = np.random.default_rng([self.random_state, number])
        n_folds = min(self.n_folds, n_patients)
        if n_patients - -(-n_patients // n_folds) < 2:
            n_folds = n_patients
        return stratified_folds(np.zeros(n_patients, int), n_folds, rng)

    def run(self, task: Task, patients: np.ndarray, number: int = 0) -> dict[int, BestPanel]:
        """Panels of all sizes that these patients choose."""
        panel = task.panel(patients, self.folds(len(patients), number))
        return search_panels(panel, self.n_markers, keep=self.keep, costs=self.costs)


@dataclass(frozen=True)
class HeldOutPanels:
    """Scores on held-out patients.

    Attributes
    ----------
    chosen, variance
        ``(sizes, patients)`` of the panels chosen in each fold, and of the markers of largest variance.
    random
        ``(draws, sizes, patients)``.
    whole
        ``(patients,)`` of all candidates.
    times
        ``(sizes, M)`` share of folds whose panel has a marker.
    """

    chosen: np.ndarray
    variance: np.ndarray
    random: np.ndarray
    whole: np.ndarray
    times: np.ndarray


def judge_panels(
    task: Task, n_patients: int, variance: np.ndarray, search: Search, over: Iterable[int] | None = None
) -> HeldOutPanels:
    """Score panels of all sizes, chosen without the patients that they are scored on.

    Parameters
    ----------
    variance
        ``(patients, M)`` variances of the candidates, whose mean over training patients gives the order.
    over
        Numbers of the folds, for a progress bar.
    """
    fold, sizes, m = search.folds(n_patients), search.sizes, variance.shape[1]
    n_folds = int(fold.max()) + 1
    chosen, by_variance = np.full((2, len(sizes), n_patients), np.nan)
    drawn = np.full((search.n_random, len(sizes), n_patients), np.nan)
    whole, times = np.full(n_patients, np.nan), np.zeros((len(sizes), m))
    rng = np.random.default_rng([search.random_state, 10**6])
    for number in range(n_folds) if over is None else over:
        train, test = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        panels = search.run(task, train, number + 1)
        order = kept_first(np.argsort(-variance[train].mean(axis=0), kind="stable"), search.keep)
        orders = [kept_first(rng.permutation(m), search.keep) for _ in range(search.n_random)]
        whole[test] = task.scores(train, test, list(range(m)))
        for i, size in enumerate(sizes):
            markers = sorted(panels[size].markers)
            times[i, markers] += 1 / n_folds
            chosen[i, test] = task.scores(train, test, markers)
            by_variance[i, test] = task.scores(train, test, sorted(order[:size]))
            for draw, one in enumerate(orders):
                drawn[draw, i, test] = task.scores(train, test, sorted(one[:size]))
    return HeldOutPanels(chosen, by_variance, drawn, whole, times)


def judge_beside(task: Task, other: Task, n_patients: int, search: Search) -> tuple[np.ndarray, np.ndarray]:
    """The same folds by two tasks, scores ``(sizes, patients)``.

    Returns
    -------
    What `other` reaches with the panels that `task` chooses, and `task` with those that `other` chooses.
    """
    fold = search.folds(n_patients)
    same, theirs = np.full((2, len(search.sizes), n_patients), np.nan)
    for number in range(int(fold.max()) + 1):
        train, test = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        ours, others = (search.run(one, train, number + 1) for one in (task, other))
        for i, size in enumerate(search.sizes):
            same[i, test] = other.scores(train, test, sorted(ours[size].markers))
            theirs[i, test] = task.scores(train, test, sorted(others[size].markers))
    return same, theirs


def kept_first(order: np.ndarray, keep: Sequence[int]) -> list[int]:
    """An order of markers in which those that are kept come first."""
    return [*keep, *(int(marker) for marker in order if marker not in keep)]


def curve_table(judged: HeldOutPanels, sizes: Sequence[int], level: float = 0.95) -> pd.DataFrame:
    """Mean over patients of each size, with its interval; of random panels the mean over draws, and where 95 % lie."""
    low, high = mean_interval(judged.chosen, level)
    table = pd.DataFrame(
        {"size": sizes, "score": judged.chosen.mean(axis=1), "ci_low": low, "ci_high": high.clip(max=1.0)}
    )
    table["variance"] = judged.variance.mean(axis=1)
    means = judged.random.mean(axis=2)  # (draws, sizes)
    empty = not len(means)
    table["random"] = np.nan if empty else means.mean(axis=0)
    edges = np.full((2, len(sizes)), np.nan) if empty else np.quantile(means, [0.025, 0.975], axis=0)
    table["random_low"], table["random_high"] = edges
    for name, others in (("random", judged.random.mean(axis=0) if not empty else None), ("variance", judged.variance)):
        gain = judged.chosen - others if others is not None else np.full_like(judged.chosen, np.nan)
        table = table.assign(**gain_columns(name, gain, level))
    return table


def gain_columns(name: str, gain: np.ndarray, level: float = 0.95) -> dict[str, np.ndarray]:
    """Mean of a paired gain ``(sizes, patients)`` over something, and its interval, as columns of the table."""
    low, high = mean_interval(gain, level)
    return {f"gain_over_{name}": gain.mean(axis=1), f"gain_over_{name}_low": low, f"gain_over_{name}_high": high}


def mean_interval(values: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Interval of the mean over patients, the last axis: Student's t."""
    n = values.shape[-1]
    error = values.std(axis=-1, ddof=1) / np.sqrt(n)
    half = stats.t.ppf((1 + level) / 2, n - 1) * error
    mean = values.mean(axis=-1)
    return mean - half, mean + half
