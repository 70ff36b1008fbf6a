"""Cases with equally many cells, if their numbers would reveal the outcome."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import stats

from .._errors import TableError, warn
from .._types import present
from ..stats.depth import LEVEL, depth_by_class, depth_by_survival
from .cases import Cases, shuffled_rows
from .depth import Depth, cells_of_cases, class_depth, depth_of, survival_depth

if TYPE_CHECKING:
    from anndata import AnnData

CasesDepth = int | Literal["auto", "all", "even"]


def class_cases(
    adata: AnnData, cases: Cases, codes: np.ndarray, names: list[str], key: str, cells: CasesDepth, random_state: int
) -> tuple[Cases, dict[str, Any]]:
    """The same cases with equally many cells where classes differ in numbers of cells, and the entry in ``params``.

    Parameters
    ----------
    codes, names
        Class of each case, and what classes are called.
    cells
        ``"auto"``, ``"all"``, ``"even"``, or a number.
    """

    def differ(n: np.ndarray) -> bool:
        return depth_by_class(n, codes).associated

    n_cells = _numbers(adata, cases)
    drawn, remedy = _drawn(adata, cases, n_cells, cells, differ, random_state)
    depth = class_depth(n_cells, codes, names, key, remedy, cases.unit)
    return drawn, depth | {"cells_per_patient": _depth(cases, drawn)}


def survival_cases(
    adata: AnnData, cases: Cases, time: np.ndarray, event: np.ndarray, keys: list[str], cells: CasesDepth,
    random_state: int,
) -> tuple[Cases, dict[str, Any]]:  # fmt: skip
    """The same for survival."""

    def differ(n: np.ndarray) -> bool:
        return depth_by_survival(n, time, event).associated

    n_cells = _numbers(adata, cases)
    drawn, remedy = _drawn(adata, cases, n_cells, cells, differ, random_state)
    depth = survival_depth(n_cells, time, event, keys, remedy, cases.unit)
    return drawn, depth | {"cells_per_patient": _depth(cases, drawn)}


def number_cases(
    adata: AnnData, cases: Cases, values: np.ndarray, key: str, cells: CasesDepth, random_state: int
) -> tuple[Cases, dict[str, Any]]:
    """The same for a number, by Spearman's correlation."""

    def correlation(n: np.ndarray) -> tuple[float, float]:
        if np.ptp(n) == 0:
            return 0.0, 1.0
        test = stats.spearmanr(n, values)
        return float(test.statistic), float(test.pvalue)

    n_cells = _numbers(adata, cases)
    drawn, remedy = _drawn(adata, cases, n_cells, cells, lambda n: correlation(n)[1] < LEVEL, random_state)
    rho, p_value = correlation(n_cells)
    if p_value < LEVEL:
        warn(
            f"Numbers of cells per {cases.unit} go with obs[{key!r}] (Spearman's {rho:.2f}, p = {p_value:.2g}), so "
            f"that a score may reflect numbers of cells instead of tissue. {remedy}"
        )
    depth = {"depth_measure": "Spearman", "depth_value": rho, "depth_p_value": p_value}
    return drawn, depth | {"depth_associated": p_value < LEVEL, "cells_per_patient": _depth(cases, drawn)}


def _aggregated(adata: AnnData, cases: Cases) -> bool:
    """Whether rows are samples or patients, of which none can be drawn, and not cells or tiles."""
    return "composition" in adata.uns or bool((np.bincount(cases.codes) == 1).all())


def _numbers(adata: AnnData, cases: Cases) -> np.ndarray:
    if not _aggregated(adata, cases):
        return np.bincount(cases.codes, minlength=len(cases.names))
    return cells_of_cases(cases.part(adata), cases.codes, len(cases.names))


def _drawn(
    adata: AnnData, cases: Cases, n_cells: np.ndarray, cells: CasesDepth, differ: Callable, random_state: int
) -> tuple[Cases, str]:
    """Cases, and the note if numbers differ."""
    if _aggregated(adata, cases):
        if cells not in ("auto", "all"):
            raise TableError(
                f"cells_per_patient={cells!r}: rows of this table are not cells, so none can be drawn. Draw them where "
                'the table is made: sfm.tl.composition(..., cells_per_row="even").'
            )
        return cases, 'Make the table of equally many cells: sfm.tl.composition(..., cells_per_row="even").'
    if cells == "all" or (cells == "auto" and not differ(n_cells)):
        return cases, 'Pass cells_per_patient="auto" for a score of equally many cells.'
    asked: Depth = "even" if cells == "auto" else cells
    depth = present(depth_of(asked, n_cells, "cells_per_patient", unit=cases.unit), "the depth")
    if cells in ("auto", "even") and differ(np.minimum(n_cells, depth)):  # few have far fewer, all of one outcome
        depth = int(n_cells.min())
    draw = draw_of_cases(cases, adata.obs_names[cases.rows], depth, random_state)
    drawn = replace(cases, rows=cases.rows[draw], codes=cases.codes[draw], samples=cases.samples[draw])
    if differ(np.minimum(n_cells, depth)):
        return drawn, f"They still do where {depth:,} cells of each are drawn. Pass a smaller cells_per_patient=."
    return drawn, f'{depth:,} cells of each {cases.unit} are therefore used (all with cells_per_patient="all").'


def draw_of_cases(cases: Cases, names: np.ndarray, depth: int, random_state: int) -> np.ndarray:
    """Positions, ascending: at most `depth` rows of each case, the same ones in any order of the table."""
    order = shuffled_rows(names, np.random.default_rng((random_state, 7)))
    order = order[np.argsort(cases.codes[order], kind="stable")]
    starts = np.concatenate([[0], np.cumsum(np.bincount(cases.codes, minlength=len(cases.names)))])
    place = np.arange(len(order)) - starts[cases.codes[order]]
    return np.sort(order[place < depth])


def _depth(cases: Cases, drawn: Cases) -> int:
    """Most cells of a case that were used; 0 for all."""
    return 0 if len(drawn.rows) == len(cases.rows) else int(np.bincount(drawn.codes).max())
