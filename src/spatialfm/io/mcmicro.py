"""Folders of MCMICRO."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .._errors import InputFileError, PanelError, SpatialfmError, TableError, counted, listed, warn
from .._keys import ATTRS, cells_name
from .._logging import logger
from .._public import public
from ._cohort_table import refuse_all
from ._panel_file import given_channel_names

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from spatialdata import SpatialData

    from ._elements import ReadSample
    from ._lazy_image import LazyImage
    from ._mcmicro_folder import McmicroImage, Segmented
    from ._mcmicro_markers import MarkerSheet


@public
def read_mcmicro(
    folder: str | PathLike,
    *,
    segmentation: str | Literal[False] | None = None,
    mask: str | None = None,
    image: Literal["auto", "registration", "background"] = "auto",
    quantification: bool | None = None,
    clinical: pd.DataFrame | str | PathLike | None = None,
    library_key: str = "sample",
    patient_key: str = "patient",
    channel_names: Sequence[str] | Mapping[str | int, str] | pd.DataFrame | str | PathLike | None = None,
    mpp: float | None = None,
    cell_table: bool = True,
    on_pieces: Literal["raise", "split", "keep"] = "raise",
) -> SpatialData:
    r"""Read the folder in which MCMICRO ran: whole slides or the cores of a tissue array, masks, and their tables.

    Images stay on disk until they are needed, as with `spatialfm.io.read_tiff`. Everything is checked first, and all
    problems are reported at once.

    Parameters
    ----------
    folder
        Of one project, with ``markers.csv`` and ``registration/`` or ``dearray/``; or a folder of several projects.
        Where there is ``dearray/``, its cores are read, and the image of the whole array is not.
    segmentation
        Method whose masks are taken, as in ``segmentation/<method>-<image>/``. Default: the only one. False: no masks.
    mask
        Mask of it, as in ``<mask>.ome.tif``. Default: ``cell``, otherwise the only one.
    image
        Which image of a whole slide: ``registration/``, or ``background/`` with background subtracted. ``"auto"``: the
        latter where there is one, as MCMICRO does.
    quantification
        Whether ``sdata["table"]`` is what MCMICRO measured. Default: where there is a table for every mask.
    clinical
        Table with one row per sample, of which the column `library_key` names the sample: the image, or the core as
        ``<project>_<core>`` or, in a single project, ``<core>``.
    library_key
        Column of `clinical` that names the samples.
    patient_key
        Column of `clinical` with patients.
    channel_names
        Names of channels, as in `spatialfm.io.read_tiff`, in place of ``markers.csv``; a mapping renames its markers.
    mpp
        Pixel size in µm. Default: by the image; for a core, otherwise by the image of the whole array.
    cell_table
        Whether to measure cells where quantification is not taken: see `spatialfm.pp.cell_table`. This reads all pixels
        once.
    on_pieces
        What becomes of numbers that are used for several cells, as in `spatialfm.pp.cell_table`.

    Returns
    -------
    SpatialData
        For every image ``image_<sample>`` and ``cells_<sample>`` in the coordinate system ``<sample>`` in µm, without
        the channels that ``markers.csv`` has as ``remove``; ``sdata["samples"]`` with one row per sample (``project``,
        for cores ``core``, and the columns of `clinical`); ``sdata["table"]`` with one row per cell: means of channels
        in ``X``, positions in µm in ``obsm["spatial"]``, ``area`` in µm² and axes in µm. A name that occurs twice in
        ``markers.csv`` gets ``_1``, ``_2``, as in MCMICRO's tables. ``attrs["spatialfm"]["panel"]`` also holds the
        ``cycles`` and the ``background`` of channels.

    Raises
    ------
    PixelSizeError
        If the pixel size of some samples is known and that of others is not.
    InputFileError
        If files are missing, several methods or masks are there and none is chosen, or image and mask differ in size.
    PanelError
        If ``markers.csv`` has another number of channels than an image, or is not in the order of its numbers.
    TableError
        If a table lacks channels or ids, or was measured with another mask: all cells are looked up in it.
    ClinicalError
        If a sample has no row in `clinical`, or no patient.

    Warns
    -----
    SpatialfmWarning
        If samples have no mask; if ``markers.csv`` names background that was not subtracted from the image; if names
        occur twice; and as `spatialfm.io.read_tiff` does.

    References
    ----------
    Schapiro et al., MCMICRO: a scalable, modular image-processing pipeline for multiplexed tissue imaging, Nature
    Methods 2022; layout: https://mcmicro.org/documentation/dir.html

    Examples
    --------
    >>> import tempfile, pathlib, numpy as np, tifffile, spatialfm as sfm
    >>> folder = pathlib.Path(tempfile.mkdtemp()) / "exemplar-001"
    >>> for name in ("registration", "segmentation/unmicst-exemplar-001"):
    ...     (folder / name).mkdir(parents=True)
    >>> pixels = np.ones((3, 32, 32), "uint16")
    >>> tifffile.imwrite(folder / "registration/exemplar-001.ome.tif", pixels, photometric="minisblack")
    >>> tifffile.imwrite(folder / "segmentation/unmicst-exemplar-001/cell.ome.tif", np.eye(32, dtype="uint16"))
    >>> _ = (folder / "markers.csv").write_text("marker_name,remove\nDNA,\nA488,TRUE\nCD3,\n")
    >>> sdata = sfm.io.read_mcmicro(folder, mpp=0.65)
    >>> sdata.images["image_exemplar-001"].coords["c"].values.tolist(), list(sdata.labels)
    (['DNA', 'CD3'], ['cells_exemplar-001'])
    >>> sdata["table"].obs_names.tolist()
    ['exemplar-001_1']
    """
    from ._assemble import assemble, measure_cells
    from ._each import read_each
    from ._mcmicro_folder import Segmented, find_images, find_segmented, without_mask
    from ._one_unit import check_sizes
    from ._sample_rows import sample_rows

    names = given_channel_names(channel_names)
    images = find_images(Path(folder).expanduser(), image, isinstance(names, list))
    segmented, chosen = [Segmented(None, None) for _ in images], ""
    if segmentation is not False:
        segmented, chosen = find_segmented(images, segmentation, mask)
    joins = _joins(images, segmented, quantification)
    info, other_names = _info(images)
    obs = sample_rows(
        info, "MCMICRO", clinical, library_key=library_key, patient_key=patient_key, other_names=other_names
    )
    used: dict[str, MarkerSheet] = {}
    read = read_each(
        [(one.sample, _opener(one, mask_of, names, mpp, used)) for one, mask_of in zip(images, segmented, strict=True)]
    )
    cells = _joined(segmented, read, used, chosen) if joins else None
    check_sizes(read, "Pass")
    sdata = assemble(read, obs, cells)
    sdata.attrs[ATTRS]["panel"].update(_panel_facts(used, names))
    for text in (without_mask(images, segmented, chosen), *_oddities(images, used)):
        if text:
            warn(text)
    logger.info(f"{counted(len(read), 'sample')} of '{folder}', {len(sdata.labels)} with labels")
    if cells is None and cell_table and sdata.labels:
        measure_cells(sdata, on_pieces)
    return sdata


def _joins(images: Sequence[McmicroImage], segmented: Sequence[Segmented], wanted: bool | None) -> bool:
    """Whether the tables of quantification are taken.

    Raises
    ------
    InputFileError
        If they are wanted and there are none, or some are there and others are not.
    """
    if wanted is False:
        return False
    masked = [(one.sample, of.table) for one, of in zip(images, segmented, strict=True) if of.mask is not None]
    lacking = [sample for sample, table in masked if table is None]
    if wanted is None and len(lacking) == len(masked):
        return False
    if lacking or not masked:
        of = (
            f"for {counted(len(lacking), 'sample')} of {len(masked)} ({listed(lacking)})" if masked else "without masks"
        )
        raise InputFileError(
            f"There is no table in quantification/ {of}. Put it back, or pass quantification=False to measure here."
        )
    return True


def _info(images: Sequence[McmicroImage]) -> tuple[pd.DataFrame, dict[str, str]]:
    """What the folders say of each sample, and by which other names a table may call them."""
    import pandas as pd

    columns: dict[str, list[str]] = {"project": [one.project.resolve().name for one in images]}
    if any(one.core is not None for one in images):
        columns["core"] = [one.core or "" for one in images]
    info = pd.DataFrame(columns, index=pd.Index([one.sample for one in images], dtype=object))
    own: dict[str, list[str]] = {}
    for one in images:
        for name in {one.path.name, one.image_id, one.core or one.image_id}:
            own.setdefault(name, []).append(one.sample)
    return info, {name: samples[0] for name, samples in own.items() if len(samples) == 1}


def _opener(
    one: McmicroImage,
    segmented: Segmented,
    names: list[str] | dict[str | int, str] | None,
    mpp: float | None,
    used: dict[str, MarkerSheet],
) -> Callable[[], ReadSample]:
    """Opens a sample, and keeps in `used` which list of channels described it."""

    def opened() -> ReadSample:
        from ._elements import place_sample
        from ._image import read_image
        from ._mask import MaskOptions

        image = read_image(one.path, names) if isinstance(names, list) else _described(one, names, used)
        if image.pixel_size is None and one.slide is not None and mpp is None:
            slide = _size_of(one.slide)
            if slide is not None:
                field = f"{slide.field} of '{one.slide.name}'"
                image = replace(image, pixel_size=replace(slide, field=field), ignored_size="", unread_size="")
        return place_sample(one.sample, image, one.path, segmented.mask, mpp=mpp, mask_options=MaskOptions())

    return opened


def _size_of(slide: Path):
    """Size of the pixels of an array's image; None where it has none that can be read."""
    from ._layout import open_tiff

    try:
        return open_tiff(slide).metadata.pixel_size
    except InputFileError:
        return None


