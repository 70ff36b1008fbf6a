"""Survival as it would be if covariates alone told of it: who has each event is drawn anew. Arrays in and out."""

from __future__ import annotations

import numpy as np

from .adjusted_logrank import independent_terms
from .cox import fit_cox
from .risk_table import risk_table


class NullOutcomes:
    """Outcomes of a Cox model of covariates alone, with the times of event that were seen.

    At each time of event, who has it is drawn among the patients at risk, in proportion to their hazard: the model's
    own distribution of who is next (Heller and Venkatraman, Biometrics 1996, draw so of two groups). A patient's
    censoring stays where it was seen; of those whose event came first it is drawn from the Kaplan-Meier estimate of
    censoring beyond that time. Without covariates and censoring that is to deal the outcomes again.

    Parameters
    ----------
    x
        ``(n, p)`` covariates; of those that repeat others within strata, or are constant, the first are taken.
    strata
        Codes of the patients among whom events stay; each has its own hazard at equal covariates.

    Raises
    ------
    SurvivalError
        If the model of the covariates has no maximum.

    Examples
    --------
    >>> null = NullOutcomes(np.zeros((3, 0)), np.array([1.0, 2.0, 3.0]), np.array([True, False, True]))
    >>> time, event = null.draw(4, np.random.default_rng(0))
    >>> np.sort(np.where(event, time, 0)).max(axis=1).tolist()
    [3.0, 3.0, 3.0, 3.0]
    """

    def __init__(
        self,
        x: np.ndarray,
        time: np.ndarray,
        event: np.ndarray,
        strata: np.ndarray | None = None,
        entry: np.ndarray | None = None,
    ):
        self._time, self._event = np.asarray(time, dtype=float), np.asarray(event, dtype=bool)
        self._entry = None if entry is None else np.asarray(entry, dtype=float)
        self._strata = np.zeros(len(x), int) if strata is None else np.asarray(strata)
        terms = independent_terms(x, self._strata)[1]
        eta = np.zeros(len(x))
        if terms.shape[1]:
            eta = terms @ fit_cox(terms, time, event, strata=strata, entry=entry, may_penalize=False).coef
        self._hazard = np.exp(eta - eta.mean())

    def draw(self, n_draws: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Times and events ``(n_draws, n)`` of the patients, in their order.

        An event for which nobody is left at risk is not there.
        """
        shape = (n_draws, self._time.size)
        time, event = np.empty(shape), np.zeros(shape, bool)
        for code in np.unique(self._strata):
            rows = np.flatnonzero(self._strata == code)
            time[:, rows], event[:, rows] = self._within(rows, n_draws, rng)
        return time, event

    def _within(self, rows: np.ndarray, n_draws: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The same of one stratum: a race of exponential times, of which those at risk take part at each event."""
        from .cut_kernels import draw

        time, seen = self._time[rows], self._event[rows]
        entry = None if self._entry is None else self._entry[rows]
        limit = _censoring(time, seen, entry, n_draws, rng)
        race = rng.exponential(size=limit.shape) / self._hazard[rows]
        times, n_events = np.unique(time[seen], return_counts=True)
        return draw(race, limit, np.full(rows.size, -np.inf) if entry is None else entry, times, n_events, time.max())


def _censoring(
    time: np.ndarray, event: np.ndarray, entry: np.ndarray | None, n_draws: int, rng: np.random.Generator
) -> np.ndarray:
    """Time ``(n_draws, n)`` at which each patient would have been censored; infinite for those who would not."""
    limit = np.tile(np.asarray(time, dtype=float), (n_draws, 1))
    times = np.unique(time[~event])
    if not times.size:
        limit[:] = np.inf
        return limit
    table = risk_table(time, ~event, entry)
    beyond, before = table.at(table.survival, times, 1.0), table.before(table.survival, time, 1.0)
    for i in np.flatnonzero(event):
        level = rng.random(n_draws) * before[i]
        limit[:, i] = np.append(times, np.inf)[np.searchsorted(-beyond, -level)]  # the first at which fewer are left
    return limit
