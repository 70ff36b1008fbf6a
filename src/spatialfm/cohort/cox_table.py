"""Inference of a Cox regression: intervals, p-values, tests of all terms."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import chi2, f, norm, t

from .._errors import SurvivalError
from .._types import present
from ..stats.concordance import concordant_pairs
from ..stats.cox import CoxFit
from .checks import listed
from .outcome import Outcome

Distribution = Literal["auto", "t", "normal"]
EVENTS_PER_TERM = 10  # below, coefficients are biased and intervals too short (Peduzzi et al., J Clin Epidemiol 1995)
SMALL = 100  # rows below which the normal distribution of a coefficient is not used


def variance_of(
    fit: CoxFit,
    n: int,
    events: int,
    clusters: np.ndarray | None,
    se_cluster_key: str | None,
    terms: pd.DataFrame,
    distribution: Distribution,
) -> tuple[np.ndarray, int | None]:
    """Covariance ``(p, p)`` that intervals rest on, and degrees of freedom of t; None for the normal distribution."""
    if clusters is None:
        few = n < SMALL or events < EVENTS_PER_TERM * len(terms)
        if distribution == "normal" or (distribution == "auto" and not few):
            return fit.variance, None
        left = max(n - len(terms), 1)
        return fit.variance * n / left, max(left - 1, 1)
    if fit.jackknife_variance is None:
        return present(fit.robust_variance, "the robust variance"), None
    if not np.isfinite(fit.jackknife_variance).all():
        raise SurvivalError(
            f"Without one of the clusters of obs[{se_cluster_key!r}] there is no event, or nothing left to estimate "
            f"for one of {listed(terms.index)}: what varies in one cluster only cannot be separated from that "
            'cluster. Leave the term out, or pass cluster_se="sandwich" for standard errors that do not see this.'
        )
    return fit.jackknife_variance, int(clusters.max())


def coefficient_table(
    coef: np.ndarray, variance: np.ndarray, terms: pd.DataFrame, alpha: float, dof: int | None = None
) -> pd.DataFrame:
    """Hazard ratios, intervals and p-values from the normal distribution, or that of t with `dof`."""
    law = norm if dof is None else t(dof)
    se = np.sqrt(np.diag(variance))
    reach = law.isf(alpha / 2) * se
    with np.errstate(over="ignore"):
        return terms.assign(
            coef=coef,
            se=se,
            hazard_ratio=np.exp(coef),
            ci_low=np.exp(coef - reach),
            ci_high=np.exp(coef + reach),
            z=coef / se,
            p_value=2 * law.sf(np.abs(coef / se)),
        )


def concordance_of(risk: np.ndarray, outcome: Outcome, strata: np.ndarray | None) -> float:
    """Harrell's concordance of a risk, compared within strata."""
    strata = np.zeros(risk.size, int) if strata is None else strata
    counts = [
        concordant_pairs(
            outcome.time[in_stratum],
            outcome.event[in_stratum],
            risk[in_stratum],
            None if outcome.entry is None else outcome.entry[in_stratum],
        )
        for in_stratum in (strata == code for code in np.unique(strata))
    ]
    right, pairs = np.sum(counts, axis=0)
    return float(right / pairs) if pairs else np.nan


def summary(fit: CoxFit, variance: np.ndarray, freedom: int | None, outcome: Outcome, n_terms: int) -> dict[str, float]:
    """Tests of all terms together, numbers of rows and events, concordance."""
    independent = 1.0 if fit.robust_variance is None else np.nan
    dof = n_terms if np.isclose(fit.dof, n_terms) else fit.dof
    tests = {
        "lr": 2 * (fit.log_likelihood - fit.null_log_likelihood) * independent,
        "score": fit.score_statistic * independent,
        "wald": float(fit.coef @ np.linalg.solve(variance, fit.coef)),
    }
    events = int(outcome.event.sum())
    result = {"n": len(outcome.time), "events": events, "events_per_term": events / n_terms}
    result["log_likelihood"] = fit.log_likelihood
    for name, statistic in tests.items():
        p = chi2.sf(statistic, dof) if freedom is None else f.sf(statistic / dof, dof, freedom)
        result |= {f"{name}_statistic": statistic, f"{name}_dof": dof, f"{name}_p_value": float(p)}
    return result
