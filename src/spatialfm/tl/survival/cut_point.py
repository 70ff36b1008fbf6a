"""Cut points by maximally selected log-rank statistics, with the correction that they need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..._errors import SurvivalError
from ..._fingerprint import DATA, fingerprint
from ..._keys import PATIENT_KEY
from ..._logging import logger
from ..._origin import Origin, patient_names, remember
from ..._public import public
from ..._storable import default_key, write_uns
from ...cohort.adjusted import survival_blocks
from ...cohort.checks import as_names, check_anndata, listed
from ...cohort.circular import fractions_of
from ...cohort.design import beside_covariates, check_roles, read_covariates
from ...cohort.outcome import (
    EventValue,
    OnMissing,
    Outcome,
    column_as,
    outcome_keys,
    read_block,
    read_outcome,
    value_column,
)
from ...cohort.records import CutPointRecord
from ...cohort.replaced import remove_earlier
from ...cohort.selected import OnSelected, check_selected, columns_of
from ...stats.adjusted_cuts import AdjustedCuts
from ...stats.adjusted_logrank import AdjustedLogrank
from ...stats.cut_points import Candidates, candidates, lausen_schumacher, permuted_maxima
from ...stats.logrank import LogrankTest, chi_squared
from ...stats.null_outcomes import NullOutcomes
from ...stats.permutation import permutation_p
from ...stats.risk_table import martingale_residuals

if TYPE_CHECKING:
    from anndata import AnnData

_ROW = column_as("row", "position")


@public
def cut_point(
    patients: AnnData,
    score_key: str,
    *,
    layer: str | None = None,
    covariates: str | Sequence[str] | None = None,
    min_share: float = 0.2,
    n_permutations: int = 10_000,
    block_key: str | None = None,
    time_key: str | None = None,
    event_key: str | None = None,
    event_value: EventValue = None,
    entry_key: str | None = None,
    patient_key: str | None = PATIENT_KEY,
    on_missing: OnMissing = "raise",
    random_state: int = 0,
    on_selected: OnSelected = "raise",
    key_added: str | None = None,
    copy: bool = False,
) -> CutPointRecord | None:
    """Cut a continuous value where survival differs most, and test the cut as what it is: the best of many.

    The log-rank p-value of a cut that was looked for is far too small: with no effect at all it is below 0.05 in a
    third of the cohorts or more (Altman et al., JNCI 1994). The p-values given are those of the maximally selected
    statistic: from permutations of the outcomes, which hold at any number of patients, and the approximation of Lausen
    and Schumacher (Biometrics 1992), which at equal covariates is below 0.05 in 4 to 8 % of cohorts without effect. The
    naive one stands next to them under that name. Tools that meet the groups later, as :func:`spatialfm.tl.logrank`,
    call their p-values optimistic; the effect at the cut is exaggerated, too. A cut needs other patients to be
    confirmed on; :func:`spatialfm.tl.cox` of the value itself needs no cut.

    Parameters
    ----------
    patients
        One row per patient, as from :func:`spatialfm.tl.composition` with `patient_key`.
    score_key
        Column of ``obs``, or name in ``var``, with numbers.
    layer
        Layer that a name in ``var`` is read from (default: ``X``).
    covariates
        Columns of ``obs``, or names in ``var``, at which patients on both sides of a cut are compared: age, where it
        drives both the value and how long patients live. The statistic of each cut is then the score of its upper side
        in a Cox model of the covariates over its own standard deviation, as that of :func:`spatialfm.tl.logrank` at
        equal covariates, and outcomes are not shuffled but drawn anew from the model of the covariates alone: at each
        time of event, who has it among those at risk, in proportion to their hazard. Categories become one term for
        each level but the first. The time that it takes grows with the square of the patients: seconds for 100, minutes
        for 1,000, in which case fewer `n_permutations` do.
    min_share
        Least share of patients on each side of the cut, above 0 and below one half.
    n_permutations
        Number of permutations, at least 100; the least p-value is one by this number plus one.
    block_key
        Column of ``obs`` with the site or batch of each patient, within which outcomes are shuffled: what a site has of
        both survival and the value then makes no small p-value. The cut and the other p-values stay as they are.
        With `covariates` outcomes are drawn within it, of a hazard of its own.
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
        Column of ``obs`` with the time at which a patient came under observation (left truncation), before `time_key`:
        a patient's expected events count from then on. Permutations take entry, time and event of a patient together.
    patient_key
        Column of ``obs`` that must not repeat, where there is one.
    on_missing
        What becomes of rows without outcome or value: ``"raise"``, or ``"drop"`` with their number in the record.
    random_state
        Seed of the permutations.
    on_selected
        What becomes of a value that an outcome of these same patients made, by whatever way (signatures,
        :func:`spatialfm.tl.stratify` with `merge_into`, :func:`spatialfm.tl.cut_point`, cross-validated risk):
        ``"raise"``, since no test that takes them as given holds, or ``"mark"``: go on, and call the result optimistic.
    key_added
        Column of ``obs`` and key of ``uns`` that are written (default: `score_key` and ``"_group"``).
    copy
        Whether to return the result instead of writing it.

    Returns
    -------
    None, or with `copy` the dictionary that is otherwise written to ``uns[key_added]``, with ``groups``. The groups,
    ``low`` and ``high`` (missing where the value or the outcome is), go to ``obs[key_added]``. The dictionary holds
    ``cut``, halfway between two patients' values; ``statistic``, the largest standardised log-rank statistic;
    ``p_value``, of permutations; ``p_value_lausen_schumacher``; ``naive_p_value``, the optimistic one of the log-rank
    test of these groups; ``higher_risk``, the group with more events than expected; ``n_low``, ``n_high``, ``n``,
    ``events``; ``candidates``, a row per cut, with ``cut``, ``n_low``, ``n_high`` and ``statistic`` (positive where the
    upper side has more events than expected); ``params``. With `covariates` all of these are at equal covariates, the
    cut and the group of higher risk among them, and ``p_value_unadjusted`` is that of the best cut without them.

    Raises
    ------
    SurvivalError
        If outcomes, values or covariates cannot be used, no cut leaves enough patients on both sides, or covariates
        tell who is on which side of a cut.

    Examples
    --------
    >>> import anndata as ad, numpy as np, pandas as pd
    >>> import spatialfm as sfm
    >>> rng = np.random.default_rng(0)
    >>> share = rng.uniform(0, 1, 60)
    >>> obs = pd.DataFrame({"time": rng.exponential(np.where(share > 0.6, 1, 6)), "event": 1, "tumor": share})
    >>> patients = ad.AnnData(obs=obs.set_index("P" + obs.index.astype(str)))
    >>> sfm.tl.cut_point(patients, "tumor", n_permutations=999)
    >>> result = patients.uns["tumor_group"]
    >>> round(result["cut"], 1), result["higher_risk"], bool(result["p_value"] > result["naive_p_value"])
    (0.6, 'high', True)
    """
    check_anndata(patients, "cut_point", None if copy else key_added)
    keys = outcome_keys(patients, time_key, event_key, event_value)
    _check_call(min_share, n_permutations)
    names_of_x = as_names(covariates)
    check_roles(score_key, [], names_of_x, "score_key")
    rests_on = columns_of(patients, [score_key], layer) | columns_of(patients, names_of_x)
    selected = check_selected(patients, "cut_point", rests_on, on_selected)
    values = value_column(patients, score_key, "score_key", layer)
    outcome = read_outcome(
        patients,
        "cut_point",
        **keys.arguments(),
        entry_key=entry_key,
        patient_key=patient_key,
        on_missing=on_missing,
        columns=pd.DataFrame(
            {score_key: values, _ROW: np.arange(patients.n_obs)}
            | read_block(patients, block_key)
            | read_covariates(patients, names_of_x)
        ),
    )
    values = _numbers(outcome.columns[score_key], score_key)
    scores = _scores(outcome, keys.time, keys.event)

    chosen = candidates(values, scores, min_share, score_key)
    blocks, rng = survival_blocks(outcome, block_key, n_permutations), np.random.default_rng(random_state)
    null = _shuffled(chosen, scores, blocks, n_permutations, rng)
    x = beside_covariates(outcome, names_of_x) if names_of_x else None
    unadjusted = {}
    if x is not None:
        unadjusted["p_value_unadjusted"] = _p_value(chosen, null)
        chosen, null = _adjusted(x, values, outcome, min_share, blocks, n_permutations, rng, score_key, names_of_x)
    params = {
        **selected.params(),
        "score_key": score_key,
        "layer": layer or "",
        "covariates": np.array(names_of_x, dtype=object),
        "min_share": float(min_share),
        "n_permutations": n_permutations,
        "block_key": block_key or "",
        "outcome_decides": "partition",
        **keys.params(),
        "entry_key": entry_key or "",
        "random_state": random_state,
        "n_dropped": outcome.n_dropped,
        DATA: fingerprint(
            patients,
            [score_key, *names_of_x, keys.time, keys.event, entry_key, block_key],
            x=(layer is None and score_key not in patients.obs) or any(name not in patients.obs for name in names_of_x),
        ),
    }
    result = _result(chosen, null, outcome, x, min_share, selected.optimistic, params) | unadjusted
    _log(result, score_key)

    name = default_key(f"{score_key}_group") if key_added is None else key_added
    origin = Origin("cut_point", "selected", (keys.time, keys.event), of=fractions_of(patients, score_key))
    rows = outcome.columns[_ROW].to_numpy()
    groups = _groups(patients, rows, chosen.high).rename(name)
    cut_from = np.full(patients.n_obs, np.nan)
    cut_from[rows] = values
    remember(None if copy else patients, origin, groups, patients=patient_names(patients), finer=cut_from)
    if copy:
        return {**result, "groups": groups.rename(None)}
    remove_earlier(patients, name, groups)
    patients.obs[name] = groups
    write_uns(patients, name, result)
    return None


def _check_call(min_share: float, n_permutations: int) -> None:
    if not 0 < min_share < 0.5 or n_permutations < 100:
        raise SurvivalError(
            f"min_share={min_share} and n_permutations={n_permutations}: the first must be above 0 and below 0.5, the "
            "second 100 or more. The p-value of a cut that was looked for means nothing without its correction."
        )


def _scores(outcome: Outcome, time_key: str, event_key: str) -> np.ndarray:
    scores = martingale_residuals(outcome.time, outcome.event, outcome.entry)
    if np.ptp(scores) <= 1e-12:
        raise SurvivalError(
            f"All patients have the same obs[{time_key!r}] and obs[{event_key!r}], as far as their order goes: no cut "
            "can divide those who do worse from the others."
        )
    return scores


def _shuffled(
    chosen: Candidates, scores: np.ndarray, blocks: np.ndarray | None, n_permutations: int, rng: np.random.Generator
) -> np.ndarray:
    if blocks is not None:
        scores, blocks = scores[chosen.order], blocks[chosen.order]
    return permuted_maxima(scores, chosen.n_low, n_permutations, rng, blocks)


def _adjusted(
    x: np.ndarray,
    values: np.ndarray,
    outcome: Outcome,
    min_share: float,
    blocks: np.ndarray | None,
    n_permutations: int,
    rng: np.random.Generator,
    score_key: str,
    covariates: list[str],
) -> tuple[Candidates, np.ndarray]:
    """Cuts at equal covariates, and the largest statistics of outcomes that covariates alone tell of."""
    cuts = AdjustedCuts(x, values, min_share, outcome.entry, score_key)
    if (told := cuts.told()).any():
        raise SurvivalError(
            f"{listed(covariates)} (covariates=) tells who is above and who below the cut of {score_key!r} at "
            f"{cuts.cuts[told][0]:g}: no test can tell an effect of the value from one of that. Cut without, and say "
            "so."
        )
    null = NullOutcomes(x, outcome.time, outcome.event, blocks, outcome.entry)
    return cuts.candidates(outcome.time, outcome.event), cuts.maxima(null, n_permutations, rng)


def _p_value(chosen: Candidates, null: np.ndarray) -> float:
    return float(permutation_p(null, float(np.abs(chosen.statistic[chosen.best]))))


def _result(
    candidates: Candidates,
    null: np.ndarray,
    outcome: Outcome,
    x: np.ndarray | None,
    min_share: float,
    optimistic: bool,
    params: dict[str, Any],
) -> CutPointRecord:
    """The best cut, and what it is worth."""
    best, n = candidates.best, candidates.order.size
    statistic, n_low = float(np.abs(candidates.statistic[best])), int(candidates.n_low[best])
    rows = (outcome.time, outcome.event, None, outcome.entry)
    test = LogrankTest(*rows) if x is None else AdjustedLogrank(x, *rows)
    return {
        "cut": float(candidates.cuts[best]),
        "statistic": statistic,
        "p_value": _p_value(candidates, null),
        "p_value_lausen_schumacher": lausen_schumacher(statistic, min_share),
        "naive_p_value": chi_squared(test.parts(candidates.high))[1],
        "higher_risk": "high" if candidates.statistic[best] > 0 else "low",
        "n_low": n_low,
        "n_high": n - n_low,
        "n": n,
        "events": int(outcome.event.sum()),
        "candidates": pd.DataFrame(
            {
                "cut": candidates.cuts,
                "n_low": candidates.n_low,
                "n_high": n - candidates.n_low,
                "statistic": candidates.statistic,
            }
        ),
        "optimistic": optimistic,
        "params": params,
    }


def _groups(patients: AnnData, rows: np.ndarray, high: np.ndarray) -> pd.Series:
    """``low`` and ``high`` of all patients, missing where value or outcome are."""
    codes = np.full(patients.n_obs, -1)
    codes[rows] = high
    return pd.Series(pd.Categorical.from_codes(codes, ["low", "high"], ordered=True), index=patients.obs_names)


def _log(result: CutPointRecord, score_key: str) -> None:
    names = list(result["params"]["covariates"])
    equal = f", at equal {', '.join(names)}" if names else ""
    logger.info(
        "%r cut at %.4g (%d and %d patients)%s: p = %.3g corrected for the choice of the cut; the naive %.3g is "
        "optimistic.",
        *(score_key, result["cut"], result["n_low"], result["n_high"], equal),
        *(result["p_value"], result["naive_p_value"]),
    )


def _numbers(column: pd.Series, key: str) -> np.ndarray:
    if pd.api.types.is_bool_dtype(column.dtype) or not pd.api.types.is_numeric_dtype(column.dtype):
        raise SurvivalError(
            f"{key!r} (score_key=) holds {column.dtype} values, which cannot be cut. Groups are compared by "
            f'sfm.tl.logrank(patients, "{key}").'
        )
    values = column.to_numpy(dtype=np.float64)
    if not np.isfinite(values).all():
        raise SurvivalError(f"{key!r} (score_key=) holds infinite values. Correct them first.")
    return values
