"""One sample from an OME-Zarr store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from .._errors import InputFileError
from .._keys import ATTRS
from .._public import public
from ._names import default_sample
from ._ngff import is_zarr
from ._panel_file import given_channel_names
from ._paths import absent, exists, find_path

if TYPE_CHECKING:
    import pandas as pd
    from spatialdata import SpatialData


@public
def read_ome_zarr(
    path: str | PathLike,
    labels: str | PathLike | None = "auto",
    *,
    channel_names: Sequence[str] | Mapping[str | int, str] | pd.DataFrame | str | PathLike | None = None,
    mpp: float | None = None,
    sample: str | None = None,
    axes: str | None = None,
    series: int | None = None,
    cast_labels: bool = False,
    labels_plane: int | str | None = None,
) -> SpatialData:
    """Read an OME-Zarr image (OME-NGFF 0.4 and 0.5), and the label image of its cells, lazily.

    Only metadata are read; pixels follow when they are needed, chunk by chunk. The resolutions of the image become the
    scales of a multiscale element. `spatialfm.io.read_tiff` and the paths of `spatialfm.io.read_cohort` take such
    stores as well.

    Parameters
    ----------
    path
        Folder of the image (``.zarr``), of zarr format 2 or 3, on a disk.
    labels
        Name of the label image in the store's ``labels``, or path of another store or TIFF file. ``"auto"``: the one
        that the store has, if it has any; None: no cells.
    channel_names
        As in `spatialfm.io.read_tiff`. Default: the labels of the channels in ``omero``.
    mpp
        µm per pixel. Default: the scale of the largest resolution, where its axes state a unit of length.
    sample
        Name of the sample. Default: the folder's name without ``.ome.zarr``, made a valid name by
        `spatialfm.io.sample_name`.
    axes
        A word such as ``"tcyx"`` or ``"czyx"`` keeps the planes of a time series or Z stack as channels, as in
        `spatialfm.io.read_tiff`. Axes of length 1 need none.
    series
        Number of the image, where the store holds several.
    cast_labels
        Whether labels stored as floats are taken, as in `spatialfm.io.read_tiff`.
    labels_plane
        Plane of the labels with the cells, as in `spatialfm.io.read_tiff`.

    Returns
    -------
    SpatialData
        With the image ``image_<sample>`` ``(c, y, x)`` and the labels ``cells_<sample>`` ``(y, x)``, in the coordinate
        system ``<sample>`` in µm, and the record of `spatialfm.io.read_tiff`. The image begins at 0 µm, wherever its
        metadata place it.

    Raises
    ------
    InputFileError
        If the folder is not an OME-Zarr image (a plate, a SpatialData, a store of several images), is a time series or
        Z stack, lacks its pixels, or has several label images and none is named; if labels differ from the image in
        size or place.
    PanelError
        If channel names are not as many as channels, or duplicated.
    PixelSizeError
        If pixels are not square, or their size is outside of 0.05 to 10 µm and there is no `mpp`.

    Warns
    -----
    SpatialfmWarning
        As `spatialfm.io.read_tiff`.

    Examples
    --------
    >>> import tempfile, numpy as np, zarr, spatialfm as sfm
    >>> path = tempfile.mkdtemp() + "/core 1.ome.zarr"
    >>> axes = [{"name": "c", "type": "channel"}]
    >>> axes += [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"]
    >>> scale = [{"type": "scale", "scale": [1, 0.5, 0.5]}]
    >>> image = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
    >>> channels = [{"label": "DAPI"}, {"label": "CD3"}]
    >>> group = zarr.open_group(path, mode="w", zarr_format=3)
    >>> group.attrs["ome"] = {"version": "0.5", "multiscales": [image], "omero": {"channels": channels}}
    >>> _ = group.create_array("0", data=np.ones((2, 64, 48), "uint16"))
    >>> sdata = sfm.io.read_ome_zarr(path)
    >>> sdata.images["image_core_1"].shape, sdata.attrs["spatialfm"]["samples"]["core_1"]["mpp"]
    ((2, 64, 48), 0.5)
    """
    from spatialdata import SpatialData

    from ._assemble import warn_of
    from ._elements import read_sample
    from ._mask import MaskOptions

    folder = _store(path)
    name = default_sample(folder, sample)
    read = read_sample(
        name,
        folder,
        _labels(labels, folder, series),
        channel_names=given_channel_names(channel_names),
        mpp=mpp,
        axes=axes,
        series=series,
        mask_options=MaskOptions(cast_labels, labels_plane),
    )
    warn_of([read])
    return SpatialData(images=read.images, labels=read.labels, attrs={ATTRS: {"samples": {name: read.record}}})


def _store(path: str | PathLike) -> Path:
    folder = find_path(str(path))
    if not exists(folder):
        raise InputFileError(f"Cannot read {absent(str(path), folder)}. Check the path.")
    if folder.is_file():
        is_packed = folder.suffix.lower() in (".zip", ".ozx")
        fix = "Unpack it first." if is_packed else "Read a TIFF with sfm.io.read_tiff."
        raise InputFileError(f"'{folder}' is a file, and an OME-Zarr image is a folder. {fix}")
    if not is_zarr(folder):
        raise InputFileError(
            f"'{folder}' is not a zarr store: it has no zarr.json, .zgroup or .zattrs. Pass the folder that has."
        )
    return folder


def _labels(labels: str | PathLike | None, folder: Path, series: int | None) -> Path | None:
    """Group or file of the cells; None for none."""
    from ._ngff import label_groups, read_ngff
    from ._zarr_image import find_labels

    if labels is None:
        return None
    group = read_ngff(folder, series).path
    own = label_groups(group)
    if labels == "auto":
        return find_labels(group) if own else None
    path = find_path(str(labels))
    is_path = str(labels) not in own and exists(path)  # a name of the store goes before a file of that name here
    return path if is_path else find_labels(group, str(labels))
