"""Reconstruction beside floors that need no weights, for patients that nothing was fitted on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .._errors import TableError, listed
from ..stats.reconstruction import LIMITS, MIN_ROWS, SCORES, over_patients, scores
from .conformal import held_out_patients
from .imputers import METHODS, drawn_evenly, fit_imputer

MARKER, INDEPENDENT, NICHE = "marker", "independent", "niche"
ALL = "all"  # as marker: mean over markers
KEYS = ["marker", "mode", "unit", "method"]

Split = Sequence[tuple[np.ndarray, np.ndarray]]  # rows to fit and rows to judge


@dataclass(frozen=True)
class HiddenRows:
    """Cells or pixels whose markers were measured, and what was hidden of them.

    Attributes
    ----------
    measured
        ``(n, M)``; NaN where a marker was not measured.
    patients
        ``(n,)`` names.
    hidden
        ``(n, M)`` whether a value was hidden; None: one marker at a time, as a whole.
    visible
        ``(n, M)`` mean of the pixels of the channel that were visible around; None where a marker is hidden as a whole.
    around
        ``(n, M)`` the same, weighted by their distance; None: as `visible`.
    """

    measured: np.ndarray
    patients: np.ndarray
    hidden: np.ndarray | None = None
    visible: np.ndarray | None = None
    around: np.ndarray | None = None


def patient_folds(patients: np.ndarray, n_folds: int, random_state: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows to fit and rows to judge, whole patients in turn; each patient is judged once."""
    return list(held_out_patients(patients, random_state, n_folds))


