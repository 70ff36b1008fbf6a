"""Restricted mean survival time: the area under a Kaplan-Meier curve up to a horizon. Arrays in and out."""

from __future__ import annotations

import numpy as np

from .logrank import in_blocks
from .risk_table import risk_table


def restricted_means(
    time: np.ndarray, event: np.ndarray, in_group: np.ndarray, horizon: float, entry: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Areas up to the horizon and Greenwood's variances ``(B,)`` of the rows that each of ``(B, n)`` masks marks.

    Rows are at risk at a time t where ``entry < t <= time`` (Royston and Parmar, BMC Medical Research Methodology 2013;
    R's ``survfit``).
    """
    in_group = np.atleast_2d(in_group)
    times = np.unique(time[(event > 0) & (time <= horizon)])
    table = risk_table(time, event, entry, times=times, weights=in_group)
    survival = table.survival
    steps = np.hstack([np.ones((len(in_group), 1)), survival]) * np.diff(np.concatenate([[0.0], times, [horizon]]))
    rest = steps[:, ::-1].cumsum(axis=1)[:, ::-1]  # area from each time on
    return rest[:, 0], (rest[:, 1:] ** 2 * table.greenwood).sum(axis=1)


def permuted_differences(
    time: np.ndarray,
    event: np.ndarray,
    codes: np.ndarray,
    horizon: float,
    n_permutations: int,
    rng: np.random.Generator,
    entry: np.ndarray | None = None,
) -> tuple[np.ndarray, bool]:
    """Differences by their standard errors ``(B,)`` when two groups are reassigned; whether of all ways.

    Divided by its own standard error, the permuted difference has the right distribution though groups are censored
    differently (Ditzhaus, Yu and Xu, Statistics in Medicine 2023).
    """
    exact, differences = False, []
    for block, exact in in_blocks(codes, np.zeros(codes.size, int), n_permutations, rng):  # noqa: B007
        (a, va), (b, vb) = (restricted_means(time, event, block == code, horizon, entry) for code in (0, 1))
        difference, variance = b - a, va + vb
        size = np.divide(difference, np.sqrt(variance), out=np.zeros(len(block)), where=variance > 0)
        differences.append(np.where((variance <= 0) & (np.abs(difference) > 1e-12), np.inf, size))
    return np.concatenate(differences), exact


def pseudo_values(time: np.ndarray, event: np.ndarray, codes: np.ndarray, horizon: float) -> np.ndarray:
    """What each patient adds to the restricted mean of its group ``(n,)`` (Andersen, Hansen and Klein 2004).

    ``n`` times the mean of all less ``n - 1`` times that of the others, within groups, so that groups may be censored
    differently. Without censoring it is the patient's own time, up to the horizon.

    Examples
    --------
    >>> pseudo_values(np.array([2.0, 5.0, 9.0]), np.ones(3, bool), np.zeros(3, int), 6.0).round(9)
    array([2., 5., 6.])
    """
    pseudo = np.empty(len(time))
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        n = len(rows)
        masks = np.vstack([np.ones(n, bool), ~np.eye(n, dtype=bool)])
        means = restricted_means(time[rows], event[rows], masks, horizon)[0]
        pseudo[rows] = n * means[0] - (n - 1) * means[1:]
    return pseudo
