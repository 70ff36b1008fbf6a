"""Rows of a cohort that other readers open: the folder of steinbock, a file of the instrument, a project of MCMICRO."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._errors import InputFileError, counted, listed
from .._keys import ATTRS, cells_name, image_name

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from ._elements import ReadSample

QUPATH = "qupath"  # opened row by row, of three paths: see `_qupath_row`
PLAIN = "tiff"  # whatever `read_image` opens, with a mask in a file of its own
# kind: the reader of this room, and what it is told so that it gives images and labels only
READERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ome_zarr": ("read_ome_zarr", {}),
    "steinbock": ("read_steinbock", {"cell_table": False}),
    "mcd": ("read_mcd", {"cell_table": False, "panoramas": False}),
    "mcmicro": ("read_mcmicro", {"cell_table": False, "quantification": False}),
    "spora": ("read_spora", {"cell_table": False, "tissue": False}),
    "inform": ("read_inform", {}),
    "cellprofiler": ("read_cellprofiler", {}),
    "geojson": ("read_geojson", {}),
}
KINDS = (PLAIN, *READERS, QUPATH)
# the argument of a reader that takes the path of a mask, or of a folder of masks by name
_LABELS = {"ome_zarr": "labels", "mcd": "masks", "inform": "labels"}


def open_kind(kind: str, path: Path, labels: Path | None, *, channel_names: object, mpp: float | None) -> SpatialData:
    """Everything that the reader of a kind finds at a path.

    Raises
    ------
    InputFileError
        If the reader finds masks itself, and a path of one is given.
    """
    name, told = READERS[kind]
    reader: Any = getattr(importlib.import_module("spatialfm.io"), name)
    options = dict(told)
    if channel_names is not None:
        if "channel_names" not in reader.arguments:
            raise InputFileError(f"Kind {kind!r} has its own names of channels. Read it apart, without channel_names=.")
        options["channel_names"] = channel_names
    if kind == "geojson":  # the polygons are what this reader is about, and the image what they are drawn on
        if labels is None:
            raise InputFileError(
                f"'{path}' has no polygons: write the path of the .geojson file where masks are named."
            )
        return reader(labels, path, mpp=mpp, **options)
    if labels is not None:
        if kind not in _LABELS:
            raise InputFileError(
                f"'{labels}' is not needed: the masks of kind {kind!r} are found in '{path}'. Leave the path of the "
                "mask of this row empty."
            )
        options[_LABELS[kind]] = labels
    return reader(path, mpp=mpp, **options)


def sample_of(sample: str, kind: str, path: Path, sdata: SpatialData, taken: dict[str, str]) -> ReadSample:
    """The sample of a row: the one of its name, or the only one that is there, which then gets the row's name.

    `taken` holds the row of each sample of this path that has one, and gets this one.

    Raises
    ------
    InputFileError
        If there are several, none of them of that name; or another row has it already.
    """
    records: Mapping[str, dict[str, Any]] = sdata.attrs[ATTRS]["samples"]
    own_name = sample if sample in records else next(iter(records)) if len(records) == 1 else None
    if own_name is None:
        raise InputFileError(
            f"'{path}' ({kind}) holds {counted(len(records), 'sample')}: {listed(records, 12)}. Name the sample of "
            "each row as one of these, with one row per sample and the same path in each."
        )
    if (other := taken.setdefault(own_name, sample)) != sample:
        raise InputFileError(
            f"'{path}' ({kind}) holds sample {own_name!r} alone, which row {other!r} has already. Correct the path of "
            "one of the two rows."
        )
    from ..pp.arrays import channel_names
    from ._elements import ReadSample

    image = sdata.images.get(image_name(own_name))
    if image is None:
        raise InputFileError(f"'{path}' ({kind}) has no image of sample {own_name!r}, only its cells.")
    shapes = sdata.shapes[cells_name(own_name)] if cells_name(own_name) in sdata.shapes else None
    labels = sdata.labels[cells_name(own_name)] if cells_name(own_name) in sdata.labels else None
    channels = tuple(channel_names(sdata, image_name(own_name)))
    return ReadSample(
        sample=sample,
        images={image_name(sample): _moved(image, own_name, sample)},
        labels={} if labels is None else {cells_name(sample): _moved(labels, own_name, sample)},
        channel_names=channels,
        record={**records[own_name], "kind": kind},
        found_names=channels,
        shapes={} if shapes is None else {cells_name(sample): _moved(shapes, own_name, sample)},
    )


def _moved(element: Any, old: str, new: str) -> Any:
    """The element in the coordinate system of another name."""
    from spatialdata.transformations import get_transformation, remove_transformation, set_transformation

    if old != new:
        transformation = get_transformation(element, to_coordinate_system=old)
        remove_transformation(element, old)
        set_transformation(element, transformation, to_coordinate_system=new)
    return element
