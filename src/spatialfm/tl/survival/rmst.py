"""Restricted mean survival time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from ..._errors import SurvivalError
from ..._fingerprint import DATA, fingerprint
from ..._keys import PATIENT_KEY
from ..._logging import logger
from ..._public import public
from ..._storable import write_uns
from ...cohort.adjusted import Adjustment
from ...cohort.checks import as_names, check_anndata
from ...cohort.composition_rows import check_terms
from ...cohort.design import covariate_columns, read_covariates
from ...cohort.outcome import (
    EventValue,
    OnMissing,
    Outcome,
    group_codes,
    outcome_digest,
    outcome_keys,
    read_groups,
    read_outcome,
)
from ...cohort.records import RmstRecord
from ...cohort.selected import OnSelected, check_selected, columns_of
from ...stats.linear import robust_fit
from ...stats.permutation import permutation_p
from ...stats.rmst import permuted_differences, pseudo_values, restricted_means
from .kaplan_meier import ALL
from .logrank import EXPECTED, GROUP, holm

if TYPE_CHECKING:
    from anndata import AnnData


@public
def rmst(
    patients: AnnData,
    group_key: str | None = None,
    *,
    horizon: float | None = None,
    covariates: str | Sequence[str] | None = None,
    alpha: float = 0.05,
    n_permutations: int = 9_999,
    time_key: str | None = None,
    event_key: str | None = None,
    event_value: EventValue = None,
    entry_key: str | None = None,
    patient_key: str | None = PATIENT_KEY,
    on_missing: OnMissing = "raise",
    on_selected: OnSelected = "raise",
    random_state: int = 0,
    key_added: str = "rmst",
    copy: bool = False,
) -> RmstRecord | None:
    """Mean survival time up to a horizon, and its difference and ratio between groups.

    The area under the Kaplan-Meier curve: of the first 60 months, patients live so many on average. It needs no
    proportional hazards, and its difference has the unit of time (Royston and Parmar, BMC Medical Research Methodology
    2013; values and standard errors are those of R's ``survfit``). The result means nothing without its horizon, which
    belongs into the plan of a study: where hazards cross, horizons disagree. With a group of fewer than 20 patients, or
    of fewer than 5 events up to the horizon, p-values and intervals of differences come from dealing the two groups
    again to the patients (studentised permutation, Ditzhaus et al., Statistics in Medicine 2023).

    Parameters
    ----------
    patients
        One row per patient, as from :func:`spatialfm.tl.composition` with `patient_key`.
    group_key
        Column of ``obs`` with the groups.
    horizon
        Time up to which the area is taken (default: the longest that all groups were followed for).
    covariates
        Columns of ``obs`` that differences are adjusted for: a linear model of pseudo-observations by group and
        covariates (Andersen, Hansen and Klein, Lifetime Data Analysis 2004), made within groups, so that these may be
        censored differently, with errors that do not assume equal spread (CR2, Satterthwaite). Censoring within a group
        is taken not to depend on covariates. Means of the groups stay as they are, and ratios are not known (NaN).
    alpha
        1 - confidence level.
    n_permutations
        Number of random arrangements, at least 999; all are looked at where they are at most 20,000.
    time_key
        Column of ``obs``: time to event or censoring, from 0 on
        (default: as the table remembers, see :func:`spatialfm.pp.set_outcome`; otherwise ``"time"``).
    event_key
        Column of ``obs``: whether the event was seen (1) or not (0)
        (default: as the table remembers, otherwise ``"event"``).
    event_value
        Value of `event_key` that means the event, or several, where it does not hold 0 and 1; all others are censored
        (default: as the table remembers).
    entry_key
        Column of ``obs`` with the time at which a patient came under observation (left truncation), before `time_key`.
    patient_key
        Column of ``obs`` that must not repeat, where there is one.
    on_missing
        What becomes of rows without outcome or group: ``"raise"``, or ``"drop"`` with their number in the record.
    on_selected
        What becomes of groups that an outcome of these same patients made: ``"raise"``, or ``"mark"``: go on, and call
        the result optimistic.
    random_state
        Seed of the permutations.
    key_added
        Key of ``uns`` that is written.
    copy
        Whether to return the result instead of writing it.

    Returns
    -------
    None, or with `copy` the dictionary that is otherwise written to ``uns[key_added]``: ``horizon``; ``groups`` with
    ``n``, ``events`` (up to the horizon), ``rmst``, ``se``, ``ci_low`` and ``ci_high``; with two groups or more,
    ``differences``, one row per pair, with ``group_a``, ``group_b``, ``difference`` (b - a), ``se``, ``ci_low``,
    ``ci_high``, ``p_value``, ``test`` (where p-value and interval come from), ``ratio`` (b / a), ``ratio_ci_low``,
    ``ratio_ci_high`` and, after Holm, ``p_adjusted``; ``optimistic``; ``params``. Limits are NaN where the standard
    error is 0 (no event of the group up to the horizon, or all at one time): it is not known then.

    Raises
    ------
    SurvivalError
        If outcomes or groups cannot be used, the horizon is beyond the follow-up of a group, or covariates come with
        `entry_key` (these pseudo-observations are not made for late entry).
    TableError
        If covariates determine the group, or are the same in all rows.

    Examples
    --------
    >>> import anndata as ad, pandas as pd
    >>> import spatialfm as sfm
    >>> obs = pd.DataFrame({"time": [2, 4, 6, 8], "event": [1, 1, 0, 1]}, index=["P1", "P2", "P3", "P4"])
    >>> result = sfm.tl.rmst(ad.AnnData(obs=obs), horizon=6, copy=True)  # 2 * 1 + 2 * 0.75 + 2 * 0.5
    >>> result["groups"][["n", "events", "rmst"]]
         n  events  rmst
    all  4       2   4.5
    """
    check_anndata(patients, "rmst", None if copy else key_added)
    keys = outcome_keys(patients, time_key, event_key, event_value)
    names = as_names(covariates)
    _check_call(n_permutations, names, group_key, entry_key)
    selected = check_selected(patients, "rmst", columns_of(patients, [group_key, *names]), on_selected)
    columns = read_covariates(patients, names)
    groups = read_groups(patients, group_key)
    outcome = read_outcome(
        patients,
        "rmst",
        **keys.arguments(),
        entry_key=entry_key,
        patient_key=patient_key,
        on_missing=on_missing,
        columns=groups if groups is None else groups.assign(**columns),
    )
    codes, levels = (np.zeros(len(outcome.time), int), [ALL]) if group_key is None else group_codes(outcome, group_key)
    horizon = _horizon(horizon, outcome, codes, levels)

    groups = _groups(outcome, codes, levels, horizon, alpha)
    result: RmstRecord = {
        "horizon": horizon,
        "groups": groups,
        "optimistic": selected.optimistic,
        "params": {
            **selected.params(),
            "group_key": group_key or "",
            **keys.params(),
            "entry_key": entry_key or "",
            "covariates": np.array(names, dtype=object),
            "alpha": float(alpha),
            "n_dropped": outcome.n_dropped,
            "digest": outcome_digest(outcome, codes, levels),
            DATA: fingerprint(
                patients,
                [group_key, keys.time, keys.event, entry_key, *names],
                x=not set(names) <= set(patients.obs),
            ),
        },
    }
    if len(levels) > 1:
        pairs = combinations(range(len(levels)), 2)
        if names:
            rows = [_adjusted(outcome, codes, levels, a, b, group_key, names, horizon, alpha) for a, b in pairs]
        else:
            options = (horizon, alpha, n_permutations, random_state)
            rows = [_difference(outcome, codes, groups, a, b, *options) for a, b in pairs]
        table = pd.DataFrame(rows)
        result["differences"] = table.assign(p_adjusted=holm(table["p_value"].to_numpy()))
    means = (f"{name} {row.rmst:.4g}" for name, row in zip(levels, groups.itertuples(), strict=True))
    logger.info("Mean survival up to %g: %s.", horizon, ", ".join(means))
    if copy:
        return result
    write_uns(patients, key_added, result)
    return None


def _check_call(n_permutations: int, covariates: list[str], group_key: str | None, entry_key: str | None) -> None:
    if n_permutations < 999:
        raise SurvivalError(f"n_permutations={n_permutations} cannot show small p-values. Pass 999 or more.")
    if covariates and (group_key is None or entry_key is not None):
        raise SurvivalError(
            "covariates= adjust a difference between groups (group_key=), and pseudo-observations are not made for "
            "late entry (entry_key=): sfm.tl.cox takes both. Leave one out."
        )


def _horizon(horizon: float | None, outcome: Outcome, codes: np.ndarray, names: list[str]) -> float:
    """The given one, if the curves of all groups reach it: they do to the last time, or where all have died."""
    reach = {}
    for code, name in enumerate(names):
        time, event = outcome.time[codes == code], outcome.event[codes == code]
        last = time.max()
        reach[name] = np.inf if event[time == last].all() else last
    followed = min(float(outcome.time[codes == code].max()) for code in range(len(names)))
    if horizon is None and followed > 0:
        return followed
    if horizon is None:
        raise SurvivalError(
            "A group has no follow-up beyond time 0: there is no horizon. Leave it out before this call."
        )
    if not (isinstance(horizon, int | float | np.number) and np.isfinite(horizon) and horizon > 0):
        raise SurvivalError(f"horizon={horizon!r} is not a time above 0.")
    short = {name: last for name, last in reach.items() if horizon > last}
    if short:
        raise SurvivalError(
            f"horizon={horizon:g} is beyond the follow-up of "
            + ", ".join(f"{name!r} (until {last:g})" for name, last in short.items())
            + f": the curve is not known there. Pass at most horizon={min(short.values()):g}."
        )
    return float(horizon)


def _groups(outcome: Outcome, codes: np.ndarray, names: list[str], horizon: float, alpha: float) -> pd.DataFrame:
    masks = codes == np.arange(len(names))[:, None]
    means, variances = restricted_means(outcome.time, outcome.event, masks, horizon, outcome.entry)
    se = np.sqrt(variances)
    reach = norm.isf(alpha / 2) * se
    seen = outcome.event & (outcome.time <= horizon)
    return pd.DataFrame(
        {
            "n": masks.sum(axis=1),
            "events": (masks & seen).sum(axis=1),
            "rmst": means,
            "se": se,
            "ci_low": np.where(se > 0, np.maximum(means - reach, 0.0), np.nan),
            "ci_high": np.where(se > 0, np.minimum(means + reach, horizon), np.nan),
        },
        index=pd.Index(names, name=None if names == [ALL] else "group"),
    )


def _difference(
    outcome: Outcome,
    codes: np.ndarray,
    groups: pd.DataFrame,
    a: int,
    b: int,
    horizon: float,
    alpha: float,
    n_permutations: int,
    random_state: int,
) -> dict[str, Any]:
    one, two = groups.iloc[a], groups.iloc[b]
    difference, se = float(two["rmst"] - one["rmst"]), float(np.hypot(one["se"], two["se"]))
    size = abs(difference) / se if se > 0 else (np.inf if abs(difference) > 1e-12 else 0.0)
    reach, p_value, test = norm.isf(alpha / 2), 2 * norm.sf(size), "normal"
    if min(one["n"], two["n"]) < GROUP or min(one["events"], two["events"]) < EXPECTED:
        pair = np.isin(codes, (a, b))
        entry = None if outcome.entry is None else outcome.entry[pair]
        null, exact = permuted_differences(
            outcome.time[pair],
            outcome.event[pair],
            (codes[pair] == b).astype(int),
            horizon,
            n_permutations,
            np.random.default_rng(random_state),
            entry,
        )
        null = np.abs(null)
        p_value = float(permutation_p(np.minimum(null, 1e9), min(size, 1e9), exact))
        reach = float(np.quantile(null, 1 - alpha, method="higher"))
        test = f"permutation, {'all' if exact else 'random'} {len(null):,} arrangements"
    names = groups.index
    wide = np.log(two["rmst"] / one["rmst"]) if min(one["rmst"], two["rmst"]) > 0 else np.nan
    of_log = reach * np.hypot(*(mean["se"] / mean["rmst"] if mean["rmst"] > 0 else np.nan for mean in (one, two)))
    if se == 0:  # no patient had the event in between: not that the interval had no width
        reach = of_log = np.nan
    return {
        "group_a": names[a],
        "group_b": names[b],
        "difference": difference,
        "se": se,
        "ci_low": difference - reach * se,
        "ci_high": difference + reach * se,
        "p_value": float(p_value),
        "test": test,
        "ratio": float(np.exp(wide)),
        "ratio_ci_low": float(np.exp(wide - of_log)),
        "ratio_ci_high": float(np.exp(wide + of_log)),
    }


def _adjusted(
    outcome: Outcome,
    codes: np.ndarray,
    levels: list[str],
    a: int,
    b: int,
    group_key: str,
    names: list[str],
    horizon: float,
    alpha: float,
) -> dict[str, Any]:
    """Difference at equal covariates, of pseudo-observations."""
    pair = np.isin(codes, (a, b))
    second = (codes[pair] == b).astype(int)
    rows = Adjustment(covariate_columns(outcome, names).loc[pair]).rows(second)
    check_terms(rows, group_key, names, None)
    design = rows.design()[0]
    values = pseudo_values(outcome.time[pair], outcome.event[pair], second, horizon)
    fit = robust_fit(values[:, None], design, design.shape[1] - 1)
    low, high = (float(end[0]) for end in fit.interval(1 - alpha))
    if np.ptp(values) < 1e-9 * horizon:  # no patient had the event in between: not that the interval had no width
        low = high = np.nan
    unknown = dict.fromkeys(("ratio", "ratio_ci_low", "ratio_ci_high"), np.nan)
    return {
        "group_a": levels[a],
        "group_b": levels[b],
        "difference": float(fit.value[0]),
        "se": float(fit.error[0]),
        "ci_low": low,
        "ci_high": high,
        "p_value": float(fit.p_value()[0]),
        "test": "linear model of pseudo-observations",
        **unknown,
    }