def split_of(
    patients: np.ndarray, test_patients: Sequence[str] | None, n_folds: int, random_state: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows to fit and rows to judge.

    Raises
    ------
    TableError
        If there are fewer than two patients, or those to judge are not there, or all of them.
    """
    names = np.unique(patients)
    if len(names) < 2:
        raise TableError(
            f"All cells are of one patient ({str(names[0])!r}): floors are fitted to others than those that are "
            "scored. Pass more patients, or a column of parts of the image as patient_key."
        )
    if test_patients is None:
        return patient_folds(patients, n_folds, random_state)
    test = list(dict.fromkeys(map(str, test_patients)))
    if strange := [name for name in test if name not in names]:
        raise TableError(f"No patient {strange[0]!r} (test_patients=); found {listed(names, 12)}.")
    judged = np.isin(patients, test)
    if judged.all():
        raise TableError("test_patients= has all patients, so that none is left to fit the floors to. Leave some out.")
    return [(np.flatnonzero(~judged), np.flatnonzero(judged))]


def floors(
    rows: HiddenRows, places: Sequence[int], mode: str, methods: Sequence[str], split: Split, random_state: int = 0
) -> Iterator[tuple[str, np.ndarray]]:
    """Each floor and what it predicts of some markers ``(n, len(places))``; NaN where nothing was judged.

    ``"mean"``: of the visible pixels, of a marker that is hidden as a whole that of other patients. The others are
    fitted to patients who are not judged, on what was hidden of them, and predict a marker from all others that were
    measured in every row. Of these, what was hidden is filled with the mean of the visible pixels; for ``"linear"``
    with that around the place, and that of the marker itself is one more input. Where all channels are hidden in one
    place (``"niche"``) there is nothing else to predict from.
    """
    hidden, visible = rows.hidden, rows.visible
    masked = hidden is not None and visible is not None
    for method in methods:
        if method == "mean" and visible is not None:
            yield method, visible[:, list(places)]
        elif mode != NICHE or method in ("mean", "linear"):
            around = rows.around if method == "linear" and rows.around is not None else visible
            filled = np.where(hidden, around, rows.measured) if masked else rows.measured  # type: ignore[arg-type]
            complete = np.isfinite(filled).all(axis=0)
            predicted = np.full((len(filled), len(places)), np.nan)
            for number, place in enumerate(places):
                others = np.flatnonzero(complete & (np.arange(len(complete)) != place))
                target, x = rows.measured[:, place], filled[:, others]
                if masked and method == "linear":
                    x = np.column_stack([x, around[:, place]])  # type: ignore[index]
                usable = np.isfinite(target) & (hidden[:, place] if masked else True)  # type: ignore[index]
                for train, test in split:
                    known = train[usable[train]]
                    if len(known) < 2:
                        continue
                    fitted = fit_imputer(method, x[known], target[known, None], rows.patients[known], random_state)
                    predicted[test, number] = fitted.predict(x[test])[:, 0]
            yield method, predicted


def score_patients(
    rows: HiddenRows, names: Sequence[str], places: Sequence[int], predicted: np.ndarray, judged: np.ndarray
) -> pd.DataFrame:
    """Scores of each marker in each patient, on values that were hidden; NaN of fewer than 10.

    A value is positive above the mean of its marker over all rows (VirTues, *Masked reconstructions*). A prediction
    that is the same everywhere has no correlation, and calls nothing: its F1 is NaN.

    Parameters
    ----------
    names, places
        Markers that were predicted, and their columns.
    predicted
        ``(n, len(places))``.
    judged
        ``(n,)`` whether a row is of a patient who counts.
    """
    records = []
    columns = [rows.measured[:, place] for place in places]
    thresholds = [np.nan if np.isnan(column).all() else np.nanmean(column) for column in columns]
    for patient in np.unique(rows.patients[judged]):
        own = np.flatnonzero(judged & (rows.patients == patient))
        for number, (name, place) in enumerate(zip(names, places, strict=True)):
            measured, values = rows.measured[own, place], predicted[own, number]
            used = np.isfinite(measured) & np.isfinite(values)
            if rows.hidden is not None:
                used &= rows.hidden[own, place]
            score = dict.fromkeys(SCORES, np.nan)
            if used.sum() >= MIN_ROWS:
                score = scores(measured[used], values[used], thresholds[number])
                if np.ptp(values[used]) == 0:
                    score["f1"] = np.nan
            records.append({"patient": str(patient), "marker": name, "n": int(used.sum()), **score})
    return pd.DataFrame(records)


def summarise(patients: pd.DataFrame, n_bootstrap: int, random_state: int) -> pd.DataFrame:
    """Means over patients with intervals, of each marker and of their mean (``"all"``); one row per score."""
    means = patients.groupby(["patient", "mode", "unit", "method"], sort=False)[list(SCORES)].mean().reset_index()
    together = pd.concat([means.assign(marker=ALL), patients], ignore_index=True)
    records = []
    for key in KEYS:  # in the order in which they came
        together[key] = pd.Categorical(together[key], list(dict.fromkeys(together[key])))
    for key, part in together.groupby(KEYS, observed=True):
        for score in SCORES:
            rng = np.random.default_rng(random_state)  # the same draws for all methods: they are compared
            mean, low, high = over_patients(part[score].to_numpy(float), n_bootstrap, rng, limits=LIMITS[score])
            n = int(part[score].notna().sum())
            ends = {"mean": mean, "low": low, "high": high, "n_patients": n}
            records.append({**dict(zip(KEYS, key, strict=True)), "score": score, **ends})
    return pd.DataFrame(records)


def evaluated(
    rows: HiddenRows,
    names: Sequence[str],
    targets: Sequence[str],
    mode: str,
    unit: str,
    split: Split,
    methods: Sequence[str] = METHODS,
    model: np.ndarray | None = None,
    random_state: int = 0,
) -> pd.DataFrame:
    """Scores by patient of the floors and of a model's values ``(n, targets)``, on the same rows."""
    places = [list(names).index(name) for name in targets]
    judged = np.zeros(len(rows.measured), bool)
    judged[np.concatenate([test for _, test in split])] = True
    each = [] if model is None else [("model", model)]
    each += list(floors(rows, places, mode, methods, split, random_state))
    parts = [
        score_patients(rows, targets, places, predicted, judged).assign(mode=mode, unit=unit, method=method)
        for method, predicted in each
    ]
    return pd.concat(parts, ignore_index=True)


def at_most(patients: np.ndarray, n: int, random_state: int) -> np.ndarray:
    """At most `n` rows of each patient, drawn at random, in order."""
    names = np.unique(patients)
    drawn = []
    for number, name in enumerate(names):
        own = np.flatnonzero(patients == name)
        drawn.append(own[drawn_evenly(len(own), n, random_state + number)])
    return np.sort(np.concatenate(drawn))
