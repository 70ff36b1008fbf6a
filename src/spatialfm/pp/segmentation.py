"""``sfm.pp.segment_cells``: label images where there are none."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from spatialdata.models import Labels2DModel
from spatialdata.transformations import get_transformation

from .._errors import ArgumentError, ElementError, PanelError, counted, listed, repeated_names, warn
from .._keys import ATTRS, SEGMENTATION
from .._logging import logger
from .._progress import progress_bar
from .._public import public
from .._ranges import above, at_least
from .._settings import settings
from .arrays import channel_names, image_array, nan_code
from .channels import nuclear_channel
from .elements import match_elements
from .missing_chunks import report_missing_chunks
from .pixel_sizes import image_pixel_sizes
from .segment_network import (
    SegmentArguments,
    check_arguments,
    check_table,
    find_cells,
    forget_phenotypes,
    phenotype_table,
    write_phenotypes,
)
from .segment_run import Kept, SegmentJob, find_levels, segment_tiles, stitched
from .segmenters import NETWORK, Levels, SegmentRequest, check_request, file_digest, segmenter
from .stitch import StitchGrid

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from .elements import SampleElements

MIN_AREA = 0.1  # of a disc of the expected diameter
OVERLAP = 8  # diameters that two tiles share


@public
def segment_cells(
    sdata: SpatialData,
    method: Literal["watershed", "instanseg", "cellpose", "virtues"] | Callable = "watershed",
    *,
    nuclear: str | Sequence[str] | None = None,
    membrane: str | Sequence[str] | None = None,
    image: str | Sequence[str] | Mapping[str, str] | None = None,
    samples: str | Sequence[str] | None = None,
    key_added: str = "cells",
    diameter: Annotated[float, above(0)] = 8.0,
    expansion: Annotated[float, at_least(0.0)] = 2.0,
    min_area: Annotated[float | None, at_least(0.0)] = None,
    weights: str | PathLike | None = None,
    options: Mapping[str, Any] | None = None,
    mpp: float | Mapping[str, float] | None = None,
    tile_size: Annotated[int, at_least(16)] = 1024,
    overlap: Annotated[float | None, at_least(0.0)] = None,
    overwrite: bool = False,
) -> None:
    """Segment the cells of every sample and write them as labels.

    Images are read and segmented in overlapping tiles. A cell that several tiles see is matched in the overlap and
    drawn by the tile that sees it best, so that no cell ends at the border of a tile (docs: *Segmentation*). Memory
    does not grow with the image: labels of more than ``sfm.settings.result_memory`` stay on disk below
    ``sfm.settings.cache_dir`` and are read when they are needed; write the object to keep them. A run that was stopped
    goes on at the tile where it stopped, if it is called again.

    Parameters
    ----------
    sdata
        Images ``(c, y, x)``.
    method
        ``"watershed"``: nuclei by threshold and distance transform, grown to cells; needs no weights.
        ``"instanseg"``, ``"cellpose"``: models of these libraries (extras of these names), whose weights you pass.
        ``"virtues"``: the published head of VirTues (Wenckstern et al., Nature 2026), which finds cells and their
        phenotypes on all markers; you pass the head and its encoder. A function ``f(tile, mpp, **options)`` is given a
        tile as an `xarray.DataArray` ``(c, y, x)`` with the names of the channels in ``tile.c``, and µm per pixel, and
        returns whole numbers ``(y, x)``: 0, and one number for each cell.
    nuclear
        Channels that stain nuclei. Default: the first that `spatialfm.pp.match_markers` recognises as one. Several are
        averaged after each was scaled.
    membrane
        Channels that stain membranes or the cytoplasm, averaged likewise. With ``"watershed"``, cells are divided
        along them and end where they do. A function is given the channels of `nuclear` and `membrane`, and all
        channels if it is told neither; ``"virtues"`` takes all markers that have a protein embedding.
    image
        Image elements to use (default: all).
    samples
        Samples to use (default: all).
    key_added
        The elements are called ``<key_added>_<sample>``.
    diameter
        Of a typical cell in µm (``"watershed"`` and ``"cellpose"``). InstanSeg's models know their own.
    expansion
        ``"watershed"``: how far a cell reaches beyond its nucleus, at most, in µm.
    min_area
        Cells of fewer µm² are left out. Default: a tenth of a disc of `diameter`; 15 with ``"virtues"``.
    weights
        File of a model for ``"instanseg"`` (``instanseg.pt``) and ``"cellpose"``. Of ``"virtues"``: the folder of a
        published set (``virtues-sp31``, ``virtues-sp32``) with ``segmentation-head.safetensors`` and the encoder's
        ``model.safetensors``, or the file of the head. Nothing is downloaded, unless you name a repository of the hub.
    options
        Further arguments of the library's ``eval``, or of the function; of ``"watershed"``, ``threshold``: where nuclei
        begin, in the scale from the 1st (0) to the 99.8th percentile (1) of the nuclear stain (default: Otsu's
        threshold of the smoothed image). Of ``"virtues"``: ``model`` (``"virtues"`` or ``"virtues-sp32"``, where the
        folder does not say it), ``encoder`` (its file, or a loaded encoder), ``nuclear="histone"`` (a stain of DNA is
        given the protein embedding of histone H3), ``panel`` and ``recipe`` (as `spatialfm.tl.embed_cells` takes them),
        ``phenotypes`` (names of those of a head that is not published), ``batch_size`` (windows, 4).
    mpp
        µm per pixel, for images whose transformation does not say it.
    tile_size
        Side of a tile without its overlap, in pixels of the image; with ``"virtues"`` in those of the network.
    overlap
        µm that two neighbouring tiles share. Default: 8 diameters. It must be larger than a cell and what it takes
        to segment it.
    overwrite
        Whether elements of these names are replaced.

    Returns
    -------
    None. Written:

    ``sdata.labels["<key_added>_<sample>"]``
        ``(y, x)`` uint32, cells 1 to n, in the coordinate systems of the image.
    ``sdata.attrs["spatialfm"]["segmentation"]["<key_added>_<sample>"]``
        Method, channels, parameters, µm per pixel, SHA-256 of the weights, number of cells; with ``"virtues"`` also
        licence, markers used and left out, and the encoder's weights.
    ``sdata["<key_added>_phenotypes"]``, with ``"virtues"``
        One row per cell, named as in the cell table. `obs`: ``phenotype``, that of most of its pixels;
        ``phenotype_probability``, its mean probability over all pixels of the cell, among the phenotypes;
        ``phenotype_share``, the share of those pixels; ``phenotype_unknown``, the mean probability of the head's
        answers ``None`` and ``Unknown``, which are not phenotypes. `X`: the mean probability of each phenotype.
        ``sfm.pp.cell_table(sdata, cells=sdata["<key_added>_phenotypes"])`` takes them into the cell table.

    Raises
    ------
    ElementError
        If elements are missing, exist already, are annotated by a table, or pixels are NaN; if a function returns
        anything but labels.
    PanelError
        If `nuclear` or `membrane` is not a channel of an image, no nuclear stain is recognised, or no marker has a
        protein embedding (``"virtues"``).
    PixelSizeError
        If the size of a pixel is unknown.
    ArgumentError, InputFileError, WeightsError, ModelError
        If a library or weights are missing or do not fit, or an argument belongs to another method.
    RunError
        If a library or function fails on a tile; the message names it, and what was finished is kept.

    See Also
    --------
    spatialfm.pp.segmentation_quality : What came of it.
    spatialfm.pp.cell_table : The next step.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=128, difficulty="easy")
    >>> sfm.pp.segment_cells(sdata, nuclear="DAPI", key_added="found")
    >>> int(sdata["found_P001_1"].max()), int(sdata["true_cells_P001_1"].max())
    (40, 49)
    """
    request = check_request(method, diameter, expansion, weights, options)
    pairs = match_elements(sdata, image, {}, samples=samples, need_labels=False)
    names = [f"{key_added}_{pair.sample}" for pair in pairs]
    _check_names(sdata, names, overwrite, apart=phenotype_table(key_added) if method == NETWORK else None)
    shared = OVERLAP * diameter if overlap is None else overlap
    if method == NETWORK:
        check_arguments({"nuclear": nuclear, "membrane": membrane})
        check_table(sdata, key_added, names, overwrite)
        asked = SegmentArguments(weights, request.options, mpp, tile_size, shared, min_area)
        cells_of_images, records, answers = find_cells(sdata, pairs, asked)
        forget_phenotypes(sdata, key_added)
        for pair, name, cells, record in zip(pairs, names, cells_of_images, records, strict=True):
            _write(sdata, pair, name, cells.labels, record)
        write_phenotypes(sdata, key_added, [pair.sample for pair in pairs], names, cells_of_images, answers)
        _say(names, [cells.n for cells in cells_of_images])
        return
    sizes = image_pixel_sizes(sdata, pairs, mpp, required=True)
    area = MIN_AREA * np.pi / 4 * diameter**2 if min_area is None else min_area
    stains, segment = (_listed(nuclear), _listed(membrane)), segmenter(request)
    jobs = [
        plan_job(sdata, pair, request, *stains, size, tile_size, shared / 2, area, segment.period(size))
        for pair, size in zip(pairs, sizes, strict=True)
    ]
    report_missing_chunks(sdata, pairs)
    levels = [find_levels(job, request) for job in progress_bar(jobs, desc="levels", unit="image")]

    done = _segment(jobs, levels, request, segment.labels)
    for pair, job, level, name, (labels, n) in zip(pairs, jobs, levels, names, done, strict=True):
        _write(sdata, pair, name, labels, _record(request, job, level, n))
    _say(names, [n for _, n in done])


def _listed(names: str | Sequence[str] | None) -> list[str] | None:
    return [names] if isinstance(names, str) else None if names is None else list(names)


def _check_names(sdata: SpatialData, names: Sequence[str], overwrite: bool, apart: str | None = None) -> None:
    """Refuse to write over labels that somebody has, over those that a table annotates, and names of other elements.

    `apart`: a table that is written together with the labels.
    """
    for kind in ("images", "shapes", "points", "tables"):
        if taken := [name for name in names if name in getattr(sdata, kind)]:
            raise ElementError(
                f"Cells cannot be written as labels {taken[0]!r}: sdata.{kind} holds one of that name. Pass another "
                "key_added=."
            )
    there = [name for name in names if name in sdata.labels]
    if there and not overwrite:
        raise ElementError(
            f"sdata already has labels {listed(there, 5)}. Pass key_added=<another name>, or overwrite=True to replace "
            "them."
        )
    for table_name, table in sdata.tables.items():
        if table_name == apart:
            continue
        regions = table.uns.get("spatialdata_attrs", {}).get("region", [])
        annotated = {regions} if isinstance(regions, str) else set(np.atleast_1d(regions))
        if taken := [name for name in there if name in annotated]:
            raise ElementError(
                f"Table {table_name!r} annotates labels {taken[0]!r}: its rows would belong to other cells. Pass "
                "key_added=<another name>, and make a table of the new cells next to it with "
                "sfm.pp.cell_table(sdata, labels=..., table_name=...)."
            )


def plan_job(
    sdata: SpatialData,
    pair: SampleElements,
    request: SegmentRequest,
    nuclear: list[str] | None,
    membrane: list[str] | None,
    size: float,
    tile_size: int,
    margin: float,
    min_area: float,
    period: float = 1.0,
) -> SegmentJob:
    """What is to be done to one image, checked; `period` as of `StitchGrid`, in pixels of the image."""
    names = channel_names(sdata, pair.image)
    if repeated := sorted(repeated_names(names)):
        raise PanelError(f"Image {pair.image!r} has several channels {repeated[0]!r}. Rename one of them.")
    for argument, asked in (("nuclear", nuclear), ("membrane", membrane)):
        if missing := [name for name in asked or () if name not in names]:
            raise PanelError(
                f"No channel {missing[0]!r} in image {pair.image!r} ({argument}=); found {listed(names, 50)}."
            )
    if isinstance(request.method, str) and nuclear is None:
        stain = nuclear_channel(names, None, pair.image)
        if stain is None and (membrane is None or request.method == "watershed"):
            raise PanelError(
                f"No nuclear stain is recognised among the channels of image {pair.image!r}: {listed(names, 50)}. Pass "
                "nuclear=<channel>."
            )
        nuclear = [] if stain is None else [names[stain]]
    taken = list(dict.fromkeys([*(nuclear or ()), *(membrane or ())])) or names
    pixels = image_array(sdata, pair.image).data
    chosen = pixels if taken == names else pixels[[names.index(name) for name in taken]]
    around = int(np.ceil(margin / size))
    shared = 2 * around + int(np.ceil(period)) - 1  # pixels: a tile may start so much earlier
    if shared > tile_size:
        raise ArgumentError(
            f"Tiles of {tile_size} pixels are smaller than their overlap of {shared} pixels ({2 * margin:g} µm of "
            f"{size:g} µm each, image {pair.image!r}). Pass tile_size={shared} or more, or a smaller overlap=."
        )
    grid = StitchGrid((int(pixels.shape[-2]), int(pixels.shape[-1])), tile_size, around, period)
    return SegmentJob(
        sample=pair.sample,
        image=pair.image,
        pixels=chosen,
        channels=taken,
        nuclear=nuclear or [],
        membrane=membrane or [],
        mpp=size,
        grid=grid,
        min_area=min_area / size**2,
        nan_code=nan_code(sdata, pair.image),
    )


def _segment(
    jobs: list[SegmentJob], levels: list[Levels], request: SegmentRequest, segment: Callable
) -> list[tuple[object, int]]:
    """Label image and number of cells of each job."""
    kept, names = Kept(request.identity()), [[] for _ in jobs]
    in_memory = sum(4 * np.prod(job.grid.shape) for job in jobs) <= settings.result_memory
    done = []
    try:
        with progress_bar(total=sum(len(job.grid.cores()) for job in jobs), desc="segment", unit="tile") as bar:
            for job, level, of_job in zip(jobs, levels, names, strict=True):
                segment_tiles(job, level, segment, kept, bar.update, of_job)
                done.append(stitched(job, kept, of_job, in_memory))
    except BaseException:
        if kept.identity is None:  # a function may have changed by the next call
            kept.forget([name for of_job in names for name in of_job])
        raise
    kept.forget([name for of_job in names for name in of_job])
    return done


def _record(request: SegmentRequest, job: SegmentJob, levels: Levels, n: int) -> dict[str, object]:
    """How an element was made, for the attributes of the object."""
    record: dict[str, object] = {
        "method": request.name,
        "image": job.image,
        "channels": job.channels,
        "nuclear": job.nuclear,
        "membrane": job.membrane,
        "diameter_um": request.diameter,
        "min_area_um2": round(job.min_area * job.mpp**2, 6),
        "mpp": job.mpp,
        "tile_size": job.grid.side,
        "overlap_um": 2 * job.grid.margin * job.mpp,
        "n_cells": n,
    }
    if request.method == "watershed":
        record |= {"expansion_um": request.expansion, "threshold": levels.threshold}
    if request.weights is not None:
        record |= {"weights": request.weights.name, "sha256": file_digest(request.weights)}
    return record | {"options": json.dumps(dict(request.options), default=str)}


def _write(sdata: SpatialData, pair: SampleElements, name: str, labels: object, record: dict[str, object]) -> None:
    if name in sdata.labels:
        del sdata.labels[name]
    sdata.labels[name] = Labels2DModel.parse(
        labels, dims=("y", "x"), transformations=get_transformation(sdata.images[pair.image], get_all=True)
    )
    attrs = dict(sdata.attrs.get(ATTRS, {}))
    attrs[SEGMENTATION] = {**attrs.get(SEGMENTATION, {}), name: record}
    sdata.attrs[ATTRS] = attrs


def _say(names: Sequence[str], counts: Sequence[int]) -> None:
    if empty := [name for name, n in zip(names, counts, strict=True) if not n]:
        warn(
            f"No cell was found for {listed(empty, 5)}. Look at the nuclear stain with sfm.pp.channel_quality(sdata), "
            "and at diameter= and min_area=, in µm."
        )
    logger.info(f"{counted(sum(counts), 'cell')} of {counted(len(names), 'sample')}")
