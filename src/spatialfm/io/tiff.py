"""One sample from TIFF files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Literal

from .._errors import InputFileError
from .._keys import ATTRS
from .._public import public
from ._names import default_sample
from ._panel_file import given_channel_names
from ._paths import exists, find_path
from ._state import file_state

if TYPE_CHECKING:
    import pandas as pd
    from spatialdata import SpatialData


@public
def read_tiff(
    image: str | PathLike,
    labels: str | PathLike | None = None,
    *,
    channel_names: Sequence[str] | Mapping[str | int, str] | pd.DataFrame | str | PathLike | None = None,
    mpp: float | None = None,
    sample: str | None = None,
    axes: str | None = None,
    series: int | None = None,
    cast_labels: bool = False,
    labels_plane: int | str | None = None,
    labels_series: int | None = None,
    labels_encoding: Literal["rgb", "bgr"] | None = None,
) -> SpatialData:
    """Read one image, and the mask of its cells, lazily.

    Only metadata are read; pixels follow when they are needed, strip by strip or tile by tile. Read are OME-TIFF,
    ImageJ's TIFF, QPTIFF, TIFFs with one page per channel, colour images, and folders of one TIFF per marker; 8-, 16-,
    32- and 64-bit integers and floats, compressed or not. The levels of a pyramid become the scales of a multiscale
    element.

    Parameters
    ----------
    image
        TIFF file, or folder of TIFFs of one channel each, named after the markers and taken in natural order. Masks
        among them, by name and pixels, are left out with a warning, unless `channel_names` names them. An OME-Zarr
        image is read too: see `spatialfm.io.read_ome_zarr`.
    labels
        TIFF, ``.npy``, ``.npz`` or PNG: 0 outside cells, a whole number for each cell. A mask of another resolution is
        scaled to the image by nearest neighbour, with a warning. Its pixels are not looked at here:
        `spatialfm.pp.check_labels` does, before `spatialfm.pp.cell_table` measures.
    channel_names
        Names in the file's order; a text file with one name per line; or a table (file or frame) with a row per channel
        and a column called ``name``, ``marker_name``, ``channel_name``, ``marker`` or the like. Its columns ``keep``
        (1, 0) and ``remove`` (TRUE, FALSE) leave channels out of the image, and the record states which. A mapping
        renames single channels, by name or by position. Default: the file's metadata.
    mpp
        µm per pixel. Default: OME-XML, ImageJ's unit, or resolution tags, in this order. Resolutions in tags, or in
        ImageJ's inch or cm, that would make a pixel larger than 10 µm are a printer's or a screen's and are ignored.
    sample
        Name of the sample. Default: the file's stem without ``.ome``, or the folder's name, made a valid name by
        `sfm.io.sample_name`.
    axes
        Order of the axes in the file, if its metadata do not state it or are wrong: ``"cyx"`` or ``"yxc"``. A word with
        ``t`` or ``z``, such as ``"tcyx"``, keeps every plane of a stack as a channel: staining cycles that are stored
        as time points become ``cyc1_DAPI``, ``cyc1_CD3``, ``cyc2_DAPI`` ..., Z planes ``z1_DAPI`` ...
    series
        Number of the image in a file that holds several. Default: the only one, or the one next to which all others
        are thumbnails; of a set of files that are described together, the one whose pixels are in this file.
    cast_labels
        Whether labels stored as floats are taken, once every value has been checked to be a whole number.
    labels_plane
        Number (from 0) or name of the plane with the cells, where the labels have several, such as nuclei and cells.
        The arrays of an ``.npz`` are its planes.
    labels_series
        Number of the image with the labels, where their file holds several.
    labels_encoding
        For masks in which each cell has a colour: ``"rgb"``, its number is R + 256 G + 65,536 B; ``"bgr"``, B + 256 G +
        65,536 R. Black is the background.

    Returns
    -------
    SpatialData
        With the image ``image_<sample>`` ``(c, y, x)`` and the labels ``cells_<sample>`` ``(y, x)``, both with one
        transformation, to the coordinate system ``<sample>`` in µm. ``attrs["spatialfm"]["samples"][<sample>]`` holds
        the pixel size ``mpp``, its source ``mpp_source`` (``"metadata"``, ``"argument"`` or ``"assumed"``) and the
        paths.

    Raises
    ------
    InputFileError
        If a file is missing, not a TIFF, truncated, a stack in Z or time, if labels are not of the image's field, or
        not whole numbers.
    PanelError
        If channel names are not as many as channels, or duplicated.
    PixelSizeError
        If pixels are not square, or OME-XML or ImageJ state a size outside of 0.05 to 10 µm and there is no `mpp`.

    Warns
    -----
    SpatialfmWarning
        If there is no pixel size anywhere (1 µm is assumed), if the metadata contradict `mpp` (which is used) or each
        other, if channels have no names or are the colours of a picture, or if the metadata leave out pages.

    Examples
    --------
    >>> import tempfile, numpy as np, tifffile, spatialfm as sfm
    >>> folder = tempfile.mkdtemp()
    >>> metadata = {"axes": "CYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "Channel": {"Name": ["DAPI", "CD3"]}}
    >>> tifffile.imwrite(f"{folder}/core 1.ome.tif", np.zeros((2, 64, 48), "uint16"), metadata=metadata)
    >>> tifffile.imwrite(f"{folder}/mask.tif", np.zeros((64, 48), "uint16"))
    >>> sdata = sfm.io.read_tiff(f"{folder}/core 1.ome.tif", f"{folder}/mask.tif")
    >>> sdata.images["image_core_1"].shape, list(sdata.labels)
    ((2, 64, 48), ['cells_core_1'])
    >>> sdata.attrs["spatialfm"]["samples"]["core_1"]["mpp"]
    0.5
    """
    from spatialdata import SpatialData

    from ._assemble import warn_of
    from ._elements import read_sample
    from ._mask import MaskOptions

    for argument, value in (("image", image), ("labels", labels)):
        _check_path(argument, value)
    path = find_path(str(image))
    name = default_sample(path, sample)
    read = read_sample(
        name,
        path,
        None if labels is None else find_path(str(labels)),
        channel_names=given_channel_names(channel_names),
        mpp=mpp,
        axes=axes,
        series=series,
        mask_options=MaskOptions(cast_labels, labels_plane, labels_series, labels_encoding),
    )
    warn_of([read])
    return SpatialData(images=read.images, labels=read.labels, attrs={ATTRS: {"samples": {name: read.record}}})


def _check_path(argument: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, str | PathLike):
        model = "Image2DModel" if argument == "image" else "Labels2DModel"
        raise TypeError(
            f"{argument}= is a path, not {type(value).__name__}. An array becomes an element of a SpatialData with "
            f"spatialdata.models.{model}.parse(...)."
        )
    if re.search(r"[*?\[]", str(value)) and not exists(find_path(str(value))):
        raise InputFileError(
            f"No file '{value}': patterns are not expanded. Pass one path per call, or a table with one row per "
            "sample to sfm.io.read_cohort."
        )
    path = find_path(str(value))
    if not exists(path):
        file_state(path)  # raises with the reason
