"""How representations of the same cells are judged and compared: predictions of all folds together, by patient.

Each cell is predicted once, by a linear probe (C = 1) that saw no cell of its patient, and the macro F1 is that of all
cells together: a type that few cells of one fold have does not decide the mean over folds. Intervals are of draws of
patients with replacement, the same draws for all representations, so that differences are paired. Probes are not fitted
again in a draw: an interval of 95 % covers about 92 % for a difference and 88 % for a score (docs, *Training
encoders*). Percentiles are taken as far out as Student's t asks (Hesterberg 2015, as
`spatialfm.stats.reconstruction.over_patients` does for a mean).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from spatialfm.learn.heads.folds import Groups, make_folds
from spatialfm.learn.probe import fit_head

N_FOLDS, MIN_CELLS, N_DRAWS = 6, 30, 2000


def frequent(names: np.ndarray, min_cells: int = MIN_CELLS) -> np.ndarray:
    """Rows of the types that have at least so many cells, (n,) bool; cells without type take no part."""
    types = pd.Series(names, dtype=object)
    return (types.map(types.value_counts()) >= min_cells).to_numpy()


def predicted(values: np.ndarray, names: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Type of each cell, told by a probe of the folds that its patient is not in."""
    found = np.empty(len(names), dtype=object)
    for fold in make_folds(Groups(patients, "patient"), names, N_FOLDS, 0):
        probe = fit_head(values[fold.train], names[fold.train], "linear", C=1.0)
        best = probe.predict_proba(values[fold.held_out]).argmax(axis=1)
        found[fold.held_out] = np.asarray(probe.classes, dtype=object)[best]
    return found


def confusions(names: np.ndarray, found: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Cells by patient, type and predicted type."""
    types, truth = np.unique(names.astype(str), return_inverse=True)
    who, of = np.unique(patients.astype(str), return_inverse=True)
    counts = np.zeros((len(who), len(types), len(types)))
    np.add.at(counts, (of, truth, np.searchsorted(types, found.astype(str))), 1)
    return counts


def macro_f1(counts: np.ndarray) -> np.ndarray:
    """Mean F1 over the types that occur, of counts ``(..., types, predicted types)``."""
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    true, called = counts.sum(axis=-1), counts.sum(axis=-2)
    f1 = np.divide(2 * right, true + called, out=np.zeros_like(true), where=true > 0)
    return f1.sum(axis=-1) / (true > 0).sum(axis=-1)


class Judged:
    """Macro F1 of representations of the same cells, with intervals over patients.

    Parameters
    ----------
    representations
        ``(n, columns)`` by name.
    names, patients
        Type and patient of each cell; types with fewer than `MIN_CELLS` cells are left out.
    """

    def __init__(self, representations: Mapping[str, np.ndarray], names: np.ndarray, patients: np.ndarray) -> None:
        kept = frequent(names)
        self.names, self.patients = names[kept].astype(str), patients[kept].astype(str)
        n = len(np.unique(self.patients))
        weights = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=N_DRAWS)
        self.f1: dict[str, float] = {}
        self.draws: dict[str, np.ndarray] = {}
        for key, values in representations.items():
            counts = confusions(self.names, predicted(values[kept], self.names, self.patients), self.patients)
            self.f1[key] = float(macro_f1(counts.sum(axis=0)))
            self.draws[key] = macro_f1(np.tensordot(weights, counts, axes=1))
        reach = stats.t.ppf(0.975, n - 1) * np.sqrt(n / (n - 1))
        self.tail = float(stats.norm.cdf(-reach))

    def add_mean(self, key: str, of: Sequence[str]) -> None:
        """Add the mean score of several, such as one encoder of several trainings, on the same draws of patients."""
        self.f1[key] = float(np.mean([self.f1[one] for one in of]))
        self.draws[key] = np.mean([self.draws[one] for one in of], axis=0)

    def score(self, key: str) -> tuple[float, float, float]:
        """Macro F1 and the ends of its interval."""
        return self.f1[key], *self._ends(self.draws[key])

    def less(self, first: str, second: str) -> tuple[float, float, float]:
        """Macro F1 of `first` less that of `second`, and the ends of the interval, paired by patient."""
        return self.f1[first] - self.f1[second], *self._ends(self.draws[first] - self.draws[second])

    def _ends(self, draws: np.ndarray) -> tuple[float, float]:
        low, high = np.quantile(draws, [self.tail, 1 - self.tail])
        return float(low), float(high)