def _described(one: McmicroImage, names: dict[str | int, str] | None, used: dict[str, MarkerSheet]) -> LazyImage:
    """The image with the names of its list of channels, without those that are to be removed."""
    from ._image import read_image
    from ._mcmicro_markers import wrong_number
    from ._names import resolve_channel_names

    errors: list[PanelError] = []
    for sheet in one.sheets:
        everything = tuple(range(len(sheet.names)))
        # only where background was subtracted are removed channels gone from the image as well
        for rows in dict.fromkeys((everything, tuple(sheet.kept)) if one.is_subtracted else (everything,)):
            try:
                image = read_image(one.path, [sheet.names[i] for i in rows])
            except PanelError as error:
                errors.append(error)
                continue
            used[one.sample] = sheet
            keep = [place for place, row in enumerate(rows) if not sheet.remove[row]]
            image = image.of_channels(keep)
            kept = image.channel_names
            new = resolve_channel_names(kept, names, len(kept), f"'{sheet.path}'")
            return replace(image, channel_names=tuple(new), found_names=kept)
    try:
        n_channels = read_image(one.path, None).shape[0]
    except PanelError:  # its own metadata are at odds: those say why
        raise errors[0] from None
    raise wrong_number(one.sheets[-1], n_channels, one.path)


def _joined(
    segmented: Sequence[Segmented],
    read: Sequence[ReadSample],
    used: Mapping[str, MarkerSheet],
    chosen: str,
) -> AnnData:
    """Cells of all samples as MCMICRO measured them."""
    from ._cell_frame import table_of_cells
    from ._mcmicro_cells import read_quantification

    frames, problems = [], []
    for of, sample in zip(segmented, read, strict=True):
        if of.mask is None or of.table is None:
            continue
        theirs = sample.found_names if sample.sample in used else sample.channel_names
        columns = dict(zip(theirs, sample.channel_names, strict=True))
        labels = sample.labels[cells_name(sample.sample)].data
        try:
            frames.append(
                read_quantification(
                    of.table, sample.sample, columns, labels, sample.record["mpp"], chosen.partition("/")[2]
                )
            )
        except SpatialfmError as error:
            problems.append(str(error))
    refuse_all(problems, TableError)
    return table_of_cells(frames, source="MCMICRO")


