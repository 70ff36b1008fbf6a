"""Concordance of a risk score with survival."""

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
from ...cohort.checks import check_anndata
from ...cohort.outcome import EventValue, OnMissing, outcome_keys, read_outcome, value_column
from ...cohort.records import ConcordanceRecord
from ...cohort.selected import OnSelected, check_selected, columns_of
from ...stats.concordance import bootstrap_c_index, concordant_pairs

if TYPE_CHECKING:
    from anndata import AnnData


@public
def concordance(
    patients: AnnData,
    score_key: str,
    *,
    layer: str | None = None,
    time_key: str | None = None,
    event_key: str | None = None,
    event_value: EventValue = None,
    entry_key: str | None = None,
    n_bootstrap: int = 1000,
    alpha: float = 0.05,
    random_state: int = 0,
    patient_key: str | None = PATIENT_KEY,
    on_missing: OnMissing = "raise",
    on_selected: OnSelected = "raise",
    key_added: str = "concordance",
    copy: bool = False,
) -> ConcordanceRecord | None:
    """Harrell's concordance index of a risk score (scikit-survival), with a bootstrap interval over patients.

    The probability that, of two patients whose order is known, the one with the higher score has the event first;
    0.5 is chance. A score that was fitted on the same patients gives an optimistic value, and is refused where it is
    known; predictions of cross-validation are compared within folds, by :func:`spatialfm.metrics.survival`.

    Parameters
    ----------
    patients
        One row per patient, as from :func:`spatialfm.tl.composition` with `patient_key`.
    score_key
        Column of ``obs``, or name in ``var``; higher means higher risk.
    layer
        Layer that a name in ``var`` is read from (default: ``X``).
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
        who had the event is compared only with those who were under observation then (as R's ``concordance``).
    n_bootstrap
        Number of resamplings of patients with replacement.
    alpha
        1 - confidence level of the percentile interval.
    random_state
        Seed of the bootstrap.
    patient_key
        Column of ``obs`` that must not repeat, where there is one.
    on_missing
        What becomes of rows without outcome or score: ``"raise"``, or ``"drop"`` with their number in the record.
    on_selected
        What becomes of a score that an outcome of these same patients made, by whatever way (signatures,
        :func:`spatialfm.tl.stratify` with `merge_into`, :func:`spatialfm.tl.cut_point`, cross-validated risk):
        ``"raise"``, since no test that takes them as given holds, or ``"mark"``: go on, and call the result optimistic.
    key_added
        Key of ``uns`` that is written.
    copy
        Whether to return the result instead of writing it.

    Returns
    -------
    None, or with `copy` the dictionary that is otherwise written to ``uns[key_added]``: ``c_index``, ``ci_low``,
    ``ci_high`` (NaN where all pairs are in the right order, or none: the bootstrap does not see the error then), ``n``,
    ``events``, ``n_pairs`` (comparable ones), ``optimistic`` (whether the outcome made the score), ``params``.

    Raises
    ------
    SurvivalError
        If outcomes or scores cannot be used, or no two patients are comparable.

    Examples
    --------
    >>> import anndata as ad, pandas as pd
    >>> import spatialfm as sfm
    >>> obs = {"time": [1, 2, 3, 4], "event": [1, 1, 0, 1], "score": [0.9, 0.2, 0.4, 0.1]}
    >>> patients = ad.AnnData(obs=pd.DataFrame(obs, index=["P1", "P2", "P3", "P4"]))
    >>> result = sfm.tl.concordance(patients, "score", copy=True)
    >>> round(result["c_index"], 2), result["n_pairs"]
    (0.8, 5)
    """
    check_anndata(patients, "concordance", None if copy else key_added)
    keys = outcome_keys(patients, time_key, event_key, event_value)
    if n_bootstrap < 100:
        raise SurvivalError(f"n_bootstrap={n_bootstrap} gives no interval. Pass 100 or more.")
    rests_on = columns_of(patients, [score_key], layer)
    selected = check_selected(patients, "concordance", rests_on, on_selected, ordered=True)
    outcome = read_outcome(
        patients,
        "concordance",
        **keys.arguments(),
        entry_key=entry_key,
        patient_key=patient_key,
        on_missing=on_missing,
        columns=pd.DataFrame({score_key: value_column(patients, score_key, "score_key", layer)}),
    )
    score = _score(outcome.columns[score_key], score_key)

    c_index, n_pairs = c_index_of(outcome.time, outcome.event, score, outcome.entry)
    rng = np.random.default_rng(random_state)
    resampled = bootstrap_c_index(outcome.time, outcome.event, score, n_bootstrap, rng, outcome.entry)
    low, high = np.quantile(resampled, [alpha / 2, 1 - alpha / 2])
    if np.ptp(resampled) <= 1e-12 and c_index != 0.5:
        low = high = np.nan
    result: ConcordanceRecord = {
        "c_index": c_index,
        "ci_low": float(low),
        "ci_high": float(high),
        "n": len(score),
        "events": int(outcome.event.sum()),
        "n_pairs": n_pairs,
        "optimistic": selected.optimistic,
        "params": {
            **selected.params(),
            "score_key": score_key,
            "layer": layer or "",
            **keys.params(),
            "entry_key": entry_key or "",
            "n_bootstrap": n_bootstrap,
            "n_bootstrap_used": len(resampled),
            "alpha": float(alpha),
            "random_state": random_state,
            "n_dropped": outcome.n_dropped,
            DATA: fingerprint(
                patients,
                [score_key, keys.time, keys.event, entry_key],
                x=layer is None and score_key not in patients.obs,
            ),
        },
    }
    logger.info(
        "Concordance of %r: %.3f (%g %% interval %.3f to %.3f), %d patients, %d events.",
        *(score_key, c_index, 100 * (1 - alpha), low, high, len(score), result["events"]),
    )
    if copy:
        return result
    write_uns(patients, key_added, result)
    return None


def c_index_of(
    time: np.ndarray, event: np.ndarray, score: np.ndarray, entry: np.ndarray | None = None
) -> tuple[float, int]:
    """Harrell's c and the number of comparable pairs."""
    right, pairs = concordant_pairs(time, event, score, entry)
    if not pairs and entry is not None:
        raise SurvivalError(
            "No two patients are comparable: at no event was another patient under observation who had it later. "
            "Longer follow-up or more patients are needed."
        )
    if not pairs:
        raise SurvivalError(
            "No two patients are comparable: no patient had the event before another patient's time. Longer follow-up "
            "or more patients are needed."
        )
    return right / pairs, pairs


def _score(column: pd.Series, key: str) -> np.ndarray:
    if isinstance(column.dtype, pd.CategoricalDtype) and column.cat.ordered:
        return column.cat.codes.to_numpy(dtype=np.float64)
    if not (pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype)):
        raise SurvivalError(
            f"{key!r} (score_key=) holds {column.dtype} values, which have no order. Pass a number or an ordered "
            "categorical, higher for higher risk."
        )
    values = column.to_numpy(dtype=np.float64)
    if not np.isfinite(values).all():
        raise SurvivalError(f"{key!r} (score_key=) holds infinite values. Correct them first.")
    return values
