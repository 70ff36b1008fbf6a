"""Projects of QuPath: the measurement table, the polygons of the cells, and the images where they are at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from .._errors import TableError
from .._keys import cells_name, image_name
from .._logging import logger
from .._public import public
from ..pp.joins import counted
from ._names import IMAGE_SUFFIXES

if TYPE_CHECKING:
    import pandas as pd
    from spatialdata import SpatialData

    from ._cell_frame import CellFrame
    from ._elements import ReadSample
    from ._geojson import CellPolygons
    from ._qupath_table import QuPathTable


@public
def read_qupath(
    table: str | PathLike,
    cells: str | PathLike | Mapping[str, str | PathLike] | None = None,
    images: str | PathLike | Mapping[str, str | PathLike] | None = None,
    *,
    compartment: Literal["cell", "nucleus", "cytoplasm", "membrane"] | None = None,
    statistic: str = "mean",
    clinical: pd.DataFrame | str | PathLike | None = None,
    library_key: str = "sample",
    patient_key: str = "patient",
    channel_names: Sequence[str] | Mapping[str | int, str] | pd.DataFrame | str | PathLike | None = None,
    mpp: float | None = None,
) -> SpatialData:
    """Read the cells that QuPath measured: its table, their polygons, and the images.

    Everything is checked first, and all problems are reported at once. Images stay on disk until they are needed.

    Parameters
    ----------
    table
        Measurements of cells as QuPath exports them (``.tsv``, ``.csv``, ``.txt``), of one image or of many (column
        ``Image``), or a folder of such files.
    cells
        GeoJSON of the cells: a folder with one file per image, named after it; one file; or a mapping from samples to
        files. Without it, cells are positions alone.
    images
        Images, likewise.
    compartment
        Of which part of a cell the intensities in ``X`` are. Default: the cell, where QuPath measured it.
    statistic
        Which statistic of the pixels they are.
    clinical
        Table with one row per sample (column `library_key`: names of samples or of their images).
    library_key
        Column of `clinical` that names the samples.
    patient_key
        Column of patients in `clinical`.
    channel_names
        Names of the channels of the images, as in `spatialfm.io.read_tiff`.
    mpp
        µm per pixel. Default: that of the image; without images, as centroids in µm and polygons in pixels have it.

    Returns
    -------
    SpatialData
        For every image the shapes (with `cells`) or points ``cells_<sample>`` in the coordinate system ``<sample>`` in
        µm, and with `images` ``image_<sample>``. ``sdata["table"]`` has one row per cell: ``phenotype`` (QuPath's
        classification), ``object_id`` and the other measurements in ``obs``, intensities in ``X``, centroids in µm in
        ``obsm["spatial"]``. ``sdata["samples"]`` has one row per sample, with the columns of `clinical`.

    Raises
    ------
    PixelSizeError
        If the pixel size of some samples is known and that of others is not.
    InputFileError
        If files are missing or of another kind, or polygons are outside of their image.
    TableError
        If ids occur twice, or have no polygon; if cells are outside of the image, or elsewhere than their polygon, as
        positions in pixels said to be µm are.
    ClinicalError
        If a sample has no row in `clinical`, or no patient.

    Warns
    -----
    SpatialfmWarning
        If the pixel size is assumed, or polygons have no row in the table; and as `spatialfm.io.read_tiff` does.

    References
    ----------
    Bankhead et al., QuPath: Open source software for digital pathology image analysis, Scientific Reports 2017;
    columns: https://qupath.readthedocs.io/en/stable/docs/tutorials/exporting_measurements.html

    Examples
    --------
    >>> import tempfile, pandas as pd, spatialfm as sfm
    >>> path = f"{tempfile.mkdtemp()}/measurements.csv"
    >>> header = ["Image", "Object ID", "Classification", "Centroid X µm", "Centroid Y µm", "CD3: Cell: Mean"]
    >>> rows = [["core 1.ome.tif", "7a-b", "T cell", 12.5, 30, 812.25]]
    >>> pd.DataFrame(rows, columns=header).to_csv(path, index=False)
    >>> sdata = sfm.io.read_qupath(path)
    >>> sdata["table"].to_df()
                 CD3
    core_1_1  812.25
    >>> sdata["table"].obs["phenotype"].tolist(), sdata["table"].obsm["spatial"]
    (['T cell'], array([[12.5, 30. ]]))
    """
    import pandas as pd

    from ._assemble import assemble
    from ._cell_frame import table_of_cells
    from ._one_unit import check_sizes
    from ._panel_file import given_channel_names
    from ._paths import find_path
    from ._pixel_size import positive_mpp
    from ._qupath_table import read_qupath_table
    from ._sample_rows import sample_rows

    positive_mpp(mpp)
    path = find_path(str(table))
    cells_table = read_qupath_table(path)
    samples, rows = samples_of_table(cells_table, path)
    polygon_files, image_files = _files(cells, images, samples)
    obs = sample_rows(
        pd.DataFrame(index=pd.Index(list(samples), dtype=object)),
        cells_table.source,
        clinical,
        library_key=library_key,
        patient_key=patient_key,
        other_names={called: name for name, called in samples.items()},
    )
    names, kinds = given_channel_names(channel_names), (compartment, statistic)
    read, frames = _opened(samples, rows, cells_table, polygon_files, image_files, mpp, names, kinds)
    check_sizes(read, "Pass")
    sdata = assemble(read, obs, table_of_cells(frames, source=cells_table.source))
    logger.info(f"{counted(sdata['table'].n_obs, 'cell')} of {counted(len(read), 'sample')} in {cells_table.source}")
    return sdata


def samples_of_table(table: QuPathTable, path: Path) -> tuple[dict[str, str], list[np.ndarray]]:
    """Name of each sample with what the table calls it, and its rows."""
    from ._named_files import sample_names

    called = table.cells[table.image] if table.image is not None else None
    if called is None:
        samples = sample_names([path.name], (*IMAGE_SUFFIXES, ".tsv", ".csv", ".txt"), table.source)
        return samples, [np.arange(len(table.cells))]
    if called.isna().any():
        raise TableError(
            f"{counted(int(called.isna().sum()), 'row')} of {table.source} name no image. Export it again."
        )
    called = called.astype(str)
    samples, rows = sample_names(called, IMAGE_SUFFIXES, table.source), called.groupby(called).indices
    return samples, [rows[one] for one in samples.values()]


def _files(cells, images, samples: dict[str, str]) -> tuple[dict[str, Path], dict[str, Path]]:
    """Polygons and image of each sample; all that are missing in one error."""
    from ._cohort_table import refuse_all
    from ._geojson import GEOJSON_SUFFIXES
    from ._named_files import files_by_sample

    polygons, problems = ({}, []) if cells is None else files_by_sample(cells, samples, GEOJSON_SUFFIXES, "cells")
    pixels, more = ({}, []) if images is None else files_by_sample(images, samples, IMAGE_SUFFIXES, "images")
    refuse_all([*problems, *more])
    return polygons, pixels


def _opened(
    samples: dict[str, str],
    rows: list[np.ndarray],
    table: QuPathTable,
    polygon_files: dict[str, Path],
    image_files: dict[str, Path],
    mpp: float | None,
    channel_names: list[str] | dict[str | int, str] | None,
    kinds: tuple[str | None, str],
) -> tuple[list[ReadSample], list[CellFrame]]:
    from ._each import read_each

    def opened(sample: str, part: np.ndarray) -> tuple[ReadSample, CellFrame]:
        files = polygon_files.get(sample), image_files.get(sample)
        return open_sample(sample, part, table, *files, mpp, channel_names, kinds)

    both = read_each([(one, partial(opened, one, part)) for one, part in zip(samples, rows, strict=True)])
    return [read for read, _ in both], [frame for _, frame in both]


def open_sample(
    sample: str,
    rows: np.ndarray,
    table: QuPathTable,
    polygon_file: Path | None,
    image_file: Path | None,
    mpp: float | None,
    channel_names: list[str] | dict[str | int, str] | None,
    kinds: tuple[str | None, str],
) -> tuple[ReadSample, CellFrame]:
    """One sample: its elements and its cells, checked against each other."""
    from ..pp.arrays import full_resolution
    from ._drawn import beyond_image, points_element
    from ._geojson import read_polygons
    from ._qupath_table import cells_of_image, frame_of_table, outlines_of, stated_size
    from .geojson import polygon_sample

    cells = cells_of_image(table, rows)
    if polygon_file is not None:
        polygons = read_polygons(polygon_file)
        outlines = outlines_of(cells, table, polygons)
        stated = stated_size(cells, table, outlines)
        read = polygon_sample(sample, polygons, image_file, mpp, channel_names, stated)
        frame = frame_of_table(sample, cells, table, read.record["mpp"], outlines, *kinds)
        return _only_measured(read, frame, polygons), frame
    read = _without_polygons(sample, table, image_file, mpp, channel_names)
    size = read.record.get("mpp")
    frame = frame_of_table(sample, cells, table, size, None, *kinds)
    image = read.images.get(image_name(sample))
    if image is not None and (text := beyond_image(frame.xy, full_resolution(image).shape[-2:], size)):
        raise TableError(text)
    return replace(read, points={cells_name(sample): points_element(frame.ids, frame.xy, sample)}), frame


def _without_polygons(sample, table, image_file, mpp, channel_names) -> ReadSample:
    from ._elements import ReadSample, place_sample, sample_without_image
    from ._image import read_image

    if image_file is not None:
        return place_sample(sample, read_image(image_file, channel_names), image_file, mpp=mpp)
    if table.unit == "µm":
        return ReadSample(sample, {}, {}, (), {"image": None, "labels": None})
    return sample_without_image(sample, table.source.strip("'"), mpp)


def _only_measured(read: ReadSample, frame: CellFrame, polygons: CellPolygons) -> ReadSample:
    """Polygons of the cells in the table, and a note of the others."""
    name = cells_name(read.sample)
    left = len(polygons.cells) - len(frame.ids)
    if not left:
        return read
    note = ("polygons_left_out", polygons.source.strip("'"), counted(left, "polygon"))
    return replace(read, shapes={name: read.shapes[name].loc[frame.ids]}, notes=[*read.notes, note])
