"""Log-rank test at equal covariates: the score test of groups in a Cox model of the covariates. Arrays in and out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .cox import Likelihood, RiskSets, fit_cox
from .fine_gray import Expanded
from .logrank import AT_ONCE, LogrankParts, statistics_of, trends_of


class AdjustedLogrank:
    """Score test of groups whose hazards are proportional to those of a Cox model of covariates alone (ties: Efron).

    Without covariates and ties it is the log-rank test. Groups come with each call, as those of
    :class:`spatialfm.stats.logrank.LogrankTest` do.

    Parameters
    ----------
    x
        ``(n, p)`` covariates; of those that repeat others within strata, or are constant, the first are taken.
    pieces
        Rows of Fine and Gray's regression, whose ``patient`` is the row of `x`: then it is a test of cumulative
        incidences, and `time`, `event` and `entry` are those of the pieces.

    Raises
    ------
    SurvivalError
        If the model of the covariates has no maximum.
    """

    dealt, few = "permutation of residuals", 100  # below so many patients 6 to 7 % have p below 0.05 by chi-squared

    def __init__(
        self,
        x: np.ndarray,
        time: np.ndarray,
        event: np.ndarray,
        strata: np.ndarray | None = None,
        entry: np.ndarray | None = None,
        pieces: Expanded | None = None,
    ):
        n = len(x)
        self.strata = np.zeros(n, int) if strata is None else np.asarray(strata)
        patient = np.arange(n) if pieces is None else pieces.patient
        case_weights = None if pieces is None else pieces.weight
        self._design, self._x = independent_terms(x, self.strata)
        self._sets = sets = RiskSets(time, event, strata, "efron", entry, case_weights)
        coef = np.zeros(0)
        if self._x.shape[1]:
            own = self._x[patient]
            coef = fit_cox(
                own, time, event, strata=strata, entry=entry, case_weights=case_weights, may_penalize=False
            ).coef
        self._patient, rows = patient[sets.order], self._x[patient[sets.order]]
        self._weight = sets.weights(rows @ coef)[1]
        self._total = sets.totals(self._weight)
        self._hazard = self._weight * sets.exposure(1 / self._total)  # expected events of each row
        self._rows, self._mean = rows, sets.totals(self._weight[:, None] * rows) / self._total[:, None]
        self._inverse = np.linalg.inv(Likelihood(sets, rows, coef).information())

    def parts(self, codes: np.ndarray, n_groups: int | None = None) -> LogrankParts:
        """Sums of one arrangement into the groups 0, 1, ...; expected events are those at equal covariates."""
        groups = np.eye(n_groups or int(codes.max()) + 1)[codes]
        of_rows = groups[self._patient]
        difference, covariance = self._sums(groups[None])
        return LogrankParts(self._sets.event @ of_rows, self._hazard @ of_rows, difference[0], covariance[0])

    def permuted(
        self, codes: np.ndarray, n_permutations: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, bool]:
        """Chi-squared and trend statistics ``(B,)`` under the null; False, since they are never all.

        What covariates do not tell of the groups is dealt again to the patients, within strata (permutation of
        regressor residuals: Potter, Statistics in Medicine 2005; Werft and Benner, The R Journal 2010). Without
        covariates that is to deal the groups again.
        """
        groups = np.eye(int(codes.max()) + 1)[codes]
        rest = groups - self._design @ np.linalg.lstsq(self._design, groups, rcond=None)[0]
        sums = [self._sums(rest[orders]) for orders in self._orders(n_permutations, groups.shape[1], rng)]
        difference, covariance = (np.concatenate(values) for values in zip(*sums, strict=True))
        return statistics_of(difference, covariance), trends_of(difference, covariance), False

    def _orders(self, n_permutations: int, n_groups: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """Rows ``(B, n)`` in random order within strata, a few at a time."""
        at_once = max(1, AT_ONCE // (len(self._patient) * n_groups))
        for start in range(0, n_permutations, at_once):
            orders = np.tile(np.arange(len(self._x)), (min(at_once, n_permutations - start), 1))
            for code in np.unique(self.strata):
                rows = np.flatnonzero(self.strata == code)
                orders[:, rows] = rng.permuted(orders[:, rows], axis=1)
            yield orders

    def _sums(self, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Score ``(B, k)`` and its covariance ``(B, k, k)`` of ``(B, n, k)`` values, covariates being estimated."""
        of_rows = np.moveaxis(groups[:, self._patient], 1, 0)  # (rows, B, k)
        shape = (-1, *of_rows.shape[1:])
        mean = self._sets.totals((self._weight[:, None, None] * of_rows).reshape(len(of_rows), -1)).reshape(shape)
        mean = mean / self._total[:, None, None]
        score = np.tensordot(self._sets.event - self._hazard, of_rows, axes=1)
        seen = self._hazard[:, None, None] * of_rows
        both = np.einsum("rbk,rbl->bkl", seen, of_rows) - np.einsum("tbk,tbl->bkl", mean, mean)
        with_x = np.einsum("rbk,rp->bkp", seen, self._rows) - np.einsum("tbk,tp->bkp", mean, self._mean)
        return score, both - with_x @ self._inverse @ np.swapaxes(with_x, 1, 2)


def independent_terms(x: np.ndarray, strata: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An intercept of each stratum with the covariates that add to it, standardised; and these covariates."""
    design = (strata[:, None] == np.unique(strata)).astype(float)
    n_strata = design.shape[1]
    spread = x.std(axis=0)
    for column in ((x - x.mean(axis=0)) / np.where(spread > 0, spread, 1.0)).T:
        wider = np.column_stack([design, column])
        if np.linalg.matrix_rank(wider) == wider.shape[1]:
            design = wider
    return design, design[:, n_strata:]
