"""All of an annotation on arrays: a method, a prior of markers, neighbours in the tissue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..._errors import listed, warn
from ..conformal import patients_needed, sets_of
from ..probe import coded, cofactors_of
from ..temperature import Calibration
from .auto import fit_of
from .blocks import ColumnBlock
from .cells import VisibleCells
from .covering import least_probabilities
from .fitted import Fitted, held_out_probability
from .options import Options
from .signature import best_weight, spread_over, union, with_prior
from .smoothing import smoothed, weigh_neighbors

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@dataclass(frozen=True)
class Prior:
    """Probabilities of types by their markers, ``(n, types)``."""

    types: list[str]
    probability: np.ndarray


@dataclass(frozen=True)
class Neighbors:
    """Means over spatial neighbours, and their weight; None: chosen on held-out cells."""

    means: csr_matrix
    weight: float | None


@dataclass(frozen=True)
class Answer:
    """Probabilities of all cells, and what was chosen on the way."""

    classes: list[str]
    probability: np.ndarray
    calibration: Calibration = Calibration()
    notes: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    sets: np.ndarray | None = None  # (n, classes), whether a class is in the set of a cell
    fitted: Fitted | None = field(default=None, repr=False)  # the method, where nothing came after it


def answer(
    method: str,
    stacked: bool,
    blocks: Sequence[ColumnBlock],
    cells: VisibleCells,
    rows: np.ndarray,
    labels: pd.Categorical,
    options: Options,
    prior: Prior | None = None,
    neighbors: Neighbors | None = None,
) -> Answer:
    """Annotate all cells from the labelled rows, the markers of types, or both.

    Parameters
    ----------
    method, stacked, blocks
        Method by name, and whether each representation has its own.
    cells, rows, labels
        All cells, the labelled ones and their labels.
    prior
        With labels, its weight is chosen on those that are held out in turn.
    neighbors
        Spatial smoothing, after all else.
    """
    if not len(rows):
        return _without_labels(prior, neighbors)
    model, choice = fit_of(method, blocks, stacked, cells, rows, labels, options)
    codes, classes = coded(labels)
    notes, tables = dict(model.notes), {} if choice is None else {"methods": choice.table}
    chosen = method if choice is None else choice.method
    plain = options.again(model)

    def again(some: np.ndarray, of_some: np.ndarray) -> Fitted:
        of_these = pd.Categorical.from_codes(of_some, classes)
        return fit_of(chosen, blocks, stacked, cells, some, of_these, plain)[0]

    groups = cells.groups_of(rows)
    probability, calibration = model.predict_seen(), model.calibration
    if neighbors is not None:
        means, random_state = neighbors.means, options.random_state
        weight, after, table = weigh_neighbors(
            again, rows, codes, groups, means, classes, random_state, neighbors.weight, calibration
        )
        if weight:
            probability = smoothed(probability, means, weight)
        if weight and options.calibrate:
            probability, calibration = after.applied(probability), after
        notes["smoothing_weight"], tables["smoothing"] = weight, table
    if prior is not None:
        everyone = union(classes, prior.types)
        markers = spread_over(prior.probability, prior.types, everyone)
        held_out, places = held_out_probability(again, rows, codes, groups, options.random_state)
        weight = best_weight(spread_over(held_out, classes, everyone), markers[rows[places]], codes[places])
        probability = with_prior(spread_over(probability, classes, everyone), markers, weight)
        classes, notes["signature_weight"] = everyone, weight
    sets = None
    if options.coverage is not None:
        least = least_probabilities(chosen, blocks, stacked, cells, rows, labels, options, model)
        tables["sets"], sets = set_table(least, labels, cells.groups_of(rows), options), sets_of(probability, least)
    alone = model if prior is None and neighbors is None else None
    return Answer(classes, probability, calibration, notes, tables, sets, alone)


def _without_labels(prior: Prior | None, neighbors: Neighbors | None) -> Answer:
    """What the markers of types say alone; a weight of neighbours cannot be chosen without labels."""
    if prior is None:
        raise ValueError("neither labels nor markers of types")
    probability, weight = prior.probability, 0.0
    if neighbors is not None and neighbors.weight is not None:
        weight = neighbors.weight
        probability = smoothed(probability, neighbors.means, weight)
    return Answer(prior.types, probability, notes={"signature_weight": 1.0, "smoothing_weight": weight})


def set_table(least: np.ndarray, labels: pd.Categorical, patients: np.ndarray | None, options: Options) -> pd.DataFrame:
    """How sets were found, one row per type; a type that is in all of them is told of."""
    codes, classes = coded(labels)
    table = pd.DataFrame({"label": codes, "patient": patients})
    n_patients = table.groupby("label")["patient"].nunique().to_numpy()
    needed = patients_needed(options.coverage or 0.0)
    rare = [name for name, n in zip(classes, n_patients, strict=True) if n < needed]
    if options.by_type and rare:
        warn(
            f"{listed(rare)} {'is' if len(rare) == 1 else 'are'} labelled in fewer than {needed} patients, and in the "
            "set of every cell. Label them in more, or pass coverage_of='cells'."
        )
    return pd.DataFrame({"least_probability": least, "n_patients": n_patients}, index=classes)


def cofactor_rows(blocks: Sequence[ColumnBlock], cells: VisibleCells) -> pd.DataFrame:
    """One row per column that went through arcsinh."""
    return pd.DataFrame(
        [
            {"use_rep": block.name, "column": name, "cofactor": value}
            for block, cofactors in zip(blocks, cofactors_of(cells.scaler), strict=True)
            for name, value in cofactors.items()
        ]
    )
