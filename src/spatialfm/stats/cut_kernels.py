"""Scans of all cuts for one outcome after the other, and of who has each event, compiled to machine code."""

from __future__ import annotations

import numpy as np

from .._compiled import compiled

STEPS, LARGEST, CLOSE = 25, 15.0, 1e-9  # of Newton, in standard deviations of the covariates
RIDGE = 1e-9  # of the information, so that a covariate that separates leaves a finite step


@compiled
def scan(time: np.ndarray, event: np.ndarray, entry: np.ndarray, x: np.ndarray, n_low: np.ndarray) -> np.ndarray:
    """Score over its standard deviation ``(B, n_cuts)`` of the upper side of each cut, beside covariates (ties: Efron).

    Parameters
    ----------
    time, event, entry, x
        ``(B, n)``, ``(B, n)``, ``(n,)`` and ``(n, p)``, rows by rising value of what is cut.
    n_low
        ``(n_cuts,)`` rows below each cut, rising.
    """
    result = np.zeros((time.shape[0], n_low.size))
    by_entry = np.argsort(-entry)
    for b in range(time.shape[0]):
        by_time = np.argsort(-time[b])
        coef, inverse = _fitted(time[b], event[b], entry, x, by_time, by_entry)
        _cuts(time[b], event[b], entry, x, _weights(x, coef), by_time, by_entry, n_low, inverse, result[b])
    return result


