"""The error of an imputed marker: scores by patient, intervals, and whether new patients are like the known ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..stats.new_patients import Shift, shift
from ..stats.reconstruction import LIMITS, MIN_ROWS, SCORES, over_patients, scores
from .intervals import Widths, fit_widths


@dataclass(frozen=True)
class CheckedCells:
    """Cells of which a marker was measured, and predicted without it.

    Attributes
    ----------
    measured, predicted
        ``(n,)``, finite.
    patients
        ``(n,)`` names.
    threshold
        ``(n,)`` above which a cell is positive; NaN: not known.
    """

    measured: np.ndarray
    predicted: np.ndarray
    patients: np.ndarray
    threshold: np.ndarray


@dataclass(frozen=True)
class IntervalRequest:
    """What is asked of intervals.

    Attributes
    ----------
    coverage, n_levels, guarantee
        As in `fit_widths`.
    n_bootstrap, n_permutations, random_state
        Of intervals of scores, and of the test of shift.
    """

    coverage: float
    n_levels: int
    guarantee: bool
    n_bootstrap: int
    n_permutations: int
    random_state: int


def by_patient(known: CheckedCells, widths: Widths) -> pd.DataFrame:
    """Scores of each patient, NaN where it has fewer than 10 cells; and its coverage by the widths of all others."""
    names = np.unique(known.patients)
    rows = []
    for name in names:
        own = np.flatnonzero(known.patients == name)
        score_of: Mapping[str, float] = dict.fromkeys(SCORES, np.nan)
        if len(own) >= MIN_ROWS:
            score_of = scores(known.measured[own], known.predicted[own], known.threshold[own])
            if np.isnan(known.threshold[own]).any():
                score_of = {**score_of, "f1": np.nan}
        rows.append({"patient": str(name), "n_cells": len(own), **score_of})
    return pd.DataFrame(rows).assign(coverage=widths.left_out)


@dataclass(frozen=True)
class PatientRanks:
    """Mean ranks of patients (`mean_ranks`) in markers that were measured of all of them."""

    patients: np.ndarray  # (patients,) names, in order
    means: np.ndarray  # (patients, columns)
    names: tuple[str, ...]  # (columns,)


@dataclass(frozen=True)
class Calibrated:
    """What was found of one marker.

    Attributes
    ----------
    widths
        Of its intervals.
    patients
        Scores and coverage of each patient.
    summary
        Their means, and the test of shift.
    new
        One row per new patient: ``patient``, ``p_value``, ``furthest``.
    """

    widths: Widths
    patients: pd.DataFrame
    summary: dict[str, object]
    new: pd.DataFrame


def calibrated(known: CheckedCells, new: np.ndarray, ranks: PatientRanks, options: IntervalRequest) -> Calibrated:
    """Scores, intervals, and whether new patients are like those calibrated on.

    Parameters
    ----------
    new
        Patients of the cells that were not stained. One who has stained cells too is not new.

    Raises
    ------
    TableError
        If there are too few patients.
    """
    widths = fit_widths(
        known.measured - known.predicted,
        known.predicted,
        known.patients,
        options.coverage,
        options.n_levels,
        options.guarantee,
    )
    patients = by_patient(known, widths)
    rng = np.random.default_rng(options.random_state)
    summary: dict[str, object] = {"n_patients": len(patients), "n_cells": len(known.measured)}
    for name in (*SCORES, "coverage"):
        summary |= with_interval(name, patients[name].to_numpy(), options.n_bootstrap, rng)
    new = np.setdiff1d(new, known.patients)
    shift = shift_of(ranks, np.unique(known.patients), new, options)
    furthest = [""] * len(new) if shift is None else [ranks.names[place] for place in shift.column_of_patient]
    each = pd.DataFrame(
        {
            "patient": new.astype(object),
            "p_value": np.nan if shift is None else shift.p_of_patient,
            "furthest": furthest,
        }
    )
    summary |= {
        "n_new_patients": len(new),
        "shift_p": np.nan if shift is None else shift.p_value,
        "shift_in": "" if shift is None else ranks.names[shift.column],
    }
    return Calibrated(widths, patients, summary, each)


def tables_of(by_marker: Mapping[str, Calibrated]) -> dict[str, pd.DataFrame]:
    """``summary`` by marker, and ``patients``, ``levels`` and ``shift`` of all markers below each other."""

    def together(parts: dict[str, pd.DataFrame]) -> pd.DataFrame:
        return pd.concat([part.assign(marker=name) for name, part in parts.items()], ignore_index=True)

    return {
        "summary": pd.DataFrame({name: one.summary for name, one in by_marker.items()})
        .T.rename_axis("marker")
        .infer_objects(),
        "patients": together({name: one.patients for name, one in by_marker.items()}),
        "levels": together({name: levels_of(one.widths) for name, one in by_marker.items()}),
        "shift": together({name: one.new for name, one in by_marker.items()}),
    }


def with_interval(name: str, values: np.ndarray, n_bootstrap: int, rng: np.random.Generator) -> dict[str, float]:
    """Mean over patients, and its interval, by name."""
    ends = over_patients(values, n_bootstrap, rng, limits=LIMITS.get(name.removesuffix("_pixel"), (0.0, 1.0)))
    return dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))


def levels_of(widths: Widths) -> pd.DataFrame:
    """One row per level of the predicted value: where it begins and ends, half width, and patients in it."""
    return pd.DataFrame(
        {
            "level": np.arange(1, len(widths.half) + 1),
            "from": np.r_[-np.inf, widths.edges],
            "to": np.r_[widths.edges, np.inf],
            "half_width": widths.half,
            "quantile": widths.quantile,
            "n_patients": widths.n_patients,
        }
    )


def shift_of(ranks: PatientRanks, known: np.ndarray, new: np.ndarray, options: IntervalRequest) -> Shift | None:
    """Test of new patients against known ones; None without new ones, or without a marker that all have."""
    if not len(new) or not ranks.means.shape[1]:
        return None
    old, others = (ranks.means[np.searchsorted(ranks.patients, names)] for names in (known, new))
    return shift(old, others, options.n_permutations, np.random.default_rng(options.random_state))
