"""Cells as polygons in GeoJSON, with or without the image that they lie on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .._errors import InputFileError
from .._keys import AREA, cells_name
from .._logging import logger
from .._public import public
from ..pp.joins import counted

if TYPE_CHECKING:
    import pandas as pd
    from spatialdata import SpatialData

    from ._cell_frame import CellFrame
    from ._elements import ReadSample
    from ._geojson import CellPolygons


@public
def read_geojson(
    cells: str | PathLike,
    image: str | PathLike | None = None,
    *,
    mpp: float | None = None,
    sample: str | None = None,
    instance_key: str | None = None,
    compartment: Literal["cell", "nucleus", "cytoplasm", "membrane"] | None = None,
    statistic: str = "mean",
    channel_names: Sequence[str] | Mapping[str | int, str] | pd.DataFrame | str | PathLike | None = None,
) -> SpatialData:
    """Read the polygons of cells, and the image that they are drawn on.

    Parameters
    ----------
    cells
        GeoJSON file (``.geojson``, ``.json``, also ``.gz`` or ``.zip``) with one polygon per cell in pixels of the
        image at full resolution, as QuPath exports detections.
    image
        Image, as in `spatialfm.io.read_tiff`.
    mpp
        µm in one unit of the coordinates. Default: the pixel size of the image; without an image, 1 with a warning.
    sample
        Name of the sample. Default: from the name of the image, or of `cells`.
    instance_key
        Property that names a cell. Default: the ``id`` of each feature.
    compartment
        Of which part of a cell the measured intensities in ``X`` are, where the file has any. Default: the cell.
    statistic
        Which statistic of the pixels they are.
    channel_names
        Names of channels, as in `spatialfm.io.read_tiff`.

    Returns
    -------
    SpatialData
        Shapes ``cells_<sample>``, in the coordinate system ``<sample>`` in µm, whose index are the ids where these are
        whole numbers; other ids are in its column ``object_id``, and cells are numbered from 1. ``sdata["table"]`` has
        one row per cell: centroids in µm in ``obsm["spatial"]``; ``phenotype`` (name of the classification),
        ``object_id``, ``area`` in µm² and the measurements in ``obs``; mean intensities in ``X``. With `image` also
        ``image_<sample>``.

    Raises
    ------
    InputFileError
        If the file is not GeoJSON, has no cells, or polygons are outside of the image.
    TableError
        If ids are missing or occur twice.

    Warns
    -----
    SpatialfmWarning
        If the unit of the coordinates is not known, polygons had to be made valid, or cells are implausibly far apart.

    Examples
    --------
    >>> import json, tempfile, spatialfm as sfm
    >>> path = f"{tempfile.mkdtemp()}/core 1.geojson"
    >>> square = [[[10, 10], [18, 10], [18, 14], [10, 14], [10, 10]]]
    >>> feature = {
    ...     "type": "Feature", "id": "7a-b", "geometry": {"type": "Polygon", "coordinates": square},
    ...     "properties": {"objectType": "cell", "classification": {"name": "Tumor"}},
    ... }
    >>> _ = open(path, "w").write(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    >>> sdata = sfm.io.read_geojson(path, mpp=0.5)
    >>> sdata["table"].obs[["cell_id", "object_id", "phenotype", "area"]]
              cell_id object_id phenotype  area
    core_1_1        1      7a-b     Tumor   8.0
    >>> sdata["table"].obsm["spatial"]
    array([[7., 6.]])
    """
    import pandas as pd

    from ._assemble import assemble
    from ._cell_columns import check_distances
    from ._cell_frame import table_of_cells
    from ._geojson import read_polygons
    from ._panel_file import given_channel_names
    from ._paths import find_path

    path = find_path(str(cells))
    polygons = read_polygons(path, instance_key)
    image_path = None if image is None else find_path(str(image))
    name = _sample(sample, path, image_path)
    read = polygon_sample(name, polygons, image_path, mpp, given_channel_names(channel_names))
    frame = frame_of_polygons(name, polygons, read.record["mpp"], compartment, statistic)
    table = table_of_cells([frame], source=polygons.source)
    sdata = assemble([read], pd.DataFrame(index=pd.Index([name], dtype=object)), table)
    check_distances([(name, frame.xy)], "Pass mpp=<µm in one unit of the coordinates>.")
    logger.info(f"{counted(len(frame.ids), 'cell')} of {polygons.source}")
    return sdata


def polygon_sample(
    sample: str,
    polygons: CellPolygons,
    image: Path | None,
    mpp: float | None,
    channel_names: list[str] | dict[str | int, str] | None,
    default_mpp: float | None = None,
) -> ReadSample:
    """A sample whose cells are polygons in pixels.

    Parameters
    ----------
    default_mpp
        Pixel size where neither `mpp` nor the image has one.

    Raises
    ------
    InputFileError
        If polygons are outside of the image.
    """
    from ._drawn import outside_of_image, shapes_element
    from ._elements import place_sample, sample_without_image
    from ._image import read_image
    from ._pixel_size import positive_mpp

    if image is None:
        size, source = (default_mpp, "format") if positive_mpp(mpp) is None else (mpp, "argument")
        read = sample_without_image(sample, polygons.source.strip("'"), size, source)
    else:
        opened = read_image(image, channel_names)
        if text := outside_of_image(polygons.cells, opened.shape[1:], f"{polygons.source} on image '{opened.path}'"):
            raise InputFileError(text)
        given = default_mpp if mpp is None and opened.pixel_size is None else mpp
        read = place_sample(sample, opened, image, mpp=given)
    columns = [name for name in ("object_id", "classification", "name") if name in polygons.cells]
    shapes = shapes_element(polygons.cells[["geometry", *columns]], sample, read.record["mpp"])
    record = {**read.record, "shapes": polygons.source.strip("'")}
    return replace(read, shapes={cells_name(sample): shapes}, record=record)


def frame_of_polygons(
    sample: str, polygons: CellPolygons, mpp: float, compartment: str | None, statistic: str
) -> CellFrame:
    """What the file states of the cells, and where they are."""
    import pandas as pd

    from ._cell_frame import CellFrame
    from ._qupath_columns import chosen_intensities

    cells, values = polygons.cells, polygons.measurements
    chosen = chosen_intensities(values.columns, compartment, statistic, polygons.source)
    known = {"phenotype": "classification", "object_id": "object_id", "name": "name"}
    columns = {new: cells[name].to_numpy() for new, name in known.items() if name in cells}
    columns[AREA] = cells.area.to_numpy() * mpp**2
    rest = values.drop(columns=list(chosen.values())).reset_index(drop=True)
    obs = pd.concat([pd.DataFrame(columns), rest], axis=1)
    intensities = values[list(chosen.values())].set_axis(list(chosen), axis=1).reset_index(drop=True)
    return CellFrame(sample, cells.index.to_numpy(), polygons.centres * mpp, intensities, obs)


def _sample(given: str | None, cells: Path, image: Path | None) -> str:
    from ._geojson import GEOJSON_SUFFIXES
    from ._named_files import bare
    from ._names import default_sample, sample_name

    if given is None and image is None:
        return sample_name(bare(cells.name, GEOJSON_SUFFIXES))
    return default_sample(image or cells, given)
