"""Polygons of cells in GeoJSON, as QuPath and other programs write it."""

from __future__ import annotations

import gzip
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import shapely
from shapely.geometry import shape

from .._errors import InputFileError, TableError, counted, listed, warn
from .._logging import logger

if TYPE_CHECKING:
    import geopandas as gpd

GEOJSON_SUFFIXES = (".geojson", ".json", ".geojson.gz", ".json.gz", ".zip")
# what QuPath calls its objects; a polygon that says nothing is a cell
_CELLS = frozenset(["cell", "detection"])
_CLASSES = {"pathcellobject": "cell", "pathdetectionobject": "detection", "pathannotationobject": "annotation"}


@dataclass(frozen=True)
class CellPolygons:
    """Polygons of the cells of one image.

    Attributes
    ----------
    cells
        One row per cell in the order of the file, with its id as the index: ``geometry`` in the units of the file,
        ``object_id`` (text; where the file has ids that are not whole numbers), ``classification`` and ``name`` where
        the file has them.
    measurements
        ``(n, measurements)`` numbers, of the same index.
    source
        File, for messages.
    """

    cells: gpd.GeoDataFrame
    measurements: pd.DataFrame
    source: str

    @property
    def centres(self) -> np.ndarray:
        """Centroids ``(n, 2)`` x, y, in the units of the file."""
        centroid = self.cells.centroid
        return np.stack([centroid.x, centroid.y], axis=1)


def read_polygons(path: Path, instance_key: str | None = None) -> CellPolygons:
    """Cells of a GeoJSON file.

    Parameters
    ----------
    path
        File, or one of them compressed (``.gz``, ``.zip``).
    instance_key
        Property that names a cell. Default: the ``id`` of the feature; if there is none, cells are numbered from 1.

    Raises
    ------
    InputFileError
        If the file is not GeoJSON, or has no polygon of a cell.
    TableError
        If an id occurs twice, or a cell lacks one.
    """
    import geopandas as gpd

    features, others = _cells(path)
    if others:
        logger.info(f"'{path}': {others} that are not cells are left out")
    ids = _ids(features, instance_key, path)
    geometries = _geometries(features, ids, path)
    columns = {"classification": [_classification(one) for one in features], "name": [_name(one) for one in features]}
    numbers = _whole(ids)
    index = pd.Index(np.arange(1, len(ids) + 1) if numbers is None else numbers)
    cells = gpd.GeoDataFrame({"geometry": geometries}, index=index)
    if numbers is None and ids[0] is not None:
        cells["object_id"] = [str(one) for one in ids]
    for name, values in columns.items():
        if any(value is not None for value in values):
            cells[name] = values
    try:
        measurements = pd.DataFrame([_measurements(one) for one in features], index=index)
    except (TypeError, ValueError, AttributeError) as error:
        raise TableError(
            f"'{path}' has measurements that are not numbers ({error}). Export the cells again, with a decimal point."
        ) from error
    return CellPolygons(cells, measurements, f"'{path}'")


def _cells(path: Path) -> tuple[list[Mapping[str, Any]], str]:
    """Features that are cells, and what else there is."""
    features = list(_features(_loaded(path), path))
    kinds = [_kind(one) for one in features]
    cells = [one for one, kind in zip(features, kinds, strict=True) if kind in _CELLS or kind is None]
    rest = pd.Series([kind for kind in kinds if kind is not None and kind not in _CELLS], dtype=object).value_counts()
    others = ", ".join(f"{n:,} {kind}" for kind, n in rest.items())
    if not cells:
        contents = f"only {others}" if others else "no feature"
        raise InputFileError(f"'{path}' has {contents}, and no cell. Export the cells (in QuPath: detections).")
    return cells, others


def _loaded(path: Path) -> object:
    if path.is_dir():
        names = sorted(one.name for one in path.iterdir() if one.name.lower().endswith(GEOJSON_SUFFIXES))
        raise InputFileError(
            f"'{path}' is a folder; it holds {counted(len(names), 'GeoJSON file')}: {listed(names, 5)}. Pass one of "
            "them; many samples go into a table of one row each, for sfm.io.read_cohort."
            if names
            else f"'{path}' is a folder without a GeoJSON file. Pass the file of the cells."
        )
    if not path.is_file():
        raise InputFileError(f"No file '{path}'. Check the path; relative ones start at '{Path.cwd()}'.")
    try:
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                names = [name for name in archive.namelist() if name.lower().endswith((".geojson", ".json"))]
                if len(names) != 1:
                    raise InputFileError(f"'{path}' holds {counted(len(names), 'GeoJSON file')}. Unpack it.")
                return json.loads(archive.read(names[0]))
        with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else open(path, "rb") as file:
            return json.load(file)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, InputFileError):
            raise
        raise InputFileError(
            f"'{path}' cannot be read as GeoJSON: {error}. It is truncated, damaged or of another kind; export it "
            "again."
        ) from error


def _features(content: object, path: Path) -> Iterator[Mapping[str, Any]]:
    if isinstance(content, Mapping) and content.get("type") == "FeatureCollection":
        content = content.get("features")
    if isinstance(content, Mapping) and content.get("type") == "Feature":
        content = [content]
    if not isinstance(content, list):
        raise InputFileError(f"'{path}' is JSON, but no GeoJSON: it has no list of features. Export the cells again.")
    for i, one in enumerate(content):
        if not isinstance(one, Mapping) or not isinstance(one.get("geometry"), Mapping):
            raise InputFileError(f"Feature {i} of '{path}' has no geometry. Export the cells again.")
        yield one


