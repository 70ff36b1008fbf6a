"""Partial likelihood of Cox's model: estimates, robust variance, test of proportional hazards. Arrays in and out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal
from warnings import catch_warnings

import numpy as np
import pandas as pd

from .._errors import SurvivalError
from .risk_table import risk_table

Ties = Literal["efron", "breslow"]
MAX_STEPS = 50
LARGEST = 15.0  # coefficient of a standardised covariate, behind which the likelihood only rises
TOLERANCE = 1e-9  # of the last Newton step, in standard deviations of the covariates


class RiskSets:
    """Rows in the order of stratum and time, and one term of the partial likelihood for each event.

    The risk set of a term holds all rows of its stratum with ``entry < t <= time``. Of `d` events at one time, Efron's
    j-th term counts each of the `d` with weight ``1 - j / d``; Breslow's with weight 1. Case weights count rows at
    risk; rows with an event have weight 1.
    """

    def __init__(
        self,
        time: np.ndarray,
        event: np.ndarray,
        strata: np.ndarray | None = None,
        ties: Ties = "efron",
        entry: np.ndarray | None = None,
        case_weights: np.ndarray | None = None,
    ):
        strata = np.zeros(time.size, int) if strata is None else strata
        self.order = np.lexsort((time, strata))
        self.time, self.event, stratum = time[self.order], event[self.order].astype(bool), strata[self.order]
        new_stratum = np.r_[True, stratum[1:] != stratum[:-1]]
        new = new_stratum | np.r_[True, self.time[1:] != self.time[:-1]]
        self.starts = np.flatnonzero(new)
        self.group = np.cumsum(new) - 1
        self.stratum = np.cumsum(new_stratum) - 1
        bounds = np.append(np.flatnonzero(new_stratum[self.starts]), self.starts.size)
        self.slices = [slice(a, b) for a, b in zip(bounds[:-1], bounds[1:], strict=True)]
        n_events = np.add.reduceat(self.event.astype(int), self.starts)
        self.n_events = n_events
        self.term = np.repeat(np.arange(self.starts.size), n_events)
        rank = np.arange(self.term.size) - (np.cumsum(n_events) - n_events)[self.term]
        self.fraction = rank / n_events[self.term] if ties == "efron" else np.zeros(self.term.size)
        self.case_weights = None if case_weights is None else case_weights[self.order]
        self.entry = None if entry is None else entry[self.order]
        if self.entry is not None:
            self._find_entries(self.entry)

    def _find_entries(self, entry: np.ndarray) -> None:
        """For each time, who enters no earlier; for each row, the times up to its entry."""
        self.by_entry = np.lexsort((entry, self.stratum))
        self.waiting = np.empty(self.starts.size, int)  # first of `by_entry` not yet at risk
        self.end = np.empty(self.starts.size, int)  # behind the last of its stratum
        self.passed = np.empty(self.time.size, int)  # last time up to entry; one before the stratum's first for none
        times = self.time[self.starts]
        edges = np.append(self.starts, self.time.size)
        for part in self.slices:
            rows = slice(edges[part.start], edges[part.stop])
            entries = entry[self.by_entry[rows]]
            self.waiting[part] = rows.start + np.searchsorted(entries, times[part], side="left")
            self.end[part] = rows.stop
            self.passed[rows] = part.start + np.searchsorted(times[part], entry[rows], side="right") - 1

    def weights(self, eta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Linear predictor, and its exponential, relative to the highest of each stratum (against overflow)."""
        highest = np.full(self.stratum[-1] + 1, -np.inf)
        np.maximum.at(highest, self.stratum, eta)
        eta = eta - highest[self.stratum]
        return eta, np.exp(eta) if self.case_weights is None else self.case_weights * np.exp(eta)

    def totals(self, values: np.ndarray) -> np.ndarray:
        """Sum over the risk set of each term of ``(n,)`` or ``(n, p)`` values."""
        of_group = np.add.reduceat(values, self.starts, axis=0)
        for part in self.slices:
            of_group[part] = of_group[part][::-1].cumsum(axis=0)[::-1]
        if self.entry is not None:
            total = np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values[self.by_entry], axis=0)])
            of_group = of_group - (total[self.end] - total[self.waiting])
        failing = np.add.reduceat(values * _column(self.event, values), self.starts, axis=0)
        return of_group[self.term] - _column(self.fraction, values) * failing[self.term]

    def exposure(self, values: np.ndarray) -> np.ndarray:
        """Sum over the terms whose risk set holds each row of ``(n_terms,)`` or ``(n_terms, p)`` values."""
        of_group = self.by_time(values)
        for part in self.slices:
            of_group[part] = of_group[part].cumsum(axis=0)
        reached = of_group[self.group]
        if self.entry is not None:
            first = np.repeat([part.start for part in self.slices], [part.stop - part.start for part in self.slices])
            some = self.passed >= first[self.group]
            reached[some] -= of_group[self.passed[some]]
        own = self.by_time(values * _column(self.fraction, values))
        return reached - _column(self.event, values) * own[self.group]

    def by_time(self, values: np.ndarray) -> np.ndarray:
        """Sum of the terms at each time."""
        total = np.zeros((self.starts.size, *values.shape[1:]))
        np.add.at(total, self.term, values)
        return total


