"""Data sets in the layout of spora."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .._errors import InputFileError, PanelError, counted, listed, warn
from .._keys import ATTRS, CELLS_PREFIX, TISSUE_PREFIX
from .._logging import logger
from .._public import public

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from ._elements import ReadSample
    from ._lazy_image import LazyImage
    from ._spora_folder import SporaLayout, SporaPanel


@public
def read_spora(
    folder: str | PathLike,
    modality: str | None = None,
    *,
    samples: str | Sequence[str] | None = None,
    qc_pass: bool = True,
    tissue: bool = True,
    mpp: float | None = None,
    cell_table: bool = True,
    on_pieces: Literal["raise", "split", "keep"] = "raise",
) -> SpatialData:
    """Read a data set in the layout of spora: images, masks, annotated cells, patients and the published split.

    Images stay on disk until they are needed, as with `spatialfm.io.read_ome_zarr`. Everything is checked first, and
    all problems are reported at once.

    Parameters
    ----------
    folder
        Of the data set, with ``metadata/`` and a folder for each modality.
    modality
        Folder of images: ``"imc"``, ``"codex"``, ``"cycif"``, ``"mibi"``. Default: the only one.
    samples
        Images to read. Default: all that were downloaded.
    qc_pass
        Whether channels that did not pass quality control (``qc_pass`` of ``channels.parquet``) are left out.
    tissue
        Whether masks of tissue are read, as elements that ``tissue="auto"`` takes.
    mpp
        Pixel size in µm. Default: by the images.
    cell_table
        Whether to measure the cells: see `spatialfm.pp.cell_table`. This reads all pixels once. Their annotations
        (``cells.parquet``) are columns of it.
    on_pieces
        What becomes of numbers that are used for several cells, as in `spatialfm.pp.cell_table`.

    Returns
    -------
    SpatialData
        For every image ``image_<sample>``, ``cells_<sample>`` and ``tissue_<sample>`` in the coordinate system
        ``<sample>`` in µm; the i-th channel of an image is the i-th that ``channels_per_tissue.parquet`` has as
        measured. ``sdata["samples"]`` has ``patient``, ``split`` and the other columns of ``tissues.parquet``. Where
        the data set has them, ``attrs["spatialfm"]["spora"]`` holds ``statistics``, the folder of published means,
        deviations and quantiles, for ``recipe={"statistics": ...}`` of `spatialfm.tl.embed_cells` and its relatives,
        and ``embeddings``, the folder of those of the markers, for ``panel={"embeddings": ...}``. Accessions of
        channels are in ``attrs["spatialfm"]["panel"]["uniprot"]``.

    Raises
    ------
    InputFileError
        If tables or images are missing, an image has no pixels or no row in ``tissues.parquet``, or image and mask
        differ in size.
    PanelError
        If an image has another number of channels than were measured, or its own names are in another order.
    ClinicalError
        If a sample has no patient.

    Warns
    -----
    SpatialfmWarning
        If images or masks were not downloaded; and as `spatialfm.io.read_ome_zarr` does.

    References
    ----------
    https://spora.epfl.ch; data sets have licences of their own.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sdata = sfm.io.read_spora("cords2024cancer", "imc")  # doctest: +SKIP
    >>> statistics = sdata.attrs["spatialfm"]["spora"]["statistics"]  # doctest: +SKIP
    >>> sfm.tl.embed_cells(sdata, "virtues", recipe={"statistics": statistics})  # doctest: +SKIP
    """
    from ._assemble import assemble, measure_cells
    from ._each import read_each
    from ._sample_rows import sample_rows
    from ._spora_folder import find_layout, read_annotations, read_panel, read_tissues

    chosen = [samples] if isinstance(samples, str) else samples
    layout = find_layout(Path(folder).expanduser(), modality, chosen)
    panel = read_panel(layout)
    info, n_without = read_tissues(layout)
    obs = sample_rows(info, "tissues.parquet", None, library_key="sample", patient_key="patient_id")
    annotated = read_annotations(layout) if cell_table else None
    read = read_each([(one, _opener(layout, panel, one, qc_pass, tissue, mpp)) for one in layout.images])
    sdata = assemble(read, obs, can_rename=False)
    sdata.attrs[ATTRS]["spora"] = _for_embedding(layout)
    sdata.attrs[ATTRS]["panel"]["uniprot"] = {
        name: panel.accessions[name] for name in sdata.attrs[ATTRS]["panel"]["union"] if name in panel.accessions
    }
    _warn_of_missing(layout, read, n_without if samples is None else 0)
    left_out = [name for name in panel.measured.columns if name not in panel.passed]
    if qc_pass and left_out:
        logger.info(f"{counted(len(left_out), 'channel')} did not pass quality control: {listed(left_out)}")
    logger.info(f"{counted(len(read), 'sample')} of '{layout.root}', {layout.modality}")
    if cell_table and any(name.startswith(CELLS_PREFIX) for name in sdata.labels):
        measure_cells(sdata, on_pieces, annotated)
    return sdata


def _opener(
    layout: SporaLayout, panel: SporaPanel, sample: str, qc_pass: bool, tissue: bool, mpp: float | None
) -> Callable[[], ReadSample]:
    def opened() -> ReadSample:
        from ._elements import labels_element, place_sample
        from ._mask import MaskOptions

        image = _named(layout, panel, sample, qc_pass)
        mask = layout.cells / f"{sample}.npz"
        read = place_sample(
            sample,
            image,
            layout.images[sample],
            mask if mask.is_file() else None,
            mpp=mpp,
            mask_options=MaskOptions(plane="mask"),
        )
        of_tissue = layout.tissue / f"{sample}.npz"
        if tissue and of_tissue.is_file():
            labels = _tissue(of_tissue, image)
            name = TISSUE_PREFIX + sample
            read = replace(read, labels={**read.labels, name: labels_element(labels, sample, read.record["mpp"])})
        return read

    return opened


def _named(layout: SporaLayout, panel: SporaPanel, sample: str, qc_pass: bool) -> LazyImage:
    """An image with its measured channels, without those that failed."""
    from ._pixel_size import PixelSize
    from ._zarr_image import read_zarr_image

    path, names = layout.images[sample], panel.names(sample)
    try:
        image = read_zarr_image(path, names)
    except PanelError as error:
        raise PanelError(
            f"channels_per_tissue.parquet has {counted(len(names), 'channel')} of image '{path}' as measured, which is "
            f"not its number of channels: {error}"
        ) from error
    if moved := [text for kind, text in image.notes if kind == "names_moved"]:
        raise PanelError(
            f"The channels of '{path}' have names of their own in another order than channels_per_tissue.parquet "
            f"({moved[0].replace('channel_names', 'the table')}). Which is right cannot be told; download both again."
        )
    if image.pixel_size is None:
        image = replace(image, pixel_size=PixelSize(layout.mpp, layout.mpp, "the name of its folder"), ignored_size="")
    keep = [i for i, name in enumerate(names) if name in panel.passed or not qc_pass]
    if not keep:
        raise PanelError(f"No channel of '{path}' passed quality control. Pass qc_pass=False to keep them.")
    return image.of_channels(keep)


def _tissue(path: Path, image: LazyImage):
    """Mask of tissue ``(y, x)`` as 0 and 1."""
    from ._mask_arrays import open_arrays
    from ._mask_file import chosen_plane

    mask = chosen_plane(open_arrays(path), "mask")
    if mask.shape != image.shape[1:]:
        raise InputFileError(
            f"Tissue '{path}' is {mask.shape[0]} x {mask.shape[1]} pixels (y, x), image '{image.path}' is "
            f"{image.shape[1]} x {image.shape[2]}. Download both again, or pass tissue=False."
        )
    return (mask > 0).astype("uint8")


def _for_embedding(layout: SporaLayout) -> dict[str, str]:
    """What of the data set embedding may take, as paths."""
    paths = {"dataset": layout.root.resolve().name, "modality": layout.modality}
    for name, path in (("statistics", layout.statistics), ("embeddings", layout.embeddings)):
        if path is not None:
            paths[name] = str(path.resolve())
    return paths


def _warn_of_missing(layout: SporaLayout, read: Sequence[ReadSample], n_without: int) -> None:
    if n_without:
        warn(
            f"{counted(n_without, 'row')} of tissues.parquet {'has' if n_without == 1 else 'have'} no image of "
            f"{layout.modality!r}, and so no sample: they were not downloaded, or removed."
        )
    lacking = [one.sample for one in read if CELLS_PREFIX + one.sample not in one.labels]
    if lacking:
        warn(
            f"{counted(len(lacking), 'sample has', 'samples have')} no mask in '{layout.cells}', and so no cells: "
            f"{listed(lacking)}."
        )
