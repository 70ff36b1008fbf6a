"""Log-rank test."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._keys import PATIENT_KEY
from .._logging import logger
from ._outcome import OnMissing, group_codes, observed_expected, read_groups, read_outcome

if TYPE_CHECKING:
    from anndata import AnnData


def logrank(
    samples: AnnData,
    group_key: str,
    *,
    pairwise: bool = False,
    time_key: str = "time",
    event_key: str = "event",
    patient_key: str | None = PATIENT_KEY,
    on_missing: OnMissing = "raise",
    key_added: str = "logrank",
    copy: bool = False,
) -> dict[str, object] | None:
    """Log-rank test of equal survival in all groups (lifelines).

    Where the groups come from :func:`spatialfm.tl.stratify` and the outcome decided which patients are together, the
    p-value is optimistic; the record and the log say so.

    Parameters
    ----------
    samples
        One row a patient, as from :func:`spatialfm.tl.composition` with `patient_key`.
    group_key
        Column of ``obs`` with two groups or more.
    pairwise
        Whether to test each pair of groups as well; those p-values are also given corrected after Holm.
    time_key, event_key
        Columns of ``obs``: time to event or censoring, from 0 on, and whether the event was seen (1) or not (0).
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
    None, or with `copy` the dictionary that is else written to ``uns[key_added]``: ``statistic`` (chi-squared),
    ``p_value``, ``dof``, ``n``, ``events``; ``groups`` with ``n``, ``observed`` and ``expected`` events of each group;
    ``optimistic``, whether the outcome made the groups; with `pairwise`, ``pairwise`` with ``group_a``, ``group_b``,
    ``statistic``, ``p_value`` and ``p_adjusted``; ``params``.

    Raises
    ------
    SurvivalError
        If outcomes or groups cannot be used, or there is only one group.

    Examples
    --------
    >>> import anndata as ad, pandas as pd
    >>> import spatialfm as sfm
    >>> obs = {"time": [1, 2, 3, 7, 8, 9], "event": [1, 1, 1, 1, 0, 1], "arm": list("aaabbb")}
    >>> patients = ad.AnnData(obs=pd.DataFrame(obs, index=[f"P{i}" for i in range(6)]))
    >>> result = sfm.tl.logrank(patients, "arm", copy=True)
    >>> round(result["statistic"], 2), round(result["p_value"], 3), result["dof"]
    (5.05, 0.025, 1)
    """
    outcome = read_outcome(
        samples,
        "logrank",
        time_key=time_key,
        event_key=event_key,
        patient_key=patient_key,
        on_missing=on_missing,
        columns=read_groups(samples, group_key),
    )
    codes, names = group_codes(outcome, group_key, need=2)

    statistic, p_value = logrank_test(outcome.time, outcome.event, codes)
    observed, expected = observed_expected(outcome.time, outcome.event, codes, len(names))
    result: dict[str, object] = {
        "statistic": statistic,
        "p_value": p_value,
        "dof": len(names) - 1,
        "n": len(codes),
        "events": int(outcome.event.sum()),
        "optimistic": outcome_made_groups(samples, group_key),
        "groups": pd.DataFrame(
            {"n": np.bincount(codes), "observed": observed.astype(int), "expected": expected},
            index=pd.Index(names, name="group"),
        ),
        "params": {
            "group_key": group_key,
            "time_key": time_key,
            "event_key": event_key,
            "n_dropped": outcome.n_dropped,
        },
    }
    if pairwise:
        result["pairwise"] = _pairwise(outcome.time, outcome.event, codes, names)
    logger.info(
        "log-rank on %r: chi2 = %.2f, %d degree(s) of freedom, p = %.3g; %d patients, %d events%s.",
        group_key,
        statistic,
        len(names) - 1,
        p_value,
        len(codes),
        outcome.event.sum(),
        "; optimistic, since the groups were made with this outcome" if result["optimistic"] else "",
    )
    if copy:
        return result
    samples.uns[key_added] = result
    return None


def logrank_test(time: np.ndarray, event: np.ndarray, codes: np.ndarray) -> tuple[float, float]:
    """Chi-squared and p-value."""
    from lifelines.statistics import multivariate_logrank_test

    result = multivariate_logrank_test(time, codes, event)
    return float(result.test_statistic), float(result.p_value)


def holm(p_values: np.ndarray) -> np.ndarray:
    """p-values corrected for their number after Holm (1979)."""
    order = np.argsort(p_values, kind="stable")
    steps = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(steps, 1)
    return corrected


def outcome_made_groups(samples: AnnData, group_key: str) -> bool:
    """Whether the record of the groups says that the outcome decided who is in which."""
    record = samples.uns.get(group_key)
    return isinstance(record, dict) and record.get("params", {}).get("outcome_decides", "") == "partition"


def _pairwise(time: np.ndarray, event: np.ndarray, codes: np.ndarray, names: list[str]) -> pd.DataFrame:
    rows = []
    for a, b in combinations(range(len(names)), 2):
        pair = np.isin(codes, (a, b))
        statistic, p_value = logrank_test(time[pair], event[pair], codes[pair]) if event[pair].any() else (0.0, 1.0)
        rows.append({"group_a": names[a], "group_b": names[b], "statistic": statistic, "p_value": p_value})
    table = pd.DataFrame(rows)
    table["p_adjusted"] = holm(table["p_value"].to_numpy())
    return table
