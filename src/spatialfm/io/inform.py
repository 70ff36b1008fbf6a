"""Exports of inForm: component images, segmentation maps and cell segmentation data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .._errors import InputFileError, TableError
from .._keys import cells_name
from .._logging import logger
from .._public import public
from ..pp.joins import counted, listed

if TYPE_CHECKING:
    import dask.array as da
    import pandas as pd
    from spatialdata import SpatialData

    from ._cell_frame import CellFrame
    from ._elements import ReadSample
    from ._inform_maps import InformMaps
    from ._inform_table import InformCells

_IMAGE, _MAPS = "_component_data", "_binary_seg_maps"


@public
def read_inform(
    folder: str | PathLike,
    *,
    compartment: Literal["Entire Cell", "Nucleus", "Cytoplasm", "Membrane"] | None = None,
    labels: str | PathLike | Mapping[str, str | PathLike] | None = None,
    labels_plane: str | int | None = None,
    clinical: pd.DataFrame | str | PathLike | None = None,
    library_key: str = "sample",
    patient_key: str = "patient",
    channel_names: Sequence[str] | Mapping[str | int, str] | pd.DataFrame | str | PathLike | None = None,
    mpp: float | None = None,
) -> SpatialData:
    r"""Read what inForm exported: component images, segmentation maps, cells with their phenotypes.

    Everything is checked first, and all problems are reported at once. Images stay on disk until they are needed; masks
    are read once, to compare ids and positions with those of the table.

    Parameters
    ----------
    folder
        With ``<field>_cell_seg_data.txt``, ``<field>_component_data.tif`` and ``<field>_binary_seg_maps.tif`` for each
        field; a merged table is taken where fields have none of their own. Images and maps may be absent altogether.
    compartment
        Of which part of a cell the mean intensities in ``X`` are. Default: the entire cell.
    labels
        Masks of another program in place of the maps: a folder with one per field, named after it, one file, or a
        mapping from samples to files.
    labels_plane
        Plane of the maps with the cells, such as ``"Nucleus"``. Default: whole cells, put together of nucleus,
        cytoplasm and membrane. With `labels`, as in `spatialfm.io.read_tiff`.
    clinical
        Table with one row per sample (column `library_key`: names of samples or fields).
    library_key
        Column of `clinical` that names the samples.
    patient_key
        Column of patients in `clinical`.
    channel_names
        Names of the channels, as in `spatialfm.io.read_tiff`; markers of the table follow.
    mpp
        µm per pixel. Default: that of the image or the maps.

    Returns
    -------
    SpatialData
        For every field ``image_<sample>``, ``cells_<sample>`` (points, where there is no mask) and, where the maps have
        one, the tissue map ``regions_<sample>`` in the coordinate system ``<sample>`` in µm; what its numbers mean is
        in ``attrs["spatialfm"]["maps"]``. ``sdata["table"]`` has one row per cell: ``phenotype``, ``Tissue_Category``,
        areas and the like in ``obs``, mean intensities in ``X``, positions in µm in ``obsm["spatial"]``.
        ``sdata["samples"]`` has one row per sample, with the columns of `clinical`.

    Raises
    ------
    PixelSizeError
        If the pixel size of some samples is known and that of others is not.
    InputFileError
        If files are missing, or there is no plane of cells.
    TableError
        If an id occurs twice or the mask does not have it; if positions are outside of the field, or not where the mask
        has the cell.
    ClinicalError
        If a sample has no row in `clinical`, or no patient.

    Warns
    -----
    SpatialfmWarning
        If cells of the mask have no row, cells no phenotype, or the tissue map contradicts the tissue categories of the
        cells; and as `spatialfm.io.read_tiff` does.

    Notes
    -----
    The plane ``Membrane`` is a ring around each cell, and no mask of cells. What it encloses and no other plane covers
    becomes part of its cell. inForm before 2.4.3 numbered nuclei alone; for these pass ``labels_plane="Nucleus"``.

    Examples
    --------
    >>> import tempfile, pandas as pd, spatialfm as sfm
    >>> folder = tempfile.mkdtemp()
    >>> cells = pd.DataFrame({
    ...     "Sample Name": "Set1_[100,200].im3", "Phenotype": ["CD8+", "CK+"], "Cell ID": [1, 2],
    ...     "Cell X Position": [20, 64], "Cell Y Position": [10, 30], "Nucleus Area (pixels)": [90, 120],
    ...     "Entire Cell CD8 (Opal 520) Mean (Normalized Counts, Total Weighting)": [8.5, 0.25],
    ... })
    >>> cells.to_csv(f"{folder}/Set1_[100,200]_cell_seg_data.txt", sep="\t", index=False)
    >>> sdata = sfm.io.read_inform(folder, mpp=0.5)
    >>> sdata["table"].obs["phenotype"].to_dict()
    {'Set1__100_200_1': 'CD8+', 'Set1__100_200_2': 'CK+'}
    >>> sdata["table"].to_df()["CD8 (Opal 520)"].tolist(), sdata["table"].obsm["spatial"].tolist()
    ([8.5, 0.25], [[10.0, 5.0], [32.0, 15.0]])
    """
    import pandas as pd

    from ._assemble import assemble
    from ._cell_frame import table_of_cells
    from ._inform_tissue import record_tissue
    from ._one_unit import check_sizes
    from ._panel_file import given_channel_names
    from ._paths import find_path
    from ._pixel_size import positive_mpp
    from ._sample_rows import sample_rows

    positive_mpp(mpp)
    root = find_path(str(folder))
    fields = _fields(root)
    images, maps, masks = _files(root, fields, labels)
    obs = sample_rows(
        pd.DataFrame(index=pd.Index(list(fields), dtype=object)),
        f"'{root}'",
        clinical,
        library_key=library_key,
        patient_key=patient_key,
        other_names=_other_names(fields),
    )
    files = {name: (images.get(name), maps.get(name), masks.get(name)) for name in fields}
    options = (given_channel_names(channel_names), mpp, labels_plane, compartment)
    read, frames = _opened(fields, files, *options)
    check_sizes(read, "Pass")
    sdata = assemble(read, obs, table_of_cells(frames, source=f"inForm, '{root}'"))
    record_tissue(sdata, read)
    logger.info(f"{counted(sdata['table'].n_obs, 'cell')} of {counted(len(read), 'sample')} in '{root}'")
    return sdata


def _fields(root: Path) -> dict[str, InformCells]:
    """Rows of each sample; tables of single fields before merged ones."""
    import pandas as pd

    from ._inform_table import ENDING, read_fields
    from ._named_files import sample_names

    if not root.is_dir():
        raise InputFileError(f"'{root}' is not a folder. Pass that of an export of inForm.")
    tables = sorted(path for path in root.iterdir() if path.name.endswith(ENDING) and not path.name.startswith("."))
    single = [path for path in tables if not path.name.lower().startswith(("merge", "consolidated"))]
    if not tables:
        raise InputFileError(f"Folder '{root}' has no file *{ENDING}. Export the cell segmentation data from inForm.")
    parts = [part for path in single or tables for part in read_fields(path)]
    called = pd.Series([part.called for part in parts])
    if (twice := called[called.duplicated()]).size:
        raise InputFileError(f"Field {twice.iloc[0]!r} is in several tables of '{root}'. Keep one of them.")
    names = sample_names(called, (), f"'{root}'")
    return dict(zip(names, parts, strict=True))


def _files(root: Path, fields: dict[str, InformCells], labels) -> tuple[dict[str, Path], ...]:
    """Image, maps and mask of each sample; a kind that no sample has is left out, otherwise all need it."""
    from ._cohort_table import refuse_all
    from ._mask_arrays import ARRAY_SUFFIXES
    from ._named_files import files_by_sample
    from ._names import IMAGE_SUFFIXES

    called = {name: field.called for name, field in fields.items()}
    files_of_kind, problems = [], []
    for ending in (_IMAGE, _MAPS):
        files, missing = files_by_sample(root, called, IMAGE_SUFFIXES, "folder", ending)
        missing = [f"sample {name!r}: no file '{one}{ending}.tif'" for name, one in called.items() if name not in files]
        files_of_kind.append(files)
        if files and not (labels is not None and ending == _MAPS):
            problems += missing
    masks: dict[str, Path] = {}
    if labels is not None:
        masks, missing = files_by_sample(labels, called, (*IMAGE_SUFFIXES, *ARRAY_SUFFIXES), "labels")
        problems += missing
        if not files_of_kind[0]:
            problems.append("labels= needs the component images, which tell their size")
    refuse_all(problems)
    return files_of_kind[0], {} if labels is not None else files_of_kind[1], masks


def _other_names(fields: dict[str, InformCells]) -> dict[str, str]:
    return {
        text: name
        for name, field in fields.items()
        for text in (field.called, f"{field.called}.im3", f"{field.called}.qptiff")
    }


def _opened(
    fields: dict[str, InformCells], files, channel_names, mpp, labels_plane, compartment
) -> tuple[list[ReadSample], list[CellFrame]]:
    from ._each import read_each
    from ._inform_tissue import with_tissue

    def opened(sample: str) -> tuple[ReadSample, CellFrame]:
        read, labels, maps = _elements(sample, *files[sample], channel_names, mpp, labels_plane)
        read, frame = _with_cells(read, fields[sample], labels, compartment)
        return with_tissue(read, maps, frame), frame

    both = read_each([(sample, partial(opened, sample)) for sample in fields])
    return [read for read, _ in both], [frame for _, frame in both]


def _elements(
    sample: str, image: Path | None, maps: Path | None, mask: Path | None, channel_names, mpp, labels_plane
) -> tuple[ReadSample, da.Array | None, InformMaps | None]:
    """Image and labels of a sample, the labels as an array, and the maps."""
    from ._elements import labels_element, place_sample, sample_without_image
    from ._image import read_image
    from ._inform_maps import cells_of, open_maps
    from ._mask import MaskOptions

    opened = None if maps is None else open_maps(maps)
    if image is not None:
        pixels = read_image(image, channel_names)
        if pixels.pixel_size is None and opened is not None:
            pixels = replace(pixels, pixel_size=opened.pixel_size)
        read = place_sample(sample, pixels, image, mask, mpp=mpp, mask_options=MaskOptions(plane=labels_plane))
    else:
        read = sample_without_image(sample, str(maps or sample), mpp, stated=opened and opened.pixel_size)
    if opened is None:
        element = read.labels.get(cells_name(sample))
        return read, None if element is None else element.data, None
    labels, plane = cells_of(opened, None if labels_plane is None else str(labels_plane))
    if image is not None and labels.shape != pixels.shape[1:]:
        raise InputFileError(
            f"The maps '{maps}' are {labels.shape[0]} x {labels.shape[1]} pixels (y, x), image '{image}' is "
            f"{pixels.shape[1]} x {pixels.shape[2]}. Are they of another field?"
        )
    record = {**read.record, "labels": opened.path, "labels_plane": plane}
    element = labels_element(labels, sample, read.record["mpp"])
    return replace(read, labels={cells_name(sample): element}, record=record), labels, opened


def _with_cells(
    read: ReadSample, field: InformCells, labels: da.Array | None, compartment: str | None
) -> tuple[ReadSample, CellFrame]:
    """The sample with what its table and its mask have to say of each other, and its cells."""
    from ..pp.arrays import full_resolution
    from ._cell_places import held_against
    from ._drawn import points_element
    from ._inform_table import frame_of_field

    names = dict.fromkeys(read.record.get("channels_left_out", ()))
    names |= dict(zip(read.found_names, read.channel_names, strict=True))
    images = [full_resolution(image).shape[-2:] for image in read.images.values()]
    shape = images[0] if images else None if labels is None else labels.shape
    frame = frame_of_field(read.sample, field, read.record["mpp"], shape, names, compartment)
    foreign = [name for name in frame.intensities if read.channel_names and name not in read.channel_names]
    if foreign:
        raise TableError(
            f"{field.source} has markers that the image lacks: {listed(foreign)}; it has {listed(read.channel_names)}. "
            "Are both of one export?"
        )
    if labels is None:
        points = {cells_name(read.sample): points_element(frame.ids, frame.xy, read.sample)}
        return replace(read, points=points), frame
    return held_against(read, frame, labels, str(read.record["labels"])), frame
