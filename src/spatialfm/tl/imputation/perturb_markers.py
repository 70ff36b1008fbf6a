"""What a model makes of cells in which a marker is set to a value: a probe of the model, not of biology."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from ..._errors import ArgumentError, ElementError, PanelError, TableError, counted
from ..._keys import SAMPLE_KEY, TABLE
from ..._logging import logger
from ..._public import public
from ..._storable import write_uns
from ...cohort.checks import listed, named, obs_column, order_of_names
from ...cohort.given_table import given_table
from ...embed.call import CALL_FIELDS
from .perturbed_cells import moved_cells

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

    from ...embed.call import Elements, Panel, Run
    from ...embed.perturbed import Perturbation
    from ...models.encoder import Encoder
    from ...models.recipe import Recipe

CHOSEN, RANDOM = "chosen", "random"


@public(fields=CALL_FIELDS)
def perturb_markers(
    data: AnnData | SpatialData,
    model: str | Encoder | None,
    values: Mapping[str, float],
    *,
    cells: str | Sequence[str],
    method: Literal["model", "linear", "knn"] = "model",
    weights: str | PathLike | None = None,
    outputs: str | None = None,
    reconstruct: bool | None = None,
    library_key: str = SAMPLE_KEY,
    panel: Panel | Mapping[str, Any] | None = None,
    recipe: Recipe | Mapping[str, Any] | None = None,
    run: Run | Mapping[str, Any] | None = None,
    elements: Elements | Mapping[str, Any] | None = None,
    table_name: str = TABLE,
    random_state: int = 0,
    key_added: str = "perturbation",
) -> pd.DataFrame:
    """Set markers of chosen cells to a value in the images, and measure how far the model moves these cells.

    This asks what a model has learned, not what would happen in tissue: a cell whose PD-L1 is painted over is not a
    cell without PD-L1. A large change says that the model uses the marker in these cells; a small one that it does not,
    or that other markers tell it the same.

    All chosen cells are changed at once, and in a second run as many random other cells, from the same samples as far
    as these have enough. Everything else stays: statistics, clipping values and units are those of the images as they
    are, and no image is copied or changed in `sdata`. Where cells see their surroundings, a cell is also moved by what
    was changed in its neighbours.

    Without a model, ``method="linear"`` and ``"knn"`` ask the same of regression and of the ten nearest cells, from the
    table alone: a floor that says how much of a model's answer is in the correlations of markers.

    Parameters
    ----------
    data
        Images, labels, and a table of cells; without a model, the table is enough.
    model
        Name of a model, or a loaded encoder. None: of the other methods.
    values
        Marker → value that its pixels have in the cells, in the units of the image: ``{"PD-L1": 0.0}``; without a
        model, its mean in the units of ``X``.
    cells
        Chosen cells: a column of ``obs`` with True and False, or names of rows.
    method
        ``"model"``; or, without any weights, ``"linear"``: the cell is its markers as ``arcsinh(x / cofactor)``, of
        mean 0 and standard deviation 1, and each other marker is expected by ridge regression on all others; ``"knn"``:
        by the mean of the ten nearest cells.
    weights
        Weights of a model that is given by its name, see `spatialfm.models.load`.
    outputs
        Output of the model, as in `spatialfm.tl.embed_cells` (default: the card's).
    reconstruct
        Whether to measure, too, how what is expected of all other markers changes: each is predicted with its own
        tokens hidden, one pass per marker. None: if the model has a decoder.
    library_key
        Column of ``obs`` with the samples that random cells are drawn from.
    panel
        Which channels are which markers: `spatialfm.Panel`, or a dict of its fields.
    recipe
        All that decides the numbers of a model: `spatialfm.Recipe`, or a dict of fields to depart in. Columns are
        never standardised or reduced.
    run
        Devices, cluster, batches, precision and the like: `spatialfm.Run`, or a dict of its fields.
    elements
        Which images and labels, and their pixel size: `spatialfm.Elements`, or a dict of its fields.
    table_name
        Table of the cells.
    random_state
        Seed of the random cells.
    key_added
        Key of ``obs`` and ``uns``.

    Returns
    -------
    One row for the embedding, and one for each other marker where its reconstruction was measured: ``chosen`` and
    ``random``, the mean change of these cells when they are changed; ``difference``; ``effect_size``, the difference in
    standard deviations (pooled, of cells; Cohen's d); and ``n_chosen`` and ``n_random``. The change of an embedding is
    the distance between a cell before and after, over the root mean square distance of all cells from their mean: 1 is
    as far as cells are apart. That of a marker is its expected mean after minus before, in standardised space. Effect
    sizes describe these cells; cells of a patient are alike, so that they are not evidence for other patients.

    Writes into ``sdata[table_name]``: ``obs[key_added]``, the change of the embedding of each changed cell (NaN: not
    changed), ``obs[key_added + "_cells"]``, ``"chosen"`` or ``"random"``, and ``uns[key_added]`` with ``table`` and
    ``params``.

    Raises
    ------
    PanelError
        If a marker is not among those that the model is given, or its value does not fit into the pixels.
    ArgumentError
        If a model is passed with another method than ``"model"``, or none with that.
    TableError
        If no cell is chosen, or none is left to compare with.
    ModelError
        If `reconstruct` is asked of a model without decoder.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=96, difficulty="easy")
    >>> sfm.pp.cell_table(sdata)
    >>> chosen = sdata["table"].obs_names[:5]
    >>> table = sfm.tl.perturb_markers(sdata, "mean-intensity", {"CD8": 60000.0}, cells=list(chosen))
    >>> table.index.tolist(), bool(table.loc["embedding", "chosen"] > 1)
    (['embedding'], True)
    """
    _check_method(data, model, method, {"weights": weights, "outputs": outputs, "panel": panel, "recipe": recipe})
    adata = given_table(data, table_name, "perturb_markers", key_added)
    chosen = _chosen(adata, cells)
    samples = named(obs_column(adata, library_key, "library_key"), "library_key")
    random = _random(adata, chosen, samples.cat.codes.to_numpy(), random_state)
    _check_values(values)
    if method == "model":
        told = {"panel": panel, "recipe": recipe, "run": run, "elements": elements, "table_name": table_name}
        moved, expected, name = _by_model(data, model, weights, values, (chosen, random), outputs, reconstruct, told)
    else:
        moved, expected = moved_cells(adata, values, [chosen, random], method, random_state)
        name = ""
        if reconstruct is False:
            expected = None
    rows = {"embedding": _effect(moved[0][chosen], moved[1][random])}
    for marker, (one, other) in (expected or {}).items():
        rows[marker] = _effect(one[chosen], other[random])
    table = pd.DataFrame.from_dict(rows, orient="index")

    adata.obs[key_added] = np.where(chosen, moved[0], np.where(random, moved[1], np.nan))
    kinds = np.where(chosen, 0, np.where(random, 1, -1))
    adata.obs[f"{key_added}_cells"] = pd.Categorical.from_codes(kinds, [CHOSEN, RANDOM])
    params = {"method": method, "model": name, "markers": list(values), "values": list(map(float, values.values()))}
    params |= {"outputs": outputs or "", "reconstruct": expected is not None, "random_state": random_state}
    write_uns(adata, key_added, {"table": table, "params": params | {"library_key": library_key}})
    logger.info("%s: %s changed", key_added, counted(int(chosen.sum()), "cell"))
    return table


def _check_method(data: object, model: object, method: str, of_model: Mapping[str, object]) -> None:
    if (method == "model") != (model is not None):
        raise ArgumentError(
            f"method={method!r} takes no model. Pass None in its place, or method='model'."
            if method != "model"
            else "method='model' needs a model: pass one, or method='linear', which needs none."
        )
    if method != "model" and (given := [name for name, value in of_model.items() if value is not None]):
        raise ArgumentError(f"{given[0]}= belongs to a model, and method={method!r} has none. Leave it out.")
    if method == "model" and not hasattr(data, "images"):
        raise ElementError("method='model' reads images. Pass the SpatialData, or method='linear', which needs none.")


def _by_model(
    sdata: Any,
    model: Any,
    weights: Any,
    values: Mapping[str, float],
    rows: tuple[np.ndarray, np.ndarray],
    outputs: str | None,
    reconstruct: bool | None,
    told: Mapping[str, Any],
) -> tuple[list[np.ndarray], dict[str, list[np.ndarray]] | None, str]:
    """How far cells move; what is expected of their other markers, None where it was not asked; the model's name."""
    from ...embed.perturbed import Perturbation
    from ...embed.session import load_encoder

    encoder = load_encoder(model, weights)
    decoder = encoder.can_reconstruct if reconstruct is None else reconstruct
    changes = [Perturbation(dict(values), one) for one in rows]
    moved, changed = _moved(sdata, encoder, outputs, told, changes)
    expected = _expected(sdata, encoder, told, changes, changed) if decoder else None
    return moved, expected, encoder.card.name


def _chosen(adata: AnnData, cells: str | Sequence[str]) -> np.ndarray:
    """Which rows are chosen, of which there are some, as of those that are not."""
    if not adata.obs_names.is_unique:
        raise TableError("Two rows of the table have one name. Make them unique: adata.obs_names_make_unique().")
    if isinstance(cells, str):
        column = obs_column(adata, cells, "cells")
        if not set(pd.unique(column)) <= {True, False}:
            raise TableError(f"obs[{cells!r}] (cells=) must hold True and False; it holds {listed(pd.unique(column))}.")
        chosen = column.astype(bool).to_numpy()
    else:
        if lacking := [name for name in cells if name not in adata.obs_names]:
            raise TableError(f"No row {lacking[0]!r} in the table (cells=); its rows are {listed(adata.obs_names, 3)}.")
        chosen = adata.obs_names.isin(list(cells))
    if not chosen.any() or chosen.all():
        what = "No cell is" if not chosen.any() else "All cells are"
        raise TableError(f"{what} chosen (cells=). Choose some, so that others are left to compare with.")
    return chosen


def _random(adata: AnnData, chosen: np.ndarray, samples: np.ndarray, random_state: int) -> np.ndarray:
    """As many other cells, of each sample as many as were chosen from it, or as it has; in the order of names."""
    rng = np.random.default_rng(random_state)
    order = order_of_names(adata.obs_names)
    drawn = np.zeros(len(chosen), bool)
    for sample in np.unique(samples):
        others = order[(samples[order] == sample) & ~chosen[order]]
        wanted = min(int((chosen & (samples == sample)).sum()), len(others))
        drawn[rng.choice(others, wanted, replace=False)] = True
    rest = order[~chosen[order] & ~drawn[order]]
    lacking = min(int(chosen.sum() - drawn.sum()), len(rest))
    if lacking > 0:
        drawn[rng.choice(rest, lacking, replace=False)] = True
    return drawn


def _check_values(values: Mapping[str, float]) -> None:
    if not values:
        raise PanelError('values= is empty. Pass for example values={"PD-L1": 0.0}.')
    if wrong := [name for name, value in values.items() if not (np.isfinite(value) and value >= 0)]:
        raise PanelError(
            f"values= sets {wrong[0]!r} to {values[wrong[0]]}: models take no intensity below 0, and none that is not "
            "finite."
        )


def _moved(
    sdata: SpatialData,
    encoder: Encoder,
    outputs: str | None,
    told: Mapping[str, Any],
    changes: Sequence[Perturbation],
) -> tuple[list[np.ndarray], set[str]]:
    """Distance ``(rows,)`` of each cell from where it was, of each change, in units of the spread of all cells.

    Beside it the markers that are changed, as the panel names them: a value may be given by the name of a channel.
    """
    from ...embed.perturbed import place_of
    from ...embed.planned import plan_embedding_of
    from ...embed.session import run_plan
    from ...models.recipe import Recipe

    arguments = dict(told) | {"recipe": Recipe.of(told["recipe"], encoder.card.recipe).replace(standardize=False)}
    arguments |= {"weights": None, "samples": None, "on_missing": "raise", "key_added": None, "outputs": outputs}
    arguments |= {"markers": None, "reduce": None, "copy": True}
    embeddings = []
    for change in (None, *changes):
        plan = plan_embedding_of(sdata, encoder, change=change, **arguments)
        results, _ = run_plan(plan.run, plan.request, plan.devices, None)
        values = np.full((plan.table.n_obs, next(iter(results.values())).values.shape[1]), np.nan)
        values[plan.cells.rows] = np.asarray(next(iter(results.values())).values, dtype=np.float64)
        embeddings.append(values)
    changed = {plan.run.panel.markers[place_of(plan.run.panel, name)] for name in changes[0].values}
    spread = np.sqrt(np.nanvar(embeddings[0], axis=0).sum())
    unit = max(spread, np.finfo(float).tiny)
    return [np.linalg.norm(values - embeddings[0], axis=1) / unit for values in embeddings[1:]], changed


def _expected(
    sdata: SpatialData,
    encoder: Encoder,
    told: Mapping[str, Any],
    changes: Sequence[Perturbation],
    changed: set[str],
) -> dict[str, list[np.ndarray]]:
    """By how much the expected mean of each other marker changes, of each change ``(rows,)``."""
    from ...embed.paint.expected import expected_means

    before, *after = [expected_means(sdata, encoder, change=change, **told)[1] for change in (None, *changes)]
    names = sdata.tables[told["table_name"]].obs_names
    apart = [(one - before).reindex(names) for one in after]
    others = [name for name in before.columns if name not in changed]
    return {str(name): [one[name].to_numpy() for one in apart] for name in others}


def _effect(chosen: np.ndarray, random: np.ndarray) -> dict[str, float]:
    """Means, their difference, and the difference in pooled standard deviations."""
    chosen, random = chosen[np.isfinite(chosen)], random[np.isfinite(random)]
    n, m = len(chosen), len(random)
    difference = float(chosen.mean() - random.mean()) if n and m else np.nan
    freedom = n + m - 2
    pooled = np.sqrt((n * chosen.var() + m * random.var()) / freedom) if freedom > 0 else np.nan
    size = difference / pooled if pooled > 0 else np.nan
    return {
        "chosen": float(chosen.mean()) if n else np.nan, "random": float(random.mean()) if m else np.nan,
        "difference": difference, "effect_size": size, "n_chosen": n, "n_random": m,
    }  # fmt: skip
