"""``sfm.pp.segmentation_quality``: what is odd about segmented cells, by sample and by cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pandas as pd

from .._errors import ArgumentError, ElementError, TableError, listed, warn
from .._progress import progress_bar
from .._public import public
from .._ranges import above
from .agreement import Agreement, agreement
from .annotated import annotated_cells
from .arrays import AxisAffine, channel_names, drawn_kind, image_array
from .channels import nuclear_channel
from .drawn_cells import DrawnCells, cells_data, drawn_cells
from .elements import labels_to_image, match_elements
from .labels import CheckedLabels, inspect_labels, report_labels
from .measure import LabelGrid
from .missing_chunks import report_missing_chunks
from .nuclei_in_cells import COVERED, Nuclei, nuclei_of
from .nuclei_settings import NucleiSettings, nuclei_settings
from .orientation import say_orientation
from .pieces import LabelScan
from .pixel_sizes import image_pixel_sizes
from .seams import cut_cells
from .segment_run import SegmentJob, find_levels
from .segmentation import OVERLAP, plan_job

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from .elements import SampleElements

FLAGS = ("at_border", "cut", "no_nucleus", "several_nuclei", "shared_nucleus", "merged", "split")
TILE = 1024  # pixels


@dataclass(frozen=True)
class _Judged:
    """What was found in the labels of one sample."""

    pair: SampleElements
    scan: LabelScan
    at_border: np.ndarray
    cut: np.ndarray
    seams: int
    nuclei: Nuclei | None
    pixels_per_label: float
    compared: Agreement | None
    drawn: DrawnCells | None  # where the cells are shapes
    reference: DrawnCells | None


@public
def segmentation_quality(
    sdata: SpatialData,
    labels: str | Sequence[str] | Mapping[str, str] | None = None,
    *,
    image: str | Sequence[str] | Mapping[str, str] | None = None,
    samples: str | Sequence[str] | None = None,
    reference: str | Sequence[str] | Mapping[str, str] | None = None,
    nuclear: str | Sequence[str] | None = None,
    diameter: Annotated[float | None, above(0)] = None,
    thresholds: Sequence[float] = (0.5, 0.6, 0.7, 0.8, 0.9),
    mpp: float | Mapping[str, float] | None = None,
    by: Literal["sample", "cell"] = "sample",
    table_name: str | None = None,
) -> pd.DataFrame:
    """Assess segmented cells: cut, without a nucleus or with several, merged or split against a reference.

    Labels and images are read block by block, however they were made. Nuclei are found on the nuclear stain as
    ``spatialfm.pp.segment_cells(method="watershed")`` finds them: they are themselves an estimate, and what they say of
    a cell is a suspicion, to be compared between samples. A reference, such as cells drawn by an expert, says it.
    Labels that fit their image only once they are transposed, mirrored or turned are named in a warning.

    Parameters
    ----------
    sdata
        Label images ``(y, x)`` and their images ``(c, y, x)``.
    labels
        Labels elements to judge, as in `spatialfm.pp.elements.match_elements` (default: the labels of every image).
    image
        Images of these labels, likewise.
    samples
        Samples to use (default: all).
    reference
        Labels elements that hold the cells as they should be: one, as many as samples, or ``{sample: element}``. They
        may have pixels of another size.
    nuclear
        Channels that stain nuclei. Default: those by which `segment_cells` made these labels, otherwise the first that
        `spatialfm.pp.match_markers` recognises as one. Where none is recognised, what is said of nuclei is NaN, with a
        warning.
    diameter
        Of a typical cell in µm, for the nuclei. Default: the one by which `segment_cells` made these labels, otherwise
        8. A threshold of nuclei that it was given is taken too.
    thresholds
        Intersections over union for `reference`, from 0.5 up to below 1.
    mpp
        µm per pixel, for images whose transformation does not say it.
    by
        Rows that are returned.
    table_name
        Table of the cells to write flags into.

    Returns
    -------
    With ``by="cell"``, one row per cell: ``sample``, ``labels``, ``cell_id`` (of shapes the ids of their index), and

    ``at_border``
        It touches the border of the image or of the label image, and may be cut there.
    ``cut``
        It ends at a seam: a line between two rows or columns at which more than three times as many pixels of cells end
        as at the lines nearby, as where tiles were segmented one by one.
    ``n_nuclei``
        Nuclei of which it holds more than half.
    ``no_nucleus``, ``several_nuclei``, ``shared_nucleus``
        It holds none, and less than a tenth of it is nucleus; it holds two or more (cells that were fused, or a cell
        with two nuclei); a quarter of a nucleus or more is in it and as much in another cell (a cell in two parts).
    ``reference_id``, ``iou``, ``merged``, ``split``
        With `reference`: the cell with the largest intersection over union (0: none; of shapes whose ids are text or
        begin at 0, missing), and that; whether it holds more than half of two reference cells; whether it is one of
        several that lie by more than half in one.

    With ``by="sample"``, one row per sample: ``sample``, ``labels``, ``n_cells``, and of each of these the number of
    cells; ``n_seams``; ``n_nuclei``, and ``nuclei_outside``, those that are in no cell. With `reference`:
    ``n_reference``; ``merges``, cells that are merged; ``splits``, reference cells that are split; ``missed``, those
    of which no cell holds more than half, and which hold more than half of none; ``f1_<threshold>``, twice the pairs
    above the threshold over all cells of both.

    With `table_name`, also written: ``sdata[table_name].obs["segmentation_<flag>"]``, True or False, for the rows of
    these labels; other rows keep what they have, or are missing.

    Raises
    ------
    ElementError, CoordinateError
        If elements are missing or cannot be paired; if labels are not a mask of cells (`check_labels` lists how).
    PanelError
        If `nuclear` is not a channel of an image.
    TableError
        If the table is missing, or annotates none of these labels.
    ArgumentError
        If a threshold is below 0.5, where a cell could have two partners.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=128, difficulty="easy")
    >>> result = sfm.pp.segmentation_quality(sdata, reference="true_cells_P001_1")
    >>> result[["n_cells", "n_reference", "merges", "splits"]].iloc[0].to_dict()
    {'n_cells': 48, 'n_reference': 49, 'merges': 1, 'splits': 1}
    >>> made = sdata.attrs["truth"]["segmentation"]["P001_1"]
    >>> made["segmented_cells"], made["true_cells"], made["merges"], made["splits"]
    (48, 49, 1, 1)
    """
    if wrong := [one for one in thresholds if not 0.5 <= one < 1]:
        raise ArgumentError(
            f"thresholds= must be from 0.5 to below 1, not {wrong[0]:g}: below 0.5 a cell can match two others."
        )
    pairs = match_elements(sdata, image, labels, samples=samples)
    references = _references(sdata, pairs, reference)
    _check_outlines(sdata, [*pairs, *(one for one in references if one is not None)])
    if table_name is not None:
        _check_table(sdata, table_name, pairs)
    nuclei = nuclei_settings(sdata, pairs, nuclear, diameter)
    jobs = _jobs(sdata, pairs, nuclei, mpp)
    pairs = report_missing_chunks(sdata, pairs)
    checked = [inspect_labels(sdata, pair.sample, str(pair.labels), pair) for pair in pairs]
    report_labels(sdata, checked, on_pieces="keep", on_giants="keep")
    say_orientation(sdata, pairs, [check.pieces.by_label() for check in checked])
    judged = [
        _judge(sdata, pair, check, job, how, other)
        for pair, check, job, how, other in zip(
            progress_bar(pairs, desc="quality", unit="sample"), checked, jobs, nuclei, references, strict=True
        )
    ]
    cells = pd.concat([_cells(one) for one in judged], ignore_index=True)
    if table_name is not None:
        _write(sdata, table_name, cells, np.concatenate([one.scan.ids for one in judged]))
    return cells if by == "cell" else pd.DataFrame([_sample(one, thresholds) for one in judged])


def _check_outlines(sdata: SpatialData, pairs: list[SampleElements]) -> None:
    """Refuse cells that are positions alone."""
    if without := [pair.labels for pair in pairs if drawn_kind(sdata, str(pair.labels)) in ("points", "table")]:
        raise ElementError(
            f"The cells of {without[0]!r} are positions without outlines: there is no segmentation to judge. Pass "
            "labels or shapes, or make labels with sfm.pp.segment_cells(sdata)."
        )


def _references(sdata: SpatialData, pairs: list[SampleElements], reference) -> list[SampleElements | None]:
    """Reference of each sample."""
    if reference is None:
        return [None] * len(pairs)
    if isinstance(reference, Mapping):
        if unknown := [sample for sample in reference if sample not in {pair.sample for pair in pairs}]:
            raise ElementError(
                f"reference= names sample {unknown[0]!r}; the samples are {listed(p.sample for p in pairs)}."
            )
        names = [reference.get(pair.sample) for pair in pairs]
    else:
        names = [reference] if isinstance(reference, str) else list(reference)
        if len(names) != len(pairs):
            raise ElementError(
                f"reference= names {len(names)} elements for {len(pairs)} samples ({listed(p.sample for p in pairs)}). "
                "Pass as many, in the same order, or a mapping {sample: element}."
            )
    return [
        None
        if name is None
        else match_elements(sdata, {pair.sample: pair.image}, {pair.sample: name}, samples=[pair.sample])[0]
        for pair, name in zip(pairs, names, strict=True)
    ]


def _check_table(sdata: SpatialData, name: str, pairs: list[SampleElements]) -> None:
    if name not in sdata.tables:
        raise TableError(
            f"No table {name!r} in sdata; found {listed(sdata.tables)}. Make it with sfm.pp.cell_table(sdata)."
        )
    regions = set(annotated_cells(sdata.tables[name], name, sdata)[0])
    if missing := [pair.labels for pair in pairs if pair.labels not in regions]:
        raise TableError(
            f"Table {name!r} has no row of labels {missing[0]!r}; it annotates {listed(sorted(regions))}. Pass labels= "
            "or samples= of what it annotates."
        )


def _jobs(
    sdata: SpatialData, pairs: list[SampleElements], nuclei: list[NucleiSettings], mpp
) -> list[SegmentJob | None]:
    """How nuclei are found in each image; None where no stain is recognised."""
    known = [
        how.channels is not None or nuclear_channel(channel_names(sdata, pair.image), None, pair.image) is not None
        for pair, how in zip(pairs, nuclei, strict=True)
    ]
    if not all(known):
        without = [pair.image for pair, one in zip(pairs, known, strict=True) if not one]
        warn(
            f"No nuclear stain is recognised in {listed(without, 5)}: what is said of nuclei is NaN there. Pass "
            "nuclear=<channel>."
        )
    sizes = image_pixel_sizes(sdata, pairs, mpp, required=any(known))
    jobs: list[SegmentJob | None] = []
    for pair, how, size, one in zip(pairs, nuclei, sizes, known, strict=True):
        margin = OVERLAP * how.diameter / 2
        side = max(TILE, 2 * int(np.ceil(margin / size))) if one else TILE
        channels = None if how.channels is None else list(how.channels)
        jobs.append(plan_job(sdata, pair, how.request, channels, None, size, side, margin, 0) if one else None)
    return jobs


def _judge(
    sdata: SpatialData,
    pair: SampleElements,
    check: CheckedLabels,
    job: SegmentJob | None,
    how: NucleiSettings,
    reference: SampleElements | None,
) -> _Judged:
    array, scan = cells_data(sdata, pair), check.pieces.by_label()
    to_image = labels_to_image(sdata, pair)
    top, bottom, left, right = _on_image(array.shape, image_array(sdata, pair.image).shape[-2:], to_image)
    y0, y1, x0, x1 = scan.box.reshape(-1, 4).T
    at_border = (y0 <= top) | (x0 <= left) | (y1 >= bottom) | (x1 >= right)
    cut, *lines = cut_cells(array[top:bottom, left:right], scan.ids, scan.area)
    nuclei = None
    if job is not None:
        grid = LabelGrid(array, to_image.inverse())
        nuclei = nuclei_of(job, find_levels(job, how.request), grid, scan.ids, how.diameter / job.mpp)
    compared = None
    if reference is not None:
        to_reference = to_image.then(labels_to_image(sdata, reference).inverse())
        compared = agreement(array, LabelGrid(cells_data(sdata, reference), to_reference))
    n_seams = sum(len(one) for one in lines)
    other = None if reference is None else drawn_cells(sdata, reference)
    per_label = to_image.scale_y * to_image.scale_x
    return _Judged(pair, scan, at_border, cut, n_seams, nuclei, per_label, compared, check.drawn, other)


def _named(drawn: DrawnCells | None, numbers: np.ndarray) -> Any:
    """Ids in the element of cells of these numbers; of shapes whose ids are not label numbers, 0 (none) is missing."""
    if drawn is None or not drawn.renamed:
        return numbers
    if (numbers > 0).all():
        return drawn.ids_of(numbers)
    ids = np.full(len(numbers), None, object)
    ids[numbers > 0] = drawn.ids_of(numbers[numbers > 0])
    return pd.array(ids, dtype="Int64") if drawn.ids.dtype.kind in "iu" else ids


def _on_image(labels: tuple[int, int], image: tuple[int, int], to_image: AxisAffine) -> tuple[int, int, int, int]:
    """Rows and columns of labels on the image: at its border all cells end, where labels go on, without a seam."""
    to_labels = to_image.inverse()
    (top, left), (bottom, right) = to_labels(0, 0), to_labels(*image)
    return (
        *(int(np.clip(round(one), 0, labels[0])) for one in (top, bottom)),
        *(int(np.clip(round(one), 0, labels[1])) for one in (left, right)),
    )


def _cells(judged: _Judged) -> pd.DataFrame:
    """One row per cell."""
    n = judged.scan.ids.size
    frame = pd.DataFrame(
        {
            "sample": judged.pair.sample,
            "labels": judged.pair.labels,
            "cell_id": _named(judged.drawn, judged.scan.ids),
            "at_border": judged.at_border,
            "cut": judged.cut,
        }
    )
    nuclei, compared = judged.nuclei, judged.compared
    if nuclei is None:
        frame[["n_nuclei", "no_nucleus", "several_nuclei", "shared_nucleus"]] = np.full((n, 4), np.nan)
    else:
        covered = nuclei.pixels > COVERED * judged.scan.area * judged.pixels_per_label
        frame["n_nuclei"] = nuclei.n
        frame["no_nucleus"] = (nuclei.n == 0) & ~covered
        frame["several_nuclei"] = nuclei.n > 1
        frame["shared_nucleus"] = nuclei.shares
    if compared is not None:
        numbers, frame["iou"] = compared.best()
        frame.insert(frame.columns.get_loc("iou"), "reference_id", _named(judged.reference, numbers))
        frame["merged"], frame["split"] = compared.merged(), compared.parts()
    return frame


def _sample(judged: _Judged, thresholds: Sequence[float]) -> dict[str, object]:
    """Counts of one sample."""
    nuclei, compared = judged.nuclei, judged.compared
    cells = _cells(judged)
    row: dict[str, object] = {
        "sample": judged.pair.sample,
        "labels": judged.pair.labels,
        "n_cells": len(cells),
        "n_seams": judged.seams,
    }
    for flag in ("at_border", "cut", "no_nucleus", "several_nuclei", "shared_nucleus"):
        row[flag] = int(cells[flag].sum()) if nuclei is not None or flag in ("at_border", "cut") else np.nan
    row["n_nuclei"], row["nuclei_outside"] = (np.nan, np.nan) if nuclei is None else (nuclei.total, nuclei.outside)
    if compared is not None:
        row |= {
            "n_reference": compared.reference_ids.size,
            "merges": int(compared.merged().sum()),
            "splits": int(compared.split().sum()),
            "missed": compared.missed(),
            **{f"f1_{one:g}": compared.f1(one) for one in thresholds},
        }
    return row


def _write(sdata: SpatialData, table_name: str, cells: pd.DataFrame, numbers: np.ndarray) -> None:
    """Flags of cells, whose numbers in the label image are given, to the rows of a table that annotate them."""
    table = sdata.tables[table_name]
    rows = pd.MultiIndex.from_arrays(annotated_cells(table, table_name, sdata))
    known = cells.set_index([cells["labels"], numbers])
    place = known.index.get_indexer(rows)
    for flag in FLAGS:
        if flag not in known:
            continue
        column = f"segmentation_{flag}"
        values = np.full(table.n_obs, pd.NA, object)
        if column in table.obs:
            values[:] = table.obs[column].astype("boolean").to_numpy(dtype=object, na_value=pd.NA)
        judged = known[flag].astype("boolean").to_numpy(dtype=object, na_value=pd.NA)
        values[place >= 0] = judged[place[place >= 0]]
        missing = pd.isna(values)
        if not missing.all():
            table.obs[column] = pd.array(values, dtype="boolean") if missing.any() else values.astype(bool)
