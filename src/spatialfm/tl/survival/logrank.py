"""Log-rank test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy.stats import chi2

from ..._errors import SurvivalError
from ..._fingerprint import DATA, fingerprint
from ..._keys import PATIENT_KEY
from ..._logging import logger
from ..._public import public
from ..._storable import write_uns
from ...cohort.checks import as_names, check_anndata, listed, obs_column
from ...cohort.design import adjusting_covariates, check_roles, read_covariates
from ...cohort.outcome import (
    EventValue,
    OnMissing,
    group_codes,
    outcome_digest,
    outcome_keys,
    read_groups,
    read_outcome,
    read_strata,
    stratum_codes,
)
from ...cohort.records import LogrankRecord
from ...cohort.selected import OnSelected, check_selected, columns_of
from ...stats.adjusted_logrank import AdjustedLogrank
from ...stats.logrank import (
    NAMED_WEIGHTS,
    LogrankTest,
    Weights,
    chi_squared,
    least_expected,
    trend_statistic,
)
from ...stats.permutation import permutation_p

if TYPE_CHECKING:
    from anndata import AnnData


Method = Literal["auto", "chi-squared", "permutation"]
GROUP, EXPECTED = 20, 5.0  # patients, expected events of a group below which the chi-squared distribution is not used


@public
def logrank(
    patients: AnnData,
    group_key: str,
    *,
    strata: str | Sequence[str] | None = None,
    covariates: str | Sequence[str] | None = None,
    pairwise: bool = False,
    trend: bool = False,
    weights: Weights = "logrank",
    method: Method = "auto",
    n_permutations: int = 9_999,
    time_key: str | None = None,
    event_key: str | None = None,
    event_value: EventValue = None,
    entry_key: str | None = None,
    patient_key: str | None = PATIENT_KEY,
    on_missing: OnMissing = "raise",
    random_state: int = 0,
    on_selected: OnSelected = "raise",
    key_added: str = "logrank",
    copy: bool = False,
) -> LogrankRecord | None:
    """Log-rank test of equal survival in all groups, also within strata, at equal covariates, and for a trend.

    The statistics are those of R's ``survdiff`` (Kalbfleisch and Prentice 2002, section 1.4). Their chi-squared
    distribution needs patients: with 3 to 5 in a group, 6 to 8 % of cohorts without effect have p below 0.05, and 3 %
    p below 0.01. With a group of fewer than 20 patients or 5 expected events, p-values therefore come from dealing the
    groups again to the patients (within strata); ``test`` in the result states it. Groups that the outcome of
    these same patients made are refused, wherever they come from; with ``on_selected="mark"`` the record, the log and
    the figure call the p-value optimistic.

    Parameters
    ----------
    patients
        One row per patient, as from :func:`spatialfm.tl.composition` with `patient_key`.
    group_key
        Column of ``obs`` with two groups or more.
    strata
        Columns of ``obs`` whose levels are compared only within, as a clinical stage or a center: patients of one level
        (or combination of levels) are expected to die alike, those of two need not.
    covariates
        Columns of ``obs``, or names in ``var``, at which the groups are compared: age, where it drives both who is in a
        group and how long patients live. All p-values are then those of the score test of the groups in a Cox model of
        the covariates; in small groups, and below 100 patients, what covariates do not tell of the group is dealt again
        to the patients (permutation of regressor residuals: Potter, Statistics in Medicine 2005; Werft and Benner, The
        R Journal 2010). Categories become one term for each level but the first. A hazard ratio at equal covariates is
        that of :func:`spatialfm.tl.cox`.
    pairwise
        Whether to test each pair of groups as well; those p-values are also given corrected after Holm.
    trend
        Whether to test for a trend over the groups as well: a hazard that rises or falls from each to the next, which
        finds what the test of any difference may miss. Groups must have an order: an ordered categorical, or numbers.
    weights
        Weight of each time of event: ``"logrank"``, the same for all; early differences count more with ``"gehan"``
        (Wilcoxon's; the number at risk), ``"tarone-ware"`` (its square root) and ``"peto"`` (Peto and Peto's survival
        estimate); a pair ``(rho, gamma)`` takes Fleming and Harrington's ``S(t-)^rho (1 - S(t-))^gamma``: ``(1, 0)``
        for early, ``(0, 1)`` for late differences, as of immunotherapies. The weight belongs into the plan of a study:
        the best of several is not a test.
    method
        Where p-values come from: ``"chi-squared"``, ``"permutation"``, or ``"auto"``, as described above. Permutation
        is exact where censoring does not depend on the group; where it does, each arrangement being divided by its own
        variance keeps the test close to its level.
    n_permutations
        Number of random arrangements, at least 999; of two groups all are looked at where they are at most 20,000.
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
        Column of ``obs`` with the time at which a patient came under observation (left truncation): who was biopsied a
        year after diagnosis cannot have died before. At risk from then on.
    patient_key
        Column of ``obs`` that must not repeat, where there is one.
    on_missing
        What becomes of rows without outcome, group or stratum: ``"raise"``, or ``"drop"`` with their number in the
        record.
    random_state
        Seed of the permutations.
    on_selected
        What becomes of groups or strata that an outcome of these same patients made, by whatever way (signatures,
        :func:`spatialfm.tl.stratify` with `merge_into`, :func:`spatialfm.tl.cut_point`, cross-validated risk):
        ``"raise"``, since no test that takes them as given holds, or ``"mark"``: go on, and call the result optimistic.
    key_added
        Key of ``uns`` that is written.
    copy
        Whether to return the result instead of writing it.

    Returns
    -------
    None, or with `copy` the dictionary that is otherwise written to ``uns[key_added]``: ``statistic`` (chi-squared),
    ``p_value``, ``test`` (where the p-value comes from), ``p_value_chi_squared``, ``dof``, ``n``, ``events``;
    ``permuted``, whether from dealing the groups again; ``groups`` with ``n``, ``observed`` and ``expected`` events of
    each group (with `covariates` those at equal covariates); ``optimistic``, whether the outcome made the groups; with
    `covariates`, ``p_value_unadjusted``, as it is without them; with `pairwise`, ``pairwise`` with ``group_a``,
    ``group_b``, ``statistic``, ``p_value``, ``test`` and ``p_adjusted``; with `trend`, ``trend`` with ``statistic``,
    ``p_value`` (groups scored 0, 1, 2 and so on; 1 degree of freedom), ``test``, ``p_value_chi_squared`` and
    ``direction``, 1 where the hazard rises from the first group to the last and -1 where it falls; ``params``.

    Raises
    ------
    SurvivalError
        If outcomes, groups, strata or covariates cannot be used, there is only one group, groups have no order for a
        trend, covariates determine a group, or no stratum has patients of two groups at risk together.

    Examples
    --------
    >>> import anndata as ad, pandas as pd
    >>> import spatialfm as sfm
    >>> obs = {"time": [1, 2, 3, 7, 8, 9], "event": [1, 1, 1, 1, 0, 1], "arm": list("aaabbb")}
    >>> obs["stage"] = [3, 3, 2, 2, 1, 1]
    >>> patients = ad.AnnData(obs=pd.DataFrame(obs, index=[f"P{i}" for i in range(6)]))
    >>> result = sfm.tl.logrank(patients, "arm", copy=True)
    >>> round(result["statistic"], 2), round(result["p_value_chi_squared"], 3), result["dof"]
    (5.05, 0.025, 1)
    >>> round(result["p_value"], 3), result["test"]  # 2 of 20 ways to choose 3 of 6 patients are so extreme
    (0.1, 'permutation, all 20 arrangements')
    >>> sfm.tl.logrank(patients, "stage", trend=True, copy=True)["trend"]["direction"]
    1
    """
    check_anndata(patients, "logrank", None if copy else key_added)
    keys = outcome_keys(patients, time_key, event_key, event_value)
    if trend:
        _check_order(patients, group_key)
    strata_names = [strata] if isinstance(strata, str) else list(strata or ())
    names_of_x = as_names(covariates)
    check_roles(group_key, strata_names, names_of_x)
    weights = _check_test(weights, n_permutations, names_of_x)
    columns = read_strata(patients, strata_names) | read_covariates(patients, names_of_x)
    rests_on = columns_of(patients, [group_key, *strata_names, *names_of_x])
    selected = check_selected(patients, "logrank", rests_on, on_selected, ordered="levels" if trend else False)
    outcome = read_outcome(
        patients,
        "logrank",
        **keys.arguments(),
        entry_key=entry_key,
        patient_key=patient_key,
        on_missing=on_missing,
        columns=read_groups(patients, group_key).assign(**columns),
    )
    codes, names = group_codes(outcome, group_key, need=2)
    strata_codes = stratum_codes(outcome)

    x = None if not names_of_x else adjusting_covariates(outcome, names_of_x, codes, strata_codes, group_key)
    rows = _Rows(outcome.time, outcome.event, strata_codes, outcome.entry, x)
    plan = (method, n_permutations, random_state)
    tested = with_p_values(rows.test(weights), codes, *plan, trend=trend)
    _check_comparable(tested["dof"], group_key, strata_names)
    parts = tested.pop("parts")
    result: LogrankRecord = {
        **tested,
        "n": len(codes),
        "events": int(outcome.event.sum()),
        "optimistic": selected.optimistic,
        "groups": pd.DataFrame(
            {"n": np.bincount(codes), "observed": parts.observed.astype(int), "expected": parts.expected},
            index=pd.Index(names, name="group"),
        ),
        "params": {
            "group_key": group_key,
            "strata": np.array(strata_names, dtype=object),
            "covariates": np.array(names_of_x, dtype=object),
            "weights": weights if isinstance(weights, str) else "fleming-harrington ({:g}, {:g})".format(*weights),
            **keys.params(),
            "entry_key": entry_key or "",
            "n_dropped": outcome.n_dropped,
            **selected.params(),
            "digest": outcome_digest(outcome, codes, names),
            DATA: fingerprint(
                patients,
                [group_key, *strata_names, *names_of_x, keys.time, keys.event, entry_key],
                x=any(name not in patients.obs for name in names_of_x),
            ),
        },
    }
    if x is not None:
        plain = with_p_values(replace(rows, x=None).test(weights), codes, *plan, trend=False)
        result["p_value_unadjusted"] = plain["p_value"]
    if pairwise:
        result["pairwise"] = _pairwise(rows, codes, names, weights, plan)
    _tell(result, group_key)
    if copy:
        return result
    write_uns(patients, key_added, result)
    return None


@dataclass(frozen=True)
class _Rows:
    """Rows of a test in one order; with `x` at equal covariates."""

    time: np.ndarray
    event: np.ndarray
    strata: np.ndarray | None
    entry: np.ndarray | None
    x: np.ndarray | None

    def test(self, weights: Weights) -> LogrankTest | AdjustedLogrank:
        if self.x is not None:
            return AdjustedLogrank(self.x, self.time, self.event, self.strata, self.entry)
        return LogrankTest(self.time, self.event, self.strata, self.entry, weights)

    def of(self, some: np.ndarray) -> _Rows:
        """A part of them."""
        parts = (getattr(self, field.name) for field in fields(self))
        return _Rows(*(None if part is None else part[some] for part in parts))


def logrank_test(
    time: np.ndarray,
    event: np.ndarray,
    codes: np.ndarray,
    strata: np.ndarray | None = None,
    entry: np.ndarray | None = None,
) -> tuple[float, float]:
    """Chi-squared and p-value."""
    return chi_squared(LogrankTest(time, event, strata, entry).parts(codes))[:2]


def with_p_values(
    test: LogrankTest | AdjustedLogrank,
    codes: np.ndarray,
    method: Method,
    n_permutations: int,
    random_state: int,
    *,
    trend: bool,
) -> dict[str, Any]:
    """Statistic, p-value and where it comes from, of the groups and, if asked for, of a trend; ``parts``."""
    parts = test.parts(codes)
    statistic, p_value, dof = chi_squared(parts)
    result: dict[str, Any] = {
        "statistic": statistic,
        "p_value": p_value,
        "test": "chi-squared",
        "p_value_chi_squared": p_value,
        "permuted": False,
        "dof": dof,
        "parts": parts,
    }
    if trend and dof:
        rise, direction = trend_statistic(parts)
        p_rise = float(chi2.sf(rise, 1))
        result["trend"] = {"statistic": rise, "p_value": p_rise, "test": "chi-squared", "p_value_chi_squared": p_rise}
        result["trend"]["direction"] = direction
    sizes = np.bincount(codes)
    small = sizes.min() < GROUP or least_expected(parts, sizes) < EXPECTED or codes.size < test.few
    if dof and (method == "permutation" or (method == "auto" and small)):
        null, null_trend, exact = test.permuted(codes, n_permutations, np.random.default_rng(random_state))
        name = f"{test.dealt}, {'all' if exact else 'random'} {len(null):,} arrangements"
        result |= {"p_value": float(permutation_p(null, statistic, exact)), "test": name, "permuted": True}
        if trend:
            p_rise = float(permutation_p(null_trend, result["trend"]["statistic"], exact))
            result["trend"] |= {"p_value": p_rise, "test": name}
    return result


def holm(p_values: np.ndarray) -> np.ndarray:
    """p-values corrected for their number after Holm (1979)."""
    order = np.argsort(p_values, kind="stable")
    steps = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(steps, 1)
    return corrected


def _check_comparable(dof: int, group_key: str, strata: list[str]) -> None:
    if dof == 0:
        raise SurvivalError(
            f"At no event were patients of two groups of obs[{group_key!r}] at risk"
            f"{f' in one stratum of {listed(strata)}' if strata else ''}: there is nothing to compare. "
            "Merge groups or strata."
        )


def _tell(result: LogrankRecord, group_key: str) -> None:
    covariates = list(result["params"]["covariates"])
    logger.info(
        "log-rank on %r%s: chi2 = %.2f, %d df, p = %.3g (%s); %d patients, %d events%s.",
        *(group_key, f" at equal {listed(covariates)}" if covariates else ""),
        *(result["statistic"], result["dof"], result["p_value"], result["test"]),
        *(result["n"], result["events"]),
        "; optimistic, since the groups were made with this outcome" if result["optimistic"] else "",
    )


def _check_order(patients: AnnData, group_key: str) -> None:
    """Refuse groups without order: the alphabet would make a trend of 'high', 'low' and 'mid'."""
    column = obs_column(patients, group_key, "group_key", rows="rows", error=SurvivalError, allow_missing=True)
    if isinstance(column.dtype, pd.CategoricalDtype):
        ordered = column.cat.ordered or pd.api.types.is_numeric_dtype(column.cat.categories.dtype)
    else:
        ordered = pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype)
    if not ordered:
        raise SurvivalError(
            f"The groups of obs[{group_key!r}] have no order, which trend=True needs. Give them one: "
            f'patients.obs["{group_key}"] = pd.Categorical(patients.obs["{group_key}"], [first, ..., last], '
            "ordered=True)."
        )


def _check_test(weights: Weights, n_permutations: int, covariates: list[str]) -> Weights:
    if covariates and weights != "logrank":
        raise SurvivalError(
            'weights= other than "logrank" are of the test without covariates=. Leave one out; strata= of a covariate '
            "that was cut takes both."
        )
    if isinstance(weights, str) and weights not in NAMED_WEIGHTS:
        raise SurvivalError(
            f"weights={weights!r} is not known. Pass {listed(NAMED_WEIGHTS)}, or the pair (rho, gamma) of Fleming and "
            "Harrington: weights=(0, 1) for late differences."
        )
    if not isinstance(weights, str):
        numbers = np.asarray(weights, dtype=object).ravel()
        if len(numbers) != 2 or not all(isinstance(x, int | float | np.number) and 0 <= x <= 100 for x in numbers):
            raise SurvivalError(
                f"weights={weights!r} is not a pair of numbers from 0 on: rho and gamma of Fleming and Harrington, as "
                "weights=(0, 1)."
            )
        weights = (float(numbers[0]), float(numbers[1]))
    if n_permutations < 999:
        raise SurvivalError(f"n_permutations={n_permutations} cannot show small p-values. Pass 999 or more.")
    return weights


def _pairwise(
    rows: _Rows, codes: np.ndarray, names: list[str], weights: Weights, plan: tuple[Method, int, int]
) -> pd.DataFrame:
    pairs = []
    for a, b in combinations(range(len(names)), 2):
        pair = np.isin(codes, (a, b))
        result = with_p_values(rows.of(pair).test(weights), (codes[pair] == b).astype(int), *plan, trend=False)
        pairs.append({"group_a": names[a], "group_b": names[b]})
        pairs[-1] |= {key: result[key] for key in ("statistic", "p_value", "test")}
    table = pd.DataFrame(pairs)
    table["p_adjusted"] = holm(table["p_value"].to_numpy())
    return table
