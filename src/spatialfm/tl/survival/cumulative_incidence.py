"""Cumulative incidence of competing events."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..._errors import SurvivalError
from ..._fingerprint import DATA, fingerprint
from ..._keys import PATIENT_KEY
from ..._logging import logger
from ..._public import public
from ..._storable import write_uns
from ...cohort.causes import Causes, read_causes
from ...cohort.checks import as_names, check_anndata
from ...cohort.design import adjusting_covariates, check_roles, read_covariates
from ...cohort.outcome import (
    EventValue,
    OnMissing,
    event_text,
    group_codes,
    outcome_digest,
    outcome_keys,
    read_groups,
    read_strata,
    stratum_codes,
)
from ...cohort.records import IncidenceRecord
from ...cohort.selected import OnSelected, check_selected, columns_of
from ...stats.adjusted_logrank import AdjustedLogrank
from ...stats.competing_risks import gray_test, log_log_interval
from ...stats.competing_risks import incidence_of as curve_of
from ...stats.fine_gray import expand
from ...stats.logrank import arrangements
from ...stats.permutation import permutation_p
from .kaplan_meier import ALL
from .logrank import EXPECTED, GROUP, with_p_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData


@public
def cumulative_incidence(
    patients: AnnData,
    group_key: str | None = None,
    *,
    strata: str | Sequence[str] | None = None,
    covariates: str | Sequence[str] | None = None,
    time_key: str | None = None,
    event_key: str | None = None,
    event_value: EventValue = None,
    censored_value: EventValue = None,
    entry_key: str | None = None,
    alpha: float = 0.05,
    n_permutations: int = 1_999,
    patient_key: str | None = PATIENT_KEY,
    on_missing: OnMissing = "raise",
    on_selected: OnSelected = "raise",
    random_state: int = 0,
    key_added: str = "cumulative_incidence",
    copy: bool = False,
) -> IncidenceRecord | None:
    """Probability of each of several events by each time, and Gray's test between groups.

    Where another event can come first (death of another cause, before a relapse), one minus the Kaplan-Meier curve
    overstates the probability, since it takes those patients as if the event could still come. The estimate is Aalen
    and Johansen's, with Aalen's variance; the test is that of Gray (Annals of Statistics 1988), both as in R's
    ``cmprsk``. With a group of fewer than 20 patients or 5 events, the test's p-value comes from dealing the groups
    again to the patients (within strata). For what an event does to the hazard of those still without any, see
    :func:`spatialfm.tl.cox` with `event_value`.

    Parameters
    ----------
    patients
        One row per patient, as from :func:`spatialfm.tl.composition` with `patient_key`.
    group_key
        Column of ``obs`` with the groups.
    strata
        Columns of ``obs`` whose levels are compared only within, by the test.
    covariates
        Columns of ``obs``, or names in ``var``, at which the groups are compared: the test is then the score test of
        the groups in Fine and Gray's regression on the covariates (ratios: :func:`spatialfm.tl.fine_gray`), and in
        small groups, and below 100 patients, what covariates do not tell of the group is dealt again, as in
        :func:`spatialfm.tl.logrank`. Curves stay as they are. Not together with `strata`.
    time_key
        Column of ``obs``: time to the first event or censoring, from 0 on
        (default: as the table remembers, see :func:`spatialfm.pp.set_outcome`; otherwise ``"time"``).
    event_key
        Column of ``obs``: which event it was (0: censored)
        (default: as the table remembers, otherwise ``"event"``).
    event_value
        Value of `event_key` that is of interest, or several as one; all other events are one, too. Default: each event
        separately.
    censored_value
        Value of `event_key` that means censored, or several, where it is not 0; ``[]`` if no patient was.
    entry_key
        Column of ``obs`` with the time at which a patient came under observation (left truncation). There is no Gray's
        test then.
    alpha
        1 - confidence level; intervals are symmetric on the scale of log(-log).
    n_permutations
        Number of random arrangements of small groups, at least 999; of two groups all are looked at where there are no
        more.
    patient_key
        Column of ``obs`` that must not repeat, where there is one.
    on_missing
        What becomes of rows without outcome, group or stratum: ``"raise"``, or ``"drop"`` with their number in the
        record.
    on_selected
        What becomes of groups or strata that an outcome of these same patients made: ``"raise"``, or ``"mark"``: go on,
        and call the result optimistic.
    random_state
        Seed of the permutations.
    key_added
        Key of ``uns`` that is written.
    copy
        Whether to return the result instead of writing it.

    Returns
    -------
    None, or with `copy` the dictionary that is otherwise written to ``uns[key_added]``: ``table`` with ``event``,
    ``group``, ``time``, ``at_risk``, ``events``, ``other_events``, ``censored``, ``incidence``, ``ci_low``,
    ``ci_high``, with `entry_key` also ``entered``; ``groups``, one row per event and group with ``n`` and ``events``;
    with `group_key`, ``tests``, one row per event, with ``statistic``, ``dof``, ``p_value``, ``test`` (where the
    p-value comes from), ``p_value_chi_squared``, ``permuted`` and, with `covariates`, ``p_value_unadjusted``;
    ``optimistic``; ``params``.

    Raises
    ------
    SurvivalError
        If outcomes, groups, strata or covariates cannot be used, or it is not known which value means censored.

    Examples
    --------
    >>> import anndata as ad, pandas as pd
    >>> import spatialfm as sfm
    >>> obs = {"time": [1, 2, 3, 4, 5], "event": ["relapse", "death", "relapse", "none", "none"]}
    >>> patients = ad.AnnData(obs=pd.DataFrame(obs, index=[f"P{i}" for i in range(5)]))
    >>> result = sfm.tl.cumulative_incidence(patients, censored_value="none", copy=True)
    >>> curve = result["table"].query("event == 'relapse'")
    >>> curve[["time", "at_risk", "events", "other_events", "incidence"]].head(4)
       time  at_risk  events  other_events  incidence
    6   0.0        5       0             0        0.0
    7   1.0        5       1             0        0.2
    8   2.0        4       0             1        0.2
    9   3.0        3       1             0        0.4
    """
    check_anndata(patients, "cumulative_incidence", None if copy else key_added)
    keys = outcome_keys(patients, time_key, event_key, event_value, takes_value=False)
    strata_names = [strata] if isinstance(strata, str) else list(strata or ())
    names_of_x = as_names(covariates)
    _check_call(group_key, strata_names, names_of_x, entry_key, n_permutations)
    rests_on = columns_of(patients, [group_key, *strata_names, *names_of_x])
    selected = check_selected(patients, "cumulative_incidence", rests_on, on_selected)
    groups = pd.DataFrame(index=patients.obs.index) if group_key is None else read_groups(patients, group_key)
    causes = read_causes(
        patients,
        "cumulative_incidence",
        **keys.arguments(),
        censored_value=censored_value,
        entry_key=entry_key,
        patient_key=patient_key,
        on_missing=on_missing,
        columns=groups.assign(**read_strata(patients, strata_names), **read_covariates(patients, names_of_x)),
    )
    outcome, n = causes.outcome, len(causes.codes)
    codes, names = (np.zeros(n, int), [ALL]) if group_key is None else group_codes(outcome, group_key)
    table, sizes = _curves(causes, codes, names, alpha)
    result: IncidenceRecord = {
        "table": table,
        "groups": sizes,
        "optimistic": selected.optimistic,
        "params": {
            **selected.params(),
            "group_key": group_key or "",
            "strata": np.array(strata_names, dtype=object),
            "covariates": np.array(names_of_x, dtype=object),
            **keys.params(),
            "censored_value": event_text(censored_value),
            "entry_key": entry_key or "",
            "alpha": float(alpha),
            "n_dropped": outcome.n_dropped,
            "digest": outcome_digest(outcome, codes, names),
            DATA: fingerprint(
                patients,
                [group_key, *strata_names, *names_of_x, keys.time, keys.event, entry_key],
                x=any(name not in patients.obs for name in names_of_x),
            ),
        },
    }
    if len(names) > 1 and entry_key is None:
        rng = np.random.default_rng(random_state)
        result["tests"] = _tests(causes, codes, stratum_codes(outcome), n_permutations, rng)
        if names_of_x:
            x = adjusting_covariates(outcome, names_of_x, codes, None, str(group_key))
            plain = result["tests"]["p_value"]
            result["tests"] = _adjusted_tests(causes, codes, x, n_permutations, random_state)
            result["tests"]["p_value_unadjusted"] = plain
    logger.info("Cumulative incidence of %s: %d patients, %d events.", causes.names, n, outcome.event.sum())
    if copy:
        return result
    write_uns(patients, key_added, result)
    return None


def _check_call(
    group_key: str | None, strata: list[str], covariates: list[str], entry_key: str | None, n_permutations: int
) -> None:
    if n_permutations < 999:
        raise SurvivalError(f"n_permutations={n_permutations} cannot show small p-values. Pass 999 or more.")
    if (strata or covariates) and (group_key is None or entry_key is not None):
        raise SurvivalError(
            "strata= and covariates= are of Gray's test, which needs group_key= and takes no entry_key= "
            "(sfm.tl.fine_gray does). Leave it out."
        )
    if strata and covariates:
        raise SurvivalError("Fine and Gray's regression has no strata. Name them in covariates= instead.")
    check_roles(group_key, strata, covariates)


def _curves(causes: Causes, codes: np.ndarray, names: list[str], alpha: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    tables, sizes = [], []
    outcome = causes.outcome
    for which, event in enumerate(causes.names, start=1):
        for code, name in enumerate(names):
            in_group = codes == code
            entry = None if outcome.entry is None else outcome.entry[in_group]
            curve = curve_of(outcome.time[in_group], causes.codes[in_group], which, entry)
            low, high = log_log_interval(curve.incidence, curve.variance, alpha)
            table = pd.DataFrame(
                {
                    "event": event,
                    "group": name,
                    "time": curve.time,
                    "at_risk": curve.at_risk,
                    "events": curve.events,
                    "other_events": curve.other,
                    "censored": curve.censored,
                    "incidence": curve.incidence,
                    "ci_low": low,
                    "ci_high": high,
                }
            )
            if entry is not None:
                table["entered"] = np.bincount(np.searchsorted(curve.time, entry), minlength=len(table))
            tables.append(table)
            sizes.append({"event": event, "group": name, "n": int(in_group.sum()), "events": int(curve.events.sum())})
    return pd.concat(tables, ignore_index=True), pd.DataFrame(sizes)


def _tests(
    causes: Causes, codes: np.ndarray, strata: np.ndarray | None, n_permutations: int, rng: np.random.Generator
) -> pd.DataFrame:
    rows = []
    for code, event in enumerate(causes.names, start=1):
        time = causes.outcome.time
        statistic, p_value, dof = gray_test(time, causes.codes, codes, code, strata)
        rows.append({"event": event, "statistic": statistic, "dof": dof, "p_value": p_value, "test": "chi-squared"})
        rows[-1] |= {"p_value_chi_squared": p_value, "permuted": False}
        seen = (causes.codes == code).mean() * np.bincount(codes)  # as if events fell on all alike
        if dof and (np.bincount(codes).min() < GROUP or seen.min() < EXPECTED):
            one = np.zeros(codes.size, int) if strata is None else strata
            dealt, exact = arrangements(codes, one, n_permutations, rng, exact=n_permutations)
            null = np.array([gray_test(time, causes.codes, each, code, strata)[0] for each in dealt])
            name = f"permutation, {'all' if exact else 'random'} {len(null):,} arrangements"
            rows[-1] |= {"p_value": float(permutation_p(null, statistic, exact)), "test": name, "permuted": True}
    return pd.DataFrame(rows)


def _adjusted_tests(
    causes: Causes, codes: np.ndarray, x: np.ndarray, n_permutations: int, random_state: int
) -> pd.DataFrame:
    """The same at equal covariates."""
    rows, columns = [], ("statistic", "dof", "p_value", "test", "p_value_chi_squared", "permuted")
    for code, event in enumerate(causes.names, start=1):
        pieces = expand(causes.outcome.time, causes.codes, code)
        test = AdjustedLogrank(x, pieces.stop, pieces.event, entry=pieces.start, pieces=pieces)
        tested = with_p_values(test, codes, "auto", n_permutations, random_state, trend=False)
        rows.append({"event": event, **{name: tested[name] for name in columns}})
    return pd.DataFrame(rows)
