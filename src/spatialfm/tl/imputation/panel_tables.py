"""What a search for panels found, as tables: scores by size, and what each candidate does."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ...learn.panel_curve import HeldOutPanels, Search, curve_table, gain_columns
from ...learn.panel_search import BestPanel, Role, redundancy_groups, roles
from ...learn.panel_tasks import PanelCells, Task


def curve_of(
    judged: HeldOutPanels,
    panels: Mapping[int, BestPanel],
    search: Search,
    names: list[str],
    target: str,
    beside: tuple[np.ndarray, np.ndarray] | None = None,
) -> pd.DataFrame:
    """Scores by size, with what each panel costs and holds."""
    curve = curve_table(judged, search.sizes)
    curve["cost"] = [panels[size].cost for size in search.sizes]
    curve["optimistic"] = [panels[size].score for size in search.sizes]
    if target == "markers":  # those that are known count with 1, all alike
        n, size = len(names), curve["size"].to_numpy(dtype=float)
        left = np.where(size < n, n - size, np.nan)
        curve["others"] = 1 - (1 - curve["score"]) * n / left
    if beside is not None:
        curve["linear"], curve["chosen_by_linear"] = (scores.mean(axis=1) for scores in beside)
        curve = curve.assign(**gain_columns("linear", judged.chosen - beside[0]))
    before: set[int] = set()
    texts = []
    for size in search.sizes:
        now = panels[size].markers
        parts = (now, [one for one in now if one not in before], sorted(before - set(now)))
        texts.append([", ".join(names[place] for place in part) for part in parts])
        before = set(now)
    curve[["markers", "enters", "leaves"]] = texts
    return curve


def ranking_of(
    task: Task,
    cells: PanelCells,
    panels: Mapping[int, BestPanel],
    judged: HeldOutPanels,
    search: Search,
    names: list[str],
    redundancy: float,
) -> pd.DataFrame:
    """One row per candidate, the chosen first, in the order of the smallest panel that they are in."""
    everyone = np.arange(cells.n_patients)
    panel = task.panel(everyone, search.folds(cells.n_patients))
    alone = panel.if_toggled()
    chosen = panels[search.n_markers].markers
    for marker in chosen:
        panel.toggle(marker)
    role_of = roles(panel, chosen, keep=search.keep)
    none = Role(np.nan, None, np.nan)
    of = [role_of.get(place, none) for place in range(len(names))]
    size = [
        min((n for n, one in panels.items() if place in one.markers), default=np.nan) for place in range(len(names))
    ]
    table = pd.DataFrame(
        {
            "chosen": np.isin(np.arange(len(names)), chosen),
            "size": np.array(size, dtype=float),
            "share": judged.times[-1],
            "alone": alone,
            "loss": [one.loss for one in of],
            "substitute": ["" if one.substitute is None else names[one.substitute] for one in of],
            "loss_with_substitute": [one.loss_with_substitute for one in of],
            "group": redundancy_groups(cells.markers, cells.patient, redundancy),
            "cost": search.costs,
        },
        index=pd.Index(names, name="marker"),
    )
    order = np.lexsort((-alone, np.nan_to_num(table["size"], nan=np.inf), ~table["chosen"]))
    order = [*search.keep, *(place for place in order if place not in search.keep)]
    return table.iloc[order]
