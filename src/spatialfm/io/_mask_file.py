"""What the file of a mask holds, whichever its format: planes that are not yet chosen, lazily."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import dask.array as da
import numpy as np

from .._errors import InputFileError, counted
from ._pixel_size import PixelSize


@dataclass(frozen=True)
class MaskFile:
    """An opened mask.

    Attributes
    ----------
    planes
        Planes ``(y, x)``; nothing of them is read.
    path
        Of the file.
    stored_dtype
        Of the pixels in the file, where the planes have another: a yes/no mask of a TIFF is read as bytes.
    names
        Of the planes, or none.
    pixel_size
        As the file states it.
    is_palette
        Whether the numbers of its one plane stand for colours: which of both is meant must be said.
    """

    planes: Sequence[da.Array]
    path: str
    stored_dtype: np.dtype | None = None
    names: tuple[str, ...] = ()
    pixel_size: PixelSize | None = None
    is_palette: bool = False


def chosen_plane(file: MaskFile, wanted: int | str | None) -> da.Array:
    """The plane with the cells.

    Raises
    ------
    InputFileError
        If there are several and none is chosen, there is none like the chosen one, or the numbers stand for colours.
    """
    path, n = file.path, len(file.planes)
    names = list(file.names) if len(file.names) == n else [""] * n
    shown = ", ".join(f"{i}: {name!r}" if name else str(i) for i, name in enumerate(names[:20]))
    if wanted is None:
        if file.is_palette:
            raise InputFileError(
                f"Labels '{path}' have a palette: each number of a pixel stands for a colour. If the numbers are those "
                "of the cells, pass labels_plane=0; if the colours are, pass labels_encoding='rgb' (the number of a "
                "cell is R + 256 G + 65,536 B) or 'bgr' (B + 256 G + 65,536 R)."
            )
        if n == 1:
            return file.planes[0]
        if n in (3, 4) and file.planes[0].dtype == np.uint8:
            raise InputFileError(
                f"Labels '{path}' are a colour picture ({n} planes of 8 bits), not numbers; a single colour would "
                "merge cells. If every cell has its own colour and black is background, pass labels_encoding='rgb' "
                "(the number of a cell is R + 256 G + 65,536 B) or 'bgr' (B + 256 G + 65,536 R). If the planes are "
                "numbers, choose one with labels_plane=<number>."
            )
        raise InputFileError(
            f"Labels '{path}' have {n} planes ({shown}); labels are one plane of whole numbers, one for each cell. "
            "Say which one with labels_plane=<number>."
        )
    index = names.index(wanted) if wanted in names else wanted
    if isinstance(index, str) or not 0 <= int(index) < n:
        raise InputFileError(f"Labels '{path}' have no plane {wanted!r}, but {n} ({shown}). Correct labels_plane=.")
    return file.planes[int(index)]


def decoded(file: MaskFile, encoding: str) -> da.Array:
    """The number that each colour encodes; an alpha channel is ignored.

    Raises
    ------
    InputFileError
        If the planes are not 8-bit colours.
    """
    n, dtype = len(file.planes), file.planes[0].dtype
    if n not in (3, 4) or dtype != np.uint8:
        raise InputFileError(
            f"labels_encoding={encoding!r} needs 8-bit red, green and blue; labels '{file.path}' have "
            f"{counted(n, 'plane')} of {dtype}. Leave it out."
        )
    colours = [file.planes[i].astype(np.uint32) for i in range(3)]
    first, second, third = colours[:: 1 if encoding == "rgb" else -1]
    return first + 256 * second + 65_536 * third
