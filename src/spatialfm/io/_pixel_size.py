"""Pixel sizes: units, and which sizes are plausible."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .._errors import PixelSizeError

_UM_PER_UNIT = {
    "µm": 1.0,  # micro sign
    "μm": 1.0,  # Greek mu
    "âµm": 1.0,  # UTF-8 read as Latin-1
    "um": 1.0,
    "\\u00b5m": 1.0,  # as ImageJ escapes it
    "\\u03bcm": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometers": 1.0,
    "micrometre": 1.0,
    "micrometres": 1.0,
    "pm": 1e-6,
    "å": 1e-4,
    "angstrom": 1e-4,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "nanometers": 1e-3,
    "nanometre": 1e-3,
    "mm": 1e3,
    "millimeter": 1e3,
    "millimeters": 1e3,
    "millimetre": 1e3,
    "cm": 1e4,
    "centimeter": 1e4,
    "centimeters": 1e4,
    "centimetre": 1e4,
    "m": 1e6,
    "meter": 1e6,
    "metre": 1e6,
    "in": 25400.0,
    "inch": 25400.0,
    "inches": 25400.0,
}

PRINT_UNITS = frozenset({"in", "inch", "inches", "cm", "centimeter", "centimeters", "centimetre"})
"""Units of resolutions as written by programs without knowledge of the pixel size."""

# Printers and screens have 72 to 2,400 dots per inch, 353 to 10.6 µm; light does not resolve a twentieth of a µm.
MAX_MPP = 10.0
MIN_MPP = 0.05


@dataclass(frozen=True)
class PixelSize:
    """Size of a pixel in µm, and the field of the file that states it."""

    x: float
    y: float
    field: str

    @property
    def is_plausible(self) -> bool:
        """Whether a microscope could have made such pixels of tissue."""
        return all(MIN_MPP <= side <= MAX_MPP for side in (self.x, self.y))


def positive_mpp(mpp: float | None) -> float | None:
    """The argument, refused where it is not a size."""
    if mpp is not None and not (math.isfinite(mpp) and mpp > 0):
        raise PixelSizeError(f"mpp={mpp!r} is not a pixel size. Pass µm per pixel, for example mpp=0.5.")
    return mpp


def um_per_unit(unit: object) -> float | None:
    """µm in a unit by its name; None for pixels and what is unknown."""
    return _UM_PER_UNIT.get(str(unit).strip().strip("\0").lower())


def micrometers(value: object, unit: object) -> float | None:
    """A length in µm; None if it is not a length.

    Examples
    --------
    >>> micrometers("325", "nm"), micrometers("1", "pixel")
    (0.325, None)
    """
    factor = um_per_unit(unit)
    try:
        size = float(value) * factor  # type: ignore[arg-type, operator]  # what cannot be read raises
    except (TypeError, ValueError):
        return None
    return clean(size) if math.isfinite(size) and size > 0 else None


def clean(size: float) -> float:
    """Without the noise of float32 rationals: 1e4 / 20112.0 pixels per cm reads as intended."""
    return float(f"{size:.9g}")
