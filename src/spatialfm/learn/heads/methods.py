"""Methods by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from ..._errors import TableError
from ..probe import check_head, coded
from .cells import Cells
from .discriminant import fit_discriminant
from .fitted import Fitted, Rule, RuleFitted, with_temperature
from .nearest_mean import fit_nearest_mean
from .options import Options
from .probes import fit_probe_of
from .self_training import fit_self_training
from .spreading import fit_spreading

PROBES = ("linear", "forest", "knn")
RULES: dict[str, Callable[[Cells, np.ndarray, np.ndarray], Any]] = {
    "lda": fit_discriminant,
    "nearest_mean": fit_nearest_mean,
    "spreading": fit_spreading,
    "self_training": fit_self_training,
}
METHODS = (*PROBES, *RULES)
NOTED = ("shrinkage", "n_added", "n_rounds")  # attributes of rules that the record holds


def check_method(name: str, C: float | str, argument: str = "method", more: tuple[str, ...] = ()) -> None:
    """Refuse what is no method, and a penalty that is none."""
    if name not in (*METHODS, *more):
        names = ", ".join(repr(one) for one in (*METHODS, *more))
        raise TableError(f"{argument}={name!r} is not one of {names}.")
    check_head("linear", C)


def fit_method(
    name: str, cells: Cells, rows: np.ndarray, labels: np.ndarray | pd.Categorical, options: Options
) -> Fitted:
    """Fit a method to labelled rows of cells.

    Parameters
    ----------
    name
        One of `METHODS`.
    cells
        All rows that may be seen.
    rows, labels
        Labelled rows ``(n,)`` and their labels; the order of categories is that of the classes.
    options
        Penalty, calibration, seed.
    """
    if name in PROBES:
        return fit_probe_of(name, cells, rows, labels, options)
    codes, classes = coded(labels)
    fit = partial(fit_rule, name, cells, classes=classes)
    fitted = fit(rows, codes)
    return with_temperature(fitted, fit, cells, rows, codes) if options.calibrate else fitted


def fit_rule(name: str, cells: Cells, rows: np.ndarray, codes: np.ndarray, *, classes: list[str]) -> RuleFitted:
    """Fit a method that has codes instead of labels, with a temperature of 1."""
    rule: Rule = RULES[name](cells, rows, codes)
    notes = {note: getattr(rule, note) for note in NOTED if hasattr(rule, note)}
    return RuleFitted(classes, cells, rule, notes=notes)
