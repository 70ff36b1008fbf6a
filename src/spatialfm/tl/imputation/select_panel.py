"""Which markers of a large panel to stain, so that the others, the cell types or an embedding can be predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import pandas as pd

from ..._errors import PanelError, TableError, counted
from ..._keys import PATIENT_KEY, TABLE
from ..._logging import logger
from ..._progress import progress_bar
from ..._public import public
from ..._ranges import at_least
from ..._storable import write_uns
from ...cohort.checks import as_names, codes_of, listed, named, obs_column, order_of_names
from ...cohort.given_table import given_table, measured_markers
from ...cohort.representation import representation
from ...learn.arcsinh import compressed
from ...learn.imputers import standardised
from ...learn.panel_curve import Judged, Search, curve_table, judge_panels
from ...learn.panel_search import Chosen, Role, redundancy_groups, roles
from ...learn.panel_tasks import Cells, LinearTask, NeighbourTask, Task
from ...pp.channels import nuclear_stains

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

Method = Literal["linear", "knn"]
Target = Literal["markers", "label", "embedding"]
FEWEST = 3  # patients: one is held out, and two choose a panel by each other
MOST_COLUMNS = 50  # of an embedding; of more, its principal components
SCORES = {"markers": "explained variance", "label": "balanced accuracy", "embedding": "explained variance"}


@public
def select_panel(
    data: AnnData | SpatialData,
    n_markers: int,
    *,
    keep: str | Sequence[str] | None = None,
    method: Method = "linear",
    target: Target = "markers",
    label_key: str | None = None,
    use_rep: str | None = None,
    markers: Sequence[str] | None = None,
    costs: str | Mapping[str, float] | None = None,
    layer: str | None = None,
    patient_key: str = PATIENT_KEY,
    n_folds: int = 5,
    n_random: int = 20,
    redundancy: float = 0.7,
    max_cells: Annotated[int, at_least(100)] = 600,
    table_name: str = TABLE,
    random_state: int = 0,
    key_added: str = "panel",
) -> pd.DataFrame:
    """Choose the markers of a panel from which everything else of a larger panel is best predicted in other patients.

    Greedy forward selection with floating backward steps (Pudil, Novovicova and Kittler, Pattern Recognition Letters
    1994): the marker that helps most enters, then markers leave that the others have made useless. Panels of all sizes
    up to `n_markers` are found on the way. Every score is of patients that a prediction was not fitted to.

    The curve of score against size is nested: in each of `n_folds` folds of patients the whole search is done again
    without them. It is therefore what the procedure reaches in new patients, while the score by which the panels
    themselves were chosen is too good, and called so.

    Parameters
    ----------
    data
        Cells, with the markers of the large panel as variables; or a SpatialData with a table of them. Intensities
        become ``arcsinh(x / cofactor)``, as in `spatialfm.tl.marker_positivity`, and all markers count alike.
    n_markers
        Markers of the largest panel, those of `keep` among them.
    keep
        Markers that are in every panel. None: the stain of nuclei, if the table has one, as cells cannot be outlined
        without; an empty list: no marker.
    method
        ``"linear"``: ridge regression on the panel, and for types linear discriminants. ``"knn"``: the nearest cells
        of other patients, which also finds what is not linear, at a cost: minutes for 40 markers.
    target
        What is predicted. ``"markers"``: all candidates; those of the panel are known, each of the others counts with
        the share of its variance that is predicted. ``"label"``: the types in `label_key`; the score is the balanced
        accuracy. ``"embedding"``: `use_rep`, the share of its variance.
    label_key
        Column of ``obs`` with types; cells without are left out.
    use_rep
        Key of ``obsm``. Of more than 50 columns, the first 50 principal components are predicted.
    markers
        Candidates (default: all that were measured in every cell).
    costs
        What a marker costs: a column of ``var``, or a number for each candidate. The marker that enters then helps
        most for its cost.
    layer
        Layer of the intensities (default: ``X``).
    patient_key
        Column of ``obs`` with the patients, who are on one side of every split and weigh alike;
        those of fewer than 50 cells have a smaller weight in what is fitted and in the choice of markers.
    n_folds
        Folds of patients; with fewer patients, as many as there are.
    n_random
        Panels drawn at random in each fold, for comparison.
    redundancy
        Mean absolute correlation within patients from which markers are one group.
    max_cells
        Of ``"knn"``: cells that are compared in pairs, evenly from all patients. Of types, ``"linear"`` always calls
        4,000 cells to choose and 10,000 to score.
    table_name
        Table of the cells, of a SpatialData.
    random_state
        Seed of folds and draws.
    key_added
        Key of ``uns`` and ``var``.

    Returns
    -------
    The ranking, one row per candidate, the chosen first: ``chosen``; ``size``, of the smallest panel that it is in
    (NaN: none); ``share`` of folds whose largest panel has it; ``alone``, the score of a panel of it alone; ``loss``
    of the panel without it, its best ``substitute`` from outside, and ``loss_with_substitute``; ``group`` of markers
    that say nearly the same, from 1 on; ``cost``. Losses and ``alone`` are by the folds that chose the panel, with
    the criterion of the search: for types one minus half of the Brier score, or by ``"knn"`` the explained variance
    of their indicators. A substitute with a loss below 0 is better by that much: a search that adds and drops markers
    one at a time does not try every exchange.

    Writes ``var[key_added]``, whether a marker was chosen, and ``uns[key_added]``: ``ranking``; ``curve``, one row per
    size, with ``score`` on held-out patients, ``ci_low`` and ``ci_high`` (95 %, over patients), scores of the markers
    of largest ``variance`` and of ``random`` panels (mean, and where 95 % of them lie), paired gains over both with
    intervals, ``cost``, ``optimistic`` (the criterion of the search, which chose the panel), ``markers``, and which of
    them ``enters`` and ``leaves`` from size to size; of ``target="markers"`` also ``others``, the explained variance of
    the markers outside of the panel alone; ``patients``, the score of each
    patient by size; ``whole``, the score of all candidates together; and ``params``.

    Raises
    ------
    PanelError
        If a marker is missing or was not measured in some cells, or there are not as many as asked for.
    TableError
        If there are fewer than 3 patients, or a column, representation or cost is missing.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=6, cells_per_patient=200, n_markers=40, random_state=0)
    >>> ranking = sfm.tl.select_panel(cells, 8, n_random=5)
    >>> ranking.index[0], int(ranking["chosen"].sum())
    ('DAPI', 8)
    >>> cells.uns["panel"]["curve"]["score"].iloc[-1] > 0.7
    np.True_
    """
    adata = given_table(data, table_name, "select_panel", key_added)
    names, values = measured_markers(adata, markers, layer, least=2)
    first = _kept(names, keep, n_markers)
    price = _costs(adata, names, costs)
    cells, patients, spread = _cells(adata, values, target, label_key, use_rep, patient_key)
    search = Search(n_markers, tuple(first), price, n_folds, n_random, random_state)

    task = LinearTask(cells, random_state) if method == "linear" else NeighbourTask(cells, random_state, max_cells)
    bar = progress_bar(range(min(n_folds, len(patients))), desc="folds", unit="fold")
    judged = judge_panels(task, len(patients), cells.variances() * spread**2, search, bar)
    panels = search.run(task, np.arange(len(patients)))

    curve = _curve(judged, panels, search, names, target)
    ranking = _ranking(task, cells, panels, judged, search, names, redundancy)
    record = {
        "curve": curve,
        "ranking": ranking,
        "patients": pd.DataFrame(judged.chosen.T, index=patients, columns=[str(size) for size in search.sizes]),
        "whole": float(judged.whole.mean()),
        "params": {
            "method": method, "target": target, "score": SCORES[target], "n_markers": n_markers,
            "keep": [names[place] for place in first], "label_key": label_key or "", "use_rep": use_rep or "",
            "layer": layer or "X", "patient_key": patient_key, "n_folds": n_folds, "n_random": n_random,
            "n_patients": len(patients), "n_cells": len(cells.patient), "with_costs": costs is not None,
            "redundancy": redundancy, "random_state": random_state,
        },
    }  # fmt: skip
    write_uns(adata, key_added, record)
    adata.var[key_added] = adata.var_names.isin(ranking.index[ranking["chosen"]])
    logger.info("%s: %s", key_added, ", ".join(ranking.index[ranking["chosen"]]))
    return ranking


def _kept(names: list[str], keep: str | Sequence[str] | None, n_markers: int) -> list[int]:
    """Places of the markers that are in every panel."""
    if keep is None:
        kept = nuclear_stains(names)[:1]
    else:
        wanted = as_names(keep)
        if lacking := [name for name in wanted if name not in names]:
            raise PanelError(f"No marker {lacking[0]!r} among the candidates (keep=); found {listed(names, 60)}.")
        kept = [names.index(name) for name in wanted]
    if n_markers > len(names):
        raise PanelError(f"n_markers={n_markers}, and there are {counted(len(names), 'candidate')} (markers=).")
    if len(kept) >= n_markers:
        raise PanelError(
            f"n_markers={n_markers}, and {counted(len(kept), 'marker is', 'markers are')} in every panel already: "
            f"{listed([names[place] for place in kept])} (keep=). Pass a larger n_markers=, or keep=[]."
        )
    return kept


def _costs(adata: AnnData, names: list[str], costs: str | Mapping[str, float] | None) -> np.ndarray:
    if costs is None:
        return np.ones(len(names))
    if isinstance(costs, str):
        if costs not in adata.var:
            raise TableError(f"No column {costs!r} in var (costs=); found {listed(adata.var.columns)}.")
        found = pd.to_numeric(adata.var[costs], errors="coerce").reindex(names)
    else:
        found = pd.Series({str(name): float(cost) for name, cost in costs.items()}, dtype=float).reindex(names)
    price = found.to_numpy(dtype=float)
    wrong = [name for name, cost in zip(names, price, strict=True) if not (np.isfinite(cost) and cost > 0)]
    if wrong:
        raise TableError(
            f"costs= has no number above 0 for {counted(len(wrong), 'candidate')}, first {wrong[0]!r}. Add it, or "
            "leave the marker out of markers=."
        )
    return price


def _cells(
    adata: AnnData,
    values: np.ndarray,
    target: Target,
    label_key: str | None,
    use_rep: str | None,
    patient_key: str,
) -> tuple[Cells, list[str], np.ndarray]:
    """Cells, patients, and standard deviations of markers; in the order of names, on which all draws depend."""
    for name, given, meant in (("label_key", label_key, "label"), ("use_rep", use_rep, "embedding")):
        if (given is None) == (target == meant):
            raise TableError(f"target={meant!r} and {name}= are passed together, and neither without the other.")
    patient = named(obs_column(adata, patient_key, "patient_key"), "patient_key")
    rows = order_of_names(adata.obs_names)
    types = targets = None
    if label_key is not None:
        label = named(obs_column(adata, label_key, "label_key", allow_missing=True), "label_key", whole=True)
        rows = rows[label.notna().to_numpy()[rows]]
        types = np.unique(label.cat.codes.to_numpy()[rows], return_inverse=True)[1]
        if len(rows) == 0 or types.max() < 1:
            raise TableError(f"obs[{label_key!r}] (label_key=) holds fewer than two types.")
    if use_rep is not None:
        targets = _components(representation(adata, use_rep)[rows])
    codes, patients = codes_of(patient.iloc[rows].cat.remove_unused_categories())
    if len(patients) < FEWEST:
        raise TableError(
            f"obs[{patient_key!r}] (patient_key=) has {counted(len(patients), 'patient')}: at least {FEWEST} are "
            "needed to choose a panel from some and score it on others."
        )
    scaled, _, spread = standardised(compressed(values[rows])[0])
    return Cells(scaled, targets, types, codes.astype(int)), patients, spread


def _components(values: np.ndarray) -> np.ndarray:
    """Centred columns of an embedding, in the unit of its standard deviation; of many, the principal components."""
    values = values.astype(np.float64) - values.mean(axis=0)
    spread = np.sqrt(values.var(axis=0).sum())
    if not spread > 0:
        raise TableError("All rows of the embedding (use_rep=) are the same: there is nothing to predict.")
    if values.shape[1] > MOST_COLUMNS:
        _, vectors = np.linalg.eigh(values.T @ values / len(values))
        values = values @ vectors[:, ::-1][:, :MOST_COLUMNS]
    return values / spread


def _curve(
    judged: Judged, panels: Mapping[int, Chosen], search: Search, names: list[str], target: Target
) -> pd.DataFrame:
    """Scores by size, with what each panel costs and holds."""
    curve = curve_table(judged, search.sizes)
    curve["cost"] = [panels[size].cost for size in search.sizes]
    curve["optimistic"] = [panels[size].score for size in search.sizes]
    if target == "markers":  # those that are known count with 1, all alike
        n, size = len(names), curve["size"].to_numpy(dtype=float)
        left = np.where(size < n, n - size, np.nan)
        curve["others"] = 1 - (1 - curve["score"]) * n / left
    before: set[int] = set()
    texts = []
    for size in search.sizes:
        now = panels[size].markers
        parts = (now, [one for one in now if one not in before], sorted(before - set(now)))
        texts.append([", ".join(names[place] for place in part) for part in parts])
        before = set(now)
    curve[["markers", "enters", "leaves"]] = texts
    return curve


def _ranking(
    task: Task,
    cells: Cells,
    panels: Mapping[int, Chosen],
    judged: Judged,
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
    found = roles(panel, chosen, keep=search.keep)
    none = Role(np.nan, None, np.nan)
    of = [found.get(place, none) for place in range(len(names))]
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
