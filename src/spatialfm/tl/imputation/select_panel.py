"""Which markers of a large panel to stain, so that the others, the cell types or an embedding can be predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pandas as pd

from ..._errors import ElementError, PanelError, TableError, counted, warn
from ..._fingerprint import DATA, fingerprint
from ..._keys import PATIENT_KEY, SAMPLE_KEY, TABLE
from ..._logging import logger
from ..._progress import progress_bar
from ..._public import public
from ..._ranges import at_least
from ..._storable import write_uns
from ...cohort.checks import as_names, codes_of, label_column, listed, named, obs_column, order_of_names
from ...cohort.given_table import given_table, measured_markers, varying_markers
from ...cohort.representation import representation
from ...embed.call import CALL_FIELDS
from ...learn.arcsinh import compressed
from ...learn.imputers import standardised
from ...learn.panel_curve import Search, judge_beside, judge_panels
from ...learn.panel_tasks import LinearTask, NeighbourTask, PanelCells, Task
from ...pp.channels import nuclear_stains
from ...pp.panel import match_markers, nuisance_channels
from .one_unit import say_groups_apart
from .panel_by_model import Seen, check_patients, see_tiles
from .panel_tables import curve_of, ranking_of

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

    from ...embed.call import Elements, Panel, Run
    from ...models.encoder import Encoder
    from ...models.recipe import Recipe

Method = Literal["linear", "knn", "model"]
Target = Literal["markers", "label", "embedding"]
MOST_COLUMNS = 50  # of an embedding; of more, its principal components
N_RANDOM, N_RANDOM_OF_MODEL = 20, 3  # a model is asked of each of them at each size
SCORES = {"markers": "explained variance", "label": "balanced accuracy", "embedding": "explained variance"}


@public(fields=CALL_FIELDS)
def select_panel(
    data: AnnData | SpatialData,
    n_markers: int,
    model: str | Encoder | None = None,
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
    library_key: str = SAMPLE_KEY,
    n_folds: Annotated[int, at_least(2)] = 5,
    n_random: Annotated[int, at_least(0)] | None = None,
    redundancy: float = 0.7,
    max_cells: Annotated[int, at_least(100)] = 600,
    max_tiles: Annotated[int, at_least(1)] = 100,
    weights: str | PathLike | None = None,
    panel: Panel | Mapping[str, Any] | None = None,
    recipe: Recipe | Mapping[str, Any] | None = None,
    run: Run | Mapping[str, Any] | None = None,
    elements: Elements | Mapping[str, Any] | None = None,
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
    model
        Of ``method="model"``: name of a model with a decoder, or a loaded encoder.
    keep
        Markers that are in every panel. None: the stain of nuclei, if the table has one, as cells cannot be outlined
        without; an empty list: no marker.
    method
        ``"linear"``: ridge regression on the panel, and for types linear discriminants. ``"knn"``: the nearest cells
        of other patients, which also finds what is not linear, at a cost: minutes for 40 markers. ``"model"``: what a
        masked model makes of tiles of the images (VirTues, *Masked reconstructions*) in which it sees the panel and
        all tokens of all other markers are hidden, averaged over each cell and compared with what was measured, in the
        standardised space of the model. Nothing is fitted to any patient here; ridge regression from the same panels
        is scored on the same cells for comparison. The model is asked of each panel once, however many folds meet it:
        about ``n_markers`` times the number of candidates, two to four times, of `max_tiles` tiles each. Answers are
        kept in ``settings.cache_dir``, so that a call that was stopped goes on.
    target
        What is predicted. ``"markers"``: all candidates; those of the panel are known, each of the others counts with
        the share of its variance that is predicted. ``"label"``: the types in `label_key`; the score is the balanced
        accuracy. ``"embedding"``: `use_rep`, the share of its variance. A model predicts ``"markers"`` alone.
    label_key
        Column of ``obs`` with types; cells without are left out.
    use_rep
        Key of ``obsm``. Of more than 50 columns, the first 50 principal components are predicted.
    markers
        Candidates. Default: all that were measured in every cell and are not the same in all, but for channels without
        a marker (background, metals, dyes) and stains of nuclei that repeat the first; of a model, its panel. Others
        are never seen.
    costs
        What a marker costs: a column of ``var``, or a number for each candidate. The marker that enters then helps
        most for its cost.
    layer
        Layer of the intensities (default: ``X``); not of a model.
    patient_key
        Column of ``obs`` with the patients, who are on one side of every split and weigh alike;
        those of fewer than 50 cells have a smaller weight in what is fitted and in the choice of markers.
    library_key
        Of a model: column of ``obs`` with the sample.
    n_folds
        Folds of patients; with fewer patients, as many as there are.
    n_random
        Panels drawn at random in each fold, for comparison. None: 20, of a model 3.
    redundancy
        Mean absolute correlation within patients from which markers are one group.
    max_cells
        Of ``"knn"``: cells that are compared in pairs, evenly from all patients. Of types, ``"linear"`` always calls
        4,000 cells to choose and 10,000 to score.
    max_tiles
        Of a model: tiles that are drawn, evenly from all patients, and held in memory with all their channels.
    weights
        Weights of a model that is given by its name, see `spatialfm.models.load`.
    panel
        Which channels are which markers: `spatialfm.Panel`, or a dict of its fields. Of a model, as the three that
        follow.
    recipe
        All that decides the numbers of a model: `spatialfm.Recipe`, or a dict of fields to depart in.
    run
        Device (the first of several), batches, precision: `spatialfm.Run`, or a dict of its fields. Nothing is
        compiled or sent to a cluster.
    elements
        Which images and labels, and their pixel size: `spatialfm.Elements`, or a dict of its fields.
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
    the markers outside of the panel alone; with a model also ``linear``, the score of ridge regression from the same
    panels, the paired ``gain_over_linear`` with its interval, and ``chosen_by_linear``, the score of the model with the
    panels that regression chooses; ``patients``, the score of each
    patient by size; ``whole``, the score of all candidates together; and ``params``.

    Raises
    ------
    PanelError
        If a marker is missing, was not measured in some cells or is the same in all, or there are not as many as asked
        for.
    TableError
        If there are fewer than 3 patients, or a column, representation or cost is missing.
    ModelError
        If the model has no decoder.
    ElementError
        If a model is to see a table without images.

    Warns
    -----
    SpatialfmWarning
        If patients seem to be in another unit than others.

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
    _check_method(data, model, method, target, layer)
    adata = given_table(data, table_name, "select_panel", key_added)
    of_call = {"panel": panel, "recipe": recipe, "run": run, "elements": elements}
    seen = None
    if method == "model":
        seen = see_tiles(
            data, adata, model, weights, None if markers is None else as_names(markers), max_tiles, call=of_call,
            patient_key=patient_key, library_key=library_key, table_name=table_name, random_state=random_state,
            check=lambda candidates: (_kept(candidates, keep, n_markers), _costs(adata, candidates, costs)),
        )  # fmt: skip
        names = seen.names
    else:
        names, values = measured_markers(adata, markers, layer, least=2)
        names, values = varying_markers(names, values, asked=markers is not None)  # others would count as explained
        if markers is None:
            rows = _worth_staining(names, keep)
            names, values = [names[place] for place in rows], values[:, rows]
    first = _kept(names, keep, n_markers)
    price = _costs(adata, names, costs)
    if seen is not None:
        cells, patients, spread = _seen_cells(seen)
    else:
        cells, patients, spread = _cells(adata, values, target, label_key, use_rep, patient_key)
    draws = (N_RANDOM if seen is None else N_RANDOM_OF_MODEL) if n_random is None else n_random
    search = Search(n_markers, tuple(first), price, n_folds, draws, random_state)

    task = seen.task if seen else _task(method, cells, random_state, max_cells)
    try:
        bar = progress_bar(range(int(search.folds(len(patients)).max()) + 1), desc="folds", unit="fold")
        judged = judge_panels(task, len(patients), cells.variances() * spread**2, search, bar)
        beside = judge_beside(task, LinearTask(cells, random_state), len(patients), search) if seen else None
        panels = search.run(task, np.arange(len(patients)))
        ranking = ranking_of(task, cells, panels, judged, search, names, redundancy)
    finally:
        if seen is not None:
            seen.errors.close()

    if seen:  # images, of which the table says the cells and the patients
        made_of = fingerprint(adata, [patient_key, library_key])
    else:
        made_of = fingerprint(adata, [patient_key, label_key], obsm=[use_rep], markers=names, layer=layer)
    record = {
        "curve": curve_of(judged, panels, search, names, target, beside),
        "ranking": ranking,
        "patients": pd.DataFrame(judged.chosen.T, index=patients, columns=[str(size) for size in search.sizes]),
        "whole": float(judged.whole.mean()),
        "params": {
            "method": method, "target": target, "score": SCORES[target], "n_markers": n_markers,
            "keep": [names[place] for place in first], "label_key": label_key or "", "use_rep": use_rep or "",
            "layer": layer or "X", "patient_key": patient_key, "n_folds": n_folds, "n_random": draws,
            "n_patients": len(patients), "n_cells": len(cells.patient), "with_costs": costs is not None,
            "redundancy": redundancy, "random_state": random_state, "model": seen.model if seen else "",
            "n_tiles": seen.n_tiles if seen else 0, DATA: made_of,
        },
    }  # fmt: skip
    write_uns(adata, key_added, record)
    adata.var[key_added] = adata.var_names.isin(ranking.index[ranking["chosen"]])
    logger.info("%s: %s", key_added, ", ".join(ranking.index[ranking["chosen"]]))
    return ranking


def _check_method(data: object, model: object, method: Method, target: Target, layer: str | None) -> None:
    if (method == "model") != (model is not None):
        raise TableError(
            'A model and method="model" are passed together: sfm.tl.select_panel(sdata, 12, "virtues", method="model").'
        )
    if method != "model":
        return
    if not hasattr(data, "images"):
        raise ElementError('method="model" reads images. Pass the SpatialData, or method="linear", which needs none.')
    if target != "markers":
        raise TableError(
            f'method="model" predicts markers, not target={target!r}. Pass target="markers", or method="linear".'
        )
    if layer is not None:
        raise TableError('method="model" reads images, not layer=. Leave layer= out.')


def _task(method: Method, cells: PanelCells, random_state: int, max_cells: int) -> Task:
    return LinearTask(cells, random_state) if method == "linear" else NeighbourTask(cells, random_state, max_cells)


def _seen_cells(seen: Seen) -> tuple[PanelCells, list[str], np.ndarray]:
    """Cells of tiles as `_cells` has those of a table."""
    scaled, _, spread = standardised(seen.measured)
    return PanelCells(scaled, None, None, seen.patient), seen.patients, spread * seen.spread


def _worth_staining(names: list[str], keep: str | Sequence[str] | None) -> list[int]:
    """Places of the candidates: one of the stains of nuclei in every cycle, and nothing that holds no marker."""
    nothing = nuisance_channels(match_markers(names))
    asked = [] if keep is None else as_names(keep)
    stains = [names[place] for place in nuclear_stains(names)]
    again = stains if set(asked) & set(stains) else stains[1:]
    left_out = [name for name in names if (name in nothing or name in again) and name not in asked]
    if len(left_out) > len(names) - 2:
        return list(range(len(names)))
    if left_out:
        what = "No candidates, as they hold no marker or are further stains of nuclei"
        warn(f"{what}: {listed(left_out, 12)}. Name them in markers= to have them.")
    return [place for place, name in enumerate(names) if name not in left_out]


def _kept(names: list[str], keep: str | Sequence[str] | None, n_markers: int) -> list[int]:
    """Places of the markers that are in every panel."""
    if keep is None:
        places = nuclear_stains(names)[:1]
    else:
        wanted = as_names(keep)
        if lacking := [name for name in wanted if name not in names]:
            raise PanelError(f"No marker {lacking[0]!r} among the candidates (keep=); found {listed(names, 60)}.")
        places = [names.index(name) for name in wanted]
    if n_markers > len(names):
        raise PanelError(f"n_markers={n_markers}, and there are {counted(len(names), 'candidate')} (markers=).")
    if len(places) >= n_markers:
        raise PanelError(
            f"n_markers={n_markers}, and {counted(len(places), 'marker is', 'markers are')} in every panel already: "
            f"{listed([names[place] for place in places])} (keep=). Pass a larger n_markers=, or keep=[]."
        )
    return places


def _costs(adata: AnnData, names: list[str], costs: str | Mapping[str, float] | None) -> np.ndarray:
    if costs is None:
        return np.ones(len(names))
    if isinstance(costs, str):
        if costs not in adata.var:
            raise TableError(f"No column {costs!r} in var (costs=); found {listed(adata.var.columns)}.")
        cost_of_marker = pd.to_numeric(adata.var[costs], errors="coerce").reindex(names)
    else:
        cost_of_marker = pd.Series({str(name): float(cost) for name, cost in costs.items()}, dtype=float).reindex(names)
    price = cost_of_marker.to_numpy(dtype=float)
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
) -> tuple[PanelCells, list[str], np.ndarray]:
    """Cells, patients, and standard deviations of markers; in the order of names, on which all draws depend."""
    for name, given, meant in (("label_key", label_key, "label"), ("use_rep", use_rep, "embedding")):
        if (given is None) == (target == meant):
            raise TableError(f"target={meant!r} and {name}= are passed together, and neither without the other.")
    patient = named(obs_column(adata, patient_key, "patient_key"), "patient_key")
    rows = order_of_names(adata.obs_names)
    types = targets = None
    if label_key is not None:
        label = named(label_column(adata, label_key), "label_key", whole=True)
        rows = rows[label.notna().to_numpy()[rows]]
        types = codes_of(label.iloc[rows].astype(str))[0]
        if len(rows) == 0 or types.max() < 1:
            raise TableError(f"obs[{label_key!r}] (label_key=) holds fewer than two types.")
    if use_rep is not None:
        targets = _components(representation(adata, use_rep)[rows])
    codes, patients = codes_of(patient.iloc[rows].astype(str))  # by name: folds are drawn by their numbers
    check_patients(len(patients), patient_key)
    say_groups_apart(values[rows], np.asarray(patients, dtype=object)[codes])
    scaled, _, spread = standardised(compressed(values[rows])[0])
    return PanelCells(scaled, targets, types, codes.astype(int)), patients, spread


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
