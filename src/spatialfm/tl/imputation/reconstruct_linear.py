"""Whole images as regression sees them: fitted without weights, and painted by the engine that runs a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..._errors import ArgumentError, TableError
from ..._keys import SAMPLES
from ...cohort.patient_names import check_names, patients_of_rows
from ...learn.conformal import held_out_patients
from ...learn.imputers import LinearImputer, drawn_evenly, fit_imputer
from .painted_scores import patients_of_samples

if TYPE_CHECKING:
    import torch
    from spatialdata import SpatialData

    from ...embed.call import Request
    from ...embed.inputs import Inputs
    from ...embed.paint.blend import Overlap
    from ...embed.paint.job import PaintJob
    from ...embed.paint.plan import PaintTargets
    from ...embed.paint.run import Painted
    from ...embed.plan import RunPlan
    from ...embed.windows.tiles import TileBlock
    from ...pp.elements import SampleElements

N_TILES = 64  # that pixels are drawn from, or two of each image
N_PIXELS = 50_000  # that are drawn: more of them do not move the coefficients
LEARNED = (0.1, 0.3)  # share of tokens that are hidden, beside those of the call, to learn from what they held
OWN = ("normalization", "statistics", "epsilon", "preparation", "scaling")  # fields of a recipe that are not free


@dataclass(frozen=True)
class DrawnPixels:
    """Pixels that regression is fitted on, ``(n, M)`` in intensities.

    Attributes
    ----------
    measured
        As they are.
    filled, around
        What is seen in their place, and the mean of seen pixels around; NaN where no pixel of the channel is seen.
    seen
        Whether a pixel is seen in the call: others are in no statistic.
    learned
        Whether it is predicted here.
    sample
        ``(n,)`` numbers.
    """

    measured: np.ndarray
    filled: np.ndarray
    around: np.ndarray
    seen: np.ndarray
    learned: np.ndarray
    sample: np.ndarray


def check_recipe(recipe: object) -> None:
    """Refuse fields of a recipe that regression decides itself.

    Raises
    ------
    ArgumentError
        Names the first.
    """
    if isinstance(recipe, Mapping) and (given := [name for name in recipe if name in OWN]):
        raise ArgumentError(
            f"recipe={{{given[0]!r}: ...}} belongs to a model: method='linear' takes intensities as they are, and the "
            "mean and standard deviation of the pixels that it is fitted on. Leave it out."
        )


def patients_of(
    sdata: SpatialData, samples: Sequence[str], patient_key: str, library_key: str, table_name: str
) -> list[str]:
    """Patient of each sample, by the table of samples or the cell table; without any, each sample is by itself.

    Raises
    ------
    TableError
        If the table does not say whose a sample is, or writes one patient in several ways.
    """
    tables = [sdata.tables[name] for name in (SAMPLES, table_name) if name in sdata.tables]
    clinical = sdata.tables[SAMPLES].obs if SAMPLES in sdata.tables else None
    if clinical is not None and patient_key in clinical:
        check_names(clinical, clinical[patient_key], "patient_key")
        known = clinical[patient_key].astype("object").where(clinical[patient_key].notna())
        if lacking := [name for name in samples if name not in known.index or known.isna()[name]]:
            raise TableError(
                f"sdata[{SAMPLES!r}] has no patient of sample {lacking[0]!r} (patient_key={patient_key!r}). Fill it "
                "in, or leave the sample out with samples=."
            )
        return [str(known[name]) for name in samples]
    if table_name in sdata.tables and patient_key in sdata.tables[table_name].obs:
        return patients_of_samples(sdata, samples, table_name, patient_key, library_key)
    for table in tables:  # says where a column looks like that of patients
        patients_of_rows(
            table, patient_key, risk="each sample counts as a patient, and another one of its own patient teaches it"
        )
    return list(samples)


def paint_by_regression(
    sdata: SpatialData,
    pairs: Sequence[SampleElements],
    request: Request,
    devices: Sequence[torch.device],
    markers: Sequence[str] | None,
    patients: Sequence[str],
    *,
    mode: str,
    ratio: tuple[float, float],
    space: str,
    overlap: Overlap,
    stride: int | None,
    random_state: int,
) -> Iterator[tuple[list[SampleElements], Painted]]:
    """Fit and predict, part by part of the samples; every check comes before the first part.

    Where tokens are hidden, all images are fitted at once, on tokens that are seen: a few of these are hidden as well,
    and learned from. Where a marker is hidden as a whole, nothing of it is seen in the image, and each patient is
    predicted by a fit to others.

    Raises
    ------
    ModelError, PanelError, ElementError, CoordinateError, PixelSizeError, TableError
        Before any pixel is predicted.
    """
    from ...embed.inputs import prepare_inputs
    from ...embed.paint.plan import find_targets, plan_paint
    from ...embed.paint.regression import Regression

    if mode == "marker" and len(set(patients)) < 2:
        raise TableError(
            f"All images are of one patient ({patients[0]!r}): a marker that is hidden as a whole is predicted by a "
            "fit to other patients. Pass more, or mode='independent', which learns from the pixels that are seen."
        )
    inputs = prepare_inputs(sdata, pairs, Regression(), request, tiles=True)
    targets = find_targets(inputs, markers)
    told: dict[str, Any] = {"mode": mode, "ratio": ratio, "random_state": random_state, "stride": stride}
    plan = plan_paint(inputs, targets, **told)
    drawn = _drawn(plan, random_state)
    names = np.asarray(patients)
    if mode == "marker":
        parts = list(held_out_patients(names, random_state))
    else:
        parts = [(np.arange(len(names)), np.arange(len(names)))]
    return _painted(pairs, inputs, targets, drawn, names, parts, devices, told, space, overlap)


def _painted(
    pairs: Sequence[SampleElements],
    inputs: Inputs,
    targets: PaintTargets,
    drawn: DrawnPixels,
    patients: np.ndarray,
    parts: Sequence[tuple[np.ndarray, np.ndarray]],
    devices: Sequence[torch.device],
    told: Mapping[str, Any],
    space: str,
    overlap: Overlap,
) -> Iterator[tuple[list[SampleElements], Painted]]:
    from ...embed.paint.elements import record_of
    from ...embed.paint.plan import plan_paint
    from ...embed.paint.run import Painted, paint_images
    from ...pp.predicted import INTENSITY

    for fitted_on, asked in parts:
        mine = _fitted(_of_samples(inputs, asked), targets, drawn, np.isin(drawn.sample, fitted_on), patients)
        plan = plan_paint(mine, targets, **told)
        places = list(targets.places)
        statistics = (mine.mean[places], mine.std[places]) if space == INTENSITY else None
        folder, seconds = paint_images(plan, mine.request.run, devices, overlap=overlap, statistics=statistics)
        samples = [pairs[number].sample for number in fitted_on]
        about = {"method": "linear", "model": "", "fitted_on": samples, "seconds": seconds}
        record = record_of(plan, space=space, overlap=overlap, not_undone="", **about)
        n_tiles = sum(block.n_windows for block in plan.blocks)
        yield [pairs[number] for number in asked], Painted(mine, targets.markers, folder, record, n_tiles, seconds)


def _of_samples(inputs: Inputs, numbers: np.ndarray) -> Inputs:
    """The inputs of some of the samples."""
    panel = inputs.panel
    chosen = replace(
        panel,
        channels=tuple(panel.channels[number] for number in numbers),
        names=tuple(panel.names[number] for number in numbers),
    )
    raw, readers = ([each[number] for number in numbers] for each in (inputs.raw, inputs.readers))
    return replace(inputs, panel=chosen, raw=raw, readers=readers, ratios=inputs.ratios[numbers])


def _drawn(plan: RunPlan, random_state: int) -> DrawnPixels:
    """Pixels of tiles that are spread evenly over the images, as the call hides them and a few more."""
    import torch

    from ...embed.paint.masks import draw_mask, generator_of
    from ...embed.paint.regression import filled_and_around

    job = cast("PaintJob", plan.job)
    tiles = [(one.sample, int(y), int(x)) for one in cast("list[TileBlock]", plan.blocks) for y, x in one.starts]
    codes = np.array([number for number, _, _ in tiles])
    most = max(N_TILES, 2 * len(job.readers))
    chosen = [tiles[place] for place in drawn_evenly(codes, most, random_state)]
    parts = []
    for number, y, x in chosen:
        reader = job.readers[number]
        window = torch.from_numpy(reader.pixels(y, y + job.window, x, x + job.window))[None].to(torch.float64)
        shape = (1, job.n_channels, job.n_tokens, job.n_tokens)
        hidden, learned = np.zeros(shape, bool), np.ones(shape, bool)
        if job.draws:
            hidden = next(job.passes(number, np.array([[y, x]])))[1]
            rng = generator_of(random_state, f"{reader.name}, learned", y, x)
            learned = draw_mask(job.mode, shape[1:], LEARNED, rng)[None] & ~hidden
        covered = torch.from_numpy(hidden | (learned if job.draws else False))
        filled, around = filled_and_around(window, covered)
        unseen = covered.flatten(2).all(-1)[..., None, None].expand(covered.shape[:2] + window.shape[2:])
        around = torch.where(unseen | (not job.draws), torch.nan, around)
        filled = torch.where(unseen, torch.nan, filled)
        masks = [np.repeat(np.repeat(one, job.window // job.n_tokens, 2), job.window // job.n_tokens, 3)
                 for one in (~hidden, learned)]  # fmt: skip
        height, width = (min(job.window, size - start) for size, start in zip(reader.shape, (y, x), strict=True))
        rng = np.random.default_rng([random_state, number, y, x])
        wanted = rng.permutation(height * width)[: -(-N_PIXELS // len(chosen))]
        rows, columns = wanted // width, wanted % width
        each = [np.asarray(one)[0][:, rows, columns].T for one in (window, filled, around, *masks)]
        parts.append((*each, np.full(len(wanted), number)))
    return DrawnPixels(*(np.concatenate(one) for one in zip(*parts, strict=True)))


def _fitted(
    inputs: Inputs, targets: PaintTargets, drawn: DrawnPixels, used: np.ndarray, patients: np.ndarray
) -> Inputs:
    """The inputs with regression of each target, on the pixels that are used, and their statistics."""
    from ...embed.paint.regression import Regression

    measured, seen = drawn.measured[used], drawn.seen[used]
    mean = np.array([_or(column[one], np.mean, 0.0) for column, one in zip(measured.T, seen.T, strict=True)])
    std = np.array([_or(column[one], np.std, 0.0) for column, one in zip(measured.T, seen.T, strict=True)])
    std = np.where(std > 0, std, 1.0)
    values = (measured - mean) / std
    # 0 is the mean of a marker: all that is known where nothing of it is seen
    filled, around = (np.nan_to_num((one[used] - mean) / std) for one in (drawn.filled, drawn.around))
    groups = patients[drawn.sample[used]]
    coefficients, intercept = np.zeros((len(mean), len(mean))), np.zeros(len(mean))
    for place in targets.places:
        rows = drawn.learned[used][:, place]
        x = filled[rows]
        x[:, place] = around[rows, place]
        if rows.sum() >= 2:
            fit = cast("LinearImputer", fit_imputer("linear", x, values[rows][:, [place]], groups[rows]))
            coefficients[place], intercept[place] = fit.coefficients[:, 0], fit.intercept[0]
    recipe = inputs.request.recipe.replace(normalization="marker statistics")
    notes = inputs.notes | {
        "normalization": recipe.normalization,
        "recipe": recipe.storable(),
        "normalization_mean": list(map(float, mean)),
        "normalization_std": list(map(float, std)),
        "normalization_source": ["pixels that regression is fitted on"] * len(mean),
    }
    request = replace(inputs.request, recipe=recipe)
    fit_of = Regression(coefficients, intercept).to(inputs.encoder.device)
    return replace(inputs, encoder=fit_of, request=request, mean=mean, std=std, notes=notes)


def _or(values: np.ndarray, of: Any, otherwise: float) -> float:
    return float(of(values)) if len(values) else otherwise