@dataclass(frozen=True)
class Likelihood:
    """Partial likelihood at one coefficient vector; `x` in the order of `sets`."""

    sets: RiskSets
    x: np.ndarray  # (n, p)
    beta: np.ndarray  # (p,)

    @cached_property
    def _parts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        eta, weight = self.sets.weights(self.x @ self.beta)
        total = self.sets.totals(weight)
        return eta, weight, total, self.sets.totals(weight[:, None] * self.x) / total[:, None]

    @property
    def log_likelihood(self) -> float:
        """Logarithm of the partial likelihood."""
        eta, _, total, _ = self._parts
        return float(eta[self.sets.event].sum() - np.log(total).sum())

    def score(self, factor: np.ndarray | None = None) -> np.ndarray:
        """Derivative ``(p,)``, each term times a factor, which is the same at the same time."""
        mean = self._parts[3]
        factor = np.ones(len(mean)) if factor is None else factor
        return factor @ (self.x[self.sets.event] - mean)

    def information(self, factor: np.ndarray | None = None) -> np.ndarray:
        """Negative second derivative ``(p, p)``, each term times a factor."""
        _, weight, total, mean = self._parts
        factor = np.ones(len(mean)) if factor is None else factor
        weight = weight * self.sets.exposure(factor / total)
        return (self.x * weight[:, None]).T @ self.x - (mean * factor[:, None]).T @ mean

    def score_residuals(self) -> np.ndarray:
        """Each row's part ``(n, p)`` in the score, in the order of `sets` (Therneau and Grambsch 2000, section 4.6)."""
        _, weight, total, mean = self._parts
        sets = self.sets
        mean_of_time = sets.by_time(mean) / np.maximum(sets.n_events, 1)[:, None]
        hazard = sets.exposure(1 / total)[:, None] * self.x - sets.exposure(mean / total[:, None])
        return sets.event[:, None] * (self.x - mean_of_time[sets.group]) - weight[:, None] * hazard


@dataclass(frozen=True)
class CoxFit:
    """Estimates, in units of the covariates."""

    coef: np.ndarray  # (p,)
    variance: np.ndarray  # (p, p), from the information matrix
    robust_variance: np.ndarray | None  # (p, p), with clusters: R's sandwich
    jackknife_variance: np.ndarray | None  # (p, p), with clusters; NaN where one leaves a term without variation
    log_likelihood: float
    null_log_likelihood: float
    dof: float  # of the terms; fewer than their number with a penalty
    score_statistic: float  # score test that all are zero
    ph_statistic: np.ndarray  # (p,), 1 degree of freedom each
    ph_global: float  # p degrees of freedom


