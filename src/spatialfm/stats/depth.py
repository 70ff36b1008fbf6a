"""How many cells each patient has (the depth of a sample): whether it goes with the outcome, and how to make it equal.

Rare types are missed more often among few cells, and logarithms of small counts are elsewhere than those of
large ones. Where patients of one outcome have fewer cells, both look like a difference of their tissue.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from .concordance import concordant_pairs
from .risk_table import martingale_residuals

LEVEL = 0.05
FEW = 0.1  # share of patients that may have fewer cells than are drawn


@dataclass(frozen=True)
class DepthTest:
    """Numbers of cells against an outcome."""

    measure: str  # "AUROC", "epsilon squared" (Kruskal-Wallis), "concordance" (more cells, earlier event)
    value: float
    p_value: float
    n: int

    @property
    def associated(self) -> bool:
        """Whether patients of different outcome have different numbers: a small p, or groups that do not overlap."""
        apart = self.measure == "AUROC" and self.n >= 6 and self.value in (0.0, 1.0)
        return bool(apart or self.p_value < LEVEL)


def depth_by_class(n_cells: np.ndarray, codes: np.ndarray) -> DepthTest:
    """Numbers of cells between classes: Mann-Whitney for two, Kruskal-Wallis for more.

    Examples
    --------
    >>> import numpy as np
    >>> result = depth_by_class(np.array([90, 110, 100, 900, 1100, 1000]), np.array([0, 0, 0, 1, 1, 1]))
    >>> result.value, result.associated
    (1.0, True)
    """
    parts = [n_cells[codes == code] for code in np.unique(codes)]
    n = len(n_cells)
    name = "AUROC" if len(parts) == 2 else "epsilon squared"
    if len(parts) < 2 or np.ptp(n_cells) == 0:
        return DepthTest(name, 0.5 if len(parts) == 2 else 0.0, 1.0, n)
    if len(parts) == 2:
        test = stats.mannwhitneyu(parts[1], parts[0])
        return DepthTest(name, float(test.statistic / (len(parts[0]) * len(parts[1]))), float(test.pvalue), n)
    test = stats.kruskal(*parts)
    return DepthTest(name, float(test.statistic / (n - 1)), float(test.pvalue), n)


def depth_by_survival(n_cells: np.ndarray, time: np.ndarray, event: np.ndarray) -> DepthTest:
    """Numbers of cells against survival: score test of Cox regression on their ranks, by permutation moments."""
    x = stats.rankdata(n_cells)
    if np.ptp(x) == 0 or not event.any():
        return DepthTest("concordance", 0.5, 1.0, len(x))
    residuals = martingale_residuals(time, event)
    x = x - x.mean()
    variance = (residuals**2).sum() * (x**2).sum() / (len(x) - 1)
    z = float(residuals @ x / np.sqrt(variance)) if variance > 0 else 0.0
    right, n_pairs = concordant_pairs(time, event, x)
    value = right / n_pairs if n_pairs else 0.5
    return DepthTest("concordance", value, float(2 * stats.norm.sf(abs(z))), len(x))


def even_depth(n_cells: np.ndarray) -> int:
    """Number of cells that can be drawn of every patient.

    The least of all, unless one in ten patients or fewer (one at least) has less than half of what the next one has:
    they then keep what they have, and all others keep more.

    Examples
    --------
    >>> import numpy as np
    >>> even_depth(np.array([100, 120, 1000, 1000])), even_depth(np.array([7, 400, 500, 600]))
    (100, 400)
    """
    ordered = np.sort(np.asarray(n_cells))
    k = min(max(1, int(FEW * len(ordered))), len(ordered) - 1)
    gaps = np.flatnonzero(2 * ordered[:k] < ordered[1 : k + 1])  # the last gap: all before it are the few
    return int(ordered[gaps[-1] + 1] if len(gaps) else ordered[0])


def depth_within(n_cells: np.ndarray, total: int) -> int:
    """Cells of each patient, or all that it has, that make no more than `total` together.

    Examples
    --------
    >>> import numpy as np
    >>> depth_within(np.array([10, 100, 1000]), 130)
    60
    """
    ordered = np.sort(np.asarray(n_cells, dtype=np.int64))
    before = np.concatenate([[0], np.cumsum(ordered)[:-1]])
    depths = (total - before) // np.arange(len(ordered), 0, -1)  # where all from this one on give as many
    full = np.flatnonzero(depths < ordered)  # this one and those after it have more than that
    return int(max(depths[full[0]], 0)) if len(full) else int(ordered[-1])


def even_weights(codes: np.ndarray) -> np.ndarray:
    """Weights of rows ``(rows,)``, mean 1, with which each patient weighs alike.

    A patient with less than a tenth of the median number of rows weighs less, as few rows do not represent it.

    Examples
    --------
    >>> import numpy as np
    >>> even_weights(np.array([0, 0, 0, 1]))
    array([0.66666667, 0.66666667, 0.66666667, 2.        ])
    """
    n = np.bincount(codes)
    weights = 1 / np.maximum(n, FEW * np.median(n[n > 0]))[codes]
    return weights / weights.mean()


def draw_evenly(codes: np.ndarray, depth: int, rng: np.random.Generator) -> np.ndarray:
    """Rows, in order: at most `depth` of each patient, drawn without replacement.

    Parameters
    ----------
    codes
        ``(rows,)`` number of the patient.
    """
    order = rng.permutation(len(codes))
    order = order[np.argsort(codes[order], kind="stable")]
    starts = np.concatenate([[0], np.cumsum(np.bincount(codes))])
    place = np.arange(len(codes)) - starts[codes[order]]
    return np.sort(order[place < depth])


def rarefied(counts: np.ndarray, depth: int, rng: np.random.Generator) -> np.ndarray:
    """Counts ``(patients, types)`` among `depth` cells drawn without replacement; rows with no more stay as they are.

    One draw, not a mean of many: what is drawn of a patient of many cells then varies as what was seen of one of few,
    so that patients of the same tissue can be exchanged for any numbers.

    Examples
    --------
    >>> import numpy as np
    >>> rarefied(np.array([[40, 60], [3, 5]]), 10, np.random.default_rng(0)).sum(axis=1)
    array([10,  8])
    """
    whole = np.asarray(counts)
    as_integers = whole.astype(np.int64)
    if (as_integers != whole).any() or (as_integers < 0).any():
        raise ValueError("counts must be whole numbers of cells")
    out = as_integers.copy()
    for row in np.flatnonzero(as_integers.sum(axis=1) > depth):
        out[row] = rng.multivariate_hypergeometric(as_integers[row], depth, method="marginals")
    return out