def _panel_facts(
    used: Mapping[str, MarkerSheet], names: list[str] | dict[str | int, str] | None
) -> dict[str, dict[str, str]]:
    """Cycle and background of the channels that stay, by the names that they have now."""
    new = {old: name for old, name in names.items() if isinstance(old, str)} if isinstance(names, dict) else {}
    facts: dict[str, dict[str, str]] = {"cycles": {}, "background": {}}
    for sheet in dict.fromkeys(used.values()):
        for i in sheet.kept:
            name = new.get(sheet.names[i], sheet.names[i])
            if sheet.cycles[i]:
                facts["cycles"].setdefault(name, sheet.cycles[i])
            if sheet.background[i]:
                facts["background"].setdefault(name, sheet.background[i])
    return {key: values for key, values in facts.items() if values}


def _oddities(images: Sequence[McmicroImage], used: Mapping[str, MarkerSheet]) -> list[str]:
    """What the user should hear of the lists of channels."""
    texts = []
    for sheet in dict.fromkeys(used.values()):
        if sheet.repeated:
            texts.append(
                f"'{sheet.path}' has {listed(sheet.repeated)} more than once: they are called "
                f"{listed([name for name in sheet.names if name.rpartition('_')[0] in sheet.repeated], 6)}, as in "
                "MCMICRO's tables. To call them otherwise, pass channel_names={<name>: <new name>}."
            )
    raw = [
        one
        for one in images
        if not one.is_subtracted and any(used[one.sample].background if one.sample in used else ())
    ]
    if raw:
        sheet = used[raw[0].sample]
        pairs = [f"{name} - {other}" for name, other in zip(sheet.names, sheet.background, strict=True) if other]
        texts.append(
            f"'{sheet.path}' names the background of {counted(len(pairs), 'channel')} "
            f"({listed(pairs, 3, quoted=False)}), which was not subtracted from {counted(len(raw), 'image')}, such as "
            f"'{raw[0].path}': intensities hold the background. Subtract it with MCMICRO (background: true), which "
            "writes background/."
        )
    return texts
