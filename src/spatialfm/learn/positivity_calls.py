"""Calls of all markers in all samples: made, put into tables, compared with those of others and between samples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from .._identity import fingerprint
from .._progress import progress_bar
from .positivity import (
    NETWORK,
    NOT_MEASURED,
    UNCLEAR,
    Call,
    MarkerSample,
    call_gate,
    call_mixture,
    call_otsu,
    reference_of,
)

WHOLE = 0.99  # share of positive cells above which somebody's calls split nothing
Calls = dict[tuple[int, int], Call]  # by number of the sample and of the marker


def fitted_calls(
    values: np.ndarray,
    samples: pd.Series,
    cofactors: np.ndarray,
    method: str,
    min_cells: int,
    min_share: float,
    random_state: int,
) -> Calls:
    """Each marker in each sample; thresholds in the units of the intensities.

    Parameters
    ----------
    values
        ``(n, markers)``; NaN: not measured.
    samples
        Categorical.
    cofactors
        ``(markers,)`` of arcsinh.
    method
        ``"mixture"`` or ``"otsu"``.
    """
    call = call_mixture if method == "mixture" else call_otsu
    codes, n_samples = samples.cat.codes.to_numpy(), len(samples.cat.categories)
    calls: Calls = {}
    for j in progress_bar(range(values.shape[1]), desc="markers", unit="marker"):
        column = np.arcsinh(values[:, j] / cofactors[j])
        parts = [column[codes == i] for i in range(n_samples)]
        measured = [MarkerSample(part[~np.isnan(part)], random_state) for part in parts]
        reference = reference_of(measured, min_share, random_state)
        for i, (part, known) in enumerate(zip(parts, measured, strict=True)):
            if not len(known):
                calls[i, j] = Call(NOT_MEASURED, np.nan, np.full(len(part), np.nan), np.nan)
                continue
            one = call(known, reference, min_cells=min_cells, min_share=min_share)
            probability = np.full(len(part), np.nan)
            probability[~np.isnan(part)] = one.probability
            threshold, own = (float(np.sinh(value) * cofactors[j]) for value in (one.threshold, one.own))
            calls[i, j] = replace(one, threshold=threshold, own=own, probability=probability)
    return calls


def gated(values: np.ndarray, samples: pd.Series, thresholds: pd.DataFrame) -> Calls:
    """Cells above thresholds that somebody set, samples by markers."""
    codes = samples.cat.codes.to_numpy()
    calls: Calls = {}
    for i, row in enumerate(thresholds.to_numpy(dtype=float)):
        for j, threshold in enumerate(row):
            part = values[codes == i, j]
            one = call_gate(part, threshold)
            probability = np.where(np.isnan(part), np.nan, one.probability)
            status = NOT_MEASURED if np.isnan(part).all() else one.status
            calls[i, j] = replace(one, status=status, probability=probability)
    return calls


def from_images(probability: np.ndarray, samples: pd.Series) -> Calls:
    """Calls of a network, from its probabilities ``(n, markers)``."""
    codes = samples.cat.codes.to_numpy()
    calls: Calls = {}
    for i in range(len(samples.cat.categories)):
        for j, part in enumerate(probability[codes == i].T):
            calls[i, j] = Call(NOT_MEASURED if np.isnan(part).all() else NETWORK, np.nan, part, np.nan)
    return calls


def probabilities(calls: Calls, samples: pd.Series, n_markers: int) -> np.ndarray:
    """Of all cells by markers, float32; NaN where a marker is not called."""
    codes = samples.cat.codes.to_numpy()
    result = np.full((len(codes), n_markers), np.nan, np.float32)
    for (i, j), one in calls.items():
        result[codes == i, j] = one.probability
    return result


def unclear(calls: Calls, names: list[str]) -> list[str]:
    """Markers that are not called in some sample, as its cells do not lie apart."""
    return [
        name for j, name in enumerate(names) if any(one.status == UNCLEAR for (_, k), one in calls.items() if k == j)
    ]


def tables(calls: Calls, samples: list[str], names: list[str]) -> dict[str, pd.DataFrame]:
    """Thresholds, states and shares of positive cells, samples by markers."""
    thresholds = pd.DataFrame(np.nan, index=samples, columns=names)
    share = thresholds.copy()
    status = pd.DataFrame("", index=samples, columns=names)
    for (i, j), one in calls.items():
        known = one.probability[~np.isnan(one.probability)]
        thresholds.iat[i, j], status.iat[i, j] = one.threshold, one.status
        share.iat[i, j] = float((known > 0.5).mean()) if len(known) else np.nan
    return {"thresholds": thresholds, "status": status, "share": share}


def between_samples(calls: Calls, values: np.ndarray, samples: pd.Series, names: list[str]) -> pd.DataFrame:
    """Whether samples would call each other's cells alike.

    Returns
    -------
    One row per sample and marker: ``own``, the threshold that the sample by itself has (NaN: none); ``others``, the
    median of those of the other samples; ``fold``, the first by the second; ``same``, the share of the sample's cells
    that the threshold in use and `others` call alike; ``overruled``, whether `own` is not in use, as it lies outside of
    the populations of all samples.
    """
    codes, categories = samples.cat.codes.to_numpy(), list(samples.cat.categories)
    rows = []
    for j, name in enumerate(names):
        of_marker = [calls[i, j] for i in range(len(categories))]
        used = np.array([one.own if one.own == one.threshold else np.nan for one in of_marker])
        for i, (sample, one) in enumerate(zip(categories, of_marker, strict=True)):
            rest = np.delete(used, i)
            others = float(np.median(rest[~np.isnan(rest)])) if (~np.isnan(rest)).any() else np.nan
            part = values[codes == i, j]
            part = part[~np.isnan(part)]
            known = len(part) and np.isfinite([one.threshold, others]).all()
            same = float(((part > one.threshold) == (part > others)).mean()) if known else np.nan
            fold = one.own / others if others > 0 and one.own > 0 else np.nan
            overruled = bool(np.isfinite(one.own) and one.own != one.threshold)
            rows.append([str(sample), name, one.own, others, fold, same, overruled])
    return pd.DataFrame(rows, columns=["sample", "marker", "own", "others", "fold", "same", "overruled"])


def agreement(probability: pd.DataFrame, others: pd.DataFrame, samples: pd.Series) -> pd.DataFrame:
    """Shares of positive cells by ours and by others' calls, Cohen's kappa, and what is striking about theirs."""
    rows = []
    for sample, cells in samples.groupby(samples.to_numpy(), observed=True).indices.items():
        for marker in others:  # by place: names of rows need not be unique
            theirs, ours = others[marker].iloc[cells], probability[marker].iloc[cells]
            known = (theirs.notna() & ours.notna()).to_numpy()
            a, b = (ours[known] > 0.5).to_numpy(), theirs[known].to_numpy() > 0.5
            p, q = (a.mean(), b.mean()) if known.any() else (np.nan, np.nan)
            alike = (a == b).mean() if known.any() else np.nan
            chance = p * q + (1 - p) * (1 - q)
            kappa = (alike - chance) / (1 - chance) if chance < 1 else np.nan
            whole = theirs.dropna().to_numpy()
            note = ""
            if len(whole):
                share = float((whole > 0.5).mean())
                note = "nearly all positive" if share >= WHOLE else "no cell positive" if share == 0 else ""
            rows.append([str(sample), marker, p, q, alike, kappa, note])
    columns = ["sample", "marker", "share", "share_others", "agreement", "kappa", "note"]
    return pd.DataFrame(rows, columns=columns)


def gates_digest(gates: pd.DataFrame) -> str:
    """A digest of gates, which changes with every number, sample and marker."""
    rows = {str(sample): {str(k): repr(float(v)) for k, v in row.items()} for sample, row in gates.iterrows()}
    return fingerprint({"gates": rows})


def next_version(
    history: pd.DataFrame | None, digest: str, before: pd.DataFrame | None, now: pd.DataFrame
) -> pd.DataFrame:
    """The versions of gates so far, with one more row where they changed.

    Parameters
    ----------
    history
        Versions so far.
    digest
        Of the gates now; of calls without gates, the name of the method.
    before, now
        Probabilities of the cells, then and now, cells by markers.

    Returns
    -------
    One row per version: ``version`` from 1 on, ``digest``, and how many ``cells`` and ``calls`` (of a cell and a
    marker) have changed since the version before.
    """
    columns = ["version", "digest", "cells", "calls"]
    history = pd.DataFrame(columns=columns) if history is None else history[columns]
    cells = calls = 0
    if before is not None and len(history):
        old, new = (frame.reindex(columns=now.columns.union(before.columns, sort=False)) for frame in (before, now))
        changed = ((old > 0.5) != (new > 0.5)) | (old.isna() != new.isna())
        cells, calls = int(changed.any(axis=1).sum()), int(changed.to_numpy().sum())
    if len(history) and str(history["digest"].iloc[-1]) == digest and not calls:
        return history
    row = pd.DataFrame([[len(history) + 1, digest, cells, calls]], columns=columns)
    return row if not len(history) else pd.concat([history, row], ignore_index=True)
