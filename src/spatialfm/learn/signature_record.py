"""The record of a search for signatures: tables of scores, candidates, signatures and patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..cohort.signature_patients import SignaturePatients
from ..stats.permutation import permutation_p
from ..stats.signature_outcome import Outcome
from . import signature_clusters as clustering
from .signature_search import (
    NESTED,
    OPTIMISTIC,
    JudgedClusters,
    RankedFold,
    fold_scores,
    interval_of,
    mean_of_folds,
    mean_score,
)


@dataclass(frozen=True)
class CandidateClusters:
    """Clusters of the cells that were drawn, and how much of each a patient has."""

    clusters: clustering.Clusters
    shares: np.ndarray  # (patients, clusters)
    cuts: np.ndarray  # (2, clusters)
    ranks: np.ndarray  # (patients, clusters)


def search_record(
    patients: SignaturePatients,
    candidates: CandidateClusters,
    observed: JudgedClusters,
    model: np.ndarray,
    held_out: np.ndarray,
    folds: list[RankedFold],
    null: dict[str, np.ndarray],
    resolutions: Sequence[float],
    random_state: int,
) -> dict[str, Any]:
    """Tables; `model` are the scores of the published procedure, `observed` the clusters that were chosen."""
    from scipy import stats

    outcome, clusters = patients.outcome, candidates.clusters
    shares, cuts, ranks = candidates.shares, candidates.cuts, candidates.ranks
    names = _names(observed, outcome)
    p = outcome.test(ranks)
    table = pd.DataFrame(
        {
            "resolution": np.asarray(resolutions, float)[clusters.resolution],
            "n_cells": clusters.sizes,
            "n_patients": (shares > 0).sum(axis=0),
            "n_merged": clusters.n_merged,
            "score": observed.scores,
            "ratio": observed.ratio[0],
            "ratio_low": observed.ratio[1],
            "ratio_high": observed.ratio[2],
            "side": np.where(observed.ratio[0] > 1, *outcome.sides),
            "p_value": p,
            "q_value": stats.false_discovery_control(p),
            "p_max": permutation_p(null["best cluster"][:, None], observed.scores),
            "signature": [names.get(k, "") for k in range(len(clusters.code))],
        },
        index=pd.Index([f"r{resolutions[r]:g}_c{c}" for r, c in zip(clusters.resolution, clusters.code, strict=True)]),
    )
    chosen = observed.chosen
    signatures = table.iloc[chosen].drop(columns="signature").assign(cut_1=cuts[0, chosen], cut_2=cuts[1, chosen])
    signatures.insert(0, "cluster", signatures.index)
    signatures.index = pd.Index([names[k] for k in chosen], name="signature")
    by_patient = patients.table.copy()
    by_patient["n_cells"] = patients.n_cells
    by_patient["n_cells_drawn"] = np.bincount(patients.codes, minlength=len(by_patient))
    for k in chosen:
        by_patient[f"fraction_{names[k]}"], by_patient[f"rank_{names[k]}"] = shares[:, k], ranks[:, k]
    rows = {OPTIMISTIC: _row(model, null[OPTIMISTIC], (np.nan, np.nan))}
    if folds:
        interval = interval_of(held_out, outcome, np.random.default_rng((random_state, 6)))
        rows[NESTED] = _row(fold_scores(held_out, outcome), null[NESTED], interval)
        by_patient["nested"] = mean_of_folds(held_out)
        by_patient["fold"] = np.argmax([fold.test for fold in folds if fold.repeat == 0], axis=0)
    scores = pd.DataFrame(rows).T
    scores.index.name = outcome.score_name
    return {
        "scores": scores,
        "clusters": table.sort_values("score", ascending=False),
        "signatures": signatures,
        "patients": by_patient,
        "null": pd.DataFrame({k: v for k, v in null.items() if k != NESTED or folds}),
    }


def _row(scores: np.ndarray, null: np.ndarray, interval: tuple[float, float]) -> dict[str, float]:
    score = mean_score(scores)
    return {
        "score": score,
        "sd": float(np.nanstd(scores)) if np.isfinite(scores).any() else np.nan,
        "ci_low": interval[0],
        "ci_high": interval[1],
        "null_mean": mean_score(null) if len(null) else np.nan,
        "p_value": float(permutation_p(null, score)),
    }


def _names(observed: JudgedClusters, outcome: Outcome) -> dict[int, str]:
    letters = {"response": "RS", "non-response": "NRS", "favorable": "FS", "adverse": "AS"}
    names, counts = {}, {}
    for k in observed.chosen:
        side = outcome.sides[0] if observed.ratio[0][k] > 1 else outcome.sides[1]
        counts[side] = counts.get(side, 0) + 1
        names[k] = f"{letters[side]}{counts[side]}"
    return names