def fit_cox(
    x: np.ndarray,
    time: np.ndarray,
    event: np.ndarray,
    *,
    strata: np.ndarray | None = None,
    ties: Ties = "efron",
    penalizer: float = 0.0,
    clusters: np.ndarray | None = None,
    jackknife: bool = False,
    entry: np.ndarray | None = None,
    case_weights: np.ndarray | None = None,
    may_penalize: bool = True,
    by_lifelines: bool = False,
    names: Sequence[str] = (),
) -> CoxFit:
    """Maximise the partial likelihood, less ``n * penalizer / 2 * |beta|^2`` of the standardised covariates.

    Parameters
    ----------
    names
        Of the covariates, for a message.
    by_lifelines
        Whether lifelines finds the maximum where it knows the ties and the weights, which one Newton step then
        confirms. It takes some 40 ms, and Newton's steps from 0 two: for fits that are repeated they go all the way.

    Raises
    ------
    SurvivalError
        If it has no maximum, or none that Newton's steps reach.
    """
    sets = RiskSets(time, event, strata, ties, entry, case_weights)
    scale = x.std(axis=0, ddof=1)
    z = ((x - x.mean(axis=0)) / scale)[sets.order]
    ridge = np.full(z.shape[1], len(z) * penalizer)
    null = Likelihood(sets, z, np.zeros(z.shape[1]))
    known = by_lifelines and ties == "efron" and case_weights is None
    best, is_reached = _newton(null, ridge, _lifelines(null, penalizer) if known else None)
    farthest = names[int(np.abs(best.beta).argmax())] if len(names) else ""
    if not is_reached:
        raise _no_maximum(ridge, may_penalize, farthest)
    information = best.information()
    inverse = np.linalg.inv(information + np.diag(ridge))
    if np.abs(best.beta).max() > LARGEST or not (np.isfinite(inverse).all() and (np.diag(inverse) > 0).all()):
        raise _no_maximum(ridge, may_penalize, farthest)
    robust = left_out = None
    if clusters is not None and jackknife:
        of_strata, of_entry, of_weights = (
            None if each is None else each[sets.order] for each in (strata, entry, case_weights)
        )
        sorted_rows = time[sets.order], event[sets.order], clusters[sets.order]
        left_out = _jackknife(z, best.beta, *sorted_rows, of_strata, of_entry, of_weights, ties, penalizer)
        left_out = left_out / np.outer(scale, scale)
    if clusters is not None:
        codes = np.unique(clusters[sets.order], return_inverse=True)[1]
        influence = np.zeros((codes.max() + 1, z.shape[1]))
        np.add.at(influence, codes, best.score_residuals() @ inverse)
        robust = influence.T @ influence / np.outer(scale, scale)
    start = null.score()
    ph, ph_global = _proportional(best, information, ridge, time, event, entry)
    return CoxFit(
        coef=best.beta / scale,
        variance=inverse / np.outer(scale, scale),
        robust_variance=robust,
        jackknife_variance=left_out,
        log_likelihood=best.log_likelihood,
        null_log_likelihood=null.log_likelihood,
        dof=float(np.trace(inverse @ information)),
        score_statistic=float(start @ np.linalg.solve(null.information() + np.diag(ridge), start)),
        ph_statistic=ph,
        ph_global=ph_global,
    )


def partial_log_likelihoods(etas: np.ndarray, time: np.ndarray, event: np.ndarray) -> np.ndarray:
    """Log-likelihoods ``(m,)`` of linear predictors ``(n, m)``, ties after Breslow; -inf where one is not finite."""
    sets = RiskSets(time, event, None, "breslow")
    finite = np.isfinite(etas).all(axis=0)
    likelihoods = np.full(etas.shape[1], -np.inf)
    eta = etas[sets.order][:, finite]
    eta = eta - eta.max(axis=0)
    likelihoods[finite] = eta[sets.event].sum(axis=0) - np.log(sets.totals(np.exp(eta))).sum(axis=0)
    return likelihoods


