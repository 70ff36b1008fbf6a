"""What may be said about images, and when."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..._errors import TableError

NOT_SAID: dict[str, object] = {
    "weights": None,
    "augmentation": "released",
    "magnification": None,
    "normalizers": None,
    "elements": None,
    "run": None,
}


def check_images(data: object, asked: Mapping[str, Any], method: str, *, on_images: bool) -> None:
    """Refuse a method on images without these, and what is said about images to a method that would ignore it.

    Raises
    ------
    TableError
        With what to pass.
    """
    if on_images and not hasattr(data, "tables"):
        raise TableError(f"method={method!r} looks at images. Pass the SpatialData that holds them and the table.")
    said = [name for name, value in asked.items() if value is not None and value != NOT_SAID[name]]
    if said and not on_images:
        raise TableError(
            f"{said[0]}= is about images, and method={method!r} looks at intensities of cells. Leave it out."
        )
