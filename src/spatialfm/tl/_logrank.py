"""Log-rank test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import chi2

from .._errors import SurvivalError
from .._fingerprint import DATA, fingerprint
from .._keys import PATIENT_KEY
from .._logging import logger
from .._public import public
from .._storable import write_uns
from ._check import check_anndata, listed, obs_column
from ._outcome import (
    EventValue,
    OnMissing,
    event_text,
    group_codes,
    outcome_digest,
    read_groups,
    read_outcome,
    read_strata,
    stratum_codes,
)

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True)
class LogrankParts:
    """Sums over strata and times of event, from which every version of the test comes."""

    observed: np.ndarray  # (n_groups,) events
    expected: np.ndarray  # (n_groups,) events if hazards were equal within each stratum
    covariance: np.ndarray  # (n_groups, n_groups) of their difference, hypergeometric


@public
def logrank(
    samples: AnnData,
    group_key: str,
    *,
    strata: str | Sequence[str] | None = None,
    pairwise: bool = False,
    trend: bool = False,
    time_key: str = "time",
    event_key: str = "event",
    event_value: EventValue = None,
    patient_key: str | None = PATIENT_KEY,
    on_missing: OnMissing = "raise",
    key_added: str = "logrank",
    copy: bool = False,
) -> dict[str, object] | None:
    """Log-rank test of equal survival in all groups, also within strata and for a trend over ordered groups.

    The tests are those of R's ``survdiff`` (Kalbfleisch and Prentice 2002, section 1.4). Where the groups come from
    :func:`spatialfm.tl.stratify` or :func:`spatialfm.tl.cut_point` and the outcome decided which patients are together,
    the p-value is optimistic; the record and the log say so.

    Parameters
    ----------
    samples
        One row a patient, as from :func:`spatialfm.tl.composition` with `patient_key`.
    group_key
        Column of ``obs`` with two groups or more.
    strata
        Columns of ``obs`` whose levels are compared only within, as a clinical stage or a center: patients of one level
        (or combination of levels) are expected to die alike, those of two need not.
    pairwise
        Whether to test each pair of groups as well; those p-values are also given corrected after Holm.
    trend
        Whether to test for a trend over the groups as well: a hazard that rises or falls from each to the next, which
        finds what the test of any difference may miss. Groups must have an order: an ordered categorical, or numbers.
    time_key, event_key
        Columns of ``obs``: time to event or censoring, from 0 on, and whether the event was seen (1) or not (0).
    event_value
        Value of `event_key` that means the event, or several, where it does not hold 0 and 1; all others are censored.
    patient_key
        Column of ``obs`` that must not repeat, where there is one.
    on_missing
        What becomes of rows without outcome, group or stratum: ``"raise"``, or ``"drop"`` with their number in the
        record.
    key_added
        Key of ``uns`` that is written.
    copy
        Whether to return the result instead of writing it.

    Returns
    -------
    None, or with `copy` the dictionary that is else written to ``uns[key_added]``: ``statistic`` (chi-squared),
    ``p_value``, ``dof``, ``n``, ``events``; ``groups`` with ``n``, ``observed`` and ``expected`` events of each group;
    ``optimistic``, whether the outcome made the groups; with `pairwise`, ``pairwise`` with ``group_a``, ``group_b``,
    ``statistic``, ``p_value`` and ``p_adjusted``; with `trend`, ``trend`` with ``statistic``, ``p_value`` (groups
    scored 0, 1, 2 and so on; 1 degree of freedom) and ``direction``, 1 where the hazard rises from the first group to
    the last and -1 where it falls; ``params``.

    Raises
    ------
    SurvivalError
        If outcomes, groups or strata cannot be used, there is only one group, groups have no order for a trend, or no
        stratum has patients of two groups at risk together.

    Examples
    --------
    >>> import anndata as ad, pandas as pd
    >>> import spatialfm as sfm
    >>> obs = {"time": [1, 2, 3, 7, 8, 9], "event": [1, 1, 1, 1, 0, 1], "arm": list("aaabbb")}
    >>> obs["stage"] = [3, 3, 2, 2, 1, 1]
    >>> patients = ad.AnnData(obs=pd.DataFrame(obs, index=[f"P{i}" for i in range(6)]))
    >>> result = sfm.tl.logrank(patients, "arm", copy=True)
    >>> round(result["statistic"], 2), round(result["p_value"], 3), result["dof"]
    (5.05, 0.025, 1)
    >>> sfm.tl.logrank(patients, "stage", trend=True, copy=True)["trend"]["direction"]
    1
    """
    check_anndata(samples, "logrank", key_added)
    if trend:
        _check_order(samples, group_key)
    strata_names = [strata] if isinstance(strata, str) else list(strata or ())
    if group_key in strata_names:
        raise SurvivalError(f"{group_key!r} is both group_key= and strata=: within its levels is nothing to compare.")
    columns = read_strata(samples, strata_names)
    outcome = read_outcome(
        samples,
        "logrank",
        time_key=time_key,
        event_key=event_key,
        event_value=event_value,
        patient_key=patient_key,
        on_missing=on_missing,
        columns=read_groups(samples, group_key).assign(**columns),
    )
    codes, names = group_codes(outcome, group_key, need=2)
    strata_codes = stratum_codes(outcome)

    parts = logrank_parts(outcome.time, outcome.event, codes, strata_codes)
    statistic, p_value, dof = chi_squared(parts)
    if dof == 0:
        raise SurvivalError(
            f"At no event were patients of two groups of obs[{group_key!r}] at risk"
            f"{f' in one stratum of {listed(strata_names)}' if strata_names else ''}: there is nothing to compare. "
            "Merge groups or strata."
        )
    result: dict[str, object] = {
        "statistic": statistic,
        "p_value": p_value,
        "dof": dof,
        "n": len(codes),
        "events": int(outcome.event.sum()),
        "optimistic": outcome_made_groups(samples, group_key),
        "groups": pd.DataFrame(
            {"n": np.bincount(codes), "observed": parts.observed.astype(int), "expected": parts.expected},
            index=pd.Index(names, name="group"),
        ),
        "params": {
            "group_key": group_key,
            "strata": np.array(strata_names, dtype=object),
            "time_key": time_key,
            "event_key": event_key,
            "event_value": event_text(event_value),
            "n_dropped": outcome.n_dropped,
            "digest": outcome_digest(outcome, codes, names),
            DATA: fingerprint(samples, [group_key, *strata_names, time_key, event_key]),
        },
    }
    if pairwise:
        result["pairwise"] = _pairwise(outcome.time, outcome.event, codes, names, strata_codes)
    if trend:
        result["trend"] = trend_test(parts)
    logger.info(
        "log-rank on %r: chi2 = %.2f, %d df, p = %.3g; %d patients, %d events%s.",
        *(group_key, statistic, dof, p_value, len(codes), outcome.event.sum()),
        "; optimistic, since the groups were made with this outcome" if result["optimistic"] else "",
    )
    if copy:
        return result
    write_uns(samples, key_added, result)
    return None


def logrank_test(
    time: np.ndarray, event: np.ndarray, codes: np.ndarray, strata: np.ndarray | None = None
) -> tuple[float, float]:
    """Chi-squared and p-value."""
    return chi_squared(logrank_parts(time, event, codes, strata))[:2]


def logrank_parts(
    time: np.ndarray, event: np.ndarray, codes: np.ndarray, strata: np.ndarray | None = None
) -> LogrankParts:
    """Observed and expected events of the groups 0, 1, ... and the covariance of their difference."""
    n_groups = int(codes.max()) + 1
    strata = np.zeros(time.size, int) if strata is None else strata
    observed, expected = np.zeros(n_groups), np.zeros(n_groups)
    covariance = np.zeros((n_groups, n_groups))
    for stratum in np.unique(strata):
        mine = strata == stratum
        times, index = np.unique(time[mine], return_inverse=True)
        leaving, events = np.zeros((2, times.size, n_groups))
        np.add.at(leaving, (index, codes[mine]), 1)
        np.add.at(events, (index, codes[mine]), event[mine])
        at_risk = leaving[::-1].cumsum(axis=0)[::-1][events.sum(axis=1) > 0]
        events = events[events.sum(axis=1) > 0]
        n, d = at_risk.sum(axis=1), events.sum(axis=1)
        share = at_risk / n[:, None]
        observed += events.sum(axis=0)
        expected += d @ share
        factor = d * (n - d) / np.maximum(n - 1, 1)
        covariance += np.diag(factor @ share) - (share * factor[:, None]).T @ share
    return LogrankParts(observed, expected, covariance)


def chi_squared(parts: LogrankParts) -> tuple[float, float, int]:
    """Statistic, p-value and degrees of freedom; 0, 1 and 0 where nothing can be compared."""
    difference = (parts.observed - parts.expected)[1:]
    covariance = parts.covariance[1:, 1:]
    size = np.abs(parts.covariance).max()
    dof = int(np.linalg.matrix_rank(covariance, tol=1e-10 * size)) if size > 1e-12 else 0
    if dof == 0:
        return 0.0, 1.0, 0
    statistic = float(difference @ np.linalg.pinv(covariance, rcond=1e-10) @ difference)
    return statistic, float(chi2.sf(statistic, dof)), dof


def trend_test(parts: LogrankParts) -> dict[str, float | int]:
    """Test of a trend over groups scored 0, 1, 2, ... (Tarone, Biometrika 1975)."""
    score = np.arange(len(parts.observed), dtype=float)
    excess = score @ (parts.observed - parts.expected)
    statistic = float(excess**2 / (score @ parts.covariance @ score))
    return {"statistic": statistic, "p_value": float(chi2.sf(statistic, 1)), "direction": int(np.sign(excess))}


def holm(p_values: np.ndarray) -> np.ndarray:
    """p-values corrected for their number after Holm (1979)."""
    order = np.argsort(p_values, kind="stable")
    steps = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(steps, 1)
    return corrected


def outcome_made_groups(samples: AnnData, group_key: str) -> bool:
    """Whether the record of the groups says that outcomes, the patient's own or others', decided who is in which."""
    record = samples.uns.get(group_key)
    return isinstance(record, dict) and record.get("params", {}).get("outcome_decides", "") in (
        "partition",
        "others' partition",
    )


def _check_order(samples: AnnData, group_key: str) -> None:
    """Refuse groups without order: the alphabet would make a trend of 'high', 'low' and 'mid'."""
    column = obs_column(samples, group_key, "group_key", rows="rows", error=SurvivalError, allow_missing=True)
    if isinstance(column.dtype, pd.CategoricalDtype):
        ordered = column.cat.ordered or pd.api.types.is_numeric_dtype(column.cat.categories.dtype)
    else:
        ordered = pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype)
    if not ordered:
        raise SurvivalError(
            f"The groups of obs[{group_key!r}] have no order, which trend=True needs. Give them one: "
            f'samples.obs["{group_key}"] = pd.Categorical(samples.obs["{group_key}"], [first, ..., last], '
            "ordered=True)."
        )


def _pairwise(
    time: np.ndarray, event: np.ndarray, codes: np.ndarray, names: list[str], strata: np.ndarray | None
) -> pd.DataFrame:
    rows = []
    for a, b in combinations(range(len(names)), 2):
        pair = np.isin(codes, (a, b))
        statistic, p_value = logrank_test(
            time[pair], event[pair], (codes[pair] == b).astype(int), None if strata is None else strata[pair]
        )
        rows.append({"group_a": names[a], "group_b": names[b], "statistic": statistic, "p_value": p_value})
    table = pd.DataFrame(rows)
    table["p_adjusted"] = holm(table["p_value"].to_numpy())
    return table
