"""A cohort of samples with its clinical columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .._errors import ArgumentError, warn
from .._keys import SAMPLES
from .._logging import logger
from .._outcome import EventValue, remember_outcome
from .._public import public
from .._types import present
from ..pp.joins import counted, listed
from ._cohort_table import (
    CohortKeys,
    Row,
    clinical_columns,
    column_source,
    find_keys,
    load_table,
    measurements_named,
    plan_rows,
)
from ._kinds import PLAIN
from ._panel_file import given_channel_names
from ._templates import PathSource, check_columns, parse_template, text_columns

if TYPE_CHECKING:
    import pandas as pd
    from spatialdata import SpatialData


@public
def read_cohort(
    table: pd.DataFrame | str | PathLike,
    *,
    library_key: str = "sample",
    image_column: str = "image",
    labels_column: str | None = "labels",
    image: str | None = None,
    labels: str | None = None,
    kind: str | None = None,
    kind_column: str | None = "kind",
    patient_key: str = "patient",
    mpp_column: str | None = "mpp",
    measurements_column: str | None = "measurements",
    clinical_keys: Sequence[str] | None = None,
    time_key: str | None = None,
    event_key: str | None = None,
    event_value: EventValue = None,
    channel_names: Sequence[str] | Mapping[str | int, str] | pd.DataFrame | str | PathLike | None = None,
    mpp: float | None = None,
    intensity_max: float | Mapping[str, float] | None = None,
    axes: str | None = None,
    series: int | None = None,
    base_path: str | PathLike | None = None,
    cast_labels: bool = False,
    labels_plane: int | str | None = None,
    labels_series: int | None = None,
    labels_encoding: Literal["rgb", "bgr"] | None = None,
    cell_table: bool = True,
    on_pieces: Literal["raise", "split", "keep"] = "raise",
) -> SpatialData:
    """Read a cohort from a table with one row per sample: paths of image and mask, patient, clinical columns.

    The whole table is checked first, and all problems are reported at once. Images stay on disk until needed, as with
    `read_tiff`.

    Parameters
    ----------
    table
        DataFrame, or path of a text file (``.csv``, ``.tsv``, ``.tab``, ``.txt``). Separator, decimal sign and encoding
        are found in the file. Names of samples and patients stay as they are written (``001``).
    library_key
        Column of sample names. Elements have names of letters, digits, ``_``, ``-`` and ``.``: ``core 1`` becomes
        ``core_1``, with a warning, and the names as written are kept in the column ``"sample_name"``.
    image_column
        Column of paths of images (files or folders, as in `read_tiff`).
    patient_key
        Column of patients.
    labels_column
        Column of paths of masks; empty for samples without. A table without the column ``"labels"`` is one without
        masks.
    image
        Template of the paths of images, in place of a column: ``"{slide}.ome.tiff"``. In braces is the name of any
        column of the table, whose text is taken as it is (``007``).
    labels
        Template of the paths of masks, likewise: ``"{slide}_cells.tif"``. A row in which a column of it is empty has no
        mask.
    kind
        How the paths of images are read, where `kind_column` is absent or empty: ``"tiff"`` (the default; everything
        that `read_tiff` reads, with masks in files of their own), ``"ome_zarr"``, ``"steinbock"``, ``"mcd"`` (its path
        of masks is a folder, as in `read_mcd`), ``"mcmicro"``, ``"spora"``, ``"inform"``, ``"cellprofiler"``,
        ``"geojson"`` (an image, with the polygons in place of a mask), or ``"qupath"`` (the same, with
        `measurements_column`), with the reader of this name. Of a file or folder that holds several samples, each row
        is the one that it names. Intensities are measured here, whatever program did so before. Tables without images
        have a reader of their own, `read_cells`.
    kind_column
        Column of the kinds of rows.
    mpp_column
        Column of µm per pixel, for samples whose files do not state it; it takes precedence over `mpp`.
    measurements_column
        Column of paths of QuPath's measurement tables, for rows of kind ``"qupath"``: of one image each, or one of a
        project for all rows, in which a row is found by the name of its image or sample. Only cells in the table are
        taken; its classifications (``phenotype``) and other columns that are not intensities go with them.
    clinical_keys
        Clinical columns to keep. Default: all that are left.
    time_key
        Column with the time to event or censoring. Said here, no survival function has to be told again: see
        `spatialfm.pp.set_outcome`.
    event_key
        Column with the event (1) or not (0).
    event_value
        Value of `event_key` that means the event, or several, where it does not hold 0 and 1; all others are censored.
    channel_names
        Names of channels, as in `read_tiff`, for every sample. A name that is mapped to a new one must be in at least
        one sample; a position must hold the same name in all.
    mpp
        Pixel size in µm, as in `read_tiff`, for every sample.
    intensity_max
        Value of the brightest possible pixel, of all samples or ``{sample: value}``: intensities become shares of it,
        float32, lazily. Without, images of different types (8 and 16 bits, counts and shares of 1) are refused.
    axes
        Order of the axes in the files, as in `read_tiff`.
    series
        Number of the image in each file, as in `read_tiff`.
    cast_labels
        Whether labels stored as floats are taken, as in `read_tiff`.
    labels_plane
        Plane of the labels with the cells, as in `read_tiff`.
    labels_series
        Number of the image with the labels, as in `read_tiff`.
    labels_encoding
        Encoding of masks in colour, as in `read_tiff`.
    base_path
        Folder at which relative paths start. Default: the table's own folder, for a DataFrame the working directory.
    cell_table
        Whether to measure the cells of samples that have a mask: see `spatialfm.pp.cell_table`. This reads all pixels
        once.
    on_pieces
        What becomes of numbers that are used for several cells, as in `spatialfm.pp.cell_table`.

    Returns
    -------
    SpatialData
        For every sample the elements of `read_tiff`. ``sdata["samples"]`` is an AnnData without variables, one row a
        sample, with ``obs["patient"]`` and the clinical columns; missing values stay missing. With `cell_table`,
        ``sdata["table"]`` has one row per cell. ``attrs["spatialfm"]["panel"]`` holds the ``union`` of markers in the
        order first seen, and the channels of each sample under ``samples``.

    Raises
    ------
    InputFileError
        With all problems at once: missing files and patients, samples that occur twice or would be stored under one
        name, and all that `read_tiff` refuses.
    ClinicalError
        If a column is absent or cannot be stored.
    PixelSizeError
        If the pixel size of some samples is known and that of others is not.
    PanelError
        If images are of different types and `intensity_max` is not given.
    SurvivalError
        If what is called an outcome cannot be one.

    Warns
    -----
    SpatialfmWarning
        As `read_tiff`, once for all files concerned; if samples have different panels; if two samples have the same
        image; if names of samples are changed to be stored.

    Examples
    --------
    >>> import tempfile, numpy as np, pandas as pd, tifffile, spatialfm as sfm
    >>> folder = tempfile.mkdtemp()
    >>> for core in "ab":
    ...     tifffile.imwrite(f"{folder}/{core}.tif", np.ones((2, 32, 32), "uint8"))
    ...     tifffile.imwrite(f"{folder}/{core}_mask.tif", np.eye(32, dtype="uint16"))
    >>> table = pd.DataFrame({
    ...     "sample": ["a", "b"], "image": ["a.tif", "b.tif"], "labels": ["a_mask.tif", "b_mask.tif"],
    ...     "patient": ["p1", "p2"], "grade": [2, 3],
    ... })
    >>> sdata = sfm.io.read_cohort(table, base_path=folder, channel_names=["DAPI", "CD3"], mpp=0.5)
    >>> sdata["samples"].obs
      patient  grade
    a      p1      2
    b      p2      3
    >>> list(sdata.images), list(sdata.labels)
    (['image_a', 'image_b'], ['cells_a', 'cells_b'])
    >>> sdata["table"].n_obs
    2

    Paths from a template, and an outcome that every survival function knows from then on:

    >>> table = pd.DataFrame({"sample": ["a", "b"], "patient": ["p1", "p2"], "os": [9.0, 4.0], "dead": [0, 1]})
    >>> sdata = sfm.io.read_cohort(
    ...     table, image="{sample}.tif", labels="{sample}_mask.tif", base_path=folder, channel_names=["DAPI", "CD3"],
    ...     mpp=0.5, time_key="os", event_key="dead",
    ... )
    >>> sfm.tl.kaplan_meier(sdata["samples"])
    >>> sdata["samples"].uns["kaplan_meier"]["table"]["survival"].tolist()
    [1.0, 0.5, 0.5]
    """
    from ..pp.clinical import told_outcome
    from ._assemble import assemble, check_renaming, measure_cells
    from ._cohort_read import read_rows
    from ._mask import MaskOptions
    from ._one_unit import check_sizes, in_one_unit
    from ._qupath_row import add_stated_columns, check_stated_columns

    image_column, labels_column = _one_of("image", image, image_column), _one_of("labels", labels, labels_column)
    frame, folder = load_table(table, [library_key, patient_key], [image_column, labels_column])
    measured = measurements_named(frame, measurements_column, kind, kind_column)
    keys = find_keys(frame, library_key, patient_key, image_column, labels_column, mpp_column, kind_column, measured)
    images, masks = _path_sources(table, frame, keys, {"image": image, "labels": labels})
    rows = plan_rows(frame, keys, folder if base_path is None else Path(base_path).expanduser(), images, masks, kind)
    clinical = clinical_columns(frame, rows, keys, clinical_keys, [time_key, event_key])
    outcome = told_outcome(clinical, (time_key, event_key, event_value), "sfm.io.read_cohort")
    _warn_of_shared_files(rows)

    names = given_channel_names(channel_names)
    mask_options = MaskOptions(cast_labels, labels_plane, labels_series, labels_encoding)
    read = read_rows(rows, names, mpp, axes=axes, series=series, mask_options=mask_options)
    if isinstance(names, dict) and all(row.kind == PLAIN for row in rows):
        check_renaming(names, read)
    check_sizes(read)
    sdata = assemble(in_one_unit(read, intensity_max), clinical)
    if outcome is not None:
        remember_outcome(sdata.tables[SAMPLES], outcome)
    masked = [sample.sample for sample in read if sample.labels or sample.shapes]
    logger.info(
        f"{counted(len(read), 'sample')} of {counted(clinical['patient'].nunique(), 'patient')}, "
        f"{len(masked)} with labels"
    )
    if cell_table and 0 < len(masked) < len(read):
        rest = listed(sample.sample for sample in read if not (sample.labels or sample.shapes))
        warn(
            f"{counted(len(read) - len(masked), 'sample has', 'samples have')} no path in "
            f"{'any column' if masks is None else masks.said}, and so no row in the table of cells: {rest}."
        )
    if cell_table and masked:
        check_stated_columns(clinical, read)
        measure_cells(sdata, on_pieces)
        add_stated_columns(sdata, read)
    return sdata


def _one_of(argument: str, template: str | None, column: str | None) -> str | None:
    """The column of paths, None where a template makes them; both together are refused."""
    if template is not None and column not in (argument, None):
        raise ArgumentError(
            f"{argument}={template!r} is a template and {argument}_column={column!r} a column: pass one of them."
        )
    return column if template is None else None


def _path_sources(
    table: pd.DataFrame | str | PathLike, frame: pd.DataFrame, keys: CohortKeys, given: Mapping[str, str | None]
) -> tuple[PathSource, PathSource | None]:
    """Paths of images and of masks, from columns or templates."""
    templates = {name: parse_template(name, text) for name, text in given.items() if text is not None}
    check_columns(list(templates.values()), list(frame.columns))
    used = list(dict.fromkeys(name for template in templates.values() for name in template.columns))
    texts = text_columns(table, frame, used, [keys.sample, keys.patient])
    images, masks = (
        templates[name].filled(texts) if name in templates else column_source(frame, column)
        for name, column in (("image", keys.image), ("labels", keys.labels))
    )
    return present(images, "the paths of the images"), masks


def _warn_of_shared_files(rows: Sequence[Row]) -> None:
    # of what holds several samples, each row is one of them
    of_one = [row.image if row.kind == PLAIN else None for row in rows]
    for kind, paths in (("image", of_one), ("mask", [row.labels for row in rows])):
        samples: dict[Path, list[str]] = {}
        for row, path in zip(rows, paths, strict=True):
            if path is not None:
                samples.setdefault(path.resolve(), []).append(row.sample)
        shared = {path: names for path, names in samples.items() if len(names) > 1}
        if shared:
            path, names = next(iter(shared.items()))
            more = f" (and {len(shared) - 1} more such {kind}s)" if len(shared) > 1 else ""
            warn(
                f"Samples {listed(names)} have the same {kind} '{path}'{more}. Correct the paths if they should be "
                "different."
            )
