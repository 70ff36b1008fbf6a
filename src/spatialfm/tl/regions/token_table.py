"""Tokens of a cohort: planned, embedded, classified, and drawn as a map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..._errors import ElementError, SpatialfmError
from ..._keys import REGION_KEY, SAMPLES, SPATIAL, TABLE, TOKEN_KEY, UNS
from ..._outcome import carry_outcome
from ..._storable import write_obsm, write_uns
from ...cohort.patient_names import patients_of_rows
from ...cohort.representation import representation
from ...embed.session import choose_components, embedding_record, grid_obs, output_keys, run_plan
from ...learn.probe import certainty, draw_per_class, fit_probe
from ...pp.class_maps import check_names, natural_step, owners, record_map, smooth_classes
from ...pp.maps import labels_element
from ...pp.units import record_of_units

if TYPE_CHECKING:
    import torch
    from anndata import AnnData
    from spatialdata import SpatialData

    from ...embed.call import Request
    from ...embed.inputs import Inputs
    from ...embed.plan import RunPlan
    from ...embed.windows.token_grid import TokenGrid
    from ...pp.elements import SampleElements


@dataclass(frozen=True)
class Tokens:
    """A planned grid.

    Attributes
    ----------
    pairs, plan, grid, ratios
        Samples, the run, where the tokens are in model pixels, and image pixels per model pixel of each sample.
    table
        One row per token: sample, patient, tissue, place.
    boxes
        ``(n, 4)`` x0, y0, x1, y1 of each token in its sample's coordinate system.
    spacing
        ``(samples, 2)`` distance of tokens in y and x, in units of the coordinate system.
    """

    pairs: Sequence[SampleElements]
    plan: RunPlan
    grid: TokenGrid
    ratios: np.ndarray
    table: AnnData
    boxes: np.ndarray
    spacing: np.ndarray

    def of(self, number: int) -> np.ndarray:
        """Rows of a sample."""
        return np.flatnonzero(self.grid.sample == number)


def plan_table(
    sdata: SpatialData,
    pairs: Sequence[SampleElements],
    inputs: Inputs,
    size: int | None,
    stride: int | None,
    min_tissue: float,
    table_name: str,
) -> Tokens:
    """Lay the grid and make the table; nothing is encoded yet."""
    from anndata import AnnData
    from spatialdata.models import TableModel

    from ...embed.windows.token_grid import plan_tokens
    from ...pp.elements import image_to_system

    plan, grid = plan_tokens(inputs, size, stride, min_tissue)
    boxes, ids = np.empty((len(grid.sample), 4)), np.empty(len(grid.sample), np.int64)
    spacing = np.empty((len(pairs), 2))
    for number, pair in enumerate(pairs):
        rows, to_system = np.flatnonzero(grid.sample == number), image_to_system(sdata, pair)
        corners, side = grid.starts[rows] * inputs.ratios[number], grid.side * inputs.ratios[number]
        (y0, x0), (y1, x1) = to_system(*corners.T), to_system(*(corners + side).T)
        boxes[rows], ids[rows] = np.stack([x0, y0, x1, y1], axis=1), np.arange(1, len(rows) + 1)
        distance = grid.spacing * inputs.ratios[number]
        spacing[number] = distance * to_system.scale_y, distance * to_system.scale_x
    samples = np.array([pair.sample for pair in pairs])[grid.sample]
    obs = grid_obs(sdata, samples, ids, grid.coverage, prefix=f"{table_name}_", instance_key=TOKEN_KEY, kind="token")
    centers = np.stack([boxes[:, [0, 2]].mean(axis=1), boxes[:, [1, 3]].mean(axis=1)], axis=1)
    rows = AnnData(obs=obs, obsm={SPATIAL: centers}, uns={UNS: {TABLE: record_of_units(sdata, pairs)}})
    carry_outcome(sdata.tables.get(SAMPLES), rows)
    table = TableModel.parse(
        rows,
        region=list(obs[REGION_KEY].cat.categories),
        region_key=REGION_KEY,
        instance_key=TOKEN_KEY,
    )
    return Tokens(pairs, plan, grid, inputs.ratios, table, boxes, spacing)


def embed_table(tokens: Tokens, request: Request, devices: Sequence[torch.device]) -> str:
    """Encode the tokens into the table; returns the key of ``obsm``."""
    from ...embed.result.record import write_record
    from ...embed.windows.token_grid import DENSE

    plan, grid = tokens.plan, tokens.grid
    encoder, (output,) = plan.job.encoder, plan.job.outputs
    dense = output in DENSE
    n_components = None if dense else choose_components(request, len(plan.job.labels), "tokens")
    results, seconds = run_plan(plan, request, devices, n_components)
    result, notes = results[output], dict(results[output].notes)
    values = result.values
    if dense:
        width = values.shape[1] // grid.per_window
        values, notes["n_columns"] = values.reshape(-1, width), width
        if output == "token":
            notes["embedding_dim"] = width // len(plan.panel.markers)
    (key,) = output_keys(encoder, plan.job.outputs, None).values()
    tokens.table.obsm[key] = values[grid.rows]
    write_record(
        tokens.table,
        key,
        embedding_record(
            plan, output, dtype=request.run.precision, n_tokens=tokens.table.n_obs, seconds=seconds, **notes
        ),
    )
    return key


def classify(
    tokens: Tokens,
    use_rep: str,
    known: np.ndarray,
    *,
    head: str,
    C: float | str,
    n_trials: int,
    n_train: int | None,
    patient_key: str | None,
    random_state: int,
) -> tuple[pd.DataFrame, np.ndarray, float]:
    """Classify all tokens from those that are known, drawn evenly by class, which give the scale of the columns.

    By the scale of all tokens, of which few are artifacts, planted artifacts are found less well (F1 0.66 instead of
    0.81, `tests/tl/regions/test_detect_artifacts.py`).

    Parameters
    ----------
    known
        ``(n,)`` class, or None.
    n_train
        Tokens to learn from, of each class.

    Returns
    -------
    `certainty` of every token, probabilities ``(n, classes)`` of the classes in sorted order, and the C used.
    """
    table, values = tokens.table, representation(tokens.table, use_rep)
    rows = np.flatnonzero(pd.notna(known))
    labels = np.asarray(known, dtype=object).astype(str)
    if n_train is not None:
        rows = draw_per_class(labels, rows, n_train, random_state)
    groups = patients_of_rows(table, patient_key, used=rows)
    groups = None if groups is None else groups[rows]
    model, used = fit_probe(
        values[rows],
        labels[rows],
        head=head,
        C=C,
        groups=groups,
        n_trials=n_trials,
        random_state=random_state,
    )
    probability = model.predict_proba(values)
    return certainty(probability, model.classes, table.obs_names), probability, used


def draw_maps(
    sdata: SpatialData, tokens: Tokens, codes: np.ndarray, n_classes: int, opening: float | None, closing: float | None
) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """Of each sample: token (0: none) and smoothed class (0: none) of each pixel, and the step.

    Parameters
    ----------
    codes
        ``(n,)`` class of each token, from 0 on.
    opening, closing
        Radii; None: the distance of two tokens.
    """
    from ...pp.arrays import image_array
    from ...pp.elements import image_to_system

    maps = []
    for number, pair in enumerate(tokens.pairs):
        own_tokens, ratio = tokens.of(number), tokens.ratios[number]
        step = natural_step(tokens.grid.side * ratio, tokens.grid.spacing * ratio)
        shape = image_array(sdata, pair.image).shape[-2:]
        owner = owners(tokens.grid.starts[own_tokens] * ratio, tokens.grid.side * ratio, step, shape)
        to_system, token = image_to_system(sdata, pair), float(tokens.spacing[number].max())
        classes = smooth_classes(
            np.append(0, codes[own_tokens] + 1).astype(np.min_scalar_type(n_classes))[owner],
            n_classes,
            token if opening is None else opening,
            token if closing is None else closing,
            (step * to_system.scale_y, step * to_system.scale_x),
        )
        maps.append((owner, classes, step))
    return maps


def write_predictions(
    table: AnnData,
    known: np.ndarray,
    predicted: pd.DataFrame,
    probability: np.ndarray,
    classes: Sequence[str],
    key: str,
    params: dict[str, Any],
) -> None:
    """Annotation, prediction and certainty of each token into its table; `classes` are the columns of `probability`."""
    table.obs["annotation"] = pd.Categorical(known, classes)
    table.obs[key] = predicted["label"]
    for name in ("confidence", "margin", "entropy"):
        table.obs[f"{key}_{name}"] = predicted[name]
    write_obsm(table, f"{key}_probability", pd.DataFrame(probability, index=table.obs_names, columns=list(classes)))
    write_uns(table, key, {"params": params})


def write_maps(
    sdata: SpatialData,
    tokens: Tokens,
    maps: Sequence[tuple[np.ndarray, np.ndarray, float]],
    names: Sequence[str],
    table_name: str,
    key: str,
) -> None:
    """Table, tokens and maps into `sdata`."""
    for number, (pair, (owner, classes, step)) in enumerate(zip(tokens.pairs, maps, strict=True)):
        if len(tokens.of(number)):
            tokens_of = labels_element(sdata, pair, owner, step, len(tokens.of(number)))
            sdata.labels[f"{table_name}_{pair.sample}"] = tokens_of
        element = f"{key}_{pair.sample}"
        sdata.labels[element] = labels_element(sdata, pair, classes, step, len(names))
        record_map(sdata, element, table=table_name, key=key, names=names)
    sdata.tables[table_name] = tokens.table


def check_dense(
    sdata: SpatialData,
    pairs: Sequence[SampleElements],
    table_name: str,
    key_added: str,
    *,
    min_cover: float,
    min_tokens: int,
    n_train: int | None,
    **radii: float | None,
) -> None:
    """Refuse, before any work, numbers that make no sense and names that are taken."""
    for name, radius in radii.items():
        if radius is not None and not (np.isfinite(radius) and radius >= 0):
            raise SpatialfmError(
                f"{name}={radius} is not a radius. Pass 0 or more, in the units of the coordinates (µm)."
            )
    if not 0 < min_cover <= 1:
        raise SpatialfmError(f"min_cover={min_cover} is not a share of a token. Pass more than 0, at most 1.")
    if min_tokens < 1 or (n_train is not None and n_train < 1):
        raise SpatialfmError(f"min_tokens={min_tokens} and n_train={n_train} must be 1 or more.")
    if table_name == key_added:
        raise ElementError(f"table_name= and key_added= are both {key_added!r}. Pass two names.")
    if any(table_name in getattr(sdata, kind) for kind in ("images", "labels", "shapes", "points")):
        raise ElementError(f"The table {table_name!r} cannot be written: an element has that name. Pass table_name=.")
    ours = []
    if table_name in sdata.tables:
        attrs = sdata.tables[table_name].uns.get("spatialdata_attrs", {})
        if attrs.get("instance_key") != TOKEN_KEY:
            raise ElementError(
                f"The table {table_name!r} contains no tokens and is not written over. Pass table_name=."
            )
        ours = np.atleast_1d(attrs["region"]).tolist()
    check_names(sdata, [f"{table_name}_{pair.sample}" for pair in pairs], "table_name", ours)
    check_names(sdata, [f"{key_added}_{pair.sample}" for pair in pairs], "key_added")
