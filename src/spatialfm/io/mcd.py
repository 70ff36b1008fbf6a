"""Files of imaging mass cytometers: .mcd and .txt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pandas as pd

from .._errors import InputFileError, PanelError, counted, listed, warn
from .._keys import ATTRS, PANORAMAS
from .._logging import logger
from .._public import public
from ._names import is_tiff_name
from ._panel_file import PanelNames, given_channel_names

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from ._elements import ReadSample
    from ._imc_samples import ImcSample
    from ._lazy_image import LazyImage
    from ._steinbock_folder import SteinbockPanel


@public
def read_mcd(
    path: str | PathLike | Sequence[str | PathLike],
    *,
    acquisitions: Sequence[int | str] | None = None,
    names: Literal["label", "metal"] = "label",
    panel: str | PathLike | None = None,
    channel_names: Sequence[str] | Mapping[str | int, str] | pd.DataFrame | str | PathLike | None = None,
    mpp: float | None = None,
    masks: str | PathLike | None = None,
    clinical: pd.DataFrame | str | PathLike | None = None,
    library_key: str = "sample",
    patient_key: str = "patient",
    panoramas: bool = True,
    on_broken: Literal["raise", "drop"] = "raise",
    cast_labels: bool = False,
    cell_table: bool = True,
    on_pieces: Literal["raise", "split", "keep"] = "raise",
) -> SpatialData:
    r"""Read files of an imaging mass cytometer, ``.mcd`` or ``.txt``, lazily: every acquisition is a sample.

    Only metadata are read; pixels follow when they are needed, row by row from an ``.mcd``, a whole acquisition from a
    ``.txt``. Where an ``.mcd`` was not copied whole, or does not hold what it states, the ``.txt`` files beside it
    (``<file>_<description>_<number>.txt``) take its place, with a warning. Needs the extra ``imc`` for ``.mcd``.

    Parameters
    ----------
    path
        One file, several, or a folder with all of them. A ``.txt`` beside its ``.mcd`` is read only where that is
        broken.
    acquisitions
        Those to be read, by number, description or name of the sample. Default: all.
    names
        What channels are called: by what was typed in (``"label"``; the metal where nothing was), or by the metal.
    panel
        Panel of steinbock (`spatialfm.io.read_steinbock`): which channels are kept, in which order, and their names, by
        the metal.
    channel_names
        Names of channels in place of these, as in `spatialfm.io.read_tiff`.
    mpp
        Pixel size in µm. Default: the distance between shots that the ``.mcd`` states; for ``.txt`` 1 µm, with a
        warning.
    masks
        Folder of masks, named as the samples (``<file>_<number with 3 digits>.tiff``, also with ``_mask``).
    clinical
        Table with one row per sample, whose column `library_key` names samples.
    library_key
        Column of `clinical` that names the samples.
    patient_key
        Column of patients in `clinical`.
    panoramas
        Whether pictures of the slide become image elements.
    on_broken
        What becomes of an acquisition whose pixels cannot be read: an error, or left out with a warning.
    cast_labels
        Whether labels stored as floats are taken, as in `spatialfm.io.read_tiff`.
    cell_table
        Whether to measure the cells of samples that have a mask: see `spatialfm.pp.cell_table`. This reads all pixels
        once.
    on_pieces
        What becomes of numbers that are used for several cells, as in `spatialfm.pp.cell_table`.

    Returns
    -------
    SpatialData
        For every acquisition the image ``image_<file>_<number>`` ``(c, y, x)``, float32 counts, and with `masks` the
        labels, in the coordinate system of the sample in µm. ``sdata["samples"]`` has one row for each with its number,
        description, place on the slide (µm) and whether it was read from the ``.txt``. Panoramas are images
        ``panorama_<file>_<number>`` (red, green, blue), in the coordinate systems of the acquisitions that lie in them;
        ``attrs["spatialfm"]["panoramas"]`` names them, and functions do not take them for samples.
        ``attrs["spatialfm"]["samples"][<sample>]`` holds ``channel_ids``, the metals.

    Raises
    ------
    InputFileError
        If files are missing, or an acquisition cannot be read and has no ``.txt``; with all of them.
    PixelSizeError
        If pixels are not square, or sizes other than 1 µm stand beside ``.txt`` files, which state none.
    PanelError
        If the panel names a metal that was not measured, or names are not as many as channels.
    ClinicalError
        If a sample has no row in `clinical`, or no patient.

    Warns
    -----
    SpatialfmWarning
        If pixels come from a ``.txt`` because the ``.mcd`` is broken, an acquisition was not finished (what is missing
        is 0), or is left out.

    References
    ----------
    Windhager et al., An end-to-end workflow for multiplexed image processing and analysis, Nature Protocols 2023

    Examples
    --------
    >>> import pathlib, tempfile, spatialfm as sfm
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "slide_ROI_1.txt"
    >>> columns = ["Start_push", "End_push", "Pushes_duration", "X", "Y", "Z", "CD3(Er170Di)", "191Ir(Ir191Di)"]
    >>> rows = [[0, 0, 0, x, y, 0, 10 * y + x, 1] for y in range(3) for x in range(4)]
    >>> _ = file.write_text("\n".join("\t".join(map(str, row)) for row in [columns, *rows]))
    >>> sdata = sfm.io.read_mcd(file, mpp=1)
    >>> sdata.images["image_slide_ROI_1"].coords["c"].values.tolist()
    ['CD3', '191Ir']
    >>> float(sdata.images["image_slide_ROI_1"].sel(c="CD3")[2, 3])
    23.0
    """
    from ._assemble import assemble, check_renaming, measure_cells
    from ._each import read_each
    from ._imc_samples import find_acquisitions, without_broken
    from ._one_unit import check_sizes
    from ._panorama import panorama_elements
    from ._sample_rows import sample_rows
    from ._steinbock_folder import read_panel

    paths = [path] if isinstance(path, str | PathLike) else list(path)
    acquired = find_acquisitions([Path(one).expanduser() for one in paths], acquisitions)
    samples, broken = without_broken(acquired.samples, on_broken == "drop")
    mask_of = _masks(samples, masks)
    of_panel = None if panel is None else read_panel(Path(panel).expanduser())
    given = given_channel_names(channel_names)
    obs = sample_rows(
        _info(samples),
        "the files of the instrument",
        clinical,
        library_key=library_key,
        patient_key=patient_key,
        other_names={name: one.sample for one in samples for name in one.names},
    )
    read = read_each([(one.sample, _opener(one, names, of_panel, given, mpp, mask_of, cast_labels)) for one in samples])
    if isinstance(given, dict):
        check_renaming(given, read)
    if any(one.record["mpp"] != 1 for one in read):  # what is assumed of .txt files
        check_sizes(read, "Pass")
    sdata = assemble(read, obs)
    _say(samples, broken)
    if panoramas and (pictures := panorama_elements(acquired.contents, samples)):
        for name, element in pictures.items():
            sdata.images[name] = element
        sdata.attrs[ATTRS][PANORAMAS] = list(pictures)
    logger.info(f"{counted(len(read), 'acquisition')}, {len(sdata.labels)} with labels")
    if cell_table and sdata.labels:
        measure_cells(sdata, on_pieces)
    return sdata


def _masks(samples: Sequence[ImcSample], folder: str | PathLike | None) -> dict[str, Path]:
    """Mask of each sample, by name; refused where the folder has none of any."""
    if folder is None:
        return {}
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise InputFileError(
            f"masks='{root}' is not a folder. Pass the folder that holds one mask for each acquisition."
        )
    files: dict[str, Path] = {}
    for file in sorted(one for one in root.iterdir() if is_tiff_name(one)):
        if (other := files.setdefault(_mask_stem(file), file)) is not file:
            raise InputFileError(f"Masks '{other}' and '{file}' would be of one acquisition. Move one away.")
    mask_of = {
        one.sample: files[name.casefold()]
        for one in samples
        for name in reversed(one.names)
        if name.casefold() in files
    }
    if not mask_of:
        raise InputFileError(
            f"'{root}' has no mask named as an acquisition: it has {listed([one.name for one in files.values()], 3)}, "
            f"and the acquisitions are {listed([one.sample for one in samples], 3)}. Name them so."
        )
    if bare := [one.sample for one in samples if one.sample not in mask_of]:
        warn(
            f"{counted(len(bare), 'acquisition has', 'acquisitions have')} no mask, and so no cells: {listed(bare, 3)}."
        )
    return mask_of


def _mask_stem(file: Path) -> str:
    from ._names import stem

    name = stem(file).casefold()
    return next((name.removesuffix(end) for end in ("_mask", "-mask", "_masks") if name.endswith(end)), name)


def _info(samples: Sequence[ImcSample]) -> pd.DataFrame:
    """Row of each sample: what the files state of it, named as steinbock does in ``images.csv``."""
    rows = []
    for one in samples:
        corners = None if one.acquisition is None else one.acquisition.corners
        x, y = corners[0] if corners is not None else (float("nan"), float("nan"))
        recovered = one.text is not None and one.file.suffix.lower() == ".mcd"
        rows.append(
            {
                "source_file": one.file.name,
                "acquisition_id": one.number,
                "acquisition_description": one.description,
                "acquisition_start_x_um": x,
                "acquisition_start_y_um": y,
                "recovered": recovered,
            }
        )
    frame = pd.DataFrame(rows, index=pd.Index([one.sample for one in samples], dtype=object))
    return frame.dropna(axis=1, how="all")


def _opener(
    one: ImcSample,
    by: str,
    panel: SteinbockPanel | None,
    given: list[str] | dict[str | int, str] | None,
    mpp: float | None,
    mask_of: Mapping[str, Path],
    cast: bool,
) -> Callable[[], ReadSample]:
    def opened() -> ReadSample:
        from ._elements import place_sample
        from ._mask import MaskOptions

        image, metals = _image(one, by, panel, given)
        mask = mask_of.get(one.sample)
        read = place_sample(one.sample, image, Path(image.path), mask, mpp=mpp, mask_options=MaskOptions(cast))
        read.record["channel_ids"] = metals
        return read

    return opened


def _image(
    one: ImcSample, by: str, panel: SteinbockPanel | None, given: list[str] | dict[str | int, str] | None
) -> tuple[LazyImage, list[str]]:
    """An acquisition as an image, and the metals of its channels."""
    from ._image import of_panel
    from ._imc_names import imc_names
    from ._imc_text import lazy_text
    from ._lazy_image import LazyImage
    from ._mcd_array import lazy_acquisition
    from ._names import resolve_channel_names

    channels, own = tuple(range(len(one.metals))), imc_names(one.labels, one.metals, by)
    if panel is not None:
        if lacking := [metal for metal in panel.ids if metal not in one.metals]:
            raise PanelError(
                f"The panel keeps {listed(lacking)}, which '{one.file}' does not have; it has {listed(one.metals)}. "
                "Correct the panel, or give 0 in its column 'keep'."
            )
        channels, own = tuple(one.metals.index(metal) for metal in panel.ids), panel.names
    if one.text is not None:
        state, start, pixels = one.text.state, 0, lazy_text(one.text, channels)
    else:
        state, start = one.contents.state, one.acquisition.start
        pixels = lazy_acquisition(state, one.acquisition, channels)

    def named(given: list[str] | dict[str | int, str] | None) -> LazyImage:
        return LazyImage(
            levels=(pixels,),
            channel_names=tuple(resolve_channel_names(own, given, len(channels), f"'{one.file}'", needs_all=False)),
            is_named=True,
            pixel_size=None if one.acquisition is None else one.acquisition.pixel_size,
            other_size=None,
            ignored_size="",
            path=state.path,
            identity=frozenset({(state.path, start)}),
            found_names=tuple(own),
        )

    image = of_panel(given, named) if isinstance(given, PanelNames) else named(given)
    if image.left_out:
        channels = tuple(channels[place] for place in given.places)
    return image, [one.metals[channel] for channel in channels]


def _say(samples: Sequence[ImcSample], broken: Sequence[ImcSample]) -> None:
    """What came otherwise than it should: one warning of each kind."""
    if recovered := [one for one in samples if one.reason]:
        reasons = list(dict.fromkeys(one.reason for one in recovered))
        warn(
            f"{counted(len(recovered), 'acquisition is', 'acquisitions are')} read from .txt files, because the .mcd "
            f"is broken: {listed([one.sample for one in recovered], 5)}. {listed(reasons, 2, quoted=False)}"
        )
    parts = [(one.sample, one.acquisition) for one in samples if one.text is None and one.acquisition is not None]
    short = [
        f"{name} ({part.n_pixels:,} of {part.shape[1] * part.shape[2]:,} pixels)"
        for name, part in parts
        if part.n_pixels < part.shape[1] * part.shape[2]
    ]
    if short:
        warn(
            f"{counted(len(short), 'acquisition was', 'acquisitions were')} not finished; pixels that are missing are "
            f"0: {listed(short, 5, quoted=False)}."
        )
    if broken:
        shown = listed([f"{one.sample} ({one.problem})" for one in broken], 3, quoted=False)
        warn(f"{counted(len(broken), 'acquisition is', 'acquisitions are')} left out: {shown}.")
