"""The probes of `spatialfm.learn.probe` (linear, forest, nearest neighbours) as methods among others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ..probe import Head, Probe, calibrated, fit_probe
from ..temperature import Calibration
from .cells import VisibleCells
from .options import Options


@dataclass(frozen=True)
class FittedProbe:
    """A probe, and the cells that it was fitted with."""

    probe: Probe
    cells: VisibleCells = field(repr=False)
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def classes(self) -> list[str]:
        """Names of its classes."""
        return self.probe.classes

    @property
    def calibration(self) -> Calibration:
        """Its temperature; that of a forest or of neighbours is 1."""
        return self.probe.calibration

    def predict_proba(self, values: np.ndarray) -> np.ndarray:
        """Probabilities ``(m, classes)`` of rows ``(m, columns)``, not yet scaled."""
        return self.probe.predict_proba(values)

    def predict_seen(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Probabilities of rows of the cells."""
        return self.probe.predict_proba(self.cells.values if rows is None else self.cells.values[rows])


def fit_probe_of(
    head: Head, cells: VisibleCells, rows: np.ndarray, labels: np.ndarray | pd.Categorical, options: Options
) -> FittedProbe:
    """Fit a probe to labelled rows, and calibrate it if it is linear and `options.calibrate` is set."""
    values, groups = cells.values[rows], cells.groups_of(rows)
    probe, used = fit_probe(
        values,
        labels,
        head=head,
        C=options.penalty,
        groups=groups,
        scaler=None if options.published else cells.scaler,
        n_trials=options.n_trials,
        published=options.published,
        random_state=options.random_state,
    )
    if options.calibrate and head == "linear" and not options.published:
        probe = calibrated(probe, values, labels, groups, options.random_state)
    return FittedProbe(probe, cells, {"C": used})
