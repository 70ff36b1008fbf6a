"""Which of several risk scores agrees better with the survival of the same patients."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..._errors import SurvivalError
from ..._fingerprint import DATA, fingerprint
from ..._keys import PATIENT_KEY
from ..._logging import logger
from ..._public import public
from ..._storable import write_uns
from ...cohort.checks import check_anndata, listed
from ...cohort.outcome import EventValue, OnMissing, outcome_keys, read_outcome, value_column
from ...cohort.records import ConcordancesRecord
from ...cohort.selected import OnSelected, check_selected, columns_of
from ...stats.concordance import concordances
from ...stats.paired_concordance import difference_from_chance, paired_difference
from ...stats.patient_groups import benjamini_hochberg
from .concordance import c_index_of

if TYPE_CHECKING:
    from anndata import AnnData


@public
def compare_concordance(
    patients: AnnData,
    score_keys: Sequence[str],
    *,
    layer: str | None = None,
    time_key: str | None = None,
    event_key: str | None = None,
    event_value: EventValue = None,
    entry_key: str | None = None,
    alpha: float = 0.05,
    patient_key: str | None = PATIENT_KEY,
    on_missing: OnMissing = "raise",
    on_selected: OnSelected = "raise",
    key_added: str = "compare_concordance",
    copy: bool = False,
) -> ConcordancesRecord | None:
    """Compare Harrell's concordance of several risk scores on the same patients, pair by pair.

    Two intervals that overlap are hardly informative on scores that were measured on the same patients: what chance
    does to one it does to the other. The difference is tested by its jackknife over patients, in which both scores lose
    the same patient at a time (Kang et al., Statistics in Medicine 2015, have the same estimate from U-statistics),
    with Student's distribution and as many degrees of freedom as events less one.

    Parameters
    ----------
    patients
        One row per patient, as from :func:`spatialfm.tl.composition` with `patient_key`.
    score_keys
        Two or more columns of ``obs``, or names in ``var``; higher means higher risk.
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
        who had the event is compared only with those who were under observation then.
    alpha
        1 - confidence level of the intervals.
    patient_key
        Column of ``obs`` that must not repeat, where there is one.
    on_missing
        What becomes of rows without outcome or score: ``"raise"``, or ``"drop"`` with their number in the record. Only
        patients with all scores are compared.
    on_selected
        What becomes of scores that an outcome of these same patients made: ``"raise"``, or ``"mark"``: go on, and call
        the result optimistic.
    key_added
        Key of ``uns`` that is written.
    copy
        Whether to return the result instead of writing it.

    Returns
    -------
    None, or with `copy` the dictionary that is otherwise written to ``uns[key_added]``: ``scores``, one row per score
    with ``c_index``, ``ci_low`` and ``ci_high``; ``table``, one row per pair of scores with ``score_1``, ``score_2``,
    ``difference`` (2 minus 1), ``se``, ``ci_low``, ``ci_high``, ``p_value`` and ``q_value`` (Benjamini-Hochberg over
    pairs); ``n``, ``events``, ``n_pairs`` (comparable patients), ``optimistic`` and ``params``. Of a score that orders
    all pairs rightly, or none, these patients do not determine the error: its interval is NaN, and so is what is
    compared where neither score varies.

    Raises
    ------
    SurvivalError
        If outcomes or scores cannot be used, there are fewer than two scores or three events, or no two patients are
        comparable.

    See Also
    --------
    added_value : whether new features add to clinical ones.
    concordance : one score.

    Examples
    --------
    >>> import anndata as ad, numpy as np, pandas as pd
    >>> import spatialfm as sfm
    >>> rng = np.random.default_rng(0)
    >>> risk = rng.normal(size=80)
    >>> obs = pd.DataFrame({"time": rng.exponential(np.exp(-risk)), "event": 1})
    >>> obs["good"] = risk + 0.2 * rng.normal(size=80)
    >>> obs["poor"] = risk + 3 * rng.normal(size=80)
    >>> patients = ad.AnnData(obs=obs.set_axis([f"P{i}" for i in range(80)]))
    >>> sfm.tl.compare_concordance(patients, ["poor", "good"])
    >>> row = patients.uns["compare_concordance"]["table"].iloc[0]
    >>> bool(row["difference"] > 0), bool(row["p_value"] < 0.01)
    (True, True)
    """
    check_anndata(patients, "compare_concordance", None if copy else key_added)
    keys = outcome_keys(patients, time_key, event_key, event_value)
    names = _names(score_keys)
    selected = check_selected(
        patients, "compare_concordance", columns_of(patients, names, layer), on_selected, ordered=True
    )
    outcome = read_outcome(
        patients,
        "compare_concordance",
        **keys.arguments(),
        entry_key=entry_key,
        patient_key=patient_key,
        on_missing=on_missing,
        columns=pd.DataFrame({name: value_column(patients, name, "score_keys", layer) for name in names}),
    )
    scores = _numbers(outcome.columns)
    n_events = int(outcome.event.sum())
    if n_events < 3:
        raise SurvivalError(f"{n_events} events cannot separate two scores: three are the least.")
    c_index_of(outcome.time, outcome.event, scores[:, 0], outcome.entry)  # refuses where no two patients are comparable
    estimates = concordances(outcome.time, outcome.event, scores, outcome.entry)
    of_score, table = _tables(estimates, names, n_events - 1, alpha)
    result: ConcordancesRecord = {
        "scores": of_score,
        "table": table,
        "n": len(scores),
        "events": n_events,
        "n_pairs": estimates.n_pairs,
        "optimistic": selected.optimistic,
        "params": {
            **selected.params(),
            "score_keys": np.array(names, dtype=object),
            "layer": layer or "",
            **keys.params(),
            "entry_key": entry_key or "",
            "alpha": float(alpha),
            "n_dropped": outcome.n_dropped,
            DATA: fingerprint(
                patients,
                [*(name for name in names if name in patients.obs), keys.time, keys.event, entry_key],
                x=layer is None and any(name not in patients.obs for name in names),
            ),
        },
    }
    logger.info(
        "Concordances: %s; %d patients, %d events.",
        ", ".join(f"{name} {value:.3f}" for name, value in of_score["c_index"].items()),
        *(len(scores), n_events),
    )
    if copy:
        return result
    write_uns(patients, key_added, result)
    return None


def _names(score_keys: Sequence[str]) -> list[str]:
    names = list(score_keys)
    if len(set(names)) < 2 or len(set(names)) < len(names):
        raise SurvivalError(
            f"score_keys={names}: two or more different scores are compared. One alone is sfm.tl.concordance's."
        )
    return names


def _numbers(columns: pd.DataFrame) -> np.ndarray:
    """Scores ``(n, m)``."""
    for name, column in columns.items():
        numeric = pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype)
        if not numeric or not np.isfinite(column.to_numpy(dtype=np.float64)).all():
            raise SurvivalError(
                f"Score {name!r} is {'text or categories' if not numeric else 'infinite somewhere'}. Scores are finite "
                f"numbers, higher for a higher risk; the columns are {listed(columns)}."
            )
    return columns.to_numpy(dtype=np.float64)


def _tables(estimates, names: list[str], freedom: int, alpha: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores and their intervals; pairs and their differences."""
    rows = []
    for i, name in enumerate(names):
        one = difference_from_chance(estimates, i, freedom, 1 - alpha)
        rows.append((name, estimates.value[i], max(0.5 + one.low, 0.0), min(0.5 + one.high, 1.0)))
    scores = pd.DataFrame(rows, columns=["score", "c_index", "ci_low", "ci_high"]).set_index("score")
    pairs = []
    for i, j in combinations(range(len(names)), 2):
        one = paired_difference(estimates, i, j, freedom, 1 - alpha)
        pairs.append((names[i], names[j], one.value, one.se, one.low, one.high, one.p_value))
    columns = ["score_1", "score_2", "difference", "se", "ci_low", "ci_high", "p_value"]
    table = pd.DataFrame(pairs, columns=columns)
    table["q_value"] = benjamini_hochberg(table["p_value"])
    return scores, table
