"""How well what is hidden is reconstructed, by marker, beside floors that need no weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from ..._errors import ArgumentError, PanelError, counted
from ..._fingerprint import DATA, fingerprint
from ..._keys import PATIENT_KEY, SAMPLE_KEY, TABLE
from ..._logging import logger
from ..._public import public
from ..._storable import write_uns
from ...cohort.checks import as_names, listed, obs_column, order_of_names
from ...cohort.given_table import given_table
from ...cohort.representation import marker_values, refuse_predicted
from ...embed.call import CALL_FIELDS
from ...learn.floors import MARKER, HiddenRows, at_most, evaluated, split_of, summarise
from .floors import check_one_name, tell_few
from .one_unit import say_groups_apart

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

    from ...embed.call import Elements, Panel, Run
    from ...models.encoder import Encoder
    from ...models.recipe import Recipe

Mode = Literal["independent", "marker", "niche"]
Floor = Literal["mean", "correlated", "linear", "knn"]


@public(fields=CALL_FIELDS)
def evaluate_reconstruction(
    data: AnnData | SpatialData,
    model: str | Encoder | None = None,
    *,
    modes: Sequence[Mode] | None = None,
    ratio: tuple[float, float] = (0.6, 1.0),
    markers: str | Sequence[str] | None = None,
    methods: Sequence[Floor] = ("mean", "correlated", "linear", "knn"),
    layer: str | None = None,
    test_patients: Sequence[str] | None = None,
    n_folds: int = 4,
    n_cells: int = 500,
    n_pixels: int = 2000,
    weights: str | PathLike | None = None,
    adapter: str | PathLike | None = None,
    samples: Sequence[str] | None = None,
    panel: Panel | Mapping[str, Any] | None = None,
    recipe: Recipe | Mapping[str, Any] | None = None,
    run: Run | Mapping[str, Any] | None = None,
    elements: Elements | Mapping[str, Any] | None = None,
    table_name: str = TABLE,
    patient_key: str = PATIENT_KEY,
    library_key: str = SAMPLE_KEY,
    n_bootstrap: int = 1000,
    random_state: int = 0,
    key_added: str = "reconstruction",
) -> pd.DataFrame:
    """Hide markers of patients, predict them, and score the predictions beside floors fitted to other patients.

    VirTues' protocol (*Masked reconstructions*): ``"independent"``, of each channel a share of its tokens is hidden;
    ``"niche"``, the same tokens of all channels; ``"marker"``, one whole channel at a time. Scores are of what was
    hidden. The floors see what the model sees: the mean of the visible pixels of the channel in the tile; least squares
    on the marker that is most correlated; ridge regression on all others and, where tokens are hidden, on the visible
    pixels around; and, of cells, the mean of the ten nearest ones. A model that does not pass them has learned nothing
    that is needed here.

    Parameters
    ----------
    data
        Cells, of which markers are hidden one at a time and the floors alone are scored; or, with `model`, images and
        their cells. Of a SpatialData without a model its table is taken.
    model
        Name of a model with a decoder, or a loaded encoder. It must not have been trained on the patients that are
        scored, which this function cannot know: say which with `test_patients`.
    modes
        Default: all three of images, ``"marker"`` of a table.
    ratio
        Smallest and largest share of hidden tokens of the first two.
    markers
        Markers that are predicted (default: all).
    methods
        Floors.
    layer
        Layer of a table with the values (default: ``X``). With a model, values are standardised as it takes them.
    test_patients
        Patients who are scored, the floors being fitted to all others. Default: all take turns in folds.
    n_folds
        Folds of patients, where all take turns.
    n_cells
        Cells of each patient that are drawn at most.
    n_pixels
        Pixels of each sample that are drawn at most. A model predicts whole images anyway.
    weights
        As in `spatialfm.tl.embed_cells`, like all that follow up to `elements`; of a model alone.
    adapter
        Changed weights of it.
    samples
        Samples (default: all).
    panel
        Channels and markers.
    recipe
        Departures from how the model was published.
    run
        Devices, precision and such.
    elements
        Names of images and labels.
    table_name
        Table of the SpatialData.
    patient_key
        Column of ``obs`` with the patient.
    library_key
        Column of ``obs`` with the sample of a cell, by which images have patients.
    n_bootstrap
        Draws of patients for intervals; 0: none.
    random_state
        Seed of what is hidden and drawn, of folds and intervals.
    key_added
        Key of ``uns`` of the table.

    Returns
    -------
    One row per ``marker`` (``"all"``: mean over markers), ``mode``, ``unit`` (``"pixel"`` or ``"cell"``), ``method``
    (``"model"`` or a floor) and ``score``: ``r`` (Pearson), ``spearman``, ``mse``, ``f1`` (of being above the mean of
    the marker); ``mean`` over patients, and ``low`` and ``high``, a 95 % interval for other patients from draws of
    patients; ``n_patients`` with a score. The mean of a marker is the same for all cells of a patient, and has no
    correlation. Draws are the same for all methods. Where markers were hidden in cells they are predicted as means over
    the cell.

    Written into ``uns[key_added]`` of the table: ``summary``, ``patients`` (every score of every patient) and
    ``params``.

    Raises
    ------
    ArgumentError
        If modes that hide parts of images are asked for without a model.
    ModelError
        If the model has no decoder.
    PanelError
        If a marker is not there, another column is the same marker, or no other one was measured in all cells.
    TableError
        If there are fewer than two patients, ``X`` holds predictions of `spatialfm.get.with_imputed`, or a name in
        `test_patients` is not among them.

    Warns
    -----
    SpatialfmWarning
        If patients have fewer than 10 cells or pixels to be scored on: they have no score. If
        patients seem to be in another unit than others.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=6, cells_per_patient=60, random_state=0)
    >>> scores = sfm.tl.evaluate_reconstruction(cells, markers=["CD8", "CD20"], n_bootstrap=100)
    >>> r = scores.query("marker == 'all' and score == 'r'").set_index("method")["mean"]
    >>> bool(r["linear"] > r["correlated"])
    True
    """
    chosen = _modes(modes, model)
    if model is not None:
        from .painted_scores import evaluate_images

        if not hasattr(data, "images"):
            raise ArgumentError("A model predicts from images. Pass the SpatialData, or leave model= out.")
        table, parts = evaluate_images(
            data, model, chosen, ratio=ratio, markers=markers, methods=methods, test_patients=test_patients,
            n_folds=n_folds, n_cells=n_cells, n_pixels=n_pixels, weights=weights, adapter=adapter, samples=samples,
            panel=panel, recipe=recipe, run=run, elements=elements, table_name=table_name, patient_key=patient_key,
            library_key=library_key, random_state=random_state,
        )  # fmt: skip
    else:
        table = given_table(data, table_name, "evaluate_reconstruction", key_added)
        rows, names, targets = _cells(table, markers, layer, patient_key, n_cells, random_state)
        split = split_of(rows.patients, test_patients, n_folds, random_state)
        parts = [evaluated(rows, names, targets, MARKER, "cell", split, methods, random_state=random_state)]
    patients = pd.concat(parts, ignore_index=True)
    for unit, part in patients.groupby("unit", sort=False):
        tell_few(part.groupby("patient", sort=False)["n"].max(), f"{unit}s that were measured and hidden")
    summary = summarise(patients, n_bootstrap, random_state)
    params = {"modes": chosen, "methods": list(methods), "ratio": list(ratio), "layer": layer or "X"}
    params |= {"test_patients": list(test_patients or []), "n_folds": n_folds, "n_cells": n_cells, "n_pixels": n_pixels}
    params |= {"model": model if isinstance(model, str) else "" if model is None else model.card.name}
    params |= {"patient_key": patient_key, "n_bootstrap": n_bootstrap, "random_state": random_state}
    of_cells = {"markers": map(str, table.var_names), "layer": layer} if model is None else {}
    params[DATA] = fingerprint(table, [patient_key], **of_cells)
    write_uns(table, key_added, {"summary": summary, "patients": patients, "params": params})
    logger.info("%s: %s", key_added, counted(patients["patient"].nunique(), "patient"))
    return summary


def _modes(modes: Sequence[str] | None, model: object) -> list[str]:
    if modes is None:
        return ["independent", "marker", "niche"] if model is not None else [MARKER]
    chosen = as_names(modes)
    if not chosen:
        raise ArgumentError("modes= is empty. Pass ('independent', 'marker', 'niche'), or some of them.")
    if model is None and (other := [mode for mode in chosen if mode != MARKER]):
        raise ArgumentError(
            f"modes= has {other[0]!r}, which hides parts of images from a model. Pass model=, or modes=['marker']."
        )
    return chosen


def _cells(
    table: AnnData, markers: str | Sequence[str] | None, layer: str | None, patient_key: str, n: int, random_state: int
) -> tuple[HiddenRows, list[str], list[str]]:
    """Cells that are looked at, all markers, and those that are predicted."""
    names = list(map(str, table.var_names))
    targets = names if markers is None else as_names(markers)
    if lacking := [name for name in targets if name not in names]:
        raise PanelError(f"No marker {lacking[0]!r} in the table (markers=); found {listed(names, 60)}.")
    patients = obs_column(table, patient_key, "patient_key").astype(str).to_numpy()
    values = marker_values(table, names, layer)
    check_one_name(names, targets)
    refuse_predicted(table, names, layer)
    order = order_of_names(table.obs_names)
    drawn = order[at_most(patients[order], n, random_state)]
    values, patients = np.where(np.isfinite(values), values, np.nan)[drawn], patients[drawn]
    complete = [name for name, whole in zip(names, np.isfinite(values).all(axis=0), strict=True) if whole]
    if len(complete) < 2 and not set(complete) - set(targets):
        raise PanelError(
            f"Markers that were measured in all cells: {listed(complete)}. Others are predicted from these, so that "
            "two or more are needed. Leave samples of other panels out."
        )
    say_groups_apart(values, patients)
    measured = [name for name in targets if np.isfinite(values[:, names.index(name)]).any()]
    return HiddenRows(values, patients), names, measured
