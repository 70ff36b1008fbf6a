"""A cohort of samples with its clinical columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .._errors import ElementError, InputFileError, SpatialfmError, TableError, warn
from .._logging import logger
from .._progress import progress_bar
from .._public import public
from ..pp.joins import counted, listed
from ._cohort_table import Row, clinical_columns, find_keys, load_table, plan_rows, refuse_all
from ._panel_file import given_channel_names

if TYPE_CHECKING:
    import pandas as pd
    from spatialdata import SpatialData

    from ._elements import ReadSample


@public
def read_cohort(
    table: pd.DataFrame | str | PathLike,
    *,
    library_key: str = "sample",
    image_column: str = "image",
    labels_column: str | None = "labels",
    patient_key: str = "patient",
    mpp_column: str | None = "mpp",
    clinical_keys: Sequence[str] | None = None,
    channel_names: Sequence[str] | Mapping[str | int, str] | pd.DataFrame | str | PathLike | None = None,
    mpp: float | None = None,
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
        Column of sample names.
    image_column
        Column of paths of images (files or folders, as in `read_tiff`).
    patient_key
        Column of patients.
    labels_column
        Column of paths of masks; empty for samples without. A table without the column ``"labels"`` is one without
        masks.
    mpp_column
        Column of µm per pixel, for samples whose files do not state it; it takes precedence over `mpp`.
    clinical_keys
        Clinical columns to keep. Default: all that are left.
    channel_names
        Names of channels, as in `read_tiff`, for every sample. A name that is mapped to a new one must be in at least
        one sample; a position must hold the same name in all.
    mpp
        Pixel size in µm, as in `read_tiff`, for every sample.
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
        With all problems at once: missing files and patients, samples that occur twice, and all that `read_tiff`
        refuses.
    ClinicalError
        If a column is absent or cannot be stored.

    Warns
    -----
    SpatialfmWarning
        As `read_tiff`, once for all files concerned; if samples have different panels; if two samples have the same
        image.

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
    """
    from ._assemble import assemble, check_renaming
    from ._mask import MaskOptions

    frame, folder = load_table(table, [library_key, patient_key], [image_column, labels_column])
    keys = find_keys(frame, library_key, patient_key, image_column, labels_column, mpp_column)
    rows = plan_rows(frame, keys, folder if base_path is None else Path(base_path).expanduser())
    clinical = clinical_columns(frame, rows, keys, clinical_keys)
    _warn_of_shared_files(rows)

    names = given_channel_names(channel_names)
    mask_options = MaskOptions(cast_labels, labels_plane, labels_series, labels_encoding)
    options = {"axes": axes, "series": series, "mask_options": mask_options}
    read = _read_all(rows, names, mpp, **options)
    if isinstance(names, dict):
        check_renaming(names, read)
    sdata = assemble(read, clinical)
    masked = [sample.sample for sample in read if sample.labels]
    logger.info(
        f"{counted(len(read), 'sample')} of {counted(clinical['patient'].nunique(), 'patient')}, "
        f"{len(masked)} with labels"
    )
    if cell_table and 0 < len(masked) < len(read):
        rest = listed(sample.sample for sample in read if not sample.labels)
        warn(
            f"{counted(len(read) - len(masked), 'sample has', 'samples have')} no path in column {labels_column!r}, "
            f"and so no row in the table of cells: {rest}."
        )
    if cell_table and masked:
        from ..pp import cell_table as measure

        # a field without cells is a valid result: its sample is kept, with no rows
        try:
            measure(sdata, samples=masked, on_pieces=on_pieces, on_missing="drop")
        except (ElementError, TableError) as error:
            raise type(error)(f"{error} To read images and labels without a table, pass cell_table=False.") from error
    return sdata


def _read_all(rows: Sequence[Row], channel_names, mpp: float | None, **options) -> list[ReadSample]:
    from ._elements import read_sample

    read, errors = [], []
    for row in progress_bar(
        rows,
        desc="files",
        unit="sample",
    ):
        try:
            read.append(
                read_sample(
                    row.sample,
                    row.image,
                    row.labels,
                    channel_names=channel_names,
                    mpp=mpp if row.mpp is None else row.mpp,
                    needs_all_names=False,
                    **options,
                )
            )
        except SpatialfmError as error:
            errors.append((row.sample, error))
    errors += _same_pixels(read, {row.sample: row.image for row in rows})
    kinds = {type(error) for _, error in errors}
    # one kind of error keeps its class, so that it can be caught as the error that it is
    refuse_all(
        [f"sample {sample!r}: {error}" for sample, error in errors], kinds.pop() if len(kinds) == 1 else SpatialfmError
    )
    return read


def _same_pixels(read: Sequence[ReadSample], images: Mapping[str, Path]) -> list[tuple[str, SpatialfmError]]:
    """Samples whose files differ but lead to the same pixels: members of one image that is split over files."""
    owners: dict[tuple[str, int], str] = {}
    errors = []
    for sample in read:
        paths = {owners[place] for place in sample.identity if place in owners}
        for other in sorted(paths):
            if images[other].resolve() != images[sample.sample].resolve():  # otherwise the user was warned already
                errors.append(
                    (
                        sample.sample,
                        InputFileError(
                            f"'{images[sample.sample]}' leads to the same pixels as '{images[other]}' of sample "
                            f"{other!r}: by their OME-XML both are parts of one image. Keep one row for it, or export "
                            "every sample as a separate image."
                        ),
                    )
                )
        owners.update(dict.fromkeys(sample.identity, sample.sample))
    return errors


def _warn_of_shared_files(rows: Sequence[Row]) -> None:
    for kind, paths in (("image", [row.image for row in rows]), ("mask", [row.labels for row in rows])):
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
