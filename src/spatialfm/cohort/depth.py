"""Numbers of cells against the outcome, reported before a score can be mistaken for a property of the tissue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from .._errors import TableError, counted, warn
from .._keys import PATIENT_KEY, SAMPLE_KEY
from .._logging import logger
from ..stats.depth import DepthTest, depth_by_class, depth_by_survival, even_depth, even_weights
from .checks import codes_by_appearance, obs_column
from .patient_names import like_patients

if TYPE_CHECKING:
    from anndata import AnnData

Depth = int | Literal["all", "even"]
FEW_CELLS = 50  # of a patient, below which a draw is worth a warning
N_CELLS = "n_cells"  # column of tables of patients, as tl.composition writes it


def cells_of_cases(adata: AnnData, codes: np.ndarray, n_cases: int) -> np.ndarray:
    """Cells of each case: rows, or what ``obs["n_cells"]`` of a table of samples, patients or tiles adds up to."""
    weights = None
    if N_CELLS in adata.obs and pd.api.types.is_numeric_dtype(adata.obs[N_CELLS]):
        weights = adata.obs[N_CELLS].to_numpy(float, na_value=0.0)
    return np.rint(np.bincount(codes, weights=weights, minlength=n_cases)).astype(int)


def class_depth(
    n_cells: np.ndarray, codes: np.ndarray, names: Sequence[str], key: str, remedy: str, unit: str = "patient"
) -> dict[str, Any]:
    """Warn where classes differ in their numbers of cells; what was found, for ``params``.

    Parameters
    ----------
    n_cells, codes
        ``(patients,)`` cells and class of each.
    names
        Of the classes.
    key
        Column of ``obs`` with the class.
    remedy
        Sentence with the remedy, in the words of the caller.
    """
    test = depth_by_class(n_cells, codes)
    medians = [
        f"{np.median(n_cells[codes == i]):,.0f} of {name!r}" for i, name in enumerate(names) if (codes == i).any()
    ]
    return _tell(test, f"obs[{key!r}]", f"median {', '.join(medians)}", remedy, unit)


def survival_depth(
    n_cells: np.ndarray, time: np.ndarray, event: np.ndarray, keys: Sequence[str], remedy: str, unit: str = "patient"
) -> dict[str, Any]:
    """The same for survival."""
    event = event.astype(bool)
    test = depth_by_survival(n_cells, time, event)
    medians = [
        f"{np.median(n_cells[rows]):,.0f} of those {what}"
        for what, rows in (("with an event", event), ("without", ~event))
        if rows.any()
    ]
    return _tell(test, f"obs[{keys[0]!r}] and obs[{keys[1]!r}]", f"median {', '.join(medians)}", remedy, unit)


def _tell(test: DepthTest, where: str, medians: str, remedy: str, unit: str) -> dict[str, Any]:
    numbers = f"{medians}; {test.measure} {test.value:.2f}, p = {test.p_value:.2g}"
    if test.associated:
        warn(
            f"Numbers of cells per {unit} go with {where} ({numbers}). Rare phenotypes are missed among few cells, so "
            f"that a score may reflect numbers of cells instead of tissue. {remedy}"
        )
    else:
        logger.info("numbers of cells do not go with %s (%s)", where, numbers)
    return {
        "depth_measure": test.measure,
        "depth_value": test.value,
        "depth_p_value": test.p_value,
        "depth_associated": test.associated,
    }


def depth_of(
    cells: Depth,
    n_cells: np.ndarray,
    argument: str,
    goes_with_outcome: Callable[[np.ndarray], bool] | None = None,
    unit: str = "patient",
) -> int | None:
    """How many cells of each patient are to be drawn, None for all; those who have fewer are reported.

    Parameters
    ----------
    goes_with_outcome
        Whether numbers of cells differ by outcome. If those that are drawn did, the few patients with far fewer cells
        than the rest would be of one outcome, and no more than theirs are drawn.

    Raises
    ------
    TableError
        If it is not such a number.
    """
    if isinstance(cells, str) and cells == "all":
        return None
    if isinstance(cells, str) and cells == "even":
        depth = even_depth(n_cells)
        if goes_with_outcome is not None and goes_with_outcome(np.minimum(n_cells, depth)):
            depth = int(n_cells.min())
    elif isinstance(cells, int | np.integer) and not isinstance(cells, bool) and cells >= 1:
        depth = int(cells)
    else:
        raise TableError(f'{argument}={cells!r} is not known. Pass "all", "even", or a number of cells.')
    if depth < FEW_CELLS and np.median(n_cells) >= 2 * FEW_CELLS:
        warn(
            f"{argument}={cells!r} draws {counted(depth, 'cell')} of each {unit}, as some have no more; half of the "
            f"{unit}s have {int(np.median(n_cells)):,} and more. Leave out those with few, or pass "
            f"{argument}={FEW_CELLS} (they then keep what they have)."
        )
    few = int((n_cells < depth).sum())
    left = f"; {counted(few, unit)} with fewer: all of theirs" if few else ""
    if (n_cells > depth).any():
        logger.info("%s cells of each %s are drawn (median of all: %s)%s", depth, unit, int(np.median(n_cells)), left)
    return depth


def patient_weights(adata: AnnData, patient_key: str | None) -> tuple[np.ndarray | None, str]:
    """Weights with which every patient counts alike in a fit on pooled rows, and their entry in ``params``.

    Without the usual column of patients, samples are taken; without these, or for None, or where all have equally many
    rows, weights are None.
    """
    if patient_key is None:
        return None, "rows alike"
    key = patient_key
    if patient_key == PATIENT_KEY and PATIENT_KEY not in adata.obs:
        if like := like_patients(adata.obs):
            warn(
                f"obs has no column {PATIENT_KEY!r}, so that patients are not weighed alike; {like[0]!r} has the name "
                f'of patients are. Pass patient_key="{like[0]}", or patient_key=None if cells are to count as they are.'
            )
        if SAMPLE_KEY not in adata.obs or adata.obs[SAMPLE_KEY].isna().any():
            return None, "rows alike"
        key = SAMPLE_KEY
    codes, names = codes_by_appearance(obs_column(adata, key, "patient_key"))
    how = f"{counted(len(names), 'sample' if key == SAMPLE_KEY else 'patient')} alike"
    n = np.bincount(codes)
    return (None if n.min() == n.max() else even_weights(codes)), how


def tell_dominant(adata: AnnData, patient_key: str | None = PATIENT_KEY) -> None:
    """Warn where one of three patients or more has most of the rows that a graph is clustered of."""
    key = patient_key if patient_key in adata.obs else SAMPLE_KEY
    if patient_key is None or key not in adata.obs:
        return
    counts = adata.obs[key].value_counts()
    counts = counts[counts > 0]
    if len(counts) < 3 or 2 * counts.iloc[0] <= counts.sum():
        return
    depth = max(int(counts.iloc[1:].median()), 1)
    rows = f'adata.obs.sample(frac=1, random_state=0).groupby("{key}", observed=True).head({depth}).index'
    warn(
        f"{100 * counts.iloc[0] / counts.sum():.0f} % of the cells are of {key} {str(counts.index[0])!r}: most "
        f"clusters will be its own. Cluster as many of each: part = adata[{rows}].copy()."
    )
