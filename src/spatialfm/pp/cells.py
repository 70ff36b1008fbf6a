"""``sfm.pp.cell_table``: from images and label images to one AnnData row per cell."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from spatialdata.models import TableModel

from .._errors import ClinicalError, ElementError, TableError
from .._keys import INSTANCE_KEY, SAMPLE_KEY, SAMPLES, TABLE, UNS
from .._logging import logger
from .._outcome import carry_outcome
from .._progress import progress_bar
from .._public import public
from .arrays import image_array, nan_code, table_call
from .assemble import CellPlan, MeasuredCells, as_table, assemble, with_columns
from .cell_plans import outside, plan_tables, report_left_out, report_masks, report_plans
from .default_names import say_default_names
from .drawn_cells import cells_data
from .elements import SampleElements, labels_to_image, match_elements
from .fixed_labels import write_fixed
from .joins import counted, listed, match_cells, storable_frame, text_keys
from .labels import OnPieces, check_choice
from .measure import LabelGrid, boxes_on_image, cell_quantiles, intensity_sums
from .missing_chunks import report_missing_chunks
from .orientation import say_orientation
from .pixel_sizes import say_systems
from .shapes import shapes
from .told_places import say_told_places
from .units import check_lengths, say_intensities, unit_factors

if TYPE_CHECKING:
    from spatialdata import SpatialData


@public
def cell_table(
    sdata: SpatialData,
    *,
    image: str | Sequence[str] | Mapping[str, str] | None = None,
    labels: str | Sequence[str] | Mapping[str, str] | None = None,
    samples: str | Sequence[str] | None = None,
    quantiles: float | Sequence[float] | None = None,
    morphology: bool = True,
    cells: pd.DataFrame | AnnData | None = None,
    library_key: str | None = SAMPLE_KEY,
    instance_key: str = INSTANCE_KEY,
    on_pieces: OnPieces = "raise",
    on_giants: Literal["raise", "keep"] = "raise",
    on_missing: Literal["raise", "drop"] = "raise",
    intensity_max: float | Mapping[str, float] | None = None,
    table_name: str = TABLE,
    overwrite: bool = False,
    copy: bool = False,
) -> AnnData | None:
    """Measure every labelled cell of every sample.

    Images and labels are read block by block, at full resolution. An offset or a scale between image and labels is
    followed: intensities are taken at the pixels of the image whose centre is in the cell, position and shape from
    the pixels of the labels.

    Parameters
    ----------
    sdata
        Images ``(c, y, x)`` and label images ``(y, x)``, 0 = background; or polygons or circles in place of these.
    image
        Image elements to use, as in `spatialfm.pp.elements.match_elements` (default: every ``image_<sample>``).
    labels
        Labels or shapes elements to use, likewise (default: the ``cells_<sample>`` of each image). Shapes are drawn on
        the pixels of their image, block by block: a pixel is of the cell that its centre is in, the first in the
        element where there are several.
    samples
        Samples to use (default: all).
    quantiles
        Quantiles in 0..1 of each cell's pixels, per marker, in addition to the mean.
    morphology
        Whether to measure shapes.
    cells
        Cells that are known already, such as published phenotypes: one row per cell; all its columns go to `obs`. Of an
        AnnData, its `obs` is used. Columns of x and y, in whatever unit, are compared with where the labels are, with a
        warning where they differ; rows that are numbered by one apart from the labels are refused.
    library_key
        Column of `cells` that names the sample; None where there is one sample.
    instance_key
        Column of `cells` that names the label.
    on_pieces
        What becomes of numbers that are used for several cells (``"repeated"`` of `check_labels`), and where most
        numbers are in pieces: an error that names them; ``"split"``: every piece of every number becomes a cell, in a
        new labels element that the table annotates (see `fix_labels`; it is written with `copy` too); ``"keep"``: all
        pieces of a number are one cell. A few cells with fragments are kept as they are, with a warning.
    on_giants
        Cells that cover more than a tenth of the image and are as large as 20 median cells, or reach all four borders
        around other cells, such as a background that is not 0: an error, or kept.
    on_missing
        What becomes of rows of `cells` without label, labels without row, cells without a pixel in the image, and
        samples without cells: an error that counts and names them, or left out with a warning that does.
    intensity_max
        Value of the brightest possible pixel of each sample, ``{sample: value}``: intensities are brought to the unit
        of the largest. One value for all: they hold the same counts, whatever their types. Images of different types
        are refused without.
    table_name
        Table that is written.
    overwrite
        Whether a table of this name may be replaced, with all embeddings and results in it.
    copy
        Whether to return the table instead of writing it.

    Returns
    -------
    None, or with ``copy=True`` the AnnData. Written to ``sdata[table_name]``, samples in order and labels ascending:

    - `X` ``(n_cells, n_markers)`` float32: mean intensity in units of the image. `var` is the union of the samples'
      channels in the order first seen; NaN where a sample lacks the marker.
    - ``layers["q50"]`` … float32: quantiles.
    - `obs`: ``region``, ``cell_id`` (of shapes the ids of their index, which may be text), ``sample``, ``area`` in
      µm²; with `morphology` also ``perimeter``, ``axis_major_length``, ``axis_minor_length``,
      ``equivalent_diameter_area`` in µm, ``orientation`` in radians, ``eccentricity``, ``solidity``, all as
      `skimage.measure.regionprops` defines them; ``cell_number``, where ids of shapes are not label numbers: 1, 2, ...
      in the order of the element; columns of `cells`, their
      names as stores take them (``"Cell X (px)"`` becomes ``"Cell_X_px"``); columns of ``sdata["samples"]``, where that
      table exists. `obs_names` are ``<sample>_<label>``.
    - ``obsm["spatial"]`` ``(n_cells, 2)`` float64: centroid ``(x, y)`` in µm.
    - ``uns["spatialfm"]["table"]``: elements used, units, and markers that a sample lacks, as text.

    If the coordinate systems have no pixel size, lengths are in pixels in place of µm, with a warning. Samples that
    are an order of magnitude darker than the others in the median marker (another unit), channels with one value in
    every cell, and negative means are named in a warning; the values stay as they are. So are labels that fit their
    image only once they are transposed, mirrored or turned, as far as a look at a few cells of each sample tells.

    Raises
    ------
    ElementError, CoordinateError
        If elements are missing or cannot be paired; if labels are not what they seem (`check_labels` lists how); if
        pixels of cells are NaN.
    PixelSizeError
        If the pixel size of some images is known and that of others is not, or none that a microscope has.
    PanelError
        If an image has two channels of one name, or images are of different types and `intensity_max` is not given.
    TableError
        If the table exists, or cells are missing (see `on_missing`), or `cells` has duplicates or other values for a
        column that is written.
    ClinicalError
        If a sample has no row in ``sdata["samples"]``.

    Examples
    --------
    >>> import numpy as np, spatialdata as sd, spatialfm as sfm
    >>> from spatialdata.models import Image2DModel, Labels2DModel
    >>> from spatialdata.transformations import Scale
    >>> system = {"s1": Scale([0.5, 0.5], axes=("x", "y"))}
    >>> labels = np.zeros((6, 8), dtype=int)
    >>> labels[1:3, 1:5], labels[4:6, 4:8] = 1, 7
    >>> image = Image2DModel.parse(
    ...     np.stack([labels, labels * 10.0]), dims=("c", "y", "x"), c_coords=["CD3", "CD8"], transformations=system
    ... )
    >>> cells = Labels2DModel.parse(labels, dims=("y", "x"), transformations=system)
    >>> sdata = sd.SpatialData(images={"image_s1": image}, labels={"cells_s1": cells})
    >>> sfm.pp.cell_table(sdata)
    >>> sdata["table"].to_df()
          CD3   CD8
    s1_1  1.0  10.0
    s1_7  7.0  70.0
    >>> sdata["table"].obs[["sample", "cell_id", "area"]]
         sample  cell_id  area
    s1_1     s1        1   2.0
    s1_7     s1        7   2.0
    >>> sdata["table"].obsm["spatial"]
    array([[1.5, 1. ],
           [3. , 2.5]])
    """
    drop = on_missing == "drop"
    check_choice("on_pieces", on_pieces, ("raise", "split", "keep"))
    check_choice("on_giants", on_giants, ("raise", "keep"))
    quantiles = _check_quantiles(quantiles)
    if not copy and not overwrite and table_name in sdata.tables:
        raise TableError(
            f"sdata already has a table {table_name!r}; writing it again would lose the embeddings and results in it. "
            f"Write a second one, with {table_call(sdata)}, or pass copy=True to have it returned; overwrite=True "
            "loses what is in it."
        )
    pairs = report_missing_chunks(sdata, match_elements(sdata, image, labels, samples=samples))
    say_default_names(sdata, pairs, sdata.tables.get(TABLE))
    adata = measured_table(
        sdata,
        pairs,
        quantiles=quantiles,
        morphology=morphology,
        cells=cells,
        cells_keys=(library_key, instance_key),
        known_samples=None if cells is None else _all_samples(sdata, image),
        on_pieces=on_pieces,
        on_giants=on_giants,
        drop=drop,
        intensity_max=intensity_max,
        written_to="adata" if copy else f"sdata[{table_name!r}]",
    )
    if copy:
        return adata
    if table_name in sdata.tables:
        del sdata.tables[table_name]
    sdata.tables[table_name] = adata
    return None


def measured_table(
    sdata: SpatialData,
    pairs: list[SampleElements],
    *,
    quantiles: Sequence[float] = (),
    morphology: bool = True,
    cells: pd.DataFrame | AnnData | None = None,
    cells_keys: tuple[str | None, str] = (SAMPLE_KEY, INSTANCE_KEY),
    known_samples: list[str] | None = None,
    on_pieces: OnPieces = "raise",
    on_giants: Literal["raise", "keep"] = "raise",
    drop: bool = False,
    intensity_max: float | Mapping[str, float] | None = None,
    written_to: str = "adata",
) -> AnnData:
    """Plan, check and measure the cells of samples whose stores were looked at; see `cell_table`.

    Parameters
    ----------
    cells_keys
        Columns of `cells` with samples and labels.
    known_samples
        All samples of `sdata`, which rows of `cells` may name.
    written_to
        What messages call the table.
    """
    _check_used_once(pairs)
    plans, fixed = plan_tables(sdata, pairs, on_pieces, on_giants)
    report_plans(plans, drop)
    say_systems(sdata, pairs)  # labels as they are in the object: those that are fixed are not written yet
    check_lengths(plans)
    dtypes = {plan.pair.sample: image_array(sdata, plan.pair.image).dtype for plan in plans}
    factors = unit_factors(dtypes, intensity_max)
    if cells is not None:
        plans = _join(plans, _frame(cells), *cells_keys, known_samples or [], drop)
        cells = _without_keys(cells, cells_keys)
    clinical = _clinical(sdata, [plan.pair.sample for plan in plans])

    for new in fixed:
        write_fixed(sdata, new)
    measured = [
        _measure(sdata, plan, list(quantiles), morphology, drop).times(factors[plan.pair.sample])
        for plan in progress_bar(plans, desc="cells", unit="sample")
    ]
    report_left_out(plans, measured)
    report_masks(plans, measured, written_to)
    say_orientation(sdata, [plan.pair for plan in plans], [plan.scan for plan in plans], in_passing=True)
    adata = assemble(plans, measured, list(quantiles))
    adata.uns[UNS][TABLE] |= {"on_pieces": on_pieces, "on_giants": on_giants}
    if intensity_max is not None:
        adata.uns[UNS][TABLE]["intensity_factors"] = json.dumps(factors, ensure_ascii=False)
    say_intensities(plans, measured, list(adata.var_names))
    adata.obs = with_columns(adata.obs, plans, measured, cells, clinical)
    if cells is not None:
        say_told_places(adata, [name for name in cells.columns if name in adata.obs])
    adata = as_table(adata)
    carry_outcome(sdata.tables.get(SAMPLES), adata)
    logger.info(
        f"{counted(adata.n_obs, 'cell')} of {counted(len(plans), 'sample')}, {counted(adata.n_vars, 'marker')}"
        + ("" if written_to == "adata" else f", in {written_to}")
    )
    return adata


def _check_quantiles(quantiles: float | Sequence[float] | None) -> list[float]:
    values = [] if quantiles is None else [float(q) for q in np.atleast_1d(quantiles)]
    if wrong := [q for q in values if not 0 <= q <= 1]:
        raise ValueError(f"quantiles= must be in 0..1, not {wrong[0]:g}. The median is 0.5.")
    return list(dict.fromkeys(values))


def _check_used_once(pairs: Sequence[SampleElements]) -> None:
    seen: dict[str, str] = {}
    for pair in pairs:
        if pair.labels in seen:
            raise ElementError(
                f"Labels element {pair.labels!r} is used for samples {seen[pair.labels]!r} and {pair.sample!r}: its "
                "cells would be counted twice. Pass labels={sample: element} with one element each, or samples=."
            )
        seen[pair.labels] = pair.sample


def _frame(cells: pd.DataFrame | AnnData) -> pd.DataFrame:
    return cells.obs if isinstance(cells, AnnData) else cells


def _without_keys(cells: pd.DataFrame | AnnData, keys: tuple[str | None, str]) -> pd.DataFrame:
    """Cells without the columns that named them, ready to be stored."""
    frame = _frame(cells).drop(columns=[*_annotation_keys(cells), *keys], errors="ignore")
    return storable_frame(frame, "cells=", TableError)


def _annotation_keys(table: pd.DataFrame | AnnData) -> list[str]:
    """Columns by which a table of a SpatialData names what it annotates."""
    attrs = table.uns.get(TableModel.ATTRS_KEY, {}) if isinstance(table, AnnData) else {}
    return [attrs[key] for key in (TableModel.REGION_KEY_KEY, TableModel.INSTANCE_KEY) if key in attrs]


def _all_samples(sdata: SpatialData, image) -> list[str]:
    try:
        return [pair.sample for pair in match_elements(sdata, image, need_labels=False)]
    except ElementError:  # images that were not asked for need not be in order
        return []


def _join(
    plans: list[CellPlan], cells: pd.DataFrame, library_key: str | None, instance_key: str, known: list[str], drop: bool
) -> list[CellPlan]:
    in_ids, in_cells, n_rows, n_labels = match_cells(
        cells,
        {plan.pair.sample: plan.scan.ids for plan in plans},
        library_key=library_key,
        instance_key=instance_key,
        known_samples=known,
        drop=drop,
        texts={
            plan.pair.sample: dict(zip(plan.drawn.numbers.tolist(), plan.drawn.ids, strict=True))
            for plan in plans
            if plan.drawn is not None and plan.drawn.renamed
        },
    )
    if n_rows or n_labels:
        logger.warning(
            f"left out: {counted(n_rows, 'row')} of cells= without label, {counted(n_labels, 'label')} without row"
        )
    return [
        replace(plan, scan=plan.scan.take(in_ids[plan.pair.sample]), rows=in_cells[plan.pair.sample]) for plan in plans
    ]


def _clinical(sdata: SpatialData, samples: list[str]) -> pd.DataFrame | None:
    if SAMPLES not in sdata.tables:
        return None
    obs = sdata.tables[SAMPLES].obs
    keys, _ = text_keys(obs.index.to_series(), "index of sdata['samples'].obs", ClinicalError)
    if keys.duplicated().any():
        raise ClinicalError(
            f"sdata['samples'] has several rows for {listed(keys[keys.duplicated()])}. Keep one a sample."
        )
    if missing := [sample for sample in samples if sample not in set(keys)]:
        raise ClinicalError(
            f"sdata['samples'] has no row for {counted(len(missing), 'sample')}: {listed(missing)}; it has "
            f"{listed(keys)}. Add the rows, or leave the samples out with samples=[...]."
        )
    obs = obs.drop(columns=_annotation_keys(sdata.tables[SAMPLES]), errors="ignore").set_axis(keys.to_numpy(), axis=0)
    return storable_frame(obs.loc[samples], "sdata['samples']", ClinicalError)


def _measure(sdata: SpatialData, plan: CellPlan, quantiles: list[float], morphology: bool, drop: bool) -> MeasuredCells:
    pair, scan = plan.pair, plan.scan
    image = image_array(sdata, pair.image).data
    labels = cells_data(sdata, pair)
    to_image = labels_to_image(sdata, pair)
    grid = LabelGrid(labels, to_image.inverse())
    counts, sums, invalid = intensity_sums(image, grid, scan.ids)
    if invalid.any():
        channel = int(np.flatnonzero(invalid)[0])
        raise ElementError(
            f"Image {pair.image!r}, channel {plan.channels[channel]!r}: {counted(int(invalid[channel]), 'pixel')} of "
            f"cells are NaN or infinite (all channels: {int(invalid.sum()):,}). Correct them in the file, or set what "
            f"they count as, such as 0: {nan_code(sdata, pair.image)}."
        )
    kept = np.flatnonzero(counts)
    if not drop and not counts.all():
        raise TableError(
            f"{outside(plan, counts == 0)}. Check the transformations of both, or pass "
            'on_missing="drop" to leave them out.'
        )
    scan = scan.take(kept)
    values = None
    if quantiles:
        boxes = boxes_on_image(scan.box, to_image, image.shape[1:])
        values = cell_quantiles(image, grid, scan.ids, boxes, quantiles)
    forms = shapes(labels, scan, _square(plan)) if morphology else {}
    return MeasuredCells(kept, sums[kept] / counts[kept, None], values, forms)


def _square(plan: CellPlan) -> float:
    if not np.isclose(plan.to_system.scale_y, plan.to_system.scale_x, rtol=1e-3):
        raise ElementError(
            f"Pixels of labels {plan.pair.labels!r} are not square ({plan.to_system.scale_y:g} x "
            f"{plan.to_system.scale_x:g} µm), so that shapes cannot be measured. Pass morphology=False, or resample "
            "them with spatialdata.rasterize(...)."
        )
    return plan.to_system.scale_x
