"""What the metadata of an OME-Zarr group (OME-NGFF 0.4 and 0.5) say of its image: axes, levels, pixel size, names.

Only JSON is read here. The specification: https://ngff.openmicroscopy.org
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._errors import InputFileError, counted, listed
from ._pixel_size import PixelSize, clean, um_per_unit

VERSIONS = ("0.1", "0.2", "0.3", "0.4", "0.5")
_METADATA = ("zarr.json", ".zattrs", ".zgroup", ".zarray")
_UNNAMED_AXES = ("t", "c", "z", "y", "x")  # of versions before 0.3, which name none
_FIELD = "the scale of its OME-Zarr metadata"


@dataclass(frozen=True)
class Ngff:
    """One image of several resolutions, as its group describes it.

    Attributes
    ----------
    path
        Folder of the group.
    axes
        Letters of the stored axes, of ``t``, ``c``, ``z``, ``y`` and ``x``.
    levels
        Names of the arrays, the largest first.
    pixel_size, ignored_size
        Size of a pixel of the largest level, or why there is none.
    origin
        Position ``(y, x)`` in µm of the first pixel; None where no size is known.
    channel_names
        Labels of the channels; None where there are none.
    """

    path: Path
    axes: tuple[str, ...]
    levels: tuple[str, ...]
    pixel_size: PixelSize | None
    ignored_size: str
    origin: tuple[float, float] | None
    channel_names: tuple[str, ...] | None


def is_zarr(path: Path) -> bool:
    """Whether a folder is a zarr store or a part of one, or is named like one."""
    return path.is_dir() and (path.name.lower().endswith(".zarr") or _is_node(path))


def read_ngff(path: Path, series: int | None = None) -> Ngff:
    """Description of the image in a group; of a group of several, of the one that `series` chooses.

    Raises
    ------
    InputFileError
        If it holds no image, several of which none is chosen, a plate, a SpatialData, or axes and versions that are not
        known.
    """
    group = _image_group(path, series)
    attributes = attributes_of(group)
    images = attributes["multiscales"]
    if len(images) > 1 and (series is None or not 0 <= series < len(images)):
        raise InputFileError(
            f"'{group}' describes {len(images)} images. Say which one with series=<number>, 0 to {len(images) - 1}."
        )
    image = images[series if len(images) > 1 and series is not None else 0]
    version = str(attributes.get("version") or image.get("version") or "0.4")
    if version not in VERSIONS:
        raise InputFileError(
            f"'{group}' is OME-Zarr {version}; {', '.join(VERSIONS)} are read. Write it again as 0.5, such as with "
            "ome_zarr.writer.write_image."
        )
    axes, units = _axes(image, group)
    datasets = image.get("datasets") or []
    if not datasets or not all(isinstance(one, Mapping) and one.get("path") is not None for one in datasets):
        raise InputFileError(f"The metadata of '{group}' list no array of pixels. Write the image again.")
    scale, translation = _placed(datasets[0], image, len(axes), group)
    size, ignored = _size(axes, units, scale)
    origin = None
    if size is not None:
        factors = [um_per_unit(units[axes.index(axis)]) or 1.0 for axis in "yx"]
        y, x = (translation[axes.index(axis)] * factor for axis, factor in zip("yx", factors, strict=True))
        origin = y, x
    return Ngff(
        path=group,
        axes=axes,
        levels=tuple(str(one["path"]) for one in datasets),
        pixel_size=size,
        ignored_size=ignored,
        origin=origin,
        channel_names=_channel_names(attributes),
    )


def label_groups(path: Path) -> list[str]:
    """Names of the label images that lie beside the pixels of an image's group."""
    folder = path / "labels"
    if not _is_node(folder):
        return []
    named = attributes_of(folder).get("labels")
    if isinstance(named, Sequence) and not isinstance(named, str):
        return [str(name) for name in named]
    return sorted(one.name for one in folder.iterdir() if one.is_dir() and _is_node(one))


def attributes_of(group: Path) -> dict[str, Any]:
    """Attributes of a group, those of OME-Zarr 0.5 without their namespace ``ome``."""
    for name in ("zarr.json", ".zattrs"):
        if not (file := group / name).is_file():
            continue
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            raise InputFileError(f"'{file}' cannot be read as JSON ({error}). Copy the store again.") from error
        attributes = content.get("attributes", {}) if name == "zarr.json" else content
        inner = attributes.get("ome", attributes)
        return {**inner, **{key: value for key, value in attributes.items() if key not in ("ome", *inner)}}
    return {}


def _is_node(path: Path) -> bool:
    return any((path / name).is_file() for name in _METADATA)