def _properties(feature: Mapping[str, Any]) -> Mapping[str, Any]:
    properties = feature.get("properties")
    return properties if isinstance(properties, Mapping) else {}


def _kind(feature: Mapping[str, Any]) -> str | None:
    own = _properties(feature)
    said = own.get("objectType", own.get("object_type"))
    if said is None:
        return _CLASSES.get(str(feature.get("id")).lower())
    return _CLASSES.get(str(said).lower(), str(said).lower())


def _classification(feature: Mapping[str, Any]) -> str | None:
    """Name of the class; parts of a derived one are joined as QuPath shows them, ``Tumor: Positive``."""
    said = _properties(feature).get("classification")
    if isinstance(said, Mapping):
        said = said.get("name") or ": ".join(map(str, said.get("names") or ()))
    return str(said) if said else None


def _name(feature: Mapping[str, Any]) -> str | None:
    said = _properties(feature).get("name")
    return str(said) if said else None


def _measurements(feature: Mapping[str, Any]) -> dict[str, float]:
    """Numbers by name; QuPath wrote them as a list before version 0.4."""
    said = _properties(feature).get("measurements") or {}
    pairs = said.items() if isinstance(said, Mapping) else ((one.get("name"), one.get("value")) for one in said)
    return {str(name): float("nan" if value is None or value == "" else value) for name, value in pairs}


def _ids(features: list[Mapping[str, Any]], instance_key: str | None, path: Path) -> list[Any]:
    if instance_key is not None:
        ids = [_properties(one).get(instance_key) for one in features]
        if missing := sum(one is None for one in ids):
            known = listed(dict.fromkeys(name for one in features[:50] for name in _properties(one)))
            raise TableError(
                f"{counted(missing, 'cell')} of '{path}' have no property {instance_key!r}; there are {known}. Correct "
                "instance_key=."
            )
    else:
        ids = [one.get("id") for one in features]
        if all(str(one).lower() in _CLASSES for one in ids):  # QuPath 0.2 wrote the kind of the object there
            ids = [None] * len(ids)
        if (missing := sum(one is None for one in ids)) and missing < len(ids):
            raise TableError(
                f"{counted(missing, 'cell')} of {len(ids):,} of '{path}' have no id. Export all of them with ids, or "
                "pass instance_key=<property>."
            )
    texts = pd.Series([_id_text(one) for one in ids if one is not None], dtype=object)
    if texts.duplicated().any():
        twice = texts[texts.duplicated()].unique()
        raise TableError(
            f"{counted(len(twice), 'id occurs', 'ids occur')} more than once in '{path}': {listed(twice)}. Each cell "
            "needs its own; pass instance_key=<property> if another has them."
        )
    return ids


def _whole(ids: list[Any]) -> np.ndarray | None:
    """Ids as whole numbers from 1 on, where they are."""
    texts = [_id_text(one) for one in ids]
    if all(re.fullmatch(r"[1-9][0-9]{0,16}", text) for text in texts):  # 007 is a text, and QuPath's table has it so
        return np.array([int(text) for text in texts])
    return None


def _id_text(one: Any) -> str:
    """An id as text; 7.0 is 7."""
    return f"{one:.0f}" if isinstance(one, float) and one.is_integer() else str(one)


def _geometries(features: list[Mapping[str, Any]], ids: list[Any], path: Path) -> list[Any]:
    """Polygons, one for each cell; what crosses itself is made valid, with a warning."""
    wrong: dict[str, int] = {}
    polygons = []
    for one in features:
        kind = str(one["geometry"].get("type"))
        if kind not in ("Polygon", "MultiPolygon"):
            wrong[kind] = wrong.get(kind, 0) + 1
            continue
        try:
            polygons.append(shape(one["geometry"]))
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, shapely.errors.ShapelyError):
            wrong["damaged polygon"] = wrong.get("damaged polygon", 0) + 1
    if wrong:
        named = ", ".join(f"{n:,} {kind}" for kind, n in wrong.items())
        raise InputFileError(
            f"'{path}' has cells that are not polygons: {named}. Export the outlines of the cells. A table of "
            "positions is read by sfm.io.read_cells."
        )
    array = shapely.force_2d(np.array(polygons, dtype=object))
    valid = shapely.is_valid(array)
    if not valid.all():
        array[~valid] = [_area_of(one) for one in shapely.make_valid(array[~valid])]
        warn(f"{counted(int((~valid).sum()), 'polygon')} of '{path}' crossed themselves and were made valid.")
    if empty := [ids[i] if ids[i] is not None else i + 1 for i in np.flatnonzero(shapely.area(array) == 0)]:
        raise InputFileError(
            f"{counted(len(empty), 'cell')} of '{path}' have no area: {listed(empty)}. Remove them, or export again."
        )
    return list(array)


def _area_of(geometry: Any) -> Any:
    """What of a geometry is polygons: lines and points without area are left behind by making it valid."""
    parts = [one for one in shapely.get_parts(geometry) if one.geom_type in ("Polygon", "MultiPolygon")]
    return shapely.union_all(parts) if parts else shapely.Polygon()