@compiled
def column(time: np.ndarray, event: np.ndarray, entry: np.ndarray, x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The same ``(B,)`` of a column ``(B, n)`` that each outcome has of its own; 0 where covariates tell it."""
    result = np.zeros(time.shape[0])
    by_entry = np.argsort(-entry)
    wider = np.zeros((x.shape[0], x.shape[1] + 1))
    wider[:, 1:] = x
    for b in range(time.shape[0]):
        by_time = np.argsort(-time[b])
        coef, inverse = _fitted(time[b], event[b], entry, x, by_time, by_entry)
        wider[:, 0] = values[b]
        score, information = _slopes(time[b], event[b], entry, wider, _weights(x, coef), by_time, by_entry)
        rest = information[0, 0]
        for p in range(x.shape[1]):
            for q in range(x.shape[1]):
                rest -= information[0, p + 1] * inverse[p, q] * information[0, q + 1]
        if rest > 1e-9:
            result[b] = score[0] / np.sqrt(rest)
    return result


@compiled
def _fitted(
    time: np.ndarray, event: np.ndarray, entry: np.ndarray, x: np.ndarray, by_time: np.ndarray, by_entry: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients ``(p,)`` of the covariates alone, and the inverse of their information."""
    coef, inverse = np.zeros(x.shape[1]), np.zeros((x.shape[1], x.shape[1]))
    for _ in range(STEPS):
        score, information = _slopes(time, event, entry, x, _weights(x, coef), by_time, by_entry)
        inverse = np.linalg.inv(information + RIDGE * np.eye(coef.size))
        furthest = 0.0
        for p in range(coef.size):
            step = 0.0
            for q in range(coef.size):
                step += inverse[p, q] * score[q]
            step = min(max(step, -1.0), 1.0)
            coef[p] = min(max(coef[p] + step, -LARGEST), LARGEST)
            furthest = max(furthest, abs(step))
        if furthest < CLOSE:
            break
    return coef, inverse


@compiled
def _weights(x: np.ndarray, coef: np.ndarray) -> np.ndarray:
    """Hazards ``(n,)``, relative to the highest."""
    eta = np.zeros(x.shape[0])
    for p in range(coef.size):
        eta += coef[p] * x[:, p]
    return np.exp(eta - eta.max())


@compiled
def _slopes(
    time: np.ndarray,
    event: np.ndarray,
    entry: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray,
    by_time: np.ndarray,
    by_entry: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Score ``(p,)`` and information ``(p, p)`` of the covariates."""
    n, width = x.shape
    score, information = np.zeros(width), np.zeros((width, width))
    total, first, second = np.zeros(2), np.zeros((2, width)), np.zeros((2, width, width))  # at risk, and failing now
    mean = np.zeros(width)
    came = gone = at = 0
    while at < n:
        now = time[by_time[at]]
        while came < n and time[by_time[came]] >= now:
            _add(weight[by_time[came]], x[by_time[came]], total[:1], first[0], second[0])
            came += 1
        while gone < n and entry[by_entry[gone]] >= now:
            _add(-weight[by_entry[gone]], x[by_entry[gone]], total[:1], first[0], second[0])
            gone += 1
        n_events, total[1], first[1], second[1] = 0, 0.0, 0.0, 0.0
        for j in range(at, came):
            i = by_time[j]
            if event[i]:
                n_events += 1
                _add(weight[i], x[i], total[1:], first[1], second[1])
                for p in range(width):
                    score[p] += x[i, p]
        for j in range(n_events):
            part = j / n_events
            whole = total[0] - part * total[1]
            for p in range(width):
                mean[p] = (first[0, p] - part * first[1, p]) / whole
                score[p] -= mean[p]
                for q in range(p + 1):
                    information[p, q] += (second[0, p, q] - part * second[1, p, q]) / whole - mean[p] * mean[q]
        at = came
    for p in range(width):
        for q in range(p):
            information[q, p] = information[p, q]
    return score, information


@compiled
def _add(weight: float, x: np.ndarray, total: np.ndarray, first: np.ndarray, second: np.ndarray) -> None:
    """Add one row to a weighted sum, to that of its covariates, and to that of their products (lower triangle)."""
    total[0] += weight
    for p in range(x.size):
        first[p] += weight * x[p]
        for q in range(p + 1):
            second[p, q] += weight * x[p] * x[q]


@compiled
def _cuts(
    time: np.ndarray,
    event: np.ndarray,
    entry: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray,
    by_time: np.ndarray,
    by_entry: np.ndarray,
    n_low: np.ndarray,
    inverse: np.ndarray,
    result: np.ndarray,
) -> None:
    """Standardised scores into `result`, at the covariates' own hazards."""
    (n, width), n_cuts = x.shape, n_low.size
    score, variance, with_x = np.zeros(n_cuts), np.zeros(n_cuts), np.zeros((n_cuts, width))
    at_risk = np.zeros(n)  # weight of those at risk
    low, low_x = np.zeros((2, n_cuts)), np.zeros((2, n_cuts, width))  # of those at risk, and with the event now
    sums, sums_x = np.zeros(2), np.zeros((2, width))
    now_of = np.zeros(n)
    came = gone = at = 0
    while at < n:
        now = time[by_time[at]]
        n_events = 0
        while came < n and time[by_time[came]] >= now:
            i = by_time[came]
            came += 1
            at_risk[i] = weight[i]
            if event[i]:
                n_events += 1
        while gone < n and entry[by_entry[gone]] >= now:
            at_risk[by_entry[gone]] = 0.0
            gone += 1
        if n_events:
            for j in range(at, came):
                if event[by_time[j]]:
                    now_of[by_time[j]] = weight[by_time[j]]
            for part in range(2 if n_events > 1 else 1):
                values = at_risk if part == 0 else now_of
                sums[part], k = 0.0, 0
                sums_x[part] = 0.0
                for i in range(n):
                    while k < n_cuts and n_low[k] == i:
                        low[part, k], low_x[part, k] = sums[part], sums_x[part]
                        k += 1
                    if values[i] > 0:
                        sums[part] += values[i]
                        for p in range(width):
                            sums_x[part, p] += values[i] * x[i, p]
            for j in range(at, came):
                i = by_time[j]
                now_of[i] = 0.0
            for j in range(n_events):
                part_of = j / n_events
                whole = sums[0] - part_of * sums[1] if j else sums[0]
                for k in range(n_cuts):
                    lower = low[0, k] - part_of * low[1, k] if j else low[0, k]
                    share = 1.0 - lower / whole
                    score[k] -= share
                    variance[k] += share * (1.0 - share)
                    for p in range(width):
                        all_x = sums_x[0, p] - part_of * sums_x[1, p] if j else sums_x[0, p]
                        lower_x = low_x[0, k, p] - part_of * low_x[1, k, p] if j else low_x[0, k, p]
                        with_x[k, p] += (all_x - lower_x - share * all_x) / whole
        at = came
    for k in range(n_cuts):
        rest = variance[k]
        score[k] += event[n_low[k] :].sum()
        for p in range(width):
            for q in range(width):
                rest -= with_x[k, p] * inverse[p, q] * with_x[k, q]
        if rest > 1e-9:
            result[k] = score[k] / np.sqrt(rest)


@compiled
def draw(
    race: np.ndarray, limit: np.ndarray, entry: np.ndarray, times: np.ndarray, n_events: np.ndarray, last: float
) -> tuple[np.ndarray, np.ndarray]:
    """Times and events ``(B, n)``: at each time of event, who of those at risk is first in the race ``(B, n)``.

    Parameters
    ----------
    limit
        ``(B, n)`` times up to which each can be seen; `last` is that of those without one (infinite).
    """
    drawn, failed = np.minimum(limit, last), np.zeros(race.shape, np.bool_)
    for b in range(race.shape[0]):
        clock = 0.0
        started = np.full(race.shape[1], -np.inf)
        for t in range(times.size):
            if t:
                before = times[t - 1]
                for i in range(race.shape[1]):
                    if before <= entry[i] < times[t]:
                        started[i] = clock  # who comes later starts when the race has got so far
            for _ in range(n_events[t]):
                best, first = np.inf, -1
                for i in range(race.shape[1]):
                    if failed[b, i] or limit[b, i] < times[t] or entry[i] >= times[t]:
                        continue
                    reached = race[b, i] + max(started[i], 0.0)
                    if reached < best:
                        best, first = reached, i
                if first >= 0:
                    failed[b, first], drawn[b, first] = True, times[t]
                    clock = best
    return drawn, failed
