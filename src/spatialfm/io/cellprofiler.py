"""Tables and label images of CellProfiler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from .._errors import InputFileError, TableError
from .._keys import cells_name
from .._logging import logger
from .._public import public
from ..pp.joins import counted, listed
from ._panel_file import PanelNames

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from ._cell_frame import CellFrame
    from ._cellprofiler_tables import CellProfilerTables
    from ._elements import ReadSample
    from ._lazy_image import LazyImage


@public
def read_cellprofiler(
    folder: str | PathLike,
    *,
    objects: str | None = None,
    images: Sequence[str] | None = None,
    labels: str | None = None,
    base_path: str | PathLike | None = None,
    phenotype: str | Sequence[str] | Mapping[str, str] | None = None,
    clinical: pd.DataFrame | str | PathLike | None = None,
    library_key: str = "sample",
    patient_key: str = "patient",
    channel_names: Sequence[str] | Mapping[str | int, str] | pd.DataFrame | str | PathLike | None = None,
    mpp: float | None = None,
) -> SpatialData:
    """Read the cells that CellProfiler measured, their label images, and the images.

    Everything is checked first, and all problems are reported at once. Images stay on disk until they are needed; label
    images are read once, to compare numbers and positions with those of the table.

    Parameters
    ----------
    folder
        Tables of ExportToSpreadsheet: ``Image.csv`` and one per kind of object, such as ``Cells.csv``, with or without
        a prefix.
    objects
        Which objects are the cells. Default: ``Cells``, otherwise ``Nuclei``, otherwise the only ones.
    images
        Names of the images that are channels, such as ``["DNA", "CD3"]``. Default: all whose file the table has, but
        for that of `labels`; ``[]`` for none.
    labels
        Label images: the name of the objects or the image under which the pipeline loaded or saved them, or a path made
        of columns, ``"masks/{Metadata_Core}.tiff"``. Default: where the pipeline loaded `objects` from, if it did.
        Without label images, cells are positions alone.
    base_path
        Folder of the images, if they are no longer where the table has them. Default: the folder and the one above it.
    phenotype
        Columns of types or of flags, as in `spatialfm.io.read_cells`.
    clinical
        Table with one row per sample (column `library_key`), or per patient where ``Image.csv`` has the column
        `patient_key`.
    library_key
        Column of ``Image.csv``, `clinical` or both that names the samples. Default: what the files of an image share in
        their names, otherwise its number.
    patient_key
        Column of patients, in ``Image.csv`` (such as ``"Metadata_Patient"``) or `clinical`.
    channel_names
        Names of the channels, as in `spatialfm.io.read_tiff`. Default: those of the images in the pipeline.
    mpp
        µm per pixel. Default: that of the images, otherwise 1 µm with a warning.

    Returns
    -------
    SpatialData
        For every image ``image_<sample>`` and ``cells_<sample>`` (points, where there is no label image) in the
        coordinate system ``<sample>`` in µm. ``sdata["table"]`` has one row per object: mean intensities in ``X``, as
        CellProfiler scales them (mostly 0 to 1); centres in µm in ``obsm["spatial"]``; all else in ``obs``, lengths and
        areas in pixels. ``sdata["samples"]`` has one row per image, with its ``Metadata_`` columns and those of
        `clinical`.

    Raises
    ------
    PixelSizeError
        If the pixel size of some samples is known and that of others is not.
    InputFileError
        If files are missing, or images of one row differ in size.
    TableError
        If an object occurs twice or the label image does not have it; if positions are outside of the image, or not
        where the label image has the object.
    ClinicalError
        If a sample has no row in `clinical`, or no patient.

    Warns
    -----
    SpatialfmWarning
        If objects of a label image have no row; and as `spatialfm.io.read_tiff` does.

    References
    ----------
    Stirling et al., CellProfiler 4: improvements in speed, utility and usability, BMC Bioinformatics 2021.

    Examples
    --------
    >>> import tempfile, pandas as pd, spatialfm as sfm
    >>> folder = tempfile.mkdtemp()
    >>> pd.DataFrame({"ImageNumber": [1], "Metadata_Core": ["A1"]}).to_csv(f"{folder}/Image.csv", index=False)
    >>> cells = {"ImageNumber": 1, "ObjectNumber": [1, 2], "Intensity_MeanIntensity_CD3": [0.5, 0.25]}
    >>> cells |= {"Location_Center_X": [9.5, 20], "Location_Center_Y": [3.5, 5]}
    >>> pd.DataFrame(cells).to_csv(f"{folder}/Cells.csv", index=False)
    >>> sdata = sfm.io.read_cellprofiler(folder, library_key="Metadata_Core", mpp=0.5)
    >>> sdata["table"].to_df()
           CD3
    A1_1  0.50
    A1_2  0.25
    >>> sdata["table"].obsm["spatial"]
    array([[ 5.  ,  2.  ],
           [10.25,  2.75]])
    """
    from ._assemble import assemble
    from ._cell_frame import table_of_cells
    from ._cellprofiler_tables import read_tables, sample_of_image
    from ._one_unit import check_sizes
    from ._panel_file import given_channel_names
    from ._paths import find_path
    from ._phenotypes import phenotype_column
    from ._pixel_size import positive_mpp
    from ._sample_rows import sample_rows

    positive_mpp(mpp)
    tables = read_tables(find_path(str(folder)), objects)
    if phenotype is not None:
        types = phenotype_column(tables.cells, phenotype, f"'{tables.sources[1]}'")
        tables = replace(tables, cells=tables.cells.assign(phenotype=types))
    of_labels = _labels_name(tables, labels)
    names = _image_names(tables, images, of_labels)
    samples = sample_of_image(tables, names, library_key)
    files = _files(tables, samples, names, labels, of_labels, None if base_path is None else find_path(str(base_path)))
    info = tables.images[[n for n in tables.images if str(n).startswith("Metadata_") or n == patient_key]]
    info = info.drop(columns=[one for one in (library_key,) if one in info and clinical is not None])
    obs = sample_rows(
        info.set_axis(list(samples.values()), axis=0),
        f"'{tables.sources[0]}'",
        clinical,
        library_key=library_key,
        patient_key=patient_key,
        other_names=_other_names(tables, samples, library_key),
    )
    read, frames = _opened(tables, samples, files, names, given_channel_names(channel_names), mpp)
    check_sizes(read, "Pass")
    sdata = assemble(read, obs, table_of_cells(frames, source=f"CellProfiler, '{tables.sources[1]}'"))
    logger.info(f"{counted(sdata['table'].n_obs, 'cell')} of {counted(len(read), 'sample')} in '{tables.sources[1]}'")
    return sdata


def _labels_name(tables: CellProfilerTables, labels: str | None) -> tuple[str, bool] | None:
    """Name of the label images in the table, and whether they are objects there; None where they are not."""
    if labels is None:
        return (tables.objects, True) if f"ObjectsFileName_{tables.objects}" in tables.images else None
    if "{" in labels:
        return None
    if f"ObjectsFileName_{labels}" in tables.images:
        return labels, True
    if f"FileName_{labels}" in tables.images:
        return labels, False
    raise InputFileError(
        f"'{tables.sources[0]}' names no file for labels={labels!r}; it has images {listed(tables.image_names)}. Pass "
        'one of them, or a path made of its columns, such as labels="masks/{ImageNumber}.tiff".'
    )


def _image_names(
    tables: CellProfilerTables, images: Sequence[str] | None, of_labels: tuple[str, bool] | None
) -> list[str]:
    there = [name for name in tables.image_names if of_labels is None or of_labels != (name, False)]
    if images is None:
        return there
    if foreign := [name for name in images if name not in there]:
        raise InputFileError(
            f"'{tables.sources[0]}' has no image {foreign[0]!r}, but {listed(there)}. Correct images=."
        )
    return list(images)


def _files(tables, samples, names, labels, of_labels, base) -> dict[int, tuple[list[Path], Path | None]]:
    """Images and label image of each row; all that are missing in one error."""
    from ._cellprofiler_tables import file_by_template, file_of, same_files
    from ._cohort_table import refuse_all

    files, problems = {}, []
    for number, sample in samples.items():
        places = [file_of(tables, number, name, base, is_objects=False) for name in names]
        if of_labels is not None:
            places.append(file_of(tables, number, of_labels[0], base, is_objects=of_labels[1]))
        elif labels is not None:
            places.append(file_by_template(tables, number, labels, base))
        problems += [f"sample {sample!r}: {text}" for _, text in places if text]
        paths = [path for path, _ in places]
        has_labels = labels is not None or of_labels is not None
        files[number] = (paths[: len(names)], paths[-1] if has_labels else None)
    problems += same_files(tables, samples, names, files)
    if not names and any(mask is not None for _, mask in files.values()):
        problems.append("label images need the images, which tell their size: pass images=")
    refuse_all(problems)
    return files


def _other_names(tables: CellProfilerTables, samples: dict[int, str], library_key: str) -> dict[str, str]:
    """What else a clinical table may call a sample: as the column has it, otherwise by number."""
    if library_key in tables.images:
        return {str(tables.images.loc[number, library_key]): sample for number, sample in samples.items()}
    if any(sample.isdecimal() for sample in samples.values()):  # 2 may be the sample 2, and the second image
        return {}
    return {str(number): sample for number, sample in samples.items()}


def _opened(
    tables: CellProfilerTables, samples: dict[int, str], files, names: list[str], channel_names, mpp: float | None
) -> tuple[list[ReadSample], list[CellFrame]]:
    from ._each import read_each

    def opened(number: int) -> tuple[ReadSample, CellFrame]:
        return _open(tables, number, samples[number], *files[number], names, channel_names, mpp)

    both = read_each([(sample, partial(opened, number)) for number, sample in samples.items()])
    return [read for read, _ in both], [frame for _, frame in both]


def _open(tables, number, sample, paths, mask, names, channel_names, mpp) -> tuple[ReadSample, CellFrame]:
    """One image with its objects, checked against its label image."""
    from ._cell_places import held_against
    from ._cellprofiler_tables import frame_of_image
    from ._drawn import beyond_image, points_element
    from ._elements import place_sample, sample_without_image

    image, channels = (None, {}) if not paths else channels_of(tables, number, paths, names, channel_names)
    if image is None:
        read = sample_without_image(sample, tables.sources[0], mpp)
    else:
        read = place_sample(sample, image, paths[0], mask, mpp=mpp)
    size = read.record["mpp"]
    frame = frame_of_image(tables, number, sample, size, channels)
    if image is not None and (text := beyond_image(frame.xy, image.shape[1:], size)):
        raise TableError(text)
    labels = read.labels.get(cells_name(sample))
    if labels is None:
        points = {cells_name(sample): points_element(frame.ids, frame.xy, sample)} if len(frame.ids) else {}
        return replace(read, points=points), frame
    return held_against(read, frame, labels.data, str(mask)), frame


def channels_of(
    tables: CellProfilerTables,
    number: int,
    paths: Sequence[Path],
    names: Sequence[str],
    channel_names: list[str] | dict[str | int, str] | None,
) -> tuple[LazyImage, Mapping[str, str | None]]:
    """The channels of one row as one image, and the name of each by what columns of intensities call it.

    A single file may have several channels, which the columns number from 1 on (``FullStack_c1``). A file with several
    channels that stands for one has its number in the column ``Channel_<name>`` or ``Frame_<name>``.

    Raises
    ------
    InputFileError
        If files differ in size, or which of its channels a file stands for is not said.
    """
    import dask.array as da

    from ._image import of_panel, read_image
    from ._names import resolve_channel_names

    opened = [read_image(path, None) for path in paths]
    if len(opened) == 1 and opened[0].shape[0] > 1:
        image = read_image(paths[0], channel_names)
        return image, of_channels([f"{names[0]}_c{i + 1}" for i in range(opened[0].shape[0])], image, channel_names)
    if isinstance(channel_names, PanelNames):
        image = of_panel(channel_names, lambda given: channels_of(tables, number, paths, names, given)[0])
        return image, of_channels(list(names), image, channel_names)
    at = _planes(tables, number, names, opened)
    planes = [one.levels[0][i] for one, i in zip(opened, at, strict=True)]
    if len({plane.shape for plane in planes}) > 1:
        sizes = listed(
            f"{name}: {plane.shape[0]} x {plane.shape[1]}" for name, plane in zip(names, planes, strict=True)
        )
        raise InputFileError(f"images differ in size ({sizes}). Say which are channels: images=[...]")
    final = resolve_channel_names(list(names), channel_names, len(names), f"'{tables.sources[0]}'")
    notes = tuple(note for one in opened for note in one.notes if note[0] != "photograph")
    image = replace(
        opened[0],
        levels=(da.stack(planes),),
        channel_names=tuple(final),
        found_names=tuple(names),
        is_named=True,
        identity=frozenset().union(*(one.identity for one in opened)),
        notes=notes,
    )
    return image, dict(zip(names, final, strict=True))


def of_channels(called: list[str], image: LazyImage, given: object) -> dict[str, str | None]:
    """Name of each channel by what columns call it; None for those that a panel leaves out."""
    places = given.places if image.left_out and isinstance(given, PanelNames) else range(len(called))
    return dict.fromkeys(called) | dict(zip([called[i] for i in places], image.channel_names, strict=True))


def _planes(tables: CellProfilerTables, number: int, names: Sequence[str], opened: Sequence[LazyImage]) -> list[int]:
    """Which plane of its file each name stands for."""
    row = tables.images.loc[number]
    if all(one.shape[0] == 1 for one in opened):
        return [0] * len(opened)
    for column in ("Channel", "Frame"):
        values = [
            row.get(f"{column}_{name}") if one.shape[0] > 1 else 0 for name, one in zip(names, opened, strict=True)
        ]
        if not all(pd.notna(v) and float(v).is_integer() for v in values if v is not None) or None in values:
            continue
        places = [(one.path, int(value)) for one, value in zip(opened, values, strict=True)]
        fits = all(0 <= i < one.shape[0] for (_, i), one in zip(places, opened, strict=True))
        if fits and len(set(places)) == len(places):
            return [i for _, i in places]
    first = next(i for i, one in enumerate(opened) if one.shape[0] > 1)
    raise InputFileError(
        f"'{opened[first].path}' has {opened[first].shape[0]} channels, and the table does not say which of them "
        f"{names[first]!r} is. Name the images that are channels with images=[...]."
    )
