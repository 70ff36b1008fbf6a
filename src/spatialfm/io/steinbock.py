"""Folders of steinbock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .._errors import ArgumentError, InputFileError, PanelError, SpatialfmError, TableError
from .._keys import ATTRS, cells_name
from .._logging import logger
from .._public import public
from ..pp.joins import counted
from ._cohort_table import refuse_all
from ._lazy_image import is_same_size
from ._panel_file import given_channel_names

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from spatialdata import SpatialData

    from ._elements import ReadSample
    from ._pixel_size import PixelSize
    from ._steinbock_folder import SteinbockPanel, SteinbockSample


@public
def read_steinbock(
    folder: str | PathLike,
    *,
    images: str = "img",
    masks: str | bool = True,
    intensities: str | bool = False,
    regionprops: str | bool = False,
    neighbors: str | bool = False,
    clinical: pd.DataFrame | str | PathLike | None = None,
    library_key: str = "sample",
    patient_key: str = "patient",
    channel_names: Sequence[str] | Mapping[str | int, str] | pd.DataFrame | str | PathLike | None = None,
    mpp: float | None = None,
    cast_labels: bool = False,
    cell_table: bool = True,
    on_pieces: Literal["raise", "split", "keep"] = "raise",
) -> SpatialData:
    r"""Read the folder in which steinbock ran: panel, images, masks, and on request what it measured.

    Images stay on disk until they are needed, as with `spatialfm.io.read_tiff`. Everything is checked first, and all
    problems are reported at once.

    Parameters
    ----------
    folder
        With ``panel.csv``, ``images.csv`` (where there is one), ``img/`` and ``masks/``.
    images
        Folder of the images in it.
    masks
        Folder of the masks in it. True: the only one whose name begins with ``masks``, if there is one; False: none.
    intensities
        Whether ``X`` is what steinbock measured (True: ``intensities/``, text: another folder) instead of what
        `spatialfm.pp.cell_table` does. Masks are read once for this, to compare ids and for centroids.
    regionprops
        Whether ``obs`` gets the properties of regions (``regionprops/``); lengths and areas become µm and µm². Needs
        `intensities`.
    neighbors
        Whether ``obsp`` gets the graph of neighbours (``neighbors/``), with distances in µm. Needs `intensities`.
    clinical
        Table with one row per sample (column `library_key`: names of samples or of their files), or one row per patient
        where ``images.csv`` has a column `patient_key`.
    library_key
        Column of `clinical` that names the samples.
    patient_key
        Column of patients, in `clinical` or ``images.csv``.
    channel_names
        Names of channels, as in `spatialfm.io.read_tiff`, in place of those of the panel.
    mpp
        Pixel size in µm. Default: by ``images.csv``, otherwise by the images, otherwise 1 µm with a warning.
    cast_labels
        Whether labels stored as floats are taken, as in `spatialfm.io.read_tiff`.
    cell_table
        Whether to measure the cells of samples that have a mask, unless `intensities` gives them: see
        `spatialfm.pp.cell_table`. This reads all pixels once.
    on_pieces
        What becomes of numbers that are used for several cells, as in `spatialfm.pp.cell_table`.

    Returns
    -------
    SpatialData
        For every image ``image_<sample>`` and ``cells_<sample>`` in the coordinate system ``<sample>`` in µm;
        ``sdata["samples"]`` with one row per sample: the columns of ``images.csv`` and of `clinical`;
        ``sdata["table"]`` with one row per cell. With `neighbors`, ``obsp["spatial_connectivities"]`` has 1 from each
        cell (row) to its neighbours (column), and ``obsp["spatial_distances"]`` their distance, as squidpy has them.
        ``attrs["spatialfm"]["panel"]["channel_ids"]`` holds the metal or other id of each channel.

    Raises
    ------
    InputFileError
        If files are missing, an image is not of the shape that ``images.csv`` states, image and mask differ in size, or
        there are several folders of masks and none is chosen.
    PixelSizeError
        If pixels are not square, or sizes other than 1 µm stand beside images whose size is not known.
    PanelError
        If the panel keeps another number of channels than the images have.
    TableError
        If tables and masks are not of the same cells, or an id occurs twice.
    ClinicalError
        If a sample has no row in `clinical`, or no patient.

    Warns
    -----
    SpatialfmWarning
        If images, masks and rows of ``images.csv`` have no counterpart; and as `spatialfm.io.read_tiff` does.

    References
    ----------
    Windhager et al., An end-to-end workflow for multiplexed image processing and analysis, Nature Protocols 2023;
    layout: https://bodenmillergroup.github.io/steinbock/latest/file-types

    Examples
    --------
    >>> import tempfile, pathlib, numpy as np, tifffile, spatialfm as sfm
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for name in ("img", "masks"):
    ...     (folder / name).mkdir()
    >>> tifffile.imwrite(folder / "img" / "roi_001.tiff", np.ones((2, 32, 32), "float32"), imagej=True)
    >>> tifffile.imwrite(folder / "masks" / "roi_001.tiff", np.eye(32, dtype="uint16"))
    >>> _ = (folder / "panel.csv").write_text("channel,name,keep\nIr191,DNA1,1\nNd142,CD19,0\nEr170,CD3,1\n")
    >>> sdata = sfm.io.read_steinbock(folder, mpp=1)
    >>> sdata.images["image_roi_001"].coords["c"].values.tolist(), list(sdata.labels)
    (['DNA1', 'CD3'], ['cells_roi_001'])
    >>> sdata["table"].obs_names.tolist()
    ['roi_001_1']
    """
    from ._assemble import assemble, measure_cells
    from ._each import read_each
    from ._one_unit import check_sizes
    from ._sample_rows import sample_rows
    from ._steinbock_folder import find_samples

    root = Path(folder).expanduser()
    measured = _measured_folders(root, intensities, regionprops, neighbors)
    samples, info = find_samples(root, images, masks)
    names, panel = _channels(root, channel_names)
    obs = sample_rows(
        info,
        "images.csv",
        clinical,
        library_key=library_key,
        patient_key=patient_key,
        other_names={key: one.sample for one in samples for key in (one.image.name, one.image.stem)},
    )
    read = read_each([(one.sample, _opener(root, one, names, panel, mpp, cast_labels)) for one in samples])
    if any(one.record["mpp"] != 1 for one in read):  # what is assumed of images without a size
        check_sizes(read, "Pass")
    cells = _measured_cells(samples, read, names, panel, measured)
    sdata = assemble(read, obs, cells)
    if panel is not None:
        sdata.attrs[ATTRS]["panel"]["channel_ids"] = dict(zip(names, panel.ids, strict=True))
    logger.info(f"{counted(len(read), 'sample')} of '{root}', {len(sdata.labels)} with labels")
    if cells is None and cell_table and sdata.labels:
        measure_cells(sdata, on_pieces)
    return sdata


def _measured_folders(
    root: Path, intensities: str | bool, regionprops: str | bool, neighbors: str | bool
) -> dict[str, Path]:
    """Folders that are asked for, by what they hold."""
    asked = {"intensities": intensities, "regionprops": regionprops, "neighbors": neighbors}
    folders = {name: root / (name if one is True else one) for name, one in asked.items() if one is not False}
    if folders and "intensities" not in folders:
        raise ArgumentError(
            f"{next(iter(folders))}= describes the cells of steinbock's own table. Pass intensities=True as well, or "
            "leave it out."
        )
    if gone := [name for name, one in folders.items() if not one.is_dir()]:
        raise InputFileError(
            f"No folder '{folders[gone[0]]}'. Run steinbock measure {gone[0]}, pass {gone[0]}=<folder>, or leave it "
            "out."
        )
    return folders


def _channels(root: Path, channel_names: object) -> tuple[list[str], SteinbockPanel | None]:
    """Names of the channels, and the panel unless all names are given."""
    from ._names import resolve_channel_names
    from ._steinbock_folder import PANEL_FILE, read_panel

    given = given_channel_names(channel_names)
    if isinstance(given, list):
        return given, None
    panel = read_panel(root / PANEL_FILE)
    return resolve_channel_names(panel.names, given, len(panel.names), f"'{root / PANEL_FILE}'"), panel


def _opener(
    root: Path, one: SteinbockSample, names: list[str], panel: SteinbockPanel | None, mpp: float | None, cast: bool
) -> Callable[[], ReadSample]:
    def opened() -> ReadSample:
        from ._elements import place_sample
        from ._image import read_image
        from ._mask import MaskOptions
        from ._steinbock_folder import IMAGES_FILE, PANEL_FILE, check_panel, check_stated_shape

        try:
            image = read_image(one.image, names)
        except PanelError:
            if panel is not None:  # the panel has another number of names: say what of it
                check_panel(panel, read_image(one.image, None).shape[0], one.image, root / PANEL_FILE)
            raise
        check_stated_shape(one, image.shape, root / IMAGES_FILE)
        if one.pixel_size is not None:
            image = replace(image, pixel_size=one.pixel_size, other_size=_other(image.pixel_size, one.pixel_size))
        return place_sample(one.sample, image, one.image, one.mask, mpp=mpp, mask_options=MaskOptions(cast))

    return opened


def _other(of_file: PixelSize | None, of_table: PixelSize) -> PixelSize | None:
    """The size that the image states, where the table states another."""
    return None if of_file is None or is_same_size(of_file.x, of_table.x) else of_file


def _measured_cells(
    samples: Sequence[SteinbockSample],
    read: Sequence[ReadSample],
    names: list[str],
    panel: SteinbockPanel | None,
    folders: dict[str, Path],
) -> AnnData | None:
    """Table of the cells that steinbock measured, with its graph; None where it is not asked for."""
    from ._cell_frame import table_of_cells
    from ._steinbock_cells import add_graph, graph_of, read_cell_frame, warn_of_unmeasured

    if not folders:
        return None
    new_names = dict(zip(names if panel is None else panel.names, names, strict=True))
    frames, unmeasured, problems = [], {}, []
    for one, opened in zip(samples, read, strict=True):
        labels = opened.labels.get(cells_name(one.sample))
        if labels is None and not (folders["intensities"] / one.table_name).is_file():
            continue  # an image without mask was told, and has no cells to be measured
        try:
            frame, unmeasured[one.sample] = read_cell_frame(
                one,
                new_names,
                None if labels is None else labels.data,
                opened.record["mpp"],
                folders["intensities"],
                folders.get("regionprops"),
            )
            frames.append(frame)
        except SpatialfmError as error:
            problems.append(str(error))
    refuse_all(problems, TableError)
    warn_of_unmeasured(unmeasured)
    adata = table_of_cells(frames, source=f"steinbock, '{folders['intensities']}'")
    if "neighbors" in folders:
        mpp = {one.sample: one.record["mpp"] for one in read}
        add_graph(adata, graph_of(samples, folders["neighbors"], adata.obs, mpp), str(folders["neighbors"]))
    return adata
