"""How well the predictions of a model hold in another cohort: calibration, discrimination, net benefit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from .._errors import SurvivalError
from ..metrics._survival import survival as survival_scores
from ..stats.calibration import observed_expected, observed_risk, quantile_groups, restricted_spline
from ..stats.cox import baseline_hazard, fit_cox
from ..stats.net_benefit import net_benefit
from .survival_nested import step_values

KNOTS = (0.1, 0.5, 0.9)  # quantiles of the predictions at which the smooth curve bends (Harrell 2015)
FEW_EVENTS = 20  # below, no smooth curve
POINTS = 50
DRAWS_AT_ONCE = 500


@dataclass(frozen=True)
class Scored:
    """Predictions and outcomes of the patients that have both."""

    time: np.ndarray  # (n,)
    event: np.ndarray  # (n,) bool
    risk: np.ndarray  # (n,) higher for an earlier event
    log_risk: np.ndarray  # (n,) on the scale of a linear predictor
    expected: np.ndarray  # (n,) cumulative hazard predicted up to each patient's time
    seen: np.ndarray  # (n,) bool, event within the follow-up of the source
    survival: np.ndarray  # (n, n_times) predicted
    stratum: np.ndarray  # (n,) codes


def calibration_slope(log_risk: np.ndarray, scored: Scored, alpha: float) -> tuple[float, float, float]:
    """Coefficient of the predicted logarithm of risk in a Cox regression, and its interval; 1 is right.

    NaN where predictions do not differ, or the regression has no maximum.
    """
    strata = scored.stratum if len(np.unique(scored.stratum)) > 1 else None
    if not np.ptp(log_risk) > 1e-12:
        return np.nan, np.nan, np.nan
    try:
        fit = fit_cox(log_risk[:, None], scored.time, scored.event, strata=strata)
    except SurvivalError:
        return np.nan, np.nan, np.nan
    half = norm.isf(alpha / 2) * float(np.sqrt(fit.variance[0, 0]))
    slope = float(fit.coef[0])
    return slope, slope - half, slope + half


def score_tables(
    scored: Scored, times: np.ndarray, n_bootstrap: int, alpha: float, random_state: int
) -> dict[str, Any]:
    """Tables ``scores`` and ``curves``."""
    result = survival_scores(
        scored.time, scored.event, scored.risk, times=times, survival=scored.survival, folds=scored.stratum,
        n_bootstrap=n_bootstrap, alpha=alpha, random_state=random_state,
    )  # fmt: skip
    expected = float(scored.expected.sum())
    rows = {
        "calibration_slope": calibration_slope(scored.log_risk, scored, alpha),
        "observed_expected": observed_expected(int(scored.seen.sum()), expected, alpha),
    }
    first = pd.DataFrame.from_dict(rows, orient="index", columns=["value", "ci_low", "ci_high"])
    return {"scores": pd.concat([first, result["scores"]]).rename_axis("score"), "curves": result["curves"]}


def calibration_tables(scored: Scored, times: np.ndarray, n_groups: int, alpha: float) -> dict[str, pd.DataFrame]:
    """``calibration`` by groups of predicted risk, ``calibration_large`` of all, and ``calibration_smooth``."""
    groups, large, smooth = [], [], []
    for i, at in enumerate(times):
        predicted = 1 - scored.survival[:, i]
        for code in np.unique(codes := quantile_groups(predicted, n_groups)):
            in_group = codes == code
            groups.append(
                _row(at, predicted[in_group], scored.time[in_group], scored.event[in_group], alpha, group=int(code) + 1)
            )
        row = _row(at, predicted, scored.time, scored.event, alpha)
        curve = smooth_calibration(predicted, scored.time, scored.event, at)
        row["ratio"] = row["observed"] / row["predicted"] if row["predicted"] > 0 else np.nan
        row["ici"] = np.nan if curve is None else float(np.abs(curve[1] - predicted).mean())
        large.append(row)
        if curve is not None:
            grid, observed = curve[0]
            smooth.append(pd.DataFrame({"time": at, "predicted": grid, "observed": observed}))
    empty = pd.DataFrame({"time": [], "predicted": [], "observed": []}, dtype=float)
    return {
        "calibration": pd.DataFrame(groups),
        "calibration_large": pd.DataFrame(large),
        "calibration_smooth": pd.concat(smooth, ignore_index=True) if smooth else empty,
    }


def _row(
    at: float, predicted: np.ndarray, time: np.ndarray, event: np.ndarray, alpha: float, **more: int
) -> dict[str, float]:
    observed = observed_risk(time, event, np.array([at]), alpha)[0]
    return {
        "time": float(at),
        **more,
        "n": len(time),
        "at_risk": int((time >= at).sum()),
        "events": int((event & (time <= at)).sum()),
        "predicted": float(predicted.mean()),
        "observed": observed[0],
        "ci_low": observed[1],
        "ci_high": observed[2],
    }


def smooth_calibration(
    predicted: np.ndarray, time: np.ndarray, event: np.ndarray, at: float
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray] | None:
    """Observed risk over a grid of predicted ones, and that of each patient; None with too few events to bend a curve.

    A Cox regression of restricted cubic splines of ``log(-log(1 - predicted))`` (Austin, Harrell and van Klaveren,
    Statistics in Medicine 2020).
    """
    if (event & (time <= at)).sum() < FEW_EVENTS:
        return None
    x = np.log(-np.log1p(-np.clip(predicted, 1e-8, 1 - 1e-8)))
    knots = np.quantile(x, KNOTS)
    if not (np.diff(knots) > 1e-6).all():
        return None
    grid = np.linspace(predicted.min(), predicted.max(), POINTS)
    points = np.log(-np.log1p(-np.clip(grid, 1e-8, 1 - 1e-8)))
    basis = restricted_spline(x, knots)
    try:
        fit = fit_cox(basis, time, event)
    except SurvivalError:
        return None
    linear = basis @ fit.coef
    center = float(linear.mean())
    steps, hazard = baseline_hazard(linear - center, time, event)
    until = step_values(steps, hazard[None], np.array([at]), 0.0)[0, 0]

    def observed(values: np.ndarray) -> np.ndarray:
        return 1 - np.exp(-until * np.exp(np.minimum(restricted_spline(values, knots) @ fit.coef - center, 50.0)))

    return (grid, observed(points)), observed(x)


def decision_table(
    predicted: np.ndarray,
    scored: Scored,
    horizon: float,
    thresholds: np.ndarray,
    n_bootstrap: int,
    alpha: float,
    random_state: int,
) -> pd.DataFrame:
    """Net benefit at each threshold, with a bootstrap interval; of treating all, and of the difference to the better.

    The better one is treating all or none, whichever has more net benefit.
    """
    time, event, n = scored.time, scored.event, len(scored.time)
    treat, everyone = (each[0] for each in net_benefit(predicted, time, event, horizon, thresholds))
    rng, draws, gains = np.random.default_rng((random_state, 7)), [], []
    for start in range(0, n_bootstrap, DRAWS_AT_ONCE):
        size = min(DRAWS_AT_ONCE, n_bootstrap - start)
        weights = rng.multinomial(n, np.full(n, 1 / n), size=size).astype(np.float64)
        of_model, of_all = net_benefit(predicted, time, event, horizon, thresholds, weights)
        draws.append(of_model)
        gains.append(of_model - np.maximum(of_all, 0.0))
    return pd.DataFrame(
        {
            "time": float(horizon),
            "threshold": thresholds,
            "n_above": (predicted[:, None] >= thresholds - 1e-12).sum(axis=0),
            "net_benefit": treat,
            **_limits("", draws, treat, alpha),
            "treat_all": everyone,
            "gain": treat - np.maximum(everyone, 0.0),
            **_limits("gain_", gains, treat, alpha),
        }
    )


def _limits(name: str, draws: list[np.ndarray], value: np.ndarray, alpha: float) -> dict[str, np.ndarray]:
    low, high = np.full((2, len(value)), np.nan)
    values = np.concatenate(draws) if draws else np.empty((0, len(value)))
    for i in np.flatnonzero(np.isfinite(value)):
        if np.isfinite(values[:, i]).any():
            low[i], high[i] = np.nanquantile(values[:, i], [alpha / 2, 1 - alpha / 2])
    return {f"{name}ci_low": low, f"{name}ci_high": high}
