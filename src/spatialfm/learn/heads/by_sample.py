"""Columns on one scale within each sample, where labelled cells that are held out say that it helps.

Slides that were stained or scanned apart differ in every marker, and a cell is then told by how it compares with the
others of its slide. Where slides differ because their cells do, the same step removes what is looked for: of a slide
that is half tumour, half of the cells lie above its mean. Which of the two it is, labels tell.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from ..probe import coded
from .auto import MIN_HELD_OUT
from .blocks import AppliedScaler
from .cells import VisibleCells
from .compared import N_ERRORS, error_of_sum
from .fitted import held_out_probability
from .methods import fit_rule
from .mixture import class_shares
from .options import Options

HELD_BY = 30  # cells like those of all samples that each sample has besides its own: the mean of few is noise
MOST_COLUMNS = 2048  # of which a covariance is estimated in seconds


def within_samples(scaled: np.ndarray, samples: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """What brings each sample to the means and standard deviations of all.

    Parameters
    ----------
    scaled
        All rows ``(n, columns)`` on one scale.
    samples
        ``(n,)`` codes from 0 on, not all of which have rows.

    Returns
    -------
    Called with some rows, makes these on the scale of their sample.
    """
    n_rows = np.bincount(samples).astype(np.float64)[:, None]
    means, apart = np.zeros((2, len(n_rows), scaled.shape[1]))
    order = np.argsort(samples, kind="stable")
    for code, rows in enumerate(np.split(order, np.cumsum(n_rows[:-1, 0]).astype(int))):
        if not len(rows):
            continue  # a sample of which no row is seen
        own = scaled[rows].astype(np.float64)  # of one sample: a million rows at once would be doubled
        means[code] = own.mean(axis=0)
        apart[code] = ((own - means[code]) ** 2).sum(axis=0)
    mean = (n_rows * means).sum(axis=0) / len(samples)
    variance = (apart + n_rows * (means - mean) ** 2).sum(axis=0) / len(samples)
    center = (n_rows * means + HELD_BY * mean) / (n_rows + HELD_BY)
    apart += n_rows * (means - center) ** 2
    spread = np.sqrt((apart + HELD_BY * variance) / (n_rows + HELD_BY))
    factor = np.sqrt(variance) / np.where(spread > 0, spread, 1.0)

    def moved(rows: np.ndarray) -> np.ndarray:
        of = samples[rows]
        return ((scaled[rows] - center[of]) * factor[of] + mean).astype(scaled.dtype)

    return moved


def on_scale(
    cells: VisibleCells,
    samples: np.ndarray | None,
    rows: np.ndarray,
    labels: np.ndarray | pd.Categorical,
    options: Options,
    always: bool = False,
) -> tuple[VisibleCells, dict[str, Any]]:
    """Cells on the scale of all, or each on that of its sample, and why.

    Compared is the balanced accuracy of discriminant analysis on labelled cells that are held out in turn (whole
    patients, where five or more have labels). One scale for all stays unless the other is better by more than the
    standard error of the difference.

    Parameters
    ----------
    cells
        All that may be seen.
    samples
        ``(n,)`` of them, codes from 0 on; None: not known.
    rows, labels
        Labelled rows and their labels.
    always
        Whether each sample has its scale whatever the labels say.
    """
    if samples is None or not len(rows):
        return cells, {}
    n_samples = len(np.unique(samples))
    if n_samples < 2:
        return cells, {"by_sample": False}
    moved = within_samples(cells.scaled, samples)
    why = ""
    if not always:
        better, why = _better(cells, rows, moved(rows), labels, options)
        if not better:
            return cells, {"by_sample": False, "by_sample_why": why}
    values = np.empty_like(cells.scaled)
    for start in range(0, len(values), 65_536):
        part = np.arange(start, min(start + 65_536, len(values)))
        values[part] = moved(part)
    own = replace(cells, values=values, scaler=AppliedScaler(cells.scaler))
    return own, {"by_sample": True, "by_sample_why": why}


def _better(
    cells: VisibleCells,
    rows: np.ndarray,
    moved: np.ndarray,
    labels: np.ndarray | pd.Categorical,
    options: Options,
) -> tuple[bool, str]:
    """Whether labelled rows are told better on the scale of their sample, and the reason in words."""
    codes, classes = coded(labels)
    if len(codes) < MIN_HELD_OUT:
        return False, f"{len(codes)} labelled cells compare nothing"
    if moved.shape[1] > MOST_COLUMNS:
        return False, f"{moved.shape[1]} columns are not compared"
    groups, right = cells.groups_of(rows), []
    for values in (cells.scaled[rows], moved):
        alone = VisibleCells(values, AppliedScaler(cells.scaler), groups, random_state=options.random_state)
        fit = partial(fit_rule, "lda", alone, classes=classes)
        probability, places = held_out_probability(fit, np.arange(len(rows)), codes, groups, options.random_state)
        right.append(probability.argmax(axis=1) == codes[places])
    if len(places) < MIN_HELD_OUT:
        return False, f"{len(places)} labelled cells that can be held out compare nothing"
    share = class_shares(codes[places])
    apart = share * (right[1].astype(float) - right[0])
    gain, error = float(apart.sum()), error_of_sum(apart, None if groups is None else groups[places])
    scores = [float((share * one).sum()) for one in right]
    return gain > N_ERRORS * error, (
        f"balanced accuracy on {len(places)} labelled cells, held out in turn: {scores[1]:.2f} on the scale of each "
        f"sample, {scores[0]:.2f} on one scale (difference {gain:.2f}, standard error {error:.2f})"
    )
