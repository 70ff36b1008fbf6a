"""What a model predicts of hidden pixels and cells of images, drawn for scores."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..._errors import ModelError, PanelError, TableError, counted
from ..._squares import squares_of
from ...cohort.checks import as_names, check_samples, listed, obs_column, order_of_names
from ...learn.floors import MARKER, HiddenRows, at_most, evaluated, split_of

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

    from ...embed.paint.blend import Painting
    from ...models.encoder import Encoder

SIDE = 128  # model pixels of the squares that pixels are drawn from, and whose visible pixels are averaged


def evaluate_images(
    sdata: SpatialData,
    model: str | Encoder,
    modes: Sequence[str],
    *,
    ratio: tuple[float, float],
    markers: str | Sequence[str] | None,
    methods: Sequence[str],
    test_patients: Sequence[str] | None,
    n_folds: int,
    n_cells: int,
    n_pixels: int,
    table_name: str,
    patient_key: str,
    library_key: str,
    random_state: int,
    weights: Any,
    adapter: Any,
    **call: Any,
) -> tuple[AnnData, list[pd.DataFrame]]:
    """The table, and scores of patients of each mode and unit (`learn.floors.evaluated`).

    Raises
    ------
    ModelError, PanelError, ElementError, TableError
        Before any tile is predicted.
    """
    from ...embed.call import Elements, Run, image_elements, request_of
    from ...embed.inputs import prepare_inputs
    from ...embed.paint.expected import means_beside
    from ...embed.paint.plan import check_masks, find_targets, plan_paint
    from ...embed.paint.run import with_painting
    from ...embed.session import check_run, load_encoder
    from ...embed.windows.cells import find_cells
    from ...pp.elements import match_elements

    for mode in modes:
        check_masks(mode, ratio)
    meant, how = Elements.of(call["elements"]), Run.of(call["run"])
    image_elements(None, call["recipe"])  # refuses fields that are about windows of cells
    pairs = match_elements(sdata, meant.image, meant.labels, samples=call["samples"], table_name=table_name)
    of_samples = patients_of_samples(sdata, [pair.sample for pair in pairs], table_name, patient_key, library_key)
    split_of(np.array(of_samples), test_patients, n_folds, random_state)
    devices = check_run(how)
    encoder = load_encoder(model, weights, adapter).to(devices[0])
    if not encoder.can_reconstruct:
        raise ModelError(
            f"Model {encoder.card.name!r} has no decoder, so that it predicts no pixels. Pass one that was trained to "
            "reconstruct, such as model='virtues', or leave model= out: the floors need none."
        )
    request = request_of(encoder, panel=call["panel"], recipe=call["recipe"], run=how, elements=meant, cells=False)
    inputs = prepare_inputs(sdata, pairs, encoder, request, tiles=True)
    names = list(inputs.panel.markers)
    targets = names if markers is None else as_names(markers)
    if lacking := [name for name in targets if name not in names]:
        raise PanelError(f"No marker {lacking[0]!r} in all images (markers=); found {listed(names, 60)}.")
    table = sdata.tables[table_name]
    cells = find_cells(sdata, pairs, table, table_name, "drop", None, meant.on_pieces)
    # which tokens of a channel were hidden is known of those that are predicted, and floors ask it of all
    aims = {mode: find_targets(inputs, targets if mode == MARKER else None) for mode in modes}
    plans = {
        mode: plan_paint(inputs, aim, mode=mode, ratio=ratio, random_state=random_state) for mode, aim in aims.items()
    }

    parts, measured_of = [], partial(_judge, names, targets, methods, test_patients, n_folds, random_state)
    for mode, plan in plans.items():

        def use(painting: Painting, mode: str = mode) -> tuple[Any, Any]:
            pixels = draw_pixels(painting, of_samples, n_pixels, random_state)
            every = range(len(painting.job.mean))
            return pixels, means_beside(painting, inputs, cells, every) if mode == MARKER else None

        (rows, predicted), means = with_painting(plan, how, devices, use)[0]
        columns = range(len(targets)) if mode == MARKER else [names.index(name) for name in targets]
        parts.append(measured_of(rows, predicted[:, list(columns)], mode, "pixel"))
        if means is not None:
            patients = table.obs[patient_key].astype(str).to_numpy()[cells.rows]
            order = order_of_names(table.obs_names[cells.rows])
            drawn = order[at_most(patients[order], n_cells, random_state)]
            known = HiddenRows(means[drawn][:, : len(names)], patients[drawn])
            parts.append(measured_of(known, means[drawn][:, len(names) :], mode, "cell"))
    return table, parts


def patients_of_samples(
    sdata: SpatialData, samples: Sequence[str], table_name: str, patient_key: str, library_key: str
) -> list[str]:
    """Patient of each sample, by the cells of the table.

    Raises
    ------
    TableError
        If there is no table, a sample has no cells in it, cells of two patients, or a patient two spellings.
    """
    if table_name not in sdata.tables:
        raise TableError(
            f"No table {table_name!r} in sdata (table_name=), which says whose images these are; found "
            f"{listed(sdata.tables)}. Make it with sfm.pp.cell_table(sdata)."
        )
    table = sdata.tables[table_name]
    patients = obs_column(table, patient_key, "patient_key").astype(str)
    of = obs_column(table, library_key, "library_key").astype(str)
    check_samples(of, patients, TableError)
    known = dict(zip(of, patients, strict=True))
    if lacking := [name for name in samples if name not in known]:
        raise TableError(
            f"{counted(len(lacking), 'sample has', 'samples have')} no cells in the table, first {lacking[0]!r} "
            "(library_key=): whose image it is, is not known. Leave it out with samples=."
        )
    return [known[name] for name in samples]


def draw_pixels(
    painting: Painting, patients: Sequence[str], n: int, random_state: int
) -> tuple[HiddenRows, np.ndarray]:
    """At most about `n` pixels of each sample, and what the model predicts of them ``(rows, targets)``.

    They are drawn square by square, as many of each, so that no image is in memory as a whole.
    """
    import torch

    from ...embed.paint.expected import measured_pixels
    from ...embed.paint.regression import mean_around

    job = painting.job
    measured, predicted, hidden, visible, around, of = [], [], [], [], [], []
    for number, patient in enumerate(patients):
        rng = np.random.default_rng([random_state, number])
        boxes = list(squares_of(painting.shape(number)[1:], SIDE))
        for box in boxes:
            square = measured_pixels(job, number, box)[: len(job.mean)]
            pixels = square.reshape(len(square), -1).T
            drawn = rng.permutation(len(pixels))[: -(-n // len(boxes))]
            values = painting.region(number, box)
            measured.append(pixels[drawn])
            predicted.append(values.reshape(len(values), -1).T[drawn])
            of.append(np.full(len(drawn), patient))
            if job.draws:
                covered = painting.hidden(number, box)
                masks = covered.reshape(len(covered), -1).T
                counts = (~masks).sum(axis=0)
                means = np.where(masks, 0, pixels).sum(axis=0) / np.maximum(counts, 1)  # 0 is the mean of the marker
                hidden.append(masks[drawn])
                visible.append(np.tile(means, (len(drawn), 1)))
                near = mean_around(torch.from_numpy(square).double(), torch.from_numpy(~covered)).numpy()
                around.append(near.reshape(len(near), -1).T[drawn])
    parts = {"hidden": hidden, "visible": visible, "around": around}
    masked = {name: np.concatenate(part) for name, part in parts.items()} if job.draws else {}
    return HiddenRows(np.concatenate(measured).astype(float), np.concatenate(of), **masked), np.concatenate(predicted)


def _judge(
    names: Sequence[str],
    targets: Sequence[str],
    methods: Sequence[str],
    test_patients: Sequence[str] | None,
    n_folds: int,
    random_state: int,
    rows: HiddenRows,
    predicted: np.ndarray,
    mode: str,
    unit: str,
) -> pd.DataFrame:
    split = split_of(rows.patients, test_patients, n_folds, random_state)
    fitted = [name for name in methods if unit == "cell" or name != "knn"]  # nearest rows are of cells
    return evaluated(rows, names, targets, mode, unit, split, fitted, predicted, random_state)
