"""Kaplan-Meier curves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from scipy.stats import norm

from ..._errors import warn
from ..._fingerprint import DATA, fingerprint
from ..._keys import PATIENT_KEY
from ..._logging import logger
from ..._public import public
from ..._storable import write_uns
from ...cohort.checks import check_anndata, listed
from ...cohort.outcome import (
    EventValue,
    OnMissing,
    events,
    group_codes,
    outcome_digest,
    outcome_keys,
    read_groups,
    read_outcome,
)
from ...cohort.records import KaplanMeierRecord
from ...cohort.selected import check_selected, columns_of
from ...stats.risk_table import risk_table

if TYPE_CHECKING:
    from anndata import AnnData

Interval = Literal["log-log", "log", "plain"]
ALL = "all"  # name of the one group where there are none


@public
def kaplan_meier(
    patients: AnnData,
    group_key: str | None = None,
    *,
    time_key: str | None = None,
    event_key: str | None = None,
    event_value: EventValue = None,
    entry_key: str | None = None,
    interval: Interval = "log-log",
    alpha: float = 0.05,
    patient_key: str | None = PATIENT_KEY,
    on_missing: OnMissing = "raise",
    key_added: str = "kaplan_meier",
    copy: bool = False,
) -> KaplanMeierRecord | None:
    """Kaplan-Meier survival curves, of all patients or of each group, as R's ``survfit`` has them.

    Parameters
    ----------
    patients
        One row per patient, as from :func:`spatialfm.tl.composition` with `patient_key`.
    group_key
        Column of ``obs`` with the groups.
    time_key
        Column of ``obs``: time to event or censoring, from 0 on
        (default: as the table remembers, see :func:`spatialfm.pp.set_outcome`; otherwise ``"time"``).
    event_key
        Column of ``obs``: whether the event was seen (1) or not (0)
        (default: as the table remembers, otherwise ``"event"``).
    event_value
        Value of `event_key` that means the event, or several, where it does not hold 0 and 1; all others are censored
        (default: as the table remembers).
        Of competing events, as deaths of another cause, these curves overstate the risk: see
        :func:`spatialfm.tl.cumulative_incidence`.
    entry_key
        Column of ``obs`` with the time at which a patient came under observation (left truncation), before `time_key`:
        who was biopsied a year after diagnosis cannot have died before. At risk from then on.
    interval
        Scale on which Greenwood's interval is symmetric: ``"log-log"``, which stays between 0 and 1; ``"log"``, R's
        default; ``"plain"``. The latter two are cut at 0 and 1.
    alpha
        1 - confidence level.
    patient_key
        Column of ``obs`` that must not repeat, where there is one.
    on_missing
        What becomes of rows without outcome or group: ``"raise"``, or ``"drop"`` with their number in the record.
    key_added
        Key of ``uns`` that is written.
    copy
        Whether to return the result instead of writing it.

    Returns
    -------
    None, or with `copy` the dictionary that is otherwise written to ``uns[key_added]``: ``table`` with columns
    ``group``, ``time``, ``at_risk`` (just before the time), ``events``, ``censored``, ``survival``, ``ci_low`` and
    ``ci_high``, with `entry_key` also ``entered`` (at the time, at risk from then on);
    ``groups`` with ``n``, ``events``, ``median``, ``median_ci_low`` and ``median_ci_high`` of each group (NaN: not
    reached); ``optimistic``, whether the outcome made the groups, of which a warning is given; ``params``. The
    interval is NaN where the estimate is 0.

    Raises
    ------
    SurvivalError
        If outcomes or groups cannot be used; the message names the rows.

    Warns
    -----
    SpatialfmWarning
        If values besides `event_value` may be competing events; if no patient is left at risk while others enter later.

    Examples
    --------
    >>> import anndata as ad, pandas as pd
    >>> import spatialfm as sfm
    >>> obs = pd.DataFrame({"time": [2, 4, 6, 8], "event": [1, 1, 0, 1]}, index=["P1", "P2", "P3", "P4"])
    >>> patients = ad.AnnData(obs=obs)
    >>> sfm.tl.kaplan_meier(patients)
    >>> patients.uns["kaplan_meier"]["table"][["time", "at_risk", "events", "survival"]]
       time  at_risk  events  survival
    0   0.0        4       0      1.00
    1   2.0        4       1      0.75
    2   4.0        3       1      0.50
    3   6.0        2       0      0.50
    4   8.0        1       1      0.00
    """
    check_anndata(patients, "kaplan_meier", None if copy else key_added)
    keys = outcome_keys(patients, time_key, event_key, event_value)
    selected = check_selected(patients, "kaplan_meier", columns_of(patients, [group_key]), None)
    outcome = read_outcome(
        patients,
        "kaplan_meier",
        **keys.arguments(),
        entry_key=entry_key,
        patient_key=patient_key,
        on_missing=on_missing,
        columns=read_groups(patients, group_key),
    )
    codes, names = (np.zeros(len(outcome.time), int), [ALL]) if group_key is None else group_codes(outcome, group_key)

    _warn_competing(patients.obs[keys.event], keys.event, keys.value)
    curves = [
        survival_curve(
            outcome.time[codes == i],
            outcome.event[codes == i],
            alpha,
            interval,
            entry=None if outcome.entry is None else outcome.entry[codes == i],
        )
        for i in range(len(names))
    ]
    _warn_empty(curves, names)
    result: KaplanMeierRecord = {
        "table": pd.concat(
            [curve.assign(group=name)[["group", *curve.columns]] for curve, name in zip(curves, names, strict=True)],
            ignore_index=True,
        ),
        "groups": pd.DataFrame([_summary(curve) for curve in curves], index=pd.Index(names, name="group")),
        "optimistic": selected.optimistic,
        "params": {
            **selected.params(),
            "group_key": group_key or "",
            **keys.params(),
            "entry_key": entry_key or "",
            "alpha": float(alpha),
            "interval": f"Greenwood, {interval}",
            "n_dropped": outcome.n_dropped,
            "digest": outcome_digest(outcome, codes, names),
            DATA: fingerprint(patients, [group_key, keys.time, keys.event, entry_key]),
        },
    }
    if copy:
        return result
    write_uns(patients, key_added, result)
    logger.info("Wrote uns[%r]: %d patients, %d events.", key_added, len(outcome.time), outcome.event.sum())
    return None


def survival_curve(
    time: np.ndarray,
    event: np.ndarray,
    alpha: float = 0.05,
    interval: Interval = "log-log",
    *,
    entry: np.ndarray | None = None,
) -> pd.DataFrame:
    """Kaplan-Meier estimate of one group: a row for time 0 and each later time of event, censoring or entry."""
    times = np.unique(np.concatenate([[0.0], time, () if entry is None else entry]))
    counts = risk_table(time, event, entry, times=times)
    at_risk, entered = counts.at_risk, None
    if entry is not None:
        entered = np.bincount(np.searchsorted(times, entry), minlength=times.size)
        at_risk[0] = entered[0]  # at the start, who is there from the start
    survival = _estimate(time, event, times) if entry is None else counts.survival
    greenwood = np.sqrt(np.cumsum(counts.greenwood))  # standard error of log S
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = _interval(survival, greenwood, norm.isf(alpha / 2), interval)
    low[survival == 1], high[survival == 1] = 1.0, 1.0
    low[survival <= 0], high[survival <= 0] = np.nan, np.nan
    table = pd.DataFrame(
        {
            "time": times,
            "at_risk": at_risk.astype(int),
            "events": counts.events.astype(int),
            "censored": (counts.leaving - counts.events).astype(int),
            "survival": survival,
            "ci_low": low,
            "ci_high": high,
        }
    )
    return table if entered is None else table.assign(entered=entered)


def _estimate(time: np.ndarray, event: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The estimate of lifelines, which refuses late entry where all who are at risk early have the event."""
    from lifelines import KaplanMeierFitter

    return KaplanMeierFitter().fit(time, event).survival_function_at_times(times).to_numpy()


