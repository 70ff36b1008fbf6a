"""Methods by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from ..._errors import TableError
from ..probe import check_head, coded
from ..temperature import MANY, Calibration
from .bcos import fit_bcos
from .cells import VisibleCells
from .compared import is_better
from .discriminant import fit_discriminant
from .fitted import Fitted, RuleFitted, ScoringRule, held_out_probability, some_rows, with_temperature
from .mixture import Mixture, fit_mixture
from .nearest_mean import fit_nearest_mean
from .options import Options
from .probes import fit_probe_of
from .self_training import fit_self_training
from .spreading import fit_spreading
from .trees import fit_trees
from .views import ColumnScaler, mean_columns

Fit = Callable[[np.ndarray, np.ndarray], Fitted]  # to labelled rows and their codes

PROBES = ("linear", "forest", "knn")
RULES: dict[str, Callable[[VisibleCells, np.ndarray, np.ndarray], Any]] = {
    "lda": fit_discriminant,
    "nearest_mean": fit_nearest_mean,
    "spreading": fit_spreading,
    "self_training": fit_self_training,
    "trees": fit_trees,
    "bcos": fit_bcos,
}
METHODS = (*PROBES, *RULES, "ensemble")
MOST_NARROW = 64  # columns up to which a covariance is estimated of columns that are not means of markers
MIN_MEANS = 3  # among other columns, from which on they have a part of their own
UNSURE = 2.0  # temperature of discriminant analysis among others: 1.5 to 3 score alike
NOTED = ("shrinkage", "n_added", "n_rounds")  # attributes of rules that the record holds


def check_method(name: str, C: float | str, argument: str = "method", more: tuple[str, ...] = ()) -> None:
    """Refuse what is not a method, and what is not a penalty."""
    if name not in (*METHODS, *more):
        names = ", ".join(repr(one) for one in (*METHODS, *more))
        raise TableError(f"{argument}={name!r} is not one of {names}.")
    check_head("linear", C)


def fit_method(
    name: str, cells: VisibleCells, rows: np.ndarray, labels: np.ndarray | pd.Categorical, options: Options
) -> Fitted:
    """Fit a method to labelled rows of cells.

    Parameters
    ----------
    name
        One of `METHODS`.
    cells
        All rows that may be seen.
    rows, labels
        Labelled rows ``(n,)`` and their labels; classes are sorted, whatever the order of categories.
    options
        Penalty, calibration, seed.
    """
    if name in PROBES:
        return fit_probe_of(name, cells, rows, labels, options)
    codes, classes = coded(labels)
    if name == "ensemble":
        return fit_ensemble(cells, rows, codes, classes, options)
    fit = partial(fit_rule, name, cells, classes=classes)
    fitted = fit(rows, codes)
    return with_temperature(fitted, fit, rows, codes) if options.calibrate else fitted


def fit_rule(name: str, cells: VisibleCells, rows: np.ndarray, codes: np.ndarray, *, classes: list[str]) -> RuleFitted:
    """Fit a method that has codes instead of labels, with a temperature of 1."""
    rule: ScoringRule = RULES[name](cells, rows, codes)
    notes = {note: getattr(rule, note) for note in NOTED if hasattr(rule, note)}
    return RuleFitted(classes, cells, rule, notes=notes)


def fit_ensemble(
    cells: VisibleCells, rows: np.ndarray, codes: np.ndarray, classes: list[str], options: Options
) -> Mixture:
    """Discriminant analysis and trees, whose errors differ: straight borders, and cuts of single columns.

    A covariance of hundreds of columns is not told by few labels, so that a wide output of a network has the linear
    probe in its place. Where means of markers are some of many columns (`classical`), both see the means by themselves,
    and the trees all columns too: among hundreds of textures a cut by noise is more often the best one. One label of
    each type says nothing of a covariance, and too little for a tree: then the probe is alone. Many labels show where
    one covariance for all types is wrong: then the probe, which takes none, has its place.

    The penalty of the probe is chosen once, on all labelled rows, not again where some of them are held out for the
    temperature.
    """
    fits, C = parts_of_ensemble(cells, rows, codes, classes, options)
    fitted = fit_mixture(
        fits,
        [slice(0, cells.values.shape[1])] * len(fits),
        rows,
        codes,
        groups=cells.groups_of(rows),
        random_state=options.random_state,
        weigh=False,
        calibrate=options.calibrate,
        temper=True,
        seen=some_rows(cells),
        like=options.like,
    )
    return replace(fitted, notes={} if C is None else {"C": C})


def parts_of_ensemble(
    cells: VisibleCells, rows: np.ndarray, codes: np.ndarray, classes: list[str], options: Options
) -> tuple[list[Fit], float | str | None]:
    """What fits each part of the ensemble, trees on all columns the second, and the penalty of the probe if one is."""
    plain = replace(options, calibrate=False)
    width, means = cells.values.shape[1], mean_columns(cells.scaler)
    alone = replace(cells, scaler=ColumnScaler(cells.scaler, means)) if MIN_MEANS <= len(means) < width else None
    wide = alone is None and len(means) < width and width > MOST_NARROW
    single = _is_alone(codes, options)
    unsure = partial(fit_unsure, cells if alone is None else alone, classes=classes)
    if (wide or single or len(codes) >= MANY) and isinstance(options.penalty, str):
        plain = replace(plain, C=fit_codes("linear", cells, rows, codes, classes=classes, options=plain).notes["C"])
    probe = partial(fit_codes, "linear", cells, classes=classes, options=plain)
    if single:
        return [probe], plain.penalty
    by_probe = wide or _is_told_better(probe, unsure, cells, rows, codes, options)
    trees: list[Fit] = [partial(fit_rule, "trees", one, classes=classes) for one in (cells, alone) if one is not None]
    return [probe if by_probe else unsure, *trees], plain.penalty if by_probe else None


def _is_alone(codes: np.ndarray, options: Options) -> bool:
    """Whether no type has two labels; of fits to some of the labels, whether none had among all of them."""
    like = options.like
    return len(like.parts) == 1 if isinstance(like, Mixture) else bool(np.bincount(codes).max() == 1)


def _is_told_better(
    probe: Fit, unsure: Fit, cells: VisibleCells, rows: np.ndarray, codes: np.ndarray, options: Options
) -> bool:
    """Whether the probe stands for discriminant analysis: where many labels say so, a fifth of them held out."""
    if options.like is not None:
        return "C" in options.like.notes
    if len(codes) < MANY:
        return False
    groups = cells.groups_of(rows)
    other, places = held_out_probability(probe, rows, codes, groups, options.random_state)
    first, _ = held_out_probability(unsure, rows, codes, groups, options.random_state)
    return is_better(other, first, codes[places], None if groups is None else groups[places])


def fit_unsure(cells: VisibleCells, rows: np.ndarray, codes: np.ndarray, *, classes: list[str]) -> RuleFitted:
    """Discriminant analysis whose logits are halved.

    Its normal distributions take the covariance for known, and are too sure by half with few labels: in a geometric
    mean it would overrule the trees.
    """
    return replace(fit_rule("lda", cells, rows, codes, classes=classes), calibration=Calibration(UNSURE))


def fit_codes(
    name: str, cells: VisibleCells, rows: np.ndarray, codes: np.ndarray, *, classes: list[str], options: Options
) -> Fitted:
    """`fit_method` of codes, whose classes all have names."""
    return fit_method(name, cells, rows, pd.Categorical.from_codes(codes, classes), options)
