"""One file of features: whose layout it has, what unit its coordinates have, and what it is refused for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._errors import InputFileError, listed

if TYPE_CHECKING:
    import h5py

NAMES = ("feats", "patch_embeddings", "features")  # STAMP; STAMP's copy of others; TRIDENT and CLAM
PIXELS = ("px", "pixel", "pixels")  # units of coordinates, as a file may state them
MICRONS = ("tile_size_um", "tile_size")  # attributes of STAMP: since 2.1, before


@dataclass(frozen=True)
class FeaturesFile:
    """What a file holds.

    Attributes
    ----------
    path
        Of the file.
    sample, patient, extractor
        As the file says; its name, and empty, where it does not.
    names
        Of the rows.
    values
        ``(n, columns)``, float32.
    centres
        ``(n, 2)`` in µm, or None.
    tile_um
        Side of a tile; NaN where it is not known.
    """

    path: Path
    sample: str
    patient: str
    extractor: str
    names: np.ndarray
    values: np.ndarray
    centres: np.ndarray | None
    tile_um: float


def read_file(path: Path, mpp: float | None) -> FeaturesFile:
    """Read a file.

    Parameters
    ----------
    mpp
        µm per pixel, for coordinates in pixels.
    """
    import h5py

    if not path.is_file():
        raise InputFileError(f"No file '{path}'. Pass the folder or the files of features.")
    try:
        with h5py.File(path, "r") as file:
            return _read(file, path, mpp)
    except OSError as error:
        raise InputFileError(f"'{path}' is not an HDF5 file, or is cut: {error}. Write it again.") from error


def _read(file: h5py.File, path: Path, mpp: float | None) -> FeaturesFile:
    name = next((one for one in NAMES if one in file), None)
    if name is None:
        raise InputFileError(
            f"'{path}' has no features ({', '.join(NAMES)}), but {listed(file)}. Pass files of features."
        )
    values = np.asarray(file[name], dtype=np.float32)
    values = values[0] if values.ndim == 3 and len(values) == 1 else values
    if values.ndim != 2 or not len(values):
        raise InputFileError(f"'{path}' holds {name} of shape {values.shape}, not rows of features. Write it again.")
    sample = _text(file.attrs.get("sample"), path.stem)
    names = np.array([f"{sample}_tile_{number}" for number in range(1, len(values) + 1)], dtype=object)
    if "obs_names" in file:
        names = np.asarray(file["obs_names"].asstr()[()], dtype=object)
        if names.shape != (len(values),):
            raise InputFileError(
                f"'{path}' has {len(values)} rows of features and obs_names of shape {names.shape}. Write it again."
            )
    centres, tile_um = None, np.nan
    if "coords" in file:
        coords = np.asarray(file["coords"], dtype=np.float64)
        coords = coords[0] if coords.ndim == 3 and len(coords) == 1 else coords
        if coords.shape != (len(values), 2):
            raise InputFileError(
                f"'{path}' has {len(values)} rows of features and coords of shape {coords.shape}. Write it again."
            )
        scale, tile_um = _scale(file, path, mpp)
        centres = coords * scale + tile_um / 2  # coordinates are of upper left corners
    patient = _text(file.attrs.get("patient"), "")
    return FeaturesFile(
        path, sample, patient, _text(file.attrs.get("extractor"), ""), names, values, centres, float(tile_um)
    )


def _scale(file: h5py.File, path: Path, mpp: float | None) -> tuple[float, float]:
    """µm in one unit of the coordinates, and the side of a tile in µm."""
    unit = _text(file.attrs.get("unit"), "")
    if unit not in ("", "um", *PIXELS):
        raise InputFileError(
            f"'{path}' has coordinates in {unit!r} (its attribute unit), which is not known. Write them in um or px."
        )
    for name in MICRONS:
        if name in file.attrs and unit not in PIXELS and (name == "tile_size_um" or unit == "um"):
            return 1.0, float(file.attrs[name])
    side = file["coords"].attrs.get("patch_size_level0", file.attrs.get("patch_size_level0"))
    size = mpp if mpp is not None else file.attrs.get("mpp")
    if side is None and size is not None and unit in PIXELS and "tile_size_um" in file.attrs:
        return float(size), float(file.attrs["tile_size_um"])
    if side is None and unit not in PIXELS:
        raise InputFileError(
            f"'{path}' does not say in which unit its coordinates are (no tile_size_um, no patch_size_level0). STAMP "
            "before version 2 wrote tiles of 256 µm as 224: write the attribute tile_size_um, and coords in µm."
        )
    if size is None:
        raise InputFileError(f"'{path}' has coordinates in pixels, and not their size. Pass mpp=<µm per pixel>.")
    if side is None:
        raise InputFileError(f"'{path}' does not say how large its tiles are. Write the attribute tile_size_um.")
    return float(size), float(side) * float(size)


def _text(value: Any, default: str) -> str:
    if value is None:
        return default
    return value.decode() if isinstance(value, bytes) else str(value)