def _image_group(path: Path, series: int | None) -> Path:
    """The group with the image: `path` itself, or one below it."""
    if not _is_node(path):
        raise InputFileError(
            f"'{path}' is named like a zarr store, but has none of {', '.join(_METADATA[:3])}. Copy it whole, or pass "
            "the folder above or below that has."
        )
    attributes = attributes_of(path)
    if isinstance(plate := attributes.get("plate"), Mapping):
        wells = [str(well.get("path")) for well in plate.get("wells", [])]
        raise InputFileError(
            f"'{path}' is a plate of {counted(len(wells), 'well')}, not an image. Pass one field of a well, such as "
            f"'{path}/{wells[0] if wells else 'A/1'}/0'; for many, a table with one row per field to "
            "sfm.io.read_cohort."
        )
    if isinstance(well := attributes.get("well"), Mapping):
        fields = [str(field.get("path")) for field in well.get("images", [])]
        raise InputFileError(
            f"'{path}' is a well of {counted(len(fields), 'field')}, not an image. Pass one of them, such as "
            f"'{path}/{fields[0] if fields else '0'}'."
        )
    if "spatialdata_attrs" in attributes:
        raise InputFileError(
            f"'{path}' is a SpatialData or a part of one. Read it with spatialdata.read_zarr('path/to/store.zarr'); "
            "all functions take what that returns."
        )
    if "multiscales" in attributes:
        if not isinstance(attributes["multiscales"], list) or not attributes["multiscales"]:
            raise InputFileError(f"The metadata of '{path}' describe no image. Write it again.")
        return path
    if "bioformats2raw.layout" in attributes:
        return _of_a_series(path, series)
    if isinstance(names := attributes.get("labels"), list) and names:
        raise InputFileError(
            f"'{path}' holds the label images {listed(map(str, names))}, not an image. Pass one of them as labels, "
            f"such as '{path}/{names[0]}'."
        )
    below = sorted(one.name for one in path.iterdir() if "multiscales" in attributes_of(one)) if path.is_dir() else []
    hint = f" Below it are images: {listed(below)}; pass the path of one." if below else ""
    raise InputFileError(
        f"'{path}' is a zarr store without the metadata of an OME-Zarr image (multiscales).{hint or ' Write it as'}"
        + ("" if hint else " OME-Zarr, such as with ome_zarr.writer.write_image.")
    )


def _of_a_series(path: Path, series: int | None) -> Path:
    """The group of one image in a store of several, as bioformats2raw lays it out: ``0``, ``1``, ..."""
    named = attributes_of(path / "OME").get("series") if _is_node(path / "OME") else None
    numbered = sorted((one.name for one in path.iterdir() if one.name.isdigit()), key=int)
    names = [str(name) for name in named] if isinstance(named, list) else numbered
    names = [name for name in names if "multiscales" in attributes_of(path / name)]
    if not names:
        raise InputFileError(f"'{path}' should hold images called 0, 1, ... and has none. Copy the store again.")
    if series is None and len(names) > 1:
        raise InputFileError(
            f"'{path}' holds {len(names)} images ({listed(names)}). Say which one with series=<number>, 0 to "
            f"{len(names) - 1}."
        )
    if not 0 <= (number := series or 0) < len(names):
        raise InputFileError(f"'{path}' has no image series={series}, but {counted(len(names), 'image')} from 0 on.")
    return path / names[number]


def _axes(image: Mapping[str, Any], group: Path) -> tuple[tuple[str, ...], list[str | None]]:
    """Letter and unit of each stored axis."""
    letters: list[str] = []
    units: list[str | None] = []
    for axis in image.get("axes") or _UNNAMED_AXES:
        entry: Mapping[str, Any] = axis if isinstance(axis, Mapping) else {"name": axis}
        name, kind = str(entry.get("name", "")).lower(), str(entry.get("type", "")).lower()
        letters.append({"channel": "c", "time": "t"}.get(kind, name))
        units.append(entry.get("unit"))
    unknown = [name for name in letters if name not in _UNNAMED_AXES]
    if unknown or len(set(letters)) < len(letters) or not {"y", "x"} <= set(letters):
        raise InputFileError(
            f"'{group}' has the axes {listed(letters)}, but an image has channels (c), y and x, and t and z of length "
            "1. Write it again with these."
        )
    return tuple(letters), units


def _placed(
    dataset: Mapping[str, Any], image: Mapping[str, Any], n_axes: int, group: Path
) -> tuple[list[float], list[float]]:
    """Scale and translation of the largest level: its own, then those of the whole image."""
    scale, translation = [1.0] * n_axes, [0.0] * n_axes
    for step in [*(dataset.get("coordinateTransformations") or []), *(image.get("coordinateTransformations") or [])]:
        kind = step.get("type")
        if kind == "identity":
            continue
        try:
            values = [float(value) for value in step[kind]]
        except (KeyError, TypeError, ValueError):
            values = []
        if kind not in ("scale", "translation") or len(values) != n_axes or not all(map(math.isfinite, values)):
            raise InputFileError(
                f"'{group}' places its pixels by {kind!r} with {json.dumps(step.get(kind, step))[:80]}, for "
                f"{counted(n_axes, 'axis', 'axes')}; scale and translation are read. Write the image again with these."
            )
        if kind == "scale":
            scale = [a * b for a, b in zip(scale, values, strict=True)]
            translation = [a * b for a, b in zip(translation, values, strict=True)]
        else:
            translation = [a + b for a, b in zip(translation, values, strict=True)]
    return scale, translation


def _size(axes: tuple[str, ...], units: Sequence[str | None], scale: Sequence[float]) -> tuple[PixelSize | None, str]:
    """Size of a pixel in µm, or what is stated in its place."""
    stated = {axis: (scale[axes.index(axis)], units[axes.index(axis)]) for axis in "yx"}
    factors = {axis: um_per_unit(unit) if unit else None for axis, (_, unit) in stated.items()}
    if all(factor is not None and stated[axis][0] > 0 for axis, factor in factors.items()):
        y, x = (clean(stated[axis][0] * (factors[axis] or 1.0)) for axis in "yx")
        return PixelSize(x, y, _FIELD), ""
    if all(value == 1 for value, _ in stated.values()):
        return None, ""
    value, unit = stated["x"]
    return None, f"its scale of {value:g} has " + (f"the unit {unit!r}" if unit else "no unit")


def _channel_names(attributes: Mapping[str, Any]) -> tuple[str, ...] | None:
    omero = attributes.get("omero")
    channels = omero.get("channels") if isinstance(omero, Mapping) else None
    if not isinstance(channels, list) or not channels:
        return None
    names = [str(one.get("label") or "").strip() if isinstance(one, Mapping) else "" for one in channels]
    return tuple(names) if any(names) else None
