"""Whether new features add to what is known of the patients' survival."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import chi2

from ..._errors import SurvivalError, repeated_names, warn
from ..._fingerprint import DATA, fingerprint
from ..._keys import PATIENT_KEY
from ..._logging import logger
from ..._public import public
from ..._storable import write_uns
from ...cohort.checks import check_anndata, listed
from ...cohort.design import check_design, design_matrix
from ...cohort.outcome import EventValue, OnMissing, outcome_keys, read_outcome, value_column
from ...cohort.records import AddedValueRecord
from ...cohort.selected import OnSelected, check_selected, columns_of
from ...stats.concordance import concordant_pairs
from ...stats.cox import fit_cox

if TYPE_CHECKING:
    from anndata import AnnData

Seen = tuple[np.ndarray, np.ndarray, np.ndarray | None]  # time, event, entry
LEAST = 10  # events per term, below which estimates are unsteady (Peduzzi et al. 1995)


@public
def added_value(
    patients: AnnData,
    features: str | Sequence[str],
    covariates: str | Sequence[str],
    *,
    layer: str | None = None,
    time_key: str | None = None,
    event_key: str | None = None,
    event_value: EventValue = None,
    entry_key: str | None = None,
    n_bootstrap: int = 200,
    alpha: float = 0.05,
    random_state: int = 0,
    patient_key: str | None = PATIENT_KEY,
    on_missing: OnMissing = "raise",
    on_selected: OnSelected = "raise",
    key_added: str = "added_value",
    copy: bool = False,
) -> AddedValueRecord | None:
    """Test whether `features` improve the prediction of survival by `covariates` alone (age, stage, a score in use).

    Two Cox models are fitted to the same patients: with the covariates, and with the features added. The p-value
    is that of their likelihood ratio. Differences of concordances are not a test of this (Demler et al., Statistics in
    Medicine 2012: the difference of nested models is not normal where nothing is added), so that the concordances
    show the size only: as they are on these patients, and corrected for optimism by refitting both models on patients
    drawn with replacement (Harrell et al., Statistics in Medicine 1996).

    Parameters
    ----------
    patients
        One row per patient, as from :func:`spatialfm.tl.composition` with `patient_key`.
    features
        What is new: columns of ``obs``, or names in ``var``.
    covariates
        What is known already.
    layer
        Layer that names in ``var`` are read from (default: ``X``).
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
        both models, and the pairs of the concordances, take into account who was under observation at an event.
    n_bootstrap
        Resamplings of patients for the correction and the interval; 0 for none.
    alpha
        1 - confidence level of the interval.
    random_state
        Seed of the bootstrap.
    patient_key
        Column of ``obs`` that must not repeat, where there is one.
    on_missing
        What becomes of rows without outcome or value: ``"raise"``, or ``"drop"`` with their number in the record. Both
        models see the same patients.
    on_selected
        What becomes of features that an outcome of these same patients made: ``"raise"``, or ``"mark"``: go on, and
        call the result optimistic.
    key_added
        Key of ``uns`` that is written.
    copy
        Whether to return the result instead of writing it.

    Returns
    -------
    None, or with `copy` the dictionary that is otherwise written to ``uns[key_added]``: ``lr_statistic``, ``lr_dof``
    and ``p_value`` of the likelihood ratio; ``table``, with a row for ``covariates``, ``covariates + features`` and
    their ``difference``, and the columns ``c_index`` (on these patients), ``c_corrected`` and its interval ``ci_low``,
    ``ci_high`` (the bootstrap's, moved by the optimism: Noma et al., Statistics in Medicine 2021); ``explained``, the
    share of the log-likelihood ratio of both that the covariates do not have (Harrell's adequacy, from 1); ``n``,
    ``events``, ``events_per_term``, ``optimistic``, ``params``.

    Raises
    ------
    SurvivalError
        If outcomes or values cannot be used, features repeat a covariate, are constant or collinear, or a model has no
        maximum.

    Warns
    -----
    SpatialfmWarning
        With fewer than 10 events per term.

    See Also
    --------
    compare_concordance : scores that were made elsewhere.
    cox : the model itself.

    Examples
    --------
    >>> import anndata as ad, numpy as np, pandas as pd
    >>> import spatialfm as sfm
    >>> rng = np.random.default_rng(0)
    >>> age, tumor = rng.normal(60, 10, 120), rng.normal(size=120)
    >>> time = rng.exponential(np.exp(-0.05 * age - 0.7 * tumor))
    >>> obs = pd.DataFrame({"age": age, "tumor": tumor, "time": time, "event": 1}, index=[f"P{i}" for i in range(120)])
    >>> patients = ad.AnnData(obs=obs)
    >>> sfm.tl.added_value(patients, "tumor", ["age"], n_bootstrap=100)
    >>> result = patients.uns["added_value"]
    >>> bool(result["p_value"] < 0.001), bool(result["table"].loc["difference", "ci_low"] > 0)
    (True, True)
    """
    check_anndata(patients, "added_value", None if copy else key_added)
    keys = outcome_keys(patients, time_key, event_key, event_value)
    new = [features] if isinstance(features, str) else list(features)
    old = [covariates] if isinstance(covariates, str) else list(covariates)
    _check_call(new, old, n_bootstrap)
    selected = check_selected(
        patients, "added_value", columns_of(patients, [*new, *old], layer), on_selected, ordered="levels"
    )
    values = {name: value_column(patients, name, "features", layer) for name in new}
    values = {name: value_column(patients, name, "covariates", layer) for name in old} | values
    outcome = read_outcome(
        patients,
        "added_value",
        **keys.arguments(),
        entry_key=entry_key,
        patient_key=patient_key,
        on_missing=on_missing,
        columns=pd.DataFrame(values),
    )
    design, terms = design_matrix(outcome.columns[[*old, *new]], {})
    check_design(design, None)
    _warn_few(int(outcome.event.sum()), len(terms))
    x, n_old = design.to_numpy(dtype=np.float64), int(terms["covariate"].isin(old).sum())
    seen = (outcome.time, outcome.event, outcome.entry)
    test = _likelihood_ratio(x, n_old, seen)
    table, n_used = _concordances(x, n_old, seen, n_bootstrap, alpha, random_state)
    result: AddedValueRecord = {
        **test,
        "table": table,
        "n": len(x),
        "events": int(outcome.event.sum()),
        "events_per_term": float(outcome.event.sum() / len(terms)),
        "optimistic": selected.optimistic,
        "params": {
            **selected.params(),
            "features": np.array(new, dtype=object),
            "covariates": np.array(old, dtype=object),
            "layer": layer or "",
            **keys.params(),
            "entry_key": entry_key or "",
            "n_bootstrap": n_bootstrap,
            "n_bootstrap_used": n_used,
            "alpha": float(alpha),
            "random_state": random_state,
            "n_dropped": outcome.n_dropped,
            DATA: fingerprint(
                patients,
                [*(name for name in (*old, *new) if name in patients.obs), keys.time, keys.event, entry_key],
                x=layer is None and any(name not in patients.obs for name in (*old, *new)),
            ),
        },
    }
    _tell(result, new, old)
    if copy:
        return result
    write_uns(patients, key_added, result)
    return None


def _check_call(new: list[str], old: list[str], n_bootstrap: int) -> None:
    if not new or not old:
        raise SurvivalError(
            "features= and covariates= each name at least one column. A model without covariates is sfm.tl.cox's."
        )
    if twice := repeated_names([*new, *old]):
        raise SurvivalError(f"{listed(twice)} is named twice among features= and covariates=. Name it once.")
    if n_bootstrap != 0 and n_bootstrap < 100:
        raise SurvivalError(f"n_bootstrap={n_bootstrap} gives no interval. Pass 100 or more, or 0 for none.")


def _tell(result: AddedValueRecord, new: list[str], old: list[str]) -> None:
    logger.info(
        "%s added to %s: likelihood ratio %.2f on %d degrees of freedom, p = %.3g; %d patients, %d events.",
        *(listed(new), listed(old), result["lr_statistic"], result["lr_dof"], result["p_value"]),
        *(result["n"], result["events"]),
    )


def _warn_few(events: int, n_terms: int) -> None:
    if events / n_terms < LEAST:
        warn(
            f"{events} events for {n_terms} terms ({events / n_terms:.1f} each): below {LEAST} estimates "
            "and the p-value are unsteady. Take fewer features or covariates."
        )


def _likelihood_ratio(x: np.ndarray, n_old: int, seen: Seen) -> dict[str, Any]:
    """Test of all columns against the first `n_old`, and the share of the explained that is due to the others."""
    time, event, entry = seen
    both, less = (fit_cox(part, time, event, entry=entry, may_penalize=False) for part in (x, x[:, :n_old]))
    statistic, dof = max(2 * (both.log_likelihood - less.log_likelihood), 0.0), x.shape[1] - n_old
    gained = both.log_likelihood - both.null_log_likelihood
    return {
        "lr_statistic": float(statistic),
        "lr_dof": dof,
        "p_value": float(chi2.sf(statistic, dof)),
        "explained": float(statistic / (2 * gained)) if gained > 0 else np.nan,
    }


def _concordances(
    x: np.ndarray, n_old: int, seen: Seen, n_bootstrap: int, alpha: float, random_state: int
) -> tuple[pd.DataFrame, int]:
    """Concordance of both models and their difference, corrected for optimism; and how many draws could be fitted."""
    apparent = _both(x, n_old, seen, seen, x)
    rng = np.random.default_rng(random_state)
    drawn, optimism = [], []
    for _ in range(n_bootstrap):
        rows = rng.integers(len(x), size=len(x))
        of_rows = tuple(None if part is None else part[rows] for part in seen)
        try:
            in_draw = _both(x[rows], n_old, of_rows, of_rows, x[rows])
            on_all = _both(x[rows], n_old, of_rows, seen, x)
        except (SurvivalError, np.linalg.LinAlgError):  # a level that was not drawn, no maximum
            continue
        drawn.append(in_draw)
        optimism.append(in_draw - on_all)
    table = pd.DataFrame({"c_index": apparent}, index=["covariates", "covariates + features", "difference"])
    table["c_corrected"] = table["ci_low"] = table["ci_high"] = np.nan
    if len(drawn) >= 50:
        bias = np.mean(optimism, axis=0)
        low, high = np.quantile(drawn, [alpha / 2, 1 - alpha / 2], axis=0)
        table["c_corrected"], table["ci_low"], table["ci_high"] = apparent - bias, low - bias, high - bias
    return table, len(drawn)


def _both(x: np.ndarray, n_old: int, seen: Seen, on: Seen, on_x: np.ndarray) -> np.ndarray:
    """Concordance, on other rows, of models without and with the features, and the difference."""
    scores = []
    for part in (slice(n_old), slice(None)):
        design = x[:, part]
        if (design.std(axis=0) <= 1e-12).any():
            raise SurvivalError("A level was not drawn.")
        risk = on_x[:, part] @ fit_cox(design, seen[0], seen[1], entry=seen[2]).coef
        right, pairs = concordant_pairs(on[0], on[1], risk, on[2])
        scores.append(right / pairs if pairs else np.nan)
    return np.array([*scores, scores[1] - scores[0]])