def baseline_hazard(
    eta: np.ndarray, time: np.ndarray, event: np.ndarray, entry: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Times ``(n_times,)`` and Breslow's cumulative hazard of a row whose linear predictor is 0."""
    sets = RiskSets(time, event, None, "breslow", entry)
    jumps = sets.by_time(1 / sets.totals(np.exp(eta[sets.order])))
    return sets.time[sets.starts], np.cumsum(jumps)


def _lifelines(null: Likelihood, penalizer: float) -> Likelihood | None:
    """Maximum that lifelines finds, with a precision that agrees to 1e-10; None where it finds none above the null."""
    from lifelines import CoxPHFitter
    from lifelines.exceptions import ConvergenceError

    sets, names = null.sets, [f"x{j}" for j in range(null.x.shape[1])]
    table = pd.DataFrame(null.x, columns=names).assign(time=sets.time, event=sets.event, stratum=sets.stratum)
    late = sets.entry is not None and sets.entry.max() >= sets.time.min()
    if late:
        table["entry"] = sets.entry
    try:
        with catch_warnings(record=True):  # of what the step that follows finds out
            fit = CoxPHFitter(penalizer=penalizer, strata=["stratum"] if len(sets.slices) > 1 else None).fit(
                table if len(sets.slices) > 1 else table.drop(columns="stratum"),
                "time",
                "event",
                entry_col="entry" if late else None,
                fit_options={"precision": 1e-20, "r_precision": 0.0, "max_steps": MAX_STEPS},
            )
    except (ConvergenceError, ArithmeticError, Warning):
        return None
    likelihood = Likelihood(sets, null.x, fit.params_.loc[names].to_numpy())
    with np.errstate(all="ignore"):
        return likelihood if likelihood.log_likelihood >= null.log_likelihood else None


def _newton(null: Likelihood, ridge: np.ndarray, start: Likelihood | None = None) -> tuple[Likelihood, bool]:
    """Where Newton's steps from 0, or from a start, halved while they lead down, end, and whether at a maximum."""
    current = null if start is None else start
    value = current.log_likelihood - float((ridge * current.beta**2).sum()) / 2
    for _ in range(MAX_STEPS):
        try:
            with np.errstate(all="ignore"):
                step = np.linalg.solve(current.information() + np.diag(ridge), current.score() - ridge * current.beta)
        except np.linalg.LinAlgError:
            break
        for _ in range(40):
            following = Likelihood(null.sets, null.x, current.beta + step)
            with np.errstate(all="ignore"):
                reached = following.log_likelihood - (ridge * following.beta**2).sum() / 2
            if reached >= value - 1e-10 * abs(value):
                break
            step = step / 2
        if not np.isfinite(reached):
            break
        current, value = following, reached
        if np.abs(step).max() < TOLERANCE:
            return current, True
    return current, False


def _no_maximum(ridge: np.ndarray, may_penalize: bool, farthest: str) -> SurvivalError:
    """What a message may propose: not every caller has a penalty."""
    remedy = ", or pass a larger penalizer=" if ridge.any() else ", or pass a penalizer= above 0, such as 0.1"
    which = f" (the coefficient of {farthest!r} went farthest)" if farthest else ""
    return SurvivalError(
        "The Cox regression did not converge. A covariate that separates those with from those without event, or a "
        f"level of it that few rows have, has no finite coefficient{which}: leave it out"
        f"{remedy if may_penalize else ''}."
    )


def _proportional(
    best: Likelihood,
    information: np.ndarray,
    ridge: np.ndarray,
    time: np.ndarray,
    event: np.ndarray,
    entry: np.ndarray | None,
) -> tuple[np.ndarray, float]:
    """Score tests of a coefficient that changes with ``1 - S(t-)``, of each term and of all (R's cox.zph).

    S is the Kaplan-Meier estimate of all rows, of any stratum.
    """
    sets, p = best.sets, len(best.beta)
    table = risk_table(time, event, entry)
    change = 1 - table.before(table.survival, sets.time[sets.event], 1.0)
    change -= change.mean()
    score = best.score(change)
    cross, square = best.information(change), best.information(change**2)
    matrix = np.block([[information + np.diag(ridge), cross], [cross, square]])

    def statistic(terms: list[int]) -> float:
        rows = [*range(p), *(p + j for j in terms)]
        u = np.r_[np.zeros(p), score[terms]]
        return float(u @ np.linalg.lstsq(matrix[np.ix_(rows, rows)], u, rcond=None)[0])

    return np.array([statistic([j]) for j in range(p)]), statistic(list(range(p)))


def _jackknife(
    z: np.ndarray,
    beta: np.ndarray,
    time: np.ndarray,
    event: np.ndarray,
    clusters: np.ndarray,
    strata: np.ndarray | None,
    entry: np.ndarray | None,
    case_weights: np.ndarray | None,
    ties: Ties,
    penalizer: float,
) -> np.ndarray:
    """Variance ``(p, p)`` from leaving each cluster out: one Newton step from the estimates of all."""
    codes, estimates = np.unique(clusters), []
    for one in codes:
        keep = clusters != one
        parts = [None if each is None else each[keep] for each in (strata, entry, case_weights)]
        sets = RiskSets(time[keep], event[keep], parts[0], ties, *parts[1:])
        if not sets.event.any():
            return np.full((beta.size, beta.size), np.nan)
        rest, ridge = Likelihood(sets, z[keep][sets.order], beta), keep.sum() * penalizer
        information = rest.information() + ridge * np.eye(beta.size)
        if np.linalg.eigvalsh(information)[0] <= 1e-8 * sets.event.sum():
            return np.full((beta.size, beta.size), np.nan)
        estimates.append(np.linalg.solve(information, rest.score() - ridge * beta))
    away = np.array(estimates)
    return (codes.size - 1) / codes.size * away.T @ away


def _column(factor: np.ndarray, values: np.ndarray) -> np.ndarray:
    return factor if values.ndim == 1 else factor[:, None]