def _interval(s: np.ndarray, se: np.ndarray, z: float, kind: Interval) -> tuple[np.ndarray, np.ndarray]:
    """Limits from the standard error of log S."""
    if kind == "plain":
        return np.maximum(s - z * s * se, 0), np.minimum(s + z * s * se, 1)
    if kind == "log":
        return s * np.exp(-z * se), np.minimum(s * np.exp(z * se), 1)
    reach = np.exp(z * se / np.abs(np.log(s)))
    return s**reach, s ** (1 / reach)


def _warn_competing(event: pd.Series, event_key: str, event_value: EventValue) -> None:
    """Two kinds of rows without the event may be the censored and those with another event."""
    if event_value is None:
        return
    present = event.dropna()
    others = present[~events(present, event_key, event_value)].astype(str).value_counts()
    if len(others) > 1:
        warn(
            f"Rows with {listed(f'{name} ({n})' for name, n in others.items())} in obs[{event_key!r}] count as "
            "censored. If one of these is an event after which this one cannot come (a competing risk), the curves "
            "overstate the risk of this event: use sfm.tl.cumulative_incidence."
        )


def _warn_empty(curves: list[pd.DataFrame], names: list[str]) -> None:
    empty = [
        f"{name} from {curve['time'][curve['survival'] <= 0].iloc[0]:g} on"
        for curve, name in zip(curves, names, strict=True)
        if (curve["survival"] <= 0).any() and (curve["events"][curve["survival"] <= 0] > 0).sum() > 1
    ]
    if empty:
        warn(
            f"All who were at risk had the event while others entered later, so that survival is 0 for good: "
            f"{listed(empty)}. Few are at risk early with late entry: start the clock later, or leave the earliest "
            "events out."
        )


def _summary(curve: pd.DataFrame) -> dict[str, float]:
    def time_of_half(column: str) -> float:
        # a product of fractions can miss 1/2 by rounding; a curve that stays there a while has its middle
        below = curve["time"][curve[column] <= 0.5 + 1e-12]
        if not len(below):
            return np.nan
        later = curve["time"][curve[column] < 0.5 - 1e-12]
        return float((below.iloc[0] + later.iloc[0]) / 2 if len(later) else below.iloc[0])

    return {
        "n": int((curve["events"] + curve["censored"]).sum()),
        "events": int(curve["events"].sum()),
        "median": time_of_half("survival"),
        "median_ci_low": time_of_half("ci_low"),
        "median_ci_high": time_of_half("ci_high"),
    }
