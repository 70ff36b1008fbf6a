"""Sets of types around the answers of a method, from labelled cells whose patients it had not seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..conformal import check_coverage, held_out_patients, thresholds
from ..probe import coded
from .auto import fit_of
from .blocks import ColumnBlock
from .cells import VisibleCells
from .fitted import Fitted
from .options import Options


def least_probabilities(
    name: str,
    blocks: Sequence[ColumnBlock],
    stacked: bool,
    cells: VisibleCells,
    rows: np.ndarray,
    labels: np.ndarray | pd.Categorical,
    options: Options,
    fitted: Fitted,
) -> np.ndarray:
    """Least probability of each type with which it is in the set of a cell, ``(classes,)``.

    Patients are held out in up to ten parts, and the method is fitted to the others, with the temperature and the
    penalty that it has for all. The sets are then those of the method on all labels, which has seen more: they hold
    the true type rather more often than is stated.

    Parameters
    ----------
    name, blocks, stacked, cells, rows, labels, options
        As `fit_of` took them; the name is that of the method which was chosen.
    fitted
        What it gave.

    Raises
    ------
    TableError
        If there are no patients, or too few for the coverage.
    """
    groups = cells.groups_of(rows)
    check_coverage(options.coverage, groups)
    codes, classes = coded(labels)
    wanted, options = options, options.again(fitted)
    probability = np.zeros((len(rows), len(classes)))
    for train, test in held_out_patients(groups, options.random_state):
        if len(np.unique(codes[train])) < 2:
            continue  # the patients of the others have a single type: nothing was expected of these cells
        part, _ = fit_of(name, blocks, stacked, cells, rows[train], labels[train], options)
        places = [classes.index(one) for one in part.classes]
        probability[np.ix_(test, places)] = fitted.calibration.applied(part.predict_seen(rows[test]))
    return thresholds(probability, codes, groups, wanted.coverage, by_type=wanted.by_type)
